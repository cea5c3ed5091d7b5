// Softmax cross-entropy and its gradient in one pass over the logits (N, K): one warp for each row, threads (32, rows).

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
// losses[n] = (log sum_k exp(z[k] - m) - sum_k t[k] (z[k] - m)) / N,  m = max_k z[k];  gradient[n,k] = (p[k] - t[k]) / N
extern "C" __global__ void softmax_cross_entropy(
    const float* logits, const int* labels, float* losses, float* gradient, float on, float off, int rows, int classes)
{
    int row = blockIdx.x * blockDim.y + threadIdx.y, lane = threadIdx.x;
    if (row >= rows) return;  // the whole warp
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
    if (lane == 0) losses[row] = (logf(total) - hit) / rows;
}
