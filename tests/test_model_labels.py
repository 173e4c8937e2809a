"""What a request keeps of a head's classes, and in which order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auricle.errors import BundleError, OptionError
from auricle.importing.files import label_names
from auricle.metadata.files import parse_labels
from auricle.model.labels import CategoryFilter, LabelList, display_names, parse_label_lines

NAMES = ("dog", "cat", "bird", "rain")
SCORES = np.array([0.25, 0.75, 0.25, 0.5], np.float32)


def ranked(scores: np.ndarray = SCORES, names: tuple[str, ...] = NAMES, **options: object) -> list[tuple[int, float]]:
    result = CategoryFilter(names, scores.size, **options).rank(scores)  # type: ignore[arg-type]
    return list(zip(result.indices.tolist(), result.scores.tolist(), strict=True))


def test_highest_first_and_ties_by_index() -> None:
    assert ranked() == [(1, 0.75), (3, 0.5), (0, 0.25), (2, 0.25)]
    assert [index for index, _ in ranked(np.ones(9, np.float32), names=())] == list(range(9))


def test_top_k_cuts_a_tie_at_the_lower_index() -> None:
    assert ranked(max_results=3) == [(1, 0.75), (3, 0.5), (0, 0.25)]


@pytest.mark.parametrize("max_results", [None, -1, 4, 100])
def test_all_are_kept_without_a_bound_below_their_number(max_results: int | None) -> None:
    assert len(ranked(max_results=max_results)) == 4


@given(st.lists(st.sampled_from([-0.5, -0.0, 0.0, 0.25, 0.5, 1.0]), min_size=1), st.integers(1, 12))
def test_a_bound_keeps_the_first_of_the_whole_ranking(scores: list[float], bound: int) -> None:
    values, size = np.array(scores, np.float32), len(scores)
    whole = CategoryFilter((), size).rank(values)
    kept = CategoryFilter((), size, max_results=bound).rank(values)
    assert kept.indices.tolist() == whole.indices.tolist()[:bound]
    assert kept.scores.tolist() == whole.scores.tolist()[:bound]


@pytest.mark.parametrize("max_results", [0, -2])
def test_a_bound_that_keeps_nothing_is_refused(max_results: int) -> None:
    with pytest.raises(OptionError, match=f"is {max_results}") as caught:
        CategoryFilter(NAMES, 4, max_results=max_results)
    assert caught.value.field == "options.max_results"


def test_a_score_at_the_threshold_is_kept() -> None:
    assert ranked(threshold=0.5) == [(1, 0.75), (3, 0.5)]
    # 0.7 as float32 lies below the double 0.7; the threshold means the score's own precision.
    assert len(ranked(np.array([0.7], np.float32), names=(), threshold=0.7)) == 1


def test_negative_scores_fall_under_the_default_threshold() -> None:
    assert ranked(np.array([-0.5, 0.0, 0.5, -1], np.float32)) == [(2, 0.5), (1, 0.0)]


def test_the_allowlist_keeps_and_the_denylist_drops() -> None:
    assert ranked(allow=("rain", "dog")) == [(3, 0.5), (0, 0.25)]
    assert ranked(deny=("rain", "dog")) == [(1, 0.75), (2, 0.25)]


def test_unknown_names_and_duplicates_are_ignored() -> None:
    assert ranked(allow=("rain", "rain", "ufo")) == [(3, 0.5)]
    assert len(ranked(deny=("ufo", "ufo"))) == 4


def test_max_results_counts_after_the_lists() -> None:
    assert ranked(deny=("cat",), max_results=2) == [(3, 0.5), (0, 0.25)]


def test_both_lists_are_refused() -> None:
    with pytest.raises(OptionError, match="exclude each other"):
        CategoryFilter(NAMES, 4, allow=("dog",), deny=("cat",))


def test_a_head_without_labels_keeps_all_under_a_denylist_and_none_under_an_allowlist() -> None:
    assert len(ranked(names=(), deny=("dog",))) == 4
    assert ranked(names=(), allow=("dog",)) == []


def test_display_names_come_from_the_locale_and_english_is_the_default() -> None:
    lists = (LabelList(names=("0", "1")), LabelList(locale="de", names=("null", "eins")))
    assert display_names(lists, "de") == ("null", "eins")
    assert display_names(lists, "") is None
    assert display_names(lists, "fr") is None
    assert display_names((*lists, LabelList(locale="en", names=("zero", "one"))), "") == ("zero", "one")


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n", "\n \n\r\n"])
def test_blank_lines_at_the_end_of_a_label_file_are_no_names(end: str) -> None:
    assert parse_label_lines("a dog\n b \r\nc" + end, source="x.txt") == ("a dog", " b ", "c")


@pytest.mark.parametrize("text", ["a\n\nb\n", "\na\n", "a\n \t\nb"])
def test_a_class_without_a_name_is_told_with_its_line(text: str) -> None:
    with pytest.raises(BundleError, match=r"^x\.txt, line [12]: the name of class [01] is empty"):
        parse_label_lines(text, source="x.txt")
    with pytest.raises(ValueError, match=r"^x\.txt, line"):
        parse_labels(text.encode(), source="x.txt")


@pytest.mark.parametrize("text", ["", "\n", " \n\n"])
def test_a_label_file_without_a_name_is_empty(text: str) -> None:
    with pytest.raises(BundleError, match=r"^x\.txt: the label file is empty"):
        label_names(text, classes=None, source="x.txt")
