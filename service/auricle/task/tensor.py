"""The sound that a task takes: a buffer of fixed size that keeps the newest samples."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from auricle.task.record import AudioRecord

__all__ = ["AudioFormat", "TensorAudio"]

# Samples as files and sound cards hold them: their full scale is not 1, so that taking them as they are would
# feed the model noise 32768 times too loud.
PCM_TYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32")


@dataclass(frozen=True)
class AudioFormat:
    """Channels and samples a second (Hz)."""

    channels: int
    sample_rate: int


class TensorAudio:
    """Samples float32 (buffer_size, channels), full scale 1.0, all zeros at first.

    Args:
        audio_format: what a task's ``required_audio_format`` says.
        buffer_size: samples of each channel, above 0; what its ``required_input_buffer_size`` says.

    Raises ValueError where either is not above 0.
    """

    def __init__(self, audio_format: AudioFormat, buffer_size: int) -> None:
        for name, value in (
            ("buffer_size", buffer_size),
            ("channels", audio_format.channels),
            ("sample_rate", audio_format.sample_rate),
        ):
            if value <= 0:
                raise ValueError(f"{name} should be positive, but got {value}.")
        self._format = audio_format
        self._buffer = np.zeros((buffer_size, audio_format.channels), np.float32)

    @classmethod
    def create_from_wav_file(cls, file_name: str | PathLike[str], sample_count: int, offset: int = 0) -> TensorAudio:
        """A buffer of a file's rate and channels with ``sample_count`` of its samples.

        A file that ends earlier is followed by zeros, as a last segment is on a server.

        Args:
            file_name: any format that libsndfile reads.
            sample_count: size of the buffer in samples of each channel, above 0.
            offset: the first sample to take, from 0 to the file's length.

        Raises:
            ValueError: a count or offset out of range, or a file that cannot be decoded.
            FileNotFoundError: there is no such file.
        """
        with open(file_name, "rb") as raw:  # noqa: PTH123 - takes str and PathLike alike
            try:
                with soundfile.SoundFile(raw) as file:
                    if not 0 <= offset <= file.frames:
                        raise ValueError(
                            f"offset {offset} is out of range: {file_name} has {file.frames} samples at "
                            f"{file.samplerate} Hz"
                        )
                    tensor = cls(AudioFormat(file.channels, file.samplerate), sample_count)
                    file.seek(offset)
                    samples = file.read(sample_count, dtype="float32", always_2d=True)
            except soundfile.SoundFileError as error:
                raise ValueError(f"{file_name} cannot be decoded: {error}") from error
        tensor._buffer[: len(samples)] = samples
        return tensor

    @property
    def format(self) -> AudioFormat:
        """Channels and rate."""
        return self._format

    @property
    def buffer_size(self) -> int:
        """Samples of each channel."""
        return len(self._buffer)

    @property
    def buffer(self) -> NDArray[np.float32]:
        """The samples themselves, oldest first, f32 (buffer_size, channels); not a copy."""
        return self._buffer

    def clear(self) -> None:
        """Sets all samples to 0."""
        self._buffer.fill(0.0)

    def load_from_array(self, src: NDArray[Any], offset: int = 0, size: int = -1) -> None:
        """Takes ``size`` samples from ``src[offset:]``; -1 takes all that are left.

        At least a buffer's worth: the newest are kept. Less: what is there moves towards the start and they follow.

        Args:
            src: samples (n, channels), or (n,) of one channel, floats with a full scale of 1.0.

        Raises ValueError that names both values: another number of channels, a range outside ``src``, integer PCM,
        complex numbers.
        """
        samples = self._checked(src)
        count = len(samples)
        if offset < 0 or size < -1 or offset > count or (size != -1 and offset + size > count):
            wanted = f"offset {offset} + size {size}" if size != -1 else f"offset {offset}"
            raise ValueError(f"{wanted} is out of range: the array has {count} samples")
        samples = samples[offset:] if size == -1 else samples[offset : offset + size]
        kept = self.buffer_size - len(samples)
        if kept <= 0:
            self._buffer[:] = samples[-self.buffer_size :]
            return
        # Overlapping ranges of one array; NumPy copies them as if by way of a second one.
        self._buffer[:kept] = self._buffer[len(samples) :]
        self._buffer[kept:] = samples

    def load_from_audio_record(self, record: AudioRecord) -> None:
        """Takes the newest ``buffer_size`` samples that a record has; zeros where it has fewer yet.

        Raises ValueError that names both values: its buffer is smaller, or its channels or rate are others.
        """
        if record.buffer_size < self.buffer_size:
            raise ValueError(
                f"the AudioRecord's buffer holds {record.buffer_size} samples, which is less than this "
                f"TensorAudio's {self.buffer_size}"
            )
        if record.channels != self._format.channels:
            raise ValueError(
                f"the AudioRecord has {record.channels} channels, but this TensorAudio has {self._format.channels}"
            )
        if record.sampling_rate != self._format.sample_rate:
            raise ValueError(
                f"the AudioRecord records at {record.sampling_rate} Hz, but this TensorAudio is at "
                f"{self._format.sample_rate} Hz"
            )
        self.load_from_array(record.read(self.buffer_size))

    def _checked(self, src: NDArray[Any]) -> NDArray[Any]:
        samples = np.asarray(src)
        if samples.dtype.name in PCM_TYPES:
            raise ValueError(
                f"the array holds {samples.dtype} samples; make them floats with a full scale of 1.0, "
                "e.g. int16 / 32768"
            )
        if samples.dtype.kind == "c":
            raise ValueError(f"the array holds {samples.dtype} values, but samples are real; take .real, or abs()")
        if samples.ndim == 1:
            samples = samples[:, np.newaxis]
        channels = self._format.channels
        if samples.ndim != 2 or samples.shape[1] != channels:
            shape = "x".join(map(str, np.shape(src)))
            found = f"{samples.shape[1]} channels" if samples.ndim == 2 else f"{samples.ndim} axes"
            raise ValueError(f"the array of shape {shape} has {found}, but this TensorAudio has {channels} channels")
        return samples
