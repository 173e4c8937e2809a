"""Score calibration: the logistic curve, its three transformations and the CSV, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from auricle.errors import BundleError
from auricle.model.calibration import Calibration, CalibrationSpec, Row, parse_calibration_csv

# Float32 output of double arithmetic: half a unit in the last place.
EXACT = 6e-8
LN_FLOOR = math.log(1e-16)


def calibrated(scores: list[float], *rows: Row | None, **options: object) -> list[float]:
    spec = CalibrationSpec(parameters=rows, **options)  # type: ignore[arg-type]
    result = Calibration(spec).apply(np.array(scores, np.float32))
    assert result.dtype == np.float32
    return result.tolist()


def logistic(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def test_identity_by_hand() -> None:
    got = calibrated([0.5, 0.25, 0.0], (1.0, 2.0, -1.0, None), (0.9, -4.0, 0.5, None), (0.5, 1.0, 0.0, None))
    assert got == pytest.approx([0.5, 0.9 * logistic(-0.5), 0.25], rel=EXACT)


def test_log_by_hand() -> None:
    got = calibrated([0.5, 1.0], (1.0, 2.0, 1.0, None), (0.8, 3.0, 0.0, None), transformation="LOG")
    assert got == pytest.approx([logistic(2 * math.log(0.5) + 1), 0.4], rel=EXACT)


def test_inverse_logistic_by_hand() -> None:
    rows: tuple[Row, ...] = ((1.0, 1.0, 0.0, None), (1.0, 2.0, 0.0, None), (1.0, 1.0, 1.0, None))
    got = calibrated([0.25, 0.75, 0.5], *rows, transformation="INVERSE_LOGISTIC")
    # slope 1 and offset 0 give the score back; slope 2 squares the odds of 3 to 9; even odds leave the offset.
    assert got == pytest.approx([0.25, 0.9, logistic(1)], rel=EXACT)


@pytest.mark.parametrize(
    ("x", "log"),
    [
        (0.0, 2 * LN_FLOOR - math.log(2e-16)),
        (-1.0, 2 * LN_FLOOR - math.log(2e-16 + 1)),
        (1e-20, 2 * LN_FLOOR - math.log(2e-16 - float(np.float32(1e-20)))),
        (2.0, math.log(2.0)),
    ],
)
def test_the_logarithm_goes_on_below_its_floor(x: float, log: float) -> None:
    # Slope 0.01 keeps the logistic out of its flat ends, so that the logarithm is visible.
    got = calibrated([x], (1.0, 0.01, 0.0, None), transformation="LOG")
    assert got == pytest.approx([logistic(0.01 * log)], rel=EXACT)


def test_certain_scores_stay_finite_under_the_inverse_logistic() -> None:
    got = calibrated([0.0, 1.0], (1.0, 1.0, 0.0, None), (1.0, 1.0, 0.0, None), transformation="INVERSE_LOGISTIC")
    assert got[0] == pytest.approx(0, abs=1e-15)
    assert got[1] == 1.0


def test_extreme_arguments_do_not_overflow() -> None:
    assert calibrated([1.0, 1.0], (1.0, 1e6, 0.0, None), (1.0, -1e6, 0.0, None)) == [1.0, 0.0]


def test_a_class_without_parameters_gets_the_default_score() -> None:
    assert calibrated([0.9, 0.9], None, (1.0, 0.0, 0.0, None)) == [0.0, 0.5]
    assert calibrated([0.9, 0.9], None, (1.0, 0.0, 0.0, None), default_score=0.125) == [0.125, 0.5]


def test_a_score_below_min_score_gets_the_default_and_one_at_it_does_not() -> None:
    row: Row = (1.0, 0.0, 0.0, 0.5)
    assert calibrated([0.25, 0.5, 0.75], row, row, row, default_score=0.0625) == [0.0625, 0.5, 0.5]


def test_the_csv_has_a_line_a_class() -> None:
    text = "1,2,3\n\n0.5, -1 ,0,0.25\n"
    assert parse_calibration_csv(text) == ((1.0, 2.0, 3.0, None), None, (0.5, -1.0, 0.0, 0.25))
    assert parse_calibration_csv(text.replace("\n", "\r\n")) == parse_calibration_csv(text)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("1,2", "2 fields"),
        ("1,2,3,4,5", "5 fields"),
        ("1,x,3", "'x'"),
        ("-0.5,2,3", "scale must be 0 or more, but is -0.5"),
        ("nan,2,3", "nan"),
        ("1,nan,3", "nan"),
        ("1,2,inf", "inf"),
        ("1,2,3,-inf", "-inf"),
    ],
)
def test_a_wrong_csv_line_is_named(line: str, what: str) -> None:
    with pytest.raises(BundleError, match=what) as caught:
        parse_calibration_csv(f"1,1,1\n{line}\n", source="cal.csv")
    assert "cal.csv, line 2" in caught.value.message
