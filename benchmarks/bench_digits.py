"""How well does the recipe of ``digits`` know a speaker it never heard? Ends with 1 where it misses its goals.

    python benchmarks/bench_digits.py [--data DIR] [--speakers NAME,NAME] [--epochs N] [--seed N] [--json]

Trains on all speakers of the data set but one and on synthetic voices, tests on that one, for each in turn, as the
exported file answers. ``--no-voices``: the speakers alone.
Beside it the same of a linear head on that network's frozen embeddings: what transfer on the browser-FFT model gives.
Needs the extras [train] and [voices], and CMU Flite.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import harness

if __name__ == "__main__":
    harness.limit_threads(2)

import numpy as np

from auricle.config import SessionSettings
from auricle.engine.graph import Graph
from auricle.errors import InvalidArgumentError
from auricle.training import digits
from auricle.training.clips import Clip, groups
from auricle.training.export import onnx_bytes
from auricle.training.network import need_keras, read_network
from auricle.training.planes import Planes
from auricle.training.sounds import cut
from auricle.training.voices import GROUP
from bench_transfer import Embedded

if TYPE_CHECKING:
    import keras

MEAN_GOAL = 0.93
LEAST_GOAL = 0.85


def measure(
    held_out: str, clips: list[Clip], planes: Planes, start: keras.Model | None, *, epochs: int, seed: int
) -> dict[str, Any]:
    """One row of the table: what a model says of one speaker's clips that learned from all others' alone."""
    begun, spent = time.monotonic(), time.process_time()
    others = [index for index, clip in enumerate(clips) if clip.group != held_out]
    own = [clip for clip in clips if clip.group == held_out]
    people = [clip for clip in clips if clip.group != GROUP]
    fitting = replace(digits.FITTING, epochs=epochs, seed=seed)
    model, _ = digits.train(planes.of(others), clips, fitting=fitting, start=start)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "digits.onnx"
        path.write_bytes(onnx_bytes(read_network(model), digits.bundle()))
        graph = Graph(path, SessionSettings(threads=2))
        best = np.array([graph.run(["scores"], list(cut(clip.path, graph)))["scores"].mean(0).argmax() for clip in own])
        transfer = Embedded(path, people).accuracy(np.array([clip.group == held_out for clip in people]))
    wanted = np.array([digits.LABELS.index(clip.label) for clip in own])
    mistakes = Counter(
        f"{digits.LABELS[truth]} as {digits.LABELS[said]}"
        for truth, said in zip(wanted, best, strict=True)
        if truth != said
    )
    return {
        "speaker": held_out,
        "clips": len(own),
        "accuracy": float((best == wanted).mean()),
        "transfer": transfer,
        "mistakes": dict(mistakes.most_common(4)),
        "seconds": round(time.monotonic() - begun),
        "cpu_seconds": round(time.process_time() - spent),
    }


def main() -> int:
    """Prints the table; 0 where mean and worst reach their goals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=harness.ROOT.parent / "shared" / "data" / "fsdd")
    parser.add_argument("--speakers", help="held out in turn, by comma (default: all)")
    parser.add_argument("--epochs", type=int, default=digits.FITTING.epochs)
    parser.add_argument("--seed", type=int, default=digits.FITTING.seed)
    parser.add_argument("--no-voices", action="store_true", help="learn from the speakers alone")
    parser.add_argument("--json", action="store_true", help="one JSON object and nothing else")
    asked = parser.parse_args()
    try:
        need_keras()
        clips = digits.find(asked.data)
    except InvalidArgumentError as error:
        harness.skip(error.message)
    speakers = asked.speakers.split(",") if asked.speakers else groups(clips)
    with tempfile.TemporaryDirectory() as scratch:
        if not asked.no_voices:
            clips += digits.voices(Path(scratch), seed=asked.seed)
        planes = digits.store(clips, seed=asked.seed)
    start = None if asked.no_voices else digits.prepare(planes, clips, seed=asked.seed)
    rows = []
    for speaker in speakers:
        rows.append(measure(speaker, clips, planes, start, epochs=asked.epochs, seed=asked.seed))
        if not asked.json:
            row = rows[-1]
            figures = f"{row['accuracy']:6.1%}  head on its embeddings {row['transfer']:6.1%}"
            print(
                f"{speaker:<10} {figures}  {row['seconds']:>4} s, CPU {row['cpu_seconds']:>4} s  {row['mistakes']}",
                flush=True,
            )
    accuracies = [row["accuracy"] for row in rows]
    mean, least = float(np.mean(accuracies)), min(accuracies)
    if asked.json:
        import json

        settings = {"epochs": asked.epochs, "voices": not asked.no_voices}
        print(json.dumps({"environment": harness.environment(), **settings, "rows": rows, "mean": mean}))
    else:
        transfer = float(np.mean([row["transfer"] for row in rows]))
        print(f"{'mean':<10} {mean:6.1%}  head on its embeddings {transfer:6.1%}")
        print(f"goals: mean {MEAN_GOAL:.0%}, and none under {LEAST_GOAL:.0%}, of which the least is {least:.1%}")
    return 0 if mean >= MEAN_GOAL and least >= LEAST_GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
