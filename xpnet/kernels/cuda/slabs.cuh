// Sums over the rows of (M, C): images (N, H, W, C) or vectors (N, C), for each channel.
//
// A block is threads (lanes, strands): threadIdx.x is the channel, and the strands of a channel take every so-many-th
// row of the block's slab of rows. Their results are joined in pairs, in an order that depends on M and C alone.

const int MOST_THREADS = 1024;  // of a block

__device__ int own_channel() { return blockIdx.x * blockDim.x + threadIdx.x; }

// A slab's own result in its first strand; all threads must come here.
template <class T, class Join> __device__ T joined_over_strands(T own, Join join)
{
    __shared__ T strands[MOST_THREADS];
    int here = threadIdx.y * blockDim.x + threadIdx.x;
    strands[here] = own;
    for (int half = blockDim.y / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.y < half) strands[here] = join(strands[here], strands[here + half * blockDim.x]);
    }
    return strands[here];
}
