"""The server that everyone writes first: grpc.aio, librosa and soxr in a thread pool, one run a request.

python benchmarks/peers/naive.py --model voice/1.onnx --port-file PORT
"""

from __future__ import annotations

import argparse
import asyncio
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import soundfile
import soxr
import uvloop

from auricle.v1 import auricle_pb2 as pb
from plain import RATE_HZ, PlainVoice

METHOD = ("auricle.v1.AudioService", "Embed")


class Naive:
    """Embed, and nothing else of the contract."""

    def __init__(self, model: Path) -> None:
        self._voice = PlainVoice(model)
        self._pool = ThreadPoolExecutor(2)

    async def embed(self, request: pb.EmbedRequest, _: Any) -> pb.EmbedResponse:
        vector = await asyncio.get_running_loop().run_in_executor(self._pool, self._vector, request.audio.content)
        floats = pb.FeatureVector(dimension=len(vector), floats=pb.Floats(values=vector))
        return pb.EmbedResponse(embeddings=[pb.Embedding(vector=floats)])

    def _vector(self, content: bytes) -> list[float]:
        wave, rate_hz = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
        mono = wave.mean(axis=1)
        if rate_hz != RATE_HZ:
            mono = soxr.resample(mono, rate_hz, RATE_HZ, quality="HQ")
        vector: list[float] = self._voice.wave(mono).tolist()
        return vector


async def serve(model: Path, port_file: Path) -> None:
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    handler = grpc.unary_unary_rpc_method_handler(
        Naive(model).embed, pb.EmbedRequest.FromString, pb.EmbedResponse.SerializeToString
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(METHOD[0], {METHOD[1]: handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    part = port_file.with_suffix(".part")
    part.write_text(f"{port}\n")
    part.replace(port_file)
    await server.wait_for_termination()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--port-file", type=Path, required=True)
    args = parser.parse_args()
    uvloop.run(serve(args.model, args.port_file))
