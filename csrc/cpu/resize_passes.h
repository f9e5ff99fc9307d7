// The two passes of Pillow's resize and what follows them, on rows of bytes. Pillow resizes 8-bit images in fixed
// point: weights with 22 fractional bits, and every pass rounds to 8 bits. The same arithmetic gives the same pixels.
#pragma once

#include <cstdint>
#include <vector>

namespace fastconcept {

enum class Filter { kBilinear, kBicubic };

// How one side is resized: output begin + i is the sum over t < taps of weight[i * taps + t] * input[start[i] + t].
struct Axis {
    int64_t taps = 0;
    std::vector<int32_t> start, weight;
    std::vector<int32_t> halves;  // of the weights of each two taps; see resize_passes.cpp

    int64_t pairs() const { return (taps + 1) / 2; }
    int64_t count() const { return static_cast<int64_t>(start.size()); }
    // The inputs that are read: [first, last).
    int64_t first() const;
    int64_t last() const;
};

// Outputs [begin, end) of `in` positions resized to `out`. No tap reads outside [0, in).
Axis make_axis(int64_t in, int64_t out, int64_t begin, int64_t end, Filter kind);

constexpr int64_t kRowsAcross = 16;  // rows that are one task

// Bytes from one row of resized pixels to the next: `across` writes a byte more than the pixels have.
inline int64_t row_pitch(int64_t width) { return 3 * width + 1; }

// Rows of RGB pixels, `stride` bytes and of `width` pixels, -> rows of axis.count() RGB pixels, `out_stride` bytes
// apart.
void across(const uint8_t* pixels, int64_t stride, int64_t rows, int64_t width, const Axis& axis, uint8_t* out,
            int64_t out_stride);

// Rows of bytes, `stride` apart, -> output y of the axis, whose first tap is `rows`: as many bytes as a row has.
void down(const uint8_t* rows, int64_t stride, const Axis& axis, int64_t y, int64_t bytes, uint8_t* out);

// What becomes of the 256 values of a channel: (value / 255 - mean) / deviation, by the float32 operations that
// torchvision does, in their order.
struct Levels {
    float value[256];
};
Levels make_levels(double mean, double deviation);

// A row of RGB pixels -> a row in each of three planes, `plane` values apart.
inline void normalise(const uint8_t* pixels, int64_t count, const Levels* levels, float* out, int64_t plane) {
    for (int64_t i = 0; i < count; ++i)
        for (int64_t c = 0; c < 3; ++c) out[c * plane + i] = levels[c].value[pixels[3 * i + c]];
}

}  // namespace fastconcept
