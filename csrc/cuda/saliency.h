// From one value per patch and concept to one map per concept. Definition: fastconcept/kernels/reference.py.
// All pointers are device memory; the caller owns every buffer.
#pragma once

#include <cstdint>

#include "launch.h"

namespace fastconcept::cuda {

// Which patches cover each cell. Cells are read in blocks of two by two, which share most of their patches: block b has
// the entries indptr[b] .. indptr[b + 1] - 1, in rising order of patches, each a patch and in its upper bits which of
// the cells it covers (bit 2 y + x of a cell in the block). Lists are filled up to a multiple of four with the number
// patch_count, which is no patch and covers nothing.
struct Coverage {
    const int32_t* indptr = nullptr;
    const int32_t* entries = nullptr;
    const double* weights = nullptr;  // (patch_count,) of each patch
    const double* totals = nullptr;   // (height * width,) sum of the weights over each cell
    int32_t height = 0;
    int32_t width = 0;
    int64_t patch_count = 0;
};

constexpr int kPatchBits = 27;  // of an entry
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
