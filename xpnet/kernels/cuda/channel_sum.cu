// Sums over the rows of (M, C): a bias's gradient. Of many rows there are two launches: of slabs, then over the slabs.

#include "slabs.cuh"

struct Add {
    __device__ float operator()(float a, float b) const { return a + b; }
};

// sums[slab,c] = sum of x[m,c] over the slab's rows
extern "C" __global__ void __launch_bounds__(MOST_THREADS) channel_sum(
    const float* x, float* sums, int rows, int channels, int slab_rows)
{
    int c = own_channel(), slab = blockIdx.y;
    int end = min(rows, (slab + 1) * slab_rows);
    float own = 0.0f;
    for (int row = slab * slab_rows + threadIdx.y; c < channels && row < end; row += blockDim.y)
        own += x[row * channels + c];
    own = joined_over_strands(own, Add());
    if (threadIdx.y == 0 && c < channels) sums[slab * channels + c] = own;
}
