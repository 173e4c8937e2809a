"""Blending: a voice between two that say the same, by the mean of their spectra; and sounds between any two."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from auricle.training.planes import SILENCE_DB, Planes

__all__ = ["blended", "mixed"]

Floats = NDArray[np.float32]

# Both parameters of the Beta distribution that a mixture's shares are drawn from: mostly far from a half.
MIXTURE = 0.4


def mixed(x: Floats, y: Floats, chance: float, generator: np.random.Generator) -> tuple[Floats, Floats]:
    """Features and targets, some with a share of another of the batch in both (mixup, Zhang et al., 2018).

    Args:
        x: f32 (n, frames, bands).
        y: f32 (n, classes).
        chance: of an example to be mixed; the larger share stays its own.
    """
    count = len(x)
    drawn = np.where(generator.random(count) < chance, generator.beta(MIXTURE, MIXTURE, count), 1.0)
    own, others = np.maximum(drawn, 1 - drawn).astype(np.float32), generator.permutation(count)
    wide, long = own[:, None, None], own[:, None]
    return x * wide + x[others] * (1 - wide), y * long + y[others] * (1 - long)


def blended(planes: Planes, picks: NDArray[np.int64], others: NDArray[np.int64], shares: NDArray[np.float64]) -> Planes:
    """The chosen planes, each with a share of another mixed in.

    The other is stretched to the same length and brought to the same mean level first. Where either has no sound, in
    bands that its sample rate did not hold say, what was there stays.

    Args:
        picks: int (n,), rows of ``planes``.
        others: int (n,), of the same label each.
        shares: f64 (n,), of the other, 0 to 1; 0 leaves a plane as it is.
    """
    db = planes.db[picks]
    for place in np.flatnonzero(shares):
        pick, other = picks[place], others[place]
        rows, bands = planes.rows[pick], int(min(planes.edge[pick], planes.edge[other]))
        own = db[place, :rows, :bands].astype(np.float32)
        stretched = _stretched(planes.db[other, : planes.rows[other], :bands], rows)
        db[place, :rows, :bands] = _between(own, stretched, shares[place])
    return Planes(
        db=db, rows=planes.rows[picks], edge=planes.edge[picks], source=planes.source[picks], first=planes.first[picks]
    )


def _stretched(db: NDArray[np.float16], rows: int) -> Floats:
    """As many rows, read linearly between those that there are."""
    places = np.clip((np.arange(rows) + 0.5) * len(db) / rows - 0.5, 0.0, len(db) - 1.0)
    below = places.astype(np.int64)
    above = np.minimum(below + 1, len(db) - 1)
    part = (places - below).astype(np.float32)[:, None]
    return np.asarray(db[below].astype(np.float32) * (1 - part) + db[above].astype(np.float32) * part)


def _between(own: Floats, other: Floats, share: float) -> Floats:
    heard = (own > SILENCE_DB + 1) & (other > SILENCE_DB + 1)
    if not heard.any():
        return own
    level = own.mean(where=heard) - other.mean(where=heard)
    return np.where(heard, own + np.float32(share) * (other + level - own), own)
