# What every level's module (pcm_avx2, …) offers; auricle.frontend.dispatch imports the one in use.
import numpy as np
import numpy.typing as npt

ENCODINGS: dict[str, int]

def to_mono(data: memoryview, encoding: int, channels: int, out: npt.NDArray[np.float32]) -> int: ...
