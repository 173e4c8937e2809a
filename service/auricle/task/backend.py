"""What a task runs on: a model in this process or on a server, made ready for one kind of answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from auricle.task.tensor import AudioFormat, TensorAudio

__all__ = ["Backend", "Floats"]

Floats = NDArray[np.float32]
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Backend(Generic[Result]):
    """A model that is ready.

    Attributes:
        format: the sound that it takes.
        buffer_size: samples of each channel that it takes at once; None: any number, the whole clip.
        usual_size: the size of a buffer that is made for it; None where nothing says.
        dimensions: the length of each answering head's output.
        run: samples (n,) at the model's rate -> the result. Raises errors of the tree.
        close: gives back what it holds.
    """

    format: AudioFormat
    buffer_size: int | None
    usual_size: int | None
    dimensions: tuple[int, ...]
    run: Callable[[Floats], Result]
    close: Callable[[], None]

    def check(self, sound: TensorAudio) -> None:
        """ValueError that names both values, where the sound has other channels, another rate or another size."""
        if sound.format.channels != self.format.channels:
            raise ValueError(
                f"the audio has {sound.format.channels} channels, but the model takes {self.format.channels}"
            )
        if sound.format.sample_rate != self.format.sample_rate:
            raise ValueError(
                f"the audio has a sample rate of {sound.format.sample_rate} Hz, but the model takes "
                f"{self.format.sample_rate} Hz"
            )
        if self.buffer_size is not None and sound.buffer_size != self.buffer_size:
            raise ValueError(
                f"the audio has a buffer of {sound.buffer_size} samples, but the model takes {self.buffer_size}"
            )
