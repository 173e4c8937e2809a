"""What a crowd of live streams looked like from outside: a fresh server, its crowd, and the figures of both."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from auricle.config import Limits, ServerSettings, SessionSettings
from auricle.engine.graph import Graph
from auricle.engine.plan import default_grid
from auricle.v1 import auricle_pb2 as pb
from crowd import Crowd, Gathering, ask, stand
from processes import Served, cpu_s, pss_bytes, server_process, worker

__all__ = ["CHUNK_S", "COLUMNS", "Sight", "make_crowd", "others", "service", "watch"]

RATE_HZ = 16000
CHUNK_S = 0.1
SOUND_S = 7
COLUMNS = (
    "streams",
    "results",
    "missing",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "server cores",
    "us/chunk",
    "kB/stream",
    "generator cores",
    "generator late p99 ms",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sight:
    """What one crowd showed."""

    streams: int
    found: Gathering
    server_cores: float
    idle_bytes: int
    full_bytes: int

    def stream_bytes(self, before: Sight) -> float:
        """Memory that each stream took which a smaller crowd did not have."""
        return (self.full_bytes - before.full_bytes) / max(1, self.streams - before.streams)

    @property
    def chunk_s(self) -> float:
        """Processor seconds of the server for a chunk, with what its segments took."""
        return self.server_cores * self.found.wall_s / max(1, self.found.messages)

    def delay_s(self, percent: float) -> float:
        """A percentile of the results' delays; infinite where there were none."""
        return float(np.percentile(self.found.delays_s, percent)) if self.found.delays_s else float("inf")

    @property
    def growth_s(self) -> float:
        """By how much the median delay grew from the third quarter of the results to the last: a queue may grow."""
        delays_s = self.found.delays_s
        quarter = len(delays_s) // 4
        if not quarter:
            return 0.0
        return float(np.median(delays_s[-quarter:]) - np.median(delays_s[-2 * quarter : -quarter]))

    def figures(self) -> dict[str, Any]:
        found = self.found
        return {
            "streams": self.streams,
            "results": len(found.delays_s),
            "missing": found.missing,
            "failed": found.failed,
            "ended_well": found.ended,
            "delay_ms": {f"p{percent}": self.delay_s(percent) * 1e3 for percent in (50, 95, 99)},
            "growth_ms": self.growth_s * 1e3,
            "server_cores": self.server_cores,
            "server_us_per_chunk": self.chunk_s * 1e6,
            "server_idle_bytes": self.idle_bytes,
            "server_full_bytes": self.full_bytes,
            "generator_cores": found.cpu_s / found.wall_s,
            "generator_late_ms_p99": float(np.percentile(found.late_s, 99)) * 1e3,
            "unsent_bytes": found.backlog_bytes,
            "unsent_bytes_of_silent": found.silent_backlog_bytes,
        }

    def row(self, stream_bytes: float | None = None) -> tuple[str, ...]:
        """A line of the table."""
        figures = self.figures()
        delays = figures["delay_ms"]
        return (
            str(self.streams),
            str(figures["results"]),
            str(figures["missing"]),
            *(f"{delays[key]:.1f}" for key in ("p50", "p95", "p99")),
            f"{self.server_cores:.2f}",
            f"{figures['server_us_per_chunk']:.0f}",
            "-" if stream_bytes is None else f"{stream_bytes / 1e3:.0f}",
            f"{figures['generator_cores']:.2f}",
            f"{figures['generator_late_ms_p99']:.1f}",
        )


def make_crowd(
    graph: Graph,
    name: str,
    *,
    streams: int,
    connections: int,
    seconds: float,
    together: bool = False,
    silent: int = 0,
) -> Crowd:
    """Noise for the streams of a model that is served by this name.

    They begin one after another, a hop in all; ``together`` within a chunk, so that their segments come at once.
    """
    grid = default_grid(graph)
    if grid.samples is None:
        raise SystemExit(f"{name} takes whole clips; choose a model with segments")
    wave = np.random.default_rng(0).normal(0, 0.1, RATE_HZ * SOUND_S)
    data = np.round(np.clip(wave, -1, 1) * 32767).astype("<i2").tobytes()
    chunk_bytes = round(CHUNK_S * RATE_HZ) * 2
    chunks = [data[at : at + chunk_bytes] for at in range(0, len(data), chunk_bytes)]
    layout = pb.PcmFormat(encoding=pb.ENCODING_PCM_S16LE, sample_rate_hz=RATE_HZ)
    config = pb.StreamEmbedConfig(model=pb.ModelSelector(name=name), format=layout)
    rate_hz = graph.bundle.audio.sample_rate_hz
    return Crowd(
        config=pb.StreamEmbedRequest(config=config).SerializeToString(),
        chunks=[pb.StreamEmbedRequest(audio=chunk).SerializeToString() for chunk in chunks],
        chunk_s=CHUNK_S,
        due=(grid.samples / rate_hz / CHUNK_S - 1, grid.hop_samples / rate_hz / CHUNK_S),
        streams=streams,
        seconds=seconds,
        spread_s=CHUNK_S if together else grid.hop_samples / rate_hz,
        connections=min(connections or streams, streams),
        silent=silent,
    )


def watch(crowd: Crowd, served: Served, generator: Any) -> Sight:
    """Sends a crowd to a server."""
    _, pid = served
    idle = pss_bytes(pid)
    generator.send(crowd)
    ask(generator, 120.0)
    before = cpu_s(pid)
    generator.send("go")
    # Near the end all have sound that is held and results on their way.
    time.sleep(crowd.seconds * 0.9)
    full = pss_bytes(pid)
    found = ask(generator, crowd.seconds + 120.0)
    assert isinstance(found, Gathering)
    used = cpu_s(pid) - before
    return Sight(
        streams=crowd.streams,
        found=found,
        server_cores=used / found.wall_s,
        idle_bytes=idle,
        full_bytes=full,
    )


@contextlib.contextmanager
def service(models_dir: Path, cores: int) -> Iterator[tuple[Served, Any]]:
    """A fresh server for each crowd, so that the memory of one is not the next one's, and a generator."""
    session, limits = SessionSettings(threads=cores), Limits(streams=100_000)
    settings = ServerSettings(models_dir=models_dir, session=session, limits=limits)
    with server_process(settings, range(cores)) as served, worker(stand, served[0], others(cores)) as generator:
        yield served, generator


def others(cores: int) -> list[int]:
    """The machine's cores that a server of so many leaves, all of them where it leaves none."""
    available = sorted(os.sched_getaffinity(0))
    return available[cores:] or available
