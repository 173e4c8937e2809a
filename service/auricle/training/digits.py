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
from auricle.training.architecture import FRAMES, Architecture, Convolution
from auricle.training.augmentation import Augmentation
from auricle.training.clips import Clip
from auricle.training.espeak import Espeak
from auricle.training.fit import Epoch, Fitting, fit, seed_everything
from auricle.training.flite import SPEAKERS, Flite
from auricle.training.network import average, build, level
from auricle.training.noises import KINDS, make_noise
from auricle.training.people import side_with
from auricle.training.piper import SPEAKER, Piper
from auricle.training.planes import Planes, make_planes
from auricle.training.sounds import Recipe, cut
from auricle.training.vocabulary import respelled, scripts, variants
from auricle.training.voices import GROUP, Cast, speak

if TYPE_CHECKING:
    import keras

__all__ = [
    "AUGMENTATION",
    "BACKGROUND",
    "FINISHES",
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
# Small kernels (Simonyan and Zisserman, 2015) know strangers better than tfjs's; docs/digits.md has both.
ARCHITECTURE = Architecture(
    convolutions=(
        Convolution(filters=16, kernel=(3, 5), strides=(1, 2), padded=True, pool=(1, 2), pool_strides=(1, 2)),
        Convolution(filters=32, kernel=(3, 3), padded=True),
        Convolution(filters=64, kernel=(3, 3), padded=True),
        Convolution(filters=64, kernel=(3, 3), padded=True),
    ),
    dense_units=256,
)
# The recordings are of 8 kHz: without a floor above their rounding noise the empty bands would say so.
FLOOR = 1e-5
SPEEDS = (0.8, 0.85, 0.9, 0.95, 1.05, 1.1, 1.15, 1.2, 1.25)
VARIANTS = 10
# Takes of each digit, and of other words, by synthetic voices: of formants, learned from four people, and from one.
# A take needs fewer variants than a recording.
ESPEAK_TAKES = (150, 300)
FLITE_TAKES = (100, 200)
PIPER_TAKES = (50, 100)
TAKE_VARIANTS = 3
# Half of them as narrow as the recordings, so that the width says nothing about the word.
TAKE_RATES_HZ = (8000, 22050)
NOISES = 300
# The voices alone first; from there everything, several times with other random numbers, and the mean of the weights.
PREPARING = Fitting(epochs=8)
FITTING = Fitting(epochs=10)
FINISHES = 3
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

    Raises InvalidArgumentError where a synthesizer is missing.
    """
    background = LABELS[BACKGROUND]
    espeak = Espeak(seed=seed)
    parts = (
        (espeak, variants(), scripts(background), ESPEAK_TAKES),
        (Flite(), tuple(SPEAKERS), respelled(background), FLITE_TAKES),
        (Piper(espeak, seed=seed), (SPEAKER,), scripts(background), PIPER_TAKES),
    )
    clips = []
    for synthesizer, speakers, spoken, (digits, others) in parts:
        takes = {label: others if label == background else digits for label in spoken}
        cast = Cast(synthesizer=synthesizer, speakers=speakers, scripts=spoken, takes=takes)
        clips += speak(folder, cast, rates_hz=TAKE_RATES_HZ, seed=seed, on_clip=on_clip)
    return clips


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
    """A network that has heard only the synthetic voices among the clips, unmixed: where ``train`` may start."""
    own = planes.of([index for index, clip in enumerate(clips) if clip.group == GROUP])
    unmixed = replace(AUGMENTATION, mixing=0.0)
    return train(own, clips, fitting=replace(PREPARING, seed=seed), augmentation=unmixed, on_epoch=on_epoch)[0]


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

    People among the clips teach half of its last layer alone, see ``people.side_with``.

    Args:
        start: a network of this kind, from which ``FINISHES`` networks go on and are averaged; None: one network
            from random weights.
    """
    labels = np.array([LABELS.index(clip.label) for clip in clips])
    models, history = [], list[Epoch]()
    for number in range(1 if start is None else FINISHES):
        own = replace(fitting, seed=fitting.seed + number)
        seed_everything(own.seed)
        models.append(build(len(LABELS), ARCHITECTURE))
        if start is not None:
            models[-1].set_weights(start.get_weights())
        before = len(history)

        def count(epoch: Epoch, before: int = before) -> None:
            on_epoch(replace(epoch, number=before + epoch.number))

        noise, spec = noises(own.seed), _features()
        history += fit(
            models[-1], planes, labels, noise, spec, own, augmentation, background=BACKGROUND, on_epoch=count
        )
    average(models)
    # A class without examples has no lead to lose.
    counts = np.maximum(np.bincount(labels[np.unique(planes.source)], minlength=len(LABELS)), 1.0)
    counts[BACKGROUND] += fitting.background * counts.sum()
    level(models[0], counts / counts.sum())
    people = planes.of([index for index, clip in enumerate(clips) if clip.group != GROUP])
    if len(people):
        side_with(models[0], people, labels[people.source], noises(fitting.seed), _features(), seed=fitting.seed)
    return models[0], history


def scores(model: keras.Model, clips: Sequence[Clip]) -> Floats:
    """Mean scores of each clip over its segments, cut and computed as served, f32 (clips, classes)."""
    made = recipe()
    return np.stack([np.asarray(model.predict_on_batch(cut(clip.path, made)[..., None])).mean(0) for clip in clips])


def _features() -> FeatureSpec:
    features = recipe().features
    assert features is not None
    return features
