"""Augmentation, planes and export: shapes and laws that need no training and no Keras."""

from __future__ import annotations

import io
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from auricle import frontend
from auricle.config import SessionSettings
from auricle.engine.cutter import Cutter
from auricle.engine.decode import SoundFormat
from auricle.engine.graph import Graph
from auricle.engine.plan import default_grid
from auricle.errors import AudioError, BundleError, LimitError
from auricle.training import digits
from auricle.training.architecture import BANDS, FRAMES, TFJS, Architecture, Convolution
from auricle.training.augment import augment, plain
from auricle.training.augmentation import STILL, Augmentation
from auricle.training.clips import Clip
from auricle.training.export import load_network, onnx_bytes
from auricle.training.network import Network
from auricle.training.noises import KINDS, make_noise
from auricle.training.planes import make_planes
from auricle.training.sounds import cut, read

RATE_HZ = 8000


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    path = tmp_path / "tone.wav"
    seconds = np.arange(int(0.6 * RATE_HZ)) / RATE_HZ
    wave = 0.2 * np.sin(2 * np.pi * (300 + 500 * seconds) * seconds) + 0.01 * np.random.default_rng(0).normal(
        size=seconds.size
    )
    soundfile.write(path, wave, RATE_HZ, subtype="PCM_16")
    return Clip(path=path, label="0")


def wav(channels: int, rate_hz: int = RATE_HZ) -> bytes:
    """Nine silent samples of each channel; of no channel: one without a sample."""
    made = io.BytesIO()
    soundfile.write(made, np.zeros((9 if channels else 0, max(channels, 1))), rate_hz, format="WAV")
    return made.getvalue()


SMALL = replace(TFJS, dense_units=6)
# Padding of both kinds, strides that leave a rest, and pools of other steps than their size.
ODD = Architecture(
    convolutions=(
        Convolution(filters=3, kernel=(3, 6), strides=(1, 3), padded=True, pool=(1, 2), pool_strides=(1, 2)),
        Convolution(filters=5, kernel=(4, 3), strides=(2, 2), pool=(3, 2), pool_strides=(2, 1)),
    ),
    dense_units=6,
)
architectures = pytest.mark.parametrize(
    "architecture", [SMALL, replace(digits.ARCHITECTURE, dense_units=6), ODD], ids=["tfjs", "digits", "odd"]
)


def sized(values: int, kernel: int, stride: int, padded: bool) -> int:
    return -(-values // stride) if padded else 1 + (values - kernel) // stride


def small_network(architecture: Architecture = SMALL, classes: int = 11) -> Network:
    generator = np.random.default_rng(7)
    shapes: dict[str, tuple[int, ...]] = {}
    size, width = [FRAMES, BANDS], 1
    for name, conv in zip(architecture.layers, architecture.convolutions, strict=False):
        shapes[name] = (*conv.kernel, width, conv.filters)
        width = conv.filters
        size = [
            sized(sized(values, conv.kernel[axis], conv.strides[axis], conv.padded), conv.pool[axis], step, False)
            for axis, (values, step) in enumerate(zip(size, conv.pool_strides, strict=True))
        ]
    shapes["embedding"] = (math.prod(size) * width, architecture.dense_units)
    shapes["classes"] = (architecture.dense_units, classes)
    weights = {}
    for name, shape in shapes.items():
        weights[f"{name}.kernel"] = generator.normal(0, 1 / np.sqrt(np.prod(shape[:-1])), shape).astype(np.float32)
        weights[f"{name}.bias"] = generator.normal(0, 0.1, shape[-1]).astype(np.float32)
    return Network(architecture=architecture, weights=weights)


def forward(network: Network, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The network in plain float64 NumPy for one example (43, 232): (embedding, scores)."""
    weights = network.weights
    values = x[:, :, None].astype(np.float64)
    for number, conv in enumerate(network.architecture.convolutions, 1):
        kernel, bias = weights[f"conv_{number}.kernel"], weights[f"conv_{number}.bias"]
        if conv.padded:
            totals = [
                max(0, (sized(values.shape[axis], 0, step, True) - 1) * step + conv.kernel[axis] - values.shape[axis])
                for axis, step in enumerate(conv.strides)
            ]
            values = np.pad(values, [*((total // 2, total - total // 2) for total in totals), (0, 0)])
        windows = np.lib.stride_tricks.sliding_window_view(values, conv.kernel, axis=(0, 1))
        windows = windows[:: conv.strides[0], :: conv.strides[1]]
        values = np.maximum(np.einsum("hwckl,klco->hwo", windows, kernel) + bias, 0)
        windows = np.lib.stride_tricks.sliding_window_view(values, conv.pool, axis=(0, 1))
        values = windows[:: conv.pool_strides[0], :: conv.pool_strides[1]].max((-2, -1))
    embedding = np.maximum(values.reshape(-1) @ weights["embedding.kernel"] + weights["embedding.bias"], 0)
    logits = embedding @ weights["classes.kernel"] + weights["classes.bias"]
    powers = np.exp(logits - logits.max())
    return embedding, powers / powers.sum()


@architectures
def test_the_bundle_computes_the_network(tmp_path: Path, architecture: Architecture) -> None:
    path, network = tmp_path / "digits.onnx", small_network(architecture)
    path.write_bytes(onnx_bytes(network, digits.bundle()))
    graph = Graph(path, SessionSettings(threads=1))
    x = np.random.default_rng(1).normal(size=(3, FRAMES, BANDS)).astype(np.float32)
    outputs = graph.run(["embedding", "scores"], list(x))
    for row in range(3):
        embedding, scores = forward(network, x[row])
        # float32 sums of up to 2240 terms against float64.
        np.testing.assert_allclose(outputs["embedding"][row], embedding, atol=2e-5)
        np.testing.assert_allclose(outputs["scores"][row], scores, atol=1e-6)


@architectures
def test_a_network_comes_back_from_the_bundle_as_it_went_in(tmp_path: Path, architecture: Architecture) -> None:
    path, network = tmp_path / "digits.onnx", small_network(architecture)
    path.write_bytes(onnx_bytes(network, digits.bundle()))
    back = load_network(path)
    assert back.architecture == architecture
    assert back.weights.keys() == network.weights.keys()
    for name, array in network.weights.items():
        np.testing.assert_array_equal(back.weights[name], array)


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.onnx"
    path.write_bytes(onnx_bytes(small_network(), digits.bundle()).replace(b"conv_3.kernel", b"conv_x.kernel"))
    with pytest.raises(BundleError, match=r"other\.onnx is no float browser-FFT network.*it lacks 'conv_3\.kernel'"):
        load_network(path)


def test_the_same_network_gives_the_same_bytes() -> None:
    assert onnx_bytes(small_network(), digits.bundle()) == onnx_bytes(small_network(), digits.bundle())


@pytest.mark.parametrize("pieces", [1, 7])
def test_features_of_training_are_those_of_serving(clip: Clip, tmp_path: Path, pieces: int) -> None:
    path = tmp_path / "digits.onnx"
    path.write_bytes(onnx_bytes(small_network(), digits.bundle()))
    graph = Graph(path, SessionSettings(threads=1))
    samples = soundfile.read(clip.path, dtype="int16", always_2d=True)[0]
    cutter = Cutter(graph, default_grid(graph), SoundFormat(encoding="s16le", sample_rate_hz=RATE_HZ))
    segments = [segment for piece in np.array_split(samples, pieces) for segment in cutter.feed(piece)]
    served = np.stack([segment.rows for segment in [*segments, *cutter.finish()]])
    np.testing.assert_array_equal(cut(clip.path, digits.recipe()), served)


def test_augmentation_that_changes_nothing_gives_the_served_features(clip: Clip) -> None:
    recipe = digits.recipe()
    assert recipe.features is not None
    planes = make_planes([clip], recipe.features, length=FRAMES, speeds=(0.9, 1.1), per_clip=3, seed=1)
    assert (len(planes), planes.first.tolist()) == (3, [True, False, False])
    first = np.array([0])
    served = cut(clip.path, recipe)
    # The store keeps decibels as halves, to 1/16 dB at worst of a plane whose deviation is several dB.
    np.testing.assert_allclose(plain(planes, first, recipe.features), served, atol=0.02)
    noises = np.full((1, FRAMES, BANDS), -60.0, np.float32)
    made = augment(planes, first, noises, recipe.features, STILL, np.random.default_rng(1))
    np.testing.assert_allclose(made[:, :, :180], served[:, :, :180], atol=0.1)


def test_augmentation_is_repeatable_finite_and_different_each_time(clip: Clip) -> None:
    recipe = digits.recipe()
    assert recipe.features is not None
    planes = make_planes([clip], recipe.features, length=FRAMES, speeds=(0.9, 1.1), per_clip=2, seed=1)
    noises = digits.noises(3)[:6]
    picks = np.array([0, 1, 0, 1])

    def draw(seed: int) -> np.ndarray:
        assert recipe.features is not None
        generator = np.random.default_rng(seed)
        return augment(planes, picks, noises, recipe.features, Augmentation(), generator)

    one = draw(1)
    assert one.shape == (4, FRAMES, BANDS)
    assert np.isfinite(one).all()
    np.testing.assert_array_equal(one, draw(1))
    assert np.abs(one[0] - one[2]).max() > 0.5
    assert np.abs(one - draw(2)).max() > 0.5


def test_filling_leaves_no_band_empty_where_there_is_sound(clip: Clip) -> None:
    recipe = digits.recipe()
    assert recipe.features is not None
    spec = replace(recipe.features, normalization="none", norm_epsilon=0.0)
    planes = make_planes([clip], spec, length=FRAMES, speeds=(1.0,), per_clip=1, seed=1)
    assert planes.edge[0] == pytest.approx(4000 / 44100 * 2048)
    noises = np.full((1, FRAMES, BANDS), -60.0, np.float32)
    silent = 20 * np.log10(spec.floor)
    for fill, empty in ((0.0, True), (1.0, False)):
        settings = replace(STILL, fill=fill, fill_db=(0.0, 0.0))
        made = augment(planes, np.array([0]), noises, spec, settings, np.random.default_rng(1))
        top = made[0, 5, 195:215]
        assert bool(np.allclose(top, silent)) is empty


@pytest.mark.parametrize(("rate_hz", "speed"), [(192_000, 1.25), (153_601, 1.25), (4000, 0.8), (4999, 0.8)])
def test_a_sound_of_any_rate_is_played_at_any_speed(tmp_path: Path, rate_hz: int, speed: float) -> None:
    path, recipe = tmp_path / "tone.wav", digits.recipe()
    assert recipe.features is not None
    soundfile.write(path, 0.2 * np.sin(2 * np.pi * 1000 * np.arange(rate_hz) / rate_hz), rate_hz)
    clips = [Clip(path=path, label="0")]
    planes = make_planes(clips, recipe.features, length=FRAMES, speeds=[speed], per_clip=2, seed=1)
    bands = 2048 / 44100
    for first, played in ((True, 1.0), (False, speed)):
        heard = planes.db[planes.first == first][0]
        assert heard[FRAMES // 2].argmax() == round(1000 * played * bands)
        assert planes.edge[planes.first == first][0] == pytest.approx(min(rate_hz * played, 44100) / 2 * bands)


@pytest.mark.parametrize("kind", KINDS)
def test_a_made_noise_has_level_one(kind: str) -> None:
    wave = make_noise(np.random.default_rng(5), kind, 44032, 44100)
    assert wave.dtype == np.float32
    assert np.sqrt(np.mean(np.square(wave, dtype=np.float64))) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"dear reader", r"audio\.content cannot be read as WAV.* or AIFF: .*; convert it to one of them, .* PCM"),
        (b"fLaC", r"audio\.content cannot be read as WAV.* or AIFF: .*; convert it to one of them, .* PCM"),
        (b"", "it is empty; take it away"),
        (wav(0), "it has no samples"),
        (wav(9), "channels must be 1 to 8, but is 9; mix down before sending"),
        (wav(9, 384_000), "sample_rate_hz must be 4000 to 192000, but is 384000"),
        (wav(9)[:-9], r"audio\.content is truncated: .* 9 are missing"),
    ],
    ids=["text", "no-flac", "empty", "no-samples", "channels", "rate", "cut"],
)
def test_a_file_that_is_no_sound_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "letter.wav"
    path.write_bytes(content)
    for use in (lambda: read(path), lambda: cut(path, digits.recipe())):
        with pytest.raises((AudioError, LimitError)) as refused:
            use()
        assert re.fullmatch(rf".*/letter\.wav: {message}", refused.value.message)


def test_a_bad_sample_is_counted_from_the_start_of_the_file(tmp_path: Path) -> None:
    path, samples = tmp_path / "letter.wav", np.zeros(200_000, np.float32)
    samples[150_000] = np.nan
    soundfile.write(path, samples, RATE_HZ, subtype="FLOAT")
    for use in (lambda: read(path), lambda: cut(path, digits.recipe())):
        with pytest.raises(AudioError, match=r"letter\.wav: .*sample 150000 "):
            use()


def test_floor_and_normalisation_are_the_frontends_own(clip: Clip) -> None:
    recipe = digits.recipe()
    assert recipe.features is not None
    wave, rate_hz = read(clip.path)
    padded = np.zeros(44032, np.float32)
    at_rate = frontend.resample(wave, rate_hz, 44100)
    padded[: at_rate.size] = at_rate
    np.testing.assert_array_equal(cut(clip.path, recipe)[0], frontend.features(padded, recipe.features))
