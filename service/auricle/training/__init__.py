"""Training: folders of sounds in, a bundle out (the extra ``train``).

``run`` a ``Job`` for what ``auricle train`` does; ``BrowserFftSpec`` is for those who know Model Maker's.
"""

from auricle.training.augmentation import Augmentation
from auricle.training.browser_fft import BrowserFftSpec
from auricle.training.fit import Fitting
from auricle.training.job import BROWSER_FFT, Job, run
from auricle.training.quantization import QuantizationConfig
from auricle.training.report import Report
from auricle.training.transfer import HeadFitting

__all__ = [
    "BROWSER_FFT",
    "Augmentation",
    "BrowserFftSpec",
    "Fitting",
    "HeadFitting",
    "Job",
    "QuantizationConfig",
    "Report",
    "run",
]
