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

/* Asks for part i of ``parts`` of the floats p .. p + n, needed soon. All at once would stall: memory takes few requests. */
static inline void fetch_part(const float *p, ptrdiff_t n, int i, int parts) {
    for (ptrdiff_t at = n * i / parts; at < n * (i + 1) / parts; at += 16)
        __builtin_prefetch(p + at, 0, 2);
}

/* Reinterpretations; a cast between vector types of one size keeps the bits. */
static inline vi vf_bits(vf v) { return (vi)v; }
static inline vf vi_as_float(vi v) { return (vf)v; }
static inline vf vi_to_float(vi v) { return __builtin_convertvector(v, vf); }

/* Lane by lane m ? a : b, where m is all ones or all zeros (what a comparison gives). */
static inline vf vf_select(vi m, vf a, vf b) { return (vf)((m & (vi)a) | (~m & (vi)b)); }

/* a > b ? a : b, so b where either is no number. */
static inline vf vf_max(vf a, vf b) {
#if defined(__AVX512F__)
    return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
    return (vf)_mm_max_ps((__m128)a, (__m128)b);
#else
    return vf_select((vi)(a > b), a, b);
#endif
}

/* The sides of triangles over four gaps between their peaks: with P[i][g] = x[at[4i + g]] for i < n, at counting floats,
 * gap g has the sums rise[g] = Σ P[i][g]·w[8i + 2g] and fall[g] = Σ P[i][g]·w[8i + 2g + 1]. A triangle rises over a gap
 * and falls over the next: out[g] = rise[g - 1] + fall[g], where ``rise`` is that of the gap before; returns the last. */
static inline vf vf_triangles_4(const float *x, const int *at, const float *w, int n, vf rise, vf *out) {
    vf rise_0 = {0}, rise_1 = {0}, rise_2 = {0}, rise_3 = {0}, fall_0 = {0}, fall_1 = {0}, fall_2 = {0}, fall_3 = {0};
    for (; n > 0; n--, at += 4, w += 8) {
        const vf p_0 = *(const vf *)(x + at[0]), p_1 = *(const vf *)(x + at[1]);
        const vf p_2 = *(const vf *)(x + at[2]), p_3 = *(const vf *)(x + at[3]);
        rise_0 += p_0 * w[0], fall_0 += p_0 * w[1];
        rise_1 += p_1 * w[2], fall_1 += p_1 * w[3];
        rise_2 += p_2 * w[4], fall_2 += p_2 * w[5];
        rise_3 += p_3 * w[6], fall_3 += p_3 * w[7];
    }
    out[0] = rise + fall_0, out[1] = rise_0 + fall_1, out[2] = rise_1 + fall_2, out[3] = rise_2 + fall_3;
    return rise_3;
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

/* Four by four floats, rows to columns: element j of row i is element i of out[j]. */
static inline void transpose_4(vf4 a, vf4 b, vf4 c, vf4 d, vf4 *out) {
    const vf4 ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    const vf4 cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    out[0] = __builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5);
    out[1] = __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7);
    out[2] = __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5);
    out[3] = __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7);
}

/* src[i·src_stride + j] → dst[j·dst_stride + i] for i < 4 and j < 4. */
static inline void transpose_4x4(const float *src, ptrdiff_t src_stride, float *dst, ptrdiff_t dst_stride) {
    vf4 columns[4];
    transpose_4(*(const vf4u *)src, *(const vf4u *)(src + src_stride), *(const vf4u *)(src + 2 * src_stride),
                *(const vf4u *)(src + 3 * src_stride), columns);
    for (int j = 0; j < 4; j++)
        *(vf4u *)(dst + j * dst_stride) = columns[j];
}

#if VF_LANES >= 8
typedef float vf8 __attribute__((vector_size(32)));
typedef float vf8u __attribute__((vector_size(32), aligned(4), may_alias));

static inline vf8 vf8_join(vf4 low, vf4 high) { return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7); }

/* Four floats at p and four that lie ``apart`` from them. */
static inline vf8 vf8_fours(const float *p, ptrdiff_t apart) {
    return vf8_join(*(const vf4u *)p, *(const vf4u *)(p + apart));
}

/* As transpose_4, the lower halves and the upper ones each by themselves. */
static inline void transpose_4_twice(vf8 a, vf8 b, vf8 c, vf8 d, vf8 *out) {
    const vf8 ab_low = __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13);
    const vf8 ab_high = __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15);
    const vf8 cd_low = __builtin_shufflevector(c, d, 0, 8, 1, 9, 4, 12, 5, 13);
    const vf8 cd_high = __builtin_shufflevector(c, d, 2, 10, 3, 11, 6, 14, 7, 15);
    out[0] = __builtin_shufflevector(ab_low, cd_low, 0, 1, 8, 9, 4, 5, 12, 13);
    out[1] = __builtin_shufflevector(ab_low, cd_low, 2, 3, 10, 11, 6, 7, 14, 15);
    out[2] = __builtin_shufflevector(ab_high, cd_high, 0, 1, 8, 9, 4, 5, 12, 13);
    out[3] = __builtin_shufflevector(ab_high, cd_high, 2, 3, 10, 11, 6, 7, 14, 15);
}
#endif

/* The same for i < 8. */
static inline void transpose_8x4(const float *src, ptrdiff_t src_stride, float *dst, ptrdiff_t dst_stride) {
#if VF_LANES >= 8
    const ptrdiff_t apart = 4 * src_stride;
    vf8 rows[4];
    transpose_4_twice(vf8_fours(src, apart), vf8_fours(src + src_stride, apart), vf8_fours(src + 2 * src_stride, apart),
                      vf8_fours(src + 3 * src_stride, apart), rows);
    for (int j = 0; j < 4; j++)
        *(vf8u *)(dst + j * dst_stride) = rows[j];
#else
    transpose_4x4(src, src_stride, dst, dst_stride);
    transpose_4x4(src + 4 * src_stride, src_stride, dst + 4, dst_stride);
#endif
}
