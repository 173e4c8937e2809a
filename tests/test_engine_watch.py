"""The watch: a directory is looked at again, whatever failed before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from auricle.engine import watch as module
from auricle.engine.watch import watch


@asynccontextmanager
async def watching(folder: Path, look: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    task = asyncio.create_task(watch(folder, look, rescan_ms=10))
    try:
        async with asyncio.timeout(20):
            yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class Looks:
    """Counts looks; the first ``failing`` of them raise."""

    def __init__(self, failing: int = 0) -> None:
        self.count = 0
        self._failing = failing
        self._looked = asyncio.Condition()

    async def __call__(self) -> None:
        async with self._looked:
            self.count += 1
            self._looked.notify_all()
        if self.count <= self._failing:
            raise OSError(24, "Too many open files")

    async def reach(self, count: int) -> None:
        async with self._looked:
            await self._looked.wait_for(lambda: self.count >= count)


async def test_a_folder_that_is_not_there_is_made(tmp_path: Path) -> None:
    looks = Looks()
    async with watching(tmp_path / "a" / "b", looks):
        await looks.reach(1)
        assert (tmp_path / "a" / "b").is_dir()


async def test_a_look_that_fails_is_said_once_and_tried_again(tmp_path: Path) -> None:
    looks = Looks(failing=4)
    with capture_logs() as logs:
        async with watching(tmp_path, looks):
            await looks.reach(8)
    assert [line["log_level"] for line in logs] == ["error"]


async def test_where_a_folder_cannot_be_watched_it_is_still_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    async def awatch(*_: Any, **__: Any) -> AsyncIterator[set[Any]]:
        nonlocal asked
        asked += 1
        if asked < 4:
            raise OSError(28, "OS file watch limit reached")
        while True:
            await asyncio.sleep(0)
            yield set()

    monkeypatch.setattr(module.watchfiles, "awatch", awatch)
    looks = Looks()
    with capture_logs() as logs:
        async with watching(tmp_path, looks):
            await looks.reach(10)
    assert asked == 4
    assert [line["log_level"] for line in logs] == ["error"]
