// Nonnegative lasso: min over w >= 0 of ||C^T w - z||^2 + lambda * sum(w), for many targets z and one dictionary C.
// The signed lasso, with any w and sum(|w|), is the same over the rows and their mirror images (nnlasso_screen.h).
//
// Working sets. A product with the whole dictionary (nnlasso_screen.h, integers, rigorous error bound) lists the few
// rows that could matter; the problem on those is solved exactly in float64 (nnlasso_small.h); the next product either
// proves that no row outside the list violates 2 c . r <= lambda, or lists those that might. Two or three products
// suffice as a rule. Every problem is computed by the same operations in the same order whether it comes alone or in
// a batch and whatever the number of threads, so results are identical to the last bit.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "nnlasso_screen.h"

namespace fastconcept {

// A solved problem: ascending indices, their weights (> 0, or of either sign), and the certificate.
struct SparseCode {
    std::vector<int32_t> indices;
    std::vector<double> values;
    double penalty = 0.0;
    double gap = 0.0;  // (primal - dual) / primal, 0 where the primal objective is 0
    double kkt = 0.0;  // largest violation of 2 c . r <= lambda (|2 c . r|), and of equality on the support
    int32_t rounds = 0;
};

// Support to start from: problem i begins with indices[indptr[i] .. indptr[i + 1]), mirrored rows among them where
// weights may be negative.
struct WarmStart {
    const int64_t* indptr;
    const int32_t* indices;
};

struct NnlassoTile;

// A dictionary ready to be solved with. Memory that solving needs is kept for the next call; calls from several
// threads at once are fine.
class Nnlasso {
public:
    // See ScreenedDictionary for the arguments; rows are kept by reference.
    Nnlasso(const float* rows, int64_t count, int64_t dimension, const float* basis, int64_t rank, int num_threads);
    ~Nnlasso();

    const ScreenedDictionary& dictionary() const { return dictionary_; }
    // Solves n problems; targets is (n, dimension), penalties (n,), codes has room for n.
    void solve(const float* targets, int64_t n, const double* penalties, const WarmStart& warm, bool is_signed,
               double tolerance, int num_threads, SparseCode* codes);
    // The same along the path of lambda, down to where the code is about to exceed l0 words for the first time.
    void solve_l0(const float* targets, int64_t n, int64_t l0, bool is_signed, double tolerance, int num_threads,
                  SparseCode* codes);
    // Screening alone: lists for each of n targets, ascending, every row with c . z >= value, and a few below it.
    void screen(const float* targets, int64_t n, double value, int num_threads, std::vector<Candidate>* found);

private:
    std::unique_ptr<NnlassoTile> take();
    void give(std::unique_ptr<NnlassoTile> tile);

    ScreenedDictionary dictionary_;
    std::mutex lock_;
    std::vector<std::unique_ptr<NnlassoTile>> idle_;
};

}  // namespace fastconcept
