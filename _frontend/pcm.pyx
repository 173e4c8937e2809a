"""PCM kernels: stored sample frames of four encodings to one channel of float32."""

# Design. A block of samples is decoded into a small scratch array, scaled and checked on the way, and mixed from there:
# one kernel an encoding instead of one for every encoding and channel count, while the block stays in the first-level
# cache. The mean's 1/channels is part of the decoder's scale, so a sum cannot overflow. G.711 needs no table: a code is
# a float in all but name, so its exponent is shifted into place and its mantissa multiplied.

from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t
from libc.string cimport memcpy, memset

from vec cimport VF_LANES, vf, vf_set, vf_store

cdef extern from "pcm.h" nogil:
    ctypedef int vi
    vf load_s16(const uint8_t* p)
    vf load_f32(const uint8_t* p)
    vi load_u8(const uint8_t* p)
    vf vi_to_float(vi v)
    vf vi_as_float(vi v)

cdef enum:
    BLOCK = 2048  # samples of scratch; a multiple of every lane count

cdef enum Encoding:
    S16LE
    F32LE
    MULAW
    ALAW

ENCODINGS = {"s16le": S16LE, "f32le": F32LE, "mulaw": MULAW, "alaw": ALAW}


cdef inline vf power_of_two(vi exponent) noexcept nogil:
    return vi_as_float((exponent + 127) << 23)


cdef inline vf sign(vi negative) noexcept nogil:
    """1 where ``negative`` is 0, -1 where it is 1."""
    return vi_to_float(1 - 2 * negative)


cdef inline vf decode_mulaw(vi code) noexcept nogil:
    """ITU-T G.711 mu-law, table 2a, in the 16-bit range: s * ((2m + 33) * 2^(e + 2) - 132)."""
    cdef vi u = code ^ 0xFF
    cdef vf magnitude = vi_to_float(2 * (u & 15) + 33) * power_of_two(((u >> 4) & 7) + 2)
    cdef vf s = sign(u >> 7)
    return s * magnitude - s * 132  # in this order zero has no sign


cdef inline vf decode_alaw(vi code) noexcept nogil:
    """ITU-T G.711 A-law, table 1a, in the 16-bit range: s * (2m + 33) * 2^(e + 2), and s * (2m + 1) * 8 where e = 0."""
    cdef vi u = code ^ 0x55
    cdef vi e = (u >> 4) & 7
    cdef vi normal = (e + 7) >> 3  # 0 where e = 0, else 1
    cdef vf magnitude = vi_to_float(2 * (u & 15) + 1 + 32 * normal) * power_of_two(e + 3 - normal)
    return sign(1 - (u >> 7)) * magnitude


cdef inline vf decode_lanes(const uint8_t* p, Encoding encoding) noexcept nogil:
    if encoding == S16LE:
        return load_s16(p)
    if encoding == F32LE:
        return load_f32(p)
    if encoding == MULAW:
        return decode_mulaw(load_u8(p))
    return decode_alaw(load_u8(p))


cdef inline bint decode_as(
    Encoding encoding, Py_ssize_t width, const uint8_t* data, Py_ssize_t samples, float* scratch, float scale
) noexcept nogil:
    """data (samples,) of ``width`` bytes -> scratch (samples,) times scale; False if one is NaN or reaches 2^20."""
    cdef uint8_t tail[4 * 16]
    cdef float lane[16]
    cdef Py_ssize_t i = 0
    cdef float reach = 3.2451855365842673e+32  # 2^108: it takes the least sample that is refused to infinity
    cdef vf v, far, wrong = vf_set(0)  # stays 0 while all is finite: far - far is not 0 for what is not
    while i + VF_LANES <= samples:
        v = decode_lanes(data + i * width, encoding)
        if encoding == F32LE:
            far = v * reach
            wrong = wrong + (far - far)
        vf_store(scratch + i, v * scale)
        i += VF_LANES
    if i < samples:
        memset(tail, 0, sizeof(tail))
        memcpy(tail, data + i * width, (samples - i) * width)
        v = decode_lanes(tail, encoding)  # the lanes behind the tail are finite too
        if encoding == F32LE:
            far = v * reach
            wrong = wrong + (far - far)
        vf_store(lane, v * scale)
        memcpy(scratch + i, lane, (samples - i) * sizeof(float))
    vf_store(lane, wrong)
    for i in range(VF_LANES):
        if lane[i] != 0:
            return False
    return True


cdef inline bint decode(
    Encoding encoding, const uint8_t* data, Py_ssize_t samples, float* scratch, float scale
) noexcept nogil:
    """``decode_as`` with the encoding as a constant, which takes the choice out of its loop."""
    if encoding == S16LE:
        return decode_as(S16LE, 2, data, samples, scratch, scale)
    if encoding == F32LE:
        return decode_as(F32LE, 4, data, samples, scratch, scale)
    if encoding == MULAW:
        return decode_as(MULAW, 1, data, samples, scratch, scale)
    return decode_as(ALAW, 1, data, samples, scratch, scale)


cdef inline void mix(const float* scratch, Py_ssize_t frames, Py_ssize_t channels, float* out) noexcept nogil:
    """scratch (frames, channels) -> out (frames,), the sum over the channels in their order."""
    cdef Py_ssize_t i, c
    cdef float total
    if channels == 2:  # its own loop, which the compiler turns into shuffles
        for i in range(frames):
            out[i] = scratch[2 * i] + scratch[2 * i + 1]
        return
    for i in range(frames):
        total = scratch[0]
        for c in range(1, channels):
            total = total + scratch[c]
        out[i] = total
        scratch += channels


cdef Py_ssize_t run(
    const uint8_t* data, Encoding encoding, Py_ssize_t width, Py_ssize_t frames, Py_ssize_t channels, float* out
) noexcept nogil:
    """data (frames, channels) of ``width`` bytes -> out (frames,); returns the block that is refused, or -1."""
    cdef float scratch[BLOCK]
    cdef float scale = (1.0 if encoding == F32LE else 1.0 / 32768.0) / channels
    cdef Py_ssize_t done = 0, count
    cdef bint good
    while done < frames:
        count = min(BLOCK // channels, frames - done)
        if channels == 1:
            good = decode(encoding, data, count, out + done, scale)
        else:
            good = decode(encoding, data, count * channels, scratch, scale)
            mix(scratch, count, channels, out + done)
        if not good:
            return done
        data += count * channels * width
        done += count
    return -1


def to_mono(data, int encoding, Py_ssize_t channels, out):
    """Decodes ``data``, interleaved frames, and writes the mean of the channels to ``out``.

    Args:
        data: buffer of frames * channels stored samples, at any address.
        encoding: a value of ``ENCODINGS``.
        channels: 1 to 2048.
        out: f32 (frames,).

    Returns:
        The first frame of the block in which a sample is NaN or reaches 2^20, or -1 where there is none.
    """
    cdef Py_ssize_t width = 2 if encoding == S16LE else 4 if encoding == F32LE else 1
    cdef Py_ssize_t frames, block
    cdef Py_buffer source, target
    PyObject_GetBuffer(data, &source, PyBUF_C_CONTIGUOUS)
    try:
        PyObject_GetBuffer(out, &target, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
        try:
            frames = target.len // <Py_ssize_t>sizeof(float)
            if not 1 <= channels <= BLOCK or source.len != frames * channels * width:
                raise ValueError(f"{source.len} bytes are not {frames} frames of {channels} x {width} bytes")
            with nogil:
                block = run(
                    <const uint8_t*>source.buf, <Encoding>encoding, width, frames, channels, <float*>target.buf
                )
            return block
        finally:
            PyBuffer_Release(&target)
    finally:
        PyBuffer_Release(&source)
