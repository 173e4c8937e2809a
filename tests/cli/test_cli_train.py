"""``auricle train``: its flags reach the job, its report is printed and written, its --json is one line."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

import models
from auricle.cli import main
from auricle.cli.train import _bar, train
from auricle.config import SessionSettings
from auricle.engine.graph import Graph
from auricle.errors import InvalidArgumentError
from auricle.training.augmentation import STILL, Augmentation

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
    assert sorted(path.name for path in report.iterdir()) == ["report.html", "report.png", "report.txt"]
    assert (report / "report.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["birds.onnx", "birds/2.onnx"])
def test_the_last_line_says_what_serves_the_model(data: Path, tmp_path: Path, name: str) -> None:
    backbone, out = models.write_waveform(tmp_path / "b.onnx"), tmp_path / "m" / name
    ran = CliRunner().invoke(train, [str(data), "--out", str(out), "--backbone", str(backbone)])
    assert ran.output.splitlines()[-1] == f"{out} is ready; `auricle serve --models {tmp_path / 'm'}` serves it"


def test_a_report_that_fails_does_not_hide_the_model(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("auricle.training.report_page.picture", broken)
    backbone, out = models.write_waveform(tmp_path / "b.onnx"), tmp_path / "m" / "levels.onnx"
    flags = ["--out", str(out), "--backbone", str(backbone), "--report", str(tmp_path / "r")]
    ran = CliRunner().invoke(train, [str(data), *flags])
    assert isinstance(ran.exception, MemoryError)
    assert f"{out} is ready" in ran.output
    assert out.is_file()


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


def test_bad_input_ends_with_exit_code_3_and_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "loud" / "a_0.wav").write_text("dear reader")
    with pytest.raises(SystemExit) as left:
        main(["train", str(data), "--out", str(tmp_path / "new" / "x.onnx")])
    assert left.value.code == 3
    assert re.fullmatch(r"auricle: .*a_0\.wav: audio\.content cannot be read as WAV[^\n]*\n", capsys.readouterr().err)
    assert not (tmp_path / "new").exists()


def test_progress_is_told_to_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    for stderr, told in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stderr)
        with _bar() as tell:
            tell("reading", 3, 7)
            tell("embedding", 2, 5)
        assert all(text in stderr.getvalue() for text in ("reading", "3/7", "embedding", "2/5")) is told


def test_a_quantised_models_json_has_both_accuracies(data: Path, tmp_path: Path) -> None:
    backbone, out = models.write_embedder(tmp_path / "b.onnx"), tmp_path / "levels.onnx"
    flags = ["--out", str(out), "--backbone", str(backbone), "--quantize", "float16", "--json"]
    made = json.loads(CliRunner().invoke(train, [str(data), *flags]).stdout)
    assert (made["precision"], made["accuracy"], made["float32_accuracy"]) == ("float16", 1.0, 1.0)


def test_labels_name_a_locale_and_a_file(data: Path, tmp_path: Path) -> None:
    backbone, out = models.write_waveform(tmp_path / "b.onnx"), tmp_path / "levels.onnx"
    (tmp_path / "de.txt").write_text("laut\nleise\n")
    flags = [str(data), "--out", str(out), "--backbone", str(backbone), "--labels"]
    assert CliRunner().invoke(train, [*flags, f"de={tmp_path / 'de.txt'}"]).exit_code == 0
    (head,) = [head for head in Graph(out, SessionSettings()).heads if head.spec.kind == "classification"]
    assert [(each.locale, each.names) for each in head.spec.labels] == [
        ("", ("loud", "quiet")),
        ("de", ("laut", "leise")),
    ]
    for wrong in (str(tmp_path / "de.txt"), "de=nowhere.txt", f"={tmp_path / 'de.txt'}", f"de={tmp_path}"):
        ran = CliRunner().invoke(train, [*flags, wrong])
        assert ran.exit_code == 2
        assert "should be LOCALE=FILE" in ran.output


def read_by_train(option: str, name: str, values: Sequence[str]) -> Any:
    """What the command makes of an option that may be repeated."""
    flags = [each for value in values for each in (option, value)]
    return train.make_context("train", ["words", "--out", "words.onnx", *flags]).params[name]


def locales_of(*values: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = read_by_train("--labels", "locales", values)
    return found


def test_labels_may_come_through_a_pipe() -> None:
    ends = os.pipe()
    with os.fdopen(ends[0]), os.fdopen(ends[1], "w") as write:
        write.write("laut\nleise\n")
        write.close()
        assert locales_of(f"de=/dev/fd/{ends[0]}") == {"de": ["laut", "leise"]}


def test_a_locale_has_one_file(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("x\ny\n")
    assert len(locales_of(f"de={tmp_path / 'a.txt'}", f"fr={tmp_path / 'a.txt'}")) == 2
    with pytest.raises(click.BadParameter, match=r"b\.txt' is a second file for de; give one for each locale"):
        locales_of(f"de={tmp_path / 'a.txt'}", f"de={tmp_path / 'b.txt'}")


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("default")
def test_a_whole_model_is_trained_from_a_table_and_a_seed_gives_one_file(tmp_path: Path) -> None:
    pytest.importorskip("keras", reason="a whole model needs the extra train")
    pytest.importorskip("matplotlib", reason="the picture needs the extra train")
    rows = ["path,label,split"]
    for label, hz in (("high", 3000), ("low", 400)):
        for number in range(10):
            seconds = np.arange(RATE_HZ // 2) / RATE_HZ
            wave = 0.2 * np.sin(2 * np.pi * hz * (1 + number / 300) * seconds)
            soundfile.write(tmp_path / f"{label}{number}.wav", wave, RATE_HZ)
            rows.append(
                f"{label}{number}.wav,{label},{'test' if number > 7 else 'validation' if number > 5 else 'train'}"
            )
    table = tmp_path / "clips.csv"
    table.write_text("\n".join(rows))
    outs = [tmp_path / name / "tones.onnx" for name in ("one", "two")]
    for out in outs:
        flags = ["--whole-model", "--epochs", "12", "--seed", "3", "--cache", str(tmp_path / "cache")]
        ran = CliRunner().invoke(train, [str(table), "--out", str(out), *flags, "--report", str(out.parent / "report")])
        assert ran.exit_code == 0, ran.output
        assert "accuracy 100.0% on 4 clips" in ran.output
    # The second time the features came from the cache.
    assert outs[0].read_bytes() == outs[1].read_bytes()
    assert len(list((tmp_path / "cache").rglob("*.npz"))) == 12
    page = (outs[0].parent / "report" / "report.html").read_text()
    assert re.search(r"Accuracy by epoch: learned from [\d.]+ to [\d.]+, watched from [\d.]+ to 1\.000", page)
    head = Graph(outs[0], SessionSettings()).heads[1]
    assert head.spec.labels[0].names == ("high", "low", "background")


def augmentation_of(*values: str) -> Augmentation:
    found: Augmentation = read_by_train("--augment", "augmentation", values)
    return found


def test_augmentation_is_named_field_by_field() -> None:
    assert augmentation_of() == Augmentation()
    assert augmentation_of("snr_db=5,30", "masks=0") == Augmentation(snr_db=(5.0, 30.0), masks=0)
    assert augmentation_of("noisy=0.1", "none", "noisy=1") == replace(STILL, noisy=1.0)
    assert augmentation_of("peak_db=none") == Augmentation(peak_db=None)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("snr=3", "there is no 'snr'; there are none, blending"),
        ("snr_db=5", "'snr_db=5' should be snr_db=LOW,HIGH"),
        ("snr_db=9,2", "snr_db must go from low to high, but is 9 to 2"),
        ("masks=1.5", "'masks=1.5' should be masks=N"),
        ("masks=none", "'masks=none' should be masks=N"),
        ("peak_db=loud", "'peak_db=loud' should be peak_db=LOW,HIGH or none"),
        ("noisy=loud", "'noisy=loud' should be noisy=VALUE"),
        ("noisy=2", "noisy must be 0 to 1, but is 2"),
        ("tempo=0,1", "tempo must be above 0, but begins at 0"),
        ("tilt_db=-1", "tilt_db must be 0 or more, but is -1"),
    ],
)
def test_an_augmentation_that_cannot_be_is_told_from_what_can(value: str, message: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        augmentation_of(value)
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize("option", [("--augment", "none"), ("--epochs", "3")])
def test_an_option_that_would_not_be_used_is_refused(option: tuple[str, str], data: Path, tmp_path: Path) -> None:
    ran = CliRunner().invoke(train, [str(data), "--out", str(tmp_path / "x.onnx"), *option])
    assert ran.exit_code == 2
    assert f"{option[0]} is for a whole model; add --whole-model" in ran.output
