"""What a model's faults cost: who is told, who still runs, and what counts as one."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from onnx import TensorProto
from structlog.testing import capture_logs

import models
from auricle.config import BatchSettings, SessionSettings
from auricle.engine import served
from auricle.engine.batcher import Batcher, Outputs
from auricle.engine.graph import Graph
from auricle.engine.served import FAULTS_IN_A_ROW, ServedModel
from auricle.errors import DeadlineError, InternalError

PATIENCE_S = 20.0  # a bound on what would otherwise hang; nothing waits for it


async def test_who_has_gone_while_a_run_failed_is_not_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[list[float]] = []
    failing, may_fail = threading.Event(), threading.Event()
    now_s = time.monotonic()
    monkeypatch.setattr("auricle.engine.batcher.time", SimpleNamespace(monotonic=lambda: now_s))

    def model(outputs: Sequence[str], segments: Sequence[np.ndarray]) -> Outputs:
        runs.append([float(segment[0]) for segment in segments])
        if len(segments) > 1:
            failing.set()
            assert may_fail.wait(PATIENCE_S)
            raise RuntimeError("not together")
        return {"out": np.stack(segments)}

    batcher = Batcher(model, BatchSettings(max_delay_s=PATIENCE_S, max_segments=3))
    try:
        futures = [
            batcher.submit(caller, np.full(2, caller, np.float32), ("out",), now_s + left_s)
            for caller, left_s in enumerate((60, 1, 60))
        ]
        assert await asyncio.to_thread(failing.wait, PATIENCE_S)
        futures[0].cancel()
        now_s += 2
        may_fail.set()
        found = await asyncio.wait_for(asyncio.gather(*futures, return_exceptions=True), PATIENCE_S)
    finally:
        may_fail.set()
        await batcher.close()
    assert runs == [[0.0, 1.0, 2.0], [2.0]]
    assert isinstance(found[0], asyncio.CancelledError)
    assert isinstance(found[1], DeadlineError)
    assert not isinstance(found[2], BaseException)


async def test_a_failure_that_nobody_asks_for_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    batcher = Batcher(lambda outputs, segments: {"out": np.stack(segments)}, BatchSettings())
    try:
        late = batcher.submit("a", np.zeros(2, np.float32), ("out",), time.monotonic())
        done = asyncio.Event()
        late.add_done_callback(lambda future: done.set())
        await asyncio.wait_for(done.wait(), PATIENCE_S)
        del late
        gc.collect()
    finally:
        await batcher.close()
    assert [record for record in caplog.records if record.name == "asyncio"] == []


async def test_a_run_without_a_finite_row_is_a_fault() -> None:
    told: list[Exception | None] = []

    def model(outputs: Sequence[str], segments: Sequence[np.ndarray]) -> Outputs:
        return {"out": np.stack(segments)}

    batcher = Batcher(model, BatchSettings(max_segments=2), on_run=lambda error, segments: told.append(error))
    try:
        for value, fault in ((1.0, False), (np.nan, True), (np.inf, True)):
            future = batcher.submit("a", np.full(2, value, np.float32), ("out",))
            (answer,) = await asyncio.gather(future, return_exceptions=True)
            assert isinstance(answer, InternalError) is fault
            assert isinstance(told[-1], ArithmeticError) is fault
    finally:
        await batcher.close()


class Shaky:
    """A model of a file, whose answers are NaN while it is broken. ``on_run`` is told of each run, in its thread."""

    def __init__(self, path: Path) -> None:
        self.broken = False
        self.runs = 0
        self.on_run: Callable[[], None] = lambda: None
        graph = Graph(models.write_embedder(path), SessionSettings(threads=1))
        self._run = graph.run
        graph.run = self._answer  # type: ignore[method-assign]
        self.turned = asyncio.Event()
        self.served = ServedModel("e", "1", graph, BatchSettings(), on_health=self.turned.set)

    def _answer(self, outputs: Sequence[str], segments: Sequence[np.ndarray]) -> Outputs:
        self.runs += 1
        self.on_run()
        return {name: array * (np.nan if self.broken else 1) for name, array in self._run(outputs, segments).items()}

    async def breaks(self) -> None:
        """Has it fail until it is not healthy."""
        self.broken = True
        for _ in range(FAULTS_IN_A_ROW):
            future = self.served.batcher.submit("a", self.served.graph.noise(0), ("embedding",))
            await asyncio.gather(future, return_exceptions=True)
        await asyncio.wait_for(self.turned.wait(), PATIENCE_S)
        self.turned.clear()


@pytest.fixture
async def shaky(tmp_path: Path) -> AsyncIterator[Shaky]:
    model = Shaky(tmp_path / "e.onnx")
    with capture_logs():  # to render a trace costs more than a run
        yield model
    await model.served.retire(0)


async def test_a_model_that_gives_nothing_finite_is_not_healthy(shaky: Shaky) -> None:
    await shaky.breaks()
    assert not shaky.served.healthy


async def test_a_model_is_tried_until_it_answers(shaky: Shaky, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "TRIED_AGAIN_S", 0.0)

    def mends() -> None:
        shaky.broken = shaky.runs < mended_at

    await shaky.breaks()
    mended_at = shaky.runs + 3
    shaky.on_run = mends
    await asyncio.wait_for(shaky.turned.wait(), PATIENCE_S)
    assert shaky.served.healthy
    assert shaky.runs >= mended_at


async def test_the_next_try_of_a_model_that_has_gone_is_called_off(shaky: Shaky) -> None:
    await shaky.breaks()
    timer = shaky.served._retry
    assert timer is not None
    await shaky.served.retire(0)
    assert timer.cancelled()


async def test_a_try_that_fails_after_its_model_has_gone_is_the_last(
    shaky: Shaky, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A timer of no time rings in the next round of the loop.
    monkeypatch.setattr(served, "TRIED_AGAIN_S", 0.0)
    trying, may_fail = threading.Event(), threading.Event()

    def hold() -> None:
        if not shaky.served.healthy:
            trying.set()
            assert may_fail.wait(PATIENCE_S)

    shaky.on_run = hold
    await shaky.breaks()
    assert await asyncio.to_thread(trying.wait, PATIENCE_S)
    submitted: list[object] = []
    monkeypatch.setattr(shaky.served.batcher, "submit", lambda *entry: submitted.append(entry))
    retiring = asyncio.create_task(shaky.served.retire(0))
    may_fail.set()
    await retiring
    for _ in range(10):
        await asyncio.sleep(0)
    assert submitted == []


def test_what_float32_cannot_hold_is_infinite_and_no_warning(tmp_path: Path) -> None:
    path = models.write(
        tmp_path / "wide.onnx",
        nodes=[
            ("ReduceMean", ["patches"], "mean", {"axes": [1], "keepdims": 0}),
            ("Cast", ["mean"], "double", {"to": TensorProto.DOUBLE}),
            ("Mul", ["double", "factor"], "embedding"),
        ],
        inputs={"patches": ["batch", "frames", 64]},
        outputs={"embedding": ["batch", 64]},
        constants={"factor": np.array([1e300], np.float64)},
        metadata=models.embedder_bundle(),
        output_type=TensorProto.DOUBLE,
    )
    graph = Graph(path, SessionSettings(threads=1))
    (array,) = graph.run(("embedding",), [graph.noise(0)]).values()
    assert array.dtype == np.float32
    assert np.isinf(array).all()
