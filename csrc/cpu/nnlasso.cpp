#include "nnlasso.h"

#include <algorithm>
#include <memory>

#include "nnlasso_problem.h"
#include "parallel.h"

namespace fastconcept {
namespace {

constexpr int64_t kTile = 48;       // problems that share one pass over the dictionary
constexpr int64_t kSliceRows = 512; // rows per task where one problem is spread over the threads

// The problems of a tile, and where a pass over the dictionary puts what it finds for each.
struct Tile {
    explicit Tile(const ScreenedDictionary& dictionary) : marks(static_cast<size_t>(dictionary.count)), found(kTile) {
        for (int64_t i = 0; i < kTile; ++i) problems.emplace_back(dictionary);
    }

    std::vector<Problem> problems;
    RowMarks marks;
    std::vector<std::vector<Candidate>> found;
    std::vector<const int16_t*> codes;
    std::vector<int32_t> thresholds;
};

// One product of the dictionary with the residuals of the unfinished problems, by one thread.
void pass(const ScreenedDictionary& dictionary, Tile& tile, const std::vector<int64_t>& open) {
    tile.codes.clear();
    tile.thresholds.clear();
    for (int64_t i : open) {
        tile.codes.push_back(tile.problems[static_cast<size_t>(i)].codes());
        tile.thresholds.push_back(tile.problems[static_cast<size_t>(i)].threshold());
    }
    for (size_t t = 0; t < open.size(); ++t) tile.found[t].clear();
    screen_all(dictionary, tile.codes.data(), tile.thresholds.data(), static_cast<int64_t>(open.size()),
               tile.found.data());
}

// The same for one problem, its rows dealt to the threads in slices and collected in order.
void pass_sliced(const ScreenedDictionary& dictionary, const Problem& problem, int num_threads,
                 std::vector<std::vector<Candidate>>& slices, std::vector<Candidate>& found) {
    slices.resize(static_cast<size_t>((dictionary.count + kSliceRows - 1) / kSliceRows));
    const int16_t* codes = problem.codes();
    const int32_t threshold = problem.threshold();
    parallel_for(static_cast<int64_t>(slices.size()), num_threads, [&](int64_t slice, int) {
        auto& part = slices[static_cast<size_t>(slice)];
        part.clear();
        const int64_t begin = slice * kSliceRows;
        screen_rows(dictionary, begin, std::min(begin + kSliceRows, dictionary.count), &codes, &threshold, 1, &part);
    });
    found.clear();
    for (const auto& part : slices) found.insert(found.end(), part.begin(), part.end());
}

}  // namespace

void nnlasso(const ScreenedDictionary& dictionary, const float* targets, int64_t n, const double* penalties,
             const WarmStart& warm, double tolerance, int num_threads, SparseCode* codes) {
    auto begin = [&](Problem& problem, int64_t i) {
        problem.begin(targets + i * dictionary.dimension, penalties[i], tolerance, warm.indices + warm.indptr[i],
                      warm.indptr[i + 1] - warm.indptr[i]);
    };
    if (n < num_threads) {  // too few problems to give each thread its own
        Problem problem(dictionary);
        RowMarks marks(static_cast<size_t>(dictionary.count));
        std::vector<std::vector<Candidate>> slices;
        std::vector<Candidate> found;
        for (int64_t i = 0; i < n; ++i) {
            begin(problem, i);
            do {
                pass_sliced(dictionary, problem, num_threads, slices, found);
            } while (!problem.advance(found, marks));
            problem.finish(codes[i]);
        }
        return;
    }
    // Fewer problems per tile where there would be fewer tiles than threads; no result depends on it.
    const int64_t per_tile = std::max<int64_t>(1, std::min(kTile, n / num_threads));
    std::vector<std::unique_ptr<Tile>> tiles(static_cast<size_t>(num_threads));
    parallel_for((n + per_tile - 1) / per_tile, num_threads, [&](int64_t task, int thread) {
        auto& mine = tiles[static_cast<size_t>(thread)];
        if (!mine) mine = std::make_unique<Tile>(dictionary);
        Tile& tile = *mine;
        const int64_t first = task * per_tile, last = std::min(first + per_tile, n);
        std::vector<int64_t> open;
        for (int64_t i = first; i < last; ++i) {
            begin(tile.problems[static_cast<size_t>(i - first)], i);
            open.push_back(i - first);
        }
        while (!open.empty()) {
            pass(dictionary, tile, open);
            size_t kept = 0;
            for (size_t t = 0; t < open.size(); ++t) {
                Problem& problem = tile.problems[static_cast<size_t>(open[t])];
                if (problem.advance(tile.found[t], tile.marks)) {
                    problem.finish(codes[first + open[t]]);
                } else {
                    open[kept++] = open[t];
                }
            }
            open.resize(kept);
        }
    });
}

}  // namespace fastconcept
