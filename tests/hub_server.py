"""A model hub on 127.0.0.1: the part of the Hugging Face Hub's protocol that a pull speaks, and plain files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass
class Hub:
    """One repository, ``own/er`` as OWNER/REPO in its tests, and what was asked of the server.

    Attributes:
        files: of the repository's one commit, by name; those in ``large`` lie behind a redirect, as LFS files do.
        cut_after: bytes after which an answer breaks off, once for each entry.
        resumable: whether ranges are answered.
        asked: method, path, and the Range header of every request for bytes.
        tokens: Authorization headers by path.
    """

    url: str = ""
    repository: str = "own/er"
    commit: str = "c" * 40
    files: dict[str, bytes] = field(default_factory=dict)
    large: set[str] = field(default_factory=set)
    license: str = "mit"
    cut_after: list[int] = field(default_factory=list)
    resumable: bool = True
    spoil: bool = False
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def ranges(self) -> list[str | None]:
        """The Range headers of those requests that asked for bytes."""
        return [wanted for method, _, wanted in self.asked if method == "GET"]


def etag(name: str, hub: Hub) -> str:
    """SHA-256 of a large file, git's name of a small one."""
    data = hub.files[name]
    if name in hub.large:
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@contextlib.contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Runs the server for the length of the block, with its address in ``hub.url``."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(body=True)

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def _answer(self, *, body: bool) -> None:
            path = self.path.partition("?")[0]
            if token := self.headers.get("Authorization"):
                hub.tokens[path] = token
            api = f"/api/models/{hub.repository}"
            if path in (api, f"{api}/revision/main", f"{api}/revision/v1", f"{api}/revision/{hub.commit}"):
                self._json(
                    {
                        "id": hub.repository,
                        "sha": hub.commit,
                        "siblings": [{"rfilename": name} for name in hub.files],
                        "cardData": {"license": hub.license},
                    }
                )
                return
            if path.startswith(f"{api}/revision/"):
                self._refuse("RevisionNotFound")
                return
            prefix = f"/{hub.repository}/resolve/{hub.commit}/"
            name = path.removeprefix(prefix) if path.startswith(prefix) else path.removeprefix("/stored/")
            if path == name:
                self._refuse("RepoNotFound")
            elif name not in hub.files:
                self._refuse("EntryNotFound")
            elif path.startswith(prefix) and name in hub.large:
                self.send_response(302)
                self._repository_headers(name)
                self.send_header("Location", f"{hub.url.replace('127.0.0.1', 'localhost')}/stored/{name}")
                self.send_header("Content-Length", "0")
                self.end_headers()
            else:
                self._file(name, body=body, tagged=path.startswith(prefix))

        def _repository_headers(self, name: str) -> None:
            self.send_header("X-Repo-Commit", hub.commit)
            self.send_header("X-Linked-Etag", f'"{etag(name, hub)}"')
            self.send_header("X-Linked-Size", str(len(hub.files[name])))

        def _file(self, name: str, *, body: bool, tagged: bool) -> None:
            data = hub.files[name]
            wanted = self.headers.get("Range")
            if body:
                hub.asked.append(("GET", self.path, wanted))
            tag = f'"{etag(name, hub)}"'
            start = 0
            if wanted and hub.resumable and self.headers.get("If-Range", tag) == tag:
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
                if start >= len(data):
                    self._empty(416)
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            else:
                self.send_response(200)
            if tagged:
                self._repository_headers(name)
            self.send_header("ETag", tag)
            self.send_header("Accept-Ranges", "bytes")
            rest = data[start:]
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            if not body:
                return
            if hub.spoil:
                rest = bytes(len(rest))
            if hub.cut_after:
                self.wfile.write(rest[: hub.cut_after.pop(0)])
                self.close_connection = True
                return
            self.wfile.write(rest)

        def _json(self, value: Any) -> None:
            text = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def _refuse(self, code: str) -> None:
            self.send_response(404)
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _empty(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        hub.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()


def put(hub: Hub, name: str, path: Path, *, large: bool = True) -> None:
    """A file of the repository."""
    hub.files[name] = path.read_bytes()
    if large:
        hub.large.add(name)
