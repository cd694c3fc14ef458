r"""Memory bottleneck: what a generator with limited memory must forget (THEORY, section 3).

X past, Y input, Z output: the bottleneck is $I(X; Z \mid Y)$. Every calculator takes the level of
the frames (0: clean) and the unit, and names its theorem. Input outside what a docstring allows
raises `ParameterError` with the parameter, the constraint and the value.

| label | question | function |
|---|---|---|
| M1 | what does this window or memory forget? | `memory_bottleneck_of`, `conditional_information` |
| M2 | what must any law with that input pay? | `impossibility_floor` |
| M3 | what if only pairs of frames were seen? | `pair_law_floor` |
| M4 | what reaches the output, chunk by chunk? | `output_kl_of_chunks` |
| M5 | what does a rate of finding a needle prove? | `needle_bound`, `needle_information` |
| M6 | what does noise on the context cost? | `renoising_cost` |
| M7 | what do metrics over short clips miss? | `metric_blindness` |
| R1 | b numbers of linear memory | `linear_memory_floor` |
| R2 | c nats of any memory | `memory_budget`, `MemoryBudget` |
| R3 | the floor of a whole roll-out | `roll_out_floor` |
| R4 | a random memory, integrated out | `stochastic_memory` |
| R5 | the last r frames, of any video | `window_memory_bottleneck` |
| R5 | the last r frames, of the infinite past | `scalar_window_memory` |
| R6 | b numbers, updated by every frame | `recursive_memory_floor`, `best_recursive_memory` |
| R6 | ... at so many nats a frame | `rate_limited_memory` |

R1, R2 and R4 take canonical correlations: of a covariance (`canonical_correlations`), of a video
(`canonical_correlations_of`) or plain numbers (`CanonicalCorrelations.of`).

Calculators of numbers, covariances and correlations take leading axes, which broadcast, and torch
tensors, through which they are differentiable; those of a video give one answer a call, and refuse
tensors by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse.csgraph
from array_api_compat import array_namespace

from arvdm_theory import noise
from arvdm_theory._arrays import (
    NUMPY,
    common_shape,
    counts,
    floating,
    is_tensor,
    numpy_of,
    plain,
    refuse_tensors,
    require,
)
from arvdm_theory._estimates import NeedleBound, Proportion, clopper_pearson, needle_bound
from arvdm_theory._gaussian import EPS, cholesky, gaussian_kl, symmetrise, transpose
from arvdm_theory._memory_budget import (
    BudgetCurve,
    CanonicalCorrelations,
    LinearMemoryFloor,
    MemoryBudget,
    MemoryEncoder,
    canonical_correlations,
    check_unit,
    conditional_information,
    disjoint,
    given_memory,
    information_given_memory,
    joint_covariance,
    linear_memory_floor,
    select,
    stochastic_memory,
)
from arvdm_theory._needle import binary_kl, needle_information, needle_success
from arvdm_theory._prediction import innovation_log_det
from arvdm_theory._recursive_memory import (
    RateLimitedMemory,
    RecursiveMemoryFloor,
    RecursiveMemoryResult,
    SequentialDistortion,
    best_recursive_memory,
    rate_limited_memory,
    recursive_memory_bottleneck,
    recursive_memory_floor,
    sequential_distortion,
)
from arvdm_theory._window_law import Context, memory_rows
from arvdm_theory._window_power_law import (
    ScalarWindowMemory,
    partial_autocorrelations,
    scalar_window_memory,
)
from arvdm_theory.checks import positive_integer
from arvdm_theory.decomposition import Decomposition, decompose
from arvdm_theory.enclosure import UNITS, Enclosure
from arvdm_theory.errors import ParameterError, RefusedError
from arvdm_theory.generator import (
    Generator,
    LinearMemory,
    Memory,
    RecursiveMemory,
    _step_maps,
    resolve,
)
from arvdm_theory.noise import sigma
from arvdm_theory.schedule import Schedule
from arvdm_theory.video import ExplicitCovariance, GaussianVideo, StaticLatent

__all__ = [
    "UNITS",
    # M1
    "canonical_correlations",
    "canonical_correlations_of",
    "CanonicalCorrelations",
    "conditional_information",
    "information_given_memory",
    "memory_bottleneck_of",
    # M2, M3
    "impossibility_floor",
    "ImpossibilityFloor",
    "pair_law_floor",
    "PairLawFloor",
    # M4
    "output_kl_of_chunks",
    "ChunkOutput",
    # M5
    "binary_kl",
    "clopper_pearson",
    "needle_bound",
    "needle_information",
    "needle_success",
    "NeedleBound",
    "Proportion",
    # M6, M7
    "renoising_cost",
    "RenoisingCost",
    "forgetful_video",
    "metric_blindness",
    "MetricBlindness",
    # R1 .. R4
    "linear_memory_floor",
    "LinearMemoryFloor",
    "memory_budget",
    "MemoryBudget",
    "BudgetCurve",
    "MemoryEncoder",
    "roll_out_floor",
    "RollOutFloor",
    "stochastic_memory",
    # R5
    "innovation_log_det",
    "partial_autocorrelations",
    "scalar_window_memory",
    "ScalarWindowMemory",
    "window_memory_bottleneck",
    "WindowMemoryBottleneck",
    # R6
    "best_recursive_memory",
    "rate_limited_memory",
    "RateLimitedMemory",
    "recursive_memory_bottleneck",
    "recursive_memory_floor",
    "RecursiveMemoryFloor",
    "RecursiveMemoryResult",
    "sequential_distortion",
    "SequentialDistortion",
]

TRUNCATION_GOAL = 1e-6
"""The default horizon is doubled until older frames add less than this many nats ..."""
LARGEST_COVARIANCE = 2048
"""... or until the covariance of the past would be larger than this."""
LARGEST_UNKNOWN = 512
"""The same where nothing says what older frames would add: the horizon goes there at once."""


@dataclass(frozen=True, eq=False)
class WindowMemoryBottleneck:
    """Memory bottleneck of window memories of several lengths (R5).

    Attributes
    ----------
    window_lengths: `(R,)`, r in frames.
    values: `(R,)`, MB_r per frame; infinite where `reason` says so.
    total: I(X_k; past), which is MB_0.
    horizon: number of past frames that count as "the past".
    truncation: what all frames older than the horizon would add to every value and to the total,
        exact for a stationary video whose prediction error from the infinite past is known; 0 for
        a video that is not stationary (its past is complete); `None` if not known.
    error_bound: `(R,)`, first-order bound on the rounding error of `values`, from conditioning.
    level: OU time of the frames (0: clean).
    reason: why a value is infinite, else `None`.
    unit: of every information above. theorems: labels of the results used.
    """

    window_lengths: np.ndarray
    values: np.ndarray
    total: float
    horizon: int
    truncation: float | None
    error_bound: np.ndarray
    level: float
    reason: str | None
    unit: str
    theorems: tuple[str, ...] = ("R5", "M1")

    def __repr__(self) -> str:
        cut = "not known" if self.truncation is None else f"{self.truncation:.2g}"
        pairs = ", ".join(
            f"r={r}: {value:.6g}" for r, value in zip(self.window_lengths, self.values, strict=True)
        )
        return (
            f"WindowMemoryBottleneck({pairs}; total {self.total:.6g} {self.unit} a frame at level "
            f"{self.level:g}, horizon {self.horizon} frames, truncation {cut})"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, for JSON; infinities as `null` beside their reason."""

        def plain(value: float) -> float | None:
            return float(value) if np.isfinite(value) else None

        return {
            "window_lengths": self.window_lengths.tolist(),
            "values": [plain(value) for value in self.values],
            "total": plain(self.total),
            "horizon": self.horizon,
            "truncation": self.truncation,
            "error_bound": [plain(value) for value in self.error_bound],
            "level": self.level,
            "reason": self.reason,
            "unit": self.unit,
            "theorems": list(self.theorems),
        }

    def window_for(self, fraction: float) -> int | None:
        """Smallest listed r whose window holds this fraction of the total information.

        `None` if no listed r does, or if the total is 0 or infinite (no fraction exists).

        >>> from arvdm_theory.video import Autoregressive
        >>> video = Autoregressive([0.5, 0.4], 0.3)
        >>> window_memory_bottleneck(video, range(4)).window_for(0.99)
        2
        """
        if not 0.0 < fraction <= 1.0:
            raise ParameterError("fraction", "in (0, 1]", fraction)
        if not np.isfinite(self.total) or self.total <= 0.0:
            return None
        # an exact zero is known to its rounding only
        rounding = np.where(np.isfinite(self.error_bound), self.error_bound, 0.0)
        allowed = (1.0 - fraction) * self.total + rounding
        enough = self.window_lengths[self.values <= allowed]
        return int(enough.min()) if enough.size else None


def window_memory_bottleneck(
    video: GaussianVideo,
    window_lengths: int | Iterable[int],
    *,
    level: float = 0.0,
    horizon: int | None = None,
    unit: str = "nats",
) -> WindowMemoryBottleneck:
    r"""What a generator that sees only the last r frames forgets about the next one (R5, M1).

    $$MB_r = I(X_k; X_{k-h..k-r-1} \mid X_{k-r..k-1})
           = \tfrac12 \log\frac{\det \mathrm{Cov}(X_k \mid \text{last } r)}
                               {\det \mathrm{Cov}(X_k \mid \text{last } h)}
           = -\tfrac12 \sum_{j=r+1}^{h} \sum_i \log(1 - \rho_{ji}^2),$$

    $\rho_{ji}$ the canonical correlations of $X_k$ and $X_{k-j}$ given the frames between (for
    scalar frames: the partial autocorrelation $\phi_{jj}$). By M1 it is the information lost by
    the memory "last r frames"; by M4 (chunk of one frame) it is paid in output KL, every frame.
    All r come from one Cholesky factorisation of the past ordered by lag, whose leading blocks are
    the windows.

    Arguments
    ---------
    video: any family, any dimension.
    window_lengths: r, one integer or several, each in 0..horizon (frames).
    level: OU time t of all frames, $X^t = e^{-t}X + \sqrt{1-e^{-2t}}\,\xi$; 0 for clean frames.
        AR(p) gives 0 for r ≥ p at level 0 only. ARFIMA gives about $D^2/(2r)$ at level 0, and for
        D > 0 at any level, later (white noise leaves the spectrum's pole alone).
    horizon: h, past frames that count. Default for a stationary video: doubled from
        max(16, 2 max r) until older frames would add less than 1e-6 nats, or until the past holds
        2048 numbers. Where the prediction error from the infinite past is not known (a singular
        law, a family known by its covariance only) it is 512 numbers, `truncation` is `None`, and
        a return from further back is not seen: the values are those of this horizon. For any
        other video the past must be complete, so the frame asked about is k = horizon + 1;
        default: the last one.
    unit: "nats" or "bits" (a frame).

    Returns
    -------
    `WindowMemoryBottleneck`, with `truncation` (what the infinite past would add) and
    `error_bound`. A value is infinite if older frames determine a direction of $X_k$ that the
    window leaves uncertain (a perfect return at level 0).

    Raises
    ------
    ParameterError: r outside 0..horizon, a negative level, an unknown unit, or no horizon for an
        unlimited video that is not stationary.

    Source: THEORY, R5 (partial autocorrelations: Durbin 1960; ARFIMA: Hosking 1981).

    >>> from arvdm_theory.video import Autoregressive
    >>> video = Autoregressive([0.9], 0.19)
    >>> window_memory_bottleneck(video, [0, 1]).values.round(4).tolist()
    [0.8304, 0.0]
    >>> window_memory_bottleneck(video, [1], level=0.05).values.round(4).tolist()
    [0.0235]
    """
    lengths = _window_lengths(window_lengths)
    level = _level(level)
    check_unit(unit)
    past = _choose_horizon(video, int(lengths.max()), level, horizon)
    if lengths.max() > past.horizon:
        raise ParameterError("window_lengths", f"in 0..horizon ({past.horizon})", lengths.max())
    # summed from the oldest frame on: small values keep their digits
    remaining = np.append(np.cumsum(past.increments[::-1])[::-1], 0.0)
    scale = UNITS[unit]
    return WindowMemoryBottleneck(
        window_lengths=lengths,
        values=scale * remaining[lengths],
        total=float(scale * remaining[0]),
        horizon=past.horizon,
        truncation=None if past.truncation is None else scale * past.truncation,
        error_bound=scale * (past.error[lengths] + past.error[past.horizon]),
        level=level,
        reason=past.reason,
        unit=unit,
    )


# --- M1: any window, any linear memory ------------------------------------------------------------


def canonical_correlations_of(
    video: GaussianVideo,
    *,
    reference: int = 0,
    memory: Memory | None = None,
    block: int = 1,
    horizon: int | None = None,
    level: float = 0.0,
) -> CanonicalCorrelations:
    r"""Canonical correlations of the past and the next block given (last r frames, memory) (M1).

    Arguments
    ---------
    video: any family. reference: r ≥ 0 frames just before the block that are seen (fewer if the
        past is shorter).
    memory: `LinearMemory` or `RecursiveMemory` of all finished frames, or `None`.
    block: |B| ≥ 1, frames of the next block.
    horizon: h ≥ 1, frames of the past. Default: all of it. For a stationary video the h that R5
        chooses, and at least as many as a `LinearMemory` has lags, `truncation` saying what older
        frames could add; for a finite one that is not, all frames before its last block. Required
        for a `RecursiveMemory` of a stationary video: it starts from 0 before those h frames.
    level: OU time of all frames, 0 for clean ones.

    Returns `CanonicalCorrelations`; `directions` are maps of the h past frames stacked from the
    oldest on, `(n, h d)`.

    >>> from arvdm_theory.video import Autoregressive
    >>> video = Autoregressive([0.9], 0.19)
    >>> canonical_correlations_of(video).correlations.round(6).tolist()
    [0.9]
    """
    reference = positive_integer("reference", reference, minimum=0)
    block = positive_integer("block", block)
    level = _level(level)
    longest = reference
    if isinstance(memory, LinearMemory):  # a shorter past would cut the memory itself
        longest = max(longest, memory.weights.shape[0])
    elif memory is not None and horizon is None and getattr(video, "stationary", False):
        raise ParameterError(
            "horizon",
            "given with a recursive memory, which sees every frame of it (of the infinite past: "
            "memory_bottleneck_of, recursive_memory_bottleneck)",
            None,
        )
    past, missing = _past_frames(video, longest, block, horizon, level)
    rows = _seen_rows(memory, reference, past, video.dim)
    found = given_memory(
        _noised_covariance(video, past + block, level),
        past * video.dim,
        rows,
        rounding=_relative_rounding(video, past + block, level),
    )
    return replace(found, truncation=missing)


def memory_bottleneck_of(
    video: GaussianVideo,
    *,
    reference: int = 0,
    memory: Memory | None = None,
    block: int = 1,
    horizon: int | None = None,
    level: float = 0.0,
    unit: str = "nats",
) -> Enclosure:
    r"""M1: what a generator with this window and this memory forgets about the next block.

    $$MB = I(X_B; \text{Past} \mid \text{last } r, g) = I(X_B; \text{Past} \mid \text{last } r)
         - I(X_B; g \mid \text{last } r), \qquad g \text{ a linear memory}.$$

    Memories that contain each other have non-increasing bottlenecks; a memory changes nothing iff
    it tells nothing of the block that the window does not. `window_memory_bottleneck` (R5) gives
    one-frame blocks for many windows at once.

    Arguments: as for `canonical_correlations_of`; `unit`, "nats" or "bits". A `RecursiveMemory` of
    a stationary video with a finite state needs no `horizon` for blocks of one frame: the past is
    infinite and the memory stationary (`recursive_memory_bottleneck`).

    Returns an `Enclosure`: rounding on both sides, and above what frames older than a default
    horizon may add. Infinite, with the reason, where the past determines what is left uncertain.

    Source: THEORY, M1 (the paper's memory bottleneck).

    >>> from arvdm_theory.video import Autoregressive
    >>> video = Autoregressive([0.5, 0.4], 0.3)  # two frames are a complete memory
    >>> values = [memory_bottleneck_of(video, reference=r, block=2, horizon=8) for r in range(3)]
    >>> [round(float(value), 4) for value in values]
    [0.7672, 0.0872, 0.0]
    """
    if (
        horizon is None
        and block == 1
        and isinstance(memory, RecursiveMemory)
        and _has_finite_state(video)
    ):
        return recursive_memory_bottleneck(
            video, memory.transition, memory.input, reference=reference, level=level, unit=unit
        )
    found = canonical_correlations_of(
        video, reference=reference, memory=memory, block=block, horizon=horizon, level=level
    )
    return found.information(unit)


def _has_finite_state(video: GaussianVideo) -> bool:
    """Whether `recursive_memory_bottleneck` takes it."""
    if not isinstance(video, GaussianVideo) or not video.stationary:
        return False
    model = video.markov(1)
    return model is not None and model.time_invariant and not isinstance(video, StaticLatent)


def _past_frames(
    video: GaussianVideo, reference: int, block: int, horizon: int | None, level: float
) -> tuple[int, float | None]:
    """Number of past frames, and what older ones may add to what is known of the block.

    Older frames add I(X_B; older | past), a sum over frames that falls with every newer frame
    known, so at most |B| times what they add to the first.
    """
    if not isinstance(video, GaussianVideo):
        raise ParameterError("video", "a GaussianVideo", type(video).__name__)
    if horizon is not None:
        return positive_integer("horizon", horizon), 0.0
    if video.stationary:
        chosen = _choose_horizon(video, reference, level, None)
        missing = chosen.truncation
        return chosen.horizon, None if missing is None else block * max(missing, 0.0)
    if video.length is None:
        raise ParameterError("horizon", "given for an unlimited video that is not stationary", None)
    if video.length <= block:
        raise ParameterError("block", f"smaller than the video ({video.length} frames)", block)
    return video.length - block, 0.0


def _noised_covariance(video: GaussianVideo, frames: int, level: float) -> np.ndarray:
    clean = video.covariance(frames)
    return np.exp(-2.0 * level) * clean + float(sigma(level)) ** 2 * np.eye(clean.shape[0])


def _relative_rounding(video: GaussianVideo, frames: int, level: float) -> float:
    """Error of the video's own covariance in units of its smallest variance."""
    if video.rounding == 0.0:
        return 0.0
    variance = np.diag(_noised_covariance(video, frames, level))
    return float(np.exp(-2.0 * level) * video.rounding / variance.min())


def _seen_rows(memory: Memory | None, reference: int, past: int, dim: int) -> np.ndarray:
    """References, oldest first, and the memory as a map of `past` frames."""
    size, seen = past * dim, min(reference, past) * dim
    rows = np.eye(size)[size - seen :]
    if memory is None:
        return rows
    if not isinstance(memory, Memory):
        raise ParameterError("memory", "a LinearMemory or RecursiveMemory", type(memory).__name__)
    context: Context = memory.context(0, 0.0)
    width = context.lags.shape[2] if context.lags is not None else context.input.shape[1]  # type: ignore[union-attr]
    if width != dim:
        raise ParameterError("memory", f"of frames of dimension {dim}", f"dimension {width}")
    held = memory_rows(context, dim, past)
    # what the references already say of the memory is theirs: nothing cancels later
    held[:, size - seen :] = 0.0
    return np.concatenate([rows, held])


# --- M2, M3: what cannot be avoided ---------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ImpossibilityFloor:
    r"""M2's floor and the law that attains it.

    `floor`: $\min KL(P \| Q)$ over Q with $Q_{Z|XY} = Q_{Z|Y}$. `covariance` `(..., N, N)`: of
    the minimiser $P_{XY} P_{Z|Y}$, in the coordinates of the covariance given.
    """

    floor: Enclosure
    covariance: Any


def impossibility_floor(
    covariance: Any,
    x: Sequence[int],
    z: Sequence[int],
    given: Sequence[int] = (),
    *,
    unit: str = "nats",
) -> ImpossibilityFloor:
    r"""M2: no law whose output sees the past only through Y comes closer than the bottleneck.

    $$\min_{Q:\, Q_{Z|XY} = Q_{Z|Y}} KL(P \| Q) = I_P(X; Z \mid Y),
      \qquad Q^* = P_{XY} P_{Z|Y} .$$

    It bounds the KL of the joint law of (past, input, output), noisy states included. It bounds the
    *output* KL only for w = Δ (`output_kl_of_chunks`).

    Arguments: joint `covariance` of everything, `(..., N, N)`; coordinates `x`, `z`, `given` of X,
    Z and Y, which must be all coordinates; `unit`.

    Returns an `ImpossibilityFloor`: Q* has P's covariance but for
    $\mathrm{Cov}(X,Z) = \mathrm{Cov}(X,Y)\mathrm{Cov}(Y)^{-1}\mathrm{Cov}(Y,Z)$.

    Source: THEORY, M2.

    >>> joint = [[1.0, 0.6, 0.5], [0.6, 1.0, 0.5], [0.5, 0.5, 1.0]]
    >>> result = impossibility_floor(joint, x=[0], z=[2], given=[1])
    >>> print(round(float(result.floor), 4), round(float(result.covariance[0, 2]), 2))
    0.0435 0.3
    """
    xp, joint = joint_covariance(covariance)
    size = joint.shape[-1]
    x, z, given = disjoint(size, x=x, z=z, given=given)
    if len(x) + len(z) + len(given) != size:
        raise ParameterError("x, z, given", f"all {size} coordinates", (x, z, given))
    floor = conditional_information(joint, x, z, given, unit=unit)
    floor = replace(floor, theorems=("M2", "M1"))
    through = _regression(select(xp, joint, given), select(xp, joint, given, z))
    across = select(xp, joint, x, given) @ through
    order = [*x, *z, *given]
    inner = select(xp, joint, order)
    a, b = len(x), len(x) + len(z)
    top = xp.concat([inner[..., :a, :a], across, inner[..., :a, b:]], axis=-1)
    middle = xp.concat([transpose(across), inner[..., a:b, a:]], axis=-1)
    attained = xp.concat([top, middle, inner[..., b:, :]], axis=-2)
    return ImpossibilityFloor(floor, select(xp, attained, np.argsort(order).tolist()))


def _regression(covariance: Any, cross: Any) -> Any:
    """Cov^+ cross, directions of variance below rounding left out (tensors have none)."""
    if covariance.shape[-1] == 0:
        return 0.0 * cross
    if is_tensor(covariance):
        return array_namespace(covariance).linalg.solve(covariance, cross)
    variance = np.diagonal(covariance, axis1=-2, axis2=-1)
    scale = np.where(variance > 0.0, np.sqrt(np.abs(variance)), 1.0)[..., :, None]
    values, vectors = np.linalg.eigh(covariance / scale / transpose(scale))
    kept = values > 64.0 * EPS * covariance.shape[-1]
    inverse = np.where(kept, 1.0 / np.where(kept, values, 1.0), 0.0)
    within = transpose(vectors) @ (cross / scale)
    return (vectors @ (inverse[..., :, None] * within)) / scale


@dataclass(frozen=True, eq=False)
class PairLawFloor:
    """M3: the least worst-case KL and total variation of a learner that sees only pair laws."""

    values: Any
    kl: Enclosure
    total_variation: Any
    theorems: tuple[str, ...] = ("M3",)


def pair_law_floor(values: Any, *, unit: str = "nats") -> PairLawFloor:
    r"""M3: what a learner that sees only P_XY and P_YZ must lose in the worst case.

    X uniform on n values, Z = π(X) with an unknown permutation π, Y constant: the pair laws are
    the same for all π, so the learner's Q is too, and

    $$\inf_Q \sup_\pi KL(P_\pi \| Q) = \log n = I(X;Z|Y), \qquad
      \inf_Q \sup_\pi TV(P_\pi, Q) = 1 - \tfrac1n .$$

    Averaging any Q over permutations does not raise its worst case (convexity), and leaves the
    uniform law on pairs: which attains both.

    Arguments: `values` n ≥ 1, an integer or an array of them; `unit`. Returns a `PairLawFloor`.

    Source: THEORY, M3.

    >>> result = pair_law_floor(8, unit="bits")
    >>> float(result.kl), result.total_variation
    (3.0, 0.875)
    """
    refuse_tensors(values=values)
    n = counts("values", values)
    check_unit(unit)
    exact = plain(np.asarray(np.log2(n) if unit == "bits" else np.log(n)))
    kl = Enclosure.around(exact, 2.0 * EPS * exact, least=0.0, unit=unit, theorems=("M3",))
    return PairLawFloor(n if n.ndim else int(n), kl, plain(np.asarray(1.0 - 1.0 / n)))


# --- M4: what reaches the output ------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class ChunkOutput:
    r"""M4 for one roll-out with w = Δ, both sides, per AR step, in `unit`.

    Attributes
    ----------
    memory_per_step: $I(X_{B_k}; \text{Past} \mid R_k, m_k)$.
    network_per_step: $E\,KL(P(X_{B_k} | R_k, m_k) \,\|\, q)$.
    output_per_step: the other side, from the joint laws of all finished frames (`decompose`).
    mb_per_step, nie_per_step: Theorem A's terms: MB ≤ memory ≤ MB + NIE at every step, since
        Theorem A also conditions on the fresh noise.
    error_bound: first-order rounding bound on the difference of the two sides.
    """

    memory_per_step: np.ndarray
    network_per_step: np.ndarray
    output_per_step: np.ndarray
    mb_per_step: np.ndarray
    nie_per_step: np.ndarray
    error_bound: float
    unit: str
    theorems: tuple[str, ...] = ("M4", "A")

    @property
    def memory(self) -> float:
        """Σ_k I(X_B; Past | R, m)."""
        return float(self.memory_per_step.sum())

    @property
    def network(self) -> float:
        """Σ_k E KL of the block's law given what is seen."""
        return float(self.network_per_step.sum())

    @property
    def output(self) -> float:
        """Output KL from the joint laws; equals `memory` + `network`."""
        return float(self.output_per_step.sum())

    def __repr__(self) -> str:
        return (
            f"ChunkOutput(output {self.output:.6g} {self.unit} = memory {self.memory:.6g} + "
            f"network {self.network:.6g})"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        arrays = ("memory", "network", "output", "mb", "nie")
        out: dict[str, Any] = {
            f"{name}_per_step": getattr(self, f"{name}_per_step").tolist() for name in arrays
        }
        totals = {name: getattr(self, name) for name in ("memory", "network", "output")}
        return (
            out
            | totals
            | {
                "error_bound": self.error_bound,
                "unit": self.unit,
                "theorems": list(self.theorems),
            }
        )


def output_kl_of_chunks(
    video: GaussianVideo,
    schedule: Schedule,
    generator: Generator | None = None,
    *,
    steps: int,
    unit: str = "nats",
) -> ChunkOutput:
    r"""M4: for w = Δ the *output* KL is what memory loses plus what the network loses, exactly.

    $$KL(X^\delta_{1:K\Delta} \| Y_{1:K\Delta}) = \sum_k I(X_{B_k}; \text{Past} \mid R_k, m_k)
      + \sum_k E\,KL(P(X_{B_k} | R_k, m_k) \,\|\, q(\cdot | R_k, m_k)) .$$

    So whatever the network, the memory part is a floor. For w > Δ (FIFO) it is not: there the
    output KL can be below Σ MB_k.

    Arguments: `video`, `schedule` with window = stride, `generator` (any denoiser, sampler and
    memory), AR `steps` K, `unit`. The level is the schedule's δ.

    Returns a `ChunkOutput` with both sides and Theorem A's MB and NIE.

    Raises
    ------
    ParameterError: window ≠ stride. RefusedError: references are re-noised (that noise is drawn
        and integrated out, R4), or the output KL is out of double precision.

    Source: THEORY, M4.

    >>> from arvdm_theory.video import Autoregressive
    >>> video = Autoregressive([0.5, 0.4], 0.3)
    >>> schedule = Schedule.chunk(2, t_max=3.0, t_min=0.05, substeps=20)
    >>> result = output_kl_of_chunks(video, schedule, steps=4)
    >>> bool(np.isclose(result.output, result.memory + result.network))
    True
    """
    check_unit(unit)
    if schedule.window != schedule.stride:
        raise ParameterError(
            "schedule.window",
            f"equal to its stride ({schedule.stride}): M4 is an identity of chunk AR",
            schedule.window,
        )
    if schedule.renoised:
        raise RefusedError(
            "with re-noised references the generator sees a fresh draw of R that the output "
            "integrates out, so its output KL is below the right-hand side of M4 (see R4)"
        )
    generator = Generator() if generator is None else generator
    world = resolve(video, schedule, generator, positive_integer("steps", steps))
    result = decompose(video, schedule, generator, steps=steps)
    if result.output_per_step is None:
        raise RefusedError(result.refused["output"])
    truth = world.truth
    scale = float(noise.alpha(schedule.t_min))
    variance = float(noise.sigma(schedule.t_min)) ** 2
    given_past = scale**2 * truth.given_past + variance * np.eye(truth.mean.shape[1])
    factor = cholesky(given_past, "covariance of a block given the past")
    lost = np.linalg.svd(
        np.linalg.solve(factor, scale * truth.forgotten), full_matrices=False, compute_uv=False
    )
    memory = 0.5 * np.sum(np.log1p(lost**2), axis=-1)
    window, seen, offset, own = _step_maps(world)
    model = own + window @ transpose(window)
    exact = given_past + scale**2 * truth.forgotten @ transpose(truth.forgotten)
    fresh = float(noise.alpha(schedule.t_max)) * truth.mean
    shift = offset - np.einsum("kij,kj->ki", window, fresh)
    network = gaussian_kl(exact, symmetrise(model), symmetrise(exact - model), -shift)
    difference = (scale * truth.gain - seen) @ truth.context
    whitened = np.linalg.solve(cholesky(symmetrise(model), "covariance of Q"), difference)
    network = network + 0.5 * np.sum(whitened**2, axis=(-2, -1))
    weight = np.trace(np.linalg.inv(given_past), axis1=-2, axis2=-1)
    slip = np.linalg.norm(truth.forgotten, axis=(-2, -1)) * truth.slip + truth.slip**2
    doubt = scale**2 * weight * (slip + 2.0 * memory * truth.rounding)
    error = (
        float(np.sum(doubt))
        + result.error_bound["output"]
        + 64.0 * EPS * result.output_per_step.sum()
    )
    units = UNITS[unit]
    return ChunkOutput(
        units * memory,
        units * np.asarray(network),
        units * result.output_per_step,
        units * result.mb_per_step,
        units * result.nie_per_step,
        units * float(error),
        unit,
    )


# --- M6: noise on the context ---------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class RenoisingCost:
    """M6, each part computed by itself: `renoised` = `clean` + `lost` within their ends."""

    clean: Enclosure
    renoised: Enclosure
    lost: Enclosure
    context_level: Any

    @property
    def theorems(self) -> tuple[str, ...]:
        """Labels of the results used."""
        return ("M6", "M1")


def renoising_cost(
    video: GaussianVideo,
    *,
    reference: int,
    context_level: Any,
    block: int = 1,
    horizon: int | None = None,
    level: float = 0.0,
    input_level: Any = None,
    unit: str = "nats",
) -> RenoisingCost:
    r"""M6: noise on the references, or dropping some, never lowers the bottleneck.

    $$MB(\tilde R) = MB(R) + I(R; O \mid \tilde R, \text{In}),$$

    $\tilde R$ the references re-noised by the OU kernel from `level` to `context_level`, O the next
    block at `level`, In the same block at `input_level` on its own OU path (nothing if `None`: the
    block starts from pure noise).

    Arguments: `reference` r ≥ 1 frames; `context_level` ≥ `level` (OU time; infinity drops the
    references); `block` frames; `horizon` frames of the past (default as for `memory_bottleneck_of`
    but without a truncation: what is asked is the identity); `input_level` > `level`; `unit`. Both
    levels may be arrays or tensors, which broadcast; a tensor of context levels is above `level`.

    Returns a `RenoisingCost` with the three informations, each from its own joint law: the identity
    holds to the sum of their rounding bounds, not digit by digit.

    Source: THEORY, M6 (chain rule, $\tilde R$ being a noising of R).

    >>> from arvdm_theory.video import Autoregressive
    >>> video = Autoregressive([0.9], 0.19)
    >>> cost = renoising_cost(video, reference=1, context_level=0.3, horizon=6)
    >>> print(cost.clean.value < 1e-12, round(float(cost.renoised), 4), round(float(cost.lost), 4))
    True 0.5364 0.5364
    """
    reference = positive_integer("reference", reference)
    block = positive_integer("block", block)
    level = _level(level)
    given = {"context_level": context_level}
    if input_level is not None:
        given["input_level"] = input_level
    xp, times = floating(infinite=("context_level", "input_level"), **given)
    for name, t in zip(given, times, strict=True):
        require(name, f"at least level ({level:g})", t, t >= level)
    common_shape(**dict(zip(given, times, strict=True)))
    later, entering_level = times[0], times[1] if len(times) > 1 else None
    past, _ = _past_frames(video, reference, block, horizon, level)
    seen = min(reference, past) * video.dim
    old, size = past * video.dim, (past + block) * video.dim
    base = _noised_covariance(video, past + block, level)
    # past, block, re-noised references, re-noised block: rows of the first two, shrunk
    rows = [*range(size), *range(old - seen, old)]
    shrink, added = [xp.ones_like(later)] * size, [xp.zeros_like(later)] * size
    for count, t in ((seen, later), (size - old, entering_level)):
        if t is not None:
            scale, variance = noise.kernel(level, t)
            shrink, added = shrink + [scale] * count, added + [variance] * count
    if entering_level is not None:
        rows += range(old, size)
    shrink, added = (xp.stack(xp.broadcast_arrays(*x), axis=-1) for x in (shrink, added))
    joint = xp.asarray(base[np.ix_(rows, rows)], device=shrink.device)
    joint = shrink[..., :, None] * joint * shrink[..., None, :]
    joint = joint + added[..., :, None] * xp.eye(len(rows), dtype=joint.dtype, device=joint.device)
    everything, out = list(range(old)), list(range(old, size))
    clean, rest = everything[old - seen :], everything[: old - seen]
    shown, entering = list(range(size, size + seen)), list(range(size + seen, len(rows)))
    same = numpy_of(later == level)

    def information(x: list[int], given: list[int]) -> Enclosure:
        if not [i for i in x if i not in given]:
            zero = plain(xp.zeros_like(joint[..., 0, 0]))
            return Enclosure(zero, zero, zero, unit, ("M6", "M1"))
        x = [i for i in x if i not in given]
        found = conditional_information(joint, x, out, given, unit=unit)
        return replace(found, theorems=("M6", "M1"))

    def given_shown(x: list[int]) -> Enclosure:
        """Where nothing was added, what is shown is R itself."""
        if not same.any():
            return information(x, shown + entering)
        own = information(x, clean + entering)
        if same.all():
            return own
        require(
            "context_level", f"above level ({level:g}) where it is a tensor", later, xp is NUMPY
        )
        other = information(x, shown + entering)
        value, lower, upper = (
            np.where(same, getattr(own, end), getattr(other, end))
            for end in ("value", "lower", "upper")
        )
        reason = own.reason or other.reason
        return Enclosure(value, lower, upper, unit, ("M6", "M1"), reason=reason)

    return RenoisingCost(
        information(rest, clean + entering),
        given_shown(everything),
        given_shown(clean),
        plain(later),
    )


# --- M7: what short clips do not show -------------------------------------------------------------


def forgetful_video(
    video: GaussianVideo,
    *,
    reference: int,
    block: int,
    steps: int,
    memory: Memory | None = None,
    level: float = 0.0,
) -> ExplicitCovariance:
    r"""M7: the best that a limited memory does, $q(x_B|\text{past}) = P(x_B | \text{last } r, m)$.

    The first block is exact. By M4 its output KL is Σ_k I(X_{B_k}; Past | R_k, m_k), what no
    generator with that memory can undercut.

    Arguments: `reference` r ≥ 0 frames, `block` frames a step, AR `steps` K, `memory` (of all
    finished frames), `level` of the frames.

    Returns the law of K |B| frames at `level`, as a video.

    >>> from arvdm_theory.video import Autoregressive
    >>> video = Autoregressive([0.5, 0.4], 0.3)
    >>> q = forgetful_video(video, reference=1, block=1, steps=4)
    >>> q.covariance(4)[0].round(4).tolist()  # lag 1 is right, and everything else follows from it
    [1.1688, 0.974, 0.8117, 0.6764]
    """
    reference = positive_integer("reference", reference, minimum=0)
    block, steps = positive_integer("block", block), positive_integer("steps", steps)
    level, dim = _level(level), video.dim
    truth = _noised_covariance(video, block * steps, level)
    width = block * dim
    law = np.zeros_like(truth)
    law[:width, :width] = truth[:width, :width]
    for k in range(1, steps):
        done, end = k * width, (k + 1) * width
        rows = _seen_rows(memory, reference, k * block, dim)
        seen = rows @ truth[:done, :done] @ rows.T
        cross = rows @ truth[:done, done:end]
        through = _regression(seen, cross).T @ rows  # a map of the past
        own = truth[done:end, done:end] - through @ truth[:done, done:end]
        law[done:end, :done] = through @ law[:done, :done]
        law[:done, done:end] = law[done:end, :done].T
        law[done:end, done:end] = symmetrise(own + law[done:end, :done] @ through.T)
    mean = float(np.exp(-level)) * video.means(block * steps)
    return ExplicitCovariance(law, dim, mean.ravel())


@dataclass(frozen=True, eq=False, repr=False)
class MetricBlindness:
    r"""M7: KL of every run of consecutive frames between P and the forgetful law.

    Attributes
    ----------
    clips: `clips[n - 1]` has the KL of frames j+1..j+n for every start j, in `unit`.
    aligned: `(K,)`, KL of each block with the r frames before it.
    memory_per_step: `(K,)`, $I(X_{B_k}; \text{Past} \mid R_k)$; their sum is the last of `clips`.
    error_bound: first-order rounding bound on each of `clips`, by length `(N,)`.
    """

    clips: tuple[np.ndarray, ...]
    aligned: np.ndarray
    memory_per_step: np.ndarray
    error_bound: np.ndarray
    reference: int
    block: int
    level: float
    unit: str
    theorems: tuple[str, ...] = ("M7", "M4")

    @property
    def total(self) -> float:
        """KL(P‖Q) of all frames: what the clips' distances do not show."""
        return float(self.clips[-1][0])

    @property
    def blind_length(self) -> int:
        """The longest clip whose KL is 0 (within rounding) wherever it starts.

        r + 1 or more, but no more than all K|B| frames.
        """
        blind = 0
        for values, bound in zip(self.clips, self.error_bound, strict=True):
            if np.max(values) > bound:
                break
            blind += 1
        return blind

    def __repr__(self) -> str:
        return (
            f"MetricBlindness(r={self.reference}, |B|={self.block}: clips of up to "
            f"{self.blind_length} frames see 0, all {len(self.clips)} see {self.total:.6g} "
            f"{self.unit})"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        return {
            "clips": [values.tolist() for values in self.clips],
            "aligned": self.aligned.tolist(),
            "memory_per_step": self.memory_per_step.tolist(),
            "error_bound": self.error_bound.tolist(),
            "total": self.total,
            "blind_length": self.blind_length,
            "reference": self.reference,
            "block": self.block,
            "level": self.level,
            "unit": self.unit,
            "theorems": list(self.theorems),
        }


def metric_blindness(
    video: GaussianVideo,
    *,
    reference: int,
    block: int,
    steps: int,
    level: float = 0.0,
    unit: str = "nats",
) -> MetricBlindness:
    r"""M7: clip distances that are 0 by law while the videos differ.

    Let $q(x_B | \text{past}) = P(x_B | \text{last } r)$ and the first block exact. Every r + 1
    consecutive frames have P's law, and so has every block with the r frames before it; so every
    law-level distance (KL, FVD-like) over such clips is 0, while
    $KL(P\|Q) = \sum_k I(X_{B_k}; \text{Past} | R_k)$. Longer or unaligned windows in general do
    see it.

    Arguments: `reference` r ≥ 0 and `block` |B| in frames, AR `steps` K, `level`, `unit`.

    Returns a `MetricBlindness`: exact KLs of all runs of 1..K|B| frames.

    Raises `NotPositiveDefiniteError` if frames determine each other (take a level above 0).

    Source: THEORY, M7.

    >>> from arvdm_theory.video import Autoregressive
    >>> result = metric_blindness(Autoregressive([0.5, 0.4], 0.3), reference=1, block=2, steps=3)
    >>> [values.round(3).tolist() for values in result.clips[1:3]]  # 2 frames, 3 frames
    [[0.0, 0.0, 0.0, 0.0, 0.0], [0.087, 0.0, 0.087, 0.0]]
    """
    check_unit(unit)
    level = _level(level)
    other = forgetful_video(video, reference=reference, block=block, steps=steps, level=level)
    frames, dim = block * steps, video.dim
    truth = _noised_covariance(video, frames, level)
    law = other.covariance(frames)
    clips, errors = [], []
    for length in range(1, frames + 1):
        starts = np.arange(frames - length + 1)
        index = starts[:, None] * dim + np.arange(length * dim)
        clips.append(_window_kl(truth, law, index))
        errors.append(_kl_error(truth, law, index, clips[-1]))
    blocks = [
        np.arange(max(k * block - reference, 0) * dim, (k + 1) * block * dim) for k in range(steps)
    ]
    aligned = np.array([_window_kl(truth, law, index[None])[0] for index in blocks])
    memory = [0.0] + [
        float(
            memory_bottleneck_of(
                video, reference=reference, block=block, horizon=k * block, level=level
            )
        )
        for k in range(1, steps)
    ]
    scale = UNITS[unit]
    return MetricBlindness(
        tuple(scale * values for values in clips),
        scale * aligned,
        scale * np.array(memory),
        scale * np.array(errors),
        reference,
        block,
        level,
        unit,
    )


def _window_kl(truth: np.ndarray, law: np.ndarray, index: np.ndarray) -> np.ndarray:
    block = (index[:, :, None], index[:, None, :])
    p, q = truth[block], law[block]
    return np.asarray(gaussian_kl(p, q, p - q, np.zeros(index.shape)))


def _kl_error(truth: np.ndarray, law: np.ndarray, index: np.ndarray, kl: np.ndarray) -> float:
    """First order in rounding: dKL = ½ tr[μ δQ - μ/(1+μ) δP], and the square of the rounding."""
    size = index.shape[1]
    worst = 0.0
    for rows, value in zip(index, kl, strict=True):
        block = np.ix_(rows, rows)
        inverse = 1.0 / min(np.linalg.eigvalsh(m[block])[0] for m in (truth, law))
        slack = 8.0 * EPS * law.shape[0] * float(np.linalg.norm(law[block], 2)) * inverse
        spread = np.sqrt(value) + value
        worst = max(worst, size * (4.0 * spread * slack + slack**2))
    return worst + 64.0 * EPS * float(np.max(kl))


# --- R2 and R3: a budget for a video, a floor for a roll-out --------------------------------------


def memory_budget(
    video: GaussianVideo,
    *,
    reference: int = 0,
    block: int = 1,
    horizon: int | None = None,
    level: float = 0.0,
    unit: str = "nats",
) -> MemoryBudget:
    r"""R2 for a video: what any memory of c nats beside the last r frames must forget.

    Arguments: as for `memory_bottleneck_of`; `unit` of budgets and floors.

    Returns a `MemoryBudget` (the whole curve, its inverse, its optimal encoder), whose
    `encoder(c).matrix` is a map of the past frames stacked from the oldest on.

    >>> from arvdm_theory.video import Autoregressive
    >>> budget = memory_budget(Autoregressive([0.9], 0.19), unit="bits")
    >>> print(round(float(budget.total), 4), round(float(budget.floor(1.0)), 4))
    1.198 0.5233
    """
    source = canonical_correlations_of(
        video, reference=reference, block=block, horizon=horizon, level=level
    )
    return MemoryBudget(source, unit)


@dataclass(frozen=True, eq=False, repr=False)
class RollOutFloor:
    """R3: a floor on the output KL of any chunk generator with such a memory, per AR step.

    `lower` ≤ floor ≤ `upper` `(K,)`; `total` of all steps; `budgets` `(K,)` in `unit`, or `None`
    where the memory is limited to `size` numbers instead. `reference`: r frames seen beside the
    memory; `video`: key of the video.
    """

    lower: np.ndarray
    value: np.ndarray
    upper: np.ndarray
    total: Enclosure
    budgets: np.ndarray | None
    size: int | None
    block: int
    level: float
    unit: str
    theorems: tuple[str, ...]
    reference: int
    video: str

    def compare(self, result: Decomposition) -> dict[str, np.ndarray]:
        """Per AR step beside an exact decomposition: `floor`, `mb_plus_nie`, `output`, in `unit`.

        MB_k + NIE_k and the output KL of step k are each at least the floor of step k (M4); there
        is no `output` where references are re-noised, since it integrates that noise out (R4).

        Refuses what the floor does not speak of: another video, block, level or number of steps,
        w > Δ, more references (re-noised ones are a memory of $I(\\tilde R; R)$ nats, which the
        budgets must cover), a memory of more than `size` numbers, and any memory at a finite
        budget: one that is a map of Gaussian frames holds infinitely many nats.
        """
        schedule = result.schedule
        for name, mine, theirs in (
            ("window", self.block, schedule.window),
            ("stride", self.block, schedule.stride),
            ("t_min", self.level, schedule.t_min),
            ("steps", self.value.size, result.roll_out.steps),
        ):
            if mine != theirs:
                raise ParameterError(f"result.{name}", f"this floor's ({mine})", theirs)
        if result.video.key != self.video:
            raise ParameterError("result.video", f"this floor's ({self.video})", result.video.key)
        self._check_memory(result)
        scale = UNITS[self.unit]
        rows = {
            "floor": self.value,
            "mb_plus_nie": scale * (result.mb_per_step + result.nie_per_step),
        }
        if result.output_per_step is not None and not schedule.renoised:
            rows["output"] = scale * result.output_per_step
        return rows

    def _check_memory(self, result: Decomposition) -> None:
        """R3 is about generators whose memory is no better than the floor's."""
        generator, finite = result.generator, False
        if self.budgets is not None:
            finite = not np.all(np.isinf(self.budgets[1:]))
        if generator.reference > self.reference:
            if not (result.schedule.renoised and finite and self.reference == 0):
                raise ParameterError(
                    "result.generator.reference",
                    f"at most this floor's ({self.reference})",
                    generator.reference,
                )
            assert self.budgets is not None
            for k in range(1, self.budgets.size):
                held = UNITS[self.unit] * _renoised_information(result, k)
                if self.budgets[k] < held * (1.0 - 1e-9):
                    raise ParameterError(
                        f"budgets[{k}]",
                        f"at least what the re-noised references hold ({held:.6g} {self.unit})",
                        float(self.budgets[k]),
                    )
        if generator.memory is None:
            return
        numbers = generator.memory.context(0, 0.0).memory
        if self.size is not None and numbers > self.size:
            raise ParameterError(
                "result.generator.memory", f"of at most {self.size} numbers", f"{numbers} numbers"
            )
        if finite:
            raise ParameterError(
                "result.generator.memory",
                "absent (a map of Gaussian frames holds infinitely many nats, more than any finite "
                "budget: give size)",
                f"{numbers} numbers",
            )

    def __repr__(self) -> str:
        held = f"{self.size} numbers" if self.budgets is None else "budgets"
        return f"RollOutFloor({held}, {self.value.size} steps: {self.total})"


def _renoised_information(result: Decomposition, step: int) -> float:
    """I(R̃; R) of the re-noised references of AR step `step` (from 0), nats."""
    schedule = result.schedule
    frames = min(result.generator.reference, step * schedule.stride)
    shrink, added = noise.kernel(schedule.t_min, schedule.context_level)
    if added <= 0.0:
        return np.inf
    seen = (
        float(shrink) ** 2
        / float(added)
        * _noised_covariance(result.video, step * schedule.stride, schedule.t_min)
    )
    seen = seen[seen.shape[0] - frames * result.video.dim :][:, -frames * result.video.dim :]
    return 0.5 * float(np.sum(np.log1p(np.maximum(np.linalg.eigvalsh(seen), 0.0))))


def roll_out_floor(
    video: GaussianVideo,
    *,
    block: int,
    steps: int,
    budgets: Any = None,
    size: int | None = None,
    reference: int = 0,
    level: float = 0.0,
    unit: str = "nats",
) -> RollOutFloor:
    r"""R3: the least output KL of a chunk generator whose memory is limited, over a roll-out.

    $$KL(P \| Q) \ge \sum_k MB^*_k(c_k) \qquad (w = \Delta),$$

    $MB^*_k$ of R2 for the past of step k and its block, given the last r frames. With `size`
    instead of budgets: linear memories of b numbers, $\sum_k \tfrac12\sum_{i>b}\ell_{k,i}$ (R1).
    By M4 each step's floor is also a floor on MB_k + NIE_k of `decompose`.

    The memory is one that the law keeps (a map of the past, or a draw counted as a state). A random
    memory that is integrated out can go below (R4).

    Arguments
    ---------
    block: |B| = w = Δ frames. steps: K.
    budgets: c_k ≥ 0 in `unit`, one number or K of them (infinity allowed); or size: b ≥ 0.
    reference: r frames seen beside the memory. level: the schedule's δ, or 0. unit.

    Returns a `RollOutFloor`.

    Source: THEORY, R3 (M4 and R2).

    >>> from arvdm_theory.video import Autoregressive
    >>> floor = roll_out_floor(Autoregressive([0.9], 0.19), block=1, steps=3, budgets=1.0)
    >>> floor.value.round(4).tolist()
    [0.0, 0.2277, 0.2277]
    """
    check_unit(unit)
    level, steps = _level(level), positive_integer("steps", steps)
    if (budgets is None) == (size is None):
        raise ParameterError(
            "budgets, size", "exactly one of them", "neither" if size is None else "both"
        )
    spent = None
    if budgets is not None:
        spent = _budgets(budgets, steps)
    else:
        size = positive_integer("size", size, minimum=0)
    reference = positive_integer("reference", reference, minimum=0)
    block = positive_integer("block", block)
    floors = [Enclosure(0.0, 0.0, 0.0, unit)]
    for k in range(1, steps):
        source = canonical_correlations_of(
            video, reference=reference, block=block, horizon=k * block, level=level
        )
        if spent is None:
            floors.append(linear_memory_floor(source, size or 0, unit=unit).floor)
        else:
            floors.append(MemoryBudget(source, unit).floor(spent[k]))
    lower, value, upper = (
        np.array([getattr(floor, name) for floor in floors]) for name in ("lower", "value", "upper")
    )
    theorems = ("R3", "R1" if spent is None else "R2", "M4")
    reason = next((floor.reason for floor in floors if floor.reason), None)
    total = Enclosure(
        float(value.sum()), float(lower.sum()), float(upper.sum()), unit, theorems, reason=reason
    )
    return RollOutFloor(
        lower, value, upper, total, spent, size, block, level, unit, theorems, reference, video.key
    )


def _budgets(value: Any, steps: int) -> np.ndarray:
    """K budgets, at least 0, infinity allowed."""
    constraint = f"one number of at least 0 or {steps} of them (infinity allowed)"
    try:
        given = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ParameterError("budgets", constraint, value) from None
    if given.shape not in ((), (steps,)) or np.any(np.isnan(given)) or np.any(given < 0.0):
        raise ParameterError("budgets", constraint, value)
    return np.broadcast_to(given, (steps,)).copy()


# --- R5: the past, ordered by lag -----------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Past:
    """`increments[j-1]`: I(X_k; X_{k-j} | the j-1 frames between); `error[r]`: rounding bound."""

    horizon: int
    increments: np.ndarray
    error: np.ndarray
    truncation: float | None
    reason: str | None


def _window_lengths(value: int | Iterable[int]) -> np.ndarray:
    items = list(value) if isinstance(value, Iterable) else [value]
    if not items:
        raise ParameterError("window_lengths", "at least one number of frames", items)
    return np.array([positive_integer("window_lengths", item, minimum=0) for item in items])


def _level(value: float) -> float:
    try:
        level = float(value)
    except (TypeError, ValueError):
        raise ParameterError("level", "a finite OU time of at least 0", value) from None
    if not (np.isfinite(level) and level >= 0.0):
        raise ParameterError("level", "a finite OU time of at least 0", value)
    return level


def _choose_horizon(video: GaussianVideo, longest: int, level: float, horizon: int | None) -> _Past:
    if horizon is not None:
        horizon = positive_integer("horizon", horizon)
        return _past(video, horizon, level, _known_innovation(video, level))
    if not video.stationary:
        if video.length is None:
            raise ParameterError(
                "horizon",
                "given for a video that is not stationary (the frame is horizon + 1)",
                None,
            )
        frames = positive_integer("video.length", video.length, minimum=2)
        return _past(video, frames - 1, level, None)
    largest = max(LARGEST_COVARIANCE // video.dim, longest, 1)
    if video.length is not None:
        largest = max(min(largest, video.length - 1), 1)
    length = min(max(16, 2 * longest), largest)
    innovation = _known_innovation(video, level)
    while True:
        past = _past(video, length, level, innovation)
        if past.truncation is None:
            # no sum says what is missing, and frames that add nothing say nothing of older ones
            most = min(max(LARGEST_UNKNOWN // video.dim, longest, length), largest)
            if past.reason is not None or length == most:
                return past
            length = most
            continue
        if length == largest or abs(past.truncation) < TRUNCATION_GOAL:
            return past
        length = min(2 * length, largest)


def _known_innovation(video: GaussianVideo, level: float) -> float | None:
    """log det of the covariance of X_k given its infinite past; `None` where there is none."""
    if not video.stationary:
        return None
    try:
        return innovation_log_det(video, level=level).value
    except (ParameterError, RefusedError):  # a family known by its covariance only, or singular
        return None


def _past(video: GaussianVideo, horizon: int, level: float, innovation: float | None) -> _Past:
    """Increments for frame k = horizon + 1 and its `horizon` predecessors, newest first.

    `innovation`: log det Cov(X_k | infinite past), if known.
    """
    dim = video.dim
    size = horizon * dim
    covariance = video.covariance(horizon + 1)
    covariance = np.exp(-2.0 * level) * covariance + sigma(level) ** 2 * np.eye(size + dim)
    newest_first = np.arange(size + dim).reshape(horizon + 1, dim)[::-1].ravel()
    covariance = covariance[np.ix_(newest_first, newest_first)]
    variance = np.diag(covariance)
    scale = np.where(variance > 0.0, np.sqrt(variance), 1.0)
    correlation = covariance / scale[:, None] / scale[None, :]
    increments, error, remaining = np.zeros(horizon), np.zeros(horizon + 1), 0.0
    reason, singular = None, False
    # of each entry, at any lag: A^l Σ A^k E A'^k is no larger than what bounds Σ A^k E A'^k
    own = np.exp(-2.0 * level) * video.rounding / float(np.min(scale)) ** 2
    for pixels in _independent_pixels(correlation, dim):
        block = correlation[np.ix_(pixels, pixels)]
        floor = 64.0 * EPS * block.shape[0]
        width = block.shape[0] // (horizon + 1)
        regular = _by_cholesky(block, width, floor, own)
        if regular is None:
            singular = True
            added, reason_here = _by_elimination(block, width, floor)
            increments, reason = increments + added, reason or reason_here
        else:
            increments, error = increments + regular[0], error + regular[1]
            remaining += regular[2]
    if singular:
        return _Past(horizon, increments, np.full(horizon + 1, np.inf), None, reason)
    truncation = None
    if not video.stationary:
        truncation = 0.0
    elif innovation is not None:
        within = remaining + 2.0 * float(np.sum(np.log(scale[:dim])))
        # rounding can leave an exact zero slightly negative; the bound says how much
        truncation = max(0.5 * (within - innovation), -float(error[-1]))
    return _Past(horizon, increments, error, truncation, None)


def _independent_pixels(correlation: np.ndarray, dim: int) -> list[np.ndarray]:
    """Rows of the groups of pixels that are independent of each other at all lags.

    Their informations add, and factorising each group alone is far cheaper.
    """
    frames = correlation.shape[0] // dim
    coupled = np.any(correlation.reshape(frames, dim, frames, dim) != 0.0, axis=(0, 2))
    count, group = scipy.sparse.csgraph.connected_components(coupled, directed=False)
    labels = np.tile(group, frames)
    return [np.flatnonzero(labels == label) for label in range(count)]


def _by_cholesky(
    correlation: np.ndarray, dim: int, floor: float, own: float = 0.0
) -> tuple[np.ndarray, np.ndarray, float] | None:
    """Increments, rounding bounds and log det Cov(X_k | whole past); `None` if singular.

    Rounding: Cholesky factors C + E exactly with |E_ij| ≤ (n + 1) eps for unit variances (Higham,
    Accuracy and Stability, Th. 10.3, with ‖l_i‖ = 1), and Cov(X_k | last r) = B C B' with
    B = [I, -K_r] moves by at most that times (Σ_j |B_aj|)(Σ_j |B_bj|). `own` is the error of each
    entry of C itself.
    """
    now, past = slice(0, dim), slice(dim, None)
    size = correlation.shape[0] - dim
    horizon = size // dim
    try:
        factor = scipy.linalg.cholesky(correlation[past, past], lower=True)
    except np.linalg.LinAlgError:
        return None
    if np.min(np.diag(factor)) ** 2 <= floor:
        return None
    inverse = scipy.linalg.solve_triangular(factor, np.eye(size), lower=True)
    explained = (inverse @ correlation[past, now]).reshape(horizon, dim, dim)
    removed = np.cumsum(explained.swapaxes(1, 2) @ explained, axis=0)
    conditional = np.concatenate([np.zeros((1, dim, dim)), -removed]) + correlation[now, now]
    values, vectors = np.linalg.eigh(symmetrise(conditional))
    if np.min(values) <= floor:
        return None
    # rows of explained_j whitened by Cov(X_k | last j-1): singular values are the rho_ji
    whitened = explained @ (vectors[:-1] / np.sqrt(values[:-1])[:, None, :])
    correlations = np.linalg.svd(whitened, compute_uv=False)
    increments = -0.5 * np.sum(np.log1p(-(np.minimum(correlations, 1.0) ** 2)), axis=-1)
    rounding = (size + 16) * EPS + own
    row_sums = np.ones((horizon + 1, dim))
    gain = np.zeros((dim, size))
    for j in range(horizon):
        gain += explained[j].T @ inverse[j * dim : (j + 1) * dim]
        row_sums[j + 1] += np.abs(gain).sum(axis=1)
    moved = rounding * np.sum(row_sums**2, axis=1)
    smallest = values[:, 0]
    error = np.where(moved < 0.5 * smallest, moved * np.sum(1.0 / values, axis=1), np.inf)
    return increments, error, float(np.sum(np.log(values[-1])))


def _by_elimination(
    correlation: np.ndarray, dim: int, floor: float
) -> tuple[np.ndarray, str | None]:
    """The same increments for a singular law: frames are conditioned on one by one.

    A direction whose variance given newer frames is below rounding carries nothing; a direction
    of X_k whose variance falls below rounding with frame k-j makes that increment infinite.
    """
    residual = correlation
    now = slice(0, dim)
    increments = np.zeros(correlation.shape[0] // dim - 1)
    for j in range(increments.size):
        frame = slice(dim, 2 * dim)
        values, vectors = np.linalg.eigh(residual[frame, frame])
        kept = values > floor
        cross = residual[:, frame] @ (vectors[:, kept] / np.sqrt(values[kept]))
        before, directions = np.linalg.eigh(residual[now, now])
        uncertain = before > floor
        seen = directions[:, uncertain].T @ cross[now]
        after = np.linalg.eigvalsh(np.diag(before[uncertain]) - seen @ seen.T)
        if np.any(after <= floor):
            increments[j] = np.inf
        else:
            correlations = np.linalg.svd(
                seen / np.sqrt(before[uncertain])[:, None], compute_uv=False
            )
            increments[j] = -0.5 * np.sum(np.log1p(-(correlations**2)))
        remaining = np.r_[0:dim, 2 * dim : residual.shape[0]]
        residual = residual[np.ix_(remaining, remaining)] - cross[remaining] @ cross[remaining].T
    reason = None
    returns = np.flatnonzero(np.isinf(increments)) + 1
    if returns.size:
        reason = (
            f"the frame(s) {', '.join(str(j) for j in returns)} back determine a direction of X_k "
            "that newer frames leave uncertain (its variance falls below rounding, "
            f"{floor:.1g} of a pixel's)"
        )
    return increments, reason
