"""Streams over real gRPC: what comes in which order, and that a stream says what a file says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from auricle.config import Limits
from auricle.v1 import auricle_pb2 as pb
from live import Live, audio, config, live_server, noise, pcm, vectors
from models import write_classifier, write_embedder, write_whole_clip

FLUSH = pb.StreamEmbedRequest(flush=pb.Flush())
EMBEDDER = pb.ModelSelector(name="tiny")


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[Live]:
    write_embedder(tmp_path / "tiny.onnx")
    write_classifier(tmp_path / "labels.onnx")
    write_whole_clip(tmp_path / "whole.onnx")
    async with live_server(tmp_path) as running:
        yield running


async def settle() -> None:
    """Lets every task go on as far as it can."""
    for _ in range(100):
        await asyncio.sleep(0)


async def replies(server: Live, messages: list[pb.StreamEmbedRequest]) -> list[pb.StreamEmbedResponse]:
    return [reply async for reply in server.audio.StreamEmbed(iter(messages))]


def results(answers: list[pb.StreamEmbedResponse]) -> list[pb.Embedding]:
    return [reply.result.embeddings[0] for reply in answers if reply.HasField("result")]


async def unary(server: Live, samples: np.ndarray, pooling: int, rate_hz: int = 16000) -> list[pb.Embedding]:
    options = pb.EmbedOptions(pooling=pooling)  # type: ignore[arg-type]
    request = pb.EmbedRequest(model=EMBEDDER, audio=pcm(samples, rate_hz), options=options)
    return list((await server.audio.Embed(request)).embeddings)


async def test_ready_comes_first_with_everything_resolved_and_summary_last(server: Live) -> None:
    answers = await replies(server, [config(model=EMBEDDER), audio(noise(2.5).tobytes())])
    ready = answers[0].ready
    assert (ready.model.name, ready.model.version, ready.sample_rate_hz) == ("tiny", "1", 16000)
    assert (ready.segment_samples, ready.hop_samples) == (15600, 48 * 160)
    assert [(head.name, head.dimension) for head in ready.heads] == [("embedding", 5)]
    summary = answers[-1].summary
    assert summary.usage.samples == 40000
    assert summary.usage.segments == len(results(answers)) == 5
    assert summary.timing.total.ToNanoseconds() > 0


@pytest.mark.parametrize("rate_hz", [16000, 44100, 8000])
@pytest.mark.parametrize("chunk", [63, 640, 64004])
async def test_a_stream_equals_a_file_bit_for_bit(server: Live, rate_hz: int, chunk: int) -> None:
    samples = noise(3.3, rate_hz)
    data = samples.tobytes()
    pieces = [audio(data[at : at + chunk]) for at in range(0, len(data), chunk)]
    streamed = results(await replies(server, [config(rate_hz, model=EMBEDDER), *pieces]))
    whole = await unary(server, samples, pb.POOLING_NONE, rate_hz)
    assert streamed == whole


@pytest.mark.parametrize("pooling", [pb.POOLING_MEAN, pb.POOLING_MAX])
async def test_the_last_pooled_value_of_a_stream_equals_unary(server: Live, pooling: int) -> None:
    samples = noise(4.0)
    options = pb.EmbedOptions(pooling=pooling)  # type: ignore[arg-type]
    streamed = results(await replies(server, [config(model=EMBEDDER, options=options), audio(samples.tobytes())]))
    assert len(streamed) > 3
    assert streamed[-1] == (await unary(server, samples, pooling))[0]
    assert {embedding.start_sample for embedding in streamed} == {0}


async def test_what_follows_a_flush_equals_a_new_stream_shifted(server: Live) -> None:
    first, second = noise(1.3, seed=1), noise(2.2, seed=2)
    answers = await replies(
        server, [config(model=EMBEDDER), audio(first.tobytes()), FLUSH, audio(second.tobytes()), FLUSH]
    )
    kinds = [reply.WhichOneof("payload") for reply in answers]
    place = kinds.index("flushed")
    assert answers[place].flushed.end_sample == first.size
    before, after = results(answers[:place]), results(answers[place:])
    assert before == await unary(server, first, pb.POOLING_NONE)
    alone = await unary(server, second, pb.POOLING_NONE)
    assert [embedding.start_sample - first.size for embedding in after] == [other.start_sample for other in alone]
    np.testing.assert_array_equal(vectors(after), vectors(alone))
    assert kinds[-2:] == ["flushed", "summary"]


async def test_a_flush_with_nothing_new_is_answered_and_gives_no_result(server: Live) -> None:
    answers = await replies(server, [config(model=EMBEDDER), FLUSH, FLUSH])
    assert [reply.WhichOneof("payload") for reply in answers] == ["ready", "flushed", "flushed", "summary"]
    assert [reply.flushed.end_sample for reply in answers[1:3]] == [0, 0]


async def test_results_come_while_the_client_still_sends(server: Live) -> None:
    call = server.audio.StreamEmbed()
    await call.write(config(model=EMBEDDER))
    assert (await call.read()).HasField("ready")
    await call.write(audio(noise(1.0).tobytes()))
    assert (await asyncio.wait_for(call.read(), 10)).HasField("result")
    await call.done_writing()


async def test_a_reader_that_does_not_read_slows_its_stream_and_loses_nothing(tmp_path: Path) -> None:
    write_embedder(tmp_path / "tiny.onnx")
    async with live_server(tmp_path, limits=Limits(stream_replies=1)) as server:
        samples = noise(60.0)
        call = server.audio.StreamEmbed()
        await call.write(config(model=EMBEDDER))
        for at in range(0, samples.size, 1600):
            await call.write(audio(samples[at : at + 1600].tobytes()))
        await call.done_writing()
        kinds = []
        while (reply := await call.read()) is not None and reply != 0 and hasattr(reply, "WhichOneof"):
            kinds.append(reply.WhichOneof("payload"))
        assert kinds.count("result") == len(await unary(server, samples, pb.POOLING_NONE))


async def test_a_stream_is_read_no_further_than_its_replies_may_wait(tmp_path: Path) -> None:
    write_embedder(tmp_path / "tiny.onnx")
    second = audio(noise(1.0).tobytes())
    sent = 0

    async def messages() -> AsyncIterator[pb.StreamEmbedRequest]:
        nonlocal sent
        yield config()
        for _ in range(30):
            sent += 1
            yield second

    async with live_server(tmp_path, limits=Limits(stream_replies=2)) as server:
        async with aclosing(server.server.api.stream_embed(messages())) as answers:
            kinds = [(await anext(answers)).WhichOneof("payload") for _ in range(2)]
            await settle()
            # Of the first four results one is there, two wait for their turn and one for a place among these.
            assert sent <= 4
            kinds += [reply.WhichOneof("payload") async for reply in answers]
        assert sent == 30
        assert kinds == ["ready", *["result"] * 62, "summary"]


async def test_a_stream_that_is_left_is_read_no_more(server: Live) -> None:
    left = asyncio.Event()

    async def messages() -> AsyncIterator[pb.StreamEmbedRequest]:
        try:
            yield config(model=EMBEDDER)
            yield audio(noise(1.0).tobytes())
            await asyncio.Event().wait()
        finally:
            left.set()

    answers = server.server.api.stream_embed(messages())
    for _ in range(2):
        await anext(answers)
    await settle()
    assert not left.is_set()
    await answers.aclose()
    assert await asyncio.wait_for(left.wait(), 10)


async def test_a_hop_that_is_asked_for_is_rounded_and_reported(server: Live) -> None:
    options = pb.EmbedOptions(hop={"nanos": 254_000_000})
    answers = await replies(server, [config(model=EMBEDDER, options=options), audio(noise(2.0).tobytes())])
    assert answers[0].ready.hop_samples == 25 * 160
    assert [embedding.start_sample for embedding in results(answers)][:3] == [0, 4000, 8000]


async def test_a_whole_clip_model_streams_by_its_stream_length_or_the_requests(server: Live) -> None:
    whole = pb.ModelSelector(name="whole")
    default = await replies(server, [config(model=whole), audio(noise(1.0).tobytes())])
    assert default[0].ready.segment_samples == 8000
    options = pb.EmbedOptions(segment_length={"nanos": 250_000_000})
    asked = await replies(server, [config(model=whole, options=options), audio(noise(1.0).tobytes())])
    assert asked[0].ready.segment_samples == 4000
    assert len(results(asked)) == 4


async def test_classify_streams_labels_and_the_vectors_beside_them(server: Live) -> None:
    layout = pb.PcmFormat(encoding=pb.ENCODING_PCM_F32LE, sample_rate_hz=16000)
    options = pb.ClassifyOptions(max_results=2, include_embeddings=True, heads=["scene"])
    start = pb.StreamClassifyConfig(model=pb.ModelSelector(name="labels"), format=layout, options=options)
    sound = np.abs(noise(0.1))
    messages = [pb.StreamClassifyRequest(config=start), pb.StreamClassifyRequest(audio=sound.tobytes())]
    answers = [reply async for reply in server.audio.StreamClassify(iter(messages))]
    assert [reply.WhichOneof("payload") for reply in answers] == ["ready", "result", "summary"]
    result = answers[1].result
    assert [classification.head for classification in result.classifications] == ["scene"]
    order = np.argsort(-sound[:4], kind="stable")[:2]
    assert [category.index for category in result.classifications[0].categories] == order.tolist()
    assert [embedding.head for embedding in result.embeddings] == ["embedding"]
    np.testing.assert_array_equal(vectors(result.embeddings)[0], sound[6:9])
