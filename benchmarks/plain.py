"""The definition that the server is held against: ``voice`` by librosa, NumPy and onnxruntime alone.

Nothing here comes from auricle but the ONNX file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import librosa
import numpy as np
import onnxruntime
import soxr
from numpy.typing import NDArray

__all__ = ["PlainVoice", "cosine"]

Floats = NDArray[np.float32]

RATE_HZ = 16000
FFT = 400
HOP_SAMPLES = 160
BANDS = 40
SEGMENT_FRAMES = 160
SEGMENT_HOP_FRAMES = 80
SEGMENT_SAMPLES = SEGMENT_FRAMES * HOP_SAMPLES
SEGMENT_HOP_SAMPLES = SEGMENT_HOP_FRAMES * HOP_SAMPLES
MIN_COVERAGE = 0.75
LEVEL_DBFS = -30.0


class PlainVoice:
    """A speaker embedding the way a notebook makes it. ``path`` is the pulled ``voice`` bundle."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def file(self, path: Path) -> Floats:
        """Embeds a file, which librosa decodes; other rates than 16 kHz are converted by soxr, at HQ."""
        wave, rate_hz = librosa.load(path, sr=None, mono=True)
        if rate_hz != RATE_HZ:
            wave = soxr.resample(wave, rate_hz, RATE_HZ, quality="HQ")
        return self.wave(wave)

    def wave(self, wave: Floats) -> Floats:
        """Embeds mono sound at 16 kHz: mean over its segments, scaled to length 1; f32 (256,)."""
        mean = self.segments(wave).astype(np.float64).mean(axis=0)
        vector: Floats = (mean / np.linalg.norm(mean)).astype(np.float32)
        return vector

    def segments(self, wave: Floats) -> Floats:
        """One vector a segment, f32 (n, 256)."""
        return self.run(self.mels(wave))

    def run(self, mels: Floats) -> Floats:
        """The model alone: f32 (n, 160, 40) to f32 (n, 256)."""
        (vectors,) = self._session.run(["embedding"], {"mels": mels})
        found: Floats = vectors
        return found

    def mels(self, wave: Floats) -> Floats:
        """What the model takes, f32 (n, 160, 40): every segment's frames, quiet segments raised to -30 dBFS."""
        starts = _starts(len(wave))
        padded = np.pad(wave, (0, max(0, starts[-1] + SEGMENT_SAMPLES - len(wave))))
        frames = librosa.feature.melspectrogram(y=padded, sr=RATE_HZ, n_fft=FFT, hop_length=HOP_SAMPLES, n_mels=BANDS).T
        cuts = []
        for start in starts:
            sound = wave[start : start + SEGMENT_SAMPLES].astype(np.float64)
            rms = np.sqrt(np.mean(np.square(sound)))
            target = 10.0 ** (LEVEL_DBFS / 20.0)
            gain = target / rms if 0.0 < rms < target else 1.0
            first = start // HOP_SAMPLES
            cuts.append(frames[first : first + SEGMENT_FRAMES] * gain**2)
        return np.stack(cuts).astype(np.float32)


def _starts(samples: int) -> list[int]:
    """First samples of the segments: all that fit whole, then one more where 3/4 of it is sound."""
    starts = list(range(0, samples - SEGMENT_SAMPLES + 1, SEGMENT_HOP_SAMPLES))
    if not starts:
        return [0]
    rest = starts[-1] + SEGMENT_HOP_SAMPLES
    # Overlapping cuts share sound: without any past the last whole cut's end there is nothing new to hear.
    is_new = samples > starts[-1] + SEGMENT_SAMPLES
    return starts + [rest] * (is_new and (samples - rest) / SEGMENT_SAMPLES >= MIN_COVERAGE)


def cosine(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Cosine similarity, in double precision."""
    u, v = a.astype(np.float64), b.astype(np.float64)
    return float(u @ v / np.sqrt((u @ u) * (v @ v)))
