"""Families of ONNX models that come without metadata, each known by one word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from auricle.errors import OptionError
from auricle.importing.settings import Task

__all__ = ["RECIPES", "Recipe", "recipe", "recognise"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What all models of a family share.

    Attributes:
        features: a preset, or None: they take the waveform.
        source, outputs: names of their tensors; None and empty where they vary.
        stream_length_s: seconds of a segment in a stream; the models take any length.
    """

    description: str
    sample_rate_hz: int
    features: str | None
    task: Task
    source: str | None = None
    outputs: tuple[str, ...] = ()
    stream_length_s: float


RECIPES = {
    "wespeaker": Recipe(
        description="speaker embeddings of the WeSpeaker project: Kaldi fbank in, embs out",
        sample_rate_hz=16000,
        features="wespeaker-80",
        task="speaker-embedding",
        source="feats",
        outputs=("embs",),
        stream_length_s=2.0,
    ),
    "pyannote-waveform": Recipe(
        description="speaker embeddings exported from pyannote.audio with their features inside: 16 kHz waveform in",
        sample_rate_hz=16000,
        features=None,
        task="speaker-embedding",
        stream_length_s=2.0,
    ),
}


def recognise(inputs: Sequence[str], outputs: Sequence[str]) -> str | None:
    """The recipe whose tensors these are by name; None where no recipe, or more than one, tells its own so."""
    found = [
        name
        for name, each in RECIPES.items()
        if each.source and each.outputs and [each.source] == list(inputs) and set(each.outputs) == set(outputs)
    ]
    return found[0] if len(found) == 1 else None


def recipe(name: str) -> Recipe:
    """The recipe of that name. OptionError lists those that there are."""
    if name not in RECIPES:
        raise OptionError(f"there is no recipe {name!r}; there are: {', '.join(RECIPES)}", field="recipe")
    return RECIPES[name]
