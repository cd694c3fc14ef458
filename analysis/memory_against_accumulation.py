r"""What does better memory cost, and why: forgetting against accumulated error, exactly.

A generator is given true frames and goes on alone; what it finishes is compared with the truth
*given those frames*, as a test of retrieval and of PSNR decay does. Frames at level δ:

- forgetting: MB per AR step, the mean over the last span of frames (Theorem A);
- **accumulated error**: $E\,KL\big(P(\text{last span} \mid \text{given}) \,\|\,
  Q(\text{last span} \mid \text{given})\big)$ per frame, minus what the exact denoiser with the same
  memory has there. The subtracted part is due to memory alone (`forgetting_nats`); the rest is
  what the denoiser's errors have become by then, and 0 if it makes none. It is not PSNR decay,
  which counts forgetting as well; its share that was not there in the first span is `growth`;
- PSNR decay, the squared error against the truth in the last span over that in the first, and
  retrieval, that of frames whose content was given (Figure 9's axes), with the decay that the
  exact denoiser has too.

Two other readings of "accumulated" are beside it, because the causes differ in them: what a
frame's own step adds with true frames in memory (`added_nats`; E1: for the whole video these add
up), and the KL of one frame when no frame is given (`clip_kl_nats`, Theorem B's, in which the
exact denoiser has next to nothing to pay: its front is a corner without any subtraction).

The causes, each with its dose: finite training data (`Estimated` from n videos; off at n = ∞) and
own errors that are kept (`Biased` by μ a frame, E5; off at μ = 0). What the default configuration
says (all numbers in nats per frame, memory of all against none):

- Both off: the front is one point, the best memory. Theorem B's KL, from which nothing is
  subtracted, is below 1e-4 whatever the memory (rest: noise initialisation at T = 3).
- Finite data, n = 100: memory costs .105 (static latent, lengths), .105 (panorama, lengths), .087
  (budgets); a fourth of that or less with n = 400. But the error is there from the first span on:
  it does *not* grow along the roll-out, and Theorem B's KL does not depend on memory at all (by
  less than 1e-3), because a denoiser that is exact for a fitted law generates that law's short
  clips whatever it remembers (M7). Lengths that forget the given frames before the end pay little:
  the last span has a plateau there, or a dip.
- Bias, μ = .1: memory costs .073, .285, .216, a fourth of that at half the dose (μ²), and nearly
  all of it grows along the roll-out. Across *budgets* every number costs. Across *lengths* the
  error rises only up to `peak_size`, r = 8 and 12 here; then the sign reverses, because a window
  long against the roll-out also takes errors in more slowly (E5's μ(1+r/s) is an asymptote).
- Both: the sum of the two or somewhat less.
- PSNR decay sees neither cleanly. Across lengths the exact denoiser's own decay is 0 dB without
  memory (nothing to lose), 3.0 (static latent) or 2.1 (panorama) between, and 0 with all of it:
  lengths on one side of the hump show a trade-off that no error causes, those on the other its
  reverse. Finite data adds nothing to it; bias raises it at every length. Across budgets of running
  sums, which forget nothing, only bias makes it: retrieval and decay correlate at .98, but by
  .16 dB.

A fit here is one law, each frame with a denoiser of its own. A network that shares weights across
time is not, and may accumulate where these fits cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas

from analysis.cases import LEVELS, back_and_forth
from analysis.retrieval_against_decay import not_dominated
from analysis.study import Config, Study, sweep
from arvdm_theory.accumulation import sequence_kl
from arvdm_theory.checks import positive_integer
from arvdm_theory.decomposition import decompose
from arvdm_theory.generator import (
    Biased,
    Denoiser,
    Estimated,
    Exact,
    Generator,
    RecursiveMemory,
    generated_law,
    resolve,
)
from arvdm_theory.noise import alpha, sigma
from arvdm_theory.schedule import Schedule
from arvdm_theory.video import GaussianVideo

__all__ = ["STUDY", "BiasedFit", "run"]

CONFIG: dict[str, Any] = {
    "schedule": {"method": "next_frame", "substeps": 4, **LEVELS},
    "sampler": "optimal_variance",
    "worlds": {
        "static latent": {
            "video": {"family": "static_latent", "noise_variance": 0.5, "dim": 1},
            "frames": 56,
            "given": 16,
            "returning": [16, 20],
            "first": [16, 20],
            "last": [52, 56],
            "memory": "references",
            "sizes": [0, 1, 2, 4, 8, 16, 32, 55],
        },
        "panorama": {
            "video": {
                "family": "panorama",
                "positions": back_and_forth(6, 43),
                "dim": 2,
                "correlation_length": 4.0,
                "noise_variance": 0.05,
            },
            "frames": 43,
            "given": 7,
            "returning": [7, 13],
            "first": [7, 19],
            "last": [31, 43],
            "memory": "references",
            "sizes": [0, 1, 4, 8, 10, 12, 18, 42],
        },
        "four latents": {
            "video": {
                "family": "static_latent",
                "noise_variance": np.diag([0.25, 0.5, 1.0, 2.0]).tolist(),
                "dim": 4,
            },
            "frames": 48,
            "given": 16,
            "returning": [16, 20],
            "first": [16, 20],
            "last": [44, 48],
            "memory": "budget",
            "sizes": [0, 1, 2, 3, 4],
        },
    },
    "doses": [
        {"cause": "none"},
        {"cause": "finite data", "videos": 400},
        {"cause": "finite data", "videos": 100},
        {"cause": "bias", "bias": 0.05},
        {"cause": "bias", "bias": 0.1},
        {"cause": "both", "videos": 100, "bias": 0.1},
    ],
    "sets": 5,
}
"""Spans are frames a..b-1, counted from 0. `references`: the last r frames are seen. `budget`: b
numbers, the sums of all finished frames of the b pixels with least noise, R1's optimal map there
(the video's noise must rise with the pixel). The panorama's spans are whole periods of the camera's
path, so that all show the same views; `returning` are the views that were given."""

MEANS = (
    *("added_nats", "start_nats", "accumulated_nats", "growth_nats", "clip_kl_nats"),
    *("retrieval_db", "mse_first", "mse_last", "psnr_decay_db", "mse_growth"),
)
"""Columns that are means over training sets."""

LEAST_DECAY_DB = 0.01
"""What T = 3 leaves of the start (noise initialisation) is less."""


@dataclass(frozen=True, eq=False)
class BiasedFit(Biased):
    """x̂ = m + `bias`, m of the law estimated from `videos` videos: both causes at once."""

    videos: int
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "videos", positive_integer("videos", self.videos, 2))

    def believed_video(self, video: GaussianVideo, frames: int) -> GaussianVideo:
        return Estimated(self.videos, self.seed).believed_video(video, frames)


def _denoisers(dose: Mapping[str, Any], sets: int) -> list[Denoiser]:
    """One per training set; one if nothing is trained."""
    if "videos" not in dose:
        return [Biased(dose["bias"]) if "bias" in dose else Exact()]
    seeds = range(1, sets + 1)
    if "bias" in dose:
        return [BiasedFit(dose["bias"], dose["videos"], seed) for seed in seeds]
    return [Estimated(dose["videos"], seed) for seed in seeds]


@dataclass(frozen=True, eq=False)
class _World:
    """A video of which the first `given` frames are given."""

    video: GaussianVideo
    schedule: Schedule
    frames: int
    given: int
    spans: Mapping[str, tuple[int, int]]

    @staticmethod
    def of(entry: Mapping[str, Any], config: Config) -> _World:
        named = {name: (entry[name][0], entry[name][1]) for name in ("returning", "first", "last")}
        return _World(
            GaussianVideo.from_json(entry["video"]),
            Schedule.from_json(config["schedule"]),
            entry["frames"],
            entry["given"],
            {**named, "all": (entry["given"], entry["frames"])},
        )

    def truth(self) -> np.ndarray:
        """Covariance of all frames at level δ."""
        level = self.schedule.t_min
        clean = self.video.covariance(self.frames)
        signal, added = float(alpha(level)) ** 2, float(sigma(level)) ** 2
        return np.asarray(signal * clean + added * np.eye(len(clean)))

    def pixels(self, first: int, last: int) -> np.ndarray:
        """Coordinates of frames first..last-1."""
        return np.arange(first * self.video.dim, last * self.video.dim)

    def generated(self, generator: Generator) -> tuple[np.ndarray, np.ndarray]:
        """Mean (as deviation) and covariance of the whole roll-out from no frames at all."""
        steps = self.frames // self.schedule.stride
        return generated_law(resolve(self.video, self.schedule, generator, steps))


def _continued(world: _World, mean: np.ndarray, joint: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Law of (true given frames, what follows them), from that of the whole roll-out.

    Where w = Δ all that is carried on are the finished frames, so that the roll-out's law given
    its own first frames is what the generator makes of any first frames, true ones too.
    """
    assert world.schedule.window == world.schedule.stride
    cut = world.given * world.video.dim
    true = world.truth()[:cut, :cut]
    gain = np.linalg.solve(joint[:cut, :cut], joint[:cut, cut:]).T
    rest = joint[cut:, cut:] - gain @ joint[:cut, cut:]
    known = gain @ true
    law = np.block([[true, known.T], [known, known @ gain.T + 0.5 * (rest + rest.T)]])
    return np.concatenate([np.zeros(cut), mean[cut:] - gain @ mean[:cut]]), law


def _readings(world: _World, generator: Generator) -> dict[str, float]:
    """Every reading of one generator; KLs per frame, and the largest of their rounding errors."""
    mean, joint = world.generated(generator)
    truth, dim, cut = world.truth(), world.video.dim, world.given * world.video.dim
    shift, law = _continued(world, mean, joint)
    out: dict[str, float] = {"rounding": 0.0}
    for name in ("all", "first", "last"):
        first, last = world.spans[name]
        seen = np.concatenate([np.arange(cut), world.pixels(first, last)])
        block = np.ix_(seen, seen)
        own = (np.zeros(seen.size), truth[block])
        found = sequence_kl(own, (shift[seen], law[block]), dim=dim)
        out[f"kl_{name}"] = float(found.per_frame[world.given :].sum()) / (last - first)
        out["rounding"] = max(out["rounding"], found.error_bound / (last - first))
    clips = []
    for frame in range(*world.spans["last"]):
        here = world.pixels(frame, frame + 1)
        block = np.ix_(here, here)
        own = (np.zeros(dim), truth[block])
        clips.append(sequence_kl(own, (mean[here], joint[block]), dim=dim).total)
    out["clip_kl_nats"] = float(np.mean(clips))
    true_gain = np.linalg.solve(truth[:cut, :cut], truth[:cut])
    together = np.einsum("ij,ji->i", law[:, :cut], true_gain)
    error = shift**2 + np.diag(law) + np.diag(truth) - 2.0 * together
    for name in ("returning", "first", "last"):
        out[f"mse_{name}"] = float(error[world.pixels(*world.spans[name])].mean())
    signal = float(np.diag(truth)[world.pixels(*world.spans["returning"])].mean())
    out["retrieval_db"] = _decibel(signal / out["mse_returning"])
    out["psnr_decay_db"] = _decibel(out["mse_last"] / out["mse_first"])
    out["mse_growth"] = out["mse_last"] - out["mse_first"]
    return out


def _decibel(ratio: float) -> float:
    return float(10.0 * np.log10(ratio))


def _generator(entry: Mapping[str, Any], size: int, config: Config) -> Callable[..., Generator]:
    """Denoiser -> generator with a memory of that size."""
    sampler = config["sampler"]
    if entry["memory"] == "references":
        return lambda denoiser: Generator(denoiser, sampler, reference=size)
    sums = np.eye(size, entry["video"]["dim"])
    memory = RecursiveMemory(np.eye(size), sums) if size else None
    return lambda denoiser: Generator(denoiser, sampler, memory=memory)


def _rows(job: tuple[str, int, Config]) -> list[dict[str, Any]]:
    """One row per dose and training set of one world with one memory."""
    name, size, config = job
    entry = config["worlds"][name]
    world, make = _World.of(entry, config), _generator(entry, size, config)
    exact = _readings(world, make(Exact()))
    first, last = world.spans["last"]
    terms = decompose(world.video, world.schedule, make(Exact()), frames=world.frames)
    out = []
    for dose in config["doses"]:
        for number, denoiser in enumerate(_denoisers(dose, config["sets"])):
            found = exact if dose["cause"] == "none" else _readings(world, make(denoiser))
            row = {"world": name, "memory": entry["memory"], "size": size, "cause": dose["cause"]}
            row |= {"videos": dose.get("videos", np.inf), "bias": dose.get("bias", 0.0)}
            row |= {"set": number, "mb_nats": float(terms.mb_per_step[first:last].mean())}
            row |= {"forgetting_nats": exact["kl_last"], "forgetting_db": exact["psnr_decay_db"]}
            for column, key in (("added", "all"), ("start", "first"), ("accumulated", "last")):
                row[f"{column}_nats"] = found[f"kl_{key}"] - exact[f"kl_{key}"]
            row["growth_nats"] = row["accumulated_nats"] - row["start_nats"]
            row |= {column: found[column] for column in MEANS if column in found}
            row["rounding_nats"] = found["rounding"] + exact["rounding"]
            out.append(row)
    return out


def compute(config: Config) -> pandas.DataFrame:
    r"""One row per world, dose and size of the memory (r frames, or b numbers), nats per frame.

    `videos` n (inf: the exact denoiser), `bias` μ, `sets` training sets. `mb_nats`: forgetting;
    `forgetting_nats`, `forgetting_db`: the exact denoiser's KL of the last span and PSNR decay with
    that memory. Means over training sets, each with its standard error `.._error` (0 where nothing
    is drawn) and, of the accumulated error, standard deviation `accumulated_spread`: `added_nats`
    (a frame's own step), `start_nats` and `accumulated_nats` (first, last span), `growth_nats` (the
    difference), all beyond the exact denoiser's; `clip_kl_nats`; `retrieval_db` (variance of a
    frame over squared error of the returning frames; a sample that knows nothing has -3.01),
    `mse_first`, `mse_last`, `psnr_decay_db`, `mse_growth`. `rounding_nats` bounds the
    floating-point error of the KLs.

    Of the curve of a dose: `on_front`, no other size has as little MB and as little accumulated
    error and one less, and `front_share`, in so many of the training sets; `front_points`;
    `peak_size`, where most is accumulated; for `accumulated`, `added`, `growth` and `clip_kl`:
    `.._cost`, of the largest memory minus that of none, with `.._cost_error` over training sets;
    `trade_off`: `yes` if accumulated_cost is above twice its error and no size accumulates less
    than the size before it (by twice the error of that); `partly` if one does; else `no`.
    `decay_correlation`: of retrieval_db and psnr_decay_db over the sizes, if the decay differs
    by more than 0.01 dB and twice its error.
    """
    jobs = [
        (name, size, config) for name, entry in config["worlds"].items() for size in entry["sizes"]
    ]
    runs = pandas.DataFrame([row for rows in sweep(STUDY.name, _rows, jobs) for row in rows])
    curves = runs.groupby(["world", "cause", "videos", "bias"], sort=False)
    return pandas.concat([_curve(rows) for _, rows in curves], ignore_index=True)


def _standard_error(values: pandas.Series) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def _curve(runs: pandas.DataFrame) -> pandas.DataFrame:
    """One row per size, from one per size and training set."""
    by_size = runs.groupby("size")
    kept = [column for column in runs if column not in ("set", *MEANS)]
    table = by_size[kept].first()
    table["rounding_nats"] = by_size["rounding_nats"].max()
    table["sets"] = by_size["set"].nunique()
    for column in MEANS:
        table[column] = by_size[column].mean()
        table[f"{column}_error"] = by_size[column].apply(_standard_error)
    table["accumulated_spread"] = by_size["accumulated_nats"].std(ddof=1).fillna(0.0)
    of_set = runs.pivot(index="set", columns="size", values="accumulated_nats").to_numpy()
    gain = -table["mb_nats"].to_numpy()
    table["on_front"] = not_dominated(gain, table["accumulated_nats"].to_numpy())
    table["front_share"] = not_dominated(np.broadcast_to(gain, of_set.shape), of_set).mean(axis=0)
    table["front_points"] = int(table["on_front"].sum())
    table["peak_size"] = table.index[int(table["accumulated_nats"].argmax())]
    for name in ("accumulated", "added", "growth", "clip_kl"):
        sets = runs.pivot(index="set", columns="size", values=f"{name}_nats")
        cost = sets[table.index[-1]] - sets[table.index[0]]
        table[f"{name}_cost"], table[f"{name}_cost_error"] = cost.mean(), _standard_error(cost)
    table["trade_off"] = _verdict(of_set, float(table["rounding_nats"].max()))
    decay, error = table["psnr_decay_db"].to_numpy(), table["psnr_decay_db_error"].max()
    told = np.ptp(decay) > max(LEAST_DECAY_DB, 2.0 * error)
    with_retrieval = np.corrcoef(table["retrieval_db"], decay)[0, 1] if told else np.nan
    table["decay_correlation"] = with_retrieval
    return table


def _verdict(accumulated: np.ndarray, rounding: float) -> str:
    """Does more memory cost? From `(training sets, sizes)`, sizes ascending."""

    def above_zero(change: np.ndarray) -> bool:
        slack = 2.0 * _standard_error(pandas.Series(change)) + 2.0 * rounding
        return bool(change.mean() > slack)

    if not above_zero(accumulated[:, -1] - accumulated[:, 0]):
        return "no"
    falls = any(above_zero(-step) for step in np.diff(accumulated, axis=1).T)
    return "partly" if falls else "yes"


STUDY = Study(
    name="memory_against_accumulation",
    question="What does better memory cost in accumulated error, and which cause makes it cost?",
    revision=1,
    config=CONFIG,
    compute=compute,
)
run = STUDY.run
