// Device memory: its own range of addresses, closed to the host, each block followed by a page that is nobody's.
//
// Addresses are never given twice, so that freed memory faults. New memory is NaN in every kind of floating point number,
// and -1 in integers. Where the processor has protection keys, a thread can reach device memory only while it runs work
// of a stream.

#include "emulated.h"

#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static const size_t FIRST = 0x200000000000, RANGE = 1ul << 40, PAGE = 4096;
static const unsigned char UNWRITTEN = 0xff, BORDER = 0xa5;
struct Block { size_t size, first_page, bytes; int device; };
static std::map<size_t, Block> device_memory, pinned_memory;  // by address
static size_t in_use[MOST_DEVICES], next_page[MOST_DEVICES];

static size_t up(size_t n, size_t to) { return (n + to - 1) / to * to; }

static int protection_key()
{
    static int key = pkey_alloc(0, PKEY_DISABLE_ACCESS);  // -1 where the processor has none
    return key;
}
Open::Open()
{
    if (protection_key() < 0) return;
    before = pkey_get(protection_key());
    pkey_set(protection_key(), 0);
}
Open::~Open()
{
    if (protection_key() >= 0) pkey_set(protection_key(), before);
}

static std::map<size_t, Block>::const_iterator below(const std::map<size_t, Block>& memory, const void* p)
{
    auto after = memory.upper_bound((size_t)p);
    return after == memory.begin() ? memory.end() : --after;
}
// The block that an address is in, or right behind, where views without elements begin.
static const Block* lies_in(const std::map<size_t, Block>& memory, const void* p)
{
    auto found = below(memory, p);
    return found != memory.end() && (size_t)p <= found->first + found->second.size ? &found->second : nullptr;
}
bool is_device(const void* p) { Lock lock(one_at_a_time); return lies_in(device_memory, p); }
bool is_pinned(const void* p) { Lock lock(one_at_a_time); return lies_in(pinned_memory, p); }
bool is_readable_by_kernel(const void* p)
{
    Lock lock(one_at_a_time);
    if (!p) return true;
    const Block* block = lies_in(device_memory, p);
    return block ? block->device == current_device : lies_in(pinned_memory, p) != nullptr;
}

string describe(const void* p)
{
    char text[200];
    size_t address = (size_t)p;
    auto found = below(device_memory, p);
    if (address < FIRST || address >= FIRST + MOST_DEVICES * RANGE)
        snprintf(text, sizeof text, "%p, an address of the host", p);
    else if (found == device_memory.end() || (address - FIRST) / RANGE != (size_t)found->second.device)
        snprintf(text, sizeof text, "%p, device memory that was freed or never allocated", p);
    else if (address < found->first + found->second.size)
        snprintf(text, sizeof text, "%p, in %zu bytes of device %d's memory", p, found->second.size, found->second.device);
    else
        snprintf(text, sizeof text, "%p, %zu bytes behind the end of %zu bytes of device %d's memory", p,
            address - found->first - found->second.size, found->second.size, found->second.device);
    return text;
}

// ---- faults

static thread_local sigjmp_buf* rescue;
static thread_local void* fault_address;
static struct sigaction before_us;

static void on_fault(int signal, siginfo_t* info, void*)
{
    if (rescue) {
        fault_address = info->si_addr;
        siglongjmp(*rescue, signal);
    }
    size_t address = (size_t)info->si_addr;
    if (address >= FIRST && address < FIRST + MOST_DEVICES * RANGE)
        say("the host reads or writes %s", describe(info->si_addr).c_str());
    sigaction(signal, &before_us, nullptr);  // the same instruction fails again, as without us
}
static struct sigaction handler()
{
    struct sigaction action = {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    return action;
}
__attribute__((constructor)) static void watch()
{
    struct sigaction action = handler();
    sigaction(SIGSEGV, &action, &before_us);
}

int run_kernel(const string& name, const Work& kernel)
{
    static const int SIGNALS[] = {SIGSEGV, SIGBUS, SIGILL};  // the last from a check of an index
    struct sigaction action = handler(), before[3];
    for (int i = 0; i < 3; ++i) sigaction(SIGNALS[i], &action, &before[i]);
    sigjmp_buf here;
    Open open;
    int error = 0, signal = sigsetjmp(here, 1);
    if (signal) {
        error = sticky = cudaErrorIllegalAddress;
        Open again;  // the handler came with its own rights
        if (signal == SIGILL) say("kernel %s: an index lies outside its array", name.c_str());
        else say("kernel %s reads or writes %s", name.c_str(), describe(fault_address).c_str());
    } else {
        rescue = &here;
        error = kernel();
    }
    rescue = nullptr;
    for (int i = 0; i < 3; ++i) sigaction(SIGNALS[i], &before[i], nullptr);
    return error;
}

static unsigned char* map_shared()
{
    const size_t SIZE = 1 << 18;
    auto p = (unsigned char*)mmap(0, SIZE + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(p + SIZE, PAGE, PROT_NONE);
    return p + SIZE;
}
unsigned char* const shared_end = map_shared();

// ---- allocation

RUNTIME(cudaMalloc)(void** p, size_t size)
{
    Lock lock(one_at_a_time);
    *p = nullptr;
    CHECK(check_safe(CALLER));
    CHECK(sticky);
    if (!size) return cudaSuccess;
    int device = current_device;
    if (in_use[device] + size > setting("memory", 8ul << 30)) FAIL(cudaErrorMemoryAllocation);
    if (!next_page[device]) next_page[device] = FIRST + device * RANGE + RANGE / 2;
    Block block = {size, next_page[device], up(size, PAGE), device};
    auto pages = (char*)mmap((void*)block.first_page, block.bytes, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (pages != (char*)block.first_page) FAIL(cudaErrorMemoryAllocation);
    if (protection_key() >= 0) pkey_mprotect(pages, block.bytes, PROT_READ | PROT_WRITE, protection_key());
    next_page[device] += block.bytes + PAGE;
    // A guarded block ends, but for its alignment, where the page ends.
    char* start = setting("guard") ? pages + block.bytes - up(size, 16) : pages;
    Open open;
    memset(pages, BORDER, start - pages);
    memset(start, UNWRITTEN, size);
    memset(start + size, BORDER, pages + block.bytes - start - size);
    device_memory[(size_t)start] = block;
    in_use[device] += size;
    record("allocate", std::to_string(size));
    *p = start;
    return cudaSuccess;
}

// Whether nobody has written to a block's pages outside of it.
static bool borders_hold(size_t address, const Block& block)
{
    Open open;
    for (size_t at = block.first_page; at < block.first_page + block.bytes; ++at) {
        if (at == address) at += block.size;
        if (at < block.first_page + block.bytes && *(unsigned char*)at != BORDER) {
            say("a kernel has written to %p, beside %zu bytes of device memory at %p", (void*)at, block.size, (void*)address);
            return false;
        }
    }
    return true;
}

RUNTIME(cudaFree)(void* p)
{
    Lock lock(one_at_a_time);
    if (!p) return cudaSuccess;
    auto found = device_memory.find((size_t)p);
    if (found == device_memory.end()) FAIL(cudaErrorInvalidValue);
    drain_all();
    Block block = found->second;
    if (!borders_hold(found->first, block)) sticky = cudaErrorIllegalAddress;
    in_use[block.device] -= block.size;
    munmap((void*)block.first_page, block.bytes);
    device_memory.erase(found);
    return (cudaError_t)sticky;
}
RUNTIME(cudaMallocAsync)(void** p, size_t size, cudaStream_t) { return emulated_cudaMalloc(p, size); }
RUNTIME(cudaFreeAsync)(void* p, cudaStream_t) { return emulated_cudaFree(p); }
RUNTIME(cudaHostAlloc)(void** p, size_t size, unsigned)
{
    Lock lock(one_at_a_time);
    CHECK(check_safe(CALLER));
    if (posix_memalign(p, PAGE, size ? size : 1)) FAIL(cudaErrorMemoryAllocation);
    pinned_memory[(size_t)*p] = {size, 0, 0, -1};
    return cudaSuccess;
}
RUNTIME(cudaFreeHost)(void* p)
{
    Lock lock(one_at_a_time);
    drain_all();
    pinned_memory.erase((size_t)p);
    free(p);
    return cudaSuccess;
}
RUNTIME(cudaMemGetInfo)(size_t* unused, size_t* total)
{
    *total = setting("memory", 8ul << 30);
    *unused = *total - in_use[current_device];
    return cudaSuccess;
}
RUNTIME(cudaPointerGetAttributes)(cudaPointerAttributes* a, const void* p)
{
    Lock lock(one_at_a_time);
    *a = {};
    const Block *device = lies_in(device_memory, p), *pinned = lies_in(pinned_memory, p);
    a->type = device ? cudaMemoryTypeDevice : pinned ? cudaMemoryTypeHost : cudaMemoryTypeUnregistered;
    a->device = device ? device->device : -2;
    a->devicePointer = device || pinned ? (void*)p : nullptr;
    a->hostPointer = pinned ? (void*)p : nullptr;
    return cudaSuccess;
}

// ---- copies

static bool fits(const void* p, size_t size, bool on_device, const char* what)
{
    if (is_device(p) == on_device && (!on_device || is_device((const char*)p + size))) return true;
    say("%s: expected %s memory, got %s", what, on_device ? "device" : "host", describe(p).c_str());
    return false;
}
static int check_copy(void* to, const void* from, size_t size, int kind, const char* what)
{
    Lock lock(one_at_a_time);
    CHECK(sticky);
    if (!size) return 0;
    bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    if (kind == cudaMemcpyDefault) to_device = is_device(to), from_device = is_device(from);
    if (!fits(to, size, to_device, what) || !fits(from, size, from_device, what)) return fail(cudaErrorInvalidValue, what);
    record(to_device ? from_device ? "on device" : "to device" : "to host", std::to_string(size));
    return 0;
}
RUNTIME(cudaMemcpy)(void* to, const void* from, size_t size, cudaMemcpyKind kind)
{
    CHECK(check_safe(CALLER));
    CHECK(check_capture(nullptr, CALLER));
    CHECK(check_copy(to, from, size, kind, CALLER));
    Lock lock(one_at_a_time);
    finish_before(stream_of(nullptr));
    drain(stream_of(nullptr));
    Open open;
    memmove(to, from, size);
    return (cudaError_t)sticky;
}
RUNTIME(cudaMemcpyAsync)(void* to, const void* from, size_t size, cudaMemcpyKind kind, cudaStream_t s)
{
    CHECK(check_copy(to, from, size, kind, CALLER));
    Lock lock(one_at_a_time);
    const size_t STAGED = 65536;
    // Of pageable memory: a little that is read is staged at once, what is written is waited for.
    auto is_pageable = [](const void* p) { return !is_device(p) && !is_pinned(p); };
    bool waits = is_late() && !stream_of(s)->capture && (is_pageable(to) || is_pageable(from));
    if (waits && is_pageable(from) && size <= STAGED) {
        string staged((const char*)from, size);
        return (cudaError_t)enqueue(s, [=] { memmove(to, staged.data(), size); return 0; });
    }
    int error = enqueue(s, [=] { memmove(to, from, size); return 0; });
    return (cudaError_t)(waits ? drain(stream_of(s)) : error);
}
RUNTIME(cudaMemcpyPeerAsync)(void* to, int, const void* from, int, size_t size, cudaStream_t s)
{
    CHECK(check_copy(to, from, size, cudaMemcpyDeviceToDevice, CALLER));
    drain_all();  // the source is of another device, whose work comes first
    return (cudaError_t)enqueue(s, [=] { memmove(to, from, size); return 0; });
}
RUNTIME(cudaMemcpyPeer)(void* to, int d, const void* from, int e, size_t size) { return emulated_cudaMemcpyPeerAsync(to, d, from, e, size, nullptr); }
RUNTIME(cudaMemsetAsync)(void* p, int value, size_t size, cudaStream_t s)
{
    if (!fits(p, size, true, CALLER)) FAIL(cudaErrorInvalidValue);
    record("set", std::to_string(size));
    return (cudaError_t)enqueue(s, [=] { memset(p, value, size); return 0; });
}
RUNTIME(cudaMemset)(void* p, int value, size_t size)
{
    CHECK(check_capture(nullptr, CALLER));
    return emulated_cudaMemsetAsync(p, value, size, nullptr);
}
