"""Where a pull gets its wheel from, and where the model goes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from wheel_index import WHEEL, WHEEL_NAME, Index, serving


@pytest.fixture
def wheel_file(tmp_path: Path) -> Path:
    path = tmp_path / WHEEL_NAME
    path.write_bytes(WHEEL)
    return path


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    with serving(monkeypatch) as server:
        yield server
