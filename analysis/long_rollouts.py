"""What do roll-outs of any length cost, beside the dense path: time, memory, and do they agree?

Totals (`decompose(per_step=False)`) of a video that settles and of one that never does, against the
dense path at every length that it can do. Timings are shipped;
`python -m analysis.long_rollouts --measure` takes them anew (minutes, one thread).
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import scipy.stats

from analysis import shipped
from analysis.cases import LEVELS
from analysis.study import Config, Study
from arvdm_theory.decomposition import decompose
from arvdm_theory.generator import Generator
from arvdm_theory.schedule import Schedule
from arvdm_theory.video import GaussianVideo, Panorama

__all__ = ["STUDY", "measure", "run", "world_of"]

NAME = "long_rollouts"
NUMBERS = ("chain", "output", "clip")
CONFIG: dict[str, Any] = {
    "videos": {
        "AR(2)": {
            "family": "autoregressive",
            "coefficients": [
                [
                    [0.5, 0.05, 0.0, -0.05],
                    [-0.05, 0.45, 0.1, 0.0],
                    [0.0, 0.05, 0.5, 0.1],
                    [0.1, 0.0, -0.05, 0.4],
                ],
                [
                    [0.3, 0.0, 0.05, 0.0],
                    [0.0, 0.25, 0.0, 0.05],
                    [-0.05, 0.0, 0.3, 0.0],
                    [0.0, -0.05, 0.0, 0.25],
                ],
            ],
            "noise_variance": 0.3,
            "dim": 4,
        },
        # a camera that wanders by N(0, 1) pixels a frame around a landscape of 16 sites
        "panorama": {
            "family": "panorama",
            "dim": 4,
            "landscape_length": 16,
            "correlation_length": 4.0,
            "noise_variance": 0.05,
        },
    },
    "path": {"seed": 0, "step": 1.0},
    "schedule": {"method": "fifo", "window": 8, "substeps": 8, **LEVELS},
    "generator": {"denoiser": {"kind": "scaled", "factor": 0.99}, "reference": 4},
    "steps": {
        "AR(2)": {
            "linear": [100, 200, 400, 800, 1_900, 10_000, 100_000, 1_000_000],
            "dense": [100, 200, 400, 800, 1_900],
        },
        "panorama": {
            "linear": [100, 200, 400, 800, 1_900, 5_000, 10_000, 30_000, 100_000],
            "dense": [100, 200, 400, 800],
        },
    },
    "runs": 3,
    "once_beyond_seconds": 5.0,
    "settled_from": 800,
    "confidence": 0.95,
    "ratio": 1000.0,
}
"""`runs` of each length, one where it takes longer than `once_beyond_seconds`. Slopes are fitted
over all lengths of the dense path, and over those from `settled_from` on of the linear one."""


def world_of(config: Config, video: str, steps: int) -> tuple[GaussianVideo, Schedule, Generator]:
    """Video, schedule and generator for a roll-out of so many AR steps."""
    described = dict(config["videos"][video])
    schedule = Schedule.from_json(config["schedule"])
    if described["family"] == "panorama":
        described.pop("family")
        frames = (steps - 1) * schedule.stride + schedule.window
        moves = np.random.default_rng(config["path"]["seed"]).standard_normal(frames)
        law: GaussianVideo = Panorama(config["path"]["step"] * np.cumsum(moves), **described)
    else:
        law = GaussianVideo.from_json(described)
    return law, schedule, Generator.from_json(config["generator"])


def _peak() -> float:
    """Largest resident memory of this process so far, MiB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1024.0**2 if sys.platform == "darwin" else 1024.0)


def _timed(config: Config, video: str, way: str, steps: int) -> list[dict[str, Any]]:
    """All runs of one length in this process; the first says how much memory it took."""
    law: Any = "dense" if way == "dense" else "kalman"
    short, schedule, generator = world_of(config, video, 40)
    decompose(short, schedule, generator, steps=40, law=law, per_step=False)  # first calls are slow
    world = world_of(config, video, steps)
    rows: list[dict[str, Any]] = []
    for count in range(config["runs"]):
        before = _peak()
        start = time.process_time()
        found = decompose(*world, steps=steps, law=law, per_step=False)
        seconds = time.process_time() - start
        row = {
            "video": video,
            "way": way,
            "steps": steps,
            "run": count,
            "cpu_seconds": seconds,
            "memory_mib": _peak() - before if count == 0 else None,
            "settled": found.settled,
        }
        for name in NUMBERS:
            row[name] = getattr(found, name)
            row[f"{name}_error_bound"] = found.error_bound[name]
        rows.append(row)
        if seconds > config["once_beyond_seconds"]:
            break
    return rows


def measure(config: Config = CONFIG, *, results: Path = shipped.RESULTS) -> None:
    """Time every length in a process of its own, with one thread, and ship the numbers."""
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # of the processes started below
    rows: list[dict[str, Any]] = []
    spawn = multiprocessing.get_context("spawn")
    for video, ways in config["steps"].items():
        for way, lengths in ways.items():
            for steps in lengths:
                with ProcessPoolExecutor(1, mp_context=spawn) as pool:
                    rows += pool.submit(_timed, config, video, way, steps).result()
                last = rows[-1]
                print(f"{video}, {way}, K = {steps}: {last['cpu_seconds']:.3g} s", flush=True)
    manifest = {
        "config": config,
        "trials": "CPU seconds of one process with one thread; each length in a fresh process, "
        "after a short roll-out of 40 steps; memory is the growth of the largest resident size",
        "processor": _processor(),
    }
    shipped.write(NAME, pandas.DataFrame(rows), manifest, results=results)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        return names[0] if names else "unknown"
    except OSError:
        return "unknown"


def compute(config: Config) -> pandas.DataFrame:
    """One row per video, way (`linear`, `dense`) and number of steps, medians over `runs`.

    `cpu_seconds` with its quartiles; `memory_mib` that the roll-out took; `settled`, the step from
    which on nothing was iterated. `slope` of log seconds on log K with its confidence interval,
    over the lengths with `fitted`. On dense rows: `ratio` of its seconds to the linear ones;
    `steps_for_ratio`, the K at which it would be the configured one (extrapolated along the slope
    between the last two lengths, or interpolated); per number the difference from the linear path
    and the sum of both error bounds.
    """
    return derived(shipped.read(NAME, config)[0], config)


def derived(measured: pandas.DataFrame, config: Config) -> pandas.DataFrame:
    """What `compute` returns, of measured rows."""
    groups = measured.groupby(["video", "way", "steps"], sort=False)
    table = groups.agg(
        runs=("run", "size"),
        cpu_seconds=("cpu_seconds", "median"),
        lower_quartile=("cpu_seconds", lambda x: x.quantile(0.25)),
        upper_quartile=("cpu_seconds", lambda x: x.quantile(0.75)),
        memory_mib=("memory_mib", "first"),
        settled=("settled", "first"),
        **{name: (name, "first") for each in NUMBERS for name in (each, f"{each}_error_bound")},
    ).reset_index()
    fits = {}
    table["fitted"] = False
    for (video, way), rows in table.groupby(["video", "way"], sort=False):
        kept = rows[rows["steps"] >= config["settled_from"]] if way == "linear" else rows
        table.loc[kept.index, "fitted"] = True
        fits[video, way] = _line(kept, config["confidence"])
        for column, value in zip(
            ("slope", "slope_lower", "slope_upper"), fits[video, way][:3], strict=True
        ):
            table.loc[rows.index, column] = value
    linear = table[table["way"] == "linear"].set_index(["video", "steps"])
    for index, row in table[table["way"] == "dense"].iterrows():
        video, steps = row["video"], row["steps"]
        other = linear.loc[video, steps]
        table.loc[index, "ratio"] = row["cpu_seconds"] / other["cpu_seconds"]
        longest = table[(table["video"] == video) & (table["way"] == "dense")]
        crossing = _crossing(longest, fits[video, "linear"], config["ratio"])
        table.loc[index, "steps_for_ratio"] = crossing
        for name in NUMBERS:
            bounds = row[f"{name}_error_bound"] + other[f"{name}_error_bound"]
            table.loc[index, f"{name}_difference"] = abs(row[name] - other[name])
            table.loc[index, f"{name}_allowed"] = bounds
    return table


def _line(rows: pandas.DataFrame, confidence: float) -> tuple[float, float, float, float]:
    """Slope of log seconds on log K with its interval, and the intercept."""
    x, y = np.log(rows["steps"].to_numpy(float)), np.log(rows["cpu_seconds"].to_numpy(float))
    fit = scipy.stats.linregress(x, y)
    freedom = len(rows) - 2
    half = np.inf if freedom < 1 else fit.stderr * scipy.stats.t.ppf(0.5 + confidence / 2, freedom)
    half = float(half)
    slope = float(fit.slope)
    return slope, slope - half, slope + half, float(fit.intercept)


def _crossing(dense: pandas.DataFrame, linear: tuple[float, ...], ratio: float) -> float:
    """K at which the dense path takes `ratio` times as long as the `linear` line.

    Along the slope between its last two lengths, less than the cubic one that it is to become.
    """
    longest = dense.iloc[-1]
    slope = _line(dense.tail(2), 0.5)[0] - linear[0]
    seconds = np.exp(linear[3] + linear[0] * np.log(longest["steps"]))
    now = longest["cpu_seconds"] / seconds
    return float(longest["steps"] * (ratio / now) ** (1.0 / slope))


STUDY = Study(
    name=NAME,
    question="What do roll-outs of any length cost, and do they agree with the dense path?",
    revision=1,
    config=CONFIG,
    compute=compute,
    inputs=lambda config: shipped.files_of(NAME),
)
run = STUDY.run


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog=f"python -m analysis.{NAME}", description=__doc__)
    parser.add_argument("--measure", action="store_true", help="take the timings anew")
    if parser.parse_args(arguments).measure:
        measure()
    run()


if __name__ == "__main__":
    main()
