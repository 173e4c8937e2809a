"""The detector: a word that lies in several segments is told once, and again when it is said again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from auricle.client import Category, Classification, Detector, Flushed, SegmentResult
from auricle.errors import OptionError

HOP_S = 0.25


def segments(text: str, score: float = 0.9) -> list[SegmentResult]:
    """A segment a letter, a quarter of a second apart; ``.`` is background, upper case is an unsure answer."""
    events = []
    for place, letter in enumerate(text):
        name = "background" if letter == "." else letter.lower()
        found = Category(
            index=ord(letter.lower()), score=0.5 if letter.isupper() else score, category_name=name, display_name=""
        )
        answer = Classification(
            head="scores",
            head_index=0,
            start_s=place * HOP_S,
            end_s=place * HOP_S + 1,
            start_sample=0,
            end_sample=0,
            categories=(found,),
        )
        events.append(SegmentResult(classifications=(answer,)))
    return events


def told(
    text: str, average_s: float = 0.0, odds: float = 0.0, threshold: float = 0.6, **settings: float
) -> list[tuple[str, float]]:
    detector = Detector(average_s=average_s, odds=odds, threshold=threshold, **settings)
    return [(found.label, found.start_s) for event in segments(text) if (found := detector.take(event))]


def test_a_word_in_several_segments_is_told_once() -> None:
    assert told("..aaa..bb...c.") == [("a", 0.5), ("b", 1.75), ("c", 3.0)]


def test_a_long_word_is_told_once_however_long() -> None:
    assert told("aaaaaaaaaaaa") == [("a", 0.0)]


def test_a_word_that_is_said_again_is_told_again() -> None:
    assert told("aa..aa", suppression_s=0.75) == [("a", 0.0), ("a", 1.0)]


def test_another_word_lies_between_though_it_came_too_soon_to_be_told() -> None:
    assert told("abbaa", suppression_s=1.0) == [("a", 0.0), ("a", 1.0)]
    assert told("abaaa", suppression_s=1.0) == [("a", 0.0), ("a", 1.0)]


def test_nothing_is_told_within_the_suppression() -> None:
    assert told("ab.", suppression_s=0.75) == [("a", 0.0)]
    assert told("aabb", suppression_s=0.75) == [("a", 0.0), ("b", 0.75)]


def test_an_unsure_answer_is_none() -> None:
    assert told("A.aA") == [("a", 0.5)]


def test_a_wrong_beginning_is_outvoted_by_the_segments_that_follow() -> None:
    assert told("..baaa...") == [("b", 0.5)]
    assert told("..baaa...", average_s=0.4) == [("a", 1.0)]


def test_the_average_is_over_the_seconds_that_were_asked_for() -> None:
    # Three segments lie within half a second, two within 0.4: a third or half of 0.9 is too little.
    assert told("..a..", average_s=0.4, threshold=0.5) == []
    assert told("..aa..", average_s=0.4, threshold=0.5) == [("a", 0.75)]
    assert told("..aa..", average_s=0.5, threshold=0.5) == [("a", 0.75)]
    assert told("..aa..", average_s=0.5, threshold=0.7) == []
    assert told("..aaa..", average_s=0.5, threshold=0.7) == [("a", 1.0)]


def test_segments_further_apart_than_the_average_stand_alone() -> None:
    assert told("..a..", average_s=HOP_S / 2, threshold=0.5) == [("a", 0.5)]


def test_a_first_segment_tells_nothing_alone() -> None:
    assert told("b.aa.", average_s=0.4) == [("a", 0.75)]
    assert told("bb.", average_s=0.4) == [("b", 0.25)]


def test_the_score_of_a_detection_is_the_mean() -> None:
    detector = Detector(average_s=0.4, threshold=0.6)
    events = [*segments("a", score=0.5), *segments(".a", score=0.8)[1:]]
    found = [detection for event in events if (detection := detector.take(event))]
    assert [round(each.score, 6) for each in found] == [0.65]


def test_a_word_must_be_as_much_likelier_than_none_as_was_asked_for() -> None:
    # Means over three segments: 0.6 for the word and 0.3 for the background, then 0.9 and 0.
    assert told("..aaa.", average_s=0.5, threshold=0.5, odds=1.9) == [("a", 0.75)]
    assert told("..aaa.", average_s=0.5, threshold=0.5, odds=2.1) == [("a", 1.0)]
    # Another word is no background, however likely.
    assert told("bbaa", average_s=0.5, threshold=0.5, odds=2.1, suppression_s=0.5) == [("b", 0.25), ("a", 0.75)]


def test_ignored_labels_count_together() -> None:
    scores = {"a": 0.6, "background": 0.2, "_unknown_": 0.2}
    categories = tuple(
        Category(index=place, score=score, category_name=name, display_name="")
        for place, (name, score) in enumerate(scores.items())
    )
    ((answer,),) = (event.classifications for event in segments("a"))
    event = SegmentResult(classifications=(replace(answer, categories=categories),))
    for odds, label in ((1.4, "a"), (1.6, None)):
        found = Detector(average_s=0, odds=odds).take(event)
        assert (found and found.label) == label


@pytest.mark.parametrize("name", ["background", "_background_noise_", "_unknown_"])
@pytest.mark.parametrize("field", ["category_name", "display_name"])
def test_what_is_no_word_is_never_told(name: str, field: str) -> None:
    (answer,) = segments("a")[0].classifications
    (category,) = answer.categories
    named = replace(category, **{"category_name": "x", "display_name": "y", field: name})
    assert Detector(average_s=0).take(SegmentResult(classifications=(replace(answer, categories=(named,)),))) is None
    other = replace(category, category_name="x", display_name="y")
    found = Detector(average_s=0).take(SegmentResult(classifications=(replace(answer, categories=(other,)),)))
    assert found is not None
    assert found.label == "x"


def test_other_events_and_other_heads_are_passed_over() -> None:
    assert Detector().take(Flushed(end_sample=3)) is None
    assert Detector(head="other").take(segments("a")[0]) is None
    (answer,) = segments("a")[0].classifications
    both = SegmentResult(classifications=(replace(answer, head="other", categories=()), answer))
    found = Detector(head="scores", average_s=0).take(both)
    assert found is not None
    assert found.label == "a"
    assert Detector(average_s=0).take(both) is None, "without a name the first head counts"
    assert Detector(ignored=("a",)).take(segments("a")[0]) is None


@pytest.mark.parametrize(
    "wrong", [{"threshold": 1.1}, {"threshold": -0.1}, {"odds": -2.0}, {"suppression_s": -1.0}, {"average_s": -0.5}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(OptionError, match=f"but is {next(iter(wrong.values()))}"):
        Detector(**wrong)  # type: ignore[arg-type]
