// From one value per patch and concept to one map per concept. Definitions: fastconcept/kernels/reference.py.
#pragma once

#include <cstdint>

namespace fastconcept {

struct Patches {
    const int32_t* boxes = nullptr;    // (count, 4): x0, y0, x1, y1 in cells
    const double* weights = nullptr;   // (count,)
    int64_t count = 0;
};

// values: (patches.count, concepts) row-major; maps: (concepts, height, width); low, high: (concepts,).
// Throws std::invalid_argument when a weight is not positive and finite, a box is empty, a cell is not covered or a
// value is not finite. Results do not depend on num_threads.
template <class Value>
void saliency_maps(const Value* values, int64_t concepts, const Patches& patches, int64_t height, int64_t width,
                   float* maps, double* low, double* high, int num_threads);

extern template void saliency_maps<float>(const float*, int64_t, const Patches&, int64_t, int64_t, float*, double*,
                                          double*, int);
extern template void saliency_maps<int32_t>(const int32_t*, int64_t, const Patches&, int64_t, int64_t, float*, double*,
                                            double*, int);

}  // namespace fastconcept
