"""Transfer: a small classifier on the embeddings of a frozen bundle, joined to it as one more head."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from auricle.engine.graph import Graph
from auricle.errors import BundleError, OptionError
from auricle.model.bundle import Bundle
from auricle.model.heads import Head, HeadSpec
from auricle.model.labels import LabelList
from auricle.training.cache import FeatureCache, digest
from auricle.training.clips import Clip
from auricle.training.export import with_bundle
from auricle.training.report import History
from auricle.training.sounds import cut

__all__ = ["HeadFitting", "Linear", "attach", "choose_head", "embeddings", "fit_head"]

Floats = NDArray[np.float32]

# The classifier's head, and what its tensors' names begin with.
HEAD, PREFIX = "scores", "auricle_train"
# Adam's usual constants.
_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadFitting:
    """Full-batch Adam on the softmax's cross-entropy, over standardised embeddings.

    Attributes:
        steps: of the optimiser.
        rate: falls to nothing along a half cosine.
        decay: weight of half the kernel's squared norm.
    """

    steps: int = 400
    rate: float = 0.03
    decay: float = 1e-3


@dataclass(frozen=True, slots=True)
class Linear:
    """scores = softmax(x @ kernel + bias): f32 (dimension, classes) and (classes,)."""

    kernel: Floats
    bias: Floats

    def scores(self, x: Floats) -> Floats:
        """f32 (n, classes) of x f32 (n, dimension)."""
        logits = x @ self.kernel + self.bias
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def choose_head(graph: Graph, name: str | None) -> Head:
    """The embedding head to build on. OptionError lists them where it is not clear; BundleError: it cannot be used."""
    heads = {head.spec.name: head for head in graph.heads if head.spec.kind == "embedding"}
    if (name is None and len(heads) != 1) or (name is not None and name not in heads):
        raise OptionError(
            f"model {graph.bundle.name!r} has the embedding heads {', '.join(heads) or 'none'}, "
            f"not {name or 'just one'}; name one of them",
            field="head",
        )
    head = heads[name] if name is not None else next(iter(heads.values()))
    if head.spec.dequantize is not None or head.spec.activation != "none":
        raise BundleError(
            f"head {head.spec.name!r} of {graph.bundle.name!r} is quantised or activated after the graph; "
            "training needs one that the graph gives as it is"
        )
    if head.spec.name == HEAD:
        raise BundleError(
            f"the embedding head of {graph.bundle.name!r} is called {HEAD!r}, as the classifier's will be; rename it"
        )
    return head


def embeddings(
    path: Path,
    graph: Graph,
    head: Head,
    clips: Sequence[Clip],
    *,
    cache: FeatureCache,
    on_clip: Callable[[], None] = lambda: None,
) -> tuple[Floats, NDArray[np.int64]]:
    """The embedding of every segment as served, before pooling: f32 (n, dimension), and the clip of each: int (n,)."""
    model = _digests(path, graph.bundle) if cache.keeps else ()
    what, found = ("embedding", *model, head.spec.tensor, graph.device), []
    for clip in clips:
        found.append(cache.arrays(clip.path, what, partial(_vectors, graph, head, clip))["vectors"])
        on_clip()
    return np.concatenate(found), np.repeat(np.arange(len(found)), [len(each) for each in found])


def _vectors(graph: Graph, head: Head, clip: Clip) -> dict[str, NDArray[Any]]:
    runs = (graph.run([head.spec.tensor], [rows])[head.spec.tensor][0] for rows in cut(clip.path, graph))
    return {"vectors": np.stack([head.values(run) for run in runs])}


def _digests(path: Path, bundle: Bundle) -> tuple[str, ...]:
    """Names a model: its graph, its weights and its metadata, those too that lie in files beside it."""
    from auricle.metadata.onnxfile import data_files

    files = (path, *(path.parent / name for name in data_files(path)))
    return (*(digest(file) for file in files), hashlib.sha256(msgspec.json.encode(bundle)).hexdigest())


def fit_head(
    x: Floats,
    y: NDArray[np.int64],
    classes: int,
    settings: HeadFitting,
    *,
    watched: tuple[Floats, NDArray[np.int64]] | None = None,
) -> tuple[Linear, History]:
    """The classifier of x f32 (n, dimension) with labels y int (n,), and how it learned.

    Classes weigh the same, however many segments they have, in its loss and accuracy too.

    Args:
        watched: others of which the accuracy at each step is wanted, too.
    """
    mean, deviation = x.mean(0, dtype=np.float64), x.std(0, dtype=np.float64) + 1e-6
    z = (x - mean) / deviation
    target = np.eye(classes)[y]
    weight = (1.0 / np.maximum(np.bincount(y, minlength=classes), 1))[y]
    weight /= weight.sum()
    parameters = [np.zeros((z.shape[1], classes)), np.zeros(classes)]
    first, second = [np.zeros_like(p) for p in parameters], [np.zeros_like(p) for p in parameters]
    seen = None if watched is None else (watched[0] - mean) / deviation
    losses, accuracies, others = [], [], []
    for step in range(1, settings.steps + 1):
        logits = z @ parameters[0] + parameters[1]
        powers = np.exp(logits - logits.max(1, keepdims=True))
        shares = powers / powers.sum(1, keepdims=True)
        losses.append(float(-weight @ np.log(np.maximum(shares[np.arange(len(y)), y], 1e-30))))
        accuracies.append(float(weight @ (shares.argmax(1) == y)))
        if watched is not None:
            said = (seen @ parameters[0] + parameters[1]).argmax(1)
            others.append(float(np.mean(said == watched[1])))
        error = (shares - target) * weight[:, None]
        gradients = [z.T @ error + settings.decay * parameters[0], error.sum(0)]
        rate = settings.rate * 0.5 * (1 + np.cos(np.pi * step / settings.steps))
        for place, gradient in enumerate(gradients):
            first[place] = _BETA_1 * first[place] + (1 - _BETA_1) * gradient
            second[place] = _BETA_2 * second[place] + (1 - _BETA_2) * gradient**2
            steady = first[place] / (1 - _BETA_1**step)
            parameters[place] -= rate * steady / (np.sqrt(second[place] / (1 - _BETA_2**step)) + _EPSILON)
    kernel = parameters[0] / deviation[:, None]
    linear = Linear(kernel.astype(np.float32), (parameters[1] - mean @ kernel).astype(np.float32))
    return linear, History(of="step", loss=tuple(losses), accuracy=tuple(accuracies), watched=tuple(others))


def attach(
    backbone: Path, graph: Graph, head: Head, linear: Linear, labels: Sequence[LabelList]
) -> tuple[bytes, Bundle]:
    """The backbone's file with the classifier as one more output, and its metadata: the embedding and the scores."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(backbone)
    tensor = head.spec.tensor
    prefix = _free_prefix(model.graph)
    kernel, bias, flat, floats, logits, scores = (
        f"{prefix}.{part}" for part in ("kernel", "bias", "flat", "float", "logits", "scores")
    )
    for name, array in ((kernel, linear.kernel), (bias, linear.bias)):
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    # Only a first axis that is the batch can be kept; a bare vector becomes a batch of one.
    axis = 1 if graph.layout.has_batch else 0
    model.graph.node.extend(
        [
            helper.make_node("Flatten", [tensor], [flat], axis=axis),
            helper.make_node("Cast", [flat], [floats], to=TensorProto.FLOAT),
            helper.make_node("Gemm", [floats, kernel, bias], [logits]),
            helper.make_node("Softmax", [logits], [scores], axis=1),
        ]
    )
    batch = "batch" if graph.batches else 1
    shape = [batch, linear.bias.size]
    model.graph.output.append(helper.make_tensor_value_info(scores, TensorProto.FLOAT, shape))
    classifier = HeadSpec(name=HEAD, tensor=scores, kind="classification", labels=tuple(labels))
    bundle = msgspec.structs.replace(graph.bundle, task="audio-classification", heads=(head.spec, classifier))
    # What else was said of the backbone is not true of the classifier.
    del model.metadata_props[:]
    return with_bundle(model.SerializeToString(deterministic=True), bundle), bundle


def _free_prefix(graph: Any) -> str:
    """A beginning that no tensor's name has: a backbone may be a classifier that was made here."""
    taken = {each.name.split(".")[0] for each in (*graph.initializer, *graph.input)}
    taken |= {name.split(".")[0] for node in graph.node for name in node.output}
    names = (f"{PREFIX}_{number}" if number > 1 else PREFIX for number in count(1))
    return next(name for name in names if name not in taken)
