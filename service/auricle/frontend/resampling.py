"""Resampling between any two rates from 4 to 192 kHz, at once or as a stream, with one and the same result."""

from __future__ import annotations

import operator
import threading
from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from auricle.errors import OptionError

from .dispatch import load
from .resample_plans import BlockPlan, PolyphasePlan, design

__all__ = ["ResampleStream", "resample"]

_kernel = load("resample")

MIN_RATE_HZ = 4_000
MAX_RATE_HZ = 192_000

Plan = BlockPlan | PolyphasePlan


class _PlanCache:
    """The plans used last, at most ``size`` of them (a few MiB), shared by all threads."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._plans: OrderedDict[tuple[int, int], Plan] = OrderedDict()

    def get(self, in_hz: int, out_hz: int) -> Plan:
        """The plan for the pair; a missing one is designed once, while other callers wait for it."""
        with self._lock:
            plan = self._plans.get((in_hz, out_hz))
            if plan is None:
                plan = self._plans[in_hz, out_hz] = design(in_hz, out_hz, _kernel.LANES)
                if len(self._plans) > self._size:
                    self._plans.popitem(last=False)
            self._plans.move_to_end((in_hz, out_hz))
            return plan


_plans = _PlanCache(16)


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
    bit: ceil(n * out_hz / in_hz) samples, the filter's delay compensated. Outputs come by blocks of 30 to 63 ms, and
    an output waits for the end of its block: at most 70 ms after its own time between the usual rates from 8 to 96 kHz.
    Other ratios wait for the filter alone, 100 samples of the lower rate.
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
    plan = _plans.get(in_hz, out_hz)
    if isinstance(plan, PolyphasePlan):
        return _kernel.PolyphaseStream(plan.rows, plan.step_in, plan.step_out, plan.grid, channels)
    transforms = [(t.columns, t.first, t.second, t.outer, t.inner) for t in (plan.analysis, plan.synthesis)]
    return _kernel.BlockStream(
        *transforms, plan.response, plan.step_in, plan.step_out, plan.lead, plan.hop_out, channels
    )
