"""Bytes to blocks of samples: encoded files through libsndfile, raw PCM as it is."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import soundfile
from numpy.typing import NDArray

from auricle import soundfiles
from auricle.config import Limits
from auricle.containers import check_whole, without_tag
from auricle.engine.wav import find_samples
from auricle.errors import AudioError, LimitError
from auricle.frontend import PCM_BYTES

__all__ = ["Block", "Sound", "SoundFormat", "open_at_once", "open_content", "open_pcm"]

Buffer = bytes | memoryview
# What the PCM kernels take: raw interleaved bytes, or what libsndfile gives, (frames, channels).
Block = bytes | memoryview | NDArray[np.int16] | NDArray[np.float32]

BLOCK_FRAMES = 65536
# A larger file may take milliseconds to open: some decoders search it to its end.
SMALL_BYTES = 32768
FORMATS = "WAV, FLAC, OGG Vorbis or Opus, MP3 or AIFF"


@dataclass(frozen=True, kw_only=True, slots=True)
class SoundFormat:
    """How samples are laid out: encoding ``s16le``, ``f32le``, ``mulaw`` or ``alaw``, Hz, channels interleaved."""

    encoding: str
    sample_rate_hz: int
    channels: int = 1

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of every channel."""
        return PCM_BYTES[self.encoding] * self.channels

    def check(self, limits: Limits, field: str) -> None:
        """Raises LimitError for a rate or a channel count outside the limits."""
        if not limits.min_rate_hz <= self.sample_rate_hz <= limits.max_rate_hz:
            raise LimitError(
                f"sample_rate_hz must be {limits.min_rate_hz} to {limits.max_rate_hz}, but is {self.sample_rate_hz}",
                field=f"{field}.sample_rate_hz",
            )
        if not 1 <= self.channels <= limits.channels:
            raise LimitError(
                f"channels must be 1 to {limits.channels}, but is {self.channels}; mix down before sending",
                field=f"{field}.channels",
            )


@dataclass(frozen=True, slots=True)
class Sound:
    """A sound that is ready to be read: its format and its blocks, decoded as they are asked for.

    ``stored_samples`` counts those of all channels where they are read as they lie, at no cost; else it is None.
    """

    format: SoundFormat
    blocks: Iterator[Block]
    stored_samples: int | None = None


def open_pcm(format: SoundFormat, data: Buffer, limits: Limits) -> Sound:  # noqa: A002 - the field's name
    """Raw samples as a Sound. LimitError, or AudioError where ``data`` is no whole number of sample frames."""
    format.check(limits, "audio.pcm.format")
    _check_content(len(data), limits, "audio.pcm.data")
    rest = len(data) % format.frame_bytes
    if rest:
        raise AudioError(
            f"audio.pcm.data has {len(data)} bytes, which is no whole number of {format.frame_bytes}-byte sample "
            f"frames ({format.encoding} x {format.channels} channels): {rest} left over",
            field="audio.pcm.data",
            reason="AUDIO_SPLIT_SAMPLE",
        )
    return _stored_sound(memoryview(data), format, limits)


def _stored_sound(data: memoryview, sound_format: SoundFormat, limits: Limits) -> Sound:
    frames = len(data) // sound_format.frame_bytes
    _check_length(frames, sound_format, limits)
    blocks = _stored_blocks(data, sound_format.frame_bytes * BLOCK_FRAMES)
    return Sound(sound_format, blocks, frames * sound_format.channels)


def _stored_blocks(data: memoryview, size: int) -> Iterator[Block]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def open_at_once(content: Buffer, limits: Limits) -> Sound | None:
    """As ``open_content`` where that takes half a millisecond at most, so that an event loop may call it; else None."""
    sound = _open_stored(content, limits)
    return open_content(content, limits) if sound is None and len(content) <= SMALL_BYTES else sound


def open_content(content: Buffer, limits: Limits) -> Sound:
    """A file as a Sound; nothing is decoded yet. Samples that a WAV holds as they are become views of ``content``.

    Raises AudioError (empty, unknown format, truncated) or LimitError, from the header where it tells and
    else while the blocks are read, so that a small file that decodes to a large one is never held whole.
    """
    stored = _open_stored(content, limits)
    if stored is not None:
        return stored
    stream = _Content(content)
    check_whole(stream, "audio.content", field="audio.content")
    try:
        file = soundfile.SoundFile(without_tag(stream))
    except soundfile.SoundFileError as error:
        raise AudioError(
            f"audio.content cannot be read as {FORMATS}: {soundfiles.reason(error)} It begins with "
            f"{bytes(content[:8])!r}; convert it to one of them, or say what raw samples are, as PCM",
            field="audio.content",
            reason="AUDIO_UNDECODABLE",
        ) from error
    sound_format = SoundFormat(
        encoding=soundfiles.encoding_of(file), sample_rate_hz=file.samplerate, channels=file.channels
    )
    try:
        sound_format.check(limits, "audio.content")
        if (frames := soundfiles.known_frames(file)) is not None:
            _check_length(frames, sound_format, limits)
    except LimitError:
        file.close()
        raise
    return Sound(sound_format, _decoded_blocks(file, sound_format, limits))


def _open_stored(content: Buffer, limits: Limits) -> Sound | None:
    """The sound of a file that holds its samples as they are; None where a decoder has to see it."""
    if not content:
        raise AudioError(
            "audio.content is empty; send the bytes of a file", field="audio.content", reason="AUDIO_EMPTY"
        )
    _check_content(len(content), limits, "audio.content")
    stored = find_samples(content)
    if stored is None:
        return None
    encoding, rate_hz, channels, start, stop = stored
    sound_format = SoundFormat(encoding=encoding, sample_rate_hz=rate_hz, channels=channels)
    sound_format.check(limits, "audio.content")
    return _stored_sound(memoryview(content)[start:stop], sound_format, limits)


def _decoded_blocks(file: soundfile.SoundFile, sound_format: SoundFormat, limits: Limits) -> Iterator[Block]:
    frames = 0
    with file:
        for block in soundfiles.blocks(file, BLOCK_FRAMES, "audio.content", field="audio.content"):
            frames += len(block)
            _check_length(frames, sound_format, limits)
            yield block


def _check_content(size: int, limits: Limits, field: str) -> None:
    if size > limits.content_bytes:
        raise LimitError(
            f"{field} has {size} bytes, over the limit content_bytes = {limits.content_bytes}; stream it instead",
            field=field,
        )


def _check_length(frames: int, sound_format: SoundFormat, limits: Limits) -> None:
    duration_s = frames / sound_format.sample_rate_hz
    if duration_s > limits.duration_s:
        raise LimitError(
            f"the sound lasts {duration_s:.1f} s or more, over the limit duration_s = {limits.duration_s:g}; "
            "stream it instead",
            field="audio",
        )
    size = frames * sound_format.channels * 4
    if size > limits.decoded_bytes:
        raise LimitError(
            f"the sound decodes to {size} bytes or more ({sound_format.channels} channels), over the limit "
            f"decoded_bytes = {limits.decoded_bytes}; stream it instead",
            field="audio",
        )


class _Content(io.BytesIO):
    """What libsndfile reads. Its seek before the start of a damaged file fails quietly, as a file's does in C."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        try:
            return super().seek(offset, whence)
        except ValueError:
            return self.tell()
