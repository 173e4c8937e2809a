"""The two build steps that need code: protoc for the wire contract, Cython for the frontend."""

from __future__ import annotations

import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
PACKAGE_ROOT = "service"

# Build isolation does not put the project on sys.path; the list of extensions lives beside their sources.
sys.path.insert(0, str(ROOT / "_frontend"))

from extensions import build_ext, frontend_extensions  # type: ignore[import-not-found]  # noqa: E402


class BuildProto(build_py):  # type: ignore[misc]
    """Generates ``auricle/v1/*_pb2*`` beside the package's own files before they are collected."""

    def run(self) -> None:
        import grpc_tools
        from grpc_tools import protoc

        sources = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "proto").rglob("*.proto"))
        well_known = Path(grpc_tools.__file__).parent / "_proto"
        status = protoc.main(
            [
                "protoc",
                "-Iproto",
                f"-I{well_known}",
                f"--python_out={PACKAGE_ROOT}",
                f"--pyi_out={PACKAGE_ROOT}",
                f"--grpc_python_out={PACKAGE_ROOT}",
                *sources,
            ]
        )
        if status:
            raise SystemExit(f"protoc failed with status {status} on {', '.join(sources)}")
        super().run()


setup(ext_modules=frontend_extensions(), cmdclass={"build_py": BuildProto, "build_ext": build_ext})
