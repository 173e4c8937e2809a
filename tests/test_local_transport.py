"""The engine in this process: sources that block or break off, the end of the block, and forked processes."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from auricle.client import Client, Pcm, SegmentResult, StreamEvent, Summary
from auricle.engine.repository import Repository
from auricle.errors import UnavailableError
from auricle.serve.local import LocalTransport
from auricle.v1 import auricle_pb2 as pb
from models import LENGTH, RATE_HZ, write_waveform

PATIENCE_S = 10.0
SEGMENT = np.full(LENGTH, 0.5, np.float32)
# As many threads as asyncio keeps for what blocks, and one more.
MANY = min(32, (os.cpu_count() or 1) + 4) + 1

pytestmark = pytest.mark.timeout(6 * PATIENCE_S)


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    write_waveform(tmp_path / "waveform.onnx")
    return tmp_path


@pytest.fixture
def transport(models_dir: Path) -> Iterator[LocalTransport]:
    with LocalTransport(models_dir=models_dir) as opened:
        yield opened


class Microphone:
    """Gives one segment, and then nothing until it is let go."""

    def __init__(self) -> None:
        self._more: Queue[bytes | None] = Queue()
        self._more.put(SEGMENT.tobytes())

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._more.get, None)

    def let_go(self) -> None:
        self._more.put(None)


def stream(transport: LocalTransport, chunks: Any, timeout_s: float | None = None) -> Iterator[StreamEvent]:
    return Client(transport=transport).stream_embed(
        chunks, sample_rate_hz=RATE_HZ, encoding="f32le", timeout_s=timeout_s
    )


def embed(transport: LocalTransport) -> np.ndarray:
    with Client(transport=transport, retry=None, timeout_s=PATIENCE_S) as client:
        return client.embed(Pcm(SEGMENT, RATE_HZ)).vector


def until_a_result(events: Iterator[StreamEvent]) -> None:
    assert any(isinstance(event, SegmentResult) for event in events)


def test_sources_that_block_hold_up_no_other_and_not_the_end(models_dir: Path) -> None:
    before, microphones = set(threading.enumerate()), [Microphone() for _ in range(MANY)]
    with LocalTransport(models_dir=models_dir) as transport:
        for microphone in microphones:
            events = stream(transport, microphone)
            until_a_result(events)
            events.close()
        assert isinstance(list(stream(transport, [SEGMENT], PATIENCE_S))[-1], Summary)
    # Nor do they hold up the process.
    assert all(thread.daemon for thread in set(threading.enumerate()) - before)
    for microphone in microphones:
        microphone.let_go()


@pytest.mark.parametrize("failure", [ZeroDivisionError, SystemExit, KeyboardInterrupt])
def test_whatever_a_source_raises_ends_its_stream_alone(
    transport: LocalTransport, failure: type[BaseException]
) -> None:
    def requests() -> Iterator[pb.StreamEmbedRequest]:
        layout = pb.PcmFormat(encoding=pb.ENCODING_PCM_F32LE, sample_rate_hz=RATE_HZ)
        yield pb.StreamEmbedRequest(config=pb.StreamEmbedConfig(format=layout))
        raise failure("the microphone broke")

    with pytest.raises(failure, match="microphone"):
        list(transport.StreamEmbed(requests(), timeout=PATIENCE_S))
    assert embed(transport).size == 3


def test_a_call_in_flight_at_the_end_fails(models_dir: Path) -> None:
    microphone, heard = Microphone(), threading.Event()

    def listen() -> None:
        for event in stream(transport, microphone):
            if isinstance(event, SegmentResult):
                heard.set()

    with ThreadPoolExecutor(1) as pool:
        with LocalTransport(models_dir=models_dir) as transport:
            listening = pool.submit(listen)
            assert heard.wait(PATIENCE_S)
        with pytest.raises(UnavailableError, match=r"closed before|not open"):
            listening.result(PATIENCE_S)
    microphone.let_go()


def test_a_stream_that_outlives_the_engine_has_ended_with_it(
    models_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    microphones = [Microphone(), Microphone()]
    with caplog.at_level(logging.WARNING, "asyncio"):
        with LocalTransport(models_dir=models_dir) as transport:
            read, closed = (stream(transport, each) for each in microphones)
            until_a_result(read)
            until_a_result(closed)
        closed.close()
        with pytest.raises(UnavailableError, match="not open"):
            next(read)
    assert not caplog.records
    for microphone in microphones:
        microphone.let_go()


def test_a_stream_that_is_open_at_the_end_is_closed_before_its_model(models_dir: Path) -> None:
    microphone = Microphone()
    with capture_logs() as logs, LocalTransport(models_dir=models_dir) as transport:
        events = stream(transport, microphone)
        until_a_result(events)
    assert [line["event"] for line in logs] == ["model loaded", "model unloading"]
    microphone.let_go()
    events.close()


def test_outside_its_block_it_says_so(models_dir: Path) -> None:
    def refuses() -> None:
        with pytest.raises(UnavailableError, match="not open"):
            embed(transport)
        with pytest.raises(UnavailableError, match="not open"):
            list(stream(transport, [SEGMENT]))

    transport = LocalTransport(models_dir=models_dir)
    refuses()
    with transport:
        assert embed(transport).size == 3
    refuses()


def test_what_keeps_it_from_opening_is_raised(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(self: Repository) -> None:
        raise ZeroDivisionError("no models today")

    monkeypatch.setattr(Repository, "refresh", broken)
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError, match="today"), LocalTransport(models_dir=models_dir):
        pass
    assert threading.active_count() == before


# Later Pythons warn of it, and rightly.
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_is_told_that_it_has_no_engine(transport: LocalTransport) -> None:
    events = stream(transport, [SEGMENT])
    until_a_result(events)
    if not (child := os.fork()):
        told = 0
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(int(PATIENCE_S))
            for ask in (lambda: embed(transport), lambda: next(events)):
                with pytest.raises(UnavailableError, match="forked"):
                    ask()
                told += 1
            transport.__exit__(None, None, None)
        finally:
            os._exit(told)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 2
    assert embed(transport).size == 3
