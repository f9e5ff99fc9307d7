// A block makes the maps of 16 concepts, then of the next 16, one concept per lane of half a warp; the halves share the
// cells, four of them at a time. Weighted values are made once and kept in shared memory. Sums run over patches in
// rising order without fused multiply-add, so that they equal the float64 reference to the last bit: a concept that is
// the same everywhere must not become noise stretched to [0, 1].
#include "saliency.h"

namespace fastconcept::cuda {
namespace {

constexpr unsigned kBlock = 512;
constexpr unsigned kTile = static_cast<unsigned>(kConceptTile);
constexpr unsigned kTeams = kBlock / kTile;
constexpr unsigned kWarps = kBlock / kWarp;
static_assert(2 * kTile == kWarp);
// With the arrays of the kernel 99 KiB, the most that a block may have on every device since 8.6; two such blocks fit a
// multiprocessor of 9.0. The 730 patches of a faithful explanation take 91.4.
constexpr size_t kStagedBytes = 93 * 1024;

// As on the CPU: means that span less than this part of the largest value are constant but for rounding.
constexpr double kConstantSpan = 1e-10;

// The larger (smaller) of two, or NaN if one is NaN.
__device__ inline double most_of(double a, double b) { return b > a || b != b ? b : a; }
__device__ inline double least_of(double a, double b) { return b < a || b != b ? b : a; }

template <class Value>
struct Values {
    const Value* data;
    int64_t pitch, patches;
    const double* weights;

    // Weight times value; zero for the patch that fills up the lists.
    __device__ double weighted(int64_t patch, int64_t column) const {
        return patch < patches ? __dmul_rn(weights[patch], static_cast<double>(data[patch * pitch + column])) : 0.0;
    }
};

// Smallest and largest mean of each concept, and largest magnitude of its values, over the block.
struct Extent {
    double low = INFINITY, high = -INFINITY, magnitude = 0.0;

    __device__ void include(const Extent& other) {
        low = least_of(low, other.low);
        high = most_of(high, other.high);
        magnitude = most_of(magnitude, other.magnitude);
    }
    __device__ Extent across(unsigned step) const {
        return {__shfl_xor_sync(kAllLanes, low, step), __shfl_xor_sync(kAllLanes, high, step),
                __shfl_xor_sync(kAllLanes, magnitude, step)};
    }
};

template <class Value, bool kStaged>
__global__ void __launch_bounds__(kBlock, 2)
    saliency_kernel(Values<Value> values, int64_t concepts, Coverage coverage, double* __restrict__ means,
                    float* __restrict__ maps, double* __restrict__ low, double* __restrict__ high) {
    DYNAMIC_SHARED(bytes);
    SHARED_ARRAY(Extent, extents, kWarps * kTile);
    double* staged = reinterpret_cast<double*>(bytes);
    double* own_means = means + static_cast<int64_t>(blockIdx.x) * coverage.height * coverage.width * kTile;
    const unsigned lane = threadIdx.x % kTile, team = threadIdx.x / kTile;
    const int cells = coverage.height * coverage.width, across = (coverage.width + 1) / 2;
    const int blocks = (coverage.height + 1) / 2 * across;
    for (int64_t first = static_cast<int64_t>(blockIdx.x) * kTile; first < concepts;
         first += static_cast<int64_t>(gridDim.x) * kTile) {
        const int64_t column = min(first + lane, concepts - 1);  // lanes past the end repeat the last concept
        Extent extent;
#pragma unroll 4
        for (int64_t patch = team; patch < values.patches; patch += kTeams) {
            const double value = static_cast<double>(values.data[patch * values.pitch + column]);
            extent.magnitude = most_of(extent.magnitude, fabs(value));
            if constexpr (kStaged) staged[patch * kTile + lane] = __dmul_rn(values.weights[patch], value);
        }
        if (kStaged && team == 0) staged[values.patches * kTile + lane] = 0.0;
        __syncthreads();
        const auto weighted = [&](int32_t patch) {
            return kStaged ? staged[patch * static_cast<int>(kTile) + static_cast<int>(lane)]
                           : values.weighted(patch, column);
        };
        const int4* lists = reinterpret_cast<const int4*>(coverage.entries);
        for (int block = static_cast<int>(team); block < blocks; block += kTeams) {
            double sums[4] = {0.0, 0.0, 0.0, 0.0};
            const auto add = [&](int32_t entry) {
                const double value = weighted(entry & ((1 << kPatchBits) - 1));
#pragma unroll
                for (int cell = 0; cell < 4; ++cell)
                    if (entry >> (kPatchBits + cell) & 1) sums[cell] = __dadd_rn(sums[cell], value);
            };
            for (int32_t at = coverage.indptr[block] / 4; at < coverage.indptr[block + 1] / 4; ++at) {
                const int4 four = lists[at];
                add(four.x);
                add(four.y);
                add(four.z);
                add(four.w);
            }
            const int top = block / across * 2, left = block % across * 2;
#pragma unroll
            for (int cell = 0; cell < 4; ++cell) {
                const int y = top + cell / 2, x = left + cell % 2;
                if (y >= coverage.height || x >= coverage.width) continue;
                const double mean = sums[cell] / coverage.totals[y * coverage.width + x];
                own_means[(y * coverage.width + x) * static_cast<int>(kTile) + static_cast<int>(lane)] = mean;
                extent.low = least_of(extent.low, mean);
                extent.high = most_of(extent.high, mean);
            }
        }
        __syncwarp();
        extent.include(extent.across(kTile));
        if (team % 2 == 0) extents[team / 2 * kTile + lane] = extent;
        __syncthreads();
        if (team == 0) {
            for (unsigned warp = 1; warp < kWarps; ++warp) extent.include(extents[warp * kTile + lane]);
            // A value that is not finite, even one outside the map.
            if (!(extent.magnitude < INFINITY)) extent.low = extent.high = NAN;
            extents[lane] = extent;
            if (first + lane < concepts) {
                low[first + lane] = extent.low;
                high[first + lane] = extent.high;
            }
        }
        __syncthreads();
        const int here = static_cast<int>(min(kConceptTile, concepts - first)) * cells;
        for (int i = threadIdx.x; i < here; i += kBlock) {
            const int concept_ = i / cells, cell = i - concept_ * cells;
            const double bottom = extents[concept_].low, span = extents[concept_].high - bottom;
            const bool constant = span <= kConstantSpan * extents[concept_].magnitude;
            const double mean = own_means[cell * static_cast<int>(kTile) + concept_];
            maps[first * cells + i] = static_cast<float>(1.0 - (constant ? 0.0 : (mean - bottom) / span));
        }
        __syncthreads();
    }
}

}  // namespace

template <class Value>
void saliency_maps(const Value* values, int64_t pitch, int64_t concepts, const Coverage& coverage, int64_t blocks,
                   double* means, float* maps, double* low, double* high, Stream stream) {
    const size_t bytes = static_cast<size_t>(coverage.patch_count + 1) * kTile * sizeof(double);
    const bool staged = bytes <= kStagedBytes;
    launch("saliency maps", staged ? saliency_kernel<Value, true> : saliency_kernel<Value, false>,
           dim3(static_cast<unsigned>(blocks)), kBlock, staged ? bytes : 0, stream,
           Values<Value>{values, pitch, coverage.patch_count, coverage.weights}, concepts, coverage, means, maps, low,
           high);
}

template void saliency_maps<float>(const float*, int64_t, int64_t, const Coverage&, int64_t, double*, float*, double*,
                                   double*, Stream);
template void saliency_maps<int32_t>(const int32_t*, int64_t, int64_t, const Coverage&, int64_t, double*, float*,
                                     double*, double*, Stream);

}  // namespace fastconcept::cuda
