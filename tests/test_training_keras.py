"""What needs Keras: the bundle's scores are Keras's, a seed gives one model, a small data set is learned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from auricle.config import SessionSettings
from auricle.engine.graph import Graph
from auricle.errors import OptionError
from auricle.training import digits, people
from auricle.training.architecture import TFJS, Architecture
from auricle.training.browser_fft import BrowserFftSpec
from auricle.training.clips import Clip
from auricle.training.export import load_network, onnx_bytes
from auricle.training.network import average, build, level, read_network
from auricle.training.sounds import cut
from auricle.training.transfer import fit_head

keras = pytest.importorskip("keras", reason="training needs the extra train: pip install 'auricle[train]'")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.filterwarnings("default")]

RATE_HZ = 16000
SMALL = replace(TFJS, dense_units=8)
TONES_HZ = {"0": 400, "1": 1500, "2": 3000}


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    """Three classes that anyone tells apart, twelve clips each."""
    folder, generator, clips = tmp_path_factory.mktemp("tones"), np.random.default_rng(3), []
    for label, hz in TONES_HZ.items():
        for number in range(12):
            seconds = np.arange(int(generator.uniform(0.3, 0.7) * RATE_HZ)) / RATE_HZ
            wave = 0.2 * np.sin(2 * np.pi * hz * generator.uniform(0.97, 1.03) * seconds)
            path = folder / f"{label}_{number}.wav"
            soundfile.write(path, wave + 0.002 * generator.normal(size=seconds.size), RATE_HZ)
            clips.append(Clip(path=path, label=label))
    return clips


def trained(clips: list[Clip], seed: int, epochs: int) -> keras.Model:
    planes = digits.store(clips, seed=seed)
    model, _ = digits.train(planes, clips, fitting=replace(digits.FITTING, epochs=epochs, seed=seed))
    return model


def test_learning_starts_from_the_network_that_is_given(tones: list[Clip]) -> None:
    start = build(len(digits.LABELS), digits.ARCHITECTURE)
    planes = digits.store(tones[:4], seed=1)
    still = replace(digits.FITTING, epochs=1, rate=0.0)
    for given, same in ((start, True), (None, False)):
        model, _ = digits.train(planes, tones, fitting=still, start=given)
        kernels = [each.get_layer("conv_1").get_weights()[0] for each in (model, start)]
        # The mean of the same weights is theirs but for its last bit.
        assert np.allclose(*kernels, rtol=1e-6) == same


def test_networks_are_averaged_and_a_class_loses_its_lead() -> None:
    models = [build(3, SMALL) for _ in range(3)]
    means = [np.mean(same, axis=0) for same in zip(*(model.get_weights() for model in models), strict=True)]
    average(models)
    for weights, mean in zip(models[0].get_weights(), means, strict=True):
        np.testing.assert_allclose(weights, mean, rtol=1e-6)
    x = np.random.default_rng(2).normal(size=(4, 43, 232, 1)).astype(np.float32)
    before = models[0].predict_on_batch(x)
    level(models[0], np.array([0.25, 0.25, 0.5]))
    wanted = before / np.array([0.25, 0.25, 0.5])
    np.testing.assert_allclose(models[0].predict_on_batch(x), wanted / wanted.sum(1, keepdims=True), rtol=1e-4)


def test_the_last_layer_is_the_mean_of_its_own_and_of_the_peoples(
    tones: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, planes = build(4, SMALL), digits.store(tones, seed=1)
    layer = model.get_layer("classes")
    kernel, bias = layer.get_weights()
    taught = []

    def fitted(*given: Any) -> Any:
        linear, history = fit_head(*given)
        taught.append((linear, *given))
        return linear, history

    monkeypatch.setattr(people, "fit_head", fitted)
    spec = digits.recipe().features
    assert spec is not None
    labels = np.array([digits.LABELS.index(clip.label) for clip in tones])[planes.source]
    people.side_with(model, planes, labels, digits.noises(1), spec, seed=1)
    ((linear, x, y, classes, _),) = taught
    assert (classes, len(x), len(y)) == (3, 4 * len(tones), 4 * len(tones))
    assert (linear.scores(x).argmax(1) == y).mean() > 0.7
    now_kernel, now_bias = layer.get_weights()
    np.testing.assert_allclose(now_kernel[:, :3], (kernel[:, :3] + linear.kernel) / 2, rtol=1e-5)
    np.testing.assert_array_equal(now_kernel[:, 3], kernel[:, 3])
    assert now_bias[3] == bias[3]
    # Both are as loud on average as the network's own were.
    offset = 2 * now_bias[:3] - bias[:3] - linear.bias
    np.testing.assert_allclose(offset, offset[0], atol=1e-5)
    own, theirs = x @ kernel[:, :3] + bias[:3], x @ linear.kernel + linear.bias + offset
    loudness = [np.log(np.exp(each).sum(1)).mean() for each in (own, theirs)]
    assert loudness[0] == pytest.approx(loudness[1], abs=1e-3)


def test_a_frozen_network_is_built_as_it_was() -> None:
    base = read_network(build(4, replace(digits.ARCHITECTURE, dense_units=20)))
    again = build(7, frozen=base)
    assert again.output_shape == (None, 7)
    found = read_network(again)
    assert found.architecture == base.architecture
    for name in base.architecture.layers[:-1]:
        np.testing.assert_array_equal(found.weights[f"{name}.kernel"], base.weights[f"{name}.kernel"])
        np.testing.assert_array_equal(found.weights[f"{name}.bias"], base.weights[f"{name}.bias"])


@pytest.mark.parametrize("architecture", [TFJS, digits.ARCHITECTURE], ids=["tfjs", "digits"])
def test_the_bundles_scores_are_keras_scores(tmp_path: Path, tones: list[Clip], architecture: Architecture) -> None:
    model, generator = build(11, replace(architecture, dense_units=40)), np.random.default_rng(6)
    for layer in model.layers:
        if layer.name.endswith("_norm"):
            # As after training: shifts and means of either sign, no variance of one.
            shift, mean, variance = (np.asarray(array) for array in layer.get_weights())
            layer.set_weights([generator.normal(size=shift.shape), generator.normal(size=mean.shape), 0.3 + variance])
    path = tmp_path / "digits.onnx"
    path.write_bytes(onnx_bytes(read_network(model), digits.bundle()))
    graph = Graph(path, SessionSettings(threads=1))
    x = np.concatenate([cut(clip.path, digits.recipe()) for clip in tones[::5]])
    served = graph.run(["scores", "embedding"], list(x))
    embedding = keras.Model(model.inputs, model.get_layer("embedding_relu").output)
    np.testing.assert_allclose(served["scores"], model.predict_on_batch(x[..., None]), atol=1e-4)
    np.testing.assert_allclose(served["embedding"], embedding.predict_on_batch(x[..., None]), atol=1e-4)


def test_a_small_data_set_is_learned_and_a_seed_gives_one_model(tones: list[Clip]) -> None:
    one, other = trained(tones, 5, 12), trained(tones, 5, 12)
    for name, array in read_network(one).weights.items():
        np.testing.assert_array_equal(array, read_network(other).weights[name])
    said = digits.scores(one, tones).argmax(1)
    wanted = [digits.LABELS.index(clip.label) for clip in tones]
    assert np.mean(said == wanted) >= 0.9


def test_a_frozen_base_is_the_shipped_layers_and_does_not_learn() -> None:
    from auricle.model.bundled import bundled_dir

    base = load_network(bundled_dir() / "digits.onnx")
    model = build(3, frozen=base)
    for name in base.architecture.layers[:-1]:
        layer = model.get_layer(name)
        assert not layer.trainable
        np.testing.assert_array_equal(layer.get_weights()[0], base.weights[f"{name}.kernel"])
    assert {variable.path.split("/")[-2] for variable in model.trainable_variables} == {"classes"}


def test_the_browser_fft_spec_trains_serves_and_exports(tmp_path: Path) -> None:
    import tensorflow as tf

    spec, generator = BrowserFftSpec(), np.random.default_rng(0)
    length = spec.EXPECTED_WAVEFORM_LENGTH
    waves = [generator.normal(0, 0.1, size).astype(np.float32) for size in (length, 2 * length + 5, length - 1, length)]
    waves[3][7] = np.nan
    ds = tf.data.Dataset.from_generator(
        lambda: zip(waves, [0, 1, 0, 1], strict=True),
        output_signature=(tf.TensorSpec((None,), tf.float32), tf.TensorSpec((), tf.int64)),
    )
    rows = list(spec.preprocess_ds(ds, cache_fn=lambda each: each.cache()))
    # One as it is, one split in two, one too short, one not finite.
    assert [int(label) for _, label in rows] == [0, 1, 1]
    np.testing.assert_array_equal(rows[1][0].numpy(), spec.features(waves[1][:length]))
    model = spec.create_model(2)
    history = spec.run_classifier(model, 2, spec.preprocess_ds(ds, is_training=True), None, verbose=0)
    assert len(history.history["loss"]) == 2
    served = spec.create_serving_model(model).predict_on_batch(waves[0][None])
    graph = Graph(spec.export(model, tmp_path / "two.onnx", ["a", "b"]), SessionSettings(threads=1))
    ours = graph.run(["scores"], [spec.features(waves[0])[..., 0]])["scores"]
    np.testing.assert_allclose(served, ours, atol=1e-4)
    assert (graph.bundle.name, graph.bundle.version) == ("two", "1")
    (tmp_path / "pair").mkdir()
    newer = Graph(spec.export(model, tmp_path / "pair" / "2.onnx", ["a", "b"]), SessionSettings(threads=1))
    assert (newer.bundle.name, newer.bundle.version) == ("pair", "2")
    with pytest.raises(OptionError, match="the model has 2 classes, but there are 1 labels"):
        spec.export(model, tmp_path / "one.onnx", ["a"])
