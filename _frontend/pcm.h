/* VF_LANES stored samples at any address -> as many floats or integers. */
#pragma once
#include "vec.h"

typedef int16_t vec_s16 __attribute__((vector_size(2 * VF_LANES), aligned(1), may_alias));
typedef uint8_t vec_u8 __attribute__((vector_size(VF_LANES), aligned(1), may_alias));
typedef float vec_f32 __attribute__((vector_size(4 * VF_LANES), aligned(1), may_alias));

static inline vf load_s16(const uint8_t *p) { return __builtin_convertvector(*(const vec_s16 *)p, vf); }
static inline vf load_f32(const uint8_t *p) { return *(const vec_f32 *)p; }
static inline vi load_u8(const uint8_t *p) { return __builtin_convertvector(*(const vec_u8 *)p, vi); }
