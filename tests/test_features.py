"""The feature engine against its float64 twin, and the laws of streams."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from auricle import frontend
from auricle.errors import OptionError

NOISE = np.random.default_rng(11).normal(0, 0.2, 50_000).astype(np.float32)
KALDI = frontend.preset("kaldi-80")
SIZES = [2, 3, 5, 8, 9, 12, 15, 16, 25, 30, 31, 32, 37, 49, 64, 74, 97, 100, 105, 128, 202, 210, 256, 400, 480, 512]


def bare(size: int, **fields: object) -> frontend.FeatureSpec:
    """A spec whose features are the spectrum itself."""
    defaults = {"sample_rate_hz": 16000, "frame_length": size, "fft_size": size, "hop": max(1, size // 3)}
    return frontend.FeatureSpec(
        **{**defaults, "filterbank": "bins", "bands": size // 2 + 1, "window": "rectangular", **fields}  # type: ignore[arg-type]
    )


def assert_near_twin(x: np.ndarray, spec: frontend.FeatureSpec, *, relative: float = 2e-6) -> None:
    """Linear features: within ``relative`` of the frame's largest value, which is what float32 can promise."""
    twin = reference.features(x, spec)
    ours = frontend.features(x, spec)
    assert ours.shape == twin.shape
    scale = twin.max(axis=1, keepdims=True, initial=1e-30)
    assert (np.abs(ours - twin) <= relative * scale).all()


@pytest.mark.parametrize("size", [*SIZES, 640, 1000, 1024, 1200, 1201, 2048, 4096])
@pytest.mark.parametrize("spectrum", ["power", "magnitude"])
def test_any_fft_size_gives_the_spectrum(size: int, spectrum: str) -> None:
    assert_near_twin(NOISE[: size * 5 + 3], bare(size, spectrum=spectrum))


@pytest.mark.parametrize("window", ["hann", "hamming", "povey", "blackman", "rectangular"])
@pytest.mark.parametrize("window_periodic", [True, False])
@pytest.mark.parametrize("frame_length", [511, 512, 3])
def test_windows(window: str, window_periodic: bool, frame_length: int) -> None:
    assert_near_twin(
        NOISE[:2000], bare(512, window=window, window_periodic=window_periodic, frame_length=frame_length, hop=100)
    )


@pytest.mark.parametrize("remove_dc", [False, True])
@pytest.mark.parametrize("preemphasis", [0.0, 0.97, 1.0])
@pytest.mark.parametrize("input_scale", [1.0, 32768.0])
def test_dc_removal_and_preemphasis(remove_dc: bool, preemphasis: float, input_scale: float) -> None:
    spec = bare(512, window="hamming", remove_dc=remove_dc, preemphasis=preemphasis, input_scale=input_scale)
    assert_near_twin(NOISE[:4000] + np.float32(0.5), spec, relative=4e-6)


@pytest.mark.parametrize("mel_scale", ["htk", "slaney", "kaldi"])
@pytest.mark.parametrize("mel_norm", ["none", "slaney"])
@pytest.mark.parametrize("edges", [(0.0, None), (125.0, 7500.0)])
def test_mel_scales(mel_scale: str, mel_norm: str, edges: tuple[float, float | None]) -> None:
    spec = bare(
        512, filterbank="mel", bands=40, mel_scale=mel_scale, mel_norm=mel_norm, f_min_hz=edges[0], f_max_hz=edges[1]
    )
    assert_near_twin(NOISE[:4000], spec)


@pytest.mark.parametrize("compression", ["ln", "log10", "db"])
@pytest.mark.parametrize("spectrum", ["power", "magnitude"])
@pytest.mark.parametrize(("floor", "offset"), [(1e-10, 0.0), (0.0, 1e-3), (1e-3, 1.0)])
def test_compressions(compression: str, spectrum: str, floor: float, offset: float) -> None:
    spec = replace(
        KALDI, remove_dc=False, compression=compression, spectrum=spectrum, floor=floor, offset=offset, preemphasis=0.0
    )
    ours, twin = frontend.features(NOISE, spec), reference.features(NOISE, spec)
    np.testing.assert_allclose(ours, twin, rtol=3e-6, atol=1e-4)
    silence = np.zeros(1000, np.float32)
    np.testing.assert_allclose(
        frontend.features(silence, spec), reference.features(silence, spec), rtol=3e-7, atol=1e-6
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"normalization": "z-norm", "norm_epsilon": 1e-7},
        {"normalization": "z-norm", "norm_epsilon": 0.5},
        {"normalization": "mean"},
        {"normalization": "fixed", "norm_mean": -4.27, "norm_deviation": 9.14},
        {"normalization": "whisper", "compression": "log10"},
    ],
)
def test_normalizations(fields: dict[str, object]) -> None:
    spec = replace(KALDI, **fields)
    twin = reference.features(NOISE, spec)
    np.testing.assert_allclose(frontend.features(NOISE, spec), twin, atol=5e-4)
    plain = frontend.features(NOISE, spec, normalize=False)
    assert (plain == frontend.features(NOISE, replace(spec, normalization="none"))).all()
    assert (frontend.normalize(plain, spec) == frontend.features(NOISE, spec)).all()
    cut = plain[30:60]
    np.testing.assert_allclose(frontend.normalize(cut, spec), reference.normalized(cut.astype(float), spec), atol=1e-5)


def test_normalizing_silence_is_finite() -> None:
    spec = replace(KALDI, normalization="z-norm")
    assert (frontend.features(np.zeros(4000, np.float32), spec) == 0).all()


def test_normalize_without_one_is_the_identity() -> None:
    frames = frontend.features(NOISE, KALDI)
    copy = frontend.normalize(frames, KALDI)
    assert (copy == frames).all()
    assert copy is not frames


SPECS = {
    "kaldi": KALDI,
    "wespeaker": frontend.preset("wespeaker-80"),
    "ge2e": frontend.preset("ge2e-40"),
    "yamnet": frontend.preset("yamnet-64"),
    "reflect": replace(frontend.preset("ge2e-40"), padding="centre-reflect"),
    "reflect-odd": bare(31, hop=5, padding="centre-reflect"),
    "reflect-drop": bare(32, hop=40, padding="centre-reflect", drop_last_frame=True),
    "zero-drop": bare(64, hop=16, padding="centre-zero", drop_last_frame=True),
    "snip-drop": bare(64, hop=16, drop_last_frame=True),
    "front": bare(64, hop=16, padding="front-zeros", front_zeros=150),
    "gaps": bare(16, hop=50),
    "gaps-reflect": bare(16, hop=50, padding="centre-reflect"),
    "dense": bare(64, hop=1),
    "browser": frontend.preset("browser-fft-232"),
}


@st.composite
def cuts(draw: st.DrawFn, n: int) -> list[int]:
    """Where to cut n samples: anything from whole to many tiny and empty pieces."""
    places = st.integers(0, n) if draw(st.booleans()) else st.integers(0, min(n, 40))
    return sorted(draw(st.lists(places, max_size=30)))


@settings(max_examples=150, deadline=None)
@given(data=st.data(), name=st.sampled_from(sorted(SPECS)))
def test_chunking_does_not_change_features(data: st.DataObject, name: str) -> None:
    spec = SPECS[name]
    reach = spec.frame_length + spec.hop
    n = data.draw(st.one_of(st.integers(0, 3 * reach), st.integers(0, 20 * reach)))
    offset = data.draw(st.integers(0, 100))
    x = NOISE[offset : offset + n]
    pieces = np.split(x, data.draw(cuts(x.size)))
    stream = frontend.FeatureStream(spec, normalize=False)
    got = np.concatenate([*(stream.feed(piece) for piece in pieces), stream.finish()])
    assert got.tobytes() == frontend.features(x, spec, normalize=False).tobytes()
    whole = frontend.FeatureStream(spec)
    first = [whole.feed(piece) for piece in pieces]
    assert np.concatenate([*first, whole.finish()]).tobytes() == frontend.features(x, spec).tobytes()


@pytest.mark.parametrize("name", sorted(SPECS))
def test_samples_one_by_one_give_the_same_features(name: str) -> None:
    spec = SPECS[name]
    x = NOISE[: 2 * (spec.frame_length + spec.hop) + 1]
    stream = frontend.FeatureStream(spec, normalize=False)
    parts = [stream.feed(x[i : i + 1]) for i in range(x.size)]
    got = np.concatenate([*parts, stream.finish()])
    assert got.tobytes() == frontend.features(x, spec, normalize=False).tobytes()


def test_a_frame_comes_with_the_sample_that_completes_it() -> None:
    stream = frontend.FeatureStream(KALDI)
    assert stream.feed(NOISE[:399]).shape == (0, 80)
    assert stream.feed(NOISE[399:400]).shape == (1, 80)
    assert stream.feed(NOISE[400:559]).shape == (0, 80)
    assert stream.feed(NOISE[559:560]).shape == (1, 80)
    assert stream.feed(NOISE[560:5000]).shape == (KALDI.frames(5000) - 2, 80)
    assert stream.finish().shape == (0, 80)


def test_a_frame_is_the_same_wherever_it_stands() -> None:
    # Frames of a cut that begins on the frame grid are those of the whole: neither lanes nor blocks show.
    whole = frontend.features(NOISE, KALDI)
    for first in range(1, 40):
        assert (frontend.features(NOISE[first * 160 : first * 160 + 4000], KALDI) == whole[first : first + 23]).all()


def test_a_normalizing_stream_waits_for_the_end() -> None:
    spec = frontend.preset("wespeaker-80")
    stream = frontend.FeatureStream(spec)
    assert stream.feed(NOISE).shape == (0, 80)
    assert (stream.finish() == frontend.features(NOISE, spec)).all()


def test_a_finished_stream_takes_nothing_more() -> None:
    stream = frontend.FeatureStream(KALDI)
    stream.finish()
    with pytest.raises(RuntimeError, match="finished"):
        stream.feed(NOISE)
    with pytest.raises(RuntimeError, match="finished"):
        stream.finish()


def test_memory_layout_does_not_matter() -> None:
    expected = frontend.features(NOISE[:4000], KALDI)
    strided = np.repeat(NOISE[:4000], 3)[::3]
    backward = NOISE[:4000][::-1].copy()[::-1]
    raw = bytearray(4 * 4000 + 1)
    unaligned = np.frombuffer(raw, np.float32, 4000, offset=1)
    unaligned[:] = NOISE[:4000]
    frozen = NOISE[:4000].copy()
    frozen.flags.writeable = False
    for x in (strided, backward, unaligned, frozen):
        assert (frontend.features(x, KALDI) == expected).all()
        assert (frontend.FeatureStream(KALDI).feed(x) == expected).all()


@pytest.mark.parametrize("x", [np.zeros(10), np.zeros(10, np.int16), np.zeros((10, 1), np.float32), [0.0] * 10])
def test_other_inputs_are_refused(x: object) -> None:
    with pytest.raises(OptionError, match="one-dimensional float32"):
        frontend.features(x, KALDI)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="one-dimensional float32"):
        frontend.FeatureStream(KALDI).feed(x)  # type: ignore[arg-type]


def test_out_may_be_a_slot_of_a_batch() -> None:
    batch = np.full((2, 30, 100), -1, np.float32)
    slot = batch[1, 3:26, 10:90]
    assert frontend.features(NOISE[:4000], KALDI, out=slot) is slot
    assert (slot == frontend.features(NOISE[:4000], KALDI)).all()
    outside = batch.copy()
    outside[1, 3:26, 10:90] = -1
    assert (outside == -1).all()


@pytest.mark.parametrize("name", ["kaldi", "wespeaker", "reflect", "browser"])
def test_a_batch_is_what_its_clips_are(name: str) -> None:
    spec = SPECS[name]
    clips = [
        NOISE[i : i + n] for i, n in enumerate([4000, 0, 1, spec.frame_length, 9000, spec.frame_length // 2, 4001])
    ]
    expected = [frontend.features(clip, spec) for clip in clips]
    batch = np.full((8, 60, spec.bands), -1, np.float32)
    for got in (frontend.features_batch(clips, spec), frontend.features_batch(clips, spec, out=batch)):
        assert [clip.tobytes() for clip in got] == [clip.tobytes() for clip in expected]
    for slot, clip in zip(batch, expected, strict=False):
        assert slot[: len(clip)].tobytes() == clip.tobytes()
        assert (slot[len(clip) :] == -1).all()
    with pytest.raises(OptionError, match="these clips need"):
        frontend.features_batch(clips, spec, out=batch[:3])


def test_a_wrong_out_is_refused() -> None:
    for out in (np.zeros((22, 80), np.float32), np.zeros((23, 80)), np.zeros((80, 23), np.float32).T):
        with pytest.raises(OptionError, match="out"):
            frontend.features(NOISE[:4000], KALDI, out=out)


@pytest.mark.parametrize(
    "x",
    {
        "silence": np.zeros(6000),
        "dc": np.ones(6000),
        "denormals": np.full(6000, 1e-42),
        "tiny": NOISE[:6000] * 1e-30,
        "square": np.sign(np.sin(np.arange(6000) / 20)),
        "huge": NOISE[:6000] * 1e30,
        "huge-dc": np.full(6000, -1e30),
        "burst": np.where(np.arange(6000) == 3000, 1e30, NOISE[:6000]),
    }.values(),
    ids=["silence", "dc", "denormals", "tiny", "square", "huge", "huge-dc", "burst"],
)
@pytest.mark.parametrize("name", frontend.presets())
def test_extreme_input_is_finite_where_the_twin_is(name: str, x: np.ndarray) -> None:
    spec = frontend.preset(name)
    # Linear power itself leaves float32's range beyond ±1e18; the bound there is the format's, not the kernel's.
    x = (x * (1e-15 if spec.is_linear else 1)).astype(np.float32)
    twin = reference.features(x, spec, normalize=False)
    assert np.isfinite(twin).all()
    assert np.isfinite(frontend.features(x, spec, normalize=False)).all()


@pytest.mark.parametrize("name", [name for name in frontend.presets() if not frontend.preset(name).is_linear])
def test_logarithms_of_huge_sound_are_right(name: str) -> None:
    x = NOISE * np.float32(1e30)
    spec = frontend.preset(name)
    ours, twin = frontend.features(x, spec, normalize=False), reference.features(x, spec, normalize=False)
    # Values are up to 600 dB, where a float32 moves in steps of 6e-5.
    np.testing.assert_allclose(ours, twin, atol=5e-2)
    assert np.abs(ours - twin).mean() < 1e-4


def test_a_burst_spoils_no_other_frame() -> None:
    x = NOISE[:8000].copy()
    clean = frontend.features(x, KALDI)
    x[4000] = 1e30
    burst = frontend.features(x, KALDI)
    touched = [f for f in range(len(clean)) if f * 160 <= 4000 < f * 160 + 400]
    untouched = np.setdiff1d(np.arange(len(clean)), touched)
    assert (burst[untouched] == clean[untouched]).all()
    assert np.isfinite(burst).all()


def test_threads_share_plans_safely() -> None:
    spec = replace(KALDI, bands=77)
    expected = frontend.features(NOISE, replace(KALDI, bands=77))
    barrier = threading.Barrier(8)

    def work(_: int) -> bool:
        barrier.wait()
        return all((frontend.features(NOISE, spec) == expected).all() for _ in range(10))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
