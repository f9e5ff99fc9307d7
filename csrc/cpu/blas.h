// The BLAS we call. Its address arrives at run time from the scipy-openblas32 package, so that building needs no
// BLAS and the core is linked against none. It is set to one thread: we split the work into tiles of fixed shape
// and run one tile per thread, which makes results independent of the number of threads.
#pragma once

#include <cstdint>

namespace fastconcept {

// CBLAS enumerations (fixed by the standard interface).
enum BlasOrder : int { kRowMajor = 101 };
enum BlasTranspose : int { kNoTranspose = 111, kTranspose = 112 };

using Sgemm = void (*)(int order, int transpose_a, int transpose_b, int m, int n, int k, float alpha, const float* a,
                       int lda, const float* b, int ldb, float beta, float* c, int ldc);
using Sgemv = void (*)(int order, int transpose, int m, int n, float alpha, const float* a, int lda, const float* x,
                       int incx, float beta, float* y, int incy);

struct Blas {
    Sgemm sgemm = nullptr;
    Sgemv sgemv = nullptr;
};

// The table used by every kernel; filled once at import, before any kernel can run.
inline Blas& blas() {
    static Blas table;
    return table;
}

}  // namespace fastconcept
