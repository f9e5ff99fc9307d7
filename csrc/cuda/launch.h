// What every kernel file needs: a checked launch, shared memory, half precision. The same kernel bodies also
// compile as plain C++ against tests/cuda/host/host_emulation.h (-DFASTCONCEPT_HOST_EMULATION), which runs them on
// host memory; nothing here or in the kernels may therefore need more than C++17 and the names defined below.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>

namespace fastconcept::cuda {

// Whether a launch has to ask for shared memory beyond 48 KiB: the fixed arrays count too, and are not known here.
inline bool needs_allowance(size_t shared_bytes) { return shared_bytes > 0; }

}  // namespace fastconcept::cuda

#ifdef FASTCONCEPT_HOST_EMULATION
#include "host_emulation.h"
#else

#include <cuda_fp16.h>
#include <cuda_runtime.h>

namespace fastconcept::cuda {

using Stream = cudaStream_t;
using Half = __half;

inline void check(cudaError_t status, const char* what) {
    if (status != cudaSuccess) {
        throw std::runtime_error(std::string(what) + ": " + cudaGetErrorName(status) + ", " +
                                 cudaGetErrorString(status));
    }
}

#ifdef __CUDACC__

__device__ inline Half to_half(float value) { return __float2half_rn(value); }
__device__ inline float to_float(Half value) { return __half2float(value); }

// More than 48 KiB of shared memory, a kernel's fixed arrays included, needs to be allowed. Always all that the device
// offers: threads that launch one kernel with different sizes must not take the room from each other.
template <class... Parameters>
void allow_shared(const char* name, void (*kernel)(Parameters...)) {
    int device = 0, most = 0;
    cudaFuncAttributes attributes{};
    check(cudaGetDevice(&device), name);
    check(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device), name);
    check(cudaFuncGetAttributes(&attributes, kernel), name);
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               most - static_cast<int>(attributes.sharedSizeBytes)),
          name);
}

// Starts a kernel on a stream and throws if the launch was refused. An empty grid is nothing to do.
template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), dim3 grid, unsigned block, size_t shared_bytes,
            Stream stream, Arguments... arguments) {
    if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
    if (needs_allowance(shared_bytes)) allow_shared(name, kernel);
    kernel<<<grid, block, shared_bytes, stream>>>(static_cast<Parameters>(arguments)...);
    check(cudaGetLastError(), name);
}

#endif  // __CUDACC__

}  // namespace fastconcept::cuda

// SHARED_ARRAY: a fixed array in shared memory. DYNAMIC_SHARED: the bytes asked for at launch, 16-byte aligned.
#define SHARED_ARRAY(type, name, count) __shared__ type name[count]
#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]

#endif  // FASTCONCEPT_HOST_EMULATION

#if defined(__CUDACC__) || defined(FASTCONCEPT_HOST_EMULATION)

namespace fastconcept::cuda {

constexpr unsigned kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

__host__ __device__ constexpr int64_t ceil_div(int64_t value, int64_t by) { return (value + by - 1) / by; }

template <class T>
__device__ inline T warp_sum(T value) {
    for (unsigned step = kWarp / 2; step > 0; step /= 2) value += __shfl_xor_sync(kAllLanes, value, step);
    return value;
}

template <class T>
__device__ inline T warp_max(T value) {
    for (unsigned step = kWarp / 2; step > 0; step /= 2) {
        const T other = __shfl_xor_sync(kAllLanes, value, step);
        value = other > value ? other : value;
    }
    return value;
}

// Combines one value per thread over the block; every thread gets the result. `scratch` holds one T per warp and
// may be reused at once. The order of additions is fixed by the thread numbers, so sums are reproducible.
template <class T, class Combine>
__device__ inline T block_combine(T of_warp, T* scratch, Combine combine) {
    const unsigned warp = threadIdx.x / kWarp, warps = blockDim.x / kWarp;
    if (threadIdx.x % kWarp == 0) scratch[warp] = of_warp;
    __syncthreads();
    T result = scratch[0];
    for (unsigned other = 1; other < warps; ++other) result = combine(result, scratch[other]);
    __syncthreads();
    return result;
}

template <class T>
__device__ inline T block_sum(T value, T* scratch) {
    return block_combine(warp_sum(value), scratch, [](T a, T b) { return a + b; });
}

template <class T>
__device__ inline T block_max(T value, T* scratch) {
    return block_combine(warp_max(value), scratch, [](T a, T b) { return b > a ? b : a; });
}

}  // namespace fastconcept::cuda

#endif
