// What lies under a window at each of its places, for convolution by a matrix product.

#ifndef TYPE
#define TYPE float  // of a value; only its bits matter
#endif

// patches[(n,i,j), (u,v,c)] = x[n, i*stride + u*dilation - top, j*stride + v*dilation - left, c];  0 in the padding
// A thread has one place (u,v,c) in all patches of its block, and one in every so many of them.
extern "C" __global__ void copy_patches(
    const TYPE* x, TYPE* patches, int height, int width, int channels, int rows, int columns,
    int kernel_height, int kernel_width, int stride_height, int stride_width, int dilation_height, int dilation_width,
    int top, int left, int count, int length, int slab_rows)
{
    int place = blockIdx.x * blockDim.x + threadIdx.x;
    if (place >= length) return;
    int c = place % channels, tap = place / channels;
    int down = tap / kernel_width * dilation_height - top, right = tap % kernel_width * dilation_width - left;
    int end = min(count, (blockIdx.y + 1) * slab_rows);
    for (int patch = blockIdx.y * slab_rows + threadIdx.y; patch < end; patch += blockDim.y) {
        int column = patch % columns * stride_width + right, line = patch / columns;
        int row = line % rows * stride_height + down;
        long long n = line / rows;
        bool is_inside = row >= 0 && row < height && column >= 0 && column < width;
        patches[(long long)patch * length + place]
            = is_inside ? x[((n * height + row) * width + column) * channels + c] : 0;
    }
}
