"""Does the server tell real voices apart, and does it agree with a plain pipeline? Ends with 1 where it does not.

    python benchmarks/bench_accuracy.py [--models DIR] [--speakers N] [--utterances N] [--json]

Five LibriSpeech speakers with ten utterances each go through a real gRPC server on a free port.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import harness

if __name__ == "__main__":
    harness.limit_threads(2)

import numpy as np
import soundfile
import structlog
from numpy.typing import NDArray

from auricle.client import AsyncClient
from auricle.config import ServerSettings
from auricle.serve.lifecycle import Server
from plain import PlainVoice, cosine

Floats = NDArray[np.float32]

DROPS_DB = (0, 20, 35)
DRAWS = 100
SEED = 2021
ENROLMENTS = 3
CONCURRENT_CALLS = 4


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One utterance of one speaker."""

    speaker: str
    path: Path

    def quieter(self, drop_db: float) -> bytes:
        """The clip as a 16-bit WAV, so many dB down: what a recorder with its gain too low would write."""
        wave, rate_hz = soundfile.read(self.path, dtype="float64")
        file = io.BytesIO()
        soundfile.write(file, wave * 10.0 ** (-drop_db / 20.0), rate_hz, format="WAV", subtype="PCM_16")
        return file.getvalue()


def find_clips(data: Path, speakers: int, utterances: int) -> list[Clip]:
    """The first utterances of the first speakers."""
    folders = sorted(path for path in (data / "librispeech").iterdir() if path.is_dir())[:speakers]
    return [
        Clip(speaker=folder.name, path=path)
        for folder in folders
        for path in sorted(folder.glob("*.flac"))[:utterances]
    ]


async def embed_all(address: str, sounds: Sequence[bytes]) -> Floats:
    """The server's vectors, f32 (n, 256), in order; a few calls at a time."""
    gate = asyncio.Semaphore(CONCURRENT_CALLS)
    async with AsyncClient(address) as client:

        async def one(sound: bytes) -> Floats:
            async with gate:
                vector: Floats = (await client.embed(sound, model="voice")).vector
                return vector

        return np.stack(await asyncio.gather(*(one(sound) for sound in sounds)))


async def serve_and_embed(models_dir: Path, clips: Sequence[Clip], drops_db: Sequence[int]) -> dict[int, Floats]:
    """Every clip at every level through one server; vectors by level."""
    settings = ServerSettings(models_dir=models_dir, listen="127.0.0.1:0", watch=False)
    async with Server(settings) as server:
        return {
            drop_db: await embed_all(
                server.address, [clip.quieter(drop_db) if drop_db else clip.path.read_bytes() for clip in clips]
            )
            for drop_db in drops_db
        }


def equal_error_rate(vectors: Floats, speakers: Sequence[str]) -> float:
    """Equal error rate over all pairs, 0 to 1: where as many strangers pass as own voices are refused.

    Thresholds are the scores themselves; between two of them the larger of the two rates is least at the best
    threshold, and the mean of both rates there is given.
    """
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).astype(np.float64)
    first, second = np.triu_indices(len(speakers), k=1)
    scores = np.einsum("ij,ij->i", unit[first], unit[second])
    names = np.array(speakers)
    same = names[first] == names[second]
    order = np.argsort(scores)
    own = same[order]
    refused = np.concatenate([[0], np.cumsum(own)]) / own.sum()
    passed = 1.0 - np.concatenate([[0], np.cumsum(~own)]) / (~own).sum()
    best = int(np.argmin(np.maximum(refused, passed)))
    return float((refused[best] + passed[best]) / 2.0)


def identify(vectors: Floats, speakers: Sequence[str]) -> tuple[int, int]:
    """(right, asked): all but each speaker's first three clips, each to the speaker with the nearest mean of them."""
    places: dict[str, list[int]] = {}
    for place, speaker in enumerate(speakers):
        places.setdefault(speaker, []).append(place)
    means = {speaker: vectors[found[:ENROLMENTS]].mean(axis=0) for speaker, found in places.items()}
    asked = [(speaker, place) for speaker, found in places.items() for place in found[ENROLMENTS:]]
    right = sum(nearest(vectors[place], means) == speaker for speaker, place in asked)
    return right, len(asked)


def nearest(vector: Floats, means: Mapping[str, Floats]) -> str:
    """Whose mean vector is the nearest by cosine."""
    return max(means, key=lambda speaker: cosine(vector, means[speaker]))


def mixed_levels(by_level: Mapping[int, Floats], speakers: Sequence[str]) -> tuple[list[float], list[int]]:
    """Equal error rates and right identifications with each clip's level drawn at random, of many draws."""
    levels = np.stack([by_level[drop_db] for drop_db in DROPS_DB])
    generator = np.random.default_rng(SEED)
    rates, rights = [], []
    for _ in range(DRAWS):
        drawn = levels[generator.integers(len(DROPS_DB), size=len(speakers)), np.arange(len(speakers))]
        rates.append(equal_error_rate(drawn, speakers))
        rights.append(identify(drawn, speakers)[0])
    return rates, rights


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", type=Path, help="model directory; voice is pulled into it where it is missing")
    parser.add_argument("--speakers", type=int, default=5)
    parser.add_argument("--utterances", type=int, default=10)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout and nothing else")
    args = parser.parse_args()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger("warning"),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )

    clips = find_clips(harness.recordings(), args.speakers, args.utterances)
    model = harness.pull_voice(args.models)
    report = harness.Report(benchmark="accuracy", as_json=args.json)
    speakers = [clip.speaker for clip in clips]
    report.say(f"{len(clips)} clips of {len(set(speakers))} speakers; served: {model}")

    by_level = asyncio.run(serve_and_embed(model.parent.parent, clips, DROPS_DB))
    clean = by_level[0]
    plain = PlainVoice(model)
    agreement = [cosine(vector, plain.file(clip.path)) for clip, vector in zip(clips, clean, strict=True)]
    rate = equal_error_rate(clean, speakers)
    right, asked = identify(clean, speakers)
    mixed_rates, mixed_rights = mixed_levels(by_level, speakers)

    apart = {
        speaker: 1.0 - min(each for each, name in zip(agreement, speakers, strict=True) if name == speaker)
        for speaker in dict.fromkeys(speakers)
    }
    report.table(
        ("speaker", "clips", "worst 1 - cosine to librosa + onnxruntime"),
        [(speaker, speakers.count(speaker), f"{value:.1e}") for speaker, value in apart.items()],
    )
    mixed = harness.spread(mixed_rates)
    report.table(
        ("clips", "equal error rate", "identified"),
        [
            ("as recorded", f"{rate:.2%}", f"{right}/{asked}"),
            *(
                (
                    f"all {drop_db} dB down",
                    f"{equal_error_rate(vectors, speakers):.2%}",
                    f"{identify(vectors, speakers)[0]}/{asked}",
                )
                for drop_db, vectors in by_level.items()
                if drop_db
            ),
            ("each 0, 20 or 35 dB down, median draw", f"{mixed.median:.2%}", f"{int(np.median(mixed_rights))}/{asked}"),
            (f"worst of {DRAWS} draws", f"{max(mixed_rates):.2%}", f"{min(mixed_rights)}/{asked}"),
        ],
    )
    report.figures = {
        "equal_error_rate": rate,
        "equal_error_rate_mixed_levels": {"median": mixed.median, "worst": max(mixed_rates), "draws": DRAWS},
        "identified": {"right": right, "asked": asked, "worst_mixed": min(mixed_rights)},
        "cosine_to_plain": {"worst": min(agreement), "median": harness.spread(agreement).median},
    }
    report.goals = [
        harness.Goal(name="equal error rate", value=rate * 100, bound=1.0, unit=" %"),
        harness.Goal(
            name=f"equal error rate, levels mixed, worst of {DRAWS} draws",
            value=max(mixed_rates) * 100,
            bound=2.0,
            unit=" %",
        ),
        harness.Goal(name="identified from three clips each", value=right, bound=asked, at_least=True),
        harness.Goal(name="worst 1 - cosine to the plain pipeline", value=1.0 - min(agreement), bound=1e-4),
    ]
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
