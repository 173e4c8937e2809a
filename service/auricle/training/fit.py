"""Fitting: epochs of augmented planes through a Keras network."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from auricle.frontend import FeatureSpec
from auricle.training.augment import augment
from auricle.training.augmentation import Augmentation
from auricle.training.blending import blended, mixed
from auricle.training.network import need_keras
from auricle.training.planes import SILENCE_DB, Planes

if TYPE_CHECKING:
    import keras

__all__ = ["Epoch", "Fitting", "fit", "seed_everything"]

Floats = NDArray[np.float32]
Batch = tuple[Floats, Floats]


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitting:
    """How long and how fast to learn.

    Attributes:
        epochs: each sees one variant of every clip, and ``background`` times as many backgrounds.
        batch: examples in a step.
        rate: Adam's greatest rate; it rises over the first epoch and falls to nothing along a half cosine.
        smoothing: share of a label that is spread over all classes.
        seed: of everything; the same one on the same machine gives the same model.
    """

    epochs: int = 50
    batch: int = 32
    rate: float = 2e-3
    smoothing: float = 0.05
    background: float = 0.1
    seed: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    """What one epoch gave: mean loss and accuracy on what it learned from."""

    number: int
    loss: float
    accuracy: float


def seed_everything(seed: int) -> None:
    """Makes Keras repeatable: the same seed gives the same weights, bit for bit, on the same machine."""
    keras = need_keras()
    import tensorflow

    keras.utils.set_random_seed(seed)
    tensorflow.config.experimental.enable_op_determinism()


def fit(
    model: keras.Model,
    planes: Planes,
    labels: NDArray[np.int64],
    noises: Floats,
    spec: FeatureSpec,
    settings: Fitting,
    augmentation: Augmentation,
    *,
    background: int | None = None,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> list[Epoch]:
    """Trains ``model`` in place.

    Args:
        labels: int (clips,), the class of each of the planes' sources.
        noises: f32 (m, frames, bands) in dB, mixed in, and learned as class ``background`` where that is given.
    """
    keras = need_keras()
    generator = np.random.default_rng(settings.seed)
    classes = int(model.output_shape[-1])
    sources = np.unique(planes.source)
    by_source = [np.flatnonzero(planes.source == source) for source in sources]
    extra = 0 if background is None else round(settings.background * len(sources))
    steps = math.ceil((len(sources) + extra) / settings.batch)
    loss = keras.losses.CategoricalCrossentropy()
    model.compile(optimizer=keras.optimizers.Adam(settings.rate), loss=loss, metrics=["accuracy"])
    eye = np.eye(classes, dtype=np.float32) * (1 - settings.smoothing) + settings.smoothing / classes
    batches = _Batches(planes, labels[planes.source], eye, noises, spec, augmentation, background, generator)
    made = _ahead(batches.make(*picked) for picked in _order(by_source, extra, settings, generator))
    history, step = [], 0
    for number in range(1, settings.epochs + 1):
        figures: list[tuple[float, float, int]] = []
        for x, y in islice(made, steps):
            model.optimizer.learning_rate = _rate(step, steps, settings)
            step += 1
            values: Any = model.train_on_batch(x[..., None], y)
            figures.append((float(values[0]), float(values[1]), len(x)))
        total = sum(weight for *_, weight in figures)
        means = [sum(figure[place] * figure[2] for figure in figures) / total for place in (0, 1)]
        history.append(Epoch(number=number, loss=means[0], accuracy=means[1]))
        on_epoch(history[-1])
    return history


def _ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches, each made in a thread while the one before it is learned from."""
    with ThreadPoolExecutor(1, thread_name_prefix="augment") as thread:
        coming = thread.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = thread.submit(next, batches, None)
            yield batch


def _order(
    by_source: Sequence[NDArray[np.int64]], extra: int, settings: Fitting, generator: np.random.Generator
) -> Iterator[tuple[NDArray[np.int64], int]]:
    """For each step of each epoch: which planes, and how many backgrounds beside them."""
    for _ in range(settings.epochs):
        picks = np.array([generator.choice(own) for own in by_source])
        order = generator.permutation(len(by_source) + extra)
        for first in range(0, len(order), settings.batch):
            chosen = order[first : first + settings.batch]
            sounds = picks[chosen[chosen < len(by_source)]]
            yield sounds, len(chosen) - len(sounds)


def _rate(step: int, steps: int, settings: Fitting) -> float:
    if step < steps:
        return settings.rate * (step + 1) / steps
    return settings.rate * 0.5 * (1 + math.cos(math.pi * (step - steps) / max(1, steps * (settings.epochs - 1))))


class _Batches:
    """Makes batches: the sounds that were picked, each made another, and backgrounds beside them."""

    def __init__(
        self,
        planes: Planes,
        labels: NDArray[np.int64],
        targets: Floats,
        noises: Floats,
        spec: FeatureSpec,
        augmentation: Augmentation,
        background: int | None,
        generator: np.random.Generator,
    ) -> None:
        self._planes = planes
        self._labels = labels
        self._by_label = {int(label): np.flatnonzero(labels == label) for label in np.unique(labels)}
        self._targets = targets
        self._noises = noises
        self._spec = spec
        self._augmentation = augmentation
        self._background = background
        self._generator = generator

    def make(self, sounds: NDArray[np.int64], empty: int) -> Batch:
        """Features f32 (n, frames, bands) and targets f32 (n, classes) of planes and of as many backgrounds."""
        parts: list[Batch] = []
        if len(sounds):
            blends = blended(self._planes, sounds, *self._partners(sounds))
            parts.append((self._augmented(blends, self._augmentation), self._targets[self._labels[sounds]]))
        if self._background is not None and empty:
            parts.append((self._backgrounds(empty), np.tile(self._targets[self._background], (empty, 1))))
        x, y = (np.concatenate(each) for each in zip(*parts, strict=True))
        return mixed(x, y, self._augmentation.mixing, self._generator)

    def _partners(self, sounds: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """For each sound another of its label and that one's share; background is not a word that voices share."""
        settings, count = self._augmentation, len(sounds)
        others = np.array([self._generator.choice(self._by_label[int(label)]) for label in self._labels[sounds]])
        chosen = (self._generator.random(count) < settings.blending) & (self._labels[sounds] != self._background)
        return others, np.where(chosen, self._generator.uniform(0.0, settings.blend, count), 0.0)

    def _augmented(self, planes: Planes, settings: Augmentation) -> Floats:
        return augment(planes, np.arange(len(planes)), self._noises, self._spec, settings, self._generator)

    def _backgrounds(self, count: int) -> Floats:
        """Silence, noises at any level, mere beginnings and ends of sounds: a stream's windows have all of them."""
        planes, noises, generator = self._planes, self._noises, self._generator
        frames, bands = noises.shape[1:]
        own = noises[generator.integers(len(noises), size=count)] + generator.uniform(-70, 0, (count, 1, 1)).astype(
            np.float32
        )
        rows = np.full(count, frames)
        kind = generator.random(count)
        for index in np.flatnonzero(kind < 0.25):
            pick = int(generator.integers(len(planes)))
            kept = max(1, int(planes.rows[pick] * generator.uniform(0.05, 0.25)))
            own[index] = SILENCE_DB
            if generator.random() < 0.5:
                own[index, -kept:] = planes.db[pick, :kept]
            else:
                own[index, :kept] = planes.db[pick, planes.rows[pick] - kept : planes.rows[pick]]
        own[kind > 0.97] = SILENCE_DB
        made = Planes(
            db=own.astype(np.float16),
            rows=rows,
            edge=np.full(count, float(bands), np.float32),
            source=np.zeros(count, np.int64),
            first=np.zeros(count, bool),
        )
        still = replace(
            self._augmentation, tempo=(1.0, 1.0), crop=0.0, trim_db=(200.0, 200.0), served=1.0, peak_db=None
        )
        return self._augmented(made, still)
