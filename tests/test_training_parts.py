"""Augmentation, planes and export: shapes and laws that need no training and no Keras."""

from __future__ import annotations

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
from auricle.errors import AudioError
from auricle.training import digits
from auricle.training.augment import augment, plain
from auricle.training.augmentation import STILL, Augmentation
from auricle.training.clips import Clip
from auricle.training.export import onnx_bytes, read_layers
from auricle.training.network import BANDS, FRAMES
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


def small_weights(dense: int = 6, classes: int = 11) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(7)
    shapes = {
        "conv_1": (2, 8, 1, 8),
        "conv_2": (2, 4, 8, 32),
        "conv_3": (2, 4, 32, 32),
        "conv_4": (2, 4, 32, 32),
        "embedding": (704, dense),
        "classes": (dense, classes),
    }
    made = {}
    for name, shape in shapes.items():
        made[f"{name}.kernel"] = generator.normal(0, 1 / np.sqrt(np.prod(shape[:-1])), shape).astype(np.float32)
        made[f"{name}.bias"] = generator.normal(0, 0.1, shape[-1]).astype(np.float32)
    return made


def forward(weights: dict[str, np.ndarray], x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The network in plain float64 NumPy for one example (43, 232): (embedding, scores)."""

    def conv(values: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
        windows = np.lib.stride_tricks.sliding_window_view(values, kernel.shape[:2], axis=(0, 1))
        return np.maximum(np.einsum("hwckl,klco->hwo", windows, kernel) + bias, 0)

    def pool(values: np.ndarray, step: int) -> np.ndarray:
        windows = np.lib.stride_tricks.sliding_window_view(values, (2, 2), axis=(0, 1))
        return windows[::step, ::2].max((-2, -1))

    values = x[:, :, None].astype(np.float64)
    for number, step in ((1, 2), (2, 2), (3, 2), (4, 1)):
        values = pool(conv(values, weights[f"conv_{number}.kernel"], weights[f"conv_{number}.bias"]), step)
    embedding = np.maximum(values.reshape(-1) @ weights["embedding.kernel"] + weights["embedding.bias"], 0)
    logits = embedding @ weights["classes.kernel"] + weights["classes.bias"]
    powers = np.exp(logits - logits.max())
    return embedding, powers / powers.sum()


def test_the_bundle_computes_the_network(tmp_path: Path) -> None:
    path, weights = tmp_path / "digits.onnx", small_weights()
    path.write_bytes(onnx_bytes(weights, digits.bundle()))
    graph = Graph(path, SessionSettings(threads=1))
    x = np.random.default_rng(1).normal(size=(3, FRAMES, BANDS)).astype(np.float32)
    outputs = graph.run(["embedding", "scores"], list(x))
    for row in range(3):
        embedding, scores = forward(weights, x[row])
        # float32 sums of up to 704 terms against float64.
        np.testing.assert_allclose(outputs["embedding"][row], embedding, atol=2e-5)
        np.testing.assert_allclose(outputs["scores"][row], scores, atol=1e-6)


def test_weights_come_back_from_the_bundle_as_they_went_in(tmp_path: Path) -> None:
    path, weights = tmp_path / "digits.onnx", small_weights()
    path.write_bytes(onnx_bytes(weights, digits.bundle()))
    back = read_layers(path)
    assert back.keys() == weights.keys()
    for name, array in weights.items():
        np.testing.assert_array_equal(back[name], array)


def test_the_same_weights_give_the_same_bytes() -> None:
    assert onnx_bytes(small_weights(), digits.bundle()) == onnx_bytes(small_weights(), digits.bundle())


@pytest.mark.parametrize("pieces", [1, 7])
def test_features_of_training_are_those_of_serving(clip: Clip, tmp_path: Path, pieces: int) -> None:
    path = tmp_path / "digits.onnx"
    path.write_bytes(onnx_bytes(small_weights(), digits.bundle()))
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


@pytest.mark.parametrize("kind", KINDS)
def test_a_made_noise_has_level_one(kind: str) -> None:
    wave = make_noise(np.random.default_rng(5), kind, 44032, 44100)
    assert wave.dtype == np.float32
    assert np.sqrt(np.mean(np.square(wave, dtype=np.float64))) == pytest.approx(1.0, abs=1e-4)


def test_a_file_that_is_no_sound_is_named(tmp_path: Path) -> None:
    path = tmp_path / "letter.wav"
    path.write_text("dear reader")
    with pytest.raises(AudioError, match=r"letter\.wav: audio.content cannot be read"):
        read(path)
    with pytest.raises(AudioError, match=r"letter\.wav: audio.content cannot be read"):
        cut(path, digits.recipe())


def test_floor_and_normalisation_are_the_frontends_own(clip: Clip) -> None:
    recipe = digits.recipe()
    assert recipe.features is not None
    wave, rate_hz = read(clip.path)
    padded = np.zeros(44032, np.float32)
    at_rate = frontend.resample(wave, rate_hz, 44100)
    padded[: at_rate.size] = at_rate
    np.testing.assert_array_equal(cut(clip.path, recipe)[0], frontend.features(padded, recipe.features))
