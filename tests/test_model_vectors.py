"""Vector arithmetic: normalisation and compact types, by hand."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from auricle.model.vectors import l2_normalize, to_float16, to_int8


def f32(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_l2_divides_by_the_root_of_the_sum_of_squares() -> None:
    result = l2_normalize(f32(3, -4))
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, f32(0.6, -0.8))


def test_l2_leaves_a_zero_vector_and_its_argument_alone() -> None:
    np.testing.assert_array_equal(l2_normalize(f32(0, 0)), f32(0, 0))
    vector = f32(3, 4)
    l2_normalize(vector)
    np.testing.assert_array_equal(vector, f32(3, 4))


def test_int8_rounds_halves_away_from_zero_and_clamps() -> None:
    halves = f32(0.5, -0.5, 1.5, -1.5, 2.5, -2.5, 0.499, -0.499) / 128
    assert to_int8(halves).tolist() == [1, -1, 2, -2, 3, -3, 0, 0]
    ends = f32(1.0, 127.4 / 128, 127.5 / 128, -1.0, -1.01, 9.0, -9.0, 0.0)
    assert to_int8(ends).tolist() == [127, 127, 127, -128, -128, 127, -128, 0]
    assert to_int8(ends).dtype == np.int8


@given(arrays(np.float32, 8, elements=st.floats(-2, 2, width=32)))
def test_int8_equals_exact_decimal_rounding(vector: np.ndarray) -> None:
    for value, got in zip(vector.tolist(), to_int8(vector).tolist(), strict=True):
        scaled = value * 128  # exact: a power of two
        rounded = math.floor(scaled + 0.5) if scaled > 0 else math.ceil(scaled - 0.5)
        assert got == min(127, max(-128, rounded))


def test_float16_is_little_endian_and_never_infinite() -> None:
    half = to_float16(f32(1.0, 65504, 65520, 1e30, -1e30))
    assert half.astype("<f2").tobytes() == half.tobytes()
    assert half.tolist() == [1.0, 65504, 65504, 65504, -65504]
