"""Connections that went silent, and a device that is not there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from auricle.config import ServerSettings, SessionSettings
from auricle.errors import OptionError
from auricle.serve.lifecycle import Server
from auricle.v1 import auricle_pb2_grpc as rpc
from live import config, live_server
from models import write_embedder


class Proxy:
    """Passes bytes on in both directions until it is told to be silent; it never closes a connection by itself."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._silent = False
        self._tasks: list[asyncio.Task[None]] = []
        self._writers: list[asyncio.StreamWriter] = []

    @asynccontextmanager
    async def open(self) -> AsyncIterator[int]:
        """Listens inside the block, on the port that it gives."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            for writer in self._writers:
                writer.close()

    def go_silent(self) -> None:
        """Drops whatever comes from now on, as a cable that was pulled does."""
        self._silent = True

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers += [writer, far_writer]
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            self._tasks.append(asyncio.create_task(self._pass_on(source, sink)))

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            if not self._silent:
                sink.write(data)
                await sink.drain()


async def test_a_half_open_connection_is_found_and_its_stream_ended(tmp_path: Path) -> None:
    write_embedder(tmp_path / "tiny.onnx")
    async with live_server(tmp_path, keepalive_s=0.3) as running:
        proxy = Proxy(running.server.port)
        async with proxy.open() as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stream = rpc.AudioServiceStub(channel).StreamEmbed()
            await stream.write(config())
            assert (await stream.read()).HasField("ready")
            assert running.server.admission.streams == 1
            proxy.go_silent()
            async with asyncio.timeout(10):
                while running.server.admission.streams:  # noqa: ASYNC110 - nothing tells of it
                    await asyncio.sleep(0)
            assert running.server.admission.streams == 0
            stream.cancel()


async def test_an_idle_connection_that_answers_pings_stays(tmp_path: Path) -> None:
    write_embedder(tmp_path / "tiny.onnx")
    async with live_server(tmp_path, keepalive_s=0.05) as running:
        seen, passed = [], asyncio.Event()

        class Watching(Proxy):
            async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
                while data := await source.read(65536):
                    seen.append(data)
                    if len(seen) > 30:
                        passed.set()
                    sink.write(data)

        async with (
            Watching(running.server.port).open() as port,
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            stream = rpc.AudioServiceStub(channel).StreamEmbed()
            await stream.write(config())
            assert (await stream.read()).HasField("ready")
            await asyncio.wait_for(passed.wait(), 20)
            assert running.server.admission.streams == 1
            await stream.done_writing()
            stream.cancel()


async def test_a_device_that_is_not_there_ends_the_start_with_what_there_is(tmp_path: Path) -> None:
    write_embedder(tmp_path / "tiny.onnx")
    settings = ServerSettings(
        models_dir=tmp_path, listen="127.0.0.1:0", watch=False, session=SessionSettings(device="abacus")
    )
    with pytest.raises(OptionError, match=r"'abacus' is not in this build .* cpu") as caught:
        async with Server(settings):
            pass
    assert caught.value.field == "session.device"
