"""The same model in LitServe, its batching on: WAV in JSON as base64, librosa and soxr, one run a batch.

python benchmarks/peers/lit.py --model voice/1.onnx --port PORT
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

from plain import RATE_HZ, PlainVoice

BATCH = 32
BATCH_TIMEOUT_S = 0.002


class VoiceApi(litserve.LitAPI):  # type: ignore[misc]
    """Features in decode_request, as LitServe's documentation puts pre-processing; the model in predict."""

    def __init__(self, model: str) -> None:
        super().__init__(max_batch_size=BATCH, batch_timeout=BATCH_TIMEOUT_S)
        self._path = model

    def setup(self, _: Any) -> None:
        self._voice = PlainVoice(Path(self._path))

    def decode_request(self, request: dict[str, str]) -> Any:
        wave, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(request["wav"])), dtype="float32", always_2d=True)
        mono = wave.mean(axis=1)
        if rate_hz != RATE_HZ:
            mono = soxr.resample(mono, rate_hz, RATE_HZ, quality="HQ")
        return self._voice.mels(mono)

    def batch(self, inputs: list[Any]) -> Any:
        return inputs

    def predict(self, batch: list[Any]) -> list[Any]:
        vectors = self._voice.run(np.concatenate(batch))
        cuts = np.cumsum([len(mels) for mels in batch])[:-1]
        means = [part.astype(np.float64).mean(axis=0) for part in np.split(vectors, cuts)]
        return [mean / np.linalg.norm(mean) for mean in means]

    def unbatch(self, output: list[Any]) -> list[Any]:
        return output

    def encode_response(self, output: Any) -> dict[str, list[float]]:
        return {"embedding": output.astype(np.float32).tolist()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--port", type=int, required=True)
    args = parser.parse_args()
    server = litserve.LitServer(VoiceApi(args.model), accelerator="cpu", workers_per_device=1, timeout=60)
    server.run(host="127.0.0.1", port=args.port, num_api_servers=1, generate_client_file=False, log_level="warning")
