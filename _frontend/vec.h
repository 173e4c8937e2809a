/* The vector type that the kernels are written in: VF_LANES floats side by side, one operation for all of them.
 *
 * Never wider than the instruction set: a wider type compiles, but spills at every step. Width follows the flags that a
 * level is compiled with. Loads and stores through `vfu` may be unaligned; `vf` itself must lie on its own size.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define VF_LANES 16
#elif defined(__AVX2__)
#define VF_LANES 8
#else
#define VF_LANES 4
#endif

typedef float vf __attribute__((vector_size(4 * VF_LANES)));
typedef int32_t vi __attribute__((vector_size(4 * VF_LANES)));
typedef float vfu __attribute__((vector_size(4 * VF_LANES), aligned(4), may_alias));

typedef float vf4 __attribute__((vector_size(16)));
typedef float vf4u __attribute__((vector_size(16), aligned(4), may_alias));

static inline vf vf_load(const float *p) { return *(const vfu *)p; }
static inline void vf_store(float *p, vf v) { *(vfu *)p = v; }
static inline vf vf_set(float s) { return s - (vf){0}; }

/* Reinterpretations; a cast between vector types of one size keeps the bits. */
static inline vi vf_bits(vf v) { return (vi)v; }
static inline vf vi_as_float(vi v) { return (vf)v; }
static inline vf vi_to_float(vi v) { return __builtin_convertvector(v, vf); }

/* Lane by lane m ? a : b, where m is all ones or all zeros (what a comparison gives). */
static inline vf vf_select(vi m, vf a, vf b) { return (vf)((m & (vi)a) | (~m & (vi)b)); }
static inline vf vf_max(vf a, vf b) { return vf_select((vi)(a > b), a, b); }

/* Σ x[at[i]]·w[i] for i < n. One jump by the count, not a branch a term: bands have few bins and each another number. */
static inline vf vf_dot(const vf *x, const int *at, const float *w, int n) {
    vf total = {0};
    for (; n > 8; n -= 8, at += 8, w += 8)
        for (int i = 0; i < 8; i++)
            total += x[at[i]] * w[i];
    switch (n) {
    case 8:
        total += x[at[7]] * w[7]; /* fall through */
    case 7:
        total += x[at[6]] * w[6]; /* fall through */
    case 6:
        total += x[at[5]] * w[5]; /* fall through */
    case 5:
        total += x[at[4]] * w[4]; /* fall through */
    case 4:
        total += x[at[3]] * w[3]; /* fall through */
    case 3:
        total += x[at[2]] * w[2]; /* fall through */
    case 2:
        total += x[at[1]] * w[1]; /* fall through */
    case 1:
        total += x[at[0]] * w[0];
    }
    return total;
}

/* The sum of the lanes, by halves. */
static inline float vf_sum(vf v) {
#if VF_LANES == 16
    typedef float half __attribute__((vector_size(32)));
    const half h = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
                   __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
    const vf4 q = __builtin_shufflevector(h, h, 0, 1, 2, 3) + __builtin_shufflevector(h, h, 4, 5, 6, 7);
#elif VF_LANES == 8
    const vf4 q = __builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7);
#else
    const vf4 q = v;
#endif
    const vf4 d = q + __builtin_shufflevector(q, q, 2, 3, 0, 1);
    return d[0] + d[1];
}

/* Square roots have no vector operator; each instruction set has its own instruction. */
static inline vf vf_sqrt(vf v) {
#if defined(__AVX512F__)
    return (vf)_mm512_sqrt_ps((__m512)v);
#elif defined(__AVX2__)
    return (vf)_mm256_sqrt_ps((__m256)v);
#elif defined(__SSE2__)
    return (vf)_mm_sqrt_ps((__m128)v);
#else
    for (int lane = 0; lane < VF_LANES; lane++)
        v[lane] = __builtin_sqrtf(v[lane]);
    return v;
#endif
}

/* Four by four floats, rows to columns: src[i·src_stride + j] → dst[j·dst_stride + i]. */
static inline void transpose_4x4(const float *src, ptrdiff_t src_stride, float *dst, ptrdiff_t dst_stride) {
    const vf4 a = *(const vf4u *)src, b = *(const vf4u *)(src + src_stride);
    const vf4 c = *(const vf4u *)(src + 2 * src_stride), d = *(const vf4u *)(src + 3 * src_stride);
    const vf4 ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    const vf4 cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    *(vf4u *)dst = __builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5);
    *(vf4u *)(dst + dst_stride) = __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7);
    *(vf4u *)(dst + 2 * dst_stride) = __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5);
    *(vf4u *)(dst + 3 * dst_stride) = __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7);
}

/* Four rows of eight floats to eight rows of four: src[i·src_stride + j] → dst[j·dst_stride + i]. */
static inline void transpose_4x8(const float *src, ptrdiff_t src_stride, float *dst, ptrdiff_t dst_stride) {
#if VF_LANES >= 8
    typedef float vf8 __attribute__((vector_size(32)));
    typedef float vf8u __attribute__((vector_size(32), aligned(4), may_alias));
    const vf8 a = *(const vf8u *)src, b = *(const vf8u *)(src + src_stride);
    const vf8 c = *(const vf8u *)(src + 2 * src_stride), d = *(const vf8u *)(src + 3 * src_stride);
    const vf8 ab_low = __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13);
    const vf8 ab_high = __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15);
    const vf8 cd_low = __builtin_shufflevector(c, d, 0, 8, 1, 9, 4, 12, 5, 13);
    const vf8 cd_high = __builtin_shufflevector(c, d, 2, 10, 3, 11, 6, 14, 7, 15);
    const vf8 r04 = __builtin_shufflevector(ab_low, cd_low, 0, 1, 8, 9, 4, 5, 12, 13);
    const vf8 r15 = __builtin_shufflevector(ab_low, cd_low, 2, 3, 10, 11, 6, 7, 14, 15);
    const vf8 r26 = __builtin_shufflevector(ab_high, cd_high, 0, 1, 8, 9, 4, 5, 12, 13);
    const vf8 r37 = __builtin_shufflevector(ab_high, cd_high, 2, 3, 10, 11, 6, 7, 14, 15);
    *(vf4u *)dst = __builtin_shufflevector(r04, r04, 0, 1, 2, 3);
    *(vf4u *)(dst + dst_stride) = __builtin_shufflevector(r15, r15, 0, 1, 2, 3);
    *(vf4u *)(dst + 2 * dst_stride) = __builtin_shufflevector(r26, r26, 0, 1, 2, 3);
    *(vf4u *)(dst + 3 * dst_stride) = __builtin_shufflevector(r37, r37, 0, 1, 2, 3);
    _mm_storeu_ps(dst + 4 * dst_stride, _mm256_extractf128_ps((__m256)r04, 1));
    _mm_storeu_ps(dst + 5 * dst_stride, _mm256_extractf128_ps((__m256)r15, 1));
    _mm_storeu_ps(dst + 6 * dst_stride, _mm256_extractf128_ps((__m256)r26, 1));
    _mm_storeu_ps(dst + 7 * dst_stride, _mm256_extractf128_ps((__m256)r37, 1));
#else
    transpose_4x4(src, src_stride, dst, dst_stride);
    transpose_4x4(src + 4, src_stride, dst + 4 * dst_stride, dst_stride);
#endif
}
