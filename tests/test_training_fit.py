"""The order of learning: every clip once an epoch, backgrounds beside them, batches made ahead in the same order."""

from __future__ import annotations

import numpy as np

from auricle.training import digits
from auricle.training.architecture import BANDS, FRAMES
from auricle.training.augmentation import Augmentation
from auricle.training.fit import Fitting, _ahead, _Batches, _order, _rate
from auricle.training.planes import Planes


def planes(count: int) -> Planes:
    db = np.random.default_rng(0).uniform(-80, -20, (count, FRAMES, BANDS)).astype(np.float16)
    rows, edge = np.full(count, 20), np.full(count, 232, np.float32)
    return Planes(db=db, rows=rows, edge=edge, source=np.arange(count), first=np.ones(count, bool))


def test_an_epoch_has_every_clip_once_and_its_backgrounds() -> None:
    clips = [np.array([place]) for place in range(70)]
    steps = list(_order(clips, 7, Fitting(epochs=2, batch=32), np.random.default_rng(1)))
    assert len(steps) == 6
    for epoch in (steps[:3], steps[3:]):
        assert sorted(np.concatenate([sounds for sounds, _ in epoch])) == list(range(70))
        assert sum(empty for _, empty in epoch) == 7


def test_batches_of_sounds_and_of_backgrounds_alone_are_learned() -> None:
    recipe, generator = digits.recipe(), np.random.default_rng(2)
    assert recipe.features is not None
    noises = np.full((2, FRAMES, BANDS), -50.0, np.float32)
    store, labels, targets = planes(4), np.array([0, 1, 0, 1]), np.eye(3, dtype=np.float32)
    batches = _Batches(store, labels, targets, noises, recipe.features, Augmentation(), 2, generator)
    for sounds, empty in ((np.array([0, 3]), 0), (np.array([1]), 2), (np.array([], np.int64), 3)):
        x, y = batches.make(sounds, empty)
        assert x.shape == (len(sounds) + empty, FRAMES, BANDS)
        assert np.isfinite(x).all()
        assert y.argmax(1).tolist() == [*labels[sounds], *[2] * empty]


def test_batches_made_ahead_come_in_order() -> None:
    made = [(np.full(1, number, np.float32), np.zeros(1, np.float32)) for number in range(5)]
    assert [int(x[0]) for x, _ in _ahead(iter(made))] == [0, 1, 2, 3, 4]
    assert list(_ahead(iter([]))) == []


def test_the_rate_rises_over_the_first_epoch_and_falls_to_nothing() -> None:
    settings = Fitting(epochs=4, rate=1.0)
    rates = [_rate(step, 10, settings) for step in range(41)]
    assert np.all(np.diff(rates[:10]) > 0)
    assert np.all(np.diff(rates[10:]) < 0)
    assert (rates[9], rates[10]) == (1.0, 1.0)
    assert rates[40] < 1e-9
