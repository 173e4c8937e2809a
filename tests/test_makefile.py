"""Which TensorFlow the Makefile installs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WITH_GPU = "tensorflow[and-cuda]"

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def commands(tools: Path, *arguments: str) -> str:
    """What ``make train-digits`` would run in a new environment."""
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "GPU")}
    environment["PATH"] = f"{tools}:{environment['PATH']}"
    command = ["make", "--dry-run", "--always-make", "train-digits", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("status", "arguments", "with_gpu"), [(0, [], True), (0, ["GPU="], False), (9, [], False), (9, ["GPU=1"], True)]
)
def test_a_card_gets_the_build_for_it(tmp_path: Path, status: int, arguments: list[str], with_gpu: bool) -> None:
    driver = tmp_path / "nvidia-smi"
    driver.write_text(f"#!/bin/sh\necho what a driver says\nexit {status}\n")
    driver.chmod(0o755)
    assert (WITH_GPU in commands(tmp_path, *arguments)) is with_gpu
