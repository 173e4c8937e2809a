"""Transfer from a folder to a bundle that serves, its report, and what is refused before training starts."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
from onnx import numpy_helper

import models
from auricle.client import Client
from auricle.config import SessionSettings
from auricle.engine.graph import Graph
from auricle.errors import AudioError, AuricleError, BundleError, InvalidArgumentError, OptionError
from auricle.serve.local import LocalTransport
from auricle.training import Job, run
from auricle.training.cache import FeatureCache
from auricle.training.clips import by_folder
from auricle.training.transfer import embeddings

RATE_HZ = 16000
LEVELS = {"loud": 0.5, "quiet": 0.05}


def write_clip(path: Path, level: float, seconds: float = 0.2, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = np.random.default_rng(seed).uniform(-level, level, int(seconds * RATE_HZ))
    soundfile.write(path, wave, RATE_HZ)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two classes, ten clips each, of speakers ann and ben."""
    for label, level in LEVELS.items():
        for number in range(10):
            who = "ann" if number < 7 else "ben"
            write_clip(tmp_path / "data" / label / f"{who}_{number}.wav", level * (1 + number / 30), seed=number)
    return tmp_path / "data"


@pytest.fixture
def backbone(tmp_path: Path) -> Path:
    """Its embedding is a segment's highest, lowest and mean sample."""
    return models.write_waveform(tmp_path / "statistics.onnx", version="1")


def test_a_folder_becomes_a_bundle_that_serves(data: Path, backbone: Path, tmp_path: Path) -> None:
    out = tmp_path / "served" / "levels.onnx"
    seen: list[tuple[str, int, int]] = []
    report = run(Job(data=data, out=out, backbone=str(backbone)), lambda *each: seen.append(each))
    assert (report.labels, report.clips, report.accuracy) == (("loud", "quiet"), 4, 1.0)
    assert report.history is not None
    assert [len(line) for line in (report.history.loss, report.history.watched)] == [400, 400]
    assert report.history.watched[-1] == 1.0
    assert {stage for stage, _, _ in seen} == {"reading", "embedding", "testing float32"}
    with LocalTransport(models_dir=out.parent) as transport:
        client = Client(transport=transport, retry=None)
        for label in LEVELS:
            result = client.classify(data / label / "ann_1.wav")
            assert (result.model, result.categories[0].label) == ("levels", label)
            assert sum(category.score for category in result.categories) == pytest.approx(1.0, abs=1e-5)
            assert client.embed(data / label / "ann_1.wav").vector.shape == (3,)
        info = client.model("levels")
    assert "trained on 16 clips with seed 1; 100.0% of 4 clips" in info.description


def test_the_same_seed_gives_the_same_file(data: Path, backbone: Path, tmp_path: Path) -> None:
    files = [tmp_path / name / "levels.onnx" for name in ("one", "two")]
    for out in files:
        run(Job(data=data, out=out, backbone=str(backbone)))
    assert files[0].read_bytes() == files[1].read_bytes()


@models.needs_another_device
def test_another_device_gives_the_same_model(data: Path, backbone: Path, tmp_path: Path) -> None:
    files = [tmp_path / device / "levels.onnx" for device in ("cpu", models.ANOTHER_DEVICE)]
    for out in files:
        run(Job(data=data, out=out, backbone=str(backbone), device=out.parent.name))
    # All of it falls to the processor there.
    assert files[0].read_bytes() == files[1].read_bytes()


def test_what_training_made_can_be_trained_on(data: Path, backbone: Path, tmp_path: Path) -> None:
    made = [backbone, *(tmp_path / f"{number}.onnx" for number in range(3))]
    for before, out in pairwise(made):
        assert run(Job(data=data, out=out, backbone=str(before))).accuracy == 1.0
    graph = Graph(made[-1], SessionSettings())
    assert [head.spec.name for head in graph.heads] == ["embedding", "scores"]


def test_a_version_of_a_model_is_that_in_its_metadata(data: Path, backbone: Path, tmp_path: Path) -> None:
    out = tmp_path / "served" / "levels" / "2.onnx"
    run(Job(data=data, out=out, backbone=str(backbone)))
    bundle = Graph(out, SessionSettings()).bundle
    assert (bundle.name, bundle.version) == ("levels", "2")


def test_a_held_out_speaker_is_all_that_is_tested(data: Path, backbone: Path, tmp_path: Path) -> None:
    job = Job(data=data, out=tmp_path / "l.onnx", backbone=str(backbone), group_pattern="^([a-z]+)_", held_out="ben")
    assert run(job).clips == 6


@pytest.mark.parametrize(
    "case",
    [
        "empty",
        "one-class",
        "empty-class",
        "one-clip",
        "text",
        "short",
        "few-long",
        "not-finite",
        "backbone",
        "device",
        "share",
        "suffix",
        "hidden",
        "sidecar",
        "quantised",
        "called-scores",
    ],
)
def test_what_cannot_be_learned_from_is_refused_and_nothing_is_written(
    data: Path, backbone: Path, tmp_path: Path, case: str
) -> None:
    job = {"data": data, "out": tmp_path / "new" / "l.onnx", "backbone": str(backbone)}
    kind: type[AuricleError] = InvalidArgumentError
    if case == "empty":
        (tmp_path / "nothing").mkdir()
        job["data"], message = tmp_path / "nothing", "nothing has no sounds"
    elif case == "one-class":
        (data / "loud").rename(tmp_path / "away")
        message = "has one class, 'quiet'"
    elif case == "empty-class":
        (data / "silent").mkdir()
        message = r"silent has no sounds"
    elif case == "one-clip":
        write_clip(data / "odd" / "x.wav", 0.1)
        message = "class 'odd' has 1 clip"
    elif case == "text":
        (data / "loud" / "ann_0.wav").write_text("dear reader")
        kind, message = AudioError, r"ann_0\.wav: audio\.content cannot be read as WAV"
    elif case == "short":
        for path in data.glob("*/*.wav"):
            write_clip(path, 0.1, seconds=0.05)
        job["short"], message = "drop", r"all 20 clips of .*data are shorter than the model's segment of 0\.100 s; pad"
    elif case == "few-long":
        for path in sorted((data / "loud").iterdir())[1:]:
            write_clip(path, 0.1, seconds=0.05)
        job["short"], message = "drop", r"shorter than 0\.100 s,: class 'loud' has 1 clip"
    elif case == "not-finite":
        soundfile.write(data / "loud" / "bad.wav", np.array([0.1, np.nan] * 800), RATE_HZ, subtype="FLOAT")
        kind, message = AudioError, r"bad\.wav: sample 1 of channel 0 is nan"
    elif case == "backbone":
        job["backbone"], kind, message = "nowhere.onnx", OptionError, "there is no bundle nowhere.onnx"
    elif case == "device":
        job["device"], kind, message = "nowhere", OptionError, "device 'nowhere' is not in this build of onnxruntime"
    elif case == "suffix":
        job["out"], kind, message = tmp_path / "new" / "l.tflite", OptionError, "its name must end with .onnx"
    elif case == "hidden":
        job["out"], kind, message = tmp_path / "new" / ".l.onnx", OptionError, r"\.l\.onnx begins with a dot"
    elif case == "sidecar":
        (tmp_path / "l.json").touch()
        job["out"], kind = tmp_path / "l.onnx", OptionError
        message = r"l\.json in the way of a model 'l'; move it away, or name the model otherwise"
    elif case == "quantised":
        job |= {"backbone": str(models.write_quantised(tmp_path / "q.onnx")), "quantize": "float16"}
        kind, message = BundleError, r"q\.onnx: it is quantised already; start from the float model"
    elif case == "called-scores":
        job["backbone"] = str(models.write_waveform(tmp_path / "s.onnx", heads=[{"name": "scores"}]))
        kind, message = BundleError, "is called 'scores', as the classifier's will be; rename it"
    else:
        job["test_share"], kind, message = 1.0, OptionError, "test_share must lie between 0 and 1, but is 1.0"
    with pytest.raises(kind, match=message):
        run(Job(**job))  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()


def test_the_report_is_what_the_written_file_answers(data: Path, backbone: Path, tmp_path: Path) -> None:
    # What was quiet is called loud, so that nothing can be told apart.
    for path in (data / "quiet").iterdir():
        write_clip(path, LEVELS["loud"], seed=int(path.stem[4:]))
    out = tmp_path / "levels.onnx"
    report = run(Job(data=data, out=out, backbone=str(backbone), group_pattern="^([a-z]+)_", held_out="ben"))
    with LocalTransport(models_dir=tmp_path) as transport:
        client = Client(transport=transport, retry=None)
        said = {
            path: client.classify(path).categories[0]
            for label in LEVELS
            for path in sorted((data / label).glob("ben*"))
        }
    served = [
        [sum(c.label == to for p, c in said.items() if p.parent.name == label) for to in LEVELS] for label in LEVELS
    ]
    assert report.confusion.tolist() == served
    for mistake in report.worst:
        assert (said[Path(mistake.file)].label, Path(mistake.file).parent.name) == (mistake.said, mistake.label)
        assert said[Path(mistake.file)].score == pytest.approx(mistake.score, abs=1e-6)


def test_background_noise_is_a_class_of_a_transferred_model(data: Path, backbone: Path, tmp_path: Path) -> None:
    write_clip(data / "_background_noise_" / "x.wav", 0.0, seconds=1.0)
    report = run(Job(data=data, out=tmp_path / "l.onnx", backbone=str(backbone)))
    assert report.labels == ("loud", "quiet", "background")
    with LocalTransport(models_dir=tmp_path) as transport:
        client = Client(transport=transport, retry=None)
        heard = client.classify(data / "_background_noise_" / "x.wav")
    assert heard.categories[0].label == "background"


def test_a_table_tells_what_is_learned_and_tested(data: Path, backbone: Path, tmp_path: Path) -> None:
    rows = [
        f"{path},{path.parent.name},{'test' if path.stem[-1] in '369' else 'train'}" for path in data.glob("*/*.wav")
    ]
    table = tmp_path / "clips.csv"
    table.write_text("\n".join(["path,label,split", *rows]))
    report = run(Job(data=table, out=tmp_path / "l.onnx", backbone=str(backbone)))
    assert (report.clips, report.accuracy) == (6, 1.0)


@pytest.mark.parametrize("precision", ["int8", "float16"])
def test_a_quantised_model_is_reported_beside_the_float_one(data: Path, tmp_path: Path, precision: str) -> None:
    out = tmp_path / "m" / "levels.onnx"
    report = run(Job(data=data, out=out, quantize=precision))  # type: ignore[arg-type]
    plain = run(Job(data=data, out=tmp_path / "m" / "plain.onnx"))
    assert (report.precision, report.float32_accuracy) == (precision, plain.accuracy)
    assert out.stat().st_size < 0.6 * (tmp_path / "m" / "plain.onnx").stat().st_size
    assert f"Weights as {precision}." in Graph(out, SessionSettings()).bundle.description


def test_labels_have_locales(data: Path, backbone: Path, tmp_path: Path) -> None:
    out = tmp_path / "m" / "levels.onnx"
    run(Job(data=data, out=out, backbone=str(backbone), locales={"de": ["laut", "leise"]}))
    with LocalTransport(models_dir=out.parent) as transport:
        client = Client(transport=transport, retry=None)
        result = client.classify(data / "loud" / "ann_1.wav", display_names_locale="de")
    assert (result.categories[0].category_name, result.categories[0].display_name) == ("loud", "laut")
    with pytest.raises(OptionError, match="the model has 2 classes, but there are 1 labels for locale 'de'"):
        run(Job(data=data, out=out, backbone=str(backbone), locales={"de": ["laut"]}))


def test_a_cache_changes_nothing(data: Path, backbone: Path, tmp_path: Path) -> None:
    outs = [tmp_path / name / "levels.onnx" for name in ("none", "filled", "used")]
    for out, cache in zip(outs, (None, tmp_path / "cache", tmp_path / "cache"), strict=True):
        run(Job(data=data, out=out, backbone=str(backbone), cache=cache))
    assert len({out.read_bytes() for out in outs}) == 1
    # The clips that were learned from and those that were watched.
    assert len(list((tmp_path / "cache").rglob("*.npz"))) == 20


@models.needs_another_device
def test_another_device_has_entries_of_its_own(data: Path, backbone: Path, tmp_path: Path) -> None:
    for device, entries in (("cpu", 20), (models.ANOTHER_DEVICE, 40), ("cpu", 40)):
        run(Job(data=data, out=tmp_path / "l.onnx", backbone=str(backbone), cache=tmp_path / "cache", device=device))
        assert len(list((tmp_path / "cache").rglob("*.npz"))) == entries


def test_without_a_cache_the_backbone_is_read_once(data: Path, backbone: Path) -> None:
    graph, clips = Graph(backbone, SessionSettings()), by_folder(data)[0]
    backbone.unlink()
    x, sources = embeddings(backbone, graph, graph.heads[0], clips, cache=FeatureCache())
    assert (x.shape[1], sources[-1]) == (3, len(clips) - 1)


@pytest.mark.parametrize("beside", ["metadata", "weights"])
def test_a_backbone_that_changed_beside_its_file_is_not_taken_from_the_cache(
    data: Path, tmp_path: Path, beside: str
) -> None:
    backbone, lengths = tmp_path / "b.onnx", iter((96, 48))

    def change() -> None:
        length = next(lengths)
        if beside == "metadata":
            models.write_embedder(backbone, metadata=None)
            text = json.dumps(models.embedder_bundle(segment={"length": length, "hop": length}))
            backbone.with_suffix(".json").write_text(text)
        else:
            model = onnx.load(models.write_embedder(tmp_path / "whole.onnx"))
            values = numpy_helper.to_array(model.graph.initializer[0]) * length
            model.graph.initializer[0].CopyFrom(numpy_helper.from_array(values, "matrix"))
            backbone.unlink(missing_ok=True)
            backbone.with_suffix(".data").unlink(missing_ok=True)
            onnx.save(model, backbone, save_as_external_data=True, location="b.data", size_threshold=0)

    def trained(name: str, cache: Path | None) -> bytes:
        out = tmp_path / name / "levels.onnx"
        run(Job(data=data, out=out, backbone=str(backbone), cache=cache))
        return out.read_bytes()

    change()
    content, before = backbone.read_bytes(), trained("before", tmp_path / "cache")
    change()
    assert backbone.read_bytes() == content
    assert trained("cached", tmp_path / "cache") == trained("plain", None) != before
