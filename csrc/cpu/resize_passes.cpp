#include "resize_passes.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "simd.h"

namespace fastconcept {
namespace {

constexpr int kPrecision = 22;
constexpr int32_t kHalf = 1 << (kPrecision - 1);
constexpr int64_t kRows = kRowsAcross, kLanes = 3 * kRows;
constexpr int64_t kBlock = 16;     // bytes on a side of a transposed block
constexpr int64_t kTile = 32;      // outputs of `across` that share their inputs in the cache
constexpr int64_t kBytesDown = 32;  // adjacent bytes that `down` keeps in registers

double bicubic(double x) {
    constexpr double a = -0.5;
    x = std::abs(x);
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
    return 0;
}

double bilinear(double x) {
    x = std::abs(x);
    return x < 1 ? 1 - x : 0;
}

int32_t to_fixed(double value) {
    const double fixed = value * (1 << kPrecision);
    return static_cast<int32_t>(fixed < 0 ? fixed - 0.5 : fixed + 0.5);
}

// The weights of one output position that are not zero at either end, and where they begin.
int64_t window(double centre, double scale, double support, int64_t in, double (*filter)(double),
               std::vector<double>& values, std::vector<int32_t>& weight) {
    int64_t first = std::max<int64_t>(static_cast<int64_t>(centre - support + 0.5), 0);
    const int64_t last = std::min<int64_t>(static_cast<int64_t>(centre + support + 0.5), in);
    values.clear();
    weight.clear();
    double sum = 0;
    for (int64_t x = first; x < last; ++x) {
        values.push_back(filter((static_cast<double>(x) - centre + 0.5) * (1.0 / scale)));
        sum += values.back();
    }
    for (const double value : values) weight.push_back(to_fixed(sum != 0 ? value / sum : value));
    while (weight.size() > 1 && weight.back() == 0) weight.pop_back();
    const auto used = std::find_if(weight.begin(), weight.end() - 1, [](int32_t value) { return value != 0; });
    first += used - weight.begin();
    weight.erase(weight.begin(), used);
    return first;
}

inline uint8_t to_byte(int32_t fixed) {
    const int32_t value = fixed >> kPrecision;
    return static_cast<uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value);
}

// 16 rows of 16 bytes become 16 columns, by halves of words; four words at a time, which the compiler joins.
FASTCONCEPT_CLONES
void transpose(const uint8_t* const* rows, int64_t at, uint8_t* out, int64_t stride) {
    uint64_t a[8][4];
    for (int r = 0; r < 8; ++r) {
        std::memcpy(&a[r][0], rows[r] + at, 8);
        std::memcpy(&a[r][1], rows[r + 8] + at, 8);
        std::memcpy(&a[r][2], rows[r] + at + 8, 8);
        std::memcpy(&a[r][3], rows[r + 8] + at + 8, 8);
    }
    const auto swap = [&a](int i, int j, int shift, uint64_t mask) {
        for (int k = 0; k < 4; ++k) {
            const uint64_t differ = ((a[i][k] >> shift) ^ a[j][k]) & mask;
            a[j][k] ^= differ;
            a[i][k] ^= differ << shift;
        }
    };
    for (int r = 0; r < 4; ++r) swap(r, r + 4, 32, 0x00000000ffffffffu);
    for (int r = 0; r < 8; r += r % 2 == 0 ? 1 : 3) swap(r, r + 2, 16, 0x0000ffff0000ffffu);
    for (int r = 0; r < 8; r += 2) swap(r, r + 1, 8, 0x00ff00ff00ff00ffu);
    for (int c = 0; c < 8; ++c) {
        std::memcpy(out + c * stride, &a[c][0], 16);
        std::memcpy(out + (c + 8) * stride, &a[c][2], 16);
    }
}

// Bytes [at, at + count) of each row, transposed: (count, 16) int32.
FASTCONCEPT_CLONES
void columns_of(const uint8_t* const* rows, int64_t at, int64_t count, int64_t row_bytes, int32_t* out) {
    uint8_t block[kBlock * kRows], edge[kRows][kBlock];
    for (int64_t c = 0; c < count; c += kBlock) {
        if (at + c + kBlock <= row_bytes) {
            transpose(rows, at + c, block, kRows);
        } else {  // nothing beyond the end of a row is read
            const uint8_t* ends[kRows];
            std::memset(edge, 0, sizeof edge);
            for (int64_t r = 0; r < kRows; ++r) {
                std::memcpy(edge[r], rows[r] + at + c, static_cast<size_t>(row_bytes - at - c));
                ends[r] = edge[r];
            }
            transpose(ends, 0, block, kRows);
        }
        for (int64_t i = 0; i < kBlock * kRows; ++i) out[c * kRows + i] = block[i];
    }
}

// Outputs [begin, end) of 16 rows; `columns` begin at pixel `first`. out: (3, kTile, 16).
FASTCONCEPT_CLONES
void tile_across(const int32_t* columns, int64_t first, const Axis& axis, int64_t begin, int64_t end, uint8_t* out) {
    const int64_t taps = axis.taps;
    for (int64_t x = begin; x < end; ++x) {
        const int32_t* from = columns + (axis.start[static_cast<size_t>(x)] - first) * kLanes;
        const int32_t* weight = axis.weight.data() + x * taps;
        int32_t sums[kLanes];
        for (int64_t i = 0; i < kLanes; ++i) sums[i] = kHalf;
        for (int64_t t = 0; t < taps; ++t, from += kLanes) {
            const int32_t scale = weight[t];
            for (int64_t i = 0; i < kLanes; ++i) sums[i] += scale * from[i];
        }
        for (int64_t c = 0; c < 3; ++c)
            for (int64_t i = 0; i < kRows; ++i) out[(c * kTile + x - begin) * kRows + i] = to_byte(sums[c * kRows + i]);
    }
}

}  // namespace

int64_t Axis::first() const { return *std::min_element(start.begin(), start.end()); }
int64_t Axis::last() const { return *std::max_element(start.begin(), start.end()) + taps; }

Axis make_axis(int64_t in, int64_t out, int64_t begin, int64_t end, Filter kind) {
    const bool cubic = kind == Filter::kBicubic;
    const double ratio = static_cast<double>(in) / static_cast<double>(out), scale = std::max(ratio, 1.0);
    const double support = (cubic ? 2.0 : 1.0) * scale;
    const auto room = static_cast<size_t>(2 * std::ceil(support)) + 1;
    const auto count = static_cast<size_t>(end - begin);
    std::vector<int32_t> weights(room * count, 0), weight;  // every position with `room` taps, of which few are used
    std::vector<int64_t> first(count);
    std::vector<double> values;
    Axis axis;
    for (size_t i = 0; i < count; ++i) {
        const double centre = (static_cast<double>(begin + static_cast<int64_t>(i)) + 0.5) * ratio;
        first[i] = window(centre, scale, support, in, cubic ? bicubic : bilinear, values, weight);
        std::copy(weight.begin(), weight.end(), weights.begin() + static_cast<int64_t>(i * room));
        axis.taps = std::max(axis.taps, static_cast<int64_t>(weight.size()));
    }
    axis.weight.assign(count * static_cast<size_t>(axis.taps), 0);
    axis.start.resize(count);
    for (size_t i = 0; i < count; ++i) {
        const int64_t start = std::min(first[i], in - axis.taps), behind = first[i] - start;
        const auto from = weights.begin() + static_cast<int64_t>(i * room);
        std::copy(from, from + (axis.taps - behind),
                  axis.weight.begin() + static_cast<int64_t>(i) * axis.taps + behind);
        axis.start[i] = static_cast<int32_t>(start);
    }
    return axis;
}

void across(const uint8_t* pixels, int64_t stride, int64_t rows, int64_t width, const Axis& axis, uint8_t* out,
            int64_t out_stride) {
    const uint8_t* sources[kRows];
    for (int64_t r = 0; r < kRows; ++r) sources[r] = pixels + std::min(r, rows - 1) * stride;
    std::vector<int32_t> columns;
    uint8_t tile[3 * kTile * kRows], block[kRows * kBlock];
    const uint8_t* lines[kBlock];
    for (int64_t begin = 0; begin < axis.count(); begin += kTile) {
        const int64_t end = std::min(begin + kTile, axis.count());
        const auto range = std::minmax_element(axis.start.begin() + begin, axis.start.begin() + end);
        const int64_t first = *range.first, bytes = 3 * (*range.second + axis.taps - first);
        columns.resize(static_cast<size_t>((bytes + kBlock - 1) / kBlock * kBlock * kRows));
        columns_of(sources, 3 * first, bytes, 3 * width, columns.data());
        tile_across(columns.data(), first, axis, begin, end, tile);
        for (int64_t c = 0; c < 3; ++c)
            for (int64_t x = begin; x < end; x += kBlock) {
                for (int64_t i = 0; i < kBlock; ++i) lines[i] = tile + (c * kTile + x - begin + i) * kRows;
                transpose(lines, 0, block, kBlock);
                const auto wide = static_cast<size_t>(std::min(kBlock, end - x));
                for (int64_t r = 0; r < rows; ++r)
                    std::memcpy(out + r * out_stride + c * axis.count() + x, block + r * kBlock, wide);
            }
    }
}

FASTCONCEPT_CLONES
void down(const uint8_t* rows, int64_t stride, const int32_t* weight, int64_t taps, int64_t bytes, uint8_t* out) {
    int64_t x = 0;
    for (; x + kBytesDown <= bytes; x += kBytesDown) {
        int32_t sums[kBytesDown];
        for (int64_t i = 0; i < kBytesDown; ++i) sums[i] = kHalf;
        const uint8_t* from = rows + x;
        for (int64_t t = 0; t < taps; ++t, from += stride) {
            const int32_t scale = weight[t];
            for (int64_t i = 0; i < kBytesDown; ++i) sums[i] += scale * from[i];
        }
        for (int64_t i = 0; i < kBytesDown; ++i) out[x + i] = to_byte(sums[i]);
    }
    for (; x < bytes; ++x) {
        int32_t sum = kHalf;
        for (int64_t t = 0; t < taps; ++t) sum += weight[t] * rows[t * stride + x];
        out[x] = to_byte(sum);
    }
}

Levels make_levels(double mean, double deviation) {
    Levels levels;
    const auto offset = static_cast<float>(mean), scale = static_cast<float>(deviation);
    for (int value = 0; value < 256; ++value)
        levels.value[value] = (static_cast<float>(value) / 255.0f - offset) / scale;
    return levels;
}

}  // namespace fastconcept
