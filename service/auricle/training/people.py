"""People: a last layer that recordings of people alone have taught, beside the one that synthetic voices taught too."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from auricle.frontend import FeatureSpec
from auricle.training.augment import augment, plain
from auricle.training.augmentation import STILL
from auricle.training.network import need_keras
from auricle.training.planes import Planes
from auricle.training.transfer import HeadFitting, fit_head

if TYPE_CHECKING:
    import keras

__all__ = ["side_with"]

Floats = NDArray[np.float32]

# The words wherever a stream's window has them, at any level and mostly in noise. Other speeds and voices, from which
# the network has learned, make this layer worse for strangers: here people speak for themselves.
AUGMENTATION = replace(
    STILL,
    served=0.5,
    crop=0.1,
    trim_db=(15.0, 50.0),
    peak_db=(-50.0, -20.0),
    hissing=0.5,
    noisy=0.9,
    snr_db=(0.0, 30.0),
)
# How often each is heard so, beside once as it was recorded.
TURNS = 3
FITTING = HeadFitting(decay=3e-2)
_BATCH = 64


def side_with(
    model: keras.Model, planes: Planes, labels: NDArray[np.int64], noises: Floats, spec: FeatureSpec, *, seed: int
) -> None:
    """Gives the last layer the mean of its own logits and of those of a linear layer taught by ``planes`` alone.

    Both are linear on the same embedding, and so is their mean. The new one knows the classes of the planes; it is
    brought to the same level as the network's own there, and the other classes stay as they are.

    Args:
        planes: of people; those count that are as recorded, at a speed of 1.
        labels: int (planes,), the class of each: from 0 on, with none left out between.
    """
    keras = need_keras()
    generator = np.random.default_rng(seed)
    embed = keras.Model(model.inputs, model.get_layer("embedding_relu").output)
    recorded = np.flatnonzero(planes.first)
    made, wanted = list[Floats](), list[NDArray[np.int64]]()
    for picks in np.array_split(recorded, math.ceil(len(recorded) / _BATCH)):
        turns = [augment(planes, picks, noises, spec, AUGMENTATION, generator) for _ in range(TURNS)]
        features = np.concatenate([plain(planes, picks, spec), *turns])
        made.append(np.asarray(embed.predict_on_batch(features[..., None])))
        wanted.append(np.tile(labels[picks], 1 + TURNS))
    x, y = np.concatenate(made), np.concatenate(wanted)
    taught = int(y.max()) + 1
    linear, _ = fit_head(x, y, taught, FITTING)
    layer = model.get_layer("classes")
    kernel, bias = (np.array(each) for each in layer.get_weights())
    own, theirs = (x @ kernel + bias)[:, :taught], x @ linear.kernel + linear.bias
    offset = float(np.mean(_loudness(own) - _loudness(theirs)))
    kernel[:, :taught] = 0.5 * (kernel[:, :taught] + linear.kernel)
    bias[:taught] = 0.5 * (bias[:taught] + linear.bias + offset)
    layer.set_weights([kernel, bias])


def _loudness(logits: Floats) -> Floats:
    """log(sum(exp)) over the classes."""
    most = logits.max(axis=1)
    return np.asarray(most + np.log(np.exp(logits - most[:, None]).sum(axis=1)), np.float32)
