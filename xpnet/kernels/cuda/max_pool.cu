// Max-pooling of images (N, H, W, C). No value is written twice: windows that overlap are gathered, so that sums have one
// order. A block writes one line of images, (n, h); its threads take the values (w, c) in turn.

const unsigned char NO_WINNER = 255;  // of no tap so far

// y[n,i,j,c] = max over (u, v) of x[n, i*stride + u - top, j*stride + v - left, c];  the padding counts as -infinity.
// Every window must reach into the image. The winner is the number u*kernel_width + v of the first maximum; the address
// of the winners is 0 where nobody asks for them. With relu y is at least 0, and a window whose maximum is not above 0
// has no winner: its gradient goes nowhere.
extern "C" __global__ void max_pool2d(
    const float* x, float* y, unsigned char* winners, int height, int width, int channels, int rows, int columns,
    int kernel_height, int kernel_width, int stride_height, int stride_width, int top, int left, int relu)
{
    int i = blockIdx.x % rows, n = blockIdx.x / rows, length = columns * channels;
    for (int place = threadIdx.x; place < length; place += blockDim.x) {
        int c = place % channels, j = place / channels;
        float best = 0.0f;  // until the first tap, which wins over nothing
        unsigned char winner = NO_WINNER;
        for (int u = 0; u < kernel_height; ++u) {
            int row = i * stride_height + u - top;
            if (row < 0 || row >= height) continue;
            for (int v = 0; v < kernel_width; ++v) {
                int column = j * stride_width + v - left;
                if (column < 0 || column >= width) continue;
                float value = x[((n * height + row) * width + column) * channels + c];
                if (winner == NO_WINNER || value > best || isnan(value)) {  // a NaN must show in the loss
                    best = value;
                    winner = u * kernel_width + v;
                }
            }
        }
        if (relu && !(best > 0.0f)) {
            winner = NO_WINNER;
            best = isnan(best) ? best : 0.0f;
        }
        y[blockIdx.x * length + place] = best;
        if (winners) winners[blockIdx.x * length + place] = winner;
    }
}

// dx[n,h,w,c] = sum of dy[n,i,j,c] over the windows (i, j) that (h, w) has won, in row-major order
extern "C" __global__ void max_pool2d_input_gradient(
    const float* dy, const unsigned char* winners, float* dx, int height, int width, int channels, int rows, int columns,
    int kernel_height, int kernel_width, int stride_height, int stride_width, int top, int left)
{
    int row = blockIdx.x % height + top, n = blockIdx.x / height, length = width * channels;  // in the padded image
    int first_i = row < kernel_height ? 0 : (row - kernel_height) / stride_height + 1;
    for (int place = threadIdx.x; place < length; place += blockDim.x) {
        int c = place % channels, column = place / channels + left;
        int first_j = column < kernel_width ? 0 : (column - kernel_width) / stride_width + 1;
        float sum = 0.0f;
        for (int i = first_i; i < rows && i * stride_height <= row; ++i) {
            for (int j = first_j; j < columns && j * stride_width <= column; ++j) {
                int window = ((n * rows + i) * columns + j) * channels + c;
                int tap = (row - i * stride_height) * kernel_width + column - j * stride_width;
                if (winners[window] == tap) sum += dy[window];
            }
        }
        dx[blockIdx.x * length + place] = sum;
    }
}
