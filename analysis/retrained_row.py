r"""One short row, trained from scratch and held against what was shipped.

The row is short on purpose: `panorama-prepend-4` for 80 steps, some ten core-seconds with all that
belongs to it; by then it has begun to use its memory, and draws what it just saw better than what
it saw long ago. It was trained with several seeds; the mean and spread of their PSNR say where that
of one more training lies with 95 %, $\bar y \pm t_{S-1}\, s \sqrt{1 + 1/S}$. A training with its
own seed must end there: on another machine, or with another version of a library, sums are rounded
otherwise, and after some steps that is as good as another seed.

`python -m analysis.retrained_row` trains and compares (its exit status says whether all is well);
`--measure` ships the scores anew.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas
from scipy.special import stdtrit

from analysis import shipped
from analysis.study import Config
from arvdm_theory.errors import TooLittleDataError

__all__ = ["CONFIG", "check", "intervals", "measure", "train_and_score"]

NAME = "retrained_row"
CONFIG: dict[str, Any] = {
    "experiment": "panorama-prepend-4",
    "steps": 80,
    "seeds": [0, 1, 2, 3, 4, 5, 6],
    "new_seed": 7,
    "clips": 256,
    "confidence": 0.95,
}


def train_and_score(config: Config, seed: int) -> list[dict[str, Any]]:
    """One training from scratch in a folder of its own: PSNR by age of the view. Needs torch."""
    import torch

    from paper_repro.evaluate import generate, score
    from paper_repro.experiments import experiment
    from paper_repro.train import run as train
    from paper_repro.worlds import world_from_json

    torch.set_num_threads(1)
    named = experiment(config["experiment"])
    chosen = dataclasses.replace(
        named,
        training=dataclasses.replace(named.training, steps=config["steps"], seed=seed),
        evaluation=dataclasses.replace(named.evaluation, clips=config["clips"]),
    )
    world, evaluation = world_from_json(chosen.world), chosen.evaluation
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        trained = train(
            chosen, Path(folder) / "run", Path(folder), accelerator="cpu", progress=False
        )
    clips = world.return_clips(
        evaluation.clips, evaluation.context, evaluation.generated, evaluation.seed
    )
    made = generate(trained.network, clips, evaluation, chosen.diffusion)
    seconds = round(time.process_time() - started, 1)
    rows = []
    for span in score(world, clips, made, evaluation):
        at = {"seed": seed, "span": f"{span.after}-{span.up_to}", "core_seconds": seconds}
        rows.append({**at, "quantity": "psnr", "value": span.psnr})
    return rows


def intervals(table: pandas.DataFrame, confidence: float) -> pandas.DataFrame:
    """Where the scores of one more training lie, all of them together with `confidence`.

    Bonferroni over the scores. Raises `TooLittleDataError` below 3 seeds.
    """
    groups = table.groupby(["quantity", "span"], sort=False)["value"]
    seeds = int(groups.size().min())
    if seeds < 3:
        raise TooLittleDataError("seeds", "at least 3", seeds)
    tail = 0.5 * (1.0 - confidence) / groups.ngroups
    reach = -stdtrit(seeds - 1, tail) * groups.std(ddof=1) * np.sqrt(1.0 + 1.0 / seeds)
    mean = groups.mean()
    return pandas.DataFrame({"mean": mean, "low": mean - reach, "high": mean + reach})


def check(config: Config = CONFIG, *, results: Path = shipped.RESULTS) -> pandas.DataFrame:
    """Train once more and compare: one row per score, `within` its interval or not."""
    table, _ = shipped.read(NAME, config, results=results)
    expected = intervals(table, config["confidence"])
    again = pandas.DataFrame(train_and_score(config, config["new_seed"]))
    expected["retrained"] = again.set_index(["quantity", "span"])["value"]
    expected["within"] = expected["retrained"].between(expected["low"], expected["high"])
    return expected.reset_index()


def measure(config: Config = CONFIG, *, results: Path = shipped.RESULTS) -> None:
    """Train with all seeds and ship the scores."""
    rows = [row for seed in config["seeds"] for row in train_and_score(config, seed)]
    shipped.write(NAME, pandas.DataFrame(rows), {"config": config}, results=results)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog=f"python -m analysis.{NAME}",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--measure", action="store_true", help="train all seeds and ship")
    if parser.parse_args(arguments).measure:
        measure()
        return 0
    found = check()
    print(found.to_string(index=False, float_format="{:.3f}".format))
    return 0 if found["within"].all() else 1


if __name__ == "__main__":
    sys.exit(main())
