"""Writes straight-line DFT codelets in C, ``generated/codelets.h``; runs at build time.

A real DFT of N = rows·columns points is done in two steps. Sample j = columns·r + c. For every column c a *row
codelet* takes the real DFT over r (window, mean and zero padding fused into its loads). Then for every k < rows/2 + 1 a
*column codelet* multiplies by the twiddles, takes the complex DFT over c and stores |X|². There is no bit reversal and
no pass afterwards: output r of column k stays in place as vector r of that column (``tables.bin_slots``), which keeps
the working set small. Both steps work on vectors of frames, so a codelet is the scalar algorithm with another type.

How a codelet is made: the DFT is run on symbols instead of numbers (``dft``: Good-Thomas where factors are coprime,
split radix for powers of two, Cooley-Tukey otherwise, the definition with its symmetry for primes). ``Graph`` keeps
every expression once, up to sign, and folds zeros and ones; what is real, zero or symmetric about the input then
prunes the graph by itself.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable

# (points, inputs that are not zero). The shorter ones are frames of 400 or 800 samples in an FFT of 512 or 1024.
ROWS = [(8, 8), (12, 12), (16, 16), (20, 20), (24, 24), (25, 25), (28, 28), (30, 30), (32, 25), (32, 32)]
ROWS += [(40, 40), (48, 48), (64, 64)]
# (points, outputs wanted at either end). The shorter one is for spectra of which only the low bins are looked at.
COLUMNS = [(8, 8), (15, 15), (16, 16), (20, 20), (25, 25), (32, 32), (32, 4)]

Term = tuple[int, int]  # sign (0 for zero) and node
ZERO: Term = (0, 0)
Complex = tuple[Term, Term]


class Graph:
    """Expressions, each kept once: a term is a node with a sign, so that a - b and b - a are one node."""

    def __init__(self) -> None:
        self.nodes: list[tuple[object, ...]] = []
        self.index: dict[tuple[object, ...], int] = {}

    def node(self, *key: object) -> int:
        if key not in self.index:
            self.index[key] = len(self.nodes)
            self.nodes.append(key)
        return self.index[key]

    def load(self, name: str) -> Term:
        return 1, self.node("load", name)

    def add(self, a: Term, b: Term) -> Term:
        if not a[0] or not b[0]:
            return a if a[0] else b
        if a == (-b[0], b[1]):
            return ZERO
        (sign, first), (other, second) = sorted((a, b), key=lambda term: term[1])
        return sign, self.node("add" if sign == other else "sub", first, second)

    def sub(self, a: Term, b: Term) -> Term:
        return self.add(a, (-b[0], b[1]))

    def mul(self, factor: float, a: Term) -> Term:
        if not a[0] or abs(factor) < 1e-12:
            return ZERO
        sign = a[0] if factor > 0 else -a[0]
        # Rounded so that cosines and sines that are equal by symmetry are one constant.
        magnitude = round(abs(factor), 14)
        return (sign, a[1]) if magnitude == 1 else (sign, self.node("mul", magnitude, a[1]))


def turn(graph: Graph, numerator: int, denominator: int, z: Complex) -> Complex:
    """z·exp(-2πi·numerator/denominator)"""
    angle = 2 * math.pi * (numerator % denominator) / denominator
    c, s = math.cos(angle), math.sin(angle)
    re, im = z
    if abs(abs(c) - abs(s)) < 1e-12:
        # An odd multiple of 45°: sums first, so that the product can fuse into what is added to it.
        if c * s > 0:
            return graph.mul(c, graph.add(re, im)), graph.mul(c, graph.sub(im, re))
        return graph.mul(c, graph.sub(re, im)), graph.mul(c, graph.add(re, im))
    return (
        graph.add(graph.mul(c, re), graph.mul(s, im)),
        graph.sub(graph.mul(c, im), graph.mul(s, re)),
    )


def dft(graph: Graph, x: list[Complex]) -> list[Complex]:
    """X[k] = Σ x[n]·exp(-2πi·nk/len(x)), on symbols."""
    n = len(x)
    if n == 1:
        return x
    if n == 2:
        return [plus(graph, x[0], x[1]), minus(graph, x[0], x[1])]
    if n & (n - 1) == 0:
        return split_radix(graph, x)
    p = next(p for p in (2, 3, 5, 7) if n % p == 0)
    q = p
    while n % (q * p) == 0:
        q *= p
    if q == n:
        return prime(graph, x) if n == p else cooley_tukey(graph, x, p)
    return good_thomas(graph, x, q)


def plus(graph: Graph, a: Complex, b: Complex) -> Complex:
    return graph.add(a[0], b[0]), graph.add(a[1], b[1])


def minus(graph: Graph, a: Complex, b: Complex) -> Complex:
    return graph.sub(a[0], b[0]), graph.sub(a[1], b[1])


def times_minus_i(z: Complex) -> Complex:
    (sign, node) = z[0]
    return z[1], (-sign, node)


def split_radix(graph: Graph, x: list[Complex]) -> list[Complex]:
    """Duhamel and Hollmann (1984), in the conjugate-pair form of Kamar and Elcherif (1989)."""
    n = len(x)
    quarter = n // 4
    even = dft(graph, x[::2])
    after = dft(graph, x[1::4])
    before = dft(graph, [x[4 * i - 1] for i in range(quarter)])
    out = even + even
    for k in range(quarter):
        a, b = turn(graph, k, n, after[k]), turn(graph, -k, n, before[k])
        total, difference = plus(graph, a, b), times_minus_i(minus(graph, a, b))
        out[k], out[k + 2 * quarter] = plus(graph, even[k], total), minus(graph, even[k], total)
        out[k + quarter] = plus(graph, even[k + quarter], difference)
        out[k + 3 * quarter] = minus(graph, even[k + quarter], difference)
    return out


def cooley_tukey(graph: Graph, x: list[Complex], p: int) -> list[Complex]:
    """n = p·q: transforms over strides of p, twiddles, transforms of p."""
    n, q = len(x), len(x) // p
    inner = [dft(graph, x[i::p]) for i in range(p)]
    out = [(ZERO, ZERO)] * n
    for k in range(q):
        for j, value in enumerate(dft(graph, [turn(graph, i * k, n, inner[i][k]) for i in range(p)])):
            out[k + q * j] = value
    return out


def good_thomas(graph: Graph, x: list[Complex], p: int) -> list[Complex]:
    """n = p·q with p and q coprime: a two-dimensional transform without twiddles."""
    n, q = len(x), len(x) // p
    rows = [dft(graph, [x[(q * i + p * j) % n] for j in range(q)]) for i in range(p)]
    out = [(ZERO, ZERO)] * n
    for k2 in range(q):
        for k1, value in enumerate(dft(graph, [rows[i][k2] for i in range(p)])):
            out[(q * pow(q, -1, p) * k1 + p * pow(p, -1, q) * k2) % n] = value
    return out


def prime(graph: Graph, x: list[Complex]) -> list[Complex]:
    """The definition, with x[u] and x[p-u] taken together: their sum meets cosines only, their difference sines."""
    p = len(x)
    pairs = [(plus(graph, x[u], x[p - u]), minus(graph, x[u], x[p - u])) for u in range(1, (p + 1) // 2)]
    out = [x[0]] * p
    for total, _ in pairs:
        out[0] = plus(graph, out[0], total)
    for k in range(1, (p + 1) // 2):
        c: Complex = x[0]
        s: Complex = (ZERO, ZERO)
        for u, (total, difference) in enumerate(pairs, 1):
            angle = 2 * math.pi * (u * k % p) / p
            c = plus(graph, c, (graph.mul(math.cos(angle), total[0]), graph.mul(math.cos(angle), total[1])))
            s = plus(graph, s, (graph.mul(math.sin(angle), difference[0]), graph.mul(math.sin(angle), difference[1])))
        out[k], out[p - k] = plus(graph, c, times_minus_i(s)), minus(graph, c, times_minus_i(s))
    return out


class Printer:
    """Prints the nodes that the stores need, in the order in which ``dft`` made them.

    That order finishes one inner transform before it begins the next, so few values are alive at a time; loads and
    products come just before their first use, and a store as soon as it can. Printed output by output, the same graph
    keeps everything alive, and spills make a codelet a third slower.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.stores: list[tuple[str, list[Term], Callable[[list[str]], str]]] = []
        self.operations = 0

    def store(self, target: str, terms: Iterable[Term], text: Callable[[list[str]], str]) -> None:
        """Asks for ``target = text(names of the terms that are not zero)``."""
        self.stores.append((target, [term for term in terms if term[0]], text))

    def store_value(self, target: str, term: Term) -> None:
        self.store(target, [term], lambda names: ("-" if term[0] < 0 else "") + names[0] if names else "(vf){0}")

    def store_power(self, target: str, z: Complex) -> None:
        self.operations += sum(abs(sign) for sign, _ in z)
        self.store(target, z, lambda names: " + ".join(f"{name} * {name}" for name in names) or "(vf){0}")

    def operands(self, node: int) -> list[int]:
        return [operand for operand in self.graph.nodes[node][1:] if isinstance(operand, int)]

    def needed(self) -> list[int]:
        seen: set[int] = set()
        waiting = [node for _, terms, _ in self.stores for _, node in terms]
        while waiting:
            node = waiting.pop()
            if node not in seen:
                seen.add(node)
                waiting += self.operands(node)
        return sorted(seen)

    def lines(self) -> list[str]:
        lines: list[str] = []
        names: dict[int, str] = {}

        def name(node: int) -> str:
            if node not in names:
                kind, *rest = self.graph.nodes[node]
                inner = [name(operand) for operand in self.operands(node)]
                if kind == "load":
                    text = str(rest[0])
                elif kind == "mul":
                    text = f"{rest[0]!r}f * {inner[0]}"
                else:
                    text = f"{inner[0]} {'+' if kind == 'add' else '-'} {inner[1]}"
                    self.operations += 1
                names[node] = f"t{len(names)}"
                lines.append(f"    const vf {names[node]} = {text};")
            return names[node]

        pending = list(self.stores)
        for node in [*self.needed(), -1]:
            if node >= 0 and self.graph.nodes[node][0] in ("load", "mul"):
                continue
            if node >= 0:
                name(node)
            last = node < 0
            for store in list(pending):
                target, terms, text = store
                if last or all(operand in names for _, operand in terms):
                    lines.append(f"    {target} = {text([name(operand) for _, operand in terms])};")
                    pending.remove(store)
        return lines

    def function(self, name: str, parameters: str) -> str:
        body = "\n".join(self.lines())
        return f"static __attribute__((noinline)) void {name}({parameters}) {{\n{body}\n}}\n"


def row(points: int, inputs: int, levelled: bool) -> tuple[str, int]:
    """Real DFT of one column of samples: the ``points / 2 + 1`` first outputs, ``n`` vectors apart."""
    graph = Graph()
    less = " - level * window[{i}]" if levelled else ""
    x = [(graph.load(f"vf_load(block + offset[{i}]) * window[{i}]{less.format(i=i)}"), ZERO) for i in range(inputs)]
    out = dft(graph, x + [(ZERO, ZERO)] * (points - inputs))
    printer = Printer(graph)
    for k in range(points // 2 + 1):
        printer.store_value(f"y[{k} * n]", out[k][0])
        if out[k][1][0]:
            printer.store_value(f"y[{k} * n + 1]", out[k][1])
    name = f"row_{points}_{inputs}{'_level' if levelled else ''}"
    parameters = "const float *block, const int *offset, const float *window, vf level, vf *restrict y, ptrdiff_t n"
    return printer.function(name, parameters), printer.operations + inputs


def column(points: int, wanted: int) -> tuple[str, int]:
    """Complex DFT with twiddles: y (points,) of pairs → |X|² (points,) at its beginning."""
    graph = Graph()
    x: list[Complex] = [(graph.load("y[0]"), graph.load("y[1]"))]
    for i in range(1, points):
        re, im = f"y[{2 * i}]", f"y[{2 * i + 1}]"
        wr, wi = f"twiddle[{2 * i}]", f"twiddle[{2 * i + 1}]"
        x.append((graph.load(f"{re} * {wr} - {im} * {wi}"), graph.load(f"{re} * {wi} + {im} * {wr}")))
    out = dft(graph, x)
    printer = Printer(graph)
    for k in range(points):
        # Every output needs every input, so what is stored early overwrites nothing that is still to be read.
        if k < wanted or k >= points - wanted:
            printer.store_power(f"y[{k}]", out[k])
    name = f"column_{points}_{wanted}"
    return printer.function(name, "vf *y, const float *twiddle"), printer.operations + 4 * points


def edge_column(name: str, out: list[Complex], graph: Graph) -> str:
    printer = Printer(graph)
    for k, value in enumerate(out):
        printer.store_power(f"y[{k}]", value)
    return printer.function(name, "vf *y")


def first_column(points: int, wanted: int) -> str:
    """The column of the row transforms' sums, which is real."""
    graph = Graph()
    out = dft(graph, [(graph.load(f"y[{2 * i}]"), ZERO) for i in range(points)])
    return edge_column(f"first_column_{points}_{wanted}", out[: min(points // 2, wanted) + 1], graph)


def middle_column(points: int, wanted: int) -> str:
    """The column of the row transforms' alternating sums: real, with twiddles that do not depend on the rows."""
    graph = Graph()
    out = dft(graph, [turn(graph, i, 2 * points, (graph.load(f"y[{2 * i}]"), ZERO)) for i in range(points)])
    return edge_column(f"middle_column_{points}_{wanted}", out[: min((points + 1) // 2, wanted)], graph)


HEAD = """/* Written by codelets.py; do not edit. */
#pragma once
#include <stddef.h>
#include "vec.h"

typedef void (*row_codelet)(const float *, const int *, const float *, vf, vf *restrict, ptrdiff_t);
typedef void (*column_codelet)(vf *, const float *);
typedef void (*edge_codelet)(vf *);

typedef struct { int points, inputs, operations; row_codelet plain, levelled; } row_entry;
typedef struct { int points, wanted, operations; column_codelet column; edge_codelet first, middle; } column_entry;

"""


def header() -> str:
    """The whole file: the codelets and the two tables by which a plan finds them."""
    parts = [HEAD]
    rows, columns = [], []
    for points, inputs in ROWS:
        plain, operations = row(points, inputs, levelled=False)
        levelled, _ = row(points, inputs, levelled=True)
        parts += [plain, levelled]
        name = f"row_{points}_{inputs}"
        rows.append(f"    {{{points}, {inputs}, {operations}, {name}, {name}_level}},")
    for points, wanted in COLUMNS:
        code, operations = column(points, wanted)
        parts += [code, first_column(points, wanted), middle_column(points, wanted)]
        name = f"column_{points}_{wanted}"
        columns.append(f"    {{{points}, {wanted}, {operations}, {name}, first_{name}, middle_{name}}},")
    parts.append(f"enum {{ ROW_ENTRIES = {len(rows)}, COLUMN_ENTRIES = {len(columns)} }};\n")
    parts.append("\n".join(["static const row_entry row_entries[] = {", *rows, "};\n"]))
    parts.append("\n".join(["static const column_entry column_entries[] = {", *columns, "};\n"]))
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(header())
