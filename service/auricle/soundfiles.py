"""Sound files through libsndfile: their samples in blocks, read the same way by the engine and by a client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import soundfile
from numpy.typing import NDArray

from auricle.containers import truncated
from auricle.errors import AudioError

__all__ = ["blocks", "encoding_of", "known_frames", "reason"]

# libsndfile's float32 read costs many times its int16 read; these lose nothing in 16 bits, which are half as many on
# the wire, too.
INT16_SUBTYPES = frozenset({"PCM_16", "PCM_S8", "PCM_U8", "ULAW", "ALAW"})
# libsndfile's word for a length that the header does not give.
UNKNOWN_FRAMES = 1 << 62


def encoding_of(file: soundfile.SoundFile) -> Literal["s16le", "f32le"]:
    """The encoding that an open file's samples are read in."""
    return "s16le" if file.subtype in INT16_SUBTYPES else "f32le"


def known_frames(file: soundfile.SoundFile) -> int | None:
    """Sample frames by the header; None where it does not say."""
    frames: int = file.frames
    return frames if frames < UNKNOWN_FRAMES else None


def blocks(
    file: soundfile.SoundFile, block_frames: int, name: str, *, field: str | None = None
) -> Iterator[NDArray[Any]]:
    """An open file's samples to its end, int16 or float32 (frames, channels), as ``encoding_of`` says.

    Args:
        block_frames: most frames in a block.
        name: of the file, for messages.
        field: of the request, where it came in one.

    Raises AudioError where it breaks off.
    """
    dtype = "int16" if encoding_of(file) == "s16le" else "float32"
    # soundfile seeks after every read of a file that can, and an MP3 decoder starts anew there, with a glitch.
    file.seekable = lambda: False
    frames = 0
    while True:
        try:
            block = file.read(block_frames, dtype=dtype, always_2d=True)
        except soundfile.SoundFileError as error:
            raise AudioError(
                f"{name} breaks off or is damaged at or after {frames} sample frames "
                f"({frames / file.samplerate:.2f} s): {reason(error)}",
                field=field,
                reason="AUDIO_UNDECODABLE",
            ) from error
        if not len(block):
            break
        frames += len(block)
        yield block
    promised = known_frames(file)
    if promised is not None and frames < promised:
        raise truncated(name, f"its header promises {promised} sample frames, {frames} are there", field=field)


def reason(error: soundfile.SoundFileError) -> str:
    """libsndfile's reason as a sentence."""
    text = str(getattr(error, "error_string", error)).strip()
    return text if text.endswith(".") else text + "."
