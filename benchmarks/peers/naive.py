"""The server that everyone writes first: grpc.aio, librosa and soxr in a thread pool, one run a request.

python benchmarks/peers/naive.py --kind voice --model voice/1.onnx --port-file PORT
"""

from __future__ import annotations

import argparse
import asyncio
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import soundfile
import soxr
import uvloop
from numpy.typing import NDArray

from auricle.v1 import auricle_pb2 as pb
from plain import RATE_HZ, TOP, PlainVoice, PlainYamnet, first

SERVICE = "auricle.v1.AudioService"
Floats = NDArray[np.float32]
MODELS: dict[str, type[PlainVoice] | type[PlainYamnet]] = {"voice": PlainVoice, "yamnet": PlainYamnet}


class Naive:
    """Embed for voice, Classify for YAMNet, and nothing else of the contract."""

    def __init__(self, model: PlainVoice | PlainYamnet) -> None:
        self._model = model
        self._pool = ThreadPoolExecutor(2)

    async def embed(self, request: pb.EmbedRequest, _: Any) -> pb.EmbedResponse:
        return pb.EmbedResponse(embeddings=[_embedding(await self._answer(request.audio.content))])

    async def classify(self, request: pb.ClassifyRequest, _: Any) -> pb.ClassifyResponse:
        embedding, scores = first(await self._answer(request.audio.content), TOP)
        categories = [pb.Category(index=index, score=score) for index, score in scores]
        labels = pb.Classification(categories=categories)
        return pb.ClassifyResponse(classifications=[labels], embeddings=[_embedding(embedding)])

    async def _answer(self, content: bytes) -> Floats:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._vector, content)

    def _vector(self, content: bytes) -> Floats:
        wave, rate_hz = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
        mono = wave.mean(axis=1)
        if rate_hz != RATE_HZ:
            mono = soxr.resample(mono, rate_hz, RATE_HZ, quality="HQ")
        return self._model.wave(mono)


def _embedding(vector: Floats) -> pb.Embedding:
    floats = pb.Floats(values=vector.tolist())
    return pb.Embedding(vector=pb.FeatureVector(dimension=len(vector), floats=floats))


async def serve(kind: str, model: Path, port_file: Path) -> None:
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    naive = Naive(MODELS[kind](model))
    unary = grpc.unary_unary_rpc_method_handler
    methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Embed": unary(naive.embed, pb.EmbedRequest.FromString, pb.EmbedResponse.SerializeToString),
        "Classify": unary(naive.classify, pb.ClassifyRequest.FromString, pb.ClassifyResponse.SerializeToString),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    part = port_file.with_suffix(".part")
    part.write_text(f"{port}\n")
    part.replace(port_file)
    await server.wait_for_termination()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--kind", choices=MODELS, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--port-file", type=Path, required=True)
    args = parser.parse_args()
    uvloop.run(serve(args.kind, args.model, args.port_file))
