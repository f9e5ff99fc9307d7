// How many concepts of a bank beat the best member of a subtree, for every patch. Definitions:
// fastconcept/kernels/reference.py.
#pragma once

#include <cstdint>

namespace fastconcept {

class PreparedBank;

// Row-major float32 matrix, not owned. `prepared` (bank.h) is what was made of a bank earlier, or null.
struct Rows {
    const float* data = nullptr;
    int64_t rows = 0;
    int64_t dims = 0;
    const PreparedBank* prepared = nullptr;
};

// Lists of row numbers: list j is indices[indptr[j]] .. indices[indptr[j + 1] - 1]. Not owned.
struct Lists {
    const int64_t* indptr = nullptr;
    const int64_t* indices = nullptr;
    int64_t count = 0;  // lists
    int64_t total = 0;  // length of indices
};

// Both write row-major results and throw std::invalid_argument, before any work, when a value is not finite or an
// index is out of range. Results do not depend on num_threads.

// ranks and similarities: (patches.rows, subtrees.count + queries.rows). known: what multiply_all gave for these
// patches and this bank, or null.
void subtree_ranks(const Rows& patches, const Rows& bank, const Lists& subtrees, const Rows& queries,
                   const float* known, int32_t* ranks, float* similarities, int num_threads);

// similarities: (patches.rows, bank.rows), rounded to float32; subtree_ranks makes exact ranks of them.
void multiply_all(const Rows& patches, const Rows& bank, float* similarities, int num_threads);

// ranks: (patches.rows, bank.rows). children: one list per bank row; order: every row once, children before parents.
void all_ranks(const Rows& patches, const Rows& bank, const Lists& children, const int64_t* order, int32_t* ranks,
               int num_threads);

}  // namespace fastconcept
