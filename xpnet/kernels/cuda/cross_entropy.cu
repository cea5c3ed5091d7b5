// Softmax cross-entropy and its gradient in one pass over the logits (N, K): one warp for each row, threads (32, rows).

const int THREADS = 256;      // of the block that counts hits
const int MOST_STRANDS = 32;  // warps of a block that computes losses

__device__ float warp_max(float value)
{
    for (int lane = 16; lane > 0; lane /= 2) value = fmaxf(value, __shfl_xor_sync(0xffffffff, value, lane));
    return value;
}

__device__ float warp_sum(float value)
{
    for (int lane = 16; lane > 0; lane /= 2) value += __shfl_xor_sync(0xffffffff, value, lane);
    return value;
}

// p = softmax(z);  t[k] = off, and on more for the true class
// loss of n = (log sum_k exp(z[k] - m) - sum_k t[k] (z[k] - m)) / N,  m = max_k z[k];  gradient[n,k] = (p[k] - t[k]) / N
// Each block sums the losses of its rows; a grid of one block goes through all rows.
extern "C" __global__ void softmax_cross_entropy(
    const float* logits, const int* labels, float* losses, float* gradient, float on, float off, int rows, int classes)
{
    __shared__ float sums[MOST_STRANDS];
    int lane = threadIdx.x;
    float own = 0.0f;
    for (int row = blockIdx.x * blockDim.y + threadIdx.y; row < rows; row += gridDim.x * blockDim.y) {
        const float* z = logits + row * classes;
        float* dz = gradient + row * classes;
        int label = labels[row];

        float maximum = z[0];
        for (int k = lane; k < classes; k += 32) maximum = fmaxf(maximum, z[k]);
        maximum = warp_max(maximum);

        float total = 0.0f, hit = 0.0f;
        for (int k = lane; k < classes; k += 32) {
            float shifted = z[k] - maximum, target = k == label ? on + off : off;
            total += expf(shifted);
            hit += shifted * target;
        }
        total = warp_sum(total);
        hit = warp_sum(hit);

        for (int k = lane; k < classes; k += 32) {
            float target = k == label ? on + off : off;
            dz[k] = (expf(z[k] - maximum) / total - target) / rows;
        }
        own += (logf(total) - hit) / rows;
    }
    if (lane == 0) sums[threadIdx.y] = own;
    __syncthreads();
    if (threadIdx.y > 0) return;
    float loss = warp_sum(lane < blockDim.y ? sums[lane] : 0.0f);
    if (lane == 0) losses[blockIdx.x] = loss;
}

// share = the number of rows whose first largest logit is that of their label, by the number of rows: in one block.
// A NaN is larger than any number, as in array operations.
extern "C" __global__ void accuracy(const float* logits, const int* labels, float* share, int rows, int classes)
{
    __shared__ int hits[THREADS];
    int own = 0;
    for (int row = threadIdx.x; row < rows; row += THREADS) {
        const float* z = logits + row * classes;
        int best = 0;
        for (int k = 1; k < classes; ++k)
            if (z[k] > z[best] || (isnan(z[k]) && !isnan(z[best]))) best = k;
        own += best == labels[row];
    }
    hits[threadIdx.x] = own;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) hits[threadIdx.x] += hits[threadIdx.x + half];
    }
    if (threadIdx.x == 0) share[0] = (float)hits[0] / rows;
}
