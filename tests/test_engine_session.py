"""The runtime below the engine: what it does besides running models."""

from __future__ import annotations

import os
import subprocess
import sys

CODE = "import sys; from auricle.engine.session import providers; sys.exit(not providers('cpu'))"
# Where any of these is set the runtime says nothing of its own accord, and a test there would prove nothing.
SILENCING = ("CI", "TF_BUILD", "GITHUB_ACTIONS", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "XDG_CACHE_HOME")


def test_the_runtime_keeps_no_record_of_its_use(tmp_path):
    # With its telemetry on it leaves an identifier of the device and a store of events below the home directory.
    environment = {name: value for name, value in os.environ.items() if name not in SILENCING}
    environment["HOME"] = str(tmp_path)
    subprocess.run([sys.executable, "-c", CODE], env=environment, check=True, timeout=60)
    assert list(tmp_path.rglob("*")) == []
