"""The definitions that the server is held against: ``voice`` and YAMNet by librosa, NumPy and onnxruntime alone.

Nothing here comes from auricle but the ONNX files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import librosa
import numpy as np
import onnxruntime
import soxr
from numpy.typing import NDArray

__all__ = ["RATE_HZ", "TOP", "PlainVoice", "PlainYamnet", "cosine", "first", "session"]

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
PATCH_FRAMES = 96
PATCH_HOP_FRAMES = 48
PATCH_BANDS = 64
PATCH_FFT = 512
EMBEDDING = 1024
# Classes that a request for YAMNet asks for.
TOP = 5


def session(path: Path, threads: int = 1) -> Any:
    """The model in onnxruntime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class PlainVoice:
    """A speaker embedding the way a notebook makes it. ``path`` is the pulled ``voice`` bundle."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        self._session = session(path, threads)

    def file(self, path: Path) -> Floats:
        """Embeds a file, which librosa decodes; other rates than 16 kHz are converted by soxr, at HQ."""
        wave, rate_hz = librosa.load(path, sr=None, mono=True)
        if rate_hz != RATE_HZ:
            wave = soxr.resample(wave, rate_hz, RATE_HZ, quality="HQ")
        return self.wave(wave)

    def wave(self, wave: Floats) -> Floats:
        """Embeds mono sound at 16 kHz: mean over its segments, scaled to length 1; f32 (256,)."""
        return self.pool(self.segments(wave))

    @staticmethod
    def pool(vectors: Floats) -> Floats:
        """The answer for a sound from its segments', f32 (n, 256) to (256,)."""
        mean = vectors.astype(np.float64).mean(axis=0)
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


class PlainYamnet:
    """YAMNet the way a notebook makes it: what its paper and its graph say of the frontend, in NumPy.

    ``path`` is the imported bundle, which takes f32 (n, 96, 64).
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        self._session = session(path, threads)
        self._window = np.hanning(FFT + 1)[:-1].astype(np.float32)
        self._bands = _mel_bands()

    def mels(self, wave: Floats) -> Floats:
        """What the model takes, f32 (n, 96, 64), from mono sound at 16 kHz of 0.975 s or more."""
        frames = np.lib.stride_tricks.sliding_window_view(wave, FFT)[::HOP_SAMPLES] * self._window
        spectrum = np.abs(np.fft.rfft(frames, PATCH_FFT)).astype(np.float32)
        mels = np.log(spectrum @ self._bands + np.float32(0.001))
        starts = range(0, len(mels) - PATCH_FRAMES + 1, PATCH_HOP_FRAMES)
        return np.stack([mels[start : start + PATCH_FRAMES] for start in starts])

    def run(self, mels: Floats) -> Floats:
        """The model alone: f32 (n, 96, 64) to its embedding and then its scores, f32 (n, 1024 + 521)."""
        return np.concatenate(self._session.run(["embedding", "scores"], {"patches": mels}), axis=1)

    def wave(self, wave: Floats) -> Floats:
        """The mean over the patches, f32 (1024 + 521,)."""
        return self.pool(self.run(self.mels(wave)))

    @staticmethod
    def pool(answers: Floats) -> Floats:
        """The answer for a sound from its patches', f32 (n, 1024 + 521) to (1024 + 521,)."""
        mean: Floats = answers.astype(np.float64).mean(axis=0).astype(np.float32)
        return mean


def first(answer: Floats, count: int) -> tuple[Floats, list[tuple[int, float]]]:
    """Of YAMNet's answer the embedding, and the highest scores as (class, score)."""
    embedding, scores = answer[:EMBEDDING], answer[EMBEDDING:]
    best = np.argsort(-scores, kind="stable")[:count]
    return embedding, [(int(index), float(scores[index])) for index in best]


def _mel_bands() -> Floats:
    """Triangles that are linear in mel = 1127 ln(1 + f / 700), 125 to 7500 Hz; f32 (257, 64)."""

    def mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
        made: NDArray[np.float64] = 1127.0 * np.log1p(hz / 700.0)
        return made

    low, high = mel(np.array([125.0, 7500.0])).tolist()
    edges = np.linspace(low, high, PATCH_BANDS + 2)
    bins = mel(np.linspace(0.0, RATE_HZ / 2, PATCH_FFT // 2 + 1))[:, np.newaxis]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    bands: Floats = np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)
    return bands


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
