// Correlations of a whole dictionary with residuals, in 16-bit integers and with a rigorous error bound.
//
// A row c is kept as c ~ Q a / scale with integers a; Q is a (dimension, width) basis of the span of the rows where
// that span is narrow, else the identity. A residual r is turned into integers b ~ Q^T r * s. Then
//   |c . r - a . b / (scale * s)| <= ||c - Q a / scale|| ||r|| + ||a / scale|| ||Q^T r - b / s||,
// where the first factor is measured when the dictionary is made and the last one for each residual. Both scales
// keep ||a|| ||b|| below 2^31, so the 32-bit sums are exact in any order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

namespace fastconcept {

// Integers that begin at a cache line: loads that straddle two lines would halve the speed of the products.
template <class T>
struct LineAllocator {
    using value_type = T;
    static constexpr std::align_val_t kLine{64};

    LineAllocator() = default;
    template <class U>
    LineAllocator(const LineAllocator<U>&) {}  // NOLINT: allocators convert into one another
    T* allocate(std::size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), kLine)); }
    void deallocate(T* memory, std::size_t) { ::operator delete(memory, kLine); }
    template <class U>
    bool operator==(const LineAllocator<U>&) const {
        return true;
    }
    template <class U>
    bool operator!=(const LineAllocator<U>&) const {
        return false;
    }
};
using Codes = std::vector<int16_t, LineAllocator<int16_t>>;

constexpr int64_t kScreenLanes = 32;
constexpr double kCodeNorm = 46000.0;  // of a and of b: with rounding their product stays below 2^31

// A dictionary with its integer copy; the rows themselves are kept by reference.
//
// Weights of either sign are weights >= 0 over twice the rows: row count + j is -c_j. Nothing is stored for these
// mirrored rows; whatever reads a row reads the stored one and applies the sign.
struct ScreenedDictionary {
    // rows is (count, dimension); basis is (dimension, rank) with orthonormal columns that span the rows well, or null.
    ScreenedDictionary(const float* rows, int64_t count, int64_t dimension, const float* basis, int64_t rank,
                       int num_threads);

    bool mirrors(int32_t row) const { return row >= count; }
    double sign(int32_t row) const { return mirrors(row) ? -1.0 : 1.0; }
    int64_t stored(int32_t row) const { return mirrors(row) ? row - count : row; }
    const float* source(int32_t row) const { return rows + stored(row) * dimension; }
    const int16_t* code(int32_t row) const { return codes.data() + stored(row) * width; }

    const float* rows;
    int64_t count, dimension;
    int64_t width;               // of the integer rows: a multiple of kScreenLanes, padded with zeros
    Codes codes;                 // (count, width)
    std::vector<float> basis;    // (dimension, width), or empty: the identity, padded with zeros
    double scale = 1.0;
    double row_error = 0.0;      // max over rows of ||c - Q a / scale||
    double round_error = 0.0;    // max over rows of ||Q^T c - a / scale||
    double code_norm = 0.0;      // max over rows of ||a / scale||
    double basis_norm = 0.0;     // Frobenius norm of the basis
    double row_norm = 0.0;       // max over rows of ||c||
};

// A residual in integers.
struct ScreenedResidual {
    Codes codes;         // (width,)
    double unit = 0.0;   // c . r ~ (a . codes) * unit
    double error = 0.0;  // bound of the difference, for every row
};

// One row that passed the threshold.
struct Candidate {
    int32_t row;
    int32_t product;  // a . b
};

// Order of falling correlation, ties by index.
inline bool more_correlated(const Candidate& a, const Candidate& b) {
    return a.product != b.product ? a.product > b.product : a.row < b.row;
}

// values = Q^T vector, (width,); returns a bound of the norm of its error. `norm` is that of the vector.
double screen_coordinates(const ScreenedDictionary& dictionary, const double* vector, double norm, double* values);

// values -= factor * a / scale for one stored row: subtracts about its coordinates, wrong by at most
// |factor| * round_error.
void subtract_row(const ScreenedDictionary& dictionary, int64_t row, double factor, double* values);

// Rounds the coordinates of a residual; `error` bounds what they are wrong by, `norm` is the norm of the residual.
void screen_residual(const ScreenedDictionary& dictionary, const double* values, double error, double norm,
                     ScreenedResidual& out);

// Smallest integer product that a row with c . r >= value can have.
int32_t screen_threshold(const ScreenedResidual& residual, double value);

// Appends to found[t], for each of m residuals, the rows in [begin, end) with product >= thresholds[t], ascending;
// with `mirrored` their mirrored rows as well, each right after the row itself.
void screen_rows(const ScreenedDictionary& dictionary, int64_t begin, int64_t end, bool mirrored,
                 const int16_t* const* residuals, const int32_t* thresholds, int64_t m, std::vector<Candidate>* found);

// The same over the whole dictionary, in blocks of rows that stay in the first cache.
void screen_all(const ScreenedDictionary& dictionary, bool mirrored, const int16_t* const* residuals,
                const int32_t* thresholds, int64_t m, std::vector<Candidate>* found);

// products[i * n + j] = a_chosen[i] . a_rows[j], exact integers.
void screen_gram(const ScreenedDictionary& dictionary, const int32_t* rows, int64_t n, const int32_t* chosen, int64_t m,
                 int32_t* products);

// Products of listed rows with one residual.
void screen_list(const ScreenedDictionary& dictionary, const int16_t* residual, Candidate* list, int64_t n);

}  // namespace fastconcept
