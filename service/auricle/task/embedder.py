"""The embedder: a buffer of sound in, one vector a head out."""

from __future__ import annotations

from dataclasses import dataclass, field
from os import PathLike, fspath

from auricle.client import TlsOptions, cosine
from auricle.task.base import AudioTask
from auricle.task.core import BaseOptions
from auricle.task.failures import plain_errors
from auricle.task.local import open_embedder
from auricle.task.processor import EmbeddingOptions, EmbeddingResult, FeatureVector
from auricle.task.remote import connect_embedder
from auricle.task.tensor import TensorAudio

__all__ = ["AudioEmbedder", "AudioEmbedderOptions"]


@dataclass
class AudioEmbedderOptions:
    """The model, and what is done to its vectors."""

    base_options: BaseOptions
    embedding_options: EmbeddingOptions = field(default_factory=EmbeddingOptions)


class AudioEmbedder(AudioTask[EmbeddingResult]):
    """Embeds one buffer at a time, with neither resampling nor mixing down.

    In process every output of the model is a head, scores too (without their calibration); on a server the
    heads are those that the bundle calls embeddings.
    """

    @classmethod
    def create_from_file(cls, file_path: str | PathLike[str]) -> AudioEmbedder:
        """An embedder of a bundle, with the default options. Errors as `create_from_options`."""
        return cls.create_from_options(AudioEmbedderOptions(BaseOptions(file_name=fspath(file_path))))

    @classmethod
    def create_from_options(cls, options: AudioEmbedderOptions) -> AudioEmbedder:
        """An embedder that runs in this process.

        Raises:
            ValueError: no model, one that is not there or cannot be served, or an option out of range.
            RuntimeError: anything else.
        """
        with plain_errors():
            return cls(open_embedder(options.base_options, options.embedding_options))

    @classmethod
    def connect(
        cls,
        target: str,
        *,
        model: str | None = None,
        version: str | None = None,
        options: EmbeddingOptions | None = None,
        tls: TlsOptions | None = None,
        timeout_s: float | None = 60.0,
    ) -> AudioEmbedder:
        """An embedder that asks a server.

        Args:
            target: HOST:PORT, or any gRPC target.
            model: name; None: the only one there that embeds.
            version: None: the newest.
            tls: how to encrypt; None: plaintext.
            timeout_s: time limit of a call; None: no limit.

        Raises:
            ValueError: no such model, or it has no embedding head.
            RuntimeError: the server does not answer.
        """
        with plain_errors():
            return cls(
                connect_embedder(
                    target,
                    options or EmbeddingOptions(),
                    model=model,
                    version=version,
                    tls=tls,
                    timeout_s=timeout_s,
                )
            )

    def embed(self, audio: TensorAudio) -> EmbeddingResult:
        """The vectors of one buffer.

        Raises:
            ValueError: its channels, rate or size are not the required ones, or a sample is not finite.
            RuntimeError: the model failed.
        """
        return self._run(audio)

    @staticmethod
    def cosine_similarity(u: FeatureVector, v: FeatureVector) -> float:
        """u.v / sqrt(|u|^2 |v|^2) in double; int8 vectors as the integers that they hold.

        ValueError: an empty vector, one of norm 0, different sizes, or one float and one int8.
        """
        with plain_errors():
            return cosine(u.value, v.value)

    def get_embedding_dimension(self, output_index: int) -> int:
        """Length of the vector at that place in a result; -1 where there is none."""
        dimensions = self._backend.dimensions
        return dimensions[output_index] if 0 <= output_index < len(dimensions) else -1

    @property
    def number_of_output_layers(self) -> int:
        """Vectors in a result."""
        return len(self._backend.dimensions)
