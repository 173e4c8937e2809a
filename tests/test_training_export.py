"""The place of a model that is made: how a path is served, and that what would not be is refused beforehand."""

from __future__ import annotations

from pathlib import Path

import pytest

import models
from auricle.client import Client
from auricle.engine.directory import scan
from auricle.errors import OptionError
from auricle.serve.local import LocalTransport
from auricle.training.export import check_target, served_as


@pytest.mark.parametrize(
    ("out", "directory", "name", "version"),
    [
        ("m/birds.onnx", "m", "birds", "1"),
        ("m/birds/2.onnx", "m", "birds", "2"),
        ("birds/1.10.onnx", ".", "birds", "1.10"),
        ("m/birds/v2.onnx", "m/birds", "v2", "1"),
        ("m/birds/3-cats.onnx", "m/birds", "3-cats", "1"),
        ("m/birds/_.onnx", "m/birds", "_", "1"),
        (".m/2.onnx", ".m", "2", "1"),
        ("../2.onnx", "..", "2", "1"),
        ("2.onnx", ".", "2", "1"),
    ],
)
def test_a_path_says_how_the_model_will_be_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, directory: str, name: str, version: str
) -> None:
    assert served_as(Path(out)) == (Path(directory), name, version)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    Path(out).touch()
    (found,) = scan(Path(directory))
    # A path without a version leaves it to the metadata.
    assert (found.name, found.version or "1") == (name, version)


@pytest.mark.parametrize(
    ("there", "out"),
    [
        ("birds/1.onnx", "birds.onnx"),
        ("birds/2.onnx", "birds.onnx"),
        ("birds.onnx", "birds/1.onnx"),
        ("birds.json", "birds.onnx"),
        ("birds/1.json", "birds/1.onnx"),
    ],
)
def test_a_place_where_another_file_is_in_the_way_is_refused(tmp_path: Path, there: str, out: str) -> None:
    (tmp_path / "birds").mkdir()
    (tmp_path / there).touch()
    with pytest.raises(OptionError) as refused:
        check_target(tmp_path / out)
    assert f"{tmp_path} has {there} in the way of a model 'birds'; move it away" in refused.value.message


@pytest.mark.parametrize(
    ("there", "out"),
    [
        ("birds.onnx", "birds.onnx"),
        ("birds/1.onnx", "birds/1.onnx"),
        ("birds/1.onnx", "birds/2.onnx"),
        ("birds.onnx", "cats.onnx"),
        ("birds.onnx", "cats/1.onnx"),
        ("birds/1.onnx", "cats.onnx"),
    ],
)
def test_what_is_not_refused_answers_there(tmp_path: Path, there: str, out: str) -> None:
    models.write_waveform(tmp_path / there, description="old")
    target = tmp_path / out
    check_target(target)
    models.write_waveform(target, description="new")
    directory, name, _ = served_as(target)
    with LocalTransport(models_dir=directory) as transport:
        assert Client(transport=transport, retry=None).model(name).description == "new"
