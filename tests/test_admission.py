"""Admission: places are counted and given back, and who is refused learns when to come back."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path

import grpc
import pytest

from auricle.config import AdmissionSettings, BatchSettings
from auricle.engine.turns import LEAST_RETRY_S, LONGEST_RETRY_S, REFUSAL_EVERY_S
from auricle.errors import BusyError, OptionError, UnavailableError
from auricle.serve.admission import Admission, client_of
from auricle.v1 import auricle_pb2 as pb
from live import config, failure, live_server, noise, pcm
from models import write_embedder


class Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def admission(clock: Clock | None = None, *, streams: int = 100, **limits: float) -> Admission:
    return Admission(AdmissionSettings(**limits), streams=streams, clock=clock or Clock())  # type: ignore[arg-type]


def refusal(place: object) -> BusyError:
    with pytest.raises(BusyError) as caught:
        place()  # type: ignore[operator]
    return caught.value


@pytest.mark.parametrize(
    ("peer", "client"),
    [
        ("ipv4:192.0.2.7:51234", "192.0.2.7"),
        ("ipv6:%5B2001:db8::1%5D:443", "2001:db8::1"),
        ("ipv6:[::1]:443", "::1"),
        ("unix:/run/auricle.sock", "unix"),
        ("unix:", "unix"),
        ("odd", "odd"),
    ],
)
def test_a_client_is_its_address_whatever_the_port(peer: str, client: str) -> None:
    assert client_of(peer) == client


def test_calls_over_the_limit_are_refused_until_one_ends() -> None:
    gate = admission(calls=2)
    with gate.call("a"):
        with gate.call("b"):
            error = refusal(lambda: gate.call("c"))
            assert error.reason == "TOO_MANY_CALLS"
            assert "limit is 2" in error.message
            assert gate.calls == 2
        with gate.call("c"):
            assert gate.calls == 2
    assert gate.calls == 0


def test_a_place_is_given_back_whatever_ends_the_call() -> None:
    gate = admission(calls=1, streams=1, client_calls=1)
    for error in (ValueError, asyncio.CancelledError):
        with contextlib.suppress(error), gate.call("a"):
            raise error
        with contextlib.suppress(error), gate.stream("a"):
            raise error
    assert (gate.calls, gate.streams, gate.clients) == (0, 0, 0)


def test_streams_are_bounded_beside_calls() -> None:
    gate = admission(calls=1, streams=1)
    with gate.stream("a"), gate.call("a"):
        error = refusal(lambda: gate.stream("b"))
        assert (error.reason, error.retry_after_s) == ("TOO_MANY_STREAMS", 1.0)
        assert gate.streams == 1
    assert gate.streams == 0


def test_one_client_cannot_take_every_place() -> None:
    gate = admission(calls=10, client_calls=2, client_streams=1)
    with gate.call("greedy"), gate.call("greedy"), gate.stream("greedy"):
        error = refusal(lambda: gate.call("greedy"))
        assert (error.reason, error.retry_after_s) == ("CLIENT_CALLS", LEAST_RETRY_S)
        error = refusal(lambda: gate.stream("greedy"))
        assert (error.reason, error.retry_after_s) == ("CLIENT_STREAMS", 1.0)
        with gate.call("modest"), gate.stream("modest"):
            assert (gate.calls, gate.streams, gate.clients) == (3, 2, 2)
    assert gate.clients == 0


@pytest.mark.parametrize("kind", ["call", "stream"])
def test_the_end_of_one_gives_a_client_one_place_back(kind: str) -> None:
    gate = admission(client_calls=2, client_streams=2)
    take = getattr(gate, kind)
    with take("a"):
        with take("a"):
            pass
        with take("a"):
            assert refusal(lambda: take("a")).reason == f"CLIENT_{kind.upper()}S"


def test_a_client_with_all_its_calls_open_is_told_how_long_they_take() -> None:
    clock = Clock()
    gate = admission(clock, client_calls=2)
    with gate.call("a"):
        clock.now_s += 0.5
    with gate.call("a"), gate.call("a"):
        assert refusal(lambda: gate.call("a")).retry_after_s == pytest.approx(2 * 0.5)


def test_one_slow_call_among_many_is_not_taken_for_the_pace() -> None:
    clock = Clock()
    gate = admission(clock)
    for took_s in [0.1] * 100 + [5.0]:
        with gate.call("a"):
            clock.now_s += took_s
    with gate.call("a"):
        assert 0.1 < gate.backlog_s < 0.5


def test_a_clients_rate_lets_a_burst_through_and_then_its_share() -> None:
    clock = Clock()
    gate = admission(clock, client_rate_hz=2.0, client_burst=3)
    for _ in range(3):
        with gate.call("a"):
            pass
    error = refusal(lambda: gate.call("a"))
    assert error.reason == "CLIENT_RATE"
    assert error.retry_after_s == pytest.approx(0.5)
    with gate.call("b"):
        pass
    clock.now_s += error.retry_after_s
    with gate.call("a"):
        assert refusal(lambda: gate.stream("a")).reason == "CLIENT_RATE"
    # However long it was quiet, a burst is what it may begin at once.
    clock.now_s += 1000.0
    for _ in range(3):
        with gate.call("a"):
            pass
    assert refusal(lambda: gate.call("a")).reason == "CLIENT_RATE"


def test_clients_who_never_return_are_forgotten() -> None:
    clock = Clock()
    gate = admission(clock, client_rate_hz=1.0, client_burst=1)
    for number in range(1000):
        with gate.call(f"client {number}"):
            clock.now_s += 0.5
    assert gate.clients < 5


def test_clients_who_stay_do_not_keep_those_in_memory_who_never_return() -> None:
    clock = Clock()
    gate = admission(clock, client_rate_hz=1.0, client_burst=10)
    with gate.call("a call"), gate.stream("a stream"), gate.stream("another"):
        for number in range(1000):
            with gate.call(f"client {number}"):
                clock.now_s += 0.5
        assert gate.clients < 3 + 5
        # Those who are busy are remembered all the same, and so is one who spent its burst.
        for _ in range(10):
            with gate.call("eager"):
                pass
        for number in range(20):
            with gate.call(f"later {number}"):
                clock.now_s += 0.01
        assert refusal(lambda: gate.call("eager")).reason == "CLIENT_RATE"
        assert (gate.calls, gate.streams) == (1, 2)


def test_those_who_were_refused_are_told_different_times_at_the_pace_of_the_calls() -> None:
    clock = Clock()
    gate = admission(clock, calls=2)
    first, second = gate.call("a"), gate.call("a")
    for _ in range(10):
        clock.now_s += 0.1
        with first:
            pass
        first, second = second, gate.call("a")
    assert gate.backlog_s == pytest.approx(0.2)
    delays = [refusal(lambda: gate.call("b")).retry_after_s for _ in range(4)]
    assert delays == pytest.approx([LEAST_RETRY_S + 0.1 * place for place in range(4)])
    clock.now_s += 10.0
    assert refusal(lambda: gate.call("b")).retry_after_s == pytest.approx(LEAST_RETRY_S)


def test_a_crowd_is_spread_and_nobody_is_sent_away_for_ever() -> None:
    gate = admission(calls=1)
    with gate.call("a"):
        delays = [refusal(lambda: gate.call("b")).retry_after_s or 0.0 for _ in range(20_000)]
    assert delays[100] - delays[0] == pytest.approx(100 * REFUSAL_EVERY_S)
    assert delays == sorted(delays)
    assert max(delays) == LONGEST_RETRY_S


def test_a_draining_server_says_so_rather_than_busy() -> None:
    gate = admission(calls=1)
    with gate.call("a"):
        assert gate.full
        gate.drain()
        assert not gate.full
        with pytest.raises(UnavailableError):
            gate.call("b")
        with pytest.raises(UnavailableError):
            gate.stream("b")


def test_limits_of_nothing_are_refused() -> None:
    with pytest.raises(OptionError, match="calls must be above 0"):
        AdmissionSettings(calls=0)
    with pytest.raises(OptionError, match="client_rate_hz"):
        AdmissionSettings(client_rate_hz=-1.0)


async def test_a_call_over_the_limit_is_refused_unread_with_the_time_to_come_back(tmp_path: Path) -> None:
    write_embedder(tmp_path / "tiny.onnx")
    # The delay holds the first call in the batcher for as long as the second takes.
    batch = BatchSettings(max_delay_s=5.0)
    async with live_server(tmp_path, admission=AdmissionSettings(calls=1), batch=batch) as running:
        embed = running.channel.unary_unary("/auricle.v1.AudioService/Embed")
        first = asyncio.ensure_future(embed(pb.EmbedRequest(audio=pcm(noise(1.0))).SerializeToString()))
        while not running.server.admission.calls:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await embed(b"\xff this is no EmbedRequest")
        failed = failure(caught.value)
        assert (failed.code, failed.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS")
        assert failed.retry_s == pytest.approx(LEAST_RETRY_S)
        first.cancel()
        while running.server.admission.calls:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await embed(b"\xff this is no EmbedRequest")
        failed = failure(caught.value)
        assert (failed.code, failed.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "STREAM_PROTOCOL")


async def test_a_refusal_waits_for_no_message_and_sends_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_embedder(tmp_path / "tiny.onnx")
    # gRPC itself tries again only where a call ended with its status and nothing else. Under a few ms it hangs.
    policy = {"maxAttempts": 3, "initialBackoff": "0.02s", "maxBackoff": "0.02s", "backoffMultiplier": 1}
    policy |= {"retryableStatusCodes": ["RESOURCE_EXHAUSTED"]}
    retries = json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": policy}]})
    batch = BatchSettings(max_delay_s=5.0)
    async with (
        live_server(tmp_path, admission=AdmissionSettings(calls=1), batch=batch) as running,
        grpc.aio.insecure_channel(running.server.address, [("grpc.service_config", retries)]) as retrying,
    ):
        first = asyncio.ensure_future(running.audio.Embed(pb.EmbedRequest(audio=pcm(noise(1.0)))))
        while not running.server.admission.calls:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)
        # A stream to this client, so that it can be opened and never written to.
        silent = running.channel.stream_unary("/auricle.v1.AudioService/Embed")()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await silent
        assert failure(caught.value).reason == "TOO_MANY_CALLS"
        refusals = []
        refuse = running.server.admission.refusal
        monkeypatch.setattr(running.server.admission, "refusal", lambda: refusals.append(refuse()) or refusals[-1])
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await retrying.unary_unary("/auricle.v1.AudioService/Embed")(b"")
        assert failure(caught.value).reason == "TOO_MANY_CALLS"
        assert len(refusals) == 3
        first.cancel()


async def test_one_clients_streams_are_bounded_over_the_wire(tmp_path: Path) -> None:
    write_embedder(tmp_path / "tiny.onnx")
    async with live_server(tmp_path, admission=AdmissionSettings(client_streams=1)) as running:
        first = running.audio.StreamEmbed()
        await first.write(config())
        assert (await first.read()).HasField("ready")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in running.audio.StreamEmbed(iter([config()])):
                pass
        failed = failure(caught.value)
        assert (failed.code, failed.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "CLIENT_STREAMS")
        assert "127.0.0.1" in failed.message
        await first.done_writing()
