"""Architecture: a network over the browser's spectrum as data, which Keras builds and ONNX is written from."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BANDS", "FRAMES", "TFJS", "Architecture", "Convolution", "layer_names"]

Pair = tuple[int, int]

FRAMES = 43
BANDS = 232


@dataclass(frozen=True, kw_only=True, slots=True)
class Convolution:
    """A convolution and the pooling after it. Pairs are of frames and bands.

    Attributes:
        filters: how many.
        kernel: its size; ``strides``: its steps.
        padded: whether zeros around the input make it as large as its output times the strides (Keras's "same");
            else the kernel stays inside (its "valid").
        pool: size of what the greatest value is taken of; ``pool_strides``: its steps. It stays inside.
    """

    filters: int
    kernel: Pair
    strides: Pair = (1, 1)
    padded: bool = False
    pool: Pair = (2, 2)
    pool_strides: Pair = (2, 2)


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """Convolutions, a dense layer, whose output is the embedding, and the classes; rectified after each but the last.

    Attributes:
        convolutions: from the features (43, 232) on, in order.
        dense_units: length of the embedding.
    """

    convolutions: tuple[Convolution, ...]
    dense_units: int

    @property
    def layers(self) -> tuple[str, ...]:
        """See ``layer_names``."""
        return layer_names(len(self.convolutions))


def layer_names(convolutions: int) -> tuple[str, ...]:
    """Names of the layers that have weights, in order; a bundle's initialisers are named after them."""
    return (*(f"conv_{number}" for number in range(1, convolutions + 1)), "embedding", "classes")


# That of tfjs speech-commands, and so of Model Maker's BrowserFftSpec.
TFJS = Architecture(
    convolutions=(
        Convolution(filters=8, kernel=(2, 8)),
        Convolution(filters=32, kernel=(2, 4)),
        Convolution(filters=32, kernel=(2, 4)),
        Convolution(filters=32, kernel=(2, 4), pool_strides=(1, 2)),
    ),
    dense_units=2000,
)
