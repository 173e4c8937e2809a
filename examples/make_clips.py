"""Renders the demo's spoken clips with espeak-ng: four voices, two sentences each, and one that counts.

Run once (``apt-get install espeak-ng``); the FLAC files are committed. The voices are ones that the speaker
model tells apart: some of espeak-ng's variants differ in a way that no speaker model is meant to hear.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

CLIPS = Path(__file__).parent / "clips"
VOICES = {"ally": "en-us+Alicia", "jo": "en-us+steph", "max": "en-us+m5", "rob": "en-us+robosoft"}
SENTENCES = (
    "The harbour was quiet in the morning, and only the gulls were awake.",
    "Please read the whole letter before you tell me where we meet today.",
)
WORDS_PER_MINUTE = "165"
# Three digits with pauses, each spoken alone and slowly.
COUNTED = ("two", "three", "seven")
COUNTING = "digits/two-three-seven.flac"
COUNTED_PER_MINUTE = "140"
PAUSE_S = 0.8


def speak(voice: str, text: str, words_per_minute: str = WORDS_PER_MINUTE) -> tuple[NDArray[np.int16], int]:
    """Speaks a text; gives i16 (n,) and espeak-ng's own rate, 22.05 kHz."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as spoken:
        subprocess.run(["espeak-ng", "-v", voice, "-s", words_per_minute, "-w", spoken.name, text], check=True)
        samples, rate_hz = soundfile.read(spoken.name, dtype="int16")
    return samples, rate_hz


def count(voice: str) -> tuple[NDArray[np.int16], int]:
    """Speaks the digits one by one, with a pause before, between and behind."""
    pieces: list[NDArray[np.int16]] = []
    for word in COUNTED:
        samples, rate_hz = speak(voice, word, COUNTED_PER_MINUTE)
        pieces += [np.zeros(int(PAUSE_S * rate_hz), np.int16), samples]
    return np.concatenate([*pieces, pieces[0]]), rate_hz


def main() -> None:
    """Writes every clip."""
    CLIPS.mkdir(exist_ok=True)
    for name, voice in VOICES.items():
        for number, sentence in enumerate(SENTENCES, 1):
            soundfile.write(CLIPS / f"{name}-{number}.flac", *speak(voice, sentence), subtype="PCM_16")
    (CLIPS / COUNTING).parent.mkdir(exist_ok=True)
    soundfile.write(CLIPS / COUNTING, *count(VOICES["rob"]), subtype="PCM_16")


if __name__ == "__main__":
    main()
