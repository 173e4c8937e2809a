"""FeatureSpec: what it refuses, how it counts frames, and how bundles write it."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, asdict, replace

import numpy as np
import pytest

import reference
from auricle import frontend
from auricle.errors import OptionError

KALDI = frontend.preset("kaldi-80")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sample_rate_hz", 0),
        ("frame_length", 1),
        ("frame_length", 513),
        ("frame_length", 400.0),
        ("hop", 0),
        ("hop", True),
        ("fft_size", 1 << 20),
        ("bands", 0),
        ("window", "kaiser"),
        ("window_periodic", 1),
        ("padding", "center"),
        ("front_zeros", 5),
        ("input_scale", 0.0),
        ("preemphasis", 1.5),
        ("spectrum", "energy"),
        ("filterbank", "bark"),
        ("f_min_hz", -1.0),
        ("f_min_hz", 8000.0),
        ("f_max_hz", 8000.5),
        ("f_max_hz", 20.0),
        ("mel_scale", "bark"),
        ("mel_norm", "area"),
        ("compression", "log2"),
        ("floor", 0.0),
        ("floor", float("nan")),
        ("offset", -1e-3),
        ("normalization", "minmax"),
        ("norm_epsilon", "small"),
        ("norm_deviation", 0.0),
        ("drop_last_frame", None),
    ],
)
def test_a_bad_field_is_named_with_its_value(field: str, value: object) -> None:
    with pytest.raises(OptionError) as caught:
        replace(KALDI, **{field: value})
    assert field in str(caught.value)
    assert repr(value) in str(caught.value)


def test_bins_are_bounded_by_the_fft() -> None:
    with pytest.raises(OptionError, match="an FFT of 512 has 257 bins"):
        replace(KALDI, filterbank="bins", bands=258)


def test_specs_are_frozen_and_compare_by_value() -> None:
    assert replace(KALDI) == KALDI
    assert hash(replace(KALDI)) == hash(KALDI)
    with pytest.raises(FrozenInstanceError):
        KALDI.hop = 80  # type: ignore[misc]


def test_a_mapping_overrides_a_preset() -> None:
    spec = frontend.FeatureSpec.from_mapping({"preset": "browser-fft-232", "floor": 1e-5})
    assert spec == replace(frontend.preset("browser-fft-232"), floor=1e-5)


@pytest.mark.parametrize("name", frontend.presets())
def test_a_mapping_may_give_all_fields(name: str) -> None:
    spec = frontend.preset(name)
    assert frontend.FeatureSpec.from_mapping(asdict(spec)) == spec


def test_unknown_field_lists_the_known_ones() -> None:
    with pytest.raises(OptionError, match=r"unknown feature field 'mels'.*preset, sample_rate_hz.*drop_last_frame"):
        frontend.FeatureSpec.from_mapping({"preset": "kaldi-80", "mels": 40})


def test_missing_fields_are_named() -> None:
    with pytest.raises(OptionError, match="lack hop, bands"):
        frontend.FeatureSpec.from_mapping({"sample_rate_hz": 16000, "frame_length": 400, "fft_size": 512})


@pytest.mark.parametrize(
    ("name", "length", "samples"), [("yamnet-64", 96, 15600), ("ge2e-40", 160, 25600), ("browser-fft-232", 43, 44032)]
)
def test_segment_samples_are_those_of_the_models(name: str, length: int, samples: int) -> None:
    spec = frontend.preset(name)
    assert spec.segment_samples(length) == samples
    assert spec.frames(samples) >= length


def test_a_segment_has_a_frame() -> None:
    with pytest.raises(OptionError, match="length = 0"):
        KALDI.segment_samples(0)


def test_linear_means_that_a_gain_passes_through() -> None:
    assert frontend.preset("ge2e-40").is_linear
    assert not KALDI.is_linear
    assert not replace(frontend.preset("ge2e-40"), normalization="mean").is_linear


@pytest.mark.parametrize("padding", ["snip", "centre-reflect", "centre-zero", "front-zeros"])
@pytest.mark.parametrize("drop_last_frame", [False, True])
@pytest.mark.parametrize("hop", [7, 40, 95])
def test_frames_counts_what_the_twin_gives(padding: str, drop_last_frame: bool, hop: int) -> None:
    spec = replace(
        KALDI,
        frame_length=64,
        fft_size=64,
        hop=hop,
        bands=8,
        padding=padding,
        front_zeros=33 if padding == "front-zeros" else 0,
        drop_last_frame=drop_last_frame,
    )
    for n in [0, 1, 2, 31, 32, 33, 63, 64, 65, hop - 1, hop, hop + 1, 64 + 3 * hop, 500]:
        x = np.ones(n, np.float32)
        assert spec.frames(n) == len(reference.features(x, spec)), n
        assert frontend.features(x, spec).shape == (spec.frames(n), 8)
