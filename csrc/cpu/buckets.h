// The similarities of one patch, counted once by narrow buckets, so that each of many thresholds meets those of a few
// buckets instead of all.
#pragma once

#include <cstdint>
#include <vector>

#include "near_ties.h"

namespace fastconcept {

class Buckets {
public:
    // How many of the similarities of `exact`'s patch to all `columns` of the bank beat each of `count` thresholds; as
    // NearTies::count_greater counts them.
    void count_greater(const NearTies& near_ties, Exact& exact, const float* similarities, int64_t columns,
                       const double* thresholds, int64_t count, int32_t* greater);

private:
    struct Item {
        float value;
        int32_t column;
    };
    // The buckets that hold the floats around a threshold.
    struct Span {
        float low, high;
        int32_t first, last;
    };
    void fill(const float* similarities, int64_t columns);

    std::vector<Span> spans_;      // of the thresholds
    std::vector<uint8_t> wanted_;  // by bucket: whether a threshold lies there
    std::vector<int32_t> keys_;    // the bucket of every column
    std::vector<int32_t> starts_;  // how many columns lie in lower buckets; and the end
    std::vector<int32_t> chosen_;  // columns in buckets that are wanted
    std::vector<int32_t> next_;    // by bucket: where the next item goes
    std::vector<Item> items_;      // those columns, in the places that sorting all of them would give
    float least_ = 0, scale_ = 0, last_ = 0;
};

}  // namespace fastconcept
