"""AudioEmbedder in process: every output is a head, with the server's own numbers."""

from __future__ import annotations

import gc
import json
import math
import weakref
from pathlib import Path

import numpy as np
import pytest

import models
from auricle.client import Client, Pcm
from auricle.engine.graph import Graph
from auricle.model.vectors import to_int8
from auricle.serve.local import LocalTransport
from auricle.task import local
from auricle.task.audio import AudioClassifier, AudioEmbedder, AudioEmbedderOptions, AudioFormat, TensorAudio
from auricle.task.core import BaseOptions
from auricle.task.processor import EmbeddingOptions, FeatureVector
from tflite_files import File, Output


def ramp(embedder: AudioEmbedder, scale: float = 1.0) -> TensorAudio:
    """A buffer that rises from 0 by 1/1000 a sample."""
    sound = embedder.create_input_tensor_audio()
    sound.load_from_array(np.arange(sound.buffer_size) / 1000 * scale)
    return sound


def create(path: Path, **options: bool | None) -> AudioEmbedder:
    return AudioEmbedder.create_from_options(
        AudioEmbedderOptions(BaseOptions(file_name=str(path)), EmbeddingOptions(**options))
    )


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.write_classifier(tmp_path_factory.mktemp("models") / "classifier.onnx")


def test_a_model_says_what_sound_it_takes(classifier: Path) -> None:
    embedder = AudioEmbedder.create_from_file(classifier)
    assert embedder.required_audio_format == AudioFormat(channels=1, sample_rate=16000)
    assert embedder.required_input_buffer_size == models.LENGTH
    assert embedder.create_input_tensor_audio().buffer.shape == (models.LENGTH, 1)


def test_every_output_is_an_embedding_head_whatever_its_kind(classifier: Path) -> None:
    embedder = AudioEmbedder.create_from_file(classifier)
    assert embedder.number_of_output_layers == 3
    assert [embedder.get_embedding_dimension(index) for index in range(-1, 4)] == [-1, 3, 4, 2, -1]
    result = embedder.embed(ramp(embedder))
    assert [each.output_index for each in result.embeddings] == [0, 1, 2]
    vectors = [each.feature_vector.value for each in result.embeddings]
    expected = [np.array(cut, np.float32) / 1000 for cut in ([6, 7, 8], [0, 1, 2, 3], [4, 5])]
    for vector, wanted in zip(vectors, expected, strict=True):
        assert vector.dtype == np.float32
        assert vector == pytest.approx(wanted, abs=1e-7)


def test_a_calibration_of_scores_does_not_change_them_as_a_vector(tmp_path: Path) -> None:
    calibration = {"parameters": [[1.0, 2.0, 0.0, None]] * 4}
    path = models.write_classifier(tmp_path / "m.onnx", heads=[{}, {"calibration": calibration}, {}])
    embedder = AudioEmbedder.create_from_file(path)
    scores = embedder.embed(ramp(embedder)).embeddings[1].feature_vector.value
    assert scores == pytest.approx([0, 0.001, 0.002, 0.003], abs=1e-7)


def test_vectors_are_normalised_then_quantised(classifier: Path) -> None:
    length = math.hypot(6, 7, 8)
    for normalise, quantise in ((False, False), (True, False), (False, True), (True, True)):
        embedder = create(classifier, l2_normalize=normalise, quantize=quantise)
        vector = embedder.embed(ramp(embedder, 20)).embeddings[0].feature_vector.value
        floats = [value / length if normalise else value / 50 for value in (6, 7, 8)]
        if quantise:
            assert vector.dtype == np.int8
            assert vector.tolist() == [math.floor(value * 128 + 0.5) for value in floats]
        else:
            assert vector == pytest.approx(floats, rel=1e-6)


def test_normalisation_is_the_bundles_unless_the_options_say(tmp_path: Path) -> None:
    path = models.write_waveform(tmp_path / "m.onnx", heads=[{"l2_normalize": True}])
    norms = []
    for choice in (None, True, False):
        embedder = create(path, l2_normalize=choice)
        norms.append(float(np.linalg.norm(embedder.embed(ramp(embedder)).embeddings[0].feature_vector.value)))
    assert norms[:2] == pytest.approx([1, 1])
    assert norms[2] > 1.5


def test_a_vector_of_zeros_stays_as_it_is(tmp_path: Path) -> None:
    embedder = create(models.write_waveform(tmp_path / "m.onnx"), l2_normalize=True)
    silence = embedder.create_input_tensor_audio()
    assert embedder.embed(silence).embeddings[0].feature_vector.value.tolist() == [0, 0, 0]


def test_a_uint8_output_is_dequantised(tmp_path: Path) -> None:
    embedder = AudioEmbedder.create_from_file(models.write_quantised(tmp_path / "m.onnx"))
    sound = embedder.create_input_tensor_audio()
    sound.buffer[0], sound.buffer[1] = 0.5, -0.25
    assert embedder.embed(sound).embeddings[0].feature_vector.value == pytest.approx([0.5, -0.25, 0], abs=1e-7)


@pytest.mark.parametrize("write", [models.write_embedder, models.write_waveform, models.write_batch_dependent])
def test_the_numbers_are_those_of_the_api_bit_for_bit(tmp_path: Path, write: object) -> None:
    path = write(tmp_path / "model.onnx")  # type: ignore[operator]
    embedder = AudioEmbedder.create_from_file(path)
    sound = embedder.create_input_tensor_audio()
    sound.load_from_array(np.random.default_rng(5).normal(0, 0.1, sound.buffer_size))
    with LocalTransport(models_dir=tmp_path) as transport:
        reply = Client(transport=transport).embed(Pcm(sound.buffer, 16000))
    ours = embedder.embed(sound).embeddings
    assert len(ours) == len(reply.embeddings) == 1
    assert np.array_equal(ours[0].feature_vector.value, reply.embeddings[0].vector)


def test_file_content_wins_over_the_file_name(classifier: Path) -> None:
    options = BaseOptions(file_name="/nowhere.onnx", file_content=classifier.read_bytes())
    embedder = AudioEmbedder.create_from_options(AudioEmbedderOptions(options))
    assert embedder.number_of_output_layers == 3
    assert embedder.embed(ramp(embedder)).embeddings[2].feature_vector.value.size == 2


@pytest.mark.parametrize("threads", [-1, 1, 2])
def test_thread_counts_that_are_allowed_give_the_same_answer(classifier: Path, threads: int) -> None:
    embedder = AudioEmbedder.create_from_options(
        AudioEmbedderOptions(BaseOptions(file_name=str(classifier), num_threads=threads))
    )
    vector = embedder.embed(ramp(embedder)).embeddings[0].feature_vector.value
    assert vector == pytest.approx([0.006, 0.007, 0.008], abs=1e-7)


@pytest.mark.parametrize("threads", [0, -2, -100])
def test_other_thread_counts_are_refused(classifier: Path, threads: int) -> None:
    with pytest.raises(ValueError, match=f"num_threads must be -1 or above 0, but is {threads}"):
        AudioEmbedder.create_from_options(
            AudioEmbedderOptions(BaseOptions(file_name=str(classifier), num_threads=threads))
        )


def test_a_model_that_is_missing_or_none_is_refused_by_name(tmp_path: Path, classifier: Path) -> None:
    with pytest.raises(ValueError, match="set file_name or file_content"):
        AudioEmbedder.create_from_options(AudioEmbedderOptions(BaseOptions()))
    with pytest.raises(ValueError, match=r"no model file .*gone\.onnx"):
        AudioEmbedder.create_from_file(tmp_path / "gone.onnx")
    text = tmp_path / "words.onnx"
    text.write_text("not a model")
    with pytest.raises(ValueError, match=r"words\.onnx: onnxruntime cannot load it"):
        AudioEmbedder.create_from_file(text)
    bare = models.write_waveform(tmp_path / "bare.onnx", metadata=None)
    with pytest.raises(ValueError, match=r"bare\.onnx: no metadata"):
        AudioEmbedder.create_from_file(bare)
    with pytest.raises(ValueError, match="Edge TPU"):
        AudioEmbedder.create_from_options(AudioEmbedderOptions(BaseOptions(file_name=str(classifier), use_coral=True)))


@pytest.mark.parametrize(
    ("channels", "rate", "size", "message"),
    [
        (2, 16000, models.LENGTH, "2 channels, but the model takes 1"),
        (1, 8000, models.LENGTH, "8000 Hz, but the model takes 16000 Hz"),
        (1, 16000, models.LENGTH - 1, "1599 samples, but the model takes 1600"),
        (1, 16000, models.LENGTH + 1, "1601 samples, but the model takes 1600"),
    ],
)
def test_a_buffer_of_another_format_names_both_values(
    classifier: Path, channels: int, rate: int, size: int, message: str
) -> None:
    embedder = AudioEmbedder.create_from_file(classifier)
    with pytest.raises(ValueError, match=message):
        embedder.embed(TensorAudio(AudioFormat(channels, rate), size))


def test_a_closed_task_lets_its_model_go(classifier: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[weakref.ref[Graph]] = []
    load = local._load
    monkeypatch.setattr(local, "_load", lambda options: (graph := load(options), loaded.append(weakref.ref(graph)))[0])
    for kind in (AudioEmbedder, AudioClassifier):
        task = kind.create_from_file(classifier)
        sound = task.create_input_tensor_audio()
        run = task.embed if isinstance(task, AudioEmbedder) else task.classify
        run(sound)
        assert loaded[-1]() is not None
        task.close()
        gc.collect()
        assert loaded[-1]() is None
        with pytest.raises(RuntimeError, match="this task is closed"):
            run(sound)


def test_a_sample_that_is_not_finite_is_the_callers_and_a_result_the_models_fault(tmp_path: Path) -> None:
    embedder = AudioEmbedder.create_from_file(models.write_nan(tmp_path / "m.onnx"))
    sound = embedder.create_input_tensor_audio()
    sound.buffer[7] = 0.99
    with pytest.raises(RuntimeError, match="the model gave a non-finite value for this sound"):
        embedder.embed(sound)
    sound.buffer[7] = np.nan
    with pytest.raises(ValueError, match="sample 7 of channel 0 is nan"):
        embedder.embed(sound)


def test_a_model_that_fails_is_a_runtime_error(tmp_path: Path) -> None:
    embedder = AudioEmbedder.create_from_file(models.write_failing(tmp_path / "m.onnx"))
    sound = embedder.create_input_tensor_audio()
    sound.buffer[7] = 0.99
    with pytest.raises(RuntimeError, match="the model failed"):
        embedder.embed(sound)


def test_a_model_of_whole_clips_takes_any_buffer(tmp_path: Path) -> None:
    embedder = AudioEmbedder.create_from_file(models.write_whole_clip(tmp_path / "m.onnx"))
    assert embedder.required_input_buffer_size == 8000
    for size in (1, 777, 8000, 20000):
        sound = TensorAudio(embedder.required_audio_format, size)
        sound.buffer[-1] = 1.0
        assert embedder.embed(sound).embeddings[0].feature_vector.value == pytest.approx(
            [1.0, 1.0 if size == 1 else 0.0, 1 / size]
        )
    endless = models.write_whole_clip(tmp_path / "n.onnx", segment={"length": None, "hop": None})
    with pytest.raises(ValueError, match="whole clips of any length"):
        AudioEmbedder.create_from_file(endless).create_input_tensor_audio()


def vector(*values: float, dtype: type = np.float32) -> FeatureVector:
    return FeatureVector(np.array(values, dtype))


def test_cosine_similarity_of_floats_and_of_int8() -> None:
    similarity = AudioEmbedder.cosine_similarity
    assert similarity(vector(1, 0), vector(0, 3)) == 0
    assert similarity(vector(1, 2), vector(-2, -4)) == pytest.approx(-1)
    # -128 * 127 + 127 * 127 = -127, and |u|^2 |v|^2 = (128^2 + 127^2) (2 * 127^2): no int8 arithmetic overflows.
    expected = -127 / math.sqrt((128**2 + 127**2) * 2 * 127**2)
    assert similarity(vector(-128, 127, dtype=np.int8), vector(127, 127, dtype=np.int8)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("u", "v", "message"),
    [
        (vector(), vector(), "n > 0"),
        (vector(0, 0), vector(1, 1), "norm is zero"),
        (vector(1, 1), vector(1, 1, 1), "2 elements with 3"),
        (vector(1, 1), vector(1, 1, dtype=np.int8), "float32 with one of int8"),
    ],
)
def test_vectors_that_cannot_be_compared_are_refused(u: FeatureVector, v: FeatureVector, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AudioEmbedder.cosine_similarity(u, v)


def test_the_arithmetic_is_the_librarys_on_its_own_vectors(shared_data: Path) -> None:
    golden = json.loads((shared_data / "golden" / "tflite_support.json").read_text())["embed"]
    for clip, raw in golden["raw"]["first8"].items():
        assert to_int8(np.array(raw, np.float32)).tolist() == golden["quant"]["first8"][clip]
        assert (
            to_int8(np.array(golden["l2"]["first8"][clip], np.float32)).tolist() == (golden["l2_quant"]["first8"][clip])
        )


def test_a_tflite_file_is_to_be_imported_first(tmp_path: Path) -> None:
    path = File(outputs=[Output(classes=3)]).write(tmp_path / "small.tflite")
    for options, where in (
        (BaseOptions(file_name=str(path)), f"small.tflite: a TensorFlow Lite file; .* models import {path}"),
        (BaseOptions(file_content=path.read_bytes()), "the model's content: a TensorFlow Lite file; .* import FILE"),
    ):
        with pytest.raises(ValueError, match=where):
            AudioEmbedder.create_from_options(AudioEmbedderOptions(options))
