"""Downloads over https://, from a server with a certificate of its own: redirects, and what they are not shown."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from auricle.errors import BundleError, UnavailableError
from auricle.importing.download import Remote, download
from certificate import write_certificate

CONTENT = bytes(range(256)) * 40


class Handler(BaseHTTPRequestHandler):
    """Gives CONTENT; a path of /to/ADDRESS leads there."""

    def do_GET(self) -> None:
        self.server.seen.append((self.path, self.headers.get("Authorization")))  # type: ignore[attr-defined]
        way = self.path.removeprefix("/to/")
        if way != self.path:
            self.send_response(302)
            self.send_header("Location", way)
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, *arguments: object) -> None:
        """Quiet."""


class Server(ThreadingHTTPServer):
    """A server that notes what it was asked, over TLS where a folder with a certificate is given."""

    daemon_threads = True

    def __init__(self, folder: Path | None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, str | None]] = []
        self.scheme = "http" if folder is None else "https"
        if folder is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def url(self, path: str) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_port}/{path}"


@pytest.fixture
def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    write_certificate(tmp_path, "IP:127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    with Server(tmp_path) as server:
        yield server


def remote(url: str) -> Remote:
    return Remote(source=url, url=url, headers={"Authorization": "Bearer secret"}, name="a.onnx", model="a")


def test_a_file_comes_over_https_and_through_redirects(secure: Server, tmp_path: Path) -> None:
    path = download(remote(secure.url(f"to/{secure.url('a.onnx')}")), tmp_path / "cache")
    assert path.read_bytes() == CONTENT
    assert [token for _, token in secure.seen] == ["Bearer secret"] * 2


def test_no_redirect_leads_away_from_https(secure: Server, tmp_path: Path) -> None:
    with Server(None) as plain, pytest.raises(UnavailableError, match=r"302 .*which is not https://"):
        download(remote(secure.url(f"to/{plain.url('a.onnx')}")), tmp_path / "cache")
    assert plain.seen == []


def test_another_host_is_not_shown_the_token(secure: Server, tmp_path: Path) -> None:
    with Server(tmp_path) as other:
        download(remote(secure.url(f"to/{other.url('a.onnx')}")), tmp_path / "cache")
    assert [token for _, token in other.seen] == [None]


def test_a_file_that_is_longer_than_was_promised_is_fetched_once(secure: Server, tmp_path: Path) -> None:
    short = replace(remote(secure.url("a.onnx")), size=len(CONTENT) - 1)
    with pytest.raises(BundleError, match=f"more than the {len(CONTENT) - 1} bytes"):
        download(short, tmp_path / "cache")
    assert len(secure.seen) == 1
    # Nothing of it is in the way of the next call.
    assert download(replace(short, size=len(CONTENT)), tmp_path / "cache").read_bytes() == CONTENT


def test_a_certificate_that_nobody_vouches_for_is_refused(
    secure: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(UnavailableError, match="certificate verify failed"):
        download(remote(secure.url("a.onnx")), tmp_path / "cache")
    assert secure.seen == []
