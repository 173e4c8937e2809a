"""Training whole: the browser-FFT network end to end on the user's own sounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from auricle.frontend import FeatureSpec
from auricle.training import digits
from auricle.training.architecture import FRAMES, TFJS
from auricle.training.augmentation import Augmentation
from auricle.training.cache import FeatureCache
from auricle.training.clips import Clip
from auricle.training.fit import Epoch, Fitting, fit, seed_everything
from auricle.training.network import build
from auricle.training.planes import make_planes, planes_of
from auricle.training.report import History
from auricle.training.sounds import Recipe, cut, read
from auricle.training.splits import Split, spread

if TYPE_CHECKING:
    import keras

__all__ = ["BACKGROUND_LABEL", "MOST_WATCHED", "train_whole"]

Floats = NDArray[np.float32]
Progress = Callable[[str, int, int], None]

BACKGROUND_LABEL = "background"
# Nearly all of tfjs's weights are those of its dense layer of 2000.
ARCHITECTURE = replace(TFJS, dense_units=512)
# Enough for a curve; more would take an epoch's time to look at.
MOST_WATCHED = 256


def train_whole(
    parts: Split,
    classes: Sequence[str],
    noises: Sequence[Path],
    recipe: Recipe,
    fitting: Fitting,
    augmentation: Augmentation,
    *,
    cache: FeatureCache,
    progress: Progress,
) -> tuple[keras.Model, History]:
    """A network of the classes, ``BACKGROUND_LABEL`` among them, and how it learned.

    Args:
        noises: sounds of the background, mixed in and learned beside made ones.
        recipe: how the sounds are cut, and their features.
    """
    features = recipe.features
    assert features is not None
    seed_everything(fitting.seed)
    done = iter(range(1, len(parts.learned) + 1))
    planes = make_planes(
        parts.learned,
        features,
        length=FRAMES,
        speeds=digits.SPEEDS,
        per_clip=digits.VARIANTS,
        seed=fitting.seed,
        cache=cache,
        on_clip=lambda: progress("spectra", next(done), len(parts.learned)),
    )
    model = build(len(classes), ARCHITECTURE)
    watched = _Watched(model, parts.watched, classes, recipe)

    def on_epoch(epoch: Epoch) -> None:
        watched.look()
        progress("epochs", epoch.number, fitting.epochs)

    epochs = fit(
        model,
        planes,
        np.array([classes.index(clip.label) for clip in parts.learned]),
        np.concatenate([*(_snippets(path, features) for path in noises), digits.noises(fitting.seed)]),
        features,
        fitting,
        augmentation,
        background=classes.index(BACKGROUND_LABEL),
        on_epoch=on_epoch,
    )
    history = History(
        of="epoch",
        loss=tuple(epoch.loss for epoch in epochs),
        accuracy=tuple(epoch.accuracy for epoch in epochs),
        watched=tuple(watched.accuracies),
    )
    return model, history


def _snippets(path: Path, features: FeatureSpec) -> Floats:
    """Spectra in dB of a noise file cut into segments, f32 (n, frames, bands)."""
    low = replace(features, floor=1e-10, normalization="none", norm_epsilon=0.0)
    return np.stack([plane for plane, _ in planes_of(*read(path), low, length=FRAMES)])


class _Watched:
    """Clips that are looked at after each epoch: their first segments, as served."""

    def __init__(self, model: keras.Model, clips: Sequence[Clip], classes: Sequence[str], recipe: Recipe) -> None:
        chosen = spread(clips, MOST_WATCHED)
        self._model = model
        self._x = np.stack([cut(clip.path, recipe)[0] for clip in chosen])[..., None]
        self._y = np.array([classes.index(clip.label) for clip in chosen])
        self.accuracies: list[float] = []

    def look(self) -> None:
        """Adds the accuracy now."""
        said = np.asarray(self._model.predict_on_batch(self._x)).argmax(1)
        self.accuracies.append(float(np.mean(said == self._y)))
