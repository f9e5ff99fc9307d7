// One source, several instruction sets: a function marked FASTCONCEPT_CLONES is compiled for x86-64-v2, -v3 (AVX2)
// and -v4 (AVX-512) and the loader picks one. The loops inside are plain C++ that the compiler vectorises; on
// aarch64 the baseline already has NEON.
#pragma once

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12 &&         \
    !defined(FASTCONCEPT_SANITIZE)
#define FASTCONCEPT_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#define FASTCONCEPT_HAS_CLONES 1
#else
#define FASTCONCEPT_CLONES
#define FASTCONCEPT_HAS_CLONES 0
#endif

// A function marked FASTCONCEPT_AVX2 is written with intrinsics and called only where has_avx2().
#if defined(__x86_64__) && defined(__GNUC__)
#define FASTCONCEPT_AVX2 __attribute__((target("avx2")))
#define FASTCONCEPT_HAS_AVX2 1
namespace fastconcept {
inline bool has_avx2() { return __builtin_cpu_supports("avx2"); }
}  // namespace fastconcept
#else
#define FASTCONCEPT_HAS_AVX2 0
#endif
