"""The training loop: deterministic, resumable bit for bit, on one process or several.

Step k depends on (configuration, k, the state after step k - 1) alone: its clips, levels and noise
come from generators seeded with (seed, k). So a run that was killed and resumed ends with the very
weights of an uninterrupted one (one process, CPU). With n processes every process draws the whole
batch and computes every n-th clip of it; the averaged gradient is one process' up to rounding.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import json
import os
import struct
import time
import traceback
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from arvdm_theory.checks import positive_integer
from arvdm_theory.errors import ParameterError
from arvdm_theory.schedule import Schedule
from paper_repro.arvdm.checkpoint import (
    Checkpoint,
    CheckpointError,
    keep_newest,
    load_checkpoint,
    newest,
    path_of_step,
    save_checkpoint,
    saved_steps,
    write_atomically,
)
from paper_repro.arvdm.diffusion import (
    DiffusionConfig,
    Noised,
    denoising_loss,
    pixels,
    training_clip,
)
from paper_repro.arvdm.network import Denoiser, NetworkConfig, build
from paper_repro.arvdm.rollout import roll_out

__all__ = [
    "Batch",
    "ClipSource",
    "TrainingConfig",
    "TrainingResult",
    "bf16_is_native",
    "load_network",
    "save_weights",
    "strips",
    "train",
    "write_png",
]


class Batch(Protocol):
    """Clips: `frames` (n, T, H, W, C), `actions` (n, T, A), ...; see `paper_repro.worlds`."""

    @property
    def frames(self) -> Any: ...

    @property
    def actions(self) -> Any: ...


class ClipSource(Protocol):
    """What training needs of a data set."""

    def batches(
        self, batch_size: int, length: int, seed: int, start_step: int = 0
    ) -> Iterator[Any]:
        """Batches from `start_step` on; batch k depends on (seed, k) alone."""
        ...


@dataclass(frozen=True)
class TrainingConfig:
    """How a network is trained.

    Arguments
    ---------
    steps, batch_size, learning_rate, weight_decay: of AdamW; seed: of everything drawn.
    warm_up: steps in which the rate rises linearly; decay: `constant`, or `cosine` down to 0.
    clip_norm: largest norm of the gradient.
    ema: decay of the averaged weights, which are the ones evaluated.
    precision: `float32`, `bf16`, or `auto`: bf16 on a GPU that has its arithmetic, else float32.
    compile: use `torch.compile` (slow to start, no gain on a CPU).
    checkpoint_every, keep: steps between checkpoints, and how many of them stay.
    log_every, strips_every: steps between lines of the log, and between pictures (0: none).
    warm_start: a checkpoint whose averaged weights training starts from, where names and shapes
        agree.
    """

    steps: int = 700
    batch_size: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    seed: int = 0
    warm_up: int = 50
    decay: str = "cosine"
    clip_norm: float = 1.0
    ema: float = 0.995
    precision: str = "auto"
    compile: bool = False
    checkpoint_every: int = 200
    keep: int = 2
    log_every: int = 10
    strips_every: int = 0
    warm_start: str | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "checkpoint_every", "keep", "log_every"):
            positive_integer(name, getattr(self, name))
        for name in ("seed", "warm_up", "strips_every"):
            positive_integer(name, getattr(self, name), minimum=0)
        for name in ("learning_rate", "clip_norm"):
            if not getattr(self, name) > 0.0:
                raise ParameterError(name, "positive", getattr(self, name))
        if not 0.0 <= self.ema < 1.0:
            raise ParameterError("ema", "in [0, 1)", self.ema)
        if self.decay not in ("constant", "cosine"):
            raise ParameterError("decay", "constant or cosine", self.decay)
        if self.precision not in ("auto", "float32", "bf16"):
            raise ParameterError("precision", "auto, float32 or bf16", self.precision)

    def rate(self, step: int) -> float:
        """Learning rate of step `step`, 0, 1, ..."""
        rate = self.learning_rate * min(1.0, (step + 1) / (self.warm_up + 1))
        if self.decay == "cosine":
            rate *= 0.5 * (1.0 + np.cos(np.pi * step / self.steps))
        return float(rate)


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """`network` with averaged weights, in evaluation mode; the last smoothed `loss`; `resumed_from`
    the step that this call started at; `seconds` and `clips` per second of this call."""

    network: Denoiser
    step: int
    loss: float
    resumed_from: int
    seconds: float
    clips_per_second: float


def bf16_is_native() -> bool:
    """Whether there is a GPU whose bfloat16 arithmetic is its own, not emulated."""
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)


def _fabric(config: TrainingConfig, diffusion: DiffusionConfig, accelerator: str) -> Any:
    """One process, or what `torchrun` started: the same command."""
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

    if config.precision == "bf16" and not bf16_is_native():
        raise ParameterError("precision", "float32 without a GPU that has bf16", "bf16")
    half = config.precision != "float32" and accelerator != "cpu" and bf16_is_native()
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if config.batch_size % processes:
        raise ParameterError(
            "batch_size", f"a multiple of the processes ({processes})", config.batch_size
        )
    # a batch without memory leaves the parameters that read it unused
    unused = diffusion.memory_dropout > 0.0
    fabric = Fabric(
        accelerator=accelerator,
        devices=here,
        num_nodes=max(1, processes // here),
        strategy=DDPStrategy(find_unused_parameters=unused) if processes > 1 else "auto",
        precision="bf16-mixed" if half else "32-true",
    )
    fabric.launch()
    return fabric


@contextlib.contextmanager
def _processes() -> Iterator[None]:
    """Leave the process group at the end, when nothing that was made within holds it any more.

    The wrapper that averages gradients owns the group too. If that is released last, it waits for
    the group's threads while it holds the interpreter's lock, and these may need the lock to
    release a tensor: a deadlock, or at the interpreter's exit an abort.
    """
    try:
        yield
    except BaseException as error:
        if _grouped():
            traceback.clear_frames(error.__traceback__)
        raise
    finally:
        if _grouped():
            gc.collect()  # the wrapper is part of cycles
            torch.distributed.destroy_process_group()


def _grouped() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _generator(seed: int, step: int) -> torch.Generator:
    # 1: apart from the streams that draw a batch's clips
    state = np.random.SeedSequence([seed, 1, step]).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(state[0]) << 31 | int(state[1]) >> 1)


def _share(example: Noised, rank: int, count: int, device: torch.device) -> Noised:
    """Every `count`-th clip of a batch, from number `rank` on."""
    parts = {field.name: getattr(example, field.name) for field in fields(example)}
    return Noised(**{k: None if v is None else v[rank::count].to(device) for k, v in parts.items()})


# --- state ---------------------------------------------------------------------------------------


def _state(model: nn.Module, ema: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    tensors = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"ema/{name}": tensor for name, tensor in ema.state_dict().items()}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer/{key}/{name}"] = value
    return {name: tensor.clone() for name, tensor in tensors.items()}


def _restore(
    checkpoint: Checkpoint, model: nn.Module, ema: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    model.load_state_dict(checkpoint.part("model"))
    ema.load_state_dict(checkpoint.part("ema"))
    moments = checkpoint.part("optimizer")
    for name, parameter in model.named_parameters():
        keys = {k.split("/", 1)[0]: v for k, v in moments.items() if k.split("/", 1)[1] == name}
        if keys:
            step = {"step": keys.pop("step")}  # stays on the CPU
            optimizer.state[parameter] = step | {k: v.to(parameter.device) for k, v in keys.items()}


def _warm_start(model: nn.Module, path: str) -> int:
    """Copy what fits from another checkpoint; returns how many numbers were copied."""
    weights = load_checkpoint(path).part("ema")
    own = model.state_dict()
    fitting = {k: v for k, v in weights.items() if k in own and own[k].shape == v.shape}
    if not fitting:
        raise CheckpointError(f"checkpoint {path} shares no tensor with this network")
    model.load_state_dict({k: v.to(own[k].dtype) for k, v in fitting.items()}, strict=False)
    return sum(v.numel() for v in fitting.values())


def _resume(folder: Path, config: Mapping[str, Any]) -> Checkpoint | None:
    path = newest(folder)
    if path is None:
        return None
    try:
        checkpoint = load_checkpoint(path)
    except CheckpointError as error:
        earlier = [str(path_of_step(folder, step)) for step in saved_steps(folder)[:-1]]
        way_out = (
            f"remove it to resume from {earlier[-1]}" if earlier else "remove it to start anew"
        )
        raise CheckpointError(f"{error}; {way_out}") from error
    saved = checkpoint.metadata["config"]
    differing = sorted(
        f"{section}.{key}"
        for section in ("network", "diffusion", "training")
        for key in saved[section].keys() | config[section].keys()
        if key not in _MAY_CHANGE and saved[section].get(key) != config[section].get(key)
    )
    if config["training"]["decay"] == "constant" and "training.steps" in differing:
        differing.remove("training.steps")
    if saved.get("world") != config.get("world"):
        differing.append("world")
    if differing:
        raise CheckpointError(
            f"checkpoint {path} was trained with another {', '.join(differing)}; choose another "
            "folder, or start from it with training.warm_start"
        )
    return checkpoint


_MAY_CHANGE = ("checkpoint_every", "keep", "log_every", "strips_every", "warm_start", "compile")
"""What may differ between the parts of a resumed run: nothing that changes a weight (a warm start
has happened by then), and the number of steps if the learning rate does not depend on it."""


# --- log and pictures -----------------------------------------------------------------------------


def _trim_log(path: Path, step: int) -> None:
    """Drop what a killed run logged after its last checkpoint, and a line cut short."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if entry.get("step", 0) <= step:
            kept.append(line + "\n")
    write_atomically(path, "".join(kept).encode())


def write_png(path: Path, picture: np.ndarray) -> None:
    """Write `(H, W, 3)` bytes as a PNG file."""
    height, width, _ = picture.shape
    rows = np.pad(picture.reshape(height, -1), ((0, 0), (1, 0))).astype(np.uint8).tobytes()

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, b"\x89PNG\r\n\x1a\n" + content)


def strips(truth: Tensor, prediction: Tensor, gap: int = 2) -> np.ndarray:
    """Rows of frames, truth above prediction for each video, `(H, W, 3)` bytes.

    Arguments: two tensors `(n, T, C, H, W)` in [-1, 1]; channels beyond three are left out, one
    channel is grey.
    """
    rows = []
    for i in range(len(truth)):
        for video in (truth[i], prediction[i]):
            frames = ((video.float().clamp(-1, 1) + 1.0) * 127.5).round().byte()
            frames = frames[:, :3] if frames.shape[1] >= 3 else frames[:, :1].expand(-1, 3, -1, -1)
            frames = nn.functional.pad(frames, (0, gap, 0, gap), value=255)
            rows.append(frames.permute(2, 0, 3, 1).flatten(1, 2))
        rows[-1] = nn.functional.pad(rows[-1], (0, 0, 0, 0, 0, gap), value=255)
    return torch.cat(rows).numpy()


def _picture(network: Denoiser, clips: Batch, diffusion: DiffusionConfig) -> np.ndarray:
    """The first window of four clips, generated from the true frames before it."""
    frames, action = pixels(clips.frames[:4]), torch.from_numpy(np.array(clips.actions[:4]))
    window = network.config.window
    schedule = Schedule.chunk(window, t_max=diffusion.t_max, t_min=diffusion.t_min, substeps=8)
    given = frames.shape[1] - window
    device = next(network.parameters()).device
    made = roll_out(
        network,
        schedule,
        context=frames[:, :given].to(device),
        action=action.to(device),
        frames=window,
        seed=0,
        reference=network.config.reference,
    )
    predicted = torch.cat([frames[:, :given], made.estimates.cpu()], 1)
    return strips(frames, predicted)


# --- the loop -------------------------------------------------------------------------------------


@_processes()
def train(
    network: NetworkConfig,
    diffusion: DiffusionConfig,
    training: TrainingConfig,
    source: ClipSource,
    folder: str | Path,
    *,
    world: Mapping[str, Any] | None = None,
    name: str = "network",
    accelerator: str = "auto",
    progress: bool = True,
    limit: float | None = None,
) -> TrainingResult:
    """Train a network, or go on where a killed run stopped.

    Arguments
    ---------
    source: of clips; world: its description, stored with every checkpoint.
    folder: gets `checkpoints/`, `log.jsonl`, `strips/` and `config.json`. A folder that holds
        checkpoints of the same configuration is resumed; of another one, refused.
    accelerator: `auto`, `cpu`, `cuda`, ... as Lightning Fabric names them.
    limit: stop at the first checkpoint after so many core-seconds; the next call goes on there.

    Raises `CheckpointError` if a checkpoint cannot be read or written, or belongs elsewhere.
    """
    folder = Path(folder)
    checkpoints, log_path = folder / "checkpoints", folder / "log.jsonl"
    if network.clean_level != diffusion.t_min:
        raise ParameterError(
            "clean_level", f"t_min of the diffusion ({diffusion.t_min:g})", network.clean_level
        )
    config = {
        "name": name,
        "network": asdict(network),
        "diffusion": asdict(diffusion),
        "training": asdict(training),
        "world": None if world is None else json.loads(json.dumps(world)),
    }
    fabric = _fabric(training, diffusion, accelerator)
    model = build(network, training.seed).to(fabric.device)
    if limit is not None and fabric.world_size > 1:  # their clocks would not agree
        raise ParameterError("limit", "none with several processes", limit)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=training.learning_rate,
        betas=(0.9, 0.99),
        weight_decay=training.weight_decay,
    )
    checkpoint = _resume(checkpoints, config)
    first = 0
    if checkpoint is None and training.warm_start is not None:
        _warm_start(model, training.warm_start)
    ema = copy.deepcopy(model).eval().requires_grad_(False)
    if checkpoint is not None:
        _restore(checkpoint, model, ema, optimizer)
        first = int(checkpoint.metadata["step"])
    leads = fabric.global_rank == 0
    if leads:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "config.json", (json.dumps(config, indent=1) + "\n").encode())
        _trim_log(log_path, first)
        if checkpoints.is_dir():
            keep_newest(checkpoints, training.keep)
    fast, optimizer = fabric.setup(torch.compile(model) if training.compile else model, optimizer)
    parameters, averages = list(model.parameters()), list(ema.parameters())

    smoothed = None if checkpoint is None else float(checkpoint.metadata["loss"])
    start, core_start = time.perf_counter(), time.process_time()
    done = first
    batches = source.batches(training.batch_size, network.clip, training.seed, start_step=first)
    bar = tqdm(total=training.steps, initial=first, desc=name, disable=not (progress and leads))
    with bar:
        for step in range(first, training.steps):
            loss = _step(fabric, fast, optimizer, next(batches), network, diffusion, training, step)
            if not np.isfinite(loss):
                raise FloatingPointError(
                    f"the loss of step {step + 1} is {loss}; the last checkpoint is intact, try a "
                    "smaller training.learning_rate"
                )
            decay = min(training.ema, (1.0 + step) / (10.0 + step))
            with torch.no_grad():
                torch._foreach_lerp_(averages, parameters, 1.0 - decay)
            smoothed = loss if smoothed is None else 0.98 * smoothed + 0.02 * loss
            done = step + 1
            bar.update()
            seconds = time.perf_counter() - start
            speed = (done - first) * training.batch_size / seconds
            if not leads:
                continue
            if done % training.log_every == 0 or done == training.steps:
                bar.set_postfix(loss=f"{smoothed:.4f}", samples_per_s=f"{speed:.0f}")
                entry = {
                    "step": done,
                    "loss": loss,
                    "smoothed_loss": smoothed,
                    "learning_rate": training.rate(step),
                    "samples_per_second": round(speed, 2),
                    "seconds": round(seconds, 2),
                    "core_seconds": round(time.process_time() - core_start, 2),
                }
                _append(log_path, json.dumps(entry) + "\n")
            if done % training.checkpoint_every == 0 or done == training.steps:
                save_checkpoint(
                    path_of_step(checkpoints, done),
                    _state(model, ema, optimizer),
                    {"step": done, "loss": smoothed, "config": config, "world": config["world"]},
                )
                keep_newest(checkpoints, training.keep)
            if training.strips_every and done % training.strips_every == 0:
                seen = next(source.batches(4, network.clip, training.seed + 1))
                picture = _picture(ema, seen, diffusion)
                write_png(folder / "strips" / f"step-{done:08d}.png", picture)
            spent = time.process_time() - core_start
            if limit is not None and spent > limit and done % training.checkpoint_every == 0:
                break
    seconds = time.perf_counter() - start
    fabric.barrier()
    clips = (done - first) * training.batch_size
    return TrainingResult(
        network=ema,
        step=done,
        loss=float("nan") if smoothed is None else smoothed,
        resumed_from=first,
        seconds=seconds,
        clips_per_second=clips / seconds,
    )


def _step(
    fabric: Any,
    model: Any,
    optimizer: Any,
    clips: Batch,
    network: NetworkConfig,
    diffusion: DiffusionConfig,
    training: TrainingConfig,
    step: int,
) -> float:
    """One update; returns the loss of the whole batch."""
    example = training_clip(
        pixels(clips.frames),
        torch.from_numpy(np.array(clips.actions)),
        memory=network.memory,
        reference=network.reference,
        config=diffusion,
        generator=_generator(training.seed, step),
    )
    example = _share(example, fabric.global_rank, fabric.world_size, fabric.device)
    for group in optimizer.param_groups:
        group["lr"] = training.rate(step)
    estimate = model(
        example.x,
        example.gamma,
        reference=example.reference,
        memory=example.memory,
        action=example.action,
        reference_gamma=example.reference_gamma,
    )
    loss = denoising_loss(estimate, example, diffusion)
    optimizer.zero_grad(set_to_none=True)
    fabric.backward(loss)
    fabric.clip_gradients(model, optimizer, max_norm=training.clip_norm, error_if_nonfinite=False)
    optimizer.step()
    return float(fabric.all_reduce(loss.detach(), reduce_op="mean"))


def _append(path: Path, line: str) -> None:
    try:
        with open(path, "a") as file:
            file.write(line)
    except OSError as error:
        raise CheckpointError(
            f"log {path} was not written: {error.strerror or error}; checkpoints are untouched"
        ) from error


# --- networks from checkpoints --------------------------------------------------------------------


def load_network(path: str | Path) -> tuple[Denoiser, dict[str, Any]]:
    """The network with averaged weights of a checkpoint, and the checkpoint's metadata."""
    checkpoint = load_checkpoint(path)
    network = build(NetworkConfig.from_json(checkpoint.metadata["config"]["network"]))
    weights = {name: tensor.float() for name, tensor in checkpoint.part("ema").items()}
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(
            f"checkpoint {path} does not hold the weights of the network it describes: {error}"
        ) from error
    return network.eval().requires_grad_(False), checkpoint.metadata


def save_weights(path: str | Path, checkpoint: str | Path) -> None:
    """The averaged weights of `checkpoint` alone, in half precision, to be shipped."""
    whole = load_checkpoint(checkpoint)
    tensors = {f"ema/{name}": tensor.half() for name, tensor in whole.part("ema").items()}
    save_checkpoint(Path(path), tensors, whole.metadata)
