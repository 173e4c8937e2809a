"""A certificate of the tests' own, for a server on this machine."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def write_certificate(folder: Path, name: str) -> None:
    """Writes ``key.pem`` and ``cert.pem`` for DNS:NAME or IP:ADDRESS; skips the test where there is no openssl."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-keyout", "key.pem", "-out", "cert.pem"]
    command += ["-subj", "/CN=auricle.test", "-addext", f"subjectAltName={name}"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
