r"""The exact error decomposition: Theorems A, B and C on Gaussian video.

$$KL(P_{chain} \,\|\, Q_{chain}) = IE_0 + \sum_k (NIE_k + SEE_k + DE_k + MB_k)$$

with noise-initialisation, score-estimation and discretisation errors and the memory bottleneck of
each AR step, all in nats. `decompose` also gives the *ladder*, output KL ≤ chain KL ≤ explicit
constants (Corollary A, 2.1), and the clip KL beside Theorem B's bound.

The functions that compute one term (`noise_initialisation_error`, `discretisation_error`,
`memory_bottleneck`) take window laws and levels only; they are batched over leading axes and
generic in the array namespace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import scipy.integrate
import scipy.linalg
from array_api_compat import array_namespace

from arvdm_theory import noise
from arvdm_theory._gaussian import (
    EPS,
    cholesky,
    gaussian_kl,
    half_excess,
    identity_like,
    posterior_covariance,
    symmetrise,
    total_excess,
    trace,
    transpose,
)
from arvdm_theory._innovations import BlockKL, Composition, OutputKL
from arvdm_theory._progress import report
from arvdm_theory._window_law import DenseLaws, KalmanLaws, Law, WindowLaw, window_laws
from arvdm_theory.checks import positive_integer
from arvdm_theory.errors import NotPositiveDefiniteError, ParameterError, RefusedError
from arvdm_theory.generator import (
    AffineDenoiser,
    Estimated,
    Exact,
    Generator,
    LinearMemory,
    Resolved,
    ResolvedLaws,
    SubStep,
    affine_denoiser,
    generated_law,
    generator_context,
    resolve,
    resolved_laws,
)
from arvdm_theory.schedule import RollOut, Schedule
from arvdm_theory.video import GaussianVideo

if TYPE_CHECKING:
    import pandas

__all__ = [
    "Decomposition",
    "ScheduleComparison",
    "StepTerms",
    "Totals",
    "compare_schedules",
    "decompose",
    "discretisation_error",
    "memory_bottleneck",
    "noise_initialisation_error",
    "step_terms",
]

Array = Any

_TERMS = ("ie", "nie", "see", "de", "see_plus_de", "mb")
_TOTALS = (*_TERMS, "chain", "path", "output", "clip", "theorem_b", "bound")
_TINY = float(np.finfo(np.float64).tiny)
_UNITS = {"nats": 1.0, "bits": 1.0 / np.log(2.0)}


# --- Theorem A's terms, batched and namespace-generic ---------------------------------------------


def _weight(prior: Array, gamma: Array) -> Array:
    """W = (G^{-1} + S)^{-1}, the inverse covariance of an observation of precision G."""
    xp = array_namespace(prior)
    root = xp.sqrt(gamma)
    scaled = root[..., :, None] * prior * root[..., None, :]
    inner = xp.linalg.inv(identity_like(prior) + scaled)
    return symmetrise(root[..., :, None] * inner * root[..., None, :])


def noise_initialisation_error(
    given_past: Array, prediction: Array, mean: Array, gamma_input: Array, t_max: float, fresh: int
) -> Array:
    r"""$NIE_k = E\,KL(P(X^T_{fresh} \mid \text{everything before}) \,\|\, N(0, I))$ (Theorem A).

    Arguments
    ---------
    given_past: S_P, window covariance given all finished frames, `(..., n, n)`.
    prediction: B with B B' the covariance of the window's prediction from them, `(..., n, m)`.
    mean: mean of the window's clean frames `(..., n)`.
    gamma_input: signal-to-noise ratios of the window's coordinates at their input levels `(n,)`.
    t_max: T, OU time. fresh: number of entering coordinates (Δ d), the last ones.

    Returns nats, `(...)`.

    >>> white = np.array([[[2.0]]])  # one entering frame of variance 2, nothing known of it
    >>> args = (white, np.zeros((1, 1, 1)), np.zeros((1, 1)), np.array([1.0]))
    >>> mu = np.exp(-2.0)  # X^T has variance 1 + e^{-2T}
    >>> value = noise_initialisation_error(*args, t_max=1.0, fresh=1)
    >>> bool(np.isclose(value[0], 0.5 * (mu - np.log1p(mu))))
    True

    With λ the eigenvalues of the entering frames' covariance given all that
    was before, the KL is Σ ½(μ − log(1+μ)), μ = e^{-2T}(λ − 1), plus ½ e^{-2T} times what is
    already known of them; both parts are non-negative by construction.
    """
    xp = array_namespace(given_past)
    size = given_past.shape[-1]
    kept = size - fresh
    decay = float(np.exp(-2.0 * t_max))
    entering = given_past[..., kept:, kept:]
    known = xp.sum(prediction[..., kept:, :] ** 2, axis=(-2, -1))
    known = known + xp.sum(mean[..., kept:] ** 2, axis=-1)
    if kept:
        # (S + G^{-1})^{-1} = G^{1/2} (L L')^{-1} G^{1/2}: no inverse, which would lose cond * eps
        root = xp.sqrt(gamma_input[:kept])
        scaled = root[:, None] * given_past[..., :kept, :kept] * root
        factor = cholesky(identity_like(scaled) + scaled, "I + G^{1/2} S G^{1/2}")
        cross = root[:, None] * transpose(given_past[..., kept:, :kept])
        seen = xp.linalg.solve(factor, cross)
        explained = transpose(seen) @ seen
        entering = entering - explained
        known = known + trace(explained)
    eigenvalues = xp.linalg.eigvalsh(symmetrise(entering))
    return xp.sum(half_excess(decay * (eigenvalues - 1.0)), axis=-1) + 0.5 * decay * known


def discretisation_error(given_context: Array, gammas: Array) -> Array:
    r"""$DE_k$ of the ancestral sampler (Theorem A; closed form in THEORY, 5).

    $\sum_n \sum_i \tfrac12 (\nu_i - \log(1+\nu_i))$ with ν the eigenvalues of
    $\Delta G^{1/2} V_n \Delta G^{1/2}$ and $V_n = (S_R^{-1} + G_n)^{-1}$: the same number as
    ½ Σ Δγ mmse − ΔI, summed without cancellation, each sub-step's share non-negative.

    Arguments: `given_context` S_R, window covariance given references and memory `(..., n, n)`;
    `gammas` sub-step signal-to-noise ratios per coordinate `(M + 1, n)`. Returns nats `(...)`.

    >>> one_step = discretisation_error(np.array([[1.0]]), np.array([[1.0], [2.0]]))
    >>> bool(np.isclose(one_step, 0.5 * (0.5 - np.log(1.5))))  # V = 1/2
    True
    """
    xp = array_namespace(given_context)
    total = xp.zeros(given_context.shape[:-2], dtype=given_context.dtype)
    for n in range(gammas.shape[0] - 1):
        posterior = posterior_covariance(given_context, gammas[n])
        root = xp.sqrt(gammas[n + 1] - gammas[n])
        ratio = root[:, None] * posterior * root
        total = total + xp.sum(half_excess(xp.linalg.eigvalsh(ratio)), axis=-1)
    return total


def memory_bottleneck(
    given_past: Array, forgotten: Array, gamma_input: Array, gamma_output: Array
) -> Array:
    r"""$MB_k = I(\text{Output}_k; \text{Past}_k \mid \text{Input}_k)$ (Theorem A; THEORY, 5).

    The past moves the window by $B_\perp\eta$, η standard normal, which the context does not
    know. Output tells of η what Input did not:
    $\tfrac12\log\det(I + L^{-1} B_\perp' T' (\Delta G^{-1} + V)^{-1} T B_\perp L^{-T})$ with
    $T = (I + S_P G^I)^{-1}$, $V = T S_P$ and $LL' = I + B_\perp' W^I B_\perp$. Equal to the
    four-determinant formula, without its cancellation: zero iff nothing is forgotten, never
    negative.

    Arguments: `given_past` S_P `(..., n, n)`; `forgotten` B_perp `(..., n, m)`; `gamma_input`,
    `gamma_output` signal-to-noise ratios per coordinate `(n,)`. Returns nats `(...)`.

    >>> prior, forgotten = np.array([[1.0]]), np.array([[2.0]])  # S_P = 1, S_R = 1 + 4
    >>> value = memory_bottleneck(prior, forgotten, np.array([1.0]), np.array([3.0]))
    >>> bool(np.isclose(value, 0.5 * np.log((1 + 15) / (1 + 5) * (1 + 1) / (1 + 3))))
    True
    """
    xp = array_namespace(given_past)
    posterior = posterior_covariance(given_past, gamma_input)
    moved = forgotten - (posterior * gamma_input) @ forgotten
    increase = xp.sqrt(gamma_output - gamma_input)
    scaled = increase[:, None] * posterior * increase
    noisy = cholesky(identity_like(scaled) + scaled, "I + scaled posterior covariance")
    seen = xp.linalg.solve(noisy, increase[:, None] * moved)
    known = transpose(forgotten) @ _weight(given_past, gamma_input) @ forgotten
    factor = cholesky(identity_like(known) + symmetrise(known), "I + known memory")
    left = xp.linalg.solve(factor, transpose(seen))
    return 0.5 * xp.sum(xp.log1p(_singular_values(left) ** 2), axis=-1)


def _singular_values(matrix: Array) -> Array:
    return array_namespace(matrix).linalg.svdvals(matrix)


# --- results --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class Decomposition:
    r"""Theorem A's terms for one roll-out, with the ladder and Theorem B. All numbers in nats.

    Arrays have one entry per AR step. A number that does not exist for the sampler or memory is
    `None`, and `refused` says why under its name. `error_bound` bounds each number's floating-point
    error to first order, from the conditioning of the covariances it was computed from (a total's
    bound holds for each of its steps too); `unreliable` names the numbers that it may swamp.
    """

    video: GaussianVideo
    schedule: Schedule
    generator: Generator
    roll_out: RollOut
    ie: float
    nie_per_step: np.ndarray
    see_per_step: np.ndarray | None
    de_per_step: np.ndarray | None
    see_plus_de_per_step: np.ndarray | None
    mb_per_step: np.ndarray
    renoising_per_step: np.ndarray | None
    path_per_step: np.ndarray | None
    output_per_step: np.ndarray | None
    clip_per_step: np.ndarray | None
    constants_per_step: np.ndarray | None
    expected_see: tuple[float, float, int] | None
    refused: dict[str, str]
    error_bound: dict[str, float]

    @property
    def nie(self) -> float:
        """Σ_k NIE_k, noise-initialisation error."""
        return float(self.nie_per_step.sum())

    @property
    def see(self) -> float | None:
        """Σ_k SEE_k, score-estimation error."""
        return None if self.see_per_step is None else float(self.see_per_step.sum())

    @property
    def de(self) -> float | None:
        """Σ_k DE_k, discretisation error."""
        return None if self.de_per_step is None else float(self.de_per_step.sum())

    @property
    def see_plus_de(self) -> float | None:
        """Σ_k (SEE_k + DE_k); the one number that exists where their cross term does not vanish."""
        per_step = self.see_plus_de_per_step
        return None if per_step is None else float(per_step.sum())

    @property
    def mb(self) -> float:
        """Σ_k MB_k, memory bottleneck."""
        return float(self.mb_per_step.sum())

    @property
    def chain(self) -> float | None:
        """KL(P_chain || Q_chain), Theorem A's left-hand side."""
        rest = self.see_plus_de
        return None if rest is None else self.ie + self.nie + rest + self.mb

    @property
    def path(self) -> float | None:
        """Path (Girsanov) KL of the score-frozen samplers, at least the chain KL (2.2)."""
        if self.path_per_step is None:
            return None
        return self.ie + self.nie + float(self.path_per_step.sum()) + self.mb

    @property
    def output(self) -> float | None:
        """Output KL: frames 1..`roll_out.frames` at level δ."""
        return None if self.output_per_step is None else float(self.output_per_step.sum())

    @property
    def clip(self) -> float | None:
        """Clip KL: the Δ frames finished last, at level δ."""
        return None if self.clip_per_step is None else float(self.clip_per_step[-1])

    @property
    def theorems(self) -> tuple[str, ...]:
        """Labels of the results used."""
        return ("A", "Corollary A") if "theorem_b" in self.refused else ("A", "B", "Corollary A")

    @property
    def unreliable(self) -> tuple[str, ...]:
        """Names of the numbers whose error bound exceeds 1 % of them (and 1e-9 nats)."""
        return _unreliable(self)

    @property
    def theorem_b_per_step(self) -> np.ndarray | None:
        """Theorem B's bound on the clip KL after each step (no MB term)."""
        if "theorem_b" in self.refused or self.see_plus_de_per_step is None:
            return None
        terms = self.nie_per_step + self.see_plus_de_per_step
        if self.renoising_per_step is not None:
            terms = terms + self.renoising_per_step
        return np.asarray(self.ie + np.cumsum(terms))

    @property
    def theorem_b(self) -> float | None:
        """Theorem B's bound on `clip`."""
        per_step = self.theorem_b_per_step
        return None if per_step is None else float(per_step[-1])

    @property
    def bound(self) -> float | None:
        """Top of the ladder: IE + the constants of 2.1 for NIE and DE + exact SEE and MB."""
        if self.constants_per_step is None or self.see is None:
            return None
        return self.ie + float(self.constants_per_step.sum()) + self.see + self.mb

    def to_json(self, unit: str = "nats") -> dict[str, Any]:
        """Totals, per-step arrays, refusals and error bounds as plain numbers.

        `unit`: `nats` or `bits`.
        """
        scale = _scale(unit)

        def array(value: np.ndarray | None) -> list[float] | None:
            return None if value is None else (value * scale).tolist()

        out = _described(self, unit)
        for name in ("nie", "see", "de", "see_plus_de", "mb", "output", "clip", "theorem_b"):
            out[f"{name}_per_step"] = array(getattr(self, f"{name}_per_step"))
        return out

    def to_frame(self, unit: str = "nats") -> pandas.DataFrame:
        """One row per AR step, one column per term (needs pandas)."""
        import pandas

        data = self.to_json(unit)
        suffix = "_per_step"
        columns = {
            key.removesuffix(suffix): value
            for key, value in data.items()
            if key.endswith(suffix) and value is not None
        }
        frame = pandas.DataFrame(columns)
        frame.insert(0, "step", np.arange(1, self.roll_out.steps + 1))
        return frame

    def citation(self) -> str:
        """BibTeX of what these numbers rest on."""
        from arvdm_theory.literature import citation

        return citation(self)

    def __repr__(self) -> str:
        return f"Decomposition({_ladder(self)})"


@dataclass(frozen=True, eq=False, repr=False)
class Totals:
    r"""Theorem A's totals for one roll-out of any length, in nats: `decompose(per_step=False)`.

    The same numbers as a `Decomposition`'s totals, without their history. `settled` is the AR step
    from which on every step is the same map (the Riccati recursion of the truth has converged), so
    that the rest was summed in closed form; `None` if none was. `switching_error` bounds what that
    changed, to first order; `error_bound` includes it. `refused`, `error_bound` and `unreliable`
    as in `Decomposition`.
    """

    video: GaussianVideo
    schedule: Schedule
    generator: Generator
    roll_out: RollOut
    ie: float
    nie: float
    see: float | None
    de: float | None
    see_plus_de: float | None
    mb: float
    chain: float | None
    path: float | None
    output: float | None
    clip: float | None
    theorem_b: float | None
    bound: float | None
    expected_see: tuple[float, float, int] | None
    refused: dict[str, str]
    error_bound: dict[str, float]
    settled: int | None
    switching_error: dict[str, float]

    @property
    def theorems(self) -> tuple[str, ...]:
        """Labels of the results used."""
        return ("A", "Corollary A") if "theorem_b" in self.refused else ("A", "B", "Corollary A")

    @property
    def unreliable(self) -> tuple[str, ...]:
        """Names of the numbers whose error bound exceeds 1 % of them (and 1e-9 nats)."""
        return _unreliable(self)

    def to_json(self, unit: str = "nats") -> dict[str, Any]:
        """Totals, refusals and error bounds as plain numbers. `unit`: `nats` or `bits`."""
        scale = _scale(unit)
        switching = {name: value * scale for name, value in self.switching_error.items()}
        return _described(self, unit) | {"settled": self.settled, "switching_error": switching}

    def citation(self) -> str:
        """BibTeX of what these numbers rest on."""
        from arvdm_theory.literature import citation

        return citation(self)

    def __repr__(self) -> str:
        settled = "" if self.settled is None else f", settled at step {self.settled}"
        return f"Totals({_ladder(self)}{settled})"


def _unreliable(result: Decomposition | Totals) -> tuple[str, ...]:
    values = {name: getattr(result, name) for name in result.error_bound}
    return tuple(
        name
        for name, bound in result.error_bound.items()
        if values[name] is not None and bound > max(1e-9, 0.01 * abs(values[name]))
    )


def _scale(unit: str) -> float:
    if not isinstance(unit, str) or unit not in _UNITS:
        raise ParameterError("unit", f"one of {', '.join(_UNITS)}", unit)
    return float(_UNITS[unit])


def _described(result: Decomposition | Totals, unit: str) -> dict[str, Any]:
    """Totals, and what they are of, as plain numbers."""
    scale, plan, dim = _scale(unit), result.roll_out, result.video.dim
    values = {name: getattr(result, name) for name in _TOTALS}
    out: dict[str, Any] = {
        name: None if value is None else value * scale for name, value in values.items()
    }
    if result.expected_see is not None:
        mean, error, trials = result.expected_see
        out["expected_see"] = {
            "mean": mean * scale,
            "standard_error": error * scale,
            "trials": trials,
        }
    return out | {
        "refused": result.refused,
        "error_bound": {key: value * scale for key, value in result.error_bound.items()},
        "unreliable": list(result.unreliable),
        "unit": unit,
        "steps": plan.steps,
        "frames": plan.frames,
        "surplus_frames": plan.surplus,
        "clip_frames": [plan.generated - result.schedule.stride + 1, plan.generated],
        "dim": dim,
        "network_calls_per_frame": result.schedule.calls_per_frame(),
        "frame_evaluations_per_frame": result.schedule.cost(result.generator.reference),
        "kappa": result.schedule.kappa,
        "theorems": list(result.theorems),
    }


def _ladder(result: Decomposition | Totals) -> str:
    def show(value: float | None) -> str:
        return "none" if value is None else f"{value:.6g}"

    return (
        f"{result.schedule.method}, K={result.roll_out.steps}, nats: output {show(result.output)} "
        f"<= chain {show(result.chain)} <= bound {show(result.bound)}; ie {show(result.ie)}, "
        f"nie {show(result.nie)}, see {show(result.see)}, de {show(result.de)}, "
        f"mb {show(result.mb)}"
    )


# --- the calculator -------------------------------------------------------------------------------

_NO_CHAIN = (
    "a deterministic sampler gives every intermediate state a singular conditional law, so the "
    "chain KL and its terms SEE and DE do not exist; only the output KL does (2.2)"
)
_CROSS_TERM = (
    "with a frozen score SEE and DE have a cross term, so only their sum see_plus_de exists (2.2)"
)
_TOO_ILL_CONDITIONED = (
    "the joint law of all finished frames is too ill-conditioned for double precision (an unstable "
    "chain or an exploding sampler over many steps): fewer steps or more sub-steps"
)
_ANCESTRAL_ONLY = "the explicit constants of 2.1 are proved for the ancestral sampler only"
_FIXED_MAP = (
    "Theorem B needs Input_{k+1} to be a function of (Input_k, Output_k); this linear memory "
    "reaches farther back than that: use a recursive memory or more references"
)


@overload
def decompose(
    video: GaussianVideo,
    schedule: Schedule,
    generator: Generator | None = None,
    *,
    steps: int | None = None,
    frames: int | None = None,
    law: Law = "auto",
    per_step: Literal[True] = True,
) -> Decomposition: ...


@overload
def decompose(
    video: GaussianVideo,
    schedule: Schedule,
    generator: Generator | None = None,
    *,
    steps: int | None = None,
    frames: int | None = None,
    law: Law = "auto",
    per_step: Literal[False],
) -> Totals: ...


def decompose(
    video: GaussianVideo,
    schedule: Schedule,
    generator: Generator | None = None,
    *,
    steps: int | None = None,
    frames: int | None = None,
    law: Law = "auto",
    per_step: bool = True,
) -> Decomposition | Totals:
    r"""Theorem A: every term of the KL decomposition, exactly, with the ladder and Theorem B.

    Arguments
    ---------
    video: P, the law of real video. schedule: D1. generator: denoiser, sampler and memory;
        default exact denoiser, ancestral sampler.
    steps: K AR steps; or frames: any number of frames, K = ⌈frames/Δ⌉ and the surplus is generated,
        left out of the output KL, and reported.
    law: how window laws are computed, `dense`, `kalman` or `auto`. With a Kalman law (video with a
        finite state) everything, output and clip KL included, takes time linear in K.
    per_step: `False` for totals only: then a Kalman law takes memory independent of K, and stops
        iterating where the recursion has reached its steady state.

    Returns a `Decomposition`, or `Totals` if not `per_step`, in nats.

    Raises `ParameterError` (bad input) and its named subclasses, before anything is computed also
    for what would not fit: more than 10 million steps if `per_step` (`step_terms` streams them), a
    dense law larger than this machine's memory.

    Source: THEORY, Theorem A, Corollary A, 2.1, 2.2, Theorem B, and the closed forms of section 5;
    the paper's long-video and short-clip theorems.

    >>> from arvdm_theory.video import Autoregressive
    >>> video = Autoregressive([0.5, 0.4], 0.3)
    >>> schedule = Schedule.outpainting(6, 2, t_max=3.0, t_min=0.05, substeps=12)
    >>> result = decompose(video, schedule, steps=5)
    >>> result.output <= result.chain <= result.bound
    True
    >>> hour = decompose(video, schedule, steps=100_000, per_step=False)
    >>> hour.settled < 1000 and hour.output <= hour.chain <= hour.bound
    True
    """
    if not isinstance(per_step, bool):
        raise ParameterError("per_step", "True or False", per_step)
    generator = Generator() if generator is None else generator
    plan = schedule.roll_out(steps=steps, frames=frames)
    if per_step:
        _check_storage(plan)
    calculate = _decompose if per_step else _totals
    with _in_range():
        result = calculate(video, schedule, generator, plan, law)
    for name in _TOTALS:
        value = getattr(result, name)
        if value is not None and not np.isfinite(value):
            raise ParameterError(
                "video, schedule and generator",
                "within the range of double precision",
                f"{name} {value}",
            )
    return result


@contextmanager
def _in_range() -> Iterator[None]:
    """Overflow is an error, and is reported as one of the input."""
    try:
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            yield
    except (FloatingPointError, OverflowError, np.linalg.LinAlgError) as error:
        raise ParameterError(
            "video, schedule and generator",
            "within the range of double precision",
            f"values that are not ({error})",
        ) from None


def _check_storage(plan: RollOut) -> None:
    if plan.steps > _MOST_STEPS:
        size = plan.steps * _BYTES_A_STEP / 2**30
        raise ParameterError(
            "steps",
            f"at most {_MOST_STEPS} for arrays with an entry a step: per_step=False gives the "
            "totals alone, step_terms the steps in blocks",
            f"{plan.steps} (about {size:.3g} GiB)",
        )


@dataclass(frozen=True, eq=False)
class StepTerms:
    """Theorem A's terms, output and clip KL of consecutive AR steps, in nats; see `step_terms`.

    `first`: number of the first of them (from 1). Arrays have one entry a step, `None` where
    `Decomposition` has none.
    """

    first: int
    nie: np.ndarray
    see: np.ndarray | None
    de: np.ndarray | None
    see_plus_de: np.ndarray | None
    mb: np.ndarray
    output: np.ndarray | None
    clip: np.ndarray | None


def step_terms(
    video: GaussianVideo,
    schedule: Schedule,
    generator: Generator | None = None,
    *,
    steps: int | None = None,
    frames: int | None = None,
    block: int = 64,
) -> Iterator[StepTerms]:
    r"""The per-step terms of a `decompose`, block after block: memory independent of K.

    Arguments: as for `decompose`; `block`, AR steps at a time.
    Yields `StepTerms` in order, nats; stop when enough has been seen.

    Raises `ParameterError` as `decompose` does, at once; and for a video without a finite state,
    whose steps are calculated together: `decompose` has them all.

    Source: THEORY, Theorem A and section 5.

    >>> from arvdm_theory.video import Autoregressive
    >>> schedule = Schedule.fifo(4, t_max=3.0, t_min=0.05, substeps=4)
    >>> video = Autoregressive([0.5, 0.4], 0.3)
    >>> found = step_terms(video, schedule, steps=1_000_000_000, block=8)
    >>> next(found).mb.shape, next(found).first
    ((8,), 9)
    """
    generator = Generator() if generator is None else generator
    plan, block = schedule.roll_out(steps=steps, frames=frames), positive_integer("block", block)
    with _in_range():
        laws = resolved_laws(video, schedule, generator, plan.steps, "kalman")
        recursion = _Recursion(laws, plan, "kalman")
    if not recursion.linear:
        raise ParameterError("generator.denoiser.video", "one with a finite state", "none")
    return _blocks_of(recursion, block)


def _blocks_of(recursion: _Recursion, size: int) -> Iterator[StepTerms]:
    while recursion.taken < recursion.plan.steps:
        first = recursion.taken + 1
        with _in_range():
            block = recursion.take(size)
        terms = block.terms
        yield StepTerms(
            first, block.nie, terms.see, terms.de, terms.both, block.mb, block.output, block.clip
        )


def _decompose(
    video: GaussianVideo, schedule: Schedule, generator: Generator, plan: RollOut, law: Law
) -> Decomposition:
    laws = resolved_laws(video, schedule, generator, plan.steps, law)
    recursion = _Recursion(laws, plan, law)
    blocks = []
    while recursion.taken < plan.steps:
        blocks.append(recursion.take(_BLOCK_STEPS))
    merged = _Block.merged(blocks)
    terms = merged.terms
    assert recursion.first is not None
    refused = _refusals(generator, schedule, terms, plan.steps)
    expected_see = _expected_see(recursion.first, plan.steps)
    wants_see = isinstance(generator.denoiser, Estimated) and generator.denoiser.trials >= 2
    if wants_see and expected_see is None:
        refused["expected_see"] = refused["see"]

    output, clip = merged.output, merged.clip
    if recursion.output is None:
        output, clip, errors = _output_kl(recursion.first, plan, terms)
    else:
        errors = _innovation_errors(merged, generator.sampler)
    if output is None:
        refused["output"] = _TOO_ILL_CONDITIONED
    if clip is None:
        refused["clip"] = _TOO_ILL_CONDITIONED
    ie, errors["ie"] = _initial_error(recursion.first, terms)
    errors |= _term_errors(merged, generator, errors["ie"])
    constants = None
    if generator.sampler == "ancestral":
        constants = _explicit_constants(video, schedule, merged.power, plan.steps)
        # every factor of the constants is a level's, good to a few roundings
        rest = errors["ie"] + errors["see"] + errors["mb"]
        power = 0.5 * np.exp(-2.0 * schedule.t_max) * video.dim * video.rounding
        power *= plan.steps * schedule.stride
        errors["bound"] = rest + float(power) + 256.0 * EPS * float(constants.sum())
    return Decomposition(
        video=video,
        schedule=schedule,
        generator=generator,
        roll_out=plan,
        ie=ie,
        nie_per_step=merged.nie,
        see_per_step=terms.see,
        de_per_step=terms.de,
        see_plus_de_per_step=terms.both,
        mb_per_step=merged.mb,
        renoising_per_step=merged.renoising,
        path_per_step=merged.path,
        output_per_step=output,
        clip_per_step=clip,
        constants_per_step=constants,
        expected_see=expected_see,
        refused=refused,
        error_bound=errors,
    )


def _totals(
    video: GaussianVideo, schedule: Schedule, generator: Generator, plan: RollOut, law: Law
) -> Totals:
    laws = resolved_laws(video, schedule, generator, plan.steps, law)
    recursion = _Recursion(laws, plan, law)
    if not recursion.linear:
        return _summed(_decompose(video, schedule, generator, plan, law))
    total, steady = None, None
    while recursion.taken < plan.steps and steady is None:
        if recursion.taken >= _PATIENCE and plan.steps > _MOST_STEPS:
            raise ParameterError(
                "steps",
                f"at most {_MOST_STEPS} for a roll-out that has no steady state after "
                f"{recursion.taken} AR steps, so that each has to be taken",
                plan.steps,
            )
        block = recursion.take(min(_SETTLING_STEPS, max(16, recursion.taken)))
        total = block.total() if total is None else _Block.merged([total, block.total()]).total()
        if recursion.taken + _LAST_STEPS < plan.steps and recursion.settled():
            last = recursion.take(_LAST_STEPS)
            total = _Block.merged([total, last.total()]).total()
            steady = recursion.finish(last)
    assert total is not None and recursion.first is not None
    settled = None
    switching: dict[str, float] = {}
    if steady is not None:
        rest, switching, settled = steady
        total = _Block.merged([total, rest]).total()
    terms = total.terms
    refused = _refusals(generator, schedule, terms, plan.steps)
    ie, ie_error = _initial_error(recursion.first, terms)
    errors = {"ie": ie_error} | _innovation_errors(total, generator.sampler)
    errors |= _term_errors(total, generator, ie_error)
    numbers: dict[str, float | None] = {
        name: None if array is None else float(array.sum())
        for name, array in (
            ("nie", total.nie),
            ("mb", total.mb),
            ("see", terms.see),
            ("de", terms.de),
            ("see_plus_de", terms.both),
            ("path", total.path),
            ("output", total.output),
        )
    }
    numbers["clip"] = None if total.clip is None else float(total.clip[-1])
    for name in ("output", "clip"):
        if numbers[name] is None:
            refused[name] = _TOO_ILL_CONDITIONED
    both, path, known = numbers["see_plus_de"], numbers["path"], ie + float(total.nie.sum())
    forgotten = float(total.mb.sum())
    numbers["chain"] = None if both is None else known + both + forgotten
    numbers["path"] = None if path is None else known + path + forgotten
    numbers["theorem_b"] = numbers["bound"] = None
    if both is not None and "theorem_b" not in refused:
        added = 0.0 if total.renoising is None else float(total.renoising.sum())
        numbers["theorem_b"] = known + both + added
    if generator.sampler == "ancestral" and numbers["see"] is not None:
        constants = plan.steps * float(_explicit_constants(video, schedule, total.power, 1)[0])
        numbers["bound"] = ie + constants + numbers["see"] + forgotten
        power = 0.5 * np.exp(-2.0 * schedule.t_max) * video.dim * video.rounding
        power *= plan.steps * schedule.stride
        rest_error = errors["ie"] + errors["see"] + errors["mb"]
        errors["bound"] = rest_error + float(power) + 256.0 * EPS * constants
    for name, missed in switching.items():
        if name in errors:
            errors[name] += missed
    return Totals(
        video=video,
        schedule=schedule,
        generator=generator,
        roll_out=plan,
        ie=ie,
        **numbers,  # type: ignore[arg-type]
        expected_see=None,  # an estimated denoiser has no finite state
        refused=refused,
        error_bound=errors,
        settled=settled,
        switching_error=switching,
    )


def _summed(result: Decomposition) -> Totals:
    """The totals of a decomposition that was not computed block after block."""
    described = (result.video, result.schedule, result.generator, result.roll_out)
    values = {name: getattr(result, name) for name in _TOTALS if name != "ie"}
    return Totals(
        *described,
        ie=result.ie,
        **values,
        expected_see=result.expected_see,
        refused=result.refused,
        error_bound=result.error_bound,
        settled=None,
        switching_error={},
    )


def _refusals(
    generator: Generator, schedule: Schedule, terms: _SamplingTerms, steps: int
) -> dict[str, str]:
    """Numbers that do not exist for this sampler or memory, and why."""
    refused: dict[str, str] = {}
    if terms.see is None or terms.de is None:
        reason = _NO_CHAIN if terms.both is None else _CROSS_TERM
        refused |= {"see": reason, "de": reason}
    if terms.both is None:
        refused |= {"see_plus_de": _NO_CHAIN, "chain": _NO_CHAIN, "theorem_b": _NO_CHAIN}
    elif not _input_closes(generator, schedule, steps):
        refused["theorem_b"] = _FIXED_MAP
    if generator.sampler != "ancestral":
        refused["bound"] = _ANCESTRAL_ONLY
    return refused


def _term_errors(block: _Block, generator: Generator, ie: float) -> dict[str, float]:
    """Error bounds of Theorem A's terms and of what is made of them."""
    terms = block.terms
    errors = {"nie": block.nie_error, "mb": block.mb_error}
    if terms.both is not None:
        errors["see_plus_de"] = terms.see_error + terms.de_error
        errors["theorem_b"] = ie + errors["nie"] + errors["see_plus_de"]
        errors["chain"] = errors["theorem_b"] + errors["mb"]
        if block.renoising is not None:
            errors["theorem_b"] += 2.0 * errors["mb"]
    if terms.see is not None:
        errors |= {"see": terms.see_error, "de": terms.de_error}
    if block.path is not None:
        errors["path"] = errors["chain"] + block.path_error
    return errors


def _innovation_errors(block: _Block, sampler: str) -> dict[str, float]:
    """Error bounds of output and clip KL by the recursions of `OutputKL`.

    An error in what makes the model differ from the truth, itself of the size of a KL `drift`,
    moves a KL of v by 2 √(v drift) + drift. The recursion adds a relative error of a few roundings
    a sub-step, magnified by the conditioning of a step's law.
    """
    terms = block.terms
    drift = terms.rounding + terms.drift
    errors = {}
    for name, value in (("output", block.output), ("clip", block.clip)):
        if value is None:
            continue
        size = float(value.sum()) if name == "output" else float(value[-1])
        own = 8.0 * EPS * block.kernels * terms.growth * block.sensitivity[name]
        errors[name] = float(2.0 * np.sqrt(size * drift) + drift + own)
        if sampler in ("exponential_integrator", "euler_maruyama"):
            errors[name] += terms.see_error  # coefficients that may cancel
    return errors


_MOST_STEPS = 10_000_000
"""AR steps whose terms are kept one by one, of about `_BYTES_A_STEP` bytes."""
_BYTES_A_STEP = 8 * 12

_PATIENCE = 1 << 17
"""AR steps to wait for a steady state before more than `_MOST_STEPS` are refused."""

_SETTLING_STEPS = 64
"""AR steps between two looks at whether the recursion has settled, fewer at first."""

_LAST_STEPS = 8
"""AR steps taken once it has: how much they still differ bounds what all others would."""

_BLOCK_STEPS = 128
"""AR steps whose window laws are held at a time, where the law is a Kalman law."""


@dataclass(frozen=True)
class _Block:
    """Theorem A's terms of consecutive AR steps, with sums over the steps of what bounds errors."""

    nie: np.ndarray
    mb: np.ndarray
    terms: _SamplingTerms
    path: np.ndarray | None
    renoising: np.ndarray | None
    output: np.ndarray | None
    clip: np.ndarray | None
    nie_error: float
    mb_error: float
    path_error: float
    power: float  # largest E‖X_i‖²
    kernels: int
    sensitivity: dict[str, float]

    def total(self) -> _Block:
        """One entry instead of one a step: sums, and the last clip KL."""

        def summed(array: np.ndarray | None) -> np.ndarray | None:
            return None if array is None else array.sum(keepdims=True)

        terms = self.terms
        return replace(
            self,
            nie=self.nie.sum(keepdims=True),
            mb=self.mb.sum(keepdims=True),
            terms=replace(
                terms, see=summed(terms.see), de=summed(terms.de), both=summed(terms.both)
            ),
            path=summed(self.path),
            renoising=summed(self.renoising),
            output=summed(self.output),
            clip=None if self.clip is None else self.clip[-1:],
        )

    def times(self, count: int) -> _Block:
        """The sums over `count` equal steps, from one (output and clip are not equal)."""
        terms = self.terms

        def many(array: np.ndarray | None) -> np.ndarray | None:
            return None if array is None else array * count

        sums = ("see_error", "de_error", "rounding", "drift")
        changed: dict[str, Any] = {name: getattr(terms, name) * count for name in sums}
        changed |= {name: many(getattr(terms, name)) for name in ("see", "de", "both")}
        return replace(
            self,
            nie=self.nie * count,
            mb=self.mb * count,
            terms=replace(terms, **changed),
            path=many(self.path),
            renoising=many(self.renoising),
            nie_error=self.nie_error * count,
            mb_error=self.mb_error * count,
            path_error=self.path_error * count,
        )

    @staticmethod
    def merged(blocks: list[_Block]) -> _Block:
        """Consecutive blocks as one."""
        if len(blocks) == 1:
            return blocks[0]

        def joined(name: str) -> np.ndarray | None:
            arrays = [getattr(block, name) for block in blocks]
            return None if any(item is None for item in arrays) else np.concatenate(arrays)

        nie, mb = joined("nie"), joined("mb")
        assert nie is not None and mb is not None
        return _Block(
            nie,
            mb,
            _SamplingTerms.merged([block.terms for block in blocks]),
            joined("path"),
            joined("renoising"),
            joined("output"),
            joined("clip"),
            sum(block.nie_error for block in blocks),
            sum(block.mb_error for block in blocks),
            sum(block.path_error for block in blocks),
            max(block.power for block in blocks),
            blocks[0].kernels,
            {
                "output": sum(block.sensitivity["output"] for block in blocks),
                "clip": blocks[-1].sensitivity["clip"],
            },
        )


class _Recursion:
    """Theorem A's terms, output and clip KL of consecutive AR steps, block after block."""

    def __init__(self, laws: ResolvedLaws, plan: RollOut, law: Law) -> None:
        self.laws, self.plan, self.taken = laws, plan, 0
        self.clean = _clean_laws(laws, plan.steps, law)
        self.linear = laws.linear and not isinstance(self.clean, DenseLaws)
        self.first: Resolved | None = None
        self.world: Resolved
        self.output: OutputKL | None = None
        self.output_lost = False

    def settled(self) -> bool:
        """Whether every further AR step is the same, to rounding."""
        laws = [self.laws.truth, self.laws.belief, self.clean]
        return all(isinstance(law, KalmanLaws) and law.settled for law in laws if law is not None)

    def finish(self, last: _Block) -> tuple[_Block, dict[str, float], int]:
        """All remaining steps as copies of the next; what that may have changed; where it began."""
        settled, left = self.taken, self.plan.steps - self.taken
        output, self.output = self.output, None
        one = self.take(1)
        world = self.world
        self.taken = self.plan.steps
        block = one.times(left)
        laws = [law for law in (self.laws.truth, self.laws.belief) if isinstance(law, KalmanLaws)]
        amplified = max(law.spread for law in laws)
        switching: dict[str, float] = {}
        for name in ("nie", "mb", "see", "de", "both", "path"):
            steps = getattr(last if hasattr(last, name) else last.terms, name)
            if steps is not None and steps.size > 1:
                change = float(np.abs(np.diff(steps)).max())
                key = "see_plus_de" if name == "both" else name
                switching[key] = left * change * amplified
        if "see_plus_de" in switching:
            rest = switching["nie"] + switching["see_plus_de"]
            switching["theorem_b"] = rest
            switching["chain"] = switching["bound"] = rest + switching["mb"]
        if "path" in switching:
            switching["path"] += switching["nie"] + switching["mb"]
        finished = None
        if output is not None and not self.output_lost:
            compared = (self.plan.frames - (self.plan.steps - 1) * world.schedule.stride) * (
                world.video.dim
            )
            try:
                finished = output.finish(world, left, compared)
            except (NotPositiveDefiniteError, FloatingPointError, np.linalg.LinAlgError):
                self.output_lost = True
        if finished is None:
            return replace(block, output=None, clip=None), switching, settled
        clip = finished.clip
        drift = sum(switching.get(name, 0.0) for name in ("nie", "mb", "see_plus_de"))
        switching["output"] = float(finished.missed + drift)
        switching["clip"] = switching["output"] / left
        return (
            replace(
                block,
                output=np.array([finished.output]),
                clip=None if clip is None else clip.value[-1:],
                sensitivity={
                    "output": finished.sensitivity,
                    "clip": 0.0 if clip is None else float(clip.sensitivity[-1]),
                },
            ),
            switching,
            settled,
        )

    def take(self, steps: int) -> _Block:
        """The next `steps` AR steps, fewer where the roll-out ends."""
        left = self.plan.steps - self.taken
        steps = min(steps, left) if self.linear else left
        world = self.world = self.laws.take(steps)
        if self.first is None:
            self.first = world
            self.output = None if world.truth.drive is None else OutputKL(world)
        self.taken += steps
        report("AR steps", self.taken, self.plan.steps)
        schedule, truth = world.schedule, world.truth
        gammas = np.repeat(schedule.gammas, world.video.dim, axis=1)
        fresh = schedule.stride * world.video.dim
        law = (truth.given_past, truth.prediction, truth.mean)
        nie = noise_initialisation_error(*law, gammas[0], schedule.t_max, fresh)
        mb = memory_bottleneck(truth.given_past, truth.forgotten, gammas[0], gammas[-1])
        composed = None
        if self.output is not None and not self.output_lost:
            composed = Composition(world)
        terms = _sampling_terms(world, composed)
        path, path_error = None, 0.0
        if world.generator.sampler in ("exponential_integrator", "euler_maruyama"):
            path, path_error = _path_terms(world)
        renoising = None
        if self.clean is not None:
            kept = self.clean.take(steps)
            known = memory_bottleneck(kept.given_past, kept.forgotten, gammas[0], gammas[-1])
            renoising = np.asarray(mb - known)
        output = clip = None
        if composed is not None:
            surplus = self.plan.surplus if self.taken == self.plan.steps else 0
            output, clip = self._output(composed, fresh - surplus * world.video.dim)
        return _Block(
            np.asarray(nie),
            np.asarray(mb),
            terms,
            path,
            renoising,
            None if output is None else output.value,
            None if clip is None else clip.value,
            _noise_error(truth, schedule, nie),
            _memory_error(truth, gammas, mb),
            path_error,
            _largest_power(world),
            int(schedule.substeps or 1) + truth.mean.shape[1],
            {
                "output": 0.0 if output is None else float(output.sensitivity.sum()),
                "clip": 0.0 if clip is None else float(clip.sensitivity[-1]),
            },
        )

    def _output(self, composed: Composition, frames: int) -> tuple[BlockKL | None, BlockKL | None]:
        assert self.output is not None
        try:
            return self.output.advance(composed.world, composed.maps(), frames)
        except (NotPositiveDefiniteError, FloatingPointError, np.linalg.LinAlgError):
            self.output_lost = True
            return None, None


def _clean_laws(laws: ResolvedLaws, steps: int, law: Law) -> KalmanLaws | DenseLaws | None:
    r"""Window laws with clean references, for Theorem B's addition where they are re-noised.

    That addition is $I(R_k; Output_k | \tilde R_k, In_k)$ (M6). Nothing is added for r ≤ Δ, where
    R_{k+1} is part of Output_k.
    """
    schedule, generator = laws.schedule, laws.generator
    if not schedule.renoised or generator.reference <= schedule.stride:
        return None
    seen = generator_context(schedule, generator, laws.video.dim)
    clean = replace(seen, level=schedule.t_min).without_references(laws.video.dim)
    return window_laws(laws.video, schedule, clean, steps, law)


def _input_closes(generator: Generator, schedule: Schedule, steps: int) -> bool:
    """Theorem B's condition: is Input_{k+1} a function of (Input_k, Output_k) and fresh noise?

    A linear memory is one only while its lags reach no farther than the frames that step k
    finished or that the state holds clean.
    """
    memory = generator.memory
    if not isinstance(memory, LinearMemory):
        return True
    reference, stride = generator.reference, schedule.stride
    if schedule.renoised and reference <= stride:
        reference = 0
    lags = int(np.max(np.flatnonzero(memory.weights.any(axis=(1, 2))), initial=-1)) + 1
    # once both are full the condition repeats
    return all(
        min(lags, k * stride) <= stride + min(reference, (k - 1) * stride)
        for k in range(1, min(steps, lags + reference + 2))
    )


# --- SEE and DE -----------------------------------------------------------------------------------
#
# Error bounds, here and below, are first order in machine precision. The window law is known up to
# η = rounding in S_P and s = slip in B_perp, so S_R = S_P + B_perp B_perp' up to
# η_R = η + 2 ‖B_perp‖ s + s². With T = (I + S G)^{-1} and W = (G^{-1} + S)^{-1}:
#   DE   changes by at most ½ η_R [ Σ_n tr(ΔG_n T_n T_n') + tr W(G^O) ];
#   SEE  by 2 √(SEE·S) + S, S = ½ Σ_n tr(ΔG_n T_n T_n') (η_R² ‖W_n‖ + s²), the SEE of the change;
#   MB   by tr W(S_P, G^O) (‖B_perp‖ s + s²) + 2 MB γ^O η;   NIE by e^{-2T} Δ d η.


@dataclass(frozen=True)
class _SamplingTerms:
    """SEE and DE per step with their floating-point bounds.

    `rounding` is the SEE that rounding errors of the denoiser's coefficients amount to, `drift` the
    KL, second order as well, that those of the covariances do, `growth` the largest squared norm
    of a sub-step's linear map, which magnifies rounding.
    """

    see: np.ndarray | None
    de: np.ndarray | None
    both: np.ndarray | None
    see_error: float
    de_error: float
    rounding: float
    growth: float
    drift: float

    @staticmethod
    def merged(parts: list[_SamplingTerms]) -> _SamplingTerms:
        """Those of consecutive steps as one."""

        def joined(name: str) -> np.ndarray | None:
            arrays = [getattr(part, name) for part in parts]
            return None if arrays[0] is None else np.concatenate(arrays)

        return _SamplingTerms(
            see=joined("see"),
            de=joined("de"),
            both=joined("both"),
            see_error=sum(part.see_error for part in parts),
            de_error=sum(part.de_error for part in parts),
            rounding=sum(part.rounding for part in parts),
            growth=max(part.growth for part in parts),
            drift=sum(part.drift for part in parts),
        )


def _sampling_terms(world: Resolved, also: Composition | None = None) -> _SamplingTerms:
    """SEE_k and DE_k of the model's one-step kernels against the truth's (2, 2.2).

    `also`: what composes the same kernels into AR steps.
    """
    schedule, sampler, truth = world.schedule, world.generator.sampler, world.truth
    see, de = np.zeros(world.steps), np.zeros(world.steps)
    slack = np.zeros(world.steps)  # SEE that rounding of the window laws could cause
    de_slack = np.zeros(world.steps)
    slip = truth.slip + world.belief.slip
    eta = truth.rounding + world.belief.rounding
    for law in (truth, world.belief):
        eta = eta + 2.0 * law.loading * law.slip + law.slip**2
    exact = isinstance(world.generator.denoiser, Exact) and world.belief is truth
    growth = 1.0
    for n in range(int(schedule.substeps or 0)):
        start, end = schedule.grid[n], schedule.grid[n + 1]
        moving = np.repeat(start > end, world.video.dim)
        if not moving.any():
            continue
        best = affine_denoiser(Exact(), truth, truth, start, n)
        model = best if exact else world.denoiser_at(n, best)
        gap = np.repeat(noise.gamma(end) - noise.gamma(start), world.video.dim)
        keep = np.eye(gap.size) - best.window * np.repeat(noise.alpha(start), world.video.dim)
        # W = G (I + S G)^{-1} = G (I - V G), the Frobenius norm for the spectral one
        weight = np.repeat(noise.gamma(start), world.video.dim)[:, None] * keep
        reach = np.sum(gap[:, None] * keep**2, axis=(-2, -1))
        slack += 0.5 * reach * (eta**2 * np.sqrt(np.sum(weight**2, axis=(-2, -1))) + slip**2)
        de_slack += 0.5 * eta * reach
        kernel = world.kernel_at(n, model)
        if also is not None:
            also.add(n, best, model, kernel)
        growth = max(growth, float(np.sum(kernel.window**2, axis=(-2, -1)).max()))
        if sampler == "ancestral":
            root = np.sqrt(gap)
            de += np.asarray(total_excess(root[:, None] * best.posterior * root))
            if not exact:
                difference = _Error.between(model, best)
                see += 0.5 * difference.scaled(root).second_moment(truth, start)
            continue
        if sampler == "ddim":
            continue
        _add_general_kernel(world, n, moving, best, model, kernel, see, de)
    rounding = float(slack.sum())
    weights = _weight(truth.given_context, np.repeat(schedule.gammas[-1], world.video.dim))
    de_slack += 0.5 * eta * np.asarray(trace(weights))
    entering = np.exp(-2.0 * schedule.t_max) * schedule.stride * world.video.dim * eta
    moved = (rounding, growth, float(np.sum((2.0 * de_slack + entering) ** 2)))
    if sampler == "ddim":
        return _SamplingTerms(None, None, None, 0.0, 0.0, *moved)
    frozen = sampler in ("exponential_integrator", "euler_maruyama")
    de_error = float(de_slack.sum()) + 64.0 * EPS * float(de.sum())
    see_error = float(np.sum(2.0 * np.sqrt(see * slack))) + 64.0 * EPS * float(see.sum())
    if not exact or frozen:
        # a kernel's coefficients may cancel: growth is by how much
        see_error += rounding + 64.0 * EPS * growth * float((see + de).sum())
    if frozen:
        return _SamplingTerms(None, None, see + de, see_error, de_error, *moved)
    return _SamplingTerms(see, de, see + de, see_error, de_error, *moved)


def _add_general_kernel(
    world: Resolved,
    n: int,
    moving: np.ndarray,
    best: AffineDenoiser,
    model: AffineDenoiser,
    kernel: SubStep,
    see: np.ndarray,
    de: np.ndarray,
) -> None:
    """Add sub-step n of a sampler whose kernel is not the bridge: KL of two Gaussian kernels."""
    start, end = world.schedule.grid[n], world.schedule.grid[n + 1]
    sampler, dim = world.generator.sampler, world.video.dim
    t_from, t_to = np.repeat(start, dim), np.repeat(end, dim)
    _, b, v = noise.bridge(t_from, t_to)
    true_covariance = np.diag(v) + b[:, None] * best.posterior * b
    block = np.ix_(np.arange(world.steps), np.flatnonzero(moving), np.flatnonzero(moving))
    truth_block, model_block = true_covariance[block], kernel.covariance[block]
    exact_kernel = _bridge_kernel(best, world.truth.mean, t_from, t_to)
    difference = _Error(
        kernel.window - exact_kernel.window,
        kernel.context - exact_kernel.context,
        kernel.offset - exact_kernel.offset,
    ).rows(moving)
    factor = cholesky(model_block, "covariance of the sampler's kernel")
    mean_part = 0.5 * difference.whitened(factor).second_moment(world.truth, start)
    if sampler == "optimal_variance_diagonal":
        scale = 1.0 / np.sqrt(np.linalg.diagonal(truth_block))
        correlation = scale[:, :, None] * truth_block * scale[:, None, :]
        excess = correlation * (1.0 - np.eye(correlation.shape[-1]))
        de += np.sum(half_excess(np.linalg.eigvalsh(excess)), axis=-1)
        believed = np.linalg.diagonal(model_block)
        change = (np.linalg.diagonal(truth_block) - believed) / believed
        see += mean_part + np.sum(half_excess(change), axis=-1)
        return
    zero = np.zeros(truth_block.shape[:-1])
    see += mean_part
    gap = b[moving][:, None] * (best.posterior - model.posterior)[block] * b[moving]
    if sampler != "optimal_variance":
        gap = truth_block - model_block
    de_or_see = np.asarray(gaussian_kl(truth_block, model_block, symmetrise(gap), zero))
    if sampler == "optimal_variance":
        see += de_or_see
    else:
        de += de_or_see


def _bridge_kernel(
    best: AffineDenoiser, mean: np.ndarray, t_from: np.ndarray, t_to: np.ndarray
) -> SubStep:
    """Mean map of the truth's one-step kernel, a x + b m, in deviations from the true means."""
    a, b, _ = noise.bridge(t_from, t_to)
    return SubStep(
        b[:, None] * best.window + np.diag(a),
        b[:, None] * best.context,
        np.zeros_like(mean),
        best.posterior,
    )


@dataclass(frozen=True, eq=False)
class _Error:
    """An affine function e = E_x (X_n - αμ) + E_c (c - μ_c) + e_0 of what a step sees."""

    window: np.ndarray
    context: np.ndarray
    offset: np.ndarray

    @staticmethod
    def between(model: AffineDenoiser, best: AffineDenoiser) -> _Error:
        return _Error(
            model.window - best.window,
            model.context - best.context,
            model.offset - best.offset,
        )

    def scaled(self, weights: np.ndarray) -> _Error:
        return _Error(
            weights[:, None] * self.window, weights[:, None] * self.context, weights * self.offset
        )

    def rows(self, kept: np.ndarray) -> _Error:
        return _Error(self.window[:, kept], self.context[:, kept], self.offset[:, kept])

    def whitened(self, factor: np.ndarray) -> _Error:
        return _Error(
            np.linalg.solve(factor, self.window),
            np.linalg.solve(factor, self.context),
            np.linalg.solve(factor, self.offset[..., None])[..., 0],
        )

    def second_moment(self, law: WindowLaw, levels: np.ndarray) -> np.ndarray:
        """E‖e‖² under the truth, window frames at `levels`: a sum of squares."""
        dim = law.mean.shape[1] // levels.size
        t = np.repeat(levels, dim)
        alpha, sigma = np.asarray(noise.alpha(t)), np.asarray(noise.sigma(t))
        signal = self.window * alpha
        along = signal @ law.prediction + self.context @ law.context
        own = np.sum((signal @ law.given_past) * signal, axis=(-2, -1))
        return np.asarray(
            np.sum(along**2, axis=(-2, -1))
            + own
            + np.sum((self.window * sigma) ** 2, axis=(-2, -1))
            + np.sum((self.context * law.context_noise[:, None, :]) ** 2, axis=(-2, -1))
            + np.sum(self.offset**2, axis=-1)
        )


def _path_terms(world: Resolved) -> tuple[np.ndarray, float]:
    r"""Girsanov: $\tfrac14 E\int \|f_P - f_Q\|^2 d\tau$ of each AR step (2.2), and its error.

    Within a sub-step, as between them, levels move linearly in log-SNR. The integral over each
    sub-step is adaptive (Gauss–Kronrod, relative tolerance 1e-10).
    """
    total, error = np.zeros(world.steps), 0.0
    for n in range(int(world.schedule.substeps or 0)):
        value, missed = scipy.integrate.quad_vec(
            _path_integrand(world, n), 0.0, 1.0, epsrel=1e-10, epsabs=1e-13, norm="max"
        )
        total += value
        error += float(missed) * world.steps
    return total, error


def _path_integrand(world: Resolved, n: int) -> Callable[[float], np.ndarray]:
    """¼ E‖f_P − f_Q‖² dτ/du of sub-step n at the fraction u of the way in log-SNR, per AR step."""
    schedule, truth, dim = world.schedule, world.truth, world.video.dim
    drift = 1.0 if world.generator.sampler == "euler_maruyama" else 0.0
    start, end = noise.log_snr(schedule.grid[n]), noise.log_snr(schedule.grid[n + 1])
    model = world.denoiser_at(n)
    t_from = np.repeat(schedule.grid[n], dim)
    var_from, alpha_from = noise.sigma(t_from) ** 2, noise.alpha(t_from)
    # the frozen drift x_n drift + 2 (alpha x̂ − x_n) / var, as a map of x_n and c
    scale = 2.0 * alpha_from / var_from
    frozen = np.diag(drift - 2.0 / var_from) + scale[:, None] * model.window
    frozen_context = scale[:, None] * model.context
    frozen_offset = scale * model.offset + drift * alpha_from * truth.mean

    def integrand(u: float) -> np.ndarray:
        log_snr = (1.0 - u) * start + u * end
        levels = np.where(start == end, schedule.grid[n], noise.time_from_log_snr(log_snr))
        best = affine_denoiser(Exact(), truth, truth, levels, n)
        t = np.repeat(levels, dim)
        alpha, variance = noise.alpha(t), noise.sigma(t) ** 2
        passed = np.maximum(t_from - t, 0.0)  # x_n = e^{-passed} x_u + noise; rounding only
        signal = 2.0 * alpha / variance
        error = _Error(
            np.diag(drift - 2.0 / variance)
            + signal[:, None] * best.window
            - frozen * np.exp(-passed),
            signal[:, None] * best.context - frozen_context,
            drift * alpha * truth.mean - frozen_offset,
        )
        speed = 0.5 * variance * np.repeat(end - start, dim)  # dτ/du, since dt = −½ σ² dλ
        root = np.sqrt(0.25 * speed)
        fresh = root[:, None] * frozen * np.sqrt(-np.expm1(-2.0 * passed))
        return error.scaled(root).second_moment(truth, levels) + np.sum(fresh**2, axis=(-2, -1))

    return integrand


def _initial_error(world: Resolved, terms: _SamplingTerms) -> tuple[float, float]:
    """IE_0 = KL of the re-noised initial window, zero if it is exact; and its error bound."""
    if world.initial is None:
        return 0.0, 0.0
    exact_mean, exact = replace(world, initial=None).initial_law()
    mean, covariance = world.initial_law()
    shift = exact_mean - mean
    value = float(gaussian_kl(exact, covariance, exact - covariance, shift))
    factor = np.linalg.cholesky(covariance)
    ratio = np.linalg.solve(factor, np.linalg.solve(factor, exact - covariance).T)
    rounding = max(float(law.rounding.max()) for law in world.initial)
    strongest = float(noise.gamma(world.schedule.t_min))
    changed = terms.rounding + (rounding * strongest) ** 2 * covariance.shape[0]
    kernels = world.generator.initialisation or 1
    return value, _kl_rounding(value, exact, covariance, ratio, changed, kernels, terms.growth)


def _noise_error(truth: WindowLaw, schedule: Schedule, nie: np.ndarray) -> float:
    decay = float(np.exp(-2.0 * schedule.t_max))
    fresh = truth.mean.shape[1] * schedule.stride / schedule.window
    return float(np.sum(decay * fresh * truth.rounding + 64.0 * EPS * nie))


def _memory_error(truth: WindowLaw, gammas: np.ndarray, mb: np.ndarray) -> float:
    gained = trace(_weight(truth.given_past, gammas[-1]))
    strongest = float(gammas[-1].max())
    bound = gained * (truth.loading * truth.slip + truth.slip**2)
    bound = bound + (2.0 * strongest * truth.rounding + 64.0 * EPS) * mb
    return float(np.sum(bound))


def _largest_power(world: Resolved) -> float:
    """Largest E‖X_i‖² of the windows' clean frames."""
    truth, schedule = world.truth, world.schedule
    second = np.linalg.diagonal(truth.given_past) + np.sum(truth.prediction**2, axis=-1)
    second = (second + truth.mean**2).reshape(world.steps, schedule.window, world.video.dim)
    return float(second.sum(axis=-1).max())


def _explicit_constants(
    video: GaussianVideo, schedule: Schedule, power: float, steps: int
) -> np.ndarray:
    """NIE and DE constants of 2.1 per step, with the smallest valid κ and B² = max E‖X_i‖²."""
    decay = float(np.exp(-2.0 * schedule.t_max))
    fresh = -float(np.expm1(-2.0 * schedule.t_max))
    nie = schedule.stride * (0.5 * decay * power + video.dim * decay**2 / (4.0 * fresh))
    span = float(noise.log_snr(schedule.t_min) - noise.log_snr(schedule.t_max))
    moved = int(schedule.moving.sum())
    de = 0.5 * schedule.kappa * video.dim * (moved + schedule.stride * span)
    return np.full(steps, nie + de)


def _expected_see(world: Resolved, steps: int) -> tuple[float, float, int] | None:
    """Mean and standard error of SEE over training sets, for an estimated denoiser."""
    denoiser = world.generator.denoiser
    if not isinstance(denoiser, Estimated) or denoiser.trials < 2:
        return None
    values = []
    for trial in range(denoiser.trials):
        drawn = replace(denoiser, seed=denoiser.seed + 1 + trial, trials=0)
        generator = replace(world.generator, denoiser=drawn)
        terms = _sampling_terms(resolve(world.video, world.schedule, generator, steps))
        if terms.see is None:
            return None
        values.append(float(terms.see.sum()))
    spread = float(np.std(values, ddof=1)) / np.sqrt(denoiser.trials)
    return float(np.mean(values)), float(spread), denoiser.trials


def _output_kl(
    world: Resolved, plan: RollOut, terms: _SamplingTerms
) -> tuple[np.ndarray | None, np.ndarray | None, dict[str, float]]:
    r"""Output KL as the exact sum E1 over AR steps, and the clip KL of every step's block.

    With Q = LL' and D = L^{-1}(P − Q)L^{-T}, R the Cholesky factor of I + D: block k adds
    ½(tr − log det) of its conditional covariance ratio, ½‖R_{k,<k}‖² and ½ of the squared whitened
    mean; every part is non-negative. Where P is far narrower than Q in some direction, R is taken
    as L^{-1} times the Cholesky factor of P. `None` if a law is not positive definite to rounding.
    """
    dim, delta = world.video.dim, world.schedule.t_min
    alpha, variance = float(noise.alpha(delta)), float(noise.sigma(delta)) ** 2
    size, kept = plan.generated * dim, plan.frames * dim
    try:
        mean, covariance = generated_law(world)
        truth = alpha**2 * world.video.covariance(plan.generated) + variance * np.eye(size)
        if not (np.all(np.isfinite(covariance)) and np.all(np.isfinite(truth))):
            return None, None, {}
        factor = cholesky(covariance[:kept, :kept], "output covariance of Q")
        own = cholesky(truth[:kept, :kept], "output covariance of P")
    except (NotPositiveDefiniteError, FloatingPointError):
        return None, None, {}
    # what is as large as all frames together is dropped as soon as it has been used
    across = scipy.linalg.solve_triangular(factor, own, lower=True)
    del own
    narrow = bool(np.min(np.diag(across)) ** 2 < 0.1)
    inner = across if narrow else None
    del across
    half = truth[:kept, :kept] - covariance[:kept, :kept]
    half = scipy.linalg.solve_triangular(factor, half, lower=True)
    ratio = symmetrise(scipy.linalg.solve_triangular(factor, half.T, lower=True))
    del half
    shift = scipy.linalg.solve_triangular(factor, -mean[:kept], lower=True)
    if inner is None:
        inner = cholesky(np.eye(kept) + ratio, "ratio of output covariances")
    block = world.schedule.stride * dim
    output = np.empty(plan.steps)
    for k in range(plan.steps):
        rows = slice(k * block, min((k + 1) * block, kept))
        before, here = inner[rows, : k * block], inner[rows, rows]
        if narrow:
            excess = 0.5 * float(np.sum(here**2)) - 0.5 * here.shape[0]
            excess -= float(np.sum(np.log(np.diag(here))))
        else:
            conditional = ratio[rows, rows] - before @ before.T
            excess = float(np.sum(half_excess(np.linalg.eigvalsh(symmetrise(conditional)))))
        output[k] = excess + 0.5 * (np.sum(before**2) + np.sum(shift[rows] ** 2))
    blocks = np.arange(plan.steps)[:, None] * block + np.arange(block)
    index = (blocks[:, :, None], blocks[:, None, :])
    own, model = truth[index], covariance[index]
    clip = gaussian_kl(own, model, own - model, -mean[blocks])

    kernels = plan.steps * int(world.schedule.substeps or 1)
    laws = (truth[:kept, :kept], covariance[:kept, :kept], ratio, terms.rounding)
    bounds = {
        name: _kl_rounding(value, *laws, kernels, terms.growth)
        + world.video.rounding * _condition(laws[0])[1] * kept
        for name, value in (("output", float(output.sum())), ("clip", float(clip[-1])))
    }
    return output, np.asarray(clip), bounds


def _condition(covariance: np.ndarray) -> tuple[float, float]:
    """Norm of a covariance and (an estimate of the) norm of its inverse, 1-norms."""
    norm = float(np.linalg.norm(covariance, 1))
    factor = np.linalg.cholesky(covariance)
    reciprocal, _ = scipy.linalg.lapack.dpocon(factor.T, norm)
    return norm, 1.0 / max(reciprocal * norm, _TINY)


def _kl_rounding(
    value: float,
    truth: np.ndarray,
    model: np.ndarray,
    ratio: np.ndarray,
    changed: float,
    kernels: int,
    growth: float,
) -> float:
    """First-order bound on the error of a KL of two Gaussian laws.

    Covariances are known up to a few roundings of their norm per row and per kernel, the model's
    magnified by `growth`; `changed` is the KL that rounding of its denoiser may add. In coordinates
    in which Q is the identity, dKL = ½ tr[μ δQ − μ/(1+μ) δP].
    """
    size = truth.shape[0]
    (norm_p, inverse_p), (norm_q, inverse_q) = _condition(truth), _condition(model)
    slack_q = 4.0 * EPS * (size + kernels) * norm_q * inverse_q * growth
    slack_p = 4.0 * EPS * size * norm_p
    spread = float(np.linalg.norm(ratio))  # Frobenius
    first = 0.5 * np.sqrt(size) * spread * (slack_q + slack_p * max(inverse_p, inverse_q))
    second = size * (slack_q + slack_p * inverse_q) ** 2
    amplified = 1.0 + spread + min(norm_q * inverse_p, 1.0 / EPS)
    drift = second + changed
    mean_part = 2.0 * value * slack_q
    return (
        float(first + 4.0 * amplified * (2.0 * np.sqrt(value * drift) + drift) + mean_part)
        + 64.0 * EPS * value
    )


# --- Theorem C ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ScheduleComparison:
    r"""Theorem C for one schedule: the chain KL from denoising losses on real video.

    chain = `initialisation` + `noise` + `loss` − `information`, nats, where `noise` is
    $\sum_{fresh} E\,KL(q(x^T|x^0) \| N)$, `loss` $\tfrac12\sum\Delta\gamma\,E\|X^0-\hat x\|^2$ and
    `information` $I(X^0; \text{all states}) - I(X^0; \text{initial states})$. `error_bound` is of
    their sum, to first order in machine precision.
    """

    schedule: Schedule
    frames: int
    initialisation: float
    noise: float
    loss: float
    information: float
    error_bound: float

    @property
    def chain(self) -> float:
        """Theorem C's right-hand side."""
        return self.initialisation + self.noise + self.loss - self.information

    @property
    def loss_per_frame(self) -> float:
        """γ-weighted denoising loss per finished frame: what ranks schedules without roll-out."""
        return self.loss / self.frames

    def __repr__(self) -> str:
        return (
            f"ScheduleComparison({self.schedule.method}: chain {self.chain:.6g} nats, "
            f"loss {self.loss_per_frame:.6g} nats a frame over {self.frames} frames)"
        )


def compare_schedules(
    video: GaussianVideo,
    schedules: list[Schedule],
    generator: Generator | None = None,
    *,
    frames: int,
) -> list[ScheduleComparison]:
    r"""Theorem C: compare schedules by γ-weighted denoising losses on real video, no roll-out.

    Each schedule takes K = ⌈frames/Δ⌉ steps. The loss is $E\|X^0_j - \hat x_j\|^2$ itself (from the
    joint law of clean frames and what the step sees), not mmse plus SEE, so that this is a second
    way to the chain KL: on Gaussian video the identity is exact, boundary terms included.

    Arguments: `video`; `schedules`, a list; `generator`, the same for all; `frames` to generate.
    Returns one `ScheduleComparison` a schedule, in nats.

    Raises `RefusedError` for a sampler other than ancestral (S0).

    >>> from arvdm_theory.video import StaticLatent
    >>> common = {"t_max": 3.0, "t_min": 0.05, "substeps": 8}
    >>> video, schedule = StaticLatent(0.5), Schedule.fifo(4, **common)
    >>> [row] = compare_schedules(video, [schedule], frames=6)
    >>> bool(np.isclose(row.chain, decompose(video, schedule, steps=6).chain))
    True
    """
    generator = Generator() if generator is None else generator
    if generator.sampler != "ancestral":
        raise RefusedError(
            "Theorem C holds for the ancestral sampler, whose one-step KL is half Δγ times the "
            f"squared error; got {generator.sampler}"
        )
    if isinstance(schedules, Schedule):
        raise ParameterError("schedules", "a list of schedules", schedules)
    return [_compared(video, schedule, generator, frames) for schedule in schedules]


def _compared(
    video: GaussianVideo, schedule: Schedule, generator: Generator, frames: int
) -> ScheduleComparison:
    plan = schedule.roll_out(frames=frames)
    world = resolve(video, schedule, generator, plan.steps)
    terms = _sampling_terms(world)
    gammas = np.repeat(schedule.gammas, video.dim, axis=1)
    ie, ie_error = _initial_error(world, terms)
    fresh, loss = _fresh_noise(world, plan), _denoising_loss(world)
    information = _state_information(world, plan)
    error = ie_error + terms.see_error + terms.de_error
    error += _memory_error(world.truth, gammas, np.zeros(world.steps))
    error += 64.0 * EPS * plan.needed * video.dim * (fresh + loss + information)
    return ScheduleComparison(schedule, plan.generated, ie, fresh, loss, information, error)


def _fresh_noise(world: Resolved, plan: RollOut) -> float:
    """Σ over entering frames of E KL(q(x^T | x^0) || N(0, I))."""
    schedule, dim = world.schedule, world.video.dim
    start = schedule.window - schedule.stride
    clean = world.video.covariance(plan.needed)
    power = np.sum(np.diag(clean)[start * dim :]) + np.sum(
        world.video.means(plan.needed)[start:] ** 2
    )
    decay = float(np.exp(-2.0 * schedule.t_max))
    entered = (plan.needed - start) * dim
    return 0.5 * (decay * float(power) - entered * (decay + float(np.log1p(-decay))))


def _denoising_loss(world: Resolved) -> float:
    """½ Σ_k Σ_n Σ_j Δγ E‖X⁰_j − x̂_j‖², teacher forced."""
    truth, schedule, dim = world.truth, world.schedule, world.video.dim
    total = 0.0
    for n in range(int(schedule.substeps or 0)):
        model = world.denoiser_at(n)
        t = np.repeat(schedule.grid[n], dim)
        gap = np.repeat(schedule.gammas[n + 1] - schedule.gammas[n], dim)
        signal = model.window * noise.alpha(t)
        residual = np.eye(t.size) - signal
        along = residual @ truth.prediction - model.context @ truth.context
        loss = np.sum(along**2, axis=-1) + np.sum((residual @ truth.given_past) * residual, axis=-1)
        loss = loss + np.sum((model.window * noise.sigma(t)) ** 2, axis=-1) + model.offset**2
        loss = loss + np.sum((model.context * truth.context_noise[:, None, :]) ** 2, axis=-1)
        total += 0.5 * float(np.sum(gap * loss))
    return total


def _state_information(world: Resolved, plan: RollOut) -> float:
    """I(X⁰; all states) − I(X⁰; initial states): each frame's cleanest state carries it."""
    schedule, dim = world.schedule, world.video.dim
    start = schedule.window - schedule.stride
    levels = np.full(plan.needed, schedule.t_min)
    levels[plan.generated :] = schedule.output_levels[schedule.stride :]
    clean = world.video.covariance(plan.needed)

    def information(levels: np.ndarray) -> float:
        root = np.sqrt(np.repeat(noise.gamma(levels), dim))
        size = root.size
        inner = np.eye(size) + root[:, None] * clean[:size, :size] * root
        return float(np.sum(np.log(np.diag(cholesky(inner, "I + S G")))))

    return information(levels) - (information(schedule.input_levels[:start]) if start else 0.0)
