"""Writes ``generated/dft_codelets.h``: straight-line discrete Fourier transforms of small sizes, on vectors of lanes.

A transform is built as a graph of additions and multiplications by constants, then printed in the order in which the
algorithm makes the nodes: inner transforms first, each with its loads, so that few values are alive at once. Coprime
factors are split by the prime factor algorithm (Good 1958, Thomas 1963), which needs no twiddle factors; powers of a
prime as Cooley and Tukey do; a prime by its sums and differences. Real input and Hermitian input halve the work by
construction: what the other half would be is a change of sign, and a sign costs nothing in the graph.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["COMPLEX_SIZES", "REAL_SIZES", "header"]

REAL_SIZES = (12, 14, 15, 20, 21, 28, 30)
COMPLEX_SIZES = (2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 15, 16)


@dataclass(frozen=True)
class Term:
    """A node of the graph with a sign; node -1 is zero."""

    graph: Graph
    node: int
    negative: bool = False

    def __neg__(self) -> Term:
        return self if self.node < 0 else Term(self.graph, self.node, not self.negative)

    def __add__(self, other: Term) -> Term:
        if self.node < 0 or other.node < 0:
            return other if self.node < 0 else self
        if self.negative and other.negative:
            return -self.graph.make("+", self.node, other.node)
        if self.negative:
            return self.graph.make("-", other.node, self.node)
        return self.graph.make("-" if other.negative else "+", self.node, other.node)

    def __sub__(self, other: Term) -> Term:
        return self + -other

    def __mul__(self, factor: float) -> Term:
        if self.node < 0 or abs(factor) < 1e-15:
            return Term(self.graph, -1)
        if factor < 0:
            return -(self * -factor)
        if abs(factor - 1) < 1e-15:
            return self
        product = self.graph.make("*", self.node, float(factor))
        return -product if self.negative else product


@dataclass
class Graph:
    """The nodes in the order of their making, each (operation, operand, operand); equal ones are made once."""

    nodes: list[tuple[str, object, object]] = field(default_factory=list)
    known: dict[tuple[str, object, object], int] = field(default_factory=dict)

    def make(self, operation: str, left: object, right: object) -> Term:
        key = (operation, left, right)
        if key not in self.known:
            self.known[key] = len(self.nodes)
            self.nodes.append(key)
        return Term(self, self.known[key])

    def load(self, text: str) -> Term:
        return self.make("load", text, "")

    def zero(self) -> Term:
        return Term(self, -1)


Pair = tuple[Term, Term]  # the real and the imaginary part


def _turn(x: Pair, angle: float) -> Pair:
    """x times exp(i * angle)."""
    c, s = math.cos(angle), math.sin(angle)
    if abs(abs(c) - abs(s)) < 1e-12:  # an odd multiple of 45 degrees: two multiplications are enough
        a = (x[0] if c > 0 else -x[0]) - (x[1] if s > 0 else -x[1])
        b = (x[0] if s > 0 else -x[0]) + (x[1] if c > 0 else -x[1])
        return a * abs(c), b * abs(c)
    return x[0] * c - x[1] * s, x[0] * s + x[1] * c


def _split(n: int) -> tuple[int, int]:
    """Coprime factors of n where there are any, the power of the smaller prime first; (1, n) for a prime power."""
    p = next(p for p in range(2, n + 1) if n % p == 0)
    power = p
    while n % (power * p) == 0:
        power *= p
    return (power, n // power) if power < n else (1, n)


def _sums(x: Sequence[Term]) -> Term:
    total = x[0]
    for term in x[1:]:
        total = total + term
    return total


def complex_dft(x: Sequence[Pair], sign: int) -> list[Pair]:
    """X[k] = sum of x[n] exp(sign 2 pi i n k / N)."""
    n = len(x)
    if n == 1:
        return list(x)
    if n == 2:
        return [(x[0][0] + x[1][0], x[0][1] + x[1][1]), (x[0][0] - x[1][0], x[0][1] - x[1][1])]
    a, b = _split(n)
    out: list[Pair] = [x[0]] * n
    if a > 1:
        rows = [complex_dft([x[(b * i + a * j) % n] for i in range(a)], sign) for j in range(b)]
        for k in range(a):
            column = complex_dft([rows[j][k] for j in range(b)], sign)
            for m in range(b):
                out[_crt(k, a, m, b)] = column[m]
        return out
    radix = next((r for r in (2, 3) if n % r == 0 and n > r), n)
    if radix < n:
        radix = 4 if n == 16 else radix
        rest = n // radix
        rows = [complex_dft([x[rest * i + j] for i in range(radix)], sign) for j in range(rest)]
        for k in range(radix):
            turned = [_turn(rows[j][k], sign * 2 * math.pi * j * k / n) for j in range(rest)]
            for m, value in enumerate(complex_dft(turned, sign)):
                out[k + radix * m] = value
        return out
    half = range(1, n // 2 + 1)
    plus = [(x[j][0] + x[n - j][0], x[j][1] + x[n - j][1]) for j in half]
    minus = [(x[j][0] - x[n - j][0], x[j][1] - x[n - j][1]) for j in half]
    out[0] = (_sums([x[0][0], *(p[0] for p in plus)]), _sums([x[0][1], *(p[1] for p in plus)]))
    for k in half:
        cosines = [math.cos(2 * math.pi * j * k / n) for j in half]
        sines = [sign * math.sin(2 * math.pi * j * k / n) for j in half]
        even = [_sums([x[0][c], *(p[c] * w for p, w in zip(plus, cosines, strict=True))]) for c in (0, 1)]
        odd = [_sums([p[c] * w for p, w in zip(minus, sines, strict=True)]) for c in (0, 1)]
        out[k] = (even[0] - odd[1], even[1] + odd[0])
        out[n - k] = (even[0] + odd[1], even[1] - odd[0])
    return out


def _crt(k: int, a: int, m: int, b: int) -> int:
    """The index below a * b that is k modulo a and m modulo b."""
    return next(i for i in range(k, a * b, a) if i % b == m)


def _conjugate(x: Pair) -> Pair:
    return x[0], -x[1]


def real_dft(x: Sequence[Term]) -> list[Pair]:
    """All N values of the forward transform of real numbers; the upper half are conjugates of the lower."""
    n = len(x)
    zero = x[0].graph.zero()
    a, b = _split(n)
    if a == 1:
        if n == 4:
            even, odd = (x[0] + x[2], x[1] + x[3]), (x[0] - x[2], x[1] - x[3])
            return [(even[0] + even[1], zero), (odd[0], -odd[1]), (even[0] - even[1], zero), (odd[0], odd[1])]
        # A prime: the complex algorithm meets zeros alone in the imaginary parts.
        return complex_dft([(value, zero) for value in x], -1)
    rows = [real_dft([x[(b * i + a * j) % n] for i in range(a)]) for j in range(b)]
    out: list[Pair] = [rows[0][0]] * n
    for k in range(a // 2 + 1):
        if 2 * k in (0, a):
            column = real_dft([rows[j][k][0] for j in range(b)])
        else:
            column = complex_dft([rows[j][k] for j in range(b)], -1)
        for m in range(b):
            out[_crt(k, a, m, b)] = column[m]
            out[_crt(-k % a, a, -m % b, b)] = _conjugate(column[m])
    return out


def hermitian_dft(x: Sequence[Pair]) -> list[Term]:
    """The N real values of the backward transform of x with x[N - k] = conj(x[k])."""
    n = len(x)
    a, b = _split(n)
    if a == 1:
        if n == 2:
            return [x[0][0] + x[1][0], x[0][0] - x[1][0]]
        if n == 4:
            even, odd = x[0][0] + x[2][0], x[0][0] - x[2][0]
            return [even + x[1][0] * 2, odd - x[1][1] * 2, even - x[1][0] * 2, odd + x[1][1] * 2]
        half = range(1, n // 2 + 1)
        out = [_sums([x[0][0], *(x[k][0] * 2 for k in half)])] * n
        for m in half:
            angles = [2 * math.pi * k * m / n for k in half]
            even = _sums([x[0][0], *(x[k][0] * (2 * math.cos(w)) for k, w in zip(half, angles, strict=True))])
            odd = _sums([x[k][1] * (2 * math.sin(w)) for k, w in zip(half, angles, strict=True)])
            out[m], out[n - m] = even - odd, even + odd
        return out
    grid: list[list[Pair]] = []
    for k in range(a // 2 + 1):
        row = [x[_crt(k, a, m, b)] for m in range(b)]
        if 2 * k in (0, a):
            grid.append([(value, value.graph.zero()) for value in hermitian_dft(row)])
        else:
            grid.append(complex_dft(row, 1))
    out = [x[0][0]] * n
    for j in range(b):
        column = [grid[k][j] if 2 * k <= a else _conjugate(grid[a - k][j]) for k in range(a)]
        for i, value in enumerate(hermitian_dft(column)):
            out[(b * i + a * j) % n] = value
    return out


def _text(graph: Graph, stores: Sequence[tuple[Sequence[Term], str]]) -> list[str]:
    """C statements for the nodes that the stores need, each store as soon as its values are there.

    A store's text holds {0}, {1}, ... for the names of its terms.
    """
    alive: set[int] = set()
    waiting = [term.node for terms, _ in stores for term in terms]
    while waiting:
        node = waiting.pop()
        if node >= 0 and node not in alive:
            alive.add(node)
            waiting += [operand for operand in graph.nodes[node][1:] if isinstance(operand, int)]

    due: dict[int, list[str]] = {}
    for terms, text in stores:
        names = ["zero" if t.node < 0 else f"(-t{t.node})" if t.negative else f"t{t.node}" for t in terms]
        due.setdefault(max(t.node for t in terms), []).append(text.format(*names))

    lines: list[str] = []
    made: set[int] = set()

    def emit(node: int) -> None:
        if node in made:
            return
        made.add(node)
        operation, left, right = graph.nodes[node]
        if operation == "load":
            lines.append(f"const vf t{node} = {left};")
            return
        for operand in (left, right):
            if isinstance(operand, int):
                emit(operand)
        if operation == "*":
            lines.append(f"const vf t{node} = t{left} * {right!r}f;")
        else:
            lines.append(f"const vf t{node} = t{left} {operation} t{right};")

    for node in range(len(graph.nodes)):
        if node in alive and graph.nodes[node][0] != "load":
            emit(node)
            lines.extend(due.get(node, ()))
    return lines


def _function(signature: str, body: Sequence[str]) -> str:
    return "\n".join([f"static void {signature} {{", *(f"    {line}" for line in body), "}", ""])


def _real(n: int) -> str:
    graph = Graph()
    out = real_dft([graph.load(f"vf_load(x + {j} * stride)") for j in range(n)])
    stores: list[tuple[Sequence[Term], str]] = []
    rows = n // 2 + 1
    for k in range(-(-rows // 16) * 16):
        text = (
            f"turned_store(re + {k} * VF_LANES, im + {k} * VF_LANES, {{0}}, {{1}}, w + {2 * k} * VF_LANES);"
            if k
            else "vf_store(re, {0}); vf_store(im, {1});"
        )
        stores.append((out[k % n], text if k < rows else f"if ({k} < PADDED({rows})) {text}"))
    arguments = (
        "const float *restrict x, ptrdiff_t stride, const float *restrict w, float *restrict re, float *restrict im"
    )
    return _function(f"real_dft_{n}({arguments})", ["const vf zero = vf_set(0);", *_text(graph, stores)])


def _hermitian(n: int) -> str:
    graph = Graph()
    half = [(graph.load(f"r{k}"), graph.load(f"i{k}")) for k in range(n // 2 + 1)]
    x = [half[k] if 2 * k <= n else _conjugate(half[n - k]) for k in range(n)]
    stores = [([value], f"vf_store(y + {m} * stride, {{0}});") for m, value in enumerate(hermitian_dft(x))]
    turned = ["const vf r0 = vf_load(re);"]  # the imaginary part at zero frequency is zero
    for k in range(1, n // 2 + 1):
        turned.append(f"vf r{k}, i{k};")
        turned.append(f"turned_load(&r{k}, &i{k}, re + {k} * VF_LANES, im + {k} * VF_LANES, w + {2 * k} * VF_LANES);")
    arguments = (
        "const float *restrict re, const float *restrict im, const float *restrict w, "
        "float *restrict y, ptrdiff_t stride"
    )
    return _function(f"hermitian_dft_{n}({arguments})", [*turned, *_text(graph, stores)])


def _complex(n: int, turned: bool, ends: int) -> str:
    """``ends`` > 0: of the results (plain) or the inputs (turned) the first and last so many alone count."""
    graph = Graph()
    counts = [not ends or k < ends or k >= n - ends for k in range(n)]
    x = [
        (graph.load(f"vf_load(re + {j} * from.stride)"), graph.load(f"vf_load(im + {j} * from.stride)"))
        if counts[j] or not turned
        else (graph.zero(), graph.zero())
        for j in range(n)
    ]
    stores: list[tuple[Sequence[Term], str]] = []
    for k, value in enumerate(complex_dft(x, -1)):
        place = f"out_re + {k} * to.stride, out_im + {k} * to.stride"
        if turned and k:
            stores.append((value, f"scaled_store({place}, {{0}}, {{1}}, w[{2 * k - 2}], w[{2 * k - 1}]);"))
        elif turned or counts[k]:
            stores.append((value, f"plain_store({place}, {{0}}, {{1}});"))
    arguments = (
        "const float *restrict re, const float *restrict im, Steps from, "
        "float *restrict out_re, float *restrict out_im, Steps to, const float *restrict w, ptrdiff_t count"
    )
    loop = "for (; count > 0; count--, re += from.step, im += from.step, out_re += to.step, out_im += to.step"
    body = [
        loop + (f", w += {2 * n - 2}) {{" if turned else ") {"),
        *(f"    {line}" for line in _text(graph, stores)),
        "}",
    ]
    return _function(f"{_complex_name(n, turned, ends)}({arguments})", body)


def _complex_name(n: int, turned: bool, ends: int) -> str:
    return f"complex_dft{'_turned' if turned else ''}_{n}" + (f"_ends_{ends}" if ends else "")


def _chooser(signature: str, cases: Sequence[tuple[str, str]]) -> str:
    """A function that gives the codelet of the first case that holds, or NULL."""
    lines = [f"    if ({condition}) return {name};" for condition, name in cases]
    return "\n".join([f"static {signature} {{", *lines, "    return 0;", "}", ""])


def header() -> str:
    """The whole header; see dft.h for what its functions take."""
    parts = ["/* Made by dft_codelets.py; do not edit. */\n"]
    for n in REAL_SIZES:
        parts += [_real(n), _hermitian(n)]
    for kind in ("real", "hermitian"):
        cases = [(f"size == {n}", f"{kind}_dft_{n}") for n in REAL_SIZES]
        parts.append(_chooser(f"{kind.capitalize()}Dft {kind}_dft(int size)", cases))
    for turned in (False, True):
        variants = [(n, ends) for n in COMPLEX_SIZES for ends in (0, 1, 2) if 2 * ends < n]
        parts += [_complex(n, turned, ends) for n, ends in variants]
        cases = [(f"size == {n} && ends == {ends}", _complex_name(n, turned, ends)) for n, ends in variants]
        parts.append(_chooser(f"ComplexDft complex_dft{'_turned' if turned else ''}(int size, int ends)", cases))
    return "\n".join(parts)
