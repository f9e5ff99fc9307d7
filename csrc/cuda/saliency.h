// From one value per patch and concept to one map per concept. Definition: fastconcept/kernels/reference.py.
// All pointers are device memory; the caller owns every buffer.
#pragma once

#include <cstdint>

#include "launch.h"

namespace fastconcept::cuda {

// Which patches cover each cell, in rising order: cell c has patches[indptr[c]] .. patches[indptr[c + 1] - 1]. Lists
// are filled up to a multiple of four with the number patch_count, which is no patch and adds nothing.
struct Coverage {
    const int32_t* indptr = nullptr;
    const int32_t* patches = nullptr;
    const double* weights = nullptr;  // (patch_count,) of each patch
    const double* totals = nullptr;   // (cells,) sum of the weights over each cell
    int64_t cells = 0;
    int64_t patch_count = 0;
};

constexpr int64_t kConceptTile = 16;

// values: (patch_count, pitch) of which the first `concepts` columns are used; means: scratch of blocks * cells * 16
// doubles; maps: (concepts, cells); low, high: (concepts,). Each of the blocks makes every blocks-th tile.
template <class Value>
void saliency_maps(const Value* values, int64_t pitch, int64_t concepts, const Coverage& coverage, int64_t blocks,
                   double* means, float* maps, double* low, double* high, Stream stream);

extern template void saliency_maps<float>(const float*, int64_t, int64_t, const Coverage&, int64_t, double*, float*,
                                          double*, double*, Stream);
extern template void saliency_maps<int32_t>(const int32_t*, int64_t, int64_t, const Coverage&, int64_t, double*, float*,
                                            double*, double*, Stream);

}  // namespace fastconcept::cuda
