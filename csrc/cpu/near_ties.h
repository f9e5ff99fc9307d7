// Ranks are counts of comparisons, and float32 products round: two concepts closer than the rounding error may compare
// the wrong way. These few are found by a rigorous bound and compared again in float64, so that ranks are those of
// exact arithmetic.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "ranks.h"

namespace fastconcept {

class Exact;

// Bound on the norms of all rows, which is close. Throws std::invalid_argument where a value is not finite.
double longest_row(const Rows& rows, const char* name, int num_threads);

class NearTies {
public:
    // bank and queries are the columns of the similarities, in this order. Throws std::invalid_argument where a value
    // is not finite.
    NearTies(const Rows& patches, const Rows& bank, const Rows& queries, int num_threads);

    // Largest error of any float32 similarity of this patch: a sum of n products, whatever its order, is off by at most
    // g(n) = n u / (1 - n u) times |v| * max |t|, with u = 2^-24 (Higham, Accuracy and Stability of Numerical
    // Algorithms, section 3.1); sums of kDepth products, of which b are added, by (1 + g(kDepth)) (1 + g(b)) - 1.
    double bound(int64_t patch) const { return error_ * patch_norms_[static_cast<size_t>(patch)]; }

    // The floats around a threshold: a similarity above the second beats it, one that is not above the first does not.
    std::pair<float, float> around(int64_t patch, double threshold) const;

    // Similarity of the best of some columns.
    double best(Exact& exact, const float* similarities, const int64_t* columns, int64_t count) const;

    // How many of the bank's columns first .. first + count - 1, whose similarities are given, beat the threshold.
    int32_t count_greater(Exact& exact, const float* similarities, int64_t first, int64_t count,
                          double threshold) const;

private:
    friend class Exact;
    Rows patches_, bank_, queries_;
    std::vector<double> patch_norms_;
    double error_ = 0;  // relative to the norm of the patch
};

// Similarities in float64 of one patch after the other, each computed once. Products of two floats are exact there, and
// equal columns give equal results. For one thread.
class Exact {
public:
    explicit Exact(const NearTies& near_ties);

    void begin(int64_t patch);
    int64_t patch() const { return patch_; }
    double operator()(int64_t column);

private:
    const NearTies& near_ties_;
    int64_t patch_ = -1;
    bool widened_ = false;          // whether row_ is that of the patch
    std::vector<double> row_;
    std::vector<double> values_;    // by column
    std::vector<uint64_t> rounds_;  // by column: when its value was computed
    uint64_t round_ = 0;
};

}  // namespace fastconcept
