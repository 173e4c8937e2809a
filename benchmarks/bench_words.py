"""Does the bundled ``digits`` hear words where they are, and only there? Ends with 1 where it misses its goals.

    python benchmarks/bench_words.py [--model FILE] [--streams N] [--json]

Live, hop 0.25 s, in process: streams of three digits by one speaker with pauses, from takes that the model has not
learned from, of which the detector must tell each digit once, in order, and nothing else; and read speech without
digits to speak of, where every detection is false. Whole: the same takes with white noise over their whole segment.
A word that the model takes for another is told as that one; streams of which as many words are told as were said are
counted apart.
Needs the shared recordings.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import harness

if __name__ == "__main__":
    harness.limit_threads(1)

import numpy as np
import soundfile
from numpy.typing import NDArray

from auricle.client import Client, Detector, Pcm
from auricle.model.bundled import bundled_dir
from auricle.serve.local import LocalTransport

RATE_HZ = 8000
HOP_S = 0.25
PAUSE_S = 0.8
ROOM = 0.0005
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo")
TAKES = 5
SNR_DB = (20, 10, 5)

Floats = NDArray[np.float32]


def main() -> int:
    """Prints the figures; 0 where every stream was told exactly."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=bundled_dir() / "digits.onnx", help="the bundle to measure")
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--json", action="store_true", help="one JSON object and nothing else")
    asked = parser.parse_args()
    data = harness.ROOT.parent / "shared" / "data"
    if not (data / "fsdd").is_dir():
        harness.skip(f"there are no spoken digits in {data / 'fsdd'}")
    report = harness.Report(benchmark="bench_words", as_json=asked.json)
    with tempfile.TemporaryDirectory() as models:
        shutil.copy(asked.model, Path(models, "digits.onnx"))
        with LocalTransport(models_dir=Path(models)) as transport:
            client = Client(transport=transport, retry=None)
            exact, counted = _exact(client, data / "fsdd", asked.streams, report)
            alarms = _false_alarms(client, sorted((data / "librispeech").glob("*/*.flac")))
            in_noise = {snr_db: _in_noise(client, data / "fsdd", snr_db) for snr_db in SNR_DB}
    report.say(f"streams of which three words were told, the right ones or others: {counted}")
    report.say(f"false detections in a minute of read speech: {alarms:.1f}")
    report.table(
        ["white noise below the word", "right"], [(f"{db} dB", f"{share:.1%}") for db, share in in_noise.items()]
    )
    report.figures = {
        "streams": asked.streams,
        "exact": exact,
        "three_told": counted,
        "false_per_minute": alarms,
        "in_noise": in_noise,
    }
    report.goals = [harness.Goal(name="streams told exactly", value=exact, bound=asked.streams, at_least=True)]
    return report.close()


def _exact(client: Client, folder: Path, count: int, report: harness.Report) -> tuple[int, int]:
    """How many streams were told exactly, and how many with as many words; prints those that were not."""
    exact = counted = 0
    for sound, digits in _streams(folder, count):
        told = _told(client, sound, RATE_HZ)
        exact += told == digits
        counted += len(told) == len(digits)
        if told != digits:
            report.say(f"{' '.join(digits)} was told as {' '.join(told)}")
    return exact, counted


def _streams(folder: Path, count: int) -> Iterator[tuple[Floats, list[str]]]:
    """Sounds of three digits in a quiet room, and the digits."""
    generator = np.random.default_rng(8)
    for number in range(count):
        speaker = SPEAKERS[number % len(SPEAKERS)]
        digits = [str(digit) for digit in generator.choice(10, 3, replace=False)]
        pieces = [_room(generator, generator.uniform(0.3, 0.8))]
        for digit in digits:
            take = _take(folder, digit, speaker, int(generator.integers(TAKES)))
            pieces += [take, _room(generator, PAUSE_S)]
        pieces.append(_room(generator, PAUSE_S))
        yield np.concatenate(pieces), digits


def _take(folder: Path, digit: str, speaker: str, number: int) -> Floats:
    wave, rate_hz = soundfile.read(folder / f"{digit}_{speaker}_{number}.wav", dtype="float32")
    assert rate_hz == RATE_HZ
    return np.asarray(wave)


def _room(generator: np.random.Generator, seconds: float) -> Floats:
    return (ROOM * generator.standard_normal(round(seconds * RATE_HZ))).astype(np.float32)


def _told(client: Client, sound: Floats, rate_hz: int) -> list[str]:
    """What the detector tells of a stream."""
    detector, step = Detector(), rate_hz // 10
    chunks = (sound[start : start + step] for start in range(0, sound.size, step))
    events = client.stream_classify(chunks, sample_rate_hz=rate_hz, encoding="f32le", model="digits", hop_s=HOP_S)
    return [found.label for event in events if (found := detector.take(event))]


def _false_alarms(client: Client, clips: Sequence[Path]) -> float:
    """Detections in a minute."""
    told, seconds = 0, 0.0
    for clip in clips:
        sound, rate_hz = soundfile.read(clip, dtype="float32")
        told += len(_told(client, sound, rate_hz))
        seconds += sound.size / rate_hz
    return 60 * told / seconds if seconds else 0.0


def _in_noise(client: Client, folder: Path, snr_db: float) -> float:
    """Share of the takes that are right with a second of white noise, of the recording's width, over them."""
    generator, right = np.random.default_rng(5), []
    for speaker in SPEAKERS:
        for digit in map(str, range(10)):
            for number in range(TAKES):
                word = _take(folder, digit, speaker, number)[:RATE_HZ]
                sound = np.zeros(RATE_HZ, np.float32)
                sound[: word.size] = word
                level = np.sqrt(np.mean(np.square(word)) / 10.0 ** (snr_db / 10.0))
                sound += (level * generator.standard_normal(RATE_HZ)).astype(np.float32)
                best = client.classify(Pcm(sound, RATE_HZ), model="digits").categories[0]
                right.append(best.category_name == digit)
    return float(np.mean(right))


if __name__ == "__main__":
    sys.exit(main())
