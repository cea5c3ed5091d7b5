// Batch normalisation, with a ReLU after it if asked for, of rows (M, C): images (N, H, W, C) or vectors (N, C). Formulas are those of
// xpnet/kernels/normalization.py.
//
// Statistics of channels are taken in two launches, in an order that depends on M and C alone: first of slabs of rows,
// then over the slabs. In both, threads (32, 8) share a block: threadIdx.x is the channel, and the eight rows of threads
// take every eighth row or slab.

const int LANES = 32, STRANDS = 8;

// Count, mean and sum of squared distances from the mean.
struct Moments {
    float count, mean, squares;
};

// Of two, one at least not empty.
// Source: Chan, Golub and LeVeque, "Algorithms for computing the sample variance", 1983.
__device__ Moments merged(Moments a, Moments b)
{
    float count = a.count + b.count, delta = b.mean - a.mean;
    float share = b.count / count;
    return {count, a.mean + delta * share, a.squares + b.squares + delta * delta * a.count * share};
}

// Result for a block's channel, in the threads of the first strand.
__device__ Moments merged_over_strands(Moments own)
{
    __shared__ Moments strands[STRANDS][LANES];
    strands[threadIdx.y][threadIdx.x] = own;
    __syncthreads();
    for (int strand = 1; strand < STRANDS; ++strand) own = merged(own, strands[strand][threadIdx.x]);
    return own;
}

__device__ float2 summed_over_strands(float2 own)
{
    __shared__ float2 strands[STRANDS][LANES];
    strands[threadIdx.y][threadIdx.x] = own;
    __syncthreads();
    for (int strand = 1; strand < STRANDS; ++strand) {
        own.x += strands[strand][threadIdx.x].x;
        own.y += strands[strand][threadIdx.x].y;
    }
    return own;
}

// Mean and sum of squared distances of each slab of x, by Welford's recurrence: no digits are lost to a large mean.
extern "C" __global__ void slab_moments(
    const float* x, float* means, float* squares, int rows, int channels, int slab_rows)
{
    int c = blockIdx.x * LANES + threadIdx.x, slab = blockIdx.y;
    int end = min(rows, (slab + 1) * slab_rows);
    Moments own = {0.0f, 0.0f, 0.0f};
    for (int row = slab * slab_rows + threadIdx.y; c < channels && row < end; row += STRANDS) {
        float value = x[row * channels + c], delta = value - own.mean;
        own.count += 1.0f;
        own.mean += delta / own.count;
        own.squares += delta * (value - own.mean);
    }
    own = merged_over_strands(own);
    if (threadIdx.y > 0 || c >= channels) return;
    means[slab * channels + c] = own.mean;
    squares[slab * channels + c] = own.squares;
}

// Mean and biased variance of all rows; running = keep * running + take * batch, with the unbiased variance.
extern "C" __global__ void moments(
    const float* means, const float* squares, const float* running_mean, const float* running_var,
    float* mean, float* variance, float* new_running_mean, float* new_running_var,
    float keep, float take, float take_unbiased, int rows, int channels, int slab_rows, int slabs)
{
    int c = blockIdx.x * LANES + threadIdx.x;
    Moments own = {0.0f, 0.0f, 0.0f};
    for (int slab = threadIdx.y; c < channels && slab < slabs; slab += STRANDS) {
        int count = min(rows, (slab + 1) * slab_rows) - slab * slab_rows;
        own = merged(own, {(float)count, means[slab * channels + c], squares[slab * channels + c]});
    }
    own = merged_over_strands(own);
    if (threadIdx.y > 0 || c >= channels) return;
    float batch_variance = own.squares / rows;
    mean[c] = own.mean;
    variance[c] = batch_variance;
    new_running_mean[c] = keep * running_mean[c] + take * own.mean;
    new_running_var[c] = keep * running_var[c] + take_unbiased * batch_variance;
}

// One value, rounded alike wherever it is computed: the gradients ask again whether it was above 0.
__device__ float normalized(float x, float mean, float inverse_std, float weight, float bias)
{
    return (x - mean) * inverse_std * weight + bias;
}

// y = (x - mean) / sqrt(variance + eps) * weight + bias, with relu at least 0
extern "C" __global__ void normalize(
    const float* x, const float* mean, const float* variance, const float* weight, const float* bias,
    float* y, float* inverse_std, float eps, int relu, int channels, int count)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    int c = i % channels;
    float inverse = 1.0f / sqrtf(variance[c] + eps);
    float value = normalized(x[i], mean[c], inverse, weight[c], bias[c]);
    y[i] = relu && value <= 0.0f ? 0.0f : value;
    if (i < channels) inverse_std[i] = inverse;
}

// Sums over each slab's rows of g, and of g times the normalised x; g is dy, with relu only where y is above 0.
extern "C" __global__ void slab_gradients(
    const float* dy, const float* x, const float* mean, const float* inverse_std, const float* weight, const float* bias,
    float* bias_parts, float* weight_parts, int relu, int rows, int channels, int slab_rows)
{
    int c = blockIdx.x * LANES + threadIdx.x, slab = blockIdx.y;
    int end = min(rows, (slab + 1) * slab_rows);
    float2 own = {0.0f, 0.0f};
    for (int row = slab * slab_rows + threadIdx.y; c < channels && row < end; row += STRANDS) {
        int i = row * channels + c;
        if (relu && !(normalized(x[i], mean[c], inverse_std[c], weight[c], bias[c]) > 0.0f)) continue;
        own.x += dy[i];
        own.y += dy[i] * ((x[i] - mean[c]) * inverse_std[c]);
    }
    own = summed_over_strands(own);
    if (threadIdx.y > 0 || c >= channels) return;
    bias_parts[slab * channels + c] = own.x;
    weight_parts[slab * channels + c] = own.y;
}

// dbias = sum g;  dweight = sum g x_hat
extern "C" __global__ void parameter_gradients(
    const float* bias_parts, const float* weight_parts, float* bias_gradient, float* weight_gradient,
    int channels, int slabs)
{
    int c = blockIdx.x * LANES + threadIdx.x;
    float2 own = {0.0f, 0.0f};
    for (int slab = threadIdx.y; c < channels && slab < slabs; slab += STRANDS) {
        own.x += bias_parts[slab * channels + c];
        own.y += weight_parts[slab * channels + c];
    }
    own = summed_over_strands(own);
    if (threadIdx.y > 0 || c >= channels) return;
    bias_gradient[c] = own.x;
    weight_gradient[c] = own.y;
}

// dx = weight / sqrt(variance + eps) (g - dbias / M - x_hat dweight / M);  where the statistics are constants, of g alone
extern "C" __global__ void input_gradient(
    const float* dy, const float* x, const float* mean, const float* inverse_std, const float* weight, const float* bias,
    const float* bias_gradient, const float* weight_gradient, float* dx,
    int relu, int constant, int rows, int channels, int count)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    int c = i % channels;
    float g = dy[i];
    if (relu && !(normalized(x[i], mean[c], inverse_std[c], weight[c], bias[c]) > 0.0f)) g = 0.0f;
    if (!constant) {
        float x_hat = (x[i] - mean[c]) * inverse_std[c];
        g = g - bias_gradient[c] / rows - x_hat * (weight_gradient[c] / rows);
    }
    dx[i] = g * (weight[c] * inverse_std[c]);
}
