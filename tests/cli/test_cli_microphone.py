"""``auricle stream --mic`` without a sound card, or with a stand-in for one."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import models
from auricle.cli import main
from sound_card import Card, PortAudioError, install

Run = Callable[..., tuple[int, str, str]]


class Speaker(Card):
    """A card that plays a rising tone as soon as it is started: 3000 samples in blocks of 100, louder each time."""

    def start(self) -> None:
        super().start()
        for block in range(30):
            self.play(np.full(100, block / 100))


class Fussy(Speaker):
    """A card that only has its own rate."""

    def __init__(self, **arguments: object) -> None:
        super().__init__(**arguments)
        if arguments["samplerate"] != 48000:
            raise PortAudioError("Invalid sample rate")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.delenv("AURICLE_MODELS", raising=False)
    models.write_waveform(tmp_path / "waveform.onnx")

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as leaving:
            main(["stream", *arguments, "--models", str(tmp_path), "--json"])
        captured = capfd.readouterr()
        assert isinstance(leaving.value.code, int)
        return leaving.value.code, captured.out, captured.err

    return call


def test_so_many_seconds_are_streamed_at_the_models_rate(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    cards = install(monkeypatch, Speaker)
    code, out, _ = run("--mic", "--duration-s", "0.15", "--device", "7")
    assert code == 0
    ready, *segments, summary = map(json.loads, out.splitlines())
    assert (ready["event"], ready["file"]) == ("ready", "microphone")
    assert summary["usage"]["samples"] == 2400
    # Highest, lowest and mean sample of 1600 from 0 and from 800.
    vectors = [each["embeddings"][0]["vector"] for each in segments]
    assert vectors == [pytest.approx([0.15, 0.0, 0.075], abs=1e-6), pytest.approx([0.23, 0.08, 0.155], abs=1e-6)]
    assert (cards[0].arguments["samplerate"], cards[0].arguments["device"]) == (16000, 7)
    assert cards[0].calls == ["start", "stop", "close"]


def test_a_card_without_the_models_rate_records_at_a_common_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    cards = install(monkeypatch, Fussy)
    code, out, _ = run("--mic", "--duration-s", "0.05")
    assert code == 0
    assert json.loads(out.splitlines()[-1])["usage"]["samples"] == 800
    assert [card.arguments["samplerate"] for card in cards] == [48000]


def test_a_device_that_is_not_there_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    code, out, errors = run("--mic", "--device", "none")
    assert code == 3
    assert "No input device matching 'none'" in errors
    assert json.loads(out)["file"] == "microphone"


def test_without_sounddevice_it_says_what_to_install(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    code, _, errors = run("--mic")
    assert code == 3
    assert "pip install 'auricle[mic]'" in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mic", "clip.wav"], "leave the FILEs out"),
        ([], "name a FILE, or record with --mic"),
        (["clip.wav", "--duration-s", "1"], "--duration-s goes with --mic"),
        (["clip.wav", "--device", "usb"], "--device goes with --mic"),
    ],
)
def test_files_and_the_microphone_exclude_each_other(run: Run, arguments: list[str], message: str) -> None:
    code, _, errors = run(*arguments)
    assert code == 2
    assert message in errors
