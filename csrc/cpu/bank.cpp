#include "bank.h"

#include "near_ties.h"
#include "parallel.h"

namespace fastconcept {
namespace {

constexpr int64_t kMostPanels = 16'000'000;  // 64 MB: a larger bank is put side by side again for every question

}  // namespace

PreparedBank::PreparedBank(const Rows& bank, int num_threads)
    : longest_(longest_row(bank, "bank", num_threads)), product_(product()) {
    const int64_t count = side_by_side_count(product_, bank);
    if (product_ == Product::kBlas || count == 0 || count > kMostPanels) return;
    panels_ = std::make_unique<Buffer>(count);
    nbytes_ = count * static_cast<int64_t>(sizeof(float));
    parallel_for(bank_tiles(bank), num_threads, [&](int64_t tile, int) {
        put_side_by_side(product_, bank, tile * kBankTile, tile_width(bank, tile),
                         panels_->data() + tile * kBankTile * bank.dims);
    });
}

}  // namespace fastconcept
