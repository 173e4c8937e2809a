"""Types of options that are numbers: click's, without what lies in no range and in every one."""

from __future__ import annotations

import math
from typing import Any

import click
from click.types import FloatParamType

__all__ = ["Number", "NumberRange", "Results", "Seconds"]

# A request's max_results is an int32.
_MOST_RESULTS = 2**31 - 1
# As the engine's own bound, which would bring onnxruntime with it.
_LONGEST_S = 3600


class Number(FloatParamType):
    """A float. NaN is none: each comparison with it is false, so that no range would keep it out."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Reads it. Raises BadParameter for what is no number."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


class NumberRange(Number, click.FloatRange):
    """A float in a range."""


class Seconds(NumberRange):
    """Seconds of a segment, or between two."""

    def __init__(self) -> None:
        super().__init__(min=0, min_open=True, max=_LONGEST_S)


class Results(click.IntRange):
    """The best so many; -1: all."""

    def __init__(self) -> None:
        super().__init__(min=-1, max=_MOST_RESULTS)
