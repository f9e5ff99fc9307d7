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

    int64_t count() const { return static_cast<int64_t>(start.size()); }
    // The inputs that are read: [first, last).
    int64_t first() const;
    int64_t last() const;
};

// Outputs [begin, end) of `in` positions resized to `out`. No tap reads outside [0, in).
Axis make_axis(int64_t in, int64_t out, int64_t begin, int64_t end, Filter kind);

constexpr int64_t kRowsAcross = 16;  // rows that `across` takes at once

// Rows of RGB pixels (side by side) -> rows of planes: 3 x axis.count() bytes. At most kRowsAcross rows, `stride` bytes
// apart; results are `out_stride` bytes apart. `width` is the number of pixels in a row.
void across(const uint8_t* pixels, int64_t stride, int64_t rows, int64_t width, const Axis& axis, uint8_t* out,
            int64_t out_stride);

// Rows of bytes, `stride` apart -> one row: the sum over t < taps of weight[t] * row t, rounded.
void down(const uint8_t* rows, int64_t stride, const int32_t* weight, int64_t taps, int64_t bytes, uint8_t* out);

// What becomes of the 256 values of a channel: (value / 255 - mean) / deviation, by the float32 operations that
// torchvision does, in their order.
struct Levels {
    float value[256];
};
Levels make_levels(double mean, double deviation);

inline void normalise(const uint8_t* from, int64_t count, const Levels& levels, float* out) {
    for (int64_t i = 0; i < count; ++i) out[i] = levels.value[from[i]];
}

}  // namespace fastconcept
