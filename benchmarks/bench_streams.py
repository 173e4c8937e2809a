"""How many live streams does one process hold? Delays and memory of a crowd, and where real time breaks for a model.

    python benchmarks/bench_streams.py [--streams N] [--connections N] [--break-model voice] [--quick] [--json]
                                       [--plot FILE]

Each stream sends 100 ms of 16 kHz sound every 100 ms and expects a result for each segment. A delay is counted from
the time at which the last chunk of the segment was due to be sent, whether the generator was late or not. The crowd
and the server share the machine's cores.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harness

if __name__ == "__main__":
    harness.limit_threads(1)

import numpy as np

from auricle.config import Limits, ServerSettings, SessionSettings
from auricle.engine.graph import Graph
from auricle.engine.plan import default_grid
from auricle.engine.repository import scan, version_key
from auricle.v1 import auricle_pb2 as pb
from crowd import Crowd, Gathering, ask, stand
from processes import Served, cpu_s, pss_bytes, server_process, worker
from tiny import TINY, write_tiny

RATE_HZ = 16000
CHUNK_S = 0.1
SOUND_S = 7
SILENT = 10
SLACK_S = 0.1
RATIOS = (0.5, 0.65, 0.75, 0.85, 0.95)
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
    stream_bytes: float

    def delay_s(self, percent: float) -> float:
        """A percentile of the results' delays; infinite where there were none."""
        return float(np.percentile(self.found.delays_s, percent)) if self.found.delays_s else float("inf")

    def figures(self) -> dict[str, Any]:
        found = self.found
        return {
            "streams": self.streams,
            "results": len(found.delays_s),
            "missing": found.missing,
            "failed": found.failed,
            "ended_well": found.ended,
            "delay_ms": {f"p{percent}": self.delay_s(percent) * 1e3 for percent in (50, 95, 99)},
            "server_cores": self.server_cores,
            "server_us_per_chunk": self.server_cores * found.wall_s / max(1, found.messages) * 1e6,
            "bytes_per_stream": self.stream_bytes,
            "generator_cores": found.cpu_s / found.wall_s,
            "generator_late_ms_p99": float(np.percentile(found.late_s, 99)) * 1e3,
            "unsent_bytes": found.backlog_bytes,
            "unsent_bytes_of_silent": found.silent_backlog_bytes,
        }

    def row(self) -> tuple[str, ...]:
        figures = self.figures()
        delays = figures["delay_ms"]
        return (
            str(self.streams),
            str(figures["results"]),
            str(figures["missing"]),
            *(f"{delays[key]:.1f}" for key in ("p50", "p95", "p99")),
            f"{self.server_cores:.2f}",
            f"{figures['server_us_per_chunk']:.0f}",
            f"{self.stream_bytes / 1e3:.0f}",
            f"{figures['generator_cores']:.2f}",
            f"{figures['generator_late_ms_p99']:.1f}",
        )


def make_crowd(graph: Graph, name: str, *, streams: int, connections: int, seconds: float, silent: int = 0) -> Crowd:
    """Noise for the streams of a model that is served by this name."""
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
        connections=min(connections or streams, streams),
        silent=silent,
    )


def watch(crowd: Crowd, served: Served, generator: Any) -> Sight:
    """Sends a crowd to a server."""
    _, pid = served
    empty = pss_bytes(pid)
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
        stream_bytes=(full - empty) / (crowd.streams + crowd.silent),
    )


@contextlib.contextmanager
def service(models_dir: Path, cores: int) -> Iterator[tuple[Served, Any]]:
    """A fresh server for each crowd, so that the memory of one is not the next one's, and a generator."""
    settings = ServerSettings(models_dir=models_dir, session=SessionSettings(threads=1), limits=Limits(streams=100_000))
    with server_process(settings, range(cores)) as served, worker(stand, served[0]) as generator:
        yield served, generator


def check(sight: Sight, models_dir: Path, crowd: Crowd, report: harness.Report) -> None:
    """Compares one stream's replies with a unary call for the same sound: they must be equal, bit for bit."""
    import grpc

    from auricle.v1 import auricle_pb2_grpc as rpc

    sent = [pb.StreamEmbedRequest.FromString(chunk).audio for chunk in crowd.chunks]
    replies = [pb.StreamEmbedResponse.FromString(reply) for reply in sight.found.kept]
    heard = [reply.result.embeddings[0] for reply in replies if reply.HasField("result")]
    count = round(crowd.seconds / crowd.chunk_s)
    data = b"".join(sent[place % len(sent)] for place in range(count))
    config = pb.StreamEmbedRequest.FromString(crowd.config).config
    audio = pb.Audio(pcm=pb.PcmAudio(format=config.format, data=data))
    options = pb.EmbedOptions(pooling=pb.POOLING_NONE)
    with service(models_dir, 1) as (served, _), grpc.insecure_channel(served[0]) as channel:
        whole = rpc.AudioServiceStub(channel).Embed(pb.EmbedRequest(model=config.model, audio=audio, options=options))
    equal = len(heard) == len(whole.embeddings) and all(a == b for a, b in zip(heard, whole.embeddings, strict=True))
    report.goals.append(harness.Goal(name="a stream's answers differ from a clip's", value=float(not equal), bound=0))


def bare_cost_s(path: Path) -> float:
    """Processor seconds of a segment in a bare onnxruntime loop of one thread, at its best batch."""
    from bare import BATCHES

    graph = Graph(path, SessionSettings(threads=1))
    segment = np.random.default_rng(0).normal(0, 1, _input_shape(graph)).astype(np.float32)
    outputs = [head.spec.tensor for head in graph.heads]
    best = float("inf")
    for batch in BATCHES:
        segments = [segment] * batch
        for _ in range(5):
            begun = time.process_time()
            graph.run(outputs, segments)
            best = min(best, (time.process_time() - begun) / batch)
    return best


def _input_shape(graph: Graph) -> tuple[int, ...]:
    length = graph.bundle.segment.length
    assert length is not None
    return (length, graph.features.bands) if graph.features else (length,)


def find_break(models_dir: Path, args: argparse.Namespace, report: harness.Report) -> None:
    """Raises the number of a model's streams until results come later than one hop and 100 ms at p99."""
    name = args.break_model
    path = newest(models_dir, name)
    graph = Graph(path, SessionSettings(threads=1))
    grid = default_grid(graph)
    hop_s = grid.hop_samples / graph.bundle.audio.sample_rate_hz
    cost_s = bare_cost_s(path)
    bound = args.cores * hop_s / cost_s
    report.say(
        f"{name}: {cost_s * 1e3:.2f} ms a segment in the bare loop, hop {hop_s:g} s, {args.cores} cores: "
        f"at most {bound:.0f} streams"
    )
    sights, held = [], 0
    for ratio in RATIOS:
        # Rounded up: 0.75 of the bound must not be missed by a part of a stream.
        streams = math.ceil(bound * ratio)
        crowd = make_crowd(graph, name, streams=streams, connections=args.connections, seconds=args.seconds)
        with service(models_dir, args.cores) as (served, generator):
            sight = watch(crowd, served, generator)
        sights.append(sight)
        if sight.delay_s(99) > hop_s + SLACK_S or sight.found.missing:
            break
        held = sight.streams
    report.table(COLUMNS, [sight.row() for sight in sights])
    report.figures["break"] = {
        "model": name,
        "bare_ms_per_segment": cost_s * 1e3,
        "hop_s": hop_s,
        "bound": bound,
        "held": held,
        "steps": [sight.figures() for sight in sights],
    }
    report.goals.append(
        harness.Goal(name=f"{name}: streams held / bound", value=held / bound, bound=0.75, at_least=True)
    )


def newest(directory: Path, name: str) -> Path:
    """The file that is served by a name; ends the script where there is none."""
    found = [file for file in scan(directory) if file.name == name]
    if not found:
        harness.skip(f"no model {name!r} in {directory}")
    return max(found, key=lambda file: version_key(file.version or "")).path


def plot(path: Path, figures: dict[str, Any]) -> None:
    """Draws p50 and p99 over the number of streams as an SVG."""
    from curve import draw

    steps = figures["crowd"]
    lines = {key: [(float(step["streams"]), step["delay_ms"][key]) for step in steps] for key in ("p50", "p95", "p99")}
    path.write_text(draw(lines, x="streams", y="delay, ms"), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--streams", type=int, default=1000, help="streams of the full crowd")
    parser.add_argument("--connections", type=int, default=0, help="TCP connections they share; 0: one each")
    parser.add_argument("--seconds", type=float, default=20.0, help="sound of one crowd")
    parser.add_argument("--cores", type=int, default=2, help="cores that the server may use")
    parser.add_argument("--break-model", help="also search where real time breaks for this model, e.g. voice")
    parser.add_argument("--models", type=Path, help="its directory; voice is pulled into it where it is missing")
    parser.add_argument("--plot", type=Path, help="write the delays over the number of streams here, as SVG")
    parser.add_argument("--quick", action="store_true", help="a tenth of the streams, 6 seconds")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout and nothing else")
    args = parser.parse_args()
    if args.quick:
        args = argparse.Namespace(**{**vars(args), "streams": max(1, args.streams // 10), "seconds": 6.0})

    report = harness.Report(benchmark="streams", as_json=args.json)
    with tempfile.TemporaryDirectory() as folder:
        models_dir = Path(folder)
        graph = Graph(write_tiny(models_dir), SessionSettings(threads=1))
        report.say(f"{TINY}: kaldi-80, hop 1 s, 100 ms chunks; {SILENT} more streams never read their replies")
        sights = []
        for share in (0.1, 0.5, 1.0):
            streams = max(1, round(args.streams * share))
            crowd = make_crowd(
                graph, TINY, streams=streams, connections=args.connections, seconds=args.seconds, silent=SILENT
            )
            with service(models_dir, args.cores) as (served, generator):
                sights.append(watch(crowd, served, generator))
        report.table(COLUMNS, [sight.row() for sight in sights])
        check(sights[-1], models_dir, crowd, report)
        report.figures["crowd"] = [sight.figures() for sight in sights]
        last = sights[-1]
        report.goals += [
            harness.Goal(
                name="streams that failed or lack a result", value=last.found.failed + last.found.missing, bound=0
            ),
            harness.Goal(name="p99 delay of a result", value=last.delay_s(99), bound=1.0 + SLACK_S, unit=" s"),
            harness.Goal(name="memory of a stream", value=last.stream_bytes / 1e3, bound=200.0, unit=" kB"),
        ]
    if args.break_model:
        if args.break_model == "voice":
            harness.pull_voice(args.models)
        find_break(harness.models_dir(args.models), args, report)
    if args.plot:
        plot(args.plot, report.figures)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
