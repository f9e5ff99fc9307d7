// A draft of a code, made from the integer rows of the dictionary alone.
//
// Finding the support takes many small steps, and none of them has to be exact: what a step gets wrong, the exact
// small problem (nnlasso_small.h) puts right at the end, where the draft is no more than a support to start from. So
// the steps run on Gram matrices of 16-bit rows (exact integer dots, an eighth of the work of float64 ones) and on
// coordinate descent in float32.
#pragma once

#include <cstdint>
#include <vector>

#include "nnlasso_screen.h"

namespace fastconcept {

// Marks rows of the dictionary; kept all clear between uses, so that it can be shared.
using RowMarks = std::vector<uint8_t>;

class Draft {
public:
    explicit Draft(const ScreenedDictionary& dictionary) : dictionary_(dictionary) {}

    // Takes a target by its coordinates Q^T z, (width,).
    void begin(const double* coordinates, double penalty);
    // Admits rows of the list, with products c . r / unit, until none of them violates optimality.
    void improve(const std::vector<Candidate>& listed, double unit, RowMarks& marks);
    // About how far the residual is from where it was at `mark`.
    void mark() { marked_ = residual_; }
    double moved() const;

    int64_t size() const { return static_cast<int64_t>(rows_.size()); }
    int32_t row(int64_t i) const { return rows_[static_cast<std::size_t>(i)]; }
    double weight(int64_t i) const { return weights_[static_cast<std::size_t>(i)]; }

private:
    void grow(int64_t capacity);
    void admit(const Candidate* chosen, int64_t n);
    void descend(int sweeps);
    void round_residual();
    void score(std::vector<Candidate>& list) const;
    void shorten(const std::vector<Candidate>& listed, double unit, const RowMarks& marks);

    const ScreenedDictionary& dictionary_;
    int64_t capacity_ = 0;  // a multiple of kDraftLanes; rows of gram_ are padded with zeros up to it
    float half_penalty_ = 0.0f;
    std::vector<int32_t> rows_;                                 // of the dictionary, in the order of admission
    std::vector<float> weights_, taken_, gradient_, inverse_;   // taken_: the weights that are in the residual
    std::vector<float> gram_;
    std::vector<int32_t> products_;
    std::vector<float> residual_;  // coordinates of z - C^T w
    Codes codes_;                  // rounded
    double unit_ = 1.0;            // c . r ~ (a . codes) * unit
    std::vector<float> marked_;
    std::vector<Candidate> list_, short_, rest_;
};

}  // namespace fastconcept
