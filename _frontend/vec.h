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

/* Four sums at once: out[b] = Σ x[at[4i + b]]·w[4i + b] for i < n, with `at` counting floats. */
static inline void vf_dot_4(const float *x, const int *at, const float *w, int n, vf *out) {
    vf a = {0}, b = {0}, c = {0}, d = {0};
    for (; n > 0; n--, at += 4, w += 4) {
        a += *(const vf *)(x + at[0]) * w[0];
        b += *(const vf *)(x + at[1]) * w[1];
        c += *(const vf *)(x + at[2]) * w[2];
        d += *(const vf *)(x + at[3]) * w[3];
    }
    out[0] = a, out[1] = b, out[2] = c, out[3] = d;
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

/* Four by four floats, rows to columns: element j of row i → dst[j·stride + i]. */
static inline void store_columns_4(vf4 a, vf4 b, vf4 c, vf4 d, float *dst, ptrdiff_t stride) {
    const vf4 ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    const vf4 cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    *(vf4u *)dst = __builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5);
    *(vf4u *)(dst + stride) = __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7);
    *(vf4u *)(dst + 2 * stride) = __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5);
    *(vf4u *)(dst + 3 * stride) = __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7);
}

/* Eight floats: one register where there is one so wide, else two. */
#if VF_LANES >= 8
typedef float vf8 __attribute__((vector_size(32)));
typedef float vf8u __attribute__((vector_size(32), aligned(4), may_alias));

static inline vf8 vf8_load(const float *p) { return *(const vf8u *)p; }
static inline vf8 vf8_add(vf8 a, vf8 b) { return a + b; }
static inline vf8 vf8_emphasize(vf8 x, vf8 before, float a, float gain) { return (x - before * a) * gain; }
static inline vf4 vf8_low(vf8 v) { return __builtin_shufflevector(v, v, 0, 1, 2, 3); }
static inline vf4 vf8_high(vf8 v) { return (vf4)_mm256_extractf128_ps((__m256)v, 1); }

/* Four rows of eight floats to eight rows of four. */
static inline void store_columns_8(vf8 a, vf8 b, vf8 c, vf8 d, float *dst, ptrdiff_t stride) {
    const vf8 ab_low = __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13);
    const vf8 ab_high = __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15);
    const vf8 cd_low = __builtin_shufflevector(c, d, 0, 8, 1, 9, 4, 12, 5, 13);
    const vf8 cd_high = __builtin_shufflevector(c, d, 2, 10, 3, 11, 6, 14, 7, 15);
    const vf8 r04 = __builtin_shufflevector(ab_low, cd_low, 0, 1, 8, 9, 4, 5, 12, 13);
    const vf8 r15 = __builtin_shufflevector(ab_low, cd_low, 2, 3, 10, 11, 6, 7, 14, 15);
    const vf8 r26 = __builtin_shufflevector(ab_high, cd_high, 0, 1, 8, 9, 4, 5, 12, 13);
    const vf8 r37 = __builtin_shufflevector(ab_high, cd_high, 2, 3, 10, 11, 6, 7, 14, 15);
    *(vf4u *)dst = vf8_low(r04);
    *(vf4u *)(dst + stride) = vf8_low(r15);
    *(vf4u *)(dst + 2 * stride) = vf8_low(r26);
    *(vf4u *)(dst + 3 * stride) = vf8_low(r37);
    *(vf4u *)(dst + 4 * stride) = vf8_high(r04);
    *(vf4u *)(dst + 5 * stride) = vf8_high(r15);
    *(vf4u *)(dst + 6 * stride) = vf8_high(r26);
    *(vf4u *)(dst + 7 * stride) = vf8_high(r37);
}
#else
typedef struct { vf4 low, high; } vf8;

static inline vf8 vf8_load(const float *p) { return (vf8){*(const vf4u *)p, *(const vf4u *)(p + 4)}; }
static inline vf8 vf8_add(vf8 a, vf8 b) { return (vf8){a.low + b.low, a.high + b.high}; }
static inline vf8 vf8_emphasize(vf8 x, vf8 before, float a, float gain) {
    return (vf8){(x.low - before.low * a) * gain, (x.high - before.high * a) * gain};
}
static inline vf4 vf8_low(vf8 v) { return v.low; }
static inline vf4 vf8_high(vf8 v) { return v.high; }

static inline void store_columns_8(vf8 a, vf8 b, vf8 c, vf8 d, float *dst, ptrdiff_t stride) {
    store_columns_4(a.low, b.low, c.low, d.low, dst, stride);
    store_columns_4(a.high, b.high, c.high, d.high, dst + 4 * stride, stride);
}
#endif

/* src[i·src_stride + j] → dst[j·dst_stride + i] for i < 4 and j < 4, or j < 8. */
static inline void transpose_4x4(const float *src, ptrdiff_t src_stride, float *dst, ptrdiff_t dst_stride) {
    store_columns_4(*(const vf4u *)src, *(const vf4u *)(src + src_stride), *(const vf4u *)(src + 2 * src_stride),
                    *(const vf4u *)(src + 3 * src_stride), dst, dst_stride);
}

static inline void transpose_4x8(const float *src, ptrdiff_t src_stride, float *dst, ptrdiff_t dst_stride) {
    store_columns_8(vf8_load(src), vf8_load(src + src_stride), vf8_load(src + 2 * src_stride),
                    vf8_load(src + 3 * src_stride), dst, dst_stride);
}

/* Of four rows of n floats, eight at a time, (x[j] - a·x[j - 1])·gain → columns of dst; returns how many were done.
 * Adds the bare x to sums, a row's to its own. */
static inline ptrdiff_t emphasize_4xn(const float *src, ptrdiff_t src_stride, ptrdiff_t n, float a, float gain, float *dst,
                                      ptrdiff_t dst_stride, vf8 *sums) {
    const float *const src_1 = src + src_stride, *const src_2 = src_1 + src_stride, *const src_3 = src_2 + src_stride;
    vf8 sum_0 = sums[0], sum_1 = sums[1], sum_2 = sums[2], sum_3 = sums[3];
    ptrdiff_t j = 0;
    for (; j + 8 <= n; j += 8, dst += 8 * dst_stride) {
        const vf8 x_0 = vf8_load(src + j), x_1 = vf8_load(src_1 + j), x_2 = vf8_load(src_2 + j), x_3 = vf8_load(src_3 + j);
        sum_0 = vf8_add(sum_0, x_0);
        sum_1 = vf8_add(sum_1, x_1);
        sum_2 = vf8_add(sum_2, x_2);
        sum_3 = vf8_add(sum_3, x_3);
        store_columns_8(vf8_emphasize(x_0, vf8_load(src + j - 1), a, gain),
                        vf8_emphasize(x_1, vf8_load(src_1 + j - 1), a, gain),
                        vf8_emphasize(x_2, vf8_load(src_2 + j - 1), a, gain),
                        vf8_emphasize(x_3, vf8_load(src_3 + j - 1), a, gain), dst, dst_stride);
    }
    sums[0] = sum_0, sums[1] = sum_1, sums[2] = sum_2, sums[3] = sum_3;
    return j;
}

/* The four sums of eight floats each, times gain → dst. */
static inline void store_sums_4x8(const vf8 *sums, float gain, float *dst) {
    vf4 halves[4];
    float columns[16];
    for (int i = 0; i < 4; i++)
        halves[i] = vf8_low(sums[i]) + vf8_high(sums[i]);
    store_columns_4(halves[0], halves[1], halves[2], halves[3], columns, 4);
    *(vf4u *)dst = ((*(vf4u *)columns + *(vf4u *)(columns + 4)) + (*(vf4u *)(columns + 8) + *(vf4u *)(columns + 12))) * gain;
}
