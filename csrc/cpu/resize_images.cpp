#include "resize_images.h"

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>
#include <vector>

#include "parallel.h"

namespace fastconcept {
namespace {

// Axes of a batch by what they do; images of one size share theirs.
class Axes {
public:
    explicit Axes(Filter filter) : filter_(filter) {}

    std::shared_ptr<const Axis> get(int64_t in, int64_t out, int64_t begin, int64_t end) {
        const auto key = std::make_tuple(in, out, begin, end);
        {
            const std::lock_guard<std::mutex> hold(lock_);
            const auto found = axes_.find(key);
            if (found != axes_.end()) return found->second;
        }
        auto made = std::make_shared<const Axis>(make_axis(in, out, begin, end, filter_));
        const std::lock_guard<std::mutex> hold(lock_);
        return axes_.emplace(key, std::move(made)).first->second;
    }

private:
    Filter filter_;
    std::mutex lock_;
    std::map<std::tuple<int64_t, int64_t, int64_t, int64_t>, std::shared_ptr<const Axis>> axes_;
};

// Where the pixels of a window go: to planes, normalised, or to rows of pixels as they are.
struct Destination {
    float* planes = nullptr;
    const Levels* levels = nullptr;
    uint8_t fill = 0;
    uint8_t* pixels = nullptr;  // of a window without anything outside the image; `planes` is not used then
};

// One image: the part of the resized image that the window shows, in two passes whose rows are independent tasks.
class WholeImage {
public:
    WholeImage(const Image& image, const Placement& at, const Target& target, const Destination& to, Axes& axes)
        : image_(image), target_(target), to_(to) {
        top_ = std::max<int64_t>(-at.top, 0), bottom_ = std::min(target.height, at.tall - at.top);
        left_ = std::max<int64_t>(-at.left, 0), right_ = std::min(target.width, at.wide - at.left);
        if (top_ >= bottom_ || left_ >= right_) {
            top_ = bottom_ = left_ = right_ = 0;
            return;
        }
        across_ = axes.get(image.width, at.wide, at.left + left_, at.left + right_);
        down_ = axes.get(image.height, at.tall, at.top + top_, at.top + bottom_);
        // Pillow's choice, by the sizes of whole images: it shows, because there are 8 bits between the passes.
        const int64_t shorter = image.height - at.tall, narrower = image.width - at.wide;
        columns_first_ = shorter > 0 && shorter > 2 * narrower;
        from_row_ = down_->first(), rows_ = down_->last() - from_row_;
        from_column_ = across_->first(), columns_ = across_->last() - from_column_;
    }

    // `between` holds what lies between the passes, and keeps its memory from one image to the next.
    void run(std::vector<uint8_t>& between, int num_threads) {
        if (columns_first_) {
            const int64_t pitch = 3 * columns_, height = bottom_ - top_;
            between.resize(static_cast<size_t>(pitch * height));
            each(height, num_threads, [&](int64_t first, int64_t last) { down_first(between.data(), first, last); });
        } else if (top_ < bottom_) {
            const int64_t pitch = row_pitch(right_ - left_);
            between.resize(static_cast<size_t>(pitch * rows_));
            each(rows_, num_threads, [&](int64_t first, int64_t last) {
                across(image_.pixels + 3 * ((from_row_ + first) * image_.width), 3 * image_.width, last - first,
                       image_.width, *across_, between.data() + first * pitch, pitch);
            });
        }
        each(target_.height, num_threads, [&](int64_t first, int64_t last) { finish(between.data(), first, last); });
    }

private:
    template <class Body>
    static void each(int64_t rows, int num_threads, const Body& body) {
        parallel_for((rows + kRowsAcross - 1) / kRowsAcross, num_threads,
                     [&](int64_t task, int) { body(task * kRowsAcross, std::min(rows, (task + 1) * kRowsAcross)); });
    }

    void down_first(uint8_t* between, int64_t first, int64_t last) const {
        const int64_t stride = 3 * image_.width, pitch = 3 * columns_;
        for (int64_t y = first; y < last; ++y)
            down(image_.pixels + down_->start[static_cast<size_t>(y)] * stride + 3 * from_column_, stride, *down_, y,
                 pitch, between + y * pitch);
    }

    // The second pass of rows [first, last) of the window, and normalisation.
    void finish(const uint8_t* between, int64_t first, int64_t last) const {
        const int64_t wide = right_ - left_, begin = std::max(first, top_), end = std::min(last, bottom_);
        const int64_t pitch = row_pitch(wide);
        std::vector<uint8_t> rows(static_cast<size_t>(kRowsAcross * pitch));
        if (begin < end && columns_first_) {
            across(between + (begin - top_) * 3 * columns_, 3 * columns_, end - begin, columns_, shifted_across(),
                   rows.data(), pitch);
        } else {
            for (int64_t y = begin; y < end; ++y)
                down(between + (down_->start[static_cast<size_t>(y - top_)] - from_row_) * pitch, pitch, *down_,
                     y - top_, 3 * wide, rows.data() + (y - begin) * pitch);
        }
        for (int64_t y = first; y < last; ++y) {
            const bool shown = begin <= y && y < end;
            const uint8_t* pixels = rows.data() + (y - begin) * pitch;
            if (to_.pixels != nullptr) {
                std::copy(pixels, pixels + 3 * wide, to_.pixels + y * 3 * wide);
                continue;
            }
            float* row = to_.planes + y * target_.width;
            for (int64_t c = 0; c < 3; ++c) pad(row + c * target_.height * target_.width, shown, to_.levels[c]);
            if (shown) normalise(pixels, wide, to_.levels, row + left_, target_.height * target_.width);
        }
    }

    // What lies outside the image, in one row of a plane.
    void pad(float* row, bool shown, const Levels& levels) const {
        std::fill(row, row + (shown ? left_ : target_.width), levels.value[to_.fill]);
        if (shown) std::fill(row + right_, row + target_.width, levels.value[to_.fill]);
    }

    // What lies between the passes begins at from_column_.
    Axis shifted_across() const {
        Axis axis = *across_;
        for (int32_t& start : axis.start) start -= static_cast<int32_t>(from_column_);
        return axis;
    }

    Image image_;
    Target target_;
    Destination to_;
    int64_t top_, bottom_, left_, right_;  // of the window, what shows the image
    std::shared_ptr<const Axis> across_, down_;
    int64_t from_row_ = 0, rows_ = 0, from_column_ = 0, columns_ = 0;  // of the image, what is read
    bool columns_first_ = false;
};

}  // namespace

void resize_images(const Image* images, const Placement* placements, int64_t count, const Target& target, uint8_t fill,
                   float* out, int num_threads) {
    Levels levels[3];
    for (int c = 0; c < 3; ++c) levels[c] = make_levels(target.mean[c], target.deviation[c]);
    Axes axes(target.filter);
    const int64_t size = 3 * target.height * target.width;
    const auto one = [&](int64_t i, std::vector<uint8_t>& between, int threads) {
        WholeImage(images[i], placements[i], target, {out + i * size, levels, fill, nullptr}, axes)
            .run(between, threads);
    };
    if (count < num_threads) {  // too few to give each thread an image of its own
        std::vector<uint8_t> between;
        for (int64_t i = 0; i < count; ++i) one(i, between, num_threads);
        return;
    }
    std::vector<std::vector<uint8_t>> between(static_cast<size_t>(num_threads));
    parallel_for(count, num_threads, [&](int64_t i, int thread) { one(i, between[static_cast<size_t>(thread)], 1); });
}

void resize_image(const Image& image, int64_t height, int64_t width, Filter filter, uint8_t* out, int num_threads) {
    const Target target{height, width, filter, {}, {}};
    Axes axes(filter);
    std::vector<uint8_t> between;
    WholeImage(image, {height, width, 0, 0}, target, {nullptr, nullptr, 0, out}, axes).run(between, num_threads);
}

}  // namespace fastconcept
