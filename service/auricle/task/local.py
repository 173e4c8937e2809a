"""A model in this process: the pipeline's own stages on one segment, without its queue."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import NamedTuple, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from auricle.config import SessionSettings
from auricle.engine.cutter import Cutter
from auricle.engine.decode import SoundFormat
from auricle.engine.graph import Graph
from auricle.engine.options import Options
from auricle.engine.plan import HeadPlan, default_grid, make_plan
from auricle.engine.segments import SegmentGrid
from auricle.errors import AudioError, AuricleError, BundleError, InternalError, OptionError, UnavailableError
from auricle.model.formats import refuse_tflite
from auricle.model.heads import Head
from auricle.model.labels import Ranked
from auricle.model.vectors import l2_normalize, to_int8
from auricle.task.backend import Backend, Floats
from auricle.task.core import BaseOptions
from auricle.task.processor import (
    Category,
    ClassificationOptions,
    ClassificationResult,
    Classifications,
    Embedding,
    EmbeddingOptions,
    EmbeddingResult,
    FeatureVector,
)
from auricle.task.tensor import AudioFormat

__all__ = ["open_classifier", "open_embedder"]


class _Format(NamedTuple):
    """What the backend says of the sound."""

    format: AudioFormat
    buffer_size: int | None
    usual_size: int | None


class _Model:
    """A loaded bundle. Raises errors of the tree where it cannot be loaded."""

    def __init__(self, options: BaseOptions) -> None:
        self._graph: Graph | None = _load(options)
        self._lock = threading.Lock()

    @property
    def graph(self) -> Graph:
        """UnavailableError after ``close``."""
        if self._graph is None:
            raise UnavailableError("this task is closed; make another")
        return self._graph

    def close(self) -> None:
        """Lets the graph go, once a run that is going on has ended."""
        self._graph = None

    @property
    def sound(self) -> _Format:
        audio, grid = self.graph.bundle.audio, default_grid(self.graph)
        usual = grid.samples
        stream_length = self.graph.bundle.segment.stream_length
        if usual is None and stream_length is not None:
            features = self.graph.features
            usual = features.segment_samples(stream_length) if features else stream_length
        return _Format(AudioFormat(audio.channels, audio.sample_rate_hz), grid.samples, usual)

    def run(self, wave: Floats, grid: SegmentGrid, heads: tuple[Head, ...]) -> list[Floats]:
        """The values of the heads for one segment f32 (n,), as the server has them before pooling."""
        graph = self.graph
        rate_hz = graph.bundle.audio.sample_rate_hz
        cutter = Cutter(graph, grid, SoundFormat(encoding="f32le", sample_rate_hz=rate_hz))
        segments = cutter.feed(np.ascontiguousarray(wave)) + cutter.finish()
        if len(segments) != 1:
            raise AudioError(f"the buffer of {wave.size} samples makes {len(segments)} segments, not one")
        tensors = tuple(dict.fromkeys(head.spec.tensor for head in heads))
        try:
            with self._lock:
                outputs = graph.run(tensors, [segments[0].rows])
        except AuricleError:
            raise
        except Exception as error:  # onnxruntime's exceptions share no narrower base
            raise InternalError(f"the model failed: {error}") from error
        # As the batcher has it: what the graph gives, and not what an activation makes of it.
        if not all(np.isfinite(array).all() for array in outputs.values()):
            raise InternalError("the model gave a non-finite value for this sound")
        return [head.values(outputs[head.spec.tensor][0]) for head in heads]


def open_embedder(base: BaseOptions, options: EmbeddingOptions) -> Backend[EmbeddingResult]:
    """A model whose every output is an embedding, whatever its kind."""
    model = _Model(base)
    # Scores as a vector are what the model gives: a calibration is for comparing them with a threshold.
    heads = tuple(
        Head(msgspec.structs.replace(head.spec, calibration=None), index=head.index, dimension=head.dimension)
        for head in model.graph.heads
    )
    grid = default_grid(model.graph)

    def finish(head: Head, values: Floats) -> NDArray[np.generic]:
        normalise = head.spec.l2_normalize if options.l2_normalize is None else options.l2_normalize
        vector = l2_normalize(values) if normalise else values
        return to_int8(vector) if options.quantize else vector

    def run(wave: Floats) -> EmbeddingResult:
        values = model.run(wave, grid, heads)
        vectors = [finish(head, each) for head, each in zip(heads, values, strict=True)]
        return EmbeddingResult([Embedding(FeatureVector(vector), index) for index, vector in enumerate(vectors)])

    return Backend(
        **model.sound._asdict(), dimensions=tuple(head.dimension for head in heads), run=run, close=model.close
    )


def open_classifier(base: BaseOptions, options: ClassificationOptions) -> Backend[ClassificationResult]:
    """A model whose classification heads answer."""
    model = _Model(base)
    plan = make_plan(
        model.graph,
        Options(
            kind="classification",
            max_results=options.max_results,
            score_threshold=options.score_threshold,
            allow=tuple(options.category_name_allowlist or ()),
            deny=tuple(options.category_name_denylist or ()),
            locale=options.display_names_locale or "",
        ),
        stream=False,
    )
    heads = tuple(head.head for head in plan.heads)

    def run(wave: Floats) -> ClassificationResult:
        values = model.run(wave, plan.grid, heads)
        return ClassificationResult(
            [
                _classifications(index, head, cast(Ranked, head.finish(each)))
                for index, (head, each) in enumerate(zip(plan.heads, values, strict=True))
            ]
        )

    return Backend(
        **model.sound._asdict(), dimensions=tuple(head.dimension for head in heads), run=run, close=model.close
    )


def _classifications(index: int, plan: HeadPlan, ranked: Ranked) -> Classifications:
    names, shown = plan.head.spec.category_names, plan.display_names
    categories = [
        Category(place, score, shown[place] if shown else "", names[place] if names else "")
        for place, score in zip(ranked.indices.tolist(), ranked.scores.tolist(), strict=True)
    ]
    return Classifications(categories, index, plan.head.spec.name)


def _load(options: BaseOptions) -> Graph:
    threads = options.num_threads
    if threads != -1 and threads <= 0:
        raise OptionError(f"num_threads must be -1 or above 0, but is {threads}", field="num_threads")
    if options.use_coral:
        raise OptionError("use_coral: auricle runs on onnxruntime, not on an Edge TPU; leave it out", field="use_coral")
    settings = SessionSettings(threads=None if threads == -1 else threads)
    if options.file_content is not None:
        refuse_tflite(options.file_content)
        with tempfile.TemporaryDirectory(prefix="auricle-") as scratch:
            path = Path(scratch) / "file_content.onnx"
            path.write_bytes(options.file_content)
            return Graph(path, settings)
    if not options.file_name:
        raise OptionError("BaseOptions names no model: set file_name or file_content", field="file_name")
    path = Path(options.file_name)
    if not path.is_file():
        raise BundleError(f"there is no model file {options.file_name}")
    return Graph(path, settings)
