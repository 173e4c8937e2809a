"""The list of compiled modules of ``auricle._frontend`` and how they are built, read by setup.py.

To add a module, add one ``Module`` entry to ``MODULES``. A module with levels is compiled once per instruction set
as ``auricle._frontend.NAME_LEVEL`` from the one source ``_frontend/NAME.pyx``; ``auricle.frontend.dispatch`` imports
the best one. A module without levels is compiled once, for the baseline, as ``auricle._frontend.NAME``.

``AURICLE_BUILD`` chooses the build: ``release`` (default), ``debug`` (bounds checks, assertions, -O1) or ``sanitize``
(debug under AddressSanitizer and UndefinedBehaviorSanitizer; see the Makefile for how to run it).
"""

from __future__ import annotations

import os
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import codelets
import dft_codelets
from setuptools import Extension
from setuptools.command.build_ext import build_ext as _build_ext

__all__ = ["COMMON_FLAGS", "LEVELS", "MODULES", "build_ext", "directives", "frontend_extensions", "generate"]

HERE = Path(__file__).parent
GENERATED = HERE / "generated"


@dataclass(frozen=True, kw_only=True)
class Module:
    """One compiled module: its source is ``NAME.pyx``; ``depends`` are headers whose change rebuilds it."""

    name: str
    levels: bool = True
    depends: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


MODULES: tuple[Module, ...] = (
    Module(name="cpu", levels=False, depends=("cpu.h",)),
    Module(name="features", depends=("vec.h", "gather.h", "codelets.py")),
    Module(name="energy"),
    Module(name="pcm", depends=("pcm.h", "vec.h")),
    Module(name="resample", depends=("vec.h", "dft.h", "codelets.py", "dft_codelets.py")),
)

_X86_LEVELS = {
    "sse2": (),
    "avx2": ("-mavx2", "-mfma"),
    "avx512": (
        "-mavx2",
        "-mfma",
        "-mavx512f",
        "-mavx512bw",
        "-mavx512dq",
        "-mavx512vl",
        "-mprefer-vector-width=512",
    ),
}
_IS_X86_64 = sysconfig.get_platform().endswith(("x86_64", "amd64"))
LEVELS: dict[str, tuple[str, ...]] = _X86_LEVELS if _IS_X86_64 else {"generic": ()}

# No -ffast-math: gcc may then link code that flushes denormals for the whole process. Contraction to FMA is left on:
# every arithmetic step is compiled once, so offline and streaming calls share its rounding.
COMMON_FLAGS = (
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=fast",
    "-fno-inline-functions-called-once",
    "-fvisibility=hidden",
    "-Wno-unused-function",
    "-Wno-psabi",
)
_SANITIZERS = "-fsanitize=address,undefined"
_BUILDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "release": (
        # Nothing is thrown through C, and tables for it are a twentieth of the size.
        ("-O3", "-g0", "-DNDEBUG", "-fno-asynchronous-unwind-tables"),
        ("-Wl,-s",) if os.name == "posix" and os.uname().sysname == "Linux" else (),
    ),
    "debug": (("-O1", "-g", "-UNDEBUG"), ()),
    "sanitize": (("-O1", "-g", "-UNDEBUG", "-fno-omit-frame-pointer", _SANITIZERS), (_SANITIZERS,)),
}


def _build() -> str:
    build = os.environ.get("AURICLE_BUILD", "release")
    if build not in _BUILDS:
        raise SystemExit(f"AURICLE_BUILD={build!r} is not a build; use one of: {', '.join(_BUILDS)}")
    return build


def _extension(module: Module, level: str | None) -> Extension:
    name = module.name if level is None else f"{module.name}_{level}"
    source = HERE / f"{module.name}.pyx" if level is None else GENERATED / f"{name}.pyx"
    compile_args, link_args = _BUILDS[_build()]
    return Extension(
        f"auricle._frontend.{name}",
        [os.path.relpath(source, HERE.parent)],
        include_dirs=[HERE.name, f"{HERE.name}/{GENERATED.name}"],
        depends=[f"{HERE.name}/{path}" for path in module.depends],
        extra_compile_args=[*compile_args, *COMMON_FLAGS, *module.flags, *(LEVELS[level] if level else ())],
        extra_link_args=list(link_args),
    )


def frontend_extensions() -> list[Extension]:
    """Every extension of ``auricle._frontend``; their C is written by ``build_ext``, not here."""
    return [_extension(module, level) for module in MODULES for level in (LEVELS if module.levels else (None,))]


def write_if_changed(path: Path, text: str) -> None:
    """Writes ``text`` unless the file has it already, so that an unchanged source keeps its time stamp."""
    if not path.exists() or path.read_text() != text:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def generate() -> None:
    """Writes what is compiled beside the sources: codelets and one including file per module and level."""
    write_if_changed(GENERATED / "codelets.h", codelets.header())
    write_if_changed(GENERATED / "dft_codelets.h", dft_codelets.header())
    # One including file per level gives each its own module name while messages still point into the one source.
    for module in MODULES:
        if module.levels:
            for level in LEVELS:
                write_if_changed(GENERATED / f"{module.name}_{level}.pyx", f'include "{module.name}.pyx"\n')


def directives(*, checked: bool) -> dict[str, object]:
    """Cython's settings for every module; ``checked`` ones look at bounds."""
    return {
        "language_level": "3",
        "boundscheck": checked,
        "wraparound": False,
        "initializedcheck": checked,
        "cdivision": True,
        "embedsignature": True,
        "freethreading_compatible": True,
    }


class build_ext(_build_ext):  # noqa: N801 - the name of the command
    """Generates the per-level sources and runs Cython before the C compiler."""

    def finalize_options(self) -> None:
        from Cython.Build import cythonize

        if self.distribution.ext_modules:
            generate()
            checked = _build() != "release"
            # Checked C goes elsewhere: Cython would take it for up to date in the next release build.
            build_dir = f"build/cython-{_build()}" if checked else None
            self.distribution.ext_modules[:] = cythonize(
                self.distribution.ext_modules,
                include_path=[str(HERE)],
                build_dir=build_dir,
                quiet=True,
                compiler_directives=directives(checked=checked),
            )
        super().finalize_options()
        # A module a core: the levels are the same work several times.
        self.parallel = self.parallel or os.cpu_count()
