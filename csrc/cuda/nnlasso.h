// Nonnegative lasso: min over w >= 0 of ||C^T w - z||^2 + lambda * sum(w), for many targets z and one dictionary C.
//
// One round, driven from outside: `solve` makes every unfinished problem exact on its words (one block each, float64
// in shared memory) and writes its residual; one matrix product gives the correlations of all residuals with the whole
// dictionary; `select` certifies each problem or adds the words that violate 2 c . r <= lambda the most.
// The signed lasso, with any w and sum(|w|), is the same over the rows and their mirror images (Rows below).
// All pointers are device memory; the caller owns every buffer.
#pragma once

#include <cstdint>

#include "launch.h"

namespace fastconcept::cuda {

enum Status : int32_t {
    kUnfinished = 0,
    kSolved = 1,    // the gap is within the tolerance
    kStalled = 2,   // no violation left that this precision can see; gap and kkt say how good it is
    kOverflow = 3,  // more words needed than the capacity holds
};

// The dictionary, (count, dims). Words count .. 2 * count - 1 are its mirrored rows: count + j is -c_j, and nothing is
// stored for it.
struct Rows {
    const float* data = nullptr;
    int64_t count = 0;

#if defined(__CUDACC__) || defined(FASTCONCEPT_HOST_EMULATION)
    __device__ bool mirrors(int32_t word) const { return word >= count; }
    __device__ int32_t stored(int32_t word) const { return mirrors(word) ? word - static_cast<int32_t>(count) : word; }
    __device__ double at(int32_t word, int dims, int column) const {
        const double value = data[static_cast<int64_t>(stored(word)) * dims + column];
        return mirrors(word) ? -value : value;
    }
#endif
};

// Per problem; n problems, `capacity` places for words each.
struct Problems {
    const float* targets = nullptr;  // (n, dims)
    const double* penalties = nullptr;
    int32_t* words = nullptr;     // (n, capacity): the support first, then words to try
    double* weights = nullptr;    // (n, capacity)
    int32_t* support = nullptr;   // (n,) words with positive weight
    int32_t* count = nullptr;     // (n,) words in all
    double* primal = nullptr;     // (n,) objective; infinity before the first round
    double* square = nullptr;     // (n,) r . r of the residual as written
    double* alignment = nullptr;  // (n,) z . r of the residual as written
    double* gap = nullptr;
    double* kkt = nullptr;
    int32_t* status = nullptr;
    int32_t capacity = 0;         // at most 128
    int32_t dims = 0;
};

// Problems to work on: the row of `residuals` or `correlations` with number i belongs to problem rows[i].
struct Active {
    const int32_t* rows = nullptr;
    int64_t count = 0;
};

// Shared memory that `solve` needs for a capacity; what the device offers bounds the capacity.
size_t solve_shared_bytes(int32_t capacity);

// residuals: (active.count, dims).
template <class Value>
void nnlasso_solve(const Rows& dictionary, const Problems& problems, const Active& active, double tolerance,
                   Value* residuals, Stream stream);

// correlations: (active.count, pitch) of which `words` columns are used. `is_signed`: mirrored rows take part.
template <class Value>
void nnlasso_select(const Value* correlations, int64_t words, int64_t pitch, const Problems& problems,
                    const Active& active, bool is_signed, double tolerance, Stream stream);

// Stored words of each support in rising order, with their weights, negative for mirrored rows, at indptr[problem].
void nnlasso_pack(const Rows& dictionary, const Problems& problems, int64_t n, const int64_t* indptr, int32_t* indices,
                  double* values, Stream stream);

// The regularisation path of many targets, one event (a word enters, or its weight reaches zero) per round: `segment`
// writes how the residual depends on lambda while the support stays, r = fixed + lambda * moving; one matrix product
// gives the correlations of both with the whole dictionary; `event` goes to the next lambda at which something happens.
// The path of a problem ends where its support is about to exceed l0 words, or at 1/10000 of its first lambda.
struct Paths {
    const float* targets = nullptr;  // (n, dims)
    int32_t* words = nullptr;        // (n, capacity): the support, in the order in which the words came
    int32_t* support = nullptr;      // (n,) how many they are; 0 before the first round
    int32_t* barred = nullptr;       // (n,) the word that just left and does not come back at once, or -1
    double* penalty = nullptr;       // (n,) lambda; infinity before the first round
    double* floor = nullptr;         // (n,) where the path ends; 0 before the first round
    double* alpha = nullptr;         // (n, capacity): weights are alpha - lambda * beta
    double* beta = nullptr;          // (n, capacity)
    int32_t* status = nullptr;       // (n,) kUnfinished or kSolved
    int32_t capacity = 0;            // at least l0, at most 128
    int32_t dims = 0;
};

// vectors: (2 * active.count, dims), fixed and moving of each.
void nnlasso_path_segment(const Rows& dictionary, const Paths& paths, const Active& active, double* vectors,
                          Stream stream);

// correlations: (2 * active.count, pitch) of which `words` columns are used.
void nnlasso_path_event(const double* correlations, int64_t words, int64_t pitch, const Paths& paths,
                        const Active& active, bool is_signed, int32_t l0, Stream stream);

#define FASTCONCEPT_NNLASSO(PREFIX, VALUE)                                                                             \
    PREFIX void nnlasso_solve<VALUE>(const Rows&, const Problems&, const Active&, double, VALUE*, Stream);             \
    PREFIX void nnlasso_select<VALUE>(const VALUE*, int64_t, int64_t, const Problems&, const Active&, bool, double,    \
                                      Stream);
FASTCONCEPT_NNLASSO(extern template, float)
FASTCONCEPT_NNLASSO(extern template, double)

}  // namespace fastconcept::cuda
