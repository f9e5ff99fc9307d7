#include "nnlasso_screen.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "nnlasso_small.h"
#include "parallel.h"
#include "simd.h"

namespace fastconcept {
namespace {

constexpr int64_t kRows = 4;   // rows and residuals of one register tile
constexpr int64_t kTargets = 3;
constexpr int64_t kLanes = 8;   // partial sums of float64 loops
constexpr int64_t kRowBlock = 16;  // rows that many residuals pass over while they stay in the first cache
constexpr int64_t kSlice = 64;   // rows converted by one task
constexpr int64_t kAhead = 8;    // rows of a list fetched ahead
constexpr int64_t kFlush = 64;  // float32 terms summed before they go to float64

// products[i][t] = rows[i] . residuals[t]; sums of 16-bit products, which every SIMD set has an instruction for.
template <int R, int T>
inline void multiply(const int16_t* const* rows, const int16_t* const* residuals, int64_t width,
                     int32_t products[R][T]) {
    const int16_t* __restrict a[R];
    const int16_t* __restrict b[T];
    for (int i = 0; i < R; ++i) a[i] = rows[i];
    for (int t = 0; t < T; ++t) b[t] = residuals[t];
    int32_t sums[R][T] = {};
    for (int64_t c = 0; c < width; ++c) {
        for (int i = 0; i < R; ++i) {
            for (int t = 0; t < T; ++t) sums[i][t] += static_cast<int32_t>(a[i][c]) * static_cast<int32_t>(b[t][c]);
        }
    }
    for (int i = 0; i < R; ++i) {
        for (int t = 0; t < T; ++t) products[i][t] = sums[i][t];
    }
}

template <int R, int T>
inline void screen_tile(const ScreenedDictionary& dictionary, int64_t row, bool mirrored,
                        const int16_t* const* residuals, const int32_t* thresholds, std::vector<Candidate>* found) {
    const int16_t* rows[R];
    for (int i = 0; i < R; ++i) rows[i] = dictionary.codes.data() + (row + i) * dictionary.width;
    int32_t products[R][T];
    multiply<R, T>(rows, residuals, dictionary.width, products);
    for (int t = 0; t < T; ++t) {
        for (int i = 0; i < R; ++i) {
            if (products[i][t] >= thresholds[t]) {
                found[t].push_back({static_cast<int32_t>(row + i), products[i][t]});
            }
            if (mirrored && -products[i][t] >= thresholds[t]) {
                found[t].push_back({static_cast<int32_t>(dictionary.count + row + i), -products[i][t]});
            }
        }
    }
}

template <int T>
inline void screen_strip(const ScreenedDictionary& dictionary, int64_t begin, int64_t end, bool mirrored,
                         const int16_t* const* residuals, const int32_t* thresholds, std::vector<Candidate>* found) {
    int64_t row = begin;
    // One residual is bound by memory: rows one after the other are the simplest stream to fetch ahead.
    constexpr int64_t kStep = T == 1 ? 1 : kRows;
    for (; row + kStep <= end; row += kStep)
        screen_tile<kStep, T>(dictionary, row, mirrored, residuals, thresholds, found);
    for (; row < end; ++row) screen_tile<1, T>(dictionary, row, mirrored, residuals, thresholds, found);
}

// Q^T r: float32 in short runs, float64 across them, so that the error stays below kFlush units of rounding.
FASTCONCEPT_CLONES
void project(const float* __restrict basis, const float* __restrict residual, int64_t dimension, int64_t width,
             float* __restrict run, double* __restrict sums) {
    std::fill(sums, sums + width, 0.0);
    for (int64_t begin = 0; begin < dimension; begin += kFlush) {
        const int64_t end = std::min(begin + kFlush, dimension);
        std::fill(run, run + width, 0.0f);
        int64_t i = begin;
        for (; i + 8 <= end; i += 8) {
            const float* __restrict q = basis + i * width;
            const float* __restrict r = residual + i;
            for (int64_t c = 0; c < width; ++c) {
                run[c] += ((r[0] * q[c] + r[1] * q[width + c]) + (r[2] * q[2 * width + c] + r[3] * q[3 * width + c])) +
                          ((r[4] * q[4 * width + c] + r[5] * q[5 * width + c]) +
                           (r[6] * q[6 * width + c] + r[7] * q[7 * width + c]));
            }
        }
        for (; i < end; ++i) {
            for (int64_t c = 0; c < width; ++c) run[c] += residual[i] * basis[i * width + c];
        }
        for (int64_t c = 0; c < width; ++c) sums[c] += static_cast<double>(run[c]);
    }
}

// Rounds values * scale to integers; returns the norm of what rounding lost, in units of 1 / scale.
FASTCONCEPT_CLONES
double round_all(const double* values, double scale, int64_t n, int16_t* codes) {
    double lost[kLanes] = {};
    for (int64_t c = 0; c < n; c += kLanes) {
        for (int64_t lane = 0; lane < kLanes; ++lane) {
            const double exact = values[c + lane] * scale;
            const double rounded = std::nearbyint(exact);
            codes[c + lane] = static_cast<int16_t>(static_cast<int32_t>(rounded));
            lost[lane] += (exact - rounded) * (exact - rounded);
        }
    }
    double total = 0.0;
    for (double part : lost) total += part;
    return std::sqrt(total);
}

// Bound of the rounding of `project`, for a vector of this norm: every term passes at most kFlush + 4 roundings.
double projection_error(const ScreenedDictionary& dictionary, double norm) {
    return (kFlush + 4) * std::numeric_limits<float>::epsilon() * dictionary.basis_norm * norm;
}

// What one task learns about its rows.
struct Extent {
    double largest = 0.0, code_norm = 0.0, row_norm = 0.0, row_error = 0.0, round_error = 0.0;
};

// Coordinates Q^T c of one row.
void coordinates(const ScreenedDictionary& dictionary, const float* row, std::vector<float>& run, double* out) {
    if (dictionary.basis.empty()) {
        std::copy(row, row + dictionary.dimension, out);
        std::fill(out + dictionary.dimension, out + dictionary.width, 0.0);
    } else {
        project(dictionary.basis.data(), row, dictionary.dimension, dictionary.width, run.data(), out);
    }
}

// ||c - Q a / scale||, and the norm of a / scale.
void measure(const ScreenedDictionary& dictionary, const float* row, const int16_t* codes, double* values,
             Extent& extent) {
    const int64_t width = dictionary.width;
    for (int64_t c = 0; c < width; ++c) values[c] = codes[c] / dictionary.scale;
    double error = 0.0;
    for (int64_t i = 0; i < dictionary.dimension; ++i) {
        const double kept =
            dictionary.basis.empty() ? values[i] : dot(dictionary.basis.data() + i * width, values, width);
        error += (row[i] - kept) * (row[i] - kept);
    }
    extent.row_error = std::max(extent.row_error, std::sqrt(error));
    extent.code_norm = std::max(extent.code_norm, std::sqrt(dot(values, values, width)));
}

template <class Body>
Extent over_rows(const ScreenedDictionary& dictionary, int num_threads, Body&& body) {
    std::vector<Extent> parts(static_cast<std::size_t>((dictionary.count + kSlice - 1) / kSlice));
    parallel_for(static_cast<int64_t>(parts.size()), num_threads, [&](int64_t slice, int) {
        std::vector<float> run(static_cast<std::size_t>(dictionary.width));
        std::vector<double> values(static_cast<std::size_t>(dictionary.width));
        const int64_t end = std::min((slice + 1) * kSlice, dictionary.count);
        for (int64_t row = slice * kSlice; row < end; ++row)
            body(row, run, values, parts[static_cast<std::size_t>(slice)]);
    });
    Extent total;
    for (const Extent& part : parts) {
        total.largest = std::max(total.largest, part.largest);
        total.code_norm = std::max(total.code_norm, part.code_norm);
        total.row_norm = std::max(total.row_norm, part.row_norm);
        total.row_error = std::max(total.row_error, part.row_error);
        total.round_error = std::max(total.round_error, part.round_error);
    }
    return total;
}

}  // namespace

ScreenedDictionary::ScreenedDictionary(const float* rows_, int64_t count_, int64_t dimension_, const float* basis_,
                                       int64_t rank, int num_threads)
    : rows(rows_), count(count_), dimension(dimension_) {
    const int64_t used = basis_ == nullptr ? dimension : rank;
    width = (used + kScreenLanes - 1) / kScreenLanes * kScreenLanes;
    codes.resize(static_cast<std::size_t>(count * width));
    if (basis_ != nullptr) {
        basis.assign(static_cast<std::size_t>(dimension * width), 0.0f);
        for (int64_t i = 0; i < dimension; ++i) {
            for (int64_t c = 0; c < rank; ++c) {
                const float value = basis_[i * rank + c];
                basis[static_cast<std::size_t>(i * width + c)] = value;
                basis_norm += static_cast<double>(value) * value;
            }
        }
        basis_norm = std::sqrt(basis_norm);
    }
    const Extent range = over_rows(*this, num_threads, [&](int64_t row, auto& run, auto& values, Extent& extent) {
        const float* source = rows + row * dimension;
        coordinates(*this, source, run, values.data());
        double square = 0.0;
        for (int64_t i = 0; i < dimension; ++i) square += static_cast<double>(source[i]) * source[i];
        for (double value : values) extent.largest = std::max(extent.largest, std::fabs(value));
        extent.row_norm = std::max(extent.row_norm, std::sqrt(square));
        extent.code_norm = std::max(extent.code_norm, std::sqrt(dot(values.data(), values.data(), width)));
    });
    if (range.largest > 0.0) scale = std::min(32767.0 / range.largest, kCodeNorm / range.code_norm);
    row_norm = range.row_norm;
    const Extent kept = over_rows(*this, num_threads, [&](int64_t row, auto& run, auto& values, Extent& extent) {
        const float* source = rows + row * dimension;
        int16_t* mine = codes.data() + row * width;
        coordinates(*this, source, run, values.data());
        extent.round_error = std::max(extent.round_error, round_all(values.data(), scale, width, mine) / scale);
        measure(*this, source, mine, values.data(), extent);
    });
    row_error = kept.row_error;
    round_error = kept.round_error + projection_error(*this, row_norm);
    code_norm = kept.code_norm;
}

double screen_coordinates(const ScreenedDictionary& dictionary, const double* vector, double norm, double* values) {
    if (dictionary.basis.empty()) {
        std::copy(vector, vector + dictionary.dimension, values);
        std::fill(values + dictionary.dimension, values + dictionary.width, 0.0);
        return 0.0;
    }
    std::vector<float> single(static_cast<std::size_t>(dictionary.dimension + dictionary.width));
    const double shrink = norm > 0.0 ? 1.0 / norm : 1.0;  // into the range of float32
    for (int64_t i = 0; i < dictionary.dimension; ++i)
        single[static_cast<std::size_t>(i)] = static_cast<float>(vector[i] * shrink);
    project(dictionary.basis.data(), single.data(), dictionary.dimension, dictionary.width,
            single.data() + dictionary.dimension, values);
    for (int64_t c = 0; c < dictionary.width; ++c) values[c] *= norm > 0.0 ? norm : 1.0;
    return projection_error(dictionary, norm);
}

FASTCONCEPT_CLONES
void subtract_row(const ScreenedDictionary& dictionary, int64_t row, double factor, double* __restrict values) {
    const int16_t* __restrict codes = dictionary.codes.data() + row * dictionary.width;
    const double step = factor / dictionary.scale;
    for (int64_t c = 0; c < dictionary.width; ++c) values[c] -= step * codes[c];
}

FASTCONCEPT_CLONES
void screen_residual(const ScreenedDictionary& dictionary, const double* values, double error, double norm,
                     ScreenedResidual& out) {
    const int64_t width = dictionary.width;
    double maxima[kLanes] = {}, squares[kLanes] = {};
    for (int64_t c = 0; c < width; c += kLanes) {
        for (int64_t lane = 0; lane < kLanes; ++lane) {
            const double value = values[c + lane];
            maxima[lane] = std::max(maxima[lane], std::fabs(value));
            squares[lane] += value * value;
        }
    }
    double largest = 0.0, square = 0.0;
    for (int64_t lane = 0; lane < kLanes; ++lane) {
        largest = std::max(largest, maxima[lane]);
        square += squares[lane];
    }
    const double scale = largest > 0.0 ? std::min(32767.0 / largest, kCodeNorm / std::sqrt(square)) : 1.0;
    out.codes.resize(static_cast<std::size_t>(width));
    const double lost = round_all(values, scale, width, out.codes.data()) / scale;
    out.unit = 1.0 / (dictionary.scale * scale);
    // The last factor and term cover the float64 rounding of the bound itself and of the values.
    out.error = 1.0001 * (dictionary.row_error * norm + dictionary.code_norm * (lost + error)) +
                1e-12 * dictionary.row_norm * norm;
}

int32_t screen_threshold(const ScreenedResidual& residual, double value) {
    const double product = std::floor((value - residual.error) / residual.unit);
    const double low = std::numeric_limits<int32_t>::min(), high = std::numeric_limits<int32_t>::max();
    return static_cast<int32_t>(std::min(std::max(product, low), high));
}

FASTCONCEPT_CLONES
void screen_rows(const ScreenedDictionary& dictionary, int64_t begin, int64_t end, bool mirrored,
                 const int16_t* const* residuals, const int32_t* thresholds, int64_t m, std::vector<Candidate>* found) {
    int64_t t = 0;
    for (; t + kTargets <= m; t += kTargets) {
        screen_strip<kTargets>(dictionary, begin, end, mirrored, residuals + t, thresholds + t, found + t);
    }
    for (; t < m; ++t) screen_strip<1>(dictionary, begin, end, mirrored, residuals + t, thresholds + t, found + t);
}

void screen_all(const ScreenedDictionary& dictionary, bool mirrored, const int16_t* const* residuals,
                const int32_t* thresholds, int64_t m, std::vector<Candidate>* found) {
    for (int64_t row = 0; row < dictionary.count; row += kRowBlock) {
        screen_rows(dictionary, row, std::min(row + kRowBlock, dictionary.count), mirrored, residuals, thresholds, m,
                    found);
    }
}

FASTCONCEPT_CLONES
void screen_gram(const ScreenedDictionary& dictionary, const int32_t* rows, int64_t n, const int32_t* chosen, int64_t m,
                 int32_t* products) {
    const int16_t* left[kRows];
    const int16_t* right[kTargets];
    int32_t sums[kRows][kTargets];
    for (int64_t i = 0; i < m; i += kTargets) {  // the last tiles repeat their last rows
        for (int64_t t = 0; t < kTargets; ++t) right[t] = dictionary.code(chosen[std::min(i + t, m - 1)]);
        for (int64_t j = 0; j < n; j += kRows) {
            for (int64_t r = 0; r < kRows; ++r) left[r] = dictionary.code(rows[std::min(j + r, n - 1)]);
            multiply<kRows, kTargets>(left, right, dictionary.width, sums);
            for (int64_t t = 0; t < std::min(kTargets, m - i); ++t) {
                const bool mirrored = dictionary.mirrors(chosen[i + t]);
                for (int64_t r = 0; r < std::min(kRows, n - j); ++r) {
                    products[(i + t) * n + j + r] =
                        mirrored == dictionary.mirrors(rows[j + r]) ? sums[r][t] : -sums[r][t];
                }
            }
        }
    }
}

FASTCONCEPT_CLONES
void screen_list(const ScreenedDictionary& dictionary, const int16_t* residual, Candidate* list, int64_t n) {
    const int16_t* rows[kRows];
    int32_t products[kRows][1];
    for (int64_t first = 0; first < n; first += kRows) {
        for (int64_t i = 0; i < kRows; ++i) {  // rows lie apart: no hardware fetches the next ones ahead
            const int16_t* later = dictionary.code(list[std::min(first + kAhead + i, n - 1)].row);
            for (int64_t c = 0; c < dictionary.width; c += kScreenLanes) __builtin_prefetch(later + c);
        }
        for (int64_t i = 0; i < kRows; ++i) {  // the last group repeats its last row
            rows[i] = dictionary.code(list[std::min(first + i, n - 1)].row);
        }
        multiply<kRows, 1>(rows, &residual, dictionary.width, products);
        for (int64_t i = 0; i < std::min(kRows, n - first); ++i) {
            Candidate& candidate = list[first + i];
            candidate.product = dictionary.mirrors(candidate.row) ? -products[i][0] : products[i][0];
        }
    }
}

}  // namespace fastconcept
