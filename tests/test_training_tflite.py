"""export_tflite: its files run in LiteRT and agree with the bundle, say what they take, and can be imported again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import models
from auricle.config import SessionSettings
from auricle.engine.graph import Graph
from auricle.errors import BundleError, OptionError
from auricle.importing.settings import ImportSettings
from auricle.importing.signals import trials
from auricle.importing.tflite import read_tflite
from auricle.importing.tflite_import import import_tflite
from auricle.training import BrowserFftSpec
from auricle.training.export import read_recipe, with_bundle
from auricle.training.quantization import QuantizationConfig

keras = pytest.importorskip("keras", reason="training needs the extra train: pip install 'auricle[train]'")
litert = pytest.importorskip("ai_edge_litert.interpreter", reason="the runtime is of the extra tflite")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.filterwarnings("default")]

LABELS = {"en": ["go", "stop", "background"], "de": ["los", "halt", "Hintergrund"]}
LENGTH = BrowserFftSpec.EXPECTED_WAVEFORM_LENGTH


@pytest.fixture(scope="module")
def spec() -> BrowserFftSpec:
    return BrowserFftSpec()


@pytest.fixture(scope="module")
def model(spec: BrowserFftSpec) -> keras.Model:
    keras.utils.set_random_seed(1)
    return spec.create_model(3)


@pytest.fixture(scope="module")
def sounds(spec: BrowserFftSpec) -> list[np.ndarray]:
    return [wave for _, wave in trials(spec.target_sample_rate, LENGTH)]


@pytest.fixture(scope="module")
def served(spec: BrowserFftSpec, model: keras.Model, sounds: list[np.ndarray], tmp_path_factory: Any) -> np.ndarray:
    """The bundle's scores of the sounds, f32 (n, 3)."""
    path = spec.export(model, tmp_path_factory.mktemp("bundle") / "words.onnx", LABELS, license="MIT")
    graph = Graph(path, SessionSettings(threads=1))
    assert [(each.locale, list(each.names)) for each in graph.bundle.heads[1].labels] == list(LABELS.items())
    return graph.run(["scores"], [spec.features(wave)[..., 0] for wave in sounds])["scores"]


def answers(path: Path, sounds: list[np.ndarray]) -> np.ndarray:
    """What TensorFlow Lite's runtime makes of the sounds."""
    interpreter = litert.Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    (source,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (list(source["shape"]), source["dtype"]) == ([1, LENGTH], np.float32)
    found = []
    for sound in sounds:
        interpreter.set_tensor(source["index"], sound[None])
        interpreter.invoke()
        found.append(interpreter.get_tensor(result["index"])[0].copy())
    return np.stack(found)


def test_it_agrees_with_the_bundle_and_says_what_it_takes(
    spec: BrowserFftSpec, model: keras.Model, sounds: list[np.ndarray], served: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "words.tflite"
    spec.export_tflite(model, path, index_to_label=LABELS)
    assert sorted(tmp_path.iterdir()) == [path.with_suffix(".json"), path]
    np.testing.assert_allclose(answers(path, sounds), served, atol=1e-3)
    found = read_tflite(path)
    assert found.metadata is not None
    assert (found.metadata.sample_rate_hz, found.metadata.channels) == (44100, 1)
    assert found.files == {
        "probability_labels_en.txt": b"go\nstop\nbackground\n",
        "probability_labels_de.txt": b"los\nhalt\nHintergrund\n",
    }
    view = json.loads((tmp_path / "words.json").read_text())
    (graph,) = view["subgraph_metadata"]
    assert graph["input_tensor_metadata"][0]["content"] == {
        "content_properties_type": "AudioProperties",
        "content_properties": {"sample_rate": 44100, "channels": 1},
    }
    assert [(each["name"], each["locale"]) for each in graph["output_tensor_metadata"][0]["associated_files"]] == [
        ("probability_labels_en.txt", "en"),
        ("probability_labels_de.txt", "de"),
    ]


def test_it_can_be_imported_again(
    spec: BrowserFftSpec, model: keras.Model, sounds: list[np.ndarray], served: np.ndarray, tmp_path: Path
) -> None:
    pytest.importorskip("tf2onnx", reason="the converter is of the extra tflite")
    path = tmp_path / "new" / "folder" / "words.tflite"
    spec.export_tflite(model, path, index_to_label=LABELS["en"], export_metadata_json_file=False)
    assert list(path.parent.iterdir()) == [path]
    report = import_tflite(path, tmp_path / "models", ImportSettings())
    graph = Graph(report.path, SessionSettings(threads=1))
    (head,) = [head for head in graph.heads if head.spec.kind == "classification"]
    assert list(head.spec.labels[0].names) == LABELS["en"]
    ours = graph.run([head.spec.tensor], sounds)[head.spec.tensor]
    np.testing.assert_allclose(ours, served, atol=1e-3)


# Rounding to 11 bits, and to 8 in the network alone.
@pytest.mark.parametrize(("precision", "mean", "size"), [("float16", 1e-3, 0.55), ("int8", 0.05, 0.35)])
def test_it_can_be_quantised(
    spec: BrowserFftSpec,
    model: keras.Model,
    sounds: list[np.ndarray],
    served: np.ndarray,
    tmp_path: Path,
    precision: str,
    mean: float,
    size: float,
) -> None:
    assert spec.get_default_quantization_config() is None
    config = QuantizationConfig.for_float16() if precision == "float16" else QuantizationConfig.for_int8(sounds)
    spec.export_tflite(model, tmp_path / "plain.tflite", with_metadata=False)
    spec.export_tflite(model, tmp_path / "small.tflite", with_metadata=False, quantization_config=config)
    sizes = [(tmp_path / f"{name}.tflite").stat().st_size for name in ("small", "plain")]
    assert sizes[0] < size * sizes[1]
    assert np.abs(answers(tmp_path / "small.tflite", sounds) - served).mean() <= mean
    bundle = spec.export(model, tmp_path / "small.onnx", LABELS, config)
    ours = Graph(bundle, SessionSettings(threads=1)).run(["scores"], [spec.features(wave)[..., 0] for wave in sounds])
    assert np.abs(ours["scores"] - served).mean() <= mean


def test_what_does_not_go_together_is_refused(spec: BrowserFftSpec, model: keras.Model, tmp_path: Path) -> None:
    path = tmp_path / "words.tflite"
    with pytest.raises(OptionError, match="the model has 3 classes, but there are 0 labels"):
        spec.export_tflite(model, path)
    with pytest.raises(OptionError, match="the model has 3 classes, but there are 2 labels for locale 'de'"):
        spec.export_tflite(model, path, index_to_label={**LABELS, "de": ["los", "halt"]})
    config = QuantizationConfig.for_int8([np.zeros(5, np.float32)])
    with pytest.raises(OptionError, match=r"a representative sound has the shape \(5,\); the model takes \(44032,\)"):
        spec.export_tflite(model, path, with_metadata=False, quantization_config=config)
    (tmp_path / "words.onnx").touch()
    with pytest.raises(OptionError, match=r"words\.json would be taken for the metadata of words\.onnx"):
        spec.export_tflite(model, path, index_to_label=LABELS)
    assert not path.exists()


def test_another_base_gives_its_layers_and_its_features(
    spec: BrowserFftSpec, model: keras.Model, sounds: list[np.ndarray], tmp_path: Path
) -> None:
    path = spec.export(model, tmp_path / "base.onnx", LABELS)
    bundle = read_recipe(path).bundle
    floored = msgspec.structs.replace(bundle, features={"preset": "browser-fft-232", "floor": 1e-3}, author="us")
    path.write_bytes(with_bundle(path.read_bytes(), floored))
    other = BrowserFftSpec(path)
    assert not np.array_equal(other.features(sounds[1]), spec.features(sounds[1]))
    two = other.create_model(2)
    made = other.export(two, tmp_path / "two.onnx", ["a", "b"])
    graph = Graph(made, SessionSettings(threads=1))
    assert (graph.bundle.features, graph.bundle.author) == (floored.features, "")
    served = graph.run(["scores"], [other.features(wave)[..., 0] for wave in sounds])["scores"]
    np.testing.assert_allclose(other.create_serving_model(two).predict_on_batch(np.stack(sounds)), served, atol=1e-4)
    with pytest.raises(BundleError, match=r"bare\.onnx: it has no metadata"):
        BrowserFftSpec(models.write_waveform(tmp_path / "bare.onnx", metadata=None))
    with pytest.raises(BundleError, match=r"wave\.onnx is no browser-FFT network of this project"):
        BrowserFftSpec(models.write_waveform(tmp_path / "wave.onnx"))
