"""``auricle train``: its flags reach the job, its report is printed and written, its --json is one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

import models
from auricle.cli.train import train
from auricle.errors import InvalidArgumentError

RATE_HZ = 16000


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for label, level in (("loud", 0.5), ("quiet", 0.05)):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(6):
            wave = np.random.default_rng(number).uniform(-level, level, RATE_HZ // 5)
            soundfile.write(tmp_path / "data" / label / f"{'ab'[number % 2]}_{number}.wav", wave, RATE_HZ)
    return tmp_path / "data"


def test_it_trains_prints_and_writes_a_report(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the picture needs the extra train")
    backbone, out, report = models.write_waveform(tmp_path / "b.onnx"), tmp_path / "m" / "levels.onnx", tmp_path / "r"
    ran = CliRunner().invoke(
        train, [str(data), "--out", str(out), "--backbone", str(backbone), "--report", str(report)]
    )
    assert ran.exit_code == 0, ran.output
    assert "accuracy 100.0% on 2 clips" in ran.output
    assert sorted(path.name for path in report.iterdir()) == ["confusion.png", "report.html", "report.txt"]
    assert (report / "confusion.png").read_bytes().startswith(b"\x89PNG")


def test_json_is_one_line_with_the_confusion(data: Path, tmp_path: Path) -> None:
    backbone, out = models.write_waveform(tmp_path / "b.onnx"), tmp_path / "levels.onnx"
    flags = ["--out", str(out), "--backbone", str(backbone), "--group-pattern", "^(.)_", "--hold-out", "b", "--json"]
    ran = CliRunner().invoke(train, [str(data), *flags])
    made = json.loads(ran.stdout)
    assert (made["clips"], made["labels"], made["confusion"]) == (6, ["loud", "quiet"], [[3, 0], [0, 3]])
    assert out.is_file()


def test_bad_data_is_an_error_of_the_tree(tmp_path: Path) -> None:
    ran = CliRunner().invoke(train, [str(tmp_path / "none"), "--out", str(tmp_path / "x.onnx")])
    assert isinstance(ran.exception, InvalidArgumentError)
    assert "there is no folder" in ran.exception.message
