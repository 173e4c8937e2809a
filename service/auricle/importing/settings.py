"""What an import is told, and what it reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from auricle.errors import OptionError
from auricle.importing.convert import Precision
from auricle.model.calibration import Transformation
from auricle.model.heads import Activation

__all__ = ["TEXTS", "Difference", "ImportReport", "ImportSettings", "Task"]

Task = Literal["speaker-embedding", "audio-embedding", "audio-classification"]

# Settings that only describe, so that they can be said of any model.
TEXTS = ("version", "description", "author", "license")
# Settings whose flag has another name.
FLAGS = {"sample_rate_hz": "sample-rate", "outputs": "output"}


@dataclass(frozen=True, kw_only=True)
class ImportSettings:
    """What the user says of a model; None and empty leave it to the file, or to the recipe.

    Attributes:
        name: of the model; default a bundle's own, else the file's without its suffix.
        version: of the model; default the file's own, or "1".
        precision: which weights of a quantised .tflite are written.
        force: write it although it differs from the original by more than the bound.
        replace: write it although there is a model of that name.
        sample_rate_hz: rate that the model takes.
        features: a preset's name, or "none": the model takes the waveform.
        layout: axes of the input, e.g. ``batch,frames,bands``; default by its rank.
        segment_length_s, hop_s: where the model takes any length: seconds of a segment, and between two.
        outputs: tensors that become heads; default all.
        labels: label files of the classification output, each with its locale.
        calibration: a score calibration file, with ``transformation`` and ``default_score``.
        activation: what makes scores of a classification output's values.
        task, description, author, license: for the bundle.
        fallback_license: for the bundle, where neither ``license`` nor the file says.
    """

    name: str | None = None
    version: str | None = None
    precision: Precision = "float"
    force: bool = False
    replace: bool = False
    sample_rate_hz: int | None = None
    features: str | None = None
    layout: str | None = None
    segment_length_s: float | None = None
    hop_s: float | None = None
    outputs: tuple[str, ...] = ()
    labels: tuple[tuple[str, Path], ...] = ()
    calibration: Path | None = None
    transformation: Transformation = "IDENTITY"
    default_score: float = 0.0
    activation: Activation = "none"
    task: Task | None = None
    description: str = ""
    author: str = ""
    license: str = ""
    fallback_license: str = ""

    def __post_init__(self) -> None:
        for field in ("sample_rate_hz", "segment_length_s", "hop_s"):
            value = getattr(self, field)
            if value is not None and not value > 0:
                raise OptionError(f"{field} must be above 0, but is {value}", field=field)
        if self.name is not None and (not self.name or Path(self.name).name != self.name or self.name.startswith(".")):
            raise OptionError(f"name {self.name!r} must be usable as a file's name, without a path", field="name")
        locales = [locale for locale, _ in self.labels]
        for locale in locales:
            if locales.count(locale) > 1:
                which = f"of locale {locale!r}" if locale else "without a locale"
                raise OptionError(f"--labels: there are two files {which}; keep one of them", field="labels")
        if self.calibration is None:
            self.refuse("transformation", "default_score", why="there is no --calibration that it would be of")

    def texts(self) -> dict[str, str]:
        """Those of ``TEXTS`` that are given."""
        return {name: getattr(self, name) for name in TEXTS if getattr(self, name)}

    def refuse(self, *names: str, why: str) -> None:
        """Raises OptionError where one of these fields is set, which would have no effect."""
        for field in fields(self):
            if field.name in names and getattr(self, field.name) != field.default:
                flag = FLAGS.get(field.name, field.name).replace("_", "-")
                raise OptionError(f"--{flag}: {why}; leave it out", field=field.name)

    def check_task(self, kinds: Sequence[str]) -> None:
        """Raises OptionError where heads of these kinds are none for ``task``."""
        kind = "classification" if self.task == "audio-classification" else "embedding"
        if self.task is not None and kind not in kinds:
            raise OptionError(
                f"--task {self.task} is for a model with a head of kind {kind}, but this one has "
                f"{' and '.join(dict.fromkeys(kinds))} alone; give another, or leave it out",
                field="task",
            )


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How far an import's head is from what it was made of, at worst over the test sounds.

    Attributes:
        precision, head, kind: which head of which variant.
        original: from the original model in its own runtime: the largest |difference| of a score, or 1 - cosine of
            an embedding; None where the original does not give this output.
        graph: the same from the converted graph as it was before anything was cut from it.
        sound: the test sound of the worst ``original``, else of the worst ``graph``.
        bound: what ``original`` must not exceed.
    """

    precision: Precision
    head: str
    kind: str
    original: float | None
    graph: float
    sound: str
    bound: float

    @property
    def passes(self) -> bool:
        """Whether the original agrees within the bound."""
        return self.original is None or self.original <= self.bound


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """What was written, and how well it agrees.

    Attributes:
        path: the bundle.
        precision: of its weights; empty for an ONNX import, which leaves them as they are.
        features: preset, or None where the model takes the waveform.
        batches: whether segments may share a run.
        heads: name, kind and length of each.
        notes: what the user should know, one sentence each.
        differences: of every variant that was made, also of the one that was not written.
    """

    path: Path
    name: str
    version: str
    precision: str
    features: str | None
    batches: bool
    size_bytes: int
    heads: tuple[tuple[str, str, int], ...]
    notes: tuple[str, ...]
    differences: tuple[Difference, ...] = ()
