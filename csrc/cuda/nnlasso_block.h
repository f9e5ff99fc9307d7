// What the blocks of the solver and of the path share: the small problem of one block in its shared memory, and the
// first of many candidates. One block of kSolveBlock threads works on one problem.
#pragma once

#include "launch.h"
#include "nnlasso.h"
#include "nnlasso_small.h"

namespace fastconcept::cuda {

constexpr unsigned kSolveBlock = 128;
constexpr unsigned kSolveWarps = kSolveBlock / kWarp;
constexpr int kMostWords = 128;  // of one problem; fill_gram has a thread for each
constexpr int kColumns = 16;           // dictionary columns staged at a time
constexpr int kStride = kColumns + 1;  // one over, against bank conflicts

__host__ __device__ inline int factor_doubles(int capacity) {
    const int triangle_size = capacity * (capacity + 1) / 2 + capacity + 1, staging = (capacity + 1) * kStride;
    return triangle_size > staging ? triangle_size : staging;  // the factor and the staged columns share this space
}

// Carves the block's shared memory into the arrays of the small problem.
__device__ inline SmallProblem carve(unsigned char* bytes, int capacity) {
    SmallProblem small;
    double* next = reinterpret_cast<double*>(bytes);
    const auto take = [&](int doubles) {
        double* taken = next;
        next += doubles;
        return taken;
    };
    small.gram = take(capacity * (capacity + 1) / 2);
    small.factor = take(factor_doubles(capacity));
    small.right = take(capacity);
    small.weights = take(capacity);
    small.forward = take(capacity + 1);
    small.inverse = take(capacity + 1);
    small.work = take(capacity + 1);
    small.order = reinterpret_cast<int32_t*>(next);
    small.state = small.order + capacity + 1;
    return small;
}

// Gram matrix of the words and their products with the target, summed in float64. A thread owns 2 x 2 entries at a
// time; the words' columns pass through shared memory (which the factor needs only later).
__device__ inline void fill_gram(const Rows& dictionary, const float* target, const int32_t* words, int dims,
                                 const SmallProblem& small) {
    double* staged = small.factor;
    const int count = small.count, pairs = (count + 1) / 2, tiles = pairs * (pairs + 1) / 2;
    for (int first = 0; first == 0 || first < tiles; first += kSolveBlock) {
        int row = 0, column = first + static_cast<int>(threadIdx.x);
        const bool busy = column < tiles;
        while (busy && column > row) column -= ++row;  // tile number -> place in the lower triangle of tiles
        const int i0 = 2 * row, i1 = min(i0 + 1, count - 1), j0 = 2 * column, j1 = min(j0 + 1, count - 1);
        double sums[4] = {0.0, 0.0, 0.0, 0.0}, product = 0.0;
        for (int start = 0; start < dims; start += kColumns) {
            for (int item = threadIdx.x; item < (count + 1) * kColumns; item += kSolveBlock) {
                const int word = item / kColumns, at = start + item % kColumns;
                double value = 0.0;
                if (at < dims) value = word < count ? dictionary.at(words[word], dims, at) : target[at];
                staged[word * kStride + item % kColumns] = value;
            }
            __syncthreads();
            for (int k = 0; busy && k < kColumns; ++k) {
                const double a = staged[i0 * kStride + k], b = staged[i1 * kStride + k];
                const double c = staged[j0 * kStride + k], d = staged[j1 * kStride + k];
                sums[0] += a * c;
                sums[1] += a * d;
                sums[2] += b * c;
                sums[3] += b * d;
            }
            if (first == 0 && static_cast<int>(threadIdx.x) < count)
                for (int k = 0; k < kColumns; ++k)
                    product += staged[threadIdx.x * kStride + k] * staged[count * kStride + k];
            __syncthreads();
        }
        if (first == 0 && static_cast<int>(threadIdx.x) < count) small.right[threadIdx.x] = product;
        if (!busy || count == 0) continue;
        small.gram[triangle(i0, j0)] = sums[0];
        if (j1 > j0 && j1 <= i0) small.gram[triangle(i0, j1)] = sums[1];
        if (i1 > i0) small.gram[triangle(i1, j0)] = sums[2];
        if (i1 > i0 && j1 > j0) small.gram[triangle(i1, j1)] = sums[3];
    }
    __syncthreads();
}

struct Candidate {
    double value;
    int32_t word;
};

// Larger value first, then smaller index; word -1 is nothing.
__device__ inline bool before(const Candidate& a, const Candidate& b) {
    return a.word >= 0 && (b.word < 0 || a.value > b.value || (a.value == b.value && a.word < b.word));
}

__device__ inline Candidate block_first(Candidate own, Candidate* scratch) {
    for (unsigned step = kWarp / 2; step > 0; step /= 2) {
        const Candidate other{__shfl_xor_sync(kAllLanes, own.value, step), __shfl_xor_sync(kAllLanes, own.word, step)};
        if (before(other, own)) own = other;
    }
    return block_combine(own, scratch, [](const Candidate& a, const Candidate& b) { return before(b, a) ? b : a; });
}

}  // namespace fastconcept::cuda
