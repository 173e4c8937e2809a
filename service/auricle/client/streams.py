"""How a stream of the caller's own begins: its format and where its chunks come from."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Iterable
from typing import TypeAlias

from auricle.client.audio import Chunk, Pcm, open_long
from auricle.client.options import wire_format
from auricle.errors import OptionError
from auricle.v1 import auricle_pb2 as pb

__all__ = ["AnyChunks", "Chunks", "open_chunks"]

Chunks: TypeAlias = str | os.PathLike[str] | Pcm | Iterable[Chunk]
AnyChunks: TypeAlias = Chunks | AsyncIterable[Chunk]


def open_chunks(
    source: AnyChunks, sample_rate_hz: int | None, channels: int | None, encoding: str | None
) -> tuple[pb.PcmFormat, Iterable[Chunk] | AsyncIterable[Chunk]]:
    """Gives a stream's format and chunks. Blocks on a file's header.

    Args:
        source: a path (decoded here, format as in the file), a Pcm, or chunks one after another.
        sample_rate_hz: of chunks: required, 4000 to 192000.
        channels: of chunks: 1 where None.
        encoding: of chunks: "s16le" where None.

    Raises:
        OptionError: chunks without a rate, or a format given for what has its own.
        OSError, AudioError: a file that cannot be read or decoded.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        raise OptionError("a stream takes a path, a Pcm or an iterable of chunks, not bytes; wrap them: [content]")
    if isinstance(source, str | os.PathLike | Pcm):
        given = {"sample_rate_hz": sample_rate_hz, "channels": channels, "encoding": encoding}
        if any(value is not None for value in given.values()):
            names = ", ".join(name for name, value in given.items() if value is not None)
            raise OptionError(f"{names} given, but a file or Pcm has its own; leave it out")
        long = open_long(source)
        return long.format, long.chunks()
    if sample_rate_hz is None:
        raise OptionError("chunks do not say their sample rate; pass sample_rate_hz=", field="config.format")
    return wire_format(sample_rate_hz, channels, encoding), source
