"""Checkpoints: one safetensors file each, whole or not there, that say what they are.

A file holds named tensors and, as metadata, JSON with the configuration, the world, the step and a
SHA-256 digest of the tensors. It is written beside its place, flushed to the disk, and moved there,
so that a killed process or a full disk leaves the earlier checkpoints as they were.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from arvdm_theory.errors import ArvdmError

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "keep_newest",
    "load_checkpoint",
    "newest",
    "path_of_step",
    "save_checkpoint",
    "saved_steps",
    "write_atomically",
]

FORMAT = "arvdm-checkpoint-1"

_NAME = re.compile(r"step-(\d{8})\.safetensors")
_PART = ".part"


class CheckpointError(ArvdmError):
    """A checkpoint cannot be written or read; the message says why and what is still there."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """`tensors` by name, and the `metadata` they were saved with."""

    tensors: dict[str, Tensor]
    metadata: dict[str, Any]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors called `prefix/...`, by the rest of their names."""
        start = len(prefix) + 1
        return {k[start:]: v for k, v in self.tensors.items() if k.startswith(prefix + "/")}


def _digest(tensors: Mapping[str, Tensor]) -> str:
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return total.hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path`: either all of it is there afterwards or `path` is as before."""
    part = path.with_name(f"{path.name}.{os.getpid()}{_PART}")
    try:
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write a checkpoint, atomically.

    Raises `CheckpointError` if it cannot be written, for example because the disk is full; what
    was there before is untouched.
    """
    from safetensors.torch import save

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    described = dict(metadata) | {"format": FORMAT, "digest": _digest(plain)}
    content = save(plain, {"arvdm": json.dumps(described, sort_keys=True)})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise CheckpointError(
            f"checkpoint {path} ({len(content) / 2**20:.1f} MiB) was not written: "
            f"{error.strerror or error}; earlier checkpoints are untouched"
        ) from error


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint and check it against its digest.

    Raises `CheckpointError` for a file that is missing, truncated, damaged, or not one of ours.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    try:
        with safe_open(str(path), framework="pt") as file:
            described = (file.metadata() or {}).get("arvdm")
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except FileNotFoundError:
        raise CheckpointError(f"checkpoint {path} does not exist") from None
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"checkpoint {path} is truncated or damaged, or not a safetensors file ({error})"
        ) from error
    try:
        metadata = json.loads(described) if described else {}
    except ValueError:
        metadata = {}
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"checkpoint {path} was not written by this program: its format must be {FORMAT}, "
            f"got {metadata.get('format', 'none')}"
        )
    if metadata.get("digest") != _digest(tensors):
        raise CheckpointError(f"checkpoint {path} is damaged: its tensors do not match its digest")
    return Checkpoint(tensors, metadata)


def path_of_step(folder: Path, step: int) -> Path:
    """Where the checkpoint after `step` training steps goes."""
    return folder / f"step-{step:08d}.safetensors"


def saved_steps(folder: Path) -> list[int]:
    """The steps that have a checkpoint, in order."""
    if not folder.is_dir():
        return []
    matches = (_NAME.fullmatch(path.name) for path in folder.iterdir())
    return sorted(int(match[1]) for match in matches if match)


def newest(folder: Path) -> Path | None:
    """The checkpoint of the last saved step, or None."""
    steps = saved_steps(folder)
    return path_of_step(folder, steps[-1]) if steps else None


def keep_newest(folder: Path, count: int) -> None:
    """Remove all but the `count` newest checkpoints, and what killed writes have left."""
    for step in saved_steps(folder)[:-count]:
        path_of_step(folder, step).unlink(missing_ok=True)
    for part in folder.glob(f"*{_PART}"):
        part.unlink(missing_ok=True)
