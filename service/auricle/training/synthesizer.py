"""Synthesizer: words said by eSpeak NG, in many voices that nobody has to be recorded for."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auricle.errors import InvalidArgumentError, OptionError

__all__ = ["Synthesizer", "need_espeak"]

Floats = NDArray[np.float32]

# Of speak_lib.h: samples go to a callback before the call returns; the text is UTF-8; the parameters' numbers.
_SYNCHRONOUS = 2
_UTF8 = 1
_RATE, _PITCH, _RANGE = 1, 3, 4
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


class Synthesizer:
    """eSpeak NG. The library is one for the process, so it is used by one thread at a time.

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
        self.rate_hz: int = self._library.espeak_Initialize(_SYNCHRONOUS, 0, loader.get_data_path().encode(), 0)
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
        # The library keeps no reference of its own to what it calls.
        self._on_samples = _ON_SAMPLES(self._keep)
        self._library.espeak_SetSynthCallback(self._on_samples)

    def say(
        self, text: str, voice: str, *, words_per_minute: int = 175, pitch: int = 50, pitch_range: int = 50
    ) -> Floats:
        """The sound of a text, f32 (n,) within -1 and 1 at ``rate_hz``, with the silence around it.

        Args:
            voice: LANGUAGE or LANGUAGE+VARIANT, e.g. ``en-us+f3``.
            words_per_minute: 80 to 450.
            pitch: 0 to 99, relative to the voice's own.
            pitch_range: 0 (monotone) to 99.

        Raises:
            OptionError: there is no such voice.
        """
        # The library passes over a variant that it does not have.
        _, _, variant = voice.partition("+")
        if self._library.espeak_SetVoiceByName(voice.encode()) or not (self._variants / variant).exists():
            raise OptionError(f"eSpeak NG has no voice {voice!r}; espeak-ng --voices lists them", field="voice")
        for parameter, value in ((_RATE, words_per_minute), (_PITCH, pitch), (_RANGE, pitch_range)):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._pieces.clear()
        encoded = text.encode()
        self._library.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, _UTF8, None, None)
        return np.concatenate([np.zeros(0, np.int16), *self._pieces]).astype(np.float32) / np.float32(32768)

    def _keep(self, samples: Any, count: int, events: int | None) -> int:
        if count > 0:
            self._pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0
