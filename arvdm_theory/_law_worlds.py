"""Worlds in which the laws are tried: plain data, each read off a point of the unit cube.

A `Point` hands out its coordinates one after another as numbers, integers, choices and matrices,
so that the same builder serves Hypothesis (which draws, steers and shrinks points) and a hunt
(which moves them). Every world has `to_json` and `from_json`.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import scipy.special

from arvdm_theory import _dense
from arvdm_theory.decomposition import Decomposition, decompose
from arvdm_theory.generator import (
    Biased,
    Denoiser,
    Exact,
    Generator,
    LinearMemory,
    Memory,
    RecursiveMemory,
    Scaled,
)
from arvdm_theory.schedule import Schedule
from arvdm_theory.specification import Specification
from arvdm_theory.video import Arfima, Autoregressive, GaussianVideo, Seasonal, StaticLatent

_Item = TypeVar("_Item")


class Point:
    """A point of the unit cube, read coordinate by coordinate; past its end it is ½ throughout."""

    def __init__(self, coordinates: Sequence[float] | np.ndarray) -> None:
        self.coordinates = np.clip(np.asarray(coordinates, dtype=np.float64), 0.0, 1.0)
        self.used = 0

    def number(self, low: float = 0.0, high: float = 1.0) -> float:
        """A number between `low` and `high`."""
        inside = self.used < self.coordinates.size
        share = float(self.coordinates[self.used]) if inside else 0.5
        self.used += 1
        return low + (high - low) * share

    def scale(self, low: float, high: float) -> float:
        """A positive number between `low` and `high`, even on a logarithmic scale."""
        return float(np.exp(self.number(np.log(low), np.log(high))))

    def integer(self, low: int, high: int) -> int:
        """An integer in low..high."""
        return min(low + int(self.number(0.0, high - low + 1.0)), high)

    def choice(self, items: Sequence[_Item]) -> _Item:
        """One of `items`."""
        return items[self.integer(0, len(items) - 1)]

    def departure(self) -> float:
        """How far from what attains a bound: 0 on a quarter of the cube, then up to 1."""
        return max(self.number(-1.0 / 3.0, 1.0), 0.0) ** 2

    def normal(self, *shape: int) -> np.ndarray:
        """Normal quantiles of the coordinates, within ±3.7."""
        count = int(np.prod(shape))
        shares = np.array([self.number() for _ in range(count)])
        return np.asarray(scipy.special.ndtri(np.clip(shares, 1e-4, 1.0 - 1e-4)).reshape(shape))

    def covariance(self, size: int, condition: float = 100.0) -> np.ndarray:
        """A covariance of condition number at most `condition`."""
        basis, _ = np.linalg.qr(self.normal(size, size))
        values = np.array([self.scale(1.0 / condition, 1.0) for _ in range(size)])
        matrix = (basis * values) @ basis.T
        return np.asarray(0.5 * (matrix + matrix.T))


# --- plain data -----------------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if hasattr(value, "to_json"):
        return value.to_json()
    return value.item() if isinstance(value, np.generic) else value


def _array(value: Any) -> np.ndarray:
    return np.array(value, dtype=np.float64)


_READERS: dict[str, Any] = {
    "np.ndarray": _array,
    "tuple[np.ndarray, ...]": lambda value: tuple(_array(item) for item in value),
    "tuple[int, ...]": tuple,
    "GaussianVideo": GaussianVideo.from_json,
}
"""Annotation of a field -> how its JSON is read; anything else is itself."""


class Described:
    """Frozen dataclasses of numbers, arrays, videos and laws, to plain JSON and back."""

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        return {item.name: _plain(getattr(self, item.name)) for item in fields}

    @classmethod
    def from_json(cls, given: dict[str, Any]) -> Any:
        """The world that `to_json` described."""
        kinds = {item.name: str(item.type) for item in dataclasses.fields(cls)}  # type: ignore[arg-type]
        read = {name: _READERS.get(kinds[name], lambda v: v)(v) for name, v in given.items()}
        return cls(**read)


# --- one joint law --------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class JointLaw(Described):
    """X past, Y what is seen, Z output: one `covariance` and the coordinates of each."""

    covariance: np.ndarray
    x: tuple[int, ...]
    z: tuple[int, ...]
    given: tuple[int, ...] = ()


_READERS["JointLaw"] = JointLaw.from_json


def joint_law(point: Point, largest: int = 3) -> JointLaw:
    """X of 1..`largest` numbers, Z and Y of fewer."""
    sizes = (point.integer(1, largest), point.integer(1, 2), point.integer(0, 1))
    bounds = np.cumsum((0, *sizes))
    x, z, y = (tuple(range(a, b)) for a, b in itertools.pairwise(bounds))
    return JointLaw(point.covariance(sum(sizes)), x, z, y)


@dataclass(frozen=True, eq=False)
class MemoryOfJointLaw(Described):
    """A memory m = `matrix` X + N(0, diag `noise`²) of one joint law; `noise` 0: exact.

    `size` is b, the numbers it holds, and `budget` I(m; X | Y) in nats (infinite if exact).
    """

    law: JointLaw
    matrix: np.ndarray
    noise: float

    @property
    def size(self) -> int:
        """b."""
        return len(self.matrix)

    def joint(self) -> tuple[np.ndarray, list[int]]:
        """Covariance of (law, m) and the coordinates of m."""
        law, total = self.law, self.law.covariance.shape[0]
        rows = np.zeros((self.size, total))
        rows[:, list(law.x)] = self.matrix.reshape(self.size, len(law.x))
        lift = np.vstack([np.eye(total), rows])
        joint = lift @ law.covariance @ lift.T
        held = list(range(total, total + self.size))
        joint[held, held] += self.noise**2
        return joint, held

    @property
    def budget(self) -> float:
        """I(m; X | Y), nats."""
        if self.noise == 0.0:
            return float("inf")
        joint, held = self.joint()
        return _dense.information(joint, self.law.x, held, self.law.given)

    def bottleneck(self) -> float:
        """I(X; Z | Y, m) by dense conditioning."""
        law = self.law
        order = [*law.given, *law.x, *law.z]
        seen = len(law.given)
        rows = np.zeros((seen + self.size, seen + len(law.x)))
        rows[:seen, :seen] = np.eye(seen)
        rows[seen:, seen:] = self.matrix.reshape(self.size, len(law.x))
        noise = None
        if self.noise:
            noise = np.concatenate([np.zeros(seen), np.full(self.size, self.noise)])
        covariance = law.covariance[np.ix_(order, order)]
        return _dense.information_given_rows(covariance, rows.shape[1], rows, noise)


def memory_of_joint_law(point: Point, *, noisy: bool) -> MemoryOfJointLaw:
    """Canonical directions, moved by `departure` times anything else."""
    law = joint_law(point)
    size = point.integer(0 if not noisy else 1, len(law.x))
    departure = point.departure()
    best = _dense.canonical_directions(law.covariance, law.x, law.z, law.given)[:size]
    gains = np.array([point.scale(0.05, 20.0) for _ in range(size)]) if noisy else np.ones(size)
    matrix = gains[:, None] * best + departure * point.normal(size, len(law.x))
    return MemoryOfJointLaw(law, matrix, 1.0 if noisy else 0.0)


@dataclass(frozen=True, eq=False)
class Competitor(Described):
    """Q with P's (X, Y) and Z = `weights` Y + N(0, `noise`): X is seen through Y only (M2)."""

    law: JointLaw
    weights: np.ndarray
    noise: np.ndarray

    def covariance(self) -> np.ndarray:
        """Of Q, in the coordinates of the law."""
        law, out = self.law, self.law.covariance.copy()
        known, z = [*law.x, *law.given], list(law.z)
        rows = np.zeros((len(z), len(known)))
        rows[:, len(law.x) :] = self.weights
        cross = rows @ out[np.ix_(known, known)]
        out[np.ix_(z, known)], out[np.ix_(known, z)] = cross, cross.T
        out[np.ix_(z, z)] = cross @ rows.T + self.noise
        return np.asarray(out)


def competitor(point: Point) -> Competitor:
    """P_XY P_{Z|Y}, moved by `departure`."""
    law = joint_law(point)
    departure = point.departure()
    z, y = list(law.z), list(law.given)
    seen = law.covariance[np.ix_(y, y)]
    weights = np.linalg.solve(seen, law.covariance[np.ix_(y, z)]).T.reshape(len(z), len(y))
    weights = weights + departure * point.normal(len(z), len(y))
    noise = _dense.given(law.covariance, z, y) + departure * point.covariance(len(z))
    return Competitor(law, weights, noise * np.exp(departure * point.normal(1)[0]))


@dataclass(frozen=True, eq=False)
class PairLearner(Described):
    """A learner's joint law of (X, Z) on n values each, `(n, n)`, all entries positive (M3)."""

    probabilities: np.ndarray

    @property
    def values(self) -> int:
        """n."""
        return len(self.probabilities)


def pair_learner(point: Point) -> PairLearner:
    """The uniform law, moved by `departure`."""
    n = point.integer(2, 4)
    weights = np.exp(2.0 * point.departure() * point.normal(n, n))
    return PairLearner(weights / weights.sum())


# --- needles --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class NeedleTest(Described):
    """Two laws of one finite outcome and an event: what fraction of videos passes a test (M5)."""

    truth: np.ndarray
    generated: np.ndarray
    event: tuple[int, ...]

    @property
    def truth_rate(self) -> float:
        """s_P."""
        return float(self.truth[list(self.event)].sum())

    @property
    def generated_rate(self) -> float:
        """s_Q."""
        return float(self.generated[list(self.event)].sum())

    def divergence(self) -> float:
        """KL(P ‖ Q) over outcomes."""
        return float(np.sum(self.truth * np.log(self.truth / self.generated)))


def needle_test(point: Point) -> NeedleTest:
    """2..5 outcomes, of which some are the event."""
    n = point.integer(2, 5)
    event = tuple(range(point.integer(1, n - 1)))
    truth, generated = (np.exp(2.0 * point.normal(n)) for _ in range(2))
    return NeedleTest(truth / truth.sum(), generated / generated.sum(), event)


@dataclass(frozen=True, eq=False)
class NeedleMemory(Described):
    """What a memory says of n equiprobable needles: `channel` `(n, m)`, rows p(m | needle) (M5)."""

    channel: np.ndarray

    @property
    def needles(self) -> int:
        """n."""
        return len(self.channel)

    @property
    def success(self) -> float:
        """Rate of naming the needle, by the best guess."""
        return float(self.channel.max(axis=0).sum() / self.needles)

    def information(self) -> float:
        """I(needle; memory), nats."""
        said = self.channel.mean(axis=0)
        return float(np.sum(self.channel * np.log(self.channel / said)) / self.needles)


def needle_memory(point: Point) -> NeedleMemory:
    """A memory of n words that names the right needle, moved by `departure`."""
    n = point.integer(2, 5)
    strength, departure = point.number(0.0, 6.0), 2.0 * point.departure()
    weights = np.exp(strength * np.eye(n) + departure * point.normal(n, n))
    return NeedleMemory(weights / weights.sum(axis=1, keepdims=True))


# --- videos seen through a window -----------------------------------------------------------------


def video(point: Point, dim: int | None = None) -> GaussianVideo:
    """Stationary videos: AR(1), AR(2), vector AR(1), seasonal, long memory, static latent."""
    families = ["ar2", "ar1", "static", "seasonal", "arfima", "pixels", "var1"]
    if dim == 1:
        families = families[:-2]
    family = point.choice(families)
    if family == "ar1":
        return Autoregressive([point.number(-0.95, 0.95)], point.scale(0.1, 2.0))
    if family == "ar2":  # partial autocorrelations within (-1, 1) are the stable region
        first, second = point.number(-0.95, 0.95), point.number(-0.95, 0.95)
        return Autoregressive([first * (1.0 - second), second], point.scale(0.1, 2.0))
    if family == "static":
        return StaticLatent(point.scale(0.05, 5.0), latent_variance=point.scale(0.2, 5.0))
    if family == "seasonal":
        return Seasonal(
            point.number(2.5, 8.0), point.number(0.3, 0.97), 1.3, point.scale(0.02, 1.0)
        )
    if family == "arfima":
        return Arfima(point.number(-0.4, 0.45), point.scale(0.3, 2.0))
    if family == "pixels":
        transition = np.diag([point.number(-0.95, 0.95), point.number(-0.95, 0.95)])
        return Autoregressive([transition], np.diag([point.scale(0.1, 2.0) for _ in range(2)]))
    transition = point.normal(2, 2)
    radius = float(np.abs(np.linalg.eigvals(transition)).max())
    transition *= point.number(0.2, 0.95) / max(radius, 0.5)
    return Autoregressive([transition], point.covariance(2, 20.0))


@dataclass(frozen=True, eq=False)
class Windowed(Described):
    """A video whose next `block` frames are generated from the last `reference` ones.

    `level`: OU time of all frames. `past`: frames before the block, or, where `steps` blocks are
    generated, unused. `context_level`, `input_level`: OU times of re-noised references and of the
    block in the input (M6).
    """

    video: GaussianVideo
    reference: int
    block: int
    level: float
    past: int = 0
    steps: int = 1
    context_level: float | None = None
    input_level: float | None = None

    def covariance(self) -> np.ndarray:
        """Of the past and the block, or of all blocks, at `level`."""
        frames = self.past + self.block if self.past else self.block * self.steps
        return _dense.noisy_frames(self.video, frames, self.level)

    def reference_rows(self, reference: int | None = None) -> np.ndarray:
        """The last r frames of the past as a map of it."""
        size, dim = self.past * self.video.dim, self.video.dim
        seen = min(self.reference if reference is None else reference, self.past) * dim
        return np.eye(size)[size - seen :]


def windowed(point: Point) -> Windowed:
    """One block after a past of 3..8 frames."""
    level = point.choice([0.0, 0.02, 0.1, 0.5])
    past = point.integer(3, 8)
    source = video(point)
    return Windowed(source, point.integer(0, past - 1), point.integer(1, 3), level, past)


def one_frame(point: Point) -> Windowed:
    """The next frame after a past of 3..8 frames (R5)."""
    return dataclasses.replace(windowed(point), block=1)


def renoised(point: Point) -> Windowed:
    """References re-noised, the block noisier in the input or not there (M6)."""
    given = windowed(point)
    added, later = point.choice([0.0, 0.01, 0.1, 0.5, 1.5]), point.choice([None, 0.2, 1.0])
    return dataclasses.replace(
        given,
        reference=max(given.reference, 1),
        context_level=given.level + added,
        input_level=None if later is None else given.level + later,
    )


def blocks(point: Point) -> Windowed:
    """2..4 blocks from a window (M7)."""
    level = point.choice([0.0, 0.02, 0.1, 0.5])
    source = video(point)
    return Windowed(
        source, point.integer(0, 3), point.integer(1, 3), level, steps=point.integer(2, 4)
    )


@dataclass(frozen=True, eq=False)
class BlocksWithMemory(Described):
    """Blocks generated from a window and a noisy memory m_k = `matrices`[k] past + N(0, 1) (R3)."""

    video: GaussianVideo
    reference: int
    block: int
    level: float
    matrices: tuple[np.ndarray, ...]

    @property
    def steps(self) -> int:
        """K; the first block has no past."""
        return len(self.matrices) + 1

    def _step(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Covariance of the past and block k, and the references as rows of the past."""
        dim = self.video.dim
        past = k * self.block
        covariance = _dense.noisy_frames(self.video, past + self.block, self.level)
        seen = min(self.reference, past) * dim
        return covariance, np.eye(past * dim)[past * dim - seen :]

    @property
    def budgets(self) -> np.ndarray:
        """I(m_k; past | R_k), `(K,)`, nats; 0 for the first block."""
        spent = [0.0]
        for k, matrix in enumerate(self.matrices, 1):
            covariance, seen = self._step(k)
            past = seen.shape[1]
            own = covariance[:past, :past]
            cross = own @ seen.T
            left = own
            if seen.shape[0]:
                left = own - cross @ np.linalg.solve(seen @ cross, cross.T)
            spread = matrix @ left @ matrix.T
            values = np.linalg.eigvalsh(0.5 * (spread + spread.T))
            # what rounding left below 0 is an exact 0: nothing is told
            spent.append(0.5 * float(np.sum(np.log1p(np.maximum(values, 0.0)))))
        return np.array(spent)

    def laws(self) -> tuple[np.ndarray, np.ndarray]:
        """Covariances under P and Q of (block 1, m_2, block 2, m_3, ...), each kept."""
        width = self.block * self.video.dim
        total = width + sum(width + len(matrix) for matrix in self.matrices)
        truth, law = np.zeros((total, total)), np.zeros((total, total))
        first, _ = self._step(0)
        truth[:width, :width] = law[:width, :width] = first
        frames = list(range(width))  # coordinates of the frames so far
        end = width
        for k, matrix in enumerate(self.matrices, 1):
            covariance, seen = self._step(k)
            past, held = seen.shape[1], len(matrix)
            for joint in (truth, law):
                rows = np.zeros((held, end))
                rows[:, frames] = matrix
                _append(joint, end, rows, np.eye(held))
            memory = list(range(end, end + held))
            end += held
            shown = np.vstack([seen, matrix])
            own = shown @ covariance[:past, :past] @ shown.T
            own[len(seen) :, len(seen) :] += np.eye(held)
            cross = covariance[past:, :past] @ shown.T
            gain = np.linalg.solve(own, cross.T).T
            rows = np.zeros((width, end))
            rows[:, memory] = gain[:, len(seen) :]
            rows[:, frames] += gain[:, : len(seen)] @ seen
            _append(law, end, rows, covariance[past:, past:] - gain @ cross.T)
            through = np.linalg.solve(covariance[:past, :past], covariance[:past, past:]).T
            rows = np.zeros((width, end))
            rows[:, frames] = through
            known = np.arange(past)
            after = np.arange(past, past + width)
            _append(truth, end, rows, _dense.given(covariance, after, known))
            frames += list(range(end, end + width))
            end += width
        return truth, law


def _append(joint: np.ndarray, end: int, rows: np.ndarray, noise: np.ndarray) -> None:
    new = slice(end, end + len(rows))
    joint[new, :end] = rows @ joint[:end, :end]
    joint[:end, new] = joint[new, :end].T
    joint[new, new] = joint[new, :end] @ rows.T + noise


def blocks_with_memory(point: Point) -> BlocksWithMemory:
    """Memories along canonical directions, moved by `departure`."""
    level = point.choice([0.02, 0.1, 0.5])
    source = video(point)
    reference, block, steps = point.integer(0, 2), point.integer(1, 2), point.integer(2, 3)
    departure = point.departure()
    matrices = []
    dim = source.dim
    for k in range(1, steps):
        past = k * block * dim
        covariance = _dense.noisy_frames(source, (k + 1) * block, level)
        seen = min(reference * dim, past)
        older, block_at = range(past - seen), range(past, past + block * dim)
        size = point.integer(1, 2)
        rows = np.zeros((size, past))
        if len(older):
            best = _dense.canonical_directions(
                covariance, older, block_at, range(past - seen, past)
            )
            best = best[:size]
            gains = np.array([point.scale(0.05, 20.0) for _ in range(len(best))])
            rows[: len(best), : past - seen] = gains[:, None] * best
        matrices.append(rows + departure * point.normal(size, past))
    return BlocksWithMemory(source, reference, block, level, tuple(matrices))


@dataclass(frozen=True, eq=False)
class Recursion(Described):
    """A recursion m ← `transition` m + `input` x beside a window, `horizon` frames ahead (R6).

    The memory starts at 0 and the first `horizon` frames asked about follow a past of `past`.
    """

    video: GaussianVideo
    transition: np.ndarray
    input: np.ndarray
    reference: int
    horizon: int
    past: int
    level: float

    @property
    def size(self) -> int:
        """b."""
        return len(self.transition)

    def bottleneck(self) -> float:
        """Mean over the horizon of I(X_k; all older | m_k, R_k), by dense conditioning."""
        dim, total = self.video.dim, 0.0
        covariance = _dense.noisy_frames(self.video, self.past + self.horizon, self.level)
        rows = np.zeros((self.size, 0))
        for k in range(self.past + self.horizon):
            if k >= self.past:
                size, seen = k * dim, min(self.reference, k) * dim
                shown = np.vstack([np.eye(size)[size - seen :], rows])
                end = size + dim
                total += _dense.information_given_rows(covariance[:end, :end], size, shown)
            rows = np.hstack([self.transition @ rows, self.input])
        return total / self.horizon


def recursion(point: Point) -> Recursion:
    """1 or 2 numbers: what the last frame says of the next ones, moved by `departure`."""
    level = point.choice([0.0, 0.0, 0.02, 0.1, 0.5])
    source = video(point)
    size, reference = point.choice([1, 1, 1, 2]), point.choice([0, 0, 0, 1, 2])
    horizon, past = point.choice([1, 1, 2, 3]), point.integer(4, 7)
    dim, departure = source.dim, point.departure()
    covariance = _dense.noisy_frames(source, past + horizon, level)
    last, ahead = range((past - 1) * dim, past * dim), range(past * dim, (past + horizon) * dim)
    put = departure * point.normal(size, dim)
    best = _dense.canonical_directions(covariance, last, ahead)[:size]
    put[: len(best)] += best
    transition = 0.5 * departure * point.normal(size, size)
    return Recursion(source, transition, put, reference, horizon, past, level)


# --- generators -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """A drawn (video, schedule, generator) and the number of frames to generate."""

    video: GaussianVideo
    schedule: Schedule
    generator: Generator
    frames: int

    def decompose(self, **options: Any) -> Decomposition:
        """The decomposition of this world."""
        return decompose(self.video, self.schedule, self.generator, frames=self.frames, **options)

    def specification(self) -> dict[str, Any]:
        """The JSON specification of this world, for other implementations."""
        return Specification(self.video, self.schedule, self.generator, None, self.frames).to_json()

    def to_json(self) -> dict[str, Any]:
        """The same as `specification`."""
        return self.specification()

    @staticmethod
    def from_json(given: dict[str, Any]) -> World:
        """The world that `to_json` described."""
        read = Specification.from_json(given)
        assert read.frames is not None
        return World(read.video, read.schedule, read.generator, read.frames)

    @property
    def steps(self) -> int:
        """K, AR steps."""
        return self.schedule.roll_out(frames=self.frames).steps

    def features(self) -> dict[str, bool]:
        """What this world exercises; counted by `coverage`."""
        schedule, generator, video = self.schedule, self.generator, self.video
        plan = schedule.roll_out(frames=self.frames)
        named = {
            "d >= 2": video.dim >= 2,
            "w >= 4": schedule.window >= 4,
            "stride < w": schedule.stride < schedule.window,
            "stride does not divide frames": plan.surplus > 0,
            "frames < w": self.frames < schedule.window,
            "references": generator.reference > 0,
            "memory": generator.memory is not None,
            "non-zero mean": bool(np.any(video.means(plan.needed) != 0.0)),
            "initialisation": generator.initialisation is not None,
            "not stationary": not video.stationary,
            f"context {schedule.context_noise}": generator.reference > 0,
        }
        for name in (video.family, generator.denoiser.kind, generator.sampler):
            named[name] = True
        if generator.memory is not None:
            named[f"memory {generator.memory.kind}"] = True
        return named


def roll_out(point: Point, *, chunk: bool = False, sliding: bool = False) -> World:
    """A small roll-out that the dense oracle knows.

    `chunk`: w = Δ (M4). `sliding`: the next input is a function of input and output (Theorem B).
    """
    levels: dict[str, Any] = {
        "t_max": point.number(0.8, 5.0),
        "t_min": point.scale(0.03, 0.5),
        "substeps": point.choice([1, 2, 3, 12]),
    }
    method = point.choice(["next_frame", "chunk", "fifo", "outpainting"])
    if method == "next_frame":
        schedule = Schedule.next_frame(**levels)
    elif method == "chunk" or chunk:
        schedule = Schedule.chunk(2, **levels)
    elif method == "fifo" and levels["t_max"] > 2.2 * levels["t_min"]:
        schedule = Schedule.fifo(2, **levels)
    else:
        schedule = Schedule.outpainting(2, 1, **levels)
    source = video(point)
    kind = point.choice(["exact", "scaled", "biased"])
    denoiser: Denoiser = Exact()
    if kind == "scaled":
        denoiser = Scaled(point.number(0.6, 1.2))
    elif kind == "biased":
        denoiser = Biased(0.3 * point.normal(source.dim))
    memory: Memory | None = None
    held = point.choice(["none", "none", "recursive"] + ([] if sliding else ["linear"]))
    if held == "recursive":
        memory = RecursiveMemory(0.3 * point.normal(1, 1), point.normal(1, source.dim))
    elif held == "linear":
        memory = LinearMemory(point.normal(2, 1, source.dim))
    generator = Generator(denoiser, "ancestral", point.integer(0, 2), memory)
    return World(source, schedule, generator, point.integer(1, 3) * schedule.stride)


# --- accumulation ---------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class GaussianPair(Described):
    """Two laws of N stacked frames of `dim` numbers: truth P and model Q (E1, E4)."""

    truth_mean: np.ndarray
    truth: np.ndarray
    model_mean: np.ndarray
    model: np.ndarray
    dim: int = 1

    def divergence(self) -> float:
        """KL(P ‖ Q)."""
        return _dense.kl(self.truth_mean, self.truth, self.model_mean, self.model)


def gaussian_pair(point: Point) -> GaussianPair:
    """Up to four numbers; the model is the truth, moved by `departure`."""
    dim, frames = point.integer(1, 2), point.integer(1, 2)
    size, departure = dim * frames, point.departure()
    truth = point.covariance(size)
    model = (1.0 - departure) * truth + departure * point.covariance(size)
    return GaussianPair(point.normal(size), truth, point.normal(size), model, dim)


@dataclass(frozen=True, eq=False)
class Drift(Described):
    """E2's chains: truth 1 − `eta`, model 1 + `eta`, after `steps`."""

    eta: float
    steps: int

    def divergence(self) -> float:
        """KL of the last frame, by the recursion of variances."""
        truth = model = 1.0 / (self.eta * (2.0 - self.eta))
        for _ in range(self.steps):
            truth = (1.0 - self.eta) ** 2 * truth + 1.0
            model = (1.0 + self.eta) ** 2 * model + 1.0
        return 0.5 * (truth / model - 1.0 - np.log(truth / model))


def drift(point: Point) -> Drift:
    """η within [0.001, 0.5], K up to 3000 and as far as doubles reach."""
    eta = point.scale(1e-3, 0.5)
    return Drift(eta, min(int(point.scale(1.0, 3000.0)), int(300.0 / np.log1p(eta))))


@dataclass(frozen=True, eq=False)
class ScalarChains(Described):
    """Truth x' = a x + b + N(0, v) and a model of the same form, equal starts, `steps` (E3).

    `truth` and `model` are (a, b, v), `start` the common (mean, variance).
    """

    truth: np.ndarray
    model: np.ndarray
    start: np.ndarray
    steps: int

    def laws(self, step: int) -> tuple[tuple[float, float], tuple[float, float]]:
        """(mean, variance) of truth and model after `step` steps."""
        found = []
        for a, b, v in (self.truth, self.model):
            mean, variance = self.start
            for _ in range(step):
                mean, variance = a * mean + b, a * a * variance + v
            found.append((float(mean), float(variance)))
        return found[0], found[1]

    @property
    def lipschitz(self) -> float:
        """L of the model's kernel."""
        return float(abs(self.model[0]))

    @property
    def smoothing(self) -> float:
        """σ² of the model's kernel."""
        return float(self.model[2])

    def _moved(self, step: int) -> float:
        """E_P (m_P(x) − m_Q(x))² from the truth's state after `step` steps."""
        mean, variance = self.laws(step)[0]
        a, b, _ = self.truth - self.model
        return float(a * a * variance + (a * mean + b) ** 2)

    @property
    def one_step_error(self) -> float:
        """e: the largest root mean square W2 of one step of the model from the truth's state."""
        spread = (np.sqrt(self.truth[2]) - np.sqrt(self.model[2])) ** 2
        return float(np.sqrt(max(self._moved(k) for k in range(self.steps)) + spread))

    @property
    def local_mean(self) -> float:
        """E_P KL of the last step's means, nats."""
        return 0.5 * self._moved(self.steps - 1) / self.smoothing

    @property
    def local_spread(self) -> float:
        """KL of the last step's variances, nats."""
        ratio = float(self.truth[2] / self.model[2])
        return 0.5 * (ratio - 1.0 - float(np.log(ratio)))

    def distance(self) -> float:
        """W2 after all steps."""
        (mean_p, p), (mean_q, q) = self.laws(self.steps)
        return float(np.hypot(mean_p - mean_q, np.sqrt(p) - np.sqrt(q)))

    def divergence(self) -> float:
        """KL after all steps, nats."""
        (mean_p, p), (mean_q, q) = self.laws(self.steps)
        ratio = p / q
        return 0.5 * (ratio - 1.0 - float(np.log(ratio)) + (mean_p - mean_q) ** 2 / q)


def scalar_chains(point: Point) -> ScalarChains:
    """Stable and unstable models, near the truth and far from it."""
    chains = [
        [point.number(-1.05, 1.05), point.number(-1.0, 1.0), point.scale(0.05, 2.0)]
        for _ in range(2)
    ]
    departure = point.departure()
    truth = np.array(chains[0])
    model = (1.0 - departure) * truth + departure * np.array(chains[1])
    start = np.array([point.number(-1.0, 1.0), point.scale(0.01, 2.0)])
    return ScalarChains(truth, model, start, point.integer(1, 20))


@dataclass(frozen=True, eq=False)
class StaticWindow(Described):
    """E5: a static latent seen through a window of `reference` frames, asked about `frame`."""

    reference: int
    frame: int
    noise_variance: float
    latent_variance: float
    bias: float

    def exact(self) -> tuple[float, float]:
        """(MB of the frame, mean of the model there) by dense conditioning."""
        frames, r = self.frame, self.reference
        covariance = self.latent_variance * np.ones((frames, frames))
        covariance += self.noise_variance * np.eye(frames)
        mean = np.zeros(frames)
        for k in range(frames):
            seen = np.arange(max(k - r, 0), k)
            gain = np.linalg.solve(covariance[np.ix_(seen, seen)], covariance[seen, k])
            mean[k] = gain @ mean[seen] + self.bias
        last = frames - 1
        older, window = range(max(last - r, 0)), range(max(last - r, 0), last)
        forgotten = _dense.information(covariance, older, [last], window) if len(older) else 0.0
        return forgotten, float(mean[-1])


def static_window(point: Point) -> StaticWindow:
    """r up to 6, frame up to 25."""
    r = point.integer(0, 6)
    return StaticWindow(
        r, r + point.integer(1, 19), point.scale(0.05, 5.0), point.scale(0.2, 5.0),
        point.number(0.1, 1.0),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class ScalarChannel(Described):
    """R4: truth (X, Z) of unit variances and correlation ρ; a model that draws Z from X.

    Its X is the truth's and Z = `weight` X + N(0, `noise`): a random memory of
    `budget` = I_q(X; Z) nats, integrated out.
    """

    correlation: float
    weight: float
    noise: float

    @property
    def budget(self) -> float:
        """I_q(X; Z), nats."""
        return 0.5 * float(np.log1p(self.weight**2 / self.noise))

    def divergence(self) -> float:
        """KL(P ‖ Q), nats."""
        truth = np.array([[1.0, self.correlation], [self.correlation, 1.0]])
        model = np.array([[1.0, self.weight], [self.weight, self.weight**2 + self.noise]])
        return _dense.kl(np.zeros(2), truth, np.zeros(2), model)


def scalar_channel(point: Point) -> ScalarChannel:
    """The truth's own channel, with less weight and another noise."""
    correlation = point.number(-0.98, 0.98)
    return ScalarChannel(correlation, correlation * point.number(0.0, 1.2), point.scale(0.02, 2.0))
