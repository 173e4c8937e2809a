"""The order of the parts: who may import whom, and that every module exports what it says."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import auricle

ROOT = Path(auricle.__file__).parent
# A part may import the parts of its own row and of those below.
ROWS = [
    {"cli"},
    {"serve", "task", "training", "importing"},
    {"client"},
    {"engine"},
    {"metadata"},
    {"model"},
    {"frontend", "config", "_frontend"},
    {"soundfiles"},
    {"containers"},
    {"errors", "v1"},
]
RANK = {part: row for row, parts in enumerate(ROWS) for part in parts}
# In the table for those who import it; itself it knows nothing of the engine.
CLIENT_MAY_IMPORT = {"client", "v1", "soundfiles", "containers", "errors"}
# What is no part and may be taken from the package itself, which brings the client's names there.
OF_THE_PACKAGE = {"auricle.__version__"}
ENGINE_RUNTIME = "onnxruntime"
# It writes files and serves nobody.
OFFLINE_TOOLS = "onnxruntime.quantization"


def modules() -> Iterator[tuple[str, Path]]:
    """Every module that is written by hand, by its dotted name."""
    for path in sorted(ROOT.rglob("*.py")):
        if "_pb2" in path.name:
            continue
        parts = ("auricle", *path.relative_to(ROOT).with_suffix("").parts)
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = dict(modules())


def imported(name: str, path: Path) -> Iterator[str]:
    """Full names of what a module imports, wherever in it, for type checking too."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base]).rstrip(".")
            # `from auricle import errors` names a part, `from auricle.errors import X` names its content.
            yield from (f"{base}.{alias.name}" for alias in node.names)


def part(name: str) -> str:
    """The top-level part of the package that a dotted name lies in; empty outside and for the package itself."""
    head, _, rest = name.partition(".")
    first = rest.partition(".")[0]
    return first if head == "auricle" and first in RANK else ""


def test_there_are_modules_to_look_at() -> None:
    assert {"auricle", "auricle.errors", "auricle.engine.session", "auricle.client"} <= set(MODULES)
    assert part("auricle.engine.graph.Graph") == "engine"
    assert "auricle.frontend.spec.FeatureSpec" in set(
        imported("auricle.frontend.features", MODULES["auricle.frontend.features"])
    )


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_downward_only(name: str) -> None:
    own = part(name + ".")
    if not own:
        return
    used = {each for each in imported(name, MODULES[name]) if each.split(".")[0] == "auricle"} - OF_THE_PACKAGE
    assert {each for each in used if not part(each)} == set()
    assert {each for each in used if RANK[part(each)] < RANK[own]} == set()


@pytest.mark.parametrize("name", [name for name in MODULES if part(name + ".") == "client"])
def test_the_client_imports_only_what_is_at_the_bottom(name: str) -> None:
    own = [used for used in imported(name, MODULES[name]) if used.split(".")[0] == "auricle"]
    assert {part(used) for used in own} <= CLIENT_MAY_IMPORT


def test_every_part_has_its_place() -> None:
    entries = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert entries - {"__init__", "__pycache__"} == set(RANK)


def test_only_the_session_imports_onnxruntime() -> None:
    users = {
        (name, OFFLINE_TOOLS in used)
        for name, path in MODULES.items()
        for used in imported(name, path)
        if used.split(".")[0] == ENGINE_RUNTIME
    }
    assert users == {("auricle.engine.session", False), ("auricle.training.quantization", True)}


@pytest.mark.parametrize("heavy", ["onnxruntime", "onnx", "soundfile"])
def test_a_client_never_loads_the_engine(heavy: str) -> None:
    code = f"import sys, auricle, auricle.client; sys.exit('{heavy}' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


@pytest.mark.parametrize("name", MODULES)
def test_exports_are_sorted_and_exist(name: str) -> None:
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    exports = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        and [target.id for target in node.targets if isinstance(target, ast.Name)] == ["__all__"]
    ]
    if not exports:
        return
    (names,) = exports
    # As ruff sorts them: constants, then classes, then the rest.
    assert list(names) == sorted(names, key=lambda text: (not text.isupper(), not text[0].isupper(), text))
    module = importlib.import_module(name)
    assert [export for export in names if not hasattr(module, export)] == []


@pytest.mark.parametrize("name", MODULES)
def test_a_module_opens_with_a_sentence(name: str) -> None:
    docstring = ast.get_docstring(ast.parse(MODULES[name].read_text(encoding="utf-8")))
    assert docstring
    assert docstring.splitlines()[0].endswith((".", ":"))
