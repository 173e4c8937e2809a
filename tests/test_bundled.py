"""The models that come with the package: they answer where the user has none, and give way where the user has one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import models
from auricle.config import SessionSettings
from auricle.engine.repository import Repository
from auricle.errors import InvalidArgumentError


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[tuple[Repository, Path]]:
    """A repository with one model of the package, ``spare`` version 1, and the user's empty directory."""
    package, own = tmp_path / "package", tmp_path / "own"
    package.mkdir()
    own.mkdir()
    models.write_waveform(package / "spare.onnx", name="spare")
    repository = Repository(own, bundled_dir=package, session=SessionSettings(threads=1))
    await repository.refresh()
    yield repository, own
    await repository.close()


async def test_it_serves_where_the_user_has_no_model(both: tuple[Repository, Path]) -> None:
    repository, _ = both
    assert repository.find("").name == "spare"


async def test_it_does_not_make_the_users_only_model_ambiguous(both: tuple[Repository, Path]) -> None:
    repository, own = both
    models.write_waveform(own / "mine" / "1.onnx")
    models.write_waveform(own / "mine" / "2.onnx")
    await repository.refresh()
    assert [model.name for model in repository.models()] == ["mine", "mine", "spare"]
    assert repository.find("").name == "mine"
    assert repository.find("spare").name == "spare"


async def test_two_of_the_users_models_must_be_named(both: tuple[Repository, Path]) -> None:
    repository, own = both
    for name in ("a", "b"):
        models.write_waveform(own / f"{name}.onnx")
    await repository.refresh()
    with pytest.raises(InvalidArgumentError, match="one of: a, b, spare"):
        repository.find("")


async def test_the_users_file_of_the_same_name_wins_until_it_goes(both: tuple[Repository, Path]) -> None:
    repository, own = both
    # The same version too: it must not clash with the one that it replaces.
    path = models.write_classifier(own / "spare.onnx", name="spare")
    await repository.refresh()
    (model,) = repository.models()
    assert model.graph.bundle.task == "audio-classification"
    path.unlink()
    await repository.refresh()
    (model,) = repository.models()
    assert model.graph.bundle.task != "audio-classification"


async def test_a_bad_file_of_the_same_name_leaves_it_serving(both: tuple[Repository, Path]) -> None:
    repository, own = both
    (own / "spare.onnx").write_bytes(b"half an upload")
    await repository.refresh()
    assert [model.name for model in repository.models()] == ["spare"]
    assert list(repository.failures) == [own / "spare.onnx"]
