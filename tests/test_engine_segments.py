"""The segment grid: which cuts exist, by count, against a grid that is walked step by step."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auricle import frontend
from auricle.engine.segments import SegmentGrid


def grid_of(preset: str, length: int, hop: int, min_coverage: float = 0.0) -> SegmentGrid:
    spec = frontend.preset(preset)
    return SegmentGrid(
        length=length,
        hop=hop,
        row_samples=spec.hop,
        samples=spec.segment_samples(length),
        min_coverage=min_coverage,
    )


def plain(length: int, hop: int, min_coverage: float = 0.0) -> SegmentGrid:
    """A waveform model's grid: a row is a sample."""
    return SegmentGrid(length=length, hop=hop, row_samples=1, samples=length, min_coverage=min_coverage)


def count(grid: SegmentGrid, samples: int, *, force: bool = False) -> int:
    return grid.whole(samples) + grid.keeps_partial(samples, force=force)


@pytest.mark.parametrize(
    ("samples", "segments"),
    # Segments span 15600 samples and start every 7680: the second ends at 23280.
    [(0, 0), (1, 1), (15599, 1), (15600, 1), (15601, 2), (23279, 2), (23280, 2), (23281, 3)],
)
def test_yamnet_counts(samples: int, segments: int) -> None:
    grid = grid_of("yamnet-64", 96, 48)
    assert (grid.samples, grid.hop_samples) == (15600, 7680)
    assert count(grid, samples) == segments


@pytest.mark.parametrize(
    ("samples", "segments"),
    # 25600 samples every 12800; the partial one needs 75 % of 25600 = 19200 samples from its start.
    [(1, 1), (25599, 1), (25600, 1), (25601, 1), (31999, 1), (32000, 2), (38400, 2), (38401, 2), (44800, 3)],
)
def test_voice_counts(samples: int, segments: int) -> None:
    grid = grid_of("ge2e-40", 160, 80, min_coverage=0.75)
    assert (grid.samples, grid.hop_samples) == (25600, 12800)
    assert count(grid, samples) == segments


def test_browser_segment_spans_43_hops() -> None:
    grid = grid_of("browser-fft-232", 43, 43)
    assert grid.samples == 44032
    assert [count(grid, samples) for samples in (44031, 44032, 44033, 88064, 88065)] == [1, 1, 2, 2, 3]


def test_an_only_segment_is_kept_whatever_its_coverage() -> None:
    assert plain(100, 50, min_coverage=1.0).keeps_partial(1)


def test_coverage_counts_from_the_start_of_the_partial_segment() -> None:
    grid = plain(100, 50, min_coverage=0.6)
    assert not grid.keeps_partial(109)  # 59 of 100
    assert grid.keeps_partial(110)


def test_a_flush_forces_any_sound_past_the_last_whole_segment() -> None:
    grid = plain(100, 50, min_coverage=1.0)
    assert not grid.keeps_partial(101)
    assert grid.keeps_partial(101, force=True)
    assert not grid.keeps_partial(100, force=True)
    assert not grid.keeps_partial(0, force=True)


def test_a_hop_past_the_length_leaves_sound_out() -> None:
    grid = plain(10, 25)
    # Sound in the gap between two segments makes no partial one, not even forced.
    assert [count(grid, samples) for samples in (10, 11, 25, 26, 35, 36)] == [1, 1, 1, 2, 2, 2]
    assert count(grid, 20, force=True) == 1


def test_a_whole_clip_is_one_segment_of_any_length() -> None:
    grid = SegmentGrid(length=None, hop=1, row_samples=160, samples=None)
    assert [count(grid, samples) for samples in (0, 1, 10**9)] == [0, 1, 1]


def walked(samples: int, length: int, hop: int, min_coverage: float, force: bool) -> list[int]:
    """Starts of the segments, found by walking the grid."""
    starts = []
    start = 0
    while start + length <= samples:
        starts.append(start)
        start += hop
    uncovered = samples > (starts[-1] + length if starts else 0)
    left = samples - start
    if uncovered and left > 0 and (not starts or force or left / length >= min_coverage):
        starts.append(start)
    return starts


@given(
    samples=st.integers(0, 400),
    length=st.integers(1, 60),
    hop=st.integers(1, 90),
    min_coverage=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]),
    force=st.booleans(),
)
def test_the_grid_equals_one_walked_step_by_step(
    samples: int, length: int, hop: int, min_coverage: float, force: bool
) -> None:
    grid = plain(length, hop, min_coverage)
    starts = [grid.start(index) for index in range(count(grid, samples, force=force))]
    assert starts == walked(samples, length, hop, min_coverage, force)
