"""What user code takes from ``auricle.task.audio``: the two tasks and the sound that they take."""

from auricle.task.classifier import AudioClassifier, AudioClassifierOptions
from auricle.task.embedder import AudioEmbedder, AudioEmbedderOptions
from auricle.task.record import AudioRecord
from auricle.task.tensor import AudioFormat, TensorAudio

__all__ = [
    "AudioClassifier",
    "AudioClassifierOptions",
    "AudioEmbedder",
    "AudioEmbedderOptions",
    "AudioFormat",
    "AudioRecord",
    "TensorAudio",
]
