// A matrix product for x86-64, for which rows of the bank lie side by side: once for all patches, or, in a prepared
// bank, once for all questions. With AVX2 it is a quarter faster than BLAS, because sums of kDepth products are added
// to what is there without a second pass. Elsewhere BLAS multiplies.
#pragma once

#include <cstdint>

#include "ranks.h"

namespace fastconcept {

// Who multiplies. kTwin is kAvx512 written with the vectors of AVX2, so that tests reach its shape.
enum class Product { kBlas, kAvx2, kAvx512, kTwin };

// The product in use: at first the widest that this processor has.
Product product();
// Uses another one from now on, for tests and comparisons; false, and no change, where this processor lacks it.
bool choose_product(Product wanted);

// Rows of the bank that lie side by side for a product; kBankTile is a multiple of it.
int64_t rows_across(Product product);

// Floats that a whole bank takes, side by side: rows from .. from + rows_across begin at from * dims.
int64_t side_by_side_count(Product product, const Rows& bank);
// Puts rows [from, from + width) of the bank side by side; the last ones are filled up with zeros.
void put_side_by_side(Product product, const Rows& bank, int64_t from, int64_t width, float* panels);

// similarities[i * stride + j] = patch first + i (of `count`) times row `from` + j (of `width`) of the bank, by any
// product but BLAS. Sums are made as in similarities.h: kDepth products at a time, then added. Equal rows give equal
// sums, wherever they stand.
void own_product(Product product, const Rows& patches, int64_t first, int64_t count, const Rows& bank, int64_t from,
                 int64_t width, float* similarities, int64_t stride);

}  // namespace fastconcept
