"""Error analysis of auto-regressive video diffusion models, exact on Gaussian video.

Descriptions (`GaussianVideo` and its families, `Schedule`, `Generator`) are frozen; calculators
(`decompose`, `compare_schedules`, `fit_video`, `window_memory_bottleneck`) take them and return
results in nats, each with its theorem labels and error bound. NumPy and SciPy are all that this
import needs.
"""

from arvdm_theory.decomposition import (
    Decomposition,
    ScheduleComparison,
    compare_schedules,
    decompose,
)
from arvdm_theory.errors import (
    ArvdmError,
    BoundaryError,
    CircularityError,
    MediaError,
    MonotonicityError,
    NotPositiveDefiniteError,
    ParameterError,
    RefusedError,
    ScheduleError,
    TooLittleDataError,
    UnstableError,
)
from arvdm_theory.fit import VideoFit, fit_video, load_frames
from arvdm_theory.generator import (
    Biased,
    Estimated,
    Exact,
    Generator,
    LinearMemory,
    Misspecified,
    RandomPerturbation,
    RecursiveMemory,
    Scaled,
    sample,
)
from arvdm_theory.memory import window_memory_bottleneck
from arvdm_theory.schedule import Schedule
from arvdm_theory.video import (
    Arfima,
    Autoregressive,
    ExplicitCovariance,
    GaussianVideo,
    Panorama,
    Seasonal,
    StateSpace,
    StaticLatent,
)

__version__ = "0.1.0"

__all__ = [
    "Arfima",
    "ArvdmError",
    "Autoregressive",
    "Biased",
    "BoundaryError",
    "CircularityError",
    "Decomposition",
    "Estimated",
    "Exact",
    "ExplicitCovariance",
    "GaussianVideo",
    "Generator",
    "LinearMemory",
    "MediaError",
    "Misspecified",
    "MonotonicityError",
    "NotPositiveDefiniteError",
    "Panorama",
    "ParameterError",
    "RandomPerturbation",
    "RecursiveMemory",
    "RefusedError",
    "Scaled",
    "Schedule",
    "ScheduleComparison",
    "ScheduleError",
    "Seasonal",
    "StateSpace",
    "StaticLatent",
    "TooLittleDataError",
    "UnstableError",
    "VideoFit",
    "compare_schedules",
    "decompose",
    "fit_video",
    "load_frames",
    "sample",
    "window_memory_bottleneck",
]
