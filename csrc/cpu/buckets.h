// The similarities of one patch, sorted once into narrow buckets, so that each of many thresholds meets a few of them
// instead of all.
#pragma once

#include <cstdint>
#include <vector>

#include "near_ties.h"

namespace fastconcept {

class Buckets {
public:
    // Sorts the similarities of a patch to all `count` rows of the bank.
    void fill(const float* similarities, int64_t count);

    // How many of them beat the threshold; as NearTies::count_greater counts them.
    int32_t count_greater(const NearTies& near_ties, int64_t patch, double threshold) const;

private:
    struct Item {
        float value;
        int32_t column;
    };
    int64_t bucket(float value) const;

    std::vector<Item> items_;       // bucket by bucket, low ones first
    std::vector<int32_t> keys_;     // the bucket of every column
    std::vector<int32_t> starts_;   // of the buckets in items_, and the end
    float least_ = 0, scale_ = 0, last_ = 0;
};

}  // namespace fastconcept
