"""A model from elsewhere, as a bundle: found, downloaded, imported."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from auricle.errors import BundleError, OptionError
from auricle.importing import files
from auricle.importing.download import Progress, download
from auricle.importing.file_import import import_file
from auricle.importing.settings import ImportReport, ImportSettings
from auricle.importing.sources import locate

__all__ = ["fetch"]


def fetch(
    source: str,
    models_dir: Path,
    cache: Path,
    settings: ImportSettings,
    *,
    family: str | None = None,
    sha256: str | None = None,
    endpoint: str | None = None,
    progress: Progress = lambda stage, done, size: None,
) -> ImportReport:
    """Imports what lies at ``source`` (see `locate`), by its own name unless ``settings`` give another.

    What was downloaded stays in ``cache`` until it is imported, so that nothing is fetched twice.

    Args:
        family: a recipe, as for `import_file`.
        sha256, endpoint: as for `locate`.

    Raises errors of `locate`, `download` and of the imports; those of an import say where the file lies.
    """
    progress("look up", 0, None)
    remote = locate(source, sha256=sha256, endpoint=endpoint)
    name = settings.name or files.slug(remote.model, otherwise="model")
    files.place_of(models_dir, name, replace=settings.replace)
    path = download(remote, cache, progress=progress)
    known = replace(settings, name=name, fallback_license=remote.license)
    try:
        report = import_file(path, models_dir, known, family=family, progress=lambda stage: progress(stage, 0, None))
    except (BundleError, OptionError) as error:
        raise type(error)(
            f"{error.message}; it is fetched: `auricle models import {path}` takes more options", field=error.field
        ) from error
    shutil.rmtree(path.parent, ignore_errors=True)
    return report
