"""Both clients behind one face, and the scripted server that they call."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
import soundfile

from auricle.client import (
    AsyncClient,
    Client,
    RetryPolicy,
    UnaryLimits,
)
from client_server import RATE_HZ, SEGMENT, Toy, serving

QUICK = RetryPolicy(first_delay_s=0.002, jitter=0.0)


class Sync:
    """The blocking client as the tests use it."""

    def __init__(self, target: str) -> None:
        self.target = target

    def call(self, method: str, *args, retry=QUICK, limits=UnaryLimits(), **kwargs):  # noqa: B008
        with Client(self.target, retry=retry, limits=limits) as client:
            return getattr(client, method)(*args, **kwargs)

    def events(self, method: str, *args, **kwargs):
        with Client(self.target) as client:
            return list(getattr(client, method)(*args, **kwargs))


class Async(Sync):
    """The async client, each call in a loop of its own."""

    def call(self, method: str, *args, retry=QUICK, limits=UnaryLimits(), **kwargs):  # noqa: B008
        async def run():
            async with AsyncClient(self.target, retry=retry, limits=limits) as client:
                return await getattr(client, method)(*args, **kwargs)

        return asyncio.run(run())

    def events(self, method: str, *args, **kwargs):
        async def run():
            async with AsyncClient(self.target) as client:
                return [event async for event in getattr(client, method)(*args, **kwargs)]

        return asyncio.run(run())


@pytest.fixture(name="toy")
def toy_():
    return Toy()


@pytest.fixture(name="port")
def port_(toy):
    with serving(toy) as port:
        yield port


@pytest.fixture(params=[Sync, Async])
def client(request, port):
    return request.param(f"127.0.0.1:{port}")


@pytest.fixture(name="samples", scope="module")
def samples_():
    return np.random.default_rng(7).integers(-9000, 9000, 3 * SEGMENT + 17).astype(np.int16)


@pytest.fixture(name="wav")
def wav_(tmp_path, samples):
    path = tmp_path / "noise.wav"
    soundfile.write(path, samples, RATE_HZ)
    return path
