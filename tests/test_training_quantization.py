"""Quantised bundles: smaller, near the original, the same whatever runs beside, and refused where they cannot be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import models
from auricle.config import SessionSettings
from auricle.engine.graph import Graph
from auricle.errors import BundleError, OptionError
from auricle.importing.signals import trials
from auricle.model.bundled import bundled_dir
from auricle.training import digits
from auricle.training.export import load_network
from auricle.training.quantization import Precision, QuantizationConfig, quantize

BUNDLED = bundled_dir() / "digits.onnx"
Made = Callable[[Precision], Graph]


@pytest.fixture(scope="module")
def segments() -> list[np.ndarray]:
    """Features of noises and of sounds of all kinds: voices, tones, sweeps, silence."""
    from auricle import frontend

    spec = digits.recipe().features
    assert spec is not None
    sounds = [wave for _, wave in trials(spec.sample_rate_hz, 44032)]
    return [frontend.features(wave, spec) for wave in sounds]


@pytest.fixture
def made(tmp_path: Path, segments: list[np.ndarray]) -> Made:
    def make(precision: Precision) -> Graph:
        path = tmp_path / f"{precision}.onnx"
        path.write_bytes(quantize(BUNDLED, precision, segments))
        return Graph(path, SessionSettings(threads=1))

    return make


# Rounding to 11 bits, and to 7: sounds between two classes swing, so the mean over all scores is what is bounded.
@pytest.mark.parametrize(("precision", "mean", "size"), [("float16", 1e-3, 0.51), ("int8", 0.03, 0.32)])
def test_a_quantised_bundle_is_smaller_and_near_the_original(
    made: Made, segments: list[np.ndarray], precision: Precision, mean: float, size: float
) -> None:
    original, quantised = Graph(BUNDLED, SessionSettings(threads=1)), made(precision)
    assert quantised.bundle == original.bundle
    assert quantised.size_bytes < size * original.size_bytes
    differences = np.abs(quantised.run(["scores"], segments)["scores"] - original.run(["scores"], segments)["scores"])
    assert 0 < differences.mean() <= mean


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_a_segments_scores_do_not_depend_on_what_runs_beside(
    made: Made, segments: list[np.ndarray], precision: Precision
) -> None:
    graph = made(precision)
    assert (graph.batches, graph.least_rows) == (True, 1)
    together = graph.run(["scores"], segments)["scores"]
    for row, segment in enumerate(segments):
        np.testing.assert_array_equal(graph.run(["scores"], [segment])["scores"][0], together[row])


def test_the_same_segments_give_the_same_file(tmp_path: Path, segments: list[np.ndarray]) -> None:
    for precision in ("float16", "int8"):
        assert quantize(BUNDLED, precision, segments) == quantize(BUNDLED, precision, segments)


def test_a_float16_bundle_can_be_the_base_of_another(tmp_path: Path) -> None:
    path = tmp_path / "half.onnx"
    path.write_bytes(quantize(BUNDLED, "float16", []))
    for name, array in load_network(BUNDLED).weights.items():
        np.testing.assert_allclose(load_network(path).weights[name], array, rtol=1e-3, atol=1e-7)


def test_without_weights_there_is_nothing_to_make_halves_of(tmp_path: Path) -> None:
    path = models.write_waveform(tmp_path / "plain.onnx")
    with pytest.raises(BundleError, match=r"plain\.onnx: it has no float32 weights that could become float16"):
        quantize(path, "float16", [])


def test_what_cannot_be_quantised_is_refused(tmp_path: Path, segments: list[np.ndarray]) -> None:
    with pytest.raises(OptionError, match="int8 needs representative_data"):
        QuantizationConfig.for_int8([])
    for precision in ("float16", "int8"):
        twice = tmp_path / "twice.onnx"
        twice.write_bytes(quantize(BUNDLED, precision, segments))
        with pytest.raises(BundleError, match=r"twice\.onnx: it is quantised already"):
            quantize(twice, "int8", segments)
    with pytest.raises(BundleError, match=r"plain\.onnx: it has no layer \(Conv, Gemm, MatMul\) of 8192 weights"):
        quantize(models.write_waveform(tmp_path / "plain.onnx"), "int8", segments)
