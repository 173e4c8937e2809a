"""A blend of two sounds lies between them, at the one's level, in what both have."""

from __future__ import annotations

import numpy as np
import pytest

from auricle.training.blending import blended
from auricle.training.network import BANDS, FRAMES
from auricle.training.planes import SILENCE_DB, Planes

ROWS, OTHER_ROWS, EDGE, OTHER_EDGE = 20, 10, 180, 100


@pytest.fixture
def planes() -> Planes:
    """One that falls over its bands, and a shorter, narrower one that falls over its frames, 30 dB weaker."""
    db = np.full((2, FRAMES, BANDS), SILENCE_DB, np.float16)
    db[0, :ROWS, :EDGE] = -20 - 0.125 * np.arange(EDGE)
    db[1, :OTHER_ROWS, :OTHER_EDGE] = -60 - 2.0 * np.arange(OTHER_ROWS)[:, None]
    return Planes(
        db=db,
        rows=np.array([ROWS, OTHER_ROWS]),
        edge=np.array([EDGE, OTHER_EDGE], np.float32),
        source=np.array([7, 8]),
        first=np.array([True, False]),
    )


def blend(planes: Planes, share: float) -> np.ndarray:
    made = blended(planes, np.array([0]), np.array([1]), np.array([share]))
    assert (made.rows.tolist(), made.edge.tolist(), made.source.tolist()) == ([ROWS], [EDGE], [7])
    return made.db[0].astype(np.float64)


def test_no_share_changes_nothing(planes: Planes) -> None:
    np.testing.assert_array_equal(blend(planes, 0.0), planes.db[0])


def test_a_whole_share_is_the_other_at_the_length_and_the_level_of_the_one(planes: Planes) -> None:
    made, own = blend(planes, 1.0)[:ROWS, :OTHER_EDGE], planes.db[0, :ROWS, :OTHER_EDGE].astype(np.float64)
    assert made.mean() == pytest.approx(own.mean(), abs=0.02)
    np.testing.assert_allclose(made, made[:, :1].repeat(OTHER_EDGE, axis=1))
    # It falls by 2 dB a frame over half as many frames, and is read between the middles of its first and its last.
    np.testing.assert_allclose(np.diff(made[1:-1, 0]), -1.0, atol=0.1)
    assert made[0, 0] - made[-1, 0] == pytest.approx(18.0, abs=0.1)


def test_half_a_share_is_the_mean_of_both(planes: Planes) -> None:
    np.testing.assert_allclose(blend(planes, 0.5), (blend(planes, 0.0) + blend(planes, 1.0)) / 2, atol=0.05)


def test_what_only_one_of_them_has_stays(planes: Planes) -> None:
    made = blend(planes, 0.7)
    np.testing.assert_array_equal(made[:, OTHER_EDGE:], planes.db[0, :, OTHER_EDGE:])
    np.testing.assert_array_equal(made[ROWS:], planes.db[0, ROWS:])
    planes.db[1, 3:6] = SILENCE_DB
    np.testing.assert_array_equal(blend(planes, 0.7)[8:10], planes.db[0, 8:10])
    planes.db[1] = SILENCE_DB
    np.testing.assert_array_equal(blend(planes, 0.7), planes.db[0])
