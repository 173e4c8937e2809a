"""A model on a server: each buffer is one call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from auricle.client import Client, HeadInfo, ModelInfo, Pcm, TlsOptions
from auricle.errors import HeadKindError, NotFoundError, OptionError
from auricle.model.labels import CategoryFilter
from auricle.task.backend import Backend, Floats
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

__all__ = ["connect_classifier", "connect_embedder"]


def connect_embedder(
    target: str,
    options: EmbeddingOptions,
    *,
    model: str | None,
    version: str | None,
    tls: TlsOptions | None,
    timeout_s: float | None,
) -> Backend[EmbeddingResult]:
    """A model whose embedding heads answer."""
    with _opened(Client(target, tls=tls, timeout_s=timeout_s)) as client:
        info, heads = _model(client, model, version, "embedding")

    def run(wave: Floats) -> EmbeddingResult:
        reply = client.embed(
            Pcm(wave, info.sample_rate_hz),
            model=info.name,
            version=info.version,
            pooling="none",
            l2_normalize=options.l2_normalize,
            vector_type="int8" if options.quantize else "float32",
        )
        return EmbeddingResult(
            [Embedding(FeatureVector(each.vector), index) for index, each in enumerate(reply.embeddings)]
        )

    return Backend(**_sound(info), dimensions=tuple(head.dimension for head in heads), run=run, close=client.close)


def connect_classifier(
    target: str,
    options: ClassificationOptions,
    *,
    model: str | None,
    version: str | None,
    tls: TlsOptions | None,
    timeout_s: float | None,
) -> Backend[ClassificationResult]:
    """A model whose classification heads answer."""
    with _opened(Client(target, tls=tls, timeout_s=timeout_s)) as client:
        info, heads = _model(client, model, version, "classification")
        _check(options, heads)

    def run(wave: Floats) -> ClassificationResult:
        reply = client.classify(
            Pcm(wave, info.sample_rate_hz),
            model=info.name,
            version=info.version,
            pooling="none",
            max_results=options.max_results,
            score_threshold=options.score_threshold,
            category_allowlist=options.category_name_allowlist or (),
            category_denylist=options.category_name_denylist or (),
            display_names_locale=options.display_names_locale or "",
        )
        return ClassificationResult(
            [
                Classifications(
                    [Category(one.index, one.score, one.display_name, one.category_name) for one in each.categories],
                    index,
                    each.head,
                )
                for index, each in enumerate(reply.classifications)
            ]
        )

    return Backend(**_sound(info), dimensions=tuple(head.dimension for head in heads), run=run, close=client.close)


@contextmanager
def _opened(client: Client) -> Iterator[Client]:
    """Keeps the client, unless what is done first with it fails."""
    try:
        yield client
    except BaseException:
        client.close()
        raise


def _model(client: Client, name: str | None, version: str | None, kind: str) -> tuple[ModelInfo, list[HeadInfo]]:
    """The model in full, and its heads of that kind."""
    if name is None:
        names = sorted({each.name for each in client.models(kind)})
        if len(names) != 1:
            raise NotFoundError(f"name a model: those with {kind} heads are: {', '.join(names) or 'none'}")
        name = names[0]
    info = client.model(name, version)
    heads = [head for head in info.heads if head.kind == kind]
    if not heads:
        raise HeadKindError(f"model {name!r} has no {kind} head")
    return info, heads


def _sound(info: ModelInfo) -> dict[str, Any]:
    return {
        "format": AudioFormat(info.channels, info.sample_rate_hz),
        "buffer_size": info.segment_samples,
        "usual_size": info.segment_samples,
    }


def _check(options: ClassificationOptions, heads: list[HeadInfo]) -> None:
    """Refuses now what the server would refuse at every call."""
    names = {name for head in heads for name in next(iter(head.label_lists.values()), ())}
    allow = options.category_name_allowlist or ()
    CategoryFilter((), 0, allow=allow, deny=options.category_name_denylist or (), max_results=options.max_results)
    if allow and names.isdisjoint(allow):
        raise OptionError(f"category_name_allowlist: the model knows none of {sorted(set(allow))[:5]}")
