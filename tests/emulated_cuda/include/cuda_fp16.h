// float16 by the processor's own conversions (F16C).
#pragma once
typedef float emulated_float4 __attribute__((vector_size(16)));
typedef short emulated_short8 __attribute__((vector_size(16)));
struct __half_raw { unsigned short x; };
static inline unsigned short emulated_to_half(float f) { return __builtin_ia32_vcvtps2ph(emulated_float4{f, 0, 0, 0}, 0)[0]; }
static inline float emulated_from_half(unsigned short h) { return __builtin_ia32_vcvtph2ps(emulated_short8{(short)h})[0]; }
struct __half {
    unsigned short x;
    __half() {}
    __half(const __half&) = default;
    __half& operator=(const __half&) = default;
    __half(const __half_raw& raw) : x(raw.x) {}
    __half(float f) : x(emulated_to_half(f)) {}
    __half(double f) : x(emulated_to_half((float)f)) {}
    __half(int f) : x(emulated_to_half((float)f)) {}
    __half(unsigned f) : x(emulated_to_half((float)f)) {}
    __half(long long f) : x(emulated_to_half((float)f)) {}
    __half(unsigned long long f) : x(emulated_to_half((float)f)) {}
    operator float() const { return emulated_from_half(x); }
    operator __half_raw() const { return {x}; }
};
typedef __half half;
static inline unsigned short __half_as_ushort(__half h) { return h.x; }
static inline __half __ushort_as_half(unsigned short x) { __half_raw raw = {x}; return raw; }
static inline __half __float2half(float f) { return f; }
static inline __half __float2half_rn(float f) { return f; }
static inline float __half2float(__half h) { return h; }
