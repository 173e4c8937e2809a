"""Memory of a server with one model, and of what stands below it, each in a process of its own.

Below it are a bare onnxruntime loop at the same batch, and a grpc.aio handler that answers the same calls one by one.
"""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from processes import pss_bytes, server_process, worker

if TYPE_CHECKING:
    from workloads import Workload

__all__ = ["measure"]

BATCH = 8
CALLERS = 32
CALLS = 8
RUNS = 50
FLOOR = "floor"


def measure(path: Path, workload: Workload) -> dict[str, float]:
    """PSS in MB: the server of the workload's model alone, idle and after ``CALLERS`` callers; what stands below it."""
    from auricle.config import BatchSettings, ServerSettings, SessionSettings
    from loadgen import Load, generate

    cores = sorted(os.sched_getaffinity(0))
    load = Load(method=workload.method, requests=workload.requests, callers=CALLERS, calls=CALLS)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(path, Path(folder) / f"{workload.model}.onnx")
        settings = ServerSettings(
            models_dir=Path(folder),
            bundled=False,
            batch=BatchSettings(max_segments=BATCH),
            session=SessionSettings(threads=1),
        )
        with (
            server_process(settings, [cores[0]]) as (address, pid),
            worker(generate, address, cores[1]) as generator,
        ):
            found["idle"] = pss_bytes(pid) / 1e6
            generator.send(load)
            generator.recv()
            found["after the load"] = pss_bytes(pid) / 1e6
    asked = pickle.dumps((path, cores[0], workload.method, workload.files))
    command = [sys.executable, __file__]
    with subprocess.Popen([*command, FLOOR], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as floor:
        assert floor.stdin is not None
        assert floor.stdout is not None
        floor.stdin.write(asked)
        floor.stdin.flush()
        with worker(generate, floor.stdout.readline().decode().strip(), cores[1]) as generator:
            generator.send(load)
            generator.recv()
            found["grpc.aio floor, after the load"] = pss_bytes(floor.pid) / 1e6
        floor.stdin.close()
    batch = np.stack([workload.mels[0][0]] * BATCH)
    done = subprocess.run(command, input=pickle.dumps((path, batch)), stdout=subprocess.PIPE, check=True)
    found["bare loop"] = int(done.stdout) / 1e6
    return found


def bare() -> None:
    """The bare loop's main: a model and a batch come on stdin, its PSS goes to stdout."""
    import onnxruntime

    path, batch = pickle.load(sys.stdin.buffer)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    for _ in range(RUNS):
        session.run(None, {session.get_inputs()[0].name: batch})
    print(pss_bytes(os.getpid()))


class _StandardPipe:
    """A worker's pipe on stdin and stdout: the process is then this file's alone, without what spawning imports."""

    def send(self, address: str) -> None:
        print(address, flush=True)

    def recv(self) -> None:
        sys.stdin.buffer.read()


def floor() -> None:
    """The floor's main: what ``serve_bare`` takes comes on stdin, as does its end; its address goes to stdout."""
    from floor import serve_bare

    serve_bare(_StandardPipe(), *pickle.load(sys.stdin.buffer))


if __name__ == "__main__":
    floor() if sys.argv[1:] == [FLOOR] else bare()
