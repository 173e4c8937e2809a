"""The in-process door: the Api behind a client's transport, with its own loop in a thread."""

from __future__ import annotations

import asyncio
import math
import os
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, cast

from auricle.client.sources import SourceError, carried, in_loop
from auricle.config import BatchSettings, Limits, SessionSettings
from auricle.engine.repository import Repository
from auricle.engine.workers import Workers
from auricle.errors import AuricleError, DeadlineError, UnavailableError
from auricle.model.bundled import bundled_dir
from auricle.serve.api import Api
from auricle.v1 import auricle_pb2 as pb

__all__ = ["LocalTransport"]

T = TypeVar("T")
END = object()


class LocalTransport:
    """What a gRPC stub offers, answered by an engine in this process. A context manager.

    Entering raises OptionError where the models directory cannot be listed. Methods raise AuricleError, and
    UnavailableError before and after the block, in a process that was forked in it, and for the calls in flight when it
    ends. ``timeout`` is in seconds, as a stub's. A stream's requests are read in a thread; what they raise ends the
    stream and is raised by it.

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
        self._opened: Future[None] = Future()
        self._thread = threading.Thread(target=self._serve, name="auricle-local", daemon=True)
        self._pid: int | None = None
        # Held while work is handed to the loop, so that none comes after its end. The collector may close a stream
        # meanwhile, in the same thread.
        self._handing = threading.RLock()
        self._closed = False
        # Of the loop alone: what it has to do, and the streams that have begun.
        self._tasks: set[asyncio.Task[Any]] = set()
        self._streams: set[AsyncGenerator[Any, None]] = set()

    def __enter__(self) -> LocalTransport:
        self._pid = os.getpid()
        self._thread.start()
        self._opened.result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._thread.is_alive():  # as in a process that was forked
            return
        with self._handing:
            self._closed = True
            self._loop.call_soon_threadsafe(self._left.set)
        self._thread.join()

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
        return self._stream(lambda *given: self._api.stream_embed(*given), requests, timeout)

    def StreamClassify(  # noqa: N802
        self, requests: Iterator[pb.StreamClassifyRequest], timeout: float | None = None
    ) -> Iterator[pb.StreamClassifyResponse]:
        return self._stream(lambda *given: self._api.stream_classify(*given), requests, timeout)

    def _serve(self) -> None:
        try:
            asyncio.run(self._live())
        except BaseException as error:
            if self._opened.done():
                raise
            self._opened.set_exception(error)

    async def _live(self) -> None:
        self._loop, self._left = asyncio.get_running_loop(), asyncio.Event()
        with closing(Workers()) as workers:
            self._repository = Repository(self._models_dir, grace_s=0.0, **self._options)
            try:
                await self._repository.refresh()
                self._api = Api(self._repository, workers, self._limits)
                self._opened.set_result(None)
                await self._left.wait()
                await self._end_calls()
            finally:
                await self._repository.close()

    async def _end_calls(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for stream in self._streams:
            await stream.aclose()

    async def _tracked(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            return await work
        except asyncio.CancelledError:
            if self._closed:
                raise UnavailableError("the engine in this process was closed before the call ended") from None
            raise
        finally:
            self._tasks.discard(task)

    def _check_open(self) -> None:
        if self._pid not in (None, os.getpid()):
            raise UnavailableError("this process was forked, and the engine was not; open a LocalTransport here")
        if self._closed or not self._thread.is_alive():
            raise UnavailableError(
                "this LocalTransport is not open; call it in its `with` block, which it has but once"
            )

    def _submit(self, work: Callable[[], Coroutine[Any, Any, T]]) -> Future[T]:
        """Hands work to the loop. UnavailableError where there is no loop that would do it."""
        # In a forked process the lock may be held for ever.
        self._check_open()
        with self._handing:
            self._check_open()
            return asyncio.run_coroutine_threadsafe(self._tracked(work()), self._loop)

    def _call(self, method: Callable[[float], Awaitable[T]], timeout: float | None) -> T:
        async def work() -> T:
            try:
                async with asyncio.timeout(timeout):
                    return await method(_deadline(timeout))
            except TimeoutError:
                raise _late(timeout) from None

        return self._wait(self._submit(work))

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
        self._check_open()
        deadline = _deadline(timeout)
        # An exit or an interrupt that was raised in the loop would end it.
        own_failure: list[BaseException] = []
        answers = method(in_loop(carried(requests, own_failure)), deadline)

        # A generator that runs cannot be closed, so that an interrupted step must end first.
        turn = asyncio.Lock()

        async def step() -> T | object:
            self._streams.add(answers)
            try:
                async with turn, asyncio.timeout(None if timeout is None else deadline - time.monotonic()):
                    return await anext(answers, END)
            except TimeoutError:
                raise _late(timeout) from None

        async def close() -> None:
            async with turn:
                await answers.aclose()
            self._streams.discard(answers)

        try:
            while (reply := self._wait(self._submit(step))) is not END:
                yield cast(T, reply)
        except SourceError:
            raise own_failure[0] from None
        finally:
            # Where the engine has ended, it has closed them.
            with suppress(UnavailableError):
                closed = self._submit(close)
                # The collector closes a stream in whatever thread it runs.
                if threading.current_thread() is not self._thread:
                    closed.result()


def _deadline(timeout: float | None) -> float:
    return math.inf if timeout is None else time.monotonic() + timeout


def _late(timeout: float | None) -> DeadlineError:
    return DeadlineError(f"the call took longer than its time-out of {timeout:g} s")
