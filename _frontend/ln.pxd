# Natural logarithm of a vector, to about one unit in the last place, for positive normal floats.
#
# x = 2^e · m with m in [sqrt(1/2), sqrt(2)), so ln x = e·ln 2 + ln m. ln 2 is split so that e·LN2_HIGH is exact; ln m is
# a polynomial in m - 1 that ln_fit.py derives.
from vec cimport vf, vi, vf_bits, vi_as_float, vi_to_float

cdef enum:
    SQRT_HALF_BITS = 0x3F3504F3

cdef inline vf vf_ln(vf x) noexcept nogil:
    cdef vi bits = vf_bits(x)
    cdef vi exponent = (bits - SQRT_HALF_BITS) >> 23
    cdef vf r = vi_as_float(bits - (exponent << 23)) - <float> 1.0
    cdef vf e = vi_to_float(exponent)
    cdef vf p
    p = r * <float> -0.07636439 + <float> 0.12762217
    p = p * r + <float> -0.1315961
    p = p * r + <float> 0.1420158
    p = p * r + <float> -0.16623409
    p = p * r + <float> 0.20001242
    p = p * r + <float> -0.2500082
    p = p * r + <float> 0.3333333
    p = p * (r * r * r) + e * <float> -2.12194440e-4
    p = r * r * <float> -0.5 + p
    return (r + p) + e * <float> 0.693359375
