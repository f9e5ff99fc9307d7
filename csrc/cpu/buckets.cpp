#include "buckets.h"

#include <algorithm>
#include <cmath>

#include "simd.h"

namespace fastconcept {
namespace {

constexpr int64_t kFewest = 64, kMost = 1 << 14;  // buckets

FASTCONCEPT_CLONES
void extremes(const float* values, int64_t count, float& least, float& most) {
    constexpr int lanes = 32;
    float low[lanes], high[lanes];
    std::fill(low, low + lanes, values[0]);
    std::fill(high, high + lanes, values[0]);
    int64_t i = 0;
    for (; i + lanes <= count; i += lanes)
        for (int lane = 0; lane < lanes; ++lane) {
            low[lane] = values[i + lane] < low[lane] ? values[i + lane] : low[lane];
            high[lane] = values[i + lane] > high[lane] ? values[i + lane] : high[lane];
        }
    for (; i < count; ++i) {
        low[0] = std::min(low[0], values[i]);
        high[0] = std::max(high[0], values[i]);
    }
    least = *std::min_element(low, low + lanes);
    most = *std::max_element(high, high + lanes);
}

// Rounding keeps the order of values, and so do keys. NaN, which counts for nothing, gets key 0.
inline float place(float value, float least, float scale, float last) {
    const float at = (value - least) * scale;
    const float above = at > 0.0f ? at : 0.0f;
    return above < last ? above : last;
}

FASTCONCEPT_CLONES
void find_keys(const float* values, int64_t count, float least, float scale, float last, int32_t* keys) {
    for (int64_t i = 0; i < count; ++i) keys[i] = static_cast<int32_t>(place(values[i], least, scale, last));
}

}  // namespace

void Buckets::count_greater(const NearTies& near_ties, Exact& exact, const float* similarities, int64_t columns,
                            const double* thresholds, int64_t count, int32_t* greater) {
    int64_t buckets = kFewest;
    while (buckets < columns / 2 && buckets < kMost) buckets *= 2;
    float most;
    extremes(similarities, columns, least_, most);
    last_ = static_cast<float>(buckets - 1);
    const float scale = last_ / (most - least_);
    scale_ = std::isfinite(most - least_) && std::isfinite(scale) ? scale : 0;  // else one bucket holds all of them
    const auto bucket = [&](float value) {
        return scale_ > 0 ? static_cast<int32_t>(place(value, least_, scale_, last_)) : 0;
    };
    wanted_.assign(static_cast<size_t>(buckets), 0);
    spans_.resize(static_cast<size_t>(count));
    for (int64_t j = 0; j < count; ++j) {
        const auto [low, high] = near_ties.around(exact.patch(), thresholds[j]);
        spans_[static_cast<size_t>(j)] = {low, high, bucket(low), bucket(high)};
        std::fill(wanted_.begin() + bucket(low), wanted_.begin() + bucket(high) + 1, uint8_t{1});
    }
    fill(similarities, columns);
    for (int64_t j = 0; j < count; ++j) {
        const Span& span = spans_[static_cast<size_t>(j)];
        const int32_t last = starts_[static_cast<size_t>(span.last) + 1];
        greater[j] = static_cast<int32_t>(columns) - last;
        for (int32_t i = starts_[static_cast<size_t>(span.first)]; i < last; ++i) {
            const Item& item = items_[static_cast<size_t>(i)];
            if (item.value > span.high) ++greater[j];
            else if (item.value > span.low) greater[j] += exact(item.column) > thresholds[j];
        }
    }
}

// Counts all columns by bucket, and puts those of the wanted buckets into their places.
void Buckets::fill(const float* similarities, int64_t columns) {
    keys_.assign(static_cast<size_t>(columns), 0);
    if (scale_ > 0) find_keys(similarities, columns, least_, scale_, last_, keys_.data());
    starts_.assign(wanted_.size() + 1, 0);
    chosen_.resize(static_cast<size_t>(columns));
    int32_t chosen = 0;
    for (int64_t i = 0; i < columns; ++i) {
        const auto key = static_cast<size_t>(keys_[static_cast<size_t>(i)]);
        ++starts_[key + 1];
        chosen_[static_cast<size_t>(chosen)] = static_cast<int32_t>(i);
        chosen += wanted_[key];
    }
    for (size_t key = 1; key < starts_.size(); ++key) starts_[key] += starts_[key - 1];
    next_ = starts_;
    items_.resize(static_cast<size_t>(columns));
    for (int32_t i = 0; i < chosen; ++i) {
        const int32_t column = chosen_[static_cast<size_t>(i)];
        int32_t& next = next_[static_cast<size_t>(keys_[static_cast<size_t>(column)])];
        items_[static_cast<size_t>(next++)] = {similarities[column], column};
    }
}

}  // namespace fastconcept
