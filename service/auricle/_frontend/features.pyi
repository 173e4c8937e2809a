# What every level's module (features_avx2, …) offers; auricle.frontend.dispatch imports the one in use.
import numpy as np
import numpy.typing as npt

from auricle.frontend.spec import FeatureSpec

LANES: int

class Plan:
    def __init__(self, spec: FeatureSpec) -> None: ...

class Stream:
    def __init__(self, plan: Plan) -> None: ...
    def restart(self) -> None: ...
    def feed(
        self, x: npt.NDArray[np.float32], out: npt.NDArray[np.float32] | None = None
    ) -> npt.NDArray[np.float32]: ...
    def finish(self, out: npt.NDArray[np.float32] | None = None) -> npt.NDArray[np.float32]: ...

def normalize(values: npt.NDArray[np.float32], spec: FeatureSpec) -> None: ...
