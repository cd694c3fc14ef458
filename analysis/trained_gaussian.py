"""Do two routes to the score error of a trained network agree where the truth is known?

Measured: a small network on each of three Gaussian worlds, evaluated while it trains, every
quantity on clips and noise of its own. Loss route: T1 minus exact DE, MB and the constant of
Theorem C. Paired route: T1 minus T1 of the exact denoiser on the same clips and noise. Truth route:
½ Σ Δγ E‖x̂ − m‖² with m exact. And T2 minus exact MB against SEE without memory minus SEE with it.

Training and measuring takes about eleven minutes of one core, so the shipped measurements are read;
`python -m analysis.trained_gaussian --measure` trains (or resumes) and measures anew.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import scipy.stats

from analysis import shipped
from analysis.study import OUT, Config, Study, write_atomically
from arvdm_theory.empirical import (
    Estimate,
    LeastLoss,
    WeightedError,
    denoising_loss,
    exact_denoiser,
    least_loss,
    memory_bottleneck_estimate,
    score_error,
)
from arvdm_theory.errors import ParameterError
from arvdm_theory.schedule import Schedule

__all__ = [
    "CONFIG",
    "LEVEL",
    "MEMORY",
    "STUDY",
    "comparisons",
    "described",
    "joint_reach",
    "measure",
    "run",
    "ship",
]

LOG = logging.getLogger("analysis")

NAME = "trained_gaussian"

CONFIG: dict[str, Any] = {
    "experiments": {
        "short memory": "gaussian-short",
        "seasonal": "gaussian-seasonal",
        "panorama": "gaussian-panorama",
    },
    "settings": [],
    "checkpoints": [50, 150, 400, 1200, 3200],
    "substeps": 8,
    "context": 1,
    "steps": 4,
    "clips": {"loss": 5000, "paired": 2000, "truth": 1000, "t2": 2000},
    "draws": 8,
    "panels": 1,
    "seed": 2024,
}
"""`settings` as of `paper_repro.experiments.override`; `checkpoints` are training steps; `steps`
AR steps after `context` given frames; `clips` of every route; `draws` of (AR step, level) a
clip; `panels` of T2's quadrature."""

MEMORY: dict[str, int | None] = {"none": 0, "all": None}
"""What the network is shown besides its reference frame: nothing, or all older finished frames."""

ROUTES = ("loss", "paired", "truth", "t2")
BATCH = 1024


LEVEL = 0.01
"""Of all comparisons together: probability that any of them fails if the routes agree."""


def joint_reach(count: int, level: float) -> float:
    """Standard errors beyond which one of `count` normal numbers lies with probability `level` at
    most (Bonferroni, two-sided).

    >>> round(joint_reach(1, 0.05), 2)
    1.96
    """
    return float(scipy.stats.norm.isf(0.5 * level / count))


def comparisons(table: pandas.DataFrame) -> pandas.DataFrame:
    """Every pair of routes to one number: their difference and its standard error.

    The two sides of a row share no sample; both are in nats a frame. Rows of the same world and
    training step share clips (both routes are compared with the truth route, with memory and
    without), which a joint interval by Bonferroni allows. `z`: difference in standard errors.
    """
    rows = []
    measured = table[table["training_steps"] > 0]
    pairs = (
        ("SEE, loss route", "SEE, truth route"),
        ("SEE, paired route", "SEE, truth route"),
        ("T2 − MB", "SEE none − SEE all, truth route"),
    )
    groups = measured.groupby(["world", "training_steps", "memory"], sort=False)
    for (world, trained, memory), group in groups:
        values = group.set_index("quantity")
        for one, other in pairs:
            if one not in values.index:
                continue
            left, right = values.loc[one], values.loc[other]
            error = float(np.hypot(left["standard_error"], right["standard_error"]))
            rows.append(
                {
                    "world": world,
                    "training_steps": trained,
                    "memory": memory,
                    "one": one,
                    "other": other,
                    "one_value": left["value"],
                    "one_error": left["standard_error"],
                    "other_value": right["value"],
                    "other_error": right["standard_error"],
                    "z": (left["value"] - right["value"]) / error,
                }
            )
    return pandas.DataFrame(rows)


# --- training and measuring -----------------------------------------------------------------------


def measure(config: Config, folder: Path) -> tuple[pandas.DataFrame, float]:
    """Train every network in `folder`, or go on there, and measure each at its checkpoints.

    One row per world, training step, memory and quantity: `value` and `standard_error` in nats a
    frame over `frames` finished frames, `clips` independent clips. Exact values have
    `training_steps` 0 and no standard error. Also the seconds that measuring took. Needs torch.
    """
    import torch

    from paper_repro.experiments import experiment, override
    from paper_repro.train import run as train

    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    spent = 0.0
    for number, (world, name) in enumerate(config["experiments"].items()):
        chosen = override(experiment(name), config["settings"])
        home = folder / f"{name}-{_key(chosen.to_json())}"
        asked = _key([number, {key: config[key] for key in _MEASURING}])
        schedule, video = _law(chosen, config)
        exact = {memory: _floor(video, schedule, config, memory, chosen) for memory in MEMORY}
        rows += [row | {"world": world} for row in _exact_rows(exact, schedule, config)]
        trained = False
        for step in config["checkpoints"]:
            path = home / f"measured-{asked}-{step}.json"
            if not path.exists():
                if not trained:
                    train(chosen, home, folder / "worlds", accelerator="cpu", progress=False)
                    trained = True
                start = time.perf_counter()
                found = _measured(chosen, home, step, config, exact, number)
                seconds = round(time.perf_counter() - start, 2)
                text = json.dumps({"seconds": seconds, "rows": found}, indent=1) + "\n"
                write_atomically(path, text.encode())
                LOG.info("%s, step %d: %.1f s", world, step, seconds)
            whole = json.loads(path.read_text())
            spent += whole["seconds"]
            rows += [row | {"world": world} for row in whole["rows"]]
    columns = ["world", "training_steps", "memory", "quantity", "value", "standard_error"]
    return pandas.DataFrame(rows)[[*columns, "clips", "frames"]], spent


_MEASURING = ("substeps", "context", "steps", "clips", "draws", "panels", "seed")


def _key(parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def _law(chosen: Any, config: Config) -> tuple[Schedule, Any]:
    from paper_repro.worlds import GaussianWorld, world_from_json

    levels = {"t_max": chosen.diffusion.t_max, "t_min": chosen.diffusion.t_min}
    schedule = Schedule.chunk(chosen.network.window, substeps=config["substeps"], **levels)
    seen = config["context"] + (config["steps"] - 1) * schedule.stride
    held = chosen.network.reference + chosen.network.memory
    if seen > held:  # or "all" would not be all, and T2 not an estimate of MB
        raise ParameterError(
            "steps", f"so few that at most {held} frames are finished before the last", seen
        )
    world = world_from_json(chosen.world)
    assert isinstance(world, GaussianWorld)
    return schedule, world.video


def _floor(video: Any, schedule: Schedule, config: Config, memory: str, chosen: Any) -> LeastLoss:
    return least_loss(
        video,
        schedule,
        reference=chosen.network.reference,
        memory=MEMORY[memory],
        context=config["context"],
        steps=config["steps"],
    )


def _exact_rows(
    exact: Mapping[str, LeastLoss], schedule: Schedule, config: Config
) -> list[dict[str, Any]]:
    frames = config["steps"] * schedule.stride
    return [
        {
            "training_steps": 0,
            "memory": memory,
            "quantity": f"exact {term}",
            "value": float(value) / frames,
            "standard_error": None,
            "clips": None,
            "frames": frames,
        }
        for memory, floor in exact.items()
        for term, value in (
            ("DE", floor.de.sum()),
            ("MB", floor.mb.sum()),
            ("information", floor.information.sum()),
            ("T1", floor.total),
        )
    ]


def _measured(
    chosen: Any,
    home: Path,
    step: int,
    config: Config,
    exact: Mapping[str, LeastLoss],
    number: int,
) -> list[dict[str, Any]]:
    """All routes at one checkpoint, each on clips and noise of its own."""
    import torch

    from paper_repro.arvdm.checkpoint import path_of_step
    from paper_repro.arvdm.diffusion import pixels
    from paper_repro.arvdm.training import load_network
    from paper_repro.worlds import world_from_json

    network, _ = load_network(path_of_step(home / "checkpoints", step))
    world = world_from_json(chosen.world)
    schedule, video = _law(chosen, config)
    truth = exact_denoiser(video, schedule)
    frames = config["steps"] * schedule.stride
    rows: list[dict[str, Any]] = []

    def given(route: str) -> dict[str, Any]:
        state = [config["seed"], number, step, ROUTES.index(route)]
        seeds = np.random.SeedSequence(state).generate_state(2)
        length = config["context"] + (config["steps"] - 1) * schedule.stride + schedule.window
        clips = world.clips(config["clips"][route], length, int(seeds[0]))
        return {
            "clips": pixels(clips.frames),
            "action": torch.from_numpy(np.array(clips.actions)),
            "context": config["context"],
            "steps": config["steps"],
            "reference": chosen.network.reference,
            "draws": config["draws"],
            "seed": int(seeds[1]),
            "batch": BATCH,
        }

    def add(memory: str, quantity: str, estimate: Estimate, less: float = 0.0) -> None:
        rows.append(
            {
                "training_steps": step,
                "memory": memory,
                "quantity": quantity,
                "value": estimate.value - less,
                "standard_error": estimate.standard_error,
                "clips": estimate.n,
                "frames": frames,
            }
        )

    alone, both, known, pair = (given(route) for route in ROUTES)
    for memory, shown in MEMORY.items():
        floor = exact[memory].total / frames
        loss = denoising_loss(network, schedule, memory=shown, **alone).per_frame
        add(memory, "T1", loss)
        add(memory, "SEE, loss route", loss, floor)
        own = denoising_loss(network, schedule, memory=shown, **both)
        least = denoising_loss(truth, schedule, memory=shown, **both)
        add(memory, "SEE, paired route", own.difference(least))
        see = score_error(network, truth, schedule, memory=shown, **known)
        add(memory, "SEE, truth route", see.per_frame)
    quadrature = {"panels": config["panels"]}
    integral: dict[str, WeightedError] = {
        memory: score_error(
            network, truth, schedule, memory=shown, rule="integral", **quadrature, **known
        )
        for memory, shown in MEMORY.items()
    }
    add("both", "SEE none − SEE all, truth route", integral["none"].difference(integral["all"]))
    estimate = memory_bottleneck_estimate(
        network, network, schedule, memory=MEMORY["none"], past=None, **quadrature, **pair
    ).per_frame
    add("both", "T2", estimate)
    add("both", "T2 − MB", estimate, float(exact["none"].mb.sum()) / frames)
    return rows


# --- what is shipped ------------------------------------------------------------------------------


def described(config: Config) -> dict[str, Any]:
    """The networks' whole configurations, by name."""
    from paper_repro.experiments import experiment, override

    return {
        name: override(experiment(name), config["settings"]).to_json()
        for name in config["experiments"].values()
    }


def ship(
    config: Config = CONFIG,
    *,
    folder: Path = OUT / "trained_gaussian",
    results: Path = shipped.RESULTS,
) -> pandas.DataFrame:
    """Train and measure (or go on), and ship the numbers. Needs torch."""
    start = time.perf_counter()
    table, spent = measure(config, folder)
    experiments = described(config)
    seconds = {
        name: shipped.training_seconds(folder / f"{name}-{_key(whole)}" / "log.jsonl")
        for name, whole in experiments.items()
    }
    manifest = {
        "config": dict(config),
        "experiments": experiments,
        "unit": "nats a finished frame",
        "training_seconds": seconds,
        "measuring_seconds": round(spent, 1),
        "threads": 1,
    }
    shipped.write(NAME, table, manifest, results=results)
    LOG.info("%s: %d rows in %.1f s", NAME, len(table), time.perf_counter() - start)
    return table


def compute(config: Config) -> pandas.DataFrame:
    """The shipped table; columns as of `measure`."""
    return shipped.read(NAME, config)[0]


STUDY = Study(
    name=NAME,
    question="Do two routes to a trained network's score error agree where the truth is known?",
    revision=1,
    config=CONFIG,
    compute=compute,
    inputs=lambda config: shipped.files_of(NAME),
)
run = STUDY.run


def main() -> None:
    """Measure anew if asked to; else print how the routes compare."""
    parser = argparse.ArgumentParser(prog=f"python -m analysis.{NAME}", description=__doc__)
    parser.add_argument("--measure", action="store_true", help="train and measure anew")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    table = ship() if parser.parse_args().measure else run()
    print(comparisons(table).to_string())


if __name__ == "__main__":
    main()
