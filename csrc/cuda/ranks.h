// How many concepts of a bank beat the best member of a subtree, for every patch. Definitions:
// fastconcept/kernels/reference.py. The similarities come from a matrix product made elsewhere (cuBLAS).
// All pointers are device memory; the caller owns every buffer.
#pragma once

#include <cstdint>

#include "launch.h"

namespace fastconcept::cuda {

// (rows, columns) float32, consecutive rows `pitch` floats apart, pitch a multiple of 4.
struct Similarities {
    const float* data = nullptr;
    int64_t rows = 0;
    int64_t columns = 0;
    int64_t pitch = 0;
};

// Every x * 2^6 as the sum of two half-precision numbers: `high` of 11 significant bits and `low` of what is left.
// out: (rows, pitch), pitch >= 3 dims, rest zero; with second_high it is [high | high | low], otherwise
// [high | low | high], so that the product of one of each kind has high*high + low*high + high*low in it.
// Magnitudes up to 1023 fit. `invalid` is set to 1 if a value is larger or not finite.
void split_rows(const float* rows, int64_t count, int64_t dims, bool second_high, int64_t pitch, Half* out,
                int32_t* invalid, Stream stream);

// Largest similarity of each patch within each of `count` lists; best: (rows, best_pitch), columns from 0.
void subtree_maxima(const Similarities& similarities, const int64_t* indptr, const int32_t* indices, int64_t count,
                    float* best, int64_t best_pitch, Stream stream);

// ranks[v, c] += number of similarities of row v greater than best[v, c]; both (rows, concepts). Zero ranks first.
void count_greater(const Similarities& similarities, const float* best, int64_t concepts, int32_t* ranks,
                   Stream stream);

// Concepts with children, from the leaves upward: level l has entries level_indptr[l] .. level_indptr[l + 1] - 1, and
// entry i is the concept nodes[i] with children child[child_indptr[i]] .. child[child_indptr[i + 1] - 1].
struct Levels {
    const int32_t* level_indptr = nullptr;
    const int32_t* nodes = nullptr;
    const int32_t* child_indptr = nullptr;
    const int32_t* child = nullptr;
    int32_t count = 0;  // levels
};

// Packed bucket and place within it limit the number of concepts.
constexpr int64_t kMaxRankedConcepts = 1 << 19;

// ranks: (rows, columns), of every concept's subtree. scratch: blocks * columns * 8 bytes; one block ranks one row
// at a time.
void all_ranks(const Similarities& similarities, const Levels& levels, void* scratch, int64_t blocks, int32_t* ranks,
               Stream stream);

}  // namespace fastconcept::cuda
