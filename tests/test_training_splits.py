"""Splits: by chance, by a held-out group and by a table, and what leaves a side empty."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from auricle.errors import InvalidArgumentError
from auricle.training.clips import Clip
from auricle.training.splits import split, spread


def clip(name: str, label: str, group: str = "", part: str = "") -> Clip:
    return Clip(path=Path(name), label=label, group=group, part=part)


def names(clips: tuple[Clip, ...]) -> list[str]:
    return [each.path.name for each in clips]


def test_a_split_by_chance_takes_a_share_of_each_class_and_never_all() -> None:
    clips = [clip(f"{i}.wav", "many") for i in range(20)] + [clip("x.wav", "few"), clip("y.wav", "few")]
    made = split(clips, share=0.2, seed=3)
    assert Counter(each.label for each in made.tested) == {"many": 4, "few": 1}
    assert sorted(names(made.learned + made.tested)) == sorted(each.path.name for each in clips)
    assert made.watched == made.tested
    assert split(clips, share=0.2, seed=3) == made
    assert split(clips, share=0.2, seed=4) != made


@pytest.mark.parametrize(("total", "tested"), [(2, 1), (17, 3), (18, 4)])
def test_the_share_of_a_class_is_rounded(total: int, tested: int) -> None:
    made = split([clip(f"{i}.wav", "a") for i in range(total)], share=0.2, seed=3)
    assert len(made.tested) == tested


def test_a_group_larger_than_the_share_is_tested_where_it_is_the_first_and_no_other_joins_it() -> None:
    clips = [clip(f"{who}{i}", "a", who) for who in "klm" for i in range(10)]
    for seed in range(5):
        made = split(clips, share=0.2, seed=seed)
        assert (len(made.tested), len({each.group for each in made.tested})) == (10, 1)


def test_a_split_by_chance_keeps_groups_whole() -> None:
    clips = [clip(f"{who}{label}{i}", label, who) for who in "klmnopqrst" for label in "ab" for i in range(3)]
    made = split(clips, share=0.2, seed=1)
    assert {each.group for each in made.learned}.isdisjoint({each.group for each in made.tested})
    assert Counter(each.label for each in made.tested) == {"a": 6, "b": 6}


def test_a_split_by_chance_never_takes_the_last_clips_of_a_class() -> None:
    # Each speaker has a class of their own, but for two who share one.
    clips = [clip("1", "a", "ann"), clip("2", "a", "ann"), clip("3", "b", "ben"), clip("4", "b", "eve")]
    made = split(clips, share=0.5, seed=1)
    assert {each.label for each in made.learned} == {"a", "b"}
    assert {each.label for each in made.tested} == {"b"}
    with pytest.raises(InvalidArgumentError, match=r"no group can be tested .*; the groups are: ann, ben"):
        split(clips[:3], share=0.5, seed=1)


def test_a_held_out_group_is_all_that_is_tested() -> None:
    clips = [clip("1", "a", "ann"), clip("2", "a", "ben"), clip("3", "b", "ben"), clip("4", "b", "ann")]
    made = split(clips, share=0.5, seed=1, held_out="ben")
    assert (names(made.learned), names(made.tested)) == (["1", "4"], ["2", "3"])
    with pytest.raises(InvalidArgumentError, match="group 'eve' has 0 of 4 clips; the groups are: ann, ben"):
        split(clips, share=0.5, seed=1, held_out="eve")
    with pytest.raises(InvalidArgumentError, match="no clip of class 'b' is left to learn from"):
        split(clips[:3], share=0.5, seed=1, held_out="ben")
    with pytest.raises(InvalidArgumentError, match="the groups are: none; a group pattern"):
        split([clip("1", "a"), clip("2", "b")], share=0.5, seed=1, held_out="ben")


def test_a_tables_own_split_is_kept() -> None:
    clips = [
        clip("1", "a", part="train"),
        clip("2", "b"),
        clip("3", "a", part="test"),
        clip("4", "b", part="validation"),
    ]
    made = split(clips, share=0.5, seed=1)
    assert (names(made.learned), names(made.watched), names(made.tested)) == (["1", "2"], ["4"], ["3"])
    made = split([*clips[:2], clips[3]], share=0.5, seed=1)
    assert (names(made.watched), names(made.tested)) == (["4"], ["4"])
    made = split(clips[:3], share=0.5, seed=1)
    assert (names(made.watched), names(made.tested)) == (["3"], ["3"])


def test_a_held_out_group_wins_over_a_tables_split() -> None:
    clips = [clip("1", "a", "ann", "test"), clip("2", "a", "ben", "train"), clip("3", "a", "ann", "validation")]
    made = split(clips, share=0.5, seed=1, held_out="ben")
    assert (names(made.learned), names(made.watched), names(made.tested)) == (["1", "3"], ["2"], ["2"])


@pytest.mark.parametrize(("part", "message"), [("train", "nothing to test with"), ("test", "nothing to learn from")])
def test_a_table_that_leaves_a_side_empty_is_refused(part: str, message: str) -> None:
    clips = [clip("1", "a", part=part), clip("2", "b", part=part)]
    with pytest.raises(InvalidArgumentError, match=message):
        split(clips, share=0.5, seed=1)


def test_a_spread_is_even_and_takes_all_where_there_are_no_more() -> None:
    assert spread(range(101), 5) == [0, 25, 50, 75, 100]
    assert spread("abc", 5) == ["a", "b", "c"]
    assert spread([], 5) == []
