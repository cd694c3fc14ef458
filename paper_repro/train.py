"""Train a named experiment: its world, its data set (rendered once), its network."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from paper_repro.arvdm.training import TrainingResult, train
from paper_repro.experiments import Experiment
from paper_repro.worlds import Dataset, dataset, world_from_json

__all__ = ["data_of", "run"]


def data_of(experiment: Experiment, worlds: str | Path) -> Dataset:
    """The data set of an experiment, under `worlds`; shared by all that train on the same clips."""
    world = world_from_json(experiment.world)
    data = experiment.data
    name = f"{world.name}-{world.key}-{data.count}x{data.length}-{data.seed}"
    return dataset(world, **asdict(data), folder=Path(worlds) / name)


def run(
    experiment: Experiment, folder: str | Path, worlds: str | Path, **options: Any
) -> TrainingResult:
    """Train `experiment` in `folder`, or go on with it; options as of `arvdm.training.train`."""
    source = data_of(experiment, worlds)
    Path(folder).mkdir(parents=True, exist_ok=True)
    described = json.dumps(experiment.to_json(), indent=1) + "\n"
    result = train(
        experiment.network,
        experiment.diffusion,
        experiment.training,
        source,
        folder,
        world=source.world.to_json(),
        name=experiment.name,
        **options,
    )
    (Path(folder) / "experiment.json").write_text(described)
    return result
