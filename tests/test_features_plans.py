"""Plans are made once: what a call costs before its first sample is a look-up."""

from __future__ import annotations

import sys
from dataclasses import replace

from auricle import frontend

# The package's attribute of that name is the function.
MODULE = sys.modules["auricle.frontend.features"]
SPEC = frontend.preset("kaldi-80")


def test_specs_that_differ_in_their_normalization_share_one() -> None:
    bare = MODULE._plan(SPEC)
    assert MODULE._plan(replace(SPEC, normalization="z-norm", norm_epsilon=0.5)) is bare
    assert MODULE._plan(replace(SPEC, normalization="fixed", norm_mean=2.0)) is bare
    assert MODULE._plan(replace(SPEC, hop=161)) is not bare


def test_one_that_is_used_stays_and_those_that_are_not_go() -> None:
    used, left = (replace(SPEC, hop=hop, normalization="mean") for hop in (201, 202))
    used_plan, left_plan = MODULE._plan(used), MODULE._plan(left)
    for hop in range(300, 300 + MODULE._PLANS_KEPT):
        MODULE._plan(replace(SPEC, hop=hop, normalization="mean"))
        assert MODULE._plan(used) is used_plan
    assert len(MODULE._plans) <= MODULE._PLANS_KEPT
    assert MODULE._plan(left) is not left_plan
