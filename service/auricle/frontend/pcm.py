"""PCM conversion: stored sample frames of four encodings to one channel of float32."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from auricle.errors import AudioError, OptionError

from .dispatch import load

__all__ = ["PCM_BYTES", "pcm_to_mono"]

_kernel = load("pcm")

# Bytes of one sample of one channel.
PCM_BYTES = {"s16le": 2, "f32le": 4, "mulaw": 1, "alaw": 1}

_MAX_CHANNELS = 2048
_TOO_LARGE = 2.0**20


def pcm_to_mono(
    data: bytes | bytearray | memoryview | NDArray[Any], encoding: str, channels: int, *, first_frame: int = 0
) -> NDArray[np.float32]:
    """Decodes interleaved PCM and mixes it down to the mean of its channels, in one pass.

    Integers are scaled by 1/32768, G.711 codes by way of their 16-bit values (ITU-T G.711, tables 1a and 2a), floats
    stand for themselves; mono floats pass through untouched. The GIL is released.

    Args:
        data: whole sample frames as bytes, at any address, read where they lie; or a C-contiguous int16 or float32
            array (n, channels), as soundfile gives it (one that is not contiguous is copied first).
        encoding: a key of ``PCM_BYTES``; for an array of numbers the one that stands for its type.
        channels: 1 to 2048.
        first_frame: the frame of the whole sound that ``data`` begins with; errors count from that sound's start.

    Returns:
        f32 (n,), one value a frame.

    Raises:
        OptionError: the encoding is unknown, the channel count out of range, or an array says otherwise.
        AudioError: ``AUDIO_SPLIT_SAMPLE`` where the data is no whole number of frames, ``AUDIO_NOT_FINITE`` where a
            float is NaN or infinite, ``AUDIO_OUT_OF_RANGE`` where one is 2^20 or more: features of it would overflow.
    """
    if encoding not in PCM_BYTES:
        raise OptionError(f"PCM encoding {encoding!r} is unknown; use one of: {', '.join(PCM_BYTES)}", field="encoding")
    if not 1 <= channels <= _MAX_CHANNELS:
        raise OptionError(f"{channels} channels are out of range; use 1 to {_MAX_CHANNELS}", field="channels")
    if isinstance(data, np.ndarray):
        data = _checked(data, encoding, channels).data
    view = memoryview(data)
    frame_bytes = PCM_BYTES[encoding] * channels
    frames, rest = divmod(view.nbytes, frame_bytes)
    if rest:
        raise AudioError(
            f"{view.nbytes} bytes are {frames} whole frames of {frame_bytes} bytes ({encoding}, {channels} channels) "
            f"and {rest} bytes of another; send whole frames",
            field="audio",
            reason="AUDIO_SPLIT_SAMPLE",
        )
    out = np.empty(frames, np.float32)
    if frames:
        octets = view.cast("B")
        block = _kernel.to_mono(octets, _kernel.ENCODINGS[encoding], channels, out)
        if block >= 0:
            raise _bad_sample(octets, channels, block, first_frame)
    return out


def _checked(data: NDArray[Any], encoding: str, channels: int) -> NDArray[Any]:
    """An array whose type and shape agree with what the caller says of it, contiguous."""
    wanted = {"s16le": "<i2", "f32le": "<f4"}.get(encoding, "|u1")
    if data.dtype.str not in (wanted, "|u1"):
        raise OptionError(
            f"an array of {data.dtype} is not {encoding}; convert it to {np.dtype(wanted).name}", field="encoding"
        )
    if data.ndim == 2 and data.shape[1] != channels:
        raise OptionError(
            f"an array of shape {data.shape} does not hold {channels} channels; its second axis is the channel",
            field="channels",
        )
    return np.ascontiguousarray(data)


def _bad_sample(octets: memoryview, channels: int, block: int, first_frame: int) -> AudioError:
    """Finds the sample that the kernel met in the block of frames that begins at ``block``."""
    samples = np.frombuffer(octets, "<f4", offset=block * channels * 4)
    place = int(np.argmin(np.abs(samples) < _TOO_LARGE))
    sample = samples[place]
    said = f"sample {first_frame + block + place // channels} of channel {place % channels} is {sample:g}"
    if np.isfinite(sample):
        return AudioError(
            f"{said}, far outside -1 to 1; divide integers by their full scale",
            field="audio",
            reason="AUDIO_OUT_OF_RANGE",
        )
    return AudioError(f"{said}, not a finite number; repair or drop it", field="audio", reason="AUDIO_NOT_FINITE")
