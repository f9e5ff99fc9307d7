#include "near_ties.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "bank.h"
#include "parallel.h"
#include "simd.h"
#include "similarities.h"

namespace fastconcept {
namespace {

constexpr int64_t kChunk = 256;  // similarities that are looked at one by one when one of them is too close

// Eight sums in a fixed order: the same result from every clone.
FASTCONCEPT_CLONES
double dot(const double* a, const float* b, int64_t dims) {
    double sums[8] = {};
    int64_t i = 0;
    for (; i + 8 <= dims; i += 8)
        for (int lane = 0; lane < 8; ++lane) sums[lane] += a[i + lane] * static_cast<double>(b[i + lane]);
    for (; i < dims; ++i) sums[i % 8] += a[i] * static_cast<double>(b[i]);
    return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

// The square of a norm, rounded: by at most growth(dims) of it, and 2^-126 for each product below the normal floats.
FASTCONCEPT_CLONES
float square(const float* row, int64_t dims) {
    constexpr int lanes = 32;
    float sums[lanes] = {};
    int64_t i = 0;
    for (; i + lanes <= dims; i += lanes)
        for (int lane = 0; lane < lanes; ++lane) sums[lane] += row[i + lane] * row[i + lane];
    for (; i < dims; ++i) sums[i % lanes] += row[i] * row[i];
    for (int lane = 1; lane < lanes; ++lane) sums[0] += sums[lane];
    return sums[0];
}

FASTCONCEPT_CLONES
void count_above(const float* values, int64_t count, float low, float high, int32_t& above_low, int32_t& above_high) {
    int32_t lows = 0, highs = 0;
    for (int64_t i = 0; i < count; ++i) {
        lows += values[i] > low;
        highs += values[i] > high;
    }
    above_low = lows;
    above_high = highs;
}

double growth(int64_t terms) {
    const double roundings = static_cast<double>(terms) * std::ldexp(1.0, -24);
    return roundings < 0.5 ? roundings / (1 - roundings) : std::numeric_limits<double>::infinity();
}

// Bounds on the norms of rows from above, which are close. Throws where a row is not finite.
std::vector<double> norms(const Rows& rows, const char* name, int num_threads) {
    constexpr int64_t rows_per_task = 256;
    const double relative = 1 + 2 * growth(rows.dims), lost = static_cast<double>(rows.dims) * std::ldexp(1.0, -125);
    std::vector<double> result(static_cast<size_t>(rows.rows));
    parallel_for((rows.rows + rows_per_task - 1) / rows_per_task, num_threads, [&](int64_t task, int) {
        for (int64_t i = task * rows_per_task; i < std::min(rows.rows, (task + 1) * rows_per_task); ++i) {
            const float* const row = rows.data + i * rows.dims;
            double most = square(row, rows.dims) * relative + lost;
            if (!std::isfinite(most)) {
                // Squares of floats cannot overflow a double: a sum that is not finite has such a term.
                most = 0;
                for (int64_t k = 0; k < rows.dims; ++k)
                    most += static_cast<double>(row[k]) * static_cast<double>(row[k]);
                if (!std::isfinite(most)) throw std::invalid_argument(std::string(name) + " contains NaN or infinity");
            }
            result[static_cast<size_t>(i)] = std::sqrt(most);
        }
    });
    return result;
}

// The closest floats that are not above, and not below, a double.
float round_down(double value) {
    const float rounded = static_cast<float>(value);
    return rounded > value ? std::nextafter(rounded, -std::numeric_limits<float>::infinity()) : rounded;
}
float round_up(double value) {
    const float rounded = static_cast<float>(value);
    return rounded < value ? std::nextafter(rounded, std::numeric_limits<float>::infinity()) : rounded;
}

}  // namespace

double longest_row(const Rows& rows, const char* name, int num_threads) {
    if (rows.prepared) return rows.prepared->longest();
    const std::vector<double> every = norms(rows, name, num_threads);
    return every.empty() ? 0 : *std::max_element(every.begin(), every.end());
}

NearTies::NearTies(const Rows& patches, const Rows& bank, const Rows& queries, int num_threads)
    : patches_(patches), bank_(bank), queries_(queries), patch_norms_(norms(patches, "patches", num_threads)) {
    const int64_t depth = std::min(kDepth, patches.dims), parts = (patches.dims + kDepth - 1) / kDepth;
    const double relative = (1 + growth(depth)) * (1 + growth(parts)) - 1;
    const double most = std::max(longest_row(bank, "bank", num_threads), longest_row(queries, "queries", num_threads));
    // Products below the smallest normal float lose more than a relative error; that is at most 2^-126 each.
    error_ = relative * most * (1 + 1e-9) + static_cast<double>(patches.dims) * std::ldexp(1.0, -126);
}

std::pair<float, float> NearTies::around(int64_t patch, double threshold) const {
    return {round_down(threshold - bound(patch)), round_up(threshold + bound(patch))};
}

double NearTies::best(Exact& exact, const float* similarities, const int64_t* columns, int64_t count) const {
    float most = similarities[columns[0]];
    for (int64_t i = 1; i < count; ++i) most = std::max(most, similarities[columns[i]]);
    const float close = round_down(static_cast<double>(most) - 2 * bound(exact.patch()));
    double best = -std::numeric_limits<double>::infinity();
    for (int64_t i = 0; i < count; ++i)
        if (similarities[columns[i]] >= close) best = std::max(best, exact(columns[i]));
    return best;
}

int32_t NearTies::count_greater(Exact& exact, const float* similarities, int64_t first, int64_t count,
                                double threshold) const {
    const auto [low, high] = around(exact.patch(), threshold);
    int32_t greater = 0;
    for (int64_t start = 0; start < count; start += kChunk) {
        const int64_t stop = std::min(count, start + kChunk);
        int32_t above_low, above_high;
        count_above(similarities + start, stop - start, low, high, above_low, above_high);
        greater += above_high;
        if (above_low == above_high) continue;
        for (int64_t i = start; i < stop; ++i)
            if (similarities[i] > low && similarities[i] <= high) greater += exact(first + i) > threshold;
    }
    return greater;
}

Exact::Exact(const NearTies& near_ties)
    : near_ties_(near_ties),
      row_(static_cast<size_t>(near_ties.patches_.dims)),
      values_(static_cast<size_t>(near_ties.bank_.rows + near_ties.queries_.rows)),
      rounds_(values_.size()) {}

void Exact::begin(int64_t patch) {
    patch_ = patch;
    widened_ = false;
    ++round_;
}

double Exact::operator()(int64_t column) {
    const auto place = static_cast<size_t>(column);
    if (rounds_[place] == round_) return values_[place];
    const int64_t dims = near_ties_.patches_.dims, rows = near_ties_.bank_.rows;
    if (!widened_) {
        const float* const row = near_ties_.patches_.data + patch_ * dims;
        std::copy(row, row + dims, row_.begin());
        widened_ = true;
    }
    const float* const other =
        column < rows ? near_ties_.bank_.data + column * dims : near_ties_.queries_.data + (column - rows) * dims;
    rounds_[place] = round_;
    return values_[place] = dot(row_.data(), other, dims);
}

}  // namespace fastconcept
