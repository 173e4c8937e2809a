"""What does the server add to the model? Requests a second, latencies and CPU beside a bare onnxruntime loop.

    python benchmarks/bench_server.py [--models DIR] [--peers naive,litserve] [--quick] [--json]

The server and the bare loop share one core, one after the other, the load generator has another; onnxruntime has
one thread in both. Every answer is compared with the bare loop's; the exit code is 1 where one differs. YAMNet is
imported, once, where the extra [tflite] and the shared recordings are there, and left out where not.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import harness

if __name__ == "__main__":
    harness.limit_threads(1)

import numpy as np

from alone import run_alone
from auricle.config import ServerSettings, SessionSettings
from bare import loop
from floor import serve_bare
from footprint import measure
from loadgen import generate
from lone import call_alone
from pieces import Bench, Piece, Plan, Target, pooled
from plain import PlainVoice, PlainYamnet
from processes import cpu_s, pss_bytes, server_process, worker
from stacks import STACKS, read_reply, running, tree_cpu_s
from workloads import Workload, make_workloads

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
OUTPUTS = {"voice": ("embedding",), "yamnet": ("embedding", "scores")}


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


def peers(names: str, model: str, path: Path, cores: Sequence[int], stack: contextlib.ExitStack) -> dict[str, Target]:
    """Starts the peers that serve a model, each for as long as the stack is open."""
    targets = {}
    for name in filter(None, names.split(",")):
        peer = STACKS[name]
        address, pid = stack.enter_context(running(peer, model, path, cores[0]))
        targets[peer.name] = Target(
            cpu_s=partial(tree_cpu_s, pid),
            generator=stack.enter_context(worker(generate, address, cores[1])),
            request=peer.request,
            answer=peer.answer,
        )
    return targets


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", type=Path, help="model directory; voice is pulled into it where it is missing")
    parser.add_argument(
        "--peers", default="", help=f"also measure these, by commas: {', '.join(STACKS)}; LitServe is fetched by pip"
    )
    parser.add_argument(
        "--quick", action="store_true", help="half a minute, and a minute with peers; figures are rough"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout and nothing else")
    args = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        harness.skip("one core: the server and its load need one each")
    plan = Plan(piece_s=0.5, bare_s=0.25, rounds=1) if args.quick else Plan(piece_s=2.5, bare_s=1.0, rounds=4)

    paths = {"voice": harness.pull_voice(args.models)}
    directory = paths["voice"].parent.parent
    if (yamnet := harness.import_yamnet(args.models)) is not None:
        paths["yamnet"] = yamnet
    report = harness.Report(benchmark="server", as_json=args.json)
    workloads = make_workloads(PlainVoice(paths["voice"]), PlainYamnet(yamnet) if yamnet else None)
    settings = ServerSettings(models_dir=directory, session=SessionSettings(threads=1))
    bench = Bench(plan)
    heavy = workloads[1]
    memory_mb = {f"voice alone, {when}": size for when, size in measure(paths["voice"], heavy).items()}
    added_ms: dict[str, list[float]] = {}  # of a workload, and of the floor under it
    with contextlib.ExitStack() as stack:
        address, pid = stack.enter_context(server_process(settings, [cores[0]]))
        memory_mb["all models, idle"] = pss_bytes(pid) / 1e6
        ours = Target(
            cpu_s=partial(cpu_s, pid),
            generator=stack.enter_context(worker(generate, address, cores[1])),
            request=lambda _, request: request,
            answer=read_reply,
        )
        for model, path in paths.items():
            loads = [workload for workload in workloads if workload.model == model]
            with contextlib.ExitStack() as own:
                segments = [segment for workload in loads for mels in workload.mels for segment in mels]
                pipe = own.enter_context(worker(loop, path, cores[0], OUTPUTS[model], segments))
                answers = np.split(pipe.recv(), np.cumsum([len(load.mels) * load.segments for load in loads])[:-1])
                alone = own.enter_context(worker(run_alone, path, cores[0]))
                targets = {OURS: ours, **peers(args.peers, model, path, cores, own)}
                bare = bench.yardstick(pipe)
                costs = ", ".join(f"{size}: {cost:.2f}" for size, cost in bare.costs.items())
                report.say(f"{model}, bare onnxruntime, CPU ms/segment by batch: {costs}")
                report.say(f"shares are of the bare loop at batch {bare.batch}, measured anew before every piece\n")
                report.figures[f"bare_{model}"] = {"cpu_ms_per_segment": bare.costs, "best_batch": bare.batch}
                for workload, found in zip(loads, answers, strict=True):
                    wanted = pooled(found, workload)
                    pieces: dict[tuple[str, int], list[Piece]] = {
                        (name, callers): [] for callers in CALLERS for name in targets
                    }
                    address_of_floor = own.enter_context(
                        worker(serve_bare, path, cores[0], workload.method, workload.files)
                    ).recv()
                    lone = {
                        workload.name: own.enter_context(worker(call_alone, address, cores[1])),
                        f"{workload.name} floor": own.enter_context(worker(call_alone, address_of_floor, cores[1])),
                    }
                    for target in targets.values():
                        bench.burst(target, workload, callers=max(CALLERS), calls=1)
                    for _ in range(plan.rounds):
                        for name, callers in pieces:
                            pieces[name, callers].append(bench.piece(targets[name], workload, callers, bare, wanted))
                        for name, added in bench.added_ms(lone, workload, alone).items():
                            added_ms.setdefault(name, []).append(added)
                    memory_mb[f"all models, after {workload.name}"] = pss_bytes(pid) / 1e6
                    show(report, workload, pieces)
    report.say("memory (PSS), MB: " + ", ".join(f"{name} {size:.0f}" for name, size in memory_mb.items()))
    spreads = {name: harness.spread(values) for name, values in added_ms.items()}
    report.say("added at one caller, p50 ms: " + ", ".join(f"{name} {value}" for name, value in spreads.items()))
    report.figures |= {"pss_mb": memory_mb, "added_ms": {name: asdict(value) for name, value in spreads.items()}}
    report.goals = [
        harness.Goal(name="memory idle with voice", value=memory_mb["voice alone, idle"], bound=150.0, unit=" MB"),
        harness.Goal(
            name=f"memory with voice after {heavy.name}",
            value=memory_mb["voice alone, after the load"],
            bound=memory_mb["voice alone, bare loop"],
            unit=" MB",
        ),
        harness.Goal(name="worst 1 - cosine to the bare loop", value=1.0 - bench.worst_cosine, bound=1e-5),
        harness.Goal(name="worst difference of a score", value=bench.worst_score, bound=1e-3),
    ]
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
