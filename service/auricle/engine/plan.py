"""A plan: one request's options resolved against one model, before any sound is touched."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auricle.engine.graph import Graph
from auricle.engine.options import Options
from auricle.engine.segments import Intake, SegmentGrid
from auricle.errors import HeadKindError, OptionError
from auricle.model.heads import Head, MaxPool, MeanPool, Pool, Pooling
from auricle.model.labels import CategoryFilter, Ranked, display_names
from auricle.model.vectors import l2_normalize, to_float16, to_int8

__all__ = ["HeadPlan", "Plan", "PlanCache", "Value", "default_grid", "make_plan"]

Value = NDArray[np.float32] | NDArray[np.int8] | NDArray[np.float16] | Ranked
Floats = NDArray[np.float32]
NS = 1_000_000_000
# Of a hop or a segment that a request asks for: a stream holds so much sound before it answers.
LONGEST_S = 3600
PLANS_KEPT = 64
# Options with longer lists are rare, and what clients send must not fill the memory.
LONGEST_KEY = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadPlan:
    """How one head answers: how it pools, and what makes the pooled f32 (n,) the value that is sent."""

    head: Head
    pooling: Pooling
    finish: Callable[[Floats], Value]
    display_names: tuple[str, ...] | None = None

    def pool(self) -> Pool | None:
        """A fresh pool; None where each segment answers for itself."""
        if self.pooling == "none":
            return None
        return (MeanPool if self.pooling == "mean" else MaxPool)()


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Everything about a call that does not depend on its sound; ``outputs`` are the tensors to compute."""

    heads: tuple[HeadPlan, ...]
    outputs: tuple[str, ...]
    grid: SegmentGrid


def make_plan(graph: Graph, options: Options, *, stream: bool) -> Plan:
    """Resolves options. Raises OptionError or HeadKindError that name the field and the value."""
    chosen = _choose_heads(graph, options)
    _check_allowlist(chosen, options)
    if options.include_embeddings:
        chosen = [head for head in graph.heads if head in chosen or head.spec.kind == "embedding"]
    heads = tuple(_plan_head(head, options, stream=stream) for head in chosen)
    return Plan(
        heads=heads,
        outputs=tuple(dict.fromkeys(head.spec.tensor for head in chosen)),
        grid=_plan_grid(graph, options, stream=stream),
    )


class PlanCache:
    """The plans of one model that were asked for last. Calls of a kind mostly bring the same options."""

    def __init__(self) -> None:
        self._plans: OrderedDict[Hashable, Plan] = OrderedDict()

    def get(self, kind: Hashable, options: bytes, make: Callable[[], Plan]) -> Plan:
        """The plan for options of a kind of call, as they came over the wire; what ``make`` raises passes through."""
        key = (kind, options)
        plan = self._plans.get(key)
        if plan is not None:
            self._plans.move_to_end(key)
            return plan
        plan = make()
        if len(options) <= LONGEST_KEY:
            self._plans[key] = plan
            if len(self._plans) > PLANS_KEPT:
                self._plans.popitem(last=False)
        return plan


def default_grid(graph: Intake) -> SegmentGrid:
    """The grid of a clip where the request says nothing."""
    return _plan_grid(graph, Options(kind="embedding"), stream=False)


def _choose_heads(graph: Graph, options: Options) -> list[Head]:
    by_name = {head.spec.name: head for head in graph.heads}
    for index, name in enumerate(options.heads):
        field = f"options.heads[{index}]"
        if name not in by_name:
            raise OptionError(
                f"{field}: model {graph.bundle.name!r} has no head {name!r}; it has {', '.join(by_name)}",
                field=field,
                reason="HEAD_UNKNOWN",
            )
        kind = by_name[name].spec.kind
        if kind != options.kind:
            raise HeadKindError(f"{field}: head {name!r} is of kind {kind}, not of this call's", field=field)
    chosen = [
        head
        for head in graph.heads
        if head.spec.kind == options.kind and (not options.heads or head.spec.name in options.heads)
    ]
    if not chosen:
        other = "Classify" if options.kind == "embedding" else "Embed"
        raise HeadKindError(
            f"model {graph.bundle.name!r} has no {options.kind} head; it answers {other}", field="model"
        )
    return chosen


def _check_allowlist(chosen: Sequence[Head], options: Options) -> None:
    known = {name for head in chosen for name in head.spec.category_names}
    if options.allow and not known.intersection(options.allow):
        raise OptionError(
            f"options.category_allowlist: the model knows none of {sorted(set(options.allow))[:5]}; "
            "GetModel lists its categories",
            field="options.category_allowlist",
        )


def _plan_head(head: Head, options: Options, *, stream: bool) -> HeadPlan:
    pooling = options.pooling or ("none" if stream else head.spec.pool)
    if head.spec.kind == "embedding":
        return HeadPlan(head=head, pooling=pooling, finish=_finish_embedding(head, options))
    threshold = options.score_threshold
    if threshold is None:
        threshold = head.spec.score_threshold if head.spec.score_threshold is not None else 0.0
    categories = CategoryFilter(
        head.spec.category_names,
        head.dimension,
        allow=options.allow,
        deny=options.deny,
        threshold=threshold,
        max_results=options.max_results,
    )
    names = display_names(head.spec.labels, options.locale)
    return HeadPlan(head=head, pooling=pooling, finish=categories.rank, display_names=names)


def _finish_embedding(head: Head, options: Options) -> Callable[[Floats], Value]:
    normalise = head.spec.l2_normalize if options.l2_normalize is None else options.l2_normalize

    def finish(vector: Floats) -> Value:
        if normalise:
            vector = l2_normalize(vector)
        if options.vector_type == "int8":
            return to_int8(vector)
        return to_float16(vector) if options.vector_type == "float16" else vector

    return finish


def _plan_grid(graph: Intake, options: Options, *, stream: bool) -> SegmentGrid:
    spec, features = graph.bundle.segment, graph.features
    row_samples = features.hop if features else 1
    rate = graph.bundle.audio.sample_rate_hz

    def rows(time_ns: int, name: str) -> int:
        if time_ns > LONGEST_S * NS:
            raise OptionError(
                f"options.{name} must be at most {LONGEST_S} s, but is {time_ns / NS:g} s", field=f"options.{name}"
            )
        exact = time_ns * rate / (NS * row_samples)
        return max(1, math.floor(exact + 0.5))

    length = spec.length
    if options.segment_length_ns is not None:
        if length is not None:
            raise OptionError(
                f"options.segment_length: model {graph.bundle.name!r} takes segments of {length} {spec.unit} "
                "and no other; leave it unset",
                field="options.segment_length",
            )
        length = rows(options.segment_length_ns, "segment_length")
        least = _least_length(graph)
        if length < least:
            raise OptionError(
                f"options.segment_length: model {graph.bundle.name!r} needs at least {least} {spec.unit} "
                f"({least * row_samples / rate:g} s), not {length}",
                field="options.segment_length",
            )
    elif length is None and stream:
        if spec.stream_length is None:
            raise OptionError(
                f"options.segment_length: model {graph.bundle.name!r} takes whole clips; a stream must say "
                "how long a segment is",
                field="options.segment_length",
            )
        length = spec.stream_length
    hop = rows(options.hop_ns, "hop") if options.hop_ns is not None else spec.hop or length or 1
    if length is None and options.hop_ns is not None:
        raise OptionError(
            f"options.hop: model {graph.bundle.name!r} takes the whole clip at once; send segment_length with it",
            field="options.hop",
        )
    samples = None
    if length is not None:
        samples = features.segment_samples(length) if features else length
    return SegmentGrid(
        length=length,
        hop=hop,
        row_samples=row_samples,
        samples=samples,
        min_coverage=spec.min_coverage,
        min_samples=_least_samples(graph),
    )


def _least_length(graph: Intake) -> int:
    """Rows that the model needs; nobody has tried one that is yet to be trained."""
    return graph.least_length if isinstance(graph, Graph) else 1


def _least_samples(graph: Intake) -> int:
    """Least sound that gives the rows which the model needs: what they span, less the padding around the sound."""
    least, features = _least_length(graph), graph.features
    if features is None:
        return least
    spanned = features.frame_length + (least + features.drop_last_frame - 1) * features.hop
    return max(1, spanned - features.front_samples - features.back_samples)
