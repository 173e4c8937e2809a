"""Sounds on their way through a served model, as calls and as streams, and answers that compare bit for bit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np

from auricle.config import Limits
from auricle.engine.decode import SoundFormat, open_pcm
from auricle.engine.options import Options
from auricle.engine.pipeline import Answer, Flushed, Put, Stream, Ticket
from auricle.engine.plan import make_plan
from auricle.engine.served import ServedModel
from auricle.engine.workers import Workers
from auricle.model.labels import Ranked

FLOAT = SoundFormat(encoding="f32le", sample_rate_hz=16000)
STEREO = SoundFormat(encoding="s16le", sample_rate_hz=44100, channels=2)
Opener = Callable[..., ServedModel]


def noise(frames: int, form: SoundFormat = FLOAT, seed: int = 0) -> bytes:
    generator = np.random.default_rng(seed)
    if form.encoding == "f32le":
        return generator.uniform(-0.9, 0.9, frames * form.channels).astype("<f4").tobytes()
    return generator.integers(-9000, 9000, frames * form.channels).astype("<i2").tobytes()


def plain(answers: Sequence[Answer]) -> list[tuple[Any, ...]]:
    """Answers as values that compare bit for bit."""
    return [
        (answer.head.head.spec.name, answer.start_sample, answer.end_sample, *bits(answer.value)) for answer in answers
    ]


def bits(value: Any) -> tuple[bytes, ...]:
    return (value.indices.tobytes(), value.scores.tobytes()) if isinstance(value, Ranked) else (value.tobytes(),)


async def unary(
    model: ServedModel, workers: Workers, data: bytes, form: SoundFormat = FLOAT, **options: Any
) -> list[Answer]:
    plan = make_plan(model.graph, Options(**{"kind": "embedding", **options}), stream=False)
    with Stream(model, plan, form, workers=workers) as stream:
        return await stream.answer(open_pcm(form, data, Limits()))


async def streamed(
    model: ServedModel, workers: Workers, pieces: Sequence[bytes], form: SoundFormat = FLOAT, **options: Any
) -> list[Answer]:
    plan = make_plan(model.graph, Options(**{"kind": "embedding", **options}), stream=True)
    with Stream(model, plan, form, workers=workers) as stream:
        answers = [answer for piece in pieces for answer in await settled(stream, await fed(stream, piece))]
        return answers + await settled(stream, await taken(stream.finish))


async def taken(work: Callable[[Put], Awaitable[None]]) -> list[Ticket | Flushed]:
    """What a stream's work puts."""
    items: list[Ticket | Flushed] = []

    async def put(item: Ticket | Flushed) -> None:
        items.append(item)

    await work(put)
    return items


async def fed(stream: Stream, data: bytes) -> list[Ticket | Flushed]:
    """Feeds as a stream of messages does."""
    return await taken(stream.cut) if stream.hold(data) else []


async def settled(stream: Stream, items: Sequence[Ticket | Flushed]) -> list[Answer]:
    tickets = [item for item in items if isinstance(item, Ticket)]
    return [answer for ticket in tickets for answer in await stream.settle(ticket)]


def pieces_of(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]
