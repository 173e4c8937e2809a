"""How fast and how exact is the frontend, at every instruction-set level, beside the libraries that it replaces?

    python benchmarks/bench_frontend.py [--levels L ...] [--sections S ...] [--rounds N] [--json] [--plot FILE]

Each level runs in a process of its own, since a level is chosen at import; peers run in that same process, on one
thread, taking turns with ours. Ends with 1 where a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import harness

if __name__ == "__main__":
    harness.limit_threads(1)

# Every section is a module frontend_NAME with measure(report, rounds).
SECTIONS = tuple(sorted(path.stem[len("frontend_") :] for path in Path(__file__).parent.glob("frontend_*.py")))


def run_level(level: str, arguments: argparse.Namespace) -> tuple[int, dict[str, Any] | None]:
    """One level in its own process: its exit code, and its report where JSON or a plot is asked for."""
    quiet = arguments.json or arguments.plot is not None
    command = [sys.executable, __file__, "--one", "--rounds", str(arguments.rounds)]
    command += ["--sections", *arguments.sections, *(["--json"] if quiet else [])]
    done = subprocess.run(
        command,
        env={**os.environ, "AURICLE_SIMD": level},
        stdout=subprocess.PIPE if quiet else None,
        text=True,
        check=False,
    )
    return done.returncode, json.loads(done.stdout) if quiet and done.stdout else None


def plot(reports: dict[str, dict[str, Any]], path: Path) -> None:
    """Bars of how many times faster than the peer each level is, as SVG."""
    bars = [
        (f"{name} · {level}", value["speedup"])
        for level, report in reports.items()
        for name, value in report["figures"].items()
        if isinstance(value, dict) and "speedup" in value
    ]
    bars.sort(key=lambda bar: bar[0])
    most = max((speedup for _, speedup in bars), default=1.0)
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" width="900" height="{20 * len(bars) + 10}" font-size="12">']
    for row, (label, speedup) in enumerate(bars):
        y = 20 * row + 15
        lines.append(f'<text x="330" y="{y}" text-anchor="end">{label}</text>')
        lines.append(f'<rect x="340" y="{y - 10}" width="{460 * speedup / most:.1f}" height="12" fill="#4878a8"/>')
        lines.append(f'<text x="{346 + 460 * speedup / most:.1f}" y="{y}">{speedup:.1f} times</text>')
    path.write_text("\n".join([*lines, "</svg>"]) + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--levels", nargs="+", help="default: all that this processor runs")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot", type=Path, help="write the speed-ups there, as SVG")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        report = harness.Report(benchmark="frontend", as_json=arguments.json)
        for section in arguments.sections:
            import_module(f"frontend_{section}").measure(report, arguments.rounds)
        return report.close()
    from auricle._frontend import cpu

    reports: dict[str, dict[str, Any]] = {}
    code = 0
    for level in arguments.levels or cpu.levels():
        status, found = run_level(level, arguments)
        code = code or status
        if found is not None:
            reports[level] = found
    if arguments.json:
        print(json.dumps(reports, indent=2))
    if arguments.plot is not None:
        plot(reports, arguments.plot)
    return code


if __name__ == "__main__":
    sys.exit(main())
