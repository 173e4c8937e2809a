"""What a model's faults cost: who is told, who still runs, and what counts as one."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from onnx import TensorProto
from structlog.testing import capture_logs

import models
from auricle.config import BatchSettings, SessionSettings
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


async def test_a_model_that_gives_nothing_finite_is_not_healthy(tmp_path: Path) -> None:
    path = models.write_embedder(tmp_path / "e.onnx")
    graph = Graph(path, SessionSettings(threads=1))
    run = graph.run
    broken = False

    def answer(outputs: Sequence[str], segments: Sequence[np.ndarray]) -> Outputs:
        return {name: array * (np.nan if broken else 1) for name, array in run(outputs, segments).items()}

    graph.run = answer  # type: ignore[method-assign, assignment]
    turned = asyncio.Event()
    model = ServedModel("e", "1", graph, BatchSettings(), on_health=turned.set)
    try:
        broken = True
        with capture_logs():
            for _ in range(FAULTS_IN_A_ROW):
                future = model.batcher.submit("a", graph.noise(0), ("embedding",))
                await asyncio.gather(future, return_exceptions=True)
            await asyncio.wait_for(turned.wait(), PATIENCE_S)
        assert not model.healthy
    finally:
        await model.retire(0)


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
