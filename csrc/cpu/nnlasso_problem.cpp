#include "nnlasso_problem.h"

#include <algorithm>
#include <cmath>

namespace fastconcept {
namespace {

constexpr size_t kBlock = 8;           // rows admitted at once
constexpr double kMargin = 0.25;       // of lambda / 2; see set_threshold
constexpr double kEstimate = 0.98;     // of the margin: a draft that has moved further is sent for another list
constexpr int32_t kMaxRounds = 100;    // products with the dictionary; only rounding can use them up
constexpr int kMaxSteps = 10000;

}  // namespace

void Problem::begin(const float* target, double penalty, double tolerance, const int32_t* support, int64_t n) {
    penalty_ = penalty;
    // A violation of c . r <= lambda / 2 by v makes a relative gap of at most 2 v / lambda. A quarter of what the
    // tolerance allows leaves room for the rest.
    slack_ = tolerance * penalty / 8;
    target_.assign(target, target + dictionary_.dimension);
    small_.reset(target_.data());
    coordinates_.resize(static_cast<std::size_t>(dictionary_.width));
    const double norm = std::sqrt(dot(target_.data(), target_.data(), dictionary_.dimension));
    coordinates_error_ = screen_coordinates(dictionary_, target_.data(), norm, coordinates_.data());
    draft_.begin(coordinates_.data(), penalty);
    draft_.mark();
    drafting_ = n == 0;
    rounds_ = 0;
    largest_ = 0.0;
    choose_none();
    for (int64_t i = 0; i < n; ++i) choose(support[i], 0.0);
    solve_exactly();
    set_threshold();
}

// c . r of a row, exactly.
double Problem::correlation(int32_t row) const {
    return dictionary_.sign(row) * dot(dictionary_.source(row), residual_.data(), dictionary_.dimension);
}

void Problem::choose_none() {
    chosen_.clear();
    rows_.clear();
    signs_.clear();
    factors_.clear();
}

void Problem::choose(int32_t row, double weight) {
    chosen_.push_back(row);
    rows_.push_back(dictionary_.source(row));
    signs_.push_back(dictionary_.sign(row));
    factors_.push_back(signs_.back() * weight);
}

template <class Code>
void Problem::choose_support(const Code& code) {
    choose_none();
    for (int64_t i = 0; i < code.size(); ++i) {
        if (code.weight(i) > 0.0) choose(code.row(i), code.weight(i));
    }
}

// The residual of a code, exactly and rounded for the next product.
template <class Code>
void Problem::take_residual(const Code& code) {
    residual_ = target_;
    values_ = coordinates_;
    double error = coordinates_error_;
    choose_support(code);
    const auto n = static_cast<int64_t>(chosen_.size());
    subtract_rows(residual_.data(), factors_.data(), rows_.data(), n, dictionary_.dimension);
    for (std::size_t i = 0; i < chosen_.size(); ++i) {
        subtract_row(dictionary_, dictionary_.stored(chosen_[i]), factors_[i], values_.data());
        error += std::fabs(factors_[i]) * dictionary_.round_error;
    }
    norm_ = std::sqrt(dot(residual_.data(), residual_.data(), dictionary_.dimension));
    screen_residual(dictionary_, values_.data(), error, norm_, screened_);
}

// The list holds more rows than those that violate optimality now: it stays complete for every residual within
// margin / max ||c|| of this one. At the first round, far from the solution, that would not help.
void Problem::set_threshold() {
    margin_ = draft_.size() > 0 || small_.size() > 0 ? kMargin * penalty_ / 2 : 0.0;
    threshold_ = screen_threshold(screened_, penalty_ / 2 - margin_);
    listed_ = residual_;
}

bool Problem::admit_violators(std::vector<Candidate>& candidates, RowMarks& marks) {
    screen_list(dictionary_, codes(), candidates.data(), static_cast<int64_t>(candidates.size()));
    const int32_t possible = screen_threshold(screened_, penalty_ / 2);
    open_.clear();
    for (const Candidate& candidate : candidates) {
        if (candidate.product >= possible && !marks[static_cast<std::size_t>(candidate.row)])
            open_.push_back(candidate);
    }
    const size_t first = std::min(open_.size(), 4 * kBlock);
    std::partial_sort(open_.begin(), open_.begin() + static_cast<int64_t>(first), open_.end(), more_correlated);
    largest_ = 0.0;
    choose_none();
    for (const Candidate& candidate : open_) {
        if (candidate.product * screened_.unit - screened_.error <= penalty_ / 2 + slack_) {  // too close to tell
            const double exact = correlation(candidate.row);
            largest_ = std::max(largest_, exact);
            if (exact <= penalty_ / 2 + slack_) continue;
        }
        choose(candidate.row, 0.0);
        marks[static_cast<std::size_t>(candidate.row)] = 1;
        if (chosen_.size() == kBlock) break;
    }
    return !chosen_.empty();
}

// By how much c . r may have changed, for any row, since the list was made.
double Problem::moved() const {
    double square = 0.0;
    for (std::size_t c = 0; c < residual_.size(); ++c) {
        square += (residual_[c] - listed_[c]) * (residual_[c] - listed_[c]);
    }
    return std::sqrt(square) * dictionary_.row_norm;
}

// The problem on the chosen rows.
void Problem::solve_exactly() {
    small_.admit(chosen_.data(), rows_.data(), signs_.data(), static_cast<int64_t>(chosen_.size()));
    small_.solve(penalty_, slack_);
    take_residual(small_);
}

bool Problem::advance(std::vector<Candidate>& candidates, RowMarks& marks) {
    ++rounds_;
    if (drafting_) {
        draft_.improve(candidates, screened_.unit, marks);
        if (draft_.moved() * dictionary_.row_norm > kEstimate * margin_ && rounds_ < kMaxRounds) {
            take_residual(draft_);
            set_threshold();
            draft_.mark();
            return false;
        }
        choose_support(draft_);
        solve_exactly();
        drafting_ = false;
    }
    return refine(candidates, marks);
}

// Rounds of the exact small problem over the list. Returns true when the code is certified.
bool Problem::refine(std::vector<Candidate>& candidates, RowMarks& marks) {
    for (int64_t i = 0; i < small_.size(); ++i) marks[static_cast<std::size_t>(small_.row(i))] = 1;
    int steps = 0;
    while (steps < kMaxSteps && admit_violators(candidates, marks)) {
        ++steps;
        solve_exactly();
    }
    for (int64_t i = 0; i < small_.size(); ++i) marks[static_cast<std::size_t>(small_.row(i))] = 0;
    const double reach = moved();
    if (reach > margin_ && rounds_ < kMaxRounds && steps < kMaxSteps) {
        set_threshold();
        return false;
    }
    // Out of rounds or steps the certificate must tell: bound the rows outside the list, look at those inside.
    if (reach > margin_) largest_ = std::max(largest_, penalty_ / 2 - margin_ + reach);
    if (steps == kMaxSteps) {
        for (const Candidate& candidate : candidates) {
            largest_ = std::max(largest_, correlation(candidate.row));
        }
    }
    return true;
}

void Problem::finish(SparseCode& code) const {
    double largest = largest_, off = 0.0, total = 0.0;
    code.indices.clear();
    code.values.clear();
    std::vector<int64_t> order;
    for (int64_t i = 0; i < small_.size(); ++i) {
        const double exact = correlation(small_.row(i));
        largest = std::max(largest, exact);
        if (small_.weight(i) <= 0.0) continue;
        off = std::max(off, std::fabs(2 * exact - penalty_));
        total += small_.weight(i);
        order.push_back(i);
    }
    const auto stored = [&](int64_t i) { return dictionary_.stored(small_.row(i)); };
    std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return stored(a) < stored(b); });
    for (int64_t i : order) {
        code.indices.push_back(static_cast<int32_t>(stored(i)));
        code.values.push_back(dictionary_.sign(small_.row(i)) * small_.weight(i));
    }
    code.penalty = penalty_;
    code.rounds = rounds_;
    code.kkt = std::max({2 * largest - penalty_, off, 0.0});
    const double square = norm_ * norm_, primal = square + penalty_ * total;
    // u = s r is feasible for the dual max 2 u . z - ||u||^2 when max c . u <= lambda / 2. Rows that were never looked
    // at exactly have c . r < lambda / 2.
    const double aligned = dot(target_.data(), residual_.data(), dictionary_.dimension);
    double scale = square > 0.0 ? aligned / square : 0.0;
    scale = std::max(0.0, std::min(scale, penalty_ / std::max(2 * largest, penalty_)));
    const double dual = 2 * scale * aligned - scale * scale * square;
    code.gap = primal > 0.0 ? std::max(primal - dual, 0.0) / primal : 0.0;
}

}  // namespace fastconcept
