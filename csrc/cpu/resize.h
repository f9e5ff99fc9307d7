// Cuts boxes out of one image and resizes each as Pillow does. Definition: fastconcept/kernels/reference.py.
#pragma once

#include <cstdint>

#include "resize_passes.h"

namespace fastconcept {

struct Image {
    const uint8_t* pixels = nullptr;  // (height, width, 3)
    int64_t height = 0;
    int64_t width = 0;
};

struct Target {
    int64_t height = 0;
    int64_t width = 0;
    Filter filter = Filter::kBicubic;
    double mean[3] = {0, 0, 0};
    double deviation[3] = {1, 1, 1};
};

// boxes: (count, 4) x0, y0, x1, y1 in pixels; out: (count, 3, target.height, target.width).
// Throws std::invalid_argument when a box is empty or not inside the image. Results do not depend on num_threads.
void resize_patches(const Image& image, const int32_t* boxes, int64_t count, const Target& target, float* out,
                    int num_threads);

}  // namespace fastconcept
