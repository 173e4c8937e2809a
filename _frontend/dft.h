/* What surrounds the codelets of generated/dft_codelets.h: their types, transposition, masked stores.
 *
 * Lanes are signals that stand side by side; real and imaginary parts lie apart. All strides count floats.
 */
#pragma once
#include <stddef.h>
#include "vec.h"

#define PADDED(n) (((n) + VF_LANES - 1) / VF_LANES * VF_LANES)

/* Where the values of one transform lie (stride), and where the next transform's do (step). */
typedef struct {
    ptrdiff_t stride, step;
} Steps;

/* Real x (size, lanes) -> bins k < PADDED(size / 2 + 1), those past the half by symmetry, each times w (k, 2, lanes). */
typedef void (*RealDft)(const float *x, ptrdiff_t stride, const float *w, float *re, float *im);
/* The reverse: bins 0 .. size / 2, each times conj(w), -> real y (size, lanes), not divided by the size. */
typedef void (*HermitianDft)(const float *re, const float *im, const float *w, float *y, ptrdiff_t stride);
/* ``count`` forward transforms; in the turned ones result k > 0 of each is multiplied by w (count, size - 1, 2).
 * With real and imaginary parts exchanged on both sides it is the backward transform, and w acts as conj(w).
 * Variants with ``ends`` e leave out what nobody looks at: the plain ones write results k < e and k >= size - e alone,
 * the turned ones take the inputs between for zero. */
typedef void (*ComplexDft)(const float *re, const float *im, Steps from, float *out_re, float *out_im, Steps to,
                           const float *w, ptrdiff_t count);

#if defined(__clang__)
#define PICK(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define PICK(a, b, ...) __builtin_shuffle(a, b, (vi){__VA_ARGS__})
#endif

/* x (VF_LANES rows of VF_LANES, in_stride apart) -> y, rows and columns exchanged. Pairs of lanes, then pairs of pairs,
 * then quarters of the vector, so that each step is one instruction. */
static inline void transpose(const float *restrict x, ptrdiff_t in_stride, float *restrict y, ptrdiff_t out_stride) {
    vf u[VF_LANES];
    for (int q = 0; q < VF_LANES; q += 4) {
        const vf r0 = vf_load(x + q * in_stride), r1 = vf_load(x + (q + 1) * in_stride);
        const vf r2 = vf_load(x + (q + 2) * in_stride), r3 = vf_load(x + (q + 3) * in_stride);
#if VF_LANES == 16
#define LOW 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29
#define HIGH 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31
#define LOW2 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29
#define HIGH2 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31
#elif VF_LANES == 8
#define LOW 0, 8, 1, 9, 4, 12, 5, 13
#define HIGH 2, 10, 3, 11, 6, 14, 7, 15
#define LOW2 0, 1, 8, 9, 4, 5, 12, 13
#define HIGH2 2, 3, 10, 11, 6, 7, 14, 15
#else
#define LOW 0, 4, 1, 5
#define HIGH 2, 6, 3, 7
#define LOW2 0, 1, 4, 5
#define HIGH2 2, 3, 6, 7
#endif
        const vf t0 = PICK(r0, r1, LOW), t1 = PICK(r0, r1, HIGH), t2 = PICK(r2, r3, LOW), t3 = PICK(r2, r3, HIGH);
        u[q] = PICK(t0, t2, LOW2);
        u[q + 1] = PICK(t0, t2, HIGH2);
        u[q + 2] = PICK(t1, t3, LOW2);
        u[q + 3] = PICK(t1, t3, HIGH2);
    }
#undef LOW
#undef HIGH
#undef LOW2
#undef HIGH2
    for (int c = 0; c < 4; c++) {
#if VF_LANES == 16
        /* Quarter f of u[q + c] is column 4 f + c of the rows q .. q + 3. */
#define EVEN 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27
#define ODD 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31
        const vf a = PICK(u[c], u[4 + c], EVEN), b = PICK(u[c], u[4 + c], ODD);
        const vf d = PICK(u[8 + c], u[12 + c], EVEN), e = PICK(u[8 + c], u[12 + c], ODD);
        vf_store(y + c * out_stride, PICK(a, d, EVEN));
        vf_store(y + (4 + c) * out_stride, PICK(b, e, EVEN));
        vf_store(y + (8 + c) * out_stride, PICK(a, d, ODD));
        vf_store(y + (12 + c) * out_stride, PICK(b, e, ODD));
#undef EVEN
#undef ODD
#elif VF_LANES == 8
        vf_store(y + c * out_stride, PICK(u[c], u[4 + c], 0, 1, 2, 3, 8, 9, 10, 11));
        vf_store(y + (4 + c) * out_stride, PICK(u[c], u[4 + c], 4, 5, 6, 7, 12, 13, 14, 15));
#else
        vf_store(y + c * out_stride, u[c]);
#endif
    }
}

/* The lanes in the opposite order. */
static inline vf reversed(vf v) {
#if VF_LANES == 16
    return PICK(v, v, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
#elif VF_LANES == 8
    return PICK(v, v, 7, 6, 5, 4, 3, 2, 1, 0);
#else
    return PICK(v, v, 3, 2, 1, 0);
#endif
}

/* Writes the lanes of v where m is not 0. A masked store does not wait for what was written there before. */
static inline void store_where(float *p, vf v, vf m) {
#if VF_LANES == 16
    _mm512_mask_storeu_ps(p, _mm512_cmp_ps_mask((__m512)m, _mm512_setzero_ps(), _CMP_NEQ_UQ), (__m512)v);
#elif VF_LANES == 8
    _mm256_maskstore_ps(p, (__m256i)(m != 0), (__m256)v);
#else
    vf_store(p, vf_select((vi)(m != 0), v, vf_load(p)));
#endif
}

#include "dft_codelets.h"
