// A block makes the maps of 32 concepts, one per lane; its warps share the cells. Sums run over patches in rising
// order without fused multiply-add, so that they equal the float64 reference to the last bit: a concept that is the
// same everywhere must not become noise stretched to [0, 1].
#include "saliency.h"

namespace fastconcept::cuda {
namespace {

constexpr unsigned kBlock = 256;
constexpr unsigned kWarps = kBlock / kWarp;
// With the arrays of the kernel 99 KiB, the most that a block may have on every device since 8.6; two such blocks fit a
// multiprocessor of 9.0. The 730 patches of a faithful explanation take 91.
constexpr size_t kStagedBytes = 93 * 1024;

// As on the CPU: means that span less than this part of the largest value are constant but for rounding.
constexpr double kConstantSpan = 1e-10;

// The larger (smaller) of two, or NaN if one is NaN.
__device__ inline double most_of(double a, double b) { return b > a || b != b ? b : a; }
__device__ inline double least_of(double a, double b) { return b < a || b != b ? b : a; }

template <class Value, bool kStaged>
__global__ void saliency_kernel(const Value* __restrict__ values, int64_t pitch, int64_t concepts, Coverage coverage,
                                double* __restrict__ means, float* __restrict__ maps, double* __restrict__ low,
                                double* __restrict__ high) {
    DYNAMIC_SHARED(bytes);
    SHARED_ARRAY(double, lows, kBlock);
    SHARED_ARRAY(double, highs, kBlock);
    SHARED_ARRAY(double, magnitudes, kBlock);
    Value* staged = reinterpret_cast<Value*>(bytes);
    const unsigned lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    const int64_t tile = blockIdx.x, first = tile * kConceptTile, cells = coverage.cells;
    const int64_t column = min(first + lane, concepts - 1);  // lanes past the end repeat the last concept
    double largest = 0.0;
    for (int64_t patch = warp; patch < coverage.patch_count; patch += kWarps) {
        const Value value = values[patch * pitch + column];
        largest = most_of(largest, fabs(static_cast<double>(value)));
        if constexpr (kStaged) staged[patch * kWarp + lane] = value;
    }
    magnitudes[threadIdx.x] = largest;
    __syncthreads();
    double* tile_means = means + tile * cells * kConceptTile;
    double least = INFINITY, most = -INFINITY;
    for (int64_t cell = warp; cell < cells; cell += kWarps) {
        double sum = 0.0;
        for (int32_t entry = coverage.indptr[cell]; entry < coverage.indptr[cell + 1]; ++entry) {
            const int64_t patch = coverage.patches[entry];
            const Value value = kStaged ? staged[patch * kWarp + lane] : values[patch * pitch + column];
            sum = __dadd_rn(sum, __dmul_rn(coverage.weights[patch], static_cast<double>(value)));
        }
        const double mean = sum / coverage.totals[cell];
        tile_means[cell * kConceptTile + lane] = mean;
        least = least_of(least, mean);
        most = most_of(most, mean);
    }
    lows[threadIdx.x] = least;
    highs[threadIdx.x] = most;
    __syncthreads();
    if (warp == 0) {
        for (unsigned other = 1; other < kWarps; ++other) {
            least = least_of(least, lows[other * kWarp + lane]);
            most = most_of(most, highs[other * kWarp + lane]);
            largest = most_of(largest, magnitudes[other * kWarp + lane]);
        }
        if (!(largest < INFINITY)) least = most = NAN;  // a value that is not finite, even one outside the map
        lows[lane] = least;
        highs[lane] = most;
        magnitudes[lane] = largest;
        if (first + lane < concepts) {
            low[first + lane] = least;
            high[first + lane] = most;
        }
    }
    __syncthreads();
    const int64_t here = min(kConceptTile, concepts - first) * cells;
    for (int64_t i = threadIdx.x; i < here; i += kBlock) {
        const int64_t concept_ = i / cells, cell = i - concept_ * cells;
        const double bottom = lows[concept_], span = highs[concept_] - bottom;
        const bool constant = span <= kConstantSpan * magnitudes[concept_];
        const double height = constant ? 0.0 : (tile_means[cell * kConceptTile + concept_] - bottom) / span;
        maps[first * cells + i] = static_cast<float>(1.0 - height);
    }
}

}  // namespace

template <class Value>
void saliency_maps(const Value* values, int64_t pitch, int64_t concepts, const Coverage& coverage, double* means,
                   float* maps, double* low, double* high, Stream stream) {
    const size_t bytes = static_cast<size_t>(coverage.patch_count) * kWarp * sizeof(Value);
    const dim3 grid(static_cast<unsigned>(ceil_div(concepts, kConceptTile)));
    const bool staged = bytes <= kStagedBytes;
    launch("saliency maps", staged ? saliency_kernel<Value, true> : saliency_kernel<Value, false>, grid, kBlock,
           staged ? bytes : 0, stream, values, pitch, concepts, coverage, means, maps, low, high);
}

template void saliency_maps<float>(const float*, int64_t, int64_t, const Coverage&, double*, float*, double*, double*,
                                   Stream);
template void saliency_maps<int32_t>(const int32_t*, int64_t, int64_t, const Coverage&, double*, float*, double*,
                                     double*, Stream);

}  // namespace fastconcept::cuda
