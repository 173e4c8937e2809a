"""The metadata writer for audio embedders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from auricle.metadata.metadata_info import EmbeddingTensorMd, InputAudioTensorMd, OutputMd
from auricle.metadata.sound import check_positive
from auricle.metadata.writer import INPUT_NAME, BaseWriter

__all__ = ["MetadataWriter"]

OUTPUT_NAME = "embedding"
OUTPUT_DESCRIPTION = "Embedding vector of the audio clip."


class MetadataWriter(BaseWriter):
    """Writes metadata into an ONNX model whose outputs are vectors; see the base class.

    An output may be scores instead, where its metadata is a `ClassificationTensorMd`.
    """

    default_kind: ClassVar[str] = "embedding"
    model_name: ClassVar[str] = "AudioEmbedder"
    model_description: ClassVar[str] = "Turn the audio clip into a vector that is near those of clips that sound alike."
    input_description: ClassVar[str] = "Input audio clip to be embedded."

    @classmethod
    def create_for_inference(
        cls,
        model_buffer: bytes | bytearray,
        sample_rate: int,
        channels: int,
        *,
        bundle: Mapping[str, Any] | None = None,
    ) -> Self:
        """A writer with all that inference needs, for a model of one output.

        Args:
            model_buffer: the ONNX file.
            sample_rate: of the sound that it takes, in Hz, above 0.
            channels: above 0; 1 to be served.
            bundle: see the base class.

        Raises ValueError where a value is not positive.
        """
        check_positive(sample_rate=sample_rate, channels=channels)
        sound = InputAudioTensorMd(INPUT_NAME, cls.input_description, sample_rate, channels)
        return cls.create_from_metadata_info(model_buffer, input_md=sound, bundle=bundle)

    @classmethod
    def _default_output(cls) -> OutputMd:
        return EmbeddingTensorMd(name=OUTPUT_NAME, description=OUTPUT_DESCRIPTION)
