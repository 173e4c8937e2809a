"""Where the time of a call goes, stage by stage: calls to a server of its own, over the loopback, one after another."""

from __future__ import annotations

import io
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import soundfile
from google.protobuf import duration_pb2

from auricle.config import AdmissionSettings, Limits, ServerSettings, SessionSettings
from auricle.engine.graph import Graph
from auricle.engine.pipeline import Timing
from auricle.engine.plan import default_grid
from auricle.engine.repository import Repository
from auricle.engine.workers import Workers
from auricle.errors import InvalidArgumentError
from auricle.serve.admission import Admission
from auricle.serve.api import Api
from auricle.serve.grpc import GrpcServer
from auricle.v1 import auricle_pb2 as pb
from auricle.v1 import auricle_pb2_grpc as rpc

__all__ = ["Stages", "one_segment", "profile"]

WARM_UP = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Stages:
    """One call, in seconds; of a sound of one segment the stages add up to ``round_trip_s``.

    Attributes:
        receive_s: from the client, which begins to write the message, to the parsed request.
        decode_s, queue_s, inference_s: as in the reply's Timing.
        resample_s, features_s: together the Timing's ``features``; the downmix counts to features.
        reply_s: from the end of the Timing's ``total`` to the message in the client's hands.
        rest_s: of the Timing's ``total`` what is none of these; 0 where stages overlap.
        round_trip_s: as the client sees it.
    """

    receive_s: float
    decode_s: float
    resample_s: float
    features_s: float
    queue_s: float
    inference_s: float
    rest_s: float
    reply_s: float
    round_trip_s: float


def one_segment(graph: Graph) -> bytes:
    """A WAV file of noise at the model's rate, as long as a segment, or a second where the model takes whole clips."""
    rate_hz = graph.bundle.audio.sample_rate_hz
    wave = np.random.default_rng(0).normal(0, 0.1, default_grid(graph).samples or rate_hz)
    file = io.BytesIO()
    soundfile.write(file, np.clip(wave, -1, 1), rate_hz, format="WAV", subtype="PCM_16")
    return file.getvalue()


async def profile(path: Path, session: SessionSettings, content: bytes | None, *, calls: int) -> list[Stages]:
    """Sends a file so many times after a short warm-up; None sends one segment of noise.

    Raises BundleError where the model cannot be served, and InvalidArgumentError where the file is refused.
    """
    answered: list[tuple[float, float]] = []  # of each call: when its total ended, seconds of resampling
    found = []

    def note(timing: Timing) -> None:
        answered.append((time.monotonic(), timing.resample_s))

    async with _service(path, session, note) as (repository, port):
        (model,) = repository.models()
        content = content or one_segment(model.graph)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", [("grpc.max_send_message_length", -1)]) as channel:
            for number in range(WARM_UP + calls):
                begun = time.monotonic()
                timing = await _call(channel, embeds=model.graph.heads[0].spec.kind == "embedding", content=content)
                ended = time.monotonic()
                total_ended, resample_s = answered.pop()
                if number >= WARM_UP:
                    reply_s = ended - total_ended
                    found.append(_stages(timing, resample_s=resample_s, reply_s=reply_s, round_trip_s=ended - begun))
    return found


@asynccontextmanager
async def _service(
    path: Path, session: SessionSettings, on_answer: Callable[[Timing], None]
) -> AsyncIterator[tuple[Repository, int]]:
    """The parts of a server with one model, on a free port."""
    workers = Workers()
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        for file in (path, path.with_suffix(".json")):
            if file.exists():
                shutil.copy(file, directory / file.name)
        repository = Repository(directory, session=session, grace_s=0.0)
        await repository.refresh()
        for failure in repository.failures.values():
            raise failure
        settings = ServerSettings(models_dir=directory, listen="127.0.0.1:0", grace_s=0.0)
        api = Api(repository, workers, Limits(), on_answer=on_answer)
        server = GrpcServer(api, Admission(AdmissionSettings(), streams=1), settings)
        try:
            await server.start()
            yield repository, server.port
        finally:
            await server.stop()
            await repository.close()
            workers.close()


async def _call(channel: grpc.aio.Channel, *, embeds: bool, content: bytes) -> pb.Timing:
    stub, audio = rpc.AudioServiceStub(channel), pb.Audio(content=content)
    try:
        reply = await (
            stub.Embed(pb.EmbedRequest(audio=audio)) if embeds else stub.Classify(pb.ClassifyRequest(audio=audio))
        )
    except grpc.aio.AioRpcError as error:
        raise InvalidArgumentError(f"the server refused the sound: {error.details()}") from error
    timing: pb.Timing = reply.timing
    return timing


def _stages(timing: pb.Timing, *, resample_s: float, reply_s: float, round_trip_s: float) -> Stages:
    decode_s, features_s, queue_s, inference_s, total_s = (
        _seconds(stage) for stage in (timing.decode, timing.features, timing.queue, timing.inference, timing.total)
    )
    return Stages(
        receive_s=round_trip_s - total_s - reply_s,
        decode_s=decode_s,
        resample_s=resample_s,
        features_s=features_s - resample_s,
        queue_s=queue_s,
        inference_s=inference_s,
        rest_s=max(0.0, total_s - decode_s - features_s - queue_s - inference_s),
        reply_s=reply_s,
        round_trip_s=round_trip_s,
    )


def _seconds(duration: duration_pb2.Duration) -> float:
    return duration.seconds + duration.nanos * 1e-9
