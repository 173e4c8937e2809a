"""The cutter: segments of a sound, whatever its pieces, against cuts of the whole sound's features."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import models
from auricle import frontend
from auricle.config import SessionSettings
from auricle.engine.cutter import Cutter, Segment
from auricle.engine.decode import SoundFormat
from auricle.engine.graph import Graph
from auricle.engine.options import Options
from auricle.engine.plan import default_grid, make_plan
from auricle.engine.segments import SegmentGrid
from auricle.errors import AudioError

FLOAT = SoundFormat(encoding="f32le", sample_rate_hz=16000)
FORMATS = [
    FLOAT,
    SoundFormat(encoding="s16le", sample_rate_hz=44100, channels=2),
    SoundFormat(encoding="mulaw", sample_rate_hz=8000),
    SoundFormat(encoding="alaw", sample_rate_hz=22050, channels=3),
]
VOICE = {"preset": "ge2e-40"}
BROWSER = {"preset": "browser-fft-232"}


def embedder(path: Path, **overrides: object) -> Path:
    return models.write_embedder(path, segment={"length": 10, "hop": 4}, **overrides)


WRITERS: dict[str, Callable[[Path], Path]] = {
    "snipped": embedder,
    "sparse": lambda path: models.write_embedder(path, segment={"length": 5, "hop": 12}),
    "padded": lambda path: models.write_embedder(
        path,
        bands=40,
        features=VOICE,
        segment={"length": 10, "hop": 5, "min_coverage": 0.75, "raise_to_dbfs": -20.0},
    ),
    "normalised": lambda path: models.write_embedder(
        path, bands=232, features=BROWSER, audio={"sample_rate_hz": 44100}, segment={"length": 6, "hop": 2}
    ),
    "waveform": lambda path: models.write_waveform(path, segment={"length": 700, "hop": 300, "raise_to_dbfs": -20.0}),
    "whole": lambda path: models.write_whole_clip(path),
    "whole-frames": lambda path: models.write_embedder(
        path, bands=40, features=VOICE, segment={"length": None, "hop": None, "raise_to_dbfs": -20.0}
    ),
}


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Graph]:
    directory = tmp_path_factory.mktemp("models")
    return {
        name: Graph(write(directory / f"{name}.onnx"), SessionSettings(threads=1)) for name, write in WRITERS.items()
    }


def pcm(form: SoundFormat, frames: int, seed: int = 0) -> bytes:
    generator = np.random.default_rng(seed)
    count = frames * form.channels
    if form.encoding == "f32le":
        return generator.normal(0, 0.05, count).astype("<f4").tobytes()
    if form.encoding == "s16le":
        return generator.integers(-3000, 3000, count).astype("<i2").tobytes()
    return generator.integers(0, 256, count).astype(np.uint8).tobytes()


def cut(
    graph: Graph, form: SoundFormat, data: bytes, cuts: Sequence[int] = (), grid: SegmentGrid | None = None
) -> list[Segment]:
    """Segments of the data, cut into pieces at these frames."""
    cutter = Cutter(graph, grid or default_grid(graph), form)
    places = [0, *sorted(place * form.frame_bytes for place in cuts), len(data)]
    pieces = [data[a:b] for a, b in itertools.pairwise(places)]
    return [segment for piece in pieces for segment in cutter.feed(piece)] + cutter.finish()


def assert_same(a: list[Segment], b: list[Segment], *, shift: int = 0) -> None:
    assert [(s.start_sample + shift, s.end_sample + shift) for s in a] == [(s.start_sample, s.end_sample) for s in b]
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one.rows, other.rows)


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.encoding)
def test_any_chunking_gives_the_same_segments(graphs: dict[str, Graph], name: str, form: SoundFormat) -> None:
    frames = form.sample_rate_hz // 4 + 37
    data = pcm(form, frames)
    whole = cut(graphs[name], form, data)
    assert whole
    generator = np.random.default_rng(3)
    for cuts in (range(1, 600), range(0, frames, 160), range(0, frames, 1601), generator.integers(0, frames, 9)):
        assert_same(whole, cut(graphs[name], form, data, list(cuts)))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(sorted(WRITERS)),
    frames=st.sampled_from([1, 399, 400, 401, 1599, 1600, 1601, 1840, 3000]),
    cuts=st.lists(st.integers(0, 3000), max_size=6),
)
def test_chunking_at_awkward_lengths(graphs: dict[str, Graph], name: str, frames: int, cuts: list[int]) -> None:
    data = pcm(FLOAT, frames, seed=frames)
    whole = cut(graphs[name], FLOAT, data)
    assert_same(whole, cut(graphs[name], FLOAT, data, [min(place, frames) for place in cuts]))


@pytest.mark.parametrize("samples", [1, 1839, 1840, 1841, 2480, 5000])
@pytest.mark.parametrize("name", ["snipped", "sparse", "padded", "normalised"])
def test_segments_are_cuts_of_the_whole_sounds_features(graphs: dict[str, Graph], name: str, samples: int) -> None:
    graph = graphs[name]
    spec, grid = graph.features, default_grid(graph)
    assert spec is not None
    assert grid.length is not None
    assert grid.samples is not None
    form = SoundFormat(encoding="f32le", sample_rate_hz=spec.sample_rate_hz)
    data = pcm(form, samples)
    wave = np.frombuffer(data, np.float32)
    count = grid.whole(samples) + grid.keeps_partial(samples)
    end = grid.start(count - 1) + grid.samples
    frames = frontend.features(np.pad(wave, (0, max(0, end - samples))), spec, normalize=False)
    segments = cut(graph, form, data)
    assert [segment.start_sample for segment in segments] == [grid.start(index) for index in range(count)]
    assert [segment.end_sample for segment in segments] == [
        min(samples, grid.start(index) + grid.samples) for index in range(count)
    ]
    for index, segment in enumerate(segments):
        rows = frames[index * grid.hop : index * grid.hop + grid.length]
        if name == "padded":  # raised: power features by the square of the gain
            real = wave[segment.start_sample : segment.end_sample]
            rows = rows * max(1.0, 0.01 / np.square(real, dtype=np.float64).mean())
        np.testing.assert_allclose(segment.rows, frontend.normalize(rows.astype(np.float32), spec), rtol=1e-6)


def test_a_waveform_is_padded_with_zeros_and_ends_at_the_sound(graphs: dict[str, Graph], tmp_path: Path) -> None:
    graph = Graph(models.write_waveform(tmp_path / "w.onnx"), SessionSettings(threads=1))
    data = pcm(FLOAT, 1700)
    first, last = cut(graph, FLOAT, data)
    wave = np.frombuffer(data, np.float32)
    np.testing.assert_array_equal(first.rows, wave[:1600])
    np.testing.assert_array_equal(last.rows, np.pad(wave[800:], (0, 700)))
    assert (last.start_sample, last.end_sample) == (800, 1700)


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("before", [1, 1000, 1840, 3001])
def test_what_follows_a_flush_is_a_new_stream_shifted(graphs: dict[str, Graph], name: str, before: int) -> None:
    form = FORMATS[1]
    head, tail = pcm(form, before, seed=1), pcm(form, 9000, seed=2)
    grid = make_plan(graphs[name], Options(kind="embedding"), stream=name != "whole-frames").grid
    cutter = Cutter(graphs[name], grid, form)
    flushed = cutter.feed(head) + cutter.flush()
    shift = cutter.samples
    rest = cutter.feed(tail[:5004]) + cutter.feed(tail[5004:]) + cutter.finish()
    rate_hz = graphs[name].bundle.audio.sample_rate_hz
    assert shift == -(-before * rate_hz // form.sample_rate_hz)
    assert_same(cut(graphs[name], form, tail, grid=grid), rest, shift=shift)
    assert {segment.epoch_start for segment in rest} == {shift}
    assert {segment.epoch_start for segment in flushed} <= {0}
    assert cutter.samples == shift - (-9000 * rate_hz // form.sample_rate_hz)


def test_a_flush_forces_sound_that_the_coverage_would_drop(graphs: dict[str, Graph]) -> None:
    graph = graphs["padded"]  # 1600 samples every 800, three quarters of it sound
    data = pcm(FLOAT, 1700)
    assert len(cut(graph, FLOAT, data)) == 1
    cutter = Cutter(graph, default_grid(graph), FLOAT)
    segments = cutter.feed(data) + cutter.flush()
    assert [(segment.start_sample, segment.end_sample) for segment in segments] == [(0, 1600), (800, 1700)]
    assert cutter.flush() == []
    assert cutter.finish() == []


def test_no_sound_gives_no_segment(graphs: dict[str, Graph]) -> None:
    for graph in graphs.values():
        assert cut(graph, FLOAT, b"") == []


def test_too_short_a_clip_is_told_the_least_length(tmp_path: Path) -> None:
    path = models.write_embedder(tmp_path / "e.onnx", segment={"length": None, "hop": None})
    graph = Graph(path, SessionSettings(threads=1))
    with pytest.raises(AudioError, match=r"has 399 samples at 16000 Hz.*at least 400") as caught:
        cut(graph, FLOAT, pcm(FLOAT, 399))
    assert caught.value.reason == "AUDIO_TOO_SHORT"
    assert len(cut(graph, FLOAT, pcm(FLOAT, 400))) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"padding": "front-zeros", "front_zeros": 100},
        {"drop_last_frame": True},
        {"padding": "centre-zero", "drop_last_frame": True},
        {"padding": "centre-zero"},
        {"padding": "front-zeros", "front_zeros": 600},
    ],
)
def test_the_least_length_gives_a_frame_and_one_sample_less_none(tmp_path: Path, fields: dict[str, object]) -> None:
    path = models.write_embedder(tmp_path / "e.onnx", features=fields, segment={"length": None, "hop": None})
    graph = Graph(path, SessionSettings(threads=1))
    least = default_grid(graph).min_samples
    assert graph.features is not None
    assert graph.features.frames(least) >= 1
    assert graph.features.frames(least - 1) == 0
    (segment,) = cut(graph, FLOAT, pcm(FLOAT, least))
    assert segment.rows.shape == (graph.features.frames(least), 64)


@pytest.mark.parametrize("flushed", [False, True])
def test_a_bad_sample_is_counted_from_the_start_of_the_sound(graphs: dict[str, Graph], flushed: bool) -> None:
    form = SoundFormat(encoding="f32le", sample_rate_hz=44100, channels=2)
    grid = make_plan(graphs["whole"], Options(kind="embedding"), stream=True).grid
    cutter = Cutter(graphs["whole"], grid, form)
    bad = np.zeros((1000, 2), np.float32)
    bad[321, 1] = np.nan
    for _ in range(3):
        cutter.feed(pcm(form, 777))
        if flushed:
            cutter.flush()
    with pytest.raises(AudioError, match=f"sample {3 * 777 + 321} of channel 1 is nan"):
        cutter.feed(bad.tobytes())


def test_the_time_of_every_step_is_counted(graphs: dict[str, Graph]) -> None:
    form = FORMATS[1]
    cutter = Cutter(graphs["snipped"], default_grid(graphs["snipped"]), form)
    times = [(cutter.features_s, cutter.resample_s)]
    for step in (lambda: cutter.push(pcm(form, 9000)), lambda: cutter.take(cutter.ready), cutter.finish):
        step()
        times.append((cutter.features_s, cutter.resample_s))
    features, resampling = zip(*times, strict=True)
    assert all(before < after for before, after in itertools.pairwise(features))
    assert 0 < resampling[1] == resampling[2] < resampling[3]
    assert all(part <= whole for whole, part in times)  # it is a part of it


def test_sound_between_two_segments_is_not_kept(graphs: dict[str, Graph]) -> None:
    grid = SegmentGrid(length=10, hop=100_000, row_samples=1, samples=10)
    cutter = Cutter(graphs["waveform"], grid, FLOAT)
    piece = pcm(FLOAT, 1000)
    segments = [segment for _ in range(100) for segment in cutter.feed(piece)]
    assert [segment.start_sample for segment in segments] == [0]
    assert sum(rows.nbytes for rows in cutter._rows._pieces) <= len(piece)
    (second,) = cutter.feed(piece)
    assert second.start_sample == 100_000
    assert second.rows.size == 10
