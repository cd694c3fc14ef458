"""Error analysis of auto-regressive video diffusion models, exact on Gaussian video.

Descriptions (`GaussianVideo` and its families, `Schedule`, `Generator`) are frozen; calculators
(`decompose`, `compare_schedules`, `fit_video`, `memory_budget`, `clip_accumulation`) take them and
return results in nats, each with its theorem labels and error bound. NumPy and SciPy are all that
this import needs; what most scripts do not use is imported when it is first named.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from arvdm_theory.decomposition import (
    Decomposition,
    ScheduleComparison,
    compare_schedules,
    decompose,
    step_terms,
)
from arvdm_theory.enclosure import Enclosure
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

if TYPE_CHECKING:
    from arvdm_theory.accumulation import ClipAccumulation, clip_accumulation, sequence_kl
    from arvdm_theory.batched import (
        BatchDecomposition,
        autoregressive_covariance,
        decompose_batch,
        level_grid,
        state_space_covariance,
    )
    from arvdm_theory.fit import VideoFit, fit_video, load_frames
    from arvdm_theory.literature import citation
    from arvdm_theory.memory import (
        CanonicalCorrelations,
        MemoryBudget,
        best_recursive_memory,
        canonical_correlations,
        conditional_information,
        impossibility_floor,
        linear_memory_floor,
        memory_bottleneck_of,
        memory_budget,
        metric_blindness,
        needle_bound,
        output_kl_of_chunks,
        rate_limited_memory,
        recursive_memory_floor,
        renoising_cost,
        roll_out_floor,
        scalar_window_memory,
        stochastic_memory,
        window_memory_bottleneck,
    )
    from arvdm_theory.prover import prove
    from arvdm_theory.sweeps import SweepError, sweep

__version__ = "0.1.0"

__all__ = [
    "Arfima",
    "ArvdmError",
    "Autoregressive",
    "BatchDecomposition",
    "Biased",
    "BoundaryError",
    "CanonicalCorrelations",
    "CircularityError",
    "ClipAccumulation",
    "Decomposition",
    "Enclosure",
    "Estimated",
    "Exact",
    "ExplicitCovariance",
    "GaussianVideo",
    "Generator",
    "LinearMemory",
    "MediaError",
    "MemoryBudget",
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
    "SweepError",
    "TooLittleDataError",
    "UnstableError",
    "VideoFit",
    "autoregressive_covariance",
    "best_recursive_memory",
    "canonical_correlations",
    "citation",
    "clip_accumulation",
    "compare_schedules",
    "conditional_information",
    "decompose",
    "decompose_batch",
    "fit_video",
    "impossibility_floor",
    "level_grid",
    "linear_memory_floor",
    "load_frames",
    "memory_bottleneck_of",
    "memory_budget",
    "metric_blindness",
    "needle_bound",
    "output_kl_of_chunks",
    "prove",
    "rate_limited_memory",
    "recursive_memory_floor",
    "renoising_cost",
    "roll_out_floor",
    "sample",
    "scalar_window_memory",
    "sequence_kl",
    "state_space_covariance",
    "step_terms",
    "stochastic_memory",
    "sweep",
    "window_memory_bottleneck",
]

_LATER = {
    "accumulation": "ClipAccumulation clip_accumulation sequence_kl",
    "batched": """
        BatchDecomposition autoregressive_covariance decompose_batch level_grid
        state_space_covariance
    """,
    "fit": "VideoFit fit_video load_frames",
    "memory": """
        CanonicalCorrelations MemoryBudget best_recursive_memory canonical_correlations
        conditional_information impossibility_floor linear_memory_floor memory_bottleneck_of
        memory_budget metric_blindness needle_bound output_kl_of_chunks
        rate_limited_memory recursive_memory_floor renoising_cost roll_out_floor
        scalar_window_memory stochastic_memory window_memory_bottleneck
    """,
    "literature": "citation",
    "prover": "prove",
    "sweeps": "SweepError sweep",
}
_MODULE_OF = {name: module for module, names in _LATER.items() for name in names.split()}
_MODULES = frozenset(
    {
        "accumulation",
        "analyze",
        "batched",
        "certified",
        "design",
        "empirical",
        "fit",
        "laws",
        "literature",
        "memory",
        "prover",
        "rates",
        "sweeps",
        "symbolic",
        "testing",
    }
)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _MODULE_OF:
        module = importlib.import_module(f"{__name__}.{_MODULE_OF[name]}")
        value = globals()[name] = getattr(module, name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *__all__})
