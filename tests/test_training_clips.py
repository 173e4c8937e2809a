"""Clips: what is found in a folder or a table, and what is refused before training starts."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from auricle.errors import InvalidArgumentError
from auricle.training.clips import Clip, by_folder, by_table, check


def folder(root: Path, *files: str) -> Path:
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def clip(name: str, label: str, group: str = "", part: str = "") -> Clip:
    return Clip(path=Path(name), label=label, group=group, part=part)


def test_a_sub_folder_is_a_class_and_background_noise_is_none(tmp_path: Path) -> None:
    folder(tmp_path, "yes/a.wav", "yes/b.FLAC", "no/c.ogg", "no/notes.txt", "_background_noise_/rain.wav", ".git/x.wav")
    clips, noises = by_folder(tmp_path)
    assert [(each.path.name, each.label) for each in clips] == [("c.ogg", "no"), ("a.wav", "yes"), ("b.FLAC", "yes")]
    assert [path.name for path in noises] == ["rain.wav"]


def test_a_pattern_names_the_group(tmp_path: Path) -> None:
    folder(tmp_path, "yes/ann_1.wav", "no/ben_1.wav")
    clips, _ = by_folder(tmp_path, group_pattern=r"^([a-z]+)_")
    assert [each.group for each in clips] == ["ben", "ann"]
    for pattern, message in (
        ("^(x)", r"'ben_1.wav' does not fit the group pattern '\^\(x\)'"),
        ("^(x", r"the group pattern '\^\(x' is no regular expression: missing \)"),
        ("^x", r"the group pattern '\^x' has 0 groups in parentheses, not one"),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            by_folder(tmp_path, group_pattern=pattern)


def test_what_a_file_manager_hides_is_no_sound(tmp_path: Path) -> None:
    folder(tmp_path, "yes/a.wav", "yes/._a.wav", "yes/.b.wav", "notes.txt")
    assert [each.path.name for each in by_folder(tmp_path)[0]] == ["a.wav"]


def test_a_class_folder_without_sounds_is_refused(tmp_path: Path) -> None:
    folder(tmp_path, "yes/a.wav", "no/b.m4a")
    with pytest.raises(InvalidArgumentError, match=r"class folder .*no has no sounds: files \.aif"):
        by_folder(tmp_path)


@pytest.mark.parametrize("name", ["y\nes", "yes\n", "\n"])
def test_a_class_folder_whose_name_has_a_line_break_is_refused(tmp_path: Path, name: str) -> None:
    folder(tmp_path, f"{name}/a.wav")
    with pytest.raises(InvalidArgumentError, match=re.escape(f"the label {name!r} has a line break")):
        by_folder(tmp_path)


@pytest.mark.parametrize("label", ["yes", "_background_noise_"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "link"])
def test_what_has_the_name_of_a_sound_and_is_no_file_is_refused(tmp_path: Path, label: str, kind: str) -> None:
    folder(tmp_path, "yes/a.wav", "no/a.wav", f"{label}/b.wav")
    path = tmp_path / label / "x.wav"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("gone.wav")
    with pytest.raises(InvalidArgumentError, match=r"x\.wav has the name of a sound but is no file, or leads to none"):
        by_folder(tmp_path)


def test_a_table_has_paths_labels_and_splits(tmp_path: Path) -> None:
    folder(tmp_path, "a.wav", "b.wav")
    table = tmp_path / "clips.csv"
    table.write_text("path,label,split\na.wav,yes,train\nb.wav,no,test\n")
    assert [(each.label, each.part) for each in by_table(table)] == [("yes", "train"), ("no", "test")]


@pytest.mark.parametrize(
    "text",
    [
        "path, label, split, group\na.wav, yes, train, ann\n",
        "path ,label\t,split ,group \na.wav,yes ,train ,ann \n",
        'group, "label", "path", split\n ann, "yes", "a.wav", train\n',
        "path,label,split,group,,\na.wav,yes,train,ann,,\n",
    ],
)
def test_spaces_beside_commas_and_empty_columns_say_nothing(tmp_path: Path, text: str) -> None:
    folder(tmp_path, "a.wav")
    table = tmp_path / "clips.csv"
    table.write_text(text)
    assert by_table(table) == [Clip(path=tmp_path / "a.wav", label="yes", group="ann", part="train")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"clips\.csv is empty; give a CSV with the columns path and label"),
        ("path,label\n", r"clips\.csv has a header and nothing below it; give a line for each sound"),
        ("file,label\na.wav,x\n", "begins with file,label; its header must have path and label"),
        ("path,label,label\na.wav,x,y\n", r"clips\.csv has 2 columns label; keep one of them"),
        ("path,label,group, group\na.wav,x,y,z\n", r"clips\.csv has 2 columns group; keep one of them"),
        ('path,label\na.wav,"x\ny"\n', r"line 3: the label 'x\\ny' has a line break; write it in one line"),
        ("path,label\n,x\n", "line 2: there is no path; name a file in each line"),
        ("label,path\nx\n", "line 2: there is no path; name a file in each line"),
        ("path,label\na.wav,x\n./b/../a.wav,x\n", r"line 3: '\./b/\.\./a\.wav' is in line 2 too; name each file once"),
        ("path,label\na.wav,x\nb/c.wav,y\na.wav,y\n", r"line 4: 'a\.wav' is in line 2 too"),
        ("path,label\nnone.wav,x\n", "line 2: there is no file"),
        ("path,label\na.wav,\n", "line 2: 'a.wav' has no label"),
        ("path,label,split\na.wav,x,dev\n", "line 2: split is 'dev'; use train, validation or test"),
    ],
)
def test_a_wrong_table_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    folder(tmp_path, "a.wav", "b/c.wav")
    table = tmp_path / "clips.csv"
    table.write_text(text)
    with pytest.raises(InvalidArgumentError, match=message):
        by_table(table)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("", "data has no sounds; put files .aif"),
        ("aaa", "data has one class, 'a'; at least 2 are needed"),
        ("aab", "data: class 'b' has 1 clip; each needs at least 2"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(labels: str, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        check([clip(f"{i}.wav", label) for i, label in enumerate(labels)], where="data")


def test_no_such_folder_and_no_such_table_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="there is no folder"):
        by_folder(tmp_path / "none")
    with pytest.raises(InvalidArgumentError, match="there is no table"):
        by_table(tmp_path / "none.csv")


def test_a_table_that_is_no_text_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "clips.csv"
    table.write_bytes(b"path,label\n\xff\xfe,x\n")
    with pytest.raises(InvalidArgumentError, match=r"clips\.csv is no CSV in UTF-8"):
        by_table(table)


@pytest.mark.parametrize("name", [b"y\xe9s/a.wav", b"yes/\xe9.wav"])
def test_a_name_that_is_no_text_is_refused_and_shown(tmp_path: Path, name: bytes) -> None:
    folder(tmp_path, os.fsdecode(name))
    with pytest.raises(InvalidArgumentError, match=r"the name .*\\xe9.* is no text in UTF-8; rename it"):
        by_folder(tmp_path)


def test_a_table_whose_place_is_no_text_is_refused_and_shown(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match=r"the name .*\\xe9/clips\.csv is no text in UTF-8; rename it"):
        by_table(tmp_path / os.fsdecode(b"\xe9") / "clips.csv")
