"""Other ways to serve the same model, each as a process on a core: what they take and what they answer."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auricle.v1 import auricle_pb2 as pb
from harness import ROOT
from workloads import Workload

__all__ = ["STACKS", "Answer", "Stack", "read_reply", "running", "tree_cpu_s"]

PEERS = Path(__file__).resolve().parent / "peers"
LITSERVE = "litserve==0.2.19"
START_S = 90.0
TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
Answer = tuple[NDArray[np.float32], list[tuple[int, float]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stack:
    """One peer.

    Attributes:
        name: in tables.
        python: gives the interpreter that has what it needs; a folder of its own is there for it.
        script: in ``peers/``.
        scheme: what the load generator speaks: HTTP, or gRPC where it is empty.
        request: from a workload and its request in wire form to the peer's request.
        answer: from the workload and the peer's reply to the answer as `first` has it.
    """

    name: str
    python: Callable[[Path], str]
    script: str
    scheme: str
    request: Callable[[Workload, bytes], bytes]
    answer: Callable[[Workload, bytes], Answer]


def _own(_: Path) -> str:
    return sys.executable


def _with_litserve(folder: Path) -> str:
    """A throw-away environment that has LitServe on top of this one's packages."""
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    ours = [path for path in sys.path if path.endswith("site-packages")]
    (site / "ours.pth").write_text("\n".join([*ours, ""]))
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", LITSERVE], check=True)
    return str(python)


def read_reply(workload: Workload, reply: bytes) -> Answer:
    """The answer in an EmbedResponse or a ClassifyResponse in wire form."""
    if workload.method == "Embed":
        (embedding,), scores = pb.EmbedResponse.FromString(reply).embeddings, []
    else:
        message = pb.ClassifyResponse.FromString(reply)
        (embedding,), (labels,) = message.embeddings, message.classifications
        scores = [(category.index, category.score) for category in labels.categories]
    return np.array(embedding.vector.floats.values, np.float32), scores


def _json_request(workload: Workload, request: bytes) -> bytes:
    kind = pb.EmbedRequest if workload.method == "Embed" else pb.ClassifyRequest
    content = kind.FromString(request).audio.content
    return json.dumps({"wav": base64.b64encode(content).decode()}).encode()


def _read_json(_: Workload, reply: bytes) -> Answer:
    found = json.loads(reply)
    return np.array(found["embedding"], np.float32), [tuple(score) for score in found.get("scores", [])]


STACKS = {
    "naive": Stack(
        name="naive grpc.aio, librosa",
        python=_own,
        script="naive.py",
        scheme="",
        request=lambda _, request: request,
        answer=read_reply,
    ),
    "litserve": Stack(
        name="LitServe, batching",
        python=_with_litserve,
        script="lit.py",
        scheme="http://",
        request=_json_request,
        answer=_read_json,
    ),
}


@contextlib.contextmanager
def running(stack: Stack, kind: str, model: Path, core: int) -> Iterator[tuple[str, int]]:
    """Serves ``voice`` or ``yamnet`` by a peer; gives the address, with the scheme in front, and the process id."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        port_file = folder / "port"
        command = [stack.python(folder), str(PEERS / stack.script), "--kind", kind, "--model", str(model)]
        if stack.scheme:
            with socket.create_server(("127.0.0.1", 0)) as probe:
                port = probe.getsockname()[1]
            command += ["--port", str(port)]
        else:
            command += ["--port-file", str(port_file)]
        # Its own group: LitServe starts processes, and not all of them end with the first.
        paths = os.pathsep.join([str(PEERS.parent), str(ROOT / "service")])
        process = subprocess.Popen(
            ["taskset", "-c", str(core), *command], start_new_session=True, env=os.environ | {"PYTHONPATH": paths}
        )
        try:
            end = time.monotonic() + START_S
            while not (port_file.exists() if not stack.scheme else _listens(port)):
                if process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"{stack.name} did not start within {START_S:g} s; its log is above")
                time.sleep(0.2)
            if not stack.scheme:
                port = int(port_file.read_text())
            yield f"{stack.scheme}127.0.0.1:{port}", process.pid
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(10.0)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
        return True
    return False


def tree_cpu_s(pid: int) -> float:
    """Processor time of a process and of all that it started and that still live."""
    children: dict[int, list[int]] = {}
    used: dict[int, float] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        number = int(path.parent.name)
        children.setdefault(int(fields[1]), []).append(number)
        used[number] = (int(fields[11]) + int(fields[12])) * TICK_S
    total, left = 0.0, [pid]
    while left:
        number = left.pop()
        total += used.get(number, 0.0)
        left += children.get(number, [])
    return total
