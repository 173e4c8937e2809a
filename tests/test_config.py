"""Settings: what is of the wrong type or out of range is refused by its name, before anything is started."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import grpc
import pytest

from auricle.config import (
    AdmissionSettings,
    BatchSettings,
    Limits,
    ServerSettings,
    SessionSettings,
    TlsSettings,
)
from auricle.errors import OptionError
from auricle.serve.transport import options

GROUPS: dict[type[Any], dict[str, Any]] = {
    Limits: {},
    AdmissionSettings: {},
    BatchSettings: {},
    SessionSettings: {},
    TlsSettings: {"certificate": Path("a"), "key": Path("b")},
    ServerSettings: {"models_dir": Path("m")},
}
FIELDS = [(group, each.name, get_type_hints(group)[each.name]) for group in GROUPS for each in fields(group)]
NUMBERS = [(group, name) for group, name, hint in FIELDS if hint in (int, float, int | None, float | None)]
FLOATS = [(group, name) for group, name, hint in FIELDS if hint in (float, float | None)]


def refused(group: type[Any], name: str, value: Any) -> str:
    with pytest.raises(OptionError, match=name) as caught:
        group(**{**GROUPS[group], name: value})
    assert caught.value.field == name
    assert str(value) in caught.value.message
    return caught.value.message


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0, 1e300])
@pytest.mark.parametrize(("group", "name"), FLOATS)
def test_a_number_that_is_not_finite_or_out_of_range_is_refused(group: type[Any], name: str, value: float) -> None:
    assert "at most" in refused(group, name, value)


@pytest.mark.parametrize("value", [{}, "7", True, b"x"])
@pytest.mark.parametrize(("group", "name"), NUMBERS)
def test_what_is_no_number_is_refused(group: type[Any], name: str, value: object) -> None:
    assert "number" in refused(group, name, value)


@pytest.mark.parametrize(("group", "name", "hint"), FIELDS)
def test_a_value_of_another_type_is_refused_in_every_field(group: type[Any], name: str, hint: object) -> None:
    refused(group, name, {})


@pytest.mark.parametrize(
    ("group", "name", "value", "most"),
    [
        (ServerSettings, "keepalive_s", 3_000_000, 2_147_483),
        (ServerSettings, "workers", 100_000, 1024),
        (SessionSettings, "threads", 100_000, 1024),
        (Limits, "content_bytes", 3_000_000_000, 2_146_435_071),
    ],
)
def test_a_number_that_is_too_large_is_refused_with_the_largest(
    group: type[Any], name: str, value: int, most: int
) -> None:
    assert refused(group, name, value) == f"{name} must be above 0 and at most {most}, but is {value}"
    group(**{**GROUPS[group], name: most})


def test_a_delay_and_a_grace_may_be_0_and_what_may_be_left_out_none() -> None:
    assert BatchSettings(max_delay_s=0, max_segments=None).max_delay_s == 0
    assert ServerSettings(models_dir=Path("m"), grace_s=0).grace_s == 0
    assert Limits(idle_s=None).idle_s is None
    refused(Limits, "channels", None)


async def test_grpc_takes_the_largest_settings() -> None:
    limits = Limits(content_bytes=2_146_435_071)
    largest = ServerSettings(models_dir=Path("m"), keepalive_s=2_147_483, limits=limits)
    server = grpc.aio.server(options=options(largest))
    assert server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await server.stop(None)
