"""Calls with one answer, blocking and async alike: what is sent, and what comes back as records."""

from __future__ import annotations

import math
import re
from io import BytesIO

import numpy as np
import pytest
import soundfile

from auricle import errors
from auricle.client import (
    Pcm,
)
from auricle.v1 import auricle_pb2 as pb
from client_server import RATE_HZ, SEGMENT


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
    with pytest.raises(errors.OptionError, match=r"sample_rate_hz must be a whole number from 1 .* but is -1"):
        Pcm(np.zeros(3, np.int16), -1)
    with pytest.raises(errors.OptionError, match=r"channels must be .* but is 0"):
        Pcm(b"", 8000, channels=0, encoding="s16le")


@pytest.mark.parametrize(
    "options",
    [{"pooling": "median"}, {"vector_type": "bfloat16"}, {"hop_s": float("nan")}, {"heads": "mean"}],
)
def test_an_unknown_choice_is_refused_before_anything_is_sent(client, toy, samples, options):
    with pytest.raises(errors.OptionError, match=str(next(iter(options.values())))):
        client.call("embed", Pcm(samples, RATE_HZ), **options)
    assert toy.calls == []


@pytest.mark.parametrize(
    ("option", "value", "fits"),
    [
        ("max_results", 1 << 31, "a whole number from -1 to 2147483647"),
        ("max_results", 1.5, "a whole number"),
        ("max_results", True, "a whole number"),
        ("score_threshold", math.nan, "-inf to inf"),
        ("score_threshold", "0.5", "-inf to inf"),
        ("hop_s", 1e19, "1e-09 to 315576000000"),
        ("hop_s", math.inf, "1e-09 to 315576000000"),
        ("hop_s", 0.0, "1e-09 to 315576000000"),
        ("segment_length_s", -1, "1e-09 to 315576000000"),
    ],
)
def test_a_number_out_of_range_is_refused_before_anything_is_sent(client, toy, samples, option, value, fits):
    with pytest.raises(
        errors.OptionError, match=rf"^{option} must be {fits}.*, but is {re.escape(str(value))}$"
    ) as caught:
        client.call("classify", Pcm(samples, RATE_HZ), **{option: value})
    assert caught.value.field == f"options.{option}"
    assert toy.calls == []


def test_numbers_at_the_ends_of_their_ranges_are_sent(client, toy, samples):
    ends = {"max_results": np.int64((1 << 31) - 1), "score_threshold": -math.inf, "hop_s": 315_576_000_000.0}
    client.call("classify", Pcm(samples, RATE_HZ), segment_length_s=1e-9, **ends)
    options = toy.requests[-1].options
    assert (options.max_results, options.score_threshold) == ((1 << 31) - 1, -math.inf)
    assert (options.hop.seconds, options.segment_length.nanos) == (315_576_000_000, 1)


def test_an_unknown_option_is_a_type_error(client, samples):
    with pytest.raises(TypeError, match="poling"):
        client.call("embed", Pcm(samples, RATE_HZ), poling="mean")


def test_a_missing_file_is_an_os_error(client, tmp_path):
    with pytest.raises(FileNotFoundError):
        client.call("embed", tmp_path / "absent.wav")


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
    with pytest.raises(errors.NotFoundError, match="no service or model of that name"):
        client.call("health", "nobody")


def test_a_reply_over_four_mebibytes_is_read(client):
    assert len(client.call("model", "wordy").description) == 5 * 1024 * 1024


def test_content_is_sent_as_it_is(client, toy, wav):
    client.call("embed", wav)
    assert toy.requests[-1].audio.content == wav.read_bytes()
    assert soundfile.info(BytesIO(toy.requests[-1].audio.content)).samplerate == RATE_HZ
