"""The feature cache: what is there is not computed again, and whatever changes the result changes the entry."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from auricle import frontend
from auricle.training import digits
from auricle.training.architecture import FRAMES
from auricle.training.cache import FeatureCache
from auricle.training.clips import Clip
from auricle.training.planes import make_planes


class Counting:
    """Computes the size of a file, and counts how often."""

    def __init__(self, path: Path) -> None:
        self.calls, self._path = 0, path

    def __call__(self) -> dict[str, np.ndarray[Any, Any]]:
        self.calls += 1
        return {"size": np.array([self._path.stat().st_size]), "half": np.float16([[0.5, -200.0]])}


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    path = tmp_path / "a.wav"
    path.write_bytes(b"as it is")
    return path


def test_what_is_there_is_not_computed_again(sound: Path, tmp_path: Path) -> None:
    compute, cache = Counting(sound), FeatureCache(tmp_path / "cache")
    first = cache.arrays(sound, ("size",), compute)
    again = FeatureCache(tmp_path / "cache").arrays(sound, ("size",), compute)
    assert compute.calls == 1
    for name, array in first.items():
        np.testing.assert_array_equal(again[name], array)
        assert again[name].dtype == array.dtype


def test_another_content_or_another_spec_is_another_entry(sound: Path, tmp_path: Path) -> None:
    compute, cache = Counting(sound), FeatureCache(tmp_path / "cache")
    spec = frontend.preset("browser-fft-232")
    cache.arrays(sound, (spec,), compute)
    cache.arrays(sound, (replace(spec, floor=1e-4),), compute)
    assert compute.calls == 2
    sound.write_bytes(b"of the same length no more")
    assert cache.arrays(sound, (spec,), compute)["size"] == 26
    assert compute.calls == 3


def test_a_file_of_the_same_content_elsewhere_has_the_same_entry(sound: Path, tmp_path: Path) -> None:
    compute, cache = Counting(sound), FeatureCache(tmp_path / "cache")
    cache.arrays(sound, ("size",), compute)
    cache.arrays(sound.rename(tmp_path / "b.wav"), ("size",), compute)
    assert compute.calls == 1


def test_a_damaged_entry_is_computed_again_and_replaced(sound: Path, tmp_path: Path) -> None:
    compute, cache = Counting(sound), FeatureCache(tmp_path / "cache")
    cache.arrays(sound, ("size",), compute)
    (entry,) = (tmp_path / "cache").rglob("*.npz")
    for damaged in (b"", entry.read_bytes()[:100], b"no archive at all"):
        entry.write_bytes(damaged)
        calls = compute.calls
        assert cache.arrays(sound, ("size",), compute)["size"] == 8
        cache.arrays(sound, ("size",), compute)
        assert compute.calls == calls + 1
    assert [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()] == [entry.name]


def test_without_a_folder_nothing_is_kept(sound: Path, tmp_path: Path) -> None:
    compute, cache = Counting(sound), FeatureCache()
    cache.arrays(sound, ("size",), compute)
    cache.arrays(sound, ("size",), compute)
    assert compute.calls == 2
    assert list(tmp_path.iterdir()) == [sound]


def test_planes_from_the_cache_are_the_computed_ones(tmp_path: Path) -> None:
    clips = []
    for number in range(3):
        wave = np.random.default_rng(number).normal(0, 0.1, 9000 + 6000 * number)
        soundfile.write(tmp_path / f"{number}.wav", wave, 8000)
        clips.append(Clip(path=tmp_path / f"{number}.wav", label="0"))
    features = digits.recipe().features
    assert features is not None

    def planes(cache: FeatureCache, seed: int = 1) -> Any:
        return make_planes(clips, features, length=FRAMES, speeds=(0.9, 1.1), per_clip=3, seed=seed, cache=cache)

    plain, cache = planes(FeatureCache()), FeatureCache(tmp_path / "cache")
    for made in (planes(cache), planes(cache)):
        for name in ("db", "rows", "edge", "source", "first"):
            np.testing.assert_array_equal(getattr(made, name), getattr(plain, name))
    assert len(list((tmp_path / "cache").rglob("*.npz"))) == len(clips)
    # Another seed draws other speeds and places.
    assert not np.array_equal(planes(cache, seed=2).db, plain.db)
