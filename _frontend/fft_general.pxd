# The DFT of any length, for the sizes that have no codelets: a mixed-radix Stockham transform where the length's prime
# factors are small, Bluestein's chirp transform around one where they are not.
#
# Every element is a vector of frames, so this is a scalar algorithm that happens to work on many signals at once.
# The arrays are separate real and imaginary parts; a Stockham pass reads one pair and writes the other, which leaves
# the result in natural order without a bit reversal.
from vec cimport vf, vf_set

cdef enum:
    MAX_FACTORS = 20
    MAX_PRIME = 31

cdef struct Stockham:
    int length
    int n_factors
    int factors[MAX_FACTORS]
    const float* cosine  # cos(2πi/length), i < length
    const float* sine    # sin(2πi/length)

cdef struct Signal:
    vf* re
    vf* im


cdef inline int smallest_factor(int n) noexcept:
    """The radix to divide ``n`` by next: 4 while it goes, else its smallest prime factor."""
    cdef int p = 2
    if n % 4 == 0:
        return 4
    while p * p <= n:
        if n % p == 0:
            return p
        p += 1
    return n


cdef inline bint factorize(Stockham* plan, int length) noexcept:
    """Fills in length and factors; false if a factor is too large for a pass."""
    cdef int rest = length
    plan.length = length
    plan.n_factors = 0
    while rest > 1:
        plan.factors[plan.n_factors] = smallest_factor(rest)
        if plan.factors[plan.n_factors] > MAX_PRIME:
            return False
        rest //= plan.factors[plan.n_factors]
        plan.n_factors += 1
    return True


cdef inline void pass_4(const Stockham* plan, int span, int stride, Signal x, Signal y) noexcept nogil:
    """span = points of the sub-transforms, stride = how many of them; x and y (length,)."""
    cdef int p, q, quarter = span // 4
    cdef vf* xr
    cdef vf* xi
    cdef vf* yr
    cdef vf* yi
    cdef vf ar, ai, br, bi, cr, ci, dr, di
    cdef float w1r, w1i, w2r, w2i, w3r, w3i
    for p in range(quarter):
        w1r = plan.cosine[stride * p]
        w1i = -plan.sine[stride * p]
        w2r = plan.cosine[2 * stride * p]
        w2i = -plan.sine[2 * stride * p]
        w3r = plan.cosine[3 * stride * p]
        w3i = -plan.sine[3 * stride * p]
        for q in range(stride):
            xr = x.re + q + stride * p
            xi = x.im + q + stride * p
            yr = y.re + q + stride * 4 * p
            yi = y.im + q + stride * 4 * p
            ar = xr[0] + xr[2 * stride * quarter]
            ai = xi[0] + xi[2 * stride * quarter]
            br = xr[0] - xr[2 * stride * quarter]
            bi = xi[0] - xi[2 * stride * quarter]
            cr = xr[stride * quarter] + xr[3 * stride * quarter]
            ci = xi[stride * quarter] + xi[3 * stride * quarter]
            dr = xi[stride * quarter] - xi[3 * stride * quarter]
            di = xr[3 * stride * quarter] - xr[stride * quarter]
            yr[0] = ar + cr
            yi[0] = ai + ci
            yr[stride] = (br + dr) * w1r - (bi + di) * w1i
            yi[stride] = (br + dr) * w1i + (bi + di) * w1r
            yr[2 * stride] = (ar - cr) * w2r - (ai - ci) * w2i
            yi[2 * stride] = (ar - cr) * w2i + (ai - ci) * w2r
            yr[3 * stride] = (br - dr) * w3r - (bi - di) * w3i
            yi[3 * stride] = (br - dr) * w3i + (bi - di) * w3r


cdef inline void pass_any(const Stockham* plan, int radix, int span, int stride, Signal x, Signal y) noexcept nogil:
    """A pass of any radix, by the DFT's definition."""
    cdef int p, q, t, u, turn, part = span // radix, root = plan.length // radix
    cdef vf sr, si, xr, xi
    cdef float wr, wi
    for p in range(part):
        for t in range(radix):
            for q in range(stride):
                sr = x.re[q + stride * p]
                si = x.im[q + stride * p]
                for u in range(1, radix):
                    turn = root * ((u * t) % radix)
                    wr = plan.cosine[turn]
                    wi = -plan.sine[turn]
                    xr = x.re[q + stride * (p + u * part)]
                    xi = x.im[q + stride * (p + u * part)]
                    sr += xr * wr - xi * wi
                    si += xr * wi + xi * wr
                wr = plan.cosine[stride * p * t]
                wi = -plan.sine[stride * p * t]
                y.re[q + stride * (radix * p + t)] = sr * wr - si * wi
                y.im[q + stride * (radix * p + t)] = sr * wi + si * wr


cdef inline Signal transform(const Stockham* plan, Signal x, Signal y) noexcept nogil:
    """X[k] = Σ x[n]·exp(-2πi·nk/length); both signals are overwritten, the one returned holds the result."""
    cdef int i, span = plan.length, stride = 1
    cdef Signal swap
    for i in range(plan.n_factors):
        if plan.factors[i] == 4:
            pass_4(plan, span, stride, x, y)
        else:
            pass_any(plan, plan.factors[i], span, stride, x, y)
        span //= plan.factors[i]
        stride *= plan.factors[i]
        swap = x
        x = y
        y = swap
    return x


cdef struct Bluestein:
    int length
    Stockham inner          # a power of two, at least 2·length - 1
    const float* chirp_re   # exp(-πi·n²/length), n < length
    const float* chirp_im
    const float* filter_re  # the inner transform of the mirrored conjugate chirp, divided by its length
    const float* filter_im


cdef inline Signal chirp_transform(const Bluestein* plan, Signal x, Signal y) noexcept nogil:
    """The transform of ``length`` points: nk = (n² + k² - (k-n)²) / 2 makes it a convolution with a chirp."""
    cdef int i
    cdef vf re, im
    cdef float wr, wi
    cdef Signal z, other
    for i in range(plan.length):
        re = x.re[i]
        im = x.im[i]
        x.re[i] = re * plan.chirp_re[i] - im * plan.chirp_im[i]
        x.im[i] = re * plan.chirp_im[i] + im * plan.chirp_re[i]
    for i in range(plan.length, plan.inner.length):
        x.re[i] = vf_set(0)
        x.im[i] = vf_set(0)
    z = transform(&plan.inner, x, y)
    other = y if z.re == x.re else x
    # The inverse transform is the forward one with real and imaginary parts exchanged, before and after.
    for i in range(plan.inner.length):
        wr = plan.filter_re[i]
        wi = plan.filter_im[i]
        re = z.re[i] * wr - z.im[i] * wi
        im = z.re[i] * wi + z.im[i] * wr
        z.re[i] = im
        z.im[i] = re
    z = transform(&plan.inner, z, other)
    for i in range(plan.length):
        re = z.im[i]
        im = z.re[i]
        z.re[i] = re * plan.chirp_re[i] - im * plan.chirp_im[i]
        z.im[i] = re * plan.chirp_im[i] + im * plan.chirp_re[i]
    return z
