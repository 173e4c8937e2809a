"""A small gRPC server that the client's tests script: a toy model, and failures in the order given."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO

import grpc
import numpy as np
import soundfile
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from auricle.v1 import auricle_pb2 as pb
from auricle.v1 import auricle_pb2_grpc

RATE_HZ = 8000
SEGMENT = 1000


def status(code: grpc.StatusCode, message: str, *details) -> status_pb2.Status:
    """A status as the server puts it together."""
    packed = []
    for detail in details:
        packed.append(AnyMessage())
        packed[-1].Pack(detail)
    return status_pb2.Status(code=code.value[0], message=message, details=packed)


def info(reason: str) -> error_details_pb2.ErrorInfo:
    return error_details_pb2.ErrorInfo(reason=reason, domain="auricle.dev")


def retry_info(seconds: float) -> error_details_pb2.RetryInfo:
    delay = Duration()
    delay.FromNanoseconds(round(seconds * 1e9))
    return error_details_pb2.RetryInfo(retry_delay=delay)


class Toy(auricle_pb2_grpc.AudioServiceServicer, auricle_pb2_grpc.ModelServiceServicer):
    """Segments of 1000 samples; head "mean" gives (mean, peak) of each, pooled by mean, and "each" unpooled.

    Model "toy" has the first alone, "mixed" both. ``failures`` are raised first, one a call.
    """

    def __init__(self) -> None:
        self.failures: deque[status_pb2.Status] = deque()
        self.calls: list[str] = []
        self.requests: list[object] = []
        self.streamed_bytes = 0

    def _enter(self, method: str, context: grpc.ServicerContext) -> None:
        self.calls.append(method)
        if self.failures:
            context.abort_with_status(rpc_status.to_status(self.failures.popleft()))

    @staticmethod
    def _heads(model: str) -> list[pb.Head]:
        kind = pb.HEAD_KIND_EMBEDDING
        heads = [pb.Head(name="mean", index=0, kind=kind, dimension=2, pooling=pb.POOLING_MEAN)]
        if model == "mixed":
            heads.append(pb.Head(name="each", index=1, kind=kind, dimension=2, pooling=pb.POOLING_NONE))
        return heads

    def _chosen(self, model: str, names) -> list[pb.Head]:
        return [head for head in self._heads(model) if not names or head.name in names]

    @staticmethod
    def _vectors(samples: np.ndarray) -> np.ndarray:
        segments = [samples[at : at + SEGMENT] for at in range(0, len(samples), SEGMENT)]
        return np.array([(part.mean(dtype=np.float64), part.max()) for part in segments])

    @staticmethod
    def _embedding(head: pb.Head, vector, start: int, end: int, kind: int) -> pb.Embedding:
        message = pb.Embedding(head=head.name, head_index=head.index, start_sample=start, end_sample=end)
        message.start_offset.FromNanoseconds(start * 10**9 // RATE_HZ)
        message.end_offset.FromNanoseconds(end * 10**9 // RATE_HZ)
        message.vector.dimension = len(vector)
        if kind == pb.VECTOR_TYPE_INT8:
            message.vector.int8 = np.clip(np.round(vector * 128), -128, 127).astype(np.int8).tobytes()
        elif kind == pb.VECTOR_TYPE_FLOAT16:
            message.vector.float16 = vector.astype("<f2").tobytes()
        else:
            message.vector.floats.values.extend(vector.astype(np.float32))
        return message

    def Embed(self, request, context):  # noqa: N802
        self._enter("Embed", context)
        self.requests.append(request)
        model = request.model.name or "toy"
        if request.audio.WhichOneof("source") == "pcm":
            dtype = "<f4" if request.audio.pcm.format.encoding == pb.ENCODING_PCM_F32LE else "<i2"
            samples = np.frombuffer(request.audio.pcm.data, dtype)
            samples = samples / 32768 if dtype == "<i2" else samples
        else:
            samples = soundfile.read(BytesIO(request.audio.content), dtype="float32")[0]
        vectors = self._vectors(samples)
        reply = pb.EmbedResponse(
            model=pb.ModelSelector(name=model, version="1"),
            usage=pb.Usage(samples=len(samples), segments=len(vectors), duration=Duration(seconds=1, nanos=5)),
            timing=pb.Timing(total=Duration(nanos=2_000_000)),
        )
        for head in self._chosen(model, request.options.heads):
            way = request.options.pooling or head.pooling
            if way == pb.POOLING_NONE:
                answers = [(v, i * SEGMENT, min(len(samples), (i + 1) * SEGMENT)) for i, v in enumerate(vectors)]
            else:
                pooled = vectors.mean(axis=0) if way == pb.POOLING_MEAN else vectors.max(axis=0)
                answers = [(pooled, 0, len(samples))]
            kind = request.options.vector_type
            reply.embeddings.extend(self._embedding(head, *answer, kind) for answer in answers)
        return reply

    def Classify(self, request, context):  # noqa: N802
        self._enter("Classify", context)
        self.requests.append(request)
        category = pb.Category(index=3, score=0.5, category_name="Speech", display_name="Sprache")
        one = pb.Classification(head="scores", head_index=1, end_sample=8000, categories=[category])
        return pb.ClassifyResponse(model=pb.ModelSelector(name="toy", version="1"), classifications=[one])

    def _stream(self, requests, context, reply_type, result):
        first = next(requests)
        self.requests.append(first)
        config = first.config
        model = config.model.name or "toy"
        heads = self._chosen(model, config.options.heads)
        yield reply_type(
            ready=pb.StreamReady(
                model=pb.ModelSelector(name=model, version="1"), sample_rate_hz=RATE_HZ, segment_samples=SEGMENT,
                hop_samples=SEGMENT, heads=heads,
            )
        )  # fmt: skip
        dtype, scale = ("<f4", 1) if config.format.encoding == pb.ENCODING_PCM_F32LE else ("<i2", 32768)
        pending, done, seen = b"", 0, []
        width = SEGMENT * np.dtype(dtype).itemsize
        for request in requests:
            kind = request.WhichOneof("payload")
            if kind == "audio":
                self.streamed_bytes += len(request.audio)
                pending += request.audio
            while len(pending) >= width or (kind == "flush" and pending):
                samples = np.frombuffer(pending[:width], dtype) / scale
                pending = pending[width:]
                yield from self._segment(samples, done, seen, heads, config.options, result)
                done += len(samples)
            if kind == "flush":
                yield reply_type(flushed=pb.Flushed(end_sample=done))
        if pending:
            samples = np.frombuffer(pending, dtype) / scale
            yield from self._segment(samples, done, seen, heads, config.options, result)
            done += len(samples)
        usage = pb.Usage(samples=done, segments=len(seen))
        yield reply_type(summary=pb.StreamSummary(usage=usage))

    def _segment(self, samples, start, seen, heads, options, result):
        seen.append(self._vectors(samples)[0])
        vector, begin = seen[-1], start
        if options.pooling == pb.POOLING_MEAN:
            vector, begin = np.mean(seen, axis=0), 0
        yield result(heads, vector, begin, start + len(samples), options)

    def StreamEmbed(self, requests, context):  # noqa: N802
        self._enter("StreamEmbed", context)

        def result(heads, vector, begin, end, options):
            one = [self._embedding(head, vector, begin, end, options.vector_type) for head in heads]
            return pb.StreamEmbedResponse(result=pb.SegmentEmbeddings(embeddings=one))

        yield from self._stream(requests, context, pb.StreamEmbedResponse, result)

    def StreamClassify(self, requests, context):  # noqa: N802
        self._enter("StreamClassify", context)

        def result(heads, vector, begin, end, options):
            category = pb.Category(index=0, score=float(vector[1]))
            one = pb.Classification(head="scores", start_sample=begin, end_sample=end, categories=[category])
            return pb.StreamClassifyResponse(result=pb.SegmentClassifications(classifications=[one]))

        yield from self._stream(requests, context, pb.StreamClassifyResponse, result)

    def ListModels(self, request, context):  # noqa: N802
        self._enter("ListModels", context)
        return pb.ListModelsResponse(models=[pb.Model(name="toy", version="1", newest=True)])

    def GetModel(self, request, context):  # noqa: N802
        self._enter("GetModel", context)
        name = request.model.name
        labels = [pb.LabelList(locale="en", names=["Speech", "Music"])]
        heads = self._heads(name)
        heads[0].label_lists.extend(labels)
        model = pb.Model(name=name, version="1", sample_rate_hz=RATE_HZ, segment_samples=SEGMENT, heads=heads)
        if name == "wordy":
            model.description = "x" * 5 * 1024 * 1024
        return pb.GetModelResponse(model=model)


@contextmanager
def serving(toy: Toy, credentials: grpc.ServerCredentials | None = None) -> Iterator[int]:
    """Serves on a free port of the loopback and gives it."""
    server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.max_receive_message_length", -1)])
    auricle_pb2_grpc.add_AudioServiceServicer_to_server(toy, server)
    auricle_pb2_grpc.add_ModelServiceServicer_to_server(toy, server)
    checks = health.HealthServicer()
    checks.set("", health_pb2.HealthCheckResponse.SERVING)
    checks.set("auricle.model/old", health_pb2.HealthCheckResponse.NOT_SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()
