"""Augmentation: what a spectrum might have been, had another voice said it, elsewhere, into another microphone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from auricle import frontend
from auricle.frontend import FeatureSpec
from auricle.training.augmentation import Augmentation, Range
from auricle.training.decibels import to_decibels, to_power
from auricle.training.placing import place
from auricle.training.planes import SILENCE_DB, Planes
from auricle.training.warping import EDGE_MARGIN_BINS, take_bands, warp_bands, waves

__all__ = ["augment", "plain"]

Floats = NDArray[np.float32]

# Cosines over the bands that a random microphone's response is made of.
RESPONSE_TERMS = 5


def plain(planes: Planes, picks: NDArray[np.int64], spec: FeatureSpec) -> Floats:
    """Features of the chosen planes as they are, f32 (n, frames, bands): floored and normalised as served."""
    return _finish(planes.db[picks].astype(np.float32), spec)


def augment(
    planes: Planes,
    picks: NDArray[np.int64],
    noises: Floats,
    spec: FeatureSpec,
    settings: Augmentation,
    generator: np.random.Generator,
) -> Floats:
    """Features of the chosen planes, each made another at random, f32 (n, frames, bands).

    Args:
        picks: int (n,), rows of ``planes``.
        noises: f32 (m, frames, bands) in dB, spectra of background sounds.
    """
    db = planes.db[picks].astype(np.float32)
    rows, edge = planes.rows[picks], planes.edge[picks]
    count, _, bands = db.shape

    def draw(limits: Range) -> Floats:
        low, high = limits
        return np.asarray(generator.uniform(low, high, size=count), np.float32)

    level = to_power(db).sum((1, 2)) / (rows * np.minimum(edge, bands))
    bends = waves(count, settings.bend, generator)
    db, edge = warp_bands(db, draw(settings.formants), draw(settings.pitch), bends, edge)
    db = _record(db, rows, edge, level, noises, settings, generator)
    filled = np.asarray(generator.random(count) < settings.fill)
    db = np.where(filled[:, None, None], _fill(db, edge, draw(settings.fill_db), draw((0.0, 0.6))), db)
    db = place(db, rows, draw(settings.tempo), settings, generator)
    power = to_power(db + _responses(count, bands, settings, generator)[:, None, :])
    noisy = np.flatnonzero(generator.random(count) < settings.noisy)
    noise = to_power(_pick(noises, len(noisy), generator))
    wanted = level[noisy] / 10.0 ** (generator.uniform(*settings.snr_db, len(noisy)) / 10.0)
    power[noisy] += noise * np.asarray(wanted / noise.mean((1, 2)), np.float32)[:, None, None]
    db = to_decibels(power)
    if settings.peak_db is not None:
        db += (draw(settings.peak_db) - db.max((1, 2)))[:, None, None]
    cutoff = np.where(generator.random(count) < settings.narrow, generator.uniform(0.6, 1.0, count) * bands, bands)
    db = np.where(np.arange(bands) < cutoff[:, None, None], db, np.float32(SILENCE_DB))
    return _mask(_finish(db, spec), settings, generator)


def _finish(db: Floats, spec: FeatureSpec) -> Floats:
    """The floor of the spec, then the frontend's own normalisation of each segment."""
    floored = np.maximum(db, np.float32(20.0 * np.log10(spec.floor)))
    for plane in floored:
        frontend.normalize(plane, spec, out=plane)
    return floored


def _pick(noises: Floats, count: int, generator: np.random.Generator) -> Floats:
    """Some of the noises, each from a random frame on and round again."""
    frames = noises.shape[1]
    turned = (np.arange(frames) + generator.integers(frames, size=(count, 1))) % frames
    return np.asarray(noises[generator.integers(len(noises), size=(count, 1)), turned])


def _record(
    db: Floats,
    rows: NDArray[np.int64],
    edge: Floats,
    level: Floats,
    noises: Floats,
    settings: Augmentation,
    generator: np.random.Generator,
) -> Floats:
    """Another room and recorder: echoes and noise, which both end with the recording."""
    count, frames, bands = db.shape
    power = to_power(db)
    spectrum = power.sum(1) / rows[:, None]
    echoing = np.flatnonzero(generator.random(count) < settings.echoing)
    power[echoing] = _echo(power[echoing], settings, generator)
    hissing = np.flatnonzero(generator.random(count) < settings.hissing)
    noise = to_power(_pick(noises, len(hissing), generator))
    murmuring = generator.random(len(hissing)) < settings.murmuring
    # The power of a noise's bin is exponentially distributed about its mean.
    murmur = generator.standard_exponential((int(murmuring.sum()), frames, bands), np.float32)
    noise[murmuring] = murmur * spectrum[hissing][murmuring][:, None, :]
    below: NDArray[np.bool_] = np.arange(bands) < edge[:, None, None]
    mean = (noise * below[hissing]).sum((1, 2)) / (frames * np.minimum(edge[hissing], bands))
    wanted = level[hissing] / 10.0 ** (generator.uniform(*settings.hiss_snr_db, len(hissing)) / 10.0)
    power[hissing] += noise * np.asarray(wanted / np.maximum(mean, 1e-20), np.float32)[:, None, None]
    inside = below & (np.arange(frames)[:, None] < rows[:, None, None])
    return np.where(inside, to_decibels(power), np.float32(SILENCE_DB))


def _echo(power: Floats, settings: Augmentation, generator: np.random.Generator) -> Floats:
    """A room's echoes added: all that was heard so far, dying away by as many decibels in each frame."""
    count, frames, bands = power.shape
    wet = np.asarray(10.0 ** (generator.uniform(*settings.echo_db, (count, 1)) / 10.0), np.float32)
    kept = np.asarray(10.0 ** (-generator.uniform(*settings.decay_db, (count, 1)) / 10.0), np.float32)
    echoed, tail = power.copy(), np.zeros((count, bands), np.float32)
    for frame in range(frames):
        tail *= kept
        echoed[:, frame] += wet * tail
        tail += power[:, frame]
    return echoed


def _fill(db: Floats, edge: Floats, drop_db: Floats, slope_db: Floats) -> Floats:
    """Bands above ``edge`` get the mirror image of those below, weaker by ``drop_db`` and ever weaker above."""
    bands = np.arange(db.shape[2], dtype=np.float32)
    top = np.minimum(edge - EDGE_MARGIN_BINS, db.shape[2] - 1.0)[:, None]
    above = bands > top
    mirrored = np.where(above, 2 * top - bands, bands)
    index = np.clip(mirrored, 0, db.shape[2] - 1).astype(np.int64)
    weaker = np.where(above, drop_db[:, None] + slope_db[:, None] * (bands - top), 0.0).astype(np.float32)
    return np.asarray(np.maximum(take_bands(db, index) - weaker[:, None, :], np.float32(SILENCE_DB)))


def _responses(count: int, bands: int, settings: Augmentation, generator: np.random.Generator) -> Floats:
    """Random smooth responses in dB, (n, bands), of mean zero."""
    places = np.linspace(0.0, np.pi, bands)
    terms = np.cos(np.outer(np.arange(1, RESPONSE_TERMS + 1), places))
    swing = generator.uniform(-settings.response_db, settings.response_db, (count, RESPONSE_TERMS))
    tilt = generator.uniform(-settings.tilt_db, settings.tilt_db, (count, 1))
    return np.asarray(swing @ terms + tilt * np.linspace(-0.5, 0.5, bands), np.float32)


def _mask(features: Floats, settings: Augmentation, generator: np.random.Generator) -> Floats:
    """Blanks stripes, to the normalised mean of 0."""
    _, frames, bands = features.shape
    for plane in features:
        for _ in range(generator.integers(settings.masks + 1)):
            width = int(generator.integers(settings.mask_bands + 1))
            start = int(generator.integers(bands - width + 1))
            plane[:, start : start + width] = 0.0
        for _ in range(generator.integers(settings.masks + 1)):
            width = int(generator.integers(settings.mask_frames + 1))
            start = int(generator.integers(frames - width + 1))
            plane[start : start + width] = 0.0
    return features
