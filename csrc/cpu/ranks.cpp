#include "ranks.h"

#include <algorithm>
#include <vector>

#include "buckets.h"
#include "near_ties.h"
#include "parallel.h"
#include "similarities.h"

namespace fastconcept {
namespace {

constexpr int64_t kCountBlock = 4096;      // similarities that stay in the first-level cache for all concepts
constexpr int64_t kStreamedPatches = 768;  // with kBankTile: 1.2 MB of similarities per thread
constexpr int64_t kFewMembers = 8;         // at most one concept in this many is worth multiplying twice
constexpr int64_t kMany = 8;               // concepts for which counting by buckets pays

// The distinct members of some subtrees, side by side, and the subtrees as lists of their new places.
class Members {
public:
    Members(const Rows& bank, const Lists& subtrees) : indptr_(subtrees.indptr), lists_(subtrees.count) {
        std::vector<int64_t> place(static_cast<size_t>(bank.rows), -1);
        for (int64_t i = 0; i < subtrees.total; ++i) {
            const int64_t row = subtrees.indices[i];
            int64_t& mine = place[static_cast<size_t>(row)];
            if (mine < 0) {
                mine = static_cast<int64_t>(distinct_.size());
                distinct_.push_back(row);
            }
            indices_.push_back(mine);
        }
    }
    int64_t count() const { return static_cast<int64_t>(distinct_.size()); }
    Lists lists() const { return {indptr_, indices_.data(), lists_, static_cast<int64_t>(indices_.size())}; }
    std::vector<float> gather(const Rows& bank) const {
        std::vector<float> rows;
        rows.reserve(distinct_.size() * static_cast<size_t>(bank.dims));
        for (const int64_t row : distinct_)
            rows.insert(rows.end(), bank.data + row * bank.dims, bank.data + (row + 1) * bank.dims);
        return rows;
    }

private:
    const int64_t* indptr_;
    int64_t lists_;
    std::vector<int64_t> distinct_, indices_;
};

// What is asked for, and where it goes: best and ranks are (patches, concepts), concepts are subtrees, then queries.
struct Request {
    Rows patches, bank, queries;
    Lists subtrees;
    int num_threads;
    double* best;
    int32_t* ranks;

    int64_t concepts() const { return subtrees.count + queries.rows; }
};

// Best similarity of every concept at one patch, whose similarities to the bank are given.
void find_best(const Request& request, const NearTies& near_ties, Exact& exact, const float* similarities) {
    const Lists& subtrees = request.subtrees;
    double* best = request.best + exact.patch() * request.concepts();
    for (int64_t j = 0; j < subtrees.count; ++j)
        best[j] = near_ties.best(exact, similarities, subtrees.indices + subtrees.indptr[j],
                                 subtrees.indptr[j + 1] - subtrees.indptr[j]);
    for (int64_t q = 0; q < request.queries.rows; ++q) best[subtrees.count + q] = exact(request.bank.rows + q);
}

// What one thread needs to rank patch after patch.
struct Ranker {
    explicit Ranker(const NearTies& near_ties) : exact(near_ties) {}
    Exact exact;
    Buckets buckets;
};

// Best and count of every concept at one patch, whose similarities to the bank are given.
void rank_patch(const Request& request, const NearTies& near_ties, int64_t patch, const float* values, Ranker& mine) {
    mine.exact.begin(patch);
    find_best(request, near_ties, mine.exact, values);
    const int64_t concepts = request.concepts(), rows = request.bank.rows;
    const double* best = request.best + patch * concepts;
    int32_t* ranks = request.ranks + patch * concepts;
    if (concepts >= kMany && rows > 0) {
        mine.buckets.count_greater(near_ties, mine.exact, values, rows, best, concepts, ranks);
        return;
    }
    for (int64_t start = 0; start < rows; start += kCountBlock)
        for (int64_t j = 0; j < concepts; ++j)
            ranks[j] += near_ties.count_greater(mine.exact, values + start, start, std::min(kCountBlock, rows - start),
                                                best[j]);
}

// Any subtrees: all similarities of a few hundred patches, then best and count patch by patch.
void rank_in_rounds(const Request& request, const NearTies& near_ties) {
    std::vector<Ranker> rankers(static_cast<size_t>(request.num_threads), Ranker(near_ties));
    for_each_patch(request.patches, request.bank, request.num_threads,
                   [&](int64_t patch, const float* values, int thread) {
                       rank_patch(request, near_ties, patch, values, rankers[static_cast<size_t>(thread)]);
                   });
}

// The same where the similarities are known.
void rank_known(const Request& request, const NearTies& near_ties, const float* known) {
    std::vector<Ranker> rankers(static_cast<size_t>(request.num_threads), Ranker(near_ties));
    parallel_for((request.patches.rows + kPatchesPerTask - 1) / kPatchesPerTask, request.num_threads,
                 [&](int64_t task, int thread) {
                     const int64_t stop = std::min(request.patches.rows, (task + 1) * kPatchesPerTask);
                     for (int64_t patch = task * kPatchesPerTask; patch < stop; ++patch)
                         rank_patch(request, near_ties, patch, known + patch * request.bank.rows,
                                    rankers[static_cast<size_t>(thread)]);
                 });
}

// What one thread needs to count tile after tile.
struct Counter {
    explicit Counter(const NearTies& near_ties) : exact(near_ties) {}
    Exact exact;
    std::vector<float> tile;
    std::vector<int32_t> ranks;
};

// Few small subtrees: their members alone give the best; then the bank streams by and is counted while in cache.
void rank_by_streaming(const Request& request, const NearTies& near_ties, const Members& members) {
    const Rows& patches = request.patches;
    const std::vector<float> gathered = members.gather(request.bank);
    Request alone = request;
    alone.bank = {gathered.data(), members.count(), request.bank.dims};
    alone.subtrees = members.lists();
    const NearTies member_ties(patches, alone.bank, request.queries, request.num_threads);
    std::vector<Exact> exact(static_cast<size_t>(request.num_threads), Exact(member_ties));
    for_each_patch(patches, alone.bank, request.num_threads, [&](int64_t patch, const float* values, int thread) {
        Exact& mine = exact[static_cast<size_t>(thread)];
        mine.begin(patch);
        find_best(alone, member_ties, mine, values);
    });

    const int64_t concepts = request.concepts(), rounds = (patches.rows + kStreamedPatches - 1) / kStreamedPatches;
    const int64_t height = (patches.rows + rounds - 1) / rounds;
    std::vector<Counter> counters(static_cast<size_t>(request.num_threads), Counter(near_ties));
    parallel_for(bank_tiles(request.bank), request.num_threads, [&](int64_t tile, int thread) {
        Counter& mine = counters[static_cast<size_t>(thread)];
        mine.tile.resize(static_cast<size_t>(height * kBankTile));
        mine.ranks.resize(static_cast<size_t>(patches.rows * concepts));
        const int64_t width = tile_width(request.bank, tile);
        for (int64_t first = 0; first < patches.rows; first += height) {
            const int64_t stop = std::min(patches.rows, first + height);
            multiply(patches, first, stop - first, request.bank, tile, mine.tile.data(), kBankTile);
            for (int64_t patch = first; patch < stop; ++patch) {
                mine.exact.begin(patch);
                for (int64_t cell = patch * concepts; cell < (patch + 1) * concepts; ++cell)
                    mine.ranks[static_cast<size_t>(cell)] +=
                        near_ties.count_greater(mine.exact, mine.tile.data() + (patch - first) * kBankTile,
                                                tile * kBankTile, width, request.best[cell]);
            }
        }
    });
    for (const Counter& counter : counters)
        for (size_t cell = 0; cell < counter.ranks.size(); ++cell) request.ranks[cell] += counter.ranks[cell];
}

}  // namespace

// Ranks are exact (near_ties.h): all ways give the same.
void subtree_ranks(const Rows& patches, const Rows& bank, const Lists& subtrees, const Rows& queries,
                   const float* known, int32_t* ranks, float* similarities, int num_threads) {
    require_lists(subtrees, bank.rows, "indptr", "indices", false);
    const NearTies near_ties(patches, bank, queries, num_threads);
    std::vector<double> best(static_cast<size_t>(patches.rows * (subtrees.count + queries.rows)));
    if (best.empty()) return;
    const Request request{patches, bank, queries, subtrees, num_threads, best.data(), ranks};
    std::fill(ranks, ranks + best.size(), 0);
    const Members members(bank, subtrees);
    if (known != nullptr) rank_known(request, near_ties, known);
    else if (members.count() <= bank.rows / kFewMembers && request.concepts() < kMany)
        rank_by_streaming(request, near_ties, members);
    else rank_in_rounds(request, near_ties);
    std::copy(best.begin(), best.end(), similarities);
}

void multiply_all(const Rows& patches, const Rows& bank, float* similarities, int num_threads) {
    longest_row(patches, "patches", num_threads);  // refuses NaN
    longest_row(bank, "bank", num_threads);
    if (patches.rows == 0) return;
    parallel_for(bank_tiles(bank), num_threads, [&](int64_t tile, int) {
        multiply(patches, 0, patches.rows, bank, tile, similarities + tile * kBankTile, bank.rows);
    });
}

}  // namespace fastconcept
