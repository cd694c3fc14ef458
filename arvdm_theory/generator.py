r"""Who generates: a denoiser, a sampler, references and a memory.

On Gaussian video every denoiser here is affine in what it sees, $\hat x = A_x X_n + A_c c + a$
with $X_n$ the noisy window and $c = (R_k, m_k)$; so every law it generates is Gaussian and exactly
known.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar

import numpy as np

from arvdm_theory import noise
from arvdm_theory._gaussian import EPS, posterior_covariance, psd_factor, symmetrise, transpose
from arvdm_theory._progress import report
from arvdm_theory._window_law import (
    Context,
    DenseLaws,
    KalmanLaws,
    Law,
    WindowLaw,
    check_dense,
    memory_rows,
    window_laws,
)
from arvdm_theory.checks import finite_array, positive_integer, real_number
from arvdm_theory.errors import ParameterError
from arvdm_theory.schedule import Schedule
from arvdm_theory.video import ExplicitCovariance, GaussianVideo

__all__ = [
    "DENOISERS",
    "MEMORIES",
    "SAMPLERS",
    "Biased",
    "Denoiser",
    "Estimated",
    "Exact",
    "Generator",
    "LinearMemory",
    "Memory",
    "Misspecified",
    "RandomPerturbation",
    "RecursiveMemory",
    "Scaled",
    "sample",
]

SAMPLERS = (
    "ancestral",
    "optimal_variance",
    "optimal_variance_diagonal",
    "exponential_integrator",
    "euler_maruyama",
    "ddim",
)
"""S0 `ancestral` (DDPM, posterior variance); `optimal_variance` with the full joint posterior
covariance of the window, or its diagonal; score-frozen `exponential_integrator`; `euler_maruyama`;
deterministic `ddim` (2.2)."""


# --- denoisers ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Denoiser:
    r"""What the network computes from (noisy window, references, memory); see the subclasses.

    With $m = E[X^0 \mid X_n, R, m]$ under the law that the denoiser believes in.
    """

    kind: ClassVar[str]

    def believed_video(self, video: GaussianVideo, frames: int) -> GaussianVideo:
        """The video law under which this denoiser's conditional expectations are taken."""
        return video

    def to_json(self) -> dict[str, Any]:
        """The specification of this denoiser, as the command line reads it."""
        out: dict[str, Any] = {"kind": self.kind}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, GaussianVideo):
                value = value.to_json()
            out[item.name] = value.tolist() if isinstance(value, np.ndarray) else value
        return out


@dataclass(frozen=True, eq=False)
class Exact(Denoiser):
    """x̂ = m, the best denoiser: SEE = 0 unless references are only labelled as noisy."""

    kind: ClassVar[str] = "exact"


@dataclass(frozen=True, eq=False)
class Scaled(Denoiser):
    """x̂ = `factor` · m."""

    kind: ClassVar[str] = "scaled"
    factor: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "factor", real_number("factor", self.factor))


@dataclass(frozen=True, eq=False)
class Biased(Denoiser):
    """x̂ = m + `bias`, a number or d numbers, the same for every frame."""

    kind: ClassVar[str] = "biased"
    bias: Any

    def __post_init__(self) -> None:
        bias = finite_array("bias", self.bias)
        if bias.ndim > 1:
            raise ParameterError("bias", "a number or d numbers", self.bias)
        object.__setattr__(self, "bias", bias)


@dataclass(frozen=True, eq=False)
class RandomPerturbation(Denoiser):
    r"""$\hat x = m + \text{scale}\cdot Z_n u$, u = (X_n, reference slots oldest first, memory).

    $Z_n$ has independent N(0, 1/size(u)) entries, drawn from
    `numpy.random.default_rng((seed, n))` for sub-step n and the same at every AR step; columns of
    reference slots that do not exist yet are not used.
    """

    kind: ClassVar[str] = "random"
    scale: float
    seed: int = 0

    def __post_init__(self) -> None:
        scale = real_number("scale", self.scale, "a finite number of at least 0")
        if scale < 0.0:
            raise ParameterError("scale", "a finite number of at least 0", self.scale)
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "seed", positive_integer("seed", self.seed, 0))

    def matrix(self, sub_step: int, rows: int, columns: int) -> np.ndarray:
        """`scale` · Z_n, `(rows, columns)`."""
        draw = np.random.default_rng((self.seed, sub_step)).standard_normal((rows, columns))
        return self.scale * draw / np.sqrt(columns)


@dataclass(frozen=True, eq=False)
class Estimated(Denoiser):
    """The exact denoiser of the law estimated from `videos` training videos.

    Sample mean and sample covariance (divided by n) of `videos` independent clean videos, drawn
    with `seed`. One seed is one trained model; `trials` more seeds (`seed + 1`, ...) give the
    expected SEE with its standard error.
    """

    kind: ClassVar[str] = "estimated"
    videos: int
    seed: int = 0
    trials: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "videos", positive_integer("videos", self.videos, 2))
        object.__setattr__(self, "seed", positive_integer("seed", self.seed, 0))
        object.__setattr__(self, "trials", positive_integer("trials", self.trials, 0))

    def believed_video(self, video: GaussianVideo, frames: int) -> GaussianVideo:
        drawn = video.sample(self.videos, frames=frames, seed=self.seed)
        drawn = drawn.reshape(self.videos, -1)
        centred = drawn - drawn.mean(axis=0)
        covariance = symmetrise(centred.T @ centred / self.videos)
        return ExplicitCovariance(covariance, dim=video.dim, mean=drawn.mean(axis=0))


@dataclass(frozen=True, eq=False)
class Misspecified(Denoiser):
    """The exact denoiser of another Gaussian `video`, of the same frame dimension."""

    kind: ClassVar[str] = "misspecified"
    video: GaussianVideo

    def __post_init__(self) -> None:
        if isinstance(self.video, Mapping):
            try:
                object.__setattr__(self, "video", GaussianVideo.from_json(self.video))
            except ParameterError as error:
                raise error.within("video") from None
        if not isinstance(self.video, GaussianVideo):
            raise ParameterError("video", "a GaussianVideo", self.video)

    def believed_video(self, video: GaussianVideo, frames: int) -> GaussianVideo:
        if self.video.dim != video.dim:
            raise ParameterError("denoiser.video.dim", f"the video's ({video.dim})", self.video.dim)
        return self.video


DENOISERS: dict[str, type[Denoiser]] = {
    cls.kind: cls for cls in (Exact, Scaled, Biased, RandomPerturbation, Estimated, Misspecified)
}


# --- memories -------------------------------------------------------------------------------------


def _matrix(parameter: str, value: Any, ndim: int) -> np.ndarray:
    array = finite_array(parameter, value)
    if array.ndim != ndim or array.size == 0:
        raise ParameterError(parameter, f"a {ndim}-dimensional array", f"shape {array.shape}")
    return array


@dataclass(frozen=True, eq=False)
class Memory:
    """A map of finished frames (at level δ) to b numbers; references are the other memory."""

    kind: ClassVar[str]

    def context(self, reference: int, level: float) -> Context:
        """This memory beside `reference` frames seen at `level`."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """The specification of this memory, as the command line reads it."""
        values = {item.name: getattr(self, item.name).tolist() for item in fields(self)}
        return {"kind": self.kind, **values}


@dataclass(frozen=True, eq=False)
class LinearMemory(Memory):
    r"""$m_k = \sum_{l=1}^{L} W_l X^\delta_{p+1-l}$, p = (k-1)Δ finished frames.

    `weights` `(L, b, d)`, newest frame first; frames that do not exist yet are left out. A fixed
    map of the past, so Theorem B does not apply to it.
    """

    kind: ClassVar[str] = "linear"
    weights: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", _matrix("weights", self.weights, 3))

    def context(self, reference: int, level: float) -> Context:
        return Context(reference, level, lags=self.weights)


@dataclass(frozen=True, eq=False)
class RecursiveMemory(Memory):
    """m ← F m + H x for every finished frame x (at level δ) in order, from m = 0.

    `transition` F `(b, b)`, `input` H `(b, d)`.
    """

    kind: ClassVar[str] = "recursive"
    transition: Any
    input: Any

    def __post_init__(self) -> None:
        transition, given = (
            _matrix("transition", self.transition, 2),
            _matrix("input", self.input, 2),
        )
        if transition.shape != (given.shape[0], given.shape[0]):
            raise ParameterError(
                "transition", f"of shape {(given.shape[0], given.shape[0])}", transition.shape
            )
        object.__setattr__(self, "transition", transition)
        object.__setattr__(self, "input", given)

    def context(self, reference: int, level: float) -> Context:
        return Context(reference, level, transition=self.transition, input=self.input)


MEMORIES: dict[str, type[Memory]] = {cls.kind: cls for cls in (LinearMemory, RecursiveMemory)}


# --- the generator --------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class Generator:
    r"""A model of video: how each AR step turns its input window into its output window.

    Arguments
    ---------
    denoiser: one of `DENOISERS`. sampler: one of `SAMPLERS`.
    reference: r, clean frames seen just before the window (as many as exist).
    memory: a `LinearMemory` or `RecursiveMemory`; the last r frames are `reference`.
    initialisation: sub-steps of the initialisation stage (D2); `None`: the first window is exact.

    Raises `ParameterError` for an unknown sampler, denoiser or memory and for bad counts.

    >>> Generator(Scaled(1.03), reference=2).sampler
    'ancestral'
    """

    denoiser: Denoiser = Exact()
    sampler: str = "ancestral"
    reference: int = 0
    memory: Memory | None = None
    initialisation: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.denoiser, Denoiser):
            raise ParameterError("denoiser", f"one of {', '.join(DENOISERS)}", self.denoiser)
        if self.sampler not in SAMPLERS:
            raise ParameterError("sampler", f"one of {', '.join(SAMPLERS)}", self.sampler)
        object.__setattr__(self, "reference", positive_integer("reference", self.reference, 0))
        if self.memory is not None and not isinstance(self.memory, Memory):
            raise ParameterError("memory", f"one of none, {', '.join(MEMORIES)}", self.memory)
        if self.initialisation is not None:
            count = positive_integer("initialisation.substeps", self.initialisation)
            object.__setattr__(self, "initialisation", count)

    def check(self, video: GaussianVideo) -> None:
        """Refuse a generator whose arrays do not fit the video's frame dimension."""
        if isinstance(self.denoiser, Biased) and self.denoiser.bias.shape not in ((), (video.dim,)):
            raise ParameterError(
                "denoiser.bias", f"a number or {video.dim} numbers", self.denoiser.bias.shape
            )
        for name in ("weights", "input"):
            array = getattr(self.memory, name, None)
            if array is not None and array.shape[-1] != video.dim:
                raise ParameterError(
                    f"memory.{name}", f"of last size dim ({video.dim})", array.shape
                )

    def to_json(self) -> dict[str, Any]:
        """The specification of this generator, as the command line reads it."""
        out: dict[str, Any] = {
            "denoiser": self.denoiser.to_json(),
            "sampler": self.sampler,
            "reference": self.reference,
        }
        if self.memory is not None:
            out["memory"] = self.memory.to_json()
        if self.initialisation is not None:
            out["initialisation"] = {"substeps": self.initialisation}
        return out

    @staticmethod
    def from_json(specification: Mapping[str, Any]) -> Generator:
        """The generator of a specification; the inverse of `to_json`."""
        known = ("denoiser", "sampler", "reference", "memory", "initialisation")
        keys = _known_keys("generator", specification, known)
        if "denoiser" in keys:
            keys["denoiser"] = _by_kind("generator.denoiser", keys["denoiser"], DENOISERS)
        memory = keys.pop("memory", None)
        if memory is not None and memory != {"kind": "none"}:
            if isinstance(memory, Mapping) and memory.get("kind") == "last_frames":
                frames = _known_keys("generator.memory", memory, ("kind", "frames")).get("frames")
                if keys.get("reference", 0) != 0:
                    raise ParameterError(
                        "generator.reference",
                        "0 if the memory is last_frames (the same thing)",
                        keys["reference"],
                    )
                keys["reference"] = positive_integer("generator.memory.frames", frames, 0)
            else:
                keys["memory"] = _by_kind("generator.memory", memory, MEMORIES)
        start = keys.pop("initialisation", None)
        if start is not None:
            inner = _known_keys("generator.initialisation", start, ("substeps",))
            if "substeps" not in inner:
                raise ParameterError("generator.initialisation.substeps", "given", "nothing")
            keys["initialisation"] = inner["substeps"]
        return Generator(**keys)

    @property
    def key(self) -> str:
        """Content key: equal for equal generators, across processes."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def __repr__(self) -> str:
        memory = "none" if self.memory is None else self.memory.kind
        return (
            f"Generator(denoiser={self.denoiser.kind}, sampler={self.sampler}, "
            f"reference={self.reference}, memory={memory}, initialisation={self.initialisation})"
        )


def _known_keys(parameter: str, given: Any, known: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise ParameterError(parameter, f"an object with {', '.join(known)}", given)
    for key in given:
        if key not in known:
            raise ParameterError(f"{parameter}.{key}", f"one of the keys {', '.join(known)}", key)
    return dict(given)


def _by_kind(parameter: str, given: Any, kinds: Mapping[str, type]) -> Any:
    kind = given.get("kind") if isinstance(given, Mapping) else given
    if not isinstance(given, Mapping) or not isinstance(kind, str) or kind not in kinds:
        raise ParameterError(f"{parameter}.kind", f"one of {', '.join(kinds)}", kind)
    cls = kinds[kind]
    known = {item.name: item for item in fields(cls)}
    keys = _known_keys(parameter, given, ("kind", *known))
    keys.pop("kind")
    for name, item in known.items():
        if name not in keys and item.default is MISSING:
            raise ParameterError(f"{parameter}.{name}", "given", "nothing")
    try:
        return cls(**keys)
    except ParameterError as error:
        raise error.within(parameter) from None


# --- kernels: from denoiser and sampler to affine maps, batched over AR steps ---------------------


def sampler_coefficients(
    sampler: str, t_from: np.ndarray, t_to: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""$x' = a\,x + b\,\hat x + N(0, v)$ for one sub-step, per frame; `(a, b, v)`.

    Optimal variance adds the denoiser's own posterior covariance, $b V b$, to v.
    Reverse SDE dY = (Y + 2 s) dτ + √2 dW with score s = (e^{-t} x̂ - x)/σ².
    """
    step = t_from - t_to
    alpha, variance = noise.alpha(t_from), noise.sigma(t_from) ** 2
    if sampler == "exponential_integrator":
        grow = np.expm1(step)
        return 1.0 + grow - 2.0 * grow / variance, 2.0 * grow * alpha / variance, np.expm1(2 * step)
    if sampler == "euler_maruyama":
        return 1.0 + step - 2.0 * step / variance, 2.0 * step * alpha / variance, 2.0 * step
    if sampler == "ddim":
        a = noise.sigma(t_to) / noise.sigma(t_from)
        return a, noise.alpha(t_to) - a * alpha, np.zeros_like(step)
    return noise.bridge(t_from, t_to)


@dataclass(frozen=True, eq=False)
class AffineDenoiser:
    """x̂ - μ = A_x (X_n - αμ) + A_c (c - μ_c) + a, about the true means; batched over AR steps.

    `posterior` is Cov(X⁰ | X_n, R, m) under the law that the denoiser believes in.
    """

    window: np.ndarray  # A_x (K, w d, w d)
    context: np.ndarray  # A_c (K, w d, q)
    offset: np.ndarray  # a (K, w d)
    posterior: np.ndarray  # V (K, w d, w d)


def affine_denoiser(
    denoiser: Denoiser, belief: WindowLaw, truth: WindowLaw, levels: np.ndarray, sub_step: int
) -> AffineDenoiser:
    """The denoiser at one sub-step; `levels` `(w,)` OU times of the window's frames."""
    dim = truth.mean.shape[1] // levels.size
    t = np.repeat(levels, dim)
    gamma, alpha = np.asarray(noise.gamma(t)), np.asarray(noise.alpha(t))
    posterior = np.asarray(posterior_covariance(belief.given_context, gamma))
    window = posterior * (gamma / alpha)
    context = belief.gain - (posterior * gamma) @ belief.gain
    shift, known_mean = belief.mean - truth.mean, truth.context_mean
    # with a label the belief is in terms of (R, m), the truth of what m adds to R
    change = truth.raw if belief.raw is None else None
    if change is not None:
        known_mean = known_mean @ change.T
    offset = shift - _apply(window * alpha, shift)
    offset = offset - _apply(context, belief.context_mean - known_mean)
    if change is not None:
        context = context @ change
    believed = AffineDenoiser(window, context, offset, posterior)
    return _perturbed(denoiser, believed, truth, levels, sub_step)


def _perturbed(
    denoiser: Denoiser,
    believed: AffineDenoiser,
    truth: WindowLaw,
    levels: np.ndarray,
    sub_step: int,
) -> AffineDenoiser:
    """What the denoiser makes of the posterior mean under the law that it believes in."""
    window, context, offset = believed.window, believed.context, believed.offset
    dim = truth.mean.shape[1] // levels.size
    if isinstance(denoiser, Scaled):
        window, context = denoiser.factor * window, denoiser.factor * context
        offset = denoiser.factor * offset + (denoiser.factor - 1.0) * truth.mean
    elif isinstance(denoiser, Biased):
        bias = np.broadcast_to(denoiser.bias, (dim,)) if denoiser.bias.ndim == 0 else denoiser.bias
        offset = offset + np.tile(bias, levels.size)
    elif isinstance(denoiser, RandomPerturbation):
        rows, slots = window.shape[-1], context.shape[-1]
        drawn = denoiser.matrix(sub_step, rows, rows + slots)
        of_window, of_context = drawn[:, :rows], drawn[:, rows:]
        alpha = np.asarray(noise.alpha(np.repeat(levels, dim)))
        if truth.raw is not None:
            of_context = of_context @ truth.raw
        window, context = window + of_window, context + of_context
        offset = offset + _apply(of_window * alpha, truth.mean)
        offset = offset + _apply(of_context, truth.context_mean)
    return AffineDenoiser(window, context, offset, believed.posterior)


def _apply(matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
    return np.asarray((matrix @ vector[..., None])[..., 0])


@dataclass(frozen=True, eq=False)
class SubStep:
    """x' = F x + C c + f + N(0, Σ) in deviations from the true means; batched over AR steps."""

    window: np.ndarray  # F (K, w d, w d)
    context: np.ndarray  # C (K, w d, q)
    offset: np.ndarray  # f (K, w d)
    covariance: np.ndarray  # Σ (K, w d, w d)


def sub_step_kernel(
    sampler: str, denoiser: AffineDenoiser, mean: np.ndarray, t_from: np.ndarray, t_to: np.ndarray
) -> SubStep:
    """One sub-step of the model as an affine Gaussian kernel; levels `(w,)`."""
    dim = mean.shape[1] // t_from.size
    start, end = np.repeat(t_from, dim), np.repeat(t_to, dim)
    a, b, v = sampler_coefficients(sampler, start, end)
    window = b[:, None] * denoiser.window + np.diag(a)
    covariance = np.broadcast_to(np.diag(v), window.shape)
    if sampler.startswith("optimal_variance"):
        spread = b[:, None] * denoiser.posterior * b
        if sampler.endswith("diagonal"):
            spread = spread * np.eye(spread.shape[-1])
        covariance = covariance + spread
    offset = b * denoiser.offset
    if sampler in ("exponential_integrator", "euler_maruyama"):
        # the others carry the true mean path along exactly
        offset = offset + (a * noise.alpha(start) + b - noise.alpha(end)) * mean
    return SubStep(window, b[:, None] * denoiser.context, offset, covariance)


def initial_window_law(video: GaussianVideo, frames: int) -> WindowLaw:
    """Window law of frames 1..`frames` without a past, for the initialisation stage (D2)."""
    size = frames * video.dim
    covariance = video.covariance(frames)
    return WindowLaw(
        video.means(frames).reshape(1, size),
        np.zeros((1, 0)),
        covariance[None],
        np.zeros((1, size, 1)),
        np.zeros((1, 0, 1)),
        np.zeros((1, 0)),
        np.array([8.0 * EPS * size * np.linalg.norm(covariance, 2) + frames * video.rounding]),
        np.zeros(1),
    )


def generator_context(
    schedule: Schedule, generator: Generator, dim: int, *, believed: bool = False
) -> Context:
    """The context of a generator: as it is, or as its denoiser believes it to be (`label`)."""
    labelled = believed and schedule.context_noise == "label"
    level = schedule.t_min
    if schedule.renoised or labelled:
        assert schedule.context_level is not None
        level = schedule.context_level
    if generator.memory is None:
        return Context(generator.reference, level)
    context = generator.memory.context(generator.reference, level)
    return context if level > schedule.t_min else context.without_references(dim)


@dataclass(frozen=True, eq=False)
class Resolved:
    """A video, a schedule and a generator resolved for a number of AR steps.

    `truth` and `belief` are window laws; `initial` is the pair for the initialisation stage.
    """

    video: GaussianVideo
    schedule: Schedule
    generator: Generator
    steps: int
    truth: WindowLaw
    belief: WindowLaw
    initial: tuple[WindowLaw, WindowLaw] | None

    def denoiser_at(self, sub_step: int, best: AffineDenoiser | None = None) -> AffineDenoiser:
        """The model's denoiser at sub-step `sub_step`, over all AR steps.

        From the exact denoiser `best` of the truth, if known and what the model believes in.
        """
        levels, denoiser = self.schedule.grid[sub_step], self.generator.denoiser
        if best is not None and self.belief is self.truth:
            return _perturbed(denoiser, best, self.truth, levels, sub_step)
        return affine_denoiser(denoiser, self.belief, self.truth, levels, sub_step)

    def kernel_at(self, sub_step: int, denoiser: AffineDenoiser) -> SubStep:
        """The model's kernel of sub-step `sub_step`, over all AR steps."""
        grid = self.schedule.grid
        return sub_step_kernel(
            self.generator.sampler, denoiser, self.truth.mean, grid[sub_step], grid[sub_step + 1]
        )

    def initial_law(self) -> tuple[np.ndarray, np.ndarray]:
        """Law of the model's re-noised initial window, deviations from the truth's mean.

        `(mean, covariance)` of frames 1..w-Δ at their input levels.
        """
        schedule, count = self.schedule, self.schedule.window - self.schedule.stride
        dim = self.video.dim
        levels = np.repeat(schedule.input_levels[:count], dim)
        alpha, variance = np.asarray(noise.alpha(levels)), np.asarray(noise.sigma(levels)) ** 2
        if self.initial is None or count == 0:
            clean = self.truth.given_past[0] + self.truth.prediction[0] @ self.truth.prediction[0].T
            clean = clean[: count * dim, : count * dim]
            return np.zeros(count * dim), alpha[:, None] * clean * alpha + np.diag(variance)
        truth, belief = self.initial
        mean, covariance = -float(noise.alpha(schedule.t_max)) * truth.mean[0], np.eye(count * dim)
        grid = self.initial_grid()
        for n in range(grid.shape[0] - 1):
            step = self._initial_kernel(grid, n, truth, belief)
            mean = step.window[0] @ mean + step.offset[0]
            covariance = step.window[0] @ covariance @ step.window[0].T + step.covariance[0]
        scale, added = noise.kernel(schedule.t_min, levels)
        return scale * mean, scale[:, None] * symmetrise(covariance) * scale + np.diag(added)

    def initial_grid(self) -> np.ndarray:
        """Sub-step levels of the initialisation stage, `(M_init + 1, w - Δ)`."""
        count = self.schedule.window - self.schedule.stride
        start = np.full(count, self.schedule.t_max)
        end = np.full(count, self.schedule.t_min)
        grid: np.ndarray = noise.sub_step_levels(start, end, self.generator.initialisation or 1)
        return grid

    def _initial_kernel(
        self, grid: np.ndarray, n: int, truth: WindowLaw, belief: WindowLaw
    ) -> SubStep:
        denoiser = affine_denoiser(self.generator.denoiser, belief, truth, grid[n], n)
        return sub_step_kernel(self.generator.sampler, denoiser, truth.mean, grid[n], grid[n + 1])


@dataclass(frozen=True, eq=False)
class ResolvedLaws:
    """A video, a schedule and a generator that fit each other, to be resolved step after step."""

    video: GaussianVideo
    schedule: Schedule
    generator: Generator
    truth: KalmanLaws | DenseLaws
    belief: KalmanLaws | DenseLaws | None  # None: the truth
    initial: tuple[WindowLaw, WindowLaw] | None

    @property
    def linear(self) -> bool:
        """Whether any number of steps may be taken at a time."""
        return all(not isinstance(item, DenseLaws) for item in (self.truth, self.belief))

    def take(self, steps: int) -> Resolved:
        """The next `steps` AR steps."""
        truth = self.truth.take(steps)
        belief = truth if self.belief is None else self.belief.take(steps)
        described = (self.video, self.schedule, self.generator)
        return Resolved(*described, steps, truth, belief, self.initial)


def resolve(
    video: GaussianVideo,
    schedule: Schedule,
    generator: Generator,
    steps: int,
    law: Law = "auto",
) -> Resolved:
    """Check that the three fit each other and compute their window laws for `steps` AR steps."""
    return resolved_laws(video, schedule, generator, steps, law).take(steps)


def resolved_laws(
    video: GaussianVideo,
    schedule: Schedule,
    generator: Generator,
    steps: int,
    law: Law = "auto",
) -> ResolvedLaws:
    """Check that the three fit each other for `steps` AR steps, to be taken in order."""
    if not isinstance(video, GaussianVideo):
        raise ParameterError("video", "a GaussianVideo", type(video).__name__)
    if not isinstance(schedule, Schedule):
        raise ParameterError("schedule", "a Schedule", type(schedule).__name__)
    if not isinstance(generator, Generator):
        raise ParameterError("generator", "a Generator", type(generator).__name__)
    generator.check(video)
    needed = (steps - 1) * schedule.stride + schedule.window
    if video.length is not None and needed > video.length:
        raise ParameterError(
            "steps",
            f"such that (steps - 1) * stride + window <= the video's length ({video.length})",
            f"{steps} steps, which need {needed} frames",
        )
    seen = generator_context(schedule, generator, video.dim)
    truth = window_laws(video, schedule, seen, steps, law)
    if isinstance(generator.denoiser, Estimated):
        check_dense(needed * video.dim)
    believed = generator.denoiser.believed_video(video, needed)
    if believed.length is not None and needed > believed.length:
        raise ParameterError(
            "generator.denoiser.video", f"of at least {needed} frames", f"{believed.length} frames"
        )
    labelled = schedule.context_noise == "label"
    belief = None
    if believed is not video or labelled:
        context = generator_context(schedule, generator, video.dim, believed=True)
        belief = window_laws(
            believed, schedule, context, steps, "auto" if believed is not video else law
        )
    initial = None
    count = schedule.window - schedule.stride
    if generator.initialisation is not None and count > 0:
        start = initial_window_law(video, count)
        initial = (start, start if believed is video else initial_window_law(believed, count))
    return ResolvedLaws(video, schedule, generator, truth, belief, initial)


# --- sampling -------------------------------------------------------------------------------------


def sample(
    video: GaussianVideo,
    schedule: Schedule,
    generator: Generator,
    size: int,
    *,
    steps: int | None = None,
    frames: int | None = None,
    seed: int,
) -> np.ndarray:
    """Draw `size` generated videos (frames at level δ), `(size, frames, dim)`.

    By running the sampler step by step, so that it is an independent check of the exact law.

    Arguments: `size` videos; `steps` AR steps or `frames` (frames beyond are generated and cut,
    `Schedule.roll_out` reports them); `seed`, the same seed gives the same videos.

    Raises `ParameterError` for descriptions that do not fit each other and for bad counts.

    >>> from arvdm_theory.video import StaticLatent
    >>> schedule = Schedule.chunk(2, t_max=3.0, t_min=0.05, substeps=4)
    >>> sample(StaticLatent(0.5), schedule, Generator(), 3, frames=5, seed=0).shape
    (3, 5, 1)
    """
    plan = schedule.roll_out(steps=steps, frames=frames)
    world = resolve(video, schedule, generator, plan.steps)
    size = positive_integer("size", size)
    rng = np.random.default_rng(positive_integer("seed", seed, minimum=0))
    dim, stride, width = video.dim, schedule.stride, schedule.window * video.dim
    mean = video.means(plan.needed).reshape(-1)
    kernels = [world.kernel_at(n, world.denoiser_at(n)) for n in range(int(schedule.substeps or 0))]
    roots = [psd_factor(kernel.covariance) for kernel in kernels]
    context = generator_context(schedule, generator, dim)
    scale, added = noise.kernel(schedule.t_min, context.level)
    path = np.zeros((size, plan.needed * dim))  # deviations; finished frames, then the window
    start = (schedule.window - stride) * dim
    first, covariance = world.initial_law()
    path[:, :start] = first + rng.standard_normal((size, start)) @ psd_factor(covariance).T
    fresh = float(noise.alpha(schedule.t_max))
    for k in range(plan.steps):
        past = k * stride * dim
        entering = slice(past + start, past + width)
        path[:, entering] = rng.standard_normal((size, stride * dim)) - fresh * mean[entering]
        seen = np.zeros((size, context.size(dim)))
        available = min(context.reference, k * stride) * dim
        slots = context.reference * dim
        if available:
            seen[:, slots - available : slots] = scale * path[:, past - available : past]
            seen[:, slots - available : slots] += np.sqrt(added) * rng.standard_normal(
                (size, available)
            )
        if context.memory:
            seen[:, slots:] = path[:, :past] @ memory_rows(context, dim, k * stride).T
        window = path[:, past : past + width]
        for kernel, root in zip(kernels, roots, strict=True):
            window = window @ kernel.window[k].T + seen @ kernel.context[k].T + kernel.offset[k]
            window = window + rng.standard_normal((size, width)) @ root[k].T
        path[:, past : past + width] = window
    finished = path + float(noise.alpha(schedule.t_min)) * mean
    return finished[:, : plan.frames * dim].reshape(size, plan.frames, dim)


def generated_law(world: Resolved) -> tuple[np.ndarray, np.ndarray]:
    """Exact law of the K Δ finished frames, deviations from the truth's mean at level δ.

    Returns mean `(K Δ d,)` and covariance `(K Δ d, K Δ d)`, by propagating the joint law of
    finished frames and window through every AR step.
    """
    schedule, dim = world.schedule, world.video.dim
    steps, stride = world.steps, schedule.stride
    width, start = schedule.window * dim, (schedule.window - schedule.stride) * dim
    window, seen, offset, covariance = _step_maps(world)
    context = generator_context(schedule, world.generator, dim)
    scale, added = noise.kernel(schedule.t_min, context.level)
    total = (steps - 1) * stride * dim + width
    mean, joint = np.zeros(total), np.zeros((total, total))
    mean[:start], joint[:start, :start] = world.initial_law()
    fresh_mean = float(noise.alpha(schedule.t_max)) * world.truth.mean
    slots = context.reference * dim
    for k in range(steps):
        report("generated frames", k * stride, steps * stride)
        past = k * stride * dim
        here, entering = slice(past, past + width), slice(past + start, past + width)
        mean[entering] = -fresh_mean[k, start:]
        joint[entering, entering] = np.eye(stride * dim)
        lift = np.zeros((context.size(dim), past))
        own = np.zeros(context.size(dim))
        available = min(context.reference, k * stride) * dim
        if available:
            lift[slots - available : slots, past - available :] = scale * np.eye(available)
            own[slots - available : slots] = added
        if context.memory:
            lift[slots:] = memory_rows(context, dim, k * stride)
        used = np.flatnonzero(lift.any(axis=0))
        through = seen[k] @ lift[:, used]
        end = past + width
        row = window[k] @ joint[here, :end] + through @ joint[used, :end]
        block = row[:, here] @ window[k].T + row[:, used] @ through.T
        block = block + covariance[k] + (seen[k] * own) @ seen[k].T
        mean[here] = window[k] @ mean[here] + through @ mean[used] + offset[k]
        joint[here, :past], joint[:past, here] = row[:, :past], row[:, :past].T
        joint[here, here] = symmetrise(block)
    done = steps * stride * dim
    return mean[:done], joint[:done, :done]


def _step_maps(world: Resolved) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Every AR step as one affine kernel: Output = Φ Input + C c + φ + N(0, Ψ)."""
    size = world.truth.mean.shape[1]
    window = np.broadcast_to(np.eye(size), (world.steps, size, size))
    context = np.zeros((world.steps, size, world.truth.context_mean.shape[1]))
    offset = np.zeros((world.steps, size))
    covariance = np.zeros((world.steps, size, size))
    for n in range(int(world.schedule.substeps or 0)):
        kernel = world.kernel_at(n, world.denoiser_at(n))
        window = kernel.window @ window
        context = kernel.window @ context + kernel.context
        offset = _apply(kernel.window, offset) + kernel.offset
        covariance = kernel.window @ covariance @ transpose(kernel.window) + kernel.covariance
    return window, context, offset, symmetrise(covariance)
