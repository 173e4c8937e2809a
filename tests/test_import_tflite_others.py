"""Models of other kinds than YAMNet from their .tflite files to bundles; needs the extra [tflite]."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from auricle.config import SessionSettings
from auricle.engine.graph import Graph
from auricle.importing.settings import ImportSettings
from auricle.importing.tflite_import import import_tflite
from auricle.importing.verify import of_bundle
from tflite_files import LABELS, File, Output, needs_tensorflow

pytestmark = [needs_tensorflow, pytest.mark.timeout(600)]


def test_a_model_whose_frontend_is_not_known_takes_the_waveform(tmp_path: Path) -> None:
    files = [("en.txt", LABELS, "en"), ("de.txt", LABELS, "de")]
    outputs = [Output(classes=3, name="animals", files=files), Output(classes=4, name="print")]
    file = File(outputs=outputs, packed={"en.txt": "dog\ncat\nbird\n", "de.txt": "Hund\nKatze\nVogel\n"})
    report = import_tflite(file.write(tmp_path / "two.tflite"), tmp_path / "models", ImportSettings())
    assert report.features is None
    assert any("features: null" in note for note in report.notes)
    assert {(each.precision, each.head, each.passes) for each in report.differences} >= {
        ("float", "animals", True),
        ("float", "print", True),
    }
    graph = Graph(report.path, SessionSettings(threads=1))
    assert (graph.bundle.segment.unit, graph.bundle.segment.length) == ("samples", 64)
    sounds = [np.random.default_rng(seed).normal(0, 0.1, 64).astype(np.float32) for seed in range(3)]
    answers = of_bundle(graph, sounds)
    for index, head in enumerate(("animals", "print")):
        expected = [file.weights(index) @ sound + file.biases(index) for sound in sounds]
        np.testing.assert_allclose(answers[head], expected, atol=1e-5)
    assert [labels.locale for labels in next(h for h in graph.heads if h.spec.name == "animals").spec.labels] == [
        "en",
        "de",
    ]


def test_a_model_without_metadata_is_imported_with_what_the_user_says(shared_data: Path, tmp_path: Path) -> None:
    settings = ImportSettings(sample_rate_hz=16000, task="audio-classification")
    report = import_tflite(shared_data / "models/model_without_metadata.tflite", tmp_path, settings)
    assert report.features == "yamnet-64"
    assert [(name, kind, size) for name, kind, size in report.heads if name == "scores"] == [
        ("scores", "classification", 527)
    ]
    scores = next(each for each in report.differences if each.head == "scores")
    assert scores.original is not None
    assert scores.original <= scores.bound == 1e-3
    # A Gather over all frames of the one segment stays in the graph.
    assert any("batch 1" in note for note in report.notes)
