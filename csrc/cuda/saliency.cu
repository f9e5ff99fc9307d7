// A block makes the maps of 32 concepts, one per lane; its warps share the cells. Sums run over patches in rising
// order without fused multiply-add, so that they equal the float64 reference to the last bit: a concept that is the
// same everywhere must not become noise stretched to [0, 1].
#include "saliency.h"

namespace fastconcept::cuda {
namespace {

constexpr unsigned kBlock = 256;
constexpr unsigned kWarps = kBlock / kWarp;
constexpr size_t kStagedBytes = 100 * 1024;  // two blocks fit a multiprocessor of compute capability 9.0

template <class Value, bool kStaged>
__global__ void saliency_kernel(const Value* __restrict__ values, int64_t pitch, int64_t concepts, Coverage coverage,
                                double* __restrict__ means, float* __restrict__ maps, double* __restrict__ low,
                                double* __restrict__ high) {
    DYNAMIC_SHARED(bytes);
    SHARED_ARRAY(double, lows, kBlock);
    SHARED_ARRAY(double, highs, kBlock);
    Value* staged = reinterpret_cast<Value*>(bytes);
    const unsigned lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    const int64_t tile = blockIdx.x, first = tile * kConceptTile, cells = coverage.cells;
    const int64_t column = min(first + lane, concepts - 1);  // lanes past the end repeat the last concept
    if constexpr (kStaged) {
        for (int64_t patch = warp; patch < coverage.patch_count; patch += kWarps)
            staged[patch * kWarp + lane] = values[patch * pitch + column];
        __syncthreads();
    }
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
        least = mean < least || mean != mean ? mean : least;
        most = mean > most || mean != mean ? mean : most;
    }
    lows[threadIdx.x] = least;
    highs[threadIdx.x] = most;
    __syncthreads();
    if (warp == 0) {
        for (unsigned other = 1; other < kWarps; ++other) {
            const double below = lows[other * kWarp + lane], above = highs[other * kWarp + lane];
            least = below < least || below != below ? below : least;
            most = above > most || above != above ? above : most;
        }
        lows[lane] = least;
        highs[lane] = most;
        if (first + lane < concepts) {
            low[first + lane] = least;
            high[first + lane] = most;
        }
    }
    __syncthreads();
    const int64_t here = min(kConceptTile, concepts - first) * cells;
    for (int64_t i = threadIdx.x; i < here; i += kBlock) {
        const int64_t concept_ = i / cells, cell = i - concept_ * cells;
        const double bottom = lows[concept_], span = highs[concept_] > bottom ? highs[concept_] - bottom : 1.0;
        maps[first * cells + i] =
            static_cast<float>(1.0 - (tile_means[cell * kConceptTile + concept_] - bottom) / span);
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
