// What is made once of a bank that many questions are asked of: how long its rows are at most, and the rows as the
// product reads them. That saves three passes over the bank per question.
#pragma once

#include <cstdint>
#include <memory>

#include "product.h"
#include "ranks.h"
#include "similarities.h"

namespace fastconcept {

class PreparedBank {
public:
    // Throws std::invalid_argument where a value is not finite.
    PreparedBank(const Rows& bank, int num_threads);

    // Bound on the norms of all rows.
    double longest() const { return longest_; }
    // The whole bank side by side (product.h); null where it was not put so, for this product or for its size.
    const float* side_by_side(Product product) const {
        return panels_ && product == product_ ? panels_->data() : nullptr;
    }
    int64_t nbytes() const { return nbytes_; }

private:
    double longest_;
    Product product_;
    int64_t nbytes_ = 0;  // of the panels
    std::unique_ptr<Buffer> panels_;
};

}  // namespace fastconcept
