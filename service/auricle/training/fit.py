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
from auricle.training.augment import Augmentation, augment
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
    made = _ahead(
        _batch(planes, picked, labels, eye, noises, spec, augmentation, background, generator)
        for picked in _order(by_source, extra, settings, generator)
    )
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


def _batch(
    planes: Planes,
    picked: tuple[NDArray[np.int64], int],
    labels: NDArray[np.int64],
    targets: Floats,
    noises: Floats,
    spec: FeatureSpec,
    augmentation: Augmentation,
    background: int | None,
    generator: np.random.Generator,
) -> Batch:
    sounds, empty = picked
    parts: list[Batch] = []
    if len(sounds):
        x = augment(planes, sounds, noises, spec, augmentation, generator)
        parts.append((x, targets[labels[planes.source[sounds]]]))
    if background is not None and empty:
        x = _backgrounds(empty, noises, planes, spec, augmentation, generator)
        parts.append((x, np.tile(targets[background], (empty, 1))))
    return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])


def _rate(step: int, steps: int, settings: Fitting) -> float:
    if step < steps:
        return settings.rate * (step + 1) / steps
    return settings.rate * 0.5 * (1 + math.cos(math.pi * (step - steps) / max(1, steps * (settings.epochs - 1))))


def _backgrounds(
    count: int,
    noises: Floats,
    planes: Planes,
    spec: FeatureSpec,
    augmentation: Augmentation,
    generator: np.random.Generator,
) -> Floats:
    """Silence, noises at any level, and the mere beginnings and ends of sounds: a stream's windows have all of them."""
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
    still = replace(augmentation, tempo=(1.0, 1.0), crop=0.0, served=1.0, peak_db=None)
    return augment(made, np.arange(count), noises, spec, still, generator)
