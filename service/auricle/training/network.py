"""The browser-FFT network in Keras: four convolutions over 43 frames of 232 bins, a dense layer, the classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from auricle.errors import InvalidArgumentError

if TYPE_CHECKING:
    import keras

__all__ = ["BANDS", "FILTERS", "FRAMES", "LAYERS", "average", "build", "level", "need_keras", "read_weights"]

FRAMES = 43
BANDS = 232
# Of tfjs's convolutions.
FILTERS = (8, 32, 32, 32)
# The layers that have weights, in order; the bundle's initialisers are named after them.
LAYERS = ("conv_1", "conv_2", "conv_3", "conv_4", "embedding", "classes")
# Augmentation makes every example new: the halves and quarters of tfjs's network only slow it down.
DROPOUT = 0.2
# A small data set has a few steps an epoch, and its averages must settle in them.
NORM_MOMENTUM = 0.95
_NORM = "_norm"


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
    filters: Sequence[int] = FILTERS,
    dense_units: int = 2000,
    frozen: Mapping[str, NDArray[np.float32]] | None = None,
) -> keras.Model:
    """The network of tfjs speech-commands: f32 (n, 43, 232, 1) -> softmax scores (n, classes).

    It learns with batch normalisation (Ioffe and Szegedy, 2015) after every layer but the last, which ``read_weights``
    folds into the layer: what is exported is the plain network. A normalisation that only shifts and divides keeps
    the order of values, so it may follow the pooling, where there is a quarter of them.

    Args:
        classes: at least 2.
        filters: of each convolution.
        dense_units: length of the embedding, the last layer but one.
        frozen: weights by initialiser name, see ``export.read_layers``: the layers up to the embedding get them and
            do not learn, and are as wide as those.
    """
    keras = need_keras()
    if classes < 2:
        raise InvalidArgumentError(f"a classifier has at least 2 classes, not {classes}")
    layers, learns = keras.layers, frozen is None
    if frozen:
        *filters, dense_units = (frozen[f"{name}.bias"].size for name in LAYERS[:-1])

    def after(name: str) -> list[Any]:
        norm = layers.BatchNormalization(momentum=NORM_MOMENTUM, scale=False, name=f"{name}{_NORM}")
        return [*([norm] if learns else []), layers.ReLU(name=f"{name}_relu")]

    def conv(number: int, width: int, strides: tuple[int, int] = (2, 2)) -> list[Any]:
        name, size = f"conv_{number}", (2, width)
        made = layers.Conv2D(filters[number - 1], size, use_bias=not learns, kernel_initializer="he_normal", name=name)
        return [made, layers.MaxPooling2D((2, 2), strides=strides), *after(name)]

    dense = layers.Dense(dense_units, use_bias=not learns, kernel_initializer="he_normal", name="embedding")
    model = keras.Sequential(
        [
            keras.Input((FRAMES, BANDS, 1), name="features"),
            *conv(1, 8),
            *conv(2, 4),
            *conv(3, 4),
            *conv(4, 4, (1, 2)),
            layers.Flatten(),
            dense,
            *after("embedding"),
            layers.Dropout(DROPOUT),
            layers.Dense(classes, activation="softmax", name="classes"),
        ],
        name="browser_fft",
    )
    for name in LAYERS[:-1] if frozen else ():
        layer = model.get_layer(name)
        layer.set_weights([frozen[f"{name}.kernel"], frozen[f"{name}.bias"]])  # type: ignore[index]
        layer.trainable = False
    return model


def average(models: Sequence[keras.Model]) -> None:
    """Gives the first of the networks the mean of all their weights (model soup, Wortsman et al., 2022).

    It knows strangers as their mean score does, where all have started from one network and not gone far from it.
    """
    models[0].set_weights(
        [np.mean(same, axis=0) for same in zip(*(each.get_weights() for each in models), strict=True)]
    )


def level(model: keras.Model, shares: NDArray[np.float64]) -> None:
    """Takes from each class the lead that it had by having more examples (logit adjustment, Menon et al., 2021).

    Args:
        shares: f64 (classes,), of the examples that were learned from; all above 0.
    """
    layer = model.get_layer("classes")
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel, bias - np.log(shares)])


def read_weights(model: keras.Model) -> dict[str, NDArray[np.float32]]:
    """``LAYER.kernel`` and ``LAYER.bias`` of every layer, in Keras's order of axes, normalisations folded in."""
    layers, found = {layer.name: layer for layer in model.layers}, dict[str, NDArray[np.float32]]()
    for name in LAYERS:
        kernel, *bias = (np.asarray(array, np.float64) for array in layers[name].get_weights())
        shift = bias[0] if bias else np.zeros(kernel.shape[-1])
        if (norm := layers.get(f"{name}{_NORM}")) is not None:
            beta, mean, variance = (np.asarray(array, np.float64) for array in norm.get_weights())
            divisor = np.sqrt(variance + norm.epsilon)
            kernel, shift = kernel / divisor, (shift - mean) / divisor + beta
        found |= {f"{name}.kernel": kernel.astype(np.float32), f"{name}.bias": shift.astype(np.float32)}
    return found
