"""What both tasks have in common: the sound that they take, and their life."""

from __future__ import annotations

from types import TracebackType
from typing import Generic, Self, TypeVar

from auricle.task.backend import Backend
from auricle.task.failures import plain_errors
from auricle.task.record import AudioRecord
from auricle.task.tensor import AudioFormat, TensorAudio

__all__ = ["AudioTask"]

Result = TypeVar("Result")


class AudioTask(Generic[Result]):
    """A model that takes a buffer of sound; a context manager. Any number of threads may use it."""

    def __init__(self, backend: Backend[Result]) -> None:
        self._backend = backend

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Gives the connection or the model back."""
        self._backend.close()

    @property
    def required_audio_format(self) -> AudioFormat:
        """Channels and rate that the model takes."""
        return self._backend.format

    @property
    def required_input_buffer_size(self) -> int:
        """Samples of each channel that the model takes at once.

        ValueError for a model that takes whole clips and names no usual length: any TensorAudio will do.
        """
        if self._backend.usual_size is None:
            raise ValueError(
                "the model takes whole clips of any length, so no buffer size is required; "
                "make a TensorAudio(required_audio_format, buffer_size) of the size that you want"
            )
        return self._backend.usual_size

    def create_input_tensor_audio(self) -> TensorAudio:
        """A buffer of zeros in the format and of the size that the model takes."""
        return TensorAudio(self.required_audio_format, self.required_input_buffer_size)

    def create_audio_record(self, *, device: str | int | None = None) -> AudioRecord:
        """A microphone in the format and of the size that the model takes; see `AudioRecord`."""
        wanted = self.required_audio_format
        return AudioRecord(wanted.channels, wanted.sample_rate, self.required_input_buffer_size, device=device)

    def _run(self, sound: TensorAudio) -> Result:
        self._backend.check(sound)
        with plain_errors():
            return self._backend.run(sound.buffer[:, 0])
