// CUB's reductions and scans, of which CuPy's wheel holds machine code for GPUs.

#include "emulated.h"

#include <math.h>
#include <algorithm>
#include <type_traits>
#include "../include/cuda_fp16.h"

struct Half {  // CUB adds float16 in float16
    unsigned short x;
    Half() {}
    Half(float f) : x(emulated_to_half(f)) {}
    operator float() const { return emulated_from_half(x); }
};
enum { SUM, MIN, MAX, ARGMIN, ARGMAX, CUMSUM, CUMPROD, PROD };  // as in CuPy's cub.pyx
template <class T> static bool is_nan(T x) { if constexpr (std::is_integral_v<T>) return false; else return std::isnan((float)x); }
template <class T> static T combined(int op, T a, T b)
{
    switch (op) {
    case SUM: case CUMSUM: return a + b;
    case PROD: case CUMPROD: return a * b;
    case MIN: return is_nan(a) ? a : is_nan(b) ? b : a < b ? a : b;
    default: return is_nan(a) ? a : is_nan(b) ? b : a < b ? b : a;
    }
}
// As the threads of a block do: each adds every 256th, then pairs are added.
template <class T> static T reduced(int op, const T* x, int64_t n)
{
    const int THREADS = 256;
    if (!n) return op == PROD ? T(1) : T(0);
    vector<T> own(x, x + std::min<int64_t>(n, THREADS));
    for (int64_t i = THREADS; i < n; ++i) own[i % THREADS] = combined<T>(op, own[i % THREADS], x[i]);
    for (size_t half = THREADS / 2; half; half /= 2)
        for (size_t i = 0; i < half && i + half < own.size(); ++i) own[i] = combined<T>(op, own[i], own[i + half]);
    return own[0];
}
template <class T> static int reduce_as(int op, const T* x, char* y, int64_t segments, int64_t n)
{
    if (op == ARGMIN || op == ARGMAX) {
        int best = 0;
        for (int64_t i = 1; i < n; ++i)
            if (!is_nan(x[best]) && (is_nan(x[i]) || (op == ARGMIN ? x[i] < x[best] : x[best] < x[i]))) best = i;
        *(int*)y = best;  // CUB's pair of index and value
        *(T*)(y + std::max<size_t>(sizeof(int), alignof(T))) = x[best];
        return 0;
    }
    for (int64_t i = 0; i < segments; ++i) ((T*)y)[i] = reduced(op, x + i * n, n);
    return 0;
}
template <class T> static int scan_as(int op, const T* x, T* y, int64_t n)
{
    for (int64_t i = 0; i < n; ++i) y[i] = i ? combined<T>(op, y[i - 1], x[i]) : x[0];
    return 0;
}
#define EACH_TYPE(CALL) \
    switch (type) { \
    case 0: return CALL(signed char); case 1: case 13: return CALL(unsigned char); case 2: return CALL(short); \
    case 3: return CALL(unsigned short); case 4: return CALL(int); case 5: return CALL(unsigned); case 6: return CALL(long); \
    case 7: return CALL(unsigned long); case 8: return CALL(Half); case 9: return CALL(float); case 10: return CALL(double); \
    default: return emulated_unsupported("CUB of complex numbers"); }

API void emulated_cub_device_segmented_reduce(void*, size_t&, void* x, void* y, int segments, int n, void* s, int op, int type)
{
    record("launch", "cub_reduce");
    enqueue(s, [=] { return run_kernel("cub_reduce", [=] {
#define REDUCE(T) reduce_as<T>(op, (const T*)x, (char*)y, segments, n)
        EACH_TYPE(REDUCE)
    }); });
}
API void emulated_cub_device_reduce(void* w, size_t& size, void* x, void* y, int n, void* s, int op, int type)
{
    emulated_cub_device_segmented_reduce(w, size, x, y, 1, n, s, op, type);
}
API void emulated_cub_device_scan(void*, size_t&, void* x, void* y, int n, void* s, int op, int type)
{
    record("launch", "cub_scan");
    enqueue(s, [=] { return run_kernel("cub_scan", [=] {
#define SCAN(T) scan_as<T>(op, (const T*)x, (T*)y, n)
        EACH_TYPE(SCAN)
    }); });
}
API size_t emulated_cub_workspace_size() { return 1; }
