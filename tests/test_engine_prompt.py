"""How soon a stream answers: with the last sample that a segment needs, and without cutting at every piece."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

import models
from auricle.config import SessionSettings
from auricle.engine.cutter import Cutter
from auricle.engine.decode import SoundFormat
from auricle.engine.graph import Graph
from auricle.engine.options import Options
from auricle.engine.pipeline import Stream, Ticket
from auricle.engine.plan import default_grid, make_plan
from auricle.engine.workers import Workers
from streaming import FLOAT, STEREO, Opener, fed, noise, pieces_of, taken

WRITERS: dict[str, Callable[[Path], Path]] = {
    "overlapping": lambda path: models.write_waveform(path, segment={"length": 1600, "hop": 500}),
    "apart": lambda path: models.write_waveform(path, segment={"length": 400, "hop": 3000}),
    "overlapping frames": lambda path: models.write_embedder(path, segment={"length": 20, "hop": 7}),
    "frames apart": lambda path: models.write_embedder(path, segment={"length": 5, "hop": 30}),
}
UP = SoundFormat(encoding="f32le", sample_rate_hz=8000)
FLUSHED_AT = 57  # pieces


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_segment_is_complete_with_its_last_sample(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    graph = Graph(write(tmp_path / "m.onnx"), SessionSettings(threads=1))
    grid = default_grid(graph)
    assert grid.samples is not None
    cutter, data = Cutter(graph, grid, FLOAT), noise(20_000)
    came = [count for count, sample in enumerate(pieces_of(data, 4), start=1) for _ in cutter.feed(sample)]
    assert came == [grid.start(index) + grid.samples for index in range(grid.whole(20_000))]
    assert len(came) > 3


@pytest.mark.parametrize("form", [FLOAT, STEREO, UP], ids=lambda form: str(form.sample_rate_hz))
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
async def test_a_segment_is_on_its_way_with_the_piece_that_completes_it(
    tmp_path: Path, serve: Opener, workers: Workers, write: Callable[[Path], Path], form: SoundFormat
) -> None:
    model = serve(write(tmp_path / "m.onnx"))
    plan = make_plan(model.graph, Options(kind="embedding"), stream=True)
    hundredth = form.sample_rate_hz // 100
    pieces = pieces_of(noise(200 * hundredth, form), hundredth * form.frame_bytes)
    # It holds nothing back.
    cutter = Cutter(model.graph, plan.grid, form)
    soonest, came = [], []
    with Stream(model, plan, form, workers=workers) as stream:
        for place, piece in enumerate(pieces):
            soonest += [(place, segment.start_sample) for segment in cutter.feed(piece)]
            items = await fed(stream, piece)
            came += [(place, item.segment.start_sample) for item in items if isinstance(item, Ticket)]
            if place == FLUSHED_AT:
                cutter.flush()
                await taken(stream.flush)
    assert came == soonest
    assert [place for place, _ in came if place <= FLUSHED_AT]
    assert [place for place, _ in came if place > FLUSHED_AT]


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
async def test_pieces_that_complete_no_segment_are_held_back(
    tmp_path: Path, serve: Opener, workers: Workers, write: Callable[[Path], Path]
) -> None:
    model = serve(write(tmp_path / "m.onnx"))
    plan = make_plan(model.graph, Options(kind="embedding"), stream=True)
    cut = []
    with Stream(model, plan, FLOAT, workers=workers) as stream:
        for place, piece in enumerate(pieces_of(noise(32_000), 4 * 16)):
            if stream.hold(piece):
                cut.append((place, len(await taken(stream.cut))))
    # Only the first piece is cut in vain: it tells how much is missing.
    assert [place for place, segments in cut if not segments] == [0]
    assert len(cut) > 5


async def test_no_more_than_a_second_is_held_back(tmp_path: Path, serve: Opener, workers: Workers) -> None:
    model = serve(models.write_waveform(tmp_path / "w.onnx", segment={"length": 80_000, "hop": 80_000}))
    plan = make_plan(model.graph, Options(kind="embedding"), stream=True)
    cut = []
    with Stream(model, plan, STEREO, workers=workers) as stream:
        for place, piece in enumerate(pieces_of(noise(4 * 44_100, STEREO), 441 * STEREO.frame_bytes)):
            if stream.hold(piece):
                cut.append(place)
                await taken(stream.cut)
    assert [after - before for before, after in pairwise(cut)] == [100] * 3
