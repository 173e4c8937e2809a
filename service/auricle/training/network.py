"""The browser-FFT network in Keras: convolutions over 43 frames of 232 bins, a dense layer, the classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from auricle.errors import InvalidArgumentError
from auricle.training.architecture import BANDS, FRAMES, TFJS, Architecture, Convolution

if TYPE_CHECKING:
    import keras

__all__ = ["Network", "average", "build", "level", "need_keras", "read_network"]

# Augmentation makes every example new: the halves and quarters of tfjs's network only slow it down.
DROPOUT = 0.2
# A small data set has a few steps an epoch, and its averages must settle in them.
NORM_MOMENTUM = 0.95
_NORM = "_norm"


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """A trained network.

    Attributes:
        weights: ``LAYER.kernel`` and ``LAYER.bias`` of every layer, f32, in Keras's order of axes.
    """

    architecture: Architecture
    weights: Mapping[str, NDArray[np.float32]]


def need_keras() -> Any:
    """The module ``keras``. InvalidArgumentError says how to install it."""
    try:
        import keras
    except ImportError as error:
        raise InvalidArgumentError(
            "training needs Keras and TensorFlow, which are not installed; pip install 'auricle[train]'"
        ) from error
    return keras


def build(classes: int, architecture: Architecture = TFJS, *, frozen: Network | None = None) -> keras.Model:
    """An untrained network: f32 (n, 43, 232, 1) -> softmax scores (n, classes).

    It learns with batch normalisation (Ioffe and Szegedy, 2015) after every layer but the last, which ``read_network``
    folds into the layer: what is exported is the plain network. A normalisation that only shifts and divides keeps
    the order of values, so it may follow the pooling, where there is a quarter of them.

    Args:
        classes: at least 2.
        frozen: its layers up to the embedding are taken, architecture and weights, and do not learn.
    """
    keras = need_keras()
    if classes < 2:
        raise InvalidArgumentError(f"a classifier has at least 2 classes, not {classes}")
    layers, learns = keras.layers, frozen is None
    if frozen is not None:
        architecture = frozen.architecture

    def after(name: str) -> list[Any]:
        norm = layers.BatchNormalization(momentum=NORM_MOMENTUM, scale=False, name=f"{name}{_NORM}")
        return [*([norm] if learns else []), layers.ReLU(name=f"{name}_relu")]

    def conv(name: str, settings: Convolution) -> list[Any]:
        made = layers.Conv2D(
            settings.filters,
            settings.kernel,
            strides=settings.strides,
            padding="same" if settings.padded else "valid",
            use_bias=not learns,
            kernel_initializer="he_normal",
            name=name,
        )
        return [made, layers.MaxPooling2D(settings.pool, settings.pool_strides, name=f"{name}_pool"), *after(name)]

    *names, embedding, last = architecture.layers
    dense = layers.Dense(architecture.dense_units, use_bias=not learns, kernel_initializer="he_normal", name=embedding)
    model = keras.Sequential(
        [
            keras.Input((FRAMES, BANDS, 1), name="features"),
            *(
                layer
                for name, settings in zip(names, architecture.convolutions, strict=True)
                for layer in conv(name, settings)
            ),
            layers.Flatten(),
            dense,
            *after(embedding),
            layers.Dropout(DROPOUT),
            layers.Dense(classes, activation="softmax", name=last),
        ],
        name="browser_fft",
    )
    if frozen is not None:
        for name in (*names, embedding):
            layer = model.get_layer(name)
            layer.set_weights([frozen.weights[f"{name}.kernel"], frozen.weights[f"{name}.bias"]])
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


def read_network(model: keras.Model) -> Network:
    """What ``build`` made and training changed, normalisations folded in."""
    layers, weights = {layer.name: layer for layer in model.layers}, dict[str, NDArray[np.float32]]()
    architecture = _architecture(layers)
    for name in architecture.layers:
        kernel, *bias = (np.asarray(array, np.float64) for array in layers[name].get_weights())
        shift = bias[0] if bias else np.zeros(kernel.shape[-1])
        if (norm := layers.get(f"{name}{_NORM}")) is not None:
            beta, mean, variance = (np.asarray(array, np.float64) for array in norm.get_weights())
            divisor = np.sqrt(variance + norm.epsilon)
            kernel, shift = kernel / divisor, (shift - mean) / divisor + beta
        weights |= {f"{name}.kernel": kernel.astype(np.float32), f"{name}.bias": shift.astype(np.float32)}
    return Network(architecture=architecture, weights=weights)


def _architecture(layers: Mapping[str, Any]) -> Architecture:
    convolutions = tuple(
        Convolution(
            filters=layer.filters,
            kernel=layer.kernel_size,
            strides=layer.strides,
            padded=layer.padding == "same",
            pool=layers[f"{name}_pool"].pool_size,
            pool_strides=layers[f"{name}_pool"].strides,
        )
        for name, layer in layers.items()
        if f"{name}_pool" in layers
    )
    return Architecture(convolutions=convolutions, dense_units=layers["embedding"].units)
