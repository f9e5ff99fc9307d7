#include "nnlasso.h"

#include "nnlasso_block.h"

namespace fastconcept::cuda {
namespace {

constexpr int kNewWords = 16;        // most words a round adds to a problem
constexpr double kStandstill = 1e-14;
constexpr double kSlack = 0.25;      // violations below this share of tolerance * lambda are none

// Keeps the words with positive weight, in place; returns how many.
__device__ int keep_support(const SmallProblem& small, const int32_t* ids, int32_t* words, double* weights) {
    int kept = 0;
    for (int base = 0; base < small.count; base += kWarp) {
        const int i = base + static_cast<int>(threadIdx.x % kWarp);
        const bool keep = i < small.count && small.weights[i] > 0.0;
        const unsigned votes = __ballot_sync(kAllLanes, keep);
        if (keep) {
            const int place = kept + __popc(votes & ((1u << (threadIdx.x % kWarp)) - 1));
            words[place] = ids[i];
            weights[place] = small.weights[i];
        }
        kept += __popc(votes);
    }
    return kept;
}

template <class Value>
__global__ void solve_kernel(const float* __restrict__ data, int64_t count, Problems problems, Active active,
                             double tolerance, Value* __restrict__ residuals) {
    DYNAMIC_SHARED(bytes);
    SHARED_ARRAY(double, scratch, kSolveWarps);
    SHARED_ARRAY(int32_t, kept, 1);
    const Rows dictionary{data, count};
    const int64_t problem = active.rows[blockIdx.x];
    int32_t* words = problems.words + problem * problems.capacity;
    double* weights = problems.weights + problem * problems.capacity;
    const float* target = problems.targets + problem * problems.dims;
    const int started = problems.support[problem];
    SmallProblem small = carve(bytes, problems.capacity);
    int32_t* ids = small.state + problems.capacity;
    small.count = problems.count[problem];
    small.penalty = problems.penalties[problem];
    for (int i = threadIdx.x; i < small.count; i += kSolveBlock) {
        ids[i] = words[i];
        small.weights[i] = i < started ? weights[i] : 0.0;
        small.state[i] = SmallProblem::kOut;
    }
    __syncthreads();
    fill_gram(dictionary, target, ids, problems.dims, small);
    if (threadIdx.x < kWarp) {
        small.minimise(started, kSlack * tolerance * small.penalty);
        const int support = keep_support(small, ids, words, weights);
        if (threadIdx.x == 0) kept[0] = support;
    }
    __syncthreads();
    const int support = kept[0];
    double square = 0.0, rounded_square = 0.0, alignment = 0.0, total = 0.0;
    for (int at = threadIdx.x; at < problems.dims; at += kSolveBlock) {
        double residual = target[at];
        for (int k = 0; k < support; ++k) residual -= weights[k] * dictionary.at(words[k], problems.dims, at);
        const Value rounded = static_cast<Value>(residual);
        residuals[static_cast<int64_t>(blockIdx.x) * problems.dims + at] = rounded;
        square += residual * residual;
        rounded_square += static_cast<double>(rounded) * static_cast<double>(rounded);
        alignment += static_cast<double>(target[at]) * static_cast<double>(rounded);
    }
    for (int k = threadIdx.x; k < support; k += kSolveBlock) total += weights[k];
    square = block_sum(square, scratch);
    rounded_square = block_sum(rounded_square, scratch);
    alignment = block_sum(alignment, scratch);
    total = block_sum(total, scratch);
    if (threadIdx.x == 0) {
        problems.support[problem] = support;
        problems.count[problem] = support;
        const double primal = square + small.penalty * total;
        // Words were tried and the objective did not fall: what the correlations show is their own rounding.
        if (!(primal < problems.primal[problem] * (1.0 - kStandstill))) problems.status[problem] = kStalled;
        problems.primal[problem] = primal;
        problems.square[problem] = rounded_square;
        problems.alignment[problem] = alignment;
    }
}

// A word with its correlation; the mirrored word where that is negative and weights may be.
__device__ Candidate facing(double value, int64_t word, int64_t words, bool is_signed) {
    if (is_signed && value < 0.0) return {-value, static_cast<int32_t>(words + word)};
    return {value, static_cast<int32_t>(word)};
}

// The thread's best word above `least` that comes after `taken`.
template <class Value>
__device__ Candidate next_candidate(const Value* row, int64_t words, bool is_signed, double least,
                                    const Candidate& taken) {
    Candidate best{0.0, -1};
    for (int64_t j = threadIdx.x; j < words; j += kSolveBlock) {
        const Candidate here = facing(static_cast<double>(row[j]), j, words, is_signed);
        if (here.value > least && (taken.word < 0 || before(taken, here)) && here.word != taken.word &&
            before(here, best))
            best = here;
    }
    return best;
}

// (primal - dual) / primal for the best scaling of the residual that satisfies 2 c . r <= lambda; 0 where primal is 0.
__device__ double relative_gap(double primal, double square, double alignment, double largest, double penalty) {
    if (primal == 0.0) return 0.0;
    double scale = square > 0.0 ? alignment / square : 0.0;
    if (largest > 0.0) scale = fmin(scale, penalty / (2.0 * largest));
    scale = fmax(scale, 0.0);
    return fmax(primal - (2.0 * scale * alignment - scale * scale * square), 0.0) / primal;
}

template <class Value>
__global__ void select_kernel(const Value* __restrict__ correlations, int64_t words, int64_t pitch, Problems problems,
                              Active active, bool is_signed, double tolerance) {
    SHARED_ARRAY(double, scratch, kSolveWarps);
    SHARED_ARRAY(Candidate, candidates, kSolveWarps);
    const int64_t problem = active.rows[blockIdx.x];
    const Value* row = correlations + static_cast<int64_t>(blockIdx.x) * pitch;
    int32_t* chosen = problems.words + problem * problems.capacity;
    const int support = problems.support[problem];
    const double penalty = problems.penalties[problem];
    double largest = 0.0, uneven = 0.0;
    for (int64_t j = threadIdx.x; j < words; j += kSolveBlock)
        largest = fmax(largest, facing(static_cast<double>(row[j]), j, words, is_signed).value);
    for (int k = threadIdx.x; k < support; k += kSolveBlock) {
        const bool mirrored = chosen[k] >= words;
        const double value = static_cast<double>(row[mirrored ? chosen[k] - words : chosen[k]]);
        uneven = fmax(uneven, fabs(2.0 * (mirrored ? -value : value) - penalty));
    }
    largest = block_max(largest, scratch);
    uneven = block_max(uneven, scratch);
    const double gap =
        relative_gap(problems.primal[problem], problems.square[problem], problems.alignment[problem], largest, penalty);
    int32_t status = gap <= tolerance ? static_cast<int32_t>(kSolved) : problems.status[problem];
    int count = support;
    if (status == kUnfinished) {
        const double least = 0.5 * penalty * (1.0 + kSlack * tolerance);
        const Candidate none{0.0, -1};
        Candidate own = next_candidate(row, words, is_signed, least, none);
        for (int added = 0; added < kNewWords;) {
            const Candidate winner = block_first(own, candidates);
            if (winner.word < 0) break;
            bool known = false;
            for (int k = threadIdx.x; k < support; k += kSolveBlock) known = known || chosen[k] == winner.word;
            if (block_max(known ? 1.0 : 0.0, scratch) == 0.0) {
                if (count == problems.capacity) break;
                if (threadIdx.x == 0) chosen[count] = winner.word;
                ++count;
                ++added;
            }
            if (own.word == winner.word) own = next_candidate(row, words, is_signed, least, winner);
            if (support == problems.capacity) break;
        }
        if (count == support) status = support == problems.capacity ? kOverflow : kStalled;
    }
    if (threadIdx.x == 0) {
        problems.count[problem] = count;
        problems.gap[problem] = gap;
        problems.kkt[problem] = fmax(fmax(2.0 * largest - penalty, uneven), 0.0);
        problems.status[problem] = status;
    }
}

__global__ void pack_kernel(Rows dictionary, Problems problems, const int64_t* __restrict__ indptr,
                            int32_t* __restrict__ indices, double* __restrict__ values) {
    const int64_t problem = blockIdx.x, first = problem * problems.capacity;
    const int support = problems.support[problem];
    for (int k = threadIdx.x; k < support; k += kSolveBlock) {
        const int32_t word = dictionary.stored(problems.words[first + k]);
        const double weight = problems.weights[first + k];
        int64_t place = indptr[problem];
        for (int other = 0; other < support; ++other) place += dictionary.stored(problems.words[first + other]) < word;
        indices[place] = word;
        values[place] = dictionary.mirrors(problems.words[first + k]) ? -weight : weight;
    }
}

}  // namespace

size_t solve_shared_bytes(int32_t capacity) {
    const size_t doubles = static_cast<size_t>(capacity) * (capacity + 1) / 2 + factor_doubles(capacity) +
                           5 * static_cast<size_t>(capacity) + 3;
    return doubles * sizeof(double) + (3 * static_cast<size_t>(capacity) + 1) * sizeof(int32_t);
}

template <class Value>
void nnlasso_solve(const Rows& dictionary, const Problems& problems, const Active& active, double tolerance,
                   Value* residuals, Stream stream) {
    if (problems.capacity > kMostWords) throw std::invalid_argument("nnlasso: capacity above 128 words");
    launch("nnlasso solve", solve_kernel<Value>, dim3(static_cast<unsigned>(active.count)), kSolveBlock,
           solve_shared_bytes(problems.capacity), stream, dictionary.data, dictionary.count, problems, active,
           tolerance, residuals);
}

template <class Value>
void nnlasso_select(const Value* correlations, int64_t words, int64_t pitch, const Problems& problems,
                    const Active& active, bool is_signed, double tolerance, Stream stream) {
    launch("nnlasso select", select_kernel<Value>, dim3(static_cast<unsigned>(active.count)), kSolveBlock, 0, stream,
           correlations, words, pitch, problems, active, is_signed, tolerance);
}

void nnlasso_pack(const Rows& dictionary, const Problems& problems, int64_t n, const int64_t* indptr, int32_t* indices,
                  double* values, Stream stream) {
    launch("nnlasso pack", pack_kernel, dim3(static_cast<unsigned>(n)), kSolveBlock, 0, stream, dictionary, problems,
           indptr, indices, values);
}

FASTCONCEPT_NNLASSO(template, float)
FASTCONCEPT_NNLASSO(template, double)

}  // namespace fastconcept::cuda
