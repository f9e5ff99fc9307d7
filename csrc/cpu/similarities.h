// Similarities of patches to a bank, a few hundred patches at a time, consumed before the next ones overwrite them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "parallel.h"
#include "ranks.h"

namespace fastconcept {

// A product covers this many rows of the bank, whatever the number of threads, so that results do not depend on it.
constexpr int64_t kBankTile = 384;
constexpr int64_t kDepth = 128;
constexpr int64_t kMostPatches = 384;
constexpr int64_t kMostSimilarities = 21'000'000;  // 84 MB for any number of patches, concepts and threads
constexpr int64_t kPatchesPerTask = 4;

// Hashes of all rows (equal rows have equal hashes); throws std::invalid_argument where one is not finite.
std::vector<uint64_t> hash_rows(const Rows& matrix, const char* name, int num_threads);

// Throws std::invalid_argument unless these are lists of rows of the bank.
void require_lists(const Lists& lists, int64_t rows, const char* indptr_name, const char* indices_name,
                   bool may_be_empty);

inline int64_t bank_tiles(const Rows& bank) { return (bank.rows + kBankTile - 1) / kBankTile; }
inline int64_t tile_width(const Rows& bank, int64_t tile) { return std::min(kBankTile, bank.rows - tile * kBankTile); }

// similarities[i * stride + j] = patch first + i (of `count`) times row j of a tile of the bank. Sums are made of
// kDepth products at a time and then added, which bounds their error more narrowly than one long sum.
void multiply(const Rows& patches, int64_t first, int64_t count, const Rows& bank, int64_t tile, float* similarities,
              int64_t stride);

// Memory for floats, not initialised. Large buffers ask for huge pages: clearing small ones as they are first touched
// costs a tenth of the whole computation at 82,000 concepts.
class Buffer {
public:
    explicit Buffer(int64_t count);
    float* data() { return data_.get(); }

private:
    struct Free {
        void operator()(float* pointer) const { std::free(pointer); }
    };
    std::unique_ptr<float, Free> data_;
};

// Calls consume(patch, similarities of that patch to all rows of the bank, thread) for every patch.
template <class Consume>
void for_each_patch(const Rows& patches, const Rows& bank, int num_threads, Consume&& consume) {
    const int64_t most = std::clamp<int64_t>(kMostSimilarities / std::max<int64_t>(bank.rows, 1), 1, kMostPatches);
    const int64_t rounds = (patches.rows + most - 1) / most;
    if (rounds == 0) return;
    const int64_t height = (patches.rows + rounds - 1) / rounds;  // rounds of equal size
    Buffer similarities(height * bank.rows);
    for (int64_t first = 0; first < patches.rows; first += height) {
        const int64_t count = std::min(height, patches.rows - first);
        parallel_for(bank_tiles(bank), num_threads, [&](int64_t tile, int) {
            multiply(patches, first, count, bank, tile, similarities.data() + tile * kBankTile, bank.rows);
        });
        parallel_for((count + kPatchesPerTask - 1) / kPatchesPerTask, num_threads, [&](int64_t task, int thread) {
            const int64_t stop = std::min(count, (task + 1) * kPatchesPerTask);
            for (int64_t i = task * kPatchesPerTask; i < stop; ++i)
                consume(first + i, similarities.data() + i * bank.rows, thread);
        });
    }
}

}  // namespace fastconcept
