"""The import beside its original: both hear the same test sounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auricle import frontend
from auricle.config import SessionSettings
from auricle.engine.graph import Graph
from auricle.engine.session import Session
from auricle.errors import BundleError
from auricle.importing.convert import Precision, need
from auricle.importing.settings import Difference
from auricle.importing.tflite import TfliteModel, TfliteTensor

__all__ = ["Answers", "differences", "of_bundle", "of_converted", "of_tflite"]

Sound = NDArray[np.float32]
Answers = Mapping[str, Sequence[NDArray[np.float32]]]
"""By head, one vector f32 (n,) a sound."""

# An 8-bit model's own steps are 1/256, and its float twin differs by up to ten of them.
SCORE_BOUND = {True: 0.1, False: 1e-3}
EMBEDDING_BOUND = {True: 0.02, False: 1e-5}


def of_tflite(model: TfliteModel, heads: Sequence[str], sounds: Sequence[Sound]) -> Answers:
    """What the original answers, in TensorFlow Lite's own runtime.

    LiteRT's package is that runtime alone: a tenth of TensorFlow's size, loaded in a fifth of a second, and
    TensorFlow announces that its own copy will go.
    """
    need("ai_edge_litert")
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_path=str(model.path), num_threads=1)
        interpreter.allocate_tensors()
        source = interpreter.get_input_details()[0]["index"]
        results = [each["index"] for each in interpreter.get_output_details()]
        answers: dict[str, list[Sound]] = {head: [] for head in heads}
        for sound in sounds:
            interpreter.set_tensor(source, sound.reshape(model.inputs[0].shape))
            interpreter.invoke()
            for head, tensor, index in zip(heads, model.outputs, results, strict=True):
                answers[head].append(_widened(interpreter.get_tensor(index), tensor))
    except (ValueError, RuntimeError) as error:
        raise BundleError(f"{model.path.name}: TensorFlow Lite cannot run it: {error}") from error
    return answers


def _widened(values: NDArray[Any], tensor: TfliteTensor) -> Sound:
    flat = values.reshape(-1)
    if tensor.scale and flat.dtype.kind in "iu":
        flat = np.float32(tensor.scale) * (flat.astype(np.int32) - tensor.zero_point)
    return flat.astype(np.float32)


def of_converted(path: Path, tensors: Mapping[str, str], sounds: Sequence[Sound]) -> Answers:
    """What a graph that takes the waveform answers; ``tensors`` by head."""
    session = Session(path, SessionSettings(threads=1))
    shape = tuple(size or 1 for size in session.inputs[0].shape)
    names = list(dict.fromkeys(tensors.values()))
    runs = [session.run(names, {session.inputs[0].name: sound.reshape(shape)}) for sound in sounds]
    return {head: [run[tensor].reshape(-1).astype(np.float32) for run in runs] for head, tensor in tensors.items()}


def of_bundle(graph: Graph, sounds: Sequence[Sound]) -> Answers:
    """What the bundle answers, each sound one segment, all in one run where it allows that; without calibration."""
    spec = graph.features
    segments = [frontend.features(sound, spec) for sound in sounds] if spec else list(sounds)
    runs = graph.run([head.spec.tensor for head in graph.heads], segments)
    answers = {}
    for head in graph.heads:
        rows = runs[head.spec.tensor].reshape(len(sounds), -1)
        quantised = head.spec.dequantize
        if quantised is not None:
            rows = np.float32(quantised.scale) * (rows.astype(np.int32) - quantised.zero_point)
        answers[head.spec.name] = list(rows.astype(np.float32))
    return answers


def differences(
    graph: Graph,
    names: Sequence[str],
    *,
    bundle: Answers,
    original: Answers,
    converted: Answers,
    precision: Precision,
    quantized: bool,
) -> tuple[Difference, ...]:
    """The worst of each head over the sounds called ``names``."""
    found = []
    for head in graph.heads:
        name, kind = head.spec.name, head.spec.kind
        measure = _furthest if kind == "classification" else _turned
        from_original = _each(measure, bundle[name], original[name]) if name in original else None
        from_graph = _each(measure, bundle[name], converted[name])
        told = from_graph if from_original is None else from_original
        found.append(
            Difference(
                precision=precision,
                head=name,
                kind=kind,
                original=None if from_original is None else max(from_original),
                graph=max(from_graph),
                sound=names[int(np.argmax(told))],
                bound=(SCORE_BOUND if kind == "classification" else EMBEDDING_BOUND)[quantized],
            )
        )
    return tuple(found)


def _each(measure: Callable[[Sound, Sound], float], ours: Sequence[Sound], theirs: Sequence[Sound]) -> list[float]:
    return [measure(one, other) for one, other in zip(ours, theirs, strict=True)]


def _furthest(one: Sound, other: Sound) -> float:
    if one.shape != other.shape or not np.isfinite(one).all():
        return float("inf")
    return float(np.abs(one - other).max())


def _turned(one: Sound, other: Sound) -> float:
    """1 - cosine; two zero vectors are alike."""
    if one.shape != other.shape or not np.isfinite(one).all():
        return float("inf")
    a, b = one.astype(np.float64), other.astype(np.float64)
    norms = float(np.sqrt((a @ a) * (b @ b)))
    if norms == 0:
        return 0.0 if not a.any() and not b.any() else 1.0
    return max(0.0, 1.0 - float(a @ b) / norms)
