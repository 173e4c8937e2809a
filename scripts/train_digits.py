"""Trains the bundled model ``digits`` and writes it into the package (``make train-digits``).

    python scripts/train_digits.py [--data DIR] [--out FILE] [--epochs N] [--seed N]

It learns from takes 5 to 49 of every speaker; takes 0 to 4, the data set's own test share, are what it is measured on.
Synthetic voices say the digits and other words beside them: the network learns from these alone first, then from all,
several times with other random numbers; it ends as the mean of what came of that.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from auricle.model.bundled import bundled_dir
from auricle.training import digits
from auricle.training.export import onnx_bytes
from auricle.training.fit import Epoch
from auricle.training.network import need_keras, read_network

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "fsdd"
TEST_TAKES = 5

console = Console()


def main() -> None:
    """Reads, trains, measures, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of DIGIT_SPEAKER_TAKE.wav")
    parser.add_argument("--out", type=Path, default=bundled_dir() / "digits.onnx", help="the bundle to write")
    parser.add_argument("--epochs", type=int, default=digits.FITTING.epochs)
    parser.add_argument("--seed", type=int, default=digits.FITTING.seed)
    asked = parser.parse_args()
    need_keras()
    begun = time.monotonic()
    clips = digits.find(asked.data)
    learned = [clip for clip in clips if int(clip.path.stem.split("_")[2]) >= TEST_TAKES]
    tested = [clip for clip in clips if int(clip.path.stem.split("_")[2]) < TEST_TAKES]
    console.print(f"{len(learned)} clips to learn from, {len(tested)} to measure with")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with tempfile.TemporaryDirectory() as scratch, Progress(*columns, console=console) as bar:
        spoken = digits.voices(Path(scratch), seed=asked.seed)
        taught = [*learned, *spoken]
        reading = bar.add_task("spectra", total=len(taught))
        planes = digits.store(taught, seed=asked.seed, on_clip=lambda: bar.advance(reading))
        fitting = replace(digits.FITTING, epochs=asked.epochs, seed=asked.seed)
        start = digits.prepare(planes, taught, seed=asked.seed, on_epoch=_shown(bar, "voices", digits.PREPARING.epochs))
        model, history = digits.train(
            planes, taught, fitting=fitting, start=start, on_epoch=_shown(bar, "all", digits.FINISHES * fitting.epochs)
        )
    scores = digits.scores(model, tested)
    said = [digits.LABELS[best] for best in scores.argmax(1)]
    wrong = [f"{clip.path.stem} as {label}" for clip, label in zip(tested, said, strict=True) if clip.label != label]
    accuracy = 1 - len(wrong) / len(tested)
    data = onnx_bytes(read_network(model), digits.bundle())
    asked.out.write_bytes(data)
    console.print(
        f"{asked.out}: {len(data) / 1e6:.2f} MB in {time.monotonic() - begun:.0f} s, last loss {history[-1].loss:.3f}; "
        f"of the takes held out {accuracy:.1%} are right; mistakes: {', '.join(wrong) or 'none'}",
        highlight=False,
    )


def _shown(bar: Progress, name: str, epochs: int) -> Callable[[Epoch], None]:
    """A bar of its own for some epochs, with the loss beside it."""
    task = bar.add_task(name, total=epochs)
    return lambda epoch: bar.update(task, completed=epoch.number, description=f"{name}, loss {epoch.loss:.3f}")


if __name__ == "__main__":
    main()
