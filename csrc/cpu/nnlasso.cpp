#include "nnlasso.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "crew.h"
#include "nnlasso_problem.h"
#include "parallel.h"

namespace fastconcept {
namespace {

constexpr int64_t kTile = 48;              // problems that share one pass over the dictionary
constexpr int64_t kSliceRows = 512;        // rows per task where one problem is spread over the threads
// Products in a pass from which on helpers pay for one problem.
constexpr int64_t kWorthHelpers = 1 << 19;

}  // namespace

// The problems of a tile, and where a pass over the dictionary puts what it finds for each.
struct NnlassoTile {
    explicit NnlassoTile(const ScreenedDictionary& dictionary_)
        : dictionary(dictionary_), marks(static_cast<std::size_t>(2 * dictionary.count)) {}

    Problem& problem(int64_t i) {
        while (static_cast<int64_t>(problems.size()) <= i) problems.push_back(std::make_unique<Problem>(dictionary));
        return *problems[static_cast<std::size_t>(i)];
    }

    // One product of the dictionary with the residuals of the open problems, by one thread.
    void pass(const std::vector<int64_t>& open, bool is_signed) {
        codes.clear();
        thresholds.clear();
        for (int64_t i : open) {
            codes.push_back(problem(i).codes());
            thresholds.push_back(problem(i).threshold());
        }
        if (found.size() < open.size()) found.resize(open.size());
        for (auto& list : found) list.clear();
        screen_all(dictionary, is_signed, codes.data(), thresholds.data(), static_cast<int64_t>(open.size()),
                   found.data());
    }

    // The same for the first problem alone, the rows dealt to the threads in slices and collected in order.
    void pass_sliced(Crew::Shift& shift, bool is_signed) {
        const int16_t* residual = problem(0).codes();
        const int32_t threshold = problem(0).threshold();
        slices.resize(static_cast<std::size_t>((dictionary.count + kSliceRows - 1) / kSliceRows));
        shift.run(static_cast<int64_t>(slices.size()), [&](int64_t slice) {
            auto& part = slices[static_cast<std::size_t>(slice)];
            part.clear();
            const int64_t begin = slice * kSliceRows;
            screen_rows(dictionary, begin, std::min(begin + kSliceRows, dictionary.count), is_signed, &residual,
                        &threshold, 1, &part);
        });
        found.resize(std::max<std::size_t>(found.size(), 1));
        found[0].clear();
        for (const auto& part : slices) found[0].insert(found[0].end(), part.begin(), part.end());
    }

    const ScreenedDictionary& dictionary;
    RowMarks marks;
    std::vector<std::unique_ptr<Problem>> problems;
    std::vector<std::vector<Candidate>> found, slices;
    std::vector<const int16_t*> codes;
    std::vector<int32_t> thresholds;
};

Nnlasso::Nnlasso(const float* rows, int64_t count, int64_t dimension, const float* basis, int64_t rank, int num_threads)
    : dictionary_(rows, count, dimension, basis, rank, num_threads) {}

Nnlasso::~Nnlasso() = default;

std::unique_ptr<NnlassoTile> Nnlasso::take() {
    std::lock_guard<std::mutex> hold(lock_);
    if (idle_.empty()) return std::make_unique<NnlassoTile>(dictionary_);
    auto tile = std::move(idle_.back());
    idle_.pop_back();
    return tile;
}

void Nnlasso::give(std::unique_ptr<NnlassoTile> tile) {
    std::lock_guard<std::mutex> hold(lock_);
    idle_.push_back(std::move(tile));
}

void Nnlasso::screen(const float* targets, int64_t n, double value, int num_threads, std::vector<Candidate>* found) {
    parallel_for((n + kTile - 1) / kTile, num_threads, [&](int64_t task, int) {
        const int64_t first = task * kTile, last = std::min(first + kTile, n);
        std::vector<ScreenedResidual> rounded(static_cast<std::size_t>(last - first));
        std::vector<const int16_t*> codes;
        std::vector<int32_t> thresholds;
        std::vector<double> target, values(static_cast<std::size_t>(dictionary_.width));
        for (int64_t i = first; i < last; ++i) {
            ScreenedResidual& residual = rounded[static_cast<std::size_t>(i - first)];
            target.assign(targets + i * dictionary_.dimension, targets + (i + 1) * dictionary_.dimension);
            const double norm = std::sqrt(dot(target.data(), target.data(), dictionary_.dimension));
            const double error = screen_coordinates(dictionary_, target.data(), norm, values.data());
            screen_residual(dictionary_, values.data(), error, norm, residual);
            codes.push_back(residual.codes.data());
            thresholds.push_back(screen_threshold(residual, value));
        }
        screen_all(dictionary_, false, codes.data(), thresholds.data(), last - first, found + first);
    });
}

void Nnlasso::solve(const float* targets, int64_t n, const double* penalties, const WarmStart& warm, bool is_signed,
                    double tolerance, int num_threads, SparseCode* codes) {
    auto begin = [&](Problem& problem, int64_t i) {
        problem.begin(targets + i * dictionary_.dimension, penalties[i], tolerance, warm.indices + warm.indptr[i],
                      warm.indptr[i + 1] - warm.indptr[i]);
    };
    if (n < num_threads) {  // too few problems to give each thread its own
        const bool helpers = dictionary_.count * dictionary_.width >= kWorthHelpers;
        Crew::Shift shift(Crew::instance(), helpers ? num_threads - 1 : 0);
        auto tile = take();
        for (int64_t i = 0; i < n; ++i) {
            begin(tile->problem(0), i);
            do {
                tile->pass_sliced(shift, is_signed);
            } while (!tile->problem(0).advance(tile->found[0], tile->marks));
            tile->problem(0).finish(codes[i]);
        }
        give(std::move(tile));
        return;
    }
    // Fewer problems per tile where there would be fewer tiles than threads; no result depends on it.
    const int64_t per_tile = std::max<int64_t>(1, std::min(kTile, n / num_threads));
    parallel_for((n + per_tile - 1) / per_tile, num_threads, [&](int64_t task, int) {
        auto tile = take();
        const int64_t first = task * per_tile, last = std::min(first + per_tile, n);
        std::vector<int64_t> open;
        for (int64_t i = first; i < last; ++i) {
            begin(tile->problem(i - first), i);
            open.push_back(i - first);
        }
        while (!open.empty()) {
            tile->pass(open, is_signed);
            std::size_t kept = 0;
            for (std::size_t t = 0; t < open.size(); ++t) {
                Problem& problem = tile->problem(open[t]);
                if (problem.advance(tile->found[t], tile->marks)) {
                    problem.finish(codes[first + open[t]]);
                } else {
                    open[kept++] = open[t];
                }
            }
            open.resize(kept);
        }
        give(std::move(tile));
    });
}

}  // namespace fastconcept
