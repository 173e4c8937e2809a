"""Renders the demo's spoken clips with espeak-ng: four voices, two sentences each.

Run once (``apt-get install espeak-ng``); the FLAC files are committed. The voices are ones that the speaker
model tells apart: some of espeak-ng's variants differ in a way that no speaker model is meant to hear.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import soundfile

CLIPS = Path(__file__).parent / "clips"
VOICES = {"ally": "en-us+Alicia", "jo": "en-us+steph", "max": "en-us+m5", "rob": "en-us+robosoft"}
SENTENCES = (
    "The harbour was quiet in the morning, and only the gulls were awake.",
    "Please read the whole letter before you tell me where we meet today.",
)
WORDS_PER_MINUTE = "165"


def render(voice: str, sentence: str, target: Path) -> None:
    """Speaks one sentence into a 16-bit FLAC at espeak-ng's own 22.05 kHz."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as spoken:
        command = ["espeak-ng", "-v", voice, "-s", WORDS_PER_MINUTE, "-w", spoken.name, sentence]
        subprocess.run(command, check=True)
        samples, rate_hz = soundfile.read(spoken.name, dtype="int16")
    soundfile.write(target, samples, rate_hz, subtype="PCM_16")


def main() -> None:
    """Writes every clip."""
    CLIPS.mkdir(exist_ok=True)
    for name, voice in VOICES.items():
        for number, sentence in enumerate(SENTENCES, 1):
            render(voice, sentence, CLIPS / f"{name}-{number}.flac")


if __name__ == "__main__":
    main()
