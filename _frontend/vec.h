/* The vector type that the kernels are written in: VF_LANES floats side by side, one operation for all of them.
 *
 * Never wider than the instruction set: a wider type compiles, but spills at every step. Width follows the flags that a
 * level is compiled with. Loads and stores through `vfu` may be unaligned; `vf` itself must lie on its own size.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string.h>

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

/* Square roots have no vector operator; each instruction set has its own instruction. */
#if defined(__SSE2__)
#include <immintrin.h>
#endif
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
typedef float vf4 __attribute__((vector_size(16)));
typedef float vf4u __attribute__((vector_size(16), aligned(4), may_alias));
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
