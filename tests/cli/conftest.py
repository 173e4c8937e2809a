"""The command run in this process, and the models, the server and the clips that it is tried on."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from auricle.cli import main
from auricle.config import ServerSettings
from command import RATE_HZ, Ran
from models import write_classifier, write_embedder
from serving import serving


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    for name in [name for name in os.environ if name.startswith("AURICLE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    # Wide enough that no cell is folded, whatever runs the tests.
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: object, env: dict[str, str] | None = None) -> Ran:
        for name, value in (env or {}).items():
            monkeypatch.setenv(name, value)
        capfd.readouterr()
        with pytest.raises(SystemExit) as leaving:
            main([str(each) for each in arguments])
        for name in env or {}:
            monkeypatch.delenv(name)
        captured = capfd.readouterr()
        assert isinstance(leaving.value.code, int)
        return Ran(leaving.value.code, captured.out, captured.err)

    return call


@pytest.fixture(scope="package")
def embedders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embedders")
    write_embedder(folder / "tones" / "1.onnx", heads=[{"pool": "mean", "l2_normalize": True}])
    return folder


@pytest.fixture(scope="package")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("both")
    write_embedder(folder / "tones" / "1.onnx")
    write_classifier(folder / "scenes.onnx", heads=[{"pool": "mean"}, {"pool": "mean"}, {"pool": "mean"}])
    return folder


@pytest.fixture(scope="package")
def address(both: Path) -> Iterator[str]:
    with serving(ServerSettings(models_dir=both, listen="127.0.0.1:0", watch=False, grace_s=2.0)) as target:
        yield target


@pytest.fixture(scope="package")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    seconds = np.arange(int(1.7 * RATE_HZ)) / RATE_HZ
    paths = []
    for name, hz in (("low", 200), ("low2", 210), ("high", 3000)):
        noise = np.random.default_rng(hz).normal(0, 0.01, seconds.size)
        paths.append(folder / f"{name}.wav")
        soundfile.write(paths[-1], 0.3 * np.sin(2 * np.pi * hz * seconds) + noise, RATE_HZ)
    return paths


@pytest.fixture(scope="package")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("long") / "long.wav"
    soundfile.write(path, np.random.default_rng(6).normal(0, 0.1, 60 * RATE_HZ), RATE_HZ)
    return path
