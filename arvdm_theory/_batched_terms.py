r"""Theorem A's terms of a batch of worlds, all AR steps at once; see `batched`.

Everything here is generic in the array library, differentiable, and waits for no device. With η the
innovations of the finished frames at level δ, a window is $\mu + B\eta + N(0, S_P)$, the context
$\Gamma\eta$ and its own noise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

from arvdm_theory._arrays import solve_lower
from arvdm_theory._gaussian import EPS, half_excess, symmetrise, trace, transpose
from arvdm_theory.errors import NotPositiveDefiniteError

Array = Any


@dataclass(frozen=True)
class Space:
    """NumPy or torch, and the device."""

    xp: Any
    device: Any

    def array(self, value: Any) -> Array:
        """A constant, in double precision."""
        return self.xp.asarray(np.array(value, dtype=np.float64), device=self.device)

    def index(self, value: np.ndarray) -> Array:
        """Whole numbers, to index with."""
        return self.xp.asarray(value, device=self.device)

    def eye(self, size: int) -> Array:
        return self.xp.eye(size, dtype=self.xp.float64, device=self.device)

    def zeros(self, shape: tuple[int, ...]) -> Array:
        return self.xp.zeros(shape, dtype=self.xp.float64, device=self.device)


def constant(value: Array) -> Array:
    """The value without its history, for what no derivative passes through."""
    return value if is_numpy_array(value) else value.detach()


# --- linear algebra that neither waits for a device nor divides by gaps between eigenvalues -------


def _cholesky(matrix: Array, name: str) -> Array:
    """Lower Cholesky factor; where there is none NumPy raises, tensors are NaN."""
    xp = array_namespace(matrix)
    if is_numpy_array(matrix):
        try:
            return np.linalg.cholesky(matrix)
        except np.linalg.LinAlgError:
            smallest = np.linalg.eigvalsh(matrix)[..., 0]
            world = np.unravel_index(int(np.argmin(smallest)), smallest.shape)
            raise NotPositiveDefiniteError(
                name,
                "positive definite",
                f"smallest eigenvalue {smallest.min():.6g} at {tuple(map(int, world))}",
            ) from None
    factor, failed = xp.linalg.cholesky_ex(matrix)
    return xp.where((failed == 0)[..., None, None], factor, float("nan"))


def solve(matrix: Array, right: Array) -> Array:
    if is_numpy_array(matrix):
        return np.linalg.solve(matrix, right)
    return array_namespace(matrix).linalg.solve_ex(matrix, right)[0]


def _whitened(factor: Array, matrix: Array) -> Array:
    """L^{-1} M L^{-T} of a symmetric matrix."""
    return symmetrise(solve_lower(factor, transpose(solve_lower(factor, matrix))))


def _root(value: Array) -> Array:
    """Square root; at 0 with derivative 0 (of what stays 0: a level that does not move)."""
    xp = array_namespace(value)
    positive = value > 0.0
    return xp.where(positive, xp.sqrt(xp.where(positive, value, 1.0)), 0.0)


def _outer(left: Array, right: Array) -> Array:
    """u v' over the last axis: small beside what it scales, where levels are no batch."""
    return left[..., :, None] * right[..., None, :]


def _row_products(left: Array, right: Array) -> Array:
    """Σ_j A_ij B_ij."""
    if is_numpy_array(left):
        return np.vecdot(left, right)
    return array_namespace(left).sum(left * right, axis=-1)


def _pivots(matrix: Array, name: str) -> tuple[Array, Array]:
    r"""I + M = RR': R_ii² - 1, not by subtracting 1, and Σ_{j<i} R_ij²."""
    xp = array_namespace(matrix)
    eye = xp.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    factor = _cholesky(eye + matrix, name)
    lower = xp.tril(factor, k=-1)
    below = _row_products(lower, lower)
    return xp.linalg.diagonal(matrix) - below, below


def _excess(matrix: Array, name: str) -> Array:
    r"""$\tfrac12[\mathrm{tr} M - \log\det(I + M)]$, row by row, every share non-negative."""
    own, below = _pivots(matrix, name)
    return half_excess(own) + 0.5 * below


def _block(upper: Array, cross: Array, lower: Array) -> Array:
    """[[A, C'], [C, B]] of the same leading shape."""
    xp = array_namespace(upper)
    top = xp.concat([upper, transpose(cross)], axis=-1)
    return xp.concat([top, xp.concat([cross, lower], axis=-1)], axis=-2)


def broadcast(value: Array, leading: tuple[int, ...], trailing: int) -> Array:
    """`value` with these leading axes before its last `trailing` ones."""
    shape = (*leading, *value.shape[value.ndim - trailing :])
    return array_namespace(value).broadcast_to(value, shape)


# --- worlds --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class World:
    """Checked input. Per-coordinate arrays of levels have shape `(..., 1, w d)`: AR steps alike."""

    space: Space
    clean: Array  # (..., N d, N d)
    mean: Array | None  # (..., N d)
    times: list[Array]  # per sub-step level, M + 1
    delta: Array  # (...)
    t_max: Array  # (...)
    context_level: Array | None
    memory: Array | None
    scale: Array | None  # (..., 1, 1, 1)
    bias: Array | None  # (..., 1, w d)
    valid: Array  # (...), tensors only
    leading: tuple[int, ...]
    steps: int
    stride: int
    dim: int
    window: int
    reference: int
    alpha: list[Array] = field(init=False)
    variance: list[Array] = field(init=False)
    gamma: list[Array] = field(init=False)

    def __post_init__(self) -> None:
        xp = self.space.xp
        alpha = [xp.exp(-t) for t in self.times]
        variance = [-xp.expm1(-2.0 * t) for t in self.times]
        gamma = [a * a / v for a, v in zip(alpha, variance, strict=True)]
        for name, value in (("alpha", alpha), ("variance", variance), ("gamma", gamma)):
            object.__setattr__(self, name, value)

    @property
    def size(self) -> int:
        """Window coordinates, w d."""
        return self.window * self.dim

    @property
    def block(self) -> int:
        """Coordinates of the frames that a step finishes, Δ d."""
        return self.stride * self.dim

    @property
    def past(self) -> int:
        """Coordinates finished before the last step, (K - 1) Δ d."""
        return (self.steps - 1) * self.block

    @property
    def perturbed(self) -> bool:
        """Whether the denoiser is not the exact one."""
        return self.scale is not None or self.bias is not None

    @property
    def shifted(self) -> bool:
        """Whether the denoiser moves the mean."""
        return self.bias is not None or (self.scale is not None and self.mean is not None)

    def gap(self, first: int, last: int) -> Array:
        """Increase of γ between two levels; of one that does not move 0, not its rounding."""
        change = self.gamma[last] - self.gamma[first]
        return self.space.xp.where(change > 0.0, change, 0.0)

    def windows(self) -> np.ndarray:
        """Coordinates of each step's window, `(K, w d)`."""
        return np.arange(self.steps)[:, None] * self.block + np.arange(self.size)


# --- window laws ----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Laws:
    """Window laws of all steps; P are the coordinates of the past, q those of the context."""

    factor: Array  # Cholesky factor of the frames at level δ (..., N d, N d)
    given: Array  # S_P and S_R (2, ..., K, w d, w d)
    lost: Array  # S_R - S_P (..., K, w d, w d)
    prediction: Array  # B (..., K, w d, P)
    forgotten: Array  # what the context leaves of B (..., K, w d, P)
    explained: Array  # the rest's variances (..., K, w d)
    gain: Array  # regression of the window on the context (..., K, w d, q)
    rows: Array  # Γ (..., K, q, P)
    lift: Array  # the context as a map of finished frames (..., K, q, P)
    own: Array | None  # noise of the context (..., K, q)
    rounding: Array  # (..., K), of S_P
    slip: Array  # (..., K), of B_perp


def _window_laws(world: World) -> _Laws:
    space, xp = world.space, world.space.xp
    steps, size, past = world.steps, world.size, world.past
    clean, shrink = world.clean, xp.exp(-world.delta)[..., None, None]
    noise = -xp.expm1(-2.0 * world.delta)[..., None, None]
    noisy = shrink * shrink * clean + noise * space.eye(int(clean.shape[-1]))
    factor = _cholesky(noisy, "covariance at level t_min")
    windows = world.windows()
    index = space.index(windows)
    before = np.arange(past) < np.arange(steps)[:, None] * world.block
    loading = xp.take(factor[..., :past], xp.reshape(index, (-1,)), axis=-2)
    loading = xp.reshape(loading, (*factor.shape[:-2], steps, size, past))
    loading = loading * space.array(before)[:, None, :] / shrink[..., None]
    explained = loading @ transpose(loading)
    own = clean[..., index[:, :, None], index[:, None, :]]
    given_past = symmetrise(own - explained)
    lift, added = _context(world)
    slots = int(lift.shape[-2])
    rows = lift @ factor[..., None, :past, :past]
    basis, maps, weakest = _orthonormal(space, rows, added)
    target, wide = loading, basis
    if added is not None:
        target = xp.concat([loading, space.zeros((*loading.shape[:-1], slots))], axis=-1)
    along = target @ transpose(wide)
    residual = target - along @ wide
    residual = residual - (residual @ transpose(wide)) @ wide
    lost = residual @ transpose(residual)
    # as for `decompose`: a Schur complement loses (1 + |H|)^2 eps |C|, |H|^2 <= |explained|/noise
    norm = xp.sqrt(xp.sum(constant(clean) ** 2, axis=(-2, -1)))[..., None]
    relative = space.array(8.0 * EPS * (np.arange(steps) * world.block + size))
    spread = xp.sqrt(trace(constant(explained)) / constant(noise)[..., 0])
    rounding = relative * norm * (1.0 + spread) ** 2
    slip = relative * xp.sqrt(norm) * (1.0 + spread) * space.array(np.arange(steps) > 0)
    if slots and past:
        tilt = 8.0 * EPS * (past + slots) / weakest
        length = xp.sqrt(trace(constant(explained)))
        slip = slip + xp.where(tilt < 1.0, tilt, 1.0) * length
    return _Laws(
        factor=factor,
        given=xp.stack([broadcast(given_past, lost.shape[:-2], 2), given_past + lost], axis=0),
        lost=lost,
        prediction=loading,
        forgotten=residual[..., :past],
        explained=xp.sum(along * along, axis=-1),
        gain=along @ maps,
        rows=rows,
        lift=lift,
        own=added,
        rounding=rounding,
        slip=slip,
    )


def _context(world: World) -> tuple[Array, Array | None]:
    """The context as a map of finished frames `(..., K, q, P)`, and its own noise `(..., K, q)`.

    Reference slots oldest first, zero where there is none yet, then the memory: beside clean
    references what it adds to them, its lags beyond r.
    """
    space, xp, dim = world.space, world.space.xp, world.dim
    steps, frames, reference = world.steps, (world.steps - 1) * world.stride, world.reference
    finished = np.arange(steps) * world.stride
    slots = np.zeros((steps, reference, frames))
    for k in range(steps):
        for slot in range(max(reference - int(finished[k]), 0), reference):
            slots[k, slot, finished[k] - reference + slot] = 1.0
    seen = np.einsum("krf,ij->krifj", slots, np.eye(dim))
    lift = space.array(seen.reshape(steps, reference * dim, frames * dim))
    own = None
    if world.context_level is not None:
        step = (world.context_level - world.delta)[..., None, None]
        present = space.array(np.repeat(slots.sum(axis=2), dim, axis=1))
        lift = xp.exp(-step)[..., None] * lift
        own = xp.sqrt(-xp.expm1(-2.0 * step)) * present
    if world.memory is None:
        return lift, own
    weights = world.memory
    lags, numbers = int(weights.shape[-3]), int(weights.shape[-2])
    place = np.zeros((steps, frames, lags))
    for k in range(steps):
        for lag in range(min(lags, int(finished[k]))):
            if own is not None or lag >= reference:
                place[k, finished[k] - 1 - lag, lag] = 1.0
    flat = xp.reshape(weights, (*weights.shape[:-3], 1, lags, numbers * dim))
    outer = (*weights.shape[:-3], steps)
    maps = xp.reshape(space.array(place) @ flat, (*outer, frames, numbers, dim))
    axes = (*range(len(outer)), len(outer) + 1, len(outer), len(outer) + 2)
    maps = xp.reshape(xp.permute_dims(maps, axes), (*outer, numbers, frames * dim))
    leading = np.broadcast_shapes(lift.shape[:-2], maps.shape[:-2])
    lift = xp.concat([broadcast(item, leading, 2) for item in (lift, maps)], axis=-2)
    if own is not None:
        none = space.zeros((*own.shape[:-1], numbers))
        own = xp.concat([own, none], axis=-1)
    return lift, own


def _orthonormal(space: Space, rows: Array, own: Array | None) -> tuple[Array, Array, Array]:
    r"""Orthonormal rows of the span of (Γ, diag(own)), what makes them of Γ, and the weakest.

    Gram–Schmidt, each row projected twice, so that they are orthogonal to rounding. A row that the
    earlier ones determine to rounding tells nothing and is left out (0); where its rest may be more
    than rounding, `weakest` is that rest, in units of the row.
    """
    xp, slots = space.xp, int(rows.shape[-2])
    if own is not None:
        leading = np.broadcast_shapes(rows.shape[:-2], own.shape[:-1])
        diagonal = own[..., :, None] * space.eye(slots)
        rows = xp.concat([broadcast(item, leading, 2) for item in (rows, diagonal)], axis=-1)
    size = int(rows.shape[-1])
    weakest = space.array(np.ones(1))
    basis = rows[..., :0, :]
    maps = space.zeros((*rows.shape[:-2], 0, slots))
    if not slots or not size:
        return basis, maps, weakest
    length = xp.sqrt(xp.sum(constant(rows) ** 2, axis=-1, keepdims=True))
    length = xp.where(length > 0.0, length, 1.0)
    unit, still = rows / length, space.eye(slots) / length
    floor = 64.0 * EPS * max(slots, size)
    doubt = 8.0 * EPS * float(np.sqrt(size))
    for i in range(slots):
        row, made = unit[..., i : i + 1, :], still[..., i : i + 1, :]
        for _ in range(2 if i else 0):
            along = row @ transpose(basis)
            row, made = row - along @ basis, made - along @ maps
        square = xp.sum(row * row, axis=-1, keepdims=True)
        kept = square > floor**2
        inverse = xp.where(kept, 1.0 / xp.sqrt(xp.where(kept, square, 1.0)), 0.0)
        basis = xp.concat([basis, row * inverse], axis=-2)
        maps = xp.concat([maps, made * inverse], axis=-2)
        rest = xp.sqrt(constant(square))[..., 0, 0]
        rest = xp.where(rest > doubt, rest, 1.0)
        weakest = xp.where(rest < weakest, rest, weakest)
    return basis, maps, weakest


# --- Theorem A's terms ----------------------------------------------------------------------------


def terms(world: World) -> tuple[dict[str, Array], dict[str, Array]]:
    """Every term per AR step `(..., K)` in nats, and error bounds of the totals `(...)`."""
    xp = world.space.xp
    laws = _window_laws(world)
    nie = _noise_initialisation_error(world, laws)
    steps = _ar_steps(world, laws)
    gap, mean = _propagated(world, laws, steps)
    output, clip, sensitivity = _divergences(world, laws, gap, mean)
    found = {"nie": nie, "see": steps.see, "de": steps.de, "mb": steps.mb}
    found |= {"output": output, "clip": clip}
    values = {name: broadcast(item, world.leading, 1) for name, item in found.items()}
    bounds = error_bounds(world, laws, steps, values, sensitivity)
    bounds = {name: xp.broadcast_to(item, world.leading) for name, item in bounds.items()}
    if not is_numpy_array(world.valid):  # impossible levels, or a matrix without a factor
        known = [xp.all(xp.isfinite(constant(item)), axis=-1) for item in values.values()]
        valid = (world.valid & xp.all(xp.stack(known, axis=0), axis=0))[..., None]
        values = {name: xp.where(valid, item, float("nan")) for name, item in values.items()}
    return values, bounds


def _noise_initialisation_error(world: World, laws: _Laws) -> Array:
    r"""$NIE_k = E\,KL(P(X^T_{fresh} \mid \text{everything before}) \,\|\, N(0, I))$."""
    space, xp = world.space, world.space.xp
    kept = world.size - world.block
    decay = xp.exp(-2.0 * world.t_max)[..., None]
    prior = laws.given[0]
    entering = prior[..., kept:, kept:]
    known = xp.sum(laws.prediction[..., kept:, :] ** 2, axis=(-2, -1))
    if world.mean is not None:
        mean = world.mean[..., space.index(world.windows()[:, kept:])]
        known = known + xp.sum(mean * mean, axis=-1)
    if kept:
        root = xp.sqrt(world.gamma[0][..., :kept])
        scaled = _outer(root, root) * prior[..., :kept, :kept]
        factor = _cholesky(space.eye(kept) + scaled, "I + G^{1/2} S G^{1/2}")
        seen = solve_lower(factor, root[..., :, None] * prior[..., :kept, kept:])
        explained = transpose(seen) @ seen
        entering = entering - explained
        known = known + trace(explained)
    excess = decay[..., None, None] * (entering - space.eye(world.block))
    excess = symmetrise(excess)
    return xp.sum(_excess(excess, "entering noise"), axis=-1) + 0.5 * decay * known


def _memory_bottleneck(world: World, known: Array, more: Array) -> Array:
    r"""$MB_k = I(\text{Output}_k; \text{Past}_k \mid \text{Input}_k)$.

    $\tfrac12\log\det(I + (\Delta G^{-1} + V_P)^{-1} (V_R - V_P))$, with `known` $V_P$ and `more`
    $V_R - V_P$ the posterior covariances at the input levels: zero iff nothing is forgotten.
    """
    increase = _root(world.gap(0, -1))
    outer = _outer(increase, increase)
    eye = world.space.eye(world.size)
    factor = _cholesky(eye + outer * known, "I + scaled posterior covariance")
    told = _whitened(factor, outer * more)
    own, _ = _pivots(told, "I + what Output tells of the past")
    return 0.5 * world.space.xp.sum(world.space.xp.log1p(own), axis=-1)


def _posterior(space: Space, prior: Array, gamma: Array) -> Array:
    """(S^{-1} + G)^{-1} without inverting S."""
    root = space.xp.sqrt(gamma)
    outer = _outer(root, root)
    scaled = outer * prior
    return solve(space.eye(int(prior.shape[-1])) + scaled, scaled) / outer


@dataclass(frozen=True, eq=False)
class _Steps:
    """SEE, DE and MB; the AR steps of Q, as they are and against P (see `_ar_steps`)."""

    see: Array  # (..., K)
    de: Array
    mb: Array
    transition: Array  # Φ (..., K, w d, w d)
    seen: Array  # C (..., K, w d, q)
    offset: Array | None  # (..., K, w d)
    lean: Array  # (..., K, w d, P)
    spread: Array  # (..., K, w d, w d)
    slack: Array  # (..., K): SEE that rounding of the window laws could cause
    reach: Array  # (..., K): what a change of S_R does to DE
    growth: Array  # (...): largest squared norm of a sub-step's linear map


def _ar_steps(world: World, laws: _Laws) -> _Steps:
    r"""SEE, DE, MB, and every AR step of Q composed of its sub-steps.

    Q: Output = Φ Input + C c + f + N(0, Ψ). Applied to what P knows of its input given the past,
    Q's step gives P's prediction of the output plus `lean` η, and P's covariance plus `spread`:
    both zero without error, neither a difference of two laws.
    """
    space, xp = world.space, world.space.xp
    eye, ones = space.eye(world.size), space.array(np.ones(world.size))
    wrong = None if world.scale is None else world.scale - 1.0
    shift = _shift(world)
    slip, eta = 2.0 * laws.slip, 2.0 * _forgotten_doubt(laws)
    prior = laws.given[0]
    see, de, slack, reach = (space.zeros((world.steps,)) for _ in range(4))
    growth = space.array(np.ones(()))
    through, lost, spread = eye, None, None
    off, offset = None, None
    for n in range(len(world.times) - 1):
        alpha, variance, gamma = world.alpha[n], world.variance[n], world.gamma[n]
        gap = world.gap(n, n + 1)
        a, b = _bridge(world, n)
        posterior = _posterior(space, laws.given, gamma)
        keep = eye - _outer(ones, gamma) * posterior  # (I + S G)^{-1}
        known, best = posterior[0], posterior[1]
        root = _root(gap)
        ratio = _outer(root, root) * best
        de = de + xp.sum(_excess(ratio, "I + scaled posterior covariance"), axis=-1)
        # V_R - V_P = (I + S_P G)^{-1} (S_R - S_P) (I + G S_R)^{-1}
        more = keep[0] @ laws.lost @ transpose(keep[1])
        if not n:
            mb = _memory_bottleneck(world, known, more)
        error, estimate = more, best
        if wrong is not None:
            # variances of m: what the context tells, and S G V of what the window does
            told = laws.explained + _row_products(_outer(ones, gamma) * laws.given[1], best)
            see = see + 0.5 * xp.sum(gap * wrong[..., 0] ** 2 * told, axis=-1)
            error, estimate = error + wrong * best, world.scale * best
        if shift is not None:
            see = see + 0.5 * xp.sum(gap * shift * shift, axis=-1)
        signal = _outer(b, gamma / alpha)
        move, change = a[..., :, None] * eye + signal * estimate, signal * error
        # Cov_P(input | past), and the same times the transpose of P's own map and half the change
        state = _outer(alpha, alpha) * prior + variance[..., :, None] * eye
        onto = _outer(alpha, world.alpha[n + 1]) * prior + (variance * a)[..., :, None] * eye
        cross = change @ (onto + 0.5 * transpose(change @ state))
        added = cross + transpose(cross) - _outer(b, b) * known
        through = move @ through if n else move
        lost = _carried(move, lost, -b[..., :, None] * keep[1])
        if wrong is not None:
            off = _carried(move, off, _outer(b, gamma) * (wrong * best))
        if shift is not None:
            offset = _carried(move, offset, (b * shift)[..., :, None])
        spread = added if spread is None else symmetrise(move @ spread @ transpose(move)) + added
        moved, weight = _doubt(keep[1], gap, gamma)
        reach, slack = reach + moved, slack + moved * (eta**2 * weight + slip**2)
        step = xp.max(xp.sum(constant(move) ** 2, axis=(-2, -1)), axis=-1)
        growth = xp.where(step > growth, step, growth)
    assert lost is not None and spread is not None
    # what Q takes in of the context, of which `lost` is what the gain leaves out
    seen = -lost @ laws.gain
    lean = lost @ laws.forgotten
    if off is not None:
        lean = lean + off @ laws.prediction + wrong * seen @ laws.rows
        seen = world.scale * seen
    if laws.own is not None:
        noise = seen * laws.own[..., None, :]
        spread = spread + noise @ transpose(noise)
    if offset is not None:
        offset = broadcast(offset, (*offset.shape[:-3], world.steps), 2)[..., 0]
    return _Steps(see, de, mb, through, seen, offset, lean, spread, slack, reach, growth)


def _doubt(keep: Array, gap: Array, gamma: Array) -> tuple[Array, Array]:
    """½ tr(ΔG T T') and ‖G T‖, T = (I + S G)^{-1}: what a change of S does to a sub-step."""
    xp = array_namespace(keep)
    rows = _row_products(constant(keep), constant(keep))
    moved = 0.5 * xp.sum(constant(gap) * rows, axis=-1)
    return moved, xp.sqrt(xp.sum(constant(gamma) ** 2 * rows, axis=-1))


def _carried(move: Array, before: Array | None, added: Array) -> Array:
    """What a sub-step adds to what earlier ones did."""
    return added if before is None else move @ before + added


def _shift(world: World) -> Array | None:
    """What the denoiser adds to its scaled deviation from the mean, `(..., K or 1, w d)`."""
    if not world.shifted:
        return None
    shift = 0.0 if world.bias is None else world.bias
    if world.scale is not None and world.mean is not None:
        mean = world.mean[..., world.space.index(world.windows())]
        shift = shift + (world.scale[..., 0] - 1.0) * mean
    return shift


def _bridge(world: World, n: int) -> tuple[Array, Array]:
    """a and b of the OU bridge of sub-step n; 1 and 0 for a level that does not move."""
    xp = world.space.xp
    start, end = world.times[n], world.times[n + 1]
    step = start - end
    a = xp.exp(-step) * world.variance[n + 1] / world.variance[n]
    return a, xp.exp(-end) * -xp.expm1(-2.0 * step) / world.variance[n]


def _propagated(world: World, laws: _Laws, steps: _Steps) -> tuple[Array, Array | None]:
    r"""Q's law of the finished frames minus P's: covariance `(..., K Δ d, K Δ d)` and mean.

    Never a difference of the two: it starts at 0 and is driven by the entering noise, which in the
    model is independent and standard, and by `lean` and `spread`.
    """
    space, xp = world.space, world.space.xp
    size, block, held = world.size, world.block, world.size - world.block
    fresh = xp.exp(-world.t_max)[..., None, None]
    factor = laws.factor[..., None, : world.past, : world.past]
    beside = steps.lean @ transpose(factor)  # covariance with the finished frames
    out = world.alpha[-1][..., :, None] * laws.prediction
    own = (out + 0.5 * steps.lean) @ transpose(steps.lean)
    own = own + transpose(own) + steps.spread
    through = steps.seen @ laws.lift
    leading = np.broadcast_shapes(world.leading, own.shape[:-3])
    shrink, into = world.alpha[-1][..., 0, :1], world.alpha[0][..., 0, :held]
    gap = space.zeros((*leading, held, held))
    shifted = world.mean is not None or world.shifted
    mean = space.zeros((*leading, held)) if shifted else None
    for k in range(world.steps):
        past = k * block
        end = past + size
        levels = xp.concat([xp.broadcast_to(shrink, (*shrink.shape[:-1], past)), into], axis=-1)
        cross = -fresh * world.clean[..., end - block : end, : end - block] * levels[..., None, :]
        start = (
            fresh
            * fresh
            * (space.eye(block) - world.clean[..., end - block : end, end - block : end])
        )
        gap = _block(gap, broadcast(cross, leading, 2), broadcast(start, leading, 2))
        maps = xp.concat([through[..., k, :, :past], steps.transition[..., k, :, :]], axis=-1)
        row = maps @ gap
        now = symmetrise(row @ transpose(maps)) + own[..., k, :, :]
        before = row[..., :past] + beside[..., k, :, :past]
        gap = _block(
            gap[..., :past, :past], broadcast(before, leading, 2), broadcast(now, leading, 2)
        )
        if mean is None:
            continue
        entering = space.zeros((*leading, block))
        if world.mean is not None:
            entering = entering - fresh[..., 0] * world.mean[..., end - block : end]
        mean = xp.concat([mean, entering], axis=-1)
        moved = (maps @ mean[..., None])[..., 0]
        if steps.offset is not None:
            moved = moved + steps.offset[..., k, :]
        mean = xp.concat([mean[..., :past], moved], axis=-1)
    done = world.steps * block
    return gap[..., :done, :done], None if mean is None else mean[..., :done]


def _divergences(
    world: World, laws: _Laws, gap: Array, mean: Array | None
) -> tuple[Array, Array, dict[str, Array]]:
    """Output KL by the chain rule over AR steps, clip KL of every step, and their sensitivities."""
    space, xp = world.space, world.space.xp
    done, steps, block = world.steps * world.block, world.steps, world.block
    truth = laws.factor[..., :done, :done]
    rows, sensitivity = _gaussian_kl(space, truth, gap, mean)
    output = xp.sum(xp.reshape(rows, (*rows.shape[:-1], steps, block)), axis=-1)
    index = space.index(np.arange(steps)[:, None] * block + np.arange(block))
    across = (..., index[:, :, None], index[:, None, :])
    own = truth @ transpose(truth)
    factor = _cholesky(own[across], "covariance of the truth's frames")
    shift = None if mean is None else mean[..., index]
    clip, last = _gaussian_kl(space, factor, gap[across], shift)
    return output, xp.sum(clip, axis=-1), {"output": sensitivity, "clip": last[..., -1]}


def _gaussian_kl(space: Space, truth: Array, gap: Array, mean: Array | None) -> tuple[Array, Array]:
    r"""KL(N(0, LL') ‖ N(m, LL' + D)) row by row (the chain rule), and what magnifies rounding.

    From $M = -L_Q^{-1} D L_Q^{-T}$; where P is far narrower than Q in some direction, $1 + M$ is
    taken as $L_Q^{-1} L$ squared.
    """
    xp = space.xp
    model = truth @ transpose(truth) + gap
    factor = _cholesky(symmetrise(model), "covariance of the generated frames")
    size = int(gap.shape[-1])
    sides = [gap, truth, space.eye(size)]
    if mean is not None:
        sides.append(mean[..., None])
    leading = np.broadcast_shapes(*(side.shape[:-2] for side in sides))
    solved = solve_lower(
        factor, xp.concat([broadcast(side, leading, 2) for side in sides], axis=-1)
    )
    across, inverse = solved[..., size : 2 * size], solved[..., 2 * size : 3 * size]
    ratio = -symmetrise(solve_lower(factor, transpose(solved[..., :size])))
    straight = xp.linalg.diagonal(across)
    narrow = xp.any(straight * straight < 0.1, axis=-1, keepdims=True)
    safe = xp.where(narrow[..., None], 0.0, ratio)
    close = _excess(safe, "ratio of the laws of the frames")
    straight = xp.where(narrow, straight, 1.0)
    wide = 0.5 * (xp.sum(across * across, axis=-1) - 1.0) - xp.log(straight)
    rows = xp.where(narrow, wide, close)
    if mean is not None:
        rows = rows + 0.5 * solved[..., -1] ** 2
    norms = [xp.sum(constant(item) ** 2, axis=(-2, -1)) for item in (factor, inverse)]
    fixed = constant(ratio)
    total = xp.sum(constant(rows), axis=-1)
    return rows, norms[0] * norms[1] * (xp.sum(fixed * fixed, axis=(-2, -1)) + 2.0 * total)


def _forgotten_doubt(laws: _Laws) -> Array:
    """What S_R is known up to: η + 2 ‖B_perp‖ s + s²."""
    xp = array_namespace(laws.lost)
    length = xp.sqrt(trace(constant(laws.lost)))
    return laws.rounding + 2.0 * length * laws.slip + laws.slip**2


def error_bounds(
    world: World,
    laws: _Laws,
    steps: _Steps,
    values: dict[str, Array],
    sensitivity: dict[str, Array],
) -> dict[str, Array]:
    """First order in machine precision: the bounds of `decompose`, Frobenius for spectral norms."""
    space, xp = world.space, world.space.xp
    total = {name: xp.sum(constant(item), axis=-1) for name, item in values.items()}
    gamma = constant(world.gamma[-1])
    posterior = _posterior(space, constant(laws.given[0]), gamma)
    # tr W = tr G (I - V G) of S_P, which is more than that of S_R
    gained = xp.sum(gamma * (1.0 - xp.linalg.diagonal(posterior) * gamma), axis=-1)
    eta = 2.0 * _forgotten_doubt(laws)
    de = eta * (steps.reach + 0.5 * gained)
    decay = xp.exp(-2.0 * constant(world.t_max))[..., None]
    entering = decay * world.block * laws.rounding
    few = 64.0 * EPS
    nie = xp.sum(entering, axis=-1) + few * total["nie"]
    length = xp.sqrt(trace(constant(laws.lost)))
    mb = gained * (length * laws.slip + laws.slip**2)
    strongest = xp.max(gamma, axis=-1)
    mb = mb + (2.0 * strongest * laws.rounding + few) * constant(values["mb"])
    bounds = {
        "nie": nie,
        "mb": xp.sum(mb, axis=-1),
        "de": xp.sum(de, axis=-1) + few * total["de"],
    }
    slack = xp.sum(steps.slack, axis=-1)
    see = xp.sum(2.0 * _root(constant(values["see"]) * steps.slack), axis=-1)
    see = see + few * total["see"]
    if world.perturbed:
        see = see + slack + few * steps.growth * (total["see"] + total["de"])
    bounds["see"] = see
    bounds["chain"] = sum(bounds[name] for name in ("nie", "see", "de", "mb"))
    drift = slack + xp.sum((2.0 * de + entering) ** 2, axis=-1)
    kernels = len(world.times) - 1 + world.size
    for name, value in (("output", total["output"]), ("clip", constant(values["clip"])[..., -1])):
        own = 8.0 * EPS * kernels * steps.growth * sensitivity[name]
        bounds[name] = 2.0 * _root(value * drift) + drift + own
    return bounds
