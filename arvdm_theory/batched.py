r"""Theorem A for many worlds in one call, with gradients.

Everything numeric may carry leading axes, which broadcast, and may be a torch tensor that requires
grad: the process (`autoregressive_covariance`, `state_space_covariance`, or any covariance of clean
frames), levels and sub-step grids (`level_grid`), memory maps, and a denoiser's scale and bias.
NumPy in, NumPy out; torch in, torch out, on the same device, which nothing here waits for: where a
value is out of range or a matrix has no Cholesky factor, NumPy input raises and that world of a
batch of tensors is NaN. All numbers are computed in double precision; others are converted.

The sampler is ancestral and the first window exact; for everything else see
[`decompose`][arvdm_theory.decomposition.decompose]. With η the innovations of the finished frames
at level δ (the past), a window is $\mu + B\eta + N(0, S_P)$ and the context knows $\Gamma\eta$.
All AR steps are computed at once, and all matrix functions by Cholesky factors: no eigenvectors,
whose derivatives do not exist where eigenvalues meet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_numpy_array, is_torch_array

from arvdm_theory import noise
from arvdm_theory._arrays import common_shape
from arvdm_theory._batched_terms import Space, World, broadcast, constant, solve, terms
from arvdm_theory._gaussian import EPS, symmetrise, trace, transpose
from arvdm_theory.checks import finite_array, positive_integer
from arvdm_theory.errors import (
    BoundaryError,
    CircularityError,
    MonotonicityError,
    NotPositiveDefiniteError,
    ParameterError,
    UnstableError,
)

__all__ = [
    "BatchDecomposition",
    "autoregressive_covariance",
    "decompose_batch",
    "level_grid",
    "state_space_covariance",
]

Array = Any

_LONGEST = 300.0  # OU time, as for a `Schedule`
_ROUNDING = 1e-12  # relative difference below which two given levels are the same level


# --- arrays of one library ------------------------------------------------------------------------


def _converted(**values: Any) -> tuple[Space, dict[str, Array]]:
    """The given values (all but `None`) as double precision arrays of one library and device."""
    tensors = {name: item for name, item in values.items() if is_torch_array(item)}
    if not tensors:
        space = Space(array_namespace(np.zeros(0)), "cpu")
        return space, {
            name: finite_array(name, item) for name, item in values.items() if item is not None
        }
    first_name, first = next(iter(tensors.items()))
    space = Space(array_namespace(first), first.device)
    found = {}
    for name, item in values.items():
        if item is None:
            continue
        if name not in tensors:
            found[name] = space.array(finite_array(name, item))
            continue
        if item.device != space.device:
            raise ParameterError(name, f"on the device of {first_name}", item.device)
        if not space.xp.isdtype(item.dtype, ("real floating", "integral")):
            raise ParameterError(name, "of real numbers", item.dtype)
        found[name] = space.xp.astype(item, space.xp.float64, copy=False)
    return space, found


def _check_trailing(name: str, array: Array, axes: int, wanted: str) -> None:
    if array.ndim < axes:
        raise ParameterError(name, wanted, f"shape {tuple(array.shape)}")


# --- processes ------------------------------------------------------------------------------------


def autoregressive_covariance(
    coefficients: Array, noise_covariance: Array, frames: int, *, dim: int = 1
) -> Array:
    r"""Covariance of `frames` clean frames of stationary $X_k = \sum_i A_i X_{k-i} + N(0, \Sigma)$.

    Arguments
    ---------
    coefficients: `(..., p, d, d)`, of d = `dim` numbers a frame; `(..., p)` for `dim` 1.
    noise_covariance: Σ, `(..., d, d)`; `(...)` for `dim` 1.

    Returns `(..., frames d, frames d)`, frame by frame; leading axes broadcast, differentiable.

    Raises `UnstableError` where there is no stationary law (tensors: NaN), `ParameterError`.

    >>> autoregressive_covariance([[0.5], [0.8]], 0.75, 2)[0].round(6).tolist()
    [[1.0, 0.5], [0.5, 1.0]]
    """
    dim, frames = positive_integer("dim", dim), positive_integer("frames", frames)
    space, given = _converted(coefficients=coefficients, noise_covariance=noise_covariance)
    move, own = given["coefficients"], given["noise_covariance"]
    if dim == 1:
        _check_trailing("coefficients", move, 1, "of shape (..., p)")
        move, own = move[..., None, None], own[..., None, None]
    square = (dim, dim)
    if move.ndim < 3 or tuple(move.shape[-2:]) != square or move.shape[-3] == 0:
        raise ParameterError("coefficients", f"of shape (..., p, {dim}, {dim})", move.shape)
    if tuple(own.shape[-2:]) != square:
        raise ParameterError("noise_covariance", f"of shape (..., {dim}, {dim})", own.shape)
    order, xp = int(move.shape[-3]), space.xp
    common_shape(
        {"coefficients": 3, "noise_covariance": 2}, coefficients=move, noise_covariance=own
    )
    leading = tuple(move.shape[:-3])
    top = xp.concat([move[..., i, :, :] for i in range(order)], axis=-1)
    shift = broadcast(space.array(np.eye((order - 1) * dim, order * dim)), leading, 2)
    put = space.array(np.eye(order * dim, dim))
    return _joint_covariance(
        space,
        xp.concat([top, shift], axis=-2),
        transpose(put),
        put @ symmetrise(own) @ transpose(put),
        None,
        None,
        frames,
    )


def state_space_covariance(
    transition: Array,
    emission: Array,
    state_noise: Array,
    emission_noise: Array,
    frames: int,
    *,
    initial: Array | None = None,
) -> Array:
    r"""Covariance of `frames` clean frames $X_k = C s_k + N(0, R)$, $s_{k+1} = A s_k + N(0, Q)$.

    Arguments: `transition` A `(..., n, n)`; `emission` C `(..., d, n)`; `state_noise` Q
    `(..., n, n)`; `emission_noise` R `(..., d, d)`; `initial` covariance of the first state
    `(..., n, n)`, the stationary one if not given. Returns `(..., frames d, frames d)`.

    Raises as `autoregressive_covariance`.

    >>> state_space_covariance([[0.5]], [[2.0]], [[0.75]], [[0.1]], 2).round(6).tolist()
    [[4.1, 2.0], [2.0, 4.1]]
    """
    frames = positive_integer("frames", frames)
    space, given = _converted(
        transition=transition,
        emission=emission,
        state_noise=state_noise,
        emission_noise=emission_noise,
        initial=initial,
    )
    for name, array in given.items():
        _check_trailing(name, array, 2, "a matrix, or a batch of them")
    dim, states = (int(size) for size in given["emission"].shape[-2:])
    for name, size in (
        ("transition", states),
        ("state_noise", states),
        ("emission_noise", dim),
        ("initial", states),
    ):
        if name in given and tuple(given[name].shape[-2:]) != (size, size):
            raise ParameterError(name, f"of shape (..., {size}, {size})", given[name].shape)
    common_shape(dict.fromkeys(given, 2), **given)
    return _joint_covariance(
        space,
        given["transition"],
        given["emission"],
        symmetrise(given["state_noise"]),
        symmetrise(given["emission_noise"]),
        None if initial is None else symmetrise(given["initial"]),
        frames,
    )


def _joint_covariance(
    space: Space,
    move: Array,
    emission: Array,
    process: Array,
    own: Array | None,
    initial: Array | None,
    frames: int,
) -> Array:
    """Column of blocks after column: Cov(X_i, X_j) = C A^{i-j} P_j C', i ≥ j."""
    xp = space.xp
    state = _stationary(space, move, process) if initial is None else initial
    dim = int(emission.shape[-2])
    ahead, reach = [emission], emission
    for _ in range(frames - 1):
        reach = reach @ move
        ahead.append(reach)
    leading = np.broadcast_shapes(state.shape[:-2], reach.shape[:-2])
    if own is not None:
        leading = np.broadcast_shapes(leading, own.shape[:-2])
    below = xp.concat([broadcast(item, leading, 2) for item in ahead], axis=-2)
    columns = []
    for j in range(frames):
        column = below[..., : (frames - j) * dim, :] @ (state @ transpose(emission))
        first = symmetrise(column[..., :dim, :])
        if own is not None:
            first = first + own
        above = space.zeros((*leading, j * dim, dim))
        rest = broadcast(column[..., dim:, :], leading, 2)
        columns.append(xp.concat([above, 0.5 * broadcast(first, leading, 2), rest], axis=-2))
        if initial is not None:
            state = symmetrise(move @ state @ transpose(move) + process)
    lower = xp.concat(columns, axis=-1)
    return lower + transpose(lower)


def _stationary(space: Space, move: Array, process: Array) -> Array:
    """P = A P A' + Q; where A is not stable NumPy raises, tensors are NaN."""
    xp, size = space.xp, int(move.shape[-1])
    leading = np.broadcast_shapes(move.shape[:-2], process.shape[:-2])
    twice = move[..., :, None, :, None] * move[..., None, :, None, :]
    system = space.eye(size**2) - xp.reshape(twice, (*move.shape[:-2], size**2, size**2))
    right = xp.reshape(broadcast(process, leading, 2), (*leading, size**2, 1))
    if is_numpy_array(move):
        radius = np.abs(np.linalg.eigvals(move)).max(axis=-1)
        if np.any(radius >= 1.0):
            raise UnstableError(
                "coefficients or transition",
                "stable (spectral radius below 1) to have a stationary law",
                f"spectral radius {radius.max():.6g}",
            )
    state = symmetrise(xp.reshape(solve(system, right), (*leading, size, size)))
    if not is_numpy_array(move):
        # a solution that is positive semi-definite belongs to a stable map
        slack = 1e-12 * trace(xp.abs(constant(state)))[..., None, None] * space.eye(size)
        _, failed = xp.linalg.cholesky_ex(constant(state) + slack)
        state = xp.where((failed == 0)[..., None, None], state, float("nan"))
    return state


# --- levels ---------------------------------------------------------------------------------------


def level_grid(
    input_levels: Array,
    t_min: Array,
    *,
    stride: int,
    substeps: int | None = None,
    inner: Array | None = None,
) -> Array:
    r"""Sub-step levels $t_{j,n}$ of a ladder, `(..., M + 1, w)` OU times, differentiable.

    The output levels follow from circularity (D1): frame j + Δ leaves at the level at which frame j
    enters, the first Δ leave at δ.

    Arguments
    ---------
    input_levels: `(..., w)`; the last `stride` are T, of which the last one carries the derivative.
    t_min: δ, `(...)`.
    substeps: M, levels linear in log-SNR; or inner: the levels between, `(..., M - 1, w)`.

    Raises `BoundaryError`, `MonotonicityError` (tensors: NaN, here or in `decompose_batch`),
    `ParameterError`.

    >>> level_grid([0.5, 1.0], 0.1, stride=1, substeps=2).round(3).tolist()
    [[0.5, 1.0], [0.24, 0.731], [0.1, 0.5]]
    """
    stride = positive_integer("stride", stride)
    space, given = _converted(input_levels=input_levels, t_min=t_min, inner=inner)
    xp, start, delta = space.xp, given["input_levels"], given["t_min"]
    _check_trailing("input_levels", start, 1, "of shape (..., window)")
    window = int(start.shape[-1])
    if stride > window:
        raise ParameterError("stride", f"in 1..window ({window})", stride)
    if (substeps is None) == (inner is None):
        raise ParameterError("substeps", "given, or inner, but not both", substeps)
    leading = common_shape({"input_levels": 1}, input_levels=start, t_min=delta)
    start = xp.broadcast_to(start, (*leading, window))
    kept = start[..., : window - stride]
    entering = xp.broadcast_to(start[..., -1:], (*leading, stride))
    one = xp.abs(start[..., window - stride :] - entering) <= _ROUNDING * xp.abs(entering)
    if not is_numpy_array(start):
        entering = xp.where(one, entering, float("nan"))
    elif not np.all(one):
        wanted = f"T for the last {stride} (entering frames, D1)"
        raise BoundaryError("input_levels", wanted, input_levels)
    start = xp.concat([kept, entering], axis=-1)
    clean = xp.broadcast_to(xp.broadcast_to(delta, leading)[..., None], (*leading, stride))
    end = xp.concat([clean, kept], axis=-1)
    if inner is not None:
        between = given["inner"]
        if between.ndim < 2 or between.shape[-1] != window:
            raise ParameterError("inner", f"of shape (..., M - 1, {window})", between.shape)
        leading = common_shape({"input_levels": 1, "inner": 2}, input_levels=start, inner=between)
        parts = [broadcast(item, leading, 1)[..., None, :] for item in (start, end)]
        return xp.concat([parts[0], broadcast(between, leading, 2), parts[1]], axis=-2)
    count = positive_integer("substeps", substeps)
    if is_numpy_array(start) and not np.all((end > 0.0) & (end <= start * (1.0 + _ROUNDING))):
        raise MonotonicityError("input_levels", "a positive ladder above t_min", input_levels)
    share = space.array(np.arange(1, count) / count)[:, None]
    ends = [noise.log_snr(level)[..., None, :] for level in (start, end)]
    t = noise.time_from_log_snr((1.0 - share) * ends[0] + share * ends[1])
    t = xp.where((start == end)[..., None, :], start[..., None, :], t)
    return xp.concat([start[..., None, :], t, end[..., None, :]], axis=-2)


def _tied(grid: Array, stride: int) -> tuple[Array, dict[str, Array]]:
    """The grid with the levels that D1 makes equal the same numbers; which grids satisfy D1."""
    xp, window = array_namespace(grid), int(grid.shape[-1])
    start, end = grid[..., 0, :], grid[..., -1, :]
    leading = tuple(grid.shape[:-2])
    kept = start[..., : window - stride]
    top = xp.broadcast_to(start[..., -1:], (*leading, stride))
    low = xp.broadcast_to(end[..., :1], (*leading, stride))
    first, last = xp.concat([kept, top], axis=-1), xp.concat([low, kept], axis=-1)
    parts = [first[..., None, :], grid[..., 1:-1, :], last[..., None, :]]

    def every(condition: Array, axes: Any = -1) -> Array:
        return xp.all(condition, axis=axes)

    known = constant(grid)
    first, last = constant(first), constant(last)
    rises = known[..., 1:, :] > known[..., :-1, :] * (1.0 + _ROUNDING)
    same = [
        xp.abs(a - b) <= _ROUNDING * xp.abs(b)
        for a, b in ((known[..., -1, :], last), (known[..., 0, :], first))
    ]
    return xp.concat(parts, axis=-2), {
        "positive": every(known > 0.0, (-2, -1)),
        "falling": ~xp.any(rises, axis=(-2, -1)),
        "circular": every(same[0]) & every(same[1]),
        "bounded": (first[..., -1] <= _LONGEST) & (first[..., -1] > last[..., 0]),
    }


_GRID_ERRORS: dict[str, tuple[type[ParameterError], str]] = {
    "positive": (BoundaryError, "of positive levels (delta = 0 makes the chain KL infinite)"),
    "falling": (MonotonicityError, "non-increasing in the sub-step (D1)"),
    "circular": (CircularityError, "circular, from T to delta (D1); see `level_grid`"),
    "bounded": (BoundaryError, f"of t_max above t_min and at most {_LONGEST:g}"),
}


# --- the calculator -------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class BatchDecomposition:
    r"""Theorem A's terms of a batch of roll-outs, arrays of the library they came from, in nats.

    Terms per AR step have shape `(..., K)`, totals `(...)`. `error_bound` bounds each total's
    floating-point error to first order from the conditioning of the covariances, as that of a
    `Decomposition`: a total's bound holds for each of its steps too. It carries no derivative, and
    for tensors is the same formula evaluated in their library.
    """

    nie_per_step: Array
    see_per_step: Array
    de_per_step: Array
    mb_per_step: Array
    output_per_step: Array
    clip_per_step: Array
    error_bound: dict[str, Array]

    @property
    def nie(self) -> Array:
        """Σ_k NIE_k, noise-initialisation error."""
        return self._total(self.nie_per_step)

    @property
    def see(self) -> Array:
        """Σ_k SEE_k, score-estimation error."""
        return self._total(self.see_per_step)

    @property
    def de(self) -> Array:
        """Σ_k DE_k, discretisation error."""
        return self._total(self.de_per_step)

    @property
    def mb(self) -> Array:
        """Σ_k MB_k, memory bottleneck."""
        return self._total(self.mb_per_step)

    @property
    def chain(self) -> Array:
        """KL(P_chain || Q_chain), Theorem A's left-hand side (the first window is exact)."""
        return self.nie + self.see + self.de + self.mb

    @property
    def output(self) -> Array:
        """Output KL: all K Δ finished frames at level δ."""
        return self._total(self.output_per_step)

    @property
    def clip(self) -> Array:
        """Clip KL: the Δ frames finished last, at level δ."""
        return self.clip_per_step[..., -1]

    @property
    def theorems(self) -> tuple[str, ...]:
        """Labels of the results used."""
        return ("A", "Corollary A")

    @staticmethod
    def _total(per_step: Array) -> Array:
        return array_namespace(per_step).sum(per_step, axis=-1)

    def __repr__(self) -> str:
        *worlds, steps = self.nie_per_step.shape
        return f"BatchDecomposition(worlds={tuple(worlds)}, K={steps})"


def decompose_batch(
    covariance: Array,
    grid: Array,
    *,
    steps: int,
    stride: int,
    dim: int = 1,
    mean: Array | None = None,
    reference: int = 0,
    context_level: Array | None = None,
    memory: Array | None = None,
    scale: Array | None = None,
    bias: Array | None = None,
    sampler: str = "ancestral",
) -> BatchDecomposition:
    r"""Theorem A, output KL and clip KL of a batch of worlds in one call, differentiable.

    Arguments
    ---------
    covariance: of clean frames, frame by frame, `(..., N d, N d)`, N ≥ (K - 1) Δ + w frames.
    grid: sub-step levels $t_{j,n}$ `(..., M + 1, w)`, OU times: `level_grid`, or a
        `Schedule`'s `grid`. Levels that D1 makes equal are one number, whose derivative is with
        respect to its entry in the first row (δ: the first of the last row).
    steps: K AR steps; stride: Δ frames; dim: d numbers a frame.
    mean: of the frames, a number or `(..., 1, d)` or `(..., N, d)`; default 0.
    reference: r, frames seen just before the window, clean, or really re-noised to `context_level`
        `(...)` above δ (an OU time).
    memory: weights $W_l$ `(..., L, b, d)`, newest frame first, of
        $m_k = \sum_l W_l X^\delta_{p+1-l}$ over finished frames. A recursive memory (F, H) is the
        linear one with $W_l = F^{l-1} H$ and L = (K - 1) Δ.
    scale, bias: the denoiser is `scale` · E[X⁰ | X_n, R, m] + `bias`; `(...)`, and a number or
        `(..., d)`. Not given: exact.
    sampler: `ancestral`; for others see `decompose`.

    Returns a `BatchDecomposition` in nats. Where memory rows are linearly dependent, or a level
    does not move, derivatives are those of changes that leave this so.

    Raises `ParameterError` and its named subclasses; for the values of tensors see the module.

    Source: THEORY, Theorem A, Corollary A and section 5.

    >>> from arvdm_theory import Autoregressive, Generator, Schedule, decompose
    >>> schedule = Schedule.fifo(3, t_max=3.0, t_min=0.05, substeps=4)
    >>> worlds = autoregressive_covariance([[0.5], [0.7], [0.9]], 1.0, 6)
    >>> batch = decompose_batch(worlds, schedule.grid, steps=4, stride=1, reference=1)
    >>> one = decompose(Autoregressive([0.7], 1.0), schedule, Generator(reference=1), steps=4)
    >>> bool(np.isclose(batch.chain[1], one.chain, rtol=1e-9))
    True
    """
    if sampler != "ancestral":
        raise ParameterError("sampler", "ancestral for a batch (others: decompose)", sampler)
    space, given = _converted(
        covariance=covariance,
        grid=grid,
        mean=mean,
        context_level=context_level,
        memory=memory,
        scale=scale,
        bias=bias,
    )
    steps, stride = positive_integer("steps", steps), positive_integer("stride", stride)
    dim, reference = positive_integer("dim", dim), positive_integer("reference", reference, 0)
    world = _world(space, given, steps, stride, dim, reference)
    try:
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            values, bounds = terms(world)
            for name, value in values.items():
                if is_numpy_array(value) and not np.all(np.isfinite(value)):
                    raise FloatingPointError(f"{name} {value[~np.isfinite(value)][0]}")
    except (FloatingPointError, np.linalg.LinAlgError) as error:
        raise ParameterError(
            "covariance, grid and denoiser",
            "within the range of double precision",
            f"values that are not ({error})",
        ) from None
    return BatchDecomposition(
        **{f"{name}_per_step": item for name, item in values.items()}, error_bound=bounds
    )


def _world(
    space: Space, given: dict[str, Array], steps: int, stride: int, dim: int, reference: int
) -> World:
    """The checked input of `decompose_batch`."""
    xp, grid = space.xp, given["grid"]
    if grid.ndim < 2 or grid.shape[-2] < 2 or grid.shape[-1] == 0:
        raise ParameterError("grid", "of shape (..., M + 1, window)", tuple(grid.shape))
    window = int(grid.shape[-1])
    if stride > window:
        raise ParameterError("stride", f"in 1..window ({window})", stride)
    needed = (steps - 1) * stride + window
    clean = _covariance(given["covariance"], needed, dim)
    level = given.get("context_level")
    if level is not None and reference == 0:
        raise ParameterError("context_level", "absent without references", "0 references")
    grid, valid = _checked_levels(grid, level, stride)
    weights, scale, bias = (given.get(name) for name in ("memory", "scale", "bias"))
    if weights is not None and (
        weights.ndim < 3 or weights.shape[-1] != dim or 0 in weights.shape[-3:]
    ):
        raise ParameterError("memory", f"of shape (..., L, b, {dim})", tuple(weights.shape))
    if bias is not None:
        if bias.ndim and bias.shape[-1] != dim:
            raise ParameterError("bias", f"a number or of shape (..., {dim})", tuple(bias.shape))
        bias = xp.broadcast_to(bias, (*bias.shape[:-1], dim))
        bias = xp.tile(bias, (*(1 for _ in bias.shape[:-1]), window))[..., None, :]
    if scale is not None:
        scale = scale[..., None, None, None]
    mean = _means(given.get("mean"), needed, dim)
    own = {"covariance": 2, "grid": 2, "mean": 1, "memory": 3, "scale": 3, "bias": 2}
    found = {"covariance": clean, "grid": grid, "mean": mean, "context_level": level}
    found |= {"memory": weights, "scale": scale, "bias": bias}
    leading = common_shape(own, **{name: x for name, x in found.items() if x is not None})
    each = grid if dim == 1 else xp.repeat(grid, dim, axis=-1)
    return World(
        space=space,
        clean=symmetrise(clean),
        mean=mean,
        times=[each[..., n, None, :] for n in range(each.shape[-2])],
        delta=grid[..., -1, 0],
        t_max=grid[..., 0, -1],
        context_level=level,
        memory=weights,
        scale=scale,
        bias=bias,
        valid=valid,
        leading=leading,
        steps=steps,
        stride=stride,
        dim=dim,
        window=window,
        reference=reference,
    )


def _covariance(clean: Array, frames: int, dim: int) -> Array:
    """The covariance of the frames that are needed."""
    size = frames * dim
    square = clean.ndim >= 2 and clean.shape[-1] == clean.shape[-2]
    if not square or clean.shape[-1] < size:
        wanted = f"of shape (..., n, n), n at least {size} ({frames} frames of {dim})"
        raise ParameterError("covariance", wanted, tuple(clean.shape))
    clean = clean[..., :size, :size]
    if is_numpy_array(clean):
        gap = np.abs(clean - transpose(clean)).max(initial=0.0)
        if gap > 64.0 * EPS * np.abs(clean).max(initial=0.0):
            raise NotPositiveDefiniteError(
                "covariance", "symmetric", f"entries that differ from their mirror by {gap:.3g}"
            )
    return clean


def _checked_levels(grid: Array, level: Array | None, stride: int) -> tuple[Array, Array]:
    """The grid, its equal levels made one; which of a batch of tensors are possible levels."""
    xp = array_namespace(grid)
    grid, conditions = _tied(grid, stride)
    above = None if level is None else constant(level) > constant(grid)[..., -1, 0]
    if is_numpy_array(grid):
        for name, (error, constraint) in _GRID_ERRORS.items():
            if not np.all(conditions[name]):
                raise error("grid", constraint, "levels that are not")
        if above is not None and not np.all(above):
            raise ParameterError("context_level", "above t_min (else absent)", level)
    valid = xp.all(xp.stack(list(conditions.values()), axis=0), axis=0)
    return grid, valid if above is None else valid & above


def _means(mean: Array | None, frames: int, dim: int) -> Array | None:
    """Means of the frames that are needed, `(..., N d)`; `None` if they are zero."""
    if mean is None or (is_numpy_array(mean) and not np.any(mean)):
        return None
    xp = array_namespace(mean)
    if mean.ndim == 0:
        return xp.broadcast_to(mean, (frames * dim,))
    given = mean.shape[-2] if mean.ndim > 1 else 0
    if mean.ndim < 2 or mean.shape[-1] != dim or (given != 1 and given < frames):
        wanted = f"a number or of shape (..., 1 or at least {frames}, {dim})"
        raise ParameterError("mean", wanted, tuple(mean.shape))
    mean = xp.broadcast_to(mean[..., :frames, :], (*mean.shape[:-2], frames, dim))
    return xp.reshape(mean, (*mean.shape[:-2], frames * dim))
