"""Synthesizer: what every machine that says words has in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Delivery", "Synthesizer"]

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """How something is said, beside the speaker's own way.

    Attributes:
        tempo: factor, 0.5 to 2.
        pitch: -1 (low for the speaker) to 1 (high); a synthesizer that cannot move it passes over it.
        melody: factor on the range of the pitch, 0 (monotone) to 2.
    """

    tempo: float = 1.0
    pitch: float = 0.0
    melody: float = 1.0


class Synthesizer(Protocol):
    """Says words. One thread at a time.

    Attributes:
        name: for file names.
        rate_hz: of all that it says.
    """

    name: str
    rate_hz: int

    def say(self, text: str, language: str, speaker: str, delivery: Delivery) -> Floats:
        """The sound of a text, f32 (n,) within -1 and 1, with the silence around it.

        Raises:
            OptionError: there is no such language or speaker.
        """
        ...
