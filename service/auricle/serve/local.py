"""The in-process door: the Api behind a client's transport, with its own loop in a thread."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, cast

from auricle.config import BatchSettings, Limits, SessionSettings
from auricle.engine.repository import Repository
from auricle.engine.workers import Workers
from auricle.errors import AuricleError, DeadlineError
from auricle.model.bundled import bundled_dir
from auricle.serve.api import Api
from auricle.v1 import auricle_pb2 as pb

__all__ = ["LocalTransport"]

T = TypeVar("T")
END = object()


class LocalTransport:
    """What a gRPC stub offers, answered by an engine in this process. A context manager.

    Methods raise AuricleError. ``timeout`` is in seconds, as a stub's.

    Args:
        models_dir: see Repository.
        bundled: whether the models that come with the package answer too.
        default_model: answers requests that name none.
    """

    def __init__(
        self,
        *,
        models_dir: Path,
        bundled: bool = False,
        default_model: str | None = None,
        limits: Limits | None = None,
        batch: BatchSettings | None = None,
        session: SessionSettings | None = None,
    ) -> None:
        self._options: dict[str, Any] = {
            "bundled_dir": bundled_dir() if bundled else None,
            "session": session,
            "batch": batch,
            "default_model": default_model,
        }
        self._models_dir = models_dir
        self._limits = limits or Limits()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="auricle-local", daemon=True)

    def __enter__(self) -> LocalTransport:
        self._thread.start()
        self._submit(self._open()).result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._submit(self._repository.close()).result()
        self._workers.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def failures(self) -> dict[Path, AuricleError]:
        """Files of the models directory that could not be loaded, and why."""
        return dict(self._repository.failures)

    def Embed(self, request: pb.EmbedRequest, timeout: float | None = None) -> pb.EmbedResponse:  # noqa: N802
        return self._call(lambda deadline: self._api.embed(request, deadline=deadline), timeout)

    def Classify(self, request: pb.ClassifyRequest, timeout: float | None = None) -> pb.ClassifyResponse:  # noqa: N802
        return self._call(lambda deadline: self._api.classify(request, deadline=deadline), timeout)

    def ListModels(  # noqa: N802
        self, request: pb.ListModelsRequest, timeout: float | None = None
    ) -> pb.ListModelsResponse:
        return self._call(lambda _: self._api.list_models(request), timeout)

    def GetModel(self, request: pb.GetModelRequest, timeout: float | None = None) -> pb.GetModelResponse:  # noqa: N802
        return self._call(lambda _: self._api.get_model(request), timeout)

    def StreamEmbed(  # noqa: N802
        self, requests: Iterator[pb.StreamEmbedRequest], timeout: float | None = None
    ) -> Iterator[pb.StreamEmbedResponse]:
        return self._stream(self._api.stream_embed, requests, timeout)

    def StreamClassify(  # noqa: N802
        self, requests: Iterator[pb.StreamClassifyRequest], timeout: float | None = None
    ) -> Iterator[pb.StreamClassifyResponse]:
        return self._stream(self._api.stream_classify, requests, timeout)

    async def _open(self) -> None:
        self._workers = Workers()
        self._repository = Repository(self._models_dir, grace_s=0.0, **self._options)
        await self._repository.refresh()
        self._api = Api(self._repository, self._workers, self._limits)

    def _submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _call(self, method: Callable[[float], Awaitable[T]], timeout: float | None) -> T:
        async def work() -> T:
            try:
                async with asyncio.timeout(timeout):
                    return await method(_deadline(timeout))
            except TimeoutError:
                raise _late(timeout) from None

        return self._wait(self._submit(work()))

    def _wait(self, answer: Future[T]) -> T:
        try:
            return answer.result()
        except BaseException:
            # Ctrl-C arrives here, and then nobody will read the answer.
            answer.cancel()
            raise

    def _stream(
        self,
        method: Callable[[AsyncIterator[Any], float], AsyncGenerator[T, None]],
        requests: Iterator[Any],
        timeout: float | None,
    ) -> Iterator[T]:
        answers = method(_pull(requests), _deadline(timeout))
        end = None if timeout is None else self._loop.time() + timeout

        # A generator that runs cannot be closed, so that an interrupted step must end first.
        turn = asyncio.Lock()

        async def step() -> T | object:
            try:
                async with turn, asyncio.timeout_at(end):
                    return await anext(answers, END)
            except TimeoutError:
                raise _late(timeout) from None

        async def close() -> None:
            async with turn:
                await answers.aclose()

        try:
            while (reply := self._wait(self._submit(step()))) is not END:
                yield cast(T, reply)
        finally:
            self._submit(close()).result()


async def _pull(requests: Iterator[Any]) -> AsyncIterator[Any]:
    """A blocking iterator as an async one; it may wait for a microphone, so it runs in a thread."""
    while (request := await asyncio.to_thread(next, requests, END)) is not END:
        yield request


def _deadline(timeout: float | None) -> float:
    return math.inf if timeout is None else time.monotonic() + timeout


def _late(timeout: float | None) -> DeadlineError:
    return DeadlineError(f"the call took longer than its time-out of {timeout:g} s")
