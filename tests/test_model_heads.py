"""Heads: what becomes of one output, step by step and in order, and the pools over segments."""

from __future__ import annotations

import math

import numpy as np
import pytest

from auricle.model.calibration import CalibrationSpec
from auricle.model.heads import Dequantize, Head, HeadSpec, MaxPool, MeanPool
from auricle.model.labels import LabelList


def head(dimension: int, **fields: object) -> Head:
    spec = HeadSpec(name="head", tensor="out", kind="classification", **fields)  # type: ignore[arg-type]
    return Head(spec, index=0, dimension=dimension)


def logistic(z: float) -> float:
    return 1 / (1 + math.exp(-z))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_dequantising_is_scale_times_the_distance_from_the_zero_point(dtype: type) -> None:
    ends = np.iinfo(dtype)
    raw = np.array([ends.min, 0, 3, ends.max], dtype)
    values = head(4, dequantize=Dequantize(scale=0.5, zero_point=3)).values(raw)
    assert values.dtype == np.float32
    assert values.tolist() == [(ends.min - 3) / 2, -1.5, 0, (ends.max - 3) / 2]


def test_dequantising_multiplies_in_float32() -> None:
    got = head(1, dequantize=Dequantize(scale=0.1)).values(np.array([3], np.uint8))
    assert got[0] == np.float32(0.1) * np.float32(3)


def test_sigmoid_is_exact_at_zero_and_stable_at_the_ends() -> None:
    values = head(4, activation="sigmoid").values(np.array([0, 2, -1e4, 1e4], np.float32))
    assert values.dtype == np.float32
    # Float32 exponential: two units in the last place.
    assert values.tolist() == pytest.approx([0.5, logistic(2), 0, 1], abs=1.2e-7)


def test_softmax_sums_to_one_and_does_not_overflow() -> None:
    values = head(3, activation="softmax").values(np.array([1000, 1000 + math.log(2), 1000 + math.log(5)], np.float64))
    # 1000 + ln 2 keeps 6e-5 in float32, which is what the ratio can be off by.
    assert values.tolist() == pytest.approx([1 / 8, 2 / 8, 5 / 8], abs=5e-5)
    assert values.sum() == pytest.approx(1, abs=2e-7)


@pytest.mark.parametrize("shape", [(4,), (1, 4), (1, 1, 4)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_any_shape_and_float_type_becomes_one_float32_vector(shape: tuple[int, ...], dtype: type) -> None:
    values = head(4).values(np.arange(4, dtype=dtype).reshape(shape))
    assert values.dtype == np.float32
    assert values.tolist() == [0, 1, 2, 3]


def test_order_is_dequantise_then_activation_then_calibration() -> None:
    full = head(
        2,
        dequantize=Dequantize(scale=0.25, zero_point=100),
        activation="sigmoid",
        calibration=CalibrationSpec(parameters=((0.8, 2.0, -1.0, 0.5), (1.0, 1.0, 0.0, 0.5)), default_score=0.125),
    )
    values = full.values(np.array([108, 96], np.uint8))
    # 108 -> 2.0 -> sigmoid 0.8808 -> calibrated; 96 -> -1.0 -> sigmoid 0.27, under min_score -> default.
    assert values.tolist() == pytest.approx([0.8 * logistic(2 * logistic(2.0) - 1), 0.125], abs=1e-7)


def test_the_mean_pool_sums_in_double() -> None:
    pool = MeanPool()
    for value in (2.0**24, 1.0, 1.0, 1.0, 1.0):  # float32 would lose each of the ones
        pool.add(np.array([value], np.float32))
    assert pool.value().tolist() == [np.float32((2.0**24 + 4) / 5)]
    assert pool.value().dtype == np.float32


def test_the_mean_of_one_vector_has_its_bits_and_stays_when_more_come() -> None:
    pool, one = MeanPool(), np.array([0.1, -0.0], np.float32)
    pool.add(one)
    first = pool.value()
    pool.add(np.array([0.3, 1.0], np.float32))
    assert first.tobytes() == one.tobytes() == np.array([0.1, -0.0], np.float32).tobytes()
    assert pool.value().tolist() == [np.float32((np.float32(0.1) + float(np.float32(0.3))) / 2), 0.5]


def test_the_max_pool_keeps_each_elements_highest_and_starts_below_everything() -> None:
    pool = MaxPool()
    pool.add(np.array([-3, -5], np.float32))
    first = pool.value()
    pool.add(np.array([-4, -1], np.float32))
    assert first.tolist() == [-3, -5]
    assert pool.value().tolist() == [-3, -1]


def test_category_names_are_the_first_list_whatever_its_locale() -> None:
    lists = (LabelList(locale="de", names=("ja", "nein")), LabelList(locale="en", names=("yes", "no")))
    assert head(2, labels=lists).spec.category_names == ("ja", "nein")
    assert head(2).spec.category_names == ()
