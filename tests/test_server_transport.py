"""Where a server listens, and who reads its sockets: the thread that takes gRPC's events, unless the user chose."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from auricle.config import ServerSettings, TlsSettings
from auricle.errors import OptionError, UnavailableError
from auricle.serve.lifecycle import Server
from certificate import write_certificate
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
    # Read there, each call takes one at least; otherwise the pool only looks after clocks, some times a second.
    assert (waits > CALLS) == in_pool


def server_at(tmp_path: Path, listen: str, tls: TlsSettings | None = None) -> Server:
    return Server(ServerSettings(models_dir=tmp_path, listen=listen, watch=False, tls=tls))


async def answers(address: str) -> bool:
    async with grpc.aio.insecure_channel(address) as channel, asyncio.timeout(20):
        reply = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), wait_for_ready=True)
        return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


@pytest.mark.parametrize("slashes", ["", "//"])
async def test_a_second_server_does_not_take_over_a_unix_socket(tmp_path: Path, slashes: str) -> None:
    listen = f"unix:{slashes}{tmp_path / 's'}"
    async with server_at(tmp_path, listen):
        with pytest.raises(UnavailableError, match="another server does"):
            async with server_at(tmp_path, listen):
                pass
        assert await answers(listen)


async def test_a_socket_file_that_nobody_listens_on_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(path))
        left_over.listen()
    assert path.is_socket()
    async with server_at(tmp_path, f"unix:{path}"):
        assert await answers(f"unix:{path}")


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("key", "other", "another certificate's"),
        ("certificate", "bad", "PEM"),
        ("key", "bad", "PEM"),
        ("client_ca", "bad", "PEM"),
        ("certificate", "missing", "No such file"),
        ("key", "missing", "No such file"),
    ],
)
async def test_a_tls_file_that_cannot_be_used_is_named(tmp_path: Path, file: str, content: str, reason: str) -> None:
    files = {"certificate": tmp_path / "cert.pem", "key": tmp_path / "key.pem"}
    write_certificate(tmp_path, "IP:127.0.0.1")
    if content == "other":
        (tmp_path / "of").mkdir()
        write_certificate(tmp_path / "of", "IP:127.0.0.1")
    elif content == "bad":
        (tmp_path / "of").write_text("this is no PEM")
    chosen = tmp_path / "of" / "key.pem" if content == "other" else tmp_path / "of"
    with pytest.raises(OptionError, match=reason) as caught:
        async with server_at(tmp_path, "127.0.0.1:0", TlsSettings(**{**files, file: chosen})):
            pass
    assert caught.value.field == f"tls.{file}"
    assert str(chosen) in caught.value.message


async def test_good_tls_files_serve(tmp_path: Path) -> None:
    write_certificate(tmp_path, "IP:127.0.0.1")
    certificate = tmp_path / "cert.pem"
    tls = TlsSettings(certificate=certificate, key=tmp_path / "key.pem", client_ca=certificate)
    async with server_at(tmp_path, "127.0.0.1:0", tls) as server:
        assert server.port
