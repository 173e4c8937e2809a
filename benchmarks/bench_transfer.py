"""How far do frozen embeddings carry? Digits on YAMNet's, speakers on `voice`'s. Ends with 1 where a goal is missed.

    python benchmarks/bench_transfer.py [--models DIR] [--only yamnet|voice] [--json]

A linear head on the embeddings of a frozen model, as ``auricle train --backbone`` makes it. Digits: all speakers of the
data set but one are learned from, that one is tested, for each in turn; ``bench_digits.py`` has the same table for the
browser-FFT model and for a head on its embeddings. Speakers: by the digits' takes, and by LibriSpeech's utterances.
YAMNet is imported from its .tflite file, which needs the extra [tflite]. Needs the shared recordings.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import harness

if __name__ == "__main__":
    harness.limit_threads(2)

import numpy as np
from numpy.typing import NDArray

from auricle.config import SessionSettings
from auricle.engine.graph import Graph
from auricle.training import digits
from auricle.training.cache import FeatureCache
from auricle.training.clips import Clip
from auricle.training.transfer import HeadFitting, choose_head, embeddings, fit_head

YAMNET = "models/yamnet_audio_classifier_with_metadata.tflite"
SPEAKER_GOAL = 0.99
TEST_TAKES = 5
UTTERANCE_FOLDS = 5

Floats = NDArray[np.float32]


class Embedded:
    """Clips by a frozen model's embeddings."""

    def __init__(self, path: Path, clips: Sequence[Clip], head: str | None = None) -> None:
        graph = Graph(path, SessionSettings(threads=2))
        self._x, self._sources = embeddings(path, graph, choose_head(graph, head), clips, cache=FeatureCache())
        self._names = sorted({clip.label for clip in clips})
        self._y = np.array([self._names.index(clip.label) for clip in clips])

    def accuracy(self, tested: NDArray[np.bool_]) -> float:
        """Of the clips that are marked, after a head has learned from the others; a clip's segments are averaged."""
        own = tested[self._sources]
        labels = self._y[self._sources[~own]]
        linear, _ = fit_head(self._x[~own], labels, len(self._names), HeadFitting())
        sums = np.zeros((len(tested), len(self._names)))
        np.add.at(sums, self._sources[own], linear.scores(self._x[own]))
        return float((sums[tested].argmax(1) == self._y[tested]).mean())


def take(clip: Clip) -> int:
    """The recording's number, the last part of its file's name."""
    return int(clip.path.stem.rsplit("_", 1)[1])


def utterances(data: Path) -> tuple[list[Clip], NDArray[np.int64]]:
    """LibriSpeech's clips by speaker, and the place of each among its speaker's own."""
    clips, places = list[Clip](), list[int]()
    for folder in sorted(path for path in (data / "librispeech").iterdir() if path.is_dir()):
        for place, path in enumerate(sorted(folder.glob("*.flac"))):
            clips.append(Clip(path=path, label=folder.name))
            places.append(place)
    return clips, np.array(places)


def measure_digits(report: harness.Report, data: Path) -> None:
    """The table of held-out speakers on YAMNet's embeddings."""
    from auricle.errors import UnavailableError
    from auricle.importing.convert import need
    from auricle.importing.settings import ImportSettings
    from auricle.importing.tflite_import import import_tflite

    try:
        need("tensorflow", "tf2onnx", "ai_edge_litert")
    except UnavailableError as error:
        report.say(f"no table on YAMNet: {error.message}")
        return
    clips = digits.find(data / "fsdd")
    with tempfile.TemporaryDirectory() as scratch:
        made = import_tflite(data / YAMNET, Path(scratch), ImportSettings(name="yamnet"))
        embedded = Embedded(made.path, clips)
    who = np.array([clip.group for clip in clips])
    rows = {speaker: embedded.accuracy(who == speaker) for speaker in sorted(set(who))}
    report.figures["digits_on_yamnet"] = rows
    table = [*rows.items(), ("mean", float(np.mean([*rows.values()])))]
    report.table(["digits on YAMNet, speaker held out", "right"], [[name, f"{value:.1%}"] for name, value in table])


def measure_speakers(report: harness.Report, data: Path, voice: Path) -> None:
    """Who speaks, on the embeddings of ``voice``: takes and utterances that were not learned from."""
    takes = [replace(clip, label=clip.group) for clip in digits.find(data / "fsdd")]
    by_take = Embedded(voice, takes).accuracy(np.array([take(clip) < TEST_TAKES for clip in takes]))
    clips, places = utterances(data)
    spoken = Embedded(voice, clips)
    folds = [spoken.accuracy(places % UTTERANCE_FOLDS == fold) for fold in range(UTTERANCE_FOLDS)]
    figures = {
        f"digits' takes 0 to {TEST_TAKES - 1}, learned from the others": by_take,
        f"LibriSpeech's utterances, {UTTERANCE_FOLDS} folds": float(np.mean(folds)),
    }
    report.figures["speakers_on_voice"] = figures
    report.table(["speakers on `voice`", "right"], [[name, f"{value:.1%}"] for name, value in figures.items()])
    report.goals += [
        harness.Goal(name=f"speakers by {name}", value=value, bound=SPEAKER_GOAL, at_least=True)
        for name, value in figures.items()
    ]


def main() -> int:
    """Prints the tables; 0 where the goals are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, help="model directory with `voice`, or to pull it into")
    parser.add_argument("--only", choices=["yamnet", "voice"], help="one of the two (default: both)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout and nothing else")
    asked = parser.parse_args()
    data = harness.recordings()
    report = harness.Report(benchmark="transfer", as_json=asked.json)
    if asked.only != "voice":
        measure_digits(report, data)
    if asked.only != "yamnet":
        measure_speakers(report, data, harness.pull_voice(asked.models))
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
