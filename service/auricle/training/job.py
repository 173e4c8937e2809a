"""A job: from a folder or a table of sounds to a bundle and a report, the way that ``auricle train`` goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from auricle.config import SessionSettings
from auricle.engine.graph import Graph
from auricle.engine.plan import default_grid
from auricle.errors import InvalidArgumentError, OptionError
from auricle.model.bundle import Bundle
from auricle.model.bundled import bundled_dir
from auricle.model.heads import HeadSpec
from auricle.model.labels import LabelList
from auricle.model.scratch import scratch_directory
from auricle.training import digits
from auricle.training.augmentation import Augmentation
from auricle.training.cache import FeatureCache
from auricle.training.clips import Clip, by_folder, by_table, check
from auricle.training.export import check_target, label_lists, onnx_bytes, served_as, with_bundle
from auricle.training.fit import Fitting
from auricle.training.network import need_keras, read_network
from auricle.training.quantization import MOST_SEGMENTS, Precision, check_float, quantize
from auricle.training.report import History, Report, make_report
from auricle.training.sounds import Recipe, cut, read
from auricle.training.splits import Split, split, spread
from auricle.training.transfer import HeadFitting, attach, choose_head, embeddings, fit_head
from auricle.training.whole import BACKGROUND_LABEL, MOST_WATCHED, train_whole

__all__ = ["BROWSER_FFT", "Job", "run"]

Floats = NDArray[np.float32]
Progress = Callable[[str, int, int], None]

BROWSER_FFT = "browser-fft"


@dataclass(frozen=True, kw_only=True)
class Job:
    """What ``auricle train`` takes.

    Attributes:
        data: a folder with a sub-folder a class, or a CSV of path, label and, if wanted, split and group.
        out: the bundle to write; its stem names the model, or in NAME/VERSION.onnx, with a number, is its version.
        backbone: ``browser-fft`` (the bundled ``digits``, or its network anew with ``whole_model``), or a bundle file.
        head: the backbone's embedding head, where it has several.
        whole_model: trains the browser-FFT network end to end; needs the extra ``train``.
        short: what happens to clips that are shorter than the model's segment: ``pad`` them with silence, as a server
            does, or ``drop`` them.
        group_pattern: a regular expression on file names whose one group says who or what made the sound.
        held_out: the group to test with; otherwise ``test_share`` of each class is, or what the table says.
        locales: what the classes are called, by locale, each list in the order of the report's labels.
        quantize: how the bundle's numbers are stored; None: as float32.
        cache: a folder that keeps features and embeddings for the next job; None: none is kept.
        device: where the backbone and the bundle run, ``cpu``, ``cuda`` or another of onnxruntime's execution
            providers; ``auto`` is cuda where it can be used. A whole model learns where TensorFlow does, which takes a
            GPU that it sees.
        author, license: for the metadata.
        fitting, augmentation: of a whole model; ``fitting.seed`` is everyone's.
    """

    data: Path
    out: Path
    backbone: str = BROWSER_FFT
    head: str | None = None
    whole_model: bool = False
    short: Literal["pad", "drop"] = "pad"
    group_pattern: str | None = None
    held_out: str | None = None
    test_share: float = 0.2
    locales: Mapping[str, Sequence[str]] = field(default_factory=dict)
    quantize: Precision | None = None
    cache: Path | None = None
    device: str = "auto"
    author: str = ""
    license: str = ""
    fitting: Fitting = field(default_factory=Fitting)
    augmentation: Augmentation = field(default_factory=Augmentation)
    head_fitting: HeadFitting = field(default_factory=HeadFitting)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Data:
    """What is learned from: clips by use, backgrounds, and the classes in the order of the scores."""

    parts: Split
    noises: list[Path]
    labels: tuple[LabelList, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        return self.labels[0].names


def run(job: Job, progress: Progress = lambda stage, done, total: None) -> Report:
    """Trains, tests the bundle that was made, writes it to ``job.out`` and gives the report.

    Args:
        progress: gets (stage, done, total).

    Raises:
        InvalidArgumentError: data that cannot be learned from, before training starts.
        BundleError, OptionError: the backbone or its head.
    """
    path = _check_options(job)
    session = SessionSettings(device=job.device)
    base: Recipe | Graph = digits.recipe() if job.whole_model else Graph(path, session)
    data = _find(job, base, progress)
    # Made beforehand, so that a place that cannot be written is known now.
    with scratch_directory(job.out.parent) as scratch:
        if isinstance(base, Graph):
            content, bundle, history = _transfer(job, path, base, data, progress)
        else:
            content, bundle, history = _whole(job, base, data, progress)
        made, float32_accuracy = scratch / job.out.name, None
        made.write_bytes(content)
        report = _test(made, session, data, history, progress)
        if job.quantize is not None:
            graph = Graph(made, session)
            calibrating = spread(data.parts.learned, MOST_SEGMENTS)
            segments = [rows for clip in calibrating for rows in cut(clip.path, graph)]
            content, float32_accuracy = quantize(made, job.quantize, segments), report.accuracy
            made.write_bytes(content)
            report = _test(made, session, data, history, progress, job.quantize, float32_accuracy)
        made.write_bytes(with_bundle(content, _described(job, bundle, report, len(data.parts.learned))))
        # A server that watches the directory sees a whole file or none.
        made.replace(job.out)
    return report


def _check_options(job: Job) -> Path:
    """The backbone's file. OptionError or BundleError, before any sound is read."""
    if not 0 < job.test_share < 1:
        raise OptionError(f"test_share must lie between 0 and 1, but is {job.test_share}", field="test_share")
    if job.whole_model and job.backbone != BROWSER_FFT:
        raise OptionError(f"a whole model is trained of {BROWSER_FFT} only, not of {job.backbone}", field="whole_model")
    if job.whole_model:
        need_keras()
    check_target(job.out)
    path = bundled_dir() / "digits.onnx" if job.backbone == BROWSER_FFT else Path(job.backbone)
    if not path.is_file():
        raise OptionError(f"there is no bundle {path}; give a file, or {BROWSER_FFT}", field="backbone")
    if job.quantize is not None and not job.whole_model:
        check_float(path)
    return path


def _find(job: Job, base: Recipe | Graph, progress: Progress) -> _Data:
    """The clips, each of them read once: a bad one is named now and not in the middle of training."""
    if job.data.is_dir() or job.data.suffix.lower() != ".csv":
        clips, noises = by_folder(job.data, group_pattern=job.group_pattern)
    else:
        clips, noises = by_table(job.data, group_pattern=job.group_pattern), []
    check(clips, where=str(job.data))
    lasts_s, paths = list[float](), [*(clip.path for clip in clips), *noises]
    for done, path in enumerate(paths, 1):
        wave, rate_hz = read(path)
        lasts_s.append(wave.size / rate_hz)
        progress("reading", done, len(paths))
    samples = default_grid(base).samples
    if job.short == "drop" and samples is not None:
        least_s = samples / base.bundle.audio.sample_rate_hz
        kept = [clip for clip, clip_s in zip(clips, lasts_s, strict=False) if clip_s >= least_s]
        if not kept:
            raise InvalidArgumentError(
                f"all {len(clips)} clips of {job.data} are shorter than the model's segment of {least_s:.3f} s; pad "
                "them with silence instead of dropping them, or give longer ones"
            )
        check(kept, where=f"{job.data}, without the clips that are shorter than {least_s:.3f} s,")
        clips = kept
    names = sorted({clip.label for clip in clips})
    if (job.whole_model or noises) and BACKGROUND_LABEL not in names:
        names.append(BACKGROUND_LABEL)
    parts = split(clips, share=job.test_share, seed=job.fitting.seed, held_out=job.held_out)
    return _Data(parts=parts, noises=noises, labels=label_lists({"": names, **job.locales}, len(names)))


def _transfer(job: Job, path: Path, graph: Graph, data: _Data, progress: Progress) -> tuple[bytes, Bundle, History]:
    head = choose_head(graph, job.head)
    # A whole model mixes backgrounds in; a head can only learn what they are.
    learned = [*data.parts.learned, *(Clip(path=noise, label=BACKGROUND_LABEL) for noise in data.noises)]
    clips = [*learned, *spread(data.parts.watched, MOST_WATCHED)]
    done, cache = iter(range(1, len(clips) + 1)), FeatureCache(job.cache)
    x, sources = embeddings(
        path, graph, head, clips, cache=cache, on_clip=lambda: progress("embedding", next(done), len(clips))
    )
    y = np.array([data.classes.index(clip.label) for clip in clips])[sources]
    own = sources < len(learned)
    watched = (x[~own], y[~own])
    linear, history = fit_head(x[own], y[own], len(data.classes), job.head_fitting, watched=watched)
    content, bundle = attach(path, graph, head, linear, data.labels)
    what = f"a classifier on {graph.bundle.name!r}"
    return content, msgspec.structs.replace(bundle, description=what), history


def _whole(job: Job, base: Recipe, data: _Data, progress: Progress) -> tuple[bytes, Bundle, History]:
    scores = HeadSpec(name="scores", tensor="scores", kind="classification", labels=data.labels)
    bundle = msgspec.structs.replace(
        base.bundle, heads=(base.bundle.heads[0], scores), description="the browser-FFT network"
    )
    model, history = train_whole(
        data.parts,
        data.classes,
        data.noises,
        base,
        job.fitting,
        job.augmentation,
        cache=FeatureCache(job.cache),
        progress=progress,
    )
    return onnx_bytes(read_network(model), bundle), bundle, history


def _test(
    path: Path,
    session: SessionSettings,
    data: _Data,
    history: History,
    progress: Progress,
    precision: str = "float32",
    float32_accuracy: float | None = None,
) -> Report:
    """What the file answers to the tested clips: the mean over a clip's segments, as a server pools them."""
    graph, tested, scores = Graph(path, session), data.parts.tested, list[Floats]()
    tensor = next(head.spec.tensor for head in graph.heads if head.spec.kind == "classification")
    for done, clip in enumerate(tested, 1):
        scores.append(graph.run([tensor], list(cut(clip.path, graph)))[tensor].mean(0, dtype=np.float64))
        progress(f"testing {precision}", done, len(tested))
    return make_report(
        data.classes,
        [str(clip.path) for clip in tested],
        np.array([data.classes.index(clip.label) for clip in tested]),
        np.stack(scores),
        history=history,
        precision=precision,
        float32_accuracy=float32_accuracy,
    )


def _described(job: Job, bundle: Bundle, report: Report, learned: int) -> Bundle:
    """The metadata with the training's summary; its description so far says what was trained."""
    _, name, version = served_as(job.out)
    held_out = f", of the held-out group {job.held_out!r}" if job.held_out is not None else ""
    stored = f" Weights as {report.precision}." if report.float32_accuracy is not None else ""
    return msgspec.structs.replace(
        bundle,
        name=name,
        version=version,
        task="audio-classification",
        author=job.author,
        license=job.license,
        description=(
            f"{len(report.labels)} classes: {bundle.description}, trained on {learned} clips with seed "
            f"{job.fitting.seed}; {report.accuracy:.1%} of {report.clips} clips that it had not learned from"
            f"{held_out}.{stored}"
        ),
    )
