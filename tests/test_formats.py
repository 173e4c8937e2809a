"""One voice in many containers, codings, rates and channel counts keeps its embedding."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from auricle.client import Client, Pcm
from auricle.config import ServerSettings
from bench_accuracy import nearest
from plain import PlainVoice, cosine
from serving import serving

# librosa's file reader imports modules that Python 3.13 drops.
pytestmark = pytest.mark.filterwarnings("ignore:'(aifc|audioop|sunau)' is deprecated:DeprecationWarning")

RATE_HZ = 16000
CLIP = "1688/1688-142285-0002.flac"
FILES = {
    "wav": ("WAV", "PCM_16"),
    "wav-24": ("WAV", "PCM_24"),
    "wav-float": ("WAV", "FLOAT"),
    "wav-mulaw": ("WAV", "ULAW"),
    "flac": ("FLAC", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "ogg-vorbis": ("OGG", "VORBIS"),
    "ogg-opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
PCM = {"s16le": "PCM_16", "f32le": "FLOAT", "mulaw": "ULAW", "alaw": "ALAW"}
OPUS_RATES_HZ = (8000, 12000, 16000, 24000, 48000)
LOSSLESS = ("wav", "wav-24", "wav-float", "flac", "aiff", "s16le", "f32le")


@pytest.fixture(scope="module")
def client(voice_models: Path) -> Iterator[Client]:
    settings = ServerSettings(models_dir=voice_models, listen="127.0.0.1:0", watch=False)
    with serving(settings) as address, Client(address) as client:
        yield client


@pytest.fixture(scope="module")
def wave(shared_data: Path) -> np.ndarray:
    """Speech f64 (n,) at 16 kHz, half as loud, so that what stereo adds cannot clip."""
    found, rate_hz = soundfile.read(shared_data / "librispeech" / CLIP, dtype="float64")
    assert rate_hz == RATE_HZ
    return found * 0.5


@pytest.fixture(scope="module")
def wanted(client: Client, wave: np.ndarray) -> np.ndarray:
    return client.embed(encode(wave, RATE_HZ, "wav")).vector


def take(wave: np.ndarray, rate_hz: int, channels: int) -> np.ndarray:
    """The sound at a rate; in stereo each side also has what the other side's mix takes away again."""
    found = wave if rate_hz == RATE_HZ else soxr.resample(wave, RATE_HZ, rate_hz, quality="VHQ")
    if channels == 1:
        return found
    apart = 0.1 * found[::-1]
    return np.stack([found + apart, found - apart], axis=1)


def encode(samples: np.ndarray, rate_hz: int, coding: str) -> bytes | Pcm:
    file = io.BytesIO()
    if coding in FILES:
        container, subtype = FILES[coding]
        soundfile.write(file, samples, rate_hz, format=container, subtype=subtype)
        return file.getvalue()
    soundfile.write(file, samples, rate_hz, format="RAW", subtype=PCM[coding])
    return Pcm(file.getvalue(), rate_hz, channels=1 if samples.ndim == 1 else samples.shape[1], encoding=coding)


def cases() -> Iterator[tuple[str, int, int]]:
    for coding in (*FILES, *PCM):
        for rate_hz in (16000, 22050, 44100, 48000):
            if coding != "ogg-opus" or rate_hz in OPUS_RATES_HZ:
                yield from ((coding, rate_hz, channels) for channels in (1, 2))


@pytest.mark.parametrize(("coding", "rate_hz", "channels"), tuple(cases()))
def test_a_voice_survives_its_coding(
    client: Client, wave: np.ndarray, wanted: np.ndarray, coding: str, rate_hz: int, channels: int
) -> None:
    vector = client.embed(encode(take(wave, rate_hz, channels), rate_hz, coding)).vector
    bound = 0.9999 if coding in LOSSLESS and rate_hz == RATE_HZ else 0.98
    assert cosine(vector, wanted) >= bound


@pytest.fixture(scope="module")
def narrow(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One utterance of each speaker, as a WAV at 8 kHz."""
    folder = tmp_path_factory.mktemp("narrow")
    found = {}
    for speaker in sorted(path for path in (shared_data / "librispeech").iterdir() if path.is_dir()):
        wave, rate_hz = soundfile.read(sorted(speaker.glob("*.flac"))[3])
        found[speaker.name] = folder / f"{speaker.name}.wav"
        soundfile.write(found[speaker.name], soxr.resample(wave, rate_hz, 8000), 8000)
    return found


def test_a_telephone_voice_is_nearest_to_its_speaker(
    client: Client, shared_data: Path, narrow: dict[str, Path]
) -> None:
    means = {
        speaker: np.mean(
            [client.embed(path).vector for path in sorted((shared_data / "librispeech" / speaker).glob("*.flac"))[:3]],
            axis=0,
        )
        for speaker in narrow
    }
    assert {speaker: nearest(client.embed(path).vector, means) for speaker, path in narrow.items()} == {
        speaker: speaker for speaker in narrow
    }


def test_a_telephone_voice_embeds_as_by_soxr_and_librosa(
    client: Client, voice_models: Path, narrow: dict[str, Path]
) -> None:
    plain = PlainVoice(voice_models / "voice" / "1.onnx")
    for path in narrow.values():
        assert cosine(client.embed(path).vector, plain.file(path)) >= 0.999, path.name
