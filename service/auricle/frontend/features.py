"""Features of a waveform at once or as it comes, and the normalisation of one segment."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from auricle.errors import OptionError

from .dispatch import load, load_narrower
from .spec import FeatureSpec, resolve

if TYPE_CHECKING:
    from auricle._frontend import features as _kernels

    _narrower_kernels = _kernels
else:
    _kernels = load("features")
    _narrower_kernels = load_narrower("features")

__all__ = ["FeatureStream", "features", "features_batch", "normalize"]

Array = npt.NDArray[np.float32]

_FLOAT32 = np.dtype(np.float32)
_PLAIN = 0x1 | 0x100  # NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED
_PLANS_KEPT = 64
_plans: OrderedDict[FeatureSpec, _kernels.Plan] = OrderedDict()
_plans_lock = Lock()


def _plan(spec: FeatureSpec) -> _kernels.Plan:
    """The tables of ``spec``, made once; specs that differ in their normalisation alone share them."""
    with _plans_lock:
        plan = _plans.get(spec)
        if plan is not None:
            _plans.move_to_end(spec)
            return plan
        bare = spec
        if spec.normalization != "none":
            bare = replace(spec, normalization="none", norm_epsilon=0.0, norm_mean=0.0, norm_deviation=1.0)
        plan = _plans.get(bare)
        if plan is None:
            plan = _kernels.Plan(bare, _narrower_kernels.Plan(bare) if _narrower_kernels else None)
        _plans[bare] = _plans[spec] = plan
        while len(_plans) > _PLANS_KEPT:
            _plans.popitem(last=False)
        return plan


def _waveform(x: Any) -> Array:
    """``x`` as the kernels read it: one-dimensional, native float32, aligned and contiguous; copied only if not."""
    # NumPy has one dtype object for native float32.
    if type(x) is np.ndarray and x.dtype is _FLOAT32 and x.ndim == 1 and x.flags.num & _PLAIN == _PLAIN:
        return x
    if not isinstance(x, np.ndarray) or x.dtype != np.float32 or x.ndim != 1:
        kind = f"{x.dtype} array of shape {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__
        raise OptionError(f"the waveform is a {kind}; give a one-dimensional float32 array", field="x")
    return np.require(x, np.float32, ["C", "A"])


def _destination(out: Array | None, frames: int, bands: int) -> Array:
    if out is None:
        return np.empty((frames, bands), np.float32)
    if out.dtype != np.float32 or out.shape != (frames, bands):
        raise OptionError(
            f"out is a {out.dtype} array of shape {out.shape}; float32 of shape ({frames}, {bands}) is needed",
            field="out",
        )
    if not out.flags.writeable or not out.flags.aligned or (bands > 1 and out.strides[1] != out.itemsize):
        raise OptionError("out must be writeable and aligned, with the bands of a frame side by side", field="out")
    return out


def features(x: Array, spec: FeatureSpec | str, *, normalize: bool = True, out: Array | None = None) -> Array:
    """Features of a whole waveform, taken as one segment.

    Args:
        x: f32 (n,) at the spec's rate, nominally in [-1, 1]; any memory layout. n may be 0.
        spec: a ``FeatureSpec`` or a preset's name.
        normalize: apply the spec's normalisation; without it the result equals what a stream gives, bit for bit.
        out: where to write, f32 (frames, bands) with contiguous rows, e.g. a slot of a batch; returned. It must not
            overlap ``x``.

    Returns:
        f32 (``spec.frames(n)``, ``spec.bands``).

    Raises:
        OptionError: an unknown preset, ``x`` or ``out`` of another type or shape.
    """
    spec = resolve(spec)
    return _whole(_kernels.Stream(_plan(spec)), _waveform(x), spec, normalize, out)


def features_batch(
    clips: Sequence[Array], spec: FeatureSpec | str, *, normalize: bool = True, out: Array | None = None
) -> list[Array]:
    """Features of many clips, each a segment of its own; bit for bit what ``features`` gives for it.

    The clips share one set of buffers, so many short ones cost less than as many calls.

    Args:
        clips: f32 (n,) each, of any lengths.
        spec: a ``FeatureSpec`` or a preset's name.
        normalize: apply the spec's normalisation to each.
        out: where to write, f32 (clips, frames, bands), e.g. a batch tensor; a clip with fewer frames fills the first
            of its slot and leaves the rest as it is.

    Returns:
        For every clip f32 (frames, bands), a view of ``out`` where that is given.

    Raises:
        OptionError: as ``features``, or ``out`` has too little room.
    """
    spec = resolve(spec)
    waves = [_waveform(clip) for clip in clips]
    slots: list[Array | None] = [None] * len(waves)
    if out is not None:
        most = max((spec.frames(wave.shape[0]) for wave in waves), default=0)
        if out.ndim != 3 or out.shape[0] < len(waves) or out.shape[1] < most:
            raise OptionError(
                f"out has shape {out.shape}; these clips need ({len(waves)}, {most}, {spec.bands})", field="out"
            )
        slots = [slot[: spec.frames(wave.shape[0])] for slot, wave in zip(out, waves, strict=False)]
    stream = _kernels.Stream(_plan(spec))
    return [_whole(stream, wave, spec, normalize, slot) for wave, slot in zip(waves, slots, strict=True)]


def _whole(stream: _kernels.Stream, x: Array, spec: FeatureSpec, normalize: bool, out: Array | None) -> Array:
    result = _destination(out, spec.frames(x.shape[0]), spec.bands)
    stream.restart()
    fed = stream.feed(x, result).shape[0]
    stream.finish(result[fed:])
    if normalize:
        _kernels.normalize(result, spec)
    return result


def normalize(frames: Array, spec: FeatureSpec | str, *, out: Array | None = None) -> Array:
    """The spec's normalisation of one segment, or a copy where it has none.

    Args:
        frames: f32 (frames, bands), not normalised, e.g. a cut of a stream's.
        out: where to write, f32 of the same shape with contiguous rows; may be ``frames`` itself.

    Raises:
        OptionError: arrays of another type or shape.
    """
    spec = resolve(spec)
    if frames.dtype != np.float32 or frames.ndim != 2 or frames.shape[1] != spec.bands:
        raise OptionError(
            f"frames is a {frames.dtype} array of shape {frames.shape}; give float32 (frames, {spec.bands})",
            field="frames",
        )
    result = _destination(out, *frames.shape)
    if result is not frames:
        result[...] = frames
    _kernels.normalize(result, spec)
    return result


class FeatureStream:
    """Features of a sound as it comes. Any way of cutting the sound gives the same frames, bit for bit.

    ``feed`` returns each frame with the samples that complete it. Where the spec normalises, a segment is the whole
    sound: nothing is returned before ``finish``, which returns what ``features`` would; ``normalize=False`` leaves the
    normalisation to the caller and emits as it goes.

    A stream belongs to one thread at a time; different streams never meet.

    Args:
        spec: a ``FeatureSpec`` or a preset's name.
        normalize: apply the spec's normalisation.
    """

    def __init__(self, spec: FeatureSpec | str, *, normalize: bool = True) -> None:
        self.spec = resolve(spec)
        self._stream = _kernels.Stream(_plan(self.spec))
        self._held: list[Array] | None = [] if normalize and self.spec.normalization != "none" else None

    def feed(self, x: Array) -> Array:
        """Takes f32 (n,) and returns the frames that it completes, f32 (k, bands); k and n may be 0.

        Raises:
            OptionError: ``x`` of another type or shape.
            RuntimeError: after ``finish``, or while another thread feeds.
        """
        try:
            completed = self._stream.feed(x)
        except (TypeError, ValueError):  # not as the kernels read it; nothing was taken in yet
            completed = self._stream.feed(_waveform(x))
        if self._held is None:
            return completed
        self._held.append(completed)
        return completed[:0].copy()

    def finish(self) -> Array:
        """Ends the sound and returns what is left of its frames, f32 (k, bands).

        Raises:
            RuntimeError: when called twice.
        """
        rest = self._stream.finish()
        if self._held is None:
            return rest
        whole = np.concatenate([*self._held, rest])
        _kernels.normalize(whole, self.spec)
        return whole
