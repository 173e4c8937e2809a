"""Resampling between any two rates from 4 to 192 kHz, at once or as a stream, with one and the same result."""

from __future__ import annotations

import math
import operator
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from auricle.errors import OptionError

from .dispatch import load

__all__ = ["ResampleStream", "resample"]

_kernel = load("resample")

MIN_RATE_HZ = 4_000
MAX_RATE_HZ = 192_000

# The low-pass filter, in samples of the lower of the two rates: a sinc under a Kaiser window. The attenuation sets the
# window's shape and, with its width, the transition band (Kaiser 1974; Oppenheim and Schafer, Discrete-Time Signal
# Processing, 7.5.3). The band ends at the lower Nyquist frequency, so nothing folds back; the response is 0.1 dB down
# at 0.928 of it.
ATTENUATION_DB = 138.0
HALF_WIDTH = 100

# A row of coefficients for every position between two samples, while the table stays below this many floats (1 MiB);
# beyond that rows on a grid this fine, in rows a sample of the lower rate, blended by a cubic: its error is below
# -150 dB of full scale for what the filter passes.
_MAX_TABLE = 1 << 18
_GRID_DENSITY = 160
_ROW_QUANTUM = 32  # taps; the kernel's step


@dataclass(frozen=True, kw_only=True)
class Table:
    """Filter coefficients of one rate ratio, ready for the kernel.

    ``rows`` is f32 (rows, taps). Where ``grid`` is 0 row r belongs to position r / step_out between two samples,
    otherwise to (r - 1) / grid.
    """

    step_in: int
    step_out: int
    grid: int
    rows: NDArray[np.float32]


def lowpass(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """The filter's impulse response at ``t``, in samples of the lower rate; zero from ``HALF_WIDTH`` on."""
    beta = 0.1102 * (ATTENUATION_DB - 8.7)
    transition = (ATTENUATION_DB - 7.95) / (2.285 * math.pi * 2 * HALF_WIDTH)
    cutoff = 1 - transition / 2
    window = np.i0(beta * np.sqrt(np.maximum(0.0, 1 - (t / HALF_WIDTH) ** 2))) / np.i0(beta)
    return np.asarray(cutoff * np.sinc(cutoff * t) * window * (np.abs(t) < HALF_WIDTH))


def design(in_hz: int, out_hz: int) -> Table:
    """The coefficients for one pair of rates."""
    common = math.gcd(in_hz, out_hz)
    step_in, step_out = in_hz // common, out_hz // common
    stretch = max(1.0, in_hz / out_hz)  # input samples a sample of the lower rate
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
    return Table(step_in=step_in, step_out=step_out, grid=grid, rows=_aligned(rows))


def _aligned(rows: NDArray[np.float64]) -> NDArray[np.float32]:
    """A float32 copy that begins on a cache line."""
    room = np.empty(rows.size + 16, np.float32)
    first = -room.ctypes.data % 64 // 4
    copy = room[first : first + rows.size].reshape(rows.shape)
    copy[:] = rows
    copy.flags.writeable = False
    return copy


class _TableCache:
    """The tables used last, at most ``size`` of them (a few MiB), shared by all threads."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._tables: OrderedDict[tuple[int, int], Table] = OrderedDict()

    def get(self, in_hz: int, out_hz: int) -> Table:
        """The table for the pair; a missing one is designed once, while other callers wait for it."""
        with self._lock:
            table = self._tables.get((in_hz, out_hz))
            if table is None:
                table = self._tables[in_hz, out_hz] = design(in_hz, out_hz)
                if len(self._tables) > self._size:
                    self._tables.popitem(last=False)
            self._tables.move_to_end((in_hz, out_hz))
            return table


_tables = _TableCache(16)


def _rate(value: int, name: str) -> int:
    try:
        rate_hz = operator.index(value)
    except TypeError:
        raise OptionError(f"{name} is {value!r}; give whole hertz", field=name) from None
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise OptionError(f"{name} is {rate_hz} Hz; use {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz", field=name)
    return rate_hz


def _channel_count(value: int) -> int:
    channels = operator.index(value)
    if not 1 <= channels <= 256:
        raise OptionError(f"{channels} channels cannot be resampled; use 1 to 256", field="channels")
    return channels


class ResampleStream:
    """Changes the sample rate of a sound that arrives by chunks.

    Whatever the chunks, what ``feed`` and ``finish`` return, put together, equals ``resample`` of the whole bit for
    bit: ceil(n * out_hz / in_hz) samples, the filter's delay compensated. An output is returned as soon as its
    filter's last input sample is there: the lag is about 100 samples of the lower rate, 6.3 ms between 44.1 and 16 kHz.
    Equal rates pass through untouched. A stream belongs to one thread at a time; different streams are independent
    and release the GIL.

    Args:
        in_hz: rate of the chunks, 4000 to 192000.
        out_hz: rate of the result, 4000 to 192000.
        channels: 1 to 256, interleaved.

    Raises:
        OptionError: a rate or the channel count is out of range.
    """

    def __init__(self, in_hz: int, out_hz: int, channels: int = 1) -> None:
        in_hz, out_hz, channels = _rate(in_hz, "in_hz"), _rate(out_hz, "out_hz"), _channel_count(channels)
        self._engine = _engine(in_hz, out_hz, channels)

    def feed(self, x: ArrayLike) -> NDArray[np.float32]:
        """Takes f32 (n,), or (n, channels) where there are several, n >= 0; returns the next samples alike."""
        return self._engine.feed(x)  # type: ignore[no-any-return]

    def finish(self) -> NDArray[np.float32]:
        """Ends the sound and returns the rest; the stream takes nothing more."""
        return self._engine.finish()  # type: ignore[no-any-return]


def resample(x: ArrayLike, in_hz: int, out_hz: int) -> NDArray[np.float32]:
    """Changes the sample rate of a whole sound.

    Args:
        x: f32 (n,) or (n, channels), n >= 0; other real types are converted.
        in_hz: rate of ``x``, 4000 to 192000.
        out_hz: rate of the result, 4000 to 192000.

    Returns:
        f32 (ceil(n * out_hz / in_hz),) or (..., channels), a new array, aligned in time with ``x``: output j stands
        at the input position j * in_hz / out_hz.

    Raises:
        OptionError: a rate or the channel count is out of range.
    """
    in_hz, out_hz = _rate(in_hz, "in_hz"), _rate(out_hz, "out_hz")
    sound = np.asarray(x, np.float32)
    flat = sound[:, 0] if sound.ndim == 2 and sound.shape[1] == 1 else sound
    channels = _channel_count(sound.shape[1] if sound.ndim == 2 else 1)
    result: NDArray[np.float32] = _engine(in_hz, out_hz, channels).whole(flat)
    return result[:, None] if flat is not sound else result


def _engine(in_hz: int, out_hz: int, channels: int) -> Any:
    if in_hz == out_hz:
        return _kernel.CopyStream(channels)
    table = _tables.get(in_hz, out_hz)
    return _kernel.PolyphaseStream(table.rows, table.step_in, table.step_out, table.grid, channels)
