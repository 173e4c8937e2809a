"""Statuses: whatever a caller's names are, the status fits gRPC's header fields and says what happened."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import grpc
import pytest
from google.rpc import error_details_pb2

from auricle.errors import InvalidArgumentError, NotFoundError
from auricle.serve.status import AS_IT_IS, LONGEST_BYTES, to_status
from auricle.v1 import auricle_pb2 as pb
from live import failure, live_server, noise, pcm
from models import write_embedder

LETTERS = {"ASCII": "x", "two bytes": "é", "three bytes": "音", "four bytes": "🐕", "escape": "%", "control": "\n"}


@pytest.mark.parametrize("length", [1, 500, LONGEST_BYTES - 1, LONGEST_BYTES, LONGEST_BYTES + 1, 100_000])
@pytest.mark.parametrize("letter", LETTERS.values(), ids=LETTERS.keys())
def test_every_text_of_a_status_is_bounded(letter: str, length: int) -> None:
    text = letter * length
    status = to_status(NotFoundError(f"no {text}!", field=text, resource=("auricle.model", text)))
    assert len(quote(status.message, safe=AS_IT_IS)) <= LONGEST_BYTES
    assert status.message.startswith(f"no {letter}")
    assert status.message.endswith(f"{letter}!")
    # In base64, beside the message itself.
    assert status.ByteSize() * 4 / 3 + LONGEST_BYTES < 7 * 1024
    if len(quote(f"no {text}!", safe=AS_IT_IS)) <= LONGEST_BYTES:
        assert status.message == f"no {text}!"
    resource = error_details_pb2.ResourceInfo()
    assert status.details[-1].Unpack(resource)
    assert resource.resource_name[0] == resource.resource_name[-1] == letter


def test_a_message_that_fits_stays_as_it_is() -> None:
    assert to_status(InvalidArgumentError("options.hop must be above 0 s")).message == "options.hop must be above 0 s"


@pytest.mark.parametrize("letter", ["x", "é"])
async def test_a_long_name_arrives_as_the_error_that_it_is(tmp_path: Path, letter: str) -> None:
    write_embedder(tmp_path / "tiny.onnx")
    async with live_server(tmp_path) as running:
        for length in (1500, 20_000):
            selector = pb.ModelSelector(name=letter * length)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await running.audio.Embed(pb.EmbedRequest(model=selector, audio=pcm(noise(1.0))))
            failed = failure(caught.value)
            assert (failed.code, failed.reason) == (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND")
            assert failed.message.startswith(f"no model '{letter}")
            assert failed.message.endswith("loaded are: tiny")
