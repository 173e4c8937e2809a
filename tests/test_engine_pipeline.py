"""The pipeline: a stream in any pieces gives what the whole sound gives, and each call has its own pools and faults."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import models
from auricle.config import Limits
from auricle.engine.batcher import Outcome
from auricle.engine.decode import Block, Sound, SoundFormat, open_pcm
from auricle.engine.options import Options
from auricle.engine.pipeline import Flushed, Stream
from auricle.engine.plan import make_plan
from auricle.engine.workers import Workers
from auricle.errors import AudioError, InternalError
from auricle.model.labels import Ranked
from streaming import FLOAT, STEREO, Opener, fed, noise, pieces_of, plain, settled, streamed, taken, unary


class CountingWorkers(Workers):
    """Workers that know how often a thread was asked."""

    asked = 0

    async def call(self, work: Callable[[], Any]) -> Any:
        self.asked += 1
        return await super().call(work)


@pytest.mark.parametrize(
    ("form", "seconds", "threads"),
    [(FLOAT, 2.0, 0), (FLOAT, 5.0, 1), (STEREO, 0.05, 1)],
    ids=["short", "long", "first of its rates"],
)
async def test_a_short_clip_is_cut_on_the_loop(
    tmp_path: Path, serve: Opener, form: SoundFormat, seconds: float, threads: int
) -> None:
    model = serve(models.write_embedder(tmp_path / "e.onnx", segment={"length": 20, "hop": 20}))
    workers = CountingWorkers(1)
    try:
        assert await unary(model, workers, noise(int(seconds * form.sample_rate_hz), form), form)
        assert workers.asked == threads
    finally:
        workers.close()


@pytest.mark.parametrize(("seconds", "threads"), [([0.2] * 7, 1), ([0.2, 2.0], 2)], ids=["short", "long"])
async def test_a_stream_that_is_resampled_asks_a_thread_for_its_first_piece_and_long_ones(
    tmp_path: Path, serve: Opener, seconds: list[float], threads: int
) -> None:
    model = serve(models.write_embedder(tmp_path / "e.onnx", segment={"length": 20, "hop": 20}))
    form = SoundFormat(encoding="f32le", sample_rate_hz=22050)
    workers = CountingWorkers(1)
    try:
        assert await streamed(model, workers, [noise(round(22050 * each), form) for each in seconds], form)
        assert workers.asked == threads
    finally:
        workers.close()


@pytest.mark.parametrize("form", [FLOAT, STEREO], ids=lambda form: form.encoding)
@pytest.mark.parametrize("size", [1, 3, 641, 5001, 10**6])
async def test_a_stream_in_any_pieces_gives_what_the_whole_sound_gives(
    tmp_path: Path, serve: Opener, workers: Workers, form: SoundFormat, size: int
) -> None:
    model = serve(models.write_embedder(tmp_path / "e.onnx", segment={"length": 20, "hop": 7}))
    data = noise(form.sample_rate_hz // (2 if size > 3 else 8) + 11, form)
    whole = await unary(model, workers, data, form, pooling="none")
    assert len(whole) > (5 if size > 3 else 0)
    assert plain(await streamed(model, workers, pieces_of(data, size), form)) == plain(whole)


@pytest.mark.parametrize("pooling", ["mean", "max"])
@pytest.mark.parametrize("name", ["embedder", "classifier"])
async def test_the_last_pooled_answer_of_a_stream_is_the_unary_one(
    tmp_path: Path, serve: Opener, workers: Workers, name: str, pooling: str
) -> None:
    model = serve(getattr(models, f"write_{name}")(tmp_path / "m.onnx"))
    data = noise(40000)
    kind = {"embedder": "embedding", "classifier": "classification"}[name]
    whole = await unary(model, workers, data, kind=kind, pooling=pooling)
    heads = len(whole)
    parts = await streamed(model, workers, pieces_of(data, 4444), kind=kind, pooling=pooling)
    assert len(parts) > heads
    assert plain(parts[-heads:]) == plain(whole)
    assert {(answer.start_sample, answer.end_sample) for answer in whole} == {(0, 40000)}


async def test_pooling_is_over_the_segments_answers(tmp_path: Path, serve: Opener, workers: Workers) -> None:
    model = serve(models.write_waveform(tmp_path / "w.onnx"))
    data = noise(4000)
    single = [answer.value for answer in await unary(model, workers, data, pooling="none")]
    assert len(single) == 4
    (mean,), (highest,) = [await unary(model, workers, data, pooling=pooling) for pooling in ("mean", "max")]
    np.testing.assert_array_equal(mean.value, np.mean(single, axis=0, dtype=np.float64).astype(np.float32))
    np.testing.assert_array_equal(highest.value, np.max(single, axis=0))


async def test_every_head_of_a_classifier_answers_by_segment(tmp_path: Path, serve: Opener, workers: Workers) -> None:
    model = serve(models.write_classifier(tmp_path / "c.onnx", heads=[{}, {"pool": "none"}, {"pool": "none"}]))
    wave = np.zeros(2400, np.float32)
    wave[:9] = [0.25, 0.75, 0, 0.5, 0.125, 0.5, 1, 2, 3]
    wave[800:809] = [1, 0.5, 0, 0, 0.5, 0.25, 3, 4, 5]
    answers = await unary(model, workers, wave.tobytes(), kind="classification", include_embeddings=True)
    found = [(answer.head.head.spec.name, answer.start_sample, answer.end_sample) for answer in answers]
    # The pooled embedding first, then the heads in order, segment by segment.
    assert found == [
        ("embedding", 0, 2400),
        ("scene", 0, 1600),
        ("mood", 0, 1600),
        ("scene", 800, 2400),
        ("mood", 800, 2400),
    ]
    values = [answer.value for answer in answers]
    assert isinstance(values[0], np.ndarray)
    assert values[0].tolist() == [2, 3, 4]
    ranks = [value.indices.tolist() for value in values if isinstance(value, Ranked)]
    assert ranks == [[1, 3, 0, 2], [1, 0], [0, 1, 2, 3], [0, 1]]


async def test_a_flush_begins_anew_and_counts_on(tmp_path: Path, serve: Opener, workers: Workers) -> None:
    model = serve(models.write_waveform(tmp_path / "w.onnx"))
    head, tail = noise(2000, seed=1), noise(5000, seed=2)
    plan = make_plan(model.graph, Options(kind="embedding", pooling="mean"), stream=True)
    with Stream(model, plan, FLOAT, workers=workers) as stream:
        before = await settled(stream, await fed(stream, head))
        flushed = await taken(stream.flush)
        assert await taken(stream.flush) == [Flushed(2000)]
        before += await settled(stream, flushed)
        after = await settled(stream, await fed(stream, tail)) + await settled(stream, await taken(stream.finish))
        assert flushed[-1] == Flushed(2000)
        assert (stream.samples, stream.segments) == (7000, 2 + 6)
    assert [(answer.start_sample, answer.end_sample) for answer in before] == [(0, 1600), (0, 2000)]
    fresh = await streamed(model, workers, [tail], pooling="mean")
    shifted = [
        answer._replace(start_sample=answer.start_sample + 2000, end_sample=answer.end_sample + 2000)
        for answer in fresh
    ]
    assert plain(after) == plain(shifted)


async def test_a_whole_clip_is_one_segment_and_streams_by_its_stream_length(
    tmp_path: Path, serve: Opener, workers: Workers
) -> None:
    model = serve(models.write_whole_clip(tmp_path / "w.onnx"))
    data = noise(20000)
    wave = np.frombuffer(data, np.float32)
    (answer,) = await unary(model, workers, data)
    assert (answer.start_sample, answer.end_sample) == (0, 20000)
    assert isinstance(answer.value, np.ndarray)
    assert answer.value[:2].tolist() == [wave.max(), wave.min()]
    parts = await streamed(model, workers, pieces_of(data, 999))
    assert [(part.start_sample, part.end_sample) for part in parts] == [(0, 8000), (8000, 16000), (16000, 20000)]


@pytest.mark.parametrize("place", ["flush", "finish"])
async def test_a_split_sample_at_the_end_is_refused(
    tmp_path: Path, serve: Opener, workers: Workers, place: str
) -> None:
    model = serve(models.write_waveform(tmp_path / "w.onnx"))
    plan = make_plan(model.graph, Options(kind="embedding"), stream=True)
    with Stream(model, plan, FLOAT, workers=workers) as stream:
        assert not await fed(stream, noise(10) + b"\0\0\0")
        with pytest.raises(AudioError, match="3 of 4 bytes") as caught:
            await taken(getattr(stream, place))
        assert caught.value.reason == "AUDIO_SPLIT_SAMPLE"


async def test_no_sound_is_refused_in_a_clip_and_answered_by_nothing_in_a_stream(
    tmp_path: Path, serve: Opener, workers: Workers
) -> None:
    model = serve(models.write_waveform(tmp_path / "w.onnx"))
    with pytest.raises(AudioError) as caught:
        await unary(model, workers, b"")
    assert caught.value.reason == "AUDIO_EMPTY"
    assert await streamed(model, workers, []) == []


@pytest.mark.parametrize("write", [models.write_nan, models.write_failing])
async def test_a_sound_that_breaks_the_model_fails_alone(
    tmp_path: Path, serve: Opener, workers: Workers, write: Callable[..., Path]
) -> None:
    model = serve(write(tmp_path / "m.onnx"))
    bad = np.ones(1600, np.float32).tobytes()
    sounds = [noise(1600, seed=1), bad, noise(1600, seed=2)]
    results = await asyncio.gather(*(unary(model, workers, sound) for sound in sounds), return_exceptions=True)
    assert isinstance(results[1], InternalError)
    for sound, result in zip(sounds[::2], results[::2], strict=True):
        assert not isinstance(result, BaseException)
        assert plain(result) == plain(await unary(model, workers, sound))


async def test_a_fault_in_the_middle_of_the_blocks_reaches_the_caller(
    tmp_path: Path, serve: Opener, workers: Workers
) -> None:
    model = serve(models.write_waveform(tmp_path / "w.onnx"))
    plan = make_plan(model.graph, Options(kind="embedding"), stream=False)
    good: list[Block] = [noise(5000)]
    bad: list[Block] = [np.full(10, np.inf, "<f4").tobytes()]
    with Stream(model, plan, FLOAT, workers=workers) as stream, pytest.raises(AudioError) as caught:
        await stream.answer(Sound(FLOAT, itertools.chain(good, bad)))
    assert caught.value.reason == "AUDIO_NOT_FINITE"


async def test_usage_and_timing_count_what_ran(tmp_path: Path, serve: Opener, workers: Workers) -> None:
    model = serve(models.write_embedder(tmp_path / "e.onnx"))
    plan = make_plan(model.graph, Options(kind="embedding"), stream=False)
    with Stream(model, plan, STEREO, workers=workers) as stream:
        await stream.answer(open_pcm(STEREO, noise(44100, STEREO), Limits()))
        assert (stream.samples, stream.segments) == (16000, 2)
        assert stream.bytes_per_second == 44100 * 4
        timing = stream.timing
        assert min(timing.decode_s, timing.inference_s, timing.queue_s) > 0
        assert 0 < timing.resample_s < timing.features_s


async def test_the_time_in_the_model_is_counted_once_a_batch(
    tmp_path: Path, serve: Opener, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = serve(models.write_waveform(tmp_path / "w.onnx"))
    vector = {"embedding": np.zeros(3, np.float32)}
    told = iter([Outcome(vector, 4, 1.0, 8.0), Outcome(vector, 4, 1.5, 8.0), Outcome(vector, 6, 2.0, 16.0)])

    def submit(*_: Any) -> asyncio.Future[Outcome]:
        outcome = asyncio.get_running_loop().create_future()
        outcome.set_result(next(told))
        return outcome

    monkeypatch.setattr(model.batcher, "submit", submit)
    plan = make_plan(model.graph, Options(kind="embedding"), stream=False)
    with Stream(model, plan, FLOAT, workers=workers) as stream:
        await stream.answer(open_pcm(FLOAT, noise(3200), Limits()))
        assert stream.segments == 3
        assert (stream.timing.queue_s, stream.timing.inference_s) == (1.0 + 2.0, 8.0 + 16.0)
