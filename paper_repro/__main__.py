"""`python -m paper_repro train|sample|evaluate NAME [--scale full] [--set key=value ...]`.

NAME is a named experiment (`python -m paper_repro list`). `train` makes the clips, trains, and goes
on where a killed run stopped; `sample` writes a picture of truth | prediction and the frames;
`evaluate` prints the scores of the returning views by their age and writes them as CSV. With
several processes or machines: `torchrun --nproc-per-node 2 -m paper_repro train NAME`.
`--scale full` takes the same row at the paper's own lengths and sizes, for GPUs; `full [PART]`
prints what these rows need (`--write PAGE`: into a page of the documentation).
`queue [PART]` works through the compute plan of the paper's tables (those jobs that have PART in
their names), `--jobs` at a time, and ships what it measures; `plan [PART]` says what is missing.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import sys
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import torch

from arvdm_theory.checks import positive_integer
from arvdm_theory.errors import ArvdmError, ParameterError
from paper_repro.arvdm.checkpoint import CheckpointError, newest, write_atomically
from paper_repro.arvdm.diffusion import pixels
from paper_repro.arvdm.network import Denoiser
from paper_repro.arvdm.training import load_network, strips, write_png
from paper_repro.evaluate import SpanScore, generate, score
from paper_repro.experiments import EXPERIMENTS, Experiment, experiment, override
from paper_repro.full_scale import SCALES, Gpu, at_scale, full_rows, table, write_table
from paper_repro.plan import MORE_SEEDS, SEEDS, jobs, missing
from paper_repro.queue import nominal_minutes, run_queue
from paper_repro.train import run
from paper_repro.worlds import world_from_json

__all__ = ["main"]

OUT = Path(__file__).resolve().parents[1] / "out"


def _train(chosen: Experiment, folder: Path, given: argparse.Namespace) -> None:
    result = run(
        chosen,
        folder,
        given.out / "worlds",
        accelerator=given.accelerator,
        progress=not given.quiet,
    )
    if os.environ.get("RANK", "0") != "0":
        return  # one of several processes speaks
    made = result.step - result.resumed_from
    print(
        f"{chosen.name}: {made} steps in {result.seconds:.1f} s "
        f"({result.clips_per_second:.0f} clips/s), loss {result.loss:.4f}, in {folder}"
    )


def _network(chosen: Experiment, folder: Path, given: argparse.Namespace) -> Denoiser:
    path = given.checkpoint or newest(folder / "checkpoints")
    if path is None:
        raise CheckpointError(
            f"{folder} holds no checkpoint: `python -m paper_repro train {chosen.name}` makes one"
        )
    network, metadata = load_network(path)
    if json.loads(json.dumps(chosen.world)).items() - metadata["world"].items():
        raise CheckpointError(f"checkpoint {path} was trained on another world")
    return network


def _sample(chosen: Experiment, folder: Path, given: argparse.Namespace) -> None:
    network = _network(chosen, folder, given)
    evaluation = chosen.evaluation
    world = world_from_json(chosen.world)
    clips = world.return_clips(
        given.count, evaluation.context, evaluation.generated, evaluation.seed
    )
    made = generate(network, clips, evaluation, chosen.diffusion)
    truth = pixels(clips.frames)
    predicted = torch.cat([truth[:, : evaluation.context], made.estimates], 1)
    folder.mkdir(parents=True, exist_ok=True)
    write_png(folder / "sample.png", strips(truth, predicted))
    frames = io.BytesIO()
    np.save(frames, made.estimates.movedim(2, -1).numpy())
    write_atomically(folder / "sample.npy", frames.getvalue())
    print(
        f"{len(clips)} videos of {made.plan.frames} frames in {made.plan.steps} steps, "
        f"{made.calls} network calls; generated beyond that and cut: {made.plan.surplus}; "
        f"frames with invented actions: {made.invented_actions}"
    )
    print(f"{folder / 'sample.png'} (above: truth), {folder / 'sample.npy'}")


def _evaluate(chosen: Experiment, folder: Path, given: argparse.Namespace) -> None:
    network = _network(chosen, folder, given)
    evaluation = chosen.evaluation
    world = world_from_json(chosen.world)
    clips = world.return_clips(
        evaluation.clips, evaluation.context, evaluation.generated, evaluation.seed
    )
    rows = score(world, clips, generate(network, clips, evaluation, chosen.diffusion), evaluation)
    table = io.StringIO()
    writer = csv.DictWriter(table, [field.name for field in fields(SpanScore)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    write_atomically(folder / "evaluation.csv", table.getvalue().encode())
    print(f"{chosen.name}: {evaluation.clips} clips, one training seed ({chosen.training.seed})")
    for row in rows:
        line = f"age {row.after}-{row.up_to}: PSNR {row.psnr:.2f} ± {row.psnr_error:.2f} dB"
        if row.rate is not None:
            line += f", frames right {row.frame_rate:.3f} ± {row.frame_rate_error:.3f}"
            line += f" (by chance {row.chance:.3f}), clips with all right {row.rate:.3f}"
            line += f" [{row.rate_low:.3f}, {row.rate_high:.3f}]"
        print(f"{line} ({row.frames} frames of {row.clips} clips)")


def _plan(given: argparse.Namespace) -> int:
    seeds = None if given.seeds is None else range(positive_integer("--seeds", given.seeds))
    plan = jobs(seeds=seeds, only=given.name or "")
    if given.command == "plan":
        undone = set(missing(plan))
        for job in plan:
            minutes = f"missing, about {nominal_minutes(job):.0f} core-minutes"
            print(f"{job.title:55s} {minutes if job in undone else 'done'}")
        hours = sum(map(nominal_minutes, undone)) / 60.0
        print(f"{len(plan) - len(undone)} of {len(plan)} done; about {hours:.1f} core-hours left")
        return 0
    failed = run_queue(plan, given.out, processes=positive_integer("--jobs", given.jobs))
    return 1 if failed else 0


def _full(given: argparse.Namespace) -> int:
    names = full_rows(given.name or "")
    if not names:
        raise ParameterError("PART", "a part of the name of a row at full scale", given.name)
    text = table(names, Gpu(memory=given.gpu_memory, tflops=given.tflops))
    if given.write is None:
        print(text)
    else:
        write_table(given.write, text)
    return 0


COMMANDS = {"train": _train, "sample": _sample, "evaluate": _evaluate}


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m paper_repro",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=[*COMMANDS, "list", "plan", "queue", "full"])
    parser.add_argument("name", nargs="?", metavar="NAME")
    parser.add_argument("--jobs", type=int, default=2, help="of the queue at a time, default 2")
    parser.add_argument(
        "--seeds", type=int, help=f"so many of every row, not {SEEDS} and of some rows {MORE_SEEDS}"
    )
    parser.add_argument(
        "--scale", choices=list(SCALES), help="of a row of maze or blocks, whatever its NAME says"
    )
    parser.add_argument("--write", type=Path, metavar="PAGE", help="of full: the page to change")
    parser.add_argument(
        "--gpu-memory", type=float, default=Gpu.memory, help="of full: GiB, default 80"
    )
    parser.add_argument(
        "--tflops", type=float, default=Gpu.tflops, help="of full: sustained, default 100"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    parser.add_argument("--folder", type=Path, help="default: OUT/train/NAME")
    parser.add_argument("--out", type=Path, default=OUT, help="default: out/ of the checkout")
    parser.add_argument("--checkpoint", type=Path, help="default: the newest of the folder")
    parser.add_argument("--count", type=int, default=4, help="videos to sample, default 4")
    parser.add_argument("--accelerator", default="auto", help="auto, cpu, cuda, ...")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if given.command == "list":
        print("\n".join(EXPERIMENTS))
        return 0
    if given.command in ("plan", "queue", "full"):
        try:
            return _full(given) if given.command == "full" else _plan(given)
        except ArvdmError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    if given.name is None:
        parser.error("NAME is missing; `python -m paper_repro list` shows all")
    try:
        name = given.name if given.scale is None else at_scale(given.name, given.scale)
        chosen = override(experiment(name), given.settings)
        COMMANDS[given.command](chosen, given.folder or given.out / "train" / name, given)
    except (ArvdmError, FloatingPointError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
