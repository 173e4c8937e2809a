"""Where the time of a call goes: the stages add up, and are the Timing message's."""

from __future__ import annotations

import json
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

import models
from auricle.cli.group import auricle
from auricle.config import SessionSettings
from auricle.errors import BundleError, InvalidArgumentError
from auricle.serve import profile as module
from auricle.serve.profile import profile
from auricle.v1 import auricle_pb2 as pb

ONE = SessionSettings(threads=1)


async def test_the_stages_of_one_segment_add_up_to_the_round_trip(tmp_path: Path) -> None:
    calls = await profile(models.write_embedder(tmp_path / "e.onnx"), ONE, None, calls=4)
    assert len(calls) == 4
    for call in calls:
        *stages, round_trip_s = astuple(call)
        assert min(stages) >= 0
        # The message has whole nanoseconds.
        assert sum(stages) == pytest.approx(round_trip_s, abs=1e-8)
        assert call.inference_s > 0
        assert call.features_s > 0
        assert call.resample_s == 0


async def test_the_stages_are_those_of_the_timing_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[pb.Timing] = []
    stages = module._stages

    def watched(timing: pb.Timing, **others: float) -> module.Stages:
        seen.append(timing)
        return stages(timing, **others)

    monkeypatch.setattr(module, "_stages", watched)
    path = tmp_path / "wide.wav"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, (44100, 2)), 44100)
    calls = await profile(models.write_classifier(tmp_path / "c.onnx"), ONE, path.read_bytes(), calls=3)
    for call, timing in zip(calls, seen, strict=True):
        seconds = {name: getattr(timing, name).ToNanoseconds() * 1e-9 for name in ("decode", "queue", "inference")}
        assert {"decode": call.decode_s, "queue": call.queue_s, "inference": call.inference_s} == pytest.approx(seconds)
        assert call.resample_s > 0
        assert call.resample_s + call.features_s == pytest.approx(timing.features.ToNanoseconds() * 1e-9)
        assert call.receive_s + call.reply_s == pytest.approx(
            call.round_trip_s - timing.total.ToNanoseconds() * 1e-9, abs=1e-8
        )


async def test_a_model_or_a_sound_that_cannot_be_served_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    with pytest.raises(BundleError, match=r"broken\.onnx"):
        await profile(broken, ONE, None, calls=1)
    with pytest.raises(InvalidArgumentError, match="cannot be read"):
        await profile(models.write_embedder(tmp_path / "e.onnx"), ONE, b"no sound", calls=1)


def test_the_command_prints_a_line_a_call_or_a_table(tmp_path: Path) -> None:
    models.write_embedder(tmp_path / "tiny.onnx")
    command = ["bench", "tiny", "--models", str(tmp_path), "--threads", "1", "--profile", "--calls", "2"]
    lines = CliRunner().invoke(auricle, [*command, "--json"], catch_exceptions=False).stdout.splitlines()
    assert [sorted(json.loads(line)) for line in lines] == [sorted(module.Stages.__slots__)] * 2
    shown = CliRunner().invoke(auricle, command, catch_exceptions=False).stdout
    for stage in ("receive", "decode", "resample", "features", "queue", "inference", "reply", "round trip"):
        assert stage in shown
