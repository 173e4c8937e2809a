"""The runtime below the engine: what it does besides running models."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import onnxruntime
import pytest

import models
from auricle.config import SessionSettings
from auricle.engine import session
from auricle.engine.graph import Graph
from auricle.engine.session import Session, check_device
from auricle.errors import BundleError, OptionError

CODE = "import sys; from auricle.engine.session import check_device; sys.exit(check_device('cpu') != 'cpu')"
OPEN = """
import sys
from pathlib import Path
from auricle.config import SessionSettings
from auricle.engine.session import Session
Session(Path(sys.argv[1]), SessionSettings(threads=1))
"""
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


@pytest.fixture
def cuda_without_a_card(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As onnxruntime-gpu is where CUDA cannot be used: it names the provider, and then takes the CPU unasked."""
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this build of onnxruntime has CUDA itself")
    names = ["CUDAExecutionProvider", *onnxruntime.get_available_providers()]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    session._opens.cache_clear()
    yield
    session._opens.cache_clear()


@pytest.mark.filterwarnings("ignore:Specified provider 'CUDAExecutionProvider'")
def test_a_device_that_cannot_be_used_is_an_error_and_not_the_cpu(
    cuda_without_a_card: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = models.write_embedder(tmp_path / "e.onnx")
    with pytest.raises(OptionError, match=r"^device 'cuda' is in this build of onnxruntime, but cannot be used here"):
        Session(path, SessionSettings(device="cuda"))
    assert Session(path, SessionSettings(device="auto")).device == "cpu"
    # onnxruntime says on stdout what it looked for, where a command may be writing JSON.
    assert capfd.readouterr().out == ""


def test_auto_takes_cuda_where_it_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_device("cpu") == "cpu"
    names = [*onnxruntime.get_available_providers(), "CUDAExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    monkeypatch.setattr(session, "_opens", lambda device: True)
    assert (check_device("auto"), check_device("cuda")) == ("cuda", "cuda")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert check_device("auto") == "cpu"


def test_a_file_that_is_no_model_is_told_from_one_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "words.onnx").write_text("no model at all")
    with pytest.raises(BundleError, match=r"^words\.onnx: onnxruntime cannot load it: .*; is it an ONNX file"):
        Session(tmp_path / "words.onnx", SessionSettings())
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "device.onnx").symlink_to(os.devnull)
    for name in ("folder", "device"):
        with pytest.raises(BundleError, match=rf"^{name}\.onnx: a folder, a pipe or the like is no model"):
            Session(tmp_path / f"{name}.onnx", SessionSettings())
    with pytest.raises(BundleError, match=r"^absent\.onnx: the file cannot be read: No such file or directory$"):
        Session(tmp_path / "absent.onnx", SessionSettings())


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.onnx"
    os.mkfifo(pipe)
    # In a process of its own, which can be ended where it waits.
    ended = subprocess.run([sys.executable, "-c", OPEN, pipe], capture_output=True, text=True, timeout=60)
    assert "pipe.onnx: a folder, a pipe or the like is no model" in ended.stderr
