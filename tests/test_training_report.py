"""Reports: counts, the surest mistakes, the page and the picture."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from auricle.training.report import History, make_report
from auricle.training.report_page import page, picture

SCORES = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6]], np.float32)
WANTED = np.array([0, 0, 1, 1])
FILES = ["1.wav", "2.wav", "3.wav", "4.wav"]
HISTORY = History(of="epoch", loss=(2.0, 1.0, 0.5), accuracy=(0.4, 0.6, 0.7), watched=(0.5, 0.5, 0.75))


class Outline(HTMLParser):
    """Texts of a page's cells and headings, and that each element that was opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.lines: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "polyline":
            self.lines.append(dict(attrs)["points"] or "")

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_a_report_counts_and_names_the_surest_mistakes() -> None:
    report = make_report(["a", "b"], FILES, WANTED, SCORES)
    assert report.confusion.tolist() == [[1, 1], [1, 1]]
    assert report.rows() == [("a", 2, 0.5, 0.5), ("b", 2, 0.5, 0.5)]
    assert [(mistake.file, mistake.said) for mistake in report.worst] == [("2.wav", "b"), ("3.wav", "a")]
    assert report.text().splitlines() == [
        "accuracy 50.0% on 4 clips",
        "class  clips  precision  recall",
        "a          2      50.0%   50.0%",
        "b          2      50.0%   50.0%",
        "worst: 2.wav: a taken for b (0.80)",
        "worst: 3.wav: b taken for a (0.70)",
    ]


def test_precision_and_recall_are_told_apart() -> None:
    # All is called a: a is found always and said rightly 1 in 4 times, b never.
    scores = np.tile(np.float32([0.9, 0.1]), (4, 1))
    report = make_report(["a", "b"], FILES, np.array([0, 1, 1, 1]), scores)
    assert report.rows() == [("a", 1, 0.25, 1.0), ("b", 3, 0.0, 0.0)]


def test_a_quantised_models_report_has_both_accuracies() -> None:
    report = make_report(["a", "b"], FILES, WANTED, SCORES, precision="int8", float32_accuracy=0.75)
    assert report.text().startswith("accuracy 50.0% on 4 clips as int8; 75.0% as float32\n")


def test_the_page_has_the_figures_and_a_line_for_each_curve() -> None:
    files = ["1.wav", "<2>.wav", "3.wav", "4.wav"]
    outline = Outline(page(make_report(["a", "b"], files, WANTED, SCORES, history=HISTORY)))
    assert {"accuracy 50.0% on 4 clips", "<2>.wav: a taken for b (0.80)", "50.0%"} <= set(outline.texts)
    assert "Loss by epoch: learned from 2.000 to 0.500" in outline.texts
    assert "Accuracy by epoch: learned from 0.400 to 0.700, watched from 0.500 to 0.750" in outline.texts
    # Loss, accuracy and watched accuracy, three epochs each; the first loss is the highest point.
    assert [len(points.split()) for points in outline.lines] == [3, 3, 3]
    assert outline.lines[0].split()[0] == "20.0,20.0"


@pytest.mark.parametrize("history", [None, History(of="epoch", loss=(1.0,), accuracy=(0.5,), watched=(0.5,))])
def test_less_than_two_epochs_have_no_curve(history: History | None) -> None:
    assert Outline(page(make_report(["a", "b"], FILES, WANTED, SCORES, history=history))).lines == []


@pytest.mark.parametrize("history", [None, HISTORY])
def test_the_picture_is_a_png_that_is_wider_with_curves(history: History | None, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the picture needs the extra train")
    picture(make_report(["a", "b"], FILES, WANTED, SCORES, history=history), tmp_path / "report.png")
    content = (tmp_path / "report.png").read_bytes()
    width, height = int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")
    assert content.startswith(b"\x89PNG")
    assert (width > 2 * height) is (history is not None)


def test_the_picture_of_many_classes_is_no_larger_than_one_can_look_at(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the picture needs the extra train")
    scores = np.eye(100, dtype=np.float32)
    labels = [f"class {number}" for number in range(100)]
    picture(make_report(labels, labels, np.arange(100), scores), tmp_path / "report.png")
    content = (tmp_path / "report.png").read_bytes()
    # 20 inches of 120 dots, in which nothing is written between the cells.
    assert (int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")) == (2400, 2400)
    assert len(content) < 100_000


def test_the_picture_takes_any_label(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the picture needs the extra train")
    picture(make_report(["a$\\foo$", "\u72ac"], FILES, WANTED, SCORES), tmp_path / "report.png")
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
