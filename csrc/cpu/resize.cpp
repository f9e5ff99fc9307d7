// Pillow resizes 8-bit images in fixed point: weights with 22 fractional bits, a horizontal pass rounded to 8 bits,
// then a vertical pass rounded to 8 bits. Doing the same arithmetic gives the same pixels.
#include "resize.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "parallel.h"
#include "simd.h"

namespace fastconcept {
namespace {

constexpr int kPrecision = 22;
constexpr int64_t kStripRows = 32;                 // rows per task, in both passes
constexpr int64_t kStripBytes = int64_t{64} << 20;  // horizontally resized pixels held at a time

double bicubic(double x) {
    constexpr double a = -0.5;
    x = std::abs(x);
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
    return 0;
}

double bilinear(double x) {
    x = std::abs(x);
    return x < 1 ? 1 - x : 0;
}

// How one side is resized: output i is the sum over t < taps of weight[i * taps + t] * input[start[i] + t].
struct Axis {
    int64_t taps = 0;
    std::vector<int32_t> start, weight;
};

// The weights of one output position, before all positions are given the same number of taps.
struct Window {
    int64_t start;
    std::vector<int32_t> weight;
};

Window window(double centre, double scale, double support, int64_t in, double (*filter)(double)) {
    const int64_t first = std::max<int64_t>(static_cast<int64_t>(centre - support + 0.5), 0);
    const int64_t last = std::min<int64_t>(static_cast<int64_t>(centre + support + 0.5), in);
    std::vector<double> weight;
    double sum = 0;
    for (int64_t x = first; x < last; ++x) {
        weight.push_back(filter((static_cast<double>(x) - centre + 0.5) * (1.0 / scale)));
        sum += weight.back();
    }
    Window result{first, {}};
    for (double value : weight) {
        if (sum != 0) value /= sum;
        const double fixed = value * (1 << kPrecision);
        result.weight.push_back(static_cast<int32_t>(fixed < 0 ? fixed - 0.5 : fixed + 0.5));
    }
    while (result.weight.size() > 1 && result.weight.back() == 0) result.weight.pop_back();
    while (result.weight.size() > 1 && result.weight.front() == 0) {
        result.weight.erase(result.weight.begin());
        ++result.start;
    }
    return result;
}

Axis make_axis(int64_t in, int64_t out, Filter kind) {
    const bool cubic = kind == Filter::kBicubic;
    const double ratio = static_cast<double>(in) / static_cast<double>(out), scale = std::max(ratio, 1.0);
    std::vector<Window> windows;
    Axis axis;
    for (int64_t i = 0; i < out; ++i) {
        windows.push_back(window((static_cast<double>(i) + 0.5) * ratio, scale, (cubic ? 2.0 : 1.0) * scale, in,
                                 cubic ? bicubic : bilinear));
        axis.taps = std::max(axis.taps, static_cast<int64_t>(windows.back().weight.size()));
    }
    axis.weight.assign(static_cast<size_t>(out * axis.taps), 0);
    for (int64_t i = 0; i < out; ++i) {
        const Window& one = windows[static_cast<size_t>(i)];
        const int64_t start = std::min(one.start, in - axis.taps);  // no tap reads past the end
        std::copy(one.weight.begin(), one.weight.end(), axis.weight.begin() + i * axis.taps + (one.start - start));
        axis.start.push_back(static_cast<int32_t>(start));
    }
    return axis;
}

// Boxes that share their columns and overlap in their rows: their rows are resized horizontally once for all.
struct Strip {
    int64_t x0, x1, y0, y1;
    std::vector<int64_t> boxes;
    const Axis* axis = nullptr;
    uint8_t* pixels = nullptr;  // (y1 - y0, 3, target.width)
};

std::vector<Strip> make_strips(const int32_t* boxes, int64_t count) {
    std::vector<int64_t> order(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) order[static_cast<size_t>(i)] = i;
    const auto key = [&](int64_t i) {
        const int32_t* box = boxes + 4 * i;
        return std::make_tuple(box[0], box[2], box[1], box[3], i);
    };
    std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return key(a) < key(b); });
    std::vector<Strip> strips;
    for (const int64_t i : order) {
        const int32_t* box = boxes + 4 * i;
        const bool joins =
            !strips.empty() && strips.back().x0 == box[0] && strips.back().x1 == box[2] && box[1] < strips.back().y1;
        if (!joins) strips.push_back({box[0], box[2], box[1], box[3], {}});
        strips.back().boxes.push_back(i);
        strips.back().y1 = std::max<int64_t>(strips.back().y1, box[3]);
    }
    return strips;
}

inline uint8_t to_byte(int32_t fixed) { return static_cast<uint8_t>(std::clamp(fixed >> kPrecision, 0, 255)); }

// One row of pixels (RGB side by side) -> one row of each channel, resized.
void resize_row(const uint8_t* pixels, const Axis& axis, int64_t width, uint8_t* out) {
    for (int64_t x = 0; x < width; ++x) {
        const uint8_t* from = pixels + 3 * static_cast<int64_t>(axis.start[static_cast<size_t>(x)]);
        const int32_t* weight = axis.weight.data() + x * axis.taps;
        int32_t sum[3] = {1 << (kPrecision - 1), 1 << (kPrecision - 1), 1 << (kPrecision - 1)};
        for (int64_t t = 0; t < axis.taps; ++t)
            for (int channel = 0; channel < 3; ++channel) sum[channel] += weight[t] * from[3 * t + channel];
        for (int channel = 0; channel < 3; ++channel) out[channel * width + x] = to_byte(sum[channel]);
    }
}

// Rows of one channel, `stride` apart -> one resized row, normalised by the float32 operations that torchvision and
// encoders/preprocess.py do, in their order, so that patches equal theirs to the last bit.
FASTCONCEPT_CLONES
void resize_column(const uint8_t* rows, int64_t stride, const int32_t* weight, int64_t taps, int64_t width, float mean,
                   float deviation, int32_t* sums, float* out) {
    for (int64_t x = 0; x < width; ++x) sums[x] = 1 << (kPrecision - 1);
    for (int64_t t = 0; t < taps; ++t)
        for (int64_t x = 0; x < width; ++x) sums[x] += weight[t] * rows[t * stride + x];
    for (int64_t x = 0; x < width; ++x) {
        const int32_t pixel = std::min(std::max(sums[x] >> kPrecision, 0), 255);
        out[x] = (static_cast<float>(pixel) / 255.0f - mean) / deviation;
    }
}

void require_inside(const Image& image, const int32_t* boxes, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
        const int32_t* box = boxes + 4 * i;
        if (box[0] < 0 || box[1] < 0 || box[0] >= box[2] || box[1] >= box[3] || box[2] > image.width ||
            box[3] > image.height)
            throw std::invalid_argument("boxes[" + std::to_string(i) + "] is (" + std::to_string(box[0]) + ", " +
                                        std::to_string(box[1]) + ", " + std::to_string(box[2]) + ", " +
                                        std::to_string(box[3]) +
                                        "), expected x0 < x1 and y0 < y1 inside the image of width " +
                                        std::to_string(image.width) + " and height " + std::to_string(image.height));
    }
}

class Resizer {
public:
    Resizer(const Image& image, const int32_t* boxes, const Target& target, float* out, int num_threads)
        : image_(image), boxes_(boxes), target_(target), out_(out), num_threads_(num_threads) {}

    // Resizes strips[first] .. strips[last - 1], whose intermediate pixels fit into `buffer`.
    void run(std::vector<Strip>& strips, size_t first, size_t last, std::vector<uint8_t>& buffer) {
        std::vector<std::pair<const Strip*, int64_t>> across, down;
        uint8_t* next = buffer.data();
        for (size_t s = first; s < last; ++s) {
            Strip& strip = strips[s];
            strip.axis = &axis(strip.x1 - strip.x0, target_.width);
            strip.pixels = next;
            next += (strip.y1 - strip.y0) * 3 * target_.width;
            for (int64_t y = strip.y0; y < strip.y1; y += kStripRows) across.emplace_back(&strip, y);
            for (const int64_t box : strip.boxes) {
                axis(boxes_[4 * box + 3] - boxes_[4 * box + 1], target_.height);
                down.emplace_back(&strip, box);
            }
        }
        parallel_for(static_cast<int64_t>(across.size()), num_threads_, [&](int64_t task, int) {
            horizontal(*across[static_cast<size_t>(task)].first, across[static_cast<size_t>(task)].second);
        });
        const int64_t pieces = (target_.height + kStripRows - 1) / kStripRows;
        parallel_for(static_cast<int64_t>(down.size()) * pieces, num_threads_, [&](int64_t task, int) {
            const auto& [strip, box] = down[static_cast<size_t>(task / pieces)];
            vertical(*strip, box, task % pieces * kStripRows);
        });
    }

private:
    // The axis of one size change, made at first use; not called from a thread unless it exists.
    const Axis& axis(int64_t in, int64_t out) {
        const auto found = axes_.find({in, out});
        if (found != axes_.end()) return found->second;
        return axes_.emplace(std::make_pair(in, out), make_axis(in, out, target_.filter)).first->second;
    }

    void horizontal(const Strip& strip, int64_t first) const {
        for (int64_t y = first; y < std::min(first + kStripRows, strip.y1); ++y)
            resize_row(image_.pixels + 3 * (y * image_.width + strip.x0), *strip.axis, target_.width,
                       strip.pixels + (y - strip.y0) * 3 * target_.width);
    }

    void vertical(const Strip& strip, int64_t box, int64_t first) const {
        const int64_t y0 = boxes_[4 * box + 1], width = target_.width, stride = 3 * width;
        const Axis& axis = axes_.at({boxes_[4 * box + 3] - y0, target_.height});
        std::vector<int32_t> sums(static_cast<size_t>(width));
        for (int64_t y = first; y < std::min(first + kStripRows, target_.height); ++y)
            for (int channel = 0; channel < 3; ++channel) {
                const int64_t row = y0 - strip.y0 + axis.start[static_cast<size_t>(y)];
                resize_column(strip.pixels + row * stride + channel * width, stride, axis.weight.data() + y * axis.taps,
                              axis.taps, width, static_cast<float>(target_.mean[channel]),
                              static_cast<float>(target_.deviation[channel]), sums.data(),
                              out_ + ((box * 3 + channel) * target_.height + y) * width);
            }
    }

    Image image_;
    const int32_t* boxes_;
    Target target_;
    float* out_;
    int num_threads_;
    std::map<std::pair<int64_t, int64_t>, Axis> axes_;
};

}  // namespace

void resize_patches(const Image& image, const int32_t* boxes, int64_t count, const Target& target, float* out,
                    int num_threads) {
    require_inside(image, boxes, count);
    std::vector<Strip> strips = make_strips(boxes, count);
    Resizer resizer(image, boxes, target, out, num_threads);
    std::vector<uint8_t> buffer;
    for (size_t first = 0; first < strips.size();) {
        int64_t bytes = 0;
        size_t last = first;
        while (last < strips.size()) {
            const int64_t more = (strips[last].y1 - strips[last].y0) * 3 * target.width;
            if (last > first && bytes + more > kStripBytes) break;
            bytes += more;
            ++last;
        }
        buffer.resize(static_cast<size_t>(bytes));
        resizer.run(strips, first, last, buffer);
        first = last;
    }
}

}  // namespace fastconcept
