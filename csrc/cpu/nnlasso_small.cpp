#include "nnlasso_small.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "simd.h"
#include "watch.h"

namespace fastconcept {
namespace {

constexpr double kDependent = 1e-13;  // a squared distance to the span of the support, relative, that counts as none
constexpr int kSweeps = 12;
// Four float64 sums side by side; the compiler maps them to what each instruction set has.
constexpr int64_t kLanes = 4;
constexpr int64_t kTile = 3;  // rows and columns of a Gram matrix made at once: nine sums and six rows in registers
typedef double Lanes __attribute__((vector_size(kLanes * sizeof(double))));
typedef double LooseLanes __attribute__((vector_size(kLanes * sizeof(double)), aligned(8), may_alias));
typedef float HalfLanes __attribute__((vector_size(kLanes * sizeof(float))));

inline void load(const double* from, Lanes& to) { std::memcpy(&to, from, sizeof(Lanes)); }
inline void load(const float* from, Lanes& to) {
    HalfLanes half;
    std::memcpy(&half, from, sizeof(HalfLanes));
    to = __builtin_convertvector(half, Lanes);
}

// sums[i] = rows[i] . b for R rows that share the loads of b; U independent sums for each keep the units busy.
template <int R, int U, class A>
inline void dot_group(const A* const* rows, const double* b, int64_t n, double* sums) {
    Lanes lanes[R][U] = {};
    int64_t c = 0;
    for (; c + U * kLanes <= n; c += U * kLanes) {
        for (int u = 0; u < U; ++u) {
            Lanes right, left;
            load(b + c + u * kLanes, right);
            for (int i = 0; i < R; ++i) {
                load(rows[i] + c + u * kLanes, left);
                lanes[i][u] += left * right;
            }
        }
    }
    for (int i = 0; i < R; ++i) {
        for (int u = 1; u < U; ++u) lanes[i][0] += lanes[i][u];
        double tail = 0.0;
        for (int64_t rest = c; rest < n; ++rest) tail += static_cast<double>(rows[i][rest]) * b[rest];
        sums[i] = ((lanes[i][0][0] + lanes[i][0][2]) + (lanes[i][0][1] + lanes[i][0][3])) + tail;
    }
}

// products[i * stride + j] = left[i] . right[j] for R and T rows of n doubles, n a multiple of kLanes.
template <int R, int T>
inline __attribute__((always_inline)) void multiply(const double* left, const double* right, int64_t n,
                                                    double* products, int64_t stride) {
    Lanes lanes[R][T] = {};
    for (int64_t c = 0; c < n; c += kLanes) {
#pragma GCC unroll 4
        for (int t = 0; t < T; ++t) {
            const Lanes b = *reinterpret_cast<const LooseLanes*>(right + t * n + c);
#pragma GCC unroll 4
            for (int i = 0; i < R; ++i) lanes[i][t] += *reinterpret_cast<const LooseLanes*>(left + i * n + c) * b;
        }
    }
    for (int i = 0; i < R; ++i) {
        for (int t = 0; t < T; ++t) {
            products[i * stride + t] = (lanes[i][t][0] + lanes[i][t][2]) + (lanes[i][t][1] + lanes[i][t][3]);
        }
    }
}

// Fills the rows [from, count) of a Gram matrix up to the diagonal.
FASTCONCEPT_CLONES
void multiply_rows(const double* rows, int64_t from, int64_t count, int64_t n, double* gram, int64_t stride) {
    int64_t i = from;
    for (; i + kTile <= count; i += kTile) {
        int64_t j = 0;
        for (; j + kTile <= i + kTile; j += kTile) {
            multiply<kTile, kTile>(rows + i * n, rows + j * n, n, gram + i * stride + j, stride);
        }
        for (; j < i + kTile; ++j) multiply<kTile, 1>(rows + i * n, rows + j * n, n, gram + i * stride + j, stride);
    }
    for (; i < count; ++i) {
        int64_t j = 0;
        for (; j + kTile <= i + 1; j += kTile) {
            multiply<1, kTile>(rows + i * n, rows + j * n, n, gram + i * stride + j, stride);
        }
        for (; j <= i; ++j) multiply<1, 1>(rows + i * n, rows + j * n, n, gram + i * stride + j, stride);
    }
}

FASTCONCEPT_CLONES
void subtract_scaled(double* __restrict out, double factor, const double* __restrict row, int64_t n) {
    for (int64_t c = 0; c < n; ++c) out[c] -= factor * row[c];
}

}  // namespace

FASTCONCEPT_CLONES
void dot_rows(const float* const* rows, int64_t count, const double* b, int64_t n, double* out) {
    int64_t i = 0;
    for (; i + 4 <= count; i += 4) dot_group<4, 2>(rows + i, b, n, out + i);
    for (; i < count; ++i) dot_group<1, 4>(rows + i, b, n, out + i);
}

FASTCONCEPT_CLONES
void subtract_rows(double* __restrict out, const double* factors, const float* const* rows, int64_t count, int64_t n) {
    int64_t i = 0;
    for (; i + 4 <= count; i += 4) {
        const float* __restrict a = rows[i];
        const float* __restrict b = rows[i + 1];
        const float* __restrict c = rows[i + 2];
        const float* __restrict d = rows[i + 3];
        for (int64_t k = 0; k < n; ++k) {
            out[k] -= (factors[i] * a[k] + factors[i + 1] * b[k]) + (factors[i + 2] * c[k] + factors[i + 3] * d[k]);
        }
    }
    for (; i < count; ++i) {
        const float* __restrict row = rows[i];
        for (int64_t k = 0; k < n; ++k) out[k] -= factors[i] * row[k];
    }
}

FASTCONCEPT_CLONES
double dot(const double* a, const double* b, int64_t n) {
    double sum;
    dot_group<1, 4>(&a, b, n, &sum);
    return sum;
}

FASTCONCEPT_CLONES
double dot(const float* a, const double* b, int64_t n) {
    double sum;
    dot_group<1, 4>(&a, b, n, &sum);
    return sum;
}

SmallProblem::SmallProblem(int64_t dimension) : dimension_(dimension) {}

void SmallProblem::reset(const double* target) {
    target_ = target;
    indices_.clear();
    weights_.clear();
    products_.clear();
    support_.clear();
}

void SmallProblem::grow(int64_t needed) {
    const int64_t old = capacity_, used = size();
    if (needed <= old) return;
    capacity_ = std::max({int64_t{32}, needed, 2 * old});
    std::vector<double> gram(static_cast<std::size_t>(capacity_ * capacity_));
    for (int64_t i = 0; i < used; ++i) {
        std::copy_n(gram_.begin() + i * old, used, gram.begin() + i * capacity_);
    }
    gram_.swap(gram);
    factor_.resize(static_cast<std::size_t>(capacity_ * capacity_));
    gradient_.resize(static_cast<std::size_t>(capacity_));
}

void SmallProblem::admit(const int32_t* indices, const float* const* rows, const double* signs, int64_t n) {
    const int64_t used = size(), total = used + n, width = (dimension_ + kLanes - 1) / kLanes * kLanes;
    grow(total);
    wide_.resize(static_cast<std::size_t>(std::max<int64_t>(total * width, static_cast<int64_t>(wide_.size()))));
    for (int64_t i = 0; i < n; ++i) {
        double* wide = wide_.data() + (used + i) * width;
        for (int64_t c = 0; c < dimension_; ++c) wide[c] = signs[i] * rows[i][c];
        std::fill(wide + dimension_, wide + width, 0.0);
        indices_.push_back(indices[i]);
        weights_.push_back(0.0);
    }
    products_.resize(static_cast<std::size_t>(total));
    dot_rows(rows, n, target_, dimension_, products_.data() + used);
    for (int64_t i = 0; i < n; ++i) products_[static_cast<std::size_t>(used + i)] *= signs[i];
    multiply_rows(wide_.data(), used, total, width, gram_.data(), capacity_);
    for (int64_t i = used; i < total; ++i) {
        for (int64_t j = 0; j < i; ++j) gram_[static_cast<std::size_t>(j * capacity_ + i)] = gram(i, j);
    }
}

void SmallProblem::guess(double half_penalty) {
    const int64_t n = size();
    for (int64_t i = 0; i < n; ++i) gradient_[static_cast<std::size_t>(i)] = target_product(i) - half_penalty;
    for (int64_t i = 0; i < n; ++i) {
        if (weight(i) > 0.0) subtract_scaled(gradient_.data(), weight(i), gram_.data() + i * capacity_, n);
    }
    for (int sweep = 0; sweep < kSweeps; ++sweep) {
        bool moved = false;
        for (int64_t i = 0; i < n; ++i) {
            const double moving = gradient_[static_cast<std::size_t>(i)] / gram(i, i);
            const double change = std::max(moving, -weight(i));
            if (change == 0.0) continue;
            moved |= weight(i) == 0.0 || weight(i) + change == 0.0;
            weights_[static_cast<std::size_t>(i)] += change;
            subtract_scaled(gradient_.data(), change, gram_.data() + i * capacity_, n);
        }
        if (!moved) break;  // the support has settled
    }
}

int64_t SmallProblem::factor(int64_t from) {
    const int64_t n = static_cast<int64_t>(support_.size());
    for (int64_t i = from; i < n; ++i) {
        double* row = factor_.data() + i * capacity_;
        const double* products = gram_.data() + support_[static_cast<std::size_t>(i)] * capacity_;
        double pivot = products[support_[static_cast<std::size_t>(i)]];
        const double scale = pivot;
        for (int64_t j = 0; j < i; ++j) {
            const double* other = factor_.data() + j * capacity_;
            row[j] = (products[support_[static_cast<std::size_t>(j)]] - dot(row, other, j)) / other[j];
            pivot -= row[j] * row[j];
        }
        if (!(pivot > kDependent * scale)) return i;
        row[i] = std::sqrt(pivot);
    }
    return -1;
}

// Solves L L^T x = x for the leading part of the factor that x is long.
void SmallProblem::substitute(std::vector<double>& x) const {
    const int64_t n = static_cast<int64_t>(x.size());
    for (int64_t i = 0; i < n; ++i) {
        const double* row = factor_.data() + i * capacity_;
        x[static_cast<std::size_t>(i)] = (x[static_cast<std::size_t>(i)] - dot(row, x.data(), i)) / row[i];
    }
    for (int64_t i = n - 1; i >= 0; --i) {
        const double* row = factor_.data() + i * capacity_;
        x[static_cast<std::size_t>(i)] /= row[i];
        subtract_scaled(x.data(), x[static_cast<std::size_t>(i)], row, i);
    }
}

// The row at `position` is sum_p beta_p c_p over the rows before it. Moving weight along +-(e - beta) leaves the
// residual and changes sum(w) by +-(1 - sum(beta)); go downhill until a weight is zero, and take that row out.
void SmallProblem::leave_dependent(int64_t position) {
    const int64_t dependent = support_[static_cast<std::size_t>(position)];
    step_.resize(static_cast<std::size_t>(position));
    double total = 0.0;
    for (int64_t p = 0; p < position; ++p)
        step_[static_cast<std::size_t>(p)] = gram(dependent, support_[static_cast<std::size_t>(p)]);
    substitute(step_);
    for (double beta : step_) total += beta;
    const double sign = total > 1.0 + 1e-9 ? 1.0 : -1.0;
    int64_t leaving = sign < 0.0 ? position : -1;
    double reach = sign < 0.0 ? weight(dependent) : HUGE_VAL;
    for (int64_t p = 0; p < position; ++p) {
        const double shrink = sign * step_[static_cast<std::size_t>(p)];
        if (shrink > 0.0 && weight(support_[static_cast<std::size_t>(p)]) < reach * shrink) {
            reach = weight(support_[static_cast<std::size_t>(p)]) / shrink;
            leaving = p;
        }
    }
    if (leaving < 0) {  // only rounding can bring us here: sum(beta) > 1 needs a positive beta
        leaving = position;
        reach = 0.0;
    }
    for (int64_t p = 0; p < position; ++p) {
        double& w = weights_[static_cast<std::size_t>(support_[static_cast<std::size_t>(p)])];
        w = std::max(0.0, w - reach * sign * step_[static_cast<std::size_t>(p)]);
    }
    weights_[static_cast<std::size_t>(dependent)] = std::max(0.0, weight(dependent) + sign * reach);
    weights_[static_cast<std::size_t>(support_[static_cast<std::size_t>(leaving)])] = 0.0;
    support_.erase(support_.begin() + leaving);
}

void SmallProblem::solve(double penalty, double slack) {
    const double half = penalty / 2;
    guess(half);
    support_.clear();
    for (int64_t i = 0; i < size(); ++i) {
        if (weight(i) > 0.0) support_.push_back(i);
    }
    int64_t factored = 0;
    // Each step lowers the objective over a finite number of supports; the limit only guards against rounding.
    for (int64_t steps = 50 + 10 * size(); steps > 0; --steps) {
        check_stop();
        const int64_t dependent = factor(factored);
        if (dependent >= 0) {
            const auto before = support_;
            leave_dependent(dependent);
            factored = std::mismatch(support_.begin(), support_.end(), before.begin()).first - support_.begin();
            factored = std::min(factored, dependent);
            continue;
        }
        const int64_t n = factored = static_cast<int64_t>(support_.size());
        step_.resize(static_cast<std::size_t>(n));
        for (int64_t p = 0; p < n; ++p)
            step_[static_cast<std::size_t>(p)] = target_product(support_[static_cast<std::size_t>(p)]) - half;
        substitute(step_);
        double reach = 1.0;
        int64_t leaving = -1;
        for (int64_t p = 0; p < n; ++p) {
            const double w = weight(support_[static_cast<std::size_t>(p)]), x = step_[static_cast<std::size_t>(p)];
            if (x <= 0.0 && w <= reach * (w - x)) {
                reach = w > 0.0 ? w / (w - x) : 0.0;
                leaving = p;
            }
        }
        for (int64_t p = 0; p < n; ++p) {
            double& w = weights_[static_cast<std::size_t>(support_[static_cast<std::size_t>(p)])];
            w = leaving < 0 ? step_[static_cast<std::size_t>(p)]
                            : std::max(0.0, w + reach * (step_[static_cast<std::size_t>(p)] - w));
        }
        if (leaving >= 0) {
            weights_[static_cast<std::size_t>(support_[static_cast<std::size_t>(leaving)])] = 0.0;
            support_.erase(support_.begin() + leaving);
            factored = leaving;
            continue;
        }
        double worst = slack;
        int64_t entering = -1;
        for (int64_t i = 0; i < size(); ++i) {
            if (weight(i) > 0.0) continue;
            double gradient = target_product(i) - half;
            for (int64_t p = 0; p < n; ++p)
                gradient -= gram(i, support_[static_cast<std::size_t>(p)]) * step_[static_cast<std::size_t>(p)];
            if (gradient > worst) {
                worst = gradient;
                entering = i;
            }
        }
        if (entering < 0) return;
        support_.push_back(entering);
    }
}

}  // namespace fastconcept
