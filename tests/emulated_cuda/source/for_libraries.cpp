// What the emulated libraries, cuBLAS among them, and Python code that computes on the host need of the device.

#include "emulated.h"

// Work of a library on a stream: `data` is copied, and given to `work` when its turn has come.
API int emulated_enqueue(const char* what, void* stream, int (*work)(void*), const void* data, size_t size)
{
    record("launch", what);
    string copy((const char*)data, size);
    string name = what;
    return enqueue(stream, [=]() mutable { return run_kernel(name, [&] { return work(copy.data()); }); });
}
API bool emulated_is_capturing(void* stream) { return stream_of(stream)->capture; }
API void emulated_complain(const char* what, const void* p)
{
    say("%s: expected memory of device %d, got %s", what, current_device, describe(p).c_str());
    sticky = cudaErrorIllegalAddress;
}
// Bytes of device memory after all work that was given before; and back.
API int emulated_read(void* to, const void* from, size_t size)
{
    Lock lock(one_at_a_time);
    Open open;
    CHECK(drain_all());
    memcpy(to, from, size);
    return 0;
}
API int emulated_write(void* to, const void* from, size_t size)
{
    Lock lock(one_at_a_time);
    Open open;
    memcpy(to, from, size);
    return 0;
}
