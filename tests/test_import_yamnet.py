"""YAMNet from its .tflite file to a bundle, against what TensorFlow Lite's own task library answered.

Needs the extra [tflite] and the shared recordings; about a minute, nearly all of it TensorFlow's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import soundfile
from numpy.typing import NDArray

from auricle.config import SessionSettings
from auricle.engine.graph import Graph
from auricle.errors import BundleError
from auricle.importing.convert import convert
from auricle.importing.settings import ImportReport, ImportSettings
from auricle.importing.tflite import TfliteModel, read_tflite
from auricle.importing.tflite_import import import_tflite
from auricle.importing.verify import of_bundle, of_converted, of_tflite
from auricle.metadata import MetadataWriter, tflite_json
from auricle.metadata.view import dump_view
from auricle.model.vectors import to_int8
from auricle.task.audio import AudioClassifier, AudioEmbedder, AudioEmbedderOptions, TensorAudio
from auricle.task.core import BaseOptions
from auricle.task.processor import EmbeddingOptions
from tflite_files import needs_tensorflow

pytestmark = pytest.mark.timeout(600)

MODEL = "models/yamnet_audio_classifier_with_metadata.tflite"
WINDOW = 15600
STEP = 1 / 256  # of the original's 8-bit scores
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Imported:
    """One import of YAMNet, float and int8, and the graphs that tf2onnx gave before anything was cut."""

    reports: dict[str, ImportReport]
    converted: dict[str, Path]
    model: TfliteModel


@dataclass(frozen=True)
class Window:
    """A window of a clip, and what the library said of it: (index, name, score), best first."""

    name: str
    sound: Floats
    golden: list[tuple[int, str, float]]


@pytest.fixture(scope="module")
def golden(shared_data: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((shared_data / "golden/tflite_support.json").read_text())
    return found


@pytest.fixture(scope="module")
def windows(shared_data: Path, golden: dict[str, Any]) -> list[Window]:
    found = []
    for clip, answers in golden["classify"].items():
        sound = clip_sound(shared_data, clip)
        for answer in answers:
            start = answer["start_sample"]
            cut = np.zeros(WINDOW, np.float32)
            piece = sound[start : start + WINDOW]
            cut[: piece.size] = piece
            found.append(Window(f"{clip} at {start}", cut, [tuple(each) for each in answer["categories"]]))
    assert len(found) == 25
    return found


def clip_sound(shared_data: Path, clip: str) -> Floats:
    path = shared_data / ("formats/test.wav" if clip == "silero_test.wav" else f"speech/{clip}")
    sound, rate_hz = soundfile.read(path, dtype="float32")
    assert rate_hz == 16000
    return np.asarray(sound, np.float32)


@pytest.fixture(scope="module")
def yamnet(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Imported:
    kept = tmp_path_factory.mktemp("converted")
    path, reports, converted = shared_data / MODEL, {}, {}

    def once(model: TfliteModel, precision: Any, scratch: Path) -> Any:
        """tf2onnx takes ten seconds; each precision is converted once for all tests."""
        if precision not in converted:
            onnx.save(convert(model, precision, scratch), str(kept / f"{precision}.onnx"))
            converted[precision] = kept / f"{precision}.onnx"
        return onnx.load(str(converted[precision]))

    for precision in ("float", "int8"):
        settings = ImportSettings(name="yamnet", precision=precision)
        reports[precision] = import_tflite(path, tmp_path_factory.mktemp(precision), settings, converter=once)
    return Imported(reports, converted, read_tflite(path))


def scores_of(report: ImportReport, windows: list[Window]) -> list[Floats]:
    graph = Graph(report.path, SessionSettings(threads=1))
    return list(of_bundle(graph, [window.sound for window in windows])["scores"])


def agreement(scores: Floats, expected: list[tuple[int, str, float]], *, best: int = 5) -> float:
    """Share of our best classes that the library has among its best; its ties with the last of them count as in.

    Its scores have 256 steps, so many classes share one, and their order is its sort's accident. What it did not
    list lies at or below its tenth score.
    """
    last, tenth = expected[best - 1][2], expected[-1][2]
    known = {index: score for index, _, score in expected}
    ours = np.argsort(-scores, kind="stable")[:best]
    hits = sum(known[index] >= last if index in known else tenth == last for index in map(int, ours))
    return hits / best


@needs_tensorflow
def test_the_import_is_the_bundle_that_the_design_describes(yamnet: Imported) -> None:
    for precision, report in yamnet.reports.items():
        assert (report.name, report.version, report.features) == ("yamnet", "v1", "yamnet-64")
        assert (report.precision, report.notes) == (precision, ())
        assert report.heads == (("embedding", "embedding", 1024), ("scores", "classification", 521))
        graph = Graph(report.path, SessionSettings(threads=1))
        assert graph.batches
        assert (graph.bundle.segment.length, graph.bundle.segment.hop) == (96, 48)
        assert graph.bundle.input.layout == "batch,frames,bands"
        assert graph.bundle.license.startswith("Apache License")
        assert graph.heads[1].spec.category_names[:2] == ("Speech", "Child speech, kid speaking")
    sizes = {precision: report.size_bytes for precision, report in yamnet.reports.items()}
    assert sizes["int8"] < 0.4 * sizes["float"]


@needs_tensorflow
def test_the_report_has_both_precisions_and_both_pass(yamnet: Imported) -> None:
    for report in yamnet.reports.values():
        assert {(each.precision, each.head) for each in report.differences} == {
            (precision, head) for precision in ("float", "int8") for head in ("embedding", "scores")
        }
        assert all(each.passes for each in report.differences)
        by_key = {(each.precision, each.head): each for each in report.differences}
        assert by_key["float", "scores"].graph <= 1e-3
        assert by_key["float", "embedding"].graph <= 1e-5
        assert by_key["float", "scores"].original is not None
        assert by_key["float", "embedding"].original is None


@needs_tensorflow
@pytest.mark.parametrize("precision", ["float", "int8"])
def test_every_window_agrees_with_the_task_library(yamnet: Imported, windows: list[Window], precision: str) -> None:
    sure = 0
    shares = []
    for window, scores in zip(windows, scores_of(yamnet.reports[precision], windows), strict=True):
        margin = window.golden[0][2] - window.golden[1][2]
        if margin > 0.1:
            sure += 1
            assert int(np.argmax(scores)) == window.golden[0][0], window.name
        for index, _, score in window.golden:
            assert scores[index] == pytest.approx(score, abs=0.1), (window.name, index)
        shares.append(agreement(scores, window.golden))
    assert sure == 24
    assert min(shares) >= 0.8, shares


@needs_tensorflow
def test_its_own_8_bit_weights_give_the_librarys_own_scores(yamnet: Imported, windows: list[Window]) -> None:
    for window, scores in zip(windows, scores_of(yamnet.reports["int8"], windows), strict=True):
        for index, _, score in window.golden:
            # One step: a log-mel that differs in its last bit may fall to the other side of an 8-bit value.
            assert scores[index] == pytest.approx(score, abs=STEP + 1e-6), (window.name, index)


@needs_tensorflow
def test_the_surgery_changes_no_score_by_more_than_a_thousandth(yamnet: Imported, windows: list[Window]) -> None:
    sounds = [window.sound for window in windows]
    before = of_converted(yamnet.converted["float"], {"scores": graph_output(yamnet.converted["float"])}, sounds)
    for ours, theirs in zip(scores_of(yamnet.reports["float"], windows), before["scores"], strict=True):
        assert ours.shape == theirs.shape == (521,)
        np.testing.assert_allclose(ours, theirs, atol=1e-3)


def graph_output(path: Path) -> str:
    return str(onnx.load(str(path)).graph.output[0].name)


@needs_tensorflow
def test_the_bias_that_conversion_loses_is_there_again(yamnet: Imported, windows: list[Window], tmp_path: Path) -> None:
    """A mended graph is at most a few 8-bit steps from the original; as tf2onnx leaves it, it was 0.19 off."""
    sounds = [window.sound for window in windows]
    original = of_tflite(yamnet.model, ["scores"], sounds)["scores"]
    path = yamnet.converted["float"]
    mended = of_converted(path, {"scores": graph_output(path)}, sounds)["scores"]
    assert max(float(np.abs(a - b).max()) for a, b in zip(mended, original, strict=True)) <= 0.06
    bare = onnx.load(str(path))
    add = next(node for node in bare.graph.node if "auricle_bias_0" in node.input)
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in bare.graph.initializer}
    (expected,) = yamnet.model.flattening_biases.values()
    np.testing.assert_array_equal(constants[add.input[1]], expected)


@needs_tensorflow
def test_the_task_api_gives_the_librarys_answers(yamnet: Imported, windows: list[Window]) -> None:
    classifier = AudioClassifier.create_from_file(str(yamnet.reports["float"].path))
    for window in windows[:5]:
        audio = classifier.create_input_tensor_audio()
        audio.load_from_array(window.sound)
        (scores,) = classifier.classify(audio).classifications
        assert scores.head_name == "scores"
        found = {category.index: category for category in scores.categories}
        for index, name, score in window.golden:
            assert found[index].category_name == name
            assert found[index].score == pytest.approx(score, abs=0.1)


@needs_tensorflow
@pytest.mark.parametrize(("mode", "options"), [("raw", {}), ("l2", {"l2_normalize": True}), ("quant", {})])
def test_embeddings_of_the_scores_have_the_librarys_cosines(
    yamnet: Imported, golden: dict[str, Any], shared_data: Path, mode: str, options: dict[str, bool]
) -> None:
    options = {"l2_normalize": True, "quantize": True} if mode == "quant" else options
    embedder = AudioEmbedder.create_from_options(
        AudioEmbedderOptions(BaseOptions(file_name=str(yamnet.reports["float"].path)), EmbeddingOptions(**options))
    )
    head = [embedder.get_embedding_dimension(index) for index in range(embedder.number_of_output_layers)].index(521)

    def embed(clip: str) -> Any:
        audio: TensorAudio = embedder.create_input_tensor_audio()
        audio.load_from_array(clip_sound(shared_data, clip)[:WINDOW])
        return embedder.embed(audio).embeddings[head].feature_vector

    vectors = {clip: embed(clip) for clip in golden["classify"]}
    for pair, expected in golden["embed"][mode]["cosine"].items():
        one, other = pair.split("|")
        assert embedder.cosine_similarity(vectors[one], vectors[other]) == pytest.approx(expected, abs=0.05), pair


def test_quantising_the_librarys_raw_values_gives_its_8_bit_ones(golden: dict[str, Any]) -> None:
    for clip, raw in golden["embed"]["raw"]["first8"].items():
        quantised = to_int8(np.array(raw, np.float32))
        assert quantised.tolist() == golden["embed"]["quant"]["first8"][clip], clip


@needs_tensorflow
def test_an_import_tells_in_the_originals_own_words(yamnet: Imported) -> None:
    about = yamnet.model.metadata
    assert about is not None
    for report in yamnet.reports.values():
        assert tflite_json(report.path) == dump_view(about.view)


@needs_tensorflow
def test_a_writer_takes_an_import_with_the_output_that_its_original_had_not(yamnet: Imported, tmp_path: Path) -> None:
    path = tmp_path / "again.onnx"
    path.write_bytes(MetadataWriter(yamnet.reports["float"].path.read_bytes()).populate())
    graph = Graph(path, SessionSettings(threads=1))
    assert [(head.spec.name, head.spec.kind) for head in graph.heads] == [
        ("embedding", "embedding"),
        ("scores", "classification"),
    ]
    outputs = json.loads(tflite_json(path))["subgraph_metadata"][0]["output_tensor_metadata"]
    assert [output.get("description", "")[:15] for output in outputs] == ["", "Scores in range"]


@needs_tensorflow
def test_what_the_user_says_of_a_model_is_in_its_view(yamnet: Imported, tmp_path: Path) -> None:
    def kept(model: TfliteModel, precision: Any, scratch: Path) -> Any:
        return onnx.load(str(yamnet.converted[precision]))

    def view(name: str, **said: Any) -> dict[str, Any]:
        report = import_tflite(yamnet.model.path, tmp_path, ImportSettings(name=name, **said), converter=kept)
        found: dict[str, Any] = json.loads(tflite_json(report.path))
        return found

    about = yamnet.model.metadata
    assert about is not None
    assert view("mine", author="me") == {**json.loads(dump_view(about.view)), "author": "me"}
    # Of other labels the original knows nothing.
    labels = tmp_path / "numbers.txt"
    labels.write_text("\n".join(map(str, range(521))))
    scores = view("numbered", labels=(("en", labels),))["subgraph_metadata"][0]["output_tensor_metadata"][1]
    assert scores["associated_files"] == [
        {"name": "scores_labels_en.txt", "type": "TENSOR_AXIS_LABELS", "locale": "en"}
    ]


@needs_tensorflow
def test_an_import_that_answers_otherwise_is_refused_unless_forced(yamnet: Imported, tmp_path: Path) -> None:
    def spoil(model: TfliteModel, precision: Any, scratch: Path) -> Any:
        graph = onnx.load(str(yamnet.converted[precision]))
        for constant in graph.graph.initializer:
            if constant.name == "auricle_bias_0":
                constant.CopyFrom(onnx.numpy_helper.from_array(np.full(521, 2.0, np.float32), constant.name))
        return graph

    with pytest.raises(BundleError, match=r"the import's 'scores' differs from the original by .*nothing was written"):
        import_tflite(yamnet.model.path, tmp_path / "models", ImportSettings(), converter=spoil)
    assert not (tmp_path / "models").exists()
    report = import_tflite(yamnet.model.path, tmp_path / "models", ImportSettings(force=True), converter=spoil)
    assert not all(each.passes for each in report.differences)
    assert report.path.is_file()


@needs_tensorflow
def test_a_frontend_stays_inside_where_the_user_wants_it(
    yamnet: Imported, windows: list[Window], tmp_path: Path
) -> None:
    def kept(model: TfliteModel, precision: Any, scratch: Path) -> Any:
        return onnx.load(str(yamnet.converted[precision]))

    settings = ImportSettings(name="inside", features="none")
    report = import_tflite(yamnet.model.path, tmp_path, settings, converter=kept)
    assert report.features is None
    assert report.notes[0] == "its frontend was left inside (features: null): it takes the waveform itself"
    for ours, cut in zip(scores_of(report, windows), scores_of(yamnet.reports["float"], windows), strict=True):
        np.testing.assert_allclose(ours, cut, atol=1e-3)
