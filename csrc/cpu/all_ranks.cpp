#include <algorithm>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "parallel.h"
#include "ranks.h"
#include "similarities.h"

namespace fastconcept {
namespace {

// A row that equals an earlier one. BLAS rounds a product differently by where it stands in a tile, which would break
// the ties that shared definitions make: twins take over the similarity of the first.
struct Twin {
    int64_t first, later;
};

// All twins, found through a hash table with linear probing.
std::vector<Twin> find_twins(const Rows& bank, int num_threads) {
    const std::vector<uint64_t> hashes = hash_rows(bank, "bank", num_threads);
    size_t size = 16;
    while (size < 2 * hashes.size()) size *= 2;
    std::vector<int64_t> table(size, -1);
    std::vector<Twin> twins;
    for (int64_t index = 0; index < bank.rows; ++index) {
        const uint64_t hash = hashes[static_cast<size_t>(index)];
        const float* row = bank.data + index * bank.dims;
        for (size_t slot = hash & (size - 1);; slot = (slot + 1) & (size - 1)) {
            const int64_t other = table[slot];
            if (other < 0) {
                table[slot] = index;
                break;
            }
            if (hashes[static_cast<size_t>(other)] == hash &&
                std::equal(row, row + bank.dims, bank.data + other * bank.dims)) {
                twins.push_back({other, index});
                break;
            }
        }
    }
    return twins;
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
            for (const Item& item : items) other[histogram[pass][(item.key >> (bits * pass)) & mask]++] = item;
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

// The rank of the best member of a subtree is the smallest rank in the subtree: rank every concept first, then take
// minima bottom-up.
void all_ranks(const Rows& patches, const Rows& bank, const Lists& children, const int64_t* order, int32_t* ranks,
               int num_threads) {
    require_lists(children, bank.rows, "child_indptr", "child_indices", true);
    const std::vector<Edge> edges = bottom_up_edges(children, order);
    hash_rows(patches, "patches", num_threads);  // refuses NaN
    const std::vector<Twin> twins = find_twins(bank, num_threads);
    std::vector<std::unique_ptr<Sorter>> sorters(static_cast<size_t>(num_threads));
    for_each_patch(patches, bank, num_threads, [&](int64_t patch, float* values, int thread) {
        for (const Twin& twin : twins) values[twin.later] = values[twin.first];
        int32_t* rank = ranks + patch * bank.rows;
        std::unique_ptr<Sorter>& sorter = sorters[static_cast<size_t>(thread)];
        if (!sorter) sorter = std::make_unique<Sorter>(bank.rows);
        sorter->rank(values, bank.rows, rank);
        for (const Edge& edge : edges) rank[edge.parent] = std::min(rank[edge.parent], rank[edge.child]);
    });
}

}  // namespace fastconcept
