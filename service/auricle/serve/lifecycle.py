"""The server's life: load, warm up, serve, drain."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

import structlog

from auricle.config import ServerSettings
from auricle.engine.repository import Repository
from auricle.engine.session import check_device
from auricle.engine.workers import Workers
from auricle.model.bundled import bundled_dir
from auricle.serve.admission import Admission
from auricle.serve.api import Api
from auricle.serve.grpc import GrpcServer
from auricle.serve.memory import give_memory_back, keep_memory, pass_over_imports

__all__ = ["Server", "run"]

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Server:
    """Everything that ``auricle serve`` runs, as an async context manager: serving inside, drained outside.

    Raises AuricleError on entry where the address cannot be had, the device is not there or the models directory cannot
    be listed.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._log = structlog.get_logger()

    async def __aenter__(self) -> Server:
        settings = self._settings
        check_device(settings.session.device)  # absent, it would be every model's failure
        self._workers = Workers(settings.workers)
        self.repository = Repository(
            settings.models_dir,
            bundled_dir=bundled_dir() if settings.bundled else None,
            session=settings.session,
            batch=settings.batch,
            default_model=settings.default_model,
            tune=True,
            grace_s=settings.grace_s,
            on_change=self._models_changed,
        )
        self.api = Api(self.repository, self._workers, settings.limits)
        self.admission = Admission(settings.admission, streams=settings.limits.streams)
        self._grpc = GrpcServer(self.api, self.admission, settings)
        self._shows: set[asyncio.Task[None]] = set()
        self._watching: asyncio.Task[None] | None = None
        try:
            # Loading warms each model up: the port opens when the first call will be as fast as the next.
            await self.repository.refresh()
            await asyncio.to_thread(give_memory_back)
            await self._grpc.show_models(self.repository.health())
            await self._grpc.start()
        except BaseException:
            await self._grpc.stop()
            await self.repository.close()
            self._workers.close()
            raise
        if settings.watch:
            self._watching = asyncio.create_task(self.repository.watch())
        self._announce()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._log.info("draining", grace_s=self._settings.grace_s)
        self.admission.drain()
        if self._watching is not None:
            self._watching.cancel()
            with suppress(asyncio.CancelledError):
                await self._watching
        await self._grpc.stop()
        await self.repository.close()
        self._workers.close()
        if self._settings.port_file is not None:
            self._settings.port_file.unlink(missing_ok=True)
        self._log.info("stopped")

    def hurry(self) -> None:
        """Ends the calls that the drain waits for, whatever is left of the grace period."""
        self._log.info("ending the calls in flight")
        self._grpc.hurry()

    @property
    def port(self) -> int:
        """The bound port."""
        return self._grpc.port

    @property
    def address(self) -> str:
        """Where clients connect."""
        listen = self._settings.listen
        return listen if listen.startswith("unix:") else f"{listen.rpartition(':')[0]}:{self.port}"

    def _models_changed(self, models: dict[str, bool]) -> None:
        task = asyncio.get_running_loop().create_task(self._show(models))
        self._shows.add(task)
        task.add_done_callback(self._shows.discard)

    async def _show(self, models: dict[str, bool]) -> None:
        await self._grpc.show_models(models)
        await asyncio.to_thread(give_memory_back)

    def _announce(self) -> None:
        if self._settings.port_file is not None:
            partial = self._settings.port_file.with_suffix(".partial")
            partial.write_text(f"{self.port}\n")
            partial.replace(self._settings.port_file)
        names = [f"{model.name}/{model.version}" for model in self.repository.models()]
        self._log.info("serving", address=self.address, models=names, models_dir=str(self._settings.models_dir))
        if not names:
            self._log.warning("no models yet: put one in the directory, e.g. auricle models pull voice")


async def serve(settings: ServerSettings) -> None:
    """Serves until SIGTERM or SIGINT, then drains; a second signal cuts the grace period short.

    One that comes while models load ends that after the model at hand.
    """
    stop, serving = asyncio.Event(), False
    task = asyncio.current_task()
    assert task is not None
    _on_signal(task.cancel)
    try:
        async with Server(settings) as server:
            serving = True
            _on_signal(stop.set)
            await stop.wait()
            _on_signal(server.hurry)
    except asyncio.CancelledError:
        if serving:
            raise
        structlog.get_logger().info("stopped before it served")


def _on_signal(act: Callable[[], object]) -> None:
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, act)


def run(settings: ServerSettings) -> None:
    """Runs the server in the foreground, on uvloop."""
    import uvloop

    keep_memory()
    pass_over_imports()
    uvloop.run(serve(settings))
