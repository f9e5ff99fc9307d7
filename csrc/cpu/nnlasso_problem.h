// One target on its way through the rounds of nnlasso: its residual, its working set and its certificate.
#pragma once

#include <cstdint>
#include <vector>

#include "nnlasso.h"
#include "nnlasso_draft.h"
#include "nnlasso_screen.h"
#include "nnlasso_small.h"

namespace fastconcept {

class Problem {
public:
    explicit Problem(const ScreenedDictionary& dictionary)
        : dictionary_(dictionary), draft_(dictionary), small_(dictionary.dimension) {}

    // Takes a target, and a support to start from.
    void begin(const float* target, double penalty, double tolerance, const int32_t* support, int64_t n);
    // The residual for the next product with the dictionary, and the threshold of interest.
    const int16_t* codes() const { return screened_.codes.data(); }
    int32_t threshold() const { return threshold_; }
    // Takes the rows that passed the threshold. Returns true when the code is certified.
    bool advance(std::vector<Candidate>& candidates, RowMarks& marks);
    // The result, complete with its certificate.
    void finish(SparseCode& code) const;

private:
    double correlation(int32_t row) const;
    void choose_none();
    void choose(int32_t row, double weight);
    template <class Code>
    void choose_support(const Code& code);
    template <class Code>
    void take_residual(const Code& code);
    void set_threshold();
    double moved() const;
    void solve_exactly();
    bool admit_violators(std::vector<Candidate>& candidates, RowMarks& marks);
    bool refine(std::vector<Candidate>& candidates, RowMarks& marks);

    const ScreenedDictionary& dictionary_;
    Draft draft_;
    SmallProblem small_;
    bool drafting_ = true;  // until the exact small problem takes over
    double penalty_ = 0.0, slack_ = 0.0;
    std::vector<double> target_, residual_, listed_;  // listed_: the residual of the last product
    std::vector<double> coordinates_, values_;        // of the target and of the residual, as screening wants them
    double coordinates_error_ = 0.0;
    double norm_ = 0.0;                               // of the residual
    ScreenedResidual screened_;
    std::vector<Candidate> open_;
    std::vector<int32_t> chosen_;                     // rows about to be used
    std::vector<const float*> rows_;
    std::vector<double> signs_, factors_;             // factors_: sign times weight
    int32_t threshold_ = 0;
    double margin_ = 0.0;   // rows with c . r < lambda / 2 - margin are left out of the list
    double largest_ = 0.0;  // exact maximum of c . r over the rows outside the working set that may exceed lambda / 2
    int32_t rounds_ = 0;
};

}  // namespace fastconcept
