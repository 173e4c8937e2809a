"""Energy by hops: NumPy's sums, and the same bits for any chunking."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auricle.frontend import HopEnergy

GRIDS = [(160, 0), (160, 80), (160, 159), (1, 0), (17, 16), (512, 3)]


def sound(samples: int) -> np.ndarray:
    return np.random.default_rng(samples).normal(0, 0.1, samples).astype(np.float32)


def fed(wave: np.ndarray, sizes: list[int], hop: int, split: int) -> np.ndarray:
    energy = HopEnergy(hop, split)
    pieces = np.split(wave, [end for end in np.cumsum(sizes) if end < wave.size])
    return np.concatenate([*(energy.feed(piece) for piece in pieces), energy.finish()])


@pytest.mark.parametrize(("hop", "split"), GRIDS)
@pytest.mark.parametrize("hops", [0, 1, 2.5, 9])
def test_each_part_of_a_hop_has_the_sum_of_its_squares(hop: int, split: int, hops: float) -> None:
    wave = sound(int(hops * hop))
    rows = -(-wave.size // hop)
    squares = np.square(np.pad(wave, (0, rows * hop - wave.size)), dtype=np.float64).reshape(rows, hop)
    expected = np.stack([squares[:, :split].sum(1), squares[:, split:].sum(1)], axis=1)
    np.testing.assert_allclose(fed(wave, [], hop, split), expected, rtol=1e-13)


@given(sizes=st.lists(st.integers(0, 400), max_size=10), samples=st.integers(0, 2000), grid=st.sampled_from(GRIDS))
def test_chunking_does_not_change_an_energy(sizes: list[int], samples: int, grid: tuple[int, int]) -> None:
    wave = sound(samples)
    np.testing.assert_array_equal(fed(wave, sizes, *grid), fed(wave, [], *grid))


def test_the_head_is_the_first_part_of_the_hop_that_comes() -> None:
    energy, wave = HopEnergy(160, 80), sound(500)
    heads = []
    for first in range(0, 500, 50):
        energy.feed(wave[first : first + 50])
        start = (first + 50) // 160 * 160
        stop = min(start + 80, first + 50)
        heads.append((energy.head, np.square(wave[start:stop], dtype=np.float64).sum()))
    assert [head for head, _ in heads] == pytest.approx([expected for _, expected in heads], rel=1e-13)


def test_a_finished_sound_leaves_nothing_to_the_next() -> None:
    energy = HopEnergy(160, 80)
    energy.feed(sound(100))
    assert energy.finish().shape == (1, 2)
    assert energy.finish().shape == (0, 2)
    assert energy.head == 0.0


def test_a_split_outside_the_hop_is_refused() -> None:
    with pytest.raises(ValueError, match="160 samples cannot be split at 160"):
        HopEnergy(160, 160)
