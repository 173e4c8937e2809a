"""eSpeak NG: words said in many languages and voices, made by formants, that nobody had to be recorded for."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auricle.errors import InvalidArgumentError, OptionError
from auricle.training.synthesizer import Delivery

__all__ = ["Espeak", "need_espeak"]

Floats = NDArray[np.float32]

# Of speak_lib.h: samples go to a callback before the call returns; the text is UTF-8; the parameters' numbers.
_SYNCHRONOUS = 2
_UTF8 = 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_IPA = 2
# Words in a minute of the tempo 1, pitch and range of the middle, and what the pitch moves by at most.
_WORDS_PER_MINUTE, _MIDDLE, _AWAY = 175, 50, 35
_ON_SAMPLES = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


def need_espeak() -> Any:
    """The module ``espeakng_loader``. InvalidArgumentError says how to install it."""
    try:
        import espeakng_loader
    except ImportError as error:
        raise InvalidArgumentError(
            "synthetic voices need eSpeak NG, which is not installed; pip install 'auricle[voices]'"
        ) from error
    return espeakng_loader


class Espeak:
    """The library is one for the process, so it is used by one thread at a time.

    Its voices breathe and tremble by random numbers: a new process that asks for the same words in the same order gets
    the same sounds, bit for bit; the second time in one process they differ a little.

    Args:
        seed: of those numbers.

    Raises:
        InvalidArgumentError: it is not installed.
    """

    def __init__(self, *, seed: int) -> None:
        loader = need_espeak()
        self._library = ctypes.CDLL(loader.get_library_path())
        self._variants = Path(loader.get_data_path(), "voices", "!v")
        self._pieces: list[NDArray[np.int16]] = []
        self.name = "espeak"
        self.rate_hz: int = self._library.espeak_Initialize(_SYNCHRONOUS, 0, loader.get_data_path().encode(), 0)
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
        self._library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        # The library keeps no reference of its own to what it calls.
        self._on_samples = _ON_SAMPLES(self._keep)
        self._library.espeak_SetSynthCallback(self._on_samples)

    def say(self, text: str, language: str, speaker: str, delivery: Delivery) -> Floats:
        """See ``Synthesizer``.

        Args:
            language: e.g. ``en-us``.
            speaker: a variant, e.g. ``f3``.
        """
        voice = f"{language}+{speaker}"
        # The library passes over a variant that it does not have.
        if self._library.espeak_SetVoiceByName(voice.encode()) or not (self._variants / speaker).exists():
            raise OptionError(f"eSpeak NG has no voice {voice!r}; espeak-ng --voices lists them", field="speaker")
        pitch, pitch_range = _MIDDLE + _AWAY * delivery.pitch, _MIDDLE * delivery.melody
        settings = ((_RATE, _WORDS_PER_MINUTE * delivery.tempo), (_PITCH, pitch), (_RANGE, pitch_range))
        for parameter, value in settings:
            self._library.espeak_SetParameter(parameter, round(value), 0)
        self._pieces.clear()
        encoded = text.encode()
        self._library.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, _UTF8, None, None)
        return np.concatenate([np.zeros(0, np.int16), *self._pieces]).astype(np.float32) / np.float32(32768)

    def phonemes(self, text: str, language: str) -> str:
        """A text in the International Phonetic Alphabet. OptionError: there is no such language."""
        if self._library.espeak_SetVoiceByName(language.encode()):
            raise OptionError(
                f"eSpeak NG has no language {language!r}; espeak-ng --voices lists them", field="language"
            )
        # It moves the pointer to the next clause; a word has one.
        place = ctypes.c_char_p(text.encode())
        found: bytes = self._library.espeak_TextToPhonemes(ctypes.byref(place), _UTF8, _IPA)
        return found.decode()

    def _keep(self, samples: Any, count: int, events: int | None) -> int:
        if count > 0:
            self._pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0
