#include "nnlasso.h"

#include "nnlasso_block.h"

namespace fastconcept::cuda {
namespace {

constexpr double kSmallestPenalty = 1e-4;  // the path ends at this share of the penalty at which it begins
constexpr double kParallel = 1e-9;         // a word whose c . r / lambda changes by less than this never enters

// On a segment w = alpha - lambda * beta with alpha = G^-1 C z and beta = G^-1 (1/2).
__global__ void segment_kernel(const float* __restrict__ data, int64_t count, Paths paths, Active active,
                               double* __restrict__ vectors) {
    DYNAMIC_SHARED(bytes);
    const Rows dictionary{data, count};
    const int64_t problem = active.rows[blockIdx.x];
    const int32_t* words = paths.words + problem * paths.capacity;
    const float* target = paths.targets + problem * paths.dims;
    SmallProblem small = carve(bytes, paths.capacity);
    int32_t* ids = small.state + paths.capacity;
    small.count = paths.support[problem];
    small.penalty = 0.0;
    for (int i = threadIdx.x; i < small.count; i += kSolveBlock) {
        ids[i] = words[i];
        small.state[i] = SmallProblem::kOut;
    }
    __syncthreads();
    fill_gram(dictionary, target, ids, paths.dims, small);
    if (threadIdx.x < kWarp) {
        const int lane = static_cast<int>(threadIdx.x % kWarp);
        small.size = 0;
        for (int word = 0; word < small.count; ++word) small.append(word);
        for (int i = lane; i < small.count; i += kWarp) small.weights[i] = small.right[i] = 0.0;
        __syncwarp();
        small.substitute_back(small.forward);
        for (int k = lane; k < small.size; k += kWarp) small.weights[small.order[k]] = small.work[k];
        __syncwarp();
        for (int k = lane; k < small.size; k += kWarp) small.work[k] = 0.5;
        __syncwarp();
        small.substitute_forward();
        small.substitute_back(small.work);
        for (int k = lane; k < small.size; k += kWarp) small.right[small.order[k]] = small.work[k];
    }
    __syncthreads();
    for (int i = threadIdx.x; i < small.count; i += kSolveBlock) {
        paths.alpha[problem * paths.capacity + i] = small.weights[i];
        paths.beta[problem * paths.capacity + i] = small.right[i];
    }
    double* fixed = vectors + 2 * static_cast<int64_t>(blockIdx.x) * paths.dims;
    double* moving = fixed + paths.dims;
    for (int at = threadIdx.x; at < paths.dims; at += kSolveBlock) {
        double stays = target[at], moves = 0.0;
        for (int k = 0; k < small.count; ++k) {
            const double value = dictionary.at(ids[k], paths.dims, at);
            stays -= small.weights[k] * value;
            moves += small.right[k] * value;
        }
        fixed[at] = stays;
        moving[at] = moves;
    }
}

__global__ void event_kernel(const double* __restrict__ correlations, int64_t words, int64_t pitch, Paths paths,
                             Active active, bool is_signed, int32_t l0) {
    SHARED_ARRAY(Candidate, scratch, kSolveWarps);
    SHARED_ARRAY(int32_t, known, kMostWords + 1);
    const int64_t problem = active.rows[blockIdx.x];
    const double* fixed = correlations + 2 * static_cast<int64_t>(blockIdx.x) * pitch;
    const double* moving = fixed + pitch;
    int32_t* chosen = paths.words + problem * paths.capacity;
    const double* alpha = paths.alpha + problem * paths.capacity;
    const double* beta = paths.beta + problem * paths.capacity;
    const int support = paths.support[problem];
    const double penalty = paths.penalty[problem];
    for (int k = threadIdx.x; k <= support; k += kSolveBlock)
        known[k] = k < support ? chosen[k] : paths.barred[problem];
    __syncthreads();
    Candidate enters{0.0, -1}, leaves{0.0, -1};
    for (int64_t j = threadIdx.x; j < (is_signed ? 2 : 1) * words; j += kSolveBlock) {
        // c . r = fixed + lambda * moving reaches lambda / 2 at fixed / (1/2 - moving).
        const int64_t row = j < words ? j : j - words;
        const double sign = j < words ? 1.0 : -1.0, slope = 0.5 - sign * moving[row];
        if (!(slope > kParallel)) continue;
        const Candidate here{fmin(sign * fixed[row] / slope, penalty), static_cast<int32_t>(j)};
        if (!before(here, enters)) continue;
        bool out = true;
        for (int k = 0; k <= support; ++k) out = out && known[k] != here.word;
        if (out) enters = here;
    }
    for (int k = threadIdx.x; k < support; k += kSolveBlock) {
        if (!(beta[k] < 0.0)) continue;
        const Candidate here{fmin(alpha[k] / beta[k], penalty), k};
        if (before(here, leaves)) leaves = here;
    }
    enters = block_first(enters, scratch);
    leaves = block_first(leaves, scratch);
    if (threadIdx.x != 0) return;
    const double floor = paths.floor[problem];
    double next = floor;
    if (enters.word >= 0) next = fmax(next, enters.value);
    if (leaves.word >= 0) next = fmax(next, leaves.value);
    const bool entering = enters.word >= 0 && (leaves.word < 0 || enters.value > leaves.value);
    paths.barred[problem] = -1;
    paths.penalty[problem] = next;
    if (next <= floor || (entering && support >= l0)) {
        paths.status[problem] = kSolved;
    } else if (entering) {
        chosen[support] = enters.word;
        paths.support[problem] = support + 1;
        if (support == 0 && floor == 0.0) paths.floor[problem] = kSmallestPenalty * next;
    } else {
        paths.barred[problem] = chosen[leaves.word];
        for (int k = leaves.word; k + 1 < support; ++k) chosen[k] = chosen[k + 1];
        paths.support[problem] = support - 1;
    }
}

}  // namespace

void nnlasso_path_segment(const Rows& dictionary, const Paths& paths, const Active& active, double* vectors,
                          Stream stream) {
    if (paths.capacity > kMostWords) throw std::invalid_argument("nnlasso path: capacity above 128 words");
    launch("nnlasso path segment", segment_kernel, dim3(static_cast<unsigned>(active.count)), kSolveBlock,
           solve_shared_bytes(paths.capacity), stream, dictionary.data, dictionary.count, paths, active, vectors);
}

void nnlasso_path_event(const double* correlations, int64_t words, int64_t pitch, const Paths& paths,
                        const Active& active, bool is_signed, int32_t l0, Stream stream) {
    if (l0 > paths.capacity) throw std::invalid_argument("nnlasso path: more words than the capacity");
    launch("nnlasso path event", event_kernel, dim3(static_cast<unsigned>(active.count)), kSolveBlock, 0, stream,
           correlations, words, pitch, paths, active, is_signed, l0);
}

}  // namespace fastconcept::cuda
