"""What is left of the server's peak when more is asked of it? Goodput, refusals and what a refusal costs.

    python benchmarks/bench_overload.py [--models DIR] [--calls N] [--quick] [--json] [--plot FILE]

1.6 s clips through ``voice``; the server has one core, the callers another. First the callers that saturate the
server, then 1, 2 and 10 times as many who come back when RetryInfo says, then arrivals at 1, 1.5 and 2 times the peak
rate that nobody repeats.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import harness

if __name__ == "__main__":
    harness.limit_threads(1)

import numpy as np

from auricle.config import AdmissionSettings, BatchSettings, ServerSettings, SessionSettings
from plain import PlainVoice
from pressure import METHOD, Crush, Pressure, press
from processes import cpu_s, server_process, worker
from workloads import make_workloads

LADDER = (4, 8, 16, 32, 64)
SATURATED = 0.95
CLOSED = (1, 2, 10)
OPEN = (1.0, 1.5, 2.0)
COLUMNS = (
    "load",
    "answers/s",
    "of peak",
    "p50 ms",
    "p99 ms",
    "refusals/s",
    "refused p50 ms",
    "refused p99 ms",
    "retry after p50 s",
    "failed",
    "generator busy",
)


def percentile(values: Sequence[float], percent: float) -> float:
    """A percentile, NaN of nothing."""
    return float(np.percentile(values, percent)) if values else float("nan")


def figures(crush: Crush) -> dict[str, Any]:
    """A piece's figures for --json."""
    return {
        "answers_per_s": crush.goodput,
        "refusals_per_s": crush.refusals,
        "answered_ms": {f"p{p}": percentile(crush.answered_s, p) * 1e3 for p in (50, 95, 99)},
        "refused_ms": {f"p{p}": percentile(crush.refused_s, p) * 1e3 for p in (50, 95, 99)},
        "retry_after_s": {f"p{p}": percentile(crush.retry_s, p) for p in (50, 99)},
        "failed": crush.failed,
        "refused_without_retry_info": crush.unadvised,
        "generator_busy": crush.cpu_s / crush.wall_s,
    }


def row(name: str, crush: Crush, peak: float) -> tuple[str, ...]:
    """A line of the table."""
    return (
        name,
        f"{crush.goodput:.0f}",
        f"{crush.goodput / peak:.0%}",
        f"{percentile(crush.answered_s, 50) * 1e3:.0f}",
        f"{percentile(crush.answered_s, 99) * 1e3:.0f}",
        f"{crush.refusals:.0f}",
        f"{percentile(crush.refused_s, 50) * 1e3:.1f}",
        f"{percentile(crush.refused_s, 99) * 1e3:.1f}",
        f"{percentile(crush.retry_s, 50):.2f}",
        str(crush.failed),
        f"{crush.cpu_s / crush.wall_s:.0%}",
    )


def empty_server(pipe: Connection, core: int) -> None:
    """A process with a grpc.aio server whose Embed does nothing: the yardstick of a refusal. Sends its port and pid."""
    import grpc
    import uvloop

    async def nothing(_: bytes, __: Any) -> bytes:
        return b""

    async def serve() -> None:
        server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
        service, method = METHOD.strip("/").split("/")
        handler: grpc.RpcMethodHandler[Any, Any] = grpc.unary_unary_rpc_method_handler(nothing)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        pipe.send((f"127.0.0.1:{port}", os.getpid()))
        await asyncio.to_thread(pipe.recv)
        await server.stop(0)

    os.sched_setaffinity(0, {core})
    uvloop.run(serve())


async def _occupy(address: str, request: bytes, seconds: float) -> None:
    import grpc

    async with grpc.aio.insecure_channel(address) as channel:
        embed: Any = channel.unary_unary(METHOD)
        try:
            await embed(request, timeout=seconds)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                raise


def occupy(pipe: Connection, address: str, request: bytes, seconds: float) -> None:
    """A process that takes the one place of a server whose batch waits for company."""
    pipe.send(None)
    asyncio.run(_occupy(address, request, seconds))


def refusal_cost(
    models_dir: Path, requests: Sequence[bytes], cores: Sequence[int], rounds: int
) -> tuple[float, float, float]:
    """Processor seconds of the server for an empty call and for a refused one with the same request, and their ratio.

    Medians of short pieces in alternation; the ratio is the median of the rounds' own.
    """
    # The batch waits for ever for company, and the call in it keeps the only place.
    full = ServerSettings(
        models_dir=models_dir,
        admission=AdmissionSettings(calls=1),
        batch=BatchSettings(max_delay_s=3600.0),
        session=SessionSettings(threads=1),
    )
    pieces: dict[str, list[float]] = {"empty": [], "refused": []}
    with (
        worker(empty_server, cores[0]) as empty,
        server_process(full, [cores[0]]) as refusing,
    ):
        servers = {"empty": empty.recv(), "refused": refusing}
        with (
            worker(occupy, refusing[0], requests[0], 3000.0) as occupant,
            worker(press, servers["empty"][0], cores[1]) as to_empty,
            worker(press, refusing[0], cores[1]) as to_refusing,
        ):
            occupant.recv()
            time.sleep(1.0)
            for _ in range(rounds):
                for name, generator in (("empty", to_empty), ("refused", to_refusing)):
                    pid = servers[name][1]
                    before = cpu_s(pid)
                    # Arrivals at one rate for both: the cost of a call depends on how many share a wake-up.
                    generator.send(Pressure(requests=requests, seconds=0.5, rate_hz=400.0, lead_s=0.0))
                    crush: Crush = generator.recv()
                    count = len(crush.answered_s) + len(crush.refused_s)
                    if not count or (name == "refused" and crush.answered_s):
                        raise RuntimeError(f"{len(crush.answered_s)} of {count} calls were answered, not refused")
                    pieces[name].append((cpu_s(pid) - before) / count)
    ratios = [refused / nothing for nothing, refused in zip(*pieces.values(), strict=True)]
    return statistics.median(pieces["empty"]), statistics.median(pieces["refused"]), statistics.median(ratios)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", type=Path, help="model directory; voice is pulled into it where it is missing")
    parser.add_argument("--calls", type=int, default=AdmissionSettings().calls, help="the server's --admit-calls")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each piece")
    parser.add_argument("--plot", type=Path, help="write goodput and refusals over the load here, as SVG")
    parser.add_argument("--quick", action="store_true", help="3 seconds a piece; figures are rough")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout and nothing else")
    args = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        harness.skip("one core: the server and its callers need one each")
    seconds = 3.0 if args.quick else args.seconds

    model = harness.pull_voice(args.models)
    models_dir = model.parent.parent
    report = harness.Report(benchmark="overload", as_json=args.json)
    requests = make_workloads(PlainVoice(model))[0].requests
    empty_s, refused_s, ratio = refusal_cost(models_dir, requests, cores, 8 if args.quick else 16)
    report.say(
        f"an empty call costs {empty_s * 1e3:.2f} ms of the core, a refused one {refused_s * 1e3:.2f} ms, "
        f"{ratio:.2f} times as much"
    )
    report.say()

    settings = ServerSettings(
        models_dir=models_dir, admission=AdmissionSettings(calls=args.calls), session=SessionSettings(threads=1)
    )
    closed: dict[str, Crush] = {}
    opened: dict[str, Crush] = {}
    with server_process(settings, [cores[0]]) as served, worker(press, served[0], cores[1]) as generator:

        def piece(**load: Any) -> Crush:
            generator.send(Pressure(requests=requests, seconds=seconds, **load))
            found: Crush = generator.recv()
            return found

        ladder = {callers: piece(callers=callers) for callers in LADDER}
        peak = max(crush.goodput for crush in ladder.values())
        callers = next(count for count, crush in ladder.items() if crush.goodput >= SATURATED * peak)
        report.say(f"peak {peak:.0f} answers/s; {callers} callers saturate the server, which takes {args.calls} calls")
        for factor in CLOSED:
            closed[f"{factor}x callers ({factor * callers})"] = piece(callers=factor * callers)
        for rate in OPEN:
            opened[f"{rate:g}x peak rate"] = piece(rate_hz=rate * peak)
        # The peak once more at the end: the machine may have changed.
        peak = statistics.median([peak, piece(callers=callers).goodput, max(c.goodput for c in closed.values())])
    report.table(COLUMNS, [row(name, crush, peak) for name, crush in {**closed, **opened}.items()])

    worst, flood = list(closed.values())[-1], list(opened.values())[-1]
    report.figures = {
        "empty_call_s": empty_s,
        "refused_call_s": refused_s,
        "refused_by_empty": ratio,
        "peak_answers_per_s": peak,
        "saturating_callers": callers,
        "ladder": {str(count): figures(crush) for count, crush in ladder.items()},
        "closed": {name: figures(crush) for name, crush in closed.items()},
        "open": {name: figures(crush) for name, crush in opened.items()},
    }
    left = peak * (1.0 - flood.refusals * empty_s)
    report.goals = [
        harness.Goal(name="a refusal's cost in empty calls", value=ratio, bound=1.2),
        harness.Goal(name="goodput of 10x callers / peak", value=worst.goodput / peak, bound=0.9, at_least=True),
        harness.Goal(
            name="goodput at 2x the rate / what refusing leaves", value=flood.goodput / left, bound=0.9, at_least=True
        ),
        harness.Goal(
            name="calls that failed otherwise, or were refused without RetryInfo",
            value=sum(crush.failed + crush.unadvised for crush in (*closed.values(), *opened.values())),
            bound=0,
        ),
    ]
    if worst.refused_s:
        p99_ms = percentile(worst.refused_s, 99) * 1e3
        report.goals.append(harness.Goal(name="refusals at 10x callers, p99", value=p99_ms, bound=5.0, unit=" ms"))
    else:
        report.say("nobody was refused at 10x callers; give a lower --calls to see refusals")
    if args.plot:
        from curve import draw

        points = [(rate, crush) for rate, crush in zip(OPEN, opened.values(), strict=True)]
        lines = {
            "answers/s": [(rate, crush.goodput) for rate, crush in points],
            "refusals/s": [(rate, crush.refusals) for rate, crush in points],
        }
        args.plot.write_text(draw(lines, x="arrivals / peak rate", y="a second"), encoding="utf-8")
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
