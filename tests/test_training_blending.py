"""A blend lies between two sounds, at the one's level, in what both have; a mixture has both labels, too."""

from __future__ import annotations

import numpy as np
import pytest

from auricle.training.architecture import BANDS, FRAMES
from auricle.training.blending import blended, mixed
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


def test_a_mixture_lies_as_far_from_its_own_example_as_its_label_does() -> None:
    count = 400
    # Example i is i in every band and of class i: what is read off features and targets is who is in them.
    x = np.tile(np.arange(count, dtype=np.float32)[:, None, None], (1, 2, 3))
    made, targets = mixed(x, np.eye(count, dtype=np.float32), 0.5, np.random.default_rng(3))
    np.testing.assert_allclose(targets.sum(1), 1.0, atol=1e-6)
    own = np.diag(targets)
    assert own.min() >= 0.5
    assert 0.4 < np.mean(own < 1) < 0.6
    np.testing.assert_allclose(made, np.tile((targets @ np.arange(count))[:, None, None], (1, 2, 3)), rtol=1e-5)


def test_without_a_chance_nothing_is_mixed() -> None:
    x, y = np.ones((5, 2, 3), np.float32), np.eye(5, dtype=np.float32)
    made, targets = mixed(x, y, 0.0, np.random.default_rng(3))
    np.testing.assert_array_equal(made, x)
    np.testing.assert_array_equal(targets, y)
