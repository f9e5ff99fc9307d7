#include "ranks.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "blas.h"
#include "near_ties.h"
#include "parallel.h"
#include "simd.h"

namespace fastconcept {
namespace {

// Similarities are computed for a few hundred patches against the whole bank, tile by tile, and consumed before the
// next patches overwrite them: at most 84 MB, whatever the number of patches, concepts or threads.
constexpr int64_t kBankTile = 384;
constexpr int64_t kMostPatches = 384;
constexpr int64_t kMostSimilarities = 21'000'000;
constexpr int64_t kRowsPerTask = 4;    // patches one thread turns into ranks at a time
constexpr int64_t kCountBlock = 4096;  // similarities that stay in the first-level cache for all concepts

// Hash of one row; equal rows (-0 equals 0) have equal hashes. Sets `finite` to false at NaN or infinity.
FASTCONCEPT_CLONES
uint64_t hash_row(const float* row, int64_t dims, bool& finite) {
    constexpr int lanes = 32;  // four independent chains of multiplications per vector unit
    uint32_t hash[lanes] = {}, bad[lanes] = {};
    const auto mix = [&](int lane, float value) {
        value += 0.0f;
        uint32_t bits;
        std::memcpy(&bits, &value, sizeof bits);
        bad[lane] |= (bits & 0x7f800000u) == 0x7f800000u;
        hash[lane] = (hash[lane] ^ bits) * 0x9e3779b1u;
    };
    int64_t i = 0;
    for (; i + lanes <= dims; i += lanes)
        for (int lane = 0; lane < lanes; ++lane) mix(lane, row[i + lane]);
    for (; i < dims; ++i) mix(static_cast<int>(i % lanes), row[i]);
    uint64_t result = 0;
    for (int lane = 0; lane < lanes; ++lane) {
        result = (result ^ hash[lane]) * 0x9e3779b97f4a7c15u;
        result ^= result >> 29;
        finite = finite && bad[lane] == 0;
    }
    return result;
}

// Hashes of all rows; throws where one is not finite.
std::vector<uint64_t> hash_rows(const Rows& matrix, const char* name, int num_threads) {
    constexpr int64_t rows_per_task = 256;
    std::vector<uint64_t> hashes(static_cast<size_t>(matrix.rows));
    parallel_for((matrix.rows + rows_per_task - 1) / rows_per_task, num_threads, [&](int64_t task, int) {
        bool finite = true;
        const int64_t stop = std::min(matrix.rows, (task + 1) * rows_per_task);
        for (int64_t row = task * rows_per_task; row < stop; ++row)
            hashes[static_cast<size_t>(row)] = hash_row(matrix.data + row * matrix.dims, matrix.dims, finite);
        if (!finite) throw std::invalid_argument(std::string(name) + " contains NaN or infinity");
    });
    return hashes;
}

void require_lists(const Lists& lists, int64_t rows, const char* indptr_name, const char* indices_name,
                   bool may_be_empty) {
    const std::string indptr(indptr_name);
    if (lists.indptr[0] != 0 || lists.indptr[lists.count] != lists.total)
        throw std::invalid_argument(indptr + " must start at 0 and end at len(" + indices_name + ") = " +
                                    std::to_string(lists.total));
    for (int64_t j = 0; j < lists.count; ++j) {
        const int64_t length = lists.indptr[j + 1] - lists.indptr[j];
        if (length < 0) throw std::invalid_argument(indptr + " must not decrease, but does at " + std::to_string(j));
        if (length == 0 && !may_be_empty)
            throw std::invalid_argument(indptr + ": subtree " + std::to_string(j) + " is empty");
    }
    for (int64_t i = 0; i < lists.total; ++i)
        if (lists.indices[i] < 0 || lists.indices[i] >= rows)
            throw std::invalid_argument(std::string(indices_name) + "[" + std::to_string(i) + "] is " +
                                        std::to_string(lists.indices[i]) + ", but the bank has rows 0 to " +
                                        std::to_string(rows - 1));
}

// The rows that similarities are taken with: the bank, then the queries, cut into tiles of kBankTile rows. Tiles that
// lie inside the bank are used in place, the rest is copied once.
class Columns {
public:
    Columns(const Rows& bank, const Rows& queries, int num_threads)
        : bank_(bank), rows_(bank.rows + queries.rows), in_place_(bank.rows / kBankTile) {
        const float* start = bank.data + in_place_ * kBankTile * bank.dims;
        rest_.assign(start, bank.data + bank.rows * bank.dims);
        rest_.insert(rest_.end(), queries.data, queries.data + queries.rows * bank.dims);
        find_twins(queries, num_threads);
    }
    int64_t count() const { return rows_; }
    int64_t tiles() const { return (rows_ + kBankTile - 1) / kBankTile; }
    int64_t width(int64_t tile) const { return std::min(kBankTile, rows_ - tile * kBankTile); }
    const float* tile(int64_t index) const {
        const int64_t size = kBankTile * bank_.dims;
        return index < in_place_ ? bank_.data + index * size : rest_.data() + (index - in_place_) * size;
    }

    // Gives equal rows the same similarity. BLAS rounds a product differently by where it stands in a tile, which
    // would break the ties that shared definitions and queries equal to a concept make.
    void settle_ties(float* similarities) const {
        for (const Twin& twin : twins_) similarities[twin.later] = similarities[twin.first];
    }

private:
    struct Twin {
        int64_t first, later;
    };

    const float* row(int64_t index) const {
        const int64_t copied = index - in_place_ * kBankTile;
        return copied < 0 ? bank_.data + index * bank_.dims : rest_.data() + copied * bank_.dims;
    }

    // Every row that equals an earlier one, found through a hash table with linear probing.
    void find_twins(const Rows& queries, int num_threads) {
        std::vector<uint64_t> hashes = hash_rows(bank_, "bank", num_threads);
        const std::vector<uint64_t> more = hash_rows(queries, "queries", num_threads);
        hashes.insert(hashes.end(), more.begin(), more.end());
        size_t size = 16;
        while (size < 2 * hashes.size()) size *= 2;
        std::vector<int64_t> table(size, -1);
        for (int64_t index = 0; index < rows_; ++index) {
            const uint64_t hash = hashes[static_cast<size_t>(index)];
            for (size_t slot = hash & (size - 1);; slot = (slot + 1) & (size - 1)) {
                const int64_t other = table[slot];
                if (other < 0) {
                    table[slot] = index;
                    break;
                }
                if (hashes[static_cast<size_t>(other)] == hash &&
                    std::equal(row(index), row(index) + bank_.dims, row(other))) {
                    twins_.push_back({other, index});
                    break;
                }
            }
        }
    }

    Rows bank_;
    int64_t rows_, in_place_;
    std::vector<float> rest_;
    std::vector<Twin> twins_;
};

// Memory for floats, not initialised. Large buffers ask for huge pages: clearing small ones as they are first touched
// costs a tenth of the whole computation at 82,000 concepts.
class Buffer {
public:
    explicit Buffer(int64_t count) {
        constexpr size_t page = size_t{1} << 21;
        const size_t bytes = (static_cast<size_t>(count) * sizeof(float) + page - 1) / page * page;
        data_.reset(static_cast<float*>(std::aligned_alloc(page, bytes)));
        if (!data_) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
        if (bytes > page) madvise(data_.get(), bytes, MADV_HUGEPAGE);  // advice: failure changes nothing
#endif
    }
    float* data() { return data_.get(); }

private:
    struct Free {
        void operator()(float* pointer) const { std::free(pointer); }
    };
    std::unique_ptr<float, Free> data_;
};

// Calls consume(patch, similarities of that patch to every column, thread) for every patch.
template <class Consume>
void for_each_patch(const Rows& patches, const Columns& columns, int num_threads, Consume&& consume) {
    const int64_t dims = patches.dims, count = columns.count();
    const int64_t most = std::clamp<int64_t>(kMostSimilarities / std::max<int64_t>(count, 1), 1, kMostPatches);
    const int64_t rounds = (patches.rows + most - 1) / most;
    if (rounds == 0 || count == 0) return;
    const int64_t height = (patches.rows + rounds - 1) / rounds;  // rounds of equal size
    Buffer similarities(height * count);
    for (int64_t first = 0; first < patches.rows; first += height) {
        const int64_t rows = std::min(height, patches.rows - first);
        parallel_for(columns.tiles(), num_threads, [&](int64_t task, int) {
            blas().sgemm(kRowMajor, kNoTranspose, kTranspose, static_cast<int>(rows),
                         static_cast<int>(columns.width(task)), static_cast<int>(dims), 1.0f,
                         patches.data + first * dims, static_cast<int>(dims), columns.tile(task),
                         static_cast<int>(dims), 0.0f, similarities.data() + task * kBankTile,
                         static_cast<int>(count));
        });
        parallel_for((rows + kRowsPerTask - 1) / kRowsPerTask, num_threads, [&](int64_t task, int thread) {
            const int64_t stop = std::min(rows, (task + 1) * kRowsPerTask);
            for (int64_t row = task * kRowsPerTask; row < stop; ++row) {
                float* values = similarities.data() + row * count;
                columns.settle_ties(values);
                consume(first + row, static_cast<const float*>(values), thread);
            }
        });
    }
}

// Order-preserving map of floats to unsigned integers, reversed: the greatest float gets the smallest key.
inline uint32_t descending_key(float value) {
    value += 0.0f;  // -0 and 0 are equal
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return (bits & 0x80000000u) ? bits : ~(bits | 0x80000000u);
}

// Scratch of one thread for ranking one patch.
struct Sorter {
    struct Item {
        uint32_t key, index;
    };
    std::vector<Item> items, other;

    explicit Sorter(int64_t count) : items(static_cast<size_t>(count)), other(static_cast<size_t>(count)) {}

    // ranks[s] = number of values greater than values[s]. Three passes of a radix sort, 11 bits each.
    void rank(const float* values, int64_t count, int32_t* ranks) {
        constexpr int bits = 11;
        constexpr uint32_t mask = (1u << bits) - 1;
        uint32_t histogram[3][1u << bits] = {};
        for (int64_t i = 0; i < count; ++i) {
            const uint32_t key = descending_key(values[i]);
            items[static_cast<size_t>(i)] = {key, static_cast<uint32_t>(i)};
            for (int pass = 0; pass < 3; ++pass) ++histogram[pass][(key >> (bits * pass)) & mask];
        }
        for (int pass = 0; pass < 3; ++pass) {
            uint32_t sum = 0;
            for (uint32_t& cell : histogram[pass]) sum += std::exchange(cell, sum);
            for (const Item& item : items)
                other[histogram[pass][(item.key >> (bits * pass)) & mask]++] = item;
            std::swap(items, other);
        }
        int32_t rank = 0;
        for (int64_t i = 0; i < count; ++i) {
            const Item& item = items[static_cast<size_t>(i)];
            if (i > 0 && item.key != items[static_cast<size_t>(i - 1)].key) rank = static_cast<int32_t>(i);
            ranks[item.index] = rank;
        }
    }
};

struct Edge {
    int32_t parent, child;
};

// The edges in the order a bottom-up pass takes them.
std::vector<Edge> bottom_up_edges(const Lists& children, const int64_t* order) {
    const int64_t rows = children.count;
    std::vector<int64_t> position(static_cast<size_t>(rows), -1);
    for (int64_t i = 0; i < rows; ++i) {
        if (order[i] < 0 || order[i] >= rows || position[static_cast<size_t>(order[i])] >= 0)
            throw std::invalid_argument("order must hold every bank row 0 to " + std::to_string(rows - 1) +
                                        " once; order[" + std::to_string(i) + "] is " + std::to_string(order[i]));
        position[static_cast<size_t>(order[i])] = i;
    }
    std::vector<Edge> edges;
    edges.reserve(static_cast<size_t>(children.total));
    for (int64_t i = 0; i < rows; ++i)
        for (int64_t e = children.indptr[order[i]]; e < children.indptr[order[i] + 1]; ++e) {
            const int64_t child = children.indices[e];
            if (position[static_cast<size_t>(child)] >= i)
                throw std::invalid_argument("order must hold children before parents, but " + std::to_string(child) +
                                            ", a child of " + std::to_string(order[i]) + ", comes later");
            edges.push_back({static_cast<int32_t>(order[i]), static_cast<int32_t>(child)});
        }
    return edges;
}

}  // namespace

// Ranks are exact: see near_ties.h.
void subtree_ranks(const Rows& patches, const Rows& bank, const Lists& subtrees, const Rows& queries, int32_t* ranks,
                   float* similarities, int num_threads) {
    require_lists(subtrees, bank.rows, "indptr", "indices", false);
    hash_rows(patches, "patches", num_threads);  // refuses NaN
    const Columns columns(bank, queries, num_threads);
    const int64_t concepts = subtrees.count + queries.rows;
    if (concepts == 0) return;
    const NearTies near_ties(patches, bank, queries, num_threads);
    for_each_patch(patches, columns, num_threads, [&](int64_t patch, const float* values, int) {
        std::vector<double> best(static_cast<size_t>(concepts));
        for (int64_t j = 0; j < concepts; ++j) {
            const int64_t query = bank.rows + j - subtrees.count;
            best[static_cast<size_t>(j)] =
                j < subtrees.count ? near_ties.best(patch, values, subtrees.indices + subtrees.indptr[j],
                                                    subtrees.indptr[j + 1] - subtrees.indptr[j])
                                   : near_ties.exact(patch, query);
        }
        int32_t* rank = ranks + patch * concepts;
        std::fill(rank, rank + concepts, 0);
        for (int64_t start = 0; start < bank.rows; start += kCountBlock)
            for (int64_t j = 0; j < concepts; ++j)
                rank[j] += near_ties.count_greater(patch, values, start, std::min(start + kCountBlock, bank.rows),
                                                   best[static_cast<size_t>(j)]);
        std::copy(best.begin(), best.end(), similarities + patch * concepts);
    });
}

// The rank of the best member of a subtree is the smallest rank in the subtree: rank every concept first, then take
// minima bottom-up.
void all_ranks(const Rows& patches, const Rows& bank, const Lists& children, const int64_t* order, int32_t* ranks,
               int num_threads) {
    require_lists(children, bank.rows, "child_indptr", "child_indices", true);
    const std::vector<Edge> edges = bottom_up_edges(children, order);
    hash_rows(patches, "patches", num_threads);  // refuses NaN
    const Columns columns(bank, {}, num_threads);
    std::vector<std::unique_ptr<Sorter>> sorters(static_cast<size_t>(num_threads));
    for_each_patch(patches, columns, num_threads, [&](int64_t patch, const float* values, int thread) {
        int32_t* rank = ranks + patch * bank.rows;
        std::unique_ptr<Sorter>& sorter = sorters[static_cast<size_t>(thread)];
        if (!sorter) sorter = std::make_unique<Sorter>(bank.rows);
        sorter->rank(values, bank.rows, rank);
        for (const Edge& edge : edges) rank[edge.parent] = std::min(rank[edge.parent], rank[edge.child]);
    });
}

}  // namespace fastconcept
