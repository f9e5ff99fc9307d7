// The regularisation path of one target, followed until its code is about to exceed a number of words.
//
// On a segment of the path the support is fixed and w = alpha - lambda * beta, so that c . r = p + lambda * q for
// every row: each event (a row enters, a weight reaches zero) is the root of a linear function. The path is followed
// over a short list of candidate rows. Then one product of the whole dictionary with the residuals at all events
// proves the list complete (c . r - lambda / 2 is linear between events, so looking at the events is enough), or adds
// the rows that were missing, and the path is followed again. Products of the list with rows that were in the support
// are kept, so following it again costs little.
//
// Why not bisection in lambda: on the development model's dictionary, solving at lambdas from a tenth of the first one
// on took 1.8, 2.7 and 6.2 ms of one core until a code had 10, 20 and 40 words, where this takes 2.1, 5.7 and 13. But
// that is any code of so many words, of which the path may hold several; for 6 of 16 targets 60 bisections found none
// of 40, since words also leave. This finds where the code is about to exceed them for the first time.
#include <algorithm>
#include <cmath>

#include "nnlasso.h"
#include "nnlasso_problem.h"
#include "parallel.h"
#include "watch.h"

namespace fastconcept {
namespace {

constexpr int64_t kFirstCandidates = 128;  // and as many more for every eight words

constexpr double kSmallestPenalty = 1e-4;  // the path ends at this share of the penalty at which it begins
constexpr double kParallel = 1e-9;         // a row whose c . r / lambda changes by less than this never enters
constexpr double kNear = 0.95;             // of lambda / 2: rows this close join the list when it has to grow
constexpr int kMaxRepairs = 60;
constexpr int kMaxAttempts = 240;          // 1.05^240 exceeds 1 / kSmallestPenalty

class Path {
public:
    Path(const ScreenedDictionary& dictionary, const float* target, int64_t l0, bool is_signed)
        : dictionary_(dictionary),
          target_(target, target + dictionary.dimension),
          l0_(l0),
          signed_(is_signed),
          listed_(static_cast<size_t>(2 * dictionary.count)) {}

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

    void list_first(int64_t count);
    void list(int32_t row);
    void follow();
    bool repair();
    // Order of falling values, ties by the row of the dictionary.
    bool ahead(double value, size_t position, double other, int64_t than) const {
        return value > other || (value == other && than >= 0 && rows_[position] < rows_[static_cast<size_t>(than)]);
    }
    void enter(int64_t position);
    void segment();
    void correlate();
    void record(double penalty);

    const ScreenedDictionary& dictionary_;
    std::vector<double> target_, coordinates_;
    double coordinates_error_ = 0.0;
    int64_t l0_;
    bool signed_;  // mirrored rows take part
    double penalty_ = 0.0;
    std::vector<uint8_t> listed_;
    std::vector<int32_t> rows_;           // the list of candidates; it only grows, and positions in it stay
    std::vector<double> correlations_;    // c . z of the list
    std::vector<int64_t> support_;        // positions in the list
    std::vector<uint8_t> used_;           // 1 for those
    std::vector<std::vector<double>> products_;  // for a position that was in the support: c . c_i for all of the list
    std::vector<double> alpha_, beta_, factor_, fixed_, moving_;
    std::vector<Event> events_;
    std::vector<double> proved_;  // penalties of the events at which no row of the dictionary is missing
    std::vector<const float*> pointers_;  // to the rows of the list,
    std::vector<double> signs_;  // and what they are multiplied by
    size_t capacity_ = 0, factored_ = 0;  // of the factor: its stride, and rows that hold for the support
};

void Path::list(int32_t row) {
    if (listed_[static_cast<size_t>(row)]) return;
    listed_[static_cast<size_t>(row)] = 1;
    rows_.push_back(row);
}

void Path::list_first(int64_t count) {
    ScreenedResidual residual;
    const double norm = std::sqrt(dot(target_.data(), target_.data(), dictionary_.dimension));
    coordinates_.resize(static_cast<size_t>(dictionary_.width));
    coordinates_error_ = screen_coordinates(dictionary_, target_.data(), norm, coordinates_.data());
    screen_residual(dictionary_, coordinates_.data(), coordinates_error_, norm, residual);
    const int16_t* codes = residual.codes.data();
    const int32_t threshold = screen_threshold(residual, 0.0);
    std::vector<Candidate> found;
    screen_rows(dictionary_, 0, dictionary_.count, signed_, &codes, &threshold, 1, &found);
    const auto first = std::min(static_cast<int64_t>(found.size()), count);
    std::partial_sort(found.begin(), found.begin() + first, found.end(), more_correlated);
    for (int64_t i = 0; i < first; ++i) list(found[static_cast<size_t>(i)].row);
}

// The row at a position joins the support; its products with the list are kept for when it comes back.
void Path::enter(int64_t position) {
    auto& products = products_[static_cast<size_t>(position)];
    if (const size_t known = products.size(); known < rows_.size()) {
        const float* source = pointers_[static_cast<size_t>(position)];
        const double sign = signs_[static_cast<size_t>(position)];
        const std::vector<double> wide(source, source + dictionary_.dimension);
        products.resize(rows_.size());
        dot_rows(pointers_.data() + known, static_cast<int64_t>(rows_.size() - known), wide.data(),
                 dictionary_.dimension, products.data() + known);
        for (size_t i = known; i < rows_.size(); ++i) products[i] *= sign * signs_[i];
    }
    used_[static_cast<size_t>(position)] = 1;
    support_.push_back(position);
}

// alpha = G^-1 C z and beta = G^-1 (1/2) on the support, by a Cholesky factor of its Gram matrix. Rows from
// factored_ on are new.
void Path::segment() {
    const size_t n = support_.size();
    if (n > capacity_) {
        capacity_ = std::max<size_t>(2 * n, 32);
        factor_.assign(capacity_ * capacity_, 0.0);
        factored_ = 0;
    }
    const size_t stride = capacity_;
    for (size_t i = factored_; i < n; ++i) {
        double* row = factor_.data() + i * stride;
        const auto& products = products_[static_cast<size_t>(support_[i])];
        double pivot = products[static_cast<size_t>(support_[i])];
        for (size_t j = 0; j < i; ++j) {
            const double* other = factor_.data() + j * stride;
            row[j] = (products[static_cast<size_t>(support_[j])] - dot(row, other, static_cast<int64_t>(j))) / other[j];
            pivot -= row[j] * row[j];
        }
        row[i] = std::sqrt(std::max(pivot, 1e-300));
    }
    factored_ = n;
    alpha_.resize(n);
    for (size_t i = 0; i < n; ++i) alpha_[i] = correlations_[static_cast<size_t>(support_[i])];
    beta_.assign(n, 0.5);
    for (std::vector<double>* x : {&alpha_, &beta_}) {
        for (size_t i = 0; i < n; ++i) {
            const double* row = factor_.data() + i * stride;
            (*x)[i] = ((*x)[i] - dot(row, x->data(), static_cast<int64_t>(i))) / row[i];
        }
        for (size_t i = n; i-- > 0;) {
            const double* row = factor_.data() + i * stride;
            (*x)[i] /= row[i];
            for (size_t k = 0; k < i; ++k) (*x)[k] -= (*x)[i] * row[k];
        }
    }
}

// For all of the list, c . r = fixed + lambda * moving on this segment.
void Path::correlate() {
    fixed_ = correlations_;
    moving_.assign(rows_.size(), 0.0);
    for (size_t p = 0; p < support_.size(); ++p) {
        const double* products = products_[static_cast<size_t>(support_[p])].data();
        const double alpha = alpha_[p], beta = beta_[p];
        for (size_t i = 0; i < rows_.size(); ++i) {
            fixed_[i] -= alpha * products[i];
            moving_[i] += beta * products[i];
        }
    }
}

void Path::record(double penalty) {
    Event event;
    event.penalty = penalty;
    event.exact = target_;
    std::vector<const float*> rows;
    std::vector<double> weights, values = coordinates_;
    double error = coordinates_error_;
    for (size_t p = 0; p < support_.size(); ++p) {
        const auto position = static_cast<size_t>(support_[p]);
        rows.push_back(pointers_[position]);
        weights.push_back(signs_[position] * (alpha_[p] - penalty * beta_[p]));
        subtract_row(dictionary_, dictionary_.stored(rows_[position]), weights[p], values.data());
        error += std::fabs(weights[p]) * dictionary_.round_error;
    }
    subtract_rows(event.exact.data(), weights.data(), rows.data(), static_cast<int64_t>(rows.size()),
                  dictionary_.dimension);
    const double norm = std::sqrt(dot(event.exact.data(), event.exact.data(), dictionary_.dimension));
    screen_residual(dictionary_, values.data(), error, norm, event.residual);
    events_.push_back(std::move(event));
}

void Path::follow() {
    const size_t count = rows_.size(), known = correlations_.size();
    correlations_.resize(count);
    for (size_t i = known; i < count; ++i) {
        pointers_.push_back(dictionary_.source(rows_[i]));
        signs_.push_back(dictionary_.sign(rows_[i]));
    }
    dot_rows(pointers_.data() + known, static_cast<int64_t>(count - known), target_.data(), dictionary_.dimension,
             correlations_.data() + known);
    for (size_t i = known; i < count; ++i) correlations_[i] *= signs_[i];
    products_.resize(count);
    used_.assign(count, 0);
    support_.clear();
    events_.clear();
    factored_ = 0;
    int64_t first = 0;
    for (size_t i = 0; i < count; ++i) {
        if (ahead(correlations_[i], i, correlations_[static_cast<size_t>(first)], first))
            first = static_cast<int64_t>(i);
    }
    penalty_ = rows_.empty() ? 0.0 : std::max(0.0, 2 * correlations_[static_cast<size_t>(first)]);
    if (penalty_ == 0.0) return;
    const double floor = kSmallestPenalty * penalty_;
    enter(first);
    int64_t barred = -1;
    for (int64_t steps = 100 + 20 * l0_; steps > 0; --steps) {
        check_stop();
        segment();
        correlate();
        double enters = -HUGE_VAL, leaves = -HUGE_VAL;
        int64_t entering = -1, leaving = -1;
        for (size_t i = 0; i < count; ++i) {
            const double slope = 0.5 - moving_[i];
            if (slope <= kParallel || used_[i] || static_cast<int64_t>(i) == barred) continue;
            const double at = std::min(fixed_[i] / slope, penalty_);
            if (ahead(at, i, enters, entering)) {
                enters = at;
                entering = static_cast<int64_t>(i);
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
            enter(entering);
        } else {
            barred = support_[static_cast<size_t>(leaving)];
            used_[static_cast<size_t>(barred)] = 0;
            support_.erase(support_.begin() + leaving);
            factored_ = std::min(factored_, static_cast<size_t>(leaving));
        }
    }
}

// Lists the rows that violate optimality at an event; false when there is none.
bool Path::repair() {
    size_t known = 0;  // what the last product has proved need not be looked at again
    while (known < std::min(proved_.size(), events_.size()) && proved_[known] == events_[known].penalty) ++known;
    std::vector<const int16_t*> codes;
    std::vector<int32_t> thresholds;
    for (size_t e = known; e < events_.size(); ++e) {
        codes.push_back(events_[e].residual.codes.data());
        thresholds.push_back(screen_threshold(events_[e].residual, kNear * events_[e].penalty / 2));
    }
    std::vector<std::vector<Candidate>> found(codes.size());
    screen_all(dictionary_, signed_, codes.data(), thresholds.data(), static_cast<int64_t>(codes.size()), found.data());
    bool violated = false;
    proved_.resize(known);
    for (size_t e = known; e < events_.size() && !violated; ++e) {  // what follows a violation is another path
        for (const Candidate& candidate : found[e - known]) {
            if (listed_[static_cast<size_t>(candidate.row)]) continue;
            const double exact = dictionary_.sign(candidate.row) *
                                 dot(dictionary_.source(candidate.row), events_[e].exact.data(), dictionary_.dimension);
            violated |= exact > events_[e].penalty / 2 * (1 + 1e-9);
        }
        if (!violated) proved_.push_back(events_[e].penalty);
    }
    if (!violated) return false;
    for (const auto& near : found) {
        for (const Candidate& candidate : near) list(candidate.row);
    }
    return true;
}

void Path::run() {
    list_first(kFirstCandidates * (1 + l0_ / 8));
    follow();
    if (penalty_ == 0.0) {  // so many correlations are close to zero that the positive ones may be missing
        list_first(2 * dictionary_.count);
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
void solve_at(const ScreenedDictionary& dictionary, const float* target, double penalty, bool is_signed,
              double tolerance, const std::vector<int32_t>& support, Problem& problem, RowMarks& marks,
              SparseCode& code) {
    problem.begin(target, penalty, tolerance, support.data(), static_cast<int64_t>(support.size()));
    std::vector<Candidate> found;
    do {
        found.clear();
        const int16_t* codes = problem.codes();
        const int32_t threshold = problem.threshold();
        screen_all(dictionary, is_signed, &codes, &threshold, 1, &found);
    } while (!problem.advance(found, marks));
    problem.finish(code);
}

}  // namespace

void Nnlasso::solve_l0(const float* targets, int64_t n, int64_t l0, bool is_signed, double tolerance, int num_threads,
                       SparseCode* codes) {
    const ScreenedDictionary& dictionary = dictionary_;
    parallel_for(n, num_threads, [&](int64_t i, int) {
        const float* target = targets + i * dictionary.dimension;
        Path path(dictionary, target, l0, is_signed);
        path.run();
        codes[i] = SparseCode();
        if (path.penalty() == 0.0) return;  // no row correlates with the target: w = 0 for every lambda
        Problem problem(dictionary);
        RowMarks marks(static_cast<size_t>(2 * dictionary.count));
        // The first penalty is the answer unless rows tie so closely that the path lost its way; then a slightly
        // larger one has few enough words, in the end that at which the path began.
        double penalty = path.penalty();
        for (int attempt = 0; attempt < kMaxAttempts; ++attempt, penalty *= 1.05) {
            solve_at(dictionary, target, penalty, is_signed, tolerance, path.support(), problem, marks, codes[i]);
            if (static_cast<int64_t>(codes[i].indices.size()) <= l0) break;
        }
    });
}

}  // namespace fastconcept
