"""Flite: words said by CMU Flite, whose voices were learned from recordings of people."""

from __future__ import annotations

import ctypes
from ctypes.util import find_library
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auricle.errors import InvalidArgumentError, OptionError
from auricle.training.synthesizer import Delivery

__all__ = ["SPEAKERS", "Flite"]

Floats = NDArray[np.float32]

# Mean and deviation of each speaker's pitch in Hz, as measured over a sentence; the library tells neither.
SPEAKERS = {"awb": (130.0, 16.0), "kal16": (92.0, 13.0), "rms": (100.0, 13.0), "slt": (170.0, 20.0)}
# Octaves that the pitch moves at most.
_OCTAVES = 0.35


class _Wave(ctypes.Structure):
    """cst_wave of cst_wave.h."""

    _fields_ = (
        ("type", ctypes.c_char_p),
        ("sample_rate", ctypes.c_int),
        ("num_samples", ctypes.c_int),
        ("num_channels", ctypes.c_int),
        ("samples", ctypes.POINTER(ctypes.c_short)),
    )


class _Voice(ctypes.Structure):
    """The beginning of cst_voice of cst_voice.h."""

    _fields_ = (("name", ctypes.c_char_p), ("features", ctypes.c_void_p))


class Flite:
    """A Scot (awb), two American men (kal16, rms) and a woman (slt). It speaks American English alone.

    kal16 is put together from recorded pieces; the others are models of an hour of recorded sentences each.

    A new process that asks for the same words in the same order gets the same sounds, bit for bit.

    Raises:
        InvalidArgumentError: it is not installed.
    """

    name = "flite"
    rate_hz = 16000

    def __init__(self) -> None:
        if (path := find_library("flite")) is None:
            raise InvalidArgumentError("synthetic voices need CMU Flite, which is not installed; apt-get install flite")
        self._library = ctypes.CDLL(path)
        self._library.flite_init()
        self._library.flite_text_to_wave.restype = ctypes.POINTER(_Wave)
        self._library.flite_text_to_wave.argtypes = [ctypes.c_char_p, ctypes.POINTER(_Voice)]
        self._library.feat_set_float.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_float]
        self._library.delete_wave.argtypes = [ctypes.POINTER(_Wave)]
        self._voices: dict[str, Any] = {}

    def say(self, text: str, language: str, speaker: str, delivery: Delivery) -> Floats:
        """See ``Synthesizer``.

        Args:
            language: has no bearing; a foreign accent is for the text to spell.
            speaker: of ``SPEAKERS``.
        """
        voice = self._voice(speaker)
        features, (pitch_hz, range_hz) = voice.contents.features, SPEAKERS[speaker]
        for name, value in (
            (b"duration_stretch", 1 / delivery.tempo),
            (b"int_f0_target_mean", pitch_hz * 2 ** (_OCTAVES * delivery.pitch)),
            (b"int_f0_target_stddev", range_hz * delivery.melody),
        ):
            self._library.feat_set_float(features, name, value)
        said = self._library.flite_text_to_wave(text.encode(), voice)
        wave = said.contents
        samples = np.ctypeslib.as_array(wave.samples, (wave.num_samples,)).astype(np.float32) / np.float32(32768)
        self._library.delete_wave(said)
        return samples

    def _voice(self, speaker: str) -> Any:
        if speaker not in self._voices:
            path = find_library(f"flite_cmu_us_{speaker}")
            if speaker not in SPEAKERS or path is None:
                raise OptionError(f"Flite has no speaker {speaker!r}, only {', '.join(SPEAKERS)}", field="speaker")
            register = getattr(ctypes.CDLL(path), f"register_cmu_us_{speaker}")
            register.restype = ctypes.POINTER(_Voice)
            self._voices[speaker] = register(None)
        return self._voices[speaker]
