r"""Error accumulation: how far a generator drifts, from below and from above (E1–E5).

For the whole video accumulation is exactly additive (`sequence_kl`, E1). For a short clip it is
not: `clip_accumulation` gives, along the roll-out of any Gaussian generator,

$$\text{E4, marginals} \;\le\; KL(\text{clip}_K) \;\le\;
  \min(\text{Theorem B's line},\ \text{E3's saturation}),$$

and the calculators of E2–E5 give the closed forms of its regimes. All divergences are
KL(P ‖ Q), P the truth and Q the model, in nats. The closed forms and `sequence_kl` take leading
axes, which broadcast, and torch tensors, through which they are differentiable.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.linalg
from array_api_compat import array_namespace

from arvdm_theory import noise
from arvdm_theory._arrays import (
    NUMPY,
    Array,
    common_shape,
    counts,
    floating,
    is_tensor,
    numpy_of,
    plain,
    refuse_tensors,
    require,
    solve_lower,
)
from arvdm_theory._gaussian import (
    EPS,
    cholesky,
    gaussian_kl,
    gaussian_kl_rounding,
    half_excess,
    symmetrise,
    transpose,
)
from arvdm_theory._window_law import Context, Law, window_law
from arvdm_theory.checks import positive_integer, real_number
from arvdm_theory.decomposition import Decomposition, decompose
from arvdm_theory.enclosure import UNITS, Enclosure
from arvdm_theory.errors import NotPositiveDefiniteError, ParameterError, RefusedError
from arvdm_theory.generator import (
    Generator,
    Resolved,
    _step_maps,
    generator_context,
    resolve,
)
from arvdm_theory.schedule import RollOut, Schedule
from arvdm_theory.video import GaussianVideo

if TYPE_CHECKING:
    import pandas

__all__ = [
    "ClipAccumulation",
    "DriftingChain",
    "SequenceDivergence",
    "TradeOff",
    "clip_accumulation",
    "dobrushin_coefficient",
    "drift_bound",
    "drifting_chain",
    "eigenvector_drift",
    "geometric_sum",
    "memory_trade_off",
    "saturation",
    "sequence_kl",
    "smoothed_kl",
    "total_variation_saturation",
]


# --- E1: the whole video --------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class SequenceDivergence:
    """KL of two laws of a whole video as a sum over frames (E1).

    Attributes
    ----------
    per_frame: `(..., N)`, what frame k adds. error_bound: first-order bound on the rounding error
        of their sum, `(...)`. unit: of both.
    """

    per_frame: Any
    error_bound: Any
    unit: str = "nats"
    theorems: tuple[str, ...] = ("E1",)

    @property
    def total(self) -> Any:
        """KL of the joint laws, `(...)`."""
        return plain(self.per_frame.sum(-1))

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        return {
            "total": numpy_of(self.total).tolist(),
            "per_frame": self.per_frame.tolist(),
            "error_bound": numpy_of(self.error_bound).tolist(),
            "unit": self.unit,
            "theorems": list(self.theorems),
        }

    def __repr__(self) -> str:
        frames = f"{self.unit} over {self.per_frame.shape[-1]} frames"
        return f"SequenceDivergence({_spread(self.total)} {frames})"


def _spread(value: Any, digits: int = 6) -> str:
    """A number, or the ends and the shape of many."""
    values = numpy_of(value)
    if values.ndim == 0:
        return f"{float(values):.{digits}g}"
    size = " × ".join(map(str, values.shape))
    if not values.size:
        return f"({size})"
    return f"{values.min():.{digits}g} to {values.max():.{digits}g} ({size})"


def sequence_kl(
    truth: tuple[Any, Any], model: tuple[Any, Any], *, dim: int = 1
) -> SequenceDivergence:
    r"""E1: for the whole video accumulation is exactly additive.

    $$KL(P\|Q) = \sum_k E_P\, KL\big(P(x_k\mid x_{<k}) \,\|\, q(x_k\mid x_{<k})\big)$$

    With $P = L_PL_P'$, $Q = L_QL_Q'$ and $G = L_Q^{-1}L_P$, frame k adds the mean of
    ½‖·‖² over what the model predicts wrongly, $\tfrac12\|G_{k,<k}\|^2 +
    \tfrac12\|(L_Q^{-1}\delta)_k\|^2$, and the KL of the two innovations.

    Arguments
    ---------
    truth, model: (mean `(..., N d)`, covariance `(..., N d, N d)`) of the stacked frames, arrays or
        tensors; leading axes broadcast.
    dim: d, numbers a frame.

    Returns `SequenceDivergence`, nats. Every term is at least zero.

    Raises `ParameterError` (shapes) and `NotPositiveDefiniteError`.

    Source: THEORY, E1.

    >>> walk = np.minimum.outer(np.arange(1.0, 4.0), np.arange(1.0, 4.0))
    >>> sequence_kl(([0, 0, 0], walk), ([0.1, 0.2, 0.3], walk)).per_frame.round(6).tolist()
    [0.005, 0.005, 0.005]
    """
    dim = positive_integer("dim", dim)
    (mean_p, p), (mean_q, q) = _pair("truth", truth), _pair("model", model)
    xp, (mean_p, p, mean_q, q) = floating(
        **{
            "truth mean": mean_p,
            "truth covariance": p,
            "model mean": mean_q,
            "model covariance": q,
        }
    )
    _check_law("truth", mean_p, p, dim)
    _check_law("model", mean_q, q, dim)
    size = p.shape[-1]
    if q.shape[-1] != size:
        raise ParameterError("model", f"a law of {size} numbers, as truth", q.shape[-1])
    names = ("truth mean", "truth covariance", "model mean", "model covariance")
    batch = common_shape(
        dict(zip(names, (1, 2, 1, 2), strict=True)),
        **dict(zip(names, (mean_p, p, mean_q, q), strict=True)),
    )
    own, factor = cholesky(p, "covariance of P"), cholesky(q, "covariance of Q")
    across = solve_lower(factor, own)
    shift = solve_lower(factor, (mean_p - mean_q)[..., None])[..., 0]
    per_frame = []
    for k in range(size // dim):
        rows = slice(k * dim, (k + 1) * dim)
        innovation = xp.linalg.svdvals(across[..., rows, rows])
        change = (innovation - 1.0) * (innovation + 1.0)
        spread = xp.sum(_excess(change, innovation), axis=-1)
        wrong = xp.sum(across[..., rows, : k * dim] ** 2, axis=(-2, -1))
        wrong = wrong + xp.sum(shift[..., rows] ** 2, axis=-1)
        per_frame.append(xp.broadcast_to(spread + 0.5 * wrong, batch))
    values = xp.stack(per_frame, axis=-1)
    relative = 8.0 * EPS * size * (_conditions(own) + _conditions(factor))
    far = np.linalg.norm(numpy_of(across) - np.eye(size), axis=(-2, -1))
    total = numpy_of(values).sum(-1)
    error = np.array(np.broadcast_to(_kl_slack(total, far, relative), batch))
    bound = plain(error) if xp is NUMPY else xp.asarray(error, device=values.device)
    return SequenceDivergence(values, bound)


def _pair(name: str, law: Any) -> tuple[Any, Any]:
    try:
        mean, covariance = law
    except (TypeError, ValueError):
        raise ParameterError(name, "a pair (mean, covariance)", law) from None
    return mean, covariance


def _check_law(name: str, mean: Array, covariance: Array, dim: int) -> None:
    if mean.ndim == 0 or mean.shape[-1] == 0 or mean.shape[-1] % dim:
        raise ParameterError(
            f"{name} mean", f"of shape (..., N dim) with dim {dim}", tuple(mean.shape)
        )
    size = mean.shape[-1]
    if tuple(covariance.shape[-2:]) != (size, size):
        raise ParameterError(
            f"{name} covariance", f"of shape (..., {size}, {size})", tuple(covariance.shape)
        )


def _excess(change: Array, ratio: Array) -> Array:
    """½(c − log(1+c)) where 1 + c = ratio², also where the ratio is near zero."""
    xp = array_namespace(change)
    narrow = change < -0.9
    safe = xp.where(narrow, 0.0, change)
    wide = 0.5 * change - xp.log(xp.where(narrow, ratio, 1.0))
    return xp.where(narrow, wide, half_excess(safe))


def _conditions(factor: Array) -> np.ndarray:
    """Condition numbers of L L' from Cholesky factors, 2-norm."""
    values = np.linalg.svd(numpy_of(factor), compute_uv=False)
    return np.asarray((values[..., 0] / values[..., -1]) ** 2)


def _condition(factor: np.ndarray) -> float:
    """The largest of them."""
    return float(np.max(_conditions(factor)))


def _kl_slack(value: np.ndarray, spread: np.ndarray, relative: np.ndarray) -> np.ndarray:
    """First order: dKL ≤ ½ ‖μ‖ ‖w‖ + ‖w‖² for a relative change w of the covariances."""
    size = np.sqrt(np.maximum(value, 0.0))  # of a sum of squares: rounding only
    return np.asarray((spread + relative) * relative + 2.0 * size * relative + 64 * EPS * value)


# --- E2: Theorem B's factor K is tight ------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class DriftingChain:
    """The chain of E2: truth 1 − η, model 1 + η, unit innovations, equal starts.

    Attributes
    ----------
    eta: η, `(...)`. steps: K, `(n,)`. clip: exact KL of the frame after K steps, `(..., n)`;
    `error_bound` of it. per_step: ε = 2η/(2−η), what one step adds to Theorem B's line, `(...)`.
    theorem_b: K ε. asymptote: K log(1+η) + ½ log(4/(2+η)) − ½, which `clip` approaches as K η → ∞.
    ratio: clip / (K ε); its limit as K → ∞ is `limit_ratio` = log(1+η)(2−η)/(2η), `(...)`.
    """

    eta: Any
    steps: np.ndarray
    clip: Any
    error_bound: Any
    per_step: Any
    asymptote: Any
    limit_ratio: Any
    unit: str = "nats"
    theorems: tuple[str, ...] = ("E2", "B")

    @property
    def theorem_b(self) -> Any:
        """K ε, `(..., n)`."""
        _, (per_step, steps) = floating(per_step=self.per_step, steps=self.steps)
        return per_step[..., None] * steps

    @property
    def ratio(self) -> Any:
        """Exact clip KL over Theorem B's bound, in (0, 1)."""
        return self.clip / self.theorem_b

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        arrays = ("steps", "clip", "error_bound", "theorem_b", "asymptote", "ratio")
        return {
            **{name: getattr(self, name).tolist() for name in arrays},
            **{
                name: numpy_of(getattr(self, name)).tolist()
                for name in ("eta", "per_step", "limit_ratio")
            },
            "unit": self.unit,
            "theorems": list(self.theorems),
        }

    def __repr__(self) -> str:
        return (
            f"DriftingChain(eta={_spread(self.eta)}, K={int(self.steps[-1])}: clip "
            f"{_spread(self.clip[..., -1])} <= theorem_b {_spread(self.theorem_b[..., -1])} "
            f"{self.unit}, ratio {_spread(self.ratio[..., -1], 4)})"
        )


def drifting_chain(eta: Any, steps: int | Iterable[int]) -> DriftingChain:
    r"""E2: the factor K of Theorem B is tight.

    Truth $x' = (1-\eta)x + \xi$, model $x' = (1+\eta)x + \xi$, ξ ~ N(0, 1), both started at the
    truth's stationary law. One step costs $\epsilon = 2\eta/(2-\eta)$, and with
    $q = (1+\eta)^{-2K}$ the variance ratio after K steps gives

    $$KL_K = \tfrac12\Big(\mu + 2K\log(1+\eta) + \log\frac{4-(2-\eta)q}{2+\eta}\Big),\qquad
      \mu = -\frac{4(1-q)}{4-(2-\eta)q},$$

    so $KL_K = K\log(1+\eta) + O(1)$ with $O(1) \to \tfrac12(\log 2 - 1)$ as η → 0, Kη → ∞.

    Arguments: `eta` η in (0, 1), a number, an array or a tensor `(...)`; `steps` K, one count or
    several, no upper limit in practice.
    Returns `DriftingChain`, nats. Raises `ParameterError`.

    Source: THEORY, E2.

    >>> chain = drifting_chain(0.01, 5000)
    >>> chain.clip.round(3).tolist(), chain.theorem_b.round(3).tolist()
    ([49.596], [50.251])
    """
    refuse_tensors(steps=steps)
    _, (eta,) = floating(eta=eta, constraint="in (0, 1)")
    require("eta", "in (0, 1)", eta, (eta > 0.0) & (eta < 1.0))
    wanted = [steps] if not isinstance(steps, Iterable) else list(steps)
    if not wanted:
        raise ParameterError("steps", "at least one number of steps", wanted)
    count = np.array([positive_integer("steps", item) for item in wanted])
    xp, (each, k) = floating(eta=eta, steps=count)
    each = each[..., None]
    growth = 2.0 * k * xp.log1p(each)
    shrunk = xp.exp(-growth)
    mu = 4.0 * xp.expm1(-growth) / (4.0 - (2.0 - each) * shrunk)
    # beyond, 1 + mu loses digits and its logarithm is taken from its closed form
    large = mu < -0.5
    log_ratio = growth + xp.log((4.0 - (2.0 - each) * shrunk) / (2.0 + each))
    clip = xp.where(large, 0.5 * (mu + log_ratio), half_excess(xp.where(large, 0.0, mu)))
    return DriftingChain(
        plain(eta),
        count,
        clip,
        16.0 * EPS * xp.where(large, xp.abs(growth) + 2.0, clip),
        plain(2.0 * eta / (2.0 - eta)),
        0.5 * growth + 0.5 * xp.log(4.0 / (2.0 + each)) - 0.5,
        plain(xp.log1p(eta) * (2.0 - eta) / (2.0 * eta)),
    )


# --- E3: stable models saturate -------------------------------------------------------------------


def geometric_sum(ratio: Any, steps: Any) -> Any:
    r"""$1 + a + \dots + a^{K-1} = (1-a^K)/(1-a)$, K at a = 1, accurate beside 1 and -1.

    Infinite, with its sign, beyond the range of double precision. `ratio` a and `steps` K ≥ 0,
    numbers, arrays or tensors, broadcast.

    >>> geometric_sum(1.0, 5), geometric_sum(-0.5, 2), round(geometric_sum(1 + 1e-12, 1000), 6)
    (5.0, 0.5, 1000.0)
    >>> geometric_sum([0.5, 1.0], [[1], [2]]).tolist()
    [[1.0, 1.0], [1.5, 2.0]]
    """
    xp, (a, k) = floating(ratio=ratio, steps=counts("steps", steps, 0))
    common_shape(ratio=a, steps=k)
    return plain(_geometric_sum(xp, a, k))


def _geometric_sum(xp: Any, a: Array, k: Array) -> Array:
    a, k = a + xp.zeros_like(k), k + xp.zeros_like(a)
    close, small = xp.abs(a - 1.0) * k < 0.01, xp.abs(a) < 0.5
    # Σ_j C(K, j+1) (a-1)^j, terms below 0.01^j
    step = xp.where(close, a - 1.0, 0.0)
    beside, term = xp.zeros_like(a), k
    for j in range(9):
        beside = beside + term
        term = term * step * (k - j - 1.0) / (j + 2.0)
    direct = xp.where(small & ~close, a, 0.0)
    near = (1.0 - direct**k) / (1.0 - direct)
    other = xp.where(small | close, 2.0, a)
    grown = k * xp.log(xp.abs(other))
    flips = (other < 0.0) & (k % 2.0 == 1.0)  # a^K < 0: nothing cancels
    beyond = grown > 700.0
    grown = xp.where(beyond, 0.0, grown)
    far = xp.where(flips, (1.0 + xp.exp(grown)) / (1.0 - other), xp.expm1(grown) / (other - 1.0))
    endless = xp.where((other < 0.0) & ~flips, -xp.inf, xp.inf)
    far = xp.where(beyond, endless, far)
    return xp.where(close, beside, xp.where(small, near, far))


def saturation(error: Any, lipschitz: Any, steps: Any) -> Any:
    r"""E3: $W_2(P_K, Q_K) \le e\,(1 + L + \dots + L^{K-1})$ with equal starts.

    $e(1-L^K)/(1-L)$, K e at L = 1. Proof: $W_2(P_{k+1}, Q_{k+1}) \le W_2(P_{k+1}, P_k T) +
    W_2(P_k T, Q_k T) \le e + L\,W_2(P_k, Q_k)$.

    Arguments
    ---------
    error: e, $\max_k (E_P W_2^2)^{1/2}$ of one step of the model from the truth's state.
    lipschitz: L, of the model's kernel T: $W_2(T(x), T(y)) \le L|x-y|$. steps: K.
        All three are numbers, arrays or tensors that broadcast.

    Returns the bound, in the units of a frame; `inf` beyond the range of double precision.

    Raises `ParameterError`. Source: THEORY, E3.

    >>> [round(saturation(0.1, L, 50), 4) for L in (0.8, 1.0, 1.1)]
    [0.5, 5.0, 116.3909]
    """
    steps = counts("steps", steps, 0)
    xp, (e, ratio, k) = floating(error=error, lipschitz=lipschitz, steps=steps)
    _not_negative(error=e, lipschitz=ratio)
    common_shape(error=e, lipschitz=ratio, steps=k)
    total = _geometric_sum(xp, ratio, k)
    return plain(e * xp.where((e == 0.0) & xp.isinf(total), 0.0, total))


def smoothed_kl(
    wasserstein: Any,
    smoothing: Any,
    *,
    lipschitz: Any = 1.0,
    local_mean: Any = 0.0,
    local_spread: Any = 0.0,
) -> Any:
    r"""E3 in KL form: one Gaussian step turns W2 into KL.

    $$KL(P_K\|Q_K) \le \Big(\sqrt{\ell_m} + \frac{L\,W}{\sqrt2\,\sigma}\Big)^2 + \ell_s,
    \qquad W \ge W_2(P_{K-1}, Q_{K-1}),$$

    for a last model step $N(m(y), \sigma^2 I)$, m L-Lipschitz, whose local error
    $E_P KL(P(\cdot|x)\|T(x))$ is $\ell_m$ (means) plus $\ell_s$ (covariances). Proof: couple
    (X, Y) optimally and compare the laws of (X, Y, X') and (X, Y, Y'): by data processing
    $KL \le E\,KL(P(\cdot|X)\|T(Y)) = \ell_s +
    \tfrac{1}{2\sigma^2}E|(m_P(X) - m(X)) + (m(X) - m(Y))|^2$, then Minkowski.

    The cross term is real. Without it, $L^2W^2/2\sigma^2 + \ell$ is too small, by up to a factor
    2: at a truth and a model that start at points W apart, with a bias that points the same way.

    Arguments
    ---------
    wasserstein: W (units of a frame). smoothing: σ² > 0. lipschitz: L.
    local_mean, local_spread: $\ell_m$, $\ell_s$, nats.
        All are numbers, arrays or tensors that broadcast.

    Returns nats. Raises `ParameterError`.

    Source: THEORY, E3, with the cross term; the shifted chain rule of arXiv 2412.17997.

    >>> smoothed_kl(1.0, 1.0), smoothed_kl(1.0, 1.0, local_mean=0.5)
    (0.5, 2.0)
    """
    xp, (distance, variance, ratio, mean, spread) = floating(
        wasserstein=wasserstein,
        smoothing=smoothing,
        lipschitz=lipschitz,
        local_mean=local_mean,
        local_spread=local_spread,
    )
    require("smoothing", "a finite number above 0", variance, variance > 0.0)
    _not_negative(wasserstein=distance, lipschitz=ratio, local_mean=mean, local_spread=spread)
    common_shape(
        wasserstein=distance,
        smoothing=variance,
        lipschitz=ratio,
        local_mean=mean,
        local_spread=spread,
    )
    carried = 0.5 * (ratio * distance) ** 2 / variance
    root = ratio * distance / xp.sqrt(2.0 * variance)
    wrong = mean > 0.0
    cross = xp.where(wrong, 2.0 * root * xp.sqrt(xp.where(wrong, mean, 1.0)), 0.0 * root)
    return plain(carried + mean + cross + spread)


def _not_negative(**given: Array) -> None:
    for name, value in given.items():
        require(name, "a finite number of at least 0", value, value >= 0.0)


def _at_least_zero(parameter: str, value: float) -> float:
    number = real_number(parameter, value, "a finite number of at least 0")
    if number < 0.0:
        raise ParameterError(parameter, "a finite number of at least 0", value)
    return number


_GAUSSIAN_KERNEL = (
    "a Gaussian kernel on an unbounded space has Dobrushin coefficient 1 (two far starts give "
    "laws of total variation distance near 1), so the bound e/(1 - coefficient) is vacuous: use "
    "the Wasserstein form (saturation) and its KL form (smoothed_kl)"
)


def dobrushin_coefficient(kernel: Any) -> Any:
    r"""$\eta = \max_{x,y} TV(T(x), T(y))$ of a finite kernel, rows T(x).

    Arguments: `kernel` `(..., n, n)` row-stochastic matrices. Returns `(...)` in [0, 1].

    Raises `ParameterError` for a matrix that is not stochastic and `RefusedError` for a Gaussian
    video or generator.

    >>> round(dobrushin_coefficient([[0.9, 0.1], [0.3, 0.7]]), 12)
    0.6
    """
    if isinstance(kernel, (GaussianVideo, Generator)):
        raise RefusedError(_GAUSSIAN_KERNEL)
    xp, (matrix,) = floating(kernel=kernel)
    if matrix.ndim < 2 or matrix.shape[-2] != matrix.shape[-1] or matrix.shape[-1] == 0:
        raise ParameterError("kernel", "square matrices (..., n, n)", tuple(matrix.shape))
    require("kernel", "non-negative", matrix, matrix >= 0.0)
    sums = xp.sum(matrix, axis=-1)
    slack = 64.0 * EPS * matrix.shape[-1]
    require("kernel", "of rows that sum to 1", sums, xp.abs(sums - 1.0) <= slack)
    found = xp.zeros_like(sums[..., 0])
    for row in range(matrix.shape[-1]):
        apart = 0.5 * xp.sum(xp.abs(matrix - matrix[..., row : row + 1, :]), axis=-1)
        here = xp.max(apart, axis=-1)
        found = xp.where(here > found, here, found)
    return plain(found)


def total_variation_saturation(error: Any, kernel: Any, steps: Any) -> Any:
    r"""E3 in total variation, for finite kernels: $TV_K \le e\,(1-\eta^K)/(1-\eta)$.

    Arguments
    ---------
    error: e, max over k of $E_P TV(P(\cdot|x_k), T(x_k))$.
    kernel: the model's row-stochastic matrix T `(..., n, n)`, of Dobrushin coefficient η.
    steps: K. `error` and `steps` broadcast with the leading axes of `kernel`.

    Returns a number that bounds a total variation distance (at most 1).

    Raises `ParameterError`, and `RefusedError` for a Gaussian kernel, for which it is vacuous.

    Source: THEORY, E3.

    >>> round(total_variation_saturation(0.05, [[0.9, 0.1], [0.3, 0.7]], 1000), 12)
    0.125
    """
    coefficient = dobrushin_coefficient(kernel)
    xp, (e,) = floating(error=error)
    _not_negative(error=e)
    require("error", "at most 1 (a total variation distance)", e, e <= 1.0)
    xp, (bound,) = floating(infinite=("bound",), bound=saturation(e, coefficient, steps))
    return plain(xp.where(bound > 1.0, 1.0, bound))


# --- E4: what drifts cannot be hidden -------------------------------------------------------------


def drift_bound(truth_mean: Any, model_mean: Any, model_covariance: Any) -> Enclosure:
    r"""E4: $KL(P_K\|Q_K) \ge (E_Pf - E_Qf)^2/(2v)$ for the best linear f.

    f is v-sub-Gaussian under Q; for Gaussian Q and $f = u'x$, $v = u'Qu$. The best u is
    $Q^{-1}\delta$ and gives $\tfrac12\,\delta'Q^{-1}\delta$, the mean term of the Gaussian KL. It
    holds for every P with that mean, Gaussian or not.

    Arguments: `truth_mean`, `model_mean` `(..., n)`; `model_covariance` Q `(..., n, n)`; leading
    axes broadcast. Returns an `Enclosure`, nats.

    Raises `ParameterError`, `NotPositiveDefiniteError`.

    Source: THEORY, E4 (Donsker–Varadhan).

    >>> drift_bound([0.0, 0.0], [1.0, 0.0], [[2.0, 1.0], [1.0, 1.0]]).value
    0.5
    """
    xp, (mean_p, mean_q, q) = floating(
        **{"truth mean": truth_mean, "model mean": model_mean, "model covariance": model_covariance}
    )
    _check_law("model", mean_q, q, 1)
    if mean_p.ndim == 0 or mean_p.shape[-1] != mean_q.shape[-1]:
        expected = f"of shape (..., {mean_q.shape[-1]})"
        raise ParameterError("truth mean", expected, tuple(mean_p.shape))
    common_shape(
        {"truth mean": 1, "model mean": 1, "model covariance": 2},
        **{"truth mean": mean_p, "model mean": mean_q, "model covariance": q},
    )
    factor = cholesky(q, "model covariance")
    shift = solve_lower(factor, (mean_p - mean_q)[..., None])[..., 0]
    value = 0.5 * xp.sum(shift * shift, axis=-1)
    slack = 8.0 * EPS * (q.shape[-1] + 8) * xp.asarray(_conditions(factor), device=value.device)
    return Enclosure.around(plain(value), plain(slack * value), least=0.0, theorems=("E4",))


def eigenvector_drift(bias: Any, eigenvalue: Any, steps: Any, variance: Any) -> Enclosure:
    r"""E4 along a left eigenvector of the model's transition, in closed form.

    $$KL(P_K\|Q_K) \ge \frac{\mu^2}{2v_K}\Big(\frac{1-a^K}{1-a}\Big)^2$$

    for a model $y' = Ay + b + \text{noise}$ of a truth with the same A and no bias, equal starts:
    $u'A = a\,u'$ makes $u'(E_Qx_K - E_Px_K)$ a geometric sum; K² μ² / 2v at a = 1. With a right
    eigenvector the sum is another number, and the bound false.

    Arguments
    ---------
    bias: μ = u'b. eigenvalue: a, real. steps: K.
    variance: $v_K = \mathrm{Var}_Q(u'x_K)$ > 0.
        All four are numbers, arrays or tensors that broadcast.

    Returns an `Enclosure`, nats. Raises `ParameterError`.

    Source: THEORY, E4.

    >>> eigenvector_drift(0.1, 1.0, 10, 1.0).value
    0.5
    """
    steps = counts("steps", steps, 0)
    xp, (mu, a, k, v) = floating(bias=bias, eigenvalue=eigenvalue, steps=steps, variance=variance)
    require("variance", "a finite number above 0", v, v > 0.0)
    common_shape(bias=mu, eigenvalue=a, steps=k, variance=v)
    total = _geometric_sum(xp, a, k)
    drift = mu * xp.where((mu == 0.0) & xp.isinf(total), 0.0, total)
    with np.errstate(over="ignore"):
        value = 0.5 * drift * drift / v
    lost = ~xp.isfinite(value)
    error = 16.0 * EPS * (k + 4.0) * xp.where(lost, 0.0, value)
    lower = xp.where(lost, 0.0, value - error)
    lower = xp.where(lower < 0.0, 0.0, lower)
    reason = "the drift is beyond the range of double precision" if bool(xp.any(lost)) else None
    return Enclosure(
        plain(value), plain(lower), plain(value + error), theorems=("E4",), reason=reason
    )


# --- E5: the trade-off ----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class TradeOff:
    """Memory against drift on the static latent, by length of the window memory (E5).

    Attributes
    ----------
    window_lengths: r, `(R,)` frames. frame: k, the frame asked about.
    memory_bottleneck: MB_r of frame k, `(..., R)`. bias: E_Q x_k − E_P x_k, `(..., R)`, exact; and
    its limit `asymptotic_bias` μ(1+r v/s). drift: KL of frame k, which is E4's bound bias²/2(v+s)
    exactly: any r + 1 consecutive frames have the truth's covariance (M7). unit: of both
    informations; `error_bound` of them, `(...)`.
    """

    window_lengths: np.ndarray
    frame: int
    memory_bottleneck: Any
    bias: Any
    asymptotic_bias: Any
    drift: Any
    error_bound: Any
    unit: str = "nats"
    theorems: tuple[str, ...] = ("E5", "R5", "E4")

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        arrays = ("window_lengths", "memory_bottleneck", "bias", "asymptotic_bias", "drift")
        return {
            "frame": self.frame,
            **{name: getattr(self, name).tolist() for name in arrays},
            "error_bound": numpy_of(self.error_bound).tolist(),
            "unit": self.unit,
            "theorems": list(self.theorems),
        }

    def __repr__(self) -> str:
        pairs = ", ".join(
            f"r={r}: MB {_spread(self.memory_bottleneck[..., i], 4)}, drift "
            f"{_spread(self.drift[..., i], 4)}"
            for i, r in enumerate(self.window_lengths)
        )
        return f"TradeOff(frame {self.frame}; {pairs}; {self.unit})"


def memory_trade_off(
    window_lengths: int | Iterable[int],
    noise_variance: Any,
    bias: Any,
    *,
    frame: int,
    latent_variance: Any = 1.0,
    level: Any = 0.0,
) -> TradeOff:
    r"""E5: better memory forgets its own errors more slowly.

    $X_k = \theta + \xi_k$, θ ~ N(0, v), ξ ~ N(0, s). A model that predicts from its own last r
    frames, exactly but for a bias μ a step, has

    $$MB_r = \tfrac12\log\frac{1 + 1/(r+s/v)}{1 + 1/(k-1+s/v)}\ \downarrow,\qquad
      \text{bias} \to \mu\,(1 + r v/s)\ \uparrow\quad\text{in } r,$$

    and after k frames exactly the bias $m_k = \mu + \sum_{i=k-r}^{k-1} m_i/(r+s/v)$, with all
    k − 1 frames while fewer than r exist.

    Arguments
    ---------
    window_lengths: r ≥ 0, one or several. noise_variance: s > 0. bias: μ. frame: k ≥ 1.
    latent_variance: v > 0. level: OU time of the frames, 0 for clean ones: at level t read
    $s + \sigma^2(t)/\alpha^2(t)$ for s; `bias` is then that of the noisy frame.
        s, μ, v and t are numbers, arrays or tensors that broadcast.

    Returns `TradeOff`, informations in nats. Raises `ParameterError`.

    Source: THEORY, E5.

    >>> result = memory_trade_off([0, 1, 4], 1.0, 0.1, frame=200)
    >>> result.bias.round(6).tolist()
    [0.1, 0.2, 0.5]
    >>> bool(np.all(np.diff(result.memory_bottleneck) < 0))
    True
    """
    refuse_tensors(window_lengths=window_lengths)
    items = window_lengths if isinstance(window_lengths, Iterable) else [window_lengths]
    lengths = np.array([positive_integer("window_lengths", item, 0) for item in items], dtype=int)
    if lengths.size == 0:
        raise ParameterError("window_lengths", "at least one number of frames", [])
    frame = positive_integer("frame", frame)
    xp, (s, v, mu, t, r) = floating(
        noise_variance=noise_variance,
        latent_variance=latent_variance,
        bias=bias,
        level=level,
        window_lengths=lengths,
    )
    require("noise_variance", "a finite number above 0", s, s > 0.0)
    require("latent_variance", "a finite number above 0", v, v > 0.0)
    require("level", "a finite number of at least 0", t, t >= 0.0)
    common_shape(noise_variance=s, latent_variance=v, bias=mu, level=t)
    scale = xp.exp(-2.0 * t)
    v, s = scale * v, scale * s - xp.expm1(-2.0 * t)
    s, mu = s + xp.zeros_like(mu), mu + xp.zeros_like(s)
    ratio = (s / v)[..., None]
    used = xp.where(r < frame - 1.0, r, frame - 1.0)
    # log(1+x) - log(1+y) = log1p((x - y)/(1 + y)), which keeps the digits of a small difference
    all_past = frame - 1.0
    gap = (all_past - used) / ((used + ratio) * (all_past + ratio))
    forgotten = 0.5 * xp.log1p(gap / (1.0 + 1.0 / (all_past + ratio)))
    drifts = [_static_latent_drift(int(item), ratio[..., 0], frame) for item in lengths]
    means = mu[..., None] * xp.stack(drifts, axis=-1)
    drift = 0.5 * means**2 / (v + s)[..., None]
    worst = xp.max(drift + xp.abs(forgotten), axis=-1)
    error = plain(16.0 * EPS * (frame + 8.0) * worst)
    limit = mu[..., None] * (1.0 + r / ratio)
    return TradeOff(lengths, frame, forgotten, means, limit, drift, error)


def _static_latent_drift(memory: int, ratio: Array, frame: int) -> Array:
    """Mean of the model's frame k for a unit bias a step, of the shape of `ratio`."""
    if is_tensor(ratio):
        xp = array_namespace(ratio)
        drawn = [xp.ones_like(ratio)]
        for k in range(1, frame):
            used = min(memory, k)
            held = sum(drawn[k - used :]) if used else xp.zeros_like(ratio)
            drawn.append(1.0 + held / (used + ratio) if used else xp.ones_like(ratio))
        return drawn[-1]
    means = np.zeros((frame, *ratio.shape))
    for k in range(frame):
        used = min(memory, k)
        held = means[k - used : k].sum(axis=0)
        means[k] = 1.0 + (held / (used + ratio) if used else 0.0)
    return means[-1]


# --- the two-sided answer along K -----------------------------------------------------------------

_GROWTH_TOLERANCE = 1e-3
_LONGEST_BLOCK = 2**16
_LONGEST_SMOOTHING = 32
_RELATIVE = 1e-13  # rounding of a sum of norms
_ILL_CONDITIONED = "a law of the generator's state is too ill-conditioned for double precision"
_NO_SMOOTHING = (
    "the sampler's last sub-steps add no noise to the clip, so a distance of states does not bound "
    "a KL (E3 needs a Gaussian smoothing step)"
)
_NOT_STATIONARY = "the video is not stationary, so the clip has no limit law"
_NOT_STABLE = "the generator's frame-to-frame transition is not stable (spectral radius {:.6g})"
_STILL_MOVING = "the generator still changes from step to step at step K: ask for more steps"
_TOO_SLOW = (
    "the generator contracts too slowly for the sum over one-step errors (E3) to be added up"
)
_OUT_OF_RANGE = "the model's law is beyond double precision from step {} on"


@dataclass(frozen=True, eq=False, repr=False)
class ClipAccumulation:
    r"""Lower bounds ≤ exact clip KL ≤ upper bounds, after every AR step K = 1..steps.

    Attributes
    ----------
    clip: exact KL of the Δ frames finished at step K, level δ, `(K,)`; `error_bound` `(K,)` bounds
        its floating-point error to first order. NaN from where `refused["clip"]` says so.
    drift: E4, the best linear functional of the clip (the mean term), `(K,)`.
    marginal: the largest KL of a single number of the clip (monotonicity), `(K,)`.
    theorem_b: Theorem B's line, or `None` (refused).
    saturated: E3 in KL form, a first-order bound on its rounding added, or `None` (refused).
    smoothing: s, the number of last steps whose
        noise turns the distance before them into a KL, the best one at every K, `(K,)`.
    spectral_radius: of the map that carries the generator's state over the last AR step.
    growth: `stable`, `marginal` or `unstable`: radius below 1, within the tolerance of it, above.
    limit: clip KL as K → ∞, an `Enclosure`, or `None` (refused).
    saturated_limit: what `saturated` stays below at every K (of stationary video), or `None`.
    horizon: first K at which Theorem B's line exceeds `saturated_limit` and stops being
        informative; past `steps` it is extrapolated at the line's last slope. `None`: never, or
        refused.
    refused: name -> reason. unit: of every information.
    """

    video: GaussianVideo
    schedule: Schedule
    generator: Generator
    roll_out: RollOut
    clip: np.ndarray
    error_bound: np.ndarray
    drift: np.ndarray
    marginal: np.ndarray
    theorem_b: np.ndarray | None
    theorem_b_error: float
    saturated: np.ndarray | None
    smoothing: np.ndarray | None
    spectral_radius: float
    growth: str
    limit: Enclosure | None
    saturated_limit: float | None
    horizon: int | None
    refused: dict[str, str]
    unit: str = "nats"
    theorems: tuple[str, ...] = ("B", "E3", "E4")

    @property
    def steps(self) -> np.ndarray:
        """K, `(K,)`."""
        return np.arange(1, self.clip.size + 1)

    @property
    def lower(self) -> np.ndarray:
        """The larger of `drift` and `marginal`."""
        return np.maximum(self.drift, self.marginal)

    @property
    def upper(self) -> np.ndarray:
        """The smaller of `theorem_b` and `saturated`; infinite where both are refused."""
        bounds = [item for item in (self.theorem_b, self.saturated) if item is not None]
        none = np.full(self.clip.shape, np.inf)
        return np.asarray(np.minimum.reduce([none, *bounds]))

    def to(self, unit: str) -> ClipAccumulation:
        """The same in "nats" or "bits"."""
        if unit not in UNITS:
            raise ParameterError("unit", " or ".join(map(repr, UNITS)), unit)
        scale = UNITS[unit] / UNITS[self.unit]
        names = ("clip", "error_bound", "drift", "marginal", "theorem_b", "theorem_b_error")
        values = {name: getattr(self, name) for name in (*names, "saturated", "saturated_limit")}
        scaled: dict[str, Any] = {
            name: None if value is None else value * scale for name, value in values.items()
        }
        limit = None if self.limit is None else self.limit.to(unit)
        return replace(self, unit=unit, limit=limit, **scaled)

    def to_json(self, unit: str = "nats") -> dict[str, Any]:
        """Plain numbers, for JSON; what does not exist is `null`, its reason in `refused`."""
        result = self.to(unit)

        def plain(values: np.ndarray | None) -> list[float | None] | None:
            if values is None:
                return None
            return [float(v) if math.isfinite(v) else None for v in values]

        arrays = (
            "clip", "error_bound", "lower", "upper", "drift", "marginal", "theorem_b",
            "saturated",
        )  # fmt: skip
        return {
            **{name: plain(getattr(result, name)) for name in arrays},
            "spectral_radius": result.spectral_radius,
            "growth": result.growth,
            "limit": None if result.limit is None else result.limit.to_json(),
            "smoothing": None if result.smoothing is None else result.smoothing.tolist(),
            "saturated_limit": result.saturated_limit,
            "horizon": result.horizon,
            "steps": int(result.clip.size),
            "refused": result.refused,
            "unit": unit,
            "theorems": list(result.theorems),
        }

    def to_frame(self, unit: str = "nats") -> pandas.DataFrame:
        """One row per AR step (needs pandas)."""
        import pandas

        result = self.to(unit)
        names = ("lower", "clip", "upper", "drift", "marginal", "theorem_b", "saturated")
        columns = {name: getattr(result, name) for name in (*names, "error_bound")}
        kept = {name: value for name, value in columns.items() if value is not None}
        return pandas.DataFrame({"step": self.steps, **kept})

    def __repr__(self) -> str:
        end = "" if self.limit is None else f", limit {self.limit.value:.6g}"
        horizon = "" if self.horizon is None else f", Theorem B informative before K={self.horizon}"
        return (
            f"ClipAccumulation({self.growth}, radius {self.spectral_radius:.4g}, "
            f"K={self.clip.size}, {self.unit}: {self.lower[-1]:.6g} <= clip {self.clip[-1]:.6g} <= "
            f"{self.upper[-1]:.6g}{end}{horizon})"
        )


def clip_accumulation(
    video: GaussianVideo,
    schedule: Schedule,
    generator: Generator | None = None,
    *,
    steps: int,
    tolerance: float = _GROWTH_TOLERANCE,
    law: Law = "auto",
) -> ClipAccumulation:
    r"""Error accumulation of a short clip, from both sides, for any Gaussian generator.

    The generator is a linear chain on its state z (finished frames that it still sees, recursive
    memory, partly denoised window): $z_{k+1} = A_kz_k + \text{noise}$. The difference of
    covariances truth − model is carried as such, $D_{k+1} = A_kD_kA_k' + E_k$ with E_k the error
    of one step from the truth's state, so that small divergences keep their digits and long or
    unstable roll-outs cost only time linear in K.

    - *below*: E4 with the best linear functional of the clip; the KL of any one of its numbers.
    - *above*: Theorem B's line; E3: one-step errors $N_j$ from the truth's state, each carried by
      the model itself to the state z before the last s steps, $W = \sum_j
      \|V_s^{-1/2}A_s\,A_{K-s}\cdots A_{j+1}N_j\|_F$ (E3's geometric sum with matrices for the
      Lipschitz constants), and `smoothed_kl` with the noise $V_s$ and the error of those s steps;
      s is the best of 1..32. Quadratic in K, with small matrices.

    Arguments
    ---------
    video: P. schedule: D1. generator: default exact denoiser, ancestral sampler.
    steps: K, AR steps. tolerance: |spectral radius − 1| that still counts as marginal.
    law: how window laws are computed, `dense`, `kalman` or `auto`.

    Returns `ClipAccumulation`, nats.

    Raises `ParameterError` and its subclasses.

    Source: THEORY, Theorem B, E3, E4, and section 5 for the difference.

    >>> from arvdm_theory import Autoregressive, Biased
    >>> schedule = Schedule.next_frame(t_max=4.0, t_min=0.05, substeps=16)
    >>> generator = Generator(Biased(0.02), reference=1)
    >>> result = clip_accumulation(Autoregressive([0.9], 0.19), schedule, generator, steps=60)
    >>> slack = result.error_bound
    >>> bool(np.all(result.lower <= result.clip + slack))
    True
    >>> bool(np.all(result.clip <= result.upper + slack))
    True
    >>> result.growth, round(result.limit.value, 4), round(result.saturated_limit, 4)
    ('stable', 0.0288, 0.0288)
    """
    generator = Generator() if generator is None else generator
    plan = schedule.roll_out(steps=steps)
    tolerance = _at_least_zero("tolerance", tolerance)
    terms = decompose(video, schedule, generator, steps=plan.steps, law=law)
    # what leaves double precision becomes NaN, is looked for and refused by name
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return _clip_accumulation(terms, tolerance, law)


def _clip_accumulation(terms: Decomposition, tolerance: float, law: Law) -> ClipAccumulation:
    video, schedule, generator = terms.video, terms.schedule, terms.generator
    plan = terms.roll_out
    world = resolve(video, schedule, generator, plan.steps, law)
    chain = _state_chain(world, law)
    refused: dict[str, str] = {}
    # what rounding of the denoiser does to the clip is bounded there
    doubt = terms.error_bound.get("clip", terms.error_bound.get("theorem_b", 0.0))
    line, line_error = terms.theorem_b_per_step, terms.error_bound.get("theorem_b", 0.0)
    if line is None:
        refused["theorem_b"] = terms.refused["theorem_b"]
    exact = _exact_clips(chain, doubt)
    broken = np.flatnonzero(np.isnan(exact.clip))
    if broken.size:
        refused["clip"] = _OUT_OF_RANGE.format(broken[0] + 1)
    radius = float(np.abs(np.linalg.eigvals(chain.transition[-1])).max(initial=0.0))
    growth = "marginal"
    if abs(radius - 1.0) > tolerance:
        growth = "stable" if radius < 1.0 else "unstable"

    saturated = chosen = None
    try:
        local = _local_errors(chain)
        saturated, chosen = _saturated(chain, local, _smoothings(chain, local))
    except (NotPositiveDefiniteError, np.linalg.LinAlgError):
        refused["saturated"] = _ILL_CONDITIONED
    if saturated is not None and not np.any(np.isfinite(saturated)):
        saturated = chosen = None
        refused["saturated"] = _NO_SMOOTHING

    reason = _NOT_STABLE.format(radius) if growth != "stable" else _no_limit(video, chain)
    limit = saturated_limit = None
    if reason is not None:
        refused |= {"limit": reason, "saturated_limit": reason}
    else:
        limit = _limit(chain, doubt)
        if limit is None:
            refused["limit"] = _ILL_CONDITIONED
        if saturated is None:
            refused["saturated_limit"] = refused["saturated"]
        else:
            finite = saturated[np.isfinite(saturated)]
            saturated_limit = max(_saturated_limit(chain), float(finite.max()))
            if math.isinf(saturated_limit):
                saturated_limit, refused["saturated_limit"] = None, _TOO_SLOW
    horizon = None
    if line is None or saturated_limit is None:
        refused["horizon"] = refused.get("theorem_b", refused.get("saturated_limit", ""))
    else:
        horizon = _horizon(line, saturated_limit)
        if horizon is None:
            refused["horizon"] = "Theorem B's line never exceeds the saturation bound"
    return ClipAccumulation(
        video=video,
        schedule=schedule,
        generator=generator,
        roll_out=plan,
        clip=exact.clip,
        error_bound=exact.error,
        drift=exact.drift,
        marginal=exact.marginal,
        theorem_b=line,
        theorem_b_error=line_error,
        saturated=saturated,
        smoothing=chosen,
        spectral_radius=radius,
        growth=growth,
        limit=limit,
        saturated_limit=saturated_limit,
        horizon=horizon,
        refused=refused,
    )


# --- the generator as a chain on its own state ----------------------------------------------------


@dataclass(frozen=True, eq=False)
class _StateChain:
    """Output O = K z + φ + N(0, V) of the model; next z = S_z z + S_O O; the truth beside it.

    Arrays over AR steps, all in deviations from the truth's means. `cross` = Cov_P(O, z) − K P and
    `excess` = Cov_P(O) − K P K' − V: the error of one step from the truth's state.
    """

    output: np.ndarray  # K (steps, o, n)
    offset: np.ndarray  # φ (steps, o)
    noise: np.ndarray  # V (steps, o, o)
    keep: np.ndarray  # S_z (n, n)
    take: np.ndarray  # S_O (n, o)
    truth: np.ndarray  # P = Cov_P(z) (steps, n, n)
    truth_output: np.ndarray  # Cov_P(O) (steps, o, o)
    joint: np.ndarray  # Cov_P(O, z) (steps, o, n)
    cross: np.ndarray  # (steps, o, n)
    excess: np.ndarray  # (steps, o, o)
    first_mean: np.ndarray  # E_Q z_1 (n,)
    first: np.ndarray  # Cov_Q z_1 (n, n)
    first_difference: np.ndarray  # Cov_P − Cov_Q of z_1
    rounding: float  # of the video's covariances
    clip: int  # numbers in the clip, the first of O

    @property
    def transition(self) -> np.ndarray:
        """A (steps, n, n)."""
        return np.asarray(self.keep + self.take @ self.output)

    def repeated(self, steps: int) -> _StateChain:
        """The last step, `steps` times."""
        names = (
            "output", "offset", "noise", "truth", "truth_output", "joint", "cross", "excess",
        )  # fmt: skip
        arrays: dict[str, Any] = {
            name: np.repeat(getattr(self, name)[-1:], steps, axis=0) for name in names
        }
        return replace(self, **arrays)


def _state_chain(world: Resolved, law: Law) -> _StateChain:
    schedule, dim = world.schedule, world.video.dim
    stride, window = schedule.stride, schedule.window
    context = generator_context(schedule, world.generator, dim)
    lags = 0 if context.lags is None else context.lags.shape[0]
    kept = max(context.reference, lags, context.delay)
    recursive = 0 if context.input is None else context.memory
    seen = kept * dim + recursive
    size, width, held = seen + (window - stride) * dim, window * dim, (window - stride) * dim

    of_window, of_context, offset, covariance = _step_maps(world)
    lift = np.zeros((context.size(dim), seen))
    scale, _ = noise.kernel(schedule.t_min, context.level)
    slots = context.reference * dim
    lift[:slots, kept * dim - slots : kept * dim] = scale * np.eye(slots)
    if context.lags is not None:
        for lag in range(lags):
            start = (kept - 1 - lag) * dim
            lift[slots:, start : start + dim] = context.lags[lag]
    elif recursive:
        lift[slots:, kept * dim :] = np.eye(recursive)
    output = np.zeros((world.steps, width, size))
    output[:, :, :seen] = of_context @ lift
    output[:, :, seen:] = of_window[:, :, :held]
    fresh = of_window[:, :, held:]
    own = of_context * world.truth.context_noise[:, None, :]
    covariance = symmetrise(covariance + fresh @ transpose(fresh) + own @ transpose(own))
    entering = float(noise.alpha(schedule.t_max)) * world.truth.mean[:, held:]
    offset = offset - (fresh @ entering[:, :, None])[..., 0]

    keep, take = _shift(context, kept, recursive, stride, window, dim)
    truth, truth_output, joint = _truth_of_state(world, context, kept, law)
    cross = joint - output @ truth
    excess = symmetrise(truth_output - output @ truth @ transpose(output) - covariance)
    first_mean, first, difference = np.zeros(size), np.zeros((size, size)), np.zeros((size, size))
    if held:
        first_mean[seen:], first[seen:, seen:] = world.initial_law()
        if world.initial is not None:
            _, exact = replace(world, initial=None).initial_law()
            difference[seen:, seen:] = exact - first[seen:, seen:]
    return _StateChain(
        output, offset, covariance, keep, take, truth, truth_output, joint, cross, excess,
        first_mean, first, difference, world.video.rounding, stride * dim,
    )  # fmt: skip


def _shift(
    context: Context, kept: int, recursive: int, stride: int, window: int, dim: int
) -> tuple[np.ndarray, np.ndarray]:
    """S_z and S_O: how the next state is read off the state and the output."""
    seen = kept * dim + recursive
    size, width = seen + (window - stride) * dim, window * dim
    both = np.zeros((size, size + width))  # of (z, O)

    def place(index: int) -> slice:
        """Columns of frame `index` in (kept frames, newly finished frames)."""
        start = index * dim if index < kept else size + (index - kept) * dim
        return slice(start, start + dim)

    for i in range(kept):
        both[i * dim : (i + 1) * dim, place(i + stride)] = np.eye(dim)
    if recursive:
        assert context.transition is not None and context.input is not None
        rows = slice(kept * dim, seen)
        both[rows, rows] = np.eye(recursive)
        for i in range(stride):
            both[rows] = context.transition @ both[rows]
            both[rows, place(kept + i - context.delay)] += context.input
    both[seen:, size + stride * dim :] = np.eye((window - stride) * dim)
    return both[:, :size], both[:, size:]


def _truth_of_state(
    world: Resolved, context: Context, kept: int, law: Law
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cov_P(z), Cov_P(O) and Cov_P(O, z), over AR steps."""
    schedule, dim = world.schedule, world.video.dim
    state = Context(
        kept,
        schedule.t_min,
        transition=context.transition,
        input=context.input,
        delay=context.delay,
    )
    known = window_law(world.video, schedule, state, world.steps, law)
    clean = symmetrise(known.given_past + known.prediction @ transpose(known.prediction))
    end = np.repeat(schedule.output_levels, dim)
    alpha, variance = np.asarray(noise.alpha(end)), np.asarray(noise.sigma(end)) ** 2
    output = alpha[:, None] * clean * alpha + np.diag(variance)
    held = (schedule.window - schedule.stride) * dim
    to_input, added = noise.kernel(end[:held], np.repeat(schedule.input_levels, dim)[:held])
    frames = alpha[:, None] * (known.prediction @ transpose(known.context))
    joint = np.concatenate([frames, output[:, :, :held] * to_input], axis=2)
    between = to_input[:, None] * frames[:, :held]
    inner = to_input[:, None] * output[:, :held, :held] * to_input + np.diag(added)
    seen = known.context @ transpose(known.context)
    truth = np.concatenate(
        [
            np.concatenate([seen, transpose(between)], axis=2),
            np.concatenate([between, inner], axis=2),
        ],
        axis=1,
    )
    return symmetrise(truth), output, joint


# --- exact clip KL --------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Clips:
    clip: np.ndarray
    error: np.ndarray
    drift: np.ndarray
    marginal: np.ndarray


def _exact_clips(chain: _StateChain, model_error: float) -> _Clips:
    """Propagate E_Q z, Cov_Q z, and Cov_P z − Cov_Q z; read the clip off every step."""
    steps, width, size = chain.output.shape
    mean, model, difference = chain.first_mean, chain.first, chain.first_difference
    slack = np.zeros((size, size))  # −slack ≤ error of `difference` ≤ slack
    result = _Clips(*(np.full(steps, np.nan) for _ in range(4)))
    for k in range(steps):
        out, noise_k = chain.output[k], chain.noise[k]
        shift = out @ mean + chain.offset[k]
        image = out @ model
        produced = symmetrise(image @ out.T) + noise_k
        gap = symmetrise(out @ difference @ out.T) + chain.excess[k]
        scale = float(np.trace(chain.truth_output[k]) + np.trace(produced))
        reach = float(np.linalg.norm(out, 2)) ** 2 * float(
            np.trace(chain.truth[k]) + np.trace(model)
        )
        own = 8.0 * EPS * (size + width + k * chain.clip) * (scale + reach) + chain.rounding
        doubt = symmetrise(out @ slack @ out.T) + own * np.eye(width)
        if not (np.all(np.isfinite(produced)) and np.all(np.isfinite(shift))):
            break
        _read_clip(result, k, chain, (produced, gap, doubt, shift), model_error)
        carried = chain.keep + chain.take @ out
        one = chain.take @ chain.cross[k] @ chain.keep.T
        step = one + one.T + chain.take @ chain.excess[k] @ chain.take.T
        mean = carried @ mean + chain.take @ chain.offset[k]
        model = symmetrise(carried @ model @ carried.T) + chain.take @ noise_k @ chain.take.T
        difference = symmetrise(carried @ difference @ carried.T + step)
        slack = symmetrise(carried @ slack @ carried.T) + own * np.eye(size)
    return result


def _read_clip(
    result: _Clips,
    k: int,
    chain: _StateChain,
    laws: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    model_error: float,
) -> None:
    here = slice(0, chain.clip)
    model, gap, doubt = (item[here, here] for item in laws[:3])
    shift = laws[3][here]
    truth = chain.truth_output[k][here, here]
    try:
        factor = cholesky(model, "covariance of the model's clip")
        value = float(gaussian_kl(truth, model, gap, -shift))
    except NotPositiveDefiniteError:
        return
    whitened = scipy.linalg.solve_triangular(factor, shift, lower=True)
    inner = _whiten(factor, gap)
    result.clip[k] = value
    result.drift[k] = 0.5 * float(whitened @ whitened)
    variance = np.diag(model)
    change = np.diag(gap) / variance
    single = _excess(change, np.sqrt(np.diag(truth) / variance)) + 0.5 * shift**2 / variance
    result.marginal[k] = float(single.max())
    relative = float(np.linalg.norm(_whiten(factor, doubt)))
    spread, lowest = float(np.linalg.norm(inner)), float(np.linalg.eigvalsh(inner)[0])
    if lowest < -0.9:  # taken from the Cholesky factors of both
        own = np.linalg.cholesky(truth)
        scale = 8.0 * EPS * (chain.output.shape[1] + k * chain.clip) * float(np.trace(truth))
        other = (scale + chain.rounding) * float(np.linalg.norm(np.linalg.inv(own))) ** 2
        error = (1.0 + spread) * (relative + other)
    else:
        amplified = relative / (1.0 + lowest)
        error = 0.5 * spread * amplified + amplified**2
    result.error[k] = error + model_error + 64.0 * EPS * value


def _whiten(factor: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    half = scipy.linalg.solve_triangular(factor, matrix, lower=True)
    return np.asarray(symmetrise(scipy.linalg.solve_triangular(factor, half.T, lower=True)))


# --- E3 for the chain -----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _LocalErrors:
    """One-step errors from the truth's state.

    The truth is replaced by the Markov chain of its regressions on z, which has its marginals:
    O = (K + `wrong`) z + N(0, V + `change`), with Cov_P(z) = F F', F = `root`. The truth's own
    `regression` K + `wrong` and `noise` V + `change` are held as such: where the model's are far
    larger, a sum with them has no digit of the truth's.
    `made` N: E_P W2² of one step in any norm H is at most ‖H N‖_F²; `start` that of the start.
    """

    wrong: np.ndarray
    change: np.ndarray
    regression: np.ndarray
    noise: np.ndarray
    root: np.ndarray
    made: np.ndarray
    start: np.ndarray


@dataclass(frozen=True, eq=False)
class _Smoothing:
    """`smoothed_kl` over the last s steps, for K = s..steps.

    `reach` H = V_s^{-1/2} A_s, from the state before those steps to the clip; `mean` and `spread`
    the KL of the s steps from the truth's state, nats; `error` a first-order bound on the rounding
    error of both, infinite where no digit of the truth's noise is left.
    """

    length: int
    reach: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    error: np.ndarray

    def combined(self, distance: Any) -> np.ndarray:
        """The bound, for a carried distance; its rounding added."""
        mean = np.sqrt(self.mean) + np.sqrt(self.mean + self.error) * _RELATIVE
        carried = distance / math.sqrt(2.0) * (1.0 + _RELATIVE)
        return np.asarray((mean + carried) ** 2 + self.spread + self.error)


def _local_errors(chain: _StateChain) -> _LocalErrors:
    deviation = np.sqrt(np.einsum("kii->ki", chain.truth))
    deviation = np.where(deviation > 0.0, deviation, 1.0)
    correlation = chain.truth / deviation[:, :, None] / deviation[:, None, :]
    size = chain.truth.shape[-1]
    values, vectors = np.linalg.eigh(correlation) if size else (deviation, correlation)
    kept = values > 64.0 * EPS * size * values[:, -1:]
    length = np.sqrt(np.where(kept, values, 0.0))
    inverse = np.where(kept, 1.0 / np.where(kept, length, 1.0), 0.0)
    root = deviation[:, :, None] * vectors * length[:, None, :]
    moved = (chain.cross / deviation[:, None, :]) @ (vectors * inverse[:, None, :])  # wrong F
    wrong = (moved * inverse[:, None, :]) @ transpose(vectors) / deviation[:, None, :]
    mixed = moved @ transpose(chain.output @ root)
    change = symmetrise(chain.excess - mixed - transpose(mixed) - moved @ transpose(moved))
    whitened = (chain.joint / deviation[:, None, :]) @ (vectors * inverse[:, None, :])
    regression = (whitened * inverse[:, None, :]) @ transpose(vectors) / deviation[:, None, :]
    true_noise = symmetrise(chain.truth_output - whitened @ transpose(whitened))
    scale = np.abs(np.einsum("kii->ki", chain.truth_output)).max(axis=-1, initial=0.0)
    roots = _square_root(true_noise, 64.0 * EPS * scale) - _square_root(chain.noise)
    made = chain.take @ np.concatenate([moved, chain.offset[:, :, None], roots], axis=2)
    start = _square_root(chain.first + chain.first_difference) - _square_root(chain.first)
    start = np.concatenate([chain.first_mean[:, None], start], axis=1)
    return _LocalErrors(wrong, change, regression, true_noise, root, made, start)


def _square_root(matrix: np.ndarray, rounding: Any = 0.0) -> np.ndarray:
    """Symmetric square root of covariances `(..., n, n)`; what is not one is refused.

    `rounding` `(...)`, absolute, of the eigenvalues.
    """
    if matrix.shape[-1] == 0:
        return matrix
    values, vectors = np.linalg.eigh(symmetrise(matrix))
    floor = -1e-10 * np.abs(values).max(axis=-1, initial=0.0) - matrix.shape[-1] * rounding
    if np.any(values < np.asarray(floor)[..., None]):
        raise NotPositiveDefiniteError(
            "covariance", "positive semi-definite", f"smallest eigenvalue {values.min():.6g}"
        )
    roots = np.sqrt(np.where(values > 0.0, values, 0.0))  # below zero: rounding, checked above
    return np.asarray((vectors * roots[..., None, :]) @ transpose(vectors))


def _smoothings(chain: _StateChain, local: _LocalErrors) -> list[_Smoothing]:
    """For s = 1, 2, .. those whose model noise over s steps is not singular."""
    here = slice(0, chain.clip)
    steps = chain.output.shape[0]
    out, wrong = chain.output[:, here], local.wrong[:, here]
    regression, own = local.regression[:, here], local.noise[:, here, here]
    offset, noisy = chain.offset[:, here, None], chain.noise[:, here, here]
    change = local.change[:, here, here]
    transition, step_wrong = chain.transition, chain.take @ local.wrong
    true_transition = chain.keep + chain.take @ local.regression
    step_offset = chain.take @ chain.offset[:, :, None]
    step_noise = chain.take @ chain.noise @ chain.take.T
    step_change = chain.take @ local.change @ chain.take.T
    step_own = chain.take @ local.noise @ chain.take.T
    # what was added up to form the truth's noise, the model's, and their difference
    lost_own, lost = _traces(chain.truth_output[:, here, here]), _traces(noisy)
    lost_change = lost_own + lost + _squares(out @ local.root) + _squares(wrong @ local.root)
    found = []
    for length in range(1, min(steps, _LONGEST_SMOOTHING) + 1):
        mistakes = np.concatenate([wrong @ local.root[: out.shape[0]], offset], axis=2)
        rounding = tuple(
            8.0 * EPS * (out.shape[-1] + out.shape[-2] + length) * item
            for item in (lost_own, lost, lost_change)
        )
        smoothing = _smoothing(length, out, mistakes, (own, noisy, change), rounding)
        if smoothing is not None:
            found.append(smoothing)
        before = slice(0, steps - length)  # the step that is taken in
        out, wrong, offset, noisy, change, regression, own, lost_own, lost, lost_change = (
            x[1:]
            for x in (
                out, wrong, offset, noisy, change, regression, own, lost_own, lost, lost_change,
            )
        )  # fmt: skip
        true_noise = step_own[before]
        offset = offset + out @ step_offset[before]
        change = change + wrong @ true_noise @ transpose(regression)
        change = change + out @ true_noise @ transpose(wrong)
        change = symmetrise(change + out @ step_change[before] @ transpose(out))
        added = out @ step_noise[before] @ transpose(out)
        noisy = symmetrise(noisy + added)
        own_added = regression @ true_noise @ transpose(regression)
        own = symmetrise(own + own_added)
        size = np.sum(out**2, axis=(-2, -1)) + np.sum(wrong**2, axis=(-2, -1))
        lost = lost + _traces(added)
        lost_own = lost_own + np.sum(regression**2, axis=(-2, -1)) * _traces(
            chain.take @ chain.truth_output[before] @ chain.take.T
        )
        lost_change = lost_change + size * (_traces(true_noise) + _traces(step_noise[before]))
        wrong = wrong @ (transition + step_wrong)[before] + out @ step_wrong[before]
        out = out @ transition[before]
        regression = regression @ true_transition[before]
    return found


def _traces(matrices: np.ndarray) -> np.ndarray:
    return np.asarray(np.trace(matrices, axis1=-2, axis2=-1))


def _squares(matrices: np.ndarray) -> np.ndarray:
    return np.asarray(np.sum(matrices**2, axis=(-2, -1)))


def _smoothing(
    length: int,
    out: np.ndarray,
    mistakes: np.ndarray,
    noises: tuple[np.ndarray, np.ndarray, np.ndarray],
    rounding: tuple[np.ndarray, ...],
) -> _Smoothing | None:
    """`noises`: the truth's, the model's and their difference; `rounding` of each, in norm."""
    own, noisy, change = noises
    try:
        factor = np.asarray(cholesky(noisy, "noise of the model's clip"))
        if not np.all(np.isfinite(factor)) or _condition(factor) > 1e-3 / EPS:
            return None
        none = np.zeros(noisy.shape[:2])
        spread = np.asarray(gaussian_kl(own, noisy, change, none))
        error = gaussian_kl_rounding(own, noisy, change, none)
    except (NotPositiveDefiniteError, np.linalg.LinAlgError):
        return None
    wrong = np.linalg.solve(factor, mistakes)
    mean = 0.5 * np.sum(wrong**2, axis=(-2, -1))
    half = np.linalg.solve(factor, change)
    mu = np.linalg.eigvalsh(symmetrise(np.linalg.solve(factor, transpose(half))))
    inverse = _squares(np.linalg.inv(factor))  # tr of the inverse of the model's noise
    smallest = np.linalg.eigvalsh(own)[..., 0]
    of_own, of_noisy, of_change = rounding
    ratio = np.maximum(1.0 + mu, EPS)
    close = 0.5 * np.max(np.abs(mu / ratio), axis=-1) * inverse * of_change
    close = close + (inverse * of_change / ratio[..., 0]) ** 2
    wide = 0.5 * (own.shape[-1] / np.maximum(smallest, 1e-300) + inverse) * of_own
    wide = wide + 0.5 * inverse * (1.0 + np.max(np.abs(mu), axis=-1)) * of_noisy
    error = error + np.where(mu[..., 0] < -0.9, wide, close)
    lost = (smallest <= 4.0 * of_own) | (inverse * of_noisy >= 0.25)
    # the mean part: what is wrong is the difference of two regressions
    slip = 8.0 * EPS * mistakes.shape[-2] * np.sqrt(inverse * _squares(mistakes))
    error = error + 2.0 * np.sqrt(mean) * slip + slip**2
    return _Smoothing(
        length, np.linalg.solve(factor, out), mean, spread, np.where(lost, np.inf, error)
    )


def _saturated(
    chain: _StateChain, local: _LocalErrors, smoothings: list[_Smoothing]
) -> tuple[np.ndarray, np.ndarray]:
    """The best bound at every K, and the s that gives it."""
    best = np.full(chain.output.shape[0], np.inf)
    chosen = np.zeros(best.size, dtype=np.int64)
    for item in smoothings:
        bound = item.combined(_carried(chain, local, item.reach))
        rows = slice(item.length - 1, None)
        better = bound < best[rows]
        chosen[rows] = np.where(better, item.length, chosen[rows])
        best[rows] = np.where(better, bound, best[rows])
    return best, chosen


def _carried(chain: _StateChain, local: _LocalErrors, reach: np.ndarray) -> np.ndarray:
    r"""$\sum_j \|H_i A_{i-1} \cdots A_{j+1} N_j\|_F$ at every state i (Minkowski)."""
    count = reach.shape[0]
    transition, total = chain.transition, np.zeros(count)
    for lag in range(count):
        # row 0 of `reach` has arrived at the first state
        total[lag] += float(np.linalg.norm(reach[0] @ local.start))
        reach = reach[1:]
        before = slice(0, reach.shape[0])
        total[lag + 1 :] += np.linalg.norm(reach @ local.made[before], axis=(-2, -1))
        reach = reach @ transition[before]
    return total


def _saturated_limit(chain: _StateChain) -> float:
    """The best bound as K → ∞, for the last step's stable chain; infinite if out of reach."""
    last = chain.repeated(_LONGEST_SMOOTHING)
    local = _local_errors(last)
    smoothings = _smoothings(last, local)
    reaches = [item.reach[-1] for item in smoothings]
    distances = _carried_limit(chain.transition[-1], local.made[-1], reaches)
    bounds = [
        float(item.combined(distance)[-1])
        for item, distance in zip(smoothings, distances, strict=True)
    ]
    return min(bounds, default=math.inf)


def _carried_limit(
    transition: np.ndarray, made: np.ndarray, reaches: list[np.ndarray]
) -> list[float]:
    """`_carried` summed to infinity, for every reach; infinite if that is too long."""
    totals = [0.0] * len(reaches)
    if not transition.size:
        return totals
    carried = np.asarray(np.linalg.qr(made.T, mode="r")).T[None]  # A^j N for j below a power of two
    power = transition
    while np.linalg.norm(power, 2) > 0.5:
        carried = np.concatenate([carried, power @ carried])
        power = power @ power
        if carried.shape[0] > _LONGEST_BLOCK:
            return [math.inf] * len(reaches)
    while True:
        size = float(np.sum(np.linalg.norm(carried, axis=(-2, -1))))
        tails = [float(np.linalg.norm(reach, 2)) * size for reach in reaches]
        for i, reach in enumerate(reaches):
            totals[i] += float(np.sum(np.linalg.norm(reach @ carried, axis=(-2, -1))))
        # the power is at most ½: what follows adds at most ½, ¼, ... of this block's tail
        if all(tail <= 1e-6 * total for tail, total in zip(tails, totals, strict=True)):
            return [total + tail for total, tail in zip(totals, tails, strict=True)]
        carried = power @ carried


# --- limits ---------------------------------------------------------------------------------------


def _no_limit(video: GaussianVideo, chain: _StateChain) -> str | None:
    """Why the clip of a stable generator has no limit law at hand; `None` if it has."""
    if not video.stationary or np.any(video.means(2) != video.means(2)[:1]):
        return _NOT_STATIONARY
    for array in (chain.output, chain.noise, chain.offset, chain.excess, chain.cross):
        if array.shape[0] < 2:
            return _STILL_MOVING
        change = np.max(np.abs(array[-1] - array[-2]), initial=0.0)
        largest = float(np.max(np.abs(chain.truth_output[-1])))
        if change > 1e-9 * (1.0 + largest):
            return _STILL_MOVING
    return None


def _limit(chain: _StateChain, doubt: float) -> Enclosure | None:
    """Clip KL at the fixed point of the last step's chain."""
    transition = chain.transition[-1]
    one = chain.take @ chain.cross[-1] @ chain.keep.T
    step = one + one.T + chain.take @ chain.excess[-1] @ chain.take.T
    size = transition.shape[0]
    own = chain.take @ chain.noise[-1] @ chain.take.T
    if size:
        model = scipy.linalg.solve_discrete_lyapunov(transition, symmetrise(own))
        difference = scipy.linalg.solve_discrete_lyapunov(transition, symmetrise(step))
        mean = np.linalg.solve(np.eye(size) - transition, chain.take @ chain.offset[-1])
    else:
        model, difference, mean = own, step, np.zeros(0)
    last = replace(
        chain.repeated(1),
        first_mean=mean,
        first=symmetrise(model),
        first_difference=symmetrise(difference),
    )
    exact = _exact_clips(last, doubt)
    if math.isnan(exact.clip[0]):
        return None
    slow = 1.0
    if size:
        slow += float(np.linalg.norm(np.linalg.inv(np.eye(size) - transition), 2)) ** 2
    error = float(exact.error[0]) * slow
    return Enclosure.around(float(exact.clip[0]), error, least=0.0, theorems=("E3",))


def _horizon(line: np.ndarray, level: float) -> int | None:
    """First K with line > level; past the end the line goes on with its last slope."""
    above = np.flatnonzero(line > level)
    if above.size:
        return int(above[0]) + 1
    slope = float(line[-1] - line[-2]) if line.size > 1 else float(line[0])
    if slope <= 0.0:
        return None
    further = (level - float(line[-1])) / slope
    return line.size + math.floor(further) + 1 if further < 2.0**53 else None
