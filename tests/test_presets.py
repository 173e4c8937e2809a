"""Each preset against what defines it: the library, the recipe or the recording that it follows."""

from __future__ import annotations

import json
from pathlib import Path

import kaldi_native_fbank
import librosa
import numpy as np
import pytest
import soundfile

import reference
from auricle import frontend
from auricle.errors import OptionError


@pytest.fixture(scope="module")
def speech(shared_data: Path) -> np.ndarray:
    """One minute of real speech at 16 kHz."""
    return soundfile.read(shared_data / "formats" / "test.wav", dtype="float32")[0]


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    """Four seconds of noise at 16 kHz, no recording needed."""
    return np.random.default_rng(7).normal(0, 0.1, 64_000).astype(np.float32)


def kaldi(x: np.ndarray, **frame_options: object) -> np.ndarray:
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither = 0
    options.mel_opts.num_bins = 80
    for name, value in frame_options.items():
        setattr(options.frame_opts, name, value)
    fbank = kaldi_native_fbank.OnlineFbank(options)
    fbank.accept_waveform(16000, x.tolist())
    fbank.input_finished()
    return np.stack([fbank.get_frame(i) for i in range(fbank.num_frames_ready)])


def assert_close(ours: np.ndarray, theirs: np.ndarray, *, worst: float, mean: float) -> None:
    assert ours.shape == theirs.shape
    error = np.abs(ours - theirs)
    assert error.max() <= worst
    assert error.mean() <= mean


def test_kaldi_80_is_kaldi_native_fbank(noise: np.ndarray) -> None:
    assert_close(frontend.features(noise, "kaldi-80"), kaldi(noise), worst=5e-4, mean=1e-5)


def test_kaldi_80_is_kaldi_native_fbank_on_speech(speech: np.ndarray) -> None:
    # Their own distance from the float64 twin on this recording is 6e-4 at worst: bands 60 dB under their frame.
    assert_close(frontend.features(speech, "kaldi-80"), kaldi(speech), worst=1e-3, mean=1e-5)


def test_wespeaker_80_is_kaldi_with_its_options(speech: np.ndarray) -> None:
    theirs = kaldi(speech * np.float32(32768), window_type="hamming")
    ours = frontend.features(speech, "wespeaker-80")
    theirs -= theirs.mean(axis=0, dtype=np.float64)
    # Theirs is 1.1e-3 from the float64 twin at worst here.
    assert_close(ours, theirs, worst=2e-3, mean=1e-5)


def test_ge2e_40_is_librosa(speech: np.ndarray) -> None:
    x = speech[:160_000]
    theirs = librosa.feature.melspectrogram(y=x, sr=16000, n_fft=400, hop_length=160, n_mels=40).T
    # Power without a logarithm: the error is relative to the loudest band.
    assert_close(frontend.features(x, "ge2e-40"), theirs, worst=2e-6 * theirs.max(), mean=2e-8 * theirs.max())


def test_yamnet_64_follows_the_recipe(speech: np.ndarray) -> None:
    x = speech[:15600].astype(np.float64)
    frames = np.lib.stride_tricks.sliding_window_view(x, 400)[::160]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    magnitude = np.abs(np.fft.rfft(frames * hann, 512))
    mel = 1127 * np.log(1 + np.arange(257) * 16000 / 512 / 700)
    edges = np.linspace(1127 * np.log(1 + 125 / 700), 1127 * np.log(1 + 7500 / 700), 66)
    bank = np.stack([np.interp(mel, edges[i : i + 3], [0, 1, 0]) for i in range(64)])
    bank[:, 0] = 0
    ours = frontend.features(speech[:15600], "yamnet-64")
    assert ours.shape == (96, 64)
    assert_close(ours, np.log(magnitude @ bank.T + 0.001), worst=4e-4, mean=1.5e-6)


def test_browser_fft_232_is_what_chromium_shows(shared_data: Path) -> None:
    x = soundfile.read(shared_data / "golden" / "speech_44k_44032.wav", dtype="float32")[0]
    golden = json.loads((shared_data / "golden" / "chromium_analyser_db.json").read_text())
    theirs = np.array(golden["db"])
    ours = frontend.features(x, "browser-fft-232", normalize=False)
    assert ours.shape == theirs.shape == (43, 232)
    audible = theirs > -120
    assert np.abs(ours - theirs)[audible].max() <= 0.01
    z = (theirs - theirs.mean()) / theirs.std()
    assert np.abs(frontend.features(x, "browser-fft-232") - z)[audible].max() <= 1e-3


@pytest.mark.parametrize("name", frontend.presets())
def test_preset_agrees_with_the_float64_twin(name: str, speech: np.ndarray) -> None:
    spec = frontend.preset(name)
    ours, twin = frontend.features(speech, spec), reference.features(speech, spec)
    assert ours.shape == twin.shape
    # Float32 in the transform leaves 1e-7 of a frame's level on every bin; only bands far under it see that. The
    # browser's spectrum has no mel sum to average it and goes down to -200 dB, so its mean is larger.
    scale = max(1.0, float(np.abs(twin).max()) / 20)
    assert np.abs(ours - twin).mean() <= 1e-6 * scale


@pytest.mark.parametrize("bands", [80, 128])
def test_whisper_is_the_transformers_extractor(bands: int, speech: np.ndarray) -> None:
    transformers = pytest.importorskip("transformers", reason="the peer is part of the test-all extra")
    x = np.zeros(480_000, np.float32)
    x[:200_000] = speech[:200_000]
    theirs = transformers.WhisperFeatureExtractor(feature_size=bands)(x, sampling_rate=16000, return_tensors="np")
    ours = frontend.features(x, f"whisper-{bands}")
    assert ours.shape == (3000, bands)
    # Values are a quarter of a decade each; the peer itself promises 1e-5 to its original.
    assert_close(ours, theirs["input_features"][0].T, worst=2e-4, mean=1e-6)


@pytest.mark.filterwarnings("ignore:At least one mel filter has all zero values")
def test_ast_128_is_the_transformers_recipe(speech: np.ndarray) -> None:
    # The extractor needs torch; what it calls without torchaudio does not.
    audio = pytest.importorskip("transformers.audio_utils", reason="the peer is part of the test-all extra")
    filters = audio.mel_filter_bank(257, 128, 20, 8000, 16000, None, "kaldi", True)
    theirs = audio.spectrogram(
        speech[:160_000],
        audio.window_function(400, "hann", periodic=False),
        frame_length=400,
        hop_length=160,
        fft_length=512,
        power=2.0,
        center=False,
        preemphasis=0.97,
        mel_filters=filters,
        log_mel="log",
        mel_floor=1.192092955078125e-07,
        remove_dc_offset=True,
    ).T
    ours = frontend.features(speech[:160_000], "ast-128")
    assert_close(ours, (theirs + 4.2677393) / (2 * 4.5689974), worst=1e-4, mean=1e-6)


def test_clap_64_is_the_transformers_recipe(speech: np.ndarray) -> None:
    audio = pytest.importorskip("transformers.audio_utils", reason="the peer is part of the test-all extra")
    filters = audio.mel_filter_bank(513, 64, 50, 14000, 48000, "slaney", "slaney")
    window = audio.window_function(1024, "hann")
    theirs = audio.spectrogram(speech, window, 1024, 480, power=2.0, mel_filters=filters, log_mel="dB").T
    assert_close(frontend.features(speech, "clap-64"), theirs, worst=5e-3, mean=1e-5)


def test_panns_64_is_librosa(speech: np.ndarray) -> None:
    mel = librosa.feature.melspectrogram(
        y=speech, sr=32000, n_fft=1024, hop_length=320, n_mels=64, fmin=50, fmax=14000, pad_mode="reflect"
    )
    theirs = librosa.power_to_db(mel, ref=1.0, amin=1e-10, top_db=None).T
    assert_close(frontend.features(speech, "panns-64"), theirs, worst=5e-3, mean=1e-5)


def test_every_preset_names_its_source() -> None:
    import tomllib

    path = Path(frontend.__file__).parent / "presets.toml"
    for name, table in tomllib.loads(path.read_text()).items():
        assert len(table["source"]) > 20, name
        assert table["description"], name


def test_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(OptionError, match=r"unknown preset 'kaldi-81'.*kaldi-80.*browser-fft-232"):
        frontend.preset("kaldi-81")


def test_presets_are_made_once() -> None:
    assert frontend.preset("kaldi-80") is frontend.preset("kaldi-80")
