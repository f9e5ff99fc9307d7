#include "ranks.h"

namespace fastconcept::cuda {
namespace {

constexpr unsigned kBlock = 256;
constexpr unsigned kWarps = kBlock / kWarp;

constexpr float kSplitScale = 64.0f;  // keeps the low parts of unit rows above half precision's subnormals
constexpr float kLargest = 1023.0f;

__global__ void split_rows_kernel(const float* __restrict__ rows, int64_t count, int64_t dims, bool second_high,
                                  int64_t pitch, Half* __restrict__ out, int32_t* invalid) {
    for (int64_t row = blockIdx.x; row < count; row += gridDim.x) {
        Half* target = out + row * pitch;
        for (int64_t i = threadIdx.x; i < dims; i += kBlock) {
            const float value = rows[row * dims + i];
            if (!(fabsf(value) <= kLargest)) *invalid = 1;
            const Half high = to_half(value * kSplitScale), low = to_half(value * kSplitScale - to_float(high));
            target[i] = high;
            target[dims + i] = second_high ? high : low;
            target[2 * dims + i] = second_high ? low : high;
        }
        for (int64_t i = 3 * dims + threadIdx.x; i < pitch; i += kBlock) target[i] = to_half(0.0f);
    }
}

// One block per patch and list.
__global__ void subtree_maxima_kernel(Similarities similarities, const int64_t* __restrict__ indptr,
                                      const int32_t* __restrict__ indices, float* __restrict__ best,
                                      int64_t best_pitch) {
    SHARED_ARRAY(float, scratch, kWarps);
    const int64_t list = blockIdx.y;
    const float* row = similarities.data + blockIdx.x * similarities.pitch;
    float most = -INFINITY;
    for (int64_t i = indptr[list] + threadIdx.x; i < indptr[list + 1]; i += kBlock) most = fmaxf(most, row[indices[i]]);
    most = block_max(most, scratch);
    if (threadIdx.x == 0) best[blockIdx.x * best_pitch + list] = most;
}

constexpr int kVectors = 4;  // float4 loads in flight per thread
constexpr int64_t kCountTile = static_cast<int64_t>(kBlock) * kVectors * 4;
constexpr int kCountedAtOnce = 64;

// A block holds one stretch of one row in registers and compares it with every threshold of the row.
__global__ void count_greater_kernel(Similarities similarities, const float* __restrict__ best, int64_t concepts,
                                     int32_t* __restrict__ ranks) {
    SHARED_ARRAY(float, thresholds, kCountedAtOnce);
    SHARED_ARRAY(int32_t, counts, kCountedAtOnce);
    const float* row = similarities.data + blockIdx.x * similarities.pitch;
    float values[4 * kVectors];
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
        const int64_t column = blockIdx.y * kCountTile + (v * kBlock + threadIdx.x) * 4;
        const float4 four = column < similarities.columns ? *reinterpret_cast<const float4*>(row + column)
                                                          : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        values[4 * v] = column < similarities.columns ? four.x : -INFINITY;
        values[4 * v + 1] = column + 1 < similarities.columns ? four.y : -INFINITY;
        values[4 * v + 2] = column + 2 < similarities.columns ? four.z : -INFINITY;
        values[4 * v + 3] = column + 3 < similarities.columns ? four.w : -INFINITY;
    }
    for (int64_t first = 0; first < concepts; first += kCountedAtOnce) {
        const int here = static_cast<int>(min(static_cast<int64_t>(kCountedAtOnce), concepts - first));
        if (threadIdx.x < static_cast<unsigned>(here)) {
            thresholds[threadIdx.x] = best[blockIdx.x * concepts + first + threadIdx.x];
            counts[threadIdx.x] = 0;
        }
        __syncthreads();
        for (int j = 0; j < here; ++j) {
            const float threshold = thresholds[j];
            int32_t greater = 0;
#pragma unroll
            for (int v = 0; v < 4 * kVectors; ++v) greater += values[v] > threshold;
            greater = warp_sum(greater);
            if (threadIdx.x % kWarp == 0 && greater > 0) atomicAdd(&counts[j], greater);
        }
        __syncthreads();
        if (threadIdx.x < static_cast<unsigned>(here) && counts[threadIdx.x] > 0)
            atomicAdd(&ranks[blockIdx.x * concepts + first + threadIdx.x], counts[threadIdx.x]);
        __syncthreads();
    }
}

}  // namespace

void split_rows(const float* rows, int64_t count, int64_t dims, bool second_high, int64_t pitch, Half* out,
                int32_t* invalid, Stream stream) {
    const dim3 grid(static_cast<unsigned>(min(count, static_cast<int64_t>(1 << 16))));
    launch("split rows", split_rows_kernel, grid, kBlock, 0, stream, rows, count, dims, second_high, pitch, out,
           invalid);
}

void subtree_maxima(const Similarities& similarities, const int64_t* indptr, const int32_t* indices, int64_t count,
                    float* best, int64_t best_pitch, Stream stream) {
    constexpr int64_t limit = 65535;  // of the second grid dimension
    for (int64_t first = 0; first < count; first += limit) {
        const dim3 grid(static_cast<unsigned>(similarities.rows), static_cast<unsigned>(min(limit, count - first)));
        launch("subtree maxima", subtree_maxima_kernel, grid, kBlock, 0, stream, similarities, indptr + first, indices,
               best + first, best_pitch);
    }
}

void count_greater(const Similarities& similarities, const float* best, int64_t concepts, int32_t* ranks,
                   Stream stream) {
    if (concepts == 0) return;
    const dim3 grid(static_cast<unsigned>(similarities.rows),
                    static_cast<unsigned>(ceil_div(similarities.columns, kCountTile)));
    launch("count greater", count_greater_kernel, grid, kBlock, 0, stream, similarities, best, concepts, ranks);
}

}  // namespace fastconcept::cuda
