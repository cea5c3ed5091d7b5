// Settings, errors, the redirection of CuPy's own copy of the CUDA runtime, and the devices' properties.

#include "emulated.h"

#include <stdarg.h>
#include <sys/mman.h>

std::recursive_mutex one_at_a_time;
thread_local int current_device = 0;
int sticky = 0;
static thread_local int last_error = 0;

const char* setting(const char* name)
{
    static const std::map<string, string> settings = [] {
        std::map<string, string> result;
        const char* text = getenv("EMULATED_CUDA");
        for (string rest = text ? text : ""; !rest.empty();) {
            size_t end = std::min(rest.find(','), rest.size());
            string one = rest.substr(0, end);
            size_t equals = std::min(one.find('='), one.size());
            result[one.substr(0, equals)] = equals < one.size() ? one.substr(equals + 1) : "";
            rest.erase(0, end + 1);
        }
        return result;
    }();
    auto found = settings.find(name);
    return found == settings.end() ? nullptr : found->second.c_str();
}

size_t setting(const char* name, size_t otherwise)
{
    const char* value = setting(name);
    return value && *value ? strtoull(value, nullptr, 10) : otherwise;
}

void say(const char* format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("emulated CUDA: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}

static bool recording = false;
static string records;
void record(const char* what, const string& detail)
{
    Lock lock(one_at_a_time);
    if (recording) records += string(what) + "\t" + detail + "\n";
}
// From now on write down launches, copies and waits; or stop, and give what was written.
API const char* emulated_record(int on)
{
    static string given;
    Lock lock(one_at_a_time);
    given = records;
    records.clear();
    recording = on;
    return given.c_str();
}

// ---- errors

static const std::map<int, std::pair<const char*, const char*>> ERRORS = {
    {0, {"Success", "no error"}},
    {1, {"InvalidValue", "invalid argument"}},
    {2, {"MemoryAllocation", "out of memory"}},
    {35, {"InsufficientDriver", "CUDA driver version is insufficient for CUDA runtime version"}},
    {100, {"NoDevice", "no CUDA-capable device is detected"}},
    {101, {"InvalidDevice", "invalid device ordinal"}},
    {200, {"InvalidKernelImage", "device kernel image is invalid"}},
    {400, {"InvalidResourceHandle", "invalid resource handle"}},
    {401, {"IllegalState", "the operation cannot be performed in the present state"}},
    {500, {"SymbolNotFound", "named symbol not found"}},
    {600, {"NotReady", "device not ready"}},
    {700, {"IllegalAddress", "an illegal memory access was encountered"}},
    {719, {"LaunchFailure", "unspecified launch failure"}},
    {801, {"NotSupported", "operation not supported"}},
    {900, {"StreamCaptureUnsupported", "operation not permitted when stream is capturing"}},
    {901, {"StreamCaptureInvalidated", "operation failed due to a previous error during capture"}},
    {906, {"StreamCaptureImplicit", "operation would make the legacy stream depend on a capturing blocking stream"}},
};
static string name_of(int error)
{
    auto found = ERRORS.find(error);
    return found == ERRORS.end() ? "Unknown" : found->second.first;
}
static const char* kept(const string& text)
{
    static std::map<string, string> all;
    Lock lock(one_at_a_time);
    return (all[text] = text).c_str();
}

int fail(int error, const char* what)
{
    if (setting("verbose")) say("%s: cudaError%s", what, name_of(error).c_str());
    return last_error = error;
}

API int emulated_unsupported(const char* name)
{
    say("%s is not emulated", name);
    return cudaErrorNotSupported;
}

API const char* emulated_cudaGetErrorName(cudaError_t e) { return e ? kept("cudaError" + name_of(e)) : "cudaSuccess"; }
API const char* emulated_cudaGetErrorString(cudaError_t e)
{
    auto found = ERRORS.find(e);
    return found == ERRORS.end() ? "unknown error" : found->second.second;
}
API const char* cudaGetErrorName(cudaError_t e) { return emulated_cudaGetErrorName(e); }
RUNTIME(cudaGetLastError)() { int error = last_error; last_error = 0; return (cudaError_t)(sticky ? sticky : error); }
RUNTIME(cudaPeekAtLastError)() { return (cudaError_t)(sticky ? sticky : last_error); }
API int cuGetErrorName(int error, const char** name)
{
    string text = "CUDA_ERROR";
    for (char c : name_of(error)) text += isupper(c) ? string("_") + c : string(1, toupper(c));
    *name = kept(text);
    return 0;
}
API int cuGetErrorString(int error, const char** text) { *text = emulated_cudaGetErrorString((cudaError_t)error); return 0; }

// ---- redirection

static void jump(unsigned char* at, const void* to)
{
    memcpy(at, "\xff\x25\0\0\0\0", 6);  // jmp *0(%rip)
    memcpy(at + 6, &to, 8);
}

// Let the function at an address jump to another one; or, where there is none, say its name and fail.
API void emulated_redirect(unsigned char* at, const void* to, const char* name)
{
    const size_t STUB = 24, PAGES = 65536;
    if (!to) {
        static unsigned char *next, *end;
        if (!next || next + STUB > end) {
            next = (unsigned char*)mmap(0, PAGES, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            end = next + PAGES;
        }
        const char* text = kept(name);
        memcpy(next, "\x48\xbf", 2);  // movabs $name, %rdi
        memcpy(next + 2, &text, 8);
        jump(next + 10, (void*)emulated_unsupported);
        to = next;
        next += STUB;
    }
    size_t first = (size_t)at & ~4095ul, last = ((size_t)at + 14 + 4095) & ~4095ul;
    mprotect((void*)first, last - first, PROT_READ | PROT_WRITE | PROT_EXEC);
    jump(at, to);
    mprotect((void*)first, last - first, PROT_READ | PROT_EXEC);
}

// ---- devices, with the numbers of an H200's data sheet

int device_count() { return std::min<size_t>(setting("devices", 1), MOST_DEVICES); }

RUNTIME(cudaGetDeviceCount)(int* count)
{
    *count = 0;
    const char *driver = setting("driver"), *visible = getenv("CUDA_VISIBLE_DEVICES");
    if (driver && !strcmp(driver, "old")) FAIL(cudaErrorInsufficientDriver);
    if (!device_count() || (visible && (!*visible || !strcmp(visible, "-1")))) FAIL(cudaErrorNoDevice);
    *count = device_count();
    return cudaSuccess;
}
RUNTIME(cudaGetDevice)(int* device) { *device = current_device; return cudaSuccess; }
const size_t CONTEXT = 1000;  // bytes of a device that CUDA takes for itself, fewer than of a real one
RUNTIME(cudaSetDevice)(int device)
{
    if (device < 0 || device >= device_count()) FAIL(cudaErrorInvalidDevice);
    if (setting("memory", 8ul << 30) < CONTEXT) FAIL(cudaErrorMemoryAllocation);
    current_device = device;
    return cudaSuccess;
}
RUNTIME(cudaGetDeviceProperties)(cudaDeviceProp* p, int device)
{
    if (device < 0 || device >= device_count()) FAIL(cudaErrorInvalidDevice);
    memset(p, 0, sizeof *p);
    strcpy(p->name, "Emulated CUDA device (no GPU)");
    p->totalGlobalMem = setting("memory", 8ul << 30);
    p->sharedMemPerBlock = 49152, p->regsPerBlock = 65536, p->warpSize = 32, p->maxThreadsPerBlock = 1024;
    p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024, p->maxThreadsDim[2] = 64;
    p->maxGridSize[0] = 2147483647, p->maxGridSize[1] = p->maxGridSize[2] = 65535;
    p->totalConstMem = 65536, p->major = 9, p->minor = 0, p->textureAlignment = 512, p->multiProcessorCount = 132;
    p->unifiedAddressing = 1, p->concurrentKernels = 1, p->l2CacheSize = 62914560;
    p->maxThreadsPerMultiProcessor = 2048, p->sharedMemPerMultiprocessor = 233472, p->regsPerMultiprocessor = 65536;
    p->sharedMemPerBlockOptin = 232448, p->streamPrioritiesSupported = 1;
    p->memoryPoolsSupported = 1, p->asyncEngineCount = 3, p->maxBlocksPerMultiProcessor = 32, p->memoryBusWidth = 6144;
    return cudaSuccess;
}
RUNTIME(cudaDeviceGetAttribute)(int* value, cudaDeviceAttr attribute, int)
{
    static const std::map<int, int> values = {
        {cudaDevAttrComputeCapabilityMajor, 9}, {cudaDevAttrComputeCapabilityMinor, 0}, {cudaDevAttrMaxThreadsPerBlock, 1024},
        {cudaDevAttrMaxBlockDimX, 1024}, {cudaDevAttrMaxBlockDimY, 1024}, {cudaDevAttrMaxBlockDimZ, 64},
        {cudaDevAttrMaxGridDimX, 2147483647}, {cudaDevAttrMaxGridDimY, 65535}, {cudaDevAttrMaxGridDimZ, 65535},
        {cudaDevAttrMaxSharedMemoryPerBlock, 49152}, {cudaDevAttrWarpSize, 32}, {cudaDevAttrMultiProcessorCount, 132},
        {cudaDevAttrMemoryPoolsSupported, 1}, {cudaDevAttrClockRate, 1980000}, {cudaDevAttrMaxRegistersPerBlock, 65536},
        {cudaDevAttrMaxSharedMemoryPerBlockOptin, 232448}, {cudaDevAttrUnifiedAddressing, 1},
        {cudaDevAttrMemoryClockRate, 3201000}, {cudaDevAttrGlobalMemoryBusWidth, 6144}, {cudaDevAttrL2CacheSize, 62914560},
        {cudaDevAttrMaxThreadsPerMultiProcessor, 2048}, {cudaDevAttrConcurrentKernels, 1},
        {cudaDevAttrMaxSharedMemoryPerMultiprocessor, 233472}, {cudaDevAttrMaxRegistersPerMultiprocessor, 65536}};
    auto found = values.find(attribute);
    *value = found == values.end() ? 0 : found->second;  // CuPy asks for all that there are; 0 is what is not there
    return cudaSuccess;
}
RUNTIME(cudaDeviceGetPCIBusId)(char* id, int length, int device) { snprintf(id, length, "0000:%02x:00.0", device); return cudaSuccess; }
RUNTIME(cudaDeviceCanAccessPeer)(int* can, int, int) { *can = 0; return cudaSuccess; }
RUNTIME(cudaDriverGetVersion)(int* version) { *version = 13000; return cudaSuccess; }
RUNTIME(cudaRuntimeGetVersion)(int* version) { *version = 13000; return cudaSuccess; }
API cudaError_t cudaRuntimeGetVersion(int* version) { return emulated_cudaRuntimeGetVersion(version); }
RUNTIME(cudaProfilerStart)() { return cudaSuccess; }
RUNTIME(cudaProfilerStop)() { return cudaSuccess; }
