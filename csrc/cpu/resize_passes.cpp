#include "resize_passes.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "simd.h"

#if FASTCONCEPT_HAS_AVX2
#include <immintrin.h>
#endif

namespace fastconcept {
namespace {

constexpr int kPrecision = 22;
constexpr int32_t kHalf = 1 << (kPrecision - 1);
constexpr int kLowBits = 11;
constexpr int32_t kLowMask = (1 << kLowBits) - 1;
constexpr int64_t kTogether = 4;    // rows that `across` resizes at a time
constexpr int64_t kReach = 16;      // bytes that it reads at a time
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

// Four rows of pixels from pixel `shift` on, and the four rows of results.
struct Rows {
    const uint8_t* from[kTogether];
    uint8_t* out[kTogether];
    int64_t shift = 0;
};

// Outputs [begin, end); reads up to kReach bytes from where the last pair of taps begins. Each result is stored as four
// bytes, of which the next result overwrites one.
void across_plain(const Rows& rows, const Axis& axis, int64_t begin, int64_t end) {
    constexpr int64_t kLanes = 4 * kTogether;  // a pixel of each row, and the byte after it
    for (int64_t x = begin; x < end; ++x) {
        const int32_t* weight = axis.weight.data() + x * axis.taps;
        int64_t at = 3 * (axis.start[static_cast<size_t>(x)] - rows.shift);
        int32_t sums[kLanes];
        for (int64_t i = 0; i < kLanes; ++i) sums[i] = kHalf;
        for (int64_t t = 0; t < axis.taps; ++t, at += 3) {
            uint32_t words[kTogether];
            for (int64_t r = 0; r < kTogether; ++r) std::memcpy(words + r, rows.from[r] + at, 4);
            uint8_t bytes[kLanes];
            std::memcpy(bytes, words, sizeof bytes);
            for (int64_t i = 0; i < kLanes; ++i) sums[i] += weight[t] * bytes[i];
        }
        uint8_t results[kLanes];
        for (int64_t i = 0; i < kLanes; ++i) results[i] = to_byte(sums[i]);
        for (int64_t r = 0; r < kTogether; ++r) std::memcpy(rows.out[r] + 3 * x, results + 4 * r, 4);
    }
}

// Bytes [begin, bytes) of a row.
void down_plain(const uint8_t* rows, int64_t stride, const int32_t* weight, int64_t taps, int64_t begin, int64_t bytes,
                uint8_t* out) {
    int64_t x = begin;
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

#if FASTCONCEPT_HAS_AVX2
// Products of 32 bits are the slow part. So a weight, which is less than 2^23, is split into two numbers of 16 bits,
// high * 2^11 + low, whose products with two pixels at a time one instruction adds up. No sum overflows, so that high
// sums * 2^11 + low sums is the sum that Pillow makes.

FASTCONCEPT_AVX2 inline __m256i two_rows(const uint8_t* one, const uint8_t* other) {
    const __m128i first = _mm_loadu_si128(reinterpret_cast<const __m128i*>(one));
    const __m128i second = _mm_loadu_si128(reinterpret_cast<const __m128i*>(other));
    return _mm256_inserti128_si256(_mm256_castsi128_si256(first), second, 1);
}

// The sums of halves in two registers of eight lanes each, with what rounds them.
struct Sums {
    __m256i high_a, low_a, high_b, low_b;

    FASTCONCEPT_AVX2 void add(__m256i a, __m256i b, const int32_t* halves) {
        const __m256i high = _mm256_set1_epi32(halves[0]), low = _mm256_set1_epi32(halves[1]);
        high_a = _mm256_add_epi32(high_a, _mm256_madd_epi16(a, high));
        low_a = _mm256_add_epi32(low_a, _mm256_madd_epi16(a, low));
        high_b = _mm256_add_epi32(high_b, _mm256_madd_epi16(b, high));
        low_b = _mm256_add_epi32(low_b, _mm256_madd_epi16(b, low));
    }

    // Values that are still to be clipped: in each half of the register four of a, then four of b.
    FASTCONCEPT_AVX2 __m256i words() const {
        const __m256i a = _mm256_add_epi32(_mm256_slli_epi32(high_a, kLowBits), low_a);
        const __m256i b = _mm256_add_epi32(_mm256_slli_epi32(high_b, kLowBits), low_b);
        return _mm256_packs_epi32(_mm256_srai_epi32(a, kPrecision), _mm256_srai_epi32(b, kPrecision));
    }
};

FASTCONCEPT_AVX2 void across_avx2(const Rows& rows, const Axis& axis, int64_t begin, int64_t end) {
    const int64_t pairs = axis.pairs();
    // Two pixels as (red, red, green, green, blue, blue, -, -) of 16 bits, for a row in each half; then the next two.
    const __m256i order =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1));
    const __m256i order_next =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1));
    const uint8_t* from[kTogether];
    std::copy(rows.from, rows.from + kTogether, from);
    for (int64_t x = begin; x < end; ++x) {
        const int32_t* halves = axis.halves.data() + 2 * x * pairs;
        int64_t at = 3 * (axis.start[static_cast<size_t>(x)] - rows.shift);
        const __m256i zero = _mm256_setzero_si256(), half = _mm256_set1_epi32(kHalf);
        Sums sums{zero, half, zero, half};
        int64_t pair = 0;
        for (; pair + 1 < pairs; pair += 2, at += 12) {
            const __m256i a = two_rows(from[0] + at, from[1] + at), b = two_rows(from[2] + at, from[3] + at);
            sums.add(_mm256_shuffle_epi8(a, order), _mm256_shuffle_epi8(b, order), halves + 2 * pair);
            sums.add(_mm256_shuffle_epi8(a, order_next), _mm256_shuffle_epi8(b, order_next), halves + 2 * pair + 2);
        }
        if (pair < pairs) {
            const __m256i a = two_rows(from[0] + at, from[1] + at), b = two_rows(from[2] + at, from[3] + at);
            sums.add(_mm256_shuffle_epi8(a, order), _mm256_shuffle_epi8(b, order), halves + 2 * pair);
        }
        const __m256i words = sums.words();
        const __m256i bytes = _mm256_packus_epi16(words, words);  // rows 0 and 2, and in the upper half 1 and 3
        const int64_t even = _mm256_extract_epi64(bytes, 0), odd = _mm256_extract_epi64(bytes, 2);
        std::memcpy(rows.out[0] + 3 * x, &even, 4);
        std::memcpy(rows.out[1] + 3 * x, &odd, 4);
        std::memcpy(rows.out[2] + 3 * x, reinterpret_cast<const uint8_t*>(&even) + 4, 4);
        std::memcpy(rows.out[3] + 3 * x, reinterpret_cast<const uint8_t*>(&odd) + 4, 4);
    }
}

FASTCONCEPT_AVX2 inline __m256i widened(const uint8_t* bytes) {
    return _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
}

// The kReach bytes from `rows` on.
FASTCONCEPT_AVX2 void block_down_avx2(const uint8_t* rows, int64_t stride, const int32_t* halves, int64_t taps,
                                      uint8_t* out) {
    const __m256i zero = _mm256_setzero_si256(), half = _mm256_set1_epi32(kHalf);
    Sums sums{zero, half, zero, half};
    for (int64_t t = 0; t < taps; t += 2, halves += 2, rows += 2 * stride) {
        const __m256i one = widened(rows), other = t + 1 < taps ? widened(rows + stride) : zero;
        sums.add(_mm256_unpacklo_epi16(one, other), _mm256_unpackhi_epi16(one, other), halves);
    }
    const __m256i words = sums.words();
    const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), bytes);
}
#endif

void across_rows(const Rows& rows, const Axis& axis, int64_t begin, int64_t end) {
#if FASTCONCEPT_HAS_AVX2
    if (has_avx2()) return across_avx2(rows, axis, begin, end);
#endif
    across_plain(rows, axis, begin, end);
}

// The halves of two weights: the high ones, then the low ones, two in a word.
void split(int32_t one, int32_t other, int32_t* halves) {
    const auto word = [](int32_t low, int32_t high) {
        return static_cast<int32_t>((static_cast<uint32_t>(low) & 0xffff) | static_cast<uint32_t>(high) << 16);
    };
    halves[0] = word(one >> kLowBits, other >> kLowBits);
    halves[1] = word(one & kLowMask, other & kLowMask);
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
    axis.halves.assign(2 * count * static_cast<size_t>(axis.pairs()), 0);
    for (size_t i = 0; i < count; ++i) {
        const int64_t start = std::min(first[i], in - axis.taps), behind = first[i] - start;
        const auto from = weights.begin() + static_cast<int64_t>(i * room);
        std::copy(from, from + (axis.taps - behind),
                  axis.weight.begin() + static_cast<int64_t>(i) * axis.taps + behind);
        axis.start[i] = static_cast<int32_t>(start);
        const int32_t* own = axis.weight.data() + static_cast<int64_t>(i) * axis.taps;
        for (int64_t t = 0; t < axis.taps; t += 2)
            split(own[t], t + 1 < axis.taps ? own[t + 1] : 0,
                  axis.halves.data() + 2 * static_cast<int64_t>(i) * axis.pairs() + t);
    }
    return axis;
}

void across(const uint8_t* pixels, int64_t stride, int64_t rows, int64_t width, const Axis& axis, uint8_t* out,
            int64_t out_stride) {
    // From output `tail` on a read may reach beyond the end of a row, and is made from a copy.
    const int64_t safe = width - (kReach + 2) / 3 - 2 * (axis.pairs() - 1);
    int64_t tail = 0;
    while (tail < axis.count() && axis.start[static_cast<size_t>(tail)] <= safe) ++tail;
    int64_t shift = width;
    for (int64_t x = tail; x < axis.count(); ++x) shift = std::min<int64_t>(shift, axis.start[static_cast<size_t>(x)]);
    const int64_t bytes = 3 * (width - shift);
    std::vector<uint8_t> ends(static_cast<size_t>(kTogether * (bytes + kReach)));
    for (int64_t first = 0; first < rows; first += kTogether) {
        Rows some, copies;
        copies.shift = shift;
        for (int64_t r = 0; r < kTogether; ++r) {  // where rows are missing the last one is done again
            const int64_t row = std::min(first + r, rows - 1);
            some.from[r] = pixels + row * stride;
            some.out[r] = copies.out[r] = out + row * out_stride;
            uint8_t* copy = ends.data() + r * (bytes + kReach);
            std::memcpy(copy, some.from[r] + 3 * shift, static_cast<size_t>(bytes));
            copies.from[r] = copy;
        }
        across_rows(some, axis, 0, tail);
        across_rows(copies, axis, tail, axis.count());
    }
}

void down(const uint8_t* rows, int64_t stride, const Axis& axis, int64_t y, int64_t bytes, uint8_t* out) {
    int64_t x = 0;
#if FASTCONCEPT_HAS_AVX2
    if (has_avx2() && bytes >= kReach) {
        const int32_t* halves = axis.halves.data() + 2 * y * axis.pairs();
        for (; x < bytes; x += kReach) {
            const int64_t at = std::min(x, bytes - kReach);
            block_down_avx2(rows + at, stride, halves, axis.taps, out + at);
        }
    }
#endif
    down_plain(rows, stride, axis.weight.data() + y * axis.taps, axis.taps, x, bytes, out);
}

Levels make_levels(double mean, double deviation) {
    Levels levels;
    const auto offset = static_cast<float>(mean), scale = static_cast<float>(deviation);
    for (int value = 0; value < 256; ++value)
        levels.value[value] = (static_cast<float>(value) / 255.0f - offset) / scale;
    return levels;
}

}  // namespace fastconcept
