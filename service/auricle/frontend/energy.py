"""Energy of a sound by hops, as it comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .dispatch import load

if TYPE_CHECKING:
    from auricle._frontend import energy as _kernels
else:
    _kernels = load("energy")

__all__ = ["HopEnergy"]


class HopEnergy:
    """Sums of squares of each hop, in double precision. Any way of cutting the sound gives the same, bit for bit.

    A stream belongs to one thread at a time.

    Args:
        hop: samples of a hop, above 0.
        split: each hop is summed in two parts, before and after this sample of it; 0 to hop - 1.
    """

    def __init__(self, hop: int, split: int = 0) -> None:
        self._stream = _kernels.HopEnergy(hop, split)

    def feed(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """Takes f32 (n,), n >= 0; returns the energies of the hops that it completes, f64 (k, 2)."""
        return self._stream.feed(np.ascontiguousarray(x))

    def finish(self) -> NDArray[np.float64]:
        """Ends the sound: the energies of its last, incomplete hop, f64 (1, 2), or (0, 2) where there is none."""
        return self._stream.finish()

    @property
    def head(self) -> float:
        """Energy of the first ``split`` samples of the hop that is not complete yet, as far as they are there."""
        return self._stream.head
