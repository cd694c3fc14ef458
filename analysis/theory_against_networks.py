r"""A Gaussian law fitted to each world predicts what memory is worth; networks show what they use.

Frames are reduced to their first principal components, those of `paper_repro.queue.components`, in
the units of the frames ([-1, 1]). Two laws are fitted:

- `wandering`: the camera wanders. Stationary, by its autocovariances. Coefficients of a stationary
  law do not depend on what is seen, so it cannot recognise a place that comes back: whatever it
  knows of the next frames it knows by their distance in time alone.
- `returning`: look away and return. Frame 16 + j shows frame 16 - j again, so frames are taken by
  their number: the covariance of the way out by lag, laid along the way there and back. This law
  does know which frame of the memory comes back.

With $S_m$ the covariance of the window given the last m frames at level δ, in nats an AR step,

$$I(X^t_{window}; \text{last } m \mid X^T_{window})
  = \tfrac12 [\log\det(I+\gamma S_0) - \log\det(I+\gamma S_m)]
  \Big|_{\gamma(T)}^{\gamma(t)} = \tfrac12 \int_{\gamma(T)}^{\gamma(t)} (mmse_0 - mmse_m)\,d\gamma
  \quad (L3),$$

what a memory of m frames gives to a window brought from level T to level t; $MB_m$ is what is
missing of the longest. Networks give their share of such an integrand at the levels of their
sampler: their error without memory minus that with it, in the span of the same components, of the
same windows (T2). It is not quite the same quantity: the law sees the components alone, networks
whole frames and the camera's motion, and their error in a span is a part of what those say of whole
frames. (Within the Gaussian law, letting it see 16 components raises what the memory gives in the
first 1 to 8 of them by up to 13 %.)

What is a bound and what is not. A network's error is at least the mmse given all that it sees, and
so is that of every linear denoiser of the components, which a Gaussian law gives: where a network
is below the Gaussian line it knows more than their second moments hold, by recognising places, by
the other pixels or by the motion. A *difference* of two networks' errors is MB + SEE(without) -
SEE(with): neither an upper nor a lower bound of MB. The information of a Gaussian law is exact for
that law, and neither a bound of the world's.

`python -m analysis.theory_against_networks --measure` renders the clips and fits anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import scipy.linalg
from scipy.special import stdtrit

from analysis import shipped
from analysis.inference import mean_over
from analysis.measured_rows import FOLDER, Measured, Rows, inputs, read
from analysis.study import OUT, Config, Study
from arvdm_theory import noise
from arvdm_theory.errors import ParameterError
from arvdm_theory.schedule import Schedule
from arvdm_theory.video import ExplicitCovariance, GaussianVideo
from paper_repro.worlds.walk import CLIPS_A_MAP

__all__ = ["STUDY", "Stationary", "WayBack", "WindowLaws", "fits", "measure", "run", "window_laws"]

NAME = "theory_against_networks"
CONFIG: dict[str, Any] = {
    "results": FOLDER,
    "worlds": ["maze", "blocks"],
    "components": [1, 2, 4, 8, 16],
    "rows": {"prepend-4": 4, "prepend-12": 12, "prepend-28": 28},
    "without": "none",
    "schedule": {"window": 4, "t_max": 4.0, "t_min": 5e-5, "substeps": 8},
    "longest": 28,
    "context": 17,
    "generated": 16,
    "spans": [[0, 4], [4, 12], [12, 28]],
    "confidence": 0.95,
    "fit": {
        "wandering": {"clips": 4096, "groups": 8, "components": 16},
        "returning": {"clips": 4096, "groups": 1, "components": 8, "seed": 40_000},
    },
}
"""`rows`: name → frames of memory. `fit`: clips of each kind; the wandering ones are those that the
networks are trained on."""


# --- the fit --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Stationary:
    """Autocovariances $E[x_{k+h} x_k']$ of centred scores, `(groups of clips, lags, d, d)`."""

    blocks: np.ndarray

    def video(self, frames: int, components: int) -> GaussianVideo:
        """The law of so many frames, first components only."""
        return ExplicitCovariance(self.covariance(frames, components), dim=components)

    def covariance(self, frames: int, components: int, without: int | None = None) -> np.ndarray:
        """Of the frames stacked; `without`: leave out one group of clips."""
        chosen = np.arange(len(self.blocks)) != (-1 if without is None else without)
        lagged = self.blocks[chosen, :, :components, :components].mean(axis=0)
        lag = np.arange(frames)[:, None] - np.arange(frames)[None, :]
        full = np.where(
            (lag >= 0)[..., None, None], lagged[np.abs(lag)], lagged[np.abs(lag)].swapaxes(2, 3)
        )
        size = frames * components
        matrix = full.transpose(0, 2, 1, 3).reshape(size, size)
        return np.asarray(0.5 * (matrix + matrix.T))


@dataclass(frozen=True, eq=False)
class WayBack:
    """Covariances $E[x_a x_b']$ of the frames of the way out, `(groups of clips, T, T, d, d)`."""

    blocks: np.ndarray

    def video(self, path: np.ndarray, components: int) -> GaussianVideo:
        """Frames `path[0]`, `path[1]`, .. of the way out, first components only."""
        out = self.blocks[..., :components, :components].mean(axis=0)
        full = out[path[:, None], path[None, :]]
        size = len(path) * components
        matrix = full.transpose(0, 2, 1, 3).reshape(size, size)
        return ExplicitCovariance(0.5 * (matrix + matrix.T), dim=components)


def fits(table: pandas.DataFrame) -> tuple[dict[str, Stationary], dict[str, WayBack]]:
    """World → law of wandering, and of going back, of the shipped table."""
    stationary, back = {}, {}
    for (world, law), rows in table.groupby(["world", "law"], sort=False):
        groups, lags = rows["group"].nunique(), rows["lag"].nunique()
        dim = rows["component"].nunique()
        blocks = rows[[f"with_{j + 1}" for j in range(dim)]].to_numpy(dtype=np.float64)
        if law == "wandering":
            stationary[str(world)] = Stationary(blocks.reshape(groups, lags, dim, dim))
            continue
        later, earlier = np.tril_indices(lags)
        whole = np.empty((groups, lags, lags, dim, dim))
        whole[:, later, earlier] = blocks.reshape(groups, len(later), dim, dim)
        whole[:, earlier, later] = whole[:, later, earlier].swapaxes(-1, -2)
        back[str(world)] = WayBack(whole)
    return stationary, back


def autocovariances(scores: np.ndarray, lags: int) -> np.ndarray:
    """Mean of $x_{k+h} x_k'$ over clips and k for h < `lags`: `(n, T, d)` → `(lags, d, d)`.

    >>> autocovariances(np.array([[[1.0], [2.0], [-1.0]]]), 2).ravel().tolist()
    [2.0, 0.0]
    """
    length = scores.shape[1]
    return np.stack(
        [
            np.einsum("nki,nkj->ij", scores[:, h:], scores[:, : length - h])
            / (len(scores) * (length - h))
            for h in range(lags)
        ]
    )


def covariances(scores: np.ndarray) -> np.ndarray:
    """Mean of $x_a x_b'$ over clips: `(n, T, d)` → `(T, T, d, d)`."""
    return np.einsum("nai,nbj->abij", scores, scores, optimize=True) / len(scores)


def _scores(frames: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Bytes `(n, T, H, W, C)` to components, frames in [-1, 1]: `(n, T, d)`."""
    parts = [
        (np.asarray(frames[i : i + 64], dtype=np.float32) / 127.5 - 1.0).reshape(
            len(frames[i : i + 64]), frames.shape[1], -1
        )
        @ basis
        for i in range(0, len(frames), 64)
    ]
    return np.concatenate(parts).astype(np.float64)


def draw_scores(
    world: str, law: str, clips: int | None = None, *, config: Config = CONFIG, folder: Path = OUT
) -> np.ndarray:
    """The components of the clips that a law is fitted to, or of the first `clips` of them.

    All of the wandering clips come from the networks' own data set under `folder` / worlds.
    """
    from paper_repro.experiments import experiment
    from paper_repro.queue import components
    from paper_repro.train import data_of
    from paper_repro.worlds import world_from_json

    chosen = experiment(f"{world}-{config['without']}")
    drawn = world_from_json(chosen.world)
    basis = components(drawn, max(config["components"]))
    count = config["fit"][law]["clips"]
    if law == "returning":
        context, seed = config["context"], config["fit"][law]["seed"]
        way_out = drawn.return_clips(clips or count, context, 1, seed)
        return _scores(way_out.frames[:, :context], basis)
    if count != chosen.data.count:
        raise ParameterError("fit.wandering.clips", f"{chosen.data.count}, all of them", count)
    if clips is None:
        return _scores(data_of(chosen, folder / "worlds").frames, basis)
    return _scores(drawn.clips(clips, chosen.data.length, chosen.data.seed).frames, basis)


def fitted_rows(
    world: str, law: str, scores: np.ndarray, groups: int, lags: int
) -> pandas.DataFrame:
    """Covariances of centred scores `(n, T, d)` by group of clips, as rows of the table.

    A row is one component of the later frame; `frame` is the earlier one (of `returning`).
    """
    dim = scores.shape[-1]
    parts = []
    for group, part in enumerate(np.array_split(scores, groups)):
        if law == "wandering":
            blocks = autocovariances(part, lags)
            lag, frame = np.arange(lags), np.full(lags, -1)
        else:
            later, frame = np.tril_indices(lags)
            blocks, lag = covariances(part[:, :lags])[later, frame], later - frame
        values = blocks.reshape(-1, dim)
        parts.append(
            pandas.DataFrame(
                {
                    "world": world,
                    "law": law,
                    "group": group,
                    "frame": np.repeat(frame, dim),
                    "lag": np.repeat(lag, dim),
                    "component": np.tile(np.arange(1, dim + 1), len(lag)),
                }
                | {
                    f"with_{j + 1}": [float(f"{value:.7g}") for value in values[:, j]]
                    for j in range(dim)
                }
            )
        )
    return pandas.concat(parts, ignore_index=True)


def measure(
    config: Config = CONFIG, *, folder: Path = OUT / "train", results: Path = shipped.RESULTS
) -> None:
    """Render, reduce to components, and ship the covariances. Needs ViZDoom and torch."""
    tables, described = [], []
    window, longest = config["schedule"]["window"], config["longest"]
    for world in config["worlds"]:
        for law, lags in (("wandering", longest + window), ("returning", config["context"])):
            scores = draw_scores(world, law, config=config, folder=folder.parent)
            scores = scores[..., : config["fit"][law]["components"]]
            mean = scores.mean(axis=(0, 1))
            scores = scores - mean
            groups = config["fit"][law]["groups"]
            tables.append(fitted_rows(world, law, scores, groups, lags))
            power = np.square(scores).mean(axis=0).sum(axis=-1)
            described.append(
                {
                    "world": world,
                    "law": law,
                    "clips": len(scores),
                    "frames": scores.shape[1],
                    "mean": [float(f"{value:.7g}") for value in mean],
                    "total_variance_by_frame": [float(f"{value:.6g}") for value in power],
                }
            )
    manifest = {
        "config": {key: config[key] for key in SHIPPED},
        "unit": "components of frames in [-1, 1]; wandering: by lag, mean over the frames of a "
        "clip; returning: by frame of the way out",
        "fits": described,
    }
    shipped.write(NAME, pandas.concat(tables, ignore_index=True), manifest, results=results)


SHIPPED = ("worlds", "components", "fit", "context", "longest", "schedule")
"""Settings that the shipped covariances depend on."""


# --- what a Gaussian law says of the window -------------------------------------------------------


@dataclass(frozen=True, eq=False)
class WindowLaws:
    """Covariance of a window of clean frames given its last m frames, `(memories, w d, w d)`."""

    memories: tuple[int, ...]
    covariances: np.ndarray
    window: int

    @cached_property
    def _eigenvalues(self) -> np.ndarray:
        return np.linalg.eigvalsh(self.covariances)[:, None]

    def information(self, gammas: np.ndarray) -> np.ndarray:
        r"""$\tfrac12\log\det(I + \gamma S_m)$, nats, `(memories, levels)`."""
        return np.asarray(0.5 * np.log1p(gammas[:, None] * self._eigenvalues).sum(axis=-1))

    def mmse(self, gammas: np.ndarray) -> np.ndarray:
        r"""$tr (S_m^{-1} + \gamma)^{-1}$, a frame, `(memories, levels)`."""
        each = self._eigenvalues / (1.0 + gammas[:, None] * self._eigenvalues)
        return np.asarray(each.sum(axis=-1) / self.window)

    def of_frames(self, gamma: float) -> np.ndarray:
        """Information of each frame of the window by itself at a level, nats, `(memories, w)`."""
        d = self.covariances.shape[-1] // self.window
        by_frame = self.covariances.reshape(-1, self.window, d, self.window, d)
        own = np.stack([by_frame[:, j, :, j] for j in range(self.window)], axis=1)
        return np.asarray(0.5 * np.log1p(gamma * np.linalg.eigvalsh(own)).sum(axis=-1))


def window_laws(
    covariance: np.ndarray,
    first: int,
    window: int,
    memories: tuple[int, ...],
    level: float,
) -> WindowLaws:
    """Of frames `first` .. `first` + `window` - 1 (from 0), given the last m frames at `level`.

    `covariance`: of all frames up to there, stacked. All m come from one Cholesky factor of the
    past, newest frame first. A memory longer than the past holds all of it.

    >>> from arvdm_theory.video import Autoregressive
    >>> video = Autoregressive([0.9], 0.19)
    >>> laws = window_laws(video.covariance(5), 4, 1, (0, 1, 3), 1e-9)
    >>> laws.covariances.ravel().round(6).tolist()
    [1.0, 0.19, 0.19]
    """
    d, rest = divmod(len(covariance), first + window)
    if rest:
        raise ParameterError("covariance", f"of {first + window} frames", covariance.shape)
    whole = covariance
    now = slice(first * d, (first + window) * d)
    backwards = np.arange(first * d).reshape(first, d)[::-1].ravel()
    past = whole[np.ix_(backwards, backwards)] + np.eye(first * d) / float(noise.gamma(level))
    factor = np.linalg.cholesky(past)
    known = scipy.linalg.solve_triangular(factor, whole[backwards, now], lower=True)
    given = []
    for m in memories:
        seen = known[: min(m, first) * d]
        left = whole[now, now] - seen.T @ seen
        given.append(0.5 * (left + left.T))
    return WindowLaws(memories, np.stack(given), window)


def _schedule(config: Config) -> Schedule:
    return Schedule.chunk(**config["schedule"])


def _trapezoid(gammas: np.ndarray, values: np.ndarray) -> np.ndarray:
    r"""$\tfrac12\int v\,d\gamma$ up to each level, by trapezoids of γ v in log γ; levels last."""
    weighted = gammas * values
    steps = 0.5 * (weighted[..., 1:] + weighted[..., :-1]) * np.diff(np.log(gammas))
    return np.concatenate([np.zeros((*values.shape[:-1], 1)), 0.5 * steps.cumsum(axis=-1)], axis=-1)


def _left(gammas: np.ndarray, values: np.ndarray) -> np.ndarray:
    r"""$\tfrac12\sum\Delta\gamma\,v$ up to each level, v at the noisier end of each step."""
    steps = np.diff(gammas) * values[..., : len(gammas) - 1]
    return np.concatenate([np.zeros((*values.shape[:-1], 1)), 0.5 * steps.cumsum(axis=-1)], axis=-1)


def _right(gammas: np.ndarray, values: np.ndarray) -> np.ndarray:
    r"""$\tfrac12\sum\Delta\gamma\,v$ up to each level, v at the cleaner end of each step."""
    steps = np.diff(gammas) * values[..., 1 : len(gammas)]
    return np.concatenate([np.zeros((*values.shape[:-1], 1)), 0.5 * steps.cumsum(axis=-1)], axis=-1)


MEMORIES = (*range(9), *range(10, 29, 2))


def _wandering(fit: Stationary, dim: int, config: Config, without: int | None = None) -> WindowLaws:
    longest, window = config["longest"], config["schedule"]["window"]
    if without is None:  # refused if it is no law
        whole = fit.video(longest + window, dim).covariance(longest + window)
    else:
        whole = fit.covariance(longest + window, dim, without)
    return window_laws(whole, longest, window, MEMORIES, config["schedule"]["t_min"])


def _theory(world: str, fit: Stationary, config: Config) -> list[dict[str, Any]]:
    """Of the stationary law: gain and MB by memory and level, exactly and by the quadratures."""
    grid = _schedule(config).grid[:, 0]
    gammas = np.asarray(noise.gamma(grid))
    out: list[dict[str, Any]] = []
    for dim in config["components"]:
        laws = _wandering(fit, dim, config)
        gain = _gain(laws, gammas)
        groups = len(fit.blocks)
        parts = [_gain(_wandering(fit, dim, config, g), gammas) for g in range(groups)]
        error, bias = _jackknife(gain, np.stack(parts))
        reach = -stdtrit(groups - 1, 0.5 * (1.0 - config["confidence"])) * error
        mmse = laws.mmse(gammas)
        fewer = mmse[:1] - mmse
        window = config["schedule"]["window"]
        by_trapezoids = window * _trapezoid(gammas, fewer)
        by_steps = window * _left(gammas, fewer)
        for i, m in enumerate(laws.memories):
            for n, level in enumerate(grid):
                row = {
                    "world": world,
                    "law": "wandering",
                    "source": "theory",
                    "memory": m,
                    "components": dim,
                    "level": level,
                    "gamma": gammas[n],
                }
                numbers = {
                    "mb": gain[-1, n] - gain[i, n],
                    "mse": mmse[i, n],
                    "gain_trapezoid": by_trapezoids[i, n],
                    "gain_left": by_steps[i, n],
                }
                out += [{**row, "quantity": name, "value": v} for name, v in numbers.items()]
                out.append(
                    {
                        **row,
                        "quantity": "gain",
                        "value": gain[i, n],
                        "standard_error": error[i, n],
                        "low": gain[i, n] - reach[i, n],
                        "high": gain[i, n] + reach[i, n],
                        "bias": bias[i, n],
                        "over": "groups of clips",
                    }
                )
    return out


def _gain(laws: WindowLaws, gammas: np.ndarray) -> np.ndarray:
    """What m frames say of the window, nats an AR step, by the level reached."""
    information = laws.information(gammas)
    said = information[:1] - information
    return np.asarray(said - said[:, :1])


def _jackknife(whole: np.ndarray, parts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Standard error and bias of an estimate from those without one group each."""
    groups = len(parts)
    spread = ((parts - parts.mean(axis=0)) ** 2).sum(axis=0)
    return np.sqrt((groups - 1) / groups * spread), (groups - 1) * (parts.mean(axis=0) - whole)


def path_back(context: int, generated: int) -> np.ndarray:
    """Which frame of the way out each frame of a return clip shows.

    >>> path_back(3, 3).tolist()
    [0, 1, 2, 1, 0, 1]
    """
    turn = context - 1
    return np.asarray(turn - np.abs(np.arange(context + generated) % (2 * turn) - turn))


def _returning(world: str, fit: WayBack, config: Config) -> list[dict[str, Any]]:
    """Of the law of return clips: MB of the AR steps, and how much of a frame the memory knows.

    Frames that the generator has made count as true: the law does not know its errors.
    """
    grid = _schedule(config).grid[:, 0]
    gammas = np.asarray(noise.gamma(grid))
    context, generated = config["context"], config["generated"]
    window, delta = config["schedule"]["window"], config["schedule"]["t_min"]
    path = path_back(context, generated)
    age = 2 * (np.arange(context, len(path)) - (context - 1))
    first_frames = range(context, context + generated, window)
    memories = (*MEMORIES, len(path))
    out = []
    for dim in (d for d in config["components"] if d <= fit.blocks.shape[-1]):
        video = fit.video(path, dim)
        laws = [
            window_laws(video.covariance(first + window), first, window, memories, delta)
            for first in first_frames
        ]
        gains = np.mean([_gain(law, gammas) for law in laws], axis=0)
        known = np.concatenate([_known(law, gammas) for law in laws], axis=1)
        for i, m in enumerate(MEMORIES):
            row = {"world": world, "law": "returning", "source": "theory", "memory": m}
            row |= {"components": dim}
            for n, level in enumerate(grid):
                at = {"level": level, "gamma": gammas[n]}
                out.append({**row, **at, "quantity": "gain", "value": gains[i, n]})
                lost = gains[-1, n] - gains[i, n]
                out.append({**row, **at, "quantity": "mb", "value": lost})
            for after, up_to in config["spans"]:
                chosen = (age > after) & (age <= up_to)
                share = float((known[i, chosen] / known[-1, chosen]).mean())
                span = f"{after}-{up_to}"
                out.append({**row, "quantity": "known", "span": span, "value": share})
    return out


def _known(laws: WindowLaws, gammas: np.ndarray) -> np.ndarray:
    """What the memory says of each frame by itself at level δ, nats, `(memories, w)`."""
    end, start = laws.of_frames(float(gammas[-1])), laws.of_frames(float(gammas[0]))
    return np.asarray((end[:1] - end) - (start[:1] - start))


# --- what the networks show -----------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Forced:
    """Teacher-forced errors of a network's window, a frame: `(clips, levels, components)`."""

    levels: np.ndarray
    errors: np.ndarray


def _forced(measured: Measured) -> Forced:
    with np.load(measured.path, allow_pickle=False) as stored:
        return Forced(stored["levels"], stored["component_error"].astype(np.float64))


def _networks(world: str, rows: Rows, config: Config) -> list[dict[str, Any]]:
    """I-MMSE estimates of the rows that are there, paired with the network without memory."""
    grid = _schedule(config).grid[:, 0]
    gammas = np.asarray(noise.gamma(grid))
    without = config["without"]
    found: dict[str, dict[int, Forced]] = {}
    for name in (without, *config["rows"]):
        each = {seed: _forced(one) for seed, one in rows.found.get((world, name), {}).items()}
        for seed, forced in each.items():
            if not np.array_equal(forced.levels, grid[:-1]):
                raise ParameterError(
                    f"levels of {world} {name} seed {seed}", "those of the schedule", forced.levels
                )
        found[name] = each
    out: list[dict[str, Any]] = []
    lengths = {without: 0, **config["rows"]}
    longest = max(lengths, key=lambda name: lengths[name])
    for name, memory in lengths.items():
        for j, dim in enumerate(config["components"]):
            row = {
                "world": world,
                "law": "wandering",
                "source": "network",
                "row": name,
                "memory": memory,
                "components": dim,
            }
            own = _errors(found, [name], j)
            if own is not None:
                out += _by_level(row, "mse", own[0], grid[:-1], gammas, config)
            for quantity, pair in (("gain", (without, name)), ("mb", (name, longest))):
                if name == (without if quantity == "gain" else longest):
                    continue
                errors = _errors(found, list(pair), j)
                if errors is not None:
                    row_of = {**row, "against": pair[0] if quantity == "gain" else pair[1]}
                    out += _information(row_of, quantity, errors, grid, gammas, config)
    return out


def _errors(
    found: Mapping[str, Mapping[int, Forced]], names: list[str], component: int
) -> np.ndarray | None:
    """`(networks, seeds, clips, levels)` of the seeds that all of them have."""
    seeds = sorted(set.intersection(*(set(found[name]) for name in names)))
    if not seeds:
        return None
    return np.stack(
        [np.stack([found[name][s].errors[..., component] for s in seeds]) for name in names]
    )


def _information(
    row: dict[str, Any],
    quantity: str,
    errors: np.ndarray,
    grid: np.ndarray,
    gammas: np.ndarray,
    config: Config,
) -> list[dict[str, Any]]:
    """By each rule; `least` and `most`: of any errors that fall between the measured levels."""
    fewer, window = errors[0] - errors[1], config["schedule"]["window"]
    known = gammas[:-1]
    by_trapezoids = window * _trapezoid(known, fewer)
    by_steps = window * _left(gammas, fewer)
    out = _by_level(row, f"{quantity}_trapezoid", by_trapezoids, grid[:-1], gammas, config)
    out += _by_level(row, f"{quantity}_left", by_steps, grid, gammas, config)
    means = errors.mean(axis=(1, 2))
    left, right = (window * rule(known, means) for rule in (_left, _right))
    for item in out:
        if item["quantity"].endswith("_trapezoid"):
            n = int(np.flatnonzero(grid == item["level"])[0])
            item["falls"] = bool(np.all(np.diff(means[:, : n + 1]) <= 0.0))
            item["least"] = float(right[0, n] - left[1, n])
            item["most"] = float(left[0, n] - right[1, n])
    return out


def _by_level(
    row: dict[str, Any],
    quantity: str,
    values: np.ndarray,
    grid: np.ndarray,
    gammas: np.ndarray,
    config: Config,
) -> list[dict[str, Any]]:
    """`values` `(seeds, clips, levels)`: mean and interval over seeds and clips, paired."""
    clips_of_a_map = np.arange(values.shape[1]) // CLIPS_A_MAP
    mean = mean_over(np.moveaxis(values, -1, 0), clusters=clips_of_a_map)
    low, high = mean.interval(config["confidence"])
    return [
        {
            **row,
            "quantity": quantity,
            "level": level,
            "gamma": gammas[n],
            "value": float(mean.value[n]),
            "standard_error": float(mean.standard_error[n]),
            "low": float(low[n]),
            "high": float(high[n]),
            "seeds": mean.seeds,
            "clips": mean.clips,
            "over": mean.over,
        }
        for n, level in enumerate(grid)
    ]


def _retrieval(world: str, rows: Rows, config: Config) -> list[dict[str, Any]]:
    out = []
    for name, memory in {config["without"]: 0, **config["rows"]}.items():
        for after, up_to in config["spans"]:
            for quantity in ("retrieval", "chance"):
                terms = [(name, f"{quantity}:{after}:{up_to}", 1.0)]
                if not rows.showing(world, terms):
                    continue
                mean = rows.combined(world, terms)
                low, high = mean.interval(config["confidence"])
                out.append(
                    {
                        "world": world,
                        "law": "returning",
                        "source": "network",
                        "row": name,
                        "memory": memory,
                        "span": f"{after}-{up_to}",
                        "quantity": quantity,
                        "value": float(mean.value),
                        "standard_error": float(mean.standard_error),
                        "low": float(low),
                        "high": float(high),
                        "seeds": mean.seeds,
                        "clips": mean.clips,
                        "over": mean.over,
                    }
                )
    return out


COLUMNS = (
    *("world", "law", "source", "row", "against", "memory", "components", "level", "gamma"),
    *("span", "quantity", "value", "standard_error", "low", "high", "bias", "least", "most"),
    *("falls", "seeds", "clips", "over"),
)


def compute(config: Config) -> pandas.DataFrame:
    r"""One row per world, law, source, memory, components, level (or span) and quantity.

    Of the stationary law and the networks on wandering clips, nats an AR step of `window` frames:
    `gain`, what the memory says of a window that is brought from level T to `level`; `mb`, the same
    of the frames between it and the longest memory. Exact for the law; networks have
    `.._trapezoid` (trapezoids of γ · error in log γ, to the last level at which errors are known)
    and `.._left` (left sums: by Theorem C what the ancestral sampler pays with these steps in this
    span, MB + DE + SEE of the one minus those of the other). `gain_trapezoid` and `gain_left` of
    the law are the same sums of *its* errors: against its `gain` they show what the quadrature
    costs. `least`, `most`: of the integral for any errors that fall monotonically between the
    levels (`falls`: they do at the levels). `mse`, a frame, in the span of the components. `low`,
    `high`: 95 % over seeds and clips (`over`), of the law over groups of clips (jackknife, with its
    `bias`).

    Of the law of return clips: `gain` and `mb`, mean over its AR steps, and `known`, the share of
    what all of the past says of a frame at level δ that the memory says, mean over the frames of an
    age (`span`); networks: `retrieval` and `chance`.
    """
    table, manifest = shipped.read(NAME)
    for key in SHIPPED:
        known, asked = manifest["config"][key], config[key]
        fewer = key in ("worlds", "components") and set(asked) <= set(known)
        if known != asked and not fewer:
            raise ParameterError(key, f"{known}, as shipped", asked)
    rows, (stationary, back) = read(config["results"]), fits(table)
    out: list[dict[str, Any]] = []
    for world in config["worlds"]:
        out += _theory(world, stationary[world], config)
        out += _returning(world, back[world], config)
        out += _networks(world, rows, config)
        out += _retrieval(world, rows, config)
    return pandas.DataFrame(out, columns=list(COLUMNS))


STUDY = Study(
    name=NAME,
    question="Does a Gaussian video fitted to each world predict what memory is worth to networks?",
    revision=2,
    config=CONFIG,
    compute=compute,
    inputs=lambda config: inputs(config["results"]) + shipped.files_of(NAME),
)
run = STUDY.run


def main(arguments: list[str] | None = None) -> None:
    shipped.command(NAME, __doc__, measure, arguments)


if __name__ == "__main__":
    main()
