r"""Certified numbers: the theory in ball arithmetic, lower ≤ truth ≤ upper proved.

Every function computes the textbook formula in Arb balls (python-flint, extra `certified`) from
*exact* input and doubles the working precision until the radius meets the tolerance. Cancellation
costs bits, never correctness; a covariance is certified positive definite (pivots of LDL' that are
positive balls) before any KL is taken. All raise `ParameterError` for input that is not a number or
does not fit together, and `PrecisionError` where the tolerance is not met at the largest precision.

Input is exact. Text is the number it spells, `"0.1"` or `"1/3"`; integers, `fractions.Fraction` and
`decimal.Decimal` are what they are; a float is the dyadic number that it stores, so that `0.1` is
$0.1000000000000000055\dots$ Text of a whole specification is read with its decimals as written.

>>> from arvdm_theory import certified
>>> kl = certified.gaussian_kl([["1"]], [["4"]])  # 1/2 (1/4 - 1 - log(1/4))
>>> print(kl, kl.certified)
0.318147 nats in [0.318147, 0.318147] True
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from arvdm_theory._balls import (
    Arb,
    Ball,
    Matrix,
    PrecisionError,
    Undecided,
    cholesky_balls,
    conditional_covariance,
    enclose,
    exact_covariance,
    exact_fraction,
    exact_matrix,
    exact_number,
    exact_numbers,
    identity_matrix,
    infinite_ball,
    information_gain,
    kl_balls,
    load_flint,
    log_det_ball,
    positive_number,
    require_definite,
    rigorously,
    solve_balls,
    submatrix,
    symmetric_eigenvalues,
    to_balls,
)
from arvdm_theory._certified_world import check_size, read_video, read_world, theorem_a_terms
from arvdm_theory.checks import positive_integer
from arvdm_theory.errors import ParameterError
from arvdm_theory.schedule import RollOut
from arvdm_theory.specification import Specification

__all__ = [
    "Ball",
    "CertifiedDecomposition",
    "PrecisionError",
    "Spectrum",
    "conditional_mutual_information",
    "decompose",
    "gaussian_kl",
    "latent_bias",
    "latent_memory",
    "linear_memory_floor",
    "memory_bottleneck",
    "reverse_water_filling",
    "window_memory",
]

TOLERANCE = 1e-12
"""Default largest radius, nats."""
MOST_BITS = 8192
"""Default largest working precision."""


# --- stand-alone calculators ----------------------------------------------------------------------


def gaussian_kl(
    covariance_p: Any,
    covariance_q: Any,
    mean_p: Any = None,
    mean_q: Any = None,
    *,
    tolerance: float = TOLERANCE,
    relative: float = 0.0,
    most_bits: int = MOST_BITS,
) -> Ball:
    r"""$KL(N(\mu_P, P) \,\|\, N(\mu_Q, Q))$, certified.

    $\tfrac12[\mathrm{tr}\,Q^{-1}P - n + \log\det Q - \log\det P
    + (\mu_P-\mu_Q)'Q^{-1}(\mu_P-\mu_Q)]$.

    Arguments: covariances `(n, n)`, means `(n,)` (default 0), exact numbers; the radius is at most
    `tolerance` nats or `relative` times the value; `most_bits` of working precision.

    Returns a `Ball`, nats. Raises `NotPositiveDefiniteError` for a covariance that is not positive
    definite (decided exactly), `PrecisionError`, `ParameterError`.

    >>> narrow = gaussian_kl([["1.0001"]], [[1]], relative=1e-12)
    >>> print(f"{narrow.value:.10e}")
    2.4998333458e-09
    """
    truth, model = (
        exact_covariance("covariance_p", covariance_p),
        exact_covariance("covariance_q", covariance_q),
    )
    size = truth.nrows()
    if model.nrows() != size:
        raise ParameterError("covariance_q", f"of shape {(size, size)}", model.nrows())
    require_definite(truth, "covariance_p")
    require_definite(model, "covariance_q")
    shift = load_flint().fmpq_mat(size, 1)
    for name, mean, sign in (("mean_p", mean_p, 1), ("mean_q", mean_q, -1)):
        if mean is not None:
            values = exact_numbers(name, mean)
            if len(values) != size:
                raise ParameterError(name, f"{size} numbers", len(values))
            for i, value in enumerate(values):
                shift[i, 0] = shift[i, 0] + sign * value

    def compute() -> dict[str, Arb]:
        names = ("covariance_p", "covariance_q")
        return {"KL": kl_balls(to_balls(shift), to_balls(truth), to_balls(model), names)}

    found, bits = rigorously(compute, tolerance, relative, most_bits)
    return enclose(found["KL"], bits, 0.0)


def _indices(parameter: str, value: Iterable[int], size: int) -> list[int]:
    items = [positive_integer(parameter, item, minimum=0) for item in value]
    if any(item >= size for item in items) or len(set(items)) != len(items):
        raise ParameterError(parameter, f"distinct indices below {size}", items)
    return items


def _index_sets(
    covariance: Matrix, x: Iterable[int], z: Iterable[int], given: Iterable[int]
) -> tuple[list[int], list[int], list[int]]:
    size = covariance.nrows()
    sets = (_indices("x", x, size), _indices("z", z, size), _indices("given", given, size))
    if len(set().union(*sets)) != sum(map(len, sets)):
        raise ParameterError("x, z and given", "disjoint", sets)
    used = sorted(set().union(*sets))
    require_definite(submatrix(covariance, used, used), "covariance")
    return sets


def conditional_mutual_information(
    covariance: Any,
    x: Iterable[int],
    z: Iterable[int],
    given: Iterable[int] = (),
    *,
    tolerance: float = TOLERANCE,
    relative: float = 0.0,
    most_bits: int = MOST_BITS,
) -> Ball:
    r"""$I(X; Z \mid Y)$ of coordinates of a Gaussian vector, certified.

    $\tfrac12\log\frac{\det C_{XY}\det C_{ZY}}{\det C_{XYZ}\det C_Y}$.

    Arguments: `covariance` `(n, n)`, exact numbers; `x`, `z`, `given`: disjoint indices. See
    `gaussian_kl` for the rest. Returns a `Ball`, nats.

    >>> near = conditional_mutual_information([[1, "0.6"], ["0.6", 1]], [0], [1])
    >>> print(near)  # -1/2 log 0.64
    0.223144 nats in [0.223144, 0.223144]
    """
    exact = exact_covariance("covariance", covariance)
    x, z, y = _index_sets(exact, x, z, given)

    def compute() -> dict[str, Arb]:
        def part(rows: list[int]) -> Arb:
            return log_det_ball(to_balls(submatrix(exact, rows, rows)), "covariance")

        return {"information": (part(x + y) + part(z + y) - part(x + z + y) - part(y)) / 2}

    found, bits = rigorously(compute, tolerance, relative, most_bits)
    return enclose(found["information"], bits, 0.0)


def memory_bottleneck(
    given_past: Any,
    forgotten: Any,
    gamma_input: Any,
    gamma_output: Any,
    *,
    tolerance: float = TOLERANCE,
    relative: float = 0.0,
    most_bits: int = MOST_BITS,
) -> Ball:
    r"""$MB_k = I(\text{Output}_k; \text{Past}_k \mid \text{Input}_k)$, certified (Theorem A).

    $\tfrac12\log\frac{\det(I+S_RG^O)\det(I+S_PG^I)}{\det(I+S_RG^I)\det(I+S_PG^O)}$ with
    $S_R = S_P + B_\perp B_\perp'$ (THEORY, 5).

    Arguments: `given_past` S_P `(n, n)`; `forgotten` B_perp `(n, m)`; `gamma_input`,
    `gamma_output`: signal-to-noise ratios `(n,)`, non-negative and non-decreasing from input to
    output; all exact numbers. See `gaussian_kl` for the rest. Returns a `Ball`, nats.

    >>> value = memory_bottleneck([[1]], [[2]], [1], [3])  # S_P = 1, S_R = 1 + 4
    >>> print(value)  # 1/2 log (16/6 * 2/4)
    0.143841 nats in [0.143841, 0.143841] (A, M1)
    """
    past, factor = exact_covariance("given_past", given_past), exact_matrix("forgotten", forgotten)
    size = past.nrows()
    if factor.nrows() != size:
        raise ParameterError("forgotten", f"of {size} rows", factor.nrows())
    start = exact_numbers("gamma_input", gamma_input)
    end = exact_numbers("gamma_output", gamma_output)
    if len(start) != size or len(end) != size:
        raise ParameterError("gamma_input and gamma_output", f"{size} numbers each", len(start))
    if any(not 0 <= a <= b for a, b in zip(start, end, strict=True)):
        raise ParameterError("gamma_output", "at least gamma_input, both at least 0", end)
    context = past + factor * factor.transpose()

    def compute() -> dict[str, Arb]:
        arb = load_flint().arb
        known, wide = to_balls(past), to_balls(context)
        first, last = [arb(item) for item in start], [arb(item) for item in end]
        gained = information_gain(wide, last) - information_gain(wide, first)
        kept = information_gain(known, last) - information_gain(known, first)
        return {"MB": (gained - kept) / 2}

    found, bits = rigorously(compute, tolerance, relative, most_bits)
    return enclose(found["MB"], bits, 0.0, theorems=("A", "M1"))


# --- budgets: R1 and R2 ---------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Spectrum:
    r"""$\ell_i = -\log(1-\rho_i^2)$ of the canonical correlations of (X, Z) given Y, exactly.

    One of three descriptions: `complement`, the numbers $1-\rho_i^2$ in [0, 1] themselves (what
    keeps its digits for ρ near 1); `correlations` ρ_i in [-1, 1]; or `covariance` with the disjoint
    index sets `x`, `z`, `given`, whose correlations are enclosed at every working precision.

    >>> Spectrum(correlations=["0.6", 0]).infinite
    False
    """

    complement: Any = None
    correlations: Any = None
    covariance: Any = None
    x: Any = ()
    z: Any = ()
    given: Any = ()

    def __post_init__(self) -> None:
        names = ("complement", "correlations", "covariance")
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) != 1:
            raise ParameterError("Spectrum", f"given one of {', '.join(names)}", given)
        if self.correlations is not None:
            values = exact_numbers("correlations", self.correlations)
            if any(not -1 <= value <= 1 for value in values):
                raise ParameterError("correlations", "in [-1, 1]", self.correlations)
            object.__setattr__(self, "complement", [1 - value * value for value in values])
        elif self.complement is not None:
            values = exact_numbers("complement", self.complement)
            if any(not 0 <= value <= 1 for value in values):
                raise ParameterError("complement", "in [0, 1]", self.complement)
            object.__setattr__(self, "complement", values)
        else:
            exact = exact_covariance("covariance", self.covariance)
            x, z, y = _index_sets(exact, self.x, self.z, self.given)
            for name, value in (("covariance", exact), ("x", x), ("z", z), ("given", y)):
                object.__setattr__(self, name, value)

    @property
    def infinite(self) -> bool:
        """Whether some ρ_i is exactly ±1."""
        return self.covariance is None and any(value == 0 for value in self.complement)

    def informations(self) -> list[tuple[Arb, Arb]]:
        """Certain `(lower, upper)` of every finite ℓ_i, at the working precision."""
        flint = load_flint()
        if self.covariance is None:
            logs = [-flint.arb(value).log() for value in self.complement if value != 0]
        else:
            full, x, z, y = to_balls(self.covariance), self.x, self.z, self.given
            root = cholesky_balls(conditional_covariance(full, z, y), "covariance of Z given Y")
            half = solve_balls(root, conditional_covariance(full, z, x + y))
            shares = symmetric_eigenvalues(solve_balls(root, half.transpose()))  # 1 − ρ_i²
            if any(not share > 0 for share in shares):
                raise Undecided("a canonical correlation is not certified to be below 1")
            logs = [-share.log() for share in shares]
        zero = flint.arb(0)
        return [(zero.max(item.lower()), zero.max(item.upper())) for item in logs]


def _ordered_sums(values: Sequence[Arb], *, largest: bool) -> list[Arb]:
    """Sums of the 1, 2, … largest (or smallest) of exact numbers."""
    out, total = [], load_flint().arb(0)
    for item in sorted(values, key=exact_fraction, reverse=largest):
        total = total + item
        out.append(total)
    return out


def linear_memory_floor(
    spectrum: Spectrum,
    size: int,
    *,
    tolerance: float = TOLERANCE,
    relative: float = 0.0,
    most_bits: int = MOST_BITS,
) -> Ball:
    r"""$\tfrac12 \sum_{i>b} \ell_i$, the least MB of b-dimensional linear memories (R1), certified.

    Arguments: `spectrum`; `size` b. See `gaussian_kl` for the rest. Returns a `Ball`, nats;
    infinite, with its reason, if more than b correlations are perfect.

    >>> floor = linear_memory_floor(Spectrum(complement=["0.25", "0.5"]), 1)
    >>> print(floor)  # 1/2 log 2
    0.346574 nats in [0.346574, 0.346574] (R1)
    """
    size = positive_integer("size", size, minimum=0)
    perfect = 0 if spectrum.covariance is not None else sum(v == 0 for v in spectrum.complement)
    if perfect > size:
        reason = f"{perfect} correlations are perfect, the memory keeps {size}"
        return infinite_ball(reason, ("R1",))

    def compute() -> dict[str, Arb]:
        pairs = spectrum.informations()
        count = len(pairs) + perfect - size
        if count <= 0:
            return {"floor": load_flint().arb(0)}
        # the sum of the smallest is monotone in every term
        ends = [_ordered_sums(side, largest=False)[count - 1] for side in zip(*pairs, strict=True)]
        return {"floor": ends[0].union(ends[1]) / 2}

    found, bits = rigorously(compute, tolerance, relative, most_bits)
    return enclose(found["floor"], bits, 0.0, theorems=("R1",))


def reverse_water_filling(
    spectrum: Spectrum,
    budget: Any,
    *,
    tolerance: float = TOLERANCE,
    relative: float = 0.0,
    most_bits: int = MOST_BITS,
) -> Ball:
    r"""$MB^*(c) = \tfrac12\sum_i\min(\theta,\ell_i)$, the least MB at a budget of c nats (R2).

    θ solves $c = \tfrac12\sum_{\ell_i>\theta}\log\frac{e^{\ell_i}-1}{e^\theta-1}$. With
    $\lambda_i = \log(e^{\ell_i}-1)$ in decreasing order and $u = \log(e^\theta-1)$ the right side
    is $\max_n \tfrac12(\sum_{i\le n}\lambda_i - nu)$, hence
    $u = \max_n (\sum_{i\le n}\lambda_i-2c)/n$: no active set needs to be decided. It is monotone in
    every $\lambda_i$, so ends give ends.

    Arguments: `spectrum`; `budget` c, nats, an exact number of at least 0. See `gaussian_kl` for
    the rest. Returns a `Ball`, nats; infinite, with its reason, if a correlation is perfect.

    Source: THEORY, R2 (Chechik et al. 2005).

    >>> free = reverse_water_filling(Spectrum(complement=["0.25", "0.5"]), 0)
    >>> print(free)  # 1/2 log 8
    1.03972 nats in [1.03972, 1.03972] (R2)
    """
    rate = exact_number("budget", budget)
    if rate < 0:
        raise ParameterError("budget", "at least 0 nats", budget)
    if spectrum.infinite:
        return infinite_ball("a correlation is perfect: no finite budget makes it up", ("R2",))

    def compute() -> dict[str, Arb]:
        pairs = spectrum.informations()
        ends = [_filled([pair[side] for pair in pairs], rate) for side in (0, 1)]
        return {"MB*": ends[0].union(ends[1])}

    found, bits = rigorously(compute, tolerance, relative, most_bits)
    return enclose(found["MB*"], bits, 0.0, theorems=("R2",))


def _filled(informations: Sequence[Arb], rate: Any) -> Arb:
    """MB* of exact ℓ_i."""
    arb = load_flint().arb
    positive = [item for item in informations if item > 0]
    if not positive:
        return arb(0)
    if rate == 0:
        return sum(positive, arb(0)) / 2
    logs = [item.expm1().log() for item in sorted(positive, key=exact_fraction, reverse=True)]
    total, level = arb(0), arb.neg_inf()
    for count, item in enumerate(logs, start=1):
        total = total + item
        level = level.max((total - 2 * arb(rate)) / count)
    theta = level.exp().log1p()
    return sum((theta.min(item) for item in positive), arb(0)) / 2


# --- the static latent: E5 ------------------------------------------------------------------------


def _latent_ratio(noise_variance: Any, latent_variance: Any, level: Any) -> Callable[[], Arb]:
    """Noise over latent variance of a frame at an OU time: s/v + (e^{2t} − 1)/v."""
    own, latent = (
        exact_number("noise_variance", noise_variance),
        exact_number("latent_variance", latent_variance),
    )
    t = exact_number("level", level)
    for name, value, bad in (
        ("noise_variance", own, own < 0),
        ("latent_variance", latent, latent <= 0),
        ("level", t, t < 0),
    ):
        if bad:
            raise ParameterError(
                name, "positive" if name == "latent_variance" else "at least 0", value
            )
    if own == 0 and t == 0:
        raise ParameterError("noise_variance", "positive for clean frames", noise_variance)

    def ratio() -> Arb:
        arb = load_flint().arb
        return (arb(own) + (2 * arb(t)).expm1()) / arb(latent)

    return ratio


def latent_memory(
    noise_variance: Any,
    window: int,
    frame: int | None = None,
    *,
    latent_variance: Any = 1,
    level: Any = 0,
    tolerance: float = TOLERANCE,
    relative: float = 0.0,
    most_bits: int = MOST_BITS,
) -> Ball:
    r"""$MB_r = \tfrac12\log\frac{1+1/(r+s)}{1+1/(k-1+s)}$ of the static latent (E5), certified.

    $X_k = \theta + \xi_k$, θ ~ N(0, v), ξ ~ N(0, s): what the last r frames do not tell about frame
    k and all k − 1 earlier ones do; for v ≠ 1 or frames at an OU time, s is their ratio.

    Arguments: `noise_variance` s; `window` r; `frame` k > r, `None` for k → ∞; `latent_variance`;
    `level` t. See `gaussian_kl` for the rest. Returns a `Ball`, nats.

    >>> far = latent_memory("0.5", 2)
    >>> print(far)  # 1/2 log 1.4
    0.168236 nats in [0.168236, 0.168236] (E5)
    """
    r = positive_integer("window", window, minimum=0)
    if frame is not None and positive_integer("frame", frame) <= r:
        raise ParameterError("frame", f"above window ({r})", frame)
    ratio = _latent_ratio(noise_variance, latent_variance, level)

    def compute() -> dict[str, Arb]:
        s = ratio()
        forgotten = (1 / (r + s)).log1p()
        if frame is not None:
            forgotten = forgotten - (1 / (frame - 1 + s)).log1p()
        return {"MB": forgotten / 2}

    found, bits = rigorously(compute, tolerance, relative, most_bits)
    return enclose(found["MB"], bits, 0.0, theorems=("E5",))


def latent_bias(
    bias: Any,
    noise_variance: Any,
    window: int,
    *,
    latent_variance: Any = 1,
    level: Any = 0,
    tolerance: float = TOLERANCE,
    relative: float = 0.0,
    most_bits: int = MOST_BITS,
) -> Ball:
    r"""$\mu(1 + r/s)$: where a bias μ a step settles with a window of r frames (E5), certified.

    Arguments as in `latent_memory`, with `bias` μ. In units of a frame, not nats.

    >>> latent_bias("0.01", "0.5", 2).value
    0.05
    """
    r = positive_integer("window", window, minimum=0)
    step = exact_number("bias", bias)
    ratio = _latent_ratio(noise_variance, latent_variance, level)

    def compute() -> dict[str, Arb]:
        return {"bias": load_flint().arb(step) * (1 + r / ratio())}

    found, bits = rigorously(compute, tolerance, relative, most_bits)
    return enclose(found["bias"], bits, unit="frame", theorems=("E5",))


# --- window memory: R5 ----------------------------------------------------------------------------


def window_memory(
    video: Any,
    window: int,
    *,
    horizon: int,
    level: Any = 0,
    tolerance: float = TOLERANCE,
    relative: float = 0.0,
    most_bits: int = MOST_BITS,
) -> Ball:
    r"""$MB_r = I(X_k; X_{k-h..k-r-1} \mid X_{k-r..k-1})$ with k = h + 1, certified (R5, M1).

    Arguments: `video`, a `GaussianVideo` or its specification (numbers may be text); `window` r and
    `horizon` h, frames; `level`, OU time of the frames. See `gaussian_kl` for the rest. Returns a
    `Ball`, nats a frame. Raises `NotPositiveDefiniteError` or `PrecisionError` for clean frames
    that determine each other.

    >>> nothing = window_memory({"family": "autoregressive", "coefficients": ["0.9"],
    ...                          "noise_variance": "0.19"}, 1, horizon=6)
    >>> nothing.lower, nothing.upper < 1e-12  # AR(1): one frame is enough
    (0.0, True)
    """
    law = read_video(video)
    r, h = positive_integer("window", window, minimum=0), positive_integer("horizon", horizon)
    t = positive_number("level", level, strict=False)
    if r > h:
        raise ParameterError("window", f"in 0..horizon ({h})", r)
    check_size(law, h + 1)

    def compute() -> dict[str, Arb]:
        arb, dim = load_flint().arb, law.dim
        decay = (-2 * arb(t)).exp()
        frames = law.covariance(h + 1) * decay + identity_matrix((h + 1) * dim) * (1 - decay)
        now, old, near = (
            list(range(a * dim, b * dim)) for a, b in ((h, h + 1), (0, h - r), (h - r, h))
        )

        def log_det(rows: list[int]) -> Arb:
            return log_det_ball(submatrix(frames, rows, rows), "covariance of the frames")

        told = log_det(near + now) - log_det(near)
        return {"MB": (told - log_det(old + near + now) + log_det(old + near)) / 2}

    found, bits = rigorously(compute, tolerance, relative, most_bits)
    return enclose(found["MB"], bits, 0.0, theorems=("R5", "M1"))


# --- Theorem A ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class CertifiedDecomposition:
    """Theorem A's terms and the output and clip KL, every number a `Ball` in nats.

    `ie` IE_0; `nie`, `see`, `de`, `mb` summed over AR steps and `..._per_step`; `chain` their sum;
    `output` of the frames asked for and `clip` of the Δ frames finished last, at level δ.
    """

    ie: Ball
    nie: Ball
    see: Ball
    de: Ball
    mb: Ball
    chain: Ball
    output: Ball
    clip: Ball
    nie_per_step: tuple[Ball, ...]
    see_per_step: tuple[Ball, ...]
    de_per_step: tuple[Ball, ...]
    mb_per_step: tuple[Ball, ...]
    roll_out: RollOut
    bits: int

    def to_json(self) -> dict[str, Any]:
        """Every number with its proved ends."""
        out: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, Ball):
                out[item.name] = value.to_json()
            elif isinstance(value, tuple):
                out[item.name] = [ball.to_json() for ball in value]
        return out | {"steps": self.roll_out.steps, "frames": self.roll_out.frames}

    def __repr__(self) -> str:
        names = ("output", "chain", "ie", "nie", "see", "de", "mb")
        shown = ", ".join(f"{name} {getattr(self, name).value:.6g}" for name in names)
        return f"CertifiedDecomposition(K={self.roll_out.steps}, nats: {shown}; {self.bits} bits)"


_LABELS = {
    "output": ("Corollary A",),
    "clip": ("B",),
}


def decompose(
    video: Any,
    schedule: Any = None,
    generator: Any = None,
    *,
    steps: int | None = None,
    frames: int | None = None,
    tolerance: float = TOLERANCE,
    relative: float = 0.0,
    most_bits: int = MOST_BITS,
) -> CertifiedDecomposition:
    r"""Theorem A for a small world, every term certified.

    Arguments
    ---------
    video: a whole specification alone (an object as the command line reads it, in which any number
        may be text or a fraction; its JSON text, whose decimals are read as written; or a
        `Specification`), or a video beside `schedule`, `generator` and `steps` or `frames`: objects
        of this package (their doubles are taken exactly, sub-step levels included) or parts of a
        specification.
    tolerance, relative, most_bits: as in `gaussian_kl`, for every number.

    Returns a `CertifiedDecomposition`, in nats.

    Raises `RefusedError` for what has no certified calculation (samplers other than ancestral,
    estimated denoisers, panorama and video files, more than 256 numbers), `UnstableError`,
    `NotPositiveDefiniteError`, `PrecisionError`, `ParameterError`.

    Source: THEORY, Theorem A and the closed forms of section 5.

    >>> world = '''{"video": {"family": "static_latent", "noise_variance": 0.5},
    ...            "schedule": {"method": "chunk", "window": 2, "t_max": 3, "t_min": 0.05,
    ...                         "substeps": 2}, "steps": 2}'''
    >>> result = decompose(world)
    >>> result.output.upper <= result.chain.lower, result.see.upper
    (True, 0.0)
    """
    if schedule is None:
        parts = _whole(video)
        if generator is not None or steps is not None or frames is not None:
            raise ParameterError("schedule", "given beside the other parts", None)
    else:
        parts = {"video": video, "schedule": schedule, "generator": generator}
        parts |= {"steps": steps, "frames": frames}
    world = read_world(parts)
    found, bits = rigorously(lambda: theorem_a_terms(world), tolerance, relative, most_bits)
    balls: dict[str, Any] = {
        name: enclose(arb, bits, 0.0, theorems=_LABELS.get(name, ("A",)))
        for name, arb in found.items()
    }
    steps_of: dict[str, Any] = {
        f"{name}_per_step": tuple(balls.pop(f"{name}[{k}]") for k in range(world.plan.steps))
        for name in ("nie", "see", "de", "mb")
    }
    return CertifiedDecomposition(**balls, **steps_of, roll_out=world.plan, bits=bits)


def _whole(given: Any) -> Mapping[str, Any]:
    """A whole specification: an object, JSON text, or a `Specification`."""
    if isinstance(given, Specification):
        parts = (given.video, given.schedule, given.generator)
        return dict(zip(("video", "schedule", "generator"), parts, strict=True)) | {
            "steps": given.steps,
            "frames": given.frames,
        }
    if isinstance(given, str):
        try:
            given = json.loads(given, parse_float=str, parse_constant=str)
        except json.JSONDecodeError as error:
            raise ParameterError("specification", "valid JSON", error.msg) from None
    if not isinstance(given, Mapping):
        raise ParameterError("specification", "an object, JSON text or a Specification", given)
    known = ("spec_version", "video", "schedule", "generator", "steps", "frames")
    for key in given:
        if key not in known:
            raise ParameterError(str(key), f"one of the keys {', '.join(known)}", key)
    for key in ("video", "schedule"):
        if key not in given:
            raise ParameterError(key, "given", "nothing")
    return given
