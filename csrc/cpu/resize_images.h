// Resizes whole images as Pillow does and cuts or pads each to one size. Definition:
// fastconcept/kernels/reference/resize_images.py.
#pragma once

#include <cstdint>

#include "resize.h"

namespace fastconcept {

// The size to which an image is resized, and where in it the window of the result begins; the window may reach outside.
struct Placement {
    int64_t tall, wide, top, left;
};

// out: (count, 3, target.height, target.width). `fill` is the value of pixels outside the resized image. Results do not
// depend on num_threads.
void resize_images(const Image* images, const Placement* placements, int64_t count, const Target& target, uint8_t fill,
                   float* out, int num_threads);

// out: (height, width, 3), the whole image.
void resize_image(const Image& image, int64_t height, int64_t width, Filter filter, uint8_t* out, int num_threads);

}  // namespace fastconcept
