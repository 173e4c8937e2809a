"""Bare ONNX models as bundles: recipes, layouts, labels, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from auricle.cli import main
from auricle.client import Client, Pcm
from auricle.config import SessionSettings
from auricle.engine.graph import Graph
from auricle.errors import AuricleError, BundleError, OptionError
from auricle.importing.onnx_import import import_onnx
from auricle.importing.settings import ImportSettings
from auricle.serve.local import LocalTransport

BANDS = 80


def write(path: Path, source: str, shape: list[Any], target: str, classes: int, *, axis: int) -> Path:
    """A graph that means its input over ``axis`` and multiplies with weights: [batch, ...] -> [batch, classes]."""
    width = next(size for place, size in reversed(list(enumerate(shape))) if place != axis % len(shape))
    width = width if isinstance(width, int) else 1
    weights = np.linspace(-1, 1, width * classes, dtype=np.float32).reshape(width, classes)
    nodes = [
        helper.make_node("ReduceMean", [source], ["mean"], axes=[axis], keepdims=width == 1),
        helper.make_node("Reshape", ["mean", "flat"], ["vector"]),
        helper.make_node("MatMul", ["vector", "weights"], [target]),
    ]
    constants = {"flat": np.array([-1, width], np.int64), "weights": weights}
    graph = helper.make_graph(
        nodes,
        "bare",
        [helper.make_tensor_value_info(source, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(target, TensorProto.FLOAT, ["batch", classes])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


@pytest.fixture
def wespeaker(tmp_path: Path) -> Path:
    return write(tmp_path / "voxceleb.onnx", "feats", ["B", "T", BANDS], "embs", 16, axis=1)


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    return write(tmp_path / "scenes.onnx", "wave", ["n", 1600], "p", 3, axis=1)


def names(tmp_path: Path, *lines: str, file: str = "labels.txt") -> Path:
    path = tmp_path / file
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_wespeaker_recipe_serves_clips_of_any_length(wespeaker: Path, tmp_path: Path) -> None:
    report = import_onnx(wespeaker, tmp_path / "models", ImportSettings(name="vox"), family="wespeaker")
    assert (report.name, report.features, report.batches) == ("vox", "wespeaker-80", True)
    assert report.heads == (("embs", "embedding", 16),)
    graph = Graph(report.path, SessionSettings(threads=1))
    assert graph.bundle.task == "speaker-embedding"
    assert graph.bundle.audio.sample_rate_hz == 16000
    assert (graph.bundle.segment.length, graph.bundle.segment.stream_length) == (None, 200)
    sound = np.random.default_rng(1).normal(0, 3000, 24000).astype(np.int16)
    with LocalTransport(models_dir=report.path.parent) as transport, Client(transport=transport) as client:
        result = client.embed(Pcm(sound, 16000))
    assert result.embeddings[0].vector.shape == (16,)
    # The mean over time is taken off, so what is left of it is rounding.
    np.testing.assert_allclose(result.embeddings[0].vector, 0, atol=1e-3)


def test_the_waveform_recipe_reads_the_axes_off_the_rank(tmp_path: Path) -> None:
    for shape, layout in ((["B", "T"], "batch,samples"), (["B", 1, "T"], "batch,1,samples")):
        path = write(tmp_path / "wave.onnx", "waveform", shape, "embedding", 8, axis=-1)
        report = import_onnx(path, tmp_path / layout.replace(",", "-"), ImportSettings(), family="pyannote-waveform")
        graph = Graph(report.path, SessionSettings(threads=1))
        assert graph.bundle.input.layout == layout
        assert (graph.bundle.features, graph.bundle.segment.stream_length) == (None, 32000)
        assert graph.bundle.task == "speaker-embedding"


def test_labels_make_a_classifier_of_the_output_of_their_number(scenes: Path, tmp_path: Path) -> None:
    english = names(tmp_path, "street", "forest", "home")
    german = names(tmp_path, "Strasse", "Wald", "Haus", file="de.txt")
    rows = names(tmp_path, "1,2,3", "", "1,2,3,0.5", file="curve.csv")
    settings = ImportSettings(
        sample_rate_hz=16000,
        features="none",
        labels=(("en", english), ("de", german)),
        calibration=rows,
        transformation="LOG",
        default_score=0.1,
        activation="softmax",
        license="MIT",
    )
    report = import_onnx(scenes, tmp_path / "models", settings)
    assert report.heads == (("p", "classification", 3),)
    bundle = Graph(report.path, SessionSettings(threads=1)).bundle
    assert bundle.task == "audio-classification"
    assert (bundle.segment.length, bundle.segment.hop, bundle.segment.unit) == (1600, 800, "samples")
    (head,) = bundle.heads
    assert [(labels.locale, labels.names) for labels in head.labels] == [
        ("en", ("street", "forest", "home")),
        ("de", ("Strasse", "Wald", "Haus")),
    ]
    assert head.activation == "softmax"
    assert head.calibration is not None
    assert (head.calibration.transformation, head.calibration.default_score) == ("LOG", 0.1)
    assert head.calibration.parameters == ((1.0, 2.0, 3.0, None), None, (1.0, 2.0, 3.0, 0.5))
    assert bundle.license == "MIT"


def test_bands_before_frames_are_told_by_their_size(tmp_path: Path) -> None:
    path = write(tmp_path / "mels.onnx", "mels", ["B", BANDS, "T"], "v", 4, axis=2)
    report = import_onnx(path, tmp_path / "models", ImportSettings(features="kaldi-80"))
    assert Graph(report.path, SessionSettings(threads=1)).bundle.input.layout == "batch,bands,frames"


def test_a_name_that_is_taken_is_kept_unless_replaced(scenes: Path, tmp_path: Path) -> None:
    settings = {"sample_rate_hz": 16000, "features": "none"}
    first = import_onnx(scenes, tmp_path / "models", ImportSettings(**settings))
    before = first.path.read_bytes()
    with pytest.raises(OptionError, match=r"has scenes\.onnx in the way of a model 'scenes'"):
        import_onnx(scenes, tmp_path / "models", ImportSettings(**settings))
    assert first.path.read_bytes() == before
    import_onnx(scenes, tmp_path / "models", ImportSettings(**settings, replace=True, version="2"))
    assert Graph(first.path, SessionSettings(threads=1)).bundle.version == "2"


def case(**settings: Any) -> ImportSettings:
    return ImportSettings(**{"sample_rate_hz": 16000, "features": "none", **settings})


@pytest.mark.parametrize(
    ("settings", "family", "message"),
    [
        (ImportSettings(), None, r"give --features"),
        (ImportSettings(features="none"), None, r"sample rate is not in the file; give --sample-rate"),
        (ImportSettings(features="mels-3"), None, r"unknown preset 'mels-3'"),
        (case(features="kaldi-80"), None, r"scenes\.onnx: input 'wave' is \?x1600; the features have 80 bands"),
        (case(), "wespeaker", r"a model of this recipe takes 'feats', the graph 'wave'"),
        (case(), "mine", r"there is no recipe 'mine'; there are: wespeaker, pyannote-waveform"),
        (case(outputs=("q",)), None, r"scenes\.onnx: the graph has no output 'q'; it gives p"),
        (case(layout="batch,1,samples"), None, r"layout 'batch,1,samples' has 3 axes, but input 'wave' has 2"),
        (case(layout="batch,frames"), None, r"layout 'batch,frames' has no axis 'samples'"),
        (case(segment_length_s=1.0), None, r"the graph takes 1600 samples and no other length"),
    ],
)
def test_what_nobody_says_or_what_does_not_fit_is_refused(
    scenes: Path, tmp_path: Path, settings: ImportSettings, family: str | None, message: str
) -> None:
    with pytest.raises(AuricleError, match=message):
        import_onnx(scenes, tmp_path / "models", settings, family=family)
    assert not (tmp_path / "models").exists()


def test_labels_and_calibrations_of_the_wrong_length_are_refused(scenes: Path, tmp_path: Path) -> None:
    two, three = names(tmp_path, "a", "b", file="two.txt"), names(tmp_path, "a", "b", "c", file="three.txt")
    curve = names(tmp_path, "1,2,3", file="curve.csv")
    with pytest.raises(BundleError, match=r"scenes\.onnx: two\.txt has 2 labels, but no output is of that size \(p: 3"):
        import_onnx(scenes, tmp_path / "models", case(labels=(("", two),)))
    with pytest.raises(BundleError, match=r"curve\.csv: 1 lines of calibration for an output of 3"):
        import_onnx(scenes, tmp_path / "models", case(labels=(("", three),), calibration=curve))
    with pytest.raises(OptionError, match="a calibration belongs to a classification"):
        import_onnx(scenes, tmp_path / "models", case(calibration=curve))


def test_a_graph_of_the_wrong_rank_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "deep.onnx", "x", ["B", 1, 1, 1600], "v", 4, axis=-1)
    with pytest.raises(BundleError, match=r"^deep\.onnx: input 'x' has 4 axes .* a waveform has 1 to 3"):
        import_onnx(path, tmp_path / "models", case())


def test_a_text_file_and_a_cut_off_graph_are_no_models(wespeaker: Path, tmp_path: Path) -> None:
    text = tmp_path / "notes.onnx"
    text.write_text("this is no model at all")
    part = tmp_path / "part.onnx"
    part.write_bytes(wespeaker.read_bytes()[:200])
    for path in (text, part):
        with pytest.raises(BundleError, match=rf"^{path.name}: onnxruntime cannot load it"):
            import_onnx(path, tmp_path / "models", case())


def test_the_command_says_what_it_made(
    wespeaker: Path, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--models", str(tmp_path / "models")]
    with pytest.raises(SystemExit) as left:
        main(["models", "import", str(wespeaker), "--recipe", "wespeaker", "--json", *where])
    assert left.value.code == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["name"], record["features"], record["heads"]) == (
        "voxceleb",
        "wespeaker-80",
        [["embs", "embedding", 16]],
    )
    assert Path(record["path"]).is_file()
    labels = names(tmp_path, "a", "b", "c")
    given = ["--sample-rate", "16000", "--features", "none", "--labels", f"de={labels}"]
    with pytest.raises(SystemExit) as left:
        main(["models", "import", str(scenes), *given, *where])
    assert left.value.code == 0
    out = capsys.readouterr().out
    assert "scenes 1 is ready" in out
    assert "head: p: classification, 3" in out
    with pytest.raises(SystemExit) as left:
        main(["models", "import", str(scenes), *given, *where])
    assert left.value.code == 3
    assert "in the way of a model 'scenes'" in capsys.readouterr().err
