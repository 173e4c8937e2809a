"""The model directory: what is in it is what is served."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Iterable, Mapping
from pathlib import Path

import structlog

from auricle.config import BatchSettings, SessionSettings
from auricle.engine.directory import ModelFile, scan, unlisted, version_key
from auricle.engine.graph import Graph
from auricle.engine.served import ServedModel
from auricle.engine.tuning import tuned
from auricle.engine.watch import watch
from auricle.errors import BundleError, InvalidArgumentError, NotFoundError
from auricle.model.heads import HeadKind

__all__ = ["Repository"]

NAME_TAKEN = "MODEL_NAME_TAKEN"


class Repository:
    """Loads, swaps and drains the models of a directory.

    A file that cannot be served is reported and passed over; what was served under its name goes on, and so does all
    that was loaded from a folder that cannot be listed.

    Args:
        models_dir: scanned by ``refresh``; it may be empty, or not be there yet.
        bundled_dir: models that come with the package; one of the same name in ``models_dir`` takes its place.
        default_model: answers where a request names none.
        tune: find each model's best batch size as it loads, where ``batch`` leaves it open.
        grace_s: how long calls in flight keep a model that was replaced or removed.
        on_change: told the names that are served, and whether each is healthy, after every change.
    """

    def __init__(
        self,
        models_dir: Path,
        *,
        bundled_dir: Path | None = None,
        session: SessionSettings | None = None,
        batch: BatchSettings | None = None,
        default_model: str | None = None,
        tune: bool = False,
        grace_s: float = 30.0,
        on_change: Callable[[dict[str, bool]], None] = lambda health: None,
    ) -> None:
        self._dir = models_dir
        self._bundled_dir = bundled_dir
        self._session = session or SessionSettings()
        self._batch = batch or BatchSettings()
        self._default = default_model
        self._tune = tune
        self._grace_s = grace_s
        self._on_change = on_change
        self._loaded: dict[Path, tuple[ModelFile, ServedModel | None]] = {}
        self._found: dict[tuple[str, str, HeadKind | None], ServedModel] = {}
        self._unread: set[Path] = set()
        self._listed = False
        self._retiring: set[asyncio.Task[None]] = set()
        self._refreshing = asyncio.Lock()
        self._log = structlog.get_logger()
        self.failures: dict[Path, BundleError] = {}

    def models(self) -> list[ServedModel]:
        """Every loaded version, by name, newest first."""
        served = [model for _, model in self._loaded.values() if model is not None]
        served.sort(key=lambda model: version_key(model.version), reverse=True)
        return sorted(served, key=lambda model: model.name)

    def newest(self, name: str) -> ServedModel | None:
        """The version that an empty version selects."""
        return next((model for model in self.models() if model.name == name), None)

    def find(self, name: str, version: str = "", *, kind: HeadKind | None = None) -> ServedModel:
        """Resolves a selector; see ModelSelector in the contract.

        Without a name: the default, else the only model with a head of ``kind``. The user's models come first, so
        that one that comes with the package makes no lone model of the user's ambiguous, and answers where none
        of the user's can.

        Raises InvalidArgumentError that lists the names where none is given and none is the default, and
        NotFoundError for a name or a version that is not loaded.
        """
        model = self._found.get((name, version, kind))
        if model is None:
            model = self._found[name, version, kind] = self._search(name, version, kind)
        return model

    def _able(self, kind: HeadKind | None) -> list[str]:
        """Names that may answer a call which names none: the user's, else the package's."""
        able = [
            (file.bundled, model.name)
            for file, model in self._loaded.values()
            if model is not None and (kind is None or any(head.spec.kind == kind for head in model.graph.heads))
        ]
        own = {name for bundled, name in able if not bundled}
        return list(own or {name for _, name in able})

    def _search(self, name: str, version: str, kind: HeadKind | None) -> ServedModel:
        models = self.models()
        names = list(dict.fromkeys(model.name for model in models))
        if not name:
            lone = self._able(kind) or self._able(None)
            if self._default is None and len(lone) != 1:
                raise InvalidArgumentError(
                    "model.name is empty and there is no default model; name one of: " + _listing(names),
                    field="model.name",
                    reason="MODEL_REQUIRED",
                )
            name = self._default or lone[0]
        versions = [model for model in models if model.name == name]
        if not versions:
            raise NotFoundError(
                f"no model {name!r}; loaded are: {_listing(names)}",
                field="model.name",
                resource=("auricle.model", name),
            )
        if not version:
            return versions[0]
        for model in versions:
            if model.version == version:
                return model
        raise NotFoundError(
            f"model {name!r} has no version {version!r}; loaded are: {_listing(model.version for model in versions)}",
            field="model.version",
            resource=("auricle.model", f"{name}/{version}"),
        )

    async def refresh(self) -> None:
        """Makes what is served equal to what is in the directory.

        Raises OptionError where that cannot be listed, OSError where it once could: it may be so again.
        """
        async with self._refreshing:
            unread: dict[Path, OSError] = {}
            try:
                files = await asyncio.to_thread(scan, self._dir, on_unread=unread.__setitem__)
            except OSError as error:
                if self._listed:
                    raise
                raise unlisted(self._dir, error) from error
            self._listed = True
            bundled = await asyncio.to_thread(self._scan_bundled)
            found = {file.path: file for file in files} | self._keep(unread)
            changed = await self._load_changed(found.values(), found)
            taken = {model.name for path, (_, model) in self._loaded.items() if path in found and model is not None}
            spare = {file.path: file for file in bundled if file.name not in taken}
            changed |= await self._load_changed(spare.values(), found)
            found |= spare
            for path in [path for path in self._loaded if path not in found]:
                _, model = self._loaded.pop(path)
                self._found.clear()
                self.failures.pop(path, None)
                changed = True
                if model is not None:
                    self._retire(model, "removed")
            if changed:
                self._report()

    def _scan_bundled(self) -> list[ModelFile]:
        return scan(self._bundled_dir, bundled=True) if self._bundled_dir is not None else []

    def _keep(self, unread: Mapping[Path, OSError]) -> dict[Path, ModelFile]:
        """What is loaded from folders that could not be listed, as if it were still there; each is reported once."""
        for folder, error in unread.items():
            if folder not in self._unread:
                self._log.error("folder not listed", folder=str(folder), error=error.strerror)
        self._unread = set(unread)
        return {path: file for path, (file, _) in self._loaded.items() if path.parent in unread}

    async def _load_changed(self, files: Iterable[ModelFile], found: Container[Path]) -> bool:
        """Loads those of the files that are new or not what they were; whether what is served changed."""
        changed = False
        for file in files:
            if self._is_due(file, found):
                changed |= await self._load(file, found)
        return changed

    def _is_due(self, file: ModelFile, found: Container[Path]) -> bool:
        """Whether a file is new, not what it was, or failed by what may have passed since."""
        before, _ = self._loaded.get(file.path, (None, None))
        if before is None or not before.stamp or before.stamp != file.stamp:
            return True
        failure = self.failures.get(file.path)
        return failure is not None and failure.reason == NAME_TAKEN and self._holder(before, found) is None

    async def watch(self) -> None:
        """Refreshes as the directory changes, until cancelled."""
        await watch(self._dir, self.refresh)

    async def close(self) -> None:
        """Retires every model and waits for it."""
        for _, model in self._loaded.values():
            if model is not None:
                self._retire(model, "closed")
        self._loaded.clear()
        self._found.clear()
        await asyncio.gather(*self._retiring)

    def health(self) -> dict[str, bool]:
        """Whether the version that an empty version selects is healthy, by name."""
        return {model.name: model.healthy for model in reversed(self.models())}

    def _report(self) -> None:
        self._on_change(self.health())

    async def _load(self, file: ModelFile, found: Container[Path]) -> bool:
        """Loads one file in place of what its path served before; False where the old one goes on."""
        tried, before = self._loaded.get(file.path, (None, None))
        log = self._log.bind(file=str(file.path))
        named = file
        try:
            self._check_free(named, found)
            graph = await asyncio.to_thread(Graph, file.path, self._session)
            named = file._replace(version=file.version or graph.bundle.version)
            self._check_free(named, found)
            batch = await asyncio.to_thread(tuned, self._batch, graph) if self._tune else self._batch
            # The largest batch that was tried would else hold its memory for ever.
            await asyncio.to_thread(graph.shrink)
        except Exception as error:  # whatever a file does to us, the others are served
            failure = error if isinstance(error, BundleError) else BundleError(f"{file.path.name}: {error}")
            known = str(self.failures.get(file.path)) == str(failure) and tried and tried.stamp in ((), file.stamp)
            self.failures[file.path] = failure
            # Descriptors and permissions are the system's: such a file is tried again at every refresh.
            passing = isinstance(error, OSError) or isinstance(error.__cause__, OSError)
            self._loaded[file.path] = (named._replace(stamp=()) if passing else named, before)
            if not known:
                log.error("model not loaded", error=str(failure), serving_older=before is not None)
            return False
        self.failures.pop(file.path, None)
        _warn_mismatch(log, file, graph)
        version = file.version or graph.bundle.version
        graph.rename(file.name, version)
        model = ServedModel(file.name, version, graph, batch, on_health=self._report)
        self._loaded[file.path] = (file, model)
        self._found.clear()
        chosen = {"batch": batch.segments, "max_delay_s": batch.max_delay_s or 0.0, "least_rows": graph.least_rows}
        if graph.bundle.segment.length is None:
            chosen["least_length"] = graph.least_length
        log.info("model loaded", model=model.name, version=version, **chosen)
        if not graph.batches:
            log.warning("served at batch 1: its answers change with the batch, or its batch axis is fixed")
        if before is not None:
            self._retire(before, "replaced")
        return True

    def _check_free(self, file: ModelFile, found: Container[Path]) -> None:
        holder = self._holder(file, found)
        if holder is not None:
            raise BundleError(
                f"{file.path.name}: model {file.name!r} version {file.version!r} is already loaded from {holder}; "
                "remove one of the files or give it another version",
                reason=NAME_TAKEN,
            )

    def _holder(self, file: ModelFile, found: Container[Path]) -> Path | None:
        """Which other file serves a file's name and version. One that is there no more holds nothing: it moved."""
        others = ((path, model) for path, (_, model) in self._loaded.items() if path != file.path and path in found)
        named = (file.name, file.version)
        return next((path for path, model in others if model and (model.name, model.version) == named), None)

    def _retire(self, model: ServedModel, why: str) -> None:
        self._log.info("model unloading", model=model.name, version=model.version, why=why)
        task = asyncio.create_task(model.retire(self._grace_s))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)


def _warn_mismatch(log: structlog.stdlib.BoundLogger, file: ModelFile, graph: Graph) -> None:
    for part, path_says, metadata_says in (
        ("name", file.name, graph.bundle.name),
        ("version", file.version or graph.bundle.version, graph.bundle.version),
    ):
        if path_says != metadata_says:
            log.warning(f"{part} differs: the path wins", path=path_says, metadata=metadata_says)


def _listing(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
