"""The classifier: a buffer of sound in, categories by head out."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from numbers import Integral, Real
from os import PathLike, fspath

from auricle.client import TlsOptions
from auricle.errors import OptionError
from auricle.task.base import AudioTask
from auricle.task.core import BaseOptions
from auricle.task.failures import plain_errors
from auricle.task.local import open_classifier
from auricle.task.processor import ClassificationOptions, ClassificationResult
from auricle.task.remote import connect_classifier
from auricle.task.tensor import TensorAudio

__all__ = ["AudioClassifier", "AudioClassifierOptions"]


@dataclass
class AudioClassifierOptions:
    """The model, and which of its categories are wanted."""

    base_options: BaseOptions
    classification_options: ClassificationOptions = field(default_factory=ClassificationOptions)


class AudioClassifier(AudioTask[ClassificationResult]):
    """Classifies one buffer at a time, with neither resampling nor mixing down. Embedding heads stay silent."""

    @classmethod
    def create_from_file(cls, file_path: str | PathLike[str]) -> AudioClassifier:
        """A classifier of a bundle, with the default options. Errors as `create_from_options`."""
        return cls.create_from_options(AudioClassifierOptions(BaseOptions(file_name=fspath(file_path))))

    @classmethod
    def create_from_options(cls, options: AudioClassifierOptions) -> AudioClassifier:
        """A classifier that runs in this process.

        Raises:
            ValueError: no model, one that is not there or cannot be served, one without a classification head, or
                an option out of range.
            RuntimeError: anything else.
        """
        with plain_errors():
            _check(options.classification_options)
            return cls(open_classifier(options.base_options, options.classification_options))

    @classmethod
    def connect(
        cls,
        target: str,
        *,
        model: str | None = None,
        version: str | None = None,
        options: ClassificationOptions | None = None,
        tls: TlsOptions | None = None,
        timeout_s: float | None = 60.0,
    ) -> AudioClassifier:
        """A classifier that asks a server.

        Args:
            target: HOST:PORT, or any gRPC target.
            model: name; None: the only one there that classifies.
            version: None: the newest.
            tls: how to encrypt; None: plaintext.
            timeout_s: time limit of a call; None: no limit.

        Raises:
            ValueError: no such model, it has no classification head, or an option is out of range.
            RuntimeError: the server does not answer.
        """
        options = options or ClassificationOptions()
        with plain_errors():
            _check(options)
            return cls(
                connect_classifier(
                    target,
                    options,
                    model=model,
                    version=version,
                    tls=tls,
                    timeout_s=timeout_s,
                )
            )

    def classify(self, audio: TensorAudio) -> ClassificationResult:
        """The categories of one buffer, one list a classification head.

        Raises:
            ValueError: its channels, rate or size are not the required ones, or a sample is not finite.
            RuntimeError: the model failed.
        """
        return self._run(audio)


def _check(options: ClassificationOptions) -> None:
    """Refuses what is no number, which would show in an answer only, or as an answer that is always empty."""
    most, least = options.max_results, options.score_threshold
    if most is not None and not isinstance(most, Integral):
        raise OptionError(f"max_results must be a whole number, but is {most!r}", field="max_results")
    if least is not None and (not isinstance(least, Real) or math.isnan(least)):
        raise OptionError(f"score_threshold must be a number, but is {least!r}", field="score_threshold")
