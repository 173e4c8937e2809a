"""The tasks against a real server."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import models
from auricle.config import ServerSettings
from auricle.task.audio import (
    AudioClassifier,
    AudioClassifierOptions,
    AudioEmbedder,
    AudioEmbedderOptions,
    AudioFormat,
    TensorAudio,
)
from auricle.task.core import BaseOptions
from auricle.task.processor import ClassificationOptions, EmbeddingOptions
from serving import serving


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("models")
    models.write_classifier(directory / "classifier.onnx")
    models.write_embedder(directory / "embedder.onnx")
    return directory


@pytest.fixture(scope="module")
def target(models_dir: Path) -> Iterator[str]:
    with serving(ServerSettings(models_dir=models_dir, listen="127.0.0.1:0", watch=False)) as address:
        yield address


def noise(task: AudioEmbedder | AudioClassifier) -> TensorAudio:
    sound = task.create_input_tensor_audio()
    sound.load_from_array(np.random.default_rng(9).normal(0, 0.2, sound.buffer_size))
    return sound


@pytest.mark.parametrize("options", [EmbeddingOptions(), EmbeddingOptions(True), EmbeddingOptions(True, True)])
def test_an_embedding_is_the_one_in_process_bit_for_bit(
    target: str, models_dir: Path, options: EmbeddingOptions
) -> None:
    base = BaseOptions(file_name=str(models_dir / "embedder.onnx"))
    local = AudioEmbedder.create_from_options(AudioEmbedderOptions(base, options))
    with AudioEmbedder.connect(target, model="embedder", options=options) as remote:
        assert remote.required_audio_format == local.required_audio_format
        assert remote.required_input_buffer_size == local.required_input_buffer_size == 15600
        assert remote.number_of_output_layers == 1
        assert [remote.get_embedding_dimension(index) for index in (-1, 0, 1)] == [-1, 5, -1]
        theirs, ours = (task.embed(noise(task)).embeddings[0].feature_vector.value for task in (remote, local))
    assert theirs.dtype == ours.dtype
    assert np.array_equal(theirs, ours)


def test_on_a_server_only_embedding_heads_embed(target: str) -> None:
    with AudioEmbedder.connect(target, model="classifier") as embedder:
        assert embedder.number_of_output_layers == 1
        result = embedder.embed(noise(embedder))
    assert [each.output_index for each in result.embeddings] == [0]
    assert result.embeddings[0].feature_vector.value.shape == (3,)


def test_a_classification_is_the_one_in_process(target: str, models_dir: Path) -> None:
    options = ClassificationOptions(display_names_locale="de", max_results=2, score_threshold=-1.0)
    base = BaseOptions(file_name=str(models_dir / "classifier.onnx"))
    local = AudioClassifier.create_from_options(AudioClassifierOptions(base, options))
    with AudioClassifier.connect(target, options=options) as remote:
        assert remote.classify(noise(remote)) == local.classify(noise(local))


def test_a_buffer_of_another_format_is_refused_though_the_server_would_convert_it(target: str) -> None:
    with AudioEmbedder.connect(target, model="embedder") as embedder:
        for wrong, message in (
            (TensorAudio(AudioFormat(2, 16000), 15600), "2 channels, but the model takes 1"),
            (TensorAudio(AudioFormat(1, 44100), 15600), "44100 Hz, but the model takes 16000 Hz"),
            (TensorAudio(AudioFormat(1, 16000), 15601), "15601 samples, but the model takes 15600"),
        ):
            with pytest.raises(ValueError, match=message):
                embedder.embed(wrong)


def test_without_a_name_the_only_model_of_that_kind_answers_and_several_are_listed(target: str) -> None:
    with AudioClassifier.connect(target) as classifier:
        assert classifier.required_input_buffer_size == models.LENGTH
    with pytest.raises(ValueError, match=r"name a model: .* classifier, embedder"):
        AudioEmbedder.connect(target)


def test_a_model_that_is_not_there_or_of_the_wrong_kind_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match="no model 'gone'; loaded are: classifier, embedder"):
        AudioEmbedder.connect(target, model="gone")
    with pytest.raises(ValueError, match="model 'embedder' has no classification head"):
        AudioClassifier.connect(target, model="embedder")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ClassificationOptions(max_results=0), "max_results must be -1"),
        (ClassificationOptions(category_name_allowlist=["a"], category_name_denylist=["b"]), "exclude each other"),
        (ClassificationOptions(category_name_allowlist=["unknown"]), "knows none of"),
    ],
)
def test_options_are_checked_when_the_task_is_created(
    target: str, options: ClassificationOptions, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        AudioClassifier.connect(target, options=options)


def test_a_server_that_is_not_there_is_a_runtime_error() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(RuntimeError, match=r"127\.0\.0\.1"):
            AudioEmbedder.connect(f"127.0.0.1:{free.getsockname()[1]}", model="any", timeout_s=5.0)
