// The regularisation path of one target, followed until its code is about to exceed a number of words.
//
// On a segment of the path the support is fixed and w = alpha - lambda * beta, so that c . r = p + lambda * q for
// every row: each event (a row enters, a weight reaches zero) is the root of a linear function. The path is followed
// over a short list of candidate rows. Then one product of the whole dictionary with the residuals at all events
// proves the list complete (c . r - lambda / 2 is linear between events, so looking at the events is enough), or adds
// the rows that were missing, and the path is followed again.
#include <algorithm>
#include <cmath>

#include "nnlasso.h"
#include "nnlasso_problem.h"
#include "parallel.h"

namespace fastconcept {
namespace {

constexpr int64_t kFirstCandidates = 128;
constexpr double kSmallestPenalty = 1e-4;  // the path ends at this share of the penalty at which it begins
constexpr double kParallel = 1e-9;         // a row whose c . r / lambda changes by less than this never enters
constexpr double kNear = 0.95;             // of lambda / 2: rows this close join the list when it has to grow
constexpr int kMaxRepairs = 60;
constexpr int kMaxAttempts = 240;          // 1.05^240 exceeds 1 / kSmallestPenalty

class Path {
public:
    Path(const ScreenedDictionary& dictionary, const float* target, int64_t l0)
        : dictionary_(dictionary),
          target_(target, target + dictionary.dimension),
          l0_(l0),
          listed_(static_cast<size_t>(dictionary.count)) {}

    // Finds the path; afterwards penalty() and support() describe its last point.
    void run();
    double penalty() const { return penalty_; }
    std::vector<int32_t> support() const;

private:
    struct Event {
        double penalty;
        ScreenedResidual residual;
        std::vector<double> exact;  // the residual in float64
    };

    void screen(const std::vector<double>& vector, ScreenedResidual& out) const;
    void list_first(int64_t count);
    void list(int32_t row);
    void follow();
    bool repair();
    void segment();
    void record(double penalty);
    std::vector<double> combine(const std::vector<double>& weights) const;

    const ScreenedDictionary& dictionary_;
    std::vector<double> target_;
    int64_t l0_;
    double penalty_ = 0.0;
    std::vector<uint8_t> listed_;
    std::vector<int32_t> rows_;           // the list of candidates, ascending
    std::vector<double> correlations_;    // c . z of the list
    std::vector<int64_t> support_;        // positions in the list
    std::vector<double> alpha_, beta_, factor_;
    std::vector<Event> events_;
};

const float* row_of(const ScreenedDictionary& dictionary, int32_t row) {
    return dictionary.rows + row * dictionary.dimension;
}

void Path::list(int32_t row) {
    if (listed_[static_cast<size_t>(row)]) return;
    listed_[static_cast<size_t>(row)] = 1;
    rows_.push_back(row);
}

void Path::screen(const std::vector<double>& vector, ScreenedResidual& out) const {
    const double norm = std::sqrt(dot(vector.data(), vector.data(), dictionary_.dimension));
    std::vector<double> values(static_cast<size_t>(dictionary_.width));
    const double error = screen_coordinates(dictionary_, vector.data(), norm, values.data());
    screen_residual(dictionary_, values.data(), error, norm, out);
}

void Path::list_first(int64_t count) {
    ScreenedResidual residual;
    screen(target_, residual);
    const int16_t* codes = residual.codes.data();
    const int32_t threshold = screen_threshold(residual, 0.0);
    std::vector<Candidate> found;
    screen_rows(dictionary_, 0, dictionary_.count, &codes, &threshold, 1, &found);
    const auto first = std::min(static_cast<int64_t>(found.size()), count);
    std::partial_sort(found.begin(), found.begin() + first, found.end(), more_correlated);
    for (int64_t i = 0; i < first; ++i) list(found[static_cast<size_t>(i)].row);
}

std::vector<double> Path::combine(const std::vector<double>& weights) const {
    std::vector<double> sum(target_.size(), 0.0);
    for (size_t p = 0; p < support_.size(); ++p) {
        const float* row = row_of(dictionary_, rows_[static_cast<size_t>(support_[p])]);
        for (size_t c = 0; c < sum.size(); ++c) sum[c] += weights[p] * static_cast<double>(row[c]);
    }
    return sum;
}

// alpha = G^-1 C z and beta = G^-1 (1/2) on the support, by a Cholesky factor of its Gram matrix.
void Path::segment() {
    const size_t n = support_.size();
    factor_.assign(n * n, 0.0);
    alpha_.resize(n);
    beta_.assign(n, 0.5);
    std::vector<double> row(target_.size());
    for (size_t i = 0; i < n; ++i) {
        const float* source = row_of(dictionary_, rows_[static_cast<size_t>(support_[i])]);
        std::copy(source, source + dictionary_.dimension, row.begin());
        alpha_[i] = correlations_[static_cast<size_t>(support_[i])];
        for (size_t j = 0; j <= i; ++j) {
            const float* other = row_of(dictionary_, rows_[static_cast<size_t>(support_[j])]);
            double value = dot(other, row.data(), dictionary_.dimension);
            for (size_t k = 0; k < j; ++k) value -= factor_[i * n + k] * factor_[j * n + k];
            factor_[i * n + j] = j < i ? value / factor_[j * n + j] : std::sqrt(std::max(value, 1e-300));
        }
    }
    for (std::vector<double>* x : {&alpha_, &beta_}) {
        for (size_t i = 0; i < n; ++i) {
            for (size_t k = 0; k < i; ++k) (*x)[i] -= factor_[i * n + k] * (*x)[k];
            (*x)[i] /= factor_[i * n + i];
        }
        for (size_t i = n; i-- > 0;) {
            for (size_t k = i + 1; k < n; ++k) (*x)[i] -= factor_[k * n + i] * (*x)[k];
            (*x)[i] /= factor_[i * n + i];
        }
    }
}

void Path::record(double penalty) {
    std::vector<double> weights(support_.size());
    for (size_t p = 0; p < weights.size(); ++p) weights[p] = alpha_[p] - penalty * beta_[p];
    Event event;
    event.penalty = penalty;
    event.exact = combine(weights);
    for (size_t c = 0; c < target_.size(); ++c) event.exact[c] = target_[c] - event.exact[c];
    screen(event.exact, event.residual);
    events_.push_back(std::move(event));
}

void Path::follow() {
    std::sort(rows_.begin(), rows_.end());
    correlations_.resize(rows_.size());
    int64_t barred = 0;
    for (size_t i = 0; i < rows_.size(); ++i) {
        correlations_[i] = dot(row_of(dictionary_, rows_[i]), target_.data(), dictionary_.dimension);
        if (correlations_[i] > correlations_[static_cast<size_t>(barred)]) barred = static_cast<int64_t>(i);
    }
    support_.clear();
    events_.clear();
    penalty_ = rows_.empty() ? 0.0 : std::max(0.0, 2 * correlations_[static_cast<size_t>(barred)]);
    if (penalty_ == 0.0) return;
    const double floor = kSmallestPenalty * penalty_;
    support_.push_back(barred);
    barred = -1;
    for (int64_t steps = 100 + 20 * l0_; steps > 0; --steps) {
        segment();
        const std::vector<double> fixed = combine(alpha_), moving = combine(beta_);
        double enters = -HUGE_VAL, leaves = -HUGE_VAL;
        int64_t entering = -1, leaving = -1;
        for (int64_t i = 0; i < static_cast<int64_t>(rows_.size()); ++i) {
            if (i == barred || std::find(support_.begin(), support_.end(), i) != support_.end()) continue;
            const float* row = row_of(dictionary_, rows_[static_cast<size_t>(i)]);
            const double slope = 0.5 - dot(row, moving.data(), dictionary_.dimension);
            if (slope <= kParallel) continue;
            const double p = correlations_[static_cast<size_t>(i)] - dot(row, fixed.data(), dictionary_.dimension);
            const double at = std::min(p / slope, penalty_);
            if (at > enters) {
                enters = at;
                entering = i;
            }
        }
        for (size_t p = 0; p < support_.size(); ++p) {
            if (beta_[p] >= 0.0) continue;
            const double at = std::min(alpha_[p] / beta_[p], penalty_);
            if (at > leaves) {
                leaves = at;
                leaving = static_cast<int64_t>(p);
            }
        }
        penalty_ = std::max({enters, leaves, floor});
        record(penalty_);
        barred = -1;
        if (penalty_ <= floor) return;
        if (enters > leaves) {
            if (static_cast<int64_t>(support_.size()) >= l0_) return;
            support_.push_back(entering);
        } else {
            barred = support_[static_cast<size_t>(leaving)];
            support_.erase(support_.begin() + leaving);
        }
    }
}

// Lists the rows that violate optimality at an event; false when there is none.
bool Path::repair() {
    std::vector<const int16_t*> codes;
    std::vector<int32_t> thresholds;
    for (const Event& event : events_) {
        codes.push_back(event.residual.codes.data());
        thresholds.push_back(screen_threshold(event.residual, kNear * event.penalty / 2));
    }
    std::vector<std::vector<Candidate>> found(events_.size());
    screen_all(dictionary_, codes.data(), thresholds.data(), static_cast<int64_t>(codes.size()), found.data());
    bool violated = false;
    for (size_t e = 0; e < events_.size() && !violated; ++e) {  // what follows a violation is another path
        for (const Candidate& candidate : found[e]) {
            if (listed_[static_cast<size_t>(candidate.row)]) continue;
            const double exact = dot(row_of(dictionary_, candidate.row), events_[e].exact.data(), dictionary_.dimension);
            violated |= exact > events_[e].penalty / 2 * (1 + 1e-9);
        }
    }
    if (!violated) return false;
    for (const auto& near : found) {
        for (const Candidate& candidate : near) list(candidate.row);
    }
    return true;
}

void Path::run() {
    list_first(kFirstCandidates);
    follow();
    if (penalty_ == 0.0) {  // so many correlations are close to zero that the positive ones may be missing
        list_first(dictionary_.count);
        follow();
    }
    for (int repairs = 0; repairs < kMaxRepairs && repair(); ++repairs) follow();
}

std::vector<int32_t> Path::support() const {
    double total = 0.0;
    for (size_t p = 0; p < support_.size(); ++p) total += std::max(0.0, alpha_[p] - penalty_ * beta_[p]);
    std::vector<int32_t> rows;
    for (size_t p = 0; p < support_.size(); ++p) {
        if (alpha_[p] - penalty_ * beta_[p] > 1e-12 * total) rows.push_back(rows_[static_cast<size_t>(support_[p])]);
    }
    return rows;
}

// Certifies the code at a penalty, starting from a support.
void solve_at(const ScreenedDictionary& dictionary, const float* target, double penalty, double tolerance,
              const std::vector<int32_t>& support, Problem& problem, RowMarks& marks, SparseCode& code) {
    problem.begin(target, penalty, tolerance, support.data(), static_cast<int64_t>(support.size()));
    std::vector<Candidate> found;
    do {
        found.clear();
        const int16_t* codes = problem.codes();
        const int32_t threshold = problem.threshold();
        screen_all(dictionary, &codes, &threshold, 1, &found);
    } while (!problem.advance(found, marks));
    problem.finish(code);
}

}  // namespace

void Nnlasso::solve_l0(const float* targets, int64_t n, int64_t l0, double tolerance, int num_threads,
                       SparseCode* codes) {
    const ScreenedDictionary& dictionary = dictionary_;
    parallel_for(n, num_threads, [&](int64_t i, int) {
        const float* target = targets + i * dictionary.dimension;
        Path path(dictionary, target, l0);
        path.run();
        codes[i] = SparseCode();
        if (path.penalty() == 0.0) return;  // no row correlates with the target: w = 0 for every lambda
        Problem problem(dictionary);
        RowMarks marks(static_cast<size_t>(dictionary.count));
        // The first penalty is the answer unless rows tie so closely that the path lost its way; then a slightly
        // larger one has few enough words, in the end that at which the path began.
        double penalty = path.penalty();
        for (int attempt = 0; attempt < kMaxAttempts; ++attempt, penalty *= 1.05) {
            solve_at(dictionary, target, penalty, tolerance, path.support(), problem, marks, codes[i]);
            if (static_cast<int64_t>(codes[i].indices.size()) <= l0) break;
        }
    });
}

}  // namespace fastconcept
