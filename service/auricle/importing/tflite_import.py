"""A .tflite audio model as a bundle: its description kept, its frontend moved out, its answers compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import structs

from auricle.config import SessionSettings
from auricle.engine.graph import Graph
from auricle.errors import BundleError, OptionError
from auricle.importing import files, surgery, verify
from auricle.importing.convert import Precision, convert, need
from auricle.importing.settings import Difference, ImportReport, ImportSettings
from auricle.importing.signals import trials
from auricle.importing.tflite import OutputNote, TfliteModel, TfliteTensor, read_tflite
from auricle.metadata.view import ModelMetadata

__all__ = ["import_tflite"]

Progress = Callable[[str], None]
Converter = Callable[[TfliteModel, Precision, Path], Any]
WAVEFORM_LAYOUTS = {1: "samples", 2: "batch,samples"}


def import_tflite(
    path: Path,
    models_dir: Path,
    settings: ImportSettings,
    *,
    progress: Progress = lambda stage: None,
    converter: Converter = convert,
) -> ImportReport:
    """Writes the bundle ``NAME.onnx`` into ``models_dir`` and says how it compares with the original.

    A quantised model is made both ways, with its own 8-bit weights and widened to floats; the one asked for is
    written, the report has both.

    Raises:
        BundleError: a file that is damaged or says too little; an import further from the original than the bound.
        OptionError: an option that does not go with the file; a name that is taken.
        UnavailableError: the extra [tflite] is not installed.
    """
    settings.refuse("layout", "segment_length_s", "hop_s", "outputs", why="a .tflite file says this itself")
    model = read_tflite(path)
    rate_hz = _rate(model, settings)
    if settings.precision == "int8" and not model.quantized:
        raise OptionError(f"{path.name} has no 8-bit weights; import it as float", field="precision")
    if settings.features not in (None, "none"):
        raise OptionError(
            f"{path.name}: its frontend is found in the file; features are none (keep it inside) or left out",
            field="features",
        )
    heads: list[dict[str, Any]] = []
    # Once for all outputs: a pipe gives its text once.
    given = files.labels_and_calibration(settings.labels, settings.calibration)
    for index in range(len(model.outputs)):
        heads.append(_head(model, index, settings, given, taken=[head["name"] for head in heads]))
    if all(head["kind"] != "classification" for head in heads):
        settings.refuse("activation", "calibration", why="no output is a classification")
    settings.check_task([head["kind"] for head in heads])
    name = settings.name or files.slug(path.stem, otherwise="model")
    place = files.place_of(models_dir, name, replace=settings.replace, source=path)
    need("tensorflow", "tf2onnx", "ai_edge_litert")
    with files.workspace(models_dir) as scratch:
        sounds = dict(trials(rate_hz, int(np.prod(model.inputs[0].shape))))
        progress("running the original")
        original = verify.of_tflite(model, [head["name"] for head in heads], list(sounds.values()))
        variants: dict[Precision, _Variant] = {}
        for precision in _precisions(model, settings):
            progress(f"converting ({precision})")
            graph = converter(model, precision, scratch)
            progress(f"comparing ({precision})")
            work = _Work(model=model, settings=settings, name=name, rate_hz=rate_hz, heads=heads, scratch=scratch)
            variants[precision] = work.build(graph, precision, sounds=sounds, original=original)
        chosen = variants[settings.precision]
        found = tuple(each for variant in variants.values() for each in variant.differences)
        failed = [each for each in chosen.differences if not each.passes]
        if failed and not settings.force:
            raise BundleError(
                f"{path.name}: the import's {failed[0].head!r} differs from the original by {failed[0].original:.3g} "
                f"on {failed[0].sound!r}, more than {failed[0].bound:g}; nothing was written (--force keeps it)"
            )
        place.install(chosen.path)
    return ImportReport(
        path=place.path,
        name=name,
        version=chosen.graph.bundle.version,
        precision=settings.precision,
        features=chosen.graph.bundle.preset or None,
        batches=chosen.graph.batches,
        size_bytes=chosen.graph.size_bytes,
        heads=tuple((head.spec.name, head.spec.kind, head.dimension) for head in chosen.graph.heads),
        notes=chosen.notes,
        differences=found,
    )


def _precisions(model: TfliteModel, settings: ImportSettings) -> tuple[Precision, ...]:
    if not model.quantized:
        return ("float",)
    return ("float", "int8") if settings.precision == "float" else ("int8", "float")


def _rate(model: TfliteModel, settings: ImportSettings) -> int:
    where = model.path.name
    rate_hz = settings.sample_rate_hz or (model.metadata.sample_rate_hz if model.metadata else None)
    if not rate_hz:
        missing = "its metadata does not describe audio" if model.metadata else "it has no metadata"
        raise BundleError(
            f"{where}: {missing}, so its sample rate and its labels are not known; give --sample-rate, and --labels "
            "for a classifier"
        )
    channels = model.metadata.channels if model.metadata else 1
    if channels != 1:
        raise BundleError(f"{where}: it takes {channels} channels; only models of one channel are served")
    if len(model.inputs) != 1 or model.inputs[0].dtype != "float32":
        inputs = ", ".join(f"{each.name} ({each.dtype})" for each in model.inputs) or "none"
        raise BundleError(f"{where}: a model takes one float32 waveform, but the inputs are: {inputs}")
    shape = model.inputs[0].shape
    if sum(size > 1 for size in shape) != 1 or len(shape) > 2 or 0 in shape:
        raise BundleError(f"{where}: input {model.inputs[0].name!r} is {list(shape)}; a waveform is [n] or [1, n]")
    if model.metadata and model.metadata.outputs and len(model.metadata.outputs) != len(model.outputs):
        raise BundleError(
            f"{where}: its metadata describes {len(model.metadata.outputs)} outputs, the graph has {len(model.outputs)}"
        )
    return rate_hz


def _head(
    model: TfliteModel, index: int, settings: ImportSettings, given: files.Texts, *, taken: Sequence[str]
) -> dict[str, Any]:
    """One output as the bundle's JSON has it; ``tensor`` is the head's name."""
    tensor = model.outputs[index]
    notes = model.metadata.outputs if model.metadata else ()
    note = notes[index] if notes else OutputNote(name="")
    labels, calibration = _described(model, note, tensor, settings, given)
    classifies = bool(labels) or settings.task == "audio-classification"
    kind = "classification" if classifies else "embedding"
    single = len(model.outputs) == 1
    fallback = ("scores" if classifies else "embedding") if single else f"output_{index}"
    name = files.slug(note.name, otherwise=fallback)
    if name in taken:
        name = f"{name}_{index}"
    head: dict[str, Any] = {"name": name, "tensor": name, "kind": kind, "pool": "mean"}
    if classifies:
        head |= {"activation": settings.activation, "labels": labels, "calibration": calibration}
        head["score_threshold"] = note.score_threshold
    return head


def _described(
    model: TfliteModel, note: OutputNote, tensor: TfliteTensor, settings: ImportSettings, given: files.Texts
) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    classes, where = int(np.prod(tensor.shape)), model.path.name
    packed = [(each, f"{where}: {each.name}", model.files[each.name]) for each in note.files]
    texts, table = given
    texts = texts or [
        (each.locale, source, files.text_of(raw, source=source))
        for each, source, raw in packed
        if each.kind == "labels"
    ]
    if settings.labels or settings.calibration:
        transformation, default_score = str(settings.transformation), settings.default_score
    else:
        tables = [(source, raw) for each, source, raw in packed if each.kind == "calibration"]
        known = tables and note.transformation is not None
        table = (tables[0][0], files.text_of(tables[0][1], source=tables[0][0])) if known else None
        transformation, default_score = note.transformation or "IDENTITY", note.default_score
    labels = files.labels_of(texts, classes=classes)
    if table is None:
        return labels, None
    return labels, files.calibration(
        table[1], transformation=transformation, default_score=default_score, classes=classes, source=table[0]
    )


@dataclass(frozen=True, kw_only=True)
class _Variant:
    path: Path
    graph: Graph
    notes: tuple[str, ...]
    differences: tuple[Difference, ...]


@dataclass(frozen=True, kw_only=True)
class _Work:
    """One model on its way into a bundle."""

    model: TfliteModel
    settings: ImportSettings
    name: str
    rate_hz: int
    heads: Sequence[dict[str, Any]]
    scratch: Path

    def build(self, graph: Any, precision: Precision, *, sounds: dict[str, Any], original: verify.Answers) -> _Variant:
        from onnx import save

        for tensor, head, value in zip(self.model.outputs, self.heads, list(graph.graph.output), strict=True):
            names = [each.name for each in graph.graph.output]
            surgery.rename_tensor(graph, tensor.name if tensor.name in names else value.name, head["tensor"])
            surgery.widen_output(graph, head["tensor"], scale=tensor.scale, zero_point=tensor.zero_point)
        embedding = self._bring_out_embedding(graph)
        whole = self.scratch / f"whole-{precision}.onnx"
        save(graph, str(whole))
        path = self.scratch / f"bundle-{precision}.onnx"
        loaded, notes = self._first_that_loads(graph, path, embedding=embedding)
        bundle = verify.of_bundle(loaded, list(sounds.values()))
        tensors = {head.spec.name: head.spec.tensor for head in loaded.heads}
        converted = verify.of_converted(whole, tensors, list(sounds.values()))
        found = verify.differences(
            loaded,
            list(sounds),
            bundle=bundle,
            original=original,
            converted=converted,
            precision=precision,
            quantized=self.model.quantized,
        )
        return _Variant(path=path, graph=loaded, notes=notes, differences=found)

    def _bring_out_embedding(self, graph: Any) -> bool:
        scores = [head["tensor"] for head in self.heads if head["kind"] == "classification"]
        taken = any(head["name"] == "embedding" for head in self.heads)
        return len(scores) == 1 and not taken and surgery.add_embedding(graph, scores[0]) is not None

    def _first_that_loads(self, graph: Any, path: Path, *, embedding: bool) -> tuple[Graph, tuple[str, ...]]:
        """The fastest form that runs: without frontend and with free batch, down to the graph as it is."""
        problem: BundleError | None = None
        for made, found, freed in self._forms(graph):
            asked = self.settings.features == "none"
            why = "its frontend was left inside" if asked else "no known frontend was found in the graph"
            notes = [] if found else [f"{why} (features: null): it takes the waveform itself"]
            if not freed:
                notes.append("it fixes its batch: segments run one by one (batch 1)")
            bundle = self._bundle(found, embedding=embedding)
            path.write_bytes(files.with_metadata(made, bundle, view=self._view()))
            try:
                loaded = Graph(path, SessionSettings(threads=1))
            except BundleError as error:
                problem = problem or error
                continue
            if freed and not loaded.batches:
                notes.append("its answers depend on what runs beside a segment: segments run one by one (batch 1)")
            return loaded, tuple(notes)
        raise BundleError(f"{self.model.path.name}: no form of it can be served: {problem}") from problem

    def _forms(self, graph: Any) -> Iterator[tuple[Any, surgery.Frontend | None, bool]]:
        """The graph in its forms, with the frontend that was cut and whether its batch is free."""
        found = None
        if self.settings.features in (None, ""):
            found = surgery.find_frontend(graph, sample_rate_hz=self.rate_hz, scratch=self.scratch)
        if found is not None:
            tower = surgery.cut_frontend(graph, found)
            if tower is not None:
                yield surgery.free_batch(tower), found, True
                yield tower, found, False
        if len(self.model.inputs[0].shape) > 1:
            yield surgery.free_batch(graph), None, True
        yield graph, None, False

    def _view(self) -> ModelMetadata | None:
        """What the original says of itself; None where it says nothing, or the user says otherwise of its tensors."""
        settings, metadata = self.settings, self.model.metadata
        if metadata is None or settings.labels or settings.calibration or settings.sample_rate_hz:
            return None
        return structs.replace(metadata.view, **settings.texts())

    def _bundle(self, found: surgery.Frontend | None, *, embedding: bool) -> dict[str, Any]:
        settings, metadata = self.settings, self.model.metadata
        shape = self.model.inputs[0].shape
        length = found.frames if found else int(np.prod(shape))
        heads = [{"name": "embedding", "tensor": "embedding", "kind": "embedding", "pool": "mean"}] if embedding else []
        heads += list(self.heads)
        classifies = any(head["kind"] == "classification" for head in heads)
        tensor = surgery.PATCHES if found else self.model.inputs[0].name
        return {
            "format": 1,
            "name": self.name,
            "version": settings.version or (metadata.version if metadata else "") or "1",
            "task": settings.task or ("audio-classification" if classifies else "audio-embedding"),
            "description": settings.description or (metadata.description if metadata else ""),
            "author": settings.author or (metadata.author if metadata else ""),
            "license": settings.license or (metadata.license if metadata else "") or settings.fallback_license,
            "audio": {"sample_rate_hz": self.rate_hz, "channels": 1},
            "features": {"preset": found.preset} if found else None,
            "segment": {"length": length, "hop": max(1, length // 2), "unit": "frames" if found else "samples"},
            "input": {
                "tensor": tensor,
                "layout": "batch,frames,bands" if found else WAVEFORM_LAYOUTS[len(shape)],
            },
            "heads": heads,
        }
