"""The same model in LitServe, its batching on: WAV in JSON as base64, librosa and soxr, one run a batch.

python benchmarks/peers/lit.py --kind voice --model voice/1.onnx --port PORT
"""

from __future__ import annotations

import argparse
import base64
import io
from pathlib import Path
from typing import Any

import litserve
import numpy as np
import soundfile
import soxr

from plain import RATE_HZ, TOP, PlainVoice, PlainYamnet, first

BATCH = 32
BATCH_TIMEOUT_S = 0.002
MODELS: dict[str, type[PlainVoice] | type[PlainYamnet]] = {"voice": PlainVoice, "yamnet": PlainYamnet}


class Api(litserve.LitAPI):  # type: ignore[misc]
    """Features in decode_request, as LitServe's documentation puts pre-processing; the model in predict."""

    def __init__(self, kind: str, path: str) -> None:
        super().__init__(max_batch_size=BATCH, batch_timeout=BATCH_TIMEOUT_S)
        self._kind = kind
        self._path = path

    def setup(self, _: Any) -> None:
        self._model = MODELS[self._kind](Path(self._path))

    def decode_request(self, request: dict[str, str]) -> Any:
        wave, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(request["wav"])), dtype="float32", always_2d=True)
        mono = wave.mean(axis=1)
        if rate_hz != RATE_HZ:
            mono = soxr.resample(mono, rate_hz, RATE_HZ, quality="HQ")
        return self._model.mels(mono)

    def batch(self, inputs: list[Any]) -> Any:
        return inputs

    def predict(self, batch: list[Any]) -> list[Any]:
        vectors = self._model.run(np.concatenate(batch))
        cuts = np.cumsum([len(mels) for mels in batch])[:-1]
        return [self._model.pool(part) for part in np.split(vectors, cuts)]

    def unbatch(self, output: list[Any]) -> list[Any]:
        return output

    def encode_response(self, output: Any) -> dict[str, Any]:
        if self._kind == "voice":
            return {"embedding": output.tolist()}
        embedding, scores = first(output, TOP)
        return {"embedding": embedding.tolist(), "scores": scores}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--kind", choices=MODELS, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--port", type=int, required=True)
    args = parser.parse_args()
    server = litserve.LitServer(Api(args.kind, args.model), accelerator="cpu", workers_per_device=1, timeout=60)
    server.run(host="127.0.0.1", port=args.port, num_api_servers=1, generate_client_file=False, log_level="warning")
