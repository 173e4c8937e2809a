"""A job: from a folder or a table of sounds to a bundle and a report, the way that ``auricle train`` goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
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
from auricle.training import digits
from auricle.training.augment import Augmentation
from auricle.training.clips import Clip, by_folder, by_table, check, split
from auricle.training.export import onnx_bytes
from auricle.training.fit import Fitting, fit, seed_everything
from auricle.training.network import FRAMES, build, read_weights
from auricle.training.planes import make_planes, planes_of
from auricle.training.report import Report, make_report
from auricle.training.sounds import Recipe, cut, read
from auricle.training.transfer import HeadFitting, attach, choose_head, clip_scores, embeddings, fit_head

__all__ = ["BROWSER_FFT", "Job", "run"]

Floats = NDArray[np.float32]
Progress = Callable[[str, int, int], None]

BROWSER_FFT = "browser-fft"
BACKGROUND_LABEL = "background"
DENSE_UNITS = 512


@dataclass(frozen=True, kw_only=True)
class Job:
    """What ``auricle train`` takes.

    Attributes:
        data: a folder with a sub-folder a class, or a CSV of path, label and, if wanted, split and group.
        out: the bundle to write; its stem names the model.
        backbone: ``browser-fft`` (the bundled ``digits``, or its network anew with ``whole_model``), or a bundle file.
        head: the backbone's embedding head, where it has several.
        whole_model: trains the browser-FFT network end to end; needs the extra ``train``.
        short: what happens to clips that are shorter than the model's segment: ``pad`` them with silence, as a server
            does, or ``drop`` them.
        group_pattern: a regular expression on file names whose one group says who or what made the sound.
        held_out: the group to test with; otherwise ``test_share`` of each class is, or what the table says.
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
    author: str = ""
    license: str = ""
    fitting: Fitting = field(default_factory=Fitting)
    augmentation: Augmentation = field(default_factory=Augmentation)
    head_fitting: HeadFitting = field(default_factory=HeadFitting)


def run(job: Job, progress: Progress = lambda stage, done, total: None) -> Report:
    """Trains, tests, writes ``job.out`` and gives the report. ``progress`` gets (stage, done, total).

    Raises:
        InvalidArgumentError: data that cannot be learned from, before training starts.
        BundleError, OptionError: the backbone or its head.
    """
    if not 0 < job.test_share < 1:
        raise OptionError(f"test_share must lie between 0 and 1, but is {job.test_share}", field="test_share")
    if job.whole_model and job.backbone != BROWSER_FFT:
        raise OptionError(f"a whole model is trained of {BROWSER_FFT} only, not of {job.backbone}", field="whole_model")
    if job.data.is_dir() or job.data.suffix.lower() != ".csv":
        clips, noises = by_folder(job.data, group_pattern=job.group_pattern)
    else:
        clips, noises = by_table(job.data, group_pattern=job.group_pattern), []
    check(clips, where=str(job.data))
    path = bundled_dir() / "digits.onnx" if job.backbone == BROWSER_FFT else Path(job.backbone)
    if not path.is_file():
        raise OptionError(f"there is no bundle {path}; give a file, or {BROWSER_FFT}", field="backbone")
    base = digits.recipe() if job.whole_model else Graph(path, SessionSettings())
    lasts_s = _durations(clips, noises, progress)
    samples = default_grid(base).samples
    if job.short == "drop" and samples is not None:
        least_s = samples / base.bundle.audio.sample_rate_hz
        clips = [clip for clip, clip_s in zip(clips, lasts_s, strict=False) if clip_s >= least_s]
        check(clips, where=f"{job.data}, without the clips that are shorter than {least_s:.3f} s,")
    learned, tested = split(clips, share=job.test_share, seed=job.fitting.seed, held_out=job.held_out)
    labels = sorted({clip.label for clip in clips})
    missing = sorted(set(labels) - {clip.label for clip in learned})
    if missing:
        raise InvalidArgumentError(f"no clip of class {missing[0]!r} is left to learn from; hold out another group")
    if isinstance(base, Graph):
        data, report = _transfer(job, path, base, learned, tested, labels, progress)
    else:
        data, report = _whole(job, base, learned, tested, labels, noises, progress)
    scratch = job.out.with_name(f".{job.out.name}.part")
    job.out.parent.mkdir(parents=True, exist_ok=True)
    scratch.write_bytes(data)
    # A server that watches the directory sees a whole file or none.
    scratch.replace(job.out)
    return report


def _durations(clips: Sequence[Clip], noises: Sequence[Path], progress: Progress) -> list[float]:
    """Seconds of every file, each read once: a bad one is named now and not in the middle of training."""
    paths, found = [*(clip.path for clip in clips), *noises], []
    for done, path in enumerate(paths, 1):
        wave, rate_hz = read(path)
        found.append(wave.size / rate_hz)
        progress("reading", done, len(paths))
    return found


def _transfer(
    job: Job,
    path: Path,
    graph: Graph,
    learned: list[Clip],
    tested: list[Clip],
    labels: list[str],
    progress: Progress,
) -> tuple[bytes, Report]:
    head = choose_head(graph, job.head)
    both = [*learned, *tested]
    done = iter(range(1, len(both) + 1))
    x, sources = embeddings(graph, head, both, on_clip=lambda: progress("embedding", next(done), len(both)))
    y = np.array([labels.index(clip.label) for clip in both])
    own = sources < len(learned)
    linear = fit_head(x[own], y[sources[own]], len(labels), job.head_fitting)
    scores = clip_scores(linear, x[~own], sources[~own] - len(learned), len(tested))
    report = make_report(labels, [str(clip.path) for clip in tested], y[len(learned) :], scores)
    bundle = _described(job, graph.bundle, report, learned, f"a classifier on {graph.bundle.name!r}")
    return attach(path, graph, head, linear, labels, bundle), report


def _whole(
    job: Job,
    base: Recipe,
    learned: list[Clip],
    tested: list[Clip],
    labels: list[str],
    noises: list[Path],
    progress: Progress,
) -> tuple[bytes, Report]:
    seed_everything(job.fitting.seed)
    names = [*labels, BACKGROUND_LABEL] if BACKGROUND_LABEL not in labels else labels
    heads = (
        base.bundle.heads[0],
        HeadSpec(name="scores", tensor="scores", kind="classification", labels=(LabelList(names=tuple(names)),)),
    )
    bundle = msgspec.structs.replace(base.bundle, heads=heads)
    recipe = Recipe(bundle, base.features)
    assert recipe.features is not None
    done = iter(range(1, len(learned) + 1))
    planes = make_planes(
        learned,
        recipe.features,
        length=FRAMES,
        speeds=digits.SPEEDS,
        per_clip=digits.VARIANTS,
        seed=job.fitting.seed,
        on_clip=lambda: progress("spectra", next(done), len(learned)),
    )
    spectra = digits.noises(job.fitting.seed)
    low = replace(recipe.features, floor=1e-10, normalization="none", norm_epsilon=0.0)
    for path in noises:
        own = [plane for plane, _ in planes_of(*read(path), low, length=FRAMES)]
        spectra = np.concatenate([np.stack(own), spectra])
    model = build(len(names), dense_units=DENSE_UNITS)
    history = fit(
        model,
        planes,
        np.array([names.index(clip.label) for clip in learned]),
        spectra,
        recipe.features,
        job.fitting,
        job.augmentation,
        background=names.index(BACKGROUND_LABEL),
        on_epoch=lambda epoch: progress("epochs", epoch.number, job.fitting.epochs),
    )
    wanted = np.array([names.index(clip.label) for clip in tested])
    scores = [np.asarray(model.predict_on_batch(cut(clip.path, recipe)[..., None])).mean(0) for clip in tested]
    losses = [epoch.loss for epoch in history]
    report = make_report(names, [str(clip.path) for clip in tested], wanted, np.stack(scores), losses=losses)
    described = _described(job, bundle, report, learned, "the browser-FFT network")
    return onnx_bytes(read_weights(model), described), report


def _described(job: Job, bundle: Bundle, report: Report, learned: Sequence[Clip], what: str) -> Bundle:
    held_out = f", of the held-out group {job.held_out!r}" if job.held_out is not None else ""
    return msgspec.structs.replace(
        bundle,
        name=job.out.stem,
        version="1",
        task="audio-classification",
        author=job.author,
        license=job.license,
        description=(
            f"{len(report.labels)} classes: {what}, trained on {len(learned)} clips with seed {job.fitting.seed}; "
            f"{report.accuracy:.1%} of {report.clips} clips that it had not learned from{held_out}."
        ),
    )
