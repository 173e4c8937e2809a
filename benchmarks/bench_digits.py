"""How well does the recipe of ``digits`` know a speaker it never heard? Ends with 1 where it misses its goals.

    python benchmarks/bench_digits.py [--data DIR] [--speakers NAME,NAME] [--epochs N] [--seed N] [--json]

Trains on all speakers of the data set but one, tests on that one, for each in turn. Needs the extra ``train``.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import harness

if __name__ == "__main__":
    harness.limit_threads(2)

import numpy as np

from auricle.errors import InvalidArgumentError
from auricle.training import digits
from auricle.training.clips import Clip, groups
from auricle.training.network import need_keras
from auricle.training.planes import Planes

MEAN_GOAL = 0.93
LEAST_GOAL = 0.85


def measure(held_out: str, clips: list[Clip], planes: Planes, *, epochs: int, seed: int) -> dict[str, Any]:
    """One row of the table: what a model says of one speaker's clips that learned from the others' alone."""
    begun = time.monotonic()
    others = [index for index, clip in enumerate(clips) if clip.group != held_out]
    own = [clip for clip in clips if clip.group == held_out]
    fitting = replace(digits.FITTING, epochs=epochs, seed=seed)
    model, _ = digits.train(planes.of(others), clips, fitting=fitting)
    best = digits.scores(model, own).argmax(1)
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
        "mistakes": dict(mistakes.most_common(4)),
        "seconds": round(time.monotonic() - begun),
    }


def main() -> int:
    """Prints the table; 0 where mean and worst reach their goals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=harness.ROOT.parent / "shared" / "data" / "fsdd")
    parser.add_argument("--speakers", help="held out in turn, by comma (default: all)")
    parser.add_argument("--epochs", type=int, default=digits.FITTING.epochs)
    parser.add_argument("--seed", type=int, default=digits.FITTING.seed)
    parser.add_argument("--json", action="store_true", help="one JSON object and nothing else")
    asked = parser.parse_args()
    try:
        need_keras()
        clips = digits.find(asked.data)
    except InvalidArgumentError as error:
        harness.skip(error.message)
    planes = digits.store(clips, seed=asked.seed)
    speakers = asked.speakers.split(",") if asked.speakers else groups(clips)
    rows = []
    for speaker in speakers:
        rows.append(measure(speaker, clips, planes, epochs=asked.epochs, seed=asked.seed))
        if not asked.json:
            row = rows[-1]
            print(f"{speaker:<10} {row['accuracy']:6.1%}  {row['seconds']:>4} s  {row['mistakes']}", flush=True)
    accuracies = [row["accuracy"] for row in rows]
    mean, least = float(np.mean(accuracies)), min(accuracies)
    if asked.json:
        import json

        print(json.dumps({"environment": harness.environment(), "epochs": asked.epochs, "rows": rows, "mean": mean}))
    else:
        print(f"{'mean':<10} {mean:6.1%}  goal {MEAN_GOAL:.0%}; worst {least:.1%}, goal {LEAST_GOAL:.0%}")
    return 0 if mean >= MEAN_GOAL and least >= LEAST_GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
