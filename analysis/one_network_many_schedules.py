"""One trained network under many schedules: its loss (T1), its decay (T4) and its cost.

A network trained on a mixture of noise levels serves every schedule. On held-out clips of the
panorama, out and back, so that all content comes back within the memory: the γ-weighted denoising
loss of Theorem C (teacher forced), and PSNR along roll-outs. Shipped measurements are read;
`python -m analysis.one_network_many_schedules --measure` trains (or resumes) and measures anew.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas

from analysis import shipped
from analysis.study import OUT, Config, Study

__all__ = ["STUDY", "measure", "run"]

CONFIG: dict[str, Any] = {
    "steps": 1200,
    "seed": 0,
    "schedules": {
        "FIFO, Δ = 1": {"method": "fifo", "substeps": 1},
        "staircase, Δ = 2": {"method": "staircase", "stride": 2, "substeps": 2},
        "staircase, Δ = 4": {"method": "staircase", "stride": 4, "substeps": 4},
        "full chunk": {"method": "chunk", "substeps": 8},
        "outpainting 4 + 4": {"method": "outpainting", "stride": 4, "substeps": 8},
        "next frame": {"method": "next_frame", "substeps": 8},
    },
    "clips": 64,
    "clips_seed": 20_000,
    "context": 7,
    "generated": 96,
    "span": 16,
    "loss_frames": 24,
    "panels": 1,
    "initial_substeps": 8,
    "against": "full chunk",
    "confidence": 0.95,
}
"""Every frame passes 8 levels under each schedule. The camera turns after the 7 context frames and
swings to and fro, so that no view is older than 12 frames, the memory."""
NAME = "one_network_many_schedules"
RULES = {"loss": "sub_steps", "loss_integral": "integral"}
"""T1 as the sampler pays it, and with each sub-step's sum replaced by its integral."""


def compute(config: Config) -> pandas.DataFrame:
    """One row per schedule and quantity, long: `value`, `standard_error`, `unit`, `n` clips.

    Quantities: `loss` (T1, nats per finished frame); `loss_integral`, the same with infinitely many
    sub-steps (no DE; the SEE of a network that is not optimal moves too, so it may be larger);
    `..._difference`, minus that of `against`, paired by clip; `psnr` per span, `psnr_decay` (first
    minus last span, dB), `mse` per span, `mse_decay` (last minus first); `calls_per_frame`, network
    evaluations as counted, and `..._of_the_schedule`, without the first window.
    """
    return shipped.read(NAME, config)[0]


def measure(
    config: Config = CONFIG, *, folder: Path = OUT / "train", results: Path = shipped.RESULTS
) -> None:
    """Train what is not trained yet in `folder`, measure, and ship the numbers. Needs torch."""
    import torch

    from arvdm_theory.empirical import denoising_loss, psnr_decay
    from paper_repro.arvdm.diffusion import pixels
    from paper_repro.arvdm.rollout import roll_out
    from paper_repro.evaluate import schedule_of
    from paper_repro.experiments import experiment
    from paper_repro.train import run as train
    from paper_repro.worlds import world_from_json

    torch.set_num_threads(1)
    chosen = experiment("panorama-many-schedules")
    chosen = dataclasses.replace(
        chosen,
        training=dataclasses.replace(chosen.training, steps=config["steps"], seed=config["seed"]),
    )
    place = folder / NAME
    trained = train(chosen, place, folder.parent / "worlds", accelerator="cpu")
    started = time.perf_counter()
    network, memory = trained.network, chosen.network.memory
    context, generated = config["context"], config["generated"]
    world = world_from_json(chosen.world)
    # the windows of the loss reach beyond the last frame that they finish
    ahead = chosen.network.window
    clips = world.return_clips(config["clips"], context, generated + ahead, config["clips_seed"])
    assert clips.age[:, context:].max() <= memory
    frames = pixels(clips.frames)
    action = torch.from_numpy(np.array(clips.actions))
    spans = [(a, a + config["span"]) for a in range(0, generated, config["span"])]
    rows: list[dict[str, Any]] = []
    schedules: dict[str, Any] = {}
    losses: dict[str, dict[str, Any]] = {quantity: {} for quantity in RULES}

    def add(name: str, quantity: str, estimate: Any, span: tuple[int, int] | None = None) -> None:
        rows.append(
            {
                "schedule": name,
                "quantity": quantity,
                "first_frame": None if span is None else span[0],
                "end_frame": None if span is None else span[1],
                "value": estimate.value,
                "standard_error": estimate.standard_error,
                "unit": estimate.unit,
                "n": estimate.n,
            }
        )

    for name, specification in config["schedules"].items():
        schedule = schedule_of(specification, chosen.network.window, 8, chosen.diffusion)
        for quantity, rule in RULES.items():
            losses[quantity][name] = denoising_loss(
                network,
                schedule,
                frames,
                memory=memory,
                action=action,
                context=context,
                steps=config["loss_frames"] // schedule.stride,
                rule=rule,
                panels=config["panels"],
                seed=config["clips_seed"],
                batch=config["clips"],
                confidence=config["confidence"],
            )
            add(name, quantity, losses[quantity][name].per_frame)
        made = roll_out(
            network,
            schedule,
            frames=generated,
            context=frames[:, :context],
            action=action,
            memory=memory,
            reference=0,
            initial_substeps=config["initial_substeps"],
            seed=config["clips_seed"],
        )
        decay = psnr_decay(
            frames[:, context : context + generated].movedim(2, -1).double().numpy(),
            made.estimates.movedim(2, -1).double().numpy(),
            spans=spans,
            data_range=(-1.0, 1.0),
            confidence=config["confidence"],
        )
        for span, psnr, mse in zip(spans, decay.per_span, decay.mse_per_span, strict=True):
            add(name, "psnr", psnr, span)
            add(name, "mse", mse, span)
        add(name, "psnr_decay", decay.decay)
        add(name, "mse_decay", decay.mse_decay)
        for quantity, value in (
            ("calls_per_frame", made.calls / generated),
            ("calls_per_frame_of_the_schedule", schedule.calls_per_frame()),
        ):
            rows.append(
                {
                    "schedule": name,
                    "quantity": quantity,
                    "value": value,
                    "unit": "network evaluations per frame",
                    "n": config["clips"],
                }
            )
        schedules[name] = schedule.to_json()
    for quantity, by_name in losses.items():
        for name, loss in by_name.items():
            if name != config["against"]:
                difference = loss.difference(by_name[config["against"]])
                add(name, f"{quantity}_difference", difference)
    manifest = {
        "config": config,
        "trials": "clips; standard errors are over clips of one network, one training seed",
        "frames_scored": "last denoised estimates, clamped to [0, 1]",
        "schedules": schedules,
        "parameters": sum(p.numel() for p in network.parameters()),
        "training_seconds": shipped.training_seconds(place / "log.jsonl"),
        "evaluation_seconds": round(time.perf_counter() - started, 2),
        "experiment": chosen.to_json(),
    }
    shipped.write(NAME, pandas.DataFrame(rows), manifest, results=results)


STUDY = Study(
    name=NAME,
    question="What do six schedules cost, lose and forget, driving one and the same network?",
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
