"""Somebody else's client, with no proto file: grpcurl lists, describes and embeds by reflection alone."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from live import encoded, live_server, noise
from models import write_embedder

GRPCURL = shutil.which("grpcurl")
pytestmark = pytest.mark.skipif(GRPCURL is None, reason="grpcurl is not on the PATH")


@pytest_asyncio.fixture
async def address(tmp_path: Path) -> AsyncIterator[str]:
    write_embedder(tmp_path / "tiny.onnx")
    async with live_server(tmp_path) as server:
        yield f"127.0.0.1:{server.server.port}"


async def grpcurl(*words: str, data: object = None) -> tuple[int, str, str]:
    """Runs it; gives its exit code, stdout and stderr."""
    flags = ["-plaintext", *(["-d", "@"] if data is not None else [])]
    process = await asyncio.create_subprocess_exec(
        str(GRPCURL),
        *flags,
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(json.dumps(data).encode() if data is not None else None)
    return process.returncode or 0, out.decode(), err.decode()


async def test_it_lists_every_service(address: str) -> None:
    _, out, _ = await grpcurl(address, "list")
    assert set(out.split()) == {
        "auricle.v1.AudioService",
        "auricle.v1.ModelService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }


async def test_it_describes_a_request(address: str) -> None:
    code, out, _ = await grpcurl(address, "describe", "auricle.v1.EmbedRequest")
    assert code == 0
    assert "ModelSelector model = 1" in out


async def test_it_embeds_a_clip(address: str) -> None:
    content = base64.b64encode(encoded(noise(2.0))).decode()
    code, out, err = await grpcurl(address, "auricle.v1.AudioService/Embed", data={"audio": {"content": content}})
    assert code == 0, err
    answer = json.loads(out)
    assert len(answer["embeddings"][0]["vector"]["floats"]["values"]) == 5
    assert answer["usage"]["samples"] == "32000"


async def test_it_shows_an_error_with_its_details(address: str) -> None:
    code, _, err = await grpcurl(address, "auricle.v1.AudioService/Embed", data={"audio": {"content": "AAAA"}})
    assert code != 0
    assert "InvalidArgument" in err
    assert "AUDIO_UNDECODABLE" in err


async def test_it_embeds_real_speech_with_the_default_model(shared_data: Path, voice_models: Path) -> None:
    async with live_server(voice_models) as server:
        content = base64.b64encode((shared_data / "speech" / "speech.wav").read_bytes()).decode()
        address = f"127.0.0.1:{server.server.port}"
        code, out, err = await grpcurl(address, "auricle.v1.AudioService/Embed", data={"audio": {"content": content}})
    assert code == 0, err
    values = json.loads(out)["embeddings"][0]["vector"]["floats"]["values"]
    assert len(values) == 256
    assert np.linalg.norm(values) == pytest.approx(1.0, abs=1e-5)
