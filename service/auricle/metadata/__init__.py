"""Writers of metadata: said as TensorFlow Lite's metadata writers do, kept as a bundle."""

from auricle.metadata.audio_classifier import MetadataWriter
from auricle.metadata.inspect import tflite_json
from auricle.metadata.metadata_info import (
    AssociatedFileMd,
    ClassificationTensorMd,
    EmbeddingTensorMd,
    GeneralMd,
    InputAudioTensorMd,
    LabelFileMd,
    ScoreCalibrationMd,
    ScoreThresholdingMd,
    ScoreTransformationType,
    TensorMd,
    TensorType,
)

__all__ = [
    "AssociatedFileMd",
    "ClassificationTensorMd",
    "EmbeddingTensorMd",
    "GeneralMd",
    "InputAudioTensorMd",
    "LabelFileMd",
    "MetadataWriter",
    "ScoreCalibrationMd",
    "ScoreThresholdingMd",
    "ScoreTransformationType",
    "TensorMd",
    "TensorType",
    "tflite_json",
]
