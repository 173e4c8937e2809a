"""A bundle joined to its graph: what is checked at load, and how segments are arranged and batched."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

import models
from auricle import frontend
from auricle.config import SessionSettings
from auricle.engine.cutter import Cutter
from auricle.engine.decode import SoundFormat
from auricle.engine.graph import Graph
from auricle.engine.plan import default_grid
from auricle.errors import AudioError, BundleError


def load(path: Path) -> Graph:
    return Graph(path, SessionSettings(threads=1))


def noise(count: int, samples: int = models.LENGTH) -> list[np.ndarray]:
    generator = np.random.default_rng(1)
    return [generator.uniform(-0.9, 0.9, samples).astype(np.float32) for _ in range(count)]


def statistics(segment: np.ndarray) -> list[float]:
    return [float(segment.max()), float(segment.min()), float(segment.mean(dtype=np.float64))]


def test_a_waveform_model_answers_each_segment_in_its_row(tmp_path: Path) -> None:
    graph = load(models.write_waveform(tmp_path / "w.onnx"))
    segments = noise(3)
    rows = graph.run(("embedding",), segments)["embedding"]
    assert graph.batches
    # Means of 1600 float32: sums in another order, a few units in the last place.
    np.testing.assert_allclose(rows, [statistics(segment) for segment in segments], rtol=1e-5, atol=1e-8)


def test_a_feature_model_gets_frames_by_bands(tmp_path: Path) -> None:
    graph = load(models.write_embedder(tmp_path / "e.onnx"))
    frames = frontend.features(noise(1, 15600)[0], "yamnet-64")
    row = graph.run(("embedding",), [frames])["embedding"][0]
    expected = frames.mean(0, dtype=np.float64) @ models.matrix().astype(np.float64)
    np.testing.assert_allclose(row, expected, rtol=1e-5, atol=1e-5)
    assert [head.dimension for head in graph.heads] == [5]


@pytest.mark.parametrize(
    "layout", ["batch,bands,frames", "batch,1,frames,bands", "batch,bands,frames,1", "bands,frames"]
)
def test_segments_are_laid_out_as_the_input_wants_them(tmp_path: Path, layout: str) -> None:
    names = layout.split(",")
    sizes = {"batch": "batch", "frames": 96, "bands": 64, "1": 1}
    path = models.write(
        tmp_path / "m.onnx",
        nodes=[("Reshape", ["patches", "flat"], "embedding")],
        inputs={"patches": [sizes[name] for name in names]},
        outputs={"embedding": ["n", 96 * 64]},
        constants={"flat": np.array([-1, 96 * 64], np.int64)},
        metadata=models.embedder_bundle(input={"layout": layout}),
    )
    frames = np.arange(96 * 64, dtype=np.float32).reshape(96, 64)
    rows = load(path).run(("embedding",), [frames, -frames])["embedding"]
    wanted = frames.T if names.index("bands") < names.index("frames") else frames
    np.testing.assert_array_equal(rows, [wanted.ravel(), -wanted.ravel()])


def test_a_fixed_batch_axis_runs_one_segment_at_a_time(tmp_path: Path) -> None:
    graph = load(models.write_waveform(tmp_path / "w.onnx", batch=1))
    assert not graph.batches
    segments = noise(3)
    rows = graph.run(("embedding",), segments)["embedding"]
    np.testing.assert_allclose(rows, [statistics(segment) for segment in segments], rtol=1e-5, atol=1e-8)


def test_a_model_whose_answers_change_with_the_batch_is_served_at_batch_one(tmp_path: Path) -> None:
    graph = load(models.write_batch_dependent(tmp_path / "b.onnx"))
    assert not graph.batches
    # Alone a segment is the mean of its batch, so that the difference is zero.
    np.testing.assert_array_equal(graph.run(("embedding",), noise(3))["embedding"], np.zeros((3, 3)))


@pytest.mark.parametrize("rows", [1, 2, 3, 4])
def test_runs_are_padded_to_the_fewest_rows_that_give_steady_answers(tmp_path: Path, rows: int) -> None:
    graph = load(models.write_steady_from(tmp_path / "s.onnx", rows))
    assert (graph.batches, graph.least_rows) == (True, rows)
    segments = noise(5)
    together = graph.run(("embedding",), segments)["embedding"]
    alone = [graph.run(("embedding",), [segment])["embedding"] for segment in segments]
    np.testing.assert_array_equal(together, np.concatenate(alone))
    np.testing.assert_array_equal(together[:, 0], [segment.max() for segment in segments])


def test_a_model_that_needs_more_company_runs_alone(tmp_path: Path) -> None:
    assert not load(models.write_steady_from(tmp_path / "s.onnx", 5)).batches


def test_a_matrix_product_answers_alike_in_any_company(tmp_path: Path) -> None:
    graph = load(models.write_embedder(tmp_path / "e.onnx"))
    segments = [frontend.features(wave, "yamnet-64") for wave in noise(7, 15600)]
    seven = graph.run(("embedding",), segments)["embedding"]
    for count in (1, 2, 3, 6):
        np.testing.assert_array_equal(graph.run(("embedding",), segments[:count])["embedding"], seven[:count])


WHOLE = {"length": None, "hop": None}


def deviation(path: Path) -> Path:
    """The variance over the clip, unbiased: NaN for one sample."""
    return models.write(
        path,
        nodes=[
            ("ReduceMean", ["wave"], "mean", {"axes": [1]}),
            ("Sub", ["wave", "mean"], "off"),
            ("ReduceSumSquare", ["off"], "sum", {"axes": [1]}),
            ("Shape", ["wave"], "size", {"start": 1}),
            ("Sub", ["size", "one"], "fewer"),
            ("Cast", ["fewer"], "freedom", {"to": TensorProto.FLOAT}),
            ("Div", ["sum", "freedom"], "embedding"),
        ],
        inputs={"wave": ["batch", "samples"]},
        outputs={"embedding": ["batch", 1]},
        constants={"one": np.array([1], np.int64)},
        metadata=models.waveform_bundle(segment=WHOLE),
    )


def frame_convolution(path: Path) -> Path:
    """Five frames wide, not padded, over the whole clip."""
    return models.write(
        path,
        nodes=[
            ("Conv", ["patches", "kernel"], "steps"),
            ("ReduceMean", ["steps"], "embedding", {"axes": [2], "keepdims": 0}),
        ],
        inputs={"patches": ["batch", 64, "frames"]},
        outputs={"embedding": ["batch", 2]},
        constants={"kernel": np.full((2, 64, 5), 0.01, np.float32)},
        metadata=models.embedder_bundle(
            input={"layout": "batch,bands,frames"}, segment={"length": None, "hop": None, "stream_length": 96}
        ),
    )


@pytest.mark.parametrize(
    ("write", "least"),
    [
        (models.write_waveform, 1),
        (models.write_whole_clip, 1),
        (models.write_convolution, 400),
        (lambda path: models.write_convolution(path, width=1), 1),
        (lambda path: models.write_convolution(path, width=16000, segment=WHOLE), 16000),
        (deviation, 2),
        (frame_convolution, 5),
    ],
    ids=["fixed", "any", "convolution", "point", "all of the noise", "deviation", "frames"],
)
def test_the_least_length_is_found_at_load(tmp_path: Path, write: Callable[[Path], Path], least: int) -> None:
    graph = load(write(tmp_path / "m.onnx"))
    assert graph.least_length == least
    if graph.bundle.segment.length is None:
        graph.run(("embedding",), [graph.noise(1)[:least]])


def folded(path: Path, stream_length: int) -> Path:
    """The mean of rows of 160 samples: it takes whole rows only."""
    return models.write(
        path,
        nodes=[
            ("Reshape", ["wave", "shape"], "rows"),
            ("ReduceMean", ["rows"], "embedding", {"axes": [1], "keepdims": 0}),
        ],
        inputs={"wave": ["batch", "samples"]},
        outputs={"embedding": ["batch", 160]},
        constants={"shape": np.array([0, -1, 160], np.int64)},
        metadata=models.waveform_bundle(segment={**WHOLE, "stream_length": stream_length}),
    )


def test_a_model_that_takes_certain_lengths_has_no_least_one(tmp_path: Path) -> None:
    graph = load(folded(tmp_path / "m.onnx", 1600))
    assert graph.least_length == 1
    assert graph.run(("embedding",), [graph.noise(0)[:320]])["embedding"].shape == (1, 160)
    with pytest.raises(BundleError, match=r"segment\.stream_length, 1601 samples; make it"):
        load(folded(tmp_path / "n.onnx", 1601))
    # Longer than the second of noise that other lengths are tried with.
    assert load(folded(tmp_path / "o.onnx", 160 * 400)).least_length == 1


def test_too_short_a_clip_is_told_how_much_the_model_needs(tmp_path: Path) -> None:
    for write, least in ((models.write_convolution, 400), (frame_convolution, 4 * 160 + 400)):
        graph = load(write(tmp_path / "m.onnx"))
        sound = SoundFormat(encoding="f32le", sample_rate_hz=models.RATE_HZ)
        for samples in (1, least - 1, least):
            cutter = Cutter(graph, default_grid(graph), sound)
            assert cutter.feed(noise(1, samples)[0].tobytes()) == []
            if samples == least:
                (segment,) = cutter.finish()
                graph.run(("embedding",), [segment.rows])
                continue
            with pytest.raises(AudioError, match=f"has {samples} samples .* needs at least {least}") as caught:
                cutter.finish()
            assert caught.value.reason == "AUDIO_TOO_SHORT"


def test_a_quantised_output_is_dequantised(tmp_path: Path) -> None:
    graph = load(models.write_quantised(tmp_path / "q.onnx"))
    raw = graph.run(("embedding",), [np.array([0.5, -0.25] * 800, np.float32)])["embedding"][0]
    assert raw.tolist() == [160, 112, 136]
    assert graph.heads[0].values(raw).tolist() == [0.5, -0.25, 0.125]


def test_a_squeezed_output_of_a_fixed_batch_keeps_its_length(tmp_path: Path) -> None:
    assert [head.dimension for head in load(squeezed(tmp_path / "m.onnx", batch=1)).heads] == [3]


def squeezed(path: Path, batch: int | str = "batch") -> Path:
    return models.write(
        path,
        nodes=[*models.STATISTICS, ("Squeeze", ["statistics"], "embedding")],
        inputs={"wave": [batch, "samples"]},
        outputs={"embedding": [3]},
        metadata=models.waveform_bundle(),
    )


def plane(path: Path) -> Path:
    return models.write(
        path,
        nodes=[("Concat", ["wave", "wave"], "embedding", {"axis": 2})],
        inputs={"wave": ["batch", "samples", 1]},
        outputs={"embedding": ["batch", "samples", 2]},
        metadata=models.waveform_bundle(input={"layout": "batch,samples,1"}),
    )


def integers(path: Path) -> Path:
    return models.write(
        path,
        nodes=[("Cast", ["wave"], "embedding", {"to": TensorProto.INT64})],
        inputs={"wave": ["batch", "samples"]},
        outputs={"embedding": ["batch", "samples"]},
        output_type=TensorProto.INT64,
        metadata=models.waveform_bundle(),
    )


def crooked(path: Path) -> Path:
    """The file that needs 1600 columns where the bundle's segments have 8."""
    return models.write(
        path,
        nodes=[("MatMul", ["wave", "matrix"], "embedding")],
        inputs={"wave": ["batch", "samples"]},
        outputs={"embedding": ["batch", 2]},
        constants={"matrix": np.zeros((1600, 2), np.float32)},
        metadata=models.waveform_bundle(segment={"length": 8, "hop": 8}),
    )


def garbage(path: Path) -> Path:
    path.write_bytes(b"no model at all")
    return path


def options(write: Callable[..., Path], **overrides: Any) -> Callable[[Path], Path]:
    return lambda path: write(path, **overrides)


embedder, classifier = models.write_embedder, models.write_classifier


@pytest.mark.parametrize(
    ("write", "parts"),
    [
        (garbage, ("onnxruntime cannot load it",)),
        (options(embedder, metadata=None), ("'auricle.bundle'", "m.json", "docs/bundle.md")),
        (options(embedder, metadata="{"), ("metadata", "truncated")),
        (options(embedder, input={"tensor": "mel"}), ("input.tensor is 'mel'", "['patches']")),
        (options(embedder, bands=40), ("'bands'", "fixed at 40", "64")),
        (options(embedder, frames=95), ("'frames'", "fixed at 95", "96")),
        (options(embedder, frames=96, segment={"length": None, "hop": None}), ("fixed at 96", "a free length")),
        (options(embedder, batch=2), ("'batch'", "fixed at 2", "export it with a free one")),
        (options(embedder, input={"layout": "frames,bands"}), ("2 axes", "?x?x64")),
        (options(embedder, heads=[{"tensor": "vector"}]), ("heads[0].tensor", "['embedding']", "'vector'")),
        (options(embedder, heads=[{"dequantize": {"scale": 0.5}}]), ("heads[0]", "dequantize", "float32", "drop it")),
        (options(models.write_quantised, heads=[{"dequantize": None}]), ("heads[0]", "uint8", "scale and zero_point")),
        (
            options(classifier, heads=[{}, {"labels": [{"names": ["a"]}]}, {}]),
            ("heads[1].labels", "1 names", "4 classes"),
        ),
        (
            options(classifier, heads=[{}, {}, {"labels": [], "calibration": {"parameters": [None]}}]),
            ("heads[2].calibration", "1 rows", "2 classes"),
        ),
        (plane, ("heads[0]", "[1600, 2]", "one vector")),
        (integers, ("heads[0]", "int64", "float, int8 or uint8")),
        (squeezed, ("'embedding' gives [3]", "first axis must be the batch")),
        (crooked, ("fails on one segment of noise",)),
        (
            options(models.write_convolution, segment={"length": None, "hop": None, "stream_length": 399}),
            ("segment.stream_length, 399 samples", "needs 400 at least"),
        ),
    ],
)
def test_what_cannot_be_served_is_refused_at_load(
    tmp_path: Path, write: Callable[[Path], Path], parts: tuple[str, ...]
) -> None:
    with pytest.raises(BundleError) as caught:
        load(write(tmp_path / "m.onnx"))
    for part in ("m.onnx", *parts):
        assert part in caught.value.message


def test_the_sidecar_serves_an_untouched_file_and_wins_over_metadata(tmp_path: Path) -> None:
    path = models.write_embedder(tmp_path / "m.onnx", metadata=None)
    sidecar = path.with_suffix(".json")
    sidecar.write_text(json.dumps(models.embedder_bundle(name="beside")))
    assert load(path).bundle.name == "beside"
    models.write_embedder(path, name="inside")
    assert load(path).bundle.name == "beside"
    sidecar.unlink()
    assert load(path).bundle.name == "inside"
