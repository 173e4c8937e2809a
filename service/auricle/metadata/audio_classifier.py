"""The metadata writer for audio classifiers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, Self

from auricle.metadata.metadata_info import (
    ClassificationTensorMd,
    InputAudioTensorMd,
    LabelFileMd,
    OutputMd,
    ScoreCalibrationMd,
    TensorType,
)
from auricle.metadata.onnxfile import OnnxFile
from auricle.metadata.sound import check_positive
from auricle.metadata.writer import INPUT_NAME, BaseWriter

__all__ = ["MetadataWriter"]

OUTPUT_NAME = "probability"
OUTPUT_DESCRIPTION = "Scores of the labels respectively."


class MetadataWriter(BaseWriter):
    """Writes metadata into an ONNX model whose outputs are scores; see the base class.

    An output may be a vector instead, where its metadata is an `EmbeddingTensorMd`.
    """

    @classmethod
    def create_for_inference(
        cls,
        model_buffer: bytes | bytearray,
        sample_rate: int,
        channels: int,
        label_file_paths: Sequence[str | PathLike[str]],
        score_calibration_md: ScoreCalibrationMd | None = None,
        *,
        bundle: Mapping[str, Any] | None = None,
    ) -> Self:
        """A writer with all that inference needs, for a model of one output.

        Args:
            model_buffer: the ONNX file.
            sample_rate: of the sound that it takes, in Hz, above 0.
            channels: above 0; 1 to be served.
            label_file_paths: the first gives category names.
            score_calibration_md: None: the scores as they are.
            bundle: see the base class.

        Raises ValueError where a value is out of range or a file does not fit the model.
        """
        check_positive(sample_rate=sample_rate, channels=channels)
        output = ClassificationTensorMd(
            name=OUTPUT_NAME,
            description=OUTPUT_DESCRIPTION,
            label_files=[LabelFileMd(path) for path in label_file_paths],
            tensor_type=_tensor_type(model_buffer),
            score_calibration_md=score_calibration_md,
        )
        sound = InputAudioTensorMd(INPUT_NAME, cls.input_description, sample_rate, channels)
        return cls.create_from_metadata_info(model_buffer, input_md=sound, output_md=output, bundle=bundle)

    @classmethod
    def _default_output(cls) -> OutputMd:
        return ClassificationTensorMd(name=OUTPUT_NAME, description=OUTPUT_DESCRIPTION)


def _tensor_type(model_buffer: bytes | bytearray) -> TensorType | None:
    dtype = OnnxFile(model_buffer).outputs[0].dtype
    return TensorType(dtype) if dtype in set(TensorType) else None
