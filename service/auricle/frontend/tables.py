"""The constant tables of a feature spec, designed in float64; the kernels only apply them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from .spec import FeatureSpec

__all__ = ["bin_slots", "by_column", "chirp", "column_twiddles", "log_scale", "mel_weights", "twiddles", "window"]

Array = npt.NDArray[np.float64]

_SLANEY_BREAK_HZ = 1000.0
_SLANEY_HZ_PER_MEL = 200.0 / 3.0
_SLANEY_LOG_STEP = math.log(6.4) / 27.0


def window(spec: FeatureSpec) -> Array:
    """The analysis window times ``input_scale``, shape (frame_length,).

    Sources: Blackman and Tukey, The Measurement of Power Spectra (1958), with Blackman's rounded coefficients;
    Kaldi's feature-window.cc for ``povey``.
    """
    length = spec.frame_length
    turns = np.arange(length) / (length if spec.window_periodic else length - 1)
    cosine = np.cos(2 * np.pi * turns)
    shapes: dict[str, Array] = {
        "hann": 0.5 - 0.5 * cosine,
        "hamming": 0.54 - 0.46 * cosine,
        "povey": (0.5 - 0.5 * cosine) ** 0.85,
        "blackman": 0.42 - 0.5 * cosine + 0.08 * np.cos(4 * np.pi * turns),
        "rectangular": np.ones(length),
    }
    return shapes[spec.window] * spec.input_scale


def _to_mel(frequency_hz: Array, scale: str) -> Array:
    if scale == "kaldi":
        return 1127.0 * np.log1p(frequency_hz / 700.0)
    if scale == "htk":
        return 2595.0 * np.log10(1.0 + frequency_hz / 700.0)
    above = np.maximum(frequency_hz, _SLANEY_BREAK_HZ)
    logarithmic = _SLANEY_BREAK_HZ / _SLANEY_HZ_PER_MEL + np.log(above / _SLANEY_BREAK_HZ) / _SLANEY_LOG_STEP
    return np.where(frequency_hz < _SLANEY_BREAK_HZ, frequency_hz / _SLANEY_HZ_PER_MEL, logarithmic)


def _to_hz(mel: Array, scale: str) -> Array:
    if scale == "kaldi":
        return 700.0 * np.expm1(mel / 1127.0)
    if scale == "htk":
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    break_mel = _SLANEY_BREAK_HZ / _SLANEY_HZ_PER_MEL
    logarithmic = _SLANEY_BREAK_HZ * np.exp(_SLANEY_LOG_STEP * (np.maximum(mel, break_mel) - break_mel))
    return np.where(mel < break_mel, mel * _SLANEY_HZ_PER_MEL, logarithmic)


def mel_weights(spec: FeatureSpec) -> Array:
    """Triangular mel filters, shape (bands, fft_size // 2 + 1); bins outside a triangle are exactly zero.

    Sources: O'Shaughnessy (1987) for the HTK scale, Slaney's Auditory Toolbox (1998) for his scale and area norm,
    Kaldi's mel-computations.cc for triangles that are linear in mel.
    """
    scale = spec.mel_scale
    f_max_hz = spec.sample_rate_hz / 2 if spec.f_max_hz is None else spec.f_max_hz
    low, high = _to_mel(np.array([spec.f_min_hz, f_max_hz], dtype=np.float64), scale)
    edges = low + (high - low) / (spec.bands + 1) * np.arange(spec.bands + 2)
    edges_hz = _to_hz(edges, scale)
    bins: Array = np.arange(spec.bins, dtype=np.float64) * (spec.sample_rate_hz / spec.fft_size)
    if scale == "kaldi":
        bins = _to_mel(bins, scale)
    else:
        edges = edges_hz
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    weights = np.maximum(0.0, np.minimum((bins - left) / (centre - left), (right - bins) / (right - centre)))
    if spec.mel_norm == "slaney":
        weights *= (2.0 / (edges_hz[2:] - edges_hz[:-2]))[:, None]
    return np.asarray(weights)


def twiddles(length: int) -> tuple[Array, Array]:
    """cos(2πi/length) and sin(2πi/length) for i < length."""
    turns = 2 * np.pi * np.arange(length) / length
    return np.cos(turns), np.sin(turns)


def chirp(length: int, inner_length: int) -> tuple[npt.NDArray[np.complex128], npt.NDArray[np.complex128]]:
    """Bluestein's chirp exp(-πi·n²/length) and the transform of its mirrored conjugate, over ``inner_length``.

    Source: Bluestein, A linear filtering approach to the computation of the discrete Fourier transform (1970).
    """
    squares = np.arange(length, dtype=np.int64) ** 2 % (2 * length)
    wave = np.exp(-1j * np.pi * squares / length)
    mirrored = np.zeros(inner_length, dtype=np.complex128)
    mirrored[:length] = wave.conj()
    mirrored[inner_length - length + 1 :] = wave[:0:-1].conj()
    return wave, np.fft.fft(mirrored) / inner_length


def by_column(values: npt.NDArray[Any], rows: int, columns: int) -> npt.NDArray[Any]:
    """values[columns·r + c] at [c, r], shape (columns, rows), filled up with zeros."""
    filled = np.zeros(rows * columns, dtype=values.dtype)
    filled[: values.size] = values
    return filled.reshape(rows, columns).T


def column_twiddles(rows: int, columns: int) -> Array:
    """exp(-2πi·kc / (rows·columns)) as pairs, shape (rows // 2 + 1, columns, 2)."""
    turns = 2 * np.pi * np.outer(np.arange(rows // 2 + 1), np.arange(columns)) / (rows * columns)
    return np.stack([np.cos(turns), -np.sin(turns)], axis=-1)


def bin_slots(rows: int, columns: int) -> npt.NDArray[np.intp]:
    """Where the codelets leave bin k of rows·columns: bin k₁ + rows·k₂ is vector k₂ of column k₁'s 2·columns.

    The columns past rows / 2 mirror the others and are not computed: their bins are found at size - k.
    """
    bins = np.arange(rows * columns // 2 + 1)
    mirrored = np.where(bins % rows <= rows // 2, bins, rows * columns - bins)
    return np.asarray(mirrored % rows * (2 * columns) + mirrored // rows, dtype=np.intp)


def shared(bank: Array, width: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Array]:
    """The weights of a bank of triangles (bands, bins), by the gaps between their peaks, ``width`` gaps side by side.

    A bin in gap g lies on the rising side of band g and on the falling side of band g - 1, and on no other. Returns the
    number of bins of every group of gaps (groups,), and two flat arrays: bins, and their weights, for each the rising
    side's and the falling one's. They follow one another from group to group, in it from bin to bin, and at last from
    gap to gap. Gaps with fewer bins than their group's longest are filled up with weights of 0.
    """
    bands = len(bank)
    groups = -(-(bands + 1) // width)
    weighs = bank != 0
    used = weighs.any(axis=0).nonzero()[0]
    first = weighs[:, used].argmax(axis=0)
    last = bands - 1 - weighs[::-1, used].argmax(axis=0)
    gaps = np.where((first < last) | (used <= bank.argmax(axis=1)[last]), last, last + 1)
    sizes = np.maximum(np.bincount(gaps, minlength=groups * width).reshape(groups, width).max(axis=1), 1)
    order = np.arange(len(used)) - np.searchsorted(gaps, gaps)  # a bin's place among those of its gap
    places = ((np.cumsum(sizes) - sizes)[gaps // width] + order) * width + gaps % width
    bins = np.zeros(sizes.sum() * width, dtype=np.intp)
    bins[places] = used
    weights = np.zeros((len(bins), 2))
    edged = np.vstack([np.zeros_like(bank[:1]), bank, np.zeros_like(bank[:1])])
    weights[places, 0], weights[places, 1] = edged[gaps + 1, used], edged[gaps, used]
    return sizes, bins, weights.ravel()


def log_scale(spec: FeatureSpec) -> float:
    """What turns the natural logarithm into the spec's: decibels are 10·log10 of power, 20·log10 of magnitude."""
    decibels = 20.0 if spec.spectrum == "magnitude" else 10.0
    return {"none": 0.0, "ln": 1.0, "log10": 1 / math.log(10), "db": decibels / math.log(10)}[spec.compression]
