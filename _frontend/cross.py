"""Compiles every module for another machine, to see that the generic level builds there; nothing is linked or run.

    python _frontend/cross.py aarch64-linux-gnu-gcc

Debian has the compiler (gcc-aarch64-linux-gnu, libc6-dev-arm64-cross). Python's own headers serve: they are the same
for all 64-bit Linux machines.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import extensions
from Cython.Build import cythonize
from setuptools import Extension

ROOT = Path(__file__).parents[1]
# Our own code must be clean; these are Cython's.
WARNINGS = ("-Wall", "-Werror", "-Wno-unused-function", "-Wno-psabi", "-Wno-unused-variable")


def main() -> int:
    """Cython once per module, then the compiler named on the command line."""
    compiler = sys.argv[1]
    extensions.generate()
    includes = [f"-I{extensions.HERE}", f"-I{extensions.GENERATED}", f"-I{sysconfig.get_path('include')}"]
    for module in extensions.MODULES:
        name = f"auricle._frontend.{module.name}" + ("_generic" if module.levels else "")
        source = Extension(name, [f"_frontend/{module.name}.pyx"])
        (built,) = cythonize(
            [source],
            include_path=[str(extensions.HERE)],
            build_dir="build/cross",
            compiler_directives=extensions.directives(checked=False),
        )
        target = Path("build/cross") / f"{module.name}.o"
        flags = [*extensions.COMMON_FLAGS, *module.flags, *WARNINGS, *includes]
        command = [compiler, "-c", "-fPIC", "-O2", *flags, built.sources[0], "-o", str(target)]
        print(" ".join(command), flush=True)
        subprocess.run(command, check=True, cwd=ROOT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
