"""The instruction-set levels: which is in use, how one is forced, and that all of them agree."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from auricle import frontend
from auricle._frontend import cpu

COMPUTE = """
import sys
import numpy as np
from auricle import frontend
x = np.random.default_rng(3).normal(0, 0.1, 20000).astype(np.float32)
np.savez(sys.argv[1], simd=frontend.simd, **{name: frontend.features(x, name) for name in frontend.presets()})
"""


def run(level: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "AURICLE_SIMD": level}
    return subprocess.run(
        [sys.executable, "-c", *arguments], env=environment, capture_output=True, text=True, check=False
    )


def test_the_level_is_one_that_the_processor_runs() -> None:
    assert frontend.simd in cpu.levels()


@pytest.mark.parametrize("level", cpu.levels())
def test_levels_agree(level: str, tmp_path: Path) -> None:
    done = run(level, COMPUTE, str(tmp_path / "features.npz"))
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "features.npz")
    assert found["simd"] == level
    x = np.random.default_rng(3).normal(0, 0.1, 20000).astype(np.float32)
    for name in frontend.presets():
        here = frontend.features(x, name)
        # Fused multiply-adds round once where SSE2 rounds twice: float32 noise in the transform, seen by quiet bands.
        # Decibels of single bins see most of it.
        error = np.abs(found[name] - here) / max(1.0, float(np.abs(here).max()))
        assert error.max() <= 1e-4, name
        assert error.mean() <= 5e-7, name


@pytest.mark.skipif("avx512" not in cpu.levels(), reason="the processor has no AVX-512")
def test_the_level_that_lends_its_kernels_for_few_frames_gives_the_same_bits(tmp_path: Path) -> None:
    for level in ("avx2", "avx512"):
        done = run(level, COMPUTE, str(tmp_path / f"{level}.npz"))
        assert done.returncode == 0, done.stderr
    narrow, wide = np.load(tmp_path / "avx2.npz"), np.load(tmp_path / "avx512.npz")
    for name in frontend.presets():
        np.testing.assert_array_equal(narrow[name], wide[name], err_msg=name)


def test_a_level_that_does_not_run_here_is_named_with_those_that_do() -> None:
    done = run("avx1024", "import auricle.frontend")
    assert done.returncode != 0
    assert f"AURICLE_SIMD='avx1024' does not run here; use one of: {', '.join(cpu.levels())}" in done.stderr
