"""The browser-FFT network in Keras: four convolutions over 43 frames of 232 bins, a dense layer, the classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from auricle.errors import InvalidArgumentError

if TYPE_CHECKING:
    import keras

__all__ = ["BANDS", "FRAMES", "LAYERS", "build", "need_keras", "read_weights"]

FRAMES = 43
BANDS = 232
# The layers that have weights, in order; the bundle's initialisers are named after them.
LAYERS = ("conv_1", "conv_2", "conv_3", "conv_4", "embedding", "classes")
DROPOUT_BEFORE = 0.25
DROPOUT_AFTER = 0.5


def need_keras() -> Any:
    """The module ``keras``. InvalidArgumentError says how to install it."""
    try:
        import keras
    except ImportError as error:
        raise InvalidArgumentError(
            "training needs Keras and TensorFlow, which are not installed; pip install 'auricle[train]'"
        ) from error
    return keras


def build(
    classes: int,
    *,
    dense_units: int = 2000,
    frozen: Mapping[str, NDArray[np.float32]] | None = None,
) -> keras.Model:
    """The network of tfjs speech-commands: f32 (n, 43, 232, 1) -> softmax scores (n, classes).

    Args:
        classes: at least 2.
        dense_units: length of the embedding, the last layer but one.
        frozen: weights by initialiser name, see ``export.read_layers``: the layers up to the embedding get them and
            do not learn.
    """
    keras = need_keras()
    if classes < 2:
        raise InvalidArgumentError(f"a classifier has at least 2 classes, not {classes}")
    layers = keras.layers

    def conv(number: int, filters: int, width: int) -> Any:
        return layers.Conv2D(
            filters, (2, width), activation="relu", kernel_initializer="he_normal", name=f"conv_{number}"
        )

    model = keras.Sequential(
        [
            keras.Input((FRAMES, BANDS, 1), name="features"),
            conv(1, 8, 8),
            layers.MaxPooling2D((2, 2)),
            conv(2, 32, 4),
            layers.MaxPooling2D((2, 2)),
            conv(3, 32, 4),
            layers.MaxPooling2D((2, 2)),
            conv(4, 32, 4),
            layers.MaxPooling2D((2, 2), strides=(1, 2)),
            layers.Flatten(),
            layers.Dropout(DROPOUT_BEFORE),
            layers.Dense(dense_units, activation="relu", kernel_initializer="he_normal", name="embedding"),
            layers.Dropout(DROPOUT_AFTER),
            layers.Dense(classes, activation="softmax", name="classes"),
        ],
        name="browser_fft",
    )
    for name in LAYERS[:-1] if frozen else ():
        layer = model.get_layer(name)
        layer.set_weights([frozen[f"{name}.kernel"], frozen[f"{name}.bias"]])  # type: ignore[index]
        layer.trainable = False
    return model


def read_weights(model: keras.Model) -> dict[str, NDArray[np.float32]]:
    """``LAYER.kernel`` and ``LAYER.bias`` of every layer, in Keras's order of axes."""
    found: dict[str, NDArray[np.float32]] = {}
    for name in LAYERS:
        kernel, bias = model.get_layer(name).get_weights()
        found |= {f"{name}.kernel": np.asarray(kernel, np.float32), f"{name}.bias": np.asarray(bias, np.float32)}
    return found
