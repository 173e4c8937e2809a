"""Models from a hub and from URLs, both on 127.0.0.1: found, resumed, checked, imported."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import hub_server
from auricle.config import SessionSettings
from auricle.engine.graph import Graph
from auricle.errors import AuricleError, BundleError, NotFoundError, OptionError, UnavailableError
from auricle.importing.fetch import fetch
from auricle.importing.settings import ImportReport, ImportSettings
from auricle.importing.sources import locate
from hub_server import Hub
from test_import_onnx import write

pytest.importorskip("huggingface_hub", reason="needs pip install -e '.[hub]'")

Pull = Callable[..., ImportReport]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with hub_server.serving(Hub()) as served:
        yield served


@pytest.fixture
def speaker(tmp_path: Path) -> Path:
    """A bare graph with the tensors of the wespeaker recipe."""
    return write(tmp_path / "speaker.onnx", "feats", ["B", "T", 80], "embs", 16, axis=1)


@pytest.fixture
def pull(hub: Hub, tmp_path: Path) -> Pull:
    def call(source: str, *, name: str | None = None, replace: bool = False, sha256: str | None = None) -> ImportReport:
        settings = ImportSettings(name=name, replace=replace)
        return fetch(source, tmp_path / "models", tmp_path / "cache", settings, sha256=sha256, endpoint=hub.url)

    return call


def left_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.rglob("*") if path.is_file() and path.name not in ("lock", "etag"))


@pytest.mark.parametrize("large", [True, False])
def test_a_repository_with_one_model_becomes_a_bundle(
    hub: Hub, pull: Pull, speaker: Path, tmp_path: Path, large: bool
) -> None:
    hub.files["README.md"] = b"about"
    hub_server.put(hub, "speaker.onnx", speaker, large=large)
    report = pull("hf:own/er")
    assert (report.name, report.features, report.path) == ("er", "wespeaker-80", tmp_path / "models/er.onnx")
    assert any("recipe wespeaker" in note for note in report.notes)
    bundle = Graph(report.path, SessionSettings(threads=1)).bundle
    assert (bundle.task, bundle.license) == ("speaker-embedding", "mit")
    assert left_in(tmp_path / "cache") == []


def test_a_revision_and_a_file_may_be_named(hub: Hub, pull: Pull, speaker: Path) -> None:
    hub_server.put(hub, "onnx/one.onnx", speaker)
    hub_server.put(hub, "two.onnx", speaker)
    with pytest.raises(OptionError, match=r"which file\? add one of /onnx/one\.onnx, /two\.onnx"):
        pull("hf:own/er")
    assert pull("hf:own/er/onnx/one.onnx", name="one").name == "one"
    assert pull("hf:own/er@v1/two.onnx", name="two").name == "two"


@pytest.mark.parametrize("source", ["hf:own/er", "{url}/stored/speaker.onnx"])
def test_a_connection_that_breaks_is_gone_on_with(hub: Hub, pull: Pull, speaker: Path, source: str) -> None:
    hub_server.put(hub, "speaker.onnx", speaker)
    hub.cut_after = [1000, 2000]
    assert pull(source.format(url=hub.url)).path.is_file()
    assert hub.ranges == [None, "bytes=1000-", "bytes=3000-"]


def test_the_next_call_goes_on_where_one_ended(hub: Hub, pull: Pull, speaker: Path, tmp_path: Path) -> None:
    hub_server.put(hub, "speaker.onnx", speaker)
    hub.cut_after = [1000, 0]
    with pytest.raises(UnavailableError, match="the same command goes on") as caught:
        pull("hf:own/er")
    assert caught.value.reason == "SOURCE_UNREACHABLE"
    assert left_in(tmp_path / "cache") == ["speaker.onnx.part"]
    hub.asked.clear()
    assert pull("hf:own/er").path.is_file()
    assert hub.ranges == ["bytes=1000-"]


@pytest.mark.parametrize("resumable", [True, False])
def test_a_file_that_is_another_by_now_is_fetched_anew(
    hub: Hub, pull: Pull, speaker: Path, tmp_path: Path, resumable: bool
) -> None:
    hub_server.put(hub, "speaker.onnx", speaker)
    hub.resumable = resumable
    hub.cut_after = [1000, 0]
    with pytest.raises(UnavailableError):
        pull(f"{hub.url}/stored/speaker.onnx")
    other = write(tmp_path / "other.onnx", "feats", ["B", "T", 80], "embs", 24, axis=1)
    hub_server.put(hub, "speaker.onnx", other)
    assert pull(f"{hub.url}/stored/speaker.onnx").heads == (("embs", "embedding", 24),)


@pytest.mark.parametrize("large", [True, False])
def test_bytes_that_are_not_the_repositorys_are_dropped(
    hub: Hub, pull: Pull, speaker: Path, tmp_path: Path, large: bool
) -> None:
    hub_server.put(hub, "speaker.onnx", speaker, large=large)
    hub.spoil = True
    with pytest.raises(BundleError, match=r"^hf:own/er: what came is not the file") as caught:
        pull("hf:own/er")
    assert caught.value.reason == "HASH_MISMATCH"
    assert left_in(tmp_path / "cache") == []
    assert not (tmp_path / "models").exists()


def test_a_urls_checksum_is_held(hub: Hub, pull: Pull, speaker: Path) -> None:
    hub_server.put(hub, "speaker.onnx", speaker)
    url, right = f"{hub.url}/stored/speaker.onnx", hashlib.sha256(speaker.read_bytes()).hexdigest()
    for wrong in ({"source": f"{url}#sha256={'0' * 64}"}, {"source": url, "sha256": "0" * 64}):
        with pytest.raises(BundleError, match="its sha256 checksum is"):
            pull(**wrong)
    assert pull(f"{url}#sha256={right}").name == "speaker"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("hf:own/other", "no such repository"),
        ("hf:own/er@v9", "no such revision"),
        ("hf:own/er/gone.onnx", "no such file"),
        ("hf:own/er", "no .onnx and no .tflite"),
        ("{url}/stored/gone.onnx", "no such file"),
    ],
)
def test_what_is_not_there_is_not_found(hub: Hub, pull: Pull, source: str, message: str) -> None:
    with pytest.raises(NotFoundError, match=message):
        pull(source.format(url=hub.url))


@pytest.mark.parametrize(
    "source",
    [
        "hf:own",
        "hf:own/er@/x.onnx",
        "hf:own/er/weights.bin",
        "hf:own/er/..",
        "http://example.invalid/m.onnx",
        "ftp://example.invalid/m.onnx",
        "https://example.invalid/m.zip",
        "https://example.invalid/m.onnx#md5=00",
    ],
)
def test_a_source_that_is_written_otherwise_is_refused(source: str) -> None:
    with pytest.raises(OptionError) as caught:
        locate(source)
    assert (caught.value.field, source in caught.value.message) == ("source", True)


def test_a_checksum_is_64_digits() -> None:
    with pytest.raises(OptionError, match="64 hexadecimal digits, but is 'abc'"):
        locate("https://example.invalid/m.onnx", sha256="abc")


def test_the_hubs_token_stays_with_the_hub(
    hub: Hub, pull: Pull, speaker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub_server.put(hub, "large.onnx", speaker)
    hub_server.put(hub, "small.onnx", speaker, large=False)
    pull("hf:own/er/large.onnx", name="large")
    pull("hf:own/er/small.onnx", name="small")
    resolve = f"/own/er/resolve/{hub.commit}"
    assert set(hub.tokens) == {"/api/models/own/er", f"{resolve}/large.onnx", f"{resolve}/small.onnx"}
    assert set(hub.tokens.values()) == {"Bearer hf_secret"}


def test_a_file_that_needs_more_options_is_kept_for_import(hub: Hub, pull: Pull, tmp_path: Path) -> None:
    hub_server.put(hub, "scenes.onnx", write(tmp_path / "scenes.onnx", "wave", ["n", 1600], "p", 3, axis=1))
    with pytest.raises(OptionError, match=r"give --features.*`auricle models import .*scenes\.onnx`"):
        pull("hf:own/er")
    assert left_in(tmp_path / "cache") == ["scenes.onnx"]
    hub.asked.clear()
    with pytest.raises(OptionError):
        pull("hf:own/er")
    assert hub.asked == []


def test_a_name_that_is_taken_is_told_before_anything_is_fetched(hub: Hub, pull: Pull, speaker: Path) -> None:
    hub_server.put(hub, "speaker.onnx", speaker)
    pull("hf:own/er")
    hub.asked.clear()
    with pytest.raises(OptionError, match="in the way of a model 'er'"):
        pull("hf:own/er")
    assert hub.asked == []
    assert pull("hf:own/er", replace=True).name == "er"


def test_a_hub_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
    with pytest.raises(UnavailableError, match=r"^hf:own/er: the hub cannot be asked"):
        locate("hf:own/er", endpoint=f"http://127.0.0.1:{port}")


def test_without_its_extra_the_hub_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UnavailableError, match=r"pip install 'auricle\[hub\]'") as caught:
        locate("hf:own/er")
    assert caught.value.reason == "EXTRA_MISSING"


def test_the_command_pulls_lists_by_task_and_shows(hub: Hub, speaker: Path, tmp_path: Path) -> None:
    hub_server.put(hub, "speaker.onnx", speaker)
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "XDG_CACHE_HOME": str(tmp_path / "cache")}

    def auricle(*arguments: str) -> list[str]:
        command = [sys.executable, "-m", "auricle.cli", "models", *arguments, "--models", str(tmp_path / "models")]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    (line,) = auricle("pull", "hf:own/er", "--name", "mine", "--json")
    assert (json.loads(line)["name"], json.loads(line)["features"]) == ("mine", "wespeaker-80")
    (line,) = auricle("list", "--task", "speaker-embedding", "--json")
    assert json.loads(line)["name"] == "mine"
    # The one that comes with the package answers where no other can.
    (line,) = auricle("list", "--task", "audio-classification", "--json")
    assert json.loads(line)["name"] == "digits"
    assert auricle("list", "--task", "audio-embedding", "--json") == []


def test_a_file_that_is_no_model_is_told_with_the_place_of_what_was_fetched(hub: Hub, pull: Pull) -> None:
    hub.files["words.onnx"] = hub.files["words.tflite"] = b"not a model at all"
    with pytest.raises(AuricleError, match=r"words\.onnx: onnxruntime cannot load it.*it is fetched"):
        pull("hf:own/er/words.onnx")
    with pytest.raises(AuricleError, match=r"words\.tflite: not a TensorFlow Lite model.*it is fetched"):
        pull("hf:own/er/words.tflite")
