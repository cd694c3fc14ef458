r"""Output and clip KL by linear-time recursions, the difference of the two laws propagated.

Under Q an AR step maps what it carries, (window frames not yet finished, finished frames it still
sees, memory), to the next Δ frames and what it carries next: a state-space model whose observations
are the finished frames. So, with both sides filtered on data distributed as P (THEORY, 5),

$$KL(P \,\|\, Q) = \sum_k E_P KL(P(x_k | x_{<k}) \,\|\, Q(x_k | x_{<k})).$$

Neither side's covariance is subtracted from the other's. The recursion carries

$$D = \mathrm{Cov}_Q(v_k | x_{<k}) - \mathrm{Cov}_P(v_k | x_{<k}), \qquad
  \epsilon = E_Q[v_k | x_{<k}] - E_P[v_k | x_{<k}]$$

of the carried window frames v, and is driven only by what makes the model differ from the truth:
the denoiser's error, the posterior covariance that an ancestral sub-step leaves out, the forgotten
past, and the entering noise. KL values far below machine precision times the entropy keep their
digits.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from arvdm_theory import noise
from arvdm_theory._gaussian import (
    cholesky,
    gaussian_kl,
    posterior_covariance,
    symmetrise,
    transpose,
)
from arvdm_theory._window_law import Drive, compress, reach, settled_to
from arvdm_theory.errors import NotPositiveDefiniteError, RefusedError
from arvdm_theory.generator import (
    AffineDenoiser,
    Exact,
    Resolved,
    SubStep,
    affine_denoiser,
    sampler_coefficients,
)


@dataclass(frozen=True, eq=False)
class StepMaps:
    r"""AR steps of Q, as they are and against P; batched over steps.

    Q: Output = Φ Input + C c + f + N(0, Ψ). Applied to what P knows of its input given the past,
    Q's step gives P's prediction B of the output plus `forgotten` B_perp + `window` B + `context` Γ
    (exactly zero without error), and P's covariance plus `spread` if the entering noise were P's.
    """

    transition: np.ndarray  # Φ (K, w d, w d)
    seen: np.ndarray  # C (K, w d, q)
    offset: np.ndarray  # f (K, w d), deviations from the true mean path
    forgotten: np.ndarray  # (K, w d, w d)
    window: np.ndarray  # (K, w d, w d)
    context: np.ndarray  # (K, w d, q)
    spread: np.ndarray  # (K, w d, w d), the context's own noise included


class Composition:
    """Composes the sub-steps of AR steps, all of `world`'s at once, one sub-step after another."""

    def __init__(self, world: Resolved) -> None:
        truth = world.truth
        steps, size = truth.mean.shape
        slots = truth.context_mean.shape[1]
        self.world = world
        self.lost = truth.forgotten @ transpose(truth.forgotten)
        ends = np.cumsum([size, size, size, slots, slots, 1])
        starts = (0, *ends[:-1])
        # what a sub-step multiplies from the left, side by side
        self.transition, self.forgotten, self.window, self.context, self.seen, self.offset = (
            slice(*each) for each in zip(starts, ends, strict=True)
        )
        self.carry = np.zeros((steps, size, int(ends[-1])))
        self.carry[:, :, self.transition] = np.eye(size)
        self.spread = np.zeros((steps, size, size))

    def add(self, n: int, best: AffineDenoiser, model: AffineDenoiser, kernel: SubStep) -> None:
        """Sub-step `n`: the exact denoiser, the model's and its kernel."""
        world, truth = self.world, self.world.truth
        schedule, sampler, dim = world.schedule, world.generator.sampler, world.video.dim
        t, s = np.repeat(schedule.grid[n], dim), np.repeat(schedule.grid[n + 1], dim)
        alpha, gamma = np.asarray(noise.alpha(t)), np.asarray(noise.gamma(t))
        a, b, _ = sampler_coefficients(sampler, t, s)
        bridge_a, bridge_b, bridge_v = noise.bridge(t, s)
        known = np.asarray(posterior_covariance(truth.given_past, gamma))
        keep = np.eye(t.size) - best.window * alpha  # (I + S_R G)^{-1}
        # V_R - V_P = (I + S_P G)^{-1} (S_R - S_P) (I + G S_R)^{-1}
        more = (self.lost - (known * gamma) @ self.lost) @ transpose(keep)
        true_map = bridge_b[:, None] * (known * (gamma / alpha)) + np.diag(bridge_a)
        left_out = bridge_b[:, None] * known * bridge_b
        right = model is best
        error_window = 0.0 if right else model.window - best.window
        bridged = sampler in ("ancestral", "optimal_variance", "optimal_variance_diagonal")
        if bridged:
            change = b[:, None] * (more * (gamma / alpha) + error_window)
        else:
            change = kernel.window - true_map
        if sampler == "ancestral":
            added = -left_out
        elif sampler == "optimal_variance":
            added = b[:, None] * (more if right else more + (model.posterior - best.posterior)) * b
        elif sampler == "optimal_variance_diagonal":
            added = b[:, None] * (model.posterior * np.eye(t.size)) * b - left_out
        else:
            added = kernel.covariance - np.diag(bridge_v) - left_out
        state = alpha[:, None] * truth.given_past * alpha + np.diag(noise.sigma(t) ** 2)
        cross = change @ state @ transpose(true_map + 0.5 * change)
        move = kernel.window
        self.spread = symmetrise(move @ self.spread @ transpose(move) + added)
        self.spread += cross + transpose(cross)
        self.carry = move @ self.carry
        self.carry[:, :, self.forgotten] -= b[:, None] * keep
        self.carry[:, :, self.seen] += kernel.context
        self.carry[:, :, self.offset] += kernel.offset[..., None]
        if not right:
            self.carry[:, :, self.window] += b[:, None] * error_window * alpha
            self.carry[:, :, self.context] += b[:, None] * (model.context - best.context)
        if not bridged:
            self.carry[:, :, self.window] += np.diag(a * alpha + b - noise.alpha(s))

    def maps(self) -> StepMaps:
        """The AR steps, once all sub-steps are in."""
        carry = self.carry
        own = carry[:, :, self.seen] * self.world.truth.context_noise[:, None, :]
        return StepMaps(
            carry[:, :, self.transition],
            carry[:, :, self.seen],
            carry[:, :, self.offset.start],
            carry[:, :, self.forgotten],
            carry[:, :, self.window],
            carry[:, :, self.context],
            self.spread + own @ transpose(own),
        )


def step_maps(world: Resolved) -> StepMaps:
    """Compose the sub-steps of every AR step of `world`."""
    composed = Composition(world)
    truth = world.truth
    exact = isinstance(world.generator.denoiser, Exact) and world.belief is truth
    for n in range(int(world.schedule.substeps or 0)):
        best = affine_denoiser(Exact(), truth, truth, world.schedule.grid[n], n)
        model = best if exact else world.denoiser_at(n, best)
        composed.add(n, best, model, world.kernel_at(n, model))
    return composed.maps()


@dataclass(frozen=True, eq=False)
class Coefficients:
    """What the recursions need of each AR step; batched over steps. Rows: finished, then carried.

    Under P, conditionally on the past: `covariance` of the output, `prediction` of it as a map of
    the carried vector s. `gap` D and `lean` (a map of s) are what Q's step adds where its input law
    is P's except for the entering noise.
    """

    transition: np.ndarray  # Φ on the carried window frames (K, w d, v)
    constant: np.ndarray  # mean of the entering noise through Φ, plus f (K, w d)
    gap: np.ndarray  # (K, w d, w d)
    lean: np.ndarray  # (K, w d, s)
    covariance: np.ndarray  # (K, w d, w d)
    prediction: np.ndarray  # (K, w d, s)
    memory: np.ndarray  # C on the kept coordinates u (K, w d, u)


def coefficients(world: Resolved, maps: StepMaps | None = None) -> Coefficients:
    """What the recursions need of `world`'s AR steps; `maps` if they are known."""
    maps, drive = step_maps(world) if maps is None else maps, _drive(world)
    truth, schedule, dim = world.truth, world.schedule, world.video.dim
    size = truth.mean.shape[1]
    kept = size - schedule.stride * dim
    into = np.asarray(noise.alpha(np.repeat(schedule.input_levels, dim)))
    fresh = float(noise.alpha(schedule.t_max))
    # the model's entering noise is independent and standard, the truth's its noised frames
    entering = -into[:, None] * truth.given_past * into
    entering[:, :kept, :kept] = 0.0
    entering[:, kept:, kept:] += fresh**2 * np.eye(size - kept)
    phi = maps.transition
    arriving = phi[:, :, kept:]
    lean = maps.forgotten @ (drive.load - truth.gain @ drive.rows)
    lean = lean + maps.window @ drive.load + maps.context @ drive.rows
    lean = lean - fresh * (arriving @ drive.load[:, kept:])
    out = np.repeat(schedule.output_levels, dim)
    alpha = np.asarray(noise.alpha(out))
    return Coefficients(
        phi[:, :, :kept],
        maps.offset - fresh * np.squeeze(arriving @ truth.mean[:, kept:, None], -1),
        symmetrise(phi @ entering @ transpose(phi)) + maps.spread,
        lean,
        alpha[:, None] * truth.given_past * alpha + np.diag(noise.sigma(out) ** 2),
        alpha[:, None] * drive.load,
        maps.seen @ drive.rows[:, drive.states :],
    )


class OutputKL:
    """Output KL per AR step, and the KL of each step's block of frames, for consecutive steps.

    `advance` takes the next AR steps as a `Resolved` world whose truth is a Kalman law. The clip KL
    needs Q's own marginal law; `clip_lost` says that it left the range of double precision.
    """

    def __init__(self, world: Resolved) -> None:
        drive = _drive(world)
        self.stride = world.schedule.stride * world.video.dim
        mean, covariance = world.initial_law()
        exact_mean, exact = replace(world, initial=None).initial_law()
        self.mean = mean - exact_mean
        self.gap = covariance - exact
        carried = self.mean.size
        total = drive.load.shape[2] + carried
        self.factor = np.zeros((total, total))  # of (s, epsilon) under P
        kept = drive.load.shape[2] - drive.states
        self.clip_mean = np.concatenate([self.mean, np.zeros(kept)])
        self.clip_gap = np.zeros((carried + kept, carried + kept))
        self.clip_gap[:carried, :carried] = self.gap
        self.clip_lost = False
        self.change = np.inf  # of the gap in the last step
        self.last: _Invariant | None = None

    def advance(
        self, world: Resolved, maps: StepMaps, frames: int
    ) -> tuple[BlockKL, BlockKL | None]:
        """Output and clip KL of the next AR steps; `frames` numbers are compared of the last."""
        drive = _drive(world)
        steps = coefficients(world, maps)
        output = self._output(steps, drive, frames)
        clip = None
        if not self.clip_lost:
            try:
                clip = self._clip(steps, drive)
            except (FloatingPointError, NotPositiveDefiniteError, np.linalg.LinAlgError):
                self.clip_lost = True
        return output, clip

    def _output(self, steps: Coefficients, drive: Drive, frames: int) -> BlockKL:
        block = self.stride
        count, size = steps.constant.shape
        total = self.factor.shape[0]
        truth = steps.covariance[:, :block, :block]
        gain = transpose(np.linalg.solve(truth, steps.covariance[:, :block, block:]))
        root = cholesky(truth, "covariance of the finished frames given the past")
        gaps = np.empty((count, block, block))
        leans = np.empty((count, block, total))
        means = np.empty((count, block))
        move, push = np.zeros((total, total)), np.zeros((total, block))
        inner = total - self.mean.size
        for k in range(count):
            phi, before = steps.transition[k], self.gap
            gap = phi @ self.gap @ phi.T + steps.gap[k]
            mean = phi @ self.mean + steps.constant[k]
            lean = np.concatenate([steps.lean[k], phi], axis=1)
            gaps[k], means[k] = gap[:block, :block], mean[:block]
            leans[k] = lean[:block] @ self.factor
            if size == block:
                change = np.zeros((0, block))
            else:
                model = truth[k] + gaps[k]
                change = np.linalg.solve(model, (gap[block:, :block] - gain[k] @ gaps[k]).T).T
                self.gap = _reduced(gap, gain[k]) - change @ model @ change.T
                self.gap = 0.5 * (self.gap + self.gap.T)
            full = gain[k] + change
            self.mean = mean[block:] - full @ mean[:block]
            move[:inner, :inner], push[:inner] = drive.move[k], drive.drive[k]
            move[inner:] = lean[block:] - full @ lean[:block]
            push[inner:] = change @ root[k]
            self.factor = compress(np.concatenate([move @ self.factor, push], axis=1))
            self.change = float(np.linalg.norm(self.gap - before))
        offset = steps.constant[k]
        drift = offset[block:] - full @ offset[:block]
        self.last = _Invariant(move, push, lean[:block], drift, offset[:block])
        return _block_kl(truth, gaps, leans, means, frames)

    def finish(self, world: Resolved, steps: int, frames: int) -> Finished:
        """`steps` more AR steps, all alike: `world` holds the one that repeats.

        Steps one by one until the Riccati recursion of Q has settled; from there on every step is
        the same affine map, and any number of them is summed by doubling.
        """
        drive = _drive(world)
        one = coefficients(world)
        total, left = 0.0, steps
        sensitivity, missed = 0.0, 0.0
        while left > 1 and not self._settled():
            count = min(_STEPS_AT_ONCE, left - 1)
            part = self._output(_repeated(one, count), _repeated(drive, count), self.stride)
            total += float(part.value.sum())
            sensitivity += float(part.sensitivity.sum())
            left -= count
        if left > 1:
            shift, own, missed = self._doubled(one, left - 1)
            total += shift
            sensitivity += own
        part = self._output(one, drive, frames)
        clip: BlockKL | None = None
        if not self.clip_lost:
            try:
                clip = self._clip(one, drive, steps)
            except (FloatingPointError, NotPositiveDefiniteError, np.linalg.LinAlgError):
                self.clip_lost = True
        total += float(part.value[0])
        return Finished(total, sensitivity + float(part.sensitivity[0]), clip, missed)

    def steady(self, world: Resolved) -> Steady:
        """The step that repeats for ever: its output KL and, where Q is stable, the clip KL.

        Raises `RefusedError` where the output KL of a step does not settle.
        """
        drive = _drive(world)
        one = coefficients(world)
        for _ in range(_PATIENCE // _STEPS_AT_ONCE):
            if self._settled():
                break
            self._output(
                _repeated(one, _STEPS_AT_ONCE), _repeated(drive, _STEPS_AT_ONCE), self.stride
            )
        assert self.last is not None
        far = reach(self.last.move)
        if not (self._settled() and np.isfinite(far)):
            raise RefusedError("the output KL of a step does not settle: there is no rate")
        _, _, missed = self._doubled(one, _FOREVER)
        part = self._output(one, drive, self.stride)
        clip = None
        if np.isfinite(reach(carried_map(one, drive))):
            clip = self._clip(one, drive, _FOREVER)
        value, own = float(part.value[0]), float(part.sensitivity[0])
        return Steady(value, own, missed / _FOREVER, clip)

    def _settled(self) -> bool:
        """Whether the covariance gap has reached its steady state to rounding."""
        size = float(np.linalg.norm(self.gap))
        if size == 0.0 and self.change in (0.0, np.inf):
            return self.last is not None
        return bool(self._ahead() <= settled_to(self._reach()) * size)

    def _reach(self) -> float:
        if self.last is None:
            return np.inf
        inner = self.last.move.shape[0] - self.mean.size
        return reach(self.last.move[inner:, inner:])

    def _ahead(self) -> float:
        """How far the gap may still move, spectral norm."""
        return self.change * self._reach() if self.change > 0.0 else 0.0

    def _doubled(self, one: Coefficients, steps: int) -> tuple[float, float, float]:
        """Sum of `steps` equal steps, its sensitivity and what was missed by not iterating."""
        assert self.last is not None
        block, last = self.stride, self.last
        truth = one.covariance[0, :block, :block]
        phi = one.transition[0, :block]
        gap = symmetrise(phi @ self.gap @ phi.T) + one.gap[0, :block, :block]
        nothing, none = np.zeros((1, block, 0)), np.zeros((1, block))
        spread = _block_kl(truth[None], gap[None], nothing, none, block)
        factor = cholesky(truth + gap, "covariance of Q")
        # (s, epsilon, 1): the mean is one more column of the factor, the constant one more row
        size = self.factor.shape[0]
        move = np.zeros((size + 1, size + 1))
        move[:size, :size], move[size, size] = last.move, 1.0
        move[size - self.mean.size : size, size] = last.drift
        push = np.concatenate([last.push, np.zeros((1, block))])
        seen = np.linalg.solve(factor, np.concatenate([last.lean, last.offset[:, None]], axis=1))
        start = np.zeros((size + 1, size + 1))
        start[:size, :size] = self.factor
        start[size - self.mean.size : size, size] = self.mean
        start[size, size] = 1.0
        run = repeated(move, push, seen, steps)
        shift = 0.5 * float(np.sum((run.seen @ start) ** 2) + np.sum((run.noticed @ push) ** 2))
        self.mean = (run.move @ start)[size - self.mean.size : size, size]
        here = run.move[:size, :size] @ self.factor
        self.factor = compress(np.concatenate([here, run.pushed[:size]], axis=1))
        value = steps * float(spread.value[0]) + shift
        least = float(np.linalg.eigvalsh(truth + gap)[0])
        off = self._ahead() * float(np.linalg.norm(phi, 2)) ** 2 / least
        ratio = np.linalg.solve(factor, np.linalg.solve(factor, gap).T)
        first = steps * (0.5 * float(np.linalg.norm(ratio)) * np.sqrt(block) * off + block * off**2)
        own = steps * float(spread.sensitivity[0]) + 4.0 * shift * _condition(truth + gap)
        return value, own, first + 2.0 * off * shift

    def _clip(self, steps: Coefficients, drive: Drive, times: int = 1) -> BlockKL:
        """Q's own law of what it carries, against P's, from step to step.

        With `times` the one step given is taken so many times, and the last one is compared.
        """
        block = self.stride
        count, size = steps.constant.shape
        known = steps.prediction @ drive.factor
        lean = steps.lean @ drive.factor
        cross = lean @ transpose(known)
        gap = steps.gap + cross + transpose(cross) + lean @ transpose(lean)
        beside = lean @ transpose(drive.factor[:, drive.states :])  # with the kept coordinates
        through = np.concatenate([steps.transition, steps.memory], axis=2)
        carried = size - block
        kept = drive.kept.shape[0]
        forward = onward(drive, size)
        if times > 1:
            self._leap(forward, through[0], gap[0], beside[0], steps.constant[0], times - 1)
        gaps, means = np.empty((count, block, block)), np.empty((count, block))
        joint, mean = np.empty((size + kept, size + kept)), np.empty(size + kept)
        for k in range(count):
            moved = through[k] @ self.clip_gap
            joint[:size, :size] = moved @ through[k].T + gap[k]
            joint[:size, size:] = moved[:, carried:] + beside[k]
            joint[size:, :size] = joint[:size, size:].T
            joint[size:, size:] = self.clip_gap[carried:, carried:]
            mean[:size] = through[k] @ self.clip_mean + steps.constant[k]
            mean[size:] = self.clip_mean[carried:]
            gaps[k], means[k] = joint[:block, :block], mean[:block]
            gap_now = forward @ joint @ forward.T
            self.clip_gap = 0.5 * (gap_now + gap_now.T)
            self.clip_mean = forward @ mean
        own = known[:, :block]
        truth = steps.covariance[:, :block, :block] + own @ transpose(own)
        return _block_kl(truth, gaps, np.zeros((count, block, 0)), means, block)

    def _leap(
        self,
        forward: np.ndarray,
        through: np.ndarray,
        gap: np.ndarray,
        beside: np.ndarray,
        constant: np.ndarray,
        steps: int,
    ) -> None:
        """Move Q's own law by `steps` equal steps, by doubling: D <- F D F' + J."""
        size = through.shape[0]
        kept = forward.shape[1] - size
        stacked = _stacked(through, kept)
        added = np.zeros((size + kept, size + kept))
        added[:size, :size], added[:size, size:], added[size:, :size] = gap, beside, beside.T
        shift = forward[:, :size] @ constant
        power, step = forward @ stacked, symmetrise(forward @ added @ forward.T)
        while steps:
            if steps % 2:
                self.clip_gap = symmetrise(power @ self.clip_gap @ power.T) + step
                self.clip_mean = power @ self.clip_mean + shift
            steps //= 2
            if steps:
                step = symmetrise(power @ step @ power.T) + step
                shift = power @ shift + shift
                power = power @ power


def onward(drive: Drive, size: int) -> np.ndarray:
    """What is carried next, (window frames, u), as a map of (output, u now)."""
    block, kept = drive.drive.shape[2], drive.kept.shape[0]
    carried = size - block
    out = np.zeros((carried + kept, size + kept))
    out[:carried, block:size] = np.eye(carried)
    out[carried:, :block] = drive.kept[:, kept:]
    out[carried:, size:] = drive.kept[:, :kept]
    return out


def _stacked(through: np.ndarray, kept: int) -> np.ndarray:
    """(output, u) as a map of what is carried, from that of the output alone."""
    still = np.eye(kept, through.shape[1], through.shape[1] - kept)
    return np.concatenate([through, still])


def carried_map(one: Coefficients, drive: Drive) -> np.ndarray:
    """Q's own map of what it carries, (window frames, u), over one AR step."""
    through = np.concatenate([one.transition, one.memory], axis=2)[0]
    return np.asarray(onward(drive, through.shape[0]) @ _stacked(through, drive.kept.shape[0]))


_STEPS_AT_ONCE = 32
_PATIENCE = 1 << 16  # steps to wait for a Riccati recursion to settle
_FOREVER = 1 << 50


@dataclass(frozen=True, eq=False)
class Steady:
    """Output KL of a step in the steady state, what bounds its error, and the clip KL."""

    output: float
    sensitivity: float
    missed: float
    clip: BlockKL | None


@dataclass(frozen=True, eq=False)
class Finished:
    """A sum over equal steps: output KL and its sensitivity, the last clip KL, and `missed`.

    `missed` bounds what taking Q's Riccati recursion as settled left out.
    """

    output: float
    sensitivity: float
    clip: BlockKL | None
    missed: float


@dataclass(frozen=True, eq=False)
class _Invariant:
    """The last step as a map of (s, epsilon): `move`, `push` e, `drift`; `lean` is seen of it."""

    move: np.ndarray
    push: np.ndarray
    lean: np.ndarray
    drift: np.ndarray
    offset: np.ndarray


@dataclass(frozen=True, eq=False)
class Run:
    r"""n equal steps x <- A x + B e, seen as C x before each.

    `move` $A^n$; `pushed` a factor of $\sum_{j<n} A^j BB'A'^j$; `seen` one of
    $W_n = \sum_{j<n} A'^j C'C A^j$, `noticed` one of $\sum_{m<n} W_m$: so
    $\sum E\|C x\|^2 = \|\text{seen}\,x_0\|^2 + \|\text{noticed}\,B\|^2$.
    """

    move: np.ndarray
    pushed: np.ndarray
    seen: np.ndarray
    noticed: np.ndarray
    steps: int

    def then(self, other: Run) -> Run:
        """This run and, after it, another of the same step."""
        return Run(
            other.move @ self.move,
            compress(np.concatenate([other.move @ self.pushed, other.pushed], axis=1)),
            _rows(self.seen, other.seen @ self.move),
            _rows(self.noticed, np.sqrt(other.steps) * self.seen, other.noticed @ self.move),
            self.steps + other.steps,
        )


def repeated(move: np.ndarray, push: np.ndarray, seen: np.ndarray, steps: int) -> Run:
    """`steps` equal steps, in log2(steps) products."""
    size = move.shape[0]
    power = Run(move, push, seen, np.zeros((0, size)), 1)
    run = Run(np.eye(size), np.zeros((size, 0)), np.zeros((0, size)), np.zeros((0, size)), 0)
    while steps:
        if steps % 2:
            run = run.then(power)
        steps //= 2
        if steps:
            power = power.then(power)
    return run


def _rows(*parts: np.ndarray) -> np.ndarray:
    """A matrix with the same W'W as the stacked parts, and at most as many rows as columns."""
    return transpose(compress(transpose(np.concatenate(parts))))


def _condition(covariance: np.ndarray) -> float:
    values = np.linalg.eigvalsh(covariance)
    return float(values[-1] / values[0])


def _repeated(item: Any, count: int) -> Any:
    """One step's arrays, `count` times."""
    arrays = {}
    for field in fields(item):
        value = getattr(item, field.name)
        if isinstance(value, np.ndarray) and value.ndim == 3:
            value = np.broadcast_to(value, (count, *value.shape[1:]))
        elif field.name == "constant":
            value = np.broadcast_to(value, (count, value.shape[1]))
        arrays[field.name] = value
    return type(item)(**arrays)


def _drive(world: Resolved) -> Drive:
    drive = world.truth.drive
    assert drive is not None, "the truth must be a Kalman law"
    return drive


def _reduced(gap: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """[-K, I] D [-K, I]'."""
    block = gain.shape[1]
    rest = gap[block:, :block] - gain @ gap[:block, :block]
    return np.asarray(gap[block:, block:] - gain @ gap[:block, block:] - rest @ gain.T)


@dataclass(frozen=True, eq=False)
class BlockKL:
    """KL of each step's frames `(K,)` nats, and what conditioning makes of a relative error.

    `sensitivity` times a small relative error of the covariances bounds the change in `value`.
    """

    value: np.ndarray
    sensitivity: np.ndarray


def _block_kl(
    truth: np.ndarray, gaps: np.ndarray, leans: np.ndarray, means: np.ndarray, frames: int
) -> BlockKL:
    """E_P KL(N(·, truth) || N(·, truth + gap)), the means apart by `means` + `leans` N(0, I)."""
    if frames < truth.shape[1]:  # of the last step only
        last = (truth[-1:, :frames, :frames], gaps[-1:, :frames, :frames], leans[-1:, :frames])
        parts = [
            _block_kl(truth[:-1], gaps[:-1], leans[:-1], means[:-1], truth.shape[1]),
            _block_kl(*last, means[-1:, :frames], frames),
        ]
        values, sensitivities = ([getattr(part, name) for part in parts] for name in _KL_FIELDS)
        return BlockKL(np.concatenate(values), np.concatenate(sensitivities))
    if not truth.shape[0]:
        return BlockKL(np.zeros(0), np.zeros(0))
    model = truth + gaps
    value = np.asarray(gaussian_kl(truth, model, -gaps, means))
    factor = cholesky(model, "covariance of Q")
    shift = 0.5 * np.sum(np.linalg.solve(factor, leans) ** 2, axis=(-2, -1))
    half = np.linalg.solve(factor, gaps)
    ratio = np.linalg.solve(factor, transpose(half))
    eigenvalues = np.linalg.eigvalsh(model)
    condition = eigenvalues[:, -1] / eigenvalues[:, 0]
    spread = np.sum(np.linalg.eigvalsh(symmetrise(ratio)) ** 2, axis=-1)
    return BlockKL(value + shift, condition * (spread + 2.0 * (value + shift)))


_KL_FIELDS = ("value", "sensitivity")
