"""Who reads a server's sockets: the thread that takes gRPC's events, unless the user has chosen otherwise."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from command import spawn

CALLS = 200


def pool_waits(pid: int) -> int:
    """How often the threads of gRPC's pool have waited for something."""
    count = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        if (task / "comm").read_text().strip() == "event_engine":
            (line,) = [line for line in (task / "status").read_text().splitlines() if line.startswith("voluntary")]
            count += int(line.split()[1])
    return count


@pytest.mark.skipif(sys.platform != "linux", reason="it counts a process's waits in /proc")
@pytest.mark.parametrize(("chosen", "in_pool"), [(None, False), ("event_engine_listener", True)])
def test_sockets_are_read_where_their_events_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: str | None, in_pool: bool
) -> None:
    monkeypatch.delenv("GRPC_EXPERIMENTS", raising=False)
    if chosen is not None:
        monkeypatch.setenv("GRPC_EXPERIMENTS", chosen)
    with spawn("serve", "--listen", "127.0.0.1:0", "--models", tmp_path, "--no-bundled") as server:
        try:
            assert server.stderr is not None
            records = map(json.loads, server.stderr)
            address = next(record["address"] for record in records if record["event"] == "serving")
            with grpc.insecure_channel(address) as channel:
                check = health_pb2_grpc.HealthStub(channel).Check
                check(health_pb2.HealthCheckRequest())
                before = pool_waits(server.pid)
                for _ in range(CALLS):
                    check(health_pb2.HealthCheckRequest())
                waits = pool_waits(server.pid) - before
        finally:
            server.terminate()
    # Read there, each call takes one at least; otherwise the pool only looks after clocks.
    assert waits > CALLS if in_pool else waits < CALLS / 4
