// A matrix product for processors with AVX2 and no AVX-512, where it is a quarter faster than BLAS: rows of the bank
// are put side by side once for all patches, and sums of kDepth products are added to what is there without a second
// pass.
#pragma once

#include <cstdint>

#include "ranks.h"

namespace fastconcept {

// Whether this processor is one for which it is written.
bool has_own_product();

// similarities[i * stride + j] = patch first + i (of `count`) times row `from` + j (of `width`) of the bank. Sums are
// made as in similarities.h: kDepth products at a time, then added. Equal rows give equal sums, wherever they stand.
void own_product(const Rows& patches, int64_t first, int64_t count, const Rows& bank, int64_t from, int64_t width,
                 float* similarities, int64_t stride);

}  // namespace fastconcept
