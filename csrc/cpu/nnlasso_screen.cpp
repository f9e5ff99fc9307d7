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
constexpr int64_t kTargets = 2;
constexpr int64_t kRowBlock = 16;  // rows that many residuals pass over while they stay in the first cache
constexpr int64_t kSlice = 64;   // rows converted by one task
constexpr int64_t kFlush = 64;  // float32 terms summed before they go to float64

// products[i][t] = rows[i] . residuals[t]; sums of 16-bit products, which every SIMD set has an instruction for.
template <int R, int T>
inline void multiply(const int16_t* __restrict rows, int64_t stride, const int16_t* const* residuals, int64_t width,
                     int32_t products[R][T]) {
    const int16_t* __restrict r[T];
    for (int t = 0; t < T; ++t) r[t] = residuals[t];
    int32_t sums[R][T] = {};
    for (int64_t c = 0; c < width; ++c) {
        for (int i = 0; i < R; ++i) {
            for (int t = 0; t < T; ++t) {
                sums[i][t] += static_cast<int32_t>(rows[i * stride + c]) * static_cast<int32_t>(r[t][c]);
            }
        }
    }
    for (int i = 0; i < R; ++i) {
        for (int t = 0; t < T; ++t) products[i][t] = sums[i][t];
    }
}

template <int R, int T>
inline void screen_tile(const ScreenedDictionary& dictionary, int64_t row, const int16_t* const* residuals,
                        const int32_t* thresholds, std::vector<Candidate>* found) {
    int32_t products[R][T];
    multiply<R, T>(dictionary.codes.data() + row * dictionary.width, dictionary.width, residuals, dictionary.width, products);
    for (int t = 0; t < T; ++t) {
        for (int i = 0; i < R; ++i) {
            if (products[i][t] >= thresholds[t]) {
                found[t].push_back({static_cast<int32_t>(row + i), products[i][t]});
            }
        }
    }
}

// Q^T r: float32 in short runs, float64 across them, so that the error stays below kFlush units of rounding.
FASTCONCEPT_CLONES
void project(const float* basis, const float* residual, int64_t dimension, int64_t width, float* run, double* sums) {
    std::fill(sums, sums + width, 0.0);
    for (int64_t begin = 0; begin < dimension; begin += kFlush) {
        const int64_t end = std::min(begin + kFlush, dimension);
        std::fill(run, run + width, 0.0f);
        int64_t i = begin;
        for (; i + 4 <= end; i += 4) {
            const float* q = basis + i * width;
            const float r0 = residual[i], r1 = residual[i + 1], r2 = residual[i + 2], r3 = residual[i + 3];
            for (int64_t c = 0; c < width; ++c) {
                run[c] += (r0 * q[c] + r1 * q[width + c]) + (r2 * q[2 * width + c] + r3 * q[3 * width + c]);
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
    double lost[8] = {};
    for (int64_t c = 0; c < n; c += 8) {
        for (int64_t lane = 0; lane < 8; ++lane) {
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

// What one task learns about its rows.
struct Extent {
    double largest = 0.0, code_norm = 0.0, row_norm = 0.0, error = 0.0;
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
        const double kept = dictionary.basis.empty() ? values[i] : dot(dictionary.basis.data() + i * width, values, width);
        error += (row[i] - kept) * (row[i] - kept);
    }
    extent.error = std::max(extent.error, std::sqrt(error));
    extent.code_norm = std::max(extent.code_norm, std::sqrt(dot(values, values, width)));
}

template <class Body>
Extent over_rows(const ScreenedDictionary& dictionary, int num_threads, Body&& body) {
    std::vector<Extent> parts(static_cast<size_t>((dictionary.count + kSlice - 1) / kSlice));
    parallel_for(static_cast<int64_t>(parts.size()), num_threads, [&](int64_t slice, int) {
        std::vector<float> run(static_cast<size_t>(dictionary.width));
        std::vector<double> values(static_cast<size_t>(dictionary.width));
        const int64_t end = std::min((slice + 1) * kSlice, dictionary.count);
        for (int64_t row = slice * kSlice; row < end; ++row) body(row, run, values, parts[static_cast<size_t>(slice)]);
    });
    Extent total;
    for (const Extent& part : parts) {
        total.largest = std::max(total.largest, part.largest);
        total.code_norm = std::max(total.code_norm, part.code_norm);
        total.row_norm = std::max(total.row_norm, part.row_norm);
        total.error = std::max(total.error, part.error);
    }
    return total;
}

}  // namespace

ScreenedDictionary::ScreenedDictionary(const float* rows_, int64_t count_, int64_t dimension_, const float* basis_,
                                       int64_t rank, int num_threads)
    : rows(rows_), count(count_), dimension(dimension_) {
    const int64_t used = basis_ == nullptr ? dimension : rank;
    width = (used + kScreenLanes - 1) / kScreenLanes * kScreenLanes;
    codes.resize(static_cast<size_t>(count * width));
    if (basis_ != nullptr) {
        basis.assign(static_cast<size_t>(dimension * width), 0.0f);
        for (int64_t i = 0; i < dimension; ++i) {
            for (int64_t c = 0; c < rank; ++c) {
                const float value = basis_[i * rank + c];
                basis[static_cast<size_t>(i * width + c)] = value;
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
        round_all(values.data(), scale, width, mine);
        measure(*this, source, mine, values.data(), extent);
    });
    row_error = kept.error;
    code_norm = kept.code_norm;
}

void screen_residual(const ScreenedDictionary& dictionary, const double* residual, double norm, ScreenedResidual& out) {
    const int64_t width = dictionary.width;
    out.codes.resize(static_cast<size_t>(width));
    std::vector<double>& values = out.values;
    values.assign(static_cast<size_t>(width), 0.0);
    double projection_error = 0.0;
    if (!dictionary.basis.empty()) {
        out.floats.resize(static_cast<size_t>(dictionary.dimension + width));
        float* single = out.floats.data();
        // Values that float32 cannot hold are scaled into range first.
        const double shrink = norm > 0.0 ? 1.0 / norm : 1.0;
        for (int64_t i = 0; i < dictionary.dimension; ++i) single[i] = static_cast<float>(residual[i] * shrink);
        project(dictionary.basis.data(), single, dictionary.dimension, width, single + dictionary.dimension, values.data());
        for (double& value : values) value /= shrink;
        projection_error = (kFlush + 4) * std::numeric_limits<float>::epsilon() * dictionary.basis_norm * norm;
    } else {
        std::copy(residual, residual + dictionary.dimension, values.begin());
    }
    double largest = 0.0, square = 0.0;
    for (double value : values) {
        largest = std::max(largest, std::fabs(value));
        square += value * value;
    }
    const double scale = largest > 0.0 ? std::min(32767.0 / largest, kCodeNorm / std::sqrt(square)) : 1.0;
    const double lost = round_all(values.data(), scale, width, out.codes.data()) / scale;
    out.unit = 1.0 / (dictionary.scale * scale);
    // The last term covers the float64 rounding of the bound itself.
    out.error = 1.0001 * (dictionary.row_error * norm + dictionary.code_norm * (lost + projection_error)) +
                1e-12 * dictionary.row_norm * norm;
}

int32_t screen_threshold(const ScreenedResidual& residual, double value) {
    const double product = std::floor((value - residual.error) / residual.unit);
    const double low = std::numeric_limits<int32_t>::min(), high = std::numeric_limits<int32_t>::max();
    return static_cast<int32_t>(std::min(std::max(product, low), high));
}

FASTCONCEPT_CLONES
void screen_rows(const ScreenedDictionary& dictionary, int64_t begin, int64_t end, const int16_t* const* residuals,
                 const int32_t* thresholds, int64_t m, std::vector<Candidate>* found) {
    for (int64_t t = 0; t < m; t += kTargets) {
        int64_t row = begin;
        if (t + kTargets <= m) {
            for (; row + kRows <= end; row += kRows) {
                screen_tile<kRows, kTargets>(dictionary, row, residuals + t, thresholds + t, found + t);
            }
            for (; row < end; ++row) screen_tile<1, kTargets>(dictionary, row, residuals + t, thresholds + t, found + t);
        } else {
            for (; row + kRows <= end; row += kRows) {
                screen_tile<kRows, 1>(dictionary, row, residuals + t, thresholds + t, found + t);
            }
            for (; row < end; ++row) screen_tile<1, 1>(dictionary, row, residuals + t, thresholds + t, found + t);
        }
    }
}

void screen_all(const ScreenedDictionary& dictionary, const int16_t* const* residuals, const int32_t* thresholds,
                int64_t m, std::vector<Candidate>* found) {
    for (int64_t row = 0; row < dictionary.count; row += kRowBlock) {
        screen_rows(dictionary, row, std::min(row + kRowBlock, dictionary.count), residuals, thresholds, m, found);
    }
}

FASTCONCEPT_CLONES
void screen_list(const ScreenedDictionary& dictionary, const int16_t* residual, Candidate* list, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
        int32_t product[1][1];
        multiply<1, 1>(dictionary.codes.data() + list[i].row * dictionary.width, 0, &residual, dictionary.width, product);
        list[i].product = product[0][0];
    }
}

}  // namespace fastconcept
