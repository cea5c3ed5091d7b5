// CUDA C++ for g++: the words, types and functions that kernels use. Each thread is a call of the kernel.
#pragma once

#include <assert.h>
#include <float.h>
#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmath>
#include <initializer_list>
#include <type_traits>
#include <utility>

#define __CUDACC_VER_MAJOR__ 13
#define __CUDACC_VER_MINOR__ 0
#define __global__ __attribute__((visibility("hidden")))
#define __device__
#define __host__
#define __constant__ extern "C" __attribute__((visibility("default")))
#define __managed__
#define __shared__ static  // one block runs at a time
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

using std::isfinite;
using std::isinf;
using std::isnan;
using std::signbit;

struct uint3 { unsigned x, y, z; };
struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
#define EMULATED_VECTOR(T, NAME) \
    struct NAME##1 { T x; }; struct NAME##2 { T x, y; }; struct NAME##3 { T x, y, z; }; struct NAME##4 { T x, y, z, w; }; \
    static inline NAME##2 make_##NAME##2(T x, T y) { return {x, y}; } \
    static inline NAME##4 make_##NAME##4(T x, T y, T z, T w) { return {x, y, z, w}; }
EMULATED_VECTOR(float, float) EMULATED_VECTOR(double, double) EMULATED_VECTOR(int, int) EMULATED_VECTOR(unsigned char, uchar)

static uint3 threadIdx, blockIdx, blockDim, gridDim;
static const int warpSize = 32;

// ---- meeting other threads

namespace emulated {
struct Launch { uint3 grid, block; unsigned shared; bool reversed; void** arguments; };
}
extern "C" {
int emulated_run(const emulated::Launch*, void (*body)(void*), void*, bool has_barriers, uint3* thread, uint3* block);
void emulated_sync_block();
void emulated_sync_warp(unsigned mask, int place);
int emulated_lane();
void* emulated_slot(int lane);  // 16 bytes of a lane of this warp
bool emulated_lane_exists(int lane);
void* emulated_shared();
bool emulated_check(const void*);
}

namespace emulated {

template <class T>
inline T shuffled(unsigned mask, T value, int source, int place)
{
    static_assert(sizeof(T) <= 16, "a shuffle of more than 16 bytes");
    memcpy(emulated_slot(emulated_lane()), &value, sizeof(T));
    emulated_sync_warp(mask, place);
    T result = value;
    if (source >= 0 && source < 32 && emulated_lane_exists(source)) memcpy((void*)&result, emulated_slot(source), sizeof(T));
    emulated_sync_warp(mask, -place);  // nobody writes before everybody has read
    return result;
}
inline int segment(int width) { return emulated_lane() / width * width; }
inline int up(int delta, int width) { int s = emulated_lane() - delta; return s < segment(width) ? emulated_lane() : s; }
inline int down(int delta, int width) { int s = emulated_lane() + delta; return s >= segment(width) + width ? emulated_lane() : s; }
inline int across(int lanes, int width) { int s = emulated_lane() ^ lanes; return s >= segment(width) + width ? emulated_lane() : s; }
inline int at(int lane, int width) { return segment(width) + (lane % width + width) % width; }
inline int width(int width = 32) { return width; }

inline unsigned ballot(unsigned mask, bool value, int place)
{
    memcpy(emulated_slot(emulated_lane()), &value, sizeof value);
    emulated_sync_warp(mask, place);
    unsigned result = 0;
    for (int lane = 0; lane < 32; ++lane)
        if ((mask >> lane & 1) && emulated_lane_exists(lane) && *(bool*)emulated_slot(lane)) result |= 1u << lane;
    emulated_sync_warp(mask, -place);
    return result;
}

}  // namespace emulated

#define __shfl_sync(m, v, l, ...) emulated::shuffled(m, v, emulated::at(l, emulated::width(__VA_ARGS__)), __LINE__)
#define __shfl_up_sync(m, v, d, ...) emulated::shuffled(m, v, emulated::up(d, emulated::width(__VA_ARGS__)), __LINE__)
#define __shfl_down_sync(m, v, d, ...) emulated::shuffled(m, v, emulated::down(d, emulated::width(__VA_ARGS__)), __LINE__)
#define __shfl_xor_sync(m, v, d, ...) emulated::shuffled(m, v, emulated::across(d, emulated::width(__VA_ARGS__)), __LINE__)
#define __ballot_sync(m, p) emulated::ballot(m, p, __LINE__)
#define __any_sync(m, p) (emulated::ballot(m, p, __LINE__) != 0)
#define __all_sync(m, p) (emulated::ballot(m, !(p), __LINE__) == 0)
#define __syncthreads() emulated_sync_block()
#define __syncwarp(...) emulated_sync_warp(0xffffffffu, __LINE__)
#define __threadfence()
#define __threadfence_block()

// ---- integers and bits

static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
static inline int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __ffsll(long long x) { return __builtin_ffsll(x); }
template <class T, class F> static inline T emulated_bits(F from) { T to; static_assert(sizeof to == sizeof from, ""); memcpy(&to, &from, sizeof to); return to; }
static inline int __float_as_int(float x) { return emulated_bits<int>(x); }
static inline unsigned __float_as_uint(float x) { return emulated_bits<unsigned>(x); }
static inline float __int_as_float(int x) { return emulated_bits<float>(x); }
static inline float __uint_as_float(unsigned x) { return emulated_bits<float>(x); }
static inline long long __double_as_longlong(double x) { return emulated_bits<long long>(x); }
static inline double __longlong_as_double(long long x) { return emulated_bits<double>(x); }
static inline int __double2hiint(double x) { return emulated_bits<long long>(x) >> 32; }
static inline int __double2loint(double x) { return (int)emulated_bits<long long>(x); }
static inline double __hiloint2double(int hi, int lo) { return emulated_bits<double>((long long)hi << 32 | (unsigned)lo); }
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned long long)a * b >> 32; }
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) { return (unsigned __int128)a * b >> 64; }
template <class T> static inline T __ldg(const T* p) { return *p; }

// ---- minima and maxima of different types; of floating point numbers the one that is not NaN

template <class A, class B, class = std::enable_if_t<std::is_arithmetic_v<A> && std::is_arithmetic_v<B>>>
static inline std::common_type_t<A, B> min(A a, B b)
{
    typedef std::common_type_t<A, B> T;
    if constexpr (std::is_floating_point_v<T>) return std::fmin((T)a, (T)b); else return (T)b < (T)a ? (T)b : (T)a;
}
template <class A, class B, class = std::enable_if_t<std::is_arithmetic_v<A> && std::is_arithmetic_v<B>>>
static inline std::common_type_t<A, B> max(A a, B b)
{
    typedef std::common_type_t<A, B> T;
    if constexpr (std::is_floating_point_v<T>) return std::fmax((T)a, (T)b); else return (T)a < (T)b ? (T)b : (T)a;
}
static inline unsigned umin(unsigned a, unsigned b) { return a < b ? a : b; }
static inline unsigned umax(unsigned a, unsigned b) { return a < b ? b : a; }
static inline long long llmin(long long a, long long b) { return a < b ? a : b; }
static inline long long llmax(long long a, long long b) { return a < b ? b : a; }

// ---- real functions

#define __expf expf
#define __logf logf
static inline float rsqrtf(float x) { return 1 / sqrtf(x); }
static inline double rsqrt(double x) { return 1 / sqrt(x); }
static inline float rsqrt(float x) { return rsqrtf(x); }
static inline float __fdividef(float a, float b) { return a / b; }
static inline float __saturatef(float x) { return x < 0 ? 0 : x > 1 ? 1 : x; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline double sinpi(double x) { return sin(M_PI * x); }
static inline double cospi(double x) { return cos(M_PI * x); }
static inline float normcdff(float x) { return 0.5f * erfcf(-x * (float)M_SQRT1_2); }
static inline double normcdf(double x) { return 0.5 * erfc(-x * M_SQRT1_2); }
using std::acos; using std::acosh; using std::asin; using std::asinh; using std::atan; using std::atan2; using std::atanh;
using std::cbrt; using std::ceil; using std::copysign; using std::cos; using std::cosh; using std::erf; using std::erfc;
using std::exp; using std::exp2; using std::expm1; using std::fabs; using std::floor; using std::fma; using std::fmax;
using std::fmin; using std::fmod; using std::frexp; using std::hypot; using std::ilogb; using std::ldexp; using std::lgamma;
using std::log; using std::log10; using std::log1p; using std::log2; using std::logb; using std::modf; using std::nextafter;
using std::pow; using std::remainder; using std::remquo; using std::rint; using std::round; using std::sin; using std::sinh;
using std::sqrt; using std::tan; using std::tanh; using std::tgamma; using std::trunc; using std::abs;
static inline unsigned abs(unsigned x) { return x; }
static inline double exp10(float x) { return exp10f(x); }

// ---- atomics: one thread runs at a time

template <class T> static inline T emulated_exchange(T* p, T value) { T old = *p; *p = value; return old; }
#define EMULATED_ATOMIC(NAME, T, EXPRESSION) static inline T NAME(T* p, T v) { T old = *p; return emulated_exchange(p, (T)(EXPRESSION)); }
#define EMULATED_ATOMICS(NAME, EXPRESSION) EMULATED_ATOMIC(NAME, int, EXPRESSION) EMULATED_ATOMIC(NAME, unsigned, EXPRESSION) \
    EMULATED_ATOMIC(NAME, unsigned long long, EXPRESSION)
EMULATED_ATOMICS(atomicAdd, old + v) EMULATED_ATOMIC(atomicAdd, float, old + v) EMULATED_ATOMIC(atomicAdd, double, old + v)
EMULATED_ATOMIC(atomicSub, int, old - v) EMULATED_ATOMIC(atomicSub, unsigned, old - v)
EMULATED_ATOMICS(atomicMax, old < v ? v : old) EMULATED_ATOMICS(atomicMin, v < old ? v : old)
EMULATED_ATOMIC(atomicMax, long long, old < v ? v : old) EMULATED_ATOMIC(atomicMin, long long, v < old ? v : old)
EMULATED_ATOMICS(atomicAnd, old & v) EMULATED_ATOMICS(atomicOr, old | v) EMULATED_ATOMICS(atomicXor, old ^ v)
EMULATED_ATOMICS(atomicExch, v) EMULATED_ATOMIC(atomicExch, float, v)
template <class T> static inline T emulated_cas(T* p, T compare, T v) { return *p == compare ? emulated_exchange(p, v) : *p; }
static inline int atomicCAS(int* p, int c, int v) { return emulated_cas(p, c, v); }
static inline unsigned atomicCAS(unsigned* p, unsigned c, unsigned v) { return emulated_cas(p, c, v); }
static inline unsigned long long atomicCAS(unsigned long long* p, unsigned long long c, unsigned long long v) { return emulated_cas(p, c, v); }
