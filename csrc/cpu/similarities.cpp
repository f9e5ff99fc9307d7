#include "similarities.h"

#include <sys/mman.h>

#include <cstring>
#include <new>
#include <stdexcept>
#include <string>

#include "blas.h"
#include "product.h"
#include "simd.h"

namespace fastconcept {
namespace {

// Hash of one row; equal rows (-0 equals 0) have equal hashes. Sets `finite` to false at NaN or infinity.
FASTCONCEPT_CLONES
uint64_t hash_row(const float* row, int64_t dims, bool& finite) {
    constexpr int lanes = 32;  // four independent chains of multiplications per vector unit
    uint32_t hash[lanes] = {}, bad[lanes] = {};
    const auto mix = [&](int lane, float value) {
        value += 0.0f;
        uint32_t bits;
        std::memcpy(&bits, &value, sizeof bits);
        bad[lane] |= (bits & 0x7f800000u) == 0x7f800000u;
        hash[lane] = (hash[lane] ^ bits) * 0x9e3779b1u;
    };
    int64_t i = 0;
    for (; i + lanes <= dims; i += lanes)
        for (int lane = 0; lane < lanes; ++lane) mix(lane, row[i + lane]);
    for (; i < dims; ++i) mix(static_cast<int>(i % lanes), row[i]);
    uint64_t result = 0;
    for (int lane = 0; lane < lanes; ++lane) {
        result = (result ^ hash[lane]) * 0x9e3779b97f4a7c15u;
        result ^= result >> 29;
        finite = finite && bad[lane] == 0;
    }
    return result;
}

FASTCONCEPT_CLONES
void add(const float* from, int64_t count, float* to) {
    for (int64_t i = 0; i < count; ++i) to[i] += from[i];
}

}  // namespace

void multiply(const Rows& patches, int64_t first, int64_t count, const Rows& bank, int64_t tile, float* similarities,
              int64_t stride) {
    if (const Product ours = product(); ours != Product::kBlas) {
        own_product(ours, patches, first, count, bank, tile * kBankTile, tile_width(bank, tile), similarities, stride);
        return;
    }
    thread_local std::vector<float> part;  // BLAS may add to a sum in any order, so that adding is ours
    const int dims = static_cast<int>(bank.dims);
    const int64_t width = tile_width(bank, tile);
    for (int64_t start = 0; start < bank.dims; start += kDepth) {
        const int64_t depth = std::min(kDepth, bank.dims - start);
        if (start > 0) part.resize(static_cast<size_t>(count * width));
        blas().sgemm(kRowMajor, kNoTranspose, kTranspose, static_cast<int>(count), static_cast<int>(width),
                     static_cast<int>(depth), 1.0f, patches.data + first * bank.dims + start, dims,
                     bank.data + tile * kBankTile * bank.dims + start, dims, 0.0f,
                     start > 0 ? part.data() : similarities, static_cast<int>(start > 0 ? width : stride));
        if (start > 0)
            for (int64_t i = 0; i < count; ++i) add(part.data() + i * width, width, similarities + i * stride);
    }
}

std::vector<uint64_t> hash_rows(const Rows& matrix, const char* name, int num_threads) {
    constexpr int64_t rows_per_task = 256;
    std::vector<uint64_t> hashes(static_cast<size_t>(matrix.rows));
    parallel_for((matrix.rows + rows_per_task - 1) / rows_per_task, num_threads, [&](int64_t task, int) {
        bool finite = true;
        const int64_t stop = std::min(matrix.rows, (task + 1) * rows_per_task);
        for (int64_t row = task * rows_per_task; row < stop; ++row)
            hashes[static_cast<size_t>(row)] = hash_row(matrix.data + row * matrix.dims, matrix.dims, finite);
        if (!finite) throw std::invalid_argument(std::string(name) + " contains NaN or infinity");
    });
    return hashes;
}

void require_lists(const Lists& lists, int64_t rows, const char* indptr_name, const char* indices_name,
                   bool may_be_empty) {
    const std::string indptr(indptr_name);
    if (lists.indptr[0] != 0 || lists.indptr[lists.count] != lists.total)
        throw std::invalid_argument(indptr + " must start at 0 and end at len(" + indices_name +
                                    ") = " + std::to_string(lists.total));
    for (int64_t j = 0; j < lists.count; ++j) {
        const int64_t length = lists.indptr[j + 1] - lists.indptr[j];
        if (length < 0) throw std::invalid_argument(indptr + " must not decrease, but does at " + std::to_string(j));
        if (length == 0 && !may_be_empty)
            throw std::invalid_argument(indptr + ": subtree " + std::to_string(j) + " is empty");
    }
    for (int64_t i = 0; i < lists.total; ++i)
        if (lists.indices[i] < 0 || lists.indices[i] >= rows)
            throw std::invalid_argument(std::string(indices_name) + "[" + std::to_string(i) + "] is " +
                                        std::to_string(lists.indices[i]) + ", but the bank has rows 0 to " +
                                        std::to_string(rows - 1));
}

Buffer::Buffer(int64_t count) {
    constexpr size_t page = size_t{1} << 21;
    const size_t bytes = (static_cast<size_t>(count) * sizeof(float) / page + 1) * page;
    data_.reset(static_cast<float*>(std::aligned_alloc(page, bytes)));
    if (!data_) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
    if (bytes > page) madvise(data_.get(), bytes, MADV_HUGEPAGE);  // advice: failure changes nothing
#endif
}

}  // namespace fastconcept
