"""A model directory that can be read in part: the rest is reported, and what is loaded from it goes on."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

import models
from auricle.config import SessionSettings
from auricle.engine.repository import Repository
from auricle.errors import OptionError
from auricle.serve.local import LocalTransport
from live import live_server


@pytest.fixture
async def repository(tmp_path: Path) -> AsyncIterator[Repository]:
    made = Repository(tmp_path, session=SessionSettings(threads=1))
    yield made
    await made.close()


def names(repository: Repository) -> list[tuple[str, str]]:
    return [(model.name, model.version) for model in repository.models()]


async def test_whatever_a_file_raises_the_others_are_served(
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = models.write_waveform(tmp_path / "a.onnx", metadata=None)
    path.with_suffix(".json").write_text(json.dumps(models.waveform_bundle()))
    models.write_waveform(tmp_path / "b.onnx")

    def read_bytes(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    await repository.refresh()
    assert names(repository) == [("b", "1")]
    assert "Permission denied" in str(repository.failures[path])


async def test_a_link_that_leads_to_itself_is_reported_and_the_others_are_served(
    tmp_path: Path, repository: Repository
) -> None:
    path = tmp_path / "loop.onnx"
    path.symlink_to(path.name)
    (tmp_path / "round").symlink_to("round")
    models.write_waveform(tmp_path / "z.onnx")
    with capture_logs() as logs:
        for _ in range(3):
            await repository.refresh()
    assert names(repository) == [("z", "1")]
    assert "symbolic links" in str(repository.failures[path])
    assert [line["event"] for line in logs].count("model not loaded") == 1
    assert [line["folder"] for line in logs if line["event"] == "folder not listed"] == [str(tmp_path / "round")]
    path.unlink()
    models.write_waveform(path)
    await repository.refresh()
    assert names(repository) == [("loop", "1"), ("z", "1")]
    assert repository.failures == {}


async def test_a_file_that_the_system_refused_is_tried_again_and_said_once(
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = models.write_waveform(tmp_path / "w.onnx")

    def open_(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    with capture_logs() as logs:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "open", open_)
            for _ in range(3):
                await repository.refresh()
        assert "Permission denied" in str(repository.failures[path])
        assert [line["event"] for line in logs] == ["model not loaded"]
        await repository.refresh()
    assert names(repository) == [("w", "1")]
    assert repository.failures == {}


async def test_a_link_that_leads_nowhere_is_a_file_that_cannot_be_read(tmp_path: Path, repository: Repository) -> None:
    target = models.write_waveform(tmp_path / "elsewhere" / ".w")
    (tmp_path / "w.onnx").symlink_to(target)
    await repository.refresh()
    assert names(repository) == [("w", "1")]
    old = repository.find("w")
    target.unlink()
    with capture_logs() as logs:
        for _ in range(2):
            await repository.refresh()
    assert [line["event"] for line in logs] == ["model not loaded"]
    assert str(repository.failures[tmp_path / "w.onnx"]).endswith("cannot be read: No such file or directory")
    assert repository.find("w") is old
    models.write_waveform(target, version="2")
    await repository.refresh()
    assert names(repository) == [("w", "2")]
    (tmp_path / "w.onnx").unlink()
    await repository.refresh()
    assert names(repository) == []


@pytest.mark.parametrize(
    ("name", "why"),
    [("file", "Not a directory"), ("file/in", "Not a directory"), ("loop", "Too many levels"), ("n" * 300, "too long")],
)
async def test_a_folder_that_cannot_be_listed_from_the_start_is_a_bad_option(
    tmp_path: Path, name: str, why: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    folder = tmp_path / name
    told = rf"cannot list {re.escape(str(folder))}: .*{why}.*; give a folder that can be read"
    with pytest.raises(OptionError, match=told) as caught:
        await Repository(folder).refresh()
    assert caught.value.field == "models_dir"
    with pytest.raises(OptionError, match=told), LocalTransport(models_dir=folder):
        pass
    with pytest.raises(OptionError, match=told):
        async with live_server(folder):
            pass


@pytest.mark.parametrize("number", [errno.EACCES, errno.EMFILE, errno.EIO])
@pytest.mark.parametrize("place", [".", "u"])
async def test_what_is_loaded_from_a_folder_that_cannot_be_listed_goes_on(
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch, number: int, place: str
) -> None:
    models.write_waveform(tmp_path / "u" / "1.onnx")
    models.write_waveform(tmp_path / "v" / "1.onnx")
    await repository.refresh()
    served = repository.models()
    models.write_waveform(tmp_path / "v" / "2.onnx")
    scandir, refused = os.scandir, str(tmp_path / place)

    def refuse(path: Any) -> Any:
        if str(path) == refused:
            raise OSError(number, os.strerror(number), str(path))
        return scandir(path)

    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr(os, "scandir", refuse)
        for _ in range(3):
            with pytest.raises(OSError, match=os.strerror(number)) if place == "." else nullcontext():
                await repository.refresh()
    assert repository.find("u") is served[0]
    assert repository.find("v", "1") is served[1]
    if place == "u":  # the other folder is not held up
        assert repository.find("v").version == "2"
        assert [line["folder"] for line in logs if line["event"] == "folder not listed"] == [refused]
    shutil.rmtree(tmp_path / "u")
    await repository.refresh()
    assert names(repository) == [("v", "2"), ("v", "1")]
