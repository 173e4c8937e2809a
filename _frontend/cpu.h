/* What this processor can run, best level first; asked once, at import. */
#pragma once

static inline int auricle_cpu_has(const char *level) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    switch (level[0] == 's' ? 0 : level[3] == '2' ? 1 : 2) {
    case 0:
        return 1; /* sse2 is part of x86-64 */
    case 1:
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    default:
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("avx512f") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vl");
    }
#else
    (void)level;
    return 1;
#endif
}

static inline int auricle_is_x86_64(void) {
#if defined(__x86_64__)
    return 1;
#else
    return 0;
#endif
}
