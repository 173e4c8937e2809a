"""AudioClassifier in process: options, labels and locales, on one head and on several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import models
from auricle.task.audio import AudioClassifier, AudioClassifierOptions, AudioFormat, TensorAudio
from auricle.task.core import BaseOptions
from auricle.task.processor import ClassificationOptions, ClassificationResult

# The samples that the test model hands out as its scores: four scenes, then two moods.
SCORES = (0.1, 0.9, 0.4, 0.4, 0.3, 0.7)


def sound_of(classifier: AudioClassifier, scores: tuple[float, ...] = SCORES) -> TensorAudio:
    sound = classifier.create_input_tensor_audio()
    sound.buffer[: len(scores), 0] = scores
    return sound


def classify(path: Path, **options: object) -> ClassificationResult:
    classifier = AudioClassifier.create_from_options(
        AudioClassifierOptions(BaseOptions(file_name=str(path)), ClassificationOptions(**options))  # type: ignore[arg-type]
    )
    return classifier.classify(sound_of(classifier))


def names(result: ClassificationResult) -> list[list[str]]:
    return [[category.category_name for category in head.categories] for head in result.classifications]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classification heads beside an embedding: scenes in English and German, moods in both too."""
    moods = [{"locale": "en", "names": models.MOODS}, {"locale": "de", "names": ["ruhig", "laut"]}]
    path = tmp_path_factory.mktemp("models") / "classifier.onnx"
    return models.write_classifier(path, heads=[{}, {}, {"labels": moods}])


def test_each_classification_head_answers_highest_first_and_ties_by_index(model: Path) -> None:
    result = classify(model)
    assert [(head.head_index, head.head_name) for head in result.classifications] == [(0, "scene"), (1, "mood")]
    assert names(result) == [["cat", "bird", "rain", "dog"], ["loud", "calm"]]
    assert [category.index for category in result.classifications[0].categories] == [1, 2, 3, 0]
    best = result.classifications[0].categories[0]
    assert (best.category_name, best.display_name) == ("cat", "cat")
    assert best.score == pytest.approx(0.9)


def test_a_locale_gives_each_head_its_display_names(model: Path) -> None:
    result = classify(model, display_names_locale="de")
    shown = [[category.display_name for category in head.categories] for head in result.classifications]
    assert shown == [["Katze", "Vogel", "Regen", "Hund"], ["laut", "ruhig"]]
    assert names(result) == [["cat", "bird", "rain", "dog"], ["loud", "calm"]]


def test_a_locale_that_there_is_not_leaves_display_names_empty(model: Path) -> None:
    result = classify(model, display_names_locale="fr")
    assert {category.display_name for head in result.classifications for category in head.categories} == {""}


def test_an_allowlist_applies_to_both_heads(model: Path) -> None:
    assert names(classify(model, category_name_allowlist=["dog", "loud", "cat"])) == [["cat", "dog"], ["loud"]]
    assert names(classify(model, category_name_allowlist=["loud", "loud", "unknown"])) == [[], ["loud"]]


def test_a_denylist_applies_to_both_heads(model: Path) -> None:
    assert names(classify(model, category_name_denylist=["cat", "calm", "unknown"])) == [
        ["bird", "rain", "dog"],
        ["loud"],
    ]


def test_an_allowlist_of_names_that_no_head_knows_is_refused(model: Path) -> None:
    with pytest.raises(ValueError, match=r"knows none of \['unknown'\]"):
        classify(model, category_name_allowlist=["unknown"])


def test_both_lists_at_once_are_refused(model: Path) -> None:
    with pytest.raises(ValueError, match="exclude each other"):
        classify(model, category_name_allowlist=["cat"], category_name_denylist=["dog"])


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(-1, [4, 2]), (None, [4, 2]), (1, [1, 1]), (3, [3, 2]), (99, [4, 2])],
)
def test_max_results_keeps_the_best_of_each_head(model: Path, limit: int | None, expected: list[int]) -> None:
    assert [len(head) for head in names(classify(model, max_results=limit))] == expected


def test_max_results_counts_after_the_lists(model: Path) -> None:
    assert names(classify(model, max_results=1, category_name_denylist=["cat", "loud"])) == [["bird"], ["calm"]]


@pytest.mark.parametrize("limit", [0, -2])
def test_max_results_out_of_range_is_refused_with_its_value(model: Path, limit: int) -> None:
    with pytest.raises(ValueError, match=f"max_results must be -1 .* but is {limit}"):
        classify(model, max_results=limit)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_results": 2.5}, "max_results must be a whole number, but is 2.5"),
        ({"max_results": "3"}, "max_results must be a whole number, but is '3'"),
        ({"score_threshold": float("nan")}, "score_threshold must be a number, but is nan"),
        ({"score_threshold": "0.5"}, "score_threshold must be a number, but is '0.5'"),
    ],
)
def test_what_is_no_number_is_refused_when_the_task_is_created(
    model: Path, options: dict[str, Any], message: str
) -> None:
    wanted = AudioClassifierOptions(BaseOptions(file_name=str(model)), ClassificationOptions(**options))
    with pytest.raises(ValueError, match=message):
        AudioClassifier.create_from_options(wanted)
    with pytest.raises(ValueError, match=message):
        AudioClassifier.connect("127.0.0.1:1", model="classifier", options=wanted.classification_options)


def test_numpys_numbers_are_numbers(model: Path) -> None:
    result = classify(model, max_results=np.int64(1), score_threshold=np.float32(0.8))
    assert names(result) == [["cat"], []]


def test_the_threshold_keeps_scores_of_at_least_it(model: Path) -> None:
    exactly = float(np.float32(0.4))
    assert names(classify(model, score_threshold=exactly)) == [["cat", "bird", "rain"], ["loud"]]
    assert names(classify(model, score_threshold=2.0)) == [[], []]


def test_the_options_threshold_wins_over_the_bundles_and_the_bundles_over_zero(tmp_path: Path) -> None:
    path = models.write_classifier(tmp_path / "m.onnx", heads=[{}, {"score_threshold": 0.3}, {}])
    assert names(classify(path)) == [["cat", "bird", "rain"], ["loud", "calm"]]
    assert names(classify(path, score_threshold=0.5)) == [["cat"], ["loud"]]
    assert names(classify(path, score_threshold=-1.0)) == [["cat", "bird", "rain", "dog"], ["loud", "calm"]]


def test_without_labels_a_category_has_its_index_alone(tmp_path: Path) -> None:
    path = models.write_classifier(tmp_path / "m.onnx", heads=[{}, {"labels": []}, {}])
    head = classify(path).classifications[0]
    assert [(each.index, each.category_name, each.display_name) for each in head.categories] == [
        (1, "", ""),
        (2, "", ""),
        (3, "", ""),
        (0, "", ""),
    ]


def test_calibration_comes_before_sorting(tmp_path: Path) -> None:
    # scale / (1 + e^-(x + offset)): the offset alone turns the order around; the null row gets the default.
    parameters = [[1.0, 1.0, 3.0, None], [1.0, 1.0, -3.0, None], None, [1.0, 1.0, 0.0, 0.5]]
    calibration = {"parameters": parameters, "default_score": 0.25}
    path = models.write_classifier(tmp_path / "m.onnx", heads=[{}, {"calibration": calibration}, {}])
    categories = classify(path).classifications[0].categories
    assert [each.index for each in categories] == [0, 2, 3, 1]
    # 1 / (1 + e^-3.1), the default, the default again (0.4 < 0.5), 1 / (1 + e^2.1)
    assert [each.score for each in categories] == pytest.approx([0.956893, 0.25, 0.25, 0.109097], abs=1e-6)


def test_a_model_without_classification_heads_is_refused(tmp_path: Path) -> None:
    path = models.write_waveform(tmp_path / "m.onnx")
    with pytest.raises(ValueError, match="has no classification head"):
        AudioClassifier.create_from_file(path)


def test_labels_of_the_wrong_count_are_refused_when_the_task_is_created(tmp_path: Path) -> None:
    path = models.write_classifier(tmp_path / "m.onnx", heads=[{}, {"labels": [{"names": ["one", "two"]}]}, {}])
    with pytest.raises(ValueError, match=r"m\.onnx: heads\[1\]\.labels: 2 names for an output of 4 classes"):
        AudioClassifier.create_from_file(path)


def test_a_buffer_of_another_format_is_refused(model: Path) -> None:
    classifier = AudioClassifier.create_from_file(model)
    with pytest.raises(ValueError, match="44100 Hz, but the model takes 16000 Hz"):
        classifier.classify(TensorAudio(AudioFormat(1, 44100), models.LENGTH))


def test_options_can_be_assigned_to_as_in_code_that_moves_here(model: Path) -> None:
    options = AudioClassifierOptions(BaseOptions(file_name=str(model)))
    options.classification_options.max_results = 1
    options.base_options.num_threads = 1
    classifier = AudioClassifier.create_from_options(options)
    assert names(classifier.classify(sound_of(classifier))) == [["cat"], ["loud"]]
