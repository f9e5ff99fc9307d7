#include "product.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "similarities.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define FASTCONCEPT_AVX2 __attribute__((target("avx2,fma")))

namespace fastconcept {
namespace {

constexpr int64_t kAcross = 16;  // rows of the bank side by side: two vectors
constexpr int64_t kDown = 6;     // patches at a time: twelve sums, which leaves four of sixteen registers
constexpr int64_t kRound = 96;   // patches that stay in the second-level cache while all panels pass by

// Eight rows of eight floats, `from_stride` apart, as eight columns, kAcross apart.
FASTCONCEPT_AVX2 void transpose(const float* from, int64_t from_stride, float* to) {
    __m256 row[8], pair[8], four[8];
    for (int i = 0; i < 8; ++i) row[i] = _mm256_loadu_ps(from + i * from_stride);
    for (int i = 0; i < 8; i += 2) {
        pair[i] = _mm256_unpacklo_ps(row[i], row[i + 1]);
        pair[i + 1] = _mm256_unpackhi_ps(row[i], row[i + 1]);
    }
    for (int i = 0; i < 8; i += 4)
        for (int half = 0; half < 2; ++half) {
            four[i + 2 * half] = _mm256_shuffle_ps(pair[i + half], pair[i + 2 + half], 0x44);
            four[i + 2 * half + 1] = _mm256_shuffle_ps(pair[i + half], pair[i + 2 + half], 0xee);
        }
    for (int i = 0; i < 4; ++i) {
        _mm256_storeu_ps(to + i * kAcross, _mm256_permute2f128_ps(four[i], four[i + 4], 0x20));
        _mm256_storeu_ps(to + (i + 4) * kAcross, _mm256_permute2f128_ps(four[i], four[i + 4], 0x31));
    }
}

// panel[k][j] = row j (of `width`, at most kAcross) at dimension k; zeros where there is no row.
FASTCONCEPT_AVX2 void put_side_by_side(const float* rows, int64_t dims, int64_t width, float* panel) {
    int64_t k = 0;
    if (width == kAcross)
        for (; k + 8 <= dims; k += 8) {
            transpose(rows + k, dims, panel + k * kAcross);
            transpose(rows + 8 * dims + k, dims, panel + k * kAcross + 8);
        }
    for (; k < dims; ++k)
        for (int64_t j = 0; j < kAcross; ++j) panel[k * kAcross + j] = j < width ? rows[j * dims + k] : 0.0f;
}

// sums[i * stride + j] (+)= patch i (of `count`, kDepth apart) times column j of the panel.
template <int count>
FASTCONCEPT_AVX2 void add_products(const float* patches, const float* panel, int64_t depth, bool add, float* sums,
                                   int64_t stride) {
    __m256 low[count], high[count];
#pragma GCC unroll 6
    for (int i = 0; i < count; ++i) low[i] = high[i] = _mm256_setzero_ps();
    for (int64_t k = 0; k < depth; ++k) {
        const __m256 left = _mm256_loadu_ps(panel + k * kAcross), right = _mm256_loadu_ps(panel + k * kAcross + 8);
#pragma GCC unroll 6
        for (int i = 0; i < count; ++i) {
            const __m256 value = _mm256_broadcast_ss(patches + i * kDepth + k);
            low[i] = _mm256_fmadd_ps(value, left, low[i]);
            high[i] = _mm256_fmadd_ps(value, right, high[i]);
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < count; ++i) {
        float* const sum = sums + i * stride;
        _mm256_storeu_ps(sum, add ? _mm256_add_ps(_mm256_loadu_ps(sum), low[i]) : low[i]);
        _mm256_storeu_ps(sum + 8, add ? _mm256_add_ps(_mm256_loadu_ps(sum + 8), high[i]) : high[i]);
    }
}

using Add = void (*)(const float*, const float*, int64_t, bool, float*, int64_t);
constexpr Add kAdd[] = {add_products<1>, add_products<2>, add_products<3>,
                        add_products<4>, add_products<5>, add_products<6>};

// Patches times some rows of the bank, side by side in one panel, whose last columns may not exist. Patches are given
// kDepth dimensions at a time, `count` after `count`.
void multiply_panel(const float* patches, int64_t count, const float* panel, int64_t dims, int64_t width,
                    float* similarities, int64_t stride) {
    for (int64_t i = 0; i < count; i += kDown) {
        const int64_t down = std::min(kDown, count - i);
        float whole[kDown * kAcross];
        float* const sums = width == kAcross ? similarities + i * stride : whole;
        for (int64_t start = 0; start < dims; start += kDepth)
            kAdd[down - 1](patches + start * count + i * kDepth, panel + start * kAcross,
                           std::min(kDepth, dims - start), start > 0, sums, width == kAcross ? stride : kAcross);
        for (int64_t row = 0; width < kAcross && row < down; ++row)
            std::copy(whole + row * kAcross, whole + row * kAcross + width, similarities + (i + row) * stride);
    }
}

}  // namespace

bool has_own_product() {
    static const bool has =
        __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && !__builtin_cpu_supports("avx512f");
    return has;
}

void own_product(const Rows& patches, int64_t first, int64_t count, const Rows& bank, int64_t from, int64_t width,
                 float* similarities, int64_t stride) {
    thread_local std::vector<float> panels, part;
    const int64_t dims = bank.dims, padded = (dims + kDepth - 1) / kDepth * kDepth, most = std::min(kRound, count);
    panels.resize(static_cast<size_t>((width + kAcross - 1) / kAcross * kAcross * dims));
    for (int64_t j = 0; j < width; j += kAcross)
        put_side_by_side(bank.data + (from + j) * dims, dims, std::min(kAcross, width - j), panels.data() + j * dims);
    part.resize(static_cast<size_t>(most * padded));
    for (int64_t round = 0; round < count; round += most) {
        const int64_t rows = std::min(most, count - round);
        for (int64_t start = 0; start < dims; start += kDepth)
            for (int64_t i = 0; i < rows; ++i)
                std::memcpy(part.data() + start * rows + i * kDepth, patches.data + (first + round + i) * dims + start,
                            static_cast<size_t>(std::min(kDepth, dims - start)) * sizeof(float));
        for (int64_t j = 0; j < width; j += kAcross)
            multiply_panel(part.data(), rows, panels.data() + j * dims, dims, std::min(kAcross, width - j),
                           similarities + round * stride + j, stride);
    }
}

}  // namespace fastconcept

#else

namespace fastconcept {

bool has_own_product() { return false; }
void own_product(const Rows&, int64_t, int64_t, const Rows&, int64_t, int64_t, float*, int64_t) {}

}  // namespace fastconcept

#endif
