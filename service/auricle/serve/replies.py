"""Answers as replies: a small one is written where its call is, a large one in the workers, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from auricle.engine.pipeline import Answer
from auricle.engine.workers import Workers
from auricle.model.labels import Ranked
from auricle.serve import wire
from auricle.v1 import auricle_pb2 as pb

__all__ = ["is_small", "wire_form", "write"]

Unary = pb.EmbedResponse | pb.ClassifyResponse
Reply = Unary | pb.SegmentEmbeddings | pb.SegmentClassifications

# Values are counted in categories, 0.6 us each: so many are written in a millisecond. A thread would add 0.1 ms.
SMALL_VALUES = 2048
# Protobuf lets nobody else go on while it serialises a piece, 2 ms.
PIECE_VALUES = 8192
# What an answer costs beside its categories, and how many numbers of a vector are copied in the time of one.
ANSWER_VALUES = 8
NUMBERS_A_VALUE = 64


def write(answers: list[Answer], rate_hz: int, reply: Reply) -> None:
    """Writes answers where they belong in a reply: labels, and vectors that came beside them or alone."""
    for answer in answers:
        if isinstance(reply, pb.ClassifyResponse | pb.SegmentClassifications) and isinstance(answer.value, Ranked):
            wire.classification(answer, rate_hz, reply.classifications.add())
        else:
            wire.embedding(answer, rate_hz, reply.embeddings.add())


def is_small(answers: list[Answer]) -> bool:
    """Whether answers are written in less time than a thread would add to the call."""
    return sum(map(_values, answers)) <= SMALL_VALUES


async def wire_form(answers: list[Answer], rate_hz: int, reply: Unary, workers: Workers) -> bytes:
    """A unary reply with its answers in wire form. A large one is never a message as a whole."""
    if is_small(answers):
        write(answers, rate_hz, reply)
        return reply.SerializeToString()
    kind = type(reply)
    # Messages joined are one message with the repeated fields of all.
    parts = [reply.SerializeToString()]
    parts += [await workers.call(partial(_piece, piece, rate_hz, kind)) for piece in _pieces(answers)]
    return await workers.call(partial(b"".join, parts))


def _values(answer: Answer) -> int:
    value = answer.value
    return ANSWER_VALUES + (value.indices.size if isinstance(value, Ranked) else value.size // NUMBERS_A_VALUE)


def _pieces(answers: list[Answer]) -> Iterator[list[Answer]]:
    piece: list[Answer] = []
    held = 0
    for answer in answers:
        values = _values(answer)
        if piece and held + values > PIECE_VALUES:
            yield piece
            piece, held = [], 0
        piece.append(answer)
        held += values
    yield piece


def _piece(answers: list[Answer], rate_hz: int, kind: type[Unary]) -> bytes:
    reply = kind()
    write(answers, rate_hz, reply)
    return reply.SerializeToString()
