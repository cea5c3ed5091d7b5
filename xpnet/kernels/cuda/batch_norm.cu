// Batch normalisation, with a ReLU after it if asked for, of rows (M, C). Formulas are those of
// xpnet/layers/normalization.py.
//
// Statistics of channels are taken in two launches: first of slabs of rows, then over the slabs. Where each element has
// a result of its own, a thread has one channel too, whose numbers it reads once.

#include "slabs.cuh"

// Count, mean and sum of squared distances from the mean.
struct Moments {
    float count, mean, squares;
};

// Source: Chan, Golub and LeVeque, "Algorithms for computing the sample variance", 1983.
struct Merge {
    __device__ Moments operator()(Moments a, Moments b) const
    {
        if (b.count == 0.0f) return a;
        float count = a.count + b.count, delta = b.mean - a.mean;
        float share = b.count / count;
        return {count, a.mean + delta * share, a.squares + b.squares + delta * delta * a.count * share};
    }
};

struct Add {
    __device__ float2 operator()(float2 a, float2 b) const { return {a.x + b.x, a.y + b.y}; }
};

// Mean and sum of squared distances of each slab of x. Each thread measures from its first value, so that no digits are
// lost to a large mean.
extern "C" __global__ void slab_moments(
    const float* x, float* means, float* squares, int rows, int channels, int slab_rows)
{
    int c = own_channel(), slab = blockIdx.y;
    int first = slab * slab_rows + threadIdx.y, end = min(rows, (slab + 1) * slab_rows);
    Moments own = {0.0f, 0.0f, 0.0f};
    if (c < channels && first < end) {
        float origin = x[first * channels + c], sum = 0.0f, squared = 0.0f;
        int count = 0;
        for (int row = first; row < end; row += blockDim.y) {
            float distance = x[row * channels + c] - origin;
            sum += distance;
            squared += distance * distance;
            ++count;
        }
        float mean = sum / count;
        own = {(float)count, origin + mean, fmaxf(squared - sum * mean, 0.0f)};
    }
    own = joined_over_strands(own, Merge());
    if (threadIdx.y > 0 || c >= channels) return;
    means[slab * channels + c] = own.mean;
    squares[slab * channels + c] = own.squares;
}

// Mean, and 1 / sqrt(biased variance + eps), of all rows; running = keep * running + take * batch, with the unbiased
// variance.
extern "C" __global__ void __launch_bounds__(MOST_THREADS) moments(
    const float* means, const float* squares, const float* running_mean, const float* running_var,
    float* mean, float* inverse_std, float* new_running_mean, float* new_running_var,
    float eps, float keep, float take, float take_unbiased, int rows, int channels, int slab_rows, int slabs)
{
    int c = own_channel();
    Moments own = {0.0f, 0.0f, 0.0f};
    for (int slab = threadIdx.y; c < channels && slab < slabs; slab += blockDim.y) {
        int count = min(rows, (slab + 1) * slab_rows) - slab * slab_rows;
        own = Merge()(own, {(float)count, means[slab * channels + c], squares[slab * channels + c]});
    }
    own = joined_over_strands(own, Merge());
    if (threadIdx.y > 0 || c >= channels) return;
    float variance = own.squares / rows;
    mean[c] = own.mean;
    inverse_std[c] = 1.0f / sqrtf(variance + eps);
    new_running_mean[c] = keep * running_mean[c] + take * own.mean;
    new_running_var[c] = keep * running_var[c] + take_unbiased * variance;
}

// One value, rounded alike wherever it is computed: the gradients ask again whether it was above 0.
__device__ float normalized(float x, float mean, float inverse_std, float weight, float bias)
{
    return (x - mean) * inverse_std * weight + bias;
}

__device__ void normalize_slab(
    const float* x, float mean, float inverse_std, float weight, float bias, float* y,
    int relu, int rows, int channels, int slab_rows)
{
    int end = min(rows, (blockIdx.y + 1) * slab_rows);
    for (int row = blockIdx.y * slab_rows + threadIdx.y; row < end; row += blockDim.y) {
        int i = row * channels + own_channel();
        float value = normalized(x[i], mean, inverse_std, weight, bias);
        y[i] = relu && value <= 0.0f ? 0.0f : value;
    }
}

// y = (x - mean) * inverse_std * weight + bias, with relu at least 0
extern "C" __global__ void normalize(
    const float* x, const float* mean, const float* inverse_std, const float* weight, const float* bias, float* y,
    int relu, int rows, int channels, int slab_rows)
{
    int c = own_channel();
    if (c >= channels) return;
    normalize_slab(x, mean[c], inverse_std[c], weight[c], bias[c], y, relu, rows, channels, slab_rows);
}

// The same by a variance, whose inverse_std = 1 / sqrt(variance + eps) is kept.
extern "C" __global__ void normalize_by_variance(
    const float* x, const float* mean, const float* variance, const float* weight, const float* bias, float* y,
    float* inverse_std, float eps, int relu, int rows, int channels, int slab_rows)
{
    int c = own_channel();
    if (c >= channels) return;
    float inverse = 1.0f / sqrtf(variance[c] + eps);
    if (blockIdx.y == 0 && threadIdx.y == 0) inverse_std[c] = inverse;
    normalize_slab(x, mean[c], inverse, weight[c], bias[c], y, relu, rows, channels, slab_rows);
}

// Sums over each slab's rows of g, and of g times the normalised x; g is dy, with relu only where y is above 0.
extern "C" __global__ void slab_gradients(
    const float* dy, const float* x, const float* mean, const float* inverse_std, const float* weight, const float* bias,
    float* bias_parts, float* weight_parts, int relu, int rows, int channels, int slab_rows)
{
    int c = own_channel(), slab = blockIdx.y;
    float2 own = {0.0f, 0.0f};
    if (c < channels) {
        float centre = mean[c], inverse = inverse_std[c], scale = weight[c], shift = bias[c];
        int end = min(rows, (slab + 1) * slab_rows);
        for (int row = slab * slab_rows + threadIdx.y; row < end; row += blockDim.y) {
            int i = row * channels + c;
            float value = x[i], g = dy[i];
            if (relu && !(normalized(value, centre, inverse, scale, shift) > 0.0f)) g = 0.0f;
            own.x += g;
            own.y += g * ((value - centre) * inverse);
        }
    }
    own = joined_over_strands(own, Add());
    if (threadIdx.y > 0 || c >= channels) return;
    bias_parts[slab * channels + c] = own.x;
    weight_parts[slab * channels + c] = own.y;
}

// dbias = sum g;  dweight = sum g x_hat
extern "C" __global__ void __launch_bounds__(MOST_THREADS) parameter_gradients(
    const float* bias_parts, const float* weight_parts, float* bias_gradient, float* weight_gradient,
    int channels, int slabs)
{
    int c = own_channel();
    float2 own = {0.0f, 0.0f};
    for (int slab = threadIdx.y; c < channels && slab < slabs; slab += blockDim.y)
        own = Add()(own, {bias_parts[slab * channels + c], weight_parts[slab * channels + c]});
    own = joined_over_strands(own, Add());
    if (threadIdx.y > 0 || c >= channels) return;
    bias_gradient[c] = own.x;
    weight_gradient[c] = own.y;
}

// dx = weight / sqrt(variance + eps) (g - dbias / M - x_hat dweight / M);  where the statistics are constants, of g alone
extern "C" __global__ void input_gradient(
    const float* dy, const float* x, const float* mean, const float* inverse_std, const float* weight, const float* bias,
    const float* bias_gradient, const float* weight_gradient, float* dx,
    int relu, int constant, int rows, int channels, int slab_rows)
{
    int c = own_channel();
    if (c >= channels) return;
    float centre = mean[c], inverse = inverse_std[c], scale = weight[c], shift = bias[c];
    float mean_g = constant ? 0.0f : bias_gradient[c] / rows, slope = constant ? 0.0f : weight_gradient[c] / rows;
    float factor = scale * inverse;
    int end = min(rows, (blockIdx.y + 1) * slab_rows);
    for (int row = blockIdx.y * slab_rows + threadIdx.y; row < end; row += blockDim.y) {
        int i = row * channels + c;
        float value = x[i], g = dy[i];
        if (relu && !(normalized(value, centre, inverse, scale, shift) > 0.0f)) g = 0.0f;
        if (!constant) g = g - mean_g - (value - centre) * inverse * slope;
        dx[i] = g * factor;
    }
}
