"""A small wheel, the entry that pins it, and a package index on 127.0.0.1 that pip fetches it from."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import http.server
import io
import os
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest

from auricle.model.catalogue import CatalogueEntry

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


@contextlib.contextmanager
def serving(monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """An index that pip is pointed at."""
    with Index() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        point_pip_at(server.url, monkeypatch)
        yield server
        server.shutdown()
        thread.join()
