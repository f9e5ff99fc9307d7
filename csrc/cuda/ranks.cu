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

// Ranks of one row without sorting it: values of a sorted sample split the row into buckets; what lies in higher
// buckets is counted by a prefix sum, what lies in the same bucket by comparison. A value equal to a sampled one has a
// bucket for itself, in which nothing is greater, so that repeated values cost nothing.
constexpr int kSamples = 2048;
constexpr int kBuckets = 2 * kSamples + 1;
constexpr int kPlaceBits = 19;

struct alignas(8) Ranked {  // one store
    float value;
    int32_t column;
};

__device__ inline int bucket_of(const float* samples, int count, float value) {
    int low = 0;
    for (int width = count; width > 0;) {
        const int half = width / 2;
        if (samples[low + half] < value) {
            low += half + 1;
            width -= half + 1;
        } else {
            width = half;
        }
    }
    return 2 * low + (low < count && samples[low] == value ? 1 : 0);
}

// Rising order; count is a power of two.
__device__ void sort_block(float* values, int count) {
    for (int run = 2; run <= count; run *= 2) {
        for (int step = run / 2; step > 0; step /= 2) {
            for (int i = threadIdx.x; i < count; i += kBlock) {
                const int other = i ^ step;
                if (other > i && (values[i] > values[other]) == ((i & run) == 0)) {
                    const float kept = values[i];
                    values[i] = values[other];
                    values[other] = kept;
                }
            }
            __syncthreads();
        }
    }
}

// Turns counts into their exclusive prefix sums, in place.
__device__ void exclusive_sums(int32_t* counts, int length, int32_t* warp_totals) {
    const unsigned lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    const int stretch = static_cast<int>(ceil_div(length, kBlock));
    const int begin = min(static_cast<int>(threadIdx.x) * stretch, length), end = min(begin + stretch, length);
    int32_t total = 0;
    for (int i = begin; i < end; ++i) total += counts[i];
    int32_t upto = total;
    for (unsigned step = 1; step < kWarp; step *= 2) {
        const int32_t before = __shfl_up_sync(kAllLanes, upto, step);
        if (lane >= step) upto += before;
    }
    if (lane == kWarp - 1) warp_totals[warp] = upto;
    __syncthreads();
    int32_t running = upto - total;
    for (unsigned other = 0; other < warp; ++other) running += warp_totals[other];
    for (int i = begin; i < end; ++i) {
        const int32_t count = counts[i];
        counts[i] = running;
        running += count;
    }
    __syncthreads();
}

// A concept's subtree holds the best of its own rank and its children's.
__device__ void spread_best(const Levels& levels, int32_t* ranks) {
    for (int level = 0; level < levels.count; ++level) {
        for (int32_t i = levels.level_indptr[level] + threadIdx.x; i < levels.level_indptr[level + 1]; i += kBlock) {
            int32_t best = ranks[levels.nodes[i]];
            for (int32_t c = levels.child_indptr[i]; c < levels.child_indptr[i + 1]; ++c)
                best = min(best, ranks[levels.child[c]]);
            ranks[levels.nodes[i]] = best;
        }
        __syncthreads();
    }
}

__global__ void all_ranks_kernel(Similarities similarities, Levels levels, int samples, Ranked* scratch,
                                 int32_t* ranks) {
    SHARED_ARRAY(float, sample, kSamples);
    SHARED_ARRAY(int32_t, starts, kBuckets + 1);
    SHARED_ARRAY(int32_t, warp_totals, kWarps);
    const int columns = static_cast<int>(similarities.columns), buckets = 2 * samples + 1;
    Ranked* grouped = scratch + static_cast<int64_t>(blockIdx.x) * columns;
    for (int64_t row = blockIdx.x; row < similarities.rows; row += gridDim.x) {
        const float* values = similarities.data + row * similarities.pitch;
        int32_t* out = ranks + row * columns;
        for (int i = threadIdx.x; i < samples; i += kBlock)
            sample[i] = values[static_cast<int64_t>(i) * columns / samples];
        for (int i = threadIdx.x; i <= buckets; i += kBlock) starts[i] = 0;
        __syncthreads();
        sort_block(sample, samples);
        for (int i = threadIdx.x; i < columns; i += kBlock) {
            const int bucket = bucket_of(sample, samples, values[i]);
            out[i] = static_cast<int32_t>(static_cast<uint32_t>(bucket) << kPlaceBits |
                                          static_cast<uint32_t>(atomicAdd(&starts[bucket], 1)));
        }
        __syncthreads();
        exclusive_sums(starts, buckets + 1, warp_totals);
        for (int i = threadIdx.x; i < columns; i += kBlock) {
            const uint32_t packed = static_cast<uint32_t>(out[i]);
            const int32_t place =
                starts[packed >> kPlaceBits] + static_cast<int32_t>(packed & ((1u << kPlaceBits) - 1));
            grouped[place] = {values[i], i};
        }
        __syncthreads();
        for (int bucket = threadIdx.x / kWarp; bucket < buckets; bucket += kWarps) {
            const int begin = starts[bucket], end = starts[bucket + 1];
            for (int i = begin + static_cast<int>(threadIdx.x % kWarp); i < end; i += kWarp) {
                const Ranked own = grouped[i];
                int32_t rank = columns - end;
                if (bucket % 2 == 0)
                    for (int other = begin; other < end; ++other) rank += grouped[other].value > own.value;
                out[own.column] = rank;
            }
        }
        __syncthreads();
        spread_best(levels, out);
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

void all_ranks(const Similarities& similarities, const Levels& levels, void* scratch, int64_t blocks, int32_t* ranks,
               Stream stream) {
    if (similarities.columns == 0) return;
    if (similarities.columns > kMaxRankedConcepts) throw std::invalid_argument("too many concepts to rank");
    int samples = 1;
    while (samples < kSamples && samples * 16 < similarities.columns) samples *= 2;
    launch("all ranks", all_ranks_kernel, dim3(static_cast<unsigned>(blocks)), kBlock, 0, stream, similarities, levels,
           samples, static_cast<Ranked*>(scratch), ranks);
}

}  // namespace fastconcept::cuda
