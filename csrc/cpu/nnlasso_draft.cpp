#include "nnlasso_draft.h"

#include <algorithm>
#include <cmath>

#include "simd.h"
#include "watch.h"

namespace fastconcept {
namespace {

constexpr int64_t kLanes = 8;        // float32 loops run over multiples of this
constexpr int64_t kBlock = 8;        // rows admitted at once, or a quarter of those there are if that is more
constexpr std::size_t kShort = 256;  // most violating rows that are looked at between two looks at the whole list
constexpr int kSweeps = 4;           // of coordinate descent after each admission
constexpr int kLastSweeps = 40;      // and when nothing is left to admit
constexpr int kMaxLooks = 40;        // at the list; only rounding can use them up
constexpr float kSettled = 1e-3f;    // of lambda / 2: a sweep that moves weights by less ends the descent
constexpr float kViolated = 2e-3f;   // of lambda / 2: a violation worth a row

// One pass of coordinate descent over n rows; returns the largest change.
FASTCONCEPT_CLONES
float sweep(int64_t n, int64_t stride, const float* gram, const float* inverse, float* weights,
            float* __restrict gradient) {
    const int64_t padded = (n + kLanes - 1) / kLanes * kLanes;
    float largest = 0.0f;
    for (int64_t i = 0; i < n; ++i) {
        const float change = std::max(gradient[i] * inverse[i], -weights[i]);
        if (change == 0.0f) continue;
        weights[i] += change;
        largest = std::max(largest, std::fabs(change));
        const float* __restrict row = gram + i * stride;
        for (int64_t c = 0; c < padded; c += kLanes) {
            for (int64_t lane = 0; lane < kLanes; ++lane) gradient[c + lane] -= change * row[c + lane];
        }
    }
    return largest;
}

FASTCONCEPT_CLONES
void subtract_codes(float* __restrict out, float factor, const int16_t* __restrict codes, int64_t width) {
    for (int64_t c = 0; c < width; ++c) out[c] -= factor * static_cast<float>(codes[c]);
}

// Rounds to integers whose norm and size screening allows; returns the scale.
FASTCONCEPT_CLONES
float round_codes(const float* __restrict values, int64_t width, int16_t* __restrict codes) {
    float maxima[kLanes] = {}, squares[kLanes] = {};
    for (int64_t c = 0; c < width; c += kLanes) {
        for (int64_t lane = 0; lane < kLanes; ++lane) {
            const float value = values[c + lane];
            maxima[lane] = std::max(maxima[lane], std::fabs(value));
            squares[lane] += value * value;
        }
    }
    float largest = 0.0f, square = 0.0f;
    for (int64_t lane = 0; lane < kLanes; ++lane) {
        largest = std::max(largest, maxima[lane]);
        square += squares[lane];
    }
    if (!(largest > 0.0f)) {
        std::fill(codes, codes + width, int16_t{0});
        return 1.0f;
    }
    const float scale = 0.99f * std::min(32767.0f / largest, static_cast<float>(kCodeNorm) / std::sqrt(square));
    for (int64_t c = 0; c < width; ++c) {
        codes[c] = static_cast<int16_t>(static_cast<int32_t>(std::nearbyint(values[c] * scale)));
    }
    return scale;
}

void keep_first(std::vector<Candidate>& list, std::size_t n) {
    if (list.size() <= n) return;
    std::nth_element(list.begin(), list.begin() + static_cast<int64_t>(n), list.end(), more_correlated);
    list.resize(n);
}

}  // namespace

void Draft::begin(const double* coordinates, double penalty) {
    half_penalty_ = static_cast<float>(penalty / 2);
    residual_.assign(coordinates, coordinates + dictionary_.width);
    codes_.resize(static_cast<std::size_t>(dictionary_.width));
    for (auto* list : {&weights_, &taken_}) list->clear();
    rows_.clear();
    round_residual();
}

void Draft::grow(int64_t needed) {
    const int64_t old = capacity_, used = size();
    if (needed <= old) return;
    capacity_ = std::max<int64_t>(64, (std::max(needed, 2 * old) + kLanes - 1) / kLanes * kLanes);
    std::vector<float> gram(static_cast<std::size_t>(capacity_ * capacity_));
    for (int64_t i = 0; i < used; ++i) std::copy_n(gram_.begin() + i * old, used, gram.begin() + i * capacity_);
    gram_.swap(gram);
    for (auto* list : {&gradient_, &inverse_}) list->resize(static_cast<std::size_t>(capacity_));
}

// Candidates carry their products with the present residual.
void Draft::admit(const Candidate* chosen, int64_t n) {
    const int64_t used = size(), total = used + n;
    grow(total);
    for (int64_t i = 0; i < n; ++i) {
        gradient_[static_cast<std::size_t>(used + i)] = static_cast<float>(chosen[i].product * unit_) - half_penalty_;
        rows_.push_back(chosen[i].row);
        weights_.push_back(0.0f);
        taken_.push_back(0.0f);
    }
    products_.resize(static_cast<std::size_t>(n * total));
    screen_gram(dictionary_, rows_.data(), total, rows_.data() + used, n, products_.data());
    const float unit = static_cast<float>(1.0 / (dictionary_.scale * dictionary_.scale));
    const int64_t padded = (total + kLanes - 1) / kLanes * kLanes;
    for (int64_t i = 0; i < n; ++i) {
        float* row = gram_.data() + (used + i) * capacity_;
        for (int64_t j = 0; j < total; ++j) {
            row[j] = unit * static_cast<float>(products_[static_cast<std::size_t>(i * total + j)]);
            gram_[static_cast<std::size_t>(j * capacity_ + used + i)] = row[j];
        }
        const float square = row[used + i];
        inverse_[static_cast<std::size_t>(used + i)] = square > 0.0f ? 1.0f / square : 0.0f;
    }
    for (int64_t j = 0; j < total; ++j) {  // rows of an earlier problem may lie where the padding is
        std::fill(gram_.begin() + j * capacity_ + total, gram_.begin() + j * capacity_ + padded, 0.0f);
    }
}

// A few sweeps, and the residual that they leave.
void Draft::descend(int sweeps) {
    const float settled = kSettled * half_penalty_;
    for (int s = 0; s < sweeps; ++s) {
        if (sweep(size(), capacity_, gram_.data(), inverse_.data(), weights_.data(), gradient_.data()) < settled) break;
    }
    for (int64_t i = 0; i < size(); ++i) {
        const float change = weights_[static_cast<std::size_t>(i)] - taken_[static_cast<std::size_t>(i)];
        if (change == 0.0f) continue;
        const float factor = dictionary_.mirrors(row(i)) ? -change : change;
        subtract_codes(residual_.data(), factor / static_cast<float>(dictionary_.scale), dictionary_.code(row(i)),
                       dictionary_.width);
        taken_[static_cast<std::size_t>(i)] = weights_[static_cast<std::size_t>(i)];
    }
    round_residual();
}

void Draft::round_residual() {
    const float scale = round_codes(residual_.data(), dictionary_.width, codes_.data());
    unit_ = 1.0 / (dictionary_.scale * scale);
}

void Draft::score(std::vector<Candidate>& list) const {
    screen_list(dictionary_, codes_.data(), list.data(), static_cast<int64_t>(list.size()));
}

// The rows of the list that violate optimality.
void Draft::shorten(const std::vector<Candidate>& listed, double unit, const RowMarks& marks) {
    const double least = half_penalty_ * (1.0 + kViolated) / unit;
    std::size_t kept = 0;
    short_.resize(std::max(short_.size(), listed.size()));
    for (const Candidate& candidate : listed) {
        if (candidate.product > least && !marks[static_cast<std::size_t>(candidate.row)]) short_[kept++] = candidate;
    }
    short_.resize(kept);
}

double Draft::moved() const {
    float square = 0.0f;
    for (std::size_t c = 0; c < residual_.size(); ++c) {
        square += (residual_[c] - marked_[c]) * (residual_[c] - marked_[c]);
    }
    return std::sqrt(square);
}

void Draft::improve(const std::vector<Candidate>& listed, double unit, RowMarks& marks) {
    for (int32_t row : rows_) marks[static_cast<std::size_t>(row)] = 1;
    list_ = listed;
    for (int look = 0; look < kMaxLooks; ++look) {
        if (look > 0) score(list_);
        shorten(list_, look > 0 ? unit_ : unit, marks);
        if (short_.empty()) break;
        keep_first(short_, kShort);
        rest_ = short_;
        score(rest_);
        for (shorten(rest_, unit_, marks); !short_.empty(); shorten(rest_, unit_, marks)) {
            check_stop();
            const auto block = std::min<int64_t>(static_cast<int64_t>(short_.size()), std::max(kBlock, size() / 4));
            std::partial_sort(short_.begin(), short_.begin() + block, short_.end(), more_correlated);
            for (int64_t i = 0; i < block; ++i)
                marks[static_cast<std::size_t>(short_[static_cast<std::size_t>(i)].row)] = 1;
            admit(short_.data(), block);
            descend(kSweeps);
            score(rest_);
        }
        descend(kLastSweeps);
    }
    for (int32_t row : rows_) marks[static_cast<std::size_t>(row)] = 0;
}

}  // namespace fastconcept
