"""Vocabulary: what synthetic voices say for ``digits``, from ``vocabulary.toml``."""

from __future__ import annotations

import tomllib
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from auricle.training.voices import Script

__all__ = ["scripts", "variants"]


def scripts(background: str) -> dict[str, Script]:
    """The words of ``0`` to ``9`` by language, and as label ``background`` other words, alone and by twos."""
    read = _read()
    spoken = {language: text.split() for language, text in read["digits"].items()}
    english = spoken.pop("english")
    spoken = {**dict.fromkeys(read["english"], english), **spoken}
    made: dict[str, Script] = {
        str(digit): {language: (words[digit],) for language, words in spoken.items()} for digit in range(len(english))
    }
    others = read["others"].split()
    texts = (*others, *(f"{first} {second}" for first, second in pairwise(others)))
    return {**made, background: dict.fromkeys(read["english"], texts)}


def variants() -> tuple[str, ...]:
    """eSpeak NG's variants of a voice that could be a person's."""
    return tuple(_read()["variants"].split())


@cache
def _read() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("vocabulary.toml").read_text(encoding="utf-8"))
