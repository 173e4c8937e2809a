"""Processes of the benchmarks: a server on a free port, workers behind a pipe, and what a process has used."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from auricle.config import ServerSettings

__all__ = ["Served", "cpu_s", "pss_bytes", "server_process", "worker"]

SPAWN = multiprocessing.get_context("spawn")
START_S = 60.0

Served = tuple[str, int]


def serve() -> None:
    """The server process's main: settings and cores come on stdin. It imports what ``auricle serve`` does, no more."""
    import structlog

    from auricle.serve.lifecycle import run

    settings, cores = pickle.load(sys.stdin.buffer)
    os.sched_setaffinity(0, cores)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("error"))
    run(settings)


@contextlib.contextmanager
def server_process(settings: ServerSettings, cores: Collection[int]) -> Iterator[Served]:
    """A server with these settings on a free port; gives its address and process id."""
    with tempfile.TemporaryDirectory() as folder:
        port_file = Path(folder) / "port"
        settings = replace(settings, listen="127.0.0.1:0", watch=False, port_file=port_file)
        process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE)
        try:
            assert process.stdin is not None
            with process.stdin as stdin:
                pickle.dump((settings, tuple(cores)), stdin)
            end = time.monotonic() + START_S
            while not port_file.exists():
                if process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"the server did not start within {START_S:g} s; its log is above")
                time.sleep(0.05)
            yield f"127.0.0.1:{port_file.read_text().strip()}", process.pid
        finally:
            process.terminate()
            process.wait(START_S)


@contextlib.contextmanager
def worker(target: Any, *args: Any) -> Iterator[Any]:
    """A process that answers through a pipe, which is given; None ends it."""
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=target, args=(theirs, *args), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
        ours.send(None)
        process.join(10.0)
    finally:
        process.terminate()
        process.join(10.0)


def cpu_s(pid: int) -> float:
    """Processor time of a process so far, its threads included."""
    # The clock's number as clock_getcpuclockid(3) makes it; /proc counts in steps of 10 ms.
    return time.clock_gettime(~pid << 3 | 2)


def pss_bytes(pid: int) -> int:
    """Memory of a process, shared pages by its share of them."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/{pid}/smaps_rollup has no Pss")


if __name__ == "__main__":
    serve()
