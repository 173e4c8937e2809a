# Natural logarithm of a vector, to about one unit in the last place, for positive normal floats.
#
# x = 2^e · m with m in [sqrt(1/2), sqrt(2)), so ln x = e·ln 2 + ln m, and ln m is a polynomial in m - 1 that ln_fit.py
# derives. The exponent stays where it stands in the bits, 23 places up; the constant that it meets makes up for that.
from vec cimport vf, vi, vf_bits, vi_as_float, vi_to_float

cdef enum:
    SQRT_HALF_BITS = 0x3F3504F3
    MANTISSA_BITS = 0x007FFFFF

cdef inline vf vf_ln(vf x) noexcept nogil:
    cdef vi bits = vf_bits(x)
    cdef vi exponent = (bits - SQRT_HALF_BITS) & ~MANTISSA_BITS
    cdef vf r = vi_as_float(bits - exponent) - <float> 1.0
    cdef vf p = r * <float> -0.07636439 + <float> 0.12762217
    p = p * r + <float> -0.1315961
    p = p * r + <float> 0.1420158
    p = p * r + <float> -0.16623409
    p = p * r + <float> 0.20001242
    p = p * r + <float> -0.2500082
    p = p * r + <float> 0.3333333
    p = p * r + <float> -0.5
    return vi_to_float(exponent) * <float> 8.262958294867817e-08 + (r * r * p + r)
