# What every level's module (resample_avx2, …) offers; auricle.frontend.dispatch imports the one in use.
import numpy as np
import numpy.typing as npt

LANES: int

# columns, first, second, outer and inner twiddle factors
_Transform = tuple[int, int, int, npt.NDArray[np.float32], npt.NDArray[np.float32]]

class Stream:
    channels: int
    def feed(self, x: npt.ArrayLike) -> npt.NDArray[np.float32]: ...
    def finish(self) -> npt.NDArray[np.float32]: ...
    def whole(self, x: npt.ArrayLike) -> npt.NDArray[np.float32]: ...

class CopyStream(Stream):
    def __init__(self, channels: int) -> None: ...

class PolyphaseStream(Stream):
    def __init__(
        self, table: npt.NDArray[np.float32], step_in: int, step_out: int, grid: int, channels: int
    ) -> None: ...

class BlockStream(Stream):
    def __init__(
        self,
        analysis: _Transform,
        synthesis: _Transform,
        response: npt.NDArray[np.float32],
        step_in: int,
        step_out: int,
        lead: int,
        hop_out: int,
        channels: int,
    ) -> None: ...
