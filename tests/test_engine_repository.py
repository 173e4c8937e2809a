"""The model directory: what is in it is what is served, whatever comes, changes, breaks or goes."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

import models
from auricle.config import SessionSettings
from auricle.engine import repository as module
from auricle.engine.graph import Graph
from auricle.engine.options import Options
from auricle.engine.plan import make_plan
from auricle.engine.repository import Repository
from auricle.engine.served import ServedModel
from auricle.errors import InvalidArgumentError, NotFoundError, OptionError, UnavailableError

Opener = Callable[..., Repository]


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Opener]:
    made: list[Repository] = []

    def make(**options: object) -> Repository:
        made.append(Repository(tmp_path, session=SessionSettings(threads=1), **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for repository in made:
        await repository.close()


def names(repository: Repository) -> list[tuple[str, str]]:
    return [(model.name, model.version) for model in repository.models()]


async def ask(model: ServedModel) -> list[float]:
    """The model's answer for a segment whose highest, lowest and mean sample are 0.5, 0 and 0.25."""
    wave = np.array([0.5, 0.0] * 800, np.float32)
    outcome = await model.batcher.submit("test", wave, ("embedding",))
    return outcome.outputs["embedding"].tolist()


async def test_the_highest_version_serves_unless_one_is_named(tmp_path: Path, opened: Opener) -> None:
    for version in ("9", "10", "1"):
        models.write_waveform(tmp_path / "w" / f"{version}.onnx")
    repository = opened()
    await repository.refresh()
    assert names(repository) == [("w", "10"), ("w", "9"), ("w", "1")]
    assert repository.find("w").version == "10"
    assert repository.find("w", "9").version == "9"


async def test_the_path_wins_over_the_metadata(tmp_path: Path, opened: Opener) -> None:
    models.write_waveform(tmp_path / "here" / "7.onnx", name="elsewhere", version="1")
    models.write_waveform(tmp_path / "flat.onnx", name="elsewhere", version="3")
    models.write_waveform(tmp_path / "same.onnx", name="same")
    repository = opened()
    with capture_logs() as logs:
        await repository.refresh()
    warnings = [(line["event"], line["path"], line["metadata"]) for line in logs if line["log_level"] == "warning"]
    assert warnings == [
        ("name differs: the path wins", "flat", "elsewhere"),
        ("name differs: the path wins", "here", "elsewhere"),
        ("version differs: the path wins", "7", "1"),
    ]
    assert names(repository) == [("flat", "3"), ("here", "7"), ("same", "1")]
    bundle = repository.find("here").graph.bundle
    assert (bundle.name, bundle.version) == ("here", "7")  # what is said of it gives the name that was asked for
    with pytest.raises(OptionError, match="model 'flat' takes segments of 1600 samples"):
        make_plan(repository.find("flat").graph, Options(kind="embedding", segment_length_ns=1), stream=False)


async def test_an_empty_selector_takes_the_default_else_the_only_model(tmp_path: Path, opened: Opener) -> None:
    models.write_waveform(tmp_path / "a.onnx")
    alone, chosen = opened(), opened(default_model="b")
    await alone.refresh()
    assert alone.find("").name == "a"
    models.write_waveform(tmp_path / "b.onnx")
    for repository in (alone, chosen):
        await repository.refresh()
    assert chosen.find("").name == "b"
    with pytest.raises(InvalidArgumentError, match="one of: a, b") as caught:
        alone.find("")
    assert (caught.value.field, caught.value.reason) == ("model.name", "MODEL_REQUIRED")


async def test_a_model_that_runs_alone_is_said_to(tmp_path: Path, opened: Opener) -> None:
    models.write_waveform(tmp_path / "several.onnx")
    path = models.write_batch_dependent(tmp_path / "alone.onnx")
    with capture_logs() as logs:
        await opened().refresh()
    (warning,) = [line for line in logs if line["event"].startswith("served at batch 1")]
    assert (warning["file"], warning["log_level"]) == (str(path), "warning")


async def test_the_health_of_a_name_is_its_newest_version_s(tmp_path: Path, opened: Opener) -> None:
    for version in ("9", "10"):
        models.write_waveform(tmp_path / "w" / f"{version}.onnx")
    repository = opened()
    await repository.refresh()
    older, newest = repository.find("w", "9"), repository.find("w", "10")
    older.healthy = False
    assert repository.health() == {"w": True}
    older.healthy, newest.healthy = True, False
    assert repository.health() == {"w": False}


async def test_what_is_not_there_is_named_with_what_is(tmp_path: Path, opened: Opener) -> None:
    repository = opened(default_model="gone")
    await repository.refresh()
    with pytest.raises(NotFoundError, match="no model 'gone'; loaded are: none"):
        repository.find("")
    models.write_waveform(tmp_path / "w" / "2.onnx")
    await repository.refresh()
    for name, missing in (("v", "v"), ("", "gone")):
        with pytest.raises(NotFoundError, match=f"no model '{missing}'; loaded are: w"):
            repository.find(name)
    with pytest.raises(NotFoundError, match="no version '1'; loaded are: 2") as caught:
        repository.find("w", "1")
    assert caught.value.resource == ("auricle.model", "w/1")


async def test_a_new_file_takes_over_and_the_old_one_ends_its_leases(tmp_path: Path, opened: Opener) -> None:
    path = models.write_waveform(tmp_path / "w.onnx")
    repository = opened()
    await repository.refresh()
    old = repository.find("w")
    with old.lease():
        models.write_steady_from(path, 1, version="2")
        await repository.refresh()
        new = repository.find("w")
        assert (new.version, new is old) == ("2", False)
        assert await ask(old) == [0.5, 0.0, 0.25]
        assert await ask(new) == [0.5, 0.0, 0.25]
    await repository.close()
    with pytest.raises(UnavailableError):
        await ask(old)


@pytest.mark.parametrize("bad", ["garbage", "metadata", "sidecar", "gone-sidecar"])
async def test_a_bad_new_file_leaves_the_old_model_serving(tmp_path: Path, opened: Opener, bad: str) -> None:
    path = models.write_waveform(tmp_path / "w.onnx")
    models.write_waveform(tmp_path / "z.onnx")
    repository = opened()
    await repository.refresh()
    old = repository.find("w")
    if bad == "garbage":
        path.write_bytes(b"half an upload")
    elif bad == "metadata":
        models.write_waveform(path, audio={"sample_rate_hz": 1})
    elif bad == "sidecar":
        path.with_suffix(".json").write_bytes(b"\xff\xfe")
    else:
        models.write_waveform(path, metadata=None)
    for _ in range(2):  # the second refresh finds nothing new
        await repository.refresh()
        assert repository.find("w") is old
        assert list(repository.failures) == [path]
    assert "w.onnx" in str(repository.failures[path])
    assert await ask(old) == [0.5, 0.0, 0.25]
    path.with_suffix(".json").unlink(missing_ok=True)
    models.write_waveform(path, version="3")
    await repository.refresh()
    assert repository.find("w").version == "3"
    assert repository.failures == {}


async def test_a_removed_file_drains_and_a_missing_directory_is_empty(tmp_path: Path, opened: Opener) -> None:
    models.write_waveform(tmp_path / "w.onnx")
    heard: list[dict[str, bool]] = []
    repository = opened(on_change=heard.append)
    await repository.refresh()
    model = repository.find("w")
    with model.lease():
        (tmp_path / "w.onnx").unlink()
        await repository.refresh()
        with pytest.raises(NotFoundError):
            repository.find("w")
        assert await ask(model) == [0.5, 0.0, 0.25]
    shutil.rmtree(tmp_path)
    await repository.refresh()
    assert heard == [{"w": True}, {}]


async def test_a_bad_file_that_goes_is_no_failure_any_more(tmp_path: Path, opened: Opener) -> None:
    path = tmp_path / "w.onnx"
    path.write_bytes(b"half an upload")
    repository = opened()
    await repository.refresh()
    assert list(repository.failures) == [path]
    path.unlink()
    await repository.refresh()
    assert repository.failures == {}


async def test_closing_waits_for_the_leases(tmp_path: Path, opened: Opener) -> None:
    models.write_waveform(tmp_path / "w.onnx")
    repository = opened()
    await repository.refresh()
    model = repository.find("w")
    with model.lease():
        closing = asyncio.create_task(repository.close())
        assert await ask(model) == [0.5, 0.0, 0.25]
        assert not closing.done()
    await closing
    with pytest.raises(UnavailableError):
        await ask(model)


async def test_a_lease_that_outlives_the_grace_is_ended(tmp_path: Path, opened: Opener) -> None:
    models.write_waveform(tmp_path / "w.onnx")
    repository = opened(grace_s=0.0)
    await repository.refresh()
    model = repository.find("w")
    with model.lease():
        await repository.close()
        with pytest.raises(UnavailableError):
            await ask(model)


async def test_one_name_and_version_is_served_from_one_file(tmp_path: Path, opened: Opener) -> None:
    first = models.write_waveform(tmp_path / "w.onnx", version="1")
    second = models.write_waveform(tmp_path / "w" / "1.onnx")
    repository = opened()
    await repository.refresh()
    assert names(repository) == [("w", "1")]
    assert "already loaded" in str(repository.failures[second])
    first.unlink()
    await repository.refresh()
    await repository.refresh()
    assert names(repository) == [("w", "1")]
    assert repository.failures == {}


@pytest.mark.parametrize("files", [("w.onnx", "w/1.onnx"), ("w/1.onnx", "w.onnx")])
async def test_a_file_whose_name_is_taken_is_said_once_and_not_loaded_again(
    tmp_path: Path, opened: Opener, monkeypatch: pytest.MonkeyPatch, files: tuple[str, str]
) -> None:
    loaded: list[Path] = []

    def load(path: Path, settings: SessionSettings) -> Graph:
        loaded.append(path)
        return Graph(path, settings)

    monkeypatch.setattr(module, "Graph", load)
    first, second = (tmp_path / file for file in files)
    models.write_waveform(first)
    repository = opened()
    await repository.refresh()
    models.write_waveform(second)
    with capture_logs() as logs:
        for _ in range(3):
            await repository.refresh()
    assert "already loaded" in str(repository.failures[second])
    assert [line["event"] for line in logs] == ["model not loaded"]
    # Only the metadata tells the version of a file that lies in no folder of its name.
    assert loaded == [first] + [second] * (second.parent == tmp_path)


async def test_a_file_that_moves_is_never_without_service(tmp_path: Path, opened: Opener) -> None:
    path = models.write_waveform(tmp_path / "w.onnx", version="1")
    repository = opened()
    await repository.refresh()
    (tmp_path / "w").mkdir()
    path.rename(tmp_path / "w" / "1.onnx")
    refreshing = asyncio.create_task(repository.refresh())
    while not refreshing.done():
        assert repository.find("w").version == "1"
        await asyncio.sleep(0)
    await refreshing
    assert names(repository) == [("w", "1")]
    assert repository.failures == {}
