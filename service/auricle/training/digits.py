"""The recipe of the bundled model ``digits``: spoken digits and background over the browser's spectrum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from auricle import frontend
from auricle.errors import InvalidArgumentError
from auricle.frontend import FeatureSpec
from auricle.model.bundle import AudioSpec, Bundle, InputSpec, SegmentSpec
from auricle.model.heads import HeadSpec
from auricle.model.labels import LabelList
from auricle.training.augment import Augmentation
from auricle.training.clips import Clip
from auricle.training.fit import Epoch, Fitting, fit, seed_everything
from auricle.training.network import FRAMES, build
from auricle.training.noises import KINDS, make_noise
from auricle.training.planes import Planes, make_planes
from auricle.training.sounds import Recipe, cut
from auricle.training.vocabulary import scripts, variants
from auricle.training.voices import GROUP, speak

if TYPE_CHECKING:
    import keras

__all__ = [
    "AUGMENTATION",
    "BACKGROUND",
    "FITTING",
    "LABELS",
    "PREPARING",
    "bundle",
    "find",
    "noises",
    "prepare",
    "recipe",
    "scores",
    "store",
    "train",
    "voices",
]

Floats = NDArray[np.float32]

BACKGROUND = 10
LABELS = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "background")
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "background")
DENSE_UNITS = 512
# The recordings are of 8 kHz: without a floor above their rounding noise the empty bands would say so.
FLOOR = 1e-5
SPEEDS = (0.8, 0.85, 0.9, 0.95, 1.05, 1.1, 1.15, 1.2, 1.25)
VARIANTS = 10
# Synthetic voices: takes of each digit and of other words, and variants of a take, which needs fewer than a recording.
TAKES = 200
OTHER_TAKES = 500
TAKE_VARIANTS = 3
# Half of them as narrow as the recordings, so that the width says nothing about the word.
TAKE_RATES_HZ = (8000, 22050)
NOISES = 300
# The voices alone first, then everything.
PREPARING = Fitting(epochs=12)
FITTING = Fitting(epochs=36)
AUGMENTATION = Augmentation()


def bundle() -> Bundle:
    """The metadata of the model."""
    return Bundle(
        format=1,
        name="digits",
        version="1",
        task="audio-classification",
        description="Spoken English digits 0 to 9, or background, in about a second of sound.",
        author="The auricle authors; trained on the Free Spoken Digit Dataset (Zohar Jackson and others, CC BY-SA 4.0)",
        license="CC-BY-SA-4.0",
        audio=AudioSpec(sample_rate_hz=44100),
        features={"preset": "browser-fft-232", "floor": FLOOR},
        segment=SegmentSpec(length=FRAMES, min_coverage=0.5),
        input=InputSpec(tensor="features", layout="batch,1,frames,bands"),
        heads=(
            HeadSpec(name="embedding", tensor="embedding", kind="embedding"),
            HeadSpec(
                name="scores",
                tensor="scores",
                kind="classification",
                labels=(LabelList(names=LABELS), LabelList(locale="en", names=WORDS)),
            ),
        ),
    )


def recipe() -> Recipe:
    """How the model's sound is cut, and its features."""
    made = bundle()
    return Recipe(made, FeatureSpec.from_mapping(made.features or {}))


def find(folder: Path) -> list[Clip]:
    """The data set's clips: files are named DIGIT_SPEAKER_NUMBER.wav. InvalidArgumentError where there are none."""
    clips = [
        Clip(path=path, label=path.name[0], group=path.stem.split("_")[1])
        for path in sorted(folder.glob("[0-9]_*_*.wav"))
    ]
    if not clips:
        raise InvalidArgumentError(f"no files DIGIT_SPEAKER_NUMBER.wav in {folder}; give the folder of the recordings")
    return clips


def voices(folder: Path, *, seed: int, on_clip: Callable[[], None] = lambda: None) -> list[Clip]:
    """Clips of synthetic voices, written to ``folder``: the digits, and other words as background.

    Raises InvalidArgumentError where there is no synthesizer.
    """
    background = LABELS[BACKGROUND]
    spoken = scripts(background)
    takes = {label: OTHER_TAKES if label == background else TAKES for label in spoken}
    return speak(folder, spoken, takes, variants=variants(), rates_hz=TAKE_RATES_HZ, seed=seed, on_clip=on_clip)


def store(clips: Sequence[Clip], *, seed: int, on_clip: Callable[[], None] = lambda: None) -> Planes:
    """The planes of the clips at all the speeds, before augmentation."""
    counts = [TAKE_VARIANTS if clip.group == GROUP else VARIANTS for clip in clips]
    return make_planes(clips, _features(), length=FRAMES, speeds=SPEEDS, per_clip=counts, seed=seed, on_clip=on_clip)


def noises(seed: int) -> Floats:
    """Spectra of made noises in dB, f32 (n, 43, 232)."""
    spec = replace(_features(), floor=1e-10, normalization="none", norm_epsilon=0.0)
    samples, generator = spec.segment_samples(FRAMES), np.random.default_rng(seed)
    return np.stack(
        [
            frontend.features(make_noise(generator, KINDS[number % len(KINDS)], samples, spec.sample_rate_hz), spec)
            for number in range(NOISES)
        ]
    )


def prepare(
    planes: Planes, clips: Sequence[Clip], *, seed: int, on_epoch: Callable[[Epoch], None] = lambda epoch: None
) -> keras.Model:
    """A network that has heard only the synthetic voices among the clips: where ``train`` may start."""
    own = planes.of([index for index, clip in enumerate(clips) if clip.group == GROUP])
    return train(own, clips, fitting=replace(PREPARING, seed=seed), on_epoch=on_epoch)[0]


def train(
    planes: Planes,
    clips: Sequence[Clip],
    *,
    fitting: Fitting = FITTING,
    augmentation: Augmentation = AUGMENTATION,
    start: keras.Model | None = None,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> tuple[keras.Model, list[Epoch]]:
    """A fitted network, and how it learned. ``planes.source`` counts in ``clips``.

    Args:
        start: a network of this kind whose weights are the first ones; None: random ones.
    """
    seed_everything(fitting.seed)
    model = build(len(LABELS), dense_units=DENSE_UNITS)
    if start is not None:
        model.set_weights(start.get_weights())
    labels = np.array([LABELS.index(clip.label) for clip in clips])
    history = fit(
        model,
        planes,
        labels,
        noises(fitting.seed),
        _features(),
        fitting,
        augmentation,
        background=BACKGROUND,
        on_epoch=on_epoch,
    )
    return model, history


def scores(model: keras.Model, clips: Sequence[Clip]) -> Floats:
    """Mean scores of each clip over its segments, cut and computed as served, f32 (clips, classes)."""
    made = recipe()
    return np.stack([np.asarray(model.predict_on_batch(cut(clip.path, made)[..., None])).mean(0) for clip in clips])


def _features() -> FeatureSpec:
    features = recipe().features
    assert features is not None
    return features
