"""The feature spec in float64 NumPy, slow and readable: the definition that the kernels are tested against."""

from __future__ import annotations

import numpy as np

from auricle.frontend import FeatureSpec


def features(x: np.ndarray, spec: FeatureSpec, *, normalize: bool = True) -> np.ndarray:
    """f64 (frames, bands) of a waveform (n,)."""
    frames = frame(np.asarray(x, dtype=np.float64), spec) * spec.input_scale
    if spec.remove_dc:
        frames = frames - frames.mean(axis=1, keepdims=True)
    if spec.preemphasis:
        before = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
        frames = frames - spec.preemphasis * before
    spectrum = np.abs(np.fft.rfft(frames * window(spec), spec.fft_size))
    if spec.spectrum == "power":
        spectrum = spectrum**2
    values = spectrum[:, : spec.bands] if spec.filterbank == "bins" else spectrum @ mel_filters(spec).T
    if spec.compression != "none":
        values = np.maximum(values, spec.floor) + spec.offset
        decibels = 20 if spec.spectrum == "magnitude" else 10
        values = {"ln": np.log, "log10": np.log10, "db": lambda v: decibels * np.log10(v)}[spec.compression](values)
    return normalized(values, spec) if normalize else values


def frame(x: np.ndarray, spec: FeatureSpec) -> np.ndarray:
    """(frames, frame_length): the sound padded and cut."""
    half = spec.frame_length // 2
    if x.size:
        x = {
            "snip": lambda: x,
            "front-zeros": lambda: np.pad(x, (spec.front_zeros, 0)),
            "centre-zero": lambda: np.pad(x, half),
            "centre-reflect": lambda: np.pad(x, half, mode="reflect"),
        }[spec.padding]()
    if x.size < spec.frame_length:
        return np.zeros((0, spec.frame_length))
    frames = np.lib.stride_tricks.sliding_window_view(x, spec.frame_length)[:: spec.hop]
    return frames[:-1] if spec.drop_last_frame else frames


def window(spec: FeatureSpec) -> np.ndarray:
    """(frame_length,)"""
    length = spec.frame_length
    phase = 2 * np.pi * np.arange(length) / (length if spec.window_periodic else length - 1)
    return {
        "rectangular": 1 + 0 * phase,
        "hann": 0.5 - 0.5 * np.cos(phase),
        "hamming": 0.54 - 0.46 * np.cos(phase),
        "povey": np.maximum(0, 0.5 - 0.5 * np.cos(phase)) ** 0.85,
        "blackman": 0.42 - 0.5 * np.cos(phase) + 0.08 * np.cos(2 * phase),
    }[spec.window]


def mel_filters(spec: FeatureSpec) -> np.ndarray:
    """(bands, fft_size // 2 + 1)"""
    to_mel, to_hz = {
        "kaldi": (lambda f: 1127 * np.log(1 + f / 700), lambda m: 700 * (np.exp(m / 1127) - 1)),
        "htk": (lambda f: 2595 * np.log10(1 + f / 700), lambda m: 700 * (10 ** (m / 2595) - 1)),
        "slaney": (
            lambda f: np.where(f < 1000, 3 * f / 200, 15 + 27 * np.log(np.maximum(f, 1) / 1000) / np.log(6.4)),
            lambda m: np.where(m < 15, 200 * m / 3, 1000 * np.exp(np.log(6.4) * (m - 15) / 27)),
        ),
    }[spec.mel_scale]
    f_max_hz = spec.sample_rate_hz / 2 if spec.f_max_hz is None else spec.f_max_hz
    edges = np.linspace(to_mel(spec.f_min_hz), to_mel(f_max_hz), spec.bands + 2)
    edges_hz = to_hz(edges)
    points = np.arange(spec.fft_size // 2 + 1) * spec.sample_rate_hz / spec.fft_size
    if spec.mel_scale == "kaldi":
        points = to_mel(points)
    else:
        edges = edges_hz
    filters = np.zeros((spec.bands, points.size))
    for band, (left, centre, right) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
        rising, falling = (points - left) / (centre - left), (right - points) / (right - centre)
        filters[band] = np.maximum(0, np.minimum(rising, falling))
        if spec.mel_norm == "slaney":
            filters[band] *= 2 / (edges_hz[band + 2] - edges_hz[band])
    return filters


def normalized(values: np.ndarray, spec: FeatureSpec) -> np.ndarray:
    """The normalisation of one segment (frames, bands)."""
    if not values.size:
        return values
    return {
        "none": lambda v: v,
        "z-norm": lambda v: (v - v.mean()) / (v.std() + spec.norm_epsilon) if v.std() + spec.norm_epsilon else 0 * v,
        "mean": lambda v: v - v.mean(axis=0),
        "fixed": lambda v: (v - spec.norm_mean) / spec.norm_deviation,
        "whisper": lambda v: (np.maximum(v, v.max() - 8) + 4) / 4,
    }[spec.normalization](values)
