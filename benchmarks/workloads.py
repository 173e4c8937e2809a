"""What the server benchmarks send: requests cut from the repository's own spoken clips."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from auricle import frontend
from auricle.v1 import auricle_pb2 as pb
from harness import ROOT
from plain import TOP, PlainVoice, PlainYamnet

__all__ = ["Workload", "make_workloads"]

Floats = NDArray[np.float32]

RATE_HZ = 16000
TAKES = 8


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Requests of one kind, in turn.

    Attributes:
        name: its name in tables.
        about: what one request holds.
        seconds: sound in one request.
        model: that answers, ``voice`` or ``yamnet``.
        method: AudioService's, Embed or Classify.
        requests: in wire form.
        mels: what the model takes for each request, f32 (segments, frames, bands).
    """

    name: str
    about: str
    seconds: float
    model: str
    method: str
    requests: tuple[bytes, ...]
    mels: tuple[Floats, ...]

    @property
    def files(self) -> list[bytes]:
        """The sound of each request."""
        kind = pb.EmbedRequest if self.method == "Embed" else pb.ClassifyRequest
        return [kind.FromString(request).audio.content for request in self.requests]

    @property
    def segments(self) -> int:
        """Segments in one request."""
        return len(self.mels[0])


def make_workloads(voice: PlainVoice, yamnet: PlainYamnet | None = None) -> list[Workload]:
    """w3: 1.6 s, WAV at 16 kHz, one segment. w2: 10 s, stereo WAV at 44.1 kHz, twelve segments. w1: YAMNet's window."""
    speech = _speech()
    made = [
        _make("w3", "1.6 s WAV, 16 kHz mono", 1.6, speech, voice, _same),
        _make("w2", "10 s WAV, 44.1 kHz stereo", 10.0, speech, voice, _stereo),
    ]
    if yamnet is not None:
        made.append(_make("w1", "0.975 s WAV, the first five classes and the embedding", 0.975, speech, yamnet, _same))
    return made


def _speech() -> Floats:
    clips = sorted((ROOT / "examples" / "clips").glob("*.flac"))
    if not clips:
        raise FileNotFoundError(f"no FLAC under {ROOT / 'examples' / 'clips'}; run the benchmark from a checkout")
    waves = []
    for clip in clips:
        wave, rate_hz = soundfile.read(clip, dtype="float32")
        waves.append(wave if rate_hz == RATE_HZ else soxr.resample(wave, rate_hz, RATE_HZ))
    return np.concatenate(waves)


def _same(wave: Floats) -> tuple[NDArray[np.int16], int]:
    return np.round(wave * 32767.0).astype(np.int16), RATE_HZ


def _stereo(wave: Floats) -> tuple[NDArray[np.int16], int]:
    wide = soxr.resample(wave, RATE_HZ, 44100) * 0.7
    sides = np.stack([wide, np.roll(wide, 20) * 0.8], axis=1)
    return np.round(np.clip(sides, -1.0, 1.0) * 32767.0).astype(np.int16), 44100


def _make(
    name: str,
    about: str,
    seconds: float,
    speech: Floats,
    plain: PlainVoice | PlainYamnet,
    take: Callable[[Floats], tuple[NDArray[np.int16], int]],
) -> Workload:
    length = round(seconds * RATE_HZ)
    starts = np.linspace(0, len(speech) - length, TAKES).astype(int)
    requests, mels = [], []
    for start in starts:
        samples, rate_hz = take(speech[start : start + length])
        file = io.BytesIO()
        soundfile.write(file, samples, rate_hz, format="WAV", subtype="PCM_16")
        requests.append(_request(plain, file.getvalue()).SerializeToString())
        mono = (samples.astype(np.float32) / 32768.0).reshape(len(samples), -1).mean(axis=1, dtype=np.float32)
        # The resampler is the server's own: others differ from it at the band's edge, and quality is not at stake.
        mels.append(plain.mels(mono if rate_hz == RATE_HZ else frontend.resample(mono, rate_hz, RATE_HZ)))
    model, method = ("voice", "Embed") if isinstance(plain, PlainVoice) else ("yamnet", "Classify")
    return Workload(
        name=name,
        about=about,
        seconds=seconds,
        model=model,
        method=method,
        requests=tuple(requests),
        mels=tuple(mels),
    )


def _request(plain: PlainVoice | PlainYamnet, content: bytes) -> pb.EmbedRequest | pb.ClassifyRequest:
    audio = pb.Audio(content=content)
    if isinstance(plain, PlainVoice):
        return pb.EmbedRequest(model=pb.ModelSelector(name="voice"), audio=audio)
    options = pb.ClassifyOptions(max_results=TOP, include_embeddings=True)
    return pb.ClassifyRequest(model=pb.ModelSelector(name="yamnet"), audio=audio, options=options)
