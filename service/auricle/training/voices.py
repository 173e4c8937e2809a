"""Voices: clips of words by speakers that a synthesizer makes up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import soundfile
from numpy.typing import NDArray

from auricle import frontend
from auricle.training.clips import Clip
from auricle.training.synthesizer import Synthesizer

__all__ = ["GROUP", "Script", "speak", "trimmed"]

T = TypeVar("T")
Floats = NDArray[np.float32]
# Words by language; each is as likely as another.
Script = Mapping[str, Sequence[str]]

GROUP = "synthetic"
# How a word ends decides its melody.
_ENDS = ("", "", "?", ",", "!")
_WORDS_PER_MINUTE, _PITCH, _PITCH_RANGE = (120, 230), (15, 85), (20, 90)
# Relative to a word's loudest moment; recorded clips are cut as differently.
_TRIM_DB = (-45.0, -25.0)
_TRIM_S = 0.005
_PEAK = 0.5


def speak(
    folder: Path,
    scripts: Mapping[str, Script],
    takes: Mapping[str, int],
    *,
    variants: Sequence[str],
    rates_hz: Sequence[int],
    seed: int,
    on_clip: Callable[[], None] = lambda: None,
) -> list[Clip]:
    """Writes LABEL_NUMBER.wav and gives the clips, all of the group ``GROUP``.

    Every take has a random language, word, variant of the voice, tempo, pitch, melody, sample rate and trim. The
    same seed in a new process gives the same files.

    Args:
        scripts: by label.
        takes: how many, by label.
        variants: eSpeak NG's, of which each is a speaker.
        rates_hz: sample rates to choose from.

    Raises:
        InvalidArgumentError: eSpeak NG is not installed.
        OptionError: it has no such language or variant.
    """
    synthesizer, generator = Synthesizer(seed=seed), np.random.default_rng(seed)
    clips = []
    for label, script in scripts.items():
        languages = list(script)
        for number in range(takes[label]):
            language = _one_of(languages, generator)
            wave = synthesizer.say(
                _one_of(script[language], generator) + _one_of(_ENDS, generator),
                f"{language}+{_one_of(variants, generator)}",
                words_per_minute=int(generator.integers(*_WORDS_PER_MINUTE)),
                pitch=int(generator.integers(*_PITCH)),
                pitch_range=int(generator.integers(*_PITCH_RANGE)),
            )
            wave = trimmed(wave, synthesizer.rate_hz, generator.uniform(*_TRIM_DB))
            rate_hz = _one_of(rates_hz, generator)
            wave = frontend.resample(wave, synthesizer.rate_hz, rate_hz)
            path = folder / f"{label}_{number}.wav"
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
