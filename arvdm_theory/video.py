r"""Gaussian videos: the worlds on which every quantity of the theory is exactly known.

A `GaussianVideo` is the joint law $P$ of frames $X_1, X_2, \dots \in R^d$ at level 0 (before any
noising). Families are frozen descriptions; each says its density first. Stationary by default; an
unstable chain is refused unless the law of its first frames is given.

To add a family: subclass `GaussianVideo`, set `family`, implement `means` and one of `markov` /
`covariance` / `autocovariance`, and register it with `@_family`.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar, TypeVar

import numpy as np
import scipy.special

from arvdm_theory import _kalman
from arvdm_theory._gaussian import EPS, psd_factor, symmetrise
from arvdm_theory._kalman import LinearGaussian, Views
from arvdm_theory.checks import finite_array, positive_integer, real_number, shaped_array
from arvdm_theory.errors import NotPositiveDefiniteError, ParameterError, UnstableError

__all__ = [
    "FAMILIES",
    "Arfima",
    "Autoregressive",
    "ExplicitCovariance",
    "GaussianVideo",
    "Panorama",
    "Seasonal",
    "StateSpace",
    "StaticLatent",
]

FAMILIES: dict[str, type[GaussianVideo]] = {}
"""Family name (the `family` key of a specification) → class."""

_Video = TypeVar("_Video", bound="GaussianVideo")


def _family(cls: type[_Video]) -> type[_Video]:
    FAMILIES[cls.family] = cls
    return cls


# --- checked inputs -------------------------------------------------------------------------------


def _covariance_matrix(parameter: str, value: Any, size: int) -> np.ndarray:
    """A symmetric positive semi-definite matrix; a number means that multiple of the identity."""
    array = finite_array(parameter, value)
    if array.ndim == 0:
        if array < 0.0:
            raise ParameterError(parameter, "at least 0", value)
        array = float(array) * np.eye(size)
    if array.shape != (size, size):
        raise ParameterError(parameter, f"a number or of shape {(size, size)}", array.shape)
    largest = float(np.abs(array).max(initial=0.0))
    asymmetry = float(np.abs(array - array.T).max(initial=0.0))
    if asymmetry > 64.0 * EPS * largest:
        raise NotPositiveDefiniteError(
            parameter, "symmetric", f"entries that differ from their mirror by {asymmetry:.3g}"
        )
    array = symmetrise(array)
    smallest = float(np.linalg.eigvalsh(array)[0]) if size else 0.0
    if smallest < -64.0 * EPS * size * largest:
        raise NotPositiveDefiniteError(
            parameter, "positive semi-definite", f"smallest eigenvalue {smallest:.6g}"
        )
    array.flags.writeable = False
    return array


def _frame_mean(value: Any, dim: int) -> np.ndarray:
    array = finite_array("mean", value)
    if array.ndim == 0:
        array = np.full(dim, float(array))
    if array.shape != (dim,):
        raise ParameterError("mean", f"a number or {dim} numbers", f"shape {array.shape}")
    array.flags.writeable = False
    return array


def _number(parameter: str, constraint: str, value: Any, holds: Callable[[float], bool]) -> float:
    number = real_number(parameter, value, constraint)
    if not holds(number):
        raise ParameterError(parameter, constraint, value)
    return number


# --- the common interface -------------------------------------------------------------------------


class GaussianVideo(ABC):
    r"""The law of a Gaussian video, $P(X_1, \dots, X_N) = N(\mu, C)$, frames in $R^d$.

    Every family has `dim` (d), `length` (largest number of frames, `None` if unlimited) and
    `stationary`; `means`, `covariance`, `markov`, `autocovariance` and `sample` give its law.
    """

    family: ClassVar[str]
    dim: int
    rounding: float = 0.0
    """Bound (spectral norm) on the error of one frame's covariance, from solving for it."""

    @property
    def length(self) -> int | None:
        """Largest number of frames for which the law is defined; `None` if unlimited."""
        return None

    @property
    def stationary(self) -> bool:
        """Whether the joint law of frames does not change under a shift in time."""
        return True

    @abstractmethod
    def means(self, frames: int) -> np.ndarray:
        """Mean of frames 1..`frames`, shape `(frames, dim)`."""

    def markov(self, frames: int) -> LinearGaussian | None:
        """State-space form of the centred video, or `None` if it has no finite state."""
        return None

    def covariance(self, frames: int) -> np.ndarray:
        """Covariance of clean frames 1..`frames` stacked frame by frame.

        Shape `(frames * dim, frames * dim)`.
        """
        frames = self.check_frames(frames)
        model = self.markov(frames)
        if model is not None:
            return _kalman.joint_covariance(model, frames)
        blocks = self.autocovariance(frames - 1)
        index = np.arange(frames)
        lag = index[:, None] - index[None, :]
        full = np.where(
            (lag >= 0)[:, :, None, None], blocks[np.abs(lag)], blocks[np.abs(lag)].swapaxes(2, 3)
        )
        size = frames * self.dim
        return full.transpose(0, 2, 1, 3).reshape(size, size)

    def autocovariance(self, lags: int) -> np.ndarray:
        r"""$\mathrm{Cov}(X_{k+h}, X_k)$ for h = 0..`lags`, shape `(lags + 1, dim, dim)`.

        Raises `ParameterError` for a video that is not stationary.
        """
        if not self.stationary:
            raise ParameterError("video", "stationary to have an autocovariance", self.family)
        lags = positive_integer("lags", lags, minimum=0)
        model = self.markov(lags + 1)
        if model is None or not model.time_invariant:
            raise NotImplementedError(f"{type(self).__name__} must define its autocovariance")
        move, emission = model.transition[0], model.emission[0]
        out = np.empty((lags + 1, self.dim, self.dim))
        carried = model.initial_covariance @ emission.T
        out[0] = symmetrise(emission @ carried) + model.noise[0]
        for lag in range(1, lags + 1):
            carried = move @ carried
            out[lag] = emission @ carried
        return out

    def check_frames(self, frames: int) -> int:
        """`frames` as a positive int within the video's length, else `ParameterError`."""
        frames = positive_integer("frames", frames)
        if self.length is not None and frames > self.length:
            raise ParameterError("frames", f"at most the video's length ({self.length})", frames)
        return frames

    def sample(self, size: int, *, frames: int, seed: int) -> np.ndarray:
        """Draw `size` independent videos: clean frames 1..`frames`, `(size, frames, dim)`.

        The same `seed` gives the same videos.

        >>> StaticLatent(noise_variance=0.5).sample(3, frames=4, seed=0).shape
        (3, 4, 1)
        """
        frames = self.check_frames(frames)
        size = positive_integer("size", size)
        generator = np.random.default_rng(positive_integer("seed", seed, minimum=0))
        model = self.markov(frames)
        if model is not None:
            centred = _kalman.simulate(model, frames, size, generator)
            # the state's own mean is already in `means`
            mean_path, _ = _kalman.state_moments(model, frames)
            emission = model.span("emission", np.arange(frames))
            centred -= np.squeeze(emission @ mean_path[..., None], -1)
        else:
            factor = psd_factor(self.covariance(frames))
            normal = generator.standard_normal((size, frames * self.dim))
            centred = (normal @ factor.T).reshape(size, frames, self.dim)
        return self.means(frames) + centred

    # --- description: JSON and identity ---

    def to_json(self) -> dict[str, Any]:
        """The specification of this video, as the command line reads it."""
        out: dict[str, Any] = {"family": self.family}
        for item in fields(self):  # type: ignore[arg-type]
            if not item.init:
                continue
            value = getattr(self, item.name)
            if value is None:
                continue
            out[item.name] = _plain(value)
        return out

    @staticmethod
    def from_json(specification: Mapping[str, Any]) -> GaussianVideo:
        """The video of a specification; the inverse of `to_json`.

        Raises `ParameterError` for an unknown family, unknown keys and missing keys.

        >>> GaussianVideo.from_json({"family": "static_latent", "noise_variance": 0.5}).dim
        1
        """
        if not isinstance(specification, Mapping):
            raise ParameterError("video", "an object with a family", specification)
        keys = dict(specification)
        name = keys.pop("family", None)
        if name == "frames":
            from arvdm_theory.fit import video_from_specification

            return video_from_specification(keys)
        if not isinstance(name, str) or name not in FAMILIES:
            raise ParameterError("video.family", f"one of {', '.join(FAMILIES)}, frames", name)
        cls = FAMILIES[name]
        known = {item.name: item for item in fields(cls) if item.init}  # type: ignore[arg-type]
        for key in keys:
            if key not in known:
                raise ParameterError(f"video.{key}", f"one of the keys {', '.join(known)}", key)
        for key, item in known.items():
            if key not in keys and item.default is MISSING:
                raise ParameterError(f"video.{key}", f"given for family {name}", "nothing")
        return cls(**keys)

    @property
    def key(self) -> str:
        """Content key: equal for equal descriptions, across processes."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def __repr__(self) -> str:
        length = "unlimited" if self.length is None else str(self.length)
        kind = "stationary" if self.stationary else "not stationary"
        return f"{type(self).__name__}(dim={self.dim}, {kind}, frames: {length}, key={self.key})"


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _initial_law(initial: Any, size: int, default_mean: np.ndarray) -> dict[str, np.ndarray] | None:
    if initial is None:
        return None
    if not isinstance(initial, Mapping) or set(initial) - {"mean", "covariance"}:
        raise ParameterError("initial", "an object with mean and covariance", initial)
    if "covariance" not in initial:
        raise ParameterError("initial", "given with its covariance", sorted(initial))
    return {
        "mean": shaped_array("initial.mean", initial.get("mean", default_mean), (size,)),
        "covariance": _covariance_matrix("initial.covariance", initial["covariance"], size),
    }


def _stationary_covariance(
    parameter: str, move: np.ndarray, process: np.ndarray
) -> tuple[np.ndarray, float]:
    r"""P = A P A' + Q = Σ A^k Q A'^k by doubling, and a bound on its error in spectral norm.

    With E the residual and X = Σ A^k A'^k, the error is at most ‖E‖ ‖X‖. A chain that has no
    stationary law, or one too close to that for double precision, is refused.
    """
    radius = float(np.abs(np.linalg.eigvals(move)).max(initial=0.0))
    if radius >= 1.0:
        raise UnstableError(
            parameter,
            "those of a stable chain (spectral radius below 1) unless the law of the first frames "
            "is given as `initial`",
            f"spectral radius {radius:.6g}",
        )
    size = move.shape[0]
    try:
        with np.errstate(over="raise", invalid="raise"):
            spread = _doubled(move, np.eye(size))
            total = _doubled(move, process)
            for _ in range(2):  # iterative refinement
                total = symmetrise(total + _doubled(move, _residual(move, total, process)))
            residual = np.linalg.norm(_residual(move, total, process), 2)
            rounding = EPS * size * np.linalg.norm(total, 2) * (1.0 + np.linalg.norm(move, 2) ** 2)
            error = float((residual + rounding) * np.linalg.norm(spread, 2))
            lost = error > 1e-2 * np.linalg.norm(total, 2) and bool(np.any(process != 0.0))
    except (FloatingPointError, np.linalg.LinAlgError):
        lost = True
    if lost:
        raise UnstableError(
            parameter,
            "farther from a unit root: the stationary covariance is lost in rounding",
            f"spectral radius {radius:.17g}",
        )
    return total, error


def _residual(move: np.ndarray, total: np.ndarray, process: np.ndarray) -> np.ndarray:
    return symmetrise(move @ total @ move.T - total + process)


def _doubled(move: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Σ_k A^k S A'^k, the number of terms doubled until the powers vanish."""
    total, power = np.array(start), np.array(move)
    for _ in range(60):
        total = symmetrise(total + power @ total @ power.T)
        power = power @ power
        if np.abs(power).max(initial=0.0) < 1e-100:
            break
    return total


# --- families -------------------------------------------------------------------------------------


@_family
@dataclass(frozen=True, eq=False, repr=False)
class Autoregressive(GaussianVideo):
    r"""$p(x_k \mid x_{<k}) = N(\mu + \sum_{l=1}^p A_l (x_{k-l} - \mu),\ \Sigma)$.

    Arguments
    ---------
    coefficients: p numbers or p matrices `(d, d)`; a number means that multiple of the identity.
    noise_variance: innovation covariance Σ, a number or `(d, d)`.
    dim: d; taken from the matrices if there are any, else 1.
    mean: μ, a number or d numbers.
    initial: `{"mean": (p d,), "covariance": (p d, p d)}`, the law of the first p frames stacked
        (their mean is μ unless given). Without it the chain is stationary and must be stable.

    Raises `UnstableError` for an unstable chain without `initial`.

    >>> Autoregressive([0.5, 0.4], 0.3).autocovariance(1).ravel().round(4).tolist()
    [1.1688, 0.974]
    """

    family: ClassVar[str] = "autoregressive"
    coefficients: Any
    noise_variance: Any
    dim: Any = None
    mean: Any = 0.0
    initial: Any = None
    _companion: np.ndarray = field(init=False)
    _start: np.ndarray = field(init=False)
    rounding: float = field(init=False)

    def __post_init__(self) -> None:
        given = self.coefficients
        if not isinstance(given, (Sequence, np.ndarray)) or isinstance(given, str):
            raise ParameterError("coefficients", "a list of numbers or matrices", given)
        items = [finite_array("coefficients", item) for item in given]
        if not items:
            raise ParameterError("coefficients", "a list of at least one coefficient", given)
        variance = finite_array("noise_variance", self.noise_variance)
        sizes = {array.shape[0] for array in (*items, variance) if array.ndim == 2}
        dim = self.dim if self.dim is not None else (sizes.pop() if len(sizes) == 1 else 1)
        dim = positive_integer("dim", dim)
        blocks = [
            float(item) * np.eye(dim)
            if item.ndim == 0
            else shaped_array(f"coefficients[{i}]", item, (dim, dim))
            for i, item in enumerate(items)
        ]
        order = len(blocks)
        companion = np.zeros((order * dim, order * dim))
        companion[:dim] = np.hstack(blocks)
        companion[dim:, :-dim] = np.eye((order - 1) * dim)
        sigma = _covariance_matrix("noise_variance", variance, dim)
        mean = _frame_mean(self.mean, dim)
        initial = _initial_law(self.initial, order * dim, np.tile(mean, order))
        process = np.zeros_like(companion)
        process[:dim, :dim] = sigma
        rounding = 0.0
        if initial is None:
            start, rounding = _stationary_covariance("coefficients", companion, process)
        else:
            newest_first = np.arange(order * dim).reshape(order, dim)[::-1].ravel()
            start = initial["covariance"][np.ix_(newest_first, newest_first)]
        _freeze(
            self,
            coefficients=np.stack(blocks),
            noise_variance=sigma,
            dim=dim,
            mean=mean,
            initial=initial,
            _companion=companion,
            _start=start,
            rounding=rounding,
        )

    @property
    def order(self) -> int:
        """Number p of past frames that the next one depends on."""
        return int(self.coefficients.shape[0])

    @property
    def stationary(self) -> bool:
        return self.initial is None

    def means(self, frames: int) -> np.ndarray:
        frames = self.check_frames(frames)
        out = np.tile(self.mean, (frames, 1))
        if self.initial is not None:
            model = self.markov(frames)
            assert model is not None
            states, _ = _kalman.state_moments(model, frames)
            emission = model.span("emission", np.arange(frames))
            out += np.squeeze(emission @ states[..., None], -1)
        return out

    def markov(self, frames: int) -> LinearGaussian:
        order, dim = self.order, self.dim
        size = order * dim
        process = np.zeros((size, size))
        process[:dim, :dim] = self.noise_variance
        silent = np.zeros((1, dim, dim))
        if self.initial is None:
            emission = np.eye(dim, size)[None]
            return LinearGaussian(
                np.zeros(size), self._start, self._companion[None], process[None], emission, silent
            )
        # the first p frames are read off a fixed state (X_p, ..., X_1); only then does it move
        steps = max(frames, order)
        transition = np.broadcast_to(self._companion, (steps, size, size)).copy()
        transition[: order - 1] = np.eye(size)
        moves = np.broadcast_to(process, (steps, size, size)).copy()
        moves[: order - 1] = 0.0
        emission = np.zeros((steps, dim, size))
        for i in range(steps):
            block = max(order - 1 - i, 0)
            emission[i, :, block * dim : (block + 1) * dim] = np.eye(dim)
        deviation = (self.initial["mean"].reshape(order, dim) - self.mean)[::-1].ravel()
        return LinearGaussian(deviation, self._start, transition, moves, emission, silent)


@_family
@dataclass(frozen=True, eq=False, repr=False)
class StateSpace(GaussianVideo):
    r"""$p(z_{k+1} \mid z_k) = N(A z_k, Q)$, $\ p(x_k \mid z_k) = N(\mu + C z_k, V)$.

    Arguments
    ---------
    transition: A `(n, n)`; emission: C `(d, n)`; state_noise: Q, a number or `(n, n)`.
    emission_noise: V, a number or `(d, d)`; part of the clean frame.
    mean: μ, a number or d numbers.
    initial: `{"mean": (n,), "covariance": (n, n)}`, law of the first state; without it the chain
        is stationary and must be stable.

    >>> video = StateSpace([[0.9]], [[1.0], [0.5]], 0.19, 0.1)
    >>> video.covariance(1).round(3).tolist()
    [[1.1, 0.5], [0.5, 0.35]]
    """

    family: ClassVar[str] = "state_space"
    transition: Any
    emission: Any
    state_noise: Any
    emission_noise: Any = 0.0
    mean: Any = 0.0
    initial: Any = None
    _start: np.ndarray = field(init=False)
    rounding: float = field(init=False)

    def __post_init__(self) -> None:
        transition = finite_array("transition", self.transition)
        if transition.ndim != 2 or transition.shape[0] != transition.shape[1]:
            raise ParameterError("transition", "a square matrix", f"shape {transition.shape}")
        size = transition.shape[0]
        emission = finite_array("emission", self.emission)
        if emission.ndim != 2 or emission.shape[1] != size or emission.shape[0] == 0:
            raise ParameterError("emission", f"of shape (d, {size})", f"shape {emission.shape}")
        dim = emission.shape[0]
        process = _covariance_matrix("state_noise", self.state_noise, size)
        initial = _initial_law(self.initial, size, np.zeros(size))
        rounding = 0.0
        if initial is None:
            start, rounding = _stationary_covariance("transition", transition, process)
        else:
            start = initial["covariance"]
        _freeze(
            self,
            transition=transition,
            emission=emission,
            state_noise=process,
            emission_noise=_covariance_matrix("emission_noise", self.emission_noise, dim),
            mean=_frame_mean(self.mean, dim),
            initial=initial,
            _start=start,
            rounding=rounding,
        )

    @property
    def dim(self) -> int:  # type: ignore[override]
        """Frame dimension d."""
        return int(self.emission.shape[0])

    @property
    def stationary(self) -> bool:
        return self.initial is None

    def means(self, frames: int) -> np.ndarray:
        frames = self.check_frames(frames)
        out = np.tile(self.mean, (frames, 1))
        if self.initial is not None:
            states, _ = _kalman.state_moments(self.markov(frames), frames)
            out += states @ self.emission.T
        return out

    def markov(self, frames: int) -> LinearGaussian:
        start = np.zeros(self.transition.shape[0])
        if self.initial is not None:
            start = self.initial["mean"]
        return LinearGaussian(
            start,
            self._start,
            self.transition[None],
            self.state_noise[None],
            self.emission[None],
            self.emission_noise[None],
        )


@_family
@dataclass(frozen=True, eq=False, repr=False)
class Seasonal(GaussianVideo):
    r"""A stochastic cycle in every pixel, independent across pixels.

    $p(z_{k+1} \mid z_k) = N(\rho R_{2\pi/s} z_k,\ (1-\rho^2) v I_2)$ with $R$ a rotation,
    $x_k = \mu + (z_k)_1 + N(0, q)$; autocovariance
    $v\rho^h\cos(2\pi h/s) + q\,1[h = 0]$ (Harvey's stochastic cycle).

    Arguments: `period` s > 0 (frames), `persistence` ρ in (0, 1), `variance` v > 0,
    `noise_variance` q ≥ 0, `dim` d, `mean` μ.

    >>> Seasonal(period=4, persistence=0.9).autocovariance(2).ravel().round(2).tolist()
    [1.0, 0.0, -0.81]
    """

    family: ClassVar[str] = "seasonal"
    period: Any
    persistence: Any
    variance: Any = 1.0
    noise_variance: Any = 0.0
    dim: int = 1
    mean: Any = 0.0

    def __post_init__(self) -> None:
        dim = positive_integer("dim", self.dim)
        _freeze(
            self,
            period=_number("period", "positive", self.period, lambda x: x > 0),
            persistence=_number("persistence", "in (0, 1)", self.persistence, lambda x: 0 < x < 1),
            variance=_number("variance", "positive", self.variance, lambda x: x > 0),
            noise_variance=_number(
                "noise_variance", "at least 0", self.noise_variance, lambda x: x >= 0
            ),
            dim=dim,
            mean=_frame_mean(self.mean, dim),
        )

    def means(self, frames: int) -> np.ndarray:
        return np.tile(self.mean, (self.check_frames(frames), 1))

    def markov(self, frames: int) -> LinearGaussian:
        angle = 2.0 * np.pi / self.period
        rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        eye = np.eye(self.dim)
        size = 2 * self.dim
        return LinearGaussian(
            np.zeros(size),
            self.variance * np.eye(size),
            np.kron(eye, self.persistence * rotation)[None],
            (1.0 - self.persistence**2) * self.variance * np.eye(size)[None],
            np.kron(eye, np.array([[1.0, 0.0]]))[None],
            self.noise_variance * eye[None],
        )


@_family
@dataclass(frozen=True, eq=False, repr=False)
class Arfima(GaussianVideo):
    r"""Fractional noise, ARFIMA(0, D, 0): $(1 - B)^{D} (x_k - \mu) = N(0, \Sigma)$.

    Autocovariance $\gamma_0 = \Sigma\,\Gamma(1-2D)/\Gamma(1-D)^2$,
    $\gamma_h = \gamma_{h-1}\,(h-1+D)/(h-D)$; partial autocorrelations $D/(j-D)$ (R5). It has no
    finite state, so every calculator uses dense conditioning.

    Arguments
    ---------
    memory: D in (-1/2, 1/2), one number or one a pixel.
    noise_variance: Σ, a number or `(d, d)`; diagonal if pixels differ in D.
    dim: d; taken from `memory` or `noise_variance` if they have a size, else 1.

    >>> Arfima(memory=0.25, noise_variance=1.0).autocovariance(1).ravel().round(4).tolist()
    [1.1803, 0.3934]
    """

    family: ClassVar[str] = "arfima"
    memory: Any
    noise_variance: Any = 1.0
    dim: Any = None
    mean: Any = 0.0

    def __post_init__(self) -> None:
        memory = finite_array("memory", self.memory)
        variance = finite_array("noise_variance", self.noise_variance)
        sizes = [array.shape[0] for array in (memory, variance) if array.ndim > 0]
        dim = positive_integer("dim", self.dim if self.dim is not None else (sizes or [1])[0])
        if memory.ndim == 0:
            memory = np.full(dim, float(memory))
        memory = shaped_array("memory", memory, (dim,))
        if np.any(np.abs(memory) >= 0.5):
            raise ParameterError("memory", "in (-1/2, 1/2)", self.memory)
        sigma = _covariance_matrix("noise_variance", variance, dim)
        if np.ptp(memory) > 0.0 and np.any(sigma != np.diag(np.diag(sigma))):
            raise ParameterError(
                "noise_variance", "diagonal if pixels differ in memory", self.noise_variance
            )
        _freeze(
            self,
            memory=memory,
            noise_variance=sigma,
            dim=dim,
            mean=_frame_mean(self.mean, dim),
        )

    def means(self, frames: int) -> np.ndarray:
        return np.tile(self.mean, (self.check_frames(frames), 1))

    def autocovariance(self, lags: int) -> np.ndarray:
        memory, lags = self.memory, positive_integer("lags", lags, minimum=0)
        start = np.exp(
            scipy.special.gammaln(1.0 - 2.0 * memory) - 2.0 * scipy.special.gammaln(1.0 - memory)
        )
        lag = np.arange(1, lags + 1)[:, None]
        ratios = np.cumprod((lag - 1.0 + memory) / (lag - memory), axis=0)
        # pixels of equal D may share innovations; pixels that differ are independent
        return np.vstack([start, start * ratios])[:, :, None] * self.noise_variance


@_family
@dataclass(frozen=True, eq=False, repr=False)
class StaticLatent(GaussianVideo):
    r"""$X_k = \mu + \theta + \xi_k$, $\theta \sim N(0, v)$ fixed, $\xi_k \sim N(0, s)$ (E5).

    Arguments: `noise_variance` s and `latent_variance` v, numbers or `(d, d)`; `dim` d; `mean` μ.

    >>> StaticLatent(noise_variance=0.5).covariance(2).tolist()
    [[1.5, 1.0], [1.0, 1.5]]
    """

    family: ClassVar[str] = "static_latent"
    noise_variance: Any
    latent_variance: Any = 1.0
    dim: Any = None
    mean: Any = 0.0

    def __post_init__(self) -> None:
        given = [finite_array("noise_variance", self.noise_variance)]
        given.append(finite_array("latent_variance", self.latent_variance))
        sizes = [array.shape[0] for array in given if array.ndim > 0]
        dim = positive_integer("dim", self.dim if self.dim is not None else (sizes or [1])[0])
        _freeze(
            self,
            noise_variance=_covariance_matrix("noise_variance", given[0], dim),
            latent_variance=_covariance_matrix("latent_variance", given[1], dim),
            dim=dim,
            mean=_frame_mean(self.mean, dim),
        )

    def means(self, frames: int) -> np.ndarray:
        return np.tile(self.mean, (self.check_frames(frames), 1))

    def markov(self, frames: int) -> LinearGaussian:
        eye = np.eye(self.dim)[None]
        return LinearGaussian(
            np.zeros(self.dim),
            self.latent_variance,
            eye,
            np.zeros_like(eye),
            eye,
            self.noise_variance[None],
        )


@_family
@dataclass(frozen=True, eq=False, repr=False)
class Panorama(GaussianVideo):
    r"""A fixed Gaussian landscape seen along a known camera path, so that views return.

    Landscape $\theta$ with $\mathrm{Cov}(\theta_u, \theta_{u'}) = v\,e^{-|u-u'|/\ell}$ (distance
    around the circle if `landscape_length` is given); view k is the d pixels from
    `positions[k]` on (linear interpolation between sites), $X_k = \mu + V_k\theta + N(0, q)$. The
    camera path is known, so views of the same place are equal up to q: the memory bottleneck is
    the forgotten landscape.

    Arguments
    ---------
    positions: left edge of each view in pixels, N numbers; N is the video's length.
    dim: d, pixels a view. landscape_length: L sites on a circle, at least d; `None`: a strip.
    correlation_length: ℓ > 0 pixels. variance: v > 0. noise_variance: q ≥ 0.

    >>> Panorama([0, 2, 0], dim=2, correlation_length=1.0).covariance(3)[0].round(3).tolist()
    [1.0, 0.368, 0.135, 0.05, 1.0, 0.368]
    """

    family: ClassVar[str] = "panorama"
    positions: Any
    dim: int = 1
    correlation_length: Any = 1.0
    variance: Any = 1.0
    noise_variance: Any = 0.0
    landscape_length: int | None = None
    mean: Any = 0.0

    def __post_init__(self) -> None:
        positions = finite_array("positions", self.positions)
        if positions.ndim != 1 or positions.size == 0:
            raise ParameterError("positions", "a list of numbers", self.positions)
        if np.abs(positions).max() > 1e9:
            raise ParameterError("positions", "at most 1e9 pixels from 0", self.positions)
        dim = positive_integer("dim", self.dim)
        length = self.landscape_length
        if length is not None:
            length = positive_integer("landscape_length", length, minimum=dim)
        _freeze(
            self,
            positions=positions,
            dim=dim,
            correlation_length=_number(
                "correlation_length", "positive", self.correlation_length, lambda x: x > 0
            ),
            variance=_number("variance", "positive", self.variance, lambda x: x > 0),
            noise_variance=_number(
                "noise_variance", "at least 0", self.noise_variance, lambda x: x >= 0
            ),
            landscape_length=length,
            mean=_frame_mean(self.mean, dim),
        )

    @property
    def length(self) -> int:
        return int(self.positions.size)

    @property
    def stationary(self) -> bool:
        return False

    def means(self, frames: int) -> np.ndarray:
        return np.tile(self.mean, (self.check_frames(frames), 1))

    def markov(self, frames: int) -> LinearGaussian:
        frames = self.check_frames(frames)
        lowest = int(np.floor(self.positions.min()))
        if self.landscape_length is None:
            sites = int(np.ceil(self.positions.max())) - lowest + self.dim
            lowest_site = lowest
        else:
            sites, lowest_site = self.landscape_length, 0
        left = np.floor(self.positions[:frames]).astype(int)
        weight = self.positions[:frames] - left
        emission = Views(left - lowest_site, weight, self.dim, sites)
        distance = np.abs(np.arange(sites)[:, None] - np.arange(sites))
        if self.landscape_length is not None:
            distance = np.minimum(distance, sites - distance)
        landscape = self.variance * np.exp(-distance / self.correlation_length)
        eye = np.eye(sites)[None]
        noise = self.noise_variance * np.eye(self.dim)[None]
        return LinearGaussian(np.zeros(sites), landscape, eye, np.zeros_like(eye), emission, noise)


@_family
@dataclass(frozen=True, eq=False, repr=False)
class ExplicitCovariance(GaussianVideo):
    r"""$P(x_1, \dots, x_N) = N(\mu, C)$ with $C$ given.

    Arguments
    ---------
    matrix: C `(N d, N d)`, clean frames stacked frame by frame, positive semi-definite.
    dim: d. mean: a number, d numbers, or N d numbers.

    Raises `NotPositiveDefiniteError` for an asymmetric or indefinite matrix.

    >>> ExplicitCovariance([[1.0, 0.5], [0.5, 1.0]]).length
    2
    """

    family: ClassVar[str] = "covariance"
    matrix: Any
    dim: int = 1
    mean: Any = 0.0

    def __post_init__(self) -> None:
        dim = positive_integer("dim", self.dim)
        matrix = finite_array("matrix", self.matrix)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.size == 0:
            raise ParameterError("matrix", "square", f"shape {matrix.shape}")
        size = matrix.shape[0]
        if size % dim:
            raise ParameterError("matrix", f"of a size that dim ({dim}) divides", size)
        mean = finite_array("mean", self.mean)
        if mean.shape in ((size,), (size // dim, dim)):
            mean = mean.reshape(size // dim, dim)
        else:
            mean = np.tile(_frame_mean(mean, dim), (size // dim, 1))
        mean.flags.writeable = False
        _freeze(self, matrix=_covariance_matrix("matrix", matrix, size), dim=dim, mean=mean)

    @property
    def length(self) -> int:
        return int(self.matrix.shape[0]) // self.dim

    @property
    def stationary(self) -> bool:
        return False

    def means(self, frames: int) -> np.ndarray:
        return np.array(self.mean[: self.check_frames(frames)])

    def covariance(self, frames: int) -> np.ndarray:
        size = self.check_frames(frames) * self.dim
        return np.array(self.matrix[:size, :size])


def _freeze(video: GaussianVideo, **values: Any) -> None:
    for name, value in values.items():
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
        object.__setattr__(video, name, value)
