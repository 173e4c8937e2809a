"""What does the server add to the model? Requests a second, latencies and CPU beside a bare onnxruntime loop.

    python benchmarks/bench_server.py [--models DIR] [--peers naive,litserve] [--quick] [--json]

The server and the bare loop share one core, one after the other, the load generator has another; onnxruntime has
one thread in both. Every answer is compared with the bare loop's; the exit code is 1 where one differs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import harness

if __name__ == "__main__":
    harness.limit_threads(1)

import numpy as np
from numpy.typing import NDArray

from auricle.config import ServerSettings, SessionSettings
from auricle.v1 import auricle_pb2 as pb
from bare import BATCHES, Lap, loop
from loadgen import Burst, Load, generate
from plain import PlainVoice, cosine
from processes import cpu_s, pss_bytes, server_process, worker
from stacks import STACKS, running, tree_cpu_s
from workloads import Workload, make_workloads

Floats = NDArray[np.float32]

CALLERS = (1, 8, 32)
COLUMNS = (
    "server",
    "callers",
    "req/s",
    "quartiles",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "audio s/s",
    "CPU ms/req",
    "of bare, clock",
    "of bare, CPU",
    "generator busy",
)
OURS = "auricle"


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How long to measure: a server piece in seconds, the bare loop's before it, and how many rounds."""

    piece_s: float
    bare_s: float
    rounds: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """One measurement of the server beside the bare loop's of the moment before."""

    requests_per_s: float
    latencies_ms: list[float]
    cpu_ms: float
    of_bare: float
    of_bare_cpu: float
    generator_busy: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A server under load: its processor time so far, its load generator, and the wire forms that it speaks."""

    cpu_s: Callable[[], float]
    generator: Any
    request: Callable[[bytes], bytes]
    vector: Callable[[bytes], Floats]


def vector_of(reply: bytes) -> Floats:
    """The one vector of an EmbedResponse in wire form."""
    (answer,) = pb.EmbedResponse.FromString(reply).embeddings
    return np.array(answer.vector.floats.values, np.float32)


class Bench:
    """The processes, and what is measured on them."""

    def __init__(self, *, bare: Any, plan: Plan) -> None:
        self._bare = bare
        self._plan = plan
        self.worst_cosine = 1.0

    def lap(self, batch: int, seconds: float) -> Lap:
        """A run of the bare loop."""
        self._bare.send((batch, seconds))
        found: Lap = self._bare.recv()
        return found

    def batch_costs(self) -> dict[int, float]:
        """Processor milliseconds of a segment in the bare loop, by batch."""
        costs = {}
        for batch in BATCHES:
            laps = [self.lap(batch, self._plan.bare_s / 4) for _ in range(3)]
            costs[batch] = min(lap.cpu_s / lap.segments for lap in laps) * 1e3
        return costs

    def burst(self, target: Target, workload: Workload, *, callers: int, calls: int) -> Burst:
        """A run of the load generator."""
        requests = [target.request(request) for request in workload.requests]
        target.generator.send(Load(requests=requests, callers=callers, calls=calls))
        found: Burst = target.generator.recv()
        return found

    def piece(self, target: Target, workload: Workload, callers: int, batch: int, wanted: list[Floats]) -> Piece:
        """The bare loop, then a server under so many callers."""
        lap = self.lap(batch, self._plan.bare_s)
        bare_rate = lap.segments / lap.wall_s / workload.segments
        bare_cpu_s = lap.cpu_s / lap.segments * workload.segments
        calls = max(1, round(self._plan.piece_s * bare_rate / callers))
        before = target.cpu_s()
        burst = self.burst(target, workload, callers=callers, calls=calls)
        spent_s = (target.cpu_s() - before) / len(burst.replies)
        self._check(target, burst, wanted)
        rate = len(burst.replies) / (burst.ended_s - burst.begun_s)
        return Piece(
            requests_per_s=rate,
            latencies_ms=[latency * 1e3 for latency in burst.latencies_s],
            cpu_ms=spent_s * 1e3,
            of_bare=rate / bare_rate,
            of_bare_cpu=bare_cpu_s / spent_s,
            generator_busy=burst.cpu_s / (burst.ended_s - burst.begun_s),
        )

    def _check(self, target: Target, burst: Burst, wanted: list[Floats]) -> None:
        for which, reply in burst.replies:
            self.worst_cosine = min(self.worst_cosine, cosine(target.vector(reply), wanted[which]))


def pooled(vectors: Floats, workload: Workload) -> list[Floats]:
    """What each of a workload's requests must give: the mean of its segments' vectors, at length 1."""
    means = vectors.reshape(len(workload.requests), workload.segments, -1).astype(np.float64).mean(axis=1)
    return [(mean / np.linalg.norm(mean)).astype(np.float32) for mean in means]


def show(report: harness.Report, workload: Workload, found: dict[tuple[str, int], list[Piece]]) -> None:
    """A table of one workload, and its figures for --json."""
    rows: list[tuple[object, ...]] = []
    figures: dict[str, dict[int, Any]] = {}
    for (name, callers), pieces in found.items():
        rate = harness.spread(piece.requests_per_s for piece in pieces)
        spent = harness.spread(piece.cpu_ms for piece in pieces)
        share = harness.spread(piece.of_bare for piece in pieces)
        cpu_share = harness.spread(piece.of_bare_cpu for piece in pieces)
        latencies = [latency for piece in pieces for latency in piece.latencies_ms]
        p50, p95, p99 = np.percentile(latencies, [50, 95, 99])
        busy = harness.spread(piece.generator_busy for piece in pieces).median
        rows.append(
            (
                name,
                callers,
                f"{rate.median:.1f}",
                f"{rate.low:.1f}..{rate.high:.1f}",
                f"{p50:.1f}",
                f"{p95:.1f}",
                f"{p99:.1f}",
                f"{rate.median * workload.seconds:.0f}",
                f"{spent.median:.2f}",
                f"{share.median:.0%}",
                f"{cpu_share.median:.0%}",
                f"{busy:.0%}",
            )
        )
        figures.setdefault(name, {})[callers] = {
            "requests_per_s": asdict(rate),
            "latency_ms": {"p50": p50, "p95": p95, "p99": p99, "count": len(latencies)},
            "audio_s_per_s": rate.median * workload.seconds,
            "server_cpu_ms_per_request": asdict(spent),
            "share_of_bare_rate": asdict(share),
            "share_of_bare_cpu": asdict(cpu_share),
            "generator_busy": busy,
        }
    report.say(f"{workload.name}: {workload.about}, {workload.segments} segments a request")
    report.table(
        COLUMNS,
        rows,
    )
    report.figures[workload.name] = {"about": workload.about, "segments": workload.segments, "servers": figures}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", type=Path, help="model directory; voice is pulled into it where it is missing")
    parser.add_argument(
        "--peers", default="", help=f"also measure these, by commas: {', '.join(STACKS)}; LitServe is fetched by pip"
    )
    parser.add_argument("--quick", action="store_true", help="20 seconds; figures are rough")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout and nothing else")
    args = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        harness.skip("one core: the server and its load need one each")
    plan = Plan(piece_s=0.5, bare_s=0.25, rounds=1) if args.quick else Plan(piece_s=2.5, bare_s=1.0, rounds=4)

    model = harness.pull_voice(args.models)
    report = harness.Report(benchmark="server", as_json=args.json)
    workloads = make_workloads(PlainVoice(model))
    segments = [segment for workload in workloads for mels in workload.mels for segment in mels]
    settings = ServerSettings(models_dir=model.parent.parent, session=SessionSettings(threads=1))
    with contextlib.ExitStack() as stack:
        bare = stack.enter_context(worker(loop, str(model), cores[0], segments))
        address, pid = stack.enter_context(server_process(settings, [cores[0]]))
        targets = {
            OURS: Target(
                cpu_s=partial(cpu_s, pid),
                generator=stack.enter_context(worker(generate, address, cores[1])),
                request=bytes,
                vector=vector_of,
            )
        }
        for name in filter(None, args.peers.split(",")):
            peer = STACKS[name]
            peer_address, peer_pid = stack.enter_context(running(peer, model, cores[0]))
            targets[peer.name] = Target(
                cpu_s=partial(tree_cpu_s, peer_pid),
                generator=stack.enter_context(worker(generate, peer_address, cores[1])),
                request=peer.request,
                vector=peer.vector,
            )
        vectors = bare.recv()
        bench = Bench(bare=bare, plan=plan)
        idle_mb = pss_bytes(pid) / 1e6
        costs = bench.batch_costs()
        batch = min(costs, key=lambda size: costs[size])
        report.say("bare onnxruntime, CPU ms/segment by batch: " + ", ".join(f"{b}: {c:.2f}" for b, c in costs.items()))
        report.say(f"shares below are of the bare loop at batch {batch}, measured anew before every piece")
        report.say()
        report.figures["bare"] = {"cpu_ms_per_segment": costs, "best_batch": batch}
        first = 0
        for workload in workloads:
            count = len(workload.requests) * workload.segments
            wanted = pooled(vectors[first : first + count], workload)
            first += count
            found: dict[tuple[str, int], list[Piece]] = {(name, callers): [] for callers in CALLERS for name in targets}
            for target in targets.values():
                bench.burst(target, workload, callers=max(CALLERS), calls=1)
            for _ in range(plan.rounds):
                for name, callers in found:
                    found[name, callers].append(bench.piece(targets[name], workload, callers, batch, wanted))
            show(report, workload, found)
        report.figures["server_pss_mb"] = {"idle": idle_mb, "after": pss_bytes(pid) / 1e6}
        report.say(f"server memory (PSS): {idle_mb:.0f} MB idle, {pss_bytes(pid) / 1e6:.0f} MB after the load")
    report.goals = [
        harness.Goal(name="memory idle with voice loaded", value=idle_mb, bound=150.0, unit=" MB"),
        harness.Goal(name="worst 1 - cosine to the bare loop", value=1.0 - bench.worst_cosine, bound=1e-5),
    ]
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
