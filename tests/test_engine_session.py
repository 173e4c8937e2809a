"""The runtime below the engine: what it does besides running models."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import models
from auricle.config import SessionSettings
from auricle.engine.graph import Graph
from auricle.engine.session import Session
from auricle.errors import BundleError

CODE = "import sys; from auricle.engine.session import providers; sys.exit(not providers('cpu'))"
# Where any of these is set the runtime says nothing of its own accord, and a test there would prove nothing.
SILENCING = ("CI", "TF_BUILD", "GITHUB_ACTIONS", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "XDG_CACHE_HOME")


def test_the_runtime_keeps_no_record_of_its_use(tmp_path: Path) -> None:
    # With its telemetry on it leaves an identifier of the device and a store of events below the home directory.
    environment = {name: value for name, value in os.environ.items() if name not in SILENCING}
    environment["HOME"] = str(tmp_path)
    subprocess.run([sys.executable, "-c", CODE], env=environment, check=True, timeout=60)
    assert list(tmp_path.rglob("*")) == []


@models.needs_another_device
def test_bound_inputs_and_outputs_give_the_same(tmp_path: Path) -> None:
    path = models.write_embedder(tmp_path / "e.onnx")
    near, far = (Graph(path, SessionSettings(threads=1, device=name)) for name in ("cpu", models.ANOTHER_DEVICE))
    segments = [near.noise(seed) for seed in range(3)]
    outputs = tuple(spec.tensor for spec in near.bundle.heads)
    wanted, found = near.run(outputs, segments), far.run(outputs, segments)
    assert wanted.keys() == found.keys()
    for name, array in wanted.items():
        assert array.tobytes() == found[name].tobytes()
    far.shrink()


def test_a_file_that_is_no_model_is_told_from_one_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "words.onnx").write_text("no model at all")
    with pytest.raises(BundleError, match=r"^words\.onnx: onnxruntime cannot load it: .*; is it an ONNX file"):
        Session(tmp_path / "words.onnx", SessionSettings())
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(BundleError, match=r"^folder\.onnx: the file cannot be read: Is a directory$"):
        Session(tmp_path / "folder.onnx", SessionSettings())
    with pytest.raises(BundleError, match=r"^absent\.onnx: the file cannot be read: No such file or directory$"):
        Session(tmp_path / "absent.onnx", SessionSettings())
