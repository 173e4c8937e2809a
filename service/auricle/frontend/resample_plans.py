"""Resampling plans: the filter, and the tables by which the kernels apply it at one pair of rates."""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["BlockPlan", "PolyphasePlan", "Transform", "design"]

# The low-pass filter, in samples of the lower of the two rates: a sinc under a Kaiser window. The attenuation sets the
# window's shape and, with its width, the transition band (Kaiser 1974; Oppenheim and Schafer, Discrete-Time Signal
# Processing, 7.5.3). The band ends at the lower Nyquist frequency, so nothing folds back; the response is 0.1 dB down
# at 0.928 of it.
ATTENUATION_DB = 138.0
HALF_WIDTH = 100

# Polyphase: a row of coefficients for every position between two samples, while the table stays below this many floats
# (1 MiB); beyond that rows on a grid this fine, in rows a sample of the lower rate, blended by a cubic: its error is
# below -150 dB of full scale for what the filter passes.
_MAX_TABLE = 1 << 18
_GRID_DENSITY = 160
_ROW_QUANTUM = 32  # taps; the kernel's step

# Overlap-save: what a block may delay the sound by. Larger blocks cost less a sample; a sound that is listened to while
# it is recorded wants them small.
_MAX_LAG_S = 0.070
_OVERSAMPLING = 4


@dataclass(frozen=True, kw_only=True)
class PolyphasePlan:
    """``rows`` is f32 (rows, taps). Where ``grid`` is 0 row r belongs to position r / step_out between two samples,
    otherwise to (r - 1) / grid."""

    step_in: int
    step_out: int
    grid: int
    rows: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Transform:
    """A real transform of columns * first * second points and its twiddle factors, as overlap_save.pxd wants them."""

    columns: int
    first: int
    second: int
    outer: NDArray[np.float32]
    inner: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class BlockPlan:
    """``response`` is f32 (2, 2 * reach, bins); a block begins ``lead`` samples before its first output's position
    and gives ``hop_out`` outputs."""

    step_in: int
    step_out: int
    lead: int
    hop_out: int
    analysis: Transform
    synthesis: Transform
    response: NDArray[np.float32]


def design(in_hz: int, out_hz: int, lanes: int) -> BlockPlan | PolyphasePlan:
    """Overlap-save where the ratio has a block of a fitting size, else polyphase; ``lanes`` of the kernel's vectors."""
    common = math.gcd(in_hz, out_hz)
    step_in, step_out = in_hz // common, out_hz // common
    shape = _best_block(step_in, step_out, in_hz, lanes)
    if shape is not None:
        return _block_plan(step_in, step_out, shape, lanes)
    return _polyphase_plan(step_in, step_out)


def lowpass(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """The filter's impulse response at ``t``, in samples of the lower rate; zero from ``HALF_WIDTH`` on."""
    beta = 0.1102 * (ATTENUATION_DB - 8.7)
    transition = (ATTENUATION_DB - 7.95) / (2.285 * math.pi * 2 * HALF_WIDTH)
    cutoff = 1 - transition / 2
    window = np.i0(beta * np.sqrt(np.maximum(0.0, 1 - (t / HALF_WIDTH) ** 2))) / np.i0(beta)
    return np.asarray(cutoff * np.sinc(cutoff * t) * window * (np.abs(t) < HALF_WIDTH))


def _polyphase_plan(step_in: int, step_out: int) -> PolyphasePlan:
    stretch = max(1.0, step_in / step_out)  # input samples a sample of the lower rate
    # One sample of margin on either side: the rows next to the first and the last of a grid lie outside 0 .. 1.
    taps = math.ceil(2 * (HALF_WIDTH * stretch + 1) / _ROW_QUANTUM) * _ROW_QUANTUM
    if step_out * taps <= _MAX_TABLE:
        grid, position = 0, np.arange(step_out) / step_out
    else:
        grid = math.ceil(_GRID_DENSITY / stretch)
        position = (np.arange(grid + 3) - 1) / grid
    # Tap k stands on sample k - (taps / 2 - 1) from the position's own.
    offset = position[:, None] - (np.arange(taps) - (taps // 2 - 1))
    rows = lowpass(offset / stretch)
    rows /= rows.sum(axis=1, keepdims=True)  # every position passes a constant unchanged
    return PolyphasePlan(step_in=step_in, step_out=step_out, grid=grid, rows=_aligned(rows))


@dataclass(frozen=True, kw_only=True)
class _Shape:
    """A block of ``units`` times the ratio's steps, of which ``valid_units`` are valid outputs."""

    units: int
    valid_units: int
    lead: int
    factors_in: tuple[int, int, int]
    factors_out: tuple[int, int, int]


# About how many vector operations each codelet of dft_codelets.py takes, a multiplication and an addition in one.
# Loads, stores and shuffles are added where a transform's cost is summed up. Of the blocks measured, what this chooses
# took at most a tenth longer than the best.
_REAL_WORK = {14: 85, 15: 80, 20: 110, 21: 140, 28: 190, 30: 200}
_COMPLEX_WORK = {2: 4, 3: 12, 4: 16, 6: 36, 7: 60, 8: 56, 9: 88, 10: 84, 12: 100, 14: 150, 15: 160, 16: 160}


@functools.cache
def _transforms(lanes: int) -> dict[int, tuple[float, tuple[int, int, int]]]:
    """For each size that the codelets can make up the cheapest factors (columns, first, second), and their cost."""
    best: dict[int, tuple[float, tuple[int, int, int]]] = {}
    for columns, first, second in itertools.product(_REAL_WORK, (1, *_COMPLEX_WORK), _COMPLEX_WORK):
        rows, bins = first * second, -(-(columns // 2 + 1) // lanes) * lanes
        cost = -(-rows // lanes) * (_REAL_WORK[columns] + columns + bins * (4 + 4 + math.log2(lanes)))
        passes = first * (_COMPLEX_WORK[second] + 4 * second)
        if first > 1:
            passes += second * (_COMPLEX_WORK[first] + 8 * first)
        cost += bins // lanes * passes
        size = columns * rows
        if size not in best or cost < best[size][0]:
            best[size] = cost, (columns, first, second)
    return best


def _best_block(step_in: int, step_out: int, in_hz: int, lanes: int) -> _Shape | None:
    """The block that costs least an output among those within the lag."""
    sizes = _transforms(lanes)
    low = min(step_in, step_out)
    tail = math.ceil(HALF_WIDTH * step_in / low)  # what the last output of a block needs after its position
    best: tuple[float, _Shape] | None = None
    for units in range(1, max(sizes) // max(step_in, step_out) + 1):
        size_in, size_out = units * step_in, units * step_out
        valid_units = (size_in - 2 * tail) // step_in
        if size_in not in sizes or size_out not in sizes or valid_units < 1:
            continue
        if valid_units * step_in + tail > _MAX_LAG_S * in_hz:
            continue
        cost = (sizes[size_in][0] + sizes[size_out][0]) / valid_units
        if best is None or cost < best[0]:
            shape = _Shape(
                units=units,
                valid_units=valid_units,
                lead=size_in - valid_units * step_in - tail,
                factors_in=sizes[size_in][1],
                factors_out=sizes[size_out][1],
            )
            best = cost, shape
    return best[1] if best else None


def _block_plan(step_in: int, step_out: int, shape: _Shape, lanes: int) -> BlockPlan:
    size_in, size_out = shape.units * step_in, shape.units * step_out
    analysis, synthesis = (_transform(*factors, lanes) for factors in (shape.factors_in, shape.factors_out))
    columns, bins = analysis.columns, analysis.outer.shape[1]
    size_low = min(size_in, size_out)
    reach = -(-size_low // (2 * columns))
    bin_of = columns * np.arange(-reach, reach)[:, None] + np.arange(bins)
    inside = np.abs(bin_of) < size_low / 2
    gain = np.where(inside, _gains(size_low)[np.minimum(np.abs(bin_of), size_low // 2)], 0) / size_in
    # A phase that grows with frequency moves the sound: the first output stands `lead` samples into the block.
    angle = 2 * np.pi * (bin_of * shape.lead % size_in) / size_in
    response = _aligned(np.stack([gain * np.cos(angle), gain * np.sin(angle)]), writeable=True)
    # The kernel takes zero for "outside"; none may stand inside.
    response[0][inside & (response[0] == 0)] = np.finfo(np.float32).tiny
    return BlockPlan(
        step_in=step_in,
        step_out=step_out,
        lead=shape.lead,
        hop_out=shape.valid_units * step_out,
        analysis=analysis,
        synthesis=synthesis,
        response=response,
    )


def _gains(size: int) -> NDArray[np.float64]:
    """The filter's frequency response at bins 0 .. size / 2 of a transform over ``size`` samples of the lower rate."""
    t = np.arange(-HALF_WIDTH * _OVERSAMPLING, HALF_WIDTH * _OVERSAMPLING + 1)
    circle = np.zeros(size * _OVERSAMPLING)
    np.add.at(circle, t, lowpass(t / _OVERSAMPLING))
    gains = np.fft.rfft(circle).real[: size // 2 + 1]
    return np.asarray(gains / gains[0])


def _transform(columns: int, first: int, second: int, lanes: int) -> Transform:
    rows = first * second
    bins = -(-(columns // 2 + 1) // lanes) * lanes
    groups = -(-rows // lanes)
    row = np.arange(groups * lanes).reshape(groups, 1, lanes)
    outer = np.exp(-2j * np.pi * (row * np.arange(bins)[:, None] % (columns * rows)) / (columns * rows))
    inner = np.exp(-2j * np.pi * np.outer(np.arange(second), np.arange(1, max(first, 2))) / rows)
    return Transform(
        columns=columns,
        first=first,
        second=second,
        outer=_aligned(np.stack([outer.real, outer.imag], axis=2)),
        inner=_aligned(np.stack([inner.real, inner.imag], axis=2)),
    )


def _aligned(values: NDArray[np.float64], *, writeable: bool = False) -> NDArray[np.float32]:
    """A float32 copy that begins on a cache line."""
    room = np.empty(values.size + 16, np.float32)
    first = -room.ctypes.data % 64 // 4
    copy = room[first : first + values.size].reshape(values.shape)
    copy[...] = values
    copy.flags.writeable = writeable
    return copy
