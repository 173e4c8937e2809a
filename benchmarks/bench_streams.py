"""How many live streams does one process hold? Delays and memory of a crowd, and where real time breaks for a model.

    python benchmarks/bench_streams.py [--streams N] [--connections N] [--together] [--break-model voice] [--quick]
                                       [--json] [--plot FILE]

Each stream sends 100 ms of 16 kHz sound every 100 ms and expects a result for each segment. A delay is counted from
the time at which the last chunk of the segment was due to be sent, whether the generator was late or not. Streams
begin at any time; ``--together`` has them begin at once, and their segments then come at once, hop after hop. The
crowd shares the server's cores where ``--cores`` leaves none. The memory of a stream is that of the streams which a
crowd has more than the crowd before it: a server first fills what its start left free.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import harness

if __name__ == "__main__":
    harness.limit_threads(1)

import numpy as np

from auricle.config import SessionSettings
from auricle.engine.directory import scan, version_key
from auricle.engine.graph import Graph
from auricle.engine.plan import default_grid
from auricle.v1 import auricle_pb2 as pb
from bare_stream import serve_nothing
from crowd import Crowd, stand
from processes import worker
from sights import CHUNK_S, COLUMNS, Sight, make_crowd, others, service, watch
from tiny import TINY, write_tiny

SILENT = 10
SLACK_S = 0.1
# Where real time breaks is looked for between these parts of the bound, down to so much.
LEAST, MOST, STEP = 0.6, 0.9, 0.02
# Of so much sound a queue that grows by the slack from quarter to quarter is found: of 2 % more work than cores.
BREAK_S = 20.0
# One crowd may fall to what else the machine does.
TRIES = 2


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


def bare_cost_s(graph: Graph) -> float:
    """Processor seconds of a segment in a bare onnxruntime loop of one thread, at its best batch."""
    from bare import BATCHES

    segment = np.random.default_rng(0).normal(0, 1, _input_shape(graph)).astype(np.float32)
    outputs = [head.spec.tensor for head in graph.heads if head.spec.kind == "embedding"]  # as StreamEmbed asks
    costs = []
    for batch in BATCHES:
        segments = [segment] * batch
        laps = []
        for _ in range(7):
            begun = time.thread_time()
            graph.run(outputs, segments)
            laps.append(time.thread_time() - begun)
        costs.append(statistics.median(laps) / batch)
    return min(costs)


def transport_cost_s(crowd: Crowd, cores: int, reply_bytes: int) -> float:
    """Processor seconds that gRPC in Python takes for a chunk where nothing is done with it."""
    with (
        worker(serve_nothing, range(cores), crowd.due, reply_bytes) as server,
        contextlib.ExitStack() as stack,
    ):
        served = server.recv()
        generator = stack.enter_context(worker(stand, served[0], others(cores)))
        return watch(crowd, served, generator).chunk_s


def _input_shape(graph: Graph) -> tuple[int, ...]:
    length = graph.bundle.segment.length
    assert length is not None
    return (length, graph.features.bands) if graph.features else (length,)


def find_break(models_dir: Path, args: argparse.Namespace, report: harness.Report) -> None:
    """Halves the interval in which a model's streams stop being answered in real time: one hop and 100 ms at p99.

    A machine's pace changes: each crowd is held against the bare loop right before and after it. One that breaks is
    tried again.
    """
    name = args.break_model
    graph = Graph(newest(models_dir, name), SessionSettings(threads=1))
    grid = default_grid(graph)
    hop_s = grid.hop_samples / graph.bundle.audio.sample_rate_hz

    def crowd_of(streams: int, seconds: float) -> Crowd:
        return make_crowd(
            graph, name, streams=streams, connections=args.connections, seconds=seconds, together=args.together
        )

    def holds(sight: Sight) -> bool:
        in_time = sight.delay_s(99) <= hop_s + SLACK_S and sight.growth_s <= SLACK_S
        return in_time and not sight.found.missing

    cost_s = first_cost_s = bare_cost_s(graph)
    bound = args.cores * hop_s / cost_s
    report.say(
        f"{name}: {cost_s * 1e3:.2f} ms a segment in the bare loop, hop {hop_s:g} s, {args.cores} cores: "
        f"at most {bound:.0f} streams"
    )
    reply_bytes = 4 * sum(head.dimension for head in graph.heads if head.spec.kind == "embedding")
    chunk_s = transport_cost_s(crowd_of(math.ceil(bound / 2), args.seconds), args.cores, reply_bytes)
    left = 1.0 / (1.0 + chunk_s / CHUNK_S * hop_s / cost_s)
    report.say(f"gRPC alone takes {chunk_s * 1e6:.0f} us a chunk, which leaves {left:.0%} of them")
    rows: list[tuple[str, ...]] = []
    sights: list[Sight] = []
    held, low, high = 0.0, LEAST, MOST
    while high - low > STEP:
        ratio = (low + high) / 2
        for _ in range(TRIES):
            crowd = crowd_of(math.ceil(args.cores * hop_s / cost_s * ratio), max(args.seconds, BREAK_S))
            with service(models_dir, args.cores) as (served, generator):
                sight = watch(crowd, served, generator)
            before_s, cost_s = cost_s, bare_cost_s(graph)
            share = sight.streams * (before_s + cost_s) / 2 / (args.cores * hop_s)
            sights.append(sight)
            rows.append((*sight.row(), f"{share:.1%}", "yes" if holds(sight) else "no"))
            if holds(sight):
                held, low = max(held, share), ratio
                break
        else:
            high = ratio
    report.table((*COLUMNS, "of bound", "held"), rows)
    report.figures["break"] = {
        "model": name,
        "bare_ms_per_segment": first_cost_s * 1e3,
        "hop_s": hop_s,
        "bound": bound,
        "transport_us_per_chunk": chunk_s * 1e6,
        "left_by_transport": left,
        "held_by_bound": held,
        "steps": [sight.figures() for sight in sights],
    }
    report.goals.append(harness.Goal(name=f"{name}: streams held / bound", value=held, bound=0.75, at_least=True))


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
    parser.add_argument("--together", action="store_true", help="all streams begin at once")
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
                graph,
                TINY,
                streams=streams,
                connections=args.connections,
                seconds=args.seconds,
                together=args.together,
                silent=SILENT,
            )
            with service(models_dir, args.cores) as (served, generator):
                sights.append(watch(crowd, served, generator))
        memory = [None, *(sight.stream_bytes(before) for before, sight in pairwise(sights))]
        report.table(COLUMNS, [sight.row(taken) for sight, taken in zip(sights, memory, strict=True)])
        check(sights[-1], models_dir, crowd, report)
        report.figures["crowd"] = [
            sight.figures() | {"bytes_per_stream": taken} for sight, taken in zip(sights, memory, strict=True)
        ]
        last, last_bytes = sights[-1], sights[-1].stream_bytes(sights[-2])
        report.goals += [
            harness.Goal(
                name="streams that failed or lack a result", value=last.found.failed + last.found.missing, bound=0
            ),
            harness.Goal(name="p99 delay of a result", value=last.delay_s(99), bound=1.0 + SLACK_S, unit=" s"),
            harness.Goal(name="memory of a stream", value=last_bytes / 1e3, bound=200.0, unit=" kB"),
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
