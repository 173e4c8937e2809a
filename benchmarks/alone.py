"""A call's parts without a server: decode, features and inference one after another, in a process of their own."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from auricle.config import Limits, SessionSettings
from auricle.engine.cutter import Cutter
from auricle.engine.decode import open_content
from auricle.engine.graph import Graph
from auricle.engine.plan import default_grid

__all__ = ["make_call", "run_alone"]


def make_call(path: Path) -> Callable[[bytes], Mapping[str, NDArray[Any]]]:
    """What a call for a file takes: decode, features and a run for all of its segments; gives (n, ...) by output."""
    graph = Graph(path, SessionSettings(threads=1))
    outputs = tuple(dict.fromkeys(head.spec.tensor for head in graph.heads))
    grid = default_grid(graph)

    def call(content: bytes) -> Mapping[str, NDArray[Any]]:
        sound = open_content(content, Limits())
        cutter = Cutter(graph, grid, sound.format)
        segments = [segment for block in sound.blocks for segment in cutter.feed(block)] + cutter.finish()
        return graph.run(outputs, [segment.rows for segment in segments])

    return call


def run_alone(pipe: Connection, path: Path, core: int) -> None:
    """The process's main: for each (files, seconds) sends the median seconds of a file, until None comes.

    The files are taken in turn, as a caller of the server would send them.
    """
    os.sched_setaffinity(0, {core})
    call = make_call(path)
    while (wanted := pipe.recv()) is not None:
        files, seconds = wanted
        laps: list[float] = []
        end = time.monotonic() + seconds
        while time.monotonic() < end or not laps:
            begun = time.monotonic()
            call(files[len(laps) % len(files)])
            laps.append(time.monotonic() - begun)
        pipe.send(statistics.median(laps))
