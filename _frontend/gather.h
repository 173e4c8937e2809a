/* A waveform's hops side by side: row r of column c is sample c·hop + r, pre-emphasised.
 *
 * Four columns at a time, or eight where a register holds as many. Both add and round alike: what a frame gives does not
 * depend on the column where it begins.
 */
#pragma once
#include "vec.h"

/* Up to so many samples the next hops are asked for ahead of time. Longer ones the processor sees coming, and so much more
 * would empty the first cache level. */
#define FETCHED_HOP 256

/* One row of N columns, of which the first is found at x_0; four rows of them; a store. */
static inline vf4 row_4(const float *x_0, const float *x, ptrdiff_t hop) {
    return (vf4){*x_0, x[hop], x[2 * hop], x[3 * hop]};
}

static inline void rows_4(const float *x, ptrdiff_t hop, vf4 *rows) {
    transpose_4(*(const vf4u *)x, *(const vf4u *)(x + hop), *(const vf4u *)(x + 2 * hop), *(const vf4u *)(x + 3 * hop),
                rows);
}

static inline void put_4(float *to, vf4 v) { *(vf4u *)to = v; }

#if VF_LANES >= 8
#define GATHER_WIDTH 8
#define gather_wide gather_8

static inline vf8 row_8(const float *x_0, const float *x, ptrdiff_t hop) {
    return vf8_join(row_4(x_0, x, hop), row_4(x + 4 * hop, x + 4 * hop, hop));
}

static inline void rows_8(const float *x, ptrdiff_t hop, vf8 *rows) {
    transpose_4_twice(vf8_fours(x, 4 * hop), vf8_fours(x + hop, 4 * hop), vf8_fours(x + 2 * hop, 4 * hop),
                      vf8_fours(x + 3 * hop, 4 * hop), rows);
}

static inline void put_8(float *to, vf8 v) { *(vf8u *)to = v; }
#else
#define GATHER_WIDTH 4
#define gather_wide gather_4
#endif

/* Of N columns, ``rows`` samples each: x[r] - a·x[r - 1] -> to, and below them, as row ``rows``, (1 - a)·x[0]: as a frame's
 * first sample it stands for the one before it, too. ``first``: x is the beginning, so that nothing may read x[-1]; what
 * is made of it belongs to no frame. The sums of the bare samples -> sums, of their first ``part`` -> part_sums. */
#define DEFINE_GATHER(N)                                                                                                  \
    static inline void emphasize_##N(const float *x, const float *ahead, ptrdiff_t hop, ptrdiff_t n, float a,             \
                                     vf##N *before, float *to, ptrdiff_t stride, vf##N *sums) {                           \
        vf##N last = *before, sum_0 = sums[0], sum_1 = sums[1], sum_2 = sums[2], sum_3 = sums[3], r[4];                   \
        for (; n >= 4; n -= 4, x += 4, to += 4 * stride, ahead += 4 * N) {                                                \
            for (int i = 0; i < 4 * N && hop <= FETCHED_HOP; i += 16)                                                     \
                __builtin_prefetch(ahead + i);                                                                            \
            rows_##N(x, hop, r);                                                                                          \
            sum_0 += r[0], sum_1 += r[1], sum_2 += r[2], sum_3 += r[3];                                                   \
            put_##N(to, r[0] - last * a);                                                                                 \
            put_##N(to + stride, r[1] - r[0] * a);                                                                        \
            put_##N(to + 2 * stride, r[2] - r[1] * a);                                                                    \
            put_##N(to + 3 * stride, r[3] - r[2] * a);                                                                    \
            last = r[3];                                                                                                  \
        }                                                                                                                 \
        for (; n > 0; n--, x++, to += stride) {                                                                           \
            r[0] = row_##N(x, x, hop);                                                                                    \
            sum_0 += r[0];                                                                                                \
            put_##N(to, r[0] - last * a);                                                                                 \
            last = r[0];                                                                                                  \
        }                                                                                                                 \
        *before = last, sums[0] = sum_0, sums[1] = sum_1, sums[2] = sum_2, sums[3] = sum_3;                               \
    }                                                                                                                     \
    static inline void gather_##N(const float *x, ptrdiff_t hop, int first, ptrdiff_t rows, ptrdiff_t part, float a,      \
                                  float *to, ptrdiff_t stride, float *sums, float *part_sums) {                           \
        vf##N s[4] = {{0}, {0}, {0}, {0}}, last = row_##N(first ? x : x - 1, x - 1, hop);                                 \
        emphasize_##N(x, x + N * hop, hop, part, a, &last, to, stride, s);                                                \
        put_##N(part_sums, (s[0] + s[1]) + (s[2] + s[3]));                                                                \
        emphasize_##N(x + part, x + N * (hop + part), hop, rows - part, a, &last, to + part * stride, stride, s);         \
        put_##N(sums, (s[0] + s[1]) + (s[2] + s[3]));                                                                     \
        put_##N(to + rows * stride, row_##N(x, x, hop) * (1 - a));                                                        \
    }

DEFINE_GATHER(4)
#if VF_LANES >= 8
DEFINE_GATHER(8)
#endif
