// Cuts boxes out of one image and resizes each as Pillow does. Definition: fastconcept/kernels/reference.py.
// All pointers are device memory; the caller owns every buffer.
#pragma once

#include <cstdint>

#include "launch.h"

namespace fastconcept::cuda {

enum class Filter : int32_t { kBilinear = 0, kBicubic = 1 };

// Fixed-point filter taps of every distinct (input size -> output size) along one axis.
struct TapTables {
    const int32_t* sizes = nullptr;    // (count,) input sizes
    const int64_t* offsets = nullptr;  // (count,) where the taps of a size begin, in units of `taps`
    int32_t* taps = nullptr;           // per size: output x tap_count(size)
    int32_t* starts = nullptr;         // (count, output) first input position
    int32_t count = 0;
    int32_t output = 0;
};

struct ResizeJob {
    const uint8_t* image = nullptr;   // (height, width, 3)
    int64_t width = 0;                // of the image, in pixels
    const int32_t* boxes = nullptr;   // (count, 6): x0, y0, width, height, horizontal table, vertical table
    const int64_t* rows = nullptr;    // (count,) first byte of the box in `between`
    int64_t count = 0;
    int64_t tallest = 0;              // largest box height
    uint8_t* between = nullptr;       // per box: 3 planes of height x output width
    TapTables horizontal, vertical;
    float scale[3] = {1, 1, 1};       // result = pixel * scale + shift
    float shift[3] = {0, 0, 0};
};

// Number of taps per output position: an upper bound of what any position uses, as Pillow counts it.
int64_t tap_count(int64_t input, int64_t output, Filter filter);

void fill_taps(const TapTables& tables, Filter filter, Stream stream);

// out: (count, 3, vertical.output, horizontal.output).
template <class Value>
void resize_patches(const ResizeJob& job, Filter filter, Value* out, Stream stream);

extern template void resize_patches<float>(const ResizeJob&, Filter, float*, Stream);
extern template void resize_patches<Half>(const ResizeJob&, Filter, Half*, Stream);

}  // namespace fastconcept::cuda
