"""Failures, blocking and async alike: the classes that come back, and what is tried again."""

from __future__ import annotations

import math

import grpc
import pytest
from google.rpc import error_details_pb2

from auricle import errors
from auricle.client import Pcm, RetryPolicy, Summary, UnaryLimits
from client_server import RATE_HZ, info, retry_info, status


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
    assert toy.calls == ["Embed"] * RetryPolicy().attempts


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


@pytest.mark.parametrize("timeout_s", [math.inf, 1e19])
def test_a_time_limit_that_never_comes_is_none(client, samples, timeout_s):
    sound = Pcm(samples, RATE_HZ)
    assert client.call("embed", sound, timeout_s=timeout_s).model == "toy"
    assert client.call("embed", sound, limits=UnaryLimits(content_bytes=1), timeout_s=timeout_s).model == "toy"
    assert isinstance(client.events("stream_embed", sound, timeout_s=timeout_s)[-1], Summary)


def test_nan_is_no_time_limit(client, toy, samples):
    sound = Pcm(samples, RATE_HZ)
    with pytest.raises(errors.OptionError, match="timeout_s must be a number of seconds, but is NaN"):
        client.call("embed", sound, timeout_s=math.nan)
    with pytest.raises(errors.OptionError, match="timeout_s must be a number of seconds, but is NaN"):
        client.events("stream_embed", sound, timeout_s=math.nan)
    assert toy.calls == []
