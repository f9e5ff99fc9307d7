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

void Buckets::fill(const float* similarities, int64_t count) {
    int64_t buckets = kFewest;
    while (buckets < count / 2 && buckets < kMost) buckets *= 2;
    float most;
    extremes(similarities, count, least_, most);
    last_ = static_cast<float>(buckets - 1);
    const float scale = last_ / (most - least_);
    scale_ = std::isfinite(most - least_) && std::isfinite(scale) ? scale : 0;  // else one bucket holds all of them
    keys_.assign(static_cast<size_t>(count), 0);
    if (scale_ > 0) find_keys(similarities, count, least_, scale_, last_, keys_.data());
    starts_.assign(static_cast<size_t>(buckets) + 2, 0);
    int32_t* next = starts_.data() + 2;  // two on: filling moves every entry to the start of the following bucket
    for (const int32_t key : keys_) ++next[key];
    for (int64_t i = 1; i < buckets; ++i) next[i] += next[i - 1];
    --next;
    items_.resize(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i)
        items_[static_cast<size_t>(next[keys_[static_cast<size_t>(i)]]++)] = {similarities[i], static_cast<int32_t>(i)};
}

int64_t Buckets::bucket(float value) const {
    return scale_ > 0 ? static_cast<int64_t>(place(value, least_, scale_, last_)) : 0;
}

int32_t Buckets::count_greater(const NearTies& near_ties, int64_t patch, double threshold) const {
    const auto [low, high] = near_ties.around(patch, threshold);
    const int32_t first = starts_[static_cast<size_t>(bucket(low))];
    const int32_t last = starts_[static_cast<size_t>(bucket(high)) + 1];
    int32_t greater = static_cast<int32_t>(items_.size()) - last;
    for (int32_t i = first; i < last; ++i) {
        const Item& item = items_[static_cast<size_t>(i)];
        if (item.value > high) ++greater;
        else if (item.value > low) greater += near_ties.exact(patch, item.column) > threshold;
    }
    return greater;
}

}  // namespace fastconcept
