"""Streams, blocking and async alike: the caller's own, and those that long clips become."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from auricle import errors
from auricle.client import (
    FLUSH,
    Flushed,
    Pcm,
    Ready,
    SegmentResult,
    Summary,
    UnaryLimits,
)
from client_server import RATE_HZ, SEGMENT


def test_a_long_clip_is_streamed_with_the_same_answer(client, toy, wav, samples):
    whole = client.call("embed", wav)
    before = len(toy.calls)
    for limits in (UnaryLimits(content_bytes=1000), UnaryLimits(duration_s=0.1), UnaryLimits(decoded_bytes=99)):
        for audio in (wav, wav.read_bytes()):
            streamed = client.call("embed", audio, model="toy", limits=limits)
            np.testing.assert_array_equal(streamed.vector, whole.vector)
            assert (streamed.embeddings[0].start_sample, streamed.embeddings[0].end_sample) == (0, samples.size)
            assert streamed.usage.samples == samples.size
    assert set(toy.calls[before:]) == {"GetModel", "StreamEmbed"}
    # 16-bit samples travel as they are.
    assert toy.streamed_bytes == 6 * samples.size * 2


def test_a_long_clip_of_an_unnamed_model_asks_the_server_which_it_is(client, toy, wav):
    whole = client.call("embed", wav)
    streamed = client.call("embed", wav, limits=UnaryLimits(content_bytes=1000))
    np.testing.assert_array_equal(streamed.vector, whole.vector)
    assert toy.calls[1:] == ["StreamEmbed", "GetModel", "StreamEmbed"]


def test_a_long_clip_unpooled_gives_every_segment(client, wav, samples):
    whole = client.call("embed", wav, pooling="none")
    streamed = client.call("embed", wav, pooling="none", limits=UnaryLimits(content_bytes=1000))
    assert len(streamed.embeddings) == len(whole.embeddings) == 4
    for one, other in zip(streamed.embeddings, whole.embeddings, strict=True):
        assert (one.start_sample, one.end_sample) == (other.start_sample, other.end_sample)
        np.testing.assert_array_equal(one.vector, other.vector)


def test_a_long_pcm_is_streamed_too(client, toy, samples):
    whole = client.call("embed", Pcm(samples, RATE_HZ))
    before = len(toy.calls)
    # Decoded, a sample has four bytes, however many it has on the wire.
    decoded_bytes = 4 * samples.size
    for limits in (UnaryLimits(content_bytes=1000), UnaryLimits(decoded_bytes=decoded_bytes - 1)):
        streamed = client.call("embed", Pcm(samples, RATE_HZ), model="toy", limits=limits)
        np.testing.assert_array_equal(streamed.vector, whole.vector)
    assert set(toy.calls[before:]) == {"GetModel", "StreamEmbed"}
    client.call("embed", Pcm(samples, RATE_HZ), limits=UnaryLimits(decoded_bytes=decoded_bytes))
    assert toy.calls[-1] == "Embed"


def test_a_long_clip_needs_a_word_where_heads_pool_differently(client, wav):
    small = UnaryLimits(content_bytes=1000)
    with pytest.raises(errors.OptionError, match=r"mean \(mean\), each \(none\); pass pooling="):
        client.call("embed", wav, model="mixed", limits=small)
    assert client.call("embed", wav, model="mixed", heads=["mean"], limits=small).vector.shape == (2,)
    assert len(client.call("embed", wav, model="mixed", pooling="mean", limits=small).embeddings) == 2


def test_a_big_file_without_audio_is_refused_here(client, toy, tmp_path):
    path = tmp_path / "zeros.bin"
    path.write_bytes(bytes(5000))
    with pytest.raises(errors.AudioError, match=r"zeros\.bin"):
        client.call("embed", path, limits=UnaryLimits(content_bytes=1000))
    assert toy.calls == []


def test_a_stream_gives_its_events_in_order(client, samples):
    raw = samples.tobytes()
    chunks = [raw[:7], raw[7:2000], samples[1000:1500], FLUSH, raw[3000:]]
    events = client.events("stream_embed", chunks, sample_rate_hz=RATE_HZ)
    kinds = [type(event) for event in events]
    assert kinds == [Ready, *[SegmentResult] * 2, Flushed, *[SegmentResult] * 2, Summary]
    ready = events[0]
    assert (ready.model, ready.sample_rate_hz, ready.segment_samples) == ("toy", RATE_HZ, SEGMENT)
    assert ready.heads[0].pooling == "mean"
    assert events[3].end_sample == 1500
    assert events[-1].usage.samples == samples.size


def test_a_stream_of_a_file_equals_unary(client, wav):
    whole = client.call("embed", wav, pooling="none")
    events = client.events("stream_embed", wav)
    vectors = [event.embeddings[0].vector for event in events if isinstance(event, SegmentResult)]
    np.testing.assert_array_equal(vectors, [each.vector for each in whole.embeddings])


def test_a_stream_classifies(client, wav):
    events = client.events("stream_classify", wav, max_results=1)
    results = [event for event in events if isinstance(event, SegmentResult)]
    assert len(results) == 4
    assert results[0].classifications[0].categories[0].label == "0"


def test_a_float_file_is_streamed_as_floats(client, tmp_path, samples):
    path = tmp_path / "float.wav"
    soundfile.write(path, samples / 40000, RATE_HZ, subtype="FLOAT")
    whole = client.call("embed", path)
    streamed = client.call("embed", path, limits=UnaryLimits(content_bytes=1))
    np.testing.assert_array_equal(streamed.vector, whole.vector)


@pytest.mark.parametrize(
    ("chunks", "options", "fragment"),
    [
        ([b"\0"], {}, "sample_rate_hz="),
        ([np.zeros(4, np.float32)], {"sample_rate_hz": 8000}, "encoding='f32le'"),
        ([np.zeros((4, 2), np.int16)], {"sample_rate_hz": 8000}, "2 channels"),
        (["text"], {"sample_rate_hz": 8000}, "a chunk is a str"),
        (b"\0\0", {"sample_rate_hz": 8000}, "wrap them"),
        ([b""], {"sample_rate_hz": 8000, "encoding": "s24le"}, "'s24le'"),
    ],
)
def test_chunks_that_do_not_fit_are_refused(client, chunks, options, fragment):
    with pytest.raises(errors.OptionError, match=fragment):
        client.events("stream_embed", chunks, **options)


def test_a_file_has_its_own_format(client, wav):
    with pytest.raises(errors.OptionError, match="sample_rate_hz, channels given"):
        client.events("stream_embed", wav, sample_rate_hz=8000, channels=1)
