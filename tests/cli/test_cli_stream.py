"""``stream``: events as they come, from files and from standard input."""

from __future__ import annotations

import io
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from auricle.cli.live import paced
from command import RATE_HZ, spawn


def test_stream_prints_events_as_lines(run: Any, both: Path, clips: list[Path]) -> None:
    lines = run("stream", clips[0], "--model", "tones", "--models", both, "--json").lines
    kinds = [line["event"] for line in lines]
    assert kinds[0] == "ready"
    assert kinds[-1] == "summary"
    assert set(kinds[1:-1]) == {"segment"}
    unary = run("embed", clips[0], "--model", "tones", "--models", both, "--pooling", "none", "--json").lines
    assert [line["embeddings"][0] for line in lines[1:-1]] == unary[0]["embeddings"]
    people = run("stream", clips[0], "--model", "tones", "--models", both).out
    assert "to the one before" in people
    assert "1.70 s of sound" in people


def test_stream_asks_for_what_the_model_is_for(run: Any, address: str, clips: list[Path]) -> None:
    lines = run("stream", clips[0], "--model", "scenes", "--server", address, "--json").lines
    assert len(lines[1]["classifications"]) == 2
    assert lines[1]["embeddings"] == []
    lines = run("stream", clips[0], "--model", "scenes", "--as", "embed", "--server", address, "--json").lines
    assert len(lines[1]["embeddings"]) == 1


def test_stream_in_real_time_gives_the_same(run: Any, address: str, tmp_path: Path) -> None:
    path = tmp_path / "short.wav"
    soundfile.write(path, np.random.default_rng(4).normal(0, 0.1, (RATE_HZ // 4, 2)), RATE_HZ)
    wanted = ["--model", "scenes", "--server", address, "--json"]
    live = run("stream", path, "--realtime", *wanted).lines
    fast = run("stream", path, *wanted).lines
    assert [line.get("classifications") for line in live] == [line.get("classifications") for line in fast]


def test_pacing_waits_until_the_sound_would_have_been_recorded() -> None:
    now, waits = [100.0], []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        now[0] += seconds

    pieces = list(paced([bytes(250), bytes(50)], 1000.0, clock=lambda: now[0], sleep=sleep))
    assert [len(piece) for piece in pieces] == [100, 100, 50, 50]
    assert np.allclose(waits, [0.1, 0.1, 0.05, 0.05])
    assert now[0] == pytest.approx(100.3)


def test_a_bad_file_among_streamed_ones_is_told_of_on_stderr(
    run: Any, embedders: Path, clips: list[Path], tmp_path: Path
) -> None:
    ran = run("stream", tmp_path / "absent.wav", clips[0], "--models", embedders)
    assert ran.code == 3
    assert "absent" not in ran.out
    assert "1.70 s of sound" in ran.out
    assert len(ran.err.splitlines()) == 1


@pytest.mark.parametrize("where", ["server", "here"])
def test_a_reader_that_goes_leaves_no_trace(address: str, both: Path, long_clip: Path, where: str) -> None:
    place = ["--server", address] if where == "server" else ["--models", both]
    process = spawn("stream", long_clip, "--model", "scenes", "--json", *place)
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["event"] == "ready"
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(30) == 141


@pytest.mark.parametrize("where", ["server", "here"])
def test_an_interrupt_ends_with_130_and_no_trace(address: str, both: Path, long_clip: Path, where: str) -> None:
    place = ["--server", address] if where == "server" else ["--models", both]
    process = spawn("stream", long_clip, "--realtime", "--model", "scenes", "--json", *place)
    assert process.stdout is not None
    for _ in range(2):
        process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert err.strip() == "interrupted", err


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """The end to read from, and the end to write to."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def raw_samples(path: Path) -> bytes:
    return soundfile.read(path, dtype="int16")[0].tobytes()


def without_timing(events: list[Any]) -> list[Any]:
    return [{key: value for key, value in event.items() if key not in ("file", "timing")} for event in events]


def test_standard_input_is_a_file_or_raw_samples(
    run: Any, embedders: Path, clips: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wanted = ["--models", embedders, "--json"]
    told = run("stream", clips[0], *wanted).lines
    raw = tmp_path / "raw"
    raw.write_bytes(raw_samples(clips[0]))
    for path, flags in ((clips[0], []), (raw, ["--sample-rate", RATE_HZ])):
        with path.open("rb") as stream:
            monkeypatch.setattr("sys.stdin", io.TextIOWrapper(stream))
            assert without_timing(run("stream", "-", *flags, *wanted).lines) == without_timing(told)


@pytest.mark.parametrize("where", ["server", "here"])
def test_raw_samples_are_answered_as_they_come_until_ctrl_c(
    address: str, both: Path, clips: list[Path], where: str, pipe: tuple[int, int]
) -> None:
    place = ["--server", address] if where == "server" else ["--models", both]
    command = ["stream", "-", "--sample-rate", RATE_HZ, "--model", "scenes", "--json", *place]
    process = spawn(*command, stdin=pipe[0])
    assert process.stdout is not None
    sound = raw_samples(clips[0])
    os.write(pipe[1], sound[: 2 * RATE_HZ])
    assert [json.loads(process.stdout.readline())["event"] for _ in range(3)] == ["ready", "segment", "segment"]
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    # By the same readers: communicate would miss what they hold already.
    with process.stdout, process.stderr:
        summary = json.loads(process.stdout.readlines()[-1])
        assert process.stderr.read() == ""
    assert process.wait(30) == 0
    assert (summary["event"], summary["usage"]["samples"]) == ("summary", RATE_HZ)
