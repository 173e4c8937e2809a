"""The features' part of bench_frontend: log-mel beside its peers, streaming, accuracy, and what building costs."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import kaldi_native_fbank
import librosa
import numpy as np
import scipy.fft
import soundfile
from numpy.typing import NDArray

import harness
from auricle import frontend

sys.path.insert(0, str(harness.ROOT / "tests"))

reference: Any = import_module("reference")

Floats = NDArray[np.float32]

RATE_HZ = 16000
REPEATS = 10
# Times faster than kaldi-native-fbank handed the array, and handed a list made outside the timing.
KALDI_GOALS = {"sse2": (25, 16), "avx2": (60, 40), "avx512": (100, 65)}


def speech() -> Floats:
    """A minute at 16 kHz: the shared recording, or noise where there is none."""
    path = harness.ROOT.parent / "shared" / "data" / "formats" / "test.wav"
    if path.is_file():
        return np.asarray(soundfile.read(path, dtype="float32")[0])[: 60 * RATE_HZ]
    return np.random.default_rng(0).normal(0, 0.1, 60 * RATE_HZ).astype(np.float32)


def kaldi_extractor() -> Any:
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither = 0
    options.mel_opts.num_bins = 80
    return kaldi_native_fbank.OnlineFbank(options)


def kaldi(wave: Any) -> Any:
    extractor = kaldi_extractor()
    extractor.accept_waveform(RATE_HZ, wave)
    extractor.input_finished()
    return extractor


def kaldi_stream(chunks: list[list[float]]) -> None:
    extractor = kaldi_extractor()
    for chunk in chunks:
        extractor.accept_waveform(RATE_HZ, chunk)
    extractor.input_finished()


def our_stream(chunks: list[Floats]) -> None:
    stream = frontend.FeatureStream("kaldi-80")
    for chunk in chunks:
        stream.feed(chunk)
    stream.finish()


def repeat(piece: Callable[[], Any]) -> None:
    for _ in range(REPEATS):
        piece()


def compare(
    report: harness.Report,
    name: str,
    ours: Callable[[], Any],
    peers: dict[str, Callable[[], Any]],
    *,
    frames: int,
    rounds: int,
    goals: dict[str, float],
) -> None:
    """Ours and the peers in turn: nanoseconds a frame, and how many times faster ours is in the median round.

    Ours runs REPEATS times a turn, so that the turns are of like length and neither side is measured on caches that
    the other has just filled.
    """
    ours_again = partial(repeat, ours)
    times = harness.alternate({"auricle": ours_again, **peers}, rounds=rounds, clock=time.thread_time)
    times["auricle"] = [found / REPEATS for found in times["auricle"]]
    per_frame = {piece: harness.spread(1e9 * t / frames for t in found) for piece, found in times.items()}
    rows = []
    for piece, found in per_frame.items():
        speedup = statistics.median(a / b for a, b in zip(times[piece], times["auricle"], strict=True))
        rows.append([f"{name}: {piece}", str(found), f"{speedup:.1f}"])
        if piece == "auricle":
            report.figures[name] = {"ns_per_frame": found.median}
            continue
        report.figures[f"{name} / {piece}"] = {"ns_per_frame": found.median, "speedup": speedup}
        if piece in goals:
            report.goals.append(
                harness.Goal(
                    name=f"{name}, times faster than {piece}", value=speedup, bound=goals[piece], at_least=True
                )
            )
    report.table(["piece", "ns a frame", "ours is faster"], rows)


def numpy_features(x: Floats, name: str) -> Any:
    """What a careful NumPy user writes: float32, vectorised over frames, tables made beforehand."""
    spec = frontend.preset(name)
    frames = np.lib.stride_tricks.sliding_window_view(
        np.pad(x, (spec.front_samples, spec.back_samples)), spec.frame_length
    )[:: spec.hop]
    window = (reference.window(spec) * spec.input_scale).astype(np.float32)
    bank = None if spec.filterbank == "bins" else reference.mel_filters(spec).T.astype(np.float32)

    def run() -> Any:
        magnitude = np.abs(np.fft.rfft(frames * window, spec.fft_size, axis=1))
        values = magnitude[:, : spec.bands] if bank is None else magnitude @ bank
        if spec.compression == "db":
            values = 20 * np.log10(np.maximum(values, spec.floor))
            return (values - values.mean()) / (values.std() + spec.norm_epsilon)
        return np.log(values + spec.offset)

    return run


def measure_offline(report: harness.Report, rounds: int) -> None:
    x = speech()
    as_list = x.tolist()
    frames = frontend.preset("kaldi-80").frames(x.size)
    cut = np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(x, 400)[::160])
    out = np.zeros((frames, 80), np.float32)
    array, listed = KALDI_GOALS.get(frontend.simd, (0, 0))
    compare(
        report,
        "kaldi-80",
        partial(frontend.features, x, "kaldi-80", out=out),
        {
            "auricle, once, into a new array": partial(frontend.features, x, "kaldi-80"),
            "kaldi-native-fbank, array": partial(kaldi, x),
            "kaldi-native-fbank, list": partial(kaldi, as_list),
            "scipy rfft alone": partial(scipy.fft.rfft, cut, 512, axis=1),
        },
        frames=frames,
        rounds=rounds,
        goals={"kaldi-native-fbank, array": array, "kaldi-native-fbank, list": listed, "scipy rfft alone": 1},
    )
    peers: dict[str, tuple[str, Callable[[], Any]]] = {
        "ge2e-40": (
            "librosa",
            partial(librosa.feature.melspectrogram, y=x, sr=RATE_HZ, n_fft=400, hop_length=160, n_mels=40),
        ),
        "yamnet-64": ("numpy", numpy_features(x, "yamnet-64")),
        "browser-fft-232": ("numpy", numpy_features(x, "browser-fft-232")),
    }
    try:
        from transformers import WhisperFeatureExtractor
    except ImportError:
        report.say("whisper-80: transformers is not installed (the extra peers), so it is left out")
    else:
        extractor: Any = WhisperFeatureExtractor(feature_size=80)  # type: ignore[no-untyped-call,unused-ignore]
        peers["whisper-80"] = ("transformers", partial(extractor, x[: 30 * RATE_HZ], sampling_rate=RATE_HZ))
    for name, (peer, run) in peers.items():
        wave = x[: 30 * RATE_HZ] if name == "whisper-80" else x
        compare(
            report,
            name,
            partial(frontend.features, wave, name),
            {peer: run},
            frames=frontend.preset(name).frames(wave.size),
            rounds=max(rounds // 3, 3),
            goals={peer: 8},
        )


def measure_streaming(report: harness.Report, rounds: int) -> None:
    x = speech()[: 10 * RATE_HZ]
    for chunk_ms, goal in ((20, 6), (200, 20)):
        size = RATE_HZ * chunk_ms // 1000
        chunks = [x[i : i + size] for i in range(0, x.size, size)]
        compare(
            report,
            f"kaldi-80 in chunks of {chunk_ms} ms",
            partial(our_stream, chunks),
            {"kaldi-native-fbank online": partial(kaldi_stream, [chunk.tolist() for chunk in chunks])},
            frames=frontend.preset("kaldi-80").frames(x.size),
            rounds=rounds,
            goals={"kaldi-native-fbank online": goal},
        )


def measure_accuracy(report: harness.Report) -> None:
    x = speech()
    ours = frontend.features(x, "kaldi-80")
    extractor = kaldi(x)
    theirs = np.stack([extractor.get_frame(i) for i in range(extractor.num_frames_ready)])
    twin = reference.features(x, frontend.preset("kaldi-80"))
    for name, value, bound in (
        ("kaldi-80, worst against kaldi-native-fbank", np.abs(ours - theirs).max(), 5e-4),
        ("kaldi-80, mean against kaldi-native-fbank", np.abs(ours - theirs).mean(), 1e-5),
        ("kaldi-80, mean against the float64 twin", np.abs(ours - twin).mean(), 1e-6),
    ):
        report.figures[name] = float(value)
        report.goals.append(harness.Goal(name=name, value=float(value), bound=bound))
    report.figures["kaldi-native-fbank, worst against the float64 twin"] = float(np.abs(theirs - twin).max())
    golden = harness.ROOT.parent / "shared" / "data" / "golden"
    if not golden.is_dir():
        report.say(f"Chromium's AnalyserNode: no recording at {golden}")
        return
    wave = soundfile.read(golden / "speech_44k_44032.wav", dtype="float32")[0]
    decibels = np.array(json.loads((golden / "chromium_analyser_db.json").read_text())["db"])
    error = np.abs(frontend.features(wave, "browser-fft-232", normalize=False) - decibels)[decibels > -120].max()
    name = "browser-fft-232, worst against Chromium above -120 dB"
    report.goals.append(harness.Goal(name=name, value=float(error), bound=0.01, unit=" dB"))


def measure_building(report: harness.Report) -> None:
    # Each plan is of a spec that nobody has asked for yet; the first call makes it.
    x = np.zeros(400, np.float32)
    times = []
    for bands in range(60, 75):
        spec = replace(frontend.preset("kaldi-80"), bands=bands)
        begun = time.perf_counter()
        frontend.features(x, spec)
        times.append(1e3 * (time.perf_counter() - begun))
    report.goals.append(harness.Goal(name="plan of a new spec", value=statistics.median(times), bound=5, unit=" ms"))
    code = "import time, numpy; t = time.process_time(); import auricle.frontend; print(time.process_time() - t)"
    imports = [float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(5)]
    report.goals.append(
        harness.Goal(name="import beyond NumPy's", value=1e3 * statistics.median(imports), bound=50, unit=" ms")
    )
    folder = Path(frontend.__file__).parents[1] / "_frontend"
    size = sum(path.stat().st_size for path in folder.glob("*.so")) / 1e6
    report.goals.append(harness.Goal(name="built extension, all levels", value=size, bound=3, unit=" MB"))


def measure(report: harness.Report, rounds: int) -> None:
    """All of the section."""
    measure_offline(report, rounds)
    measure_streaming(report, rounds)
    measure_accuracy(report)
    measure_building(report)
