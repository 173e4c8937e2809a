"""Augmentation: what a spectrum might have been, had another voice said it, elsewhere, into another microphone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auricle import frontend
from auricle.frontend import FeatureSpec
from auricle.training.planes import SILENCE_DB, Planes

__all__ = ["STILL", "Augmentation", "augment", "plain"]

Floats = NDArray[np.float32]

Range = tuple[float, float]

# Width in bins of the smoothing that parts a spectrum's envelope (formants) from its fine structure (pitch).
ENVELOPE_BINS = 13
EDGE_MARGIN_BINS = 3.0
# Cosines over the bands that a random microphone's response is made of.
RESPONSE_TERMS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """Ranges that are drawn from, evenly, and chances from 0 to 1.

    Attributes:
        blending: chance that a sound is blended with another of its label; ``blend``: the other's greatest share.
        tempo: factor on the speed at which frames pass, pitch unchanged.
        formants: factor on the frequencies of the envelope: the length of a vocal tract.
        pitch: factor on the frequencies of the fine structure.
        crop: most of a sound that may be missing at its beginning, and at its end: clips are often cut too short.
        served: chance that a sound stays at the segment's start, where a served clip's is.
        overhang: part of a shifted sound that may lie outside of the segment.
        echoing: chance of a room's echoes; ``echo_db``: their power over the sound's; ``decay_db``: in each frame.
        hissing: chance of noise that was recorded with the sound, below its edge, and ends where it ends;
            ``hiss_snr_db``: power of the sound's frames over the noise's.
        murmuring: share of such noise that has the sound's own mean spectrum, as a crowd or a large room gives.
        noisy: chance of noise around the sound, over the whole segment; ``snr_db``: as above.
        response_db: largest swing of each term of a random microphone's response.
        tilt_db: rise or fall from the lowest to the highest band.
        peak_db: level of the strongest band of all, as features have it; None: as it was recorded.
        fill: chance that bands above what the recording's sample rate held get a mirror of those below, weaker by
            ``fill_db``: real wideband sound is not empty there.
        narrow: chance that all above a random band is empty, as over a telephone.
        masks: most stripes of bands, and of frames, that are blanked.
        mask_bands, mask_frames: the widest of them.
    """

    blending: float = 0.5
    blend: float = 0.5
    tempo: Range = (0.7, 1.35)
    formants: Range = (0.92, 1.09)
    pitch: Range = (0.8, 1.3)
    crop: float = 0.15
    served: float = 0.5
    overhang: float = 0.1
    echoing: float = 0.2
    echo_db: Range = (-25.0, 0.0)
    decay_db: Range = (2.0, 12.0)
    hissing: float = 0.5
    hiss_snr_db: Range = (3.0, 38.0)
    murmuring: float = 0.3
    noisy: float = 0.5
    snr_db: Range = (2.0, 40.0)
    response_db: float = 3.0
    tilt_db: float = 10.0
    peak_db: Range | None = (-50.0, -20.0)
    fill: float = 0.4
    fill_db: Range = (0.0, 30.0)
    narrow: float = 0.0
    masks: int = 1
    mask_bands: int = 20
    mask_frames: int = 3


# Draws nothing: every example is as it was recorded.
STILL = Augmentation(
    blending=0.0,
    tempo=(1.0, 1.0),
    formants=(1.0, 1.0),
    pitch=(1.0, 1.0),
    crop=0.0,
    served=1.0,
    echoing=0.0,
    hissing=0.0,
    noisy=0.0,
    response_db=0.0,
    tilt_db=0.0,
    peak_db=None,
    fill=0.0,
    narrow=0.0,
    masks=0,
)


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

    level = _power(db).sum((1, 2)) / (rows * np.minimum(edge, bands))
    db, edge = _warp_bands(db, draw(settings.formants), draw(settings.pitch), edge)
    db = _record(db, rows, edge, level, noises, settings, generator)
    filled = np.asarray(generator.random(count) < settings.fill)
    db = np.where(filled[:, None, None], _fill(db, edge, draw(settings.fill_db), draw((0.0, 0.6))), db)
    db = _place(db, rows, draw(settings.tempo), settings, generator)
    power = _power(db + _responses(count, bands, settings, generator)[:, None, :])
    noisy = np.flatnonzero(generator.random(count) < settings.noisy)
    noise = _power(_pick(noises, len(noisy), generator))
    wanted = level[noisy] / 10.0 ** (generator.uniform(*settings.snr_db, len(noisy)) / 10.0)
    power[noisy] += noise * np.asarray(wanted / noise.mean((1, 2)), np.float32)[:, None, None]
    db = _decibels(power)
    if settings.peak_db is not None:
        db += (draw(settings.peak_db) - db.max((1, 2)))[:, None, None]
    cutoff = np.where(generator.random(count) < settings.narrow, generator.uniform(0.6, 1.0, count) * bands, bands)
    db = np.where(np.arange(bands) < cutoff[:, None, None], db, np.float32(SILENCE_DB))
    return _mask(_finish(db, spec), settings, generator)


def _power(db: Floats) -> Floats:
    return np.asarray(np.exp(db * np.float32(np.log(10.0) / 10.0)))


def _decibels(power: Floats) -> Floats:
    least = np.float32(10.0 ** (SILENCE_DB / 10.0))
    return np.asarray(np.float32(10.0 / np.log(10.0)) * np.log(np.maximum(power, least)))


def _finish(db: Floats, spec: FeatureSpec) -> Floats:
    """The floor of the spec, then the frontend's own normalisation of each segment."""
    floored = np.maximum(db, np.float32(20.0 * np.log10(spec.floor)))
    for plane in floored:
        frontend.normalize(plane, spec, out=plane)
    return floored


def _warp_bands(db: Floats, formants: Floats, pitch: Floats, edge: Floats) -> tuple[Floats, Floats]:
    """Moves envelope and fine structure apart: each band is read at its place times the factor."""
    clear = np.maximum(db, np.float32(-120.0))
    half = ENVELOPE_BINS // 2
    padded = np.pad(clear, ((0, 0), (0, 0), (half + 1, half)), mode="edge")
    sums = np.cumsum(padded, axis=2, dtype=np.float32)
    envelope = (sums[:, :, ENVELOPE_BINS:] - sums[:, :, :-ENVELOPE_BINS]) / np.float32(ENVELOPE_BINS)
    bands = np.arange(db.shape[2], dtype=np.float32)
    moved_edge = edge / formants
    fine = _read_bands(clear - envelope, np.minimum(bands * pitch[:, None], edge[:, None] - EDGE_MARGIN_BINS))
    # Close to the edge of what was recorded the envelope falls off a cliff that is no voice's.
    warped = _read_bands(envelope, bands * formants[:, None]) + fine
    silent = (db <= SILENCE_DB + 1.0).all(axis=2, keepdims=True)
    beyond = bands >= moved_edge[:, None]
    return np.where(silent | beyond[:, None, :], np.float32(SILENCE_DB), warped), moved_edge


def _read_bands(values: Floats, places: Floats) -> Floats:
    """``values`` (n, frames, bands) between bands, at ``places`` (n, bands), linearly; clamped at the ends."""
    last = values.shape[2] - 1
    low = np.clip(places.astype(np.int64), 0, last - 1)
    part = np.clip(places - low, 0.0, 1.0).astype(np.float32)[:, None, :]
    below = _bands(values, low)
    return np.asarray(below + (_bands(values, low + 1) - below) * part)


def _bands(values: Floats, index: NDArray[np.int64]) -> Floats:
    """values[i, :, index[i]] for each example; one take an example, many times faster than one for all."""
    taken = np.empty_like(values)
    for source, places, target in zip(values, index, taken, strict=True):
        np.take(source, places, axis=1, out=target, mode="clip")
    return taken


def _rows(values: Floats, index: NDArray[np.int64]) -> Floats:
    """values[i, index[i]] for each example."""
    return np.stack([source[places] for source, places in zip(values, index, strict=True)])


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
    power = _power(db)
    spectrum = power.sum(1) / rows[:, None]
    echoing = np.flatnonzero(generator.random(count) < settings.echoing)
    power[echoing] = _echo(power[echoing], settings, generator)
    hissing = np.flatnonzero(generator.random(count) < settings.hissing)
    noise = _power(_pick(noises, len(hissing), generator))
    murmuring = generator.random(len(hissing)) < settings.murmuring
    # The power of a noise's bin is exponentially distributed about its mean.
    murmur = generator.standard_exponential((int(murmuring.sum()), frames, bands), np.float32)
    noise[murmuring] = murmur * spectrum[hissing][murmuring][:, None, :]
    below: NDArray[np.bool_] = np.arange(bands) < edge[:, None, None]
    mean = (noise * below[hissing]).sum((1, 2)) / (frames * np.minimum(edge[hissing], bands))
    wanted = level[hissing] / 10.0 ** (generator.uniform(*settings.hiss_snr_db, len(hissing)) / 10.0)
    power[hissing] += noise * np.asarray(wanted / np.maximum(mean, 1e-20), np.float32)[:, None, None]
    inside = below & (np.arange(frames)[:, None] < rows[:, None, None])
    return np.where(inside, _decibels(power), np.float32(SILENCE_DB))


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
    return np.asarray(np.maximum(_bands(db, index) - weaker[:, None, :], np.float32(SILENCE_DB)))


def _place(
    db: Floats, rows: NDArray[np.int64], tempo: Floats, settings: Augmentation, generator: np.random.Generator
) -> Floats:
    """Cuts each sound short, stretches it in time and puts it somewhere in the segment; around it is silence."""
    count, frames, _ = db.shape
    head, tail = (
        np.floor(rows * generator.uniform(0.0, settings.crop, count) * (generator.random(count) < 0.5))
        for _ in range(2)
    )
    active = (rows - head - tail) / tempo
    room = frames - active
    low, high = -settings.overhang * active, room + settings.overhang * active
    start = np.where(
        generator.random(count) < settings.served, 0.0, np.round(generator.uniform(np.minimum(low, high), high))
    )
    source = (np.arange(frames) - start[:, None]) * tempo[:, None] + head[:, None]
    last = (rows - 1)[:, None]
    inside = (source > head[:, None] - 1.0) & (source < (rows - tail)[:, None])
    lower = np.clip(np.floor(source), 0, last).astype(np.int64)
    upper = np.minimum(lower + 1, last)
    part = np.clip(source - lower, 0.0, 1.0).astype(np.float32)[:, :, None]
    below = _rows(db, lower)
    moved = below + (_rows(db, upper) - below) * part
    return np.where(inside[:, :, None], moved, np.float32(SILENCE_DB))


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
