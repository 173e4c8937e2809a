"""The files of a model directory: which are models, and how their versions compare."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from auricle.engine.directory import scan, version_key


def test_versions_compare_part_by_part_and_numbers_as_numbers() -> None:
    ordered = ["1.0-rc1", "1.0", "1.0.1", "1.2", "1.10", "2", "9", "10", "2024-01-05", "2024-01-15"]
    assert sorted(np.random.default_rng(0).permutation(ordered), key=version_key) == ordered
    assert version_key("v2") < version_key("v10")
    assert version_key("1.0-alpha") < version_key("1.0-beta")


@pytest.mark.parametrize("version", ["", "-", "x²", "①", "٣", "1" * 255, "héé"])
def test_any_text_is_a_version(version: str) -> None:
    assert len(sorted([version, "1", "a"], key=version_key)) == 3


def test_a_scan_finds_both_layouts_and_passes_over_what_is_hidden(tmp_path: Path) -> None:
    for file in (
        "a.onnx",
        "b/1.onnx",
        "b/2.5.onnx",
        ".c.onnx",
        ".d/1.onnx",
        "b/.3.onnx",
        "e/f/1.onnx",
        "g.json",
        "h.onnx/1.onnx",
    ):
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    # A folder that has the name of a file is one that cannot be loaded.
    found = [("a", None), ("h", None), ("b", "1"), ("b", "2.5")]
    assert [(file.name, file.version) for file in scan(tmp_path)] == found
    assert scan(tmp_path / "nowhere") == []


def test_a_stamp_changes_with_the_file_and_with_the_one_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(b"1")
    stamps = [scan(tmp_path)[0].stamp]
    path.write_bytes(b"22")
    stamps.append(scan(tmp_path)[0].stamp)
    path.with_suffix(".json").touch()
    stamps.append(scan(tmp_path)[0].stamp)
    assert len(set(stamps)) == 3
    path.unlink()
    path.symlink_to("nowhere")
    assert scan(tmp_path)[0].stamp == ()


def test_a_stamp_changes_with_the_time_the_size_or_the_inode_alone(tmp_path: Path) -> None:
    path, other = tmp_path / "a.onnx", tmp_path / "other"

    def stamp(file: Path, content: bytes, time_ns: int) -> tuple[int, ...]:
        file.write_bytes(content)
        os.utime(file, ns=(time_ns, time_ns))
        return scan(tmp_path)[0].stamp

    before = stamp(path, b"1", 10**18)
    assert stamp(path, b"1", 10**18) == before
    assert stamp(path, b"1", 10**18 + 10**9) != before
    assert stamp(path, b"22", 10**18) != before
    assert stamp(path, b"1", 10**18) == before
    stamp(other, b"1", 10**18)
    other.replace(path)
    assert scan(tmp_path)[0].stamp != before
