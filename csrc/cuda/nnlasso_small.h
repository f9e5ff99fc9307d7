// The small problem of one block: min over w >= 0 of w' G w - 2 b' w + lambda * sum(w), G and b in shared memory.
// Lawson and Hanson's active-set method (Solving Least Squares Problems, 1974, chapter 23) with a Cholesky factor of
// the support that grows by rows. One warp runs it; every lane takes part in every call.
#pragma once

#include "launch.h"

namespace fastconcept::cuda {

__device__ inline int triangle(int row, int column) { return row * (row + 1) / 2 + column; }

struct SmallProblem {
    double* gram;     // lower triangle, row by row: count * (count + 1) / 2
    double* factor;   // the same of the Cholesky factor, rows in the order of `order`
    double* right;    // b
    double* weights;  // of all words
    double* forward;  // L^-1 (b - lambda / 2) on the support
    double* inverse;  // reciprocals of the factor's diagonal
    double* work;
    int32_t* order;   // words of the support, in the order they came
    int32_t* state;   // per word: kOut, kIn, or kBarred (came in and could not rise; rounding)
    int count;        // words
    int size;         // of the support, the same in all lanes
    double penalty;

    static constexpr int kOut = 0, kIn = 1, kBarred = 2;
    static constexpr double kDependent = 1e-12;  // squared distance to the span of the support, relative

    __device__ double gram_at(int i, int j) const { return i >= j ? gram[triangle(i, j)] : gram[triangle(j, i)]; }

    // Forward substitution L y = g for the word's column of the Gram matrix: y becomes the factor's next row.
    // Returns the squared distance of the word to the span of the support.
    __device__ double project(int word) {
        const int lane = static_cast<int>(threadIdx.x % kWarp);
        double* row = factor + triangle(size, 0);
        for (int i = lane; i < size; i += kWarp) work[i] = gram_at(word, order[i]);
        __syncwarp();
        double explained = 0.0, lift = 0.0;
        for (int k = 0; k < size; ++k) {
            const double y = work[k] * inverse[k];
            explained += y * y;
            lift += y * forward[k];
            if (lane == 0) row[k] = y;
            for (int i = k + 1 + lane; i < size; i += kWarp) work[i] -= factor[triangle(i, k)] * y;
            __syncwarp();
        }
        const double distance = gram_at(word, word) - explained;
        const double diagonal = distance > 0.0 ? sqrt(distance) : 0.0;
        if (lane == 0) {
            row[size] = diagonal;
            forward[size] = diagonal > 0.0 ? (right[word] - 0.5 * penalty - lift) / diagonal : 0.0;
            inverse[size] = diagonal > 0.0 ? 1.0 / diagonal : 0.0;
        }
        __syncwarp();
        return distance;
    }

    // Adds a word to the support unless it lies in its span.
    __device__ bool append(int word) {
        const double distance = project(word);
        if (!(distance > kDependent * gram_at(word, word))) return false;
        if (threadIdx.x % kWarp == 0) {
            order[size] = word;
            state[word] = kIn;
        }
        ++size;
        __syncwarp();
        return true;
    }

    // work = L^-1 work.
    __device__ void substitute_forward() {
        const int lane = static_cast<int>(threadIdx.x % kWarp);
        for (int k = 0; k < size; ++k) {
            const double y = work[k] * inverse[k];
            __syncwarp();
            for (int i = k + 1 + lane; i < size; i += kWarp) work[i] -= factor[triangle(i, k)] * y;
            if (lane == 0) work[k] = y;
            __syncwarp();
        }
    }

    // work = L^-T values; `values` may be `work` itself.
    __device__ void substitute_back(const double* values) {
        const int lane = static_cast<int>(threadIdx.x % kWarp);
        for (int i = lane; i < size; i += kWarp) work[i] = values[i];
        __syncwarp();
        for (int k = size - 1; k >= 0; --k) {
            const double x = work[k] * inverse[k];
            __syncwarp();
            for (int i = lane; i < k; i += kWarp) work[i] -= factor[triangle(k, i)] * x;
            if (lane == 0) work[k] = x;
            __syncwarp();
        }
    }

    // Takes the word at a place of the support out of it; what came later is factored again.
    __device__ void remove(int place) {
        const int last = size;
        size = place;
        if (threadIdx.x % kWarp == 0) {
            weights[order[place]] = 0.0;
            state[order[place]] = kOut;
        }
        __syncwarp();
        for (int from = place + 1; from < last; ++from) {
            const int word = order[from];
            __syncwarp();
            if (!append(word) && threadIdx.x % kWarp == 0) {
                weights[word] = 0.0;
                state[word] = kBarred;
            }
            __syncwarp();
        }
    }

    // First place in the support at which weights + t * (work - weights), or weights - t * work, reaches zero, and t.
    __device__ double first_to_vanish(bool toward, int& place) const {
        double least = INFINITY;
        place = -1;
        for (int i = static_cast<int>(threadIdx.x % kWarp); i < size; i += kWarp) {
            const double weight = weights[order[i]], fall = toward ? weight - work[i] : work[i];
            if ((toward ? work[i] <= 0.0 : fall > 0.0) && weight / fall < least) {
                least = weight / fall;
                place = i;
            }
        }
        for (unsigned step = kWarp / 2; step > 0; step /= 2) {
            const double other = __shfl_xor_sync(kAllLanes, least, step);
            const int other_place = __shfl_xor_sync(kAllLanes, place, step);
            if (other < least || (other == least && other_place >= 0 && (place < 0 || other_place < place))) {
                least = other;
                place = other_place;
            }
        }
        return least;
    }

    // Minimises over the support, dropping words whose weight reaches zero on the way.
    __device__ void descend() {
        while (size > 0) {
            substitute_back(forward);
            int place;
            const double reach = first_to_vanish(true, place);
            const double part = place < 0 ? 1.0 : reach;
            for (int i = static_cast<int>(threadIdx.x % kWarp); i < size; i += kWarp) {
                double& weight = weights[order[i]];
                weight = place < 0 ? work[i] : fmax(weight + part * (work[i] - weight), 0.0);
            }
            __syncwarp();
            if (place < 0) return;
            remove(place);
        }
    }

    // A violating word in the span of the support, c = sum of beta_k c_k: moving along it leaves the residual and
    // lowers sum(w), until a word of the support reaches zero and makes room. If none does (rounding), nothing moves.
    __device__ void exchange(int word) {
        substitute_back(factor + triangle(size, 0));
        int place;
        const double reach = first_to_vanish(false, place);
        if (place < 0) return;
        for (int i = static_cast<int>(threadIdx.x % kWarp); i < size; i += kWarp)
            weights[order[i]] = fmax(weights[order[i]] - reach * work[i], 0.0);
        if (threadIdx.x % kWarp == 0) weights[word] = reach;
        __syncwarp();
        remove(place);
        if (!append(word) && threadIdx.x % kWarp == 0) weights[word] = 0.0;
        __syncwarp();
    }

    // The word outside the support with the largest violation of 2 (b - G w) <= lambda, or -1 if none exceeds slack.
    __device__ int worst(double slack) const {
        double most = slack;
        int word = -1;
        for (int i = static_cast<int>(threadIdx.x % kWarp); i < count; i += kWarp) {
            if (state[i] != kOut) continue;
            double correlation = right[i];
            for (int k = 0; k < size; ++k) correlation -= gram_at(i, order[k]) * weights[order[k]];
            if (2.0 * correlation - penalty > most) {
                most = 2.0 * correlation - penalty;
                word = i;
            }
        }
        for (unsigned step = kWarp / 2; step > 0; step /= 2) {
            const double other = __shfl_xor_sync(kAllLanes, most, step);
            const int other_word = __shfl_xor_sync(kAllLanes, word, step);
            if (other > most || (other == most && other_word >= 0 && (word < 0 || other_word < word))) {
                most = other;
                word = other_word;
            }
        }
        return word;
    }

    // From the weights of the first `started` words (all positive) to the minimum over all words.
    __device__ void minimise(int started, double slack) {
        size = 0;
        for (int word = 0; word < started; ++word) {
            if (!append(word) && threadIdx.x % kWarp == 0) weights[word] = 0.0;
            __syncwarp();
        }
        descend();
        for (int left = 8 * count + 32; left > 0; --left) {
            const int word = worst(slack);
            if (word < 0) return;
            if (!append(word)) exchange(word);
            descend();
            if (threadIdx.x % kWarp == 0 && state[word] == kOut) state[word] = kBarred;
            __syncwarp();
        }
    }
};

}  // namespace fastconcept::cuda
