"""Vocabulary: what synthetic voices say for ``digits``, from ``vocabulary.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from auricle.training.voices import Script

__all__ = ["respelled", "scripts", "variants"]


def scripts(background: str) -> dict[str, Script]:
    """The words of ``0`` to ``9`` by language, and as label ``background`` other words, alone and by twos."""
    read = _read()
    digits: dict[str, str] = dict(read["digits"])
    english = dict.fromkeys(read["english"], digits.pop("english"))
    return _scripts({**english, **digits}, read["english"], background)


def respelled(background: str) -> dict[str, Script]:
    """The same for a synthesizer that reads American English alone: a language is an accent."""
    return _scripts(_read()["respelled"], ["en-us"], background)


def variants() -> tuple[str, ...]:
    """eSpeak NG's variants of a voice that could be a person's."""
    return tuple(_read()["variants"].split())


def _scripts(digits: Mapping[str, str], english: Sequence[str], background: str) -> dict[str, Script]:
    """Of the digits' words by language, and of other words in the ``english`` ones."""
    spoken = {language: text.split() for language, text in digits.items()}
    made: dict[str, Script] = {
        str(digit): {language: (words[digit],) for language, words in spoken.items()} for digit in range(10)
    }
    others = _read()["others"].split()
    texts = (*others, *(f"{first} {second}" for first, second in pairwise(others)))
    return {**made, background: dict.fromkeys(english, texts)}


@cache
def _read() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("vocabulary.toml").read_text(encoding="utf-8"))
