#include "resize.h"

#include <algorithm>
#include <map>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "parallel.h"
#include "resize_passes.h"

namespace fastconcept {
namespace {

constexpr int64_t kStripRows = 2 * kRowsAcross;     // rows per task, in both passes
constexpr int64_t kStripBytes = int64_t{64} << 20;  // horizontally resized pixels held at a time

// Boxes that share their columns and overlap in their rows: their rows are resized horizontally once for all.
struct Strip {
    int64_t x0, x1, y0, y1;
    std::vector<int64_t> boxes;
    const Axis* axis = nullptr;
    uint8_t* pixels = nullptr;  // y1 - y0 rows
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
        : image_(image), boxes_(boxes), target_(target), out_(out), num_threads_(num_threads) {
        for (int channel = 0; channel < 3; ++channel)
            levels_[channel] = make_levels(target.mean[channel], target.deviation[channel]);
    }

    // Resizes strips[first] .. strips[last - 1], whose intermediate pixels fit into `buffer`.
    void run(std::vector<Strip>& strips, size_t first, size_t last, std::vector<uint8_t>& buffer) {
        std::vector<std::pair<const Strip*, int64_t>> across, down;
        uint8_t* next = buffer.data();
        for (size_t s = first; s < last; ++s) {
            Strip& strip = strips[s];
            strip.axis = &axis(strip.x1 - strip.x0, target_.width);
            strip.pixels = next;
            next += (strip.y1 - strip.y0) * row_pitch(target_.width);
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
        return axes_.emplace(std::make_pair(in, out), make_axis(in, out, 0, out, target_.filter)).first->second;
    }

    void horizontal(const Strip& strip, int64_t first) const {
        const int64_t last = std::min(first + kStripRows, strip.y1), pitch = row_pitch(target_.width);
        across(image_.pixels + 3 * (first * image_.width + strip.x0), 3 * image_.width, last - first,
               strip.x1 - strip.x0, *strip.axis, strip.pixels + (first - strip.y0) * pitch, pitch);
    }

    void vertical(const Strip& strip, int64_t box, int64_t first) const {
        const int64_t y0 = boxes_[4 * box + 1], width = target_.width, pitch = row_pitch(width);
        const Axis& axis = axes_.at({boxes_[4 * box + 3] - y0, target_.height});
        std::vector<uint8_t> row(static_cast<size_t>(3 * width));
        for (int64_t y = first; y < std::min(first + kStripRows, target_.height); ++y) {
            const int64_t from = y0 - strip.y0 + axis.start[static_cast<size_t>(y)];
            down(strip.pixels + from * pitch, pitch, axis, y, 3 * width, row.data());
            normalise(row.data(), width, levels_, out_ + (box * 3 * target_.height + y) * width,
                      target_.height * width);
        }
    }

    Image image_;
    const int32_t* boxes_;
    Target target_;
    float* out_;
    int num_threads_;
    Levels levels_[3];
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
            const int64_t more = (strips[last].y1 - strips[last].y0) * row_pitch(target.width);
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
