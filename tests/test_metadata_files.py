"""Label and calibration files through the metadata writers to a classifier's answers."""

from __future__ import annotations

from pathlib import Path

import pytest

import models
from auricle.metadata import LabelFileMd, MetadataWriter, ScoreCalibrationMd, ScoreTransformationType
from metadata_cases import bundle_in, model, scores_of, text_file, writer

# Scores 0.5, 0.5 and 0.5 through "1,2,0.5", "2,-1,0,0.6" and an empty line, with a default score of 0.125.
# First class: z = 2 g(0.5) + 0.5, with g = 0.5, ln 0.5 = -0.693147 or ln 0.5 - ln 0.5 = 0, and 1 / (1 + e^-z).
# Second: 0.5 is below its least score of 0.6. Third: it has no line.
CURVE = "1,2,0.5\n2,-1,0,0.6\n\n"
AT_HALF = {"IDENTITY": 0.817574, "LOG": 0.291875, "INVERSE_LOGISTIC": 0.622459}
# Scores 0.8: z = 2 g + 0.5 and -g, with g = 0.8, ln 0.8 = -0.223144 or ln 0.8 - ln 0.2 = 1.386294.
AT_FOUR_FIFTHS = {
    "IDENTITY": (0.890903, 2 * 0.310026),
    "LOG": (0.513425, 2 * 0.555556),
    "INVERSE_LOGISTIC": (0.963477, 2 * 0.2),
}


@pytest.mark.parametrize("kind", list(ScoreTransformationType))
@pytest.mark.parametrize("spelling", ["member", "number", "name"])
def test_calibration_gives_the_values_computed_by_hand(
    tmp_path: Path, kind: ScoreTransformationType, spelling: str
) -> None:
    given = {"member": kind, "number": int(kind), "name": kind.name}[spelling]
    curve = ScoreCalibrationMd(given, 0.125, text_file(tmp_path, "curve.csv", CURVE))
    populated = writer(tmp_path, score_calibration_md=curve).populate()
    half = dict(scores_of(populated, 0.5, 0.5, 0.5))
    assert half == pytest.approx({"a": AT_HALF[kind.name], "b": 0.125, "c": 0.125}, abs=1e-6)
    first, second = AT_FOUR_FIFTHS[kind.name]
    assert dict(scores_of(populated, 0.8, 0.8, 0.8)) == pytest.approx({"a": first, "b": second, "c": 0.125}, abs=1e-6)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1,2", r"curve\.csv, line 1: expected scale,slope,offset\[,min_score\], got 2 fields"),
        ("1,2,3\n1,2,3,4,5", r"curve\.csv, line 2: .* got 5 fields"),
        ("1,2,three", r"curve\.csv, line 1: .*three"),
        ("1,2,3\n\n-1,2,3", r"curve\.csv, line 3: scale must be 0 or more, but is -1"),
    ],
)
def test_a_bad_calibration_file_is_refused_with_its_line(tmp_path: Path, content: str, message: str) -> None:
    path = text_file(tmp_path, "curve.csv", content)
    with pytest.raises(ValueError, match=message):
        ScoreCalibrationMd(ScoreTransformationType.LOG, 0.0, path)


@pytest.mark.parametrize("kind", [3, -1, "SQUARE", "log"])
def test_an_unknown_transformation_is_refused(tmp_path: Path, kind: int | str) -> None:
    path = text_file(tmp_path, "curve.csv", "1,2,3")
    with pytest.raises(ValueError, match=f"one of IDENTITY, LOG, INVERSE_LOGISTIC, but got {kind!r}"):
        ScoreCalibrationMd(kind, 0.0, path)


def test_a_calibration_of_the_wrong_length_is_refused(tmp_path: Path) -> None:
    curve = ScoreCalibrationMd("LOG", 0.0, text_file(tmp_path, "curve.csv", "1,2,3\n1,2,3\n"))
    with pytest.raises(ValueError, match=r"curve\.csv has 2 lines, but output 'scores' needs 3"):
        writer(tmp_path, score_calibration_md=curve)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("a\nb\n", r"labels\.txt has 2 labels, but output 'scores' needs 3"),
        ("a\nb\nc\nd\n", r"labels\.txt has 4 labels, but output 'scores' needs 3"),
        ("", r"labels\.txt: the label file is empty"),
        ("\n", r"labels\.txt: the label file is empty"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path: Path, labels: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        writer(tmp_path, labels)


def test_label_files_of_different_lengths_are_refused_where_the_graph_does_not_tell(tmp_path: Path) -> None:
    free = models.write(
        tmp_path / "free.onnx",
        nodes=[("Identity", ["wave"], "scores")],
        inputs={"wave": ["batch", "samples"]},
        outputs={"scores": ["batch", "classes"]},
        metadata=None,
    )
    paths = [text_file(tmp_path, "two.txt", "a\nb"), text_file(tmp_path, "three.txt", "a\nb\nc")]
    with pytest.raises(ValueError, match=r"three\.txt has 3 labels, but output 'scores' needs 2"):
        MetadataWriter.create_for_inference(free.read_bytes(), 16000, 1, paths)


def test_windows_line_ends_and_a_byte_order_mark_are_no_part_of_a_label(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes("\ufeffa\r\nb\r\nc\r\n".encode())
    populated = MetadataWriter.create_for_inference(model(tmp_path), 16000, 1, [path]).populate()
    assert bundle_in(populated)["heads"][0]["labels"][0]["names"] == ["a", "b", "c"]
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"labels\.txt is no UTF-8 text"):
        LabelFileMd(path)
    with pytest.raises(FileNotFoundError, match=r"gone\.txt"):
        LabelFileMd(tmp_path / "gone.txt")


def test_label_files_of_one_name_are_refused_unless_they_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "de").mkdir()
    english = text_file(tmp_path, "labels.txt", "dog\ncat\nbird\n")
    german = text_file(tmp_path, "de/labels.txt", "Hund\nKatze\nVogel\n")
    with pytest.raises(ValueError, match=f"{english} and {german} have one name"):
        MetadataWriter.create_for_inference(model(tmp_path), 16000, 1, [english, german])
    german.write_bytes(english.read_bytes())
    populated = MetadataWriter.create_for_inference(model(tmp_path), 16000, 1, [english, german]).populate()
    assert [name for name, _ in scores_of(populated, 0.75, 0.5, 0.25)] == ["dog", "cat", "bird"]
