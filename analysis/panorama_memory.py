"""Do networks remember exactly as far as their memory reaches, and what does forgetting cost?

Networks of the structure `prepend` with three memory lengths, trained on the panorama for a fixed
number of steps, then sent out and back: every generated frame reveals one panel, last seen a known
number of frames ago. Trials are clips: at each age every clip gives one frame. Measured counts are
shipped; `python -m analysis.panorama_memory --measure` trains (or resumes) and measures anew.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas
from scipy.optimize import brentq

from analysis import shipped
from analysis.study import OUT, Config, Study
from arvdm_theory.empirical import Proportion, needle_bound
from paper_repro.worlds import PanoramaWorld, make_world

__all__ = ["STUDY", "fano_ceiling", "information_ceiling", "measure", "run"]

CONFIG: dict[str, Any] = {
    "networks": [
        {"palette": "discrete", "memory": 4, "steps": 1200, "seed": 0},
        {"palette": "discrete", "memory": 12, "steps": 1200, "seed": 0},
        {"palette": "discrete", "memory": 28, "steps": 1200, "seed": 0},
        {"palette": "continuous", "memory": 4, "steps": 1600, "seed": 0},
        {"palette": "continuous", "memory": 12, "steps": 1600, "seed": 0},
        {"palette": "continuous", "memory": 28, "steps": 1600, "seed": 0},
    ],
    "clips": 512,
    "clips_seed": 10_000,
    "context": 25,
    "generated": 24,
    "substeps": 8,
    "confidence": 0.95,
}
NAME = "panorama_memory"


def information_ceiling(information: float, needles: int) -> float:
    r"""Largest success rate s ≥ 1/n with $kl_{bin}(s\|1/n)$ ≤ `information` (nats) (M5).

    >>> round(information_ceiling(0.0, 64), 6), information_ceiling(5.0, 64)
    (0.015625, 1.0)
    """
    if information >= np.log(needles):
        return 1.0
    if information <= 0.0:
        return 1.0 / needles

    def excess(s: float) -> float:
        other = (1.0 - s) * np.log((1.0 - s) / (1.0 - 1.0 / needles)) if s < 1.0 else 0.0
        return float(s * np.log(s * needles) + other - information)

    return float(brentq(excess, 1.0 / needles, 1.0))


def fano_ceiling(information: float, needles: int) -> float:
    """Fano as printed in textbooks: s ≤ (I + log 2) / log n, at most 1.

    >>> round(fano_ceiling(0.0, 64), 6)
    0.166667
    """
    return float(min(1.0, (information + np.log(2.0)) / np.log(needles)))


def forgotten_by_frame(
    world: PanoramaWorld, path: np.ndarray, context: int, memory: int, window: int
) -> np.ndarray:
    """Exact MB of each generated frame, nats: what it adds to its chunk's; `(T - context,)`.

    Chunks of `window` frames start after the context.
    """
    # chunks are counted from frame 0: repeat the first frame until the context fills some
    padding = -context % window
    padded = np.concatenate([np.repeat(path[:1], padding), path])
    by_frame: list[float] = []
    for t in range(context, len(path)):
        end = padding + t + 1
        now = world.exact_memory_bottleneck(padded[:end], memory, window)[-1]
        first = (t - context) % window == 0
        earlier = 0.0 if first else sum(by_frame[-((t - context) % window) :])
        by_frame.append(float(now - earlier))
    return np.array(by_frame)


def compute(config: Config) -> pandas.DataFrame:
    r"""One row per network and age of the view.

    `rate`: clips whose newly revealed panel is right, with the Clopper–Pearson interval; `chance`:
    the same against another clip's truth. Discrete palette only: `mb_nats`, exact MB of that frame
    given the true memory; `available_nats` = log n - MB, n = K^bands equally likely panels;
    `ceiling`, the largest rate that so much information allows; `fano_ceiling`, the looser textbook
    form; `kl_bound_nats`, M5: the KL that the measured rate certifies, at `confidence` for all ages
    of a network together (Bonferroni).
    """
    measured, manifest = shipped.read(NAME, config)
    window = manifest["window"]
    rows = []
    for row in measured.to_dict("records"):
        world = make_world("panorama", size=16, palette=row["palette"])
        assert isinstance(world, PanoramaWorld)
        rate = Proportion(row["successes"], row["clips"], config["confidence"])
        low, high = rate.interval
        out = {
            **row,
            "rate": rate.value,
            "rate_low": low,
            "rate_high": high,
            "chance": row["chance_successes"] / row["clips"],
            "where": _where(row["age"], row["memory"], window),
        }
        if row["palette"] == "discrete":
            needles = world.attributes**world.bands
            path = np.array(manifest["path"])
            mb = forgotten_by_frame(world, path, config["context"], row["memory"], window)
            lost = float(mb[row["frame"]])
            available = float(np.log(needles)) - lost
            if available < -1e-9:
                raise ValueError(f"{lost} nats forgotten of a panel of {np.log(needles)} nats")
            if available < 1e-12:  # rounding of an exact zero
                available = 0.0
            # returning panels are exact by construction: the truth always succeeds
            error = (1.0 - config["confidence"]) / config["generated"]
            bound = needle_bound(1.0, rate, 1.0 - error)
            out |= {
                "needles": needles,
                "mb_nats": lost,
                "available_nats": available,
                "ceiling": information_ceiling(available, needles),
                "fano_ceiling": fano_ceiling(available, needles),
                "kl_bound_nats": bound.value,
            }
        rows.append(out)
    return pandas.DataFrame(rows)


def _where(age: int, memory: int, window: int) -> str:
    """`within` the memory wherever in its chunk a frame stands, `beyond` it likewise, `between`."""
    if age <= memory:
        return "within"
    return "beyond" if age > memory + window else "between"


def measure(
    config: Config = CONFIG, *, folder: Path = OUT / "train", results: Path = shipped.RESULTS
) -> None:
    """Train what is not trained yet in `folder`, evaluate, and ship the counts. Needs torch."""
    import torch

    from paper_repro.arvdm.rollout import Generated
    from paper_repro.evaluate import generate, score
    from paper_repro.experiments import experiment
    from paper_repro.train import run as train
    from paper_repro.worlds import Clips, world_from_json

    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    networks = []
    window, path = 0, np.zeros(0)
    for entry in config["networks"]:
        chosen = experiment(f"panorama-prepend-{entry['memory']}")
        chosen = dataclasses.replace(
            chosen,
            world=chosen.world | {"palette": entry["palette"]},
            training=dataclasses.replace(chosen.training, steps=entry["steps"], seed=entry["seed"]),
            evaluation=dataclasses.replace(
                chosen.evaluation,
                clips=config["clips"],
                seed=config["clips_seed"],
                context=config["context"],
                generated=config["generated"],
                substeps=config["substeps"],
                spans=tuple((2 * i + 1, 2 * i + 2) for i in range(config["generated"])),
            ),
        )
        place = folder / f"{NAME}-{entry['palette']}-{entry['memory']}"
        trained = train(chosen, place, folder.parent / "worlds", accelerator="cpu")
        started = time.perf_counter()
        evaluation, world = chosen.evaluation, world_from_json(chosen.world)
        clips = world.return_clips(
            evaluation.clips, evaluation.context, evaluation.generated, evaluation.seed
        )
        parts: list[Generated] = []
        for first in range(0, len(clips), 256):
            part = dataclasses.replace(evaluation, seed=evaluation.seed + first)
            chunk: Clips = clips[slice(first, first + 256)]
            parts.append(generate(trained.network, chunk, part, chosen.diffusion))
        made = dataclasses.replace(
            parts[0],
            frames=torch.cat([part.frames for part in parts]),
            estimates=torch.cat([part.estimates for part in parts]),
        )
        window, path = chosen.network.window, np.abs(clips.poses[0, :, 0])
        age = clips.age[0, evaluation.context :]
        for span in score(world, clips, made, evaluation):
            assert span.chance is not None and span.frames == span.clips
            rows.append(
                {
                    "palette": entry["palette"],
                    "memory": entry["memory"],
                    "age": span.up_to,
                    "frame": int(np.flatnonzero(age == span.up_to)[0]),
                    "clips": span.clips,
                    "successes": span.successes,
                    "chance_successes": round(span.chance * span.clips),
                    "psnr": span.psnr,
                    "psnr_error": span.psnr_error,
                }
            )
        networks.append(
            {
                **entry,
                "parameters": sum(p.numel() for p in trained.network.parameters()),
                "training_seconds": shipped.training_seconds(place / "log.jsonl"),
                "evaluation_seconds": round(time.perf_counter() - started, 2),
                "experiment": chosen.to_json(),
            }
        )
    manifest = {
        "config": config,
        "rule": {
            "discrete": "the palette colour nearest to the mean of each newly revealed band is the "
            "true one, in every band",
            "continuous": "the mean of each newly revealed band is within 36/255 of the truth's, "
            "in every channel of every band",
        },
        "trials": "clips; each gives one frame at each age",
        "window": window,
        "path": [int(position) for position in path],
        "networks": networks,
    }
    shipped.write(NAME, pandas.DataFrame(rows), manifest, results=results)


STUDY = Study(
    name=NAME,
    question="Do networks remember exactly as far as their memory reaches, and what does "
    "forgetting cost?",
    revision=1,
    config=CONFIG,
    compute=compute,
    inputs=lambda config: shipped.files_of(NAME),
)
run = STUDY.run


def main(arguments: list[str] | None = None) -> None:
    shipped.command(NAME, __doc__, measure, arguments)
    run()


if __name__ == "__main__":
    main()
