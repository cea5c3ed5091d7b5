// The threads of a block as fibers: each runs until it must meet others, in a barrier or in a shuffle of its warp.

#include "emulated.h"

#include <sys/mman.h>
#include <algorithm>

typedef void (*Body)(void*);
static const size_t STACK = 64 * 1024;
static const int WARP = 32;
enum State { RUNNING, DONE, IN_BLOCK, IN_WARP };
struct Fiber {
    void* stack_pointer;
    char* stack;
    State state;
    int place;      // the line of the shuffle that it waits in
    unsigned mask;  // whom it waits for
    Size3 index;
    alignas(16) char slot[16];
};
static vector<Fiber> fibers;
static size_t count;  // of the threads of a block
static int current;
static void* scheduler;
static Body body;
static void* body_data;

extern "C" void emulated_switch(void** save, void* load);
asm(R"(
    .text
    .globl emulated_switch
    .hidden emulated_switch
    .type emulated_switch, @function
emulated_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");

static void leave(State state)
{
    Fiber& self = fibers[current];
    self.state = state;
    emulated_switch(&self.stack_pointer, scheduler);
}
static void fiber_main()
{
    body(body_data);
    leave(DONE);
    abort();
}
API void emulated_sync_block() { leave(IN_BLOCK); }
API void emulated_sync_warp(unsigned mask, int place)
{
    fibers[current].mask = mask, fibers[current].place = place;
    leave(IN_WARP);
}
API int emulated_lane() { return current % WARP; }
API void* emulated_slot(int lane) { return fibers[current / WARP * WARP + lane].slot; }
API bool emulated_lane_exists(int lane) { return current / WARP * WARP + (size_t)lane < count; }
static unsigned shared_size;
// The block's memory whose size the launch gives; a page that is nobody's comes behind it.
API void* emulated_shared() { return shared_end - (shared_size + 15) / 16 * 16; }
API bool emulated_check(const void* p) { return is_readable_by_kernel(p); }

static bool release_block()
{
    for (size_t i = 0; i < count; ++i)
        if (fibers[i].state != IN_BLOCK) return false;  // whoever has returned is missed, as by the CUDA C++ guide
    for (size_t i = 0; i < count; ++i) fibers[i].state = RUNNING;
    return true;
}
static bool release_warp(size_t first)
{
    size_t last = std::min(first + WARP, count);
    bool released = false;
    for (size_t i = first; i < last; ++i) {
        if (fibers[i].state != IN_WARP) continue;
        int place = fibers[i].place;
        unsigned mask = fibers[i].mask;
        auto meets = [&](size_t j) { return fibers[j].state == IN_WARP && fibers[j].place == place; };
        bool all = true;
        for (size_t j = first; j < last; ++j)
            if (mask >> (j - first) & 1) all &= meets(j);
        if (!all) continue;
        for (size_t j = first; j < last; ++j)
            if ((mask >> (j - first) & 1) && meets(j)) fibers[j].state = RUNNING;
        released = true;
    }
    return released;
}
// Let go on whoever has met all those that it waits for; whether there was someone.
static bool release()
{
    if (release_block()) return true;
    bool released = false;
    for (size_t first = 0; first < count; first += WARP) released |= release_warp(first);
    return released;
}

static bool run_block(const Launch* launch, Size3* thread)
{
    for (size_t i = 0; i < count; ++i) {
        Fiber& fiber = fibers[i];
        if (!fiber.stack)
            fiber.stack = (char*)mmap(0, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        unsigned x = launch->block.x, y = launch->block.y;
        fiber.index = {unsigned(i % x), unsigned(i / x % y), unsigned(i / x / y)};
        fiber.state = RUNNING;
        void** top = (void**)(fiber.stack + STACK) - 1;  // after the ret below: 8 off from 16, as after a call
        *--top = (void*)fiber_main;
        fiber.stack_pointer = top - 6;
    }
    for (;;) {
        bool unfinished = false;
        for (size_t n = 0; n < count; ++n) {
            size_t i = launch->reversed ? count - 1 - n : n;
            if (fibers[i].state == RUNNING) {
                current = i;
                *thread = fibers[i].index;
                emulated_switch(&scheduler, fibers[i].stack_pointer);
            }
            unfinished |= fibers[i].state != DONE;
        }
        if (!unfinished) return true;
        if (!release()) return false;
    }
}

static Size3 unravel(size_t i, Size3 sizes)
{
    return {unsigned(i % sizes.x), unsigned(i / sizes.x % sizes.y), unsigned(i / sizes.x / sizes.y)};
}
// Run a kernel over its grid: 0, or 1 where threads of a block did not meet. Without barriers, `body` is called for each
// thread in turn.
API int emulated_run(const Launch* launch, Body kernel, void* data, bool has_barriers, Size3* thread, Size3* block)
{
    size_t blocks = (size_t)launch->grid.x * launch->grid.y * launch->grid.z;
    count = (size_t)launch->block.x * launch->block.y * launch->block.z;
    body = kernel, body_data = data, shared_size = launch->shared;
    if (has_barriers && fibers.size() < count) fibers.resize(count);
    for (size_t n = 0; n < blocks; ++n) {
        *block = unravel(launch->reversed ? blocks - 1 - n : n, launch->grid);
        memset(emulated_shared(), 0xff, shared_size);
        if (has_barriers) {
            if (!run_block(launch, thread)) return 1;
            continue;
        }
        for (size_t i = 0; i < count; ++i) {
            *thread = unravel(launch->reversed ? count - 1 - i : i, launch->block);
            kernel(data);
        }
    }
    return 0;
}
