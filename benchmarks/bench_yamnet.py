"""YAMNet imported from its .tflite file, beside the graph that tf2onnx makes of it and TensorFlow Lite itself.

One thread each, the pieces in turn, several windows a turn: a model that serves finds its weights in the cache.
Times are the thread's own on the processor, so that what else the machine does counts less. A window of 15600 samples
gives 521 scores; what auricle runs includes its frontend. Needs the extra [tflite] and the shared recordings.

    python benchmarks/bench_yamnet.py [--rounds N] [--work DIR] [--task-library PYTHON] [--json]

tflite-support 0.4.4 wants Python up to 3.11 and NumPy 1; where an interpreter has it, --task-library takes part.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from subprocess import DEVNULL, PIPE, Popen
from typing import Any

import harness

harness.limit_threads()

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import soundfile  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from auricle import frontend  # noqa: E402
from auricle.config import SessionSettings  # noqa: E402
from auricle.engine.graph import Graph  # noqa: E402
from auricle.engine.session import Session  # noqa: E402
from auricle.errors import UnavailableError  # noqa: E402
from auricle.importing.convert import Precision, convert, need  # noqa: E402
from auricle.importing.settings import ImportReport, ImportSettings  # noqa: E402
from auricle.importing.tflite import TfliteModel  # noqa: E402
from auricle.importing.tflite_import import import_tflite  # noqa: E402
from auricle.task import audio, core, processor  # noqa: E402

MODEL = "models/yamnet_audio_classifier_with_metadata.tflite"
WINDOW = 15600
BATCH = 16
TURN = BATCH  # windows that a piece takes in its turn
PRECISIONS: tuple[Precision, ...] = ("float", "int8")
FASTER_GOAL = 1.3
Floats = NDArray[np.float32]
Piece = Callable[[], Any]
Turn = Callable[[], float]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=60, help="rounds of each piece")
    parser.add_argument("--work", type=Path, help="keep conversions here, and use those that are there")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout and nothing else")
    parser.add_argument("--task-library", type=Path, metavar="PYTHON", help="an interpreter with tflite-support")
    args = parser.parse_args()
    try:
        need("tensorflow", "tf2onnx", "ai_edge_litert")
    except UnavailableError as error:
        harness.skip(error.message)
    data = harness.recordings()
    with tempfile.TemporaryDirectory() as scratch:
        work = args.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        with task_library(args.task_library, data / MODEL) as peers:
            models = Path(scratch) / "models"
            return measure(data, work, models, peers, rounds=args.rounds, as_json=args.json)


def measure(data: Path, work: Path, models: Path, peers: Mapping[str, Turn], *, rounds: int, as_json: bool) -> int:
    report = harness.Report(benchmark="yamnet", as_json=as_json)
    imports = {precision: make(data / MODEL, work, models, precision) for precision in PRECISIONS}
    sound, _ = soundfile.read(data / "speech" / "speech.wav", dtype="float32")
    windows = np.stack(
        [sound[start : start + WINDOW] for start in np.linspace(0, sound.size - WINDOW, BATCH, dtype=int)]
    )
    pieces: dict[str, Piece] = {}
    for precision, made in imports.items():
        graph = Graph(made.path, SessionSettings(threads=1))
        pieces[f"auricle, {precision}"] = ours(graph, windows[:1])
        pieces[f"auricle, {precision}, {BATCH} at once"] = ours(graph, windows)
        pieces[f"auricle.task, {precision}"] = task(made.path, windows[0])
        pieces[f"tf2onnx, {precision}, frontend inside"] = inside(work / f"{precision}.onnx", windows[0])
    pieces["TensorFlow Lite, its 8-bit model"] = original(data / MODEL, windows[0])
    turns = {name: timed(piece, 1 if "at once" in name else TURN) for name, piece in pieces.items()}
    seconds = take_turns({**turns, **peers}, rounds=rounds)
    per_window = {name: [each / TURN for each in times] for name, times in seconds.items()}

    report.table(
        ("piece", "ms a window [quartiles]", "best"),
        [
            (name, str(harness.spread(each * 1e3 for each in times)), f"{min(times) * 1e3:.3g}")
            for name, times in per_window.items()
        ],
    )
    tell_accuracy(report, imports["float"])
    peer = f"tf2onnx, {PRECISIONS[0]}, frontend inside"
    for precision in PRECISIONS:
        alone, many = f"auricle, {precision}", f"auricle, {precision}, {BATCH} at once"
        same = f"tf2onnx, {precision}, frontend inside"
        report.goals.append(goal(per_window, f"{precision}, batch 1, against {same}", same, alone, FASTER_GOAL))
        report.goals.append(goal(per_window, f"{precision}, batch {BATCH} against batch 1", alone, many, 1.0))
    figures = {f"{name}, against {peer}": ratio(per_window, peer, name) for name in per_window if name != peer}
    lite = "TensorFlow Lite, its 8-bit model"
    figures |= {f"{name}, against {lite}": ratio(per_window, lite, name) for name in per_window if name != lite}
    for key, value in figures.items():
        report.say(f"{value:6.2f}x  {key}")
    report.say()
    report.figures = {
        "ms_per_window": {name: median(times) * 1e3 for name, times in per_window.items()},
        "ratios": figures,
        "differences": [
            {"precision": each.precision, "head": each.head, "original": each.original, "graph": each.graph}
            for each in imports["float"].differences
        ],
    }
    return report.close()


def make(path: Path, work: Path, models: Path, precision: Precision) -> ImportReport:
    """The import of one precision; what tf2onnx gives on the way stays in ``work``."""

    def once(model: TfliteModel, wanted: Precision, scratch: Path) -> Any:
        kept = work / f"{wanted}.onnx"
        if not kept.is_file():
            print(f"converting to {wanted} ...", file=sys.stderr, flush=True)
            onnx.save(convert(model, wanted, scratch), str(kept))
        return onnx.load(str(kept))

    settings = ImportSettings(name=f"yamnet-{precision}", precision=precision)
    return import_tflite(path, models, settings, converter=once)


def timed(piece: Piece, times: int) -> Turn:
    """A turn: the piece, once or for one window after another."""

    def turn() -> float:
        piece()  # untimed: the piece before has left the cache to its own weights
        begun = time.thread_time()
        for _ in range(times):
            piece()
        return time.thread_time() - begun

    return turn


def take_turns(turns: Mapping[str, Turn], *, rounds: int) -> dict[str, list[float]]:
    """Each turn's seconds in each round, after two rounds to warm up."""
    found: dict[str, list[float]] = {name: [] for name in turns}
    for number in range(rounds + 2):
        for name, turn in turns.items():
            seconds = turn()
            if number >= 2:
                found[name].append(seconds)
    return found


def ours(graph: Graph, windows: Floats) -> Piece:
    """Features, the run and the scores' head, as the engine does it."""
    head = next(each for each in graph.heads if each.spec.name == "scores")
    spec = graph.features
    assert spec is not None

    def piece() -> list[Floats]:
        rows = graph.run((head.spec.tensor,), [frontend.features(window, spec) for window in windows])
        return [head.values(row) for row in rows[head.spec.tensor]]

    return piece


def task(path: Path, window: Floats) -> Piece:
    """The whole of what a user of the task API waits for: checks, features, the run, the best three by name."""
    options = audio.AudioClassifierOptions(
        core.BaseOptions(str(path), num_threads=1), processor.ClassificationOptions(max_results=3)
    )
    classifier = audio.AudioClassifier.create_from_options(options)
    tensor = classifier.create_input_tensor_audio()
    tensor.load_from_array(window)
    return lambda: classifier.classify(tensor)


def inside(path: Path, window: Floats) -> Piece:
    """The converted graph as it comes, its frontend a part of it."""
    session = Session(path, SessionSettings(threads=1))
    source, outputs = session.inputs[0].name, [session.outputs[0].name]
    return lambda: session.run(outputs, {source: window})


def original(path: Path, window: Floats) -> Piece:
    """The runtime that the task library has inside, with the task library's default delegate (XNNPACK)."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    result = interpreter.get_output_details()[0]["index"]

    def piece() -> Any:
        interpreter.set_tensor(source, window)
        interpreter.invoke()
        return interpreter.get_tensor(result)

    return piece


TASK_LIBRARY = """
import sys
import time
import numpy as np
from tflite_support.task import audio, core, processor
model, turn, sound = sys.argv[1], int(sys.argv[2]), np.load(sys.argv[3])
classifier = audio.AudioClassifier.create_from_options(audio.AudioClassifierOptions(
    core.BaseOptions(file_name=model, num_threads=1), processor.ClassificationOptions(max_results=3)))
tensor = classifier.create_input_tensor_audio()
tensor.load_from_array(sound)
for _ in sys.stdin:
    classifier.classify(tensor)
    begun = time.thread_time()
    for _ in range(turn):
        classifier.classify(tensor)
    print(time.thread_time() - begun, flush=True)
"""


@contextmanager
def task_library(python: Path | None, model: Path) -> Iterator[Mapping[str, Turn]]:
    """A turn of the task library in its own interpreter, started by a line and ended by one."""
    if python is None:
        yield {}
        return
    with tempfile.NamedTemporaryFile(suffix=".npy") as sound:
        np.save(sound, np.random.default_rng(0).normal(0, 0.1, (WINDOW, 1)).astype(np.float32))
        sound.flush()
        command = [str(python), "-c", TASK_LIBRARY, str(model), str(TURN), sound.name]
        with Popen(command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            source, answers = process.stdin, process.stdout

            def turn() -> float:
                source.write("\n")
                source.flush()
                said = answers.readline()
                if not said:
                    raise RuntimeError(f"{python} ended: has it tflite-support?")
                return float(said)

            try:
                yield {"tflite-support, its 8-bit model": turn}
            finally:
                source.close()


def ratio(times: Mapping[str, list[float]], slow: str, fast: str) -> float:
    """How many times ``fast`` goes into ``slow``: the median over rounds, whose noise both share."""
    return median(one / other for one, other in zip(times[slow], times[fast], strict=True))


def goal(times: Mapping[str, list[float]], name: str, slow: str, fast: str, bound: float) -> harness.Goal:
    return harness.Goal(name=name, value=ratio(times, slow, fast), bound=bound, at_least=True, unit="x")


def tell_accuracy(report: harness.Report, made: ImportReport) -> None:
    report.table(
        ("weights, head", "from the original", "from its graph", "worst on"),
        [
            (
                f"{each.precision}, {each.head}",
                "-" if each.original is None else f"{each.original:.2g}",
                f"{each.graph:.2g}",
                each.sound,
            )
            for each in made.differences
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
