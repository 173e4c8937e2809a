"""Which of the compiled instruction-set levels this processor can run."""

cdef extern from "cpu.h" nogil:
    bint auricle_cpu_has(const char* level)
    bint auricle_is_x86_64()


def levels() -> tuple[str, ...]:
    """The levels that this build has and this processor runs, lowest first."""
    if not auricle_is_x86_64():
        return ("generic",)
    return tuple([name for name in ("sse2", "avx2", "avx512") if auricle_cpu_has(name.encode())])
