// cuBLAS: products of matrices, by the OpenBLAS that NumPy has loaded. Columns come first, as in cuBLAS.

#include <dlfcn.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vector>
#include "../include/cuda_fp16.h"

#define API extern "C" __attribute__((visibility("default")))
extern "C" int emulated_enqueue(const char* what, void* stream, int (*work)(void*), const void* data, size_t size);
extern "C" bool emulated_is_capturing(void* stream);
extern "C" bool emulated_check(const void* p);
extern "C" void emulated_complain(const char* what, const void* p);
extern "C" int emulated_unsupported(const char* name);
extern "C" int emulated_read(void* to, const void* from, size_t size);

struct Handle { void* stream; int mode, pointer_mode; bool has_workspace; };
enum { NOT_INITIALIZED = 1, INVALID_VALUE = 7, EXECUTION_FAILED = 13, NOT_SUPPORTED = 15 };
enum { R_32F = 0, R_64F = 1, R_16F = 2, SUMS_OF_TF32 = 77 };
template <class T> using Gemm = void (*)(const char*, const char*, const int64_t*, const int64_t*, const int64_t*, const T*,
    const T*, const int64_t*, const T*, const int64_t*, const T*, T*, const int64_t*);

static void* find(const char* name)
{
    static void* library;
    if (!library)
        dl_iterate_phdr([](dl_phdr_info* info, size_t, void*) {
            if (!strstr(info->dlpi_name, "openblas")) return 0;
            library = dlopen(info->dlpi_name, RTLD_NOW);
            return 1;
        }, nullptr);
    void* function = library ? dlsym(library, name) : nullptr;
    if (!function) {
        fprintf(stderr, "emulated CUDA: NumPy has no OpenBLAS with %s\n", name);
        abort();
    }
    return function;
}

struct Product {
    bool ta, tb;
    int64_t m, n, k, lda, ldb, ldc, step_a, step_b, step_c;
    int batch, factors, result, sums;
    const void *a, *b;
    void* c;
    double alpha, beta;
};

static float rounded(float x, int sums)
{
    if (sums != SUMS_OF_TF32) return x;
    uint32_t bits;
    memcpy(&bits, &x, 4);
    bits = (bits + 0xfff + (bits >> 13 & 1)) & ~0x1fffu;  // to 10 bits of mantissa
    memcpy(&x, &bits, 4);
    return x;
}
// A matrix as float32, as tensor cores see its elements.
static std::vector<float> widened(const void* p, int kind, int64_t rows, int64_t columns, int64_t length, int sums)
{
    std::vector<float> result(rows * columns);
    for (int64_t j = 0; j < columns; ++j)
        for (int64_t i = 0; i < rows; ++i) {
            int64_t at = i + j * length;
            float x = kind == R_16F ? emulated_from_half(((const unsigned short*)p)[at]) : ((const float*)p)[at];
            result[i + j * rows] = rounded(x, sums);
        }
    return result;
}

template <class T> static void multiply(const char* name, const Product& p, int i)
{
    static auto gemm = (Gemm<T>)find(name);
    static auto threads = (int (*)())find("scipy_openblas_get_num_threads64_");
    static auto set_threads = (void (*)(int))find("scipy_openblas_set_num_threads64_");
    T alpha = p.alpha, beta = p.beta;
    int before = threads();
    set_threads(1);  // device memory is closed to all other threads
    gemm(p.ta ? "T" : "N", p.tb ? "T" : "N", &p.m, &p.n, &p.k, &alpha, (T*)p.a + i * p.step_a, &p.lda, (T*)p.b + i * p.step_b,
        &p.ldb, &beta, (T*)p.c + i * p.step_c, &p.ldc);
    set_threads(before);
}
static void multiply_rounded(const Product& p, int i)
{
    size_t width = p.factors == R_16F ? 2 : 4;
    int64_t ra = p.ta ? p.k : p.m, ca = p.ta ? p.m : p.k, rb = p.tb ? p.n : p.k, cb = p.tb ? p.k : p.n;
    auto a = widened((char*)p.a + i * p.step_a * width, p.factors, ra, ca, p.lda, p.sums);
    auto b = widened((char*)p.b + i * p.step_b * width, p.factors, rb, cb, p.ldb, p.sums);
    std::vector<float> c(p.m * p.n);
    multiply<float>("scipy_sgemm_64_", {p.ta, p.tb, p.m, p.n, p.k, ra, rb, p.m, 0, 0, 0, 1, 0, 0, 0, a.data(), b.data(), c.data(), p.alpha, 0}, 0);
    for (int64_t y = 0; y < p.n; ++y)
        for (int64_t x = 0; x < p.m; ++x) {
            int64_t at = i * p.step_c + x + y * p.ldc;
            auto half = (unsigned short*)p.c + at;
            auto single = (float*)p.c + at;
            float before = !p.beta ? 0 : p.beta * (p.result == R_16F ? emulated_from_half(*half) : *single);
            if (p.result == R_16F) *half = emulated_to_half(c[x + y * p.m] + before);
            else *single = c[x + y * p.m] + before;
        }
}
static int work(void* data)
{
    const Product& p = *(const Product*)data;
    for (int i = 0; i < p.batch; ++i) {
        if (p.factors == R_64F) multiply<double>("scipy_dgemm_64_", p, i);
        else if (p.factors == R_32F && p.result == R_32F && p.sums != SUMS_OF_TF32) multiply<float>("scipy_sgemm_64_", p, i);
        else multiply_rounded(p, i);
    }
    return 0;
}

static int product(Handle* handle, int ta, int tb, int m, int n, int k, const void* alpha, const void* a, int ka, int lda,
    int64_t step_a, const void* b, int kb, int ldb, int64_t step_b, const void* beta, void* c, int kc, int ldc, int64_t step_c,
    int batch, int sums)
{
    if (!handle) return NOT_INITIALIZED;
    if (ka != kb || (ka == kc ? ka > R_16F : ka != R_16F || kc != R_32F)) {
        fprintf(stderr, "emulated CUDA: a product of cuBLAS's types %d, %d and %d is not emulated\n", ka, kb, kc);
        return NOT_SUPPORTED;
    }
    if (m < 0 || n < 0 || k < 0 || lda < (ta ? k : m) || ldb < (tb ? n : k) || ldc < m || !lda || !ldb || !ldc) return INVALID_VALUE;
    for (const void* p : {a, b, (const void*)c})
        if (!emulated_check(p)) {
            emulated_complain("cuBLAS", p);
            return EXECUTION_FAILED;
        }
    if (emulated_is_capturing(handle->stream) && !handle->has_workspace) return NOT_SUPPORTED;
    if (handle->pointer_mode) return emulated_unsupported("cuBLAS with factors on the device");
    double x = ka == R_64F ? *(double*)alpha : *(float*)alpha, y = ka == R_64F ? *(double*)beta : *(float*)beta;
    Product p = {!!ta, !!tb, m, n, k, lda, ldb, ldc, step_a, step_b, step_c, batch, ka, kc, sums, a, b, c, x, y};
    return emulated_enqueue("product", handle->stream, work, &p, sizeof p) ? EXECUTION_FAILED : 0;
}

API int cublasCreate_v2(Handle** handle) { *handle = new Handle(); return 0; }
API int cublasDestroy_v2(Handle* handle) { delete handle; return 0; }
API int cublasGetVersion_v2(Handle*, int* version) { *version = 130000; return 0; }
API int cublasSetStream_v2(Handle* handle, void* stream) { handle->stream = stream, handle->has_workspace = false; return 0; }
API int cublasGetStream_v2(Handle* handle, void** stream) { *stream = handle->stream; return 0; }
API int cublasSetWorkspace_v2(Handle* handle, void* p, size_t) { handle->has_workspace = p; return (size_t)p % 256 ? INVALID_VALUE : 0; }
API int cublasSetPointerMode_v2(Handle* handle, int mode) { handle->pointer_mode = mode; return 0; }
API int cublasGetPointerMode_v2(Handle* handle, int* mode) { *mode = handle->pointer_mode; return 0; }
API int cublasSetMathMode(Handle* handle, int mode) { handle->mode = mode; return 0; }
API int cublasGetMathMode(Handle* handle, int* mode) { *mode = handle->mode; return 0; }
API int cublasGemmEx(Handle* h, int ta, int tb, int m, int n, int k, const void* alpha, const void* a, int ka, int lda,
    const void* b, int kb, int ldb, const void* beta, void* c, int kc, int ldc, int sums, int)
{
    return product(h, ta, tb, m, n, k, alpha, a, ka, lda, 0, b, kb, ldb, 0, beta, c, kc, ldc, 0, 1, sums);
}
API int cublasGemmStridedBatchedEx(Handle* h, int ta, int tb, int m, int n, int k, const void* alpha, const void* a, int ka,
    int lda, long long step_a, const void* b, int kb, int ldb, long long step_b, const void* beta, void* c, int kc, int ldc,
    long long step_c, int batch, int sums, int)
{
    return product(h, ta, tb, m, n, k, alpha, a, ka, lda, step_a, b, kb, ldb, step_b, beta, c, kc, ldc, step_c, batch, sums);
}
// Not for graphs: the addresses of the matrices, which lie in device memory, are read at once.
template <class T>
static int batched(Handle* h, int ta, int tb, int m, int n, int k, const T* alpha, const T* const* a, int lda, const T* const* b,
    int ldb, const T* beta, T* const* c, int ldc, int batch)
{
    std::vector<const T*> as(batch), bs(batch);
    std::vector<T*> cs(batch);
    const size_t SIZE = batch * sizeof(T*);
    if (emulated_read(as.data(), a, SIZE) || emulated_read(bs.data(), b, SIZE) || emulated_read(cs.data(), c, SIZE)) return EXECUTION_FAILED;
    const int KIND = sizeof(T) == 8 ? R_64F : R_32F;
    for (int i = 0; i < batch; ++i)
        if (int error = product(h, ta, tb, m, n, k, alpha, as[i], KIND, lda, 0, bs[i], KIND, ldb, 0, beta, cs[i], KIND, ldc, 0, 1, 0))
            return error;
    return 0;
}
API int cublasSgemmBatched(Handle* h, int ta, int tb, int m, int n, int k, const float* alpha, const float* const* a, int lda,
    const float* const* b, int ldb, const float* beta, float* const* c, int ldc, int batch)
{
    return batched(h, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, batch);
}
API int cublasDgemmBatched(Handle* h, int ta, int tb, int m, int n, int k, const double* alpha, const double* const* a, int lda,
    const double* const* b, int ldb, const double* beta, double* const* c, int ldc, int batch)
{
    return batched(h, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, batch);
}
API int cublasSgemm_v2(Handle* h, int ta, int tb, int m, int n, int k, const float* alpha, const float* a, int lda,
    const float* b, int ldb, const float* beta, float* c, int ldc)
{
    return product(h, ta, tb, m, n, k, alpha, a, R_32F, lda, 0, b, R_32F, ldb, 0, beta, c, R_32F, ldc, 0, 1, 0);
}
API int cublasDgemm_v2(Handle* h, int ta, int tb, int m, int n, int k, const double* alpha, const double* a, int lda,
    const double* b, int ldb, const double* beta, double* c, int ldc)
{
    return product(h, ta, tb, m, n, k, alpha, a, R_64F, lda, 0, b, R_64F, ldb, 0, beta, c, R_64F, ldc, 0, 1, 0);
}
