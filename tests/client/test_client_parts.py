"""The client's pure parts: similarity, retry policy, and the way from statuses to errors."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2

import auricle.client
from auricle import errors
from auricle.client import AsyncClient, Client, RetryPolicy, TlsOptions, cosine
from auricle.client.failures import from_rpc_error
from auricle.client.transport import check_target
from client_server import info, retry_info, status

PACKAGE = Path(auricle.__file__).parent


class Failed(grpc.RpcError):
    """A call's end, as grpc reports it."""

    def __init__(self, code, text="", metadata=()):
        super().__init__(text)
        self._code, self._text, self._metadata = code, text, metadata

    def code(self):
        return self._code

    def details(self):
        return self._text

    def trailing_metadata(self):
        return self._metadata


def mapped(code, text="what happened", *details, **kwargs):
    packed = status(code, text, *details).SerializeToString() if details else None
    metadata = [("other", "1"), ("grpc-status-details-bin", packed)] if details else []
    return from_rpc_error(Failed(code, text, metadata), target="here:1", **kwargs)


@pytest.mark.parametrize("name", [name for name in errors.__all__ if name != "AuricleError"])
def test_every_class_of_the_tree_survives_the_wire(name):
    original = getattr(errors, name)
    error = mapped(getattr(grpc.StatusCode, original.code), "the words", info(original.default_reason))
    assert type(error) is original
    assert (error.message, error.reason) == ("the words", original.default_reason)


def raised_with_a_reason():
    """Every class and reason that are raised together below a call, by name."""
    parts = ("serve/*.py", "engine/*.py", "frontend/*.py", "containers.py")
    for node in (
        node for part in parts for path in PACKAGE.glob(part) for node in ast.walk(ast.parse(path.read_text()))
    ):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and hasattr(errors, node.func.id):
            given = {each.arg: each.value for each in node.keywords}
            if isinstance(given.get("reason"), ast.Constant):
                yield node.func.id, given["reason"].value


@pytest.mark.parametrize(("name", "reason"), sorted(set(raised_with_a_reason())))
def test_every_reason_gives_the_class_that_was_raised(name, reason):
    original = getattr(errors, name)
    assert type(mapped(getattr(grpc.StatusCode, original.code), "words", info(reason))) is original


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        ("INVALID_ARGUMENT", "AUDIO_NOT_FINITE", errors.AudioError),
        ("INVALID_ARGUMENT", "AUDIO_SPLIT_SAMPLE", errors.AudioError),
        ("INVALID_ARGUMENT", "LIMIT_DURATION", errors.LimitError),
        ("INVALID_ARGUMENT", "SOMETHING_NEW", errors.InvalidArgumentError),
        ("RESOURCE_EXHAUSTED", "TOO_MANY_STREAMS", errors.BusyError),
        ("FAILED_PRECONDITION", "BUNDLE_TOO_NEW", errors.BundleError),
        ("DEADLINE_EXCEEDED", "STREAM_IDLE", errors.IdleError),
        ("PERMISSION_DENIED", "NOT_YOURS", errors.AuricleError),
    ],
)
def test_an_unknown_reason_gives_the_nearest_class(code, reason, expected):
    error = mapped(getattr(grpc.StatusCode, code), "words", info(reason))
    assert type(error) is expected
    assert error.reason == reason


def test_details_become_attributes():
    violation = error_details_pb2.BadRequest.FieldViolation(field="audio.pcm.data")
    error = mapped(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "words",
        info("QUEUE_FULL"),
        error_details_pb2.BadRequest(field_violations=[violation]),
        retry_info(1.25),
        error_details_pb2.ResourceInfo(resource_type="auricle.model", resource_name="voice"),
        error_details_pb2.Help(),
    )
    assert (error.field, error.retry_after_s, error.resource) == (
        "audio.pcm.data",
        1.25,
        ("auricle.model", "voice"),
    )


def test_retry_info_alone_still_counts():
    error = mapped(grpc.StatusCode.RESOURCE_EXHAUSTED, "words", retry_info(0.5))
    assert isinstance(error, errors.BusyError)
    assert error.retry_after_s == 0.5


@pytest.mark.parametrize(
    ("code", "text", "expected", "fragment"),
    [
        ("UNAVAILABLE", "failed to connect", errors.UnavailableError, "auricle serve"),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", errors.DeadlineError, "of 1.5 s"),
        ("RESOURCE_EXHAUSTED", "Sent message larger than max (9 vs. 4)", errors.LimitError, "9 vs. 4"),
        ("UNIMPLEMENTED", "unknown service", errors.AuricleError, "auricle server"),
        ("UNAUTHENTICATED", "no token", errors.AuricleError, "UNAUTHENTICATED: no token"),
        ("UNKNOWN", "oops", errors.InternalError, "oops"),
    ],
)
def test_statuses_that_grpc_made_say_what_they_mean_here(code, text, expected, fragment):
    error = mapped(getattr(grpc.StatusCode, code), text, timeout_s=1.5)
    assert type(error) is expected
    assert fragment in error.message


def test_garbled_details_leave_code_and_message():
    failure = Failed(grpc.StatusCode.NOT_FOUND, "no model", [("grpc-status-details-bin", b"\xff\xff\xff")])
    error = from_rpc_error(failure, target="here:1")
    assert type(error) is errors.NotFoundError
    assert error.message == "no model"


def test_the_pause_grows_up_to_its_bound():
    policy = RetryPolicy(attempts=5, first_delay_s=0.1, factor=4.0, longest_delay_s=1.0, jitter=0.5)
    gone = errors.UnavailableError("gone")
    assert [policy.delay_s(gone, n, chance=0.0) for n in (1, 2, 3, 4, 5)] == [0.1, 0.4, 1.0, 1.0, None]
    assert policy.delay_s(gone, 1, chance=1.0) == pytest.approx(0.15)


@pytest.mark.parametrize(("first_delay_s", "pause_s"), [(0.1, 5.0), (0.0, 0.0)])
def test_the_pause_keeps_its_bound_after_thousands_of_attempts(first_delay_s, pause_s):
    policy = RetryPolicy(attempts=10**6, first_delay_s=first_delay_s)
    assert policy.delay_s(errors.UnavailableError("gone"), 10_000, chance=0.0) == pause_s


def test_the_servers_delay_is_never_undercut():
    policy = RetryPolicy(longest_delay_s=1.0, jitter=0.5)
    busy = errors.BusyError("full", retry_after_s=3.0)
    assert policy.delay_s(busy, 1, chance=0.0) == 3.0
    assert policy.delay_s(busy, 1, chance=1.0) == 4.5
    assert policy.delay_s(errors.BusyError("quota"), 1) is None
    assert policy.delay_s(errors.InternalError("id 7"), 1) is None


def test_cosine_is_of_double_precision():
    a = np.array([1e-30, 2e-30], np.float32)
    assert cosine(a, a) == pytest.approx(1.0, abs=1e-15)
    large = np.array([1e30, 0], np.float32)
    assert cosine(large, large) == 1.0
    rng = np.random.default_rng(3)
    u, v = rng.normal(size=(2, 1024)).astype(np.float32)
    wide = u.astype(np.float64), v.astype(np.float64)
    expected = wide[0] @ wide[1] / np.sqrt((wide[0] @ wide[0]) * (wide[1] @ wide[1]))
    assert cosine(u, v) == pytest.approx(expected, abs=1e-15)
    assert cosine(u, u.astype(np.float64)) == pytest.approx(1.0, abs=1e-15)


def test_cosine_of_int8_does_not_wrap():
    a = np.full(512, -128, np.int8)
    assert cosine(a, a) == 1.0
    assert cosine(a, np.full(512, 127, np.int8)) == -1.0


@pytest.mark.parametrize(
    ("a", "b", "fragment"),
    [
        (np.zeros(0, np.float32), np.ones(3, np.float32), "first vector"),
        (np.ones(3, np.float32), np.ones((1, 3), np.float32), "second vector"),
        (np.zeros(3, np.float32), np.ones(3, np.float32), "norm"),
        (np.full(3, np.nan, np.float32), np.ones(3, np.float32), "norm"),
        (np.ones(3, np.float32), np.ones(4, np.float32), "3 elements with 4"),
        (np.ones(3, np.float32), np.ones(3, np.int8), "float32 with one of int8"),
        (np.ones(3, np.int64), np.ones(3, np.int64), "int64"),
    ],
)
def test_cosine_refuses_what_has_none(a, b, fragment):
    with pytest.raises(errors.OptionError, match=fragment):
        cosine(a, b)


def test_tls_files_come_in_pairs(tmp_path):
    with pytest.raises(errors.OptionError, match="go together"):
        TlsOptions(key_file=tmp_path / "key.pem")
    with pytest.raises(FileNotFoundError):
        TlsOptions(ca_file=tmp_path / "absent.pem").credentials()


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(
    "target",
    [
        *("127.0.0.1:99999", "here:65536", "here:0", "here:-1", "[::1]:70000", "dns:///here:70000", "dns:here:0"),
        "ipv4:127.0.0.1:1,127.0.0.1:99999",
    ],
)
def test_a_port_that_is_none_is_refused(kind, target):
    with pytest.raises(errors.OptionError, match=rf"the port of '{re.escape(target)}' must be 1 to 65535") as caught:
        kind(target)
    assert caught.value.field == "target"


@pytest.mark.parametrize(
    "target",
    [
        "here:1",
        "here:65535",
        "[::1]:50051",
        "dns:here",
        "dns:///here",
        "DNS:here:1",
        "dns://8.8.8.8:53/here:80",
        "ipv4:127.0.0.1:1,127.0.0.1:2",
        "ipv6:[::1]:1,[::1]:2",
        "unix:99999",
        "unix:///run/auricle:0",
        "unix-abstract:auricle",
        "vsock:2:1000000",
        "xds:///auricle",
        "google-c2p:///auricle",
    ],
)
def test_other_targets_are_left_to_grpc(target):
    assert check_target(target) == target


@pytest.mark.parametrize(
    "target",
    [
        *(
            "",
            "here",
            "here:",
            "here:http",
            "::0",
            "::1:50051",
            "2001:db8::99999",
            "[::1]",
            "[]:1",
            "a here:1",
            "a/b:1",
        ),
        *("here:1,there:2", "unix:", "ipv4:127.0.0.1", "ipv6:[::1]:1,[::1]", "tcp://here:1", "passthrough:///here:1"),
    ],
)
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_target_without_a_port_is_refused(kind, target):
    message = f"give HOST:PORT (an IPv6 address in brackets), not {target!r}"
    with pytest.raises(errors.OptionError, match=re.escape(message)) as caught:
        kind(target)
    assert caught.value.field == "target"


@pytest.mark.parametrize(("beginning", "rest"), [("http://", "here:1"), ("HTTPS://", "here")])
def test_a_url_is_refused_with_what_to_give(beginning, rest):
    with pytest.raises(errors.OptionError, match=f"give HOST:PORT without {beginning}, not '{beginning}{rest}'; TLS"):
        check_target(beginning + rest)


def test_exports_are_sorted_and_there():
    names = auricle.client.__all__
    assert names == sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    assert all(hasattr(auricle.client, name) for name in names)
