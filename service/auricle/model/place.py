"""Where a model lies in its directory, and which files stand in the way of one that is to lie there."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from auricle.errors import OptionError

__all__ = ["Place", "files_of", "read_description", "remove_files"]

SUFFIX = ".onnx"


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """``NAME.onnx``, or ``NAME/VERSION.onnx`` where there is a version."""

    models_dir: Path
    name: str
    version: str | None = None

    @property
    def path(self) -> Path:
        """The model's file."""
        stem = self.name if self.version is None else f"{self.name}/{self.version}"
        return self.models_dir / f"{stem}{SUFFIX}"

    def in_the_way(self) -> list[Path]:
        """Files because of which a new model here would not be the one that answers by its name.

        Its sidecar would be read in place of its own metadata; its rivals may be loaded instead of it.
        Other versions beside a ``NAME/VERSION.onnx`` are not in its way, and neither is an older file at ``path``,
        which the new one replaces.
        """
        sidecar = _sidecar(self.path)
        return [*([sidecar] if sidecar.exists() else []), *self.rivals()]

    def rivals(self) -> list[Path]:
        """Files of the other form by the same name."""
        flat = self.version is None
        return [path for path in files_of(self.models_dir, self.name) if (path.parent == self.models_dir) is not flat]

    def clears(self, path: Path) -> bool:
        """Whether ``install`` would remove this very file, whatever links lead to it."""
        # A rival that is a link itself goes alone, without the file that it leads to.
        return path.resolve() in [rival.parent.resolve() / rival.name for rival in self.rivals()]

    def check_free(self, *, mend: str, itself: bool = False) -> None:
        """Raises OptionError that names what is in the way.

        Args:
            mend: what to do about it.
            itself: whether an older file at ``path`` is in the way, too.
        """
        found = [*([self.path] if itself and self.path.exists() else []), *self.in_the_way()]
        if found:
            named = ", ".join(str(path.relative_to(self.models_dir)) for path in found)
            raise OptionError(
                f"{self.models_dir} has {named} in the way of a model {self.name!r}; {mend}", field="name"
            )

    def install(self, made: Path) -> None:
        """Renames the finished file into place, so that a reader sees the whole of it or none, and clears the way.

        ``made`` lies in the same file system. OSError where a file cannot be renamed or removed.
        """
        _sidecar(self.path).unlink(missing_ok=True)
        made.replace(self.path)
        # Only now: until the new model is there the old one answers.
        remove_files(self.models_dir, self.rivals())


def files_of(models_dir: Path, name: str, version: str | None = None) -> list[Path]:
    """The model's files that are there: ``NAME.onnx`` and every ``NAME/VERSION.onnx``, or that of one version.

    A name or a version with a path in it, or a hidden one, has none: nothing outside of the directory is meant.
    """
    if any(Path(part).name != part or part.startswith(".") for part in (name, version or name)):
        return []
    folder = models_dir / name
    if version is not None:
        found = [folder / f"{version}{SUFFIX}"]
    else:
        found = [models_dir / f"{name}{SUFFIX}", *sorted(folder.glob(f"*{SUFFIX}"))]
    return [path for path in found if path.is_file() and not path.name.startswith(".")]


def remove_files(models_dir: Path, paths: Iterable[Path]) -> None:
    """Removes files of models with their sidecars, and the folders in ``models_dir`` that are empty then."""
    for path in paths:
        path.unlink(missing_ok=True)
        _sidecar(path).unlink(missing_ok=True)
        if path.parent != models_dir:
            with contextlib.suppress(OSError):  # other versions are in it
                path.parent.rmdir()


def read_description(path: Path, inside: str | None) -> tuple[str | bytes | None, Path]:
    """A bundle's JSON and the file that it is in: the sidecar, where there is one, wins over what is ``inside``.

    OSError where it cannot be looked at, which Path.is_file takes for absent.
    """
    sidecar = _sidecar(path)
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISREG(sidecar.stat().st_mode):
            return sidecar.read_bytes(), sidecar
    return inside, path


def _sidecar(path: Path) -> Path:
    return path.with_suffix(".json")
