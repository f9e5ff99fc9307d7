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

// A graph of concepts, walked from the leaves upward. Concepts that have children have slots, in an order that puts
// children first. A leaf edge gives a concept's own rank to a slot: to that of a parent if it has no slot itself, else
// to its own. The other edges join slots, those of level l from edge_indptr[l] on.
struct Levels {
    const int32_t* nodes = nullptr;        // (slots,) concepts
    const int32_t* leaf = nullptr;         // (leaf_edges,) concepts, rising
    const int32_t* leaf_slot = nullptr;    // (leaf_edges,)
    const int32_t* edge_indptr = nullptr;  // (count + 1,)
    const int32_t* child_slot = nullptr;
    const int32_t* parent_slot = nullptr;
    int32_t slots = 0;
    int32_t leaf_edges = 0;
    int32_t count = 0;  // levels
};

constexpr int64_t kMaxRankedConcepts = int64_t{1} << 20;

// Shared memory that `all_ranks` needs to hold `room` values of a row at a time.
size_t ranks_shared_bytes(int64_t concepts, int32_t room);

// ranks: (rows, columns), of every concept's subtree. room: a multiple of four from 128 to 65,532. scratch: (rows,
// slots), null where 4 * slots <= 6 * room.
void all_ranks(const Similarities& similarities, const Levels& levels, int32_t room, int32_t* scratch, int32_t* ranks,
               Stream stream);

}  // namespace fastconcept::cuda
