"""The constant tables that kernels read, against the plain matrices that they are made of."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from auricle import frontend
from auricle.frontend import tables


@settings(max_examples=80, deadline=None)
@given(
    bands=st.integers(1, 160),
    fft_size=st.sampled_from([64, 400, 512, 1200]),
    lower=st.floats(0, 3000),
    width=st.floats(100, 5000),
    scale=st.sampled_from(["htk", "slaney", "kaldi"]),
    norm=st.sampled_from(["none", "slaney"]),
    side_by_side=st.integers(1, 8),
)
def test_gaps_between_peaks_hold_every_weight_once(
    bands: int, fft_size: int, lower: float, width: float, scale: str, norm: str, side_by_side: int
) -> None:
    spec = frontend.FeatureSpec(
        sample_rate_hz=16000,
        frame_length=fft_size,
        fft_size=fft_size,
        hop=160,
        bands=bands,
        f_min_hz=lower,
        f_max_hz=lower + width,
        mel_scale=scale,  # type: ignore[arg-type]
        mel_norm=norm,  # type: ignore[arg-type]
    )
    bank = tables.mel_weights(spec).astype(np.float32)
    sizes, bins, weights = tables.shared(bank, side_by_side)
    assert bins.size == sizes.sum() * side_by_side
    rebuilt = np.zeros((sizes.size * side_by_side + 2, bank.shape[1]))
    at = 0
    for group, size in enumerate(sizes):
        for _ in range(size):
            for gap in range(group * side_by_side, (group + 1) * side_by_side):
                rebuilt[gap + 1, bins[at]] += weights[2 * at]
                rebuilt[gap, bins[at]] += weights[2 * at + 1]
                at += 1
    assert np.array_equal(rebuilt[1 : bands + 1], bank)
    assert not rebuilt[0].any()
    assert not rebuilt[bands + 1 :].any()
