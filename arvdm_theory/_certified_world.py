r"""Worlds in ball arithmetic: Theorem A's terms from exact descriptions, by dense conditioning.

Every law is written in the coordinates (noisy window, finished frames at level δ, fresh noise of
the references): a denoiser is an affine map of them, a context an exact map of finished frames.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np

from arvdm_theory._balls import (
    Arb,
    Matrix,
    beside,
    certified_pivots,
    column_matrix,
    diagonal_matrix,
    exact_covariance,
    exact_identity,
    exact_matrix,
    exact_number,
    exact_numbers,
    identity_matrix,
    information_gain,
    is_number,
    kl_balls,
    load_flint,
    log_det_ball,
    positive_number,
    require_definite,
    scale_both,
    solve_balls,
    squared,
    stacked,
    submatrix,
    to_balls,
    zero_matrix,
)
from arvdm_theory.checks import positive_integer
from arvdm_theory.errors import (
    CircularityError,
    MonotonicityError,
    NotPositiveDefiniteError,
    ParameterError,
    RefusedError,
    UnstableError,
)
from arvdm_theory.generator import Biased, Generator, LinearMemory, RandomPerturbation, Scaled
from arvdm_theory.schedule import RollOut, Schedule
from arvdm_theory.video import GaussianVideo

LARGEST_WORLD = 256
"""Most numbers (frames times dim) in a world: everything here is dense."""


# --- worlds: video --------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Video:
    """A Gaussian video: exact description, laws as balls at the working precision."""

    dim: int
    length: int | None
    means: Callable[[int], list[Arb]]
    covariance: Callable[[int], Matrix]


def _frame_mean(value: Any, dim: int) -> list[Any]:
    if is_number(value):
        return [exact_number("video.mean", value)] * dim
    values = exact_numbers("video.mean", value)
    if len(values) != dim:
        raise ParameterError("video.mean", f"a number or {dim} numbers", len(values))
    return values


def _steady(mean: list[Any]) -> Callable[[int], list[Arb]]:
    arb = load_flint().arb
    return lambda frames: [arb(value) for _ in range(frames) for value in mean]


def _frame_size(*sized: Any, dim: Any) -> int:
    """d: given, or taken from the first array that has a size, else 1."""
    if dim is not None:
        return positive_integer("video.dim", dim)
    return next((len(item) for item in sized if item is not None and not is_number(item)), 1)


def _from_autocovariance(
    dim: int, autocovariance: Callable[[int], list[Matrix]]
) -> Callable[[int], Matrix]:
    """Stationary: blocks Cov(X_{k+h}, X_k), h = 0, 1, …"""

    def covariance(frames: int) -> Matrix:
        blocks = autocovariance(frames)
        out = zero_matrix(frames * dim, frames * dim)
        for i in range(frames):
            for j in range(i + 1):
                for a in range(dim):
                    for b in range(dim):
                        out[i * dim + a, j * dim + b] = blocks[i - j][a, b]
                        out[j * dim + b, i * dim + a] = blocks[i - j][a, b]
        return out

    return covariance


def _stationary(parameter: str, move: Matrix, process: Matrix) -> Matrix:
    """P = A P A' + Q in rationals; stability is certified by Lyapunov's theorem (Q = I, P > 0)."""
    flint = load_flint()
    size = move.nrows()
    pairs = [(i, j) for i in range(size) for j in range(i + 1)]
    place = {pair: index for index, pair in enumerate(pairs)}
    system = flint.fmpq_mat(len(pairs), len(pairs))
    right = flint.fmpq_mat(len(pairs), 2)
    for row, (i, j) in enumerate(pairs):
        system[row, row] = system[row, row] + 1
        right[row, 0], right[row, 1] = process[i, j], int(i == j)
        for a in range(size):
            for b in range(size):
                column = place[max(a, b), min(a, b)]
                system[row, column] = system[row, column] - move[i, a] * move[j, b]
    try:
        solution = system.solve(right)
    except ZeroDivisionError:
        solution = None
    found = []
    for column in (0, 1):
        matrix = flint.fmpq_mat(size, size)
        for index, (i, j) in enumerate(pairs):
            if solution is not None:
                matrix[i, j] = matrix[j, i] = solution[index, column]
        found.append(matrix)
    try:
        require_definite(found[1], "Lyapunov certificate")
    except NotPositiveDefiniteError:
        raise UnstableError(
            parameter,
            "those of a stable chain (spectral radius below 1) unless the law of the first frames "
            "is given as `initial`",
            "a chain proved to be unstable",
        ) from None
    return found[0]


def _initial(initial: Any, size: int, mean: list[Any]) -> tuple[list[Any], Matrix]:
    if not isinstance(initial, Mapping) or not {"covariance"} <= set(initial) <= {
        "mean",
        "covariance",
    }:
        raise ParameterError("video.initial", "an object with mean and covariance", initial)
    given = initial.get("mean")
    start = mean if given is None else exact_numbers("video.initial.mean", given)
    if len(start) != size:
        raise ParameterError("video.initial.mean", f"{size} numbers", len(start))
    return start, exact_covariance("video.initial.covariance", initial["covariance"], size)


def _autoregressive(
    coefficients: Any, noise_variance: Any, dim: Any = None, mean: Any = 0, initial: Any = None
) -> _Video:
    matrices = [item for item in coefficients if not is_number(item)]
    size = _frame_size(*matrices, noise_variance, dim=dim)
    moves = [
        exact_identity(exact_number("video.coefficients", item), size)
        if is_number(item)
        else exact_matrix("video.coefficients", item)
        for item in coefficients
    ]
    if not moves or any((item.nrows(), item.ncols()) != (size, size) for item in moves):
        raise ParameterError("video.coefficients", f"numbers or {size} x {size} matrices", moves)
    order, flint = len(moves), load_flint()
    sigma = exact_covariance("video.noise_variance", noise_variance, size)
    centre = _frame_mean(mean, size)
    start = centre * order
    if initial is None:
        companion = flint.fmpq_mat(order * size, order * size)
        process = flint.fmpq_mat(order * size, order * size)
        for i in range(size):
            for j in range(size):
                process[i, j] = sigma[i, j]
                for lag, item in enumerate(moves):
                    companion[i, lag * size + j] = item[i, j]
        for i in range((order - 1) * size):
            companion[size + i, i] = 1
        newest_first = _stationary("video.coefficients", companion, process)
        turned = [b * size + i for b in reversed(range(order)) for i in range(size)]
        first = submatrix(newest_first, turned, turned)
    else:
        start, first = _initial(initial, order * size, start)

    def means(frames: int) -> list[Arb]:
        path = [flint.arb(value) for value in start]
        for k in range(order, frames):
            now = [flint.arb(value) for value in centre]
            for lag, item in enumerate(moves, start=1):
                before = path[(k - lag) * size : (k - lag + 1) * size]
                for i in range(size):
                    for j in range(size):
                        now[i] = now[i] + flint.arb(item[i, j]) * (before[j] - centre[j])
            path.extend(now)
        return path[: frames * size]

    def covariance(frames: int) -> Matrix:
        blocks = [to_balls(item) for item in moves]
        count = max(frames, order)
        out = zero_matrix(count * size, count * size)
        for i in range(order * size):
            for j in range(order * size):
                out[i, j] = first[i, j]
        for k in range(order, count):
            before = [range((k - lag) * size, (k - lag + 1) * size) for lag in range(1, order + 1)]
            row = zero_matrix(size, k * size)
            for item, rows in zip(blocks, before, strict=True):
                row = row + item * submatrix(out, rows, range(k * size))
            own = to_balls(sigma)
            for item, rows in zip(blocks, before, strict=True):
                own = own + submatrix(row, range(size), rows) * item.transpose()
            for i in range(size):
                for j in range(k * size):
                    out[k * size + i, j] = out[j, k * size + i] = row[i, j]
                for j in range(size):
                    out[k * size + i, k * size + j] = own[max(i, j), min(i, j)]
        return submatrix(out, range(frames * size), range(frames * size))

    return _Video(size, None, means, covariance)


def _state_space(
    transition: Any,
    emission: Any,
    state_noise: Any,
    emission_noise: Any = 0,
    mean: Any = 0,
    initial: Any = None,
) -> _Video:
    move = exact_matrix("video.transition", transition)
    seen = exact_matrix("video.emission", emission)
    size, dim, flint = move.nrows(), seen.nrows(), load_flint()
    if move.ncols() != size or seen.ncols() != size:
        raise ParameterError("video.emission", f"of shape (d, {size})", seen.ncols())
    process = exact_covariance("video.state_noise", state_noise, size)
    own = exact_covariance("video.emission_noise", emission_noise, dim)
    centre = _frame_mean(mean, dim)
    start = [flint.fmpq(0)] * size
    if initial is None:
        first = _stationary("video.transition", move, process)
    else:
        start, first = _initial(initial, size, start)

    def means(frames: int) -> list[Arb]:
        state, path = column_matrix([flint.arb(value) for value in start]), []
        for _ in range(frames):
            path += [a + b for a, b in zip((to_balls(seen) * state).entries(), centre, strict=True)]
            state = to_balls(move) * state
        return path

    def covariance(frames: int) -> Matrix:
        state, out = to_balls(first), zero_matrix(frames * dim, frames * dim)
        a, c = to_balls(move), to_balls(seen)
        for j in range(frames):
            carried = state * c.transpose()
            for i in range(j, frames):
                block = c * carried
                for p in range(dim):
                    for q in range(dim):
                        value = block[p, q] if i > j else block[max(p, q), min(p, q)] + own[p, q]
                        out[i * dim + p, j * dim + q] = out[j * dim + q, i * dim + p] = value
                carried = a * carried
            state = a * state * a.transpose() + to_balls(process)
        return out

    return _Video(dim, None, means, covariance)


def _seasonal(
    period: Any,
    persistence: Any,
    variance: Any = 1,
    noise_variance: Any = 0,
    dim: Any = 1,
    mean: Any = 0,
) -> _Video:
    size, flint = positive_integer("video.dim", dim), load_flint()
    cycle, rho = (
        positive_number("video.period", period),
        positive_number("video.persistence", persistence),
    )
    if rho >= 1:
        raise ParameterError("video.persistence", "in (0, 1)", persistence)
    power = positive_number("video.variance", variance)
    own = positive_number("video.noise_variance", noise_variance, strict=False)

    def autocovariance(lags: int) -> list[Matrix]:
        out = []
        for lag in range(lags):
            value = flint.arb(power * rho**lag) * flint.arb.cos_pi_fmpq(2 * lag / cycle)
            out.append(diagonal_matrix([value + own if lag == 0 else value] * size))
        return out

    return _Video(
        size, None, _steady(_frame_mean(mean, size)), _from_autocovariance(size, autocovariance)
    )


def _static_latent(
    noise_variance: Any, latent_variance: Any = 1, dim: Any = None, mean: Any = 0
) -> _Video:
    size = _frame_size(noise_variance, latent_variance, dim=dim)
    own = exact_covariance("video.noise_variance", noise_variance, size)
    latent = exact_covariance("video.latent_variance", latent_variance, size)

    def autocovariance(lags: int) -> list[Matrix]:
        return [to_balls(latent + own)] + [to_balls(latent)] * (lags - 1)

    return _Video(
        size, None, _steady(_frame_mean(mean, size)), _from_autocovariance(size, autocovariance)
    )


def _arfima(memory: Any, noise_variance: Any = 1, dim: Any = None, mean: Any = 0) -> _Video:
    size, flint = _frame_size(memory, noise_variance, dim=dim), load_flint()
    orders = (
        [exact_number("video.memory", memory)] * size
        if is_number(memory)
        else exact_numbers("video.memory", memory)
    )
    if len(orders) != size or any(abs(2 * item) >= 1 for item in orders):
        raise ParameterError("video.memory", f"{size} numbers in (-1/2, 1/2)", memory)
    sigma = exact_covariance("video.noise_variance", noise_variance, size)
    mixed = any(sigma[i, j] != 0 for i in range(size) for j in range(i))
    if mixed and len(set(map(str, orders))) > 1:
        raise ParameterError(
            "video.noise_variance", "diagonal if pixels differ in memory", noise_variance
        )

    def autocovariance(lags: int) -> list[Matrix]:
        start = [flint.arb(1 - 2 * d).gamma() * squared(flint.arb(1 - d).rgamma()) for d in orders]
        out = []
        for lag in range(lags):
            if lag:
                start = [
                    value * flint.arb((lag - 1 + d) / (lag - d))
                    for value, d in zip(start, orders, strict=True)
                ]
            out.append(scale_both(start, to_balls(sigma), [1] * size))
        return out

    return _Video(
        size, None, _steady(_frame_mean(mean, size)), _from_autocovariance(size, autocovariance)
    )


def _explicit(matrix: Any, dim: Any = 1, mean: Any = 0) -> _Video:
    size, exact = positive_integer("video.dim", dim), exact_covariance("video.matrix", matrix)
    total = exact.nrows()
    if total % size:
        raise ParameterError("video.matrix", f"of a size that dim ({size}) divides", total)
    if not is_number(mean) and len(mean) and not is_number(mean[0]):
        mean = [item for row in mean for item in row]
    if not is_number(mean) and len(mean) == total:
        path = exact_numbers("video.mean", mean)
    else:
        path = _frame_mean(mean, size) * (total // size)
    arb = load_flint().arb
    return _Video(
        size,
        total // size,
        lambda frames: [arb(value) for value in path[: frames * size]],
        lambda frames: to_balls(submatrix(exact, range(frames * size), range(frames * size))),
    )


_FAMILIES: dict[str, Callable[..., _Video]] = {
    "autoregressive": _autoregressive,
    "state_space": _state_space,
    "seasonal": _seasonal,
    "static_latent": _static_latent,
    "arfima": _arfima,
    "covariance": _explicit,
}


def read_video(specification: Any) -> _Video:
    """The video of a specification, or of a `GaussianVideo` (its doubles, exactly)."""
    if isinstance(specification, GaussianVideo):
        specification = specification.to_json()
    if not isinstance(specification, Mapping):
        raise ParameterError("video", "an object with a family, or a GaussianVideo", specification)
    keys = {key: value for key, value in specification.items() if value is not None}
    family = keys.pop("family", None)
    if family not in _FAMILIES:
        raise RefusedError(
            f"no certified law for the video family {family!r}; there is one for "
            f"{', '.join(_FAMILIES)}"
        )
    try:
        return _FAMILIES[family](**keys)
    except TypeError as error:
        raise ParameterError("video", f"of the keys of family {family}", error) from None


def check_size(video: _Video, frames: int) -> None:
    if video.length is not None and frames > video.length:
        raise ParameterError(
            "steps", f"within the video's {video.length} frames", f"{frames} frames"
        )
    if frames * video.dim > LARGEST_WORLD:
        raise RefusedError(
            f"a certified calculation is dense: frames times dim must be at most {LARGEST_WORLD}, "
            f"got {frames * video.dim}"
        )


# --- worlds: schedule and generator ---------------------------------------------------------------


@dataclass(frozen=True)
class _Level:
    """A noise level, exactly: `fraction` of the OU time that `clock` gives to `value`."""

    clock: str
    value: Any
    fraction: Any = 1

    def time(self) -> Arb:
        arb = load_flint().arb
        x = arb(self.value)
        if self.clock == "gamma":
            x = (1 / x).log1p() / 2
        elif self.clock == "log_snr":
            x = (-x).exp().log1p() / 2
        elif self.clock == "edm_sigma":
            x = (x * x).log1p() / 2
        elif self.clock == "alpha_bar":
            x = -x.log() / 2
        elif self.clock == "flow_time":
            x = squared(x / (1 - x)).log1p() / 2
        return x * arb(self.fraction)

    def same(self, other: _Level) -> bool:
        return self.clock == other.clock and (
            self.value * self.fraction == other.value * other.fraction
            if self.clock == "t"
            else (self.value, self.fraction) == (other.value, other.fraction)
        )

    def above(self, other: _Level) -> bool:
        """Certified to be noisier."""
        with load_flint().ctx.workprec(256):
            return not self.same(other) and bool(self.time() > other.time())


@dataclass(frozen=True, eq=False)
class _Schedule:
    """D1 with exact levels; `grid` is None where sub-steps are linear in log-SNR."""

    window: int
    stride: int
    start: list[_Level]
    end: list[_Level]
    substeps: int
    grid: list[list[_Level]] | None
    context_noise: str
    context_level: _Level | None
    roll_out: Callable[..., RollOut]

    @property
    def finished(self) -> _Level:
        """δ."""
        return self.end[0]

    @property
    def fresh(self) -> _Level:
        """T."""
        return self.start[-1]

    def snr(self, dim: int) -> list[list[Arb]]:
        """γ_{j,n} of every coordinate, `substeps + 1` rows; levels that do not move: one ball."""
        if self.grid is None:
            return _log_linear(self.start, self.end, self.substeps, dim)
        rows: list[list[Arb]] = []
        for n, row in enumerate(self.grid):
            before = None if n == 0 else self.grid[n - 1]
            rows.append([])
            for j, level in enumerate(row):
                kept = before is not None and level.same(before[j])
                rows[n] += [rows[n - 1][j * dim]] * dim if kept else [_gamma(level)] * dim
        return rows


def _log_linear(
    start: Sequence[_Level], end: Sequence[_Level], substeps: int, dim: int
) -> list[list[Arb]]:
    """γ moving linearly in its logarithm from `start` to `end`."""
    columns = []
    for a, b in zip(start, end, strict=True):
        first = _gamma(a)
        if a.same(b):
            column = [first] * (substeps + 1)
        else:
            last = _gamma(b)
            ratio = (last / first).log() / substeps
            column = [first, *(first * (ratio * n).exp() for n in range(1, substeps)), last]
        columns += [column] * dim
    return [list(row) for row in zip(*columns, strict=True)]


def _gamma(level: _Level) -> Arb:
    return 1 / (2 * level.time()).expm1()


def _plain(value: Any) -> Any:
    """A specification in floats, for the checks that the descriptions make themselves."""
    if isinstance(value, Mapping):
        return {
            key: item if key in _WORDS and isinstance(item, str) else _plain(item)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item) for item in value]
    if isinstance(value, (str, Fraction, Decimal)) or type(value).__name__ == "fmpq":
        exact = exact_number("specification", value)
        return float(Fraction(int(exact.p), int(exact.q)))
    return value


_WORDS = ("method", "context_noise", "clock", "kind", "sampler", "denoiser", "memory")


def _schedule(specification: Any) -> _Schedule:
    if isinstance(specification, Schedule):
        specification = specification.to_json()
    if not isinstance(specification, Mapping):
        raise ParameterError("schedule", "an object with a method, or a Schedule", specification)
    plain = Schedule.from_json(_plain(specification))  # names what is wrong with it
    clock = specification.get("clock", "t")

    def level(key: str, value: Any) -> _Level:
        return _Level(clock, exact_number(f"schedule.{key}", value))

    def levels(key: str) -> list[_Level]:
        return [level(key, item) for item in specification[key]]

    window, stride = plain.window, plain.stride
    grid = None
    if specification["method"] == "custom":
        start, end = levels("input_levels"), levels("output_levels")
        given = specification.get("grid")
        if given is not None:
            grid = [[level("grid", item) for item in row] for row in given]
    else:
        top, bottom = level("t_max", specification["t_max"]), level("t_min", specification["t_min"])
        start, end = _named_levels(specification, plain, top, bottom)
    _check_levels(start, end, grid, stride)
    context_level = None
    if plain.context_noise != "none":
        context_level = level("context_level", specification["context_level"])
    return _Schedule(
        window,
        stride,
        start,
        end,
        int(plain.substeps or 0),
        grid,
        plain.context_noise,
        context_level,
        plain.roll_out,
    )


def _named_levels(
    specification: Mapping[str, Any], plain: Schedule, top: _Level, bottom: _Level
) -> tuple[list[_Level], list[_Level]]:
    method, window, stride = specification["method"], plain.window, plain.stride
    flint = load_flint()
    ladder = method in ("fifo", "rolling", "staircase") or specification.get("levels") is not None
    if not ladder:
        return [bottom] * (window - stride) + [top] * stride, [bottom] * window
    blocks = window // stride
    if specification.get("levels") is None:
        fractions = [flint.fmpq(j, blocks) for j in range(1, blocks + 1)]
    else:
        fractions = exact_numbers("schedule.levels", specification["levels"])[-blocks:]
    if fractions[-1] != 1:
        raise ParameterError("schedule.levels", "fractions of t_max that end at exactly 1", "other")
    steps = [replace(top, fraction=tau) for tau in fractions[:-1]] + [top]
    start = [item for item in steps for _ in range(stride)]
    return start, [item for item in [bottom, *steps[:-1]] for _ in range(stride)]


def _check_levels(
    start: list[_Level], end: list[_Level], grid: list[list[_Level]] | None, stride: int
) -> None:
    """D1 exactly: what floats only compare to rounding."""
    for j, entered in enumerate(start[: len(start) - stride]):
        if not end[j + stride].same(entered):
            raise CircularityError(
                f"schedule.output_levels[{j + stride + 1}]",
                f"exactly input_levels[{j + 1}] (circularity, D1)",
                "another number",
            )
    for name, ends in (("output_levels", end[:stride]), ("input_levels", start[-stride:])):
        if not all(item.same(ends[0]) for item in ends):
            raise CircularityError(f"schedule.{name}", "exactly equal for finished frames", "other")
    for levels in (start, end):
        if any(a.above(b) for a, b in itertools.pairwise(levels)):
            raise MonotonicityError("schedule levels", "non-decreasing in the frame", "a fall")
    rows = [start, end] if grid is None else grid
    if not all(
        a.same(b)
        for first, last in ((rows[0], start), (rows[-1], end))
        for a, b in zip(first, last, strict=True)
    ):
        raise ParameterError("schedule.grid", "exactly from input to output levels", "another")
    for before, after in itertools.pairwise(rows):
        if any(b.above(a) for a, b in zip(before, after, strict=True)):
            raise MonotonicityError("schedule.grid", "non-increasing in the sub-step", "a rise")


@dataclass(frozen=True, eq=False)
class _Generator:
    """Denoiser in exact numbers, references and memory; the sampler is ancestral."""

    kind: str
    factor: Any
    bias: list[Any]
    drawn: RandomPerturbation | None
    scale: Any
    reference: int
    lags: list[Matrix] | None  # b x d, newest frame first
    transition: Matrix | None
    input: Matrix | None
    initialisation: int | None

    @property
    def slots(self) -> int:
        """Number b of memory coordinates."""
        if self.lags is not None:
            return int(self.lags[0].nrows())
        return 0 if self.input is None else int(self.input.nrows())

    def memory_rows(self, finished: int, dim: int) -> Matrix:
        """The memory as an exact map of the finished frames."""
        flint = load_flint()
        rows = flint.fmpq_mat(self.slots, finished * dim)
        blocks: list[Matrix] = []
        if self.lags is not None:
            blocks = self.lags[:finished]
        elif self.input is not None:
            block = self.input
            for _ in range(finished):
                blocks.append(block)
                block = self.transition * block
        for lag, block in enumerate(blocks):
            for i in range(block.nrows()):
                for j in range(dim):
                    rows[i, (finished - 1 - lag) * dim + j] = block[i, j]
        return rows


def _row_basis(rows: Matrix) -> Matrix:
    """A basis of the row space, in exact numbers: a repeated memory tells nothing more."""
    if 0 in (rows.nrows(), rows.ncols()):
        return load_flint().fmpq_mat(0, rows.ncols())
    reduced, rank = rows.rref()
    return submatrix(reduced, range(rank), range(rows.ncols()))


def _generator(specification: Any, dim: int) -> tuple[_Generator, Any]:
    """The generator, and the specification of the video that its denoiser believes in (or None)."""
    if isinstance(specification, Generator):
        specification = specification.to_json()
    specification = {} if specification is None else specification
    if not isinstance(specification, Mapping):
        raise ParameterError("generator", "an object, or a Generator", specification)
    given = specification.get("denoiser", {"kind": "exact"})
    keys = dict(given) if isinstance(given, Mapping) else {"kind": given}
    believed = keys.pop("video", None) if keys.get("kind") == "misspecified" else None
    checked = dict(specification)
    if keys.get("kind") == "misspecified":
        if believed is None:
            raise ParameterError("generator.denoiser.video", "given", "nothing")
        checked["denoiser"] = {"kind": "exact"}
    plain = Generator.from_json(_plain(checked))  # names what is wrong with it
    if plain.sampler != "ancestral":
        raise RefusedError(
            f"no certified decomposition for the sampler {plain.sampler!r}: ancestral only"
        )
    kind = keys["kind"]
    if kind == "estimated":
        raise RefusedError(
            "no certified decomposition for an estimated denoiser: its training videos are drawn "
            "in floating point; give their law as the covariance of a misspecified denoiser"
        )
    bias = [load_flint().fmpq(0)] * dim
    if isinstance(plain.denoiser, Biased):
        bias = (
            [exact_number("generator.denoiser.bias", keys["bias"])] * dim
            if is_number(keys["bias"])
            else exact_numbers("generator.denoiser.bias", keys["bias"])
        )
        if len(bias) != dim:
            raise ParameterError("generator.denoiser.bias", f"a number or {dim} numbers", len(bias))
    factor = load_flint().fmpq(1)
    if isinstance(plain.denoiser, Scaled):
        factor = exact_number("generator.denoiser.factor", keys["factor"])
    drawn = plain.denoiser if isinstance(plain.denoiser, RandomPerturbation) else None
    lags = transition = entering = None
    if plain.memory is not None:
        memory = specification["memory"]
        if isinstance(plain.memory, LinearMemory):
            lags = [exact_matrix("generator.memory.weights", item) for item in memory["weights"]]
            last = lags[0].ncols()
        else:
            transition = exact_matrix("generator.memory.transition", memory["transition"])
            entering = exact_matrix("generator.memory.input", memory["input"])
            last = entering.ncols()
        if last != dim:
            raise ParameterError("generator.memory", f"of last size dim ({dim})", last)
    return _Generator(
        kind,
        factor,
        bias,
        drawn,
        None if drawn is None else exact_number("generator.denoiser.scale", keys["scale"]),
        plain.reference,
        lags,
        transition,
        entering,
        plain.initialisation,
    ), believed


# --- worlds: laws of the window -------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Laws:
    """Clean frames of a video, and its finished frames at level δ, as balls."""

    mean: Matrix  # column
    clean: Matrix
    finished: Matrix  # covariance at level δ
    alpha: Arb  # e^{-δ}


def _laws(video: _Video, frames: int, delta: _Level) -> _Laws:
    alpha = (-delta.time()).exp()
    clean = video.covariance(frames)
    finished = clean * squared(alpha) + identity_matrix(frames * video.dim) * (1 - squared(alpha))
    certified_pivots(finished, "covariance of the video at level delta")
    return _Laws(column_matrix(video.means(frames)), clean, finished, alpha)


@dataclass(frozen=True, eq=False)
class _Context:
    """c = L x^δ + own noise, as a law sees it; and `value`, `noise`: what is put in for it."""

    rows: Matrix  # L (q, p d)
    own: list[Arb]  # variances (q,)
    value: Matrix  # (q, p d)
    noise: Matrix  # on η (q, seen d)


def _contexts(
    schedule: _Schedule, generator: _Generator, finished: int, dim: int
) -> tuple[_Context, _Context]:
    """The context in truth, and as the denoiser believes it to be."""
    arb, flint = load_flint().arb, load_flint()
    size = finished * dim
    seen = min(generator.reference, finished) * dim
    memory = _row_basis(generator.memory_rows(finished, dim))
    slots = flint.fmpq_mat(seen, size)
    for i in range(seen):
        slots[i, size - seen + i] = 1
    level, kind = schedule.context_level, schedule.context_noise
    if level is None or level.same(schedule.finished):
        kind = "none"
    basis = to_balls(_row_basis(stacked(slots, memory)))
    clean = _Context(basis, [arb(0)] * basis.nrows(), basis, zero_matrix(basis.nrows(), seen))
    if kind == "none" or level is None:
        return clean, clean
    scale = (schedule.finished.time() - level.time()).exp()
    added = 1 - squared(scale)
    rows = stacked(to_balls(slots) * scale, to_balls(memory))
    own = [added] * seen + [arb(0)] * memory.nrows()
    noise = zero_matrix(rows.nrows(), seen)
    if kind == "noise":
        for i in range(seen):
            noise[i, i] = added.sqrt()
        noisy = _Context(rows, own, rows, noise)
        return noisy, noisy
    value = stacked(to_balls(slots), to_balls(memory))
    return clean, _Context(rows, own, value, noise)


@dataclass(frozen=True, eq=False)
class _Window:
    """One step's window given its context: E[X⁰ | c] = base + gain · c, covariance S_R."""

    given_context: Matrix
    base: Matrix
    gain: Matrix
    value: Matrix
    noise: Matrix


def _window(laws: _Laws, context: _Context, past: range, here: range) -> _Window:
    cross = submatrix(laws.clean, past, here) * laws.alpha  # Cov(x^δ, X⁰)
    seen = context.rows * cross
    inner = context.rows * submatrix(laws.finished, past, past) * context.rows.transpose()
    gain = solve_balls(inner + diagonal_matrix(context.own), seen).transpose()
    covariance = submatrix(laws.clean, here, here) - gain * seen
    expected = context.rows * submatrix(laws.mean, past, [0]) * laws.alpha
    base = submatrix(laws.mean, here, [0]) - gain * expected
    return _Window(covariance, base, gain, context.value, context.noise)


@dataclass(frozen=True, eq=False)
class _Affine:
    """x̂ (or a state) = window X + past x^δ + noise η + offset."""

    window: Matrix
    past: Matrix
    noise: Matrix
    offset: Matrix

    def minus(self, other: _Affine) -> _Affine:
        return _Affine(
            *(getattr(self, item.name) - getattr(other, item.name) for item in fields(self))
        )

    def scaled(self, weights: Sequence[Any]) -> _Affine:
        return _Affine(
            *(
                scale_both(weights, matrix, [1] * matrix.ncols())
                for matrix in (getattr(self, item.name) for item in fields(self))
            )
        )


def _alpha_sigma(gamma: Sequence[Arb]) -> tuple[list[Arb], list[Arb]]:
    """e^{-t} and 1 − e^{-2t} of signal-to-noise ratios."""
    return [(item / (1 + item)).sqrt() for item in gamma], [1 / (1 + item) for item in gamma]


def _posterior(prior: Matrix, gamma: Sequence[Arb]) -> Matrix:
    """(S⁻¹ + G)⁻¹."""
    size = len(gamma)
    return solve_balls(identity_matrix(size) + scale_both([1] * size, prior, gamma), prior)


def _best(window: _Window, gamma: Sequence[Arb]) -> _Affine:
    """m = E[X⁰ | X_n, c]."""
    posterior = _posterior(window.given_context, gamma)
    size = len(gamma)
    alpha, _ = _alpha_sigma(gamma)
    kept = identity_matrix(size) - scale_both([1] * size, posterior, gamma)
    weights = [a / b for a, b in zip(gamma, alpha, strict=True)]
    through = kept * window.gain
    return _Affine(
        scale_both([1] * size, posterior, weights),
        through * window.value,
        through * window.noise,
        kept * window.base,
    )


def _denoised(
    generator: _Generator,
    best: _Affine,
    window: _Window,
    raw: Matrix | None,
    sub_step: int,
    dim: int,
) -> _Affine:
    """The model's denoiser, from the best one under the law that it believes in."""
    arb = load_flint().arb
    size = best.window.nrows()
    if generator.kind == "scaled":
        return best.scaled([arb(generator.factor)] * size)
    if generator.kind == "biased":
        bias = column_matrix([arb(item) for _ in range(size // dim) for item in generator.bias])
        return replace(best, offset=best.offset + bias)
    if generator.drawn is not None:
        return _perturbed(generator, best, window, raw, sub_step, dim)
    return best


def _perturbed(
    generator: _Generator,
    best: _Affine,
    window: _Window,
    raw: Matrix | None,
    sub_step: int,
    dim: int,
) -> _Affine:
    """m + scale · Z_n u, the draws taken as the dyadic numbers that they are."""
    arb, flint = load_flint().arb, load_flint()
    size, seen = best.window.nrows(), best.noise.ncols()
    columns = size + (0 if raw is None else generator.reference * dim + raw.nrows())
    rng = np.random.default_rng((generator.drawn.seed if generator.drawn else 0, sub_step))
    draw = rng.standard_normal((size, columns))
    unit = arb(generator.scale) / arb(columns).sqrt()
    drawn = flint.arb_mat(draw.tolist()) * unit
    everywhere = range(size)
    first = size + generator.reference * dim
    of_references = submatrix(drawn, everywhere, range(first - seen, first)) if seen else None
    out = replace(best, window=best.window + submatrix(drawn, everywhere, everywhere))
    past = out.past
    if raw is not None and raw.nrows():
        past = past + submatrix(drawn, everywhere, range(first, columns)) * to_balls(raw)
    noise = out.noise
    if of_references is not None:
        # references are the first `seen` rows of a noisy context; of a clean one, frames
        noisy = not all(item.is_zero() for item in window.noise.entries())
        values = zero_matrix(seen, past.ncols())
        for i in range(seen):
            values[i, past.ncols() - seen + i] = arb(1)
        if noisy:
            values = submatrix(window.value, range(seen), range(past.ncols()))
            noise = noise + of_references * submatrix(window.noise, range(seen), range(seen))
        past = past + of_references * values
    return replace(out, past=past, noise=noise)


def _bridge(before: Sequence[Arb], after: Sequence[Arb]) -> tuple[list[Arb], list[Arb], list[Arb]]:
    """x' = a x + b x̂ + N(0, v) from one row of signal-to-noise ratios to the next."""
    arb = load_flint().arb
    a, b, v = [], [], []
    for old, new in zip(before, after, strict=True):
        if old is new:
            a.append(arb(1))
            b.append(arb(0))
            v.append(arb(0))
            continue
        [alpha_from, alpha_to], [var_from, var_to] = _alpha_sigma([old, new])
        decay = alpha_from / alpha_to
        step = 1 - squared(decay)
        a.append(decay * var_to / var_from)
        b.append(alpha_to * step / var_from)
        v.append(var_to * step / var_from)
    return a, b, v


# --- worlds: Theorem A ----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _World:
    video: _Video
    believed: _Video
    schedule: _Schedule
    generator: _Generator
    plan: RollOut

    @property
    def sees_truth(self) -> bool:
        """Whether the denoiser believes the true law of what it sees."""
        level = self.schedule.context_level
        labelled = self.schedule.context_noise == "label" and level is not None
        labelled = labelled and not level.same(self.schedule.finished)  # type: ignore[union-attr]
        return self.believed is self.video and not labelled


def theorem_a_terms(world: _World) -> dict[str, Arb]:
    """Every term of Theorem A per step, totals, output and clip KL, at the working precision."""
    arb = load_flint().arb
    schedule, plan, dim = world.schedule, world.plan, world.video.dim
    truth = _laws(world.video, plan.needed, schedule.finished)
    belief = truth
    if world.believed is not world.video:
        belief = _laws(world.believed, plan.needed, schedule.finished)
    gammas = schedule.snr(dim)
    start = (schedule.window - schedule.stride) * dim
    mean, joint, ie = _initial_law(world, truth, belief, gammas[0][:start])
    out: dict[str, Arb] = {"ie": ie}
    totals = {name: arb(0) for name in ("nie", "see", "de", "mb")}
    for k in range(plan.steps):
        finished = k * schedule.stride
        past = range(finished * dim)
        here = range(finished * dim, (finished + schedule.window) * dim)
        seen, believed = _contexts(schedule, world.generator, finished, dim)
        best = _window(truth, seen, past, here)
        model = best if world.sees_truth else _window(belief, believed, past, here)
        given_past = _given_past(truth, past, here)
        step = {
            "nie": _noise_initialisation(truth, given_past, here, gammas[0], start, schedule),
            "de": _discretisation(best.given_context, gammas),
            "mb": _bottleneck(best.given_context, given_past, gammas) if finished else arb(0),
        }
        step["see"], kernel = _run(world, truth, best, model, gammas, past, here)
        for name, value in step.items():
            out[f"{name}[{k}]"] = value
            totals[name] = totals[name] + value
        mean, joint = _advance(mean, joint, kernel, past, here, start)
    out |= totals
    out["chain"] = ie + sum(totals.values(), arb(0))
    return out | _output(world, truth, mean, joint)


def _given_past(laws: _Laws, past: range, here: range) -> Matrix:
    """S_P: the window's clean frames given all finished ones."""
    cross = submatrix(laws.clean, past, here) * laws.alpha
    explained = cross.transpose() * solve_balls(submatrix(laws.finished, past, past), cross)
    return submatrix(laws.clean, here, here) - explained


def _noise_initialisation(
    laws: _Laws,
    given_past: Matrix,
    here: range,
    gamma: Sequence[Arb],
    start: int,
    schedule: _Schedule,
) -> Arb:
    """½[e^{-2T}(tr C − n + |μ|²) − log det(e^{-2T} S + (1 − e^{-2T}) I)] of the entering frames."""
    old, new = range(start), range(start, len(gamma))
    entering = submatrix(given_past, new, new)
    if start:
        cross = submatrix(given_past, old, new)
        noise = diagonal_matrix([1 / item for item in gamma[:start]])
        known = submatrix(given_past, old, old) + noise
        entering = entering - cross.transpose() * solve_balls(known, cross)
    decay = (-2 * schedule.fresh.time()).exp()
    noisy = entering * decay + identity_matrix(len(new)) * (1 - decay)
    frames = [here[i] for i in new]
    zero = load_flint().arb(0)
    power = sum((laws.clean[i, i] + squared(laws.mean[i, 0]) - 1 for i in frames), zero)
    return (decay * power - log_det_ball(noisy, "covariance of the entering frames")) / 2


def _discretisation(given_context: Matrix, gammas: list[list[Arb]]) -> Arb:
    """½ Σ Δγ mmse − ΔI."""
    total = -(
        information_gain(given_context, gammas[-1]) - information_gain(given_context, gammas[0])
    )
    for before, after in itertools.pairwise(gammas):
        posterior = _posterior(given_context, before)
        for i, (old, new) in enumerate(zip(before, after, strict=True)):
            if old is not new:
                total = total + (new - old) * posterior[i, i]
    return total / 2


def _bottleneck(given_context: Matrix, given_past: Matrix, gammas: list[list[Arb]]) -> Arb:
    gained = [
        information_gain(prior, gammas[-1]) - information_gain(prior, gammas[0])
        for prior in (given_context, given_past)
    ]
    return (gained[0] - gained[1]) / 2


@dataclass(frozen=True, eq=False)
class _Kernel:
    """One AR step of the model: its map and the covariance of what it adds."""

    map: _Affine
    covariance: Matrix


def _still(size: int, past: int, seen: int) -> _Kernel:
    nothing = (zero_matrix(size, columns) for columns in (past, seen, 1))
    identity = _Affine(identity_matrix(size), *nothing)
    return _Kernel(identity, zero_matrix(size, size))


def _then(kernel: _Kernel, denoiser: _Affine, before: list[Arb], after: list[Arb]) -> _Kernel:
    """One more ancestral sub-step."""
    a, b, v = _bridge(before, after)
    scaled, so_far = denoiser.scaled(b), kernel.map
    move = scaled.window + diagonal_matrix(a)
    return _Kernel(
        _Affine(
            move * so_far.window,
            move * so_far.past + scaled.past,
            move * so_far.noise + scaled.noise,
            move * so_far.offset + scaled.offset,
        ),
        move * kernel.covariance * move.transpose() + diagonal_matrix(v),
    )


def _run(
    world: _World,
    truth: _Laws,
    best: _Window,
    model: _Window,
    gammas: list[list[Arb]],
    past: range,
    here: range,
) -> tuple[Arb, _Kernel]:
    """SEE_k and the model's kernel of one AR step."""
    generator, dim = world.generator, world.video.dim
    raw = generator.memory_rows(len(past) // dim, dim)
    kernel = _still(len(here), len(past), best.noise.ncols())
    exact = world.sees_truth and generator.kind in ("exact", "misspecified")
    see = load_flint().arb(0)
    for n, (before, after) in enumerate(itertools.pairwise(gammas)):
        optimum = _best(best, before)
        base = optimum if model is best else _best(model, before)
        denoiser = _denoised(generator, base, model, raw, n, dim)
        if not exact:
            error = denoiser.minus(optimum)
            gap = [0 if old is new else new - old for old, new in zip(before, after, strict=True)]
            see = see + _second_moment(error, truth, past, here, before, gap) / 2
        kernel = _then(kernel, denoiser, before, after)
    return see, kernel


def _second_moment(
    error: _Affine,
    laws: _Laws,
    past: range,
    here: range,
    gamma: Sequence[Arb],
    weights: Sequence[Any],
) -> Arb:
    """Σ_i weights_i E e_i², e affine in the noisy window, the finished frames and η."""
    alpha, variance = _alpha_sigma(gamma)
    ones = [laws.alpha] * len(past)
    window = scale_both(alpha, submatrix(laws.clean, here, here), alpha) + diagonal_matrix(variance)
    cross = scale_both(alpha, submatrix(laws.clean, here, past), ones)
    both = beside(error.window, error.past)
    joint = stacked(
        beside(window, cross),
        beside(cross.transpose(), submatrix(laws.finished, past, past)),
    )
    moved = both * joint
    bias = error.offset + error.window * scale_both(alpha, submatrix(laws.mean, here, [0]), [1])
    bias = bias + error.past * submatrix(laws.mean, past, [0]) * laws.alpha
    total = load_flint().arb(0)
    for i, weight in enumerate(weights):
        if isinstance(weight, int) and weight == 0:
            continue
        own = squared(bias[i, 0])
        for j in range(both.ncols()):
            own = own + moved[i, j] * both[i, j]
        for j in range(error.noise.ncols()):
            own = own + squared(error.noise[i, j])
        total = total + weight * own
    return total


def _initial_law(
    world: _World, truth: _Laws, belief: _Laws, gamma: Sequence[Arb]
) -> tuple[Matrix, Matrix, Arb]:
    """Law of the model's first frames at their input levels, and IE_0."""
    size, arb = len(gamma), load_flint().arb
    schedule, generator, dim = world.schedule, world.generator, world.video.dim
    here, nothing = range(size), range(0)
    alpha, variance = _alpha_sigma(gamma)
    exact = scale_both(alpha, submatrix(truth.clean, here, here), alpha) + diagonal_matrix(variance)
    expected = scale_both(alpha, submatrix(truth.mean, here, [0]), [1])
    if generator.initialisation is None or size == 0:
        return expected, exact, arb(0)
    count = size // dim
    first = [schedule.fresh] * count
    last = [schedule.finished] * count
    rows = _log_linear(first, last, generator.initialisation, dim)
    none = _Context(zero_matrix(0, 0), [], zero_matrix(0, 0), zero_matrix(0, 0))
    window = _window(belief, none, nothing, here)
    kernel = _still(size, 0, 0)
    for n, (before, after) in enumerate(itertools.pairwise(rows)):
        denoiser = _denoised(generator, _best(window, before), window, None, n, dim)
        kernel = _then(kernel, denoiser, before, after)
    move = kernel.map.window
    covariance = move * move.transpose() + kernel.covariance  # from N(0, I)
    finished = schedule.finished
    scale = [
        arb(1) if level.same(finished) else (finished.time() - level.time()).exp()
        for level in schedule.start[:count]
        for _ in range(dim)
    ]
    covariance = scale_both(scale, covariance, scale) + diagonal_matrix(
        [1 - squared(item) for item in scale]
    )
    mean = scale_both(scale, kernel.map.offset, [1])
    covariance = _mirrored(covariance)
    names = ("covariance of the initial window", "covariance of the model's initial window")
    return mean, covariance, kl_balls(expected - mean, exact, covariance, names)


def _mirrored(matrix: Matrix) -> Matrix:
    """A symmetric matrix of balls, its lower triangle mirrored."""
    size = range(matrix.nrows())
    entries = [matrix[max(i, j), min(i, j)] for i in size for j in size]
    return load_flint().arb_mat(matrix.nrows(), matrix.nrows(), entries)


def _advance(
    mean: Matrix, joint: Matrix, kernel: _Kernel, past: range, here: range, start: int
) -> tuple[Matrix, Matrix]:
    """The model's law of (finished frames, window) after one more AR step."""
    fresh = len(here) - start
    known = len(past) + start
    mean = stacked(mean, zero_matrix(fresh, 1))
    apart = zero_matrix(known, fresh)
    entering = beside(apart.transpose(), identity_matrix(fresh))
    joint = stacked(beside(joint, apart), entering)
    step, everything = kernel.map, range(known + fresh)
    row = step.window * submatrix(joint, here, everything)
    row = row + step.past * submatrix(joint, past, everything)
    inside = range(len(here))
    block = submatrix(row, inside, here) * step.window.transpose()
    block = block + submatrix(row, inside, past) * step.past.transpose()
    block = _mirrored(block + step.noise * step.noise.transpose() + kernel.covariance)
    cross = submatrix(row, inside, past)
    old = submatrix(mean, past, [0])
    moved = step.window * submatrix(mean, here, [0]) + step.past * old + step.offset
    joint = stacked(beside(submatrix(joint, past, past), cross.transpose()), beside(cross, block))
    return stacked(old, moved), joint


def _output(world: _World, truth: _Laws, mean: Matrix, joint: Matrix) -> dict[str, Arb]:
    """KL of all frames asked for and of the clip finished last, at level δ."""
    plan, dim = world.plan, world.video.dim
    names = ("covariance of the video at level delta", "covariance of the generated video")
    out = {}
    last = plan.generated - world.schedule.stride
    for name, frames in (("output", (0, plan.frames)), ("clip", (last, plan.generated))):
        rows = range(frames[0] * dim, frames[1] * dim)
        shift = submatrix(truth.mean, rows, [0]) * truth.alpha - submatrix(mean, rows, [0])
        model, own = submatrix(joint, rows, rows), submatrix(truth.finished, rows, rows)
        out[name] = kl_balls(shift, own, model, names)
    return out


def read_world(parts: Mapping[str, Any]) -> _World:
    schedule = _schedule(parts["schedule"])
    plan = schedule.roll_out(steps=parts.get("steps"), frames=parts.get("frames"))
    video = read_video(parts["video"])
    check_size(video, plan.needed)
    generator, other = _generator(parts.get("generator"), video.dim)
    believed = video
    if other is not None:
        believed = read_video(other)
        if believed.dim != video.dim:
            raise ParameterError("denoiser.video.dim", f"the video's ({video.dim})", believed.dim)
        check_size(believed, plan.needed)
    return _World(video, believed, schedule, generator, plan)
