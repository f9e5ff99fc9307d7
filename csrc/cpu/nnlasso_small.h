// The exact small problem: nonnegative lasso on the few rows of a working set, in float64.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace fastconcept {

// a . b for n doubles, summed in a fixed order.
double dot(const double* a, const double* b, int64_t n);
// a . b for n floats and doubles, in float64.
double dot(const float* a, const double* b, int64_t n);
// out[i] = rows[i] . b, each as `dot` sums it up to the order of its terms.
void dot_rows(const float* const* rows, int64_t count, const double* b, int64_t n, double* out);
// out -= sum_i factors[i] * rows[i], for rows of n floats.
void subtract_rows(double* out, const double* factors, const float* const* rows, int64_t count, int64_t n);

// min over w >= 0 of ||C^T w - z||^2 + lambda * sum(w) for rows C admitted one by one.
//
// With the Gram matrix G = C C^T, a few sweeps of coordinate descent guess the support; the active-set method of
// Lawson and Hanson (1974, chapter 23) then makes it exact, whatever the guess was. Rows that depend linearly on the
// support never enter its factor: weight moves along the null direction until some row of the support is free.
class SmallProblem {
public:
    explicit SmallProblem(int64_t dimension);

    // Forgets all rows and takes another target (dimension doubles, kept by reference).
    void reset(const double* target);
    // Adds rows, each times its sign, with weight zero.
    void admit(const int32_t* indices, const float* const* rows, const double* signs, int64_t n);
    // Finds the minimiser; rows outside the support violate c . r <= lambda / 2 by at most slack.
    void solve(double penalty, double slack);

    int64_t size() const { return static_cast<int64_t>(indices_.size()); }
    int32_t row(int64_t i) const { return indices_[static_cast<std::size_t>(i)]; }
    double weight(int64_t i) const { return weights_[static_cast<std::size_t>(i)]; }

private:
    double gram(int64_t i, int64_t j) const { return gram_[static_cast<std::size_t>(i * capacity_ + j)]; }
    double target_product(int64_t i) const { return products_[static_cast<std::size_t>(i)]; }
    void grow(int64_t needed);
    void guess(double half_penalty);
    // Factors the Gram matrix of the support from position `from` on; returns the position of the first row that
    // depends on those before it, or -1.
    int64_t factor(int64_t from);
    void substitute(std::vector<double>& x) const;
    void leave_dependent(int64_t position);

    int64_t dimension_, capacity_ = 0;
    const double* target_ = nullptr;
    std::vector<int32_t> indices_;
    std::vector<double> weights_, products_;  // per admitted row: w and c . z
    std::vector<double> wide_;                // (admitted, dimension): the rows in float64
    std::vector<double> gram_, factor_;       // row by row, capacity_ apart
    std::vector<double> gradient_, step_;
    std::vector<int64_t> support_;  // positions of admitted rows, in the order of the factor
};

}  // namespace fastconcept
