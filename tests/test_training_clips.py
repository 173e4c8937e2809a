"""Clips: what is found in a folder or a table, what is refused before training starts, and how clips are split."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from auricle.errors import InvalidArgumentError
from auricle.training.clips import Clip, by_folder, by_table, check, split


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
    with pytest.raises(InvalidArgumentError, match=r"'ben_1.wav' does not fit the group pattern '\^\(x\)'"):
        by_folder(tmp_path, group_pattern="^(x)")


def test_a_table_has_paths_labels_and_splits(tmp_path: Path) -> None:
    folder(tmp_path, "a.wav", "b.wav")
    table = tmp_path / "clips.csv"
    table.write_text("path,label,split\na.wav,yes,train\nb.wav,no,test\n")
    assert [(each.label, each.part) for each in by_table(table)] == [("yes", "train"), ("no", "test")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na.wav,x\n", "its header must have path and label"),
        ("path,label\nnone.wav,x\n", "line 2: there is no file"),
        ("path,label\na.wav,\n", "line 2: 'a.wav' has no label"),
        ("path,label,split\na.wav,x,dev\n", "line 2: split is 'dev'; use train, validation or test"),
    ],
)
def test_a_wrong_table_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    folder(tmp_path, "a.wav")
    table = tmp_path / "clips.csv"
    table.write_text(text)
    with pytest.raises(InvalidArgumentError, match=message):
        by_table(table)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("", "data has no sounds; put .aif"),
        ("aaa", "data has one class, 'a'; at least 2 are needed"),
        ("aab", "data: class 'b' has 1 clip; each needs at least 2"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(labels: str, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        check([clip(f"{i}.wav", label) for i, label in enumerate(labels)], where="data")


def test_no_such_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="there is no folder"):
        by_folder(tmp_path / "none")


def test_a_split_by_chance_takes_a_share_of_each_class_and_never_all() -> None:
    clips = [clip(f"{i}.wav", "many") for i in range(20)] + [clip("x.wav", "few"), clip("y.wav", "few")]
    train, test = split(clips, share=0.2, seed=3)
    assert Counter(each.label for each in test) == {"many": 4, "few": 1}
    assert sorted(each.path for each in (*train, *test)) == sorted(each.path for each in clips)
    assert split(clips, share=0.2, seed=3) == (train, test)


def test_a_held_out_group_is_all_that_is_tested() -> None:
    clips = [clip("1.wav", "a", "ann"), clip("2.wav", "a", "ben"), clip("3.wav", "b", "ben")]
    train, test = split(clips, share=0.5, seed=1, held_out="ben")
    assert [each.group for each in train] == ["ann"]
    assert [each.group for each in test] == ["ben", "ben"]
    with pytest.raises(InvalidArgumentError, match="group 'eve' has 0 of 3 clips; the groups are: ann, ben"):
        split(clips, share=0.5, seed=1, held_out="eve")


def test_a_tables_own_split_is_kept() -> None:
    clips = [clip("1.wav", "a", part="train"), clip("2.wav", "a", part="test"), clip("3.wav", "b", part="validation")]
    train, test = split(clips, share=0.5, seed=1)
    assert ([each.path.name for each in train], [each.path.name for each in test]) == (["1.wav"], ["2.wav", "3.wav"])
