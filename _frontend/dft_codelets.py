"""Writes the resampler's codelets, ``generated/dft_codelets.h``; runs at build time.

The transforms themselves are those of ``codelets.py``, run on symbols. What is real, Hermitian, zero or not looked at
prunes the graph: real input has only half its results calculated, the others are conjugates, and a sign costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from codelets import ZERO, Complex, Graph, Printer, Term, dft

__all__ = ["COMPLEX_SIZES", "REAL_SIZES", "header"]

REAL_SIZES = (14, 15, 20, 21, 28, 30)
COMPLEX_SIZES = (2, 3, 4, 6, 7, 8, 9, 10, 12, 14, 15, 16)
WIDEST = 16  # lanes; rows of results are padded to whole vectors


def _negated(term: Term) -> Term:
    return -term[0], term[1]


def _conjugate(z: Complex) -> Complex:
    return z[0], _negated(z[1])


def _store(printer: Printer, place: str, parts: Sequence[tuple[Term, str]], condition: str = "") -> None:
    """Stores the sum of terms times factors; a factor is C, or empty for 1."""
    terms = [term for term, _ in parts if term[0]]
    signs = ["-" if term[0] < 0 else "+" for term in terms]
    factors = [f" * {factor}" if factor else "" for term, factor in parts if term[0]]

    def text(names: list[str]) -> str:
        pieces = zip(signs, names, factors, strict=True)
        return " ".join(f"{sign} {name}{factor}" for sign, name, factor in pieces).removeprefix("+ ") or "(vf){0}"

    printer.store(f"{condition}*(vfu *)({place})", terms, text)


def _store_turned(printer: Printer, re: str, im: str, z: Complex, c: str, s: str, condition: str = "") -> None:
    """Stores z * (c + i s)."""
    _store(printer, re, [(z[0], c), (_negated(z[1]), s)], condition)
    _store(printer, im, [(z[0], s), (z[1], c)], condition)


def real(n: int) -> str:
    """See RealDft in dft.h."""
    graph = Graph()
    half = dft(graph, [(graph.load(f"vf_load(x + {j} * stride)"), ZERO) for j in range(n)])[: n // 2 + 1]
    printer = Printer(graph)
    for k in range(-(-len(half) // WIDEST) * WIDEST):
        bin_of = k % n
        z = half[bin_of] if 2 * bin_of <= n else _conjugate(half[n - bin_of])
        c, s = f"vf_load(w + {2 * k} * VF_LANES)", f"vf_load(w + {2 * k + 1} * VF_LANES)"
        condition = f"if ({k} < PADDED({len(half)})) " if k >= len(half) else ""
        _store_turned(printer, f"re + {k} * VF_LANES", f"im + {k} * VF_LANES", z, c, s, condition)
    return printer.function(
        f"real_dft_{n}",
        "const float *restrict x, ptrdiff_t stride, const float *restrict w, float *restrict re, float *restrict im",
    )


def hermitian(n: int) -> str:
    """See HermitianDft in dft.h."""
    graph = Graph()
    half: list[Complex] = []
    for k in range(n // 2 + 1):
        re, im = f"vf_load(re + {k} * VF_LANES)", f"vf_load(im + {k} * VF_LANES)"
        c, s = f"vf_load(w + {2 * k} * VF_LANES)", f"vf_load(w + {2 * k + 1} * VF_LANES)"
        z = graph.load(f"{re} * {c} + {im} * {s}"), graph.load(f"{im} * {c} - {re} * {s}")
        half.append(z if 2 * k not in (0, n) else (z[0], ZERO))
    whole = [half[k] if 2 * k <= n else _conjugate(half[n - k]) for k in range(n)]
    printer = Printer(graph)
    for k, value in enumerate(dft(graph, whole)):
        # The forward transform gives the backward one in the opposite order.
        _store(printer, f"y + {-k % n} * stride", [(value[0], "")])
    return printer.function(
        f"hermitian_dft_{n}",
        "const float *restrict re, const float *restrict im, const float *restrict w, float *restrict y, "
        "ptrdiff_t stride",
    )


def complex_name(n: int, turned: bool, ends: int) -> str:
    return f"complex_dft{'_turned' if turned else ''}_{n}" + (f"_ends_{ends}" if ends else "")


def complex_(n: int, turned: bool, ends: int) -> str:
    """See ComplexDft in dft.h."""
    graph = Graph()
    counts = [not ends or k < ends or k >= n - ends for k in range(n)]
    x: list[Complex] = [
        (graph.load(f"vf_load(re + {j} * from.stride)"), graph.load(f"vf_load(im + {j} * from.stride)"))
        if counts[j] or not turned
        else (ZERO, ZERO)
        for j in range(n)
    ]
    printer = Printer(graph)
    for k, z in enumerate(dft(graph, x)):
        re, im = f"out_re + {k} * to.stride", f"out_im + {k} * to.stride"
        if turned and k:
            _store_turned(printer, re, im, z, f"w[{2 * k - 2}]", f"w[{2 * k - 1}]")
        elif turned or counts[k]:
            _store(printer, re, [(z[0], "")])
            _store(printer, im, [(z[1], "")])
    parameters = (
        "const float *restrict re, const float *restrict im, Steps from, "
        "float *restrict out_re, float *restrict out_im, Steps to, const float *restrict w, ptrdiff_t count"
    )
    steps = "count--, re += from.step, im += from.step, out_re += to.step, out_im += to.step"
    if turned:
        steps += f", w += {2 * n - 2}"
    head = f"static void {complex_name(n, turned, ends)}({parameters}) {{\n    for (; count > 0; {steps}) {{"
    return "\n".join([head, *printer.lines(), "    }", "}", ""])


def _chooser(signature: str, cases: Sequence[tuple[str, str]]) -> str:
    """A function that gives the codelet of the first case that holds, or NULL."""
    lines = [f"    if ({condition}) return {name};" for condition, name in cases]
    return "\n".join([f"static {signature} {{", *lines, "    return 0;", "}", ""])


def header() -> str:
    """The whole file: the codelets, and the functions by which a plan finds them."""
    parts = ["/* Written by dft_codelets.py; do not edit. */\n"]
    for n in REAL_SIZES:
        parts += [real(n), hermitian(n)]
    for kind in ("real", "hermitian"):
        cases = [(f"size == {n}", f"{kind}_dft_{n}") for n in REAL_SIZES]
        parts.append(_chooser(f"{kind.capitalize()}Dft {kind}_dft(int size)", cases))
    for turned in (False, True):
        variants = [(n, ends) for n in COMPLEX_SIZES for ends in (0, 1, 2) if 2 * ends < n]
        parts += [complex_(n, turned, ends) for n, ends in variants]
        cases = [(f"size == {n} && ends == {ends}", complex_name(n, turned, ends)) for n, ends in variants]
        parts.append(_chooser(f"ComplexDft complex_dft{'_turned' if turned else ''}(int size, int ends)", cases))
    return "\n".join(parts)
