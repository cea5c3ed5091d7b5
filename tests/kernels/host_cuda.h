// CUDA on the host, as far as the kernels use it: every thread of a block is a fiber, and the blocks run one by one.
// A fiber runs until it meets the others, in __syncthreads() or in a warp's shuffle; then the next fiber runs. Threads
// of a block that do not meet in the same place, which hangs or goes wrong on a GPU, end the launch with an error.

#include <math.h>
#include <string.h>
#include <ucontext.h>
#include <algorithm>
#include <vector>

#define __global__
#define __device__
#define __shared__ static  // one block runs at a time

struct uint3 { unsigned x, y, z; };
struct float2 { float x, y; };
using std::isnan;
using std::max;
using std::min;

static uint3 threadIdx, blockIdx, blockDim, gridDim;

namespace host {

const int STACK = 1 << 16, DONE = -1, BLOCK = -2;  // where a fiber waits; a warp's shuffle has its line number

struct Fiber {
    ucontext_t context;
    std::vector<char> stack;
    uint3 index;
    int waits_in;
    float shuffled;
};

static std::vector<Fiber> fibers;
static ucontext_t scheduler;
static int current;
static void (*kernel)();

static void body()
{
    kernel();
    fibers[current].waits_in = DONE;
}

[[maybe_unused]] static void wait(int where)
{
    int self = current;
    fibers[self].waits_in = where;
    swapcontext(&fibers[self].context, &scheduler);
    current = self;
    threadIdx = fibers[self].index;
}

// Whether the fibers [first, last) wait in one place.
static bool together(int first, int last)
{
    for (int i = first; i < last; ++i)
        if (fibers[i].waits_in != fibers[first].waits_in) return false;
    return true;
}

// Whether all who must meet have met: a warp in a shuffle; the whole block, except for who is done, in __syncthreads().
static bool met()
{
    for (int first = 0; first < (int)fibers.size(); first += 32) {
        int last = std::min(first + 32, (int)fibers.size());
        for (int i = first; i < last; ++i)
            if (fibers[i].waits_in >= 0 && !(last - first == 32 && together(first, last))) return false;
    }
    bool someone_waits = false, someone_is_done = false;
    for (Fiber& fiber : fibers) {
        someone_waits |= fiber.waits_in == BLOCK;
        someone_is_done |= fiber.waits_in != BLOCK;
    }
    return !(someone_waits && someone_is_done);
}

static bool run_block()
{
    for (size_t i = 0; i < fibers.size(); ++i) {
        Fiber& fiber = fibers[i];
        fiber.stack.resize(STACK);
        fiber.index = {unsigned(i % blockDim.x), unsigned(i / blockDim.x), 0};
        fiber.waits_in = 0;
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.data();
        fiber.context.uc_stack.ss_size = STACK;
        fiber.context.uc_link = &scheduler;
        makecontext(&fiber.context, body, 0);
    }
    for (bool running = true; running;) {
        running = false;
        for (size_t i = 0; i < fibers.size(); ++i) {
            if (fibers[i].waits_in == DONE) continue;
            current = i;
            threadIdx = fibers[i].index;
            swapcontext(&scheduler, &fibers[i].context);
            running |= fibers[i].waits_in != DONE;
        }
        if (!met()) return false;
    }
    return true;
}

// 0, or 1 where threads did not meet.
static int run(void (*function)(), uint3 grid, uint3 block)
{
    kernel = function, gridDim = grid, blockDim = block;
    fibers.resize(block.x * block.y);
    for (blockIdx.y = 0; blockIdx.y < grid.y; ++blockIdx.y)
        for (blockIdx.x = 0; blockIdx.x < grid.x; ++blockIdx.x)
            if (!run_block()) return 1;
    return 0;
}

[[maybe_unused]] static float shuffle_xor(float value, int lanes, int line)
{
    int self = current;
    fibers[self].shuffled = value;
    wait(line);
    value = fibers[self / 32 * 32 + (self % 32 ^ lanes)].shuffled;
    wait(line);  // nobody writes before everybody has read
    return value;
}

}  // namespace host

#define __syncthreads() host::wait(host::BLOCK)
#define __shfl_xor_sync(mask, value, lanes) host::shuffle_xor(value, lanes, __LINE__)
