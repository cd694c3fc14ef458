"""The rows at the paper's own lengths and sizes: what they need, counted without running them.

`python -m paper_repro train maze-prepend-12 --scale full` trains the row `maze-prepend-12` at the
paper's lengths (memory 48, windows of 16 frames, 64 pixels). `python -m paper_repro full` prints
what each such row takes. Networks are built and differentiated on torch's meta device, where
tensors have shapes and no numbers: parameters, floating-point operations and what the backward pass
keeps are counts; hours follow from an assumed throughput.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from arvdm_theory.checks import positive_integer, real_number
from arvdm_theory.errors import ParameterError
from paper_repro.arvdm.diffusion import Noised, denoising_loss
from paper_repro.arvdm.network import NetworkConfig, build
from paper_repro.experiments import EXPERIMENTS, ROWS, Experiment, Row, experiment
from paper_repro.worlds import world_from_json

__all__ = ["BEGIN", "END", "GPU", "SCALES", "Cost", "Gpu", "at_scale", "cost", "full_rows", "table"]

SCALES = {"cpu": 4, "full": 1}
"""Scale → what the paper's lengths are divided by."""
WORLDS = ("maze", "blocks")
BYTES_A_PARAMETER = 20
"""In float32: the weight, its gradient, AdamW's two moments, its average."""
BEGIN, END = "<!-- begin: python -m paper_repro full -->", "<!-- end -->"


@dataclass(frozen=True)
class Gpu:
    """What is assumed of the GPUs: `memory` in GiB, of which `usable`, and sustained TFLOP/s."""

    memory: float = 80.0
    usable: float = 0.9
    tflops: float = 100.0

    def __post_init__(self) -> None:
        for name in ("memory", "usable", "tflops"):
            if not real_number(name, getattr(self, name), "positive") > 0.0:
                raise ParameterError(name, "positive", getattr(self, name))


GPU = Gpu()


def at_scale(name: str, scale: str) -> str:
    """The name at `scale` of the row that is called `name` at either scale.

    >>> at_scale("maze-prepend-12-joint-4", "full"), at_scale("maze-full-prepend-48", "cpu")
    ('maze-full-prepend-48-joint-16', 'maze-prepend-12')

    Raises `ParameterError` for a name that is no row of `maze` or `blocks`.
    """
    if scale not in SCALES:
        raise ParameterError("--scale", f"one of {', '.join(SCALES)}", scale)
    for world in WORLDS:
        for row in ROWS:
            names = {"cpu": f"{world}-{row.name(4)}", "full": f"{world}-full-{row.name(1)}"}
            if name in (*names.values(), f"{world}-{row.name(1)}"):
                return names[scale]
    raise ParameterError("NAME", f"a row of {' or '.join(WORLDS)} to have a scale", name)


def full_rows(only: str = "") -> list[str]:
    """Names of all rows at full scale, or of those with `only` in them."""
    return [name for name in EXPERIMENTS if "-full-" in name and only in name]


# --- counting -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """Of one training step of an experiment, clip by clip.

    Attributes
    ----------
    parameters: of the network. flops: forward and backward, a clip (a multiplication and an
    addition are two). saved: bytes that the backward pass keeps of a clip, in float32. frames: of a
    training clip. batch, steps: of the experiment.
    """

    name: str
    parameters: int
    flops: int
    saved: int
    frames: int
    batch: int
    steps: int

    def memory(self, processes: int = 1) -> float:
        """Estimated bytes of each of `processes` that share a batch.

        Weights, gradients, moments and averages are each process's own; several processes hold the
        gradients once more, in the buckets that are exchanged. In float32 throughout: mixed
        precision keeps about half of the activations.
        """
        positive_integer("processes", processes)
        clips = math.ceil(self.batch / processes)
        own = BYTES_A_PARAMETER + (4 if processes > 1 else 0)
        return float(own * self.parameters + clips * self.saved)

    def processes(self, gpu: Gpu = GPU) -> int | None:
        """The least power of two of GPUs that hold a batch; `None` if one clip is too much."""
        count = 1
        while self.memory(count) > gpu.usable * gpu.memory * 2**30:
            count *= 2
            if count > self.batch:
                return None
        return count

    def gpu_hours(self, gpu: Gpu = GPU) -> float:
        """Of the whole training, at the assumed throughput."""
        return self.steps * self.batch * self.flops / (gpu.tflops * 1e12) / 3600.0


def cost(chosen: Experiment, batch: int = 1) -> Cost:
    """Counted on the meta device with `batch` clips, divided by them.

    >>> tiny = cost(experiment("panorama-none"))
    >>> tiny.frames, tiny.parameters > 100_000, tiny.gpu_hours(Gpu(tflops=1.0)) < 0.1
    (4, True, True)
    """
    positive_integer("batch", batch)
    with torch.device("meta"):
        network = build(chosen.network)
        example = _example(chosen.network, batch)
    own = {_storage(parameter) for parameter in network.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if _storage(tensor) not in own:
            kept[_storage(tensor)] = tensor.untyped_storage()
        return tensor

    with FlopCounterMode(display=False) as counter, saved_tensors_hooks(keep, lambda saved: saved):
        estimate = network(example.x, example.gamma, memory=example.memory, action=example.action)
        denoising_loss(estimate, example, chosen.diffusion).backward()
    return Cost(
        name=chosen.name,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        flops=counter.get_total_flops() // batch,
        saved=sum(storage.nbytes() for storage in kept.values()) // batch,
        frames=chosen.network.clip,
        batch=chosen.training.batch_size,
        steps=chosen.training.steps,
    )


def _storage(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _example(config: NetworkConfig, batch: int) -> Noised:
    """A batch of training clips, on the current default device."""
    frame = (config.channels, config.size, config.size)
    clean = torch.zeros(batch, config.window, *frame)
    memory = torch.zeros(batch, config.memory, *frame) if config.memory else None
    return Noised(
        x=torch.zeros_like(clean),
        gamma=torch.ones(batch, config.window),
        target=clean,
        reference=None,
        reference_gamma=None,
        memory=memory,
        action=torch.zeros(batch, config.clip, config.action_dim),
    )


# --- the table ------------------------------------------------------------------------------------

_HEAD = (
    "row",
    "frames a clip",
    "parameters (M)",
    "GFLOP a clip",
    "kept a clip (GiB)",
    "GPUs",
    "memory each (GiB)",
    "GPU-hours",
)


def table(names: Iterable[str], gpu: Gpu = GPU) -> str:
    """Markdown: what each row needs, and what the data sets of its world take."""
    lines = [
        f"Assumed: GPUs of {gpu.memory:g} GiB of which {gpu.usable:.0%} are used, "
        f"{gpu.tflops:g} TFLOP/s sustained each.",
        "",
        "| " + " | ".join(_HEAD) + " |",
        "|---|" + "---:|" * (len(_HEAD) - 1),
    ]
    hours, stored = 0.0, {}
    for name in names:
        chosen = experiment(name)
        counted = cost(chosen)
        processes = counted.processes(gpu)
        each = counted.memory(processes or counted.batch) / 2**30
        hours += counted.gpu_hours(gpu)
        stored[chosen.world["name"]] = _stored(chosen)
        cells: list[Any] = [
            f"`{name}`",
            counted.frames,
            f"{counted.parameters / 1e6:.1f}",
            f"{counted.flops / 1e9:.0f}",
            f"{counted.saved / 2**30:.2f}",
            "too large" if processes is None else processes,
            f"{each:.0f}",
            f"{counted.gpu_hours(gpu):.0f}",
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    disk = ", ".join(f"{world} {size / 1e9:.1f} GB" for world, size in stored.items())
    lines += ["", f"In all {hours:.0f} GPU-hours a training seed. Data sets on disk: {disk}."]
    return "\n".join(lines)


def _stored(chosen: Experiment) -> int:
    """Bytes of the frames of the data set."""
    world = world_from_json(chosen.world)
    return chosen.data.count * chosen.data.length * math.prod(world.frame_shape)


def structures(world: str) -> list[str]:
    """One row at full scale of each structure and compressor, that with the shortest memory."""
    first: dict[tuple[str, str], Row] = {}
    for row in ROWS:
        known = first.get((row.structure, row.compressor))
        if known is None or (row.memory, row.budget) < (known.memory, known.budget):
            first[row.structure, row.compressor] = row
    return [f"{world}-full-{row.name(1)}" for row in first.values()]


def write_table(page: Path, text: str) -> None:
    """Put the table between the two marks of a page."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ParameterError("page", f"one with the marks {BEGIN} and {END}", page.name)
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")
