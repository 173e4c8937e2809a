"""A stand-in for sounddevice's InputStream, driven by the test."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest


class PortAudioError(Exception):
    """As sounddevice names its own."""


class Card:
    """One open device; it refuses the name "none" and the rate 12345."""

    def __init__(self, **arguments: Any) -> None:
        if arguments["device"] == "none":
            raise ValueError("No input device matching 'none'")
        if arguments["samplerate"] == 12345:
            raise PortAudioError("Invalid sample rate")
        self.arguments = arguments
        self.callback: Callable[..., None] = arguments["callback"]
        self.calls: list[str] = []

    def start(self) -> None:
        self.calls.append("start")

    def stop(self) -> None:
        self.calls.append("stop")

    def close(self) -> None:
        self.calls.append("close")

    def play(self, samples: np.ndarray) -> None:
        """Gives samples as PortAudio does: in memory that is used again at once."""
        block = np.array(samples, np.float32).reshape(-1, self.arguments["channels"])
        self.callback(block, len(block), None, None)
        block.fill(9.0)


def install(monkeypatch: pytest.MonkeyPatch, kind: Callable[..., Card] = Card) -> list[Card]:
    """Puts the stand-in in sounddevice's place; gives the devices that are opened, as they are."""
    made: list[Card] = []

    def open_card(**arguments: Any) -> Card:
        made.append(kind(**arguments))
        return made[-1]

    module = SimpleNamespace(InputStream=open_card, PortAudioError=PortAudioError)
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    return made
