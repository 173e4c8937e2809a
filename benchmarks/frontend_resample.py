"""How fast the resampler is beside soxr HQ, at once and in 20 ms chunks, and how clean. Ends with 1 where a goal fails.

    [AURICLE_SIMD=avx2] python benchmarks/frontend_resample.py [--seconds S] [--rounds N] [--json]

One thread, both sides by turns in one process, in the thread's own time. The level is the frontend's, so each level is
a run of its own.
"""

from __future__ import annotations

import argparse
import functools
import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import harness

if __name__ == "__main__":
    harness.limit_threads(1)

import numpy as np
import soxr
from numpy.typing import NDArray

from auricle import frontend

__all__ = ["PAIRS", "measure"]

PAIRS = ((44_100, 16_000), (48_000, 16_000), (22_050, 16_000), (8_000, 16_000), (16_000, 48_000))
CHUNK_S = 0.020

# Speed goals as multiples of soxr HQ: the default, and what single pairs are held to.
WHOLE_GOALS = {"avx512": 1.5, "avx2": 1.5}
WHOLE_GOALS_OF = {
    ("avx512", 44_100, 16_000): 3.0,
    ("avx512", 48_000, 16_000): 2.5,
    ("avx2", 44_100, 16_000): 2.0,
    ("avx2", 48_000, 16_000): 2.0,
    ("sse2", 44_100, 16_000): 1.0,
    ("sse2", 48_000, 16_000): 1.0,
}
CHUNK_GOALS = {"avx512": 2.0, "avx2": 2.0, "sse2": 2.0}
CHUNK_GOALS_OF = {("avx512", 48_000, 16_000): 3.0, ("avx2", 48_000, 16_000): 3.0}

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Quality:
    """What tones of half the full scale look like afterwards. Edges are parts of the lower Nyquist frequency."""

    snr_db: float  # of the worst tone inside the band
    alias_db: float  # of the loudest tone above it; -inf where there is none
    edge: float  # where the response is 0.1 dB down
    phase_rad: float  # of the worst tone inside the band, against an ideal delay of nothing


def measure(report: harness.Report, rounds: int = 15, *, seconds: float = 60.0) -> None:
    """Adds the section to the report: a table, figures by pair and way, and the goals of the level in use."""
    rows = []
    for in_hz, out_hz in PAIRS:
        name = f"{in_hz / 1000:g} -> {out_hz / 1000:g}"
        times = _times(in_hz, out_hz, seconds, rounds)
        median = {side: harness.spread(values).median for side, values in times.items()}
        whole, chunks = median["soxr whole"] / median["whole"], median["soxr chunks"] / median["chunks"]
        quality = _quality(in_hz, out_hz)
        for way, speedup in (("whole", whole), ("chunks", chunks)):
            report.figures[f"resample {name} kHz, {way}"] = {
                "ours_s": asdict(harness.spread(times[way])),
                "peer_s": asdict(harness.spread(times[f"soxr {way}"])),
                "peer": "soxr HQ",
                "speedup": speedup,
                "quality": asdict(quality),
            }
        rows.append(
            [
                name,
                *(f"{median[side] * 1e3 * 60 / seconds:.2f}" for side in ("whole", "soxr whole")),
                f"{whole:.2f}x",
                *(f"{median[side] * 1e3 * 60 / seconds:.2f}" for side in ("chunks", "soxr chunks")),
                f"{chunks:.2f}x",
                f"{quality.snr_db:.1f}",
                f"{quality.alias_db:.1f}",
                f"{quality.edge:.4f}",
                f"{quality.phase_rad:.1e}",
            ]
        )
        report.goals += _goals(name, in_hz, out_hz, whole, chunks, quality)
    report.say(f"resampling at level {frontend.simd}: ms a minute of sound, one thread, 20 ms chunks")
    head = "kHz,whole,soxr,ratio,chunks,soxr,ratio,SNR dB,alias dB,-0.1 dB at,phase"
    report.table(head.split(","), rows)


def _goals(name: str, in_hz: int, out_hz: int, whole: float, chunks: float, quality: Quality) -> list[harness.Goal]:
    level = frontend.simd
    goals = [
        harness.Goal(name=f"{name} SNR", value=quality.snr_db, bound=130, at_least=True, unit=" dB"),
        harness.Goal(name=f"{name} aliases", value=quality.alias_db, bound=-130, unit=" dB"),
        harness.Goal(name=f"{name} -0.1 dB edge", value=quality.edge, bound=0.925, at_least=True),
        harness.Goal(name=f"{name} phase", value=quality.phase_rad, bound=1e-6, unit=" rad"),
    ]
    for text, value, bound in (
        ("whole", whole, WHOLE_GOALS_OF.get((level, in_hz, out_hz), WHOLE_GOALS.get(level))),
        ("20 ms chunks", chunks, CHUNK_GOALS_OF.get((level, in_hz, out_hz), CHUNK_GOALS.get(level))),
    ):
        if bound is not None:
            goals.append(harness.Goal(name=f"{name} {text}", value=value, bound=bound, at_least=True, unit=" x soxr"))
    return goals


def _times(in_hz: int, out_hz: int, seconds: float, rounds: int) -> dict[str, list[float]]:
    x = (0.1 * np.random.default_rng(0).standard_normal(round(seconds * in_hz))).astype(np.float32)
    step = round(CHUNK_S * in_hz)

    def ours() -> None:
        stream = frontend.ResampleStream(in_hz, out_hz)
        for start in range(0, len(x), step):
            stream.feed(x[start : start + step])
        stream.finish()

    def theirs() -> None:
        stream = soxr.ResampleStream(in_hz, out_hz, 1, dtype="float32", quality="HQ")
        for start in range(0, len(x), step):
            stream.resample_chunk(x[start : start + step], last=start + step >= len(x))

    pieces: dict[str, Callable[[], object]] = {
        "whole": functools.partial(frontend.resample, x, in_hz, out_hz),
        "soxr whole": functools.partial(soxr.resample, x, in_hz, out_hz, quality="HQ"),
        "chunks": ours,
        "soxr chunks": theirs,
    }
    return harness.alternate(pieces, rounds=rounds, clock=time.thread_time)


def _quality(in_hz: int, out_hz: int) -> Quality:
    nyquist_hz = min(in_hz, out_hz) / 2
    tones = [_tone(part * nyquist_hz, in_hz, out_hz) for part in (0.013, 0.11, 0.31, 0.57, 0.83, 0.9)]
    snrs = [20 * math.log10(amplitude / math.sqrt(2) / rest) for amplitude, _, rest, _ in tones]
    above = [part * nyquist_hz for part in (1.0, 1.013, 1.07, 1.31, 1.73) if part * nyquist_hz < in_hz / 2]
    aliases = [20 * math.log10(rms * math.sqrt(2) / 0.5) for *_, rms in (_tone(hz, in_hz, out_hz) for hz in above)]
    return Quality(
        snr_db=min(snrs),
        alias_db=max(aliases, default=-math.inf),
        edge=_edge(in_hz, out_hz),
        phase_rad=max(abs(phase) for _, phase, _, _ in tones),
    )


def _edge(in_hz: int, out_hz: int) -> float:
    """The part of the lower Nyquist frequency at which a tone is 0.1 dB down, by bisection."""
    kept, lost = 0.5, 1.0
    while lost - kept > 1e-4:
        part = (kept + lost) / 2
        amplitude, *_ = _tone(part * min(in_hz, out_hz) / 2, in_hz, out_hz)
        kept, lost = (part, lost) if 20 * math.log10(amplitude / 0.5) >= -0.1 else (kept, part)
    return kept


def _tone(hz: float, in_hz: int, out_hz: int) -> tuple[float, float, float, float]:
    """A sine of amplitude 0.5 resampled: amplitude, phase, RMS of what else is there, and RMS of it all."""
    x = (0.5 * np.sin(2 * np.pi * hz * np.arange(in_hz) / in_hz)).astype(np.float32)
    y = frontend.resample(x, in_hz, out_hz).astype(np.float64)
    middle = np.arange(len(y) // 8, len(y) - len(y) // 8)
    angle = 2 * np.pi * hz * middle / out_hz
    basis = np.stack([np.sin(angle), np.cos(angle)], axis=1)
    weights, *_ = np.linalg.lstsq(basis, y[middle], rcond=None)
    rest = y[middle] - basis @ weights
    return (
        float(np.hypot(*weights)),
        float(np.arctan2(weights[1], weights[0])),
        float(np.sqrt(np.mean(rest**2))),
        float(np.sqrt(np.mean(y[middle] ** 2))),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the sound")
    parser.add_argument("--rounds", type=int, default=15, help="measurements of each side")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    options = parser.parse_args()
    report = harness.Report(benchmark="frontend_resample", as_json=options.json)
    measure(report, options.rounds, seconds=options.seconds)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
