"""The service's part of bench_frontend: what decoding and features cost a request, beside the model's own time."""

from __future__ import annotations

import io
import statistics

import numpy as np
import soundfile
from numpy.typing import NDArray

import harness
from auricle import frontend
from auricle.config import Limits, SessionSettings
from auricle.engine.cutter import Cutter, Segment
from auricle.engine.decode import open_content
from auricle.engine.graph import Graph
from auricle.engine.plan import default_grid
from auricle.errors import UnavailableError
from auricle.model.pull import pull

SECONDS = 10
RATE_HZ = 44100
# Percent of the inference time.
GOALS = {"avx2": 4.0, "avx512": 3.0}


def recording() -> bytes:
    """Ten seconds of stereo at 44.1 kHz as a 16-bit WAV."""
    t = np.arange(SECONDS * RATE_HZ) / RATE_HZ
    noise = np.random.default_rng(0).normal(0, 0.02, (t.size, 2))
    wave = noise + 0.2 * np.sin(2 * np.pi * 220 * t)[:, None] * np.array([1.0, 0.7])
    file = io.BytesIO()
    soundfile.write(file, wave, RATE_HZ, format="WAV", subtype="PCM_16")
    return file.getvalue()


def cut(graph: Graph, content: bytes) -> list[Segment]:
    """What a request goes through before the model: decoding, downmix, resampling, features, level."""
    sound = open_content(content, Limits())
    cutter = Cutter(graph, default_grid(graph), sound.format)
    segments: list[Segment] = []
    for block in sound.blocks:
        segments += cutter.feed(block)
    return segments + cutter.finish()


def measure(report: harness.Report, rounds: int) -> None:
    """All of the section."""
    try:
        path = pull("voice", harness.models_dir())
    except UnavailableError as error:
        report.say(f"the share of the model's time: {error.message}")
        return
    graph = Graph(path, SessionSettings(threads=1))
    content = recording()
    values: list[NDArray[np.float32]] = [segment.rows for segment in cut(graph, content)]
    outputs = [head.spec.tensor for head in graph.heads]
    times = harness.alternate(
        {
            "decode and features": lambda: cut(graph, content),
            "GE2E": lambda: graph.run(outputs, values),
        },
        rounds=4 * rounds,
    )
    rows = [(name, harness.spread(1e3 * second for second in seconds)) for name, seconds in times.items()]
    report.table((f"{SECONDS} s, {RATE_HZ / 1000:g} kHz stereo WAV, {len(values)} segments", "ms"), rows)
    shares = [100 * ours / model for ours, model in zip(*times.values(), strict=True)]
    name = "decode and features, share of GE2E's inference"
    report.figures[name] = statistics.median(shares)
    if frontend.simd in GOALS:
        report.goals.append(
            harness.Goal(name=name, value=statistics.median(shares), bound=GOALS[frontend.simd], unit=" %")
        )
