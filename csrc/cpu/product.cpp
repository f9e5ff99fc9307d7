#include "product.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>
#include <vector>

#include "bank.h"
#include "similarities.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

namespace fastconcept {
namespace {

constexpr int64_t kRound = 96;  // patches that stay in the second-level cache while all panels pass by

using Add = void (*)(const float*, const float*, int64_t, bool, float*, int64_t);

namespace avx2 {  // twelve sums, which leaves four of sixteen registers
constexpr int64_t kLanes = 8;
constexpr int kDown = 6;
#define PRODUCT_TARGET __attribute__((target("avx2,fma")))
#define PRODUCT_VECTOR __m256
#define PRODUCT_LOAD _mm256_loadu_ps
#define PRODUCT_STORE _mm256_storeu_ps
#define PRODUCT_BROADCAST _mm256_set1_ps
#define PRODUCT_ADD _mm256_add_ps
#define PRODUCT_MULTIPLY_ADD _mm256_fmadd_ps
#include "product_panel.h"
}  // namespace avx2

namespace avx512 {  // 24 sums, which leaves eight of 32 registers
constexpr int64_t kLanes = 16;
constexpr int kDown = 12;
#define PRODUCT_TARGET __attribute__((target("avx512f,prefer-vector-width=512")))
#define PRODUCT_VECTOR __m512
#define PRODUCT_LOAD _mm512_loadu_ps
#define PRODUCT_STORE _mm512_storeu_ps
#define PRODUCT_BROADCAST _mm512_set1_ps
#define PRODUCT_ADD _mm512_add_ps
#define PRODUCT_MULTIPLY_ADD _mm512_fmadd_ps
#include "product_panel.h"
}  // namespace avx512

namespace twin {
struct Two {
    __m256 low, high;
};
constexpr int64_t kLanes = 16;
constexpr int kDown = 12;
#define TWIN __attribute__((target("avx2,fma"), always_inline)) inline
TWIN Two load(const float* from) { return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)}; }
TWIN void store(float* to, const Two& value) {
    _mm256_storeu_ps(to, value.low);
    _mm256_storeu_ps(to + 8, value.high);
}
TWIN Two broadcast(float value) { return {_mm256_set1_ps(value), _mm256_set1_ps(value)}; }
TWIN Two add(const Two& a, const Two& b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
TWIN Two multiply_add(const Two& a, const Two& b, const Two& c) {
    return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
#define PRODUCT_TARGET __attribute__((target("avx2,fma")))
#define PRODUCT_VECTOR Two
#define PRODUCT_LOAD load
#define PRODUCT_STORE store
#define PRODUCT_BROADCAST broadcast
#define PRODUCT_ADD twin::add
#define PRODUCT_MULTIPLY_ADD multiply_add
#include "product_panel.h"
}  // namespace twin

// Eight rows of eight floats, `from_stride` apart, as eight columns, `across` apart.
__attribute__((target("avx2"))) void transpose(const float* from, int64_t from_stride, float* to, int64_t across) {
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
        _mm256_storeu_ps(to + i * across, _mm256_permute2f128_ps(four[i], four[i + 4], 0x20));
        _mm256_storeu_ps(to + (i + 4) * across, _mm256_permute2f128_ps(four[i], four[i + 4], 0x31));
    }
}

// panel[k][j] = row j (of `width`, at most `across`) at dimension k; zeros where there is no row.
void fill_panel(const float* rows, int64_t dims, int64_t width, float* panel, int64_t across) {
    int64_t k = 0;
    if (width == across)
        for (; k + 8 <= dims; k += 8)
            for (int64_t j = 0; j < across; j += 8)
                transpose(rows + j * dims + k, dims, panel + k * across + j, across);
    for (; k < dims; ++k)
        for (int64_t j = 0; j < across; ++j) panel[k * across + j] = j < width ? rows[j * dims + k] : 0.0f;
}

bool has(Product wanted) {
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (wanted == Product::kAvx512) return avx2 && __builtin_cpu_supports("avx512f");
    return wanted == Product::kBlas || avx2;
}

}  // namespace

int64_t rows_across(Product product) { return product == Product::kAvx2 ? avx2::kAcross : avx512::kAcross; }

void put_side_by_side(Product product, const Rows& bank, int64_t from, int64_t width, float* panels) {
    const int64_t across = rows_across(product);
    for (int64_t j = 0; j < width; j += across)
        fill_panel(bank.data + (from + j) * bank.dims, bank.dims, std::min(across, width - j), panels + j * bank.dims,
                   across);
}

void own_product(Product product, const Rows& patches, int64_t first, int64_t count, const Rows& bank, int64_t from,
                 int64_t width, float* similarities, int64_t stride) {
    thread_local std::vector<float> mine, part;
    const int64_t dims = bank.dims, padded = (dims + kDepth - 1) / kDepth * kDepth, most = std::min(kRound, count);
    const int64_t across = rows_across(product);
    const auto multiply_panel = product == Product::kAvx2     ? avx2::multiply_panel
                                : product == Product::kAvx512 ? avx512::multiply_panel
                                                              : twin::multiply_panel;
    const float* panels = bank.prepared ? bank.prepared->side_by_side(product) : nullptr;
    if (panels) {
        panels += from * dims;
    } else {
        mine.resize(static_cast<size_t>((width + across - 1) / across * across * dims));
        put_side_by_side(product, bank, from, width, mine.data());
        panels = mine.data();
    }
    part.resize(static_cast<size_t>(most * padded));
    for (int64_t round = 0; round < count; round += most) {
        const int64_t rows = std::min(most, count - round);
        for (int64_t start = 0; start < dims; start += kDepth)
            for (int64_t i = 0; i < rows; ++i)
                std::memcpy(part.data() + start * rows + i * kDepth, patches.data + (first + round + i) * dims + start,
                            static_cast<size_t>(std::min(kDepth, dims - start)) * sizeof(float));
        for (int64_t j = 0; j < width; j += across)
            multiply_panel(part.data(), rows, panels + j * dims, dims, std::min(across, width - j),
                           similarities + round * stride + j, stride);
    }
}

}  // namespace fastconcept

#else

namespace fastconcept {
namespace {
bool has(Product wanted) { return wanted == Product::kBlas; }
}  // namespace

int64_t rows_across(Product) { return 1; }
void put_side_by_side(Product, const Rows&, int64_t, int64_t, float*) {}
void own_product(Product, const Rows&, int64_t, int64_t, const Rows&, int64_t, int64_t, float*, int64_t) {}

}  // namespace fastconcept

#endif

namespace fastconcept {
namespace {

std::atomic<Product>& chosen() {
    static std::atomic<Product> product{has(Product::kAvx512) ? Product::kAvx512
                                        : has(Product::kAvx2) ? Product::kAvx2
                                                              : Product::kBlas};
    return product;
}

}  // namespace

Product product() { return chosen().load(std::memory_order_relaxed); }

bool choose_product(Product wanted) {
    if (!has(wanted)) return false;
    chosen().store(wanted, std::memory_order_relaxed);
    return true;
}

int64_t side_by_side_count(Product product, const Rows& bank) {
    const int64_t across = rows_across(product);
    return (bank.rows + across - 1) / across * across * bank.dims;
}

}  // namespace fastconcept
