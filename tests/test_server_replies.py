"""Large replies: written in the workers, piece by piece, and the same as if they were written at once."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from auricle.serve import api, replies
from auricle.serve.replies import ANSWER_VALUES, PIECE_VALUES, SMALL_VALUES
from auricle.v1 import auricle_pb2 as pb
from live import config, live_server, noise, pcm
from models import HOP, LENGTH, RATE_HZ, write_classifier

# Of a segment of the classifier with its embedding: 4 and 2 categories, and a vector of 3.
SEGMENT_VALUES = 3 * ANSWER_VALUES + 4 + 2


class Writes:
    """Where answers are written, and how many at a time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.on_loop: list[int] = []
        self.in_workers: list[int] = []
        loop = threading.get_ident()
        original = replies.write

        def write(answers: list[Any], rate_hz: int, reply: Any) -> None:
            (self.on_loop if threading.get_ident() == loop else self.in_workers).append(len(answers))
            original(answers, rate_hz, reply)

        monkeypatch.setattr(replies, "write", write)
        monkeypatch.setattr(api, "write", write)


def sound(segments: int) -> pb.Audio:
    return pcm(noise((LENGTH + (segments - 1) * HOP) / RATE_HZ))


def classify(segments: int) -> pb.ClassifyRequest:
    options = pb.ClassifyOptions(pooling=pb.POOLING_NONE, include_embeddings=True, score_threshold=-100.0)
    return pb.ClassifyRequest(audio=sound(segments), options=options)


async def test_a_large_reply_is_written_in_pieces_beside_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_classifier(tmp_path / "labels.onnx")
    segments = 2 * PIECE_VALUES // SEGMENT_VALUES + 1
    async with live_server(tmp_path) as running:
        whole = await running.server.api.classify(classify(segments))
        writes = Writes(monkeypatch)
        reply = await running.audio.Classify(classify(segments))
    assert reply.classifications == whole.classifications
    assert reply.embeddings == whole.embeddings
    assert (reply.model, reply.usage) == (whole.model, whole.usage)
    assert len(reply.classifications) == 2 * segments
    assert not writes.on_loop
    assert len(writes.in_workers) == 3
    assert sum(writes.in_workers) == 3 * segments
    assert max(writes.in_workers) <= PIECE_VALUES // SEGMENT_VALUES * 3 + 2


async def test_vectors_of_many_segments_are_a_large_reply_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_classifier(tmp_path / "labels.onnx")
    request = pb.EmbedRequest(
        audio=sound(SMALL_VALUES // ANSWER_VALUES + 1), options=pb.EmbedOptions(pooling=pb.POOLING_NONE)
    )
    async with live_server(tmp_path) as running:
        whole = await running.server.api.embed(request)
        writes = Writes(monkeypatch)
        assert (await running.audio.Embed(request)).embeddings == whole.embeddings
    assert not writes.on_loop
    assert writes.in_workers == [len(whole.embeddings)]


@pytest.mark.parametrize("segments", [1, SMALL_VALUES // SEGMENT_VALUES])
async def test_a_small_reply_is_written_on_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, segments: int
) -> None:
    write_classifier(tmp_path / "labels.onnx")
    async with live_server(tmp_path) as running:
        whole = await running.server.api.classify(classify(segments))
        writes = Writes(monkeypatch)
        assert (await running.audio.Classify(classify(segments))).classifications == whole.classifications
    assert (writes.on_loop, writes.in_workers) == ([3 * segments], [])


@pytest.mark.parametrize("small_values", [0, SMALL_VALUES])
async def test_a_stream_writes_its_large_results_beside_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_values: int
) -> None:
    write_classifier(tmp_path / "labels.onnx")
    monkeypatch.setattr(replies, "SMALL_VALUES", small_values)
    writes = Writes(monkeypatch)
    async with live_server(tmp_path) as running:
        messages = [config(), pb.StreamEmbedRequest(audio=noise(LENGTH / RATE_HZ).tobytes())]
        kinds = [reply.WhichOneof("payload") async for reply in running.audio.StreamEmbed(iter(messages))]
    assert kinds == ["ready", "result", "summary"]
    assert (writes.on_loop if small_values else writes.in_workers) == [1]
