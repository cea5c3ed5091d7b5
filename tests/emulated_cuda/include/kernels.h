// What every kernel includes, precompiled by the builder.
#include "device.h"
#include "cuda_fp16.h"
#include "cuda_bf16.h"
#include <cupy/complex.cuh>
#include <cupy/carray.cuh>
#include <cupy/atomics.cuh>
#include <cupy/math_constants.h>
#include "launch.h"
