"""What every benchmark shares: thread limits, the environment header, medians and spreads, goals, output.

Importing this module imports no NumPy, so that ``limit_threads`` can come first.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

import msgspec

__all__ = [
    "ROOT",
    "Goal",
    "Report",
    "Spread",
    "alternate",
    "environment",
    "import_yamnet",
    "limit_threads",
    "models_dir",
    "pull_voice",
    "recordings",
    "skip",
    "spread",
]

ROOT = Path(__file__).resolve().parents[1]
LIBRARIES = ("numpy", "scipy", "onnxruntime", "grpcio", "protobuf", "uvloop", "librosa", "soxr", "kaldi-native-fbank")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def limit_threads(count: int = 1) -> None:
    """Gives the peers' libraries so many threads. They read it once, so it must come before NumPy's import."""
    if "numpy" in sys.modules:
        raise RuntimeError("limit_threads was called after NumPy was imported; call it first in the script")
    for name in THREAD_VARIABLES:
        os.environ[name] = str(count)


def environment() -> dict[str, Any]:
    """Where the figures come from: machine, interpreter, libraries, the frontend's instruction set."""
    from auricle import frontend

    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "load_1min": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        "simd": frontend.simd,
        "libraries": {name: version for name in LIBRARIES if (version := _version(name))},
    }


def models_dir(given: Path | None = None) -> Path:
    """The model directory: the one given, else AURICLE_MODELS, else the user's."""
    from platformdirs import user_data_path

    return given or Path(os.environ.get("AURICLE_MODELS") or user_data_path("auricle") / "models")


def pull_voice(given: Path | None = None) -> Path:
    """Sees to it that ``voice`` is in the model directory and gives the model's path.

    Ends the script with exit code 0 and the reason where it cannot be fetched: nothing was measured.
    """
    from auricle.errors import UnavailableError
    from auricle.model.pull import pull

    try:
        return pull("voice", models_dir(given))
    except UnavailableError as error:
        skip(error.message)


def import_yamnet(given: Path | None = None) -> Path | None:
    """Sees to it that ``yamnet`` is in the model directory and gives its path; None where it cannot be imported.

    It takes the extra [tflite] and the shared recordings, and half a minute the first time.
    """
    from auricle.errors import UnavailableError
    from auricle.importing.settings import ImportSettings
    from auricle.importing.tflite_import import import_tflite

    path = models_dir(given) / "yamnet.onnx"
    source = ROOT.parent / "shared" / "data" / "models" / "yamnet_audio_classifier_with_metadata.tflite"
    if path.is_file() or not source.is_file():
        return path if path.is_file() else None
    try:
        return import_tflite(source, path.parent, ImportSettings(name="yamnet")).path
    except UnavailableError as error:
        print(f"w1 is left out: {error.message}", file=sys.stderr)
        return None


def recordings() -> Path:
    """The shared recordings beside the repository; ends the script as ``pull_voice`` does without them."""
    path = ROOT.parent / "shared" / "data"
    if not path.is_dir():
        skip(f"no recordings at {path}")
    return path


def skip(reason: str) -> NoReturn:
    """Ends the script with exit code 0: nothing was measured."""
    print(f"skipped: {reason}", file=sys.stderr)
    raise SystemExit(0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """The median of several measurements, their quartiles, and how many there were."""

    median: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        return f"{self.median:.4g} [{self.low:.4g} .. {self.high:.4g}]"


def spread(values: Iterable[float]) -> Spread:
    """Sums measurements up; one alone has no spread."""
    found = sorted(values)
    if len(found) == 1:
        return Spread(median=found[0], low=found[0], high=found[0], count=1)
    low, median, high = statistics.quantiles(found, n=4, method="inclusive")
    return Spread(median=median, low=low, high=high, count=len(found))


def alternate(
    pieces: Mapping[str, Callable[[], Any]],
    *,
    rounds: int,
    warm_up: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of each piece in each round. Pieces take turns, so that what slows the machine slows them all.

    With ``time.thread_time`` for a clock, pieces of one thread are not charged for what else the machine does.
    """
    for _ in range(warm_up):
        for piece in pieces.values():
            piece()
    times: dict[str, list[float]] = {name: [] for name in pieces}
    for _ in range(rounds):
        for name, piece in pieces.items():
            begun = clock()
            piece()
            times[name].append(clock() - begun)
    return times


@dataclass(frozen=True, kw_only=True, slots=True)
class Goal:
    """A figure and the bound that it has to keep."""

    name: str
    value: float
    bound: float
    at_least: bool = False
    unit: str = ""

    @property
    def met(self) -> bool:
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        word = "PASS" if self.met else "FAIL"
        return f"{word}  {self.name}: {self.value:.6g}{self.unit} (goal {sign} {self.bound:g}{self.unit})"


@dataclass(kw_only=True)
class Report:
    """A benchmark's result: lines for people as it goes, or one JSON object at its end."""

    benchmark: str
    as_json: bool
    environment: dict[str, Any] = field(default_factory=environment)
    figures: dict[str, Any] = field(default_factory=dict)
    goals: list[Goal] = field(default_factory=list)

    def __post_init__(self) -> None:
        for key, value in self.environment.items():
            text = ", ".join(f"{name} {version}" for name, version in value.items()) if key == "libraries" else value
            self.say(f"{key:>9}: {text}")
        self.say()

    def say(self, line: str = "") -> None:
        """A line for people; with ``--json`` there is none."""
        if not self.as_json:
            print(line, flush=True)

    def table(self, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Rows under a head, the first column to the left, the rest to the right."""
        cells = [list(head), *([str(cell) for cell in row] for row in rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
        for row in cells:
            left = row[0].ljust(widths[0])
            self.say("  ".join([left, *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]))
        self.say()

    def close(self) -> int:
        """Prints goals or JSON; gives the exit code: 1 where a goal is missed."""
        for goal in self.goals:
            self.say(str(goal))
        if self.as_json:
            goals = [asdict(goal) | {"met": goal.met} for goal in self.goals]
            whole = {
                "benchmark": self.benchmark,
                "environment": self.environment,
                "figures": self.figures,
                "goals": goals,
            }
            # What was not measured is NaN here and null there.
            print(msgspec.json.format(msgspec.json.encode(whole, enc_hook=float), indent=2).decode())
        return int(not all(goal.met for goal in self.goals))


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
