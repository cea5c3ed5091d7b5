// What the parts of the emulated device share. A function of the CUDA runtime is emulated_<name>: hook.py makes the
// function of that name inside CuPy's modules jump to it.
#pragma once

#include <cuda_runtime_api.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#define API extern "C" __attribute__((visibility("default")))
#define RUNTIME(name) API cudaError_t emulated_##name
using std::string;
using std::vector;
typedef std::function<int()> Work;  // 0, or an error of CUDA

extern std::recursive_mutex one_at_a_time;
typedef std::lock_guard<std::recursive_mutex> Lock;
const int MOST_DEVICES = 8;
extern thread_local int current_device;
extern int sticky;  // the error that broke the device: every call from then on returns it

// runtime.cpp
const char* setting(const char* name);  // of the variable EMULATED_CUDA: "" where it has no value, NULL where it is off
size_t setting(const char* name, size_t otherwise);
int device_count();
int fail(int error, const char* what);
void say(const char* format, ...) __attribute__((format(printf, 1, 2)));
void record(const char* what, const string& detail = "");  // what the caller of emulated_record() wants to know
API int emulated_unsupported(const char* name);
#define FAIL(error) return (cudaError_t)fail(error, __func__ + (strncmp(__func__, "emulated_", 9) ? 0 : 9))
#define CHECK(call) if (int error = call) return (cudaError_t)error
#define CALLER (__func__ + (strncmp(__func__, "emulated_", 9) ? 0 : 9))

// memory.cpp
struct Open {  // device memory can be read and written while one of these lives
    Open();
    ~Open();
    unsigned before;
};
bool is_device(const void* p), is_pinned(const void* p);
bool is_readable_by_kernel(const void* p);  // on the current device; or pinned; or NULL
string describe(const void* p);
int run_kernel(const string& name, const Work& kernel);  // with errors for addresses that are nobody's
extern unsigned char* const shared_end;  // behind the memory that the threads of a block share

// streams.cpp
struct Graph { vector<Work> nodes; };
struct Stream {
    unsigned flags = 0;
    int priority = 0, device = 0, mode = 0;
    Graph* capture = nullptr;
    bool broken = false;
    std::deque<Work> queue;
};
Stream* stream_of(void* stream);
bool is_late();
int enqueue(void* stream, Work work);        // do it now, when somebody waits, or whenever a graph is launched
int drain(Stream* stream), drain_all();
int check_capture(void* stream, const char* what);  // for what may not be called on a stream that captures
int check_safe(const char* what);                   // for what may not be called while anything captures
void finish_before(Stream* stream);                 // what the other streams were given before

// threads.cpp
struct Size3 { unsigned x, y, z; };
struct Launch { Size3 grid, block; unsigned shared; bool reversed; void** arguments; };
