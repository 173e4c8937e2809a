"""One file over HTTP: resumed where it broke off, and believed only when its checksum is right."""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from auricle.errors import BundleError, NotFoundError, OptionError, UnavailableError

__all__ = ["Checksum", "Progress", "Remote", "download"]

Progress = Callable[[str, int, int | None], None]
"""Called with a stage, the bytes done, and the bytes in all where they are known."""

TIME_LIMIT_S = 30.0  # without a byte
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Checksum:
    """What a file's bytes add up to; ``algorithm`` is sha256, or git: SHA-1 as git has it of its blobs."""

    algorithm: str
    hexadecimal: str

    def of(self, path: Path) -> str:
        """The same of a file that is there."""
        if self.algorithm == "git":
            start = b"blob %d\0" % path.stat().st_size
            # Not for security: it is the name that git gives what it stores.
            return hashlib.sha1(start + path.read_bytes(), usedforsecurity=False).hexdigest()
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, kw_only=True)
class Remote:
    """A file elsewhere.

    Attributes:
        source: as the user wrote it.
        url, headers: where it lies, and what to send along.
        name: of the file, without a path.
        model: a name for the model that is made of it.
        size: in bytes; None: not known.
        checksum: None: its bytes are taken as they come.
        license: where the place says it.
    """

    source: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    name: str
    model: str
    size: int | None = None
    checksum: Checksum | None = None
    license: str = ""


def download(remote: Remote, cache: Path, *, progress: Progress = lambda stage, done, size: None) -> Path:
    """The file, in ``cache``. What another call left unfinished there is gone on with.

    A connection that breaks is made again as long as each brings something; then, and when the call is interrupted,
    what came stays. Two calls for one file take turns.

    Raises:
        NotFoundError: there is no such file.
        UnavailableError: the place cannot be reached, refuses, or broke off (reason SOURCE_UNREACHABLE).
        BundleError: the bytes are not those of the checksum, or too many (reason HASH_MISMATCH); they are dropped.
        OptionError: ``cache`` cannot be written.
    """
    # Its bytes tell a file better than its address, which may be signed anew for each call.
    known = remote.checksum.hexadecimal if remote.checksum else remote.url
    folder = cache / hashlib.sha256(known.encode()).hexdigest()[:20]
    target, part = folder / remote.name, folder / f"{remote.name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if target.is_file() and remote.checksum and remote.checksum.of(target) == remote.checksum.hexadecimal:
                return target
            with part.open("ab") as file:
                _fill(remote, file, folder / "etag", progress)
                os.fsync(file.fileno())
            progress("verify", 0, None)
            _check(remote, part)
            part.replace(target)
    except urllib.error.HTTPError as error:
        raise _refused(remote, error) from error
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise UnavailableError(
            f"{remote.source}: {getattr(error, 'reason', error) or type(error).__name__}; the same command goes on "
            "where this one ended",
            reason="SOURCE_UNREACHABLE",
        ) from error
    except OSError as error:
        raise OptionError(f"cannot write {part} ({error}); make room") from error
    return target


def _fill(remote: Remote, file: BinaryIO, etag: Path, progress: Progress) -> None:
    """Brings the file to its full length."""
    if remote.size is not None and file.seek(0, os.SEEK_END) > remote.size:
        file.truncate(0)  # what was left there is something else
    while (there := file.seek(0, os.SEEK_END)) != remote.size:
        if remote.size is not None and there > remote.size:
            file.truncate(0)
            raise BundleError(
                f"{remote.source}: what came is not the file: it has more than the {remote.size} bytes that are "
                "expected; nothing was kept",
                reason="HASH_MISMATCH",
            )
        try:
            if _transfer(remote, file, there, etag, progress):
                return
        except (http.client.HTTPException, ConnectionError, TimeoutError):
            if file.seek(0, os.SEEK_END) <= there:
                raise
            continue
        if file.seek(0, os.SEEK_END) <= there:
            raise ConnectionError(f"the connection ended after {there} bytes")


def _transfer(remote: Remote, file: BinaryIO, there: int, etag: Path, progress: Progress) -> bool:
    """One request, from the byte that is missing. Whether the file is whole after it."""
    headers = {"User-Agent": "auricle", **remote.headers}
    known = etag.read_text() if etag.is_file() else ""
    if there and (known or remote.checksum):
        headers["Range"] = f"bytes={there}-"
        if known:
            headers["If-Range"] = known
    request = urllib.request.Request(remote.url, headers=headers)
    try:
        answer = urllib.request.build_opener(_Redirects).open(request, timeout=TIME_LIMIT_S)
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and there:
            error.close()
            file.truncate(0)  # what is there is no beginning of it
            return _transfer(remote, file, 0, etag, progress)
        raise
    with answer:
        if answer.status != http.client.PARTIAL_CONTENT:
            file.truncate(0)
            there = 0
        said = answer.headers
        if said.get("ETag", "").startswith('"'):  # a weak one says nothing of the bytes
            etag.write_text(said["ETag"])
        length = int(said["Content-Length"]) if said.get("Content-Length", "").isdigit() else None
        size = remote.size if remote.size is not None else None if length is None else there + length
        while chunk := answer.read(CHUNK_BYTES):
            file.write(chunk)
            there += len(chunk)
            progress("download", there, size)
    file.flush()
    return size is None or there == size


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows no way from https:// to anything else, and shows no other host what is for this one."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        there = super().redirect_request(req, fp, code, msg, headers, newurl)
        if there is not None and req.type == "https" and there.type != "https":
            raise urllib.error.HTTPError(newurl, code, f"a way to {newurl}, which is not https://", headers, fp)
        if there is not None and there.host != req.host:
            there.remove_header("Authorization")
        return there


def _check(remote: Remote, part: Path) -> None:
    wanted = remote.checksum
    if wanted is None:
        return
    found = wanted.of(part)
    if found != wanted.hexadecimal:
        part.unlink()
        raise BundleError(
            f"{remote.source}: what came is not the file: its {wanted.algorithm} checksum is {found} where "
            f"{wanted.hexadecimal} is expected; nothing was kept",
            reason="HASH_MISMATCH",
        )


def _refused(remote: Remote, error: urllib.error.HTTPError) -> NotFoundError | UnavailableError:
    if error.code in (http.client.NOT_FOUND, http.client.GONE):
        return NotFoundError(f"{remote.source}: there is no such file ({error.code} {error.reason})")
    return UnavailableError(
        f"{remote.source}: the server answers {error.code} {error.reason}", reason="SOURCE_UNREACHABLE"
    )
