"""The client, blocking and async alike, against a scripted server."""

from __future__ import annotations

import asyncio
from io import BytesIO

import grpc
import numpy as np
import pytest
import soundfile
from google.rpc import error_details_pb2

from auricle import errors
from auricle.client import (
    FLUSH,
    AsyncClient,
    Client,
    Flushed,
    Pcm,
    Ready,
    RetryPolicy,
    SegmentResult,
    Summary,
    UnaryLimits,
)
from auricle.v1 import auricle_pb2 as pb
from client_server import RATE_HZ, SEGMENT, Toy, info, retry_info, serving, status

QUICK = RetryPolicy(first_delay_s=0.002, jitter=0.0)


class Sync:
    """The blocking client as the tests use it."""

    def __init__(self, target: str) -> None:
        self.target = target

    def call(self, method: str, *args, retry=QUICK, limits=UnaryLimits(), **kwargs):  # noqa: B008
        with Client(self.target, retry=retry, limits=limits) as client:
            return getattr(client, method)(*args, **kwargs)

    def events(self, method: str, *args, **kwargs):
        with Client(self.target) as client:
            return list(getattr(client, method)(*args, **kwargs))


class Async(Sync):
    """The async client, each call in a loop of its own."""

    def call(self, method: str, *args, retry=QUICK, limits=UnaryLimits(), **kwargs):  # noqa: B008
        async def run():
            async with AsyncClient(self.target, retry=retry, limits=limits) as client:
                return await getattr(client, method)(*args, **kwargs)

        return asyncio.run(run())

    def events(self, method: str, *args, **kwargs):
        async def run():
            async with AsyncClient(self.target) as client:
                return [event async for event in getattr(client, method)(*args, **kwargs)]

        return asyncio.run(run())


@pytest.fixture(name="toy")
def toy_():
    return Toy()


@pytest.fixture(name="port")
def port_(toy):
    with serving(toy) as port:
        yield port


@pytest.fixture(params=[Sync, Async])
def client(request, port):
    return request.param(f"127.0.0.1:{port}")


@pytest.fixture(name="samples", scope="module")
def samples_():
    return np.random.default_rng(7).integers(-9000, 9000, 3 * SEGMENT + 17).astype(np.int16)


@pytest.fixture(name="wav")
def wav_(tmp_path, samples):
    path = tmp_path / "noise.wav"
    soundfile.write(path, samples, RATE_HZ)
    return path


def test_embed_takes_a_path_bytes_and_pcm_alike(client, wav, samples):
    inputs = [
        wav,
        str(wav),
        wav.read_bytes(),
        memoryview(wav.read_bytes()),
        Pcm(samples, RATE_HZ),
        Pcm(samples.astype(np.float64) / 32768, RATE_HZ),
        Pcm(samples[:, None], RATE_HZ),
        Pcm(samples.tobytes(), RATE_HZ, encoding="s16le"),
    ]
    results = [client.call("embed", each) for each in inputs]
    assert results[0].vector.dtype == np.float32
    assert results[0].vector.shape == (2,)
    for result in results[1:]:
        np.testing.assert_array_equal(result.vector, results[0].vector)


def test_result_carries_offsets_usage_and_timing(client, samples):
    result = client.call("embed", Pcm(samples, RATE_HZ), pooling="none")
    assert (result.model, result.version) == ("toy", "1")
    assert [e.start_sample for e in result.embeddings] == [0, 1000, 2000, 3000]
    assert result.embeddings[-1].end_sample == samples.size
    assert result.embeddings[1].start_s == 0.125
    assert result.usage.segments == 4
    assert result.usage.duration_s == 1.000000005
    assert result.timing.total_s == 0.002
    with pytest.raises(errors.OptionError, match="holds 4 vectors"):
        _ = result.vector


@pytest.mark.parametrize(("kind", "dtype"), [("float32", "f4"), ("int8", "i1"), ("float16", "f2")])
def test_vector_types_become_arrays_of_that_type(client, samples, kind, dtype):
    assert client.call("embed", Pcm(samples, RATE_HZ), vector_type=kind).vector.dtype == np.dtype(dtype)


def test_options_reach_the_wire(client, toy, samples):
    client.call(
        "embed", Pcm(samples, RATE_HZ), model="mixed", version="1", l2_normalize=False, pooling="max",
        hop_s=0.25, segment_length_s=1.5, heads=["mean"],
    )  # fmt: skip
    request = toy.requests[-1]
    assert (request.model.name, request.model.version) == ("mixed", "1")
    assert request.options.HasField("l2_normalize")
    assert request.options.pooling == pb.POOLING_MAX
    assert request.options.hop.ToMilliseconds() == 250
    assert request.options.segment_length.ToMilliseconds() == 1500
    assert list(request.options.heads) == ["mean"]


def test_what_is_not_asked_for_stays_unset(client, toy, samples):
    client.call("embed", Pcm(samples, RATE_HZ))
    options = toy.requests[-1].options
    assert not options.HasField("l2_normalize")
    assert not options.HasField("hop")
    assert not options.HasField("segment_length")
    assert options.pooling == pb.POOLING_UNSPECIFIED
    client.call("classify", Pcm(samples, RATE_HZ))
    options = toy.requests[-1].options
    assert not options.HasField("max_results")
    assert not options.HasField("score_threshold")


def test_classify_gives_categories(client, toy, samples):
    result = client.call(
        "classify", Pcm(samples, RATE_HZ), max_results=3, score_threshold=0.25, category_denylist=["Music"],
        display_names_locale="de", include_embeddings=True,
    )  # fmt: skip
    request = toy.requests[-1]
    assert (request.options.max_results, request.options.score_threshold) == (3, 0.25)
    assert list(request.options.category_denylist) == ["Music"]
    assert request.options.include_embeddings
    (category,) = result.categories
    assert (category.index, category.score, category.category_name, category.label) == (
        3, 0.5, "Speech", "Sprache",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("audio", "fragment"),
    [
        (np.zeros(8, np.float32), "Pcm\\(array"),
        (5, "audio is a int"),
    ],
)
def test_what_is_no_audio_is_refused_with_a_hint(client, audio, fragment):
    with pytest.raises(errors.OptionError, match=fragment):
        client.call("embed", audio)


def test_pcm_that_contradicts_itself_is_refused():
    with pytest.raises(errors.OptionError, match="encoding"):
        Pcm(b"\0\0", 8000)
    with pytest.raises(errors.OptionError, match="int32"):
        Pcm(np.zeros(3, np.int32), 8000)
    with pytest.raises(errors.OptionError, match="channels is 2"):
        Pcm(np.zeros(3, np.int16), 8000, channels=2)
    with pytest.raises(errors.OptionError, match="shape"):
        Pcm(np.zeros((1, 2, 3), np.int16), 8000)
    with pytest.raises(errors.OptionError, match="sample_rate_hz is -1"):
        Pcm(np.zeros(3, np.int16), -1)


@pytest.mark.parametrize(
    "options",
    [{"pooling": "median"}, {"vector_type": "bfloat16"}, {"hop_s": float("nan")}, {"heads": "mean"}],
)
def test_an_unknown_choice_is_refused_before_anything_is_sent(client, toy, samples, options):
    with pytest.raises(errors.OptionError, match=str(next(iter(options.values())))):
        client.call("embed", Pcm(samples, RATE_HZ), **options)
    assert toy.calls == []


def test_an_unknown_option_is_a_type_error(client, samples):
    with pytest.raises(TypeError, match="poling"):
        client.call("embed", Pcm(samples, RATE_HZ), poling="mean")


def test_a_missing_file_is_an_os_error(client, tmp_path):
    with pytest.raises(FileNotFoundError):
        client.call("embed", tmp_path / "absent.wav")


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


def test_a_long_pcm_is_streamed_too(client, samples):
    whole = client.call("embed", Pcm(samples, RATE_HZ))
    streamed = client.call("embed", Pcm(samples, RATE_HZ), limits=UnaryLimits(content_bytes=1000))
    np.testing.assert_array_equal(streamed.vector, whole.vector)


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


def test_what_the_chunks_raise_ends_the_stream_and_is_raised(client):
    def chunks():
        yield bytes(100)
        raise ZeroDivisionError("the microphone broke")

    with pytest.raises(ZeroDivisionError, match="microphone"):
        client.events("stream_embed", chunks(), sample_rate_hz=8000)


def test_errors_come_back_as_the_class_that_was_raised(client, toy, samples):
    violation = error_details_pb2.BadRequest.FieldViolation(field="options.heads[0]", description="unknown")
    toy.failures.append(
        status(
            grpc.StatusCode.INVALID_ARGUMENT,
            "no head is called 'x'",
            info("OPTION_INVALID"),
            error_details_pb2.BadRequest(field_violations=[violation]),
        )
    )
    with pytest.raises(errors.OptionError, match="no head is called 'x'") as caught:
        client.call("embed", Pcm(samples, RATE_HZ))
    assert caught.value.field == "options.heads[0]"
    assert caught.value.reason == "OPTION_INVALID"


def test_a_stream_fails_with_the_same_classes(client, toy):
    resource = error_details_pb2.ResourceInfo(resource_type="auricle.model", resource_name="nobody")
    toy.failures.append(status(grpc.StatusCode.NOT_FOUND, "no model 'nobody'", info("MODEL_NOT_FOUND"), resource))
    with pytest.raises(errors.NotFoundError) as caught:
        client.events("stream_embed", [bytes(100)], sample_rate_hz=8000)
    assert caught.value.resource == ("auricle.model", "nobody")


def test_a_busy_server_is_asked_again_after_its_own_delay(client, toy, samples):
    toy.failures.extend(
        status(grpc.StatusCode.RESOURCE_EXHAUSTED, "queue full", info("QUEUE_FULL"), retry_info(0.003))
        for _ in range(2)
    )
    assert client.call("embed", Pcm(samples, RATE_HZ)).model == "toy"
    assert toy.calls == ["Embed"] * 3


def test_attempts_are_bounded(client, toy, samples):
    toy.failures.extend(status(grpc.StatusCode.UNAVAILABLE, "draining", info("UNAVAILABLE")) for _ in range(9))
    with pytest.raises(errors.UnavailableError, match="draining"):
        client.call("embed", Pcm(samples, RATE_HZ))
    assert toy.calls == ["Embed"] * QUICK.attempts


@pytest.mark.parametrize(
    "failure",
    [
        status(grpc.StatusCode.RESOURCE_EXHAUSTED, "quota", info("QUEUE_FULL")),
        status(grpc.StatusCode.INTERNAL, "id 7", info("INTERNAL")),
        status(grpc.StatusCode.INVALID_ARGUMENT, "bad", info("AUDIO_INVALID")),
    ],
)
def test_what_will_not_get_better_is_not_repeated(client, toy, samples, failure):
    toy.failures.append(failure)
    with pytest.raises(errors.AuricleError):
        client.call("embed", Pcm(samples, RATE_HZ))
    assert toy.calls == ["Embed"]


def test_no_policy_means_one_attempt(client, toy, samples):
    toy.failures.append(status(grpc.StatusCode.UNAVAILABLE, "draining", info("UNAVAILABLE")))
    with pytest.raises(errors.UnavailableError):
        client.call("embed", Pcm(samples, RATE_HZ), retry=None)
    assert toy.calls == ["Embed"]


def test_a_wait_that_does_not_fit_the_time_limit_ends_the_call_at_once(client, toy, samples):
    toy.failures.append(status(grpc.StatusCode.RESOURCE_EXHAUSTED, "queue full", info("QUEUE_FULL"), retry_info(60)))
    with pytest.raises(errors.BusyError) as caught:
        client.call("embed", Pcm(samples, RATE_HZ), timeout_s=5)
    assert caught.value.retry_after_s == 60
    assert toy.calls == ["Embed"]


def test_a_stream_is_never_repeated(client, toy):
    toy.failures.append(status(grpc.StatusCode.UNAVAILABLE, "draining", info("UNAVAILABLE")))
    with pytest.raises(errors.UnavailableError):
        client.events("stream_embed", [bytes(100)], sample_rate_hz=8000)
    assert toy.calls == ["StreamEmbed"]


def test_a_time_limit_that_has_passed_is_a_deadline_error(client, samples):
    with pytest.raises(errors.DeadlineError, match="raise timeout_s"):
        client.call("embed", Pcm(samples, RATE_HZ), timeout_s=0)


def test_models_are_records(client):
    (listed,) = client.call("models")
    assert (listed.name, listed.newest, listed.segment_samples) == ("toy", True, None)
    shown = client.call("model", "mixed")
    assert shown.segment_samples == SEGMENT
    assert shown.heads[0].label_lists == {"en": ("Speech", "Music")}
    assert [head.pooling for head in shown.heads] == ["mean", "none"]
    with pytest.raises(errors.OptionError, match="'embeddings'"):
        client.call("models", "embeddings")


def test_health_is_a_word(client):
    assert client.call("health") == "SERVING"
    assert client.call("health", "auricle.model/old") == "NOT_SERVING"
    with pytest.raises(errors.NotFoundError):
        client.call("health", "nobody")


def test_a_reply_over_four_mebibytes_is_read(client):
    assert len(client.call("model", "wordy").description) == 5 * 1024 * 1024


def test_content_is_sent_as_it_is(client, toy, wav):
    client.call("embed", wav)
    assert toy.requests[-1].audio.content == wav.read_bytes()
    assert soundfile.info(BytesIO(toy.requests[-1].audio.content)).samplerate == RATE_HZ
