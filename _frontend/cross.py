"""Compiles every module for another machine, to see that the generic level builds there; nothing is linked or run.

    python _frontend/cross.py aarch64-linux-gnu-gcc

Debian has the compiler (gcc-aarch64-linux-gnu, libc6-dev-arm64-cross). Python's own headers serve: they are the same
for all 64-bit Linux machines.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import extensions
from Cython.Build import cythonize
from setuptools import Extension

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "cross"
# Our own code must be clean; these are Cython's.
WARNINGS = ("-Wall", "-Werror", "-Wno-unused-function", "-Wno-psabi", "-Wno-unused-variable")


def python_includes(target: str) -> list[Path]:
    """Where Python's headers are. Debian keeps one in a folder named after the machine: the target gets ours."""
    include = Path(sysconfig.get_path("include"))
    own = include.parent / str(sysconfig.get_config_var("MULTIARCH")) / include.name / "pyconfig.h"
    if own.exists():
        place = BUILD / "include" / target / include.name
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(own, place)
    return [BUILD / "include", include]


def main() -> int:
    """Cython once per module, then the compiler named on the command line."""
    compiler = sys.argv[1]
    extensions.generate()
    folders = [extensions.HERE, extensions.GENERATED, *python_includes(compiler.removesuffix("-gcc"))]
    includes = [f"-I{folder}" for folder in folders]
    for module in extensions.MODULES:
        name = f"auricle._frontend.{module.name}" + ("_generic" if module.levels else "")
        source = Extension(name, [f"_frontend/{module.name}.pyx"])
        (built,) = cythonize(
            [source],
            include_path=[str(extensions.HERE)],
            build_dir=str(BUILD.relative_to(ROOT)),
            compiler_directives=extensions.directives(checked=False),
        )
        target = BUILD / f"{module.name}.o"
        flags = [*extensions.COMMON_FLAGS, *module.flags, *WARNINGS, *includes]
        command = [compiler, "-c", "-fPIC", "-O2", *flags, built.sources[0], "-o", str(target)]
        print(" ".join(command), flush=True)
        subprocess.run(command, check=True, cwd=ROOT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
