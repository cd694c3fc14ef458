"""Teacher forcing: real clips cut into a schedule's windows, noised, and shown to denoisers.

The machinery behind T1, T2 and SEE; `empirical` describes the protocol of a denoiser.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypedDict

import numpy as np
from array_api_compat import array_namespace, is_torch_array

from arvdm_theory import noise
from arvdm_theory._estimates import Estimate, probability
from arvdm_theory.checks import positive_integer
from arvdm_theory.errors import ParameterError, TooLittleDataError
from arvdm_theory.schedule import Schedule

Array = Any

LEVEL_RULES = ("sub_steps", "integral")
"""Over which levels an error is weighted: `sub_steps` ½ Σ_n Δγ (…)(t_n), the sum that the ancestral
sampler pays (Theorem C); `integral` ½ ∫ (…) dγ, each frame's level moving linearly in log-SNR from
its input to its output level (I-MMSE): composite 15-point Gauss–Kronrod rule, its error stated by
the embedded 7-point Gauss rule."""


@dataclass(frozen=True, eq=False, repr=False)
class WeightedError:
    r"""A γ-weighted squared error of teacher-forced windows, in nats: T1, T2 or SEE.

    Attributes
    ----------
    quantity: what it is, in words; theorem: its label.
    total: over the K AR steps; per_frame: per finished frame (total / KΔ).
    by_step, by_step_error: `(K,)` contributions of the AR steps and their standard errors.
    by_level, by_level_error: `(Q,)` contributions of the levels (sub-steps or quadrature nodes).
    log_snr: `(Q, w)` log signal-to-noise ratios of those levels.
    quadrature_error: |Kronrod - Gauss| of the total in nats, for the rule `integral`; `None` for
        `sub_steps`, which is a sum. Far larger than the true error where the integrand is smooth;
        with `draws` it also holds sampling noise.
    components, components_error: `(c,)` the total's share along each direction of `projection`.
    frames: KΔ finished frames; context: given frames before them; evaluations: windows denoised.
    """

    quantity: str
    theorem: str
    total: Estimate
    frames: int
    context: int
    by_step: np.ndarray
    by_step_error: np.ndarray
    by_level: np.ndarray
    by_level_error: np.ndarray
    log_snr: np.ndarray
    quadrature_error: float | None
    components: np.ndarray | None
    components_error: np.ndarray | None
    evaluations: int
    clips_key: str
    schedule: Schedule

    @property
    def per_frame(self) -> Estimate:
        """Per finished frame."""
        assert self.total.samples is not None
        return Estimate.of(
            self.total.samples / self.frames,
            unit=self.total.unit,
            theorem=self.theorem,
            confidence=self.total.confidence,
        )

    @property
    def value(self) -> float:
        """The total, nats."""
        return self.total.value

    @property
    def standard_error(self) -> float:
        """Of the total, clustered by clip, nats."""
        return self.total.standard_error

    @property
    def n(self) -> int:
        """Number of clips."""
        return self.total.n

    @property
    def interval(self) -> tuple[float, float]:
        """Of the total."""
        return self.total.interval

    @property
    def unit(self) -> str:
        """Of every number here."""
        return self.total.unit

    def difference(self, other: WeightedError) -> Estimate:
        r"""`self` - `other` *per finished frame*, paired by clip.

        For two networks or two schedules on the same clips. With the same `seed` they also share
        the noise where schedule and levels agree. By Theorem C the difference of two denoising
        losses is the difference of the two chain KL per frame, up to boundary terms.

        Raises `ParameterError` if they were not measured on the same clips.
        """
        if self.clips_key != other.clips_key:
            raise ParameterError("other", "measured on the same clips", other.clips_key)
        return self.per_frame.difference(other.per_frame)

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""

        def plain(value: np.ndarray | None) -> list[Any] | None:
            return None if value is None else value.tolist()

        return {
            "quantity": self.quantity,
            "theorem": self.theorem,
            "total": self.total.to_json(),
            "per_frame": self.per_frame.to_json(),
            "by_step": plain(self.by_step),
            "by_step_error": plain(self.by_step_error),
            "by_level": plain(self.by_level),
            "by_level_error": plain(self.by_level_error),
            "log_snr": plain(self.log_snr),
            "quadrature_error": self.quadrature_error,
            "components": plain(self.components),
            "components_error": plain(self.components_error),
            "frames": self.frames,
            "context": self.context,
            "evaluations": self.evaluations,
            "schedule": self.schedule.to_json(),
        }

    def __repr__(self) -> str:
        frame = self.per_frame
        return (
            f"WeightedError({self.quantity}, {self.theorem}: {self.value:.6g} ± "
            f"{self.standard_error:.2g} {self.unit}, {frame.value:.6g} a frame over "
            f"{self.frames} frames, {self.n} clips)"
        )


# --- levels ---------------------------------------------------------------------------------------

# Gauss–Kronrod (7, 15), QUADPACK; non-negative half, the Gauss nodes at odd positions
_KRONROD_NODES = (
    0.991455371120812639206854697526329,
    0.949107912342758524526189684047851,
    0.864864423359769072789712788640926,
    0.741531185599394439863864773280788,
    0.586087235467691130294144691693013,
    0.405845151377397166906606412076961,
    0.207784955007898467600689403773245,
    0.0,
)
_KRONROD_WEIGHTS = (
    0.022935322010529224963732008058970,
    0.063092092629978553290700663189204,
    0.104790010322250183839876322541518,
    0.140653259715525918745189590510238,
    0.169004726639267902826583426598550,
    0.190350578064785409913256402421014,
    0.204432940075298892414161999234649,
    0.209482141084727828012999174891714,
)
_GAUSS_WEIGHTS = (
    0.129484966168869693270611432679082,
    0.279705391489276667901467771423780,
    0.381830050505118944950369775488975,
    0.417959183673469387755102040816327,
)


def _gauss_kronrod(panels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes in (0, 1), Kronrod weights, and the embedded Gauss weights (0 elsewhere)."""
    half = np.array(_KRONROD_NODES)
    nodes = np.concatenate([-half, half[-2::-1]])
    fine = np.concatenate([_KRONROD_WEIGHTS, _KRONROD_WEIGHTS[-2::-1]])
    coarse = np.zeros(15)
    coarse[1::2] = (*_GAUSS_WEIGHTS, *_GAUSS_WEIGHTS[-2::-1])
    left = np.arange(panels)[:, None]
    place = ((nodes + 1.0) / 2.0 + left) / panels
    scale = 0.5 / panels
    return place.ravel(), np.tile(fine * scale, panels), np.tile(coarse * scale, panels)


@dataclass(frozen=True, eq=False)
class Levels:
    """Levels γ `(Q, w)` with the weights `(Q, w)` of the squared errors there."""

    gamma: np.ndarray
    weight: np.ndarray
    coarse: np.ndarray | None
    panels: int

    @staticmethod
    def of(schedule: Schedule, rule: str, panels: int) -> Levels:
        if rule not in LEVEL_RULES:
            raise ParameterError("rule", f"one of {', '.join(LEVEL_RULES)}", rule)
        if rule == "sub_steps":
            gammas = schedule.gammas
            return Levels(gammas[:-1], 0.5 * np.diff(gammas, axis=0), None, 1)
        panels = positive_integer("panels", panels)
        nodes, fine, coarse = _gauss_kronrod(panels)
        start = np.asarray(noise.log_snr(schedule.input_levels))
        rise = np.asarray(noise.log_snr(schedule.output_levels)) - start
        gamma = np.exp(start + nodes[:, None] * rise)
        density = 0.5 * gamma * rise
        return Levels(gamma, fine[:, None] * density, coarse[:, None] * density, panels)

    def proposal(self, variance: float) -> np.ndarray:
        r"""Probabilities $p_q \propto \sum_j w_{q,j}/(1/v + \gamma_{q,j})$, a tenth of it uniform.

        $1/(1/v+\gamma)$ is the mmse of a pixel of variance v on its own.
        """
        expected = np.sum(self.weight / (1.0 / variance + self.gamma), axis=1)
        uniform = np.full(expected.size, 1.0 / expected.size)
        return np.asarray(0.9 * expected / expected.sum() + 0.1 * uniform)


# --- teacher forcing ------------------------------------------------------------------------------


class DenoiserFunction(Protocol):
    """The protocol of a denoiser; see the module's description."""

    def __call__(self, x: Array, gamma: Array, /, *args: Any, **given: Any) -> Array:
        """The estimate of the clean window, of the shape of `x`."""


@dataclass(frozen=True)
class View:
    """What a denoiser is shown: numbers of frames, and at which level its references are.

    `level` and `said` are OU times: where the references really are, and the level that is passed
    on as `reference_gamma` (`None`: nothing is passed).
    """

    reference: int
    memory: int | None
    level: float
    said: float | None

    @staticmethod
    def of(schedule: Schedule, reference: int, memory: int | None, *, truth: bool) -> View:
        """`truth`: for a denoiser that is told the real level (they differ for `label`)."""
        positive_integer("reference", reference, 0)
        if memory is not None:
            positive_integer("memory", memory, 0)
        delta, context = schedule.t_min, schedule.context_level
        if schedule.context_noise == "none":
            return View(reference, memory, delta, None)
        assert context is not None
        if schedule.context_noise == "noise":
            return View(reference, memory, context, context)
        return View(reference, memory, delta, None if truth else context)

    def sizes(self, finished: int) -> tuple[int, int]:
        """References and memory frames where so many frames are finished."""
        r = min(self.reference, finished)
        rest = finished - r
        return r, rest if self.memory is None else min(self.memory, rest)


@dataclass(frozen=True, eq=False)
class Batch:
    """Windows that are denoised in one call; `finished` frames stand before each."""

    clips: Clips
    action: Clips | None
    delta: float
    index: np.ndarray
    finished: np.ndarray
    clean: Array
    noise: np.ndarray  # window, then finished frames from the newest back
    gamma: np.ndarray

    @property
    def window(self) -> int:
        return int(self.gamma.shape[1])

    def noisy(self, clean: Array, drawn: np.ndarray, gamma: np.ndarray) -> Array:
        shape = gamma.shape + (1,) * (clean.ndim - 2)
        alpha = self.clips.like(np.sqrt(gamma / (1.0 + gamma)).reshape(shape))
        sigma = self.clips.like(np.sqrt(1.0 / (1.0 + gamma)).reshape(shape))
        return alpha * clean + sigma * self.clips.like(drawn)

    def context(self, newest: int, count: int, level: float) -> Array | None:
        """Finished frames `newest` + 1 .. `newest` + `count` before the window, oldest first."""
        if count == 0:
            return None
        times = self.finished[:, None] - newest - np.arange(count, 0, -1)
        first = self.window + newest
        drawn = self.noise[:, first : first + count][:, ::-1]
        gamma = np.full((self.index.size, count), float(noise.gamma(level)))
        return self.noisy(self.clips.take(self.index, times), drawn, gamma)

    def call(self, denoiser: Any, view: View) -> Array:
        """The denoiser's estimate for what `view` shows it."""
        finished = int(self.finished[0])
        r, m = view.sizes(finished)
        given: dict[str, Any] = {
            "reference": self.context(0, r, view.level),
            "memory": self.context(r, m, self.delta),
            "action": None,
        }
        if r and view.said is not None:
            said = np.full((self.index.size, r), float(noise.gamma(view.said)))
            given["reference_gamma"] = self.clips.like(said)
        if self.action is not None:
            times = self.finished[:, None] + np.arange(-(m + r), self.window)
            given["action"] = self.action.take(self.index, times)
        x = self.noisy(self.clean, self.noise[:, : self.window], self.gamma)
        estimate = at_frame_of(denoiser, finished)(x, self.clips.like(self.gamma), **given)
        if tuple(estimate.shape) != tuple(x.shape):
            raise ParameterError(
                "denoiser", f"one that returns {tuple(x.shape)}", tuple(estimate.shape)
            )
        return estimate

    def error(self, first: Array, second: Array) -> np.ndarray:
        """first - second, every frame flattened, `(B, w, d)`."""
        error = to_numpy(first - second).reshape(self.gamma.shape + (-1,))
        if not np.all(np.isfinite(error)):
            raise ParameterError("denoiser", "finite everywhere", "NaN or infinity")
        return error


@dataclass(frozen=True, eq=False)
class Clips:
    """Frames `(n, T, ...)`, NumPy (read in float64) or torch (in their own type)."""

    data: Array

    @property
    def bytes(self) -> bool:
        return str(self.data.dtype).endswith("uint8")

    def take(self, index: np.ndarray, times: np.ndarray) -> Array:
        """Frames `times` `(B, L)` of clips `index` `(B,)`."""
        if is_torch_array(self.data):
            xp = array_namespace(self.data)
            rows = xp.asarray(np.array(index[:, None]), device=self.data.device)
            frames = self.data[rows, xp.asarray(np.array(times), device=self.data.device)]
            return frames.float() / 127.5 - 1.0 if self.bytes else frames
        frames = np.asarray(self.data[index[:, None], times], dtype=np.float64)
        return frames / 127.5 - 1.0 if self.bytes else frames

    def like(self, value: np.ndarray) -> Array:
        """A NumPy array as the kind of array that `take` gives."""
        if not is_torch_array(self.data):
            return value
        xp = array_namespace(self.data)
        dtype = xp.float32 if self.bytes else self.data.dtype
        # a copy: torch warns of arrays that are views or read-only
        return xp.asarray(np.array(value, order="C"), dtype=dtype, device=self.data.device)

    def key(self) -> str:
        """Content key of a few frames: enough to see that two results saw the same clips."""
        size = len(self.data)
        some = np.unique(np.linspace(0, size - 1, min(size, 8)).astype(int))
        probe = to_numpy(self.take(some, np.zeros((some.size, 1), dtype=int)))
        text = f"{tuple(self.data.shape)}".encode() + np.ascontiguousarray(probe).tobytes()
        return hashlib.sha256(text).hexdigest()[:16]

    def variance(self) -> float:
        """Mean square of a pixel about its mean, from at most 4 frames of at most 64 clips."""
        index = np.arange(min(len(self.data), 64))
        length = int(self.data.shape[1])
        some = np.unique(np.linspace(0, length - 1, min(length, 4)).astype(int))
        times = np.broadcast_to(some, (index.size, some.size))
        value = float(to_numpy(self.take(index, times)).var())
        return value if value > 0.0 else 1.0


def to_numpy(value: Array) -> np.ndarray:
    if is_torch_array(value):
        value = value.detach().cpu().double().numpy()
    return np.asarray(value, dtype=np.float64)


def at_frame_of(denoiser: Any, first: int) -> Any:
    return denoiser.at_frame(first) if getattr(denoiser, "positional", False) else denoiser


def no_gradients(value: Array) -> Any:
    if is_torch_array(value):
        import torch

        return torch.no_grad()
    return contextlib.nullcontext()


@dataclass(frozen=True, eq=False)
class Sums:
    """Contributions of every clip: by AR step, by level, along directions, by the Gauss rule."""

    by_step: np.ndarray  # (n, K)
    by_level: np.ndarray  # (n, Q)
    coarse: np.ndarray  # (Q,) mean over clips
    directions: np.ndarray  # (n, c)
    evaluations: int


class TeacherForcing(TypedDict, total=False):
    """How `Teacher.of` shows clips to denoisers; `denoising_loss` describes each."""

    action: Array | None
    context: int
    steps: int | None
    draws: int | None
    panels: int
    seed: int
    batch: int
    confidence: float


@dataclass(frozen=True, eq=False)
class Teacher:
    """Real clips cut into windows, noised, and shown to denoisers."""

    schedule: Schedule
    clips: Clips
    action: Clips | None
    context: int
    steps: int
    levels: Levels
    draws: int | None
    seed: int
    batch: int
    confidence: float

    @staticmethod
    def of(
        schedule: Schedule,
        clips: Array,
        *,
        rule: str = "sub_steps",
        action: Array | None = None,
        context: int = 0,
        steps: int | None = None,
        draws: int | None = None,
        panels: int = 2,
        seed: int = 0,
        batch: int = 64,
        confidence: float = 0.95,
    ) -> Teacher:
        if not isinstance(schedule, Schedule):
            raise ParameterError("schedule", "a Schedule", type(schedule).__name__)
        if not is_torch_array(clips):
            clips = np.asarray(clips) if not isinstance(clips, np.ndarray) else clips
            if clips.dtype.kind != "f" and clips.dtype != np.uint8:
                raise ParameterError("clips", "floating, or bytes (uint8)", clips.dtype)
        if len(clips.shape) < 3:
            raise ParameterError("clips", "(clips, frames, ...)", tuple(clips.shape))
        count, length = int(clips.shape[0]), int(clips.shape[1])
        if count < 2:
            raise TooLittleDataError("clips", "at least 2, for a standard error", count)
        context = positive_integer("context", context, 0)
        longest = (length - context - schedule.window) // schedule.stride + 1
        if longest < 1:
            raise TooLittleDataError(
                "clips", f"at least context + window ({context + schedule.window}) frames", length
            )
        if steps is None:
            steps = longest
        elif positive_integer("steps", steps) > longest:
            raise ParameterError("steps", f"at most {longest} on clips of {length} frames", steps)
        if action is not None and tuple(action.shape[:2]) != (count, length):
            raise ParameterError("action", f"({count}, {length}, A)", tuple(action.shape))
        if draws is not None:
            draws = positive_integer("draws", draws)
        frames = Clips(clips)
        if action is not None and is_torch_array(action) != is_torch_array(clips):
            action = frames.like(to_numpy(action))
        return Teacher(
            schedule,
            frames,
            None if action is None else Clips(action),
            context,
            steps,
            Levels.of(schedule, rule, panels),
            draws,
            positive_integer("seed", seed, 0),
            positive_integer("batch", batch),
            probability("confidence", confidence),
        )

    def rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(clip, AR step, level, number of the draw, weight) of every window to be denoised."""
        n, k, q = len(self.clips.data), self.steps, self.levels.gamma.shape[0]
        if self.draws is None:
            clip, step, level = (item.ravel() for item in np.indices((n, k, q)))
            # a level at which no frame moves costs nothing
            used = np.any(self.levels.weight > 0.0, axis=1)[level]
            ones = np.ones(int(used.sum()))
            return clip[used], step[used], level[used], np.zeros(ones.size, dtype=int), ones
        one = self.levels.proposal(self.clips.variance())
        chance = np.tile(one / k, k)
        edges = np.cumsum(chance)
        edges /= edges[-1]
        draw = np.arange(self.draws)
        pick = np.empty((n, self.draws), dtype=int)
        for i in range(n):
            uniform = np.random.default_rng((self.seed, i)).random(self.draws)
            pick[i] = np.searchsorted(edges[:-1], (draw + uniform) / self.draws, side="right")
        flat = pick.ravel()
        return (
            np.repeat(np.arange(n), self.draws),
            flat // q,
            flat % q,
            np.tile(draw, n),
            1.0 / (self.draws * chance[flat]),
        )

    def measure(
        self,
        integrand: Callable[[Batch], np.ndarray],
        views: Sequence[View],
        denoisers: Sequence[Any],
    ) -> Sums:
        """Sum the weighted integrand over all windows.

        It is `(B, w, 1 + c)`: the squared error, then its shares along c directions.
        """
        clip, step, level, draw, weight = self.rows()
        n, k, q = len(self.clips.data), self.steps, self.levels.gamma.shape[0]
        by_step, by_level = np.zeros((n, k)), np.zeros((n, q))
        coarse = np.zeros(q)
        directions = np.zeros((n, 0))
        finished = self.context + np.arange(k) * self.schedule.stride
        shown = np.array([[view.sizes(int(f)) for view in views] for f in finished])
        if any(getattr(item, "positional", False) for item in denoisers):
            shown = np.concatenate([shown.reshape(k, -1), finished[:, None]], axis=1)
        _, group = np.unique(shown.reshape(k, -1), axis=0, return_inverse=True)
        order = np.lexsort((level, step, clip, group.ravel()[step]))
        groups = group.ravel()[step[order]]
        for chosen in _pieces(order, groups, self.batch):
            i, s, l = clip[chosen], step[chosen], level[chosen]
            batch = self.windows(i, s, l, draw[chosen], finished[s], views)
            error = weight[chosen, None, None] * integrand(batch)
            value = np.sum(error * self.levels.weight[l][:, :, None], axis=1)
            np.add.at(by_step, (i, s), value[:, 0])
            np.add.at(by_level, (i, l), value[:, 0])
            if value.shape[1] > 1:
                directions = directions if directions.size else np.zeros((n, value.shape[1] - 1))
                np.add.at(directions, i, value[:, 1:])
            if self.levels.coarse is not None:
                rough = np.sum(error[:, :, 0] * self.levels.coarse[l], axis=1)
                np.add.at(coarse, l, rough / n)
        return Sums(by_step, by_level, coarse, directions, clip.size)

    def windows(
        self,
        index: np.ndarray,
        step: np.ndarray,
        level: np.ndarray,
        draw: np.ndarray,
        finished: np.ndarray,
        views: Sequence[View],
    ) -> Batch:
        """The batch's clean windows and noise.

        Noise depends on (seed, clip, step, level, draw) only, not on the batch; its order is the
        window, then finished frames from the newest back, so that networks that see different
        numbers of them share it. A quadrature's nodes share it too, which keeps the integrand of
        each clip smooth.
        """
        window = self.schedule.window
        extra = max(sum(view.sizes(int(finished[0]))) for view in views)
        clean = self.clips.take(index, finished[:, None] + np.arange(window))
        drawn = np.empty((index.size, window + extra, *clean.shape[2:]))
        shared = self.levels.coarse is not None
        last: tuple[int, ...] | None = None
        for row, (i, k, q, s) in enumerate(zip(index, step, level, draw, strict=True)):
            key = (1, self.seed, i, k) if shared else (1, self.seed, i, k, q, s)
            if key == last:
                drawn[row] = drawn[row - 1]
            else:
                drawn[row] = np.random.default_rng(key).standard_normal(drawn.shape[1:])
            last = key
        return Batch(
            self.clips,
            self.action,
            self.schedule.t_min,
            index,
            finished,
            clean,
            drawn,
            self.levels.gamma[level],
        )

    def result(self, quantity: str, theorem: str, sums: Sums) -> WeightedError:
        """The sums as means over clips with standard errors."""
        samples, directions = sums.by_step.sum(axis=1), sums.directions
        n = samples.size

        def error(values: np.ndarray) -> np.ndarray:
            return np.asarray(values.std(axis=0, ddof=1) / np.sqrt(n))

        quadrature = None
        if self.levels.coarse is not None:
            by_panel = (sums.by_level.mean(axis=0) - sums.coarse).reshape(self.levels.panels, -1)
            quadrature = float(np.abs(by_panel.sum(axis=1)).sum())
        return WeightedError(
            quantity=quantity,
            theorem=theorem,
            total=Estimate.of(samples, unit="nats", theorem=theorem, confidence=self.confidence),
            frames=self.steps * self.schedule.stride,
            context=self.context,
            by_step=sums.by_step.mean(axis=0),
            by_step_error=error(sums.by_step),
            by_level=sums.by_level.mean(axis=0),
            by_level_error=error(sums.by_level),
            log_snr=np.log(self.levels.gamma),
            quadrature_error=quadrature,
            components=directions.mean(axis=0) if directions.size else None,
            components_error=error(directions) if directions.size else None,
            evaluations=sums.evaluations,
            clips_key=self.clips.key(),
            schedule=self.schedule,
        )


def _pieces(order: np.ndarray, groups: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """`order` cut into pieces of at most `size` that lie in one group."""
    for part in np.split(order, np.flatnonzero(np.diff(groups)) + 1):
        for first in range(0, part.size, size):
            yield part[first : first + size]
