"""Voices: clips of words by speakers that synthesizers have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import soundfile
from numpy.typing import NDArray

from auricle import frontend
from auricle.training.clips import Clip
from auricle.training.synthesizer import Delivery, Synthesizer

__all__ = ["GROUP", "Cast", "Script", "speak", "trimmed"]

T = TypeVar("T")
Floats = NDArray[np.float32]
# Words by language; each is as likely as another.
Script = Mapping[str, Sequence[str]]

GROUP = "synthetic"
# How a word ends decides its melody.
_ENDS = ("", "", "?", ",", "!")
_TEMPO, _PITCH, _MELODY = (0.7, 1.3), (-1.0, 1.0), (0.4, 1.8)
# Relative to a word's loudest moment; recorded clips are cut as differently.
_TRIM_DB = (-45.0, -25.0)
_TRIM_S = 0.005
_PEAK = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Cast:
    """A synthesizer and its part.

    Attributes:
        speakers: of the synthesizer, each of whom speaks every language.
        scripts: by label.
        takes: how many, by label.
    """

    synthesizer: Synthesizer
    speakers: Sequence[str]
    scripts: Mapping[str, Script]
    takes: Mapping[str, int]


def speak(
    folder: Path,
    cast: Cast,
    *,
    rates_hz: Sequence[int],
    seed: int,
    on_clip: Callable[[], None] = lambda: None,
) -> list[Clip]:
    """Writes LABEL_SYNTHESIZER_NUMBER.wav and gives the clips, all of the group ``GROUP``.

    Every take has a random language, word, speaker, tempo, pitch, melody, sample rate and trim. The same seed in a new
    process gives the same files.

    Args:
        rates_hz: sample rates to choose from; a lower one of the synthesizer's own stays.

    Raises:
        OptionError: the synthesizer has no such language or speaker.
    """
    generator, synthesizer = np.random.default_rng(seed), cast.synthesizer
    clips = []
    for label, script in cast.scripts.items():
        languages = list(script)
        for number in range(cast.takes[label]):
            language = _one_of(languages, generator)
            wave = synthesizer.say(
                _one_of(script[language], generator) + _one_of(_ENDS, generator),
                language,
                _one_of(cast.speakers, generator),
                Delivery(
                    tempo=generator.uniform(*_TEMPO),
                    pitch=generator.uniform(*_PITCH),
                    melody=generator.uniform(*_MELODY),
                ),
            )
            rate_hz = min(_one_of(rates_hz, generator), synthesizer.rate_hz)
            wave = frontend.resample(wave, synthesizer.rate_hz, rate_hz)
            # After that: what a narrow recording hardly holds of a consonant is cut off it.
            wave = trimmed(wave, rate_hz, generator.uniform(*_TRIM_DB))
            path = folder / f"{label}_{synthesizer.name}_{number}.wav"
            soundfile.write(path, _PEAK * wave / max(float(np.abs(wave).max()), 1e-6), rate_hz)
            clips.append(Clip(path=path, label=label, group=GROUP))
            on_clip()
    return clips


def trimmed(wave: Floats, rate_hz: int, least_db: float) -> Floats:
    """The sound between the first and the last moment that is no more than ``-least_db`` below the loudest."""
    width = max(1, round(_TRIM_S * rate_hz))
    power = np.convolve(np.square(wave, dtype=np.float64), np.ones(width), "same")
    loud = np.flatnonzero(power >= power.max() * 10.0 ** (least_db / 10.0))
    return wave[loud[0] : loud[-1] + 1]


def _one_of(choices: Sequence[T], generator: np.random.Generator) -> T:
    return choices[int(generator.integers(len(choices)))]
