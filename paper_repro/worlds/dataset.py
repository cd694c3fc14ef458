"""Clips rendered once into memory-mapped files, with a manifest that says what they are."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arvdm_theory.checks import positive_integer
from arvdm_theory.errors import ParameterError
from paper_repro.worlds.world import Clips, World

__all__ = ["Dataset", "dataset"]

MANIFEST = "manifest.json"
FORMAT = 1


@dataclass(frozen=True, eq=False)
class Dataset:
    """`count` clips of `length` frames of a world, as read-only memory maps (see `Clips`)."""

    world: World
    manifest: dict[str, Any]
    folder: Path
    frames: NDArray[Any]
    actions: NDArray[np.float32]
    poses: NDArray[np.float32]
    age: NDArray[np.int32]

    def __len__(self) -> int:
        return int(self.frames.shape[0])

    @property
    def length(self) -> int:
        """Frames in a clip."""
        return int(self.frames.shape[1])

    def __repr__(self) -> str:
        return f"Dataset({self.world.name}, {len(self)} clips of {self.length} frames)"

    def batch(self, step: int, batch_size: int, length: int, seed: int) -> Clips:
        """Batch number `step`: sub-clips of `length` frames; a function of (seed, step) alone.

        Clip and first frame are uniform and independent. Each sub-clip stands on its own: its
        first action is 0, its poses are relative to its first frame, and its ages count only what
        it shows.
        """
        if length > self.length:
            raise ParameterError("length", f"at most the clips' ({self.length})", length)
        generator = np.random.default_rng([seed, step])
        clip = generator.integers(len(self), size=batch_size)
        start = generator.integers(self.length - length + 1, size=batch_size)
        part = [(i, slice(t, t + length)) for i, t in zip(clip, start, strict=True)]
        actions = np.stack([self.actions[where] for where in part])
        actions[:, 0] = 0.0
        age = np.stack([self.age[where] for where in part])
        age[age > np.arange(length)] = -1
        poses = self.world.relative(np.stack([self.poses[where] for where in part]))
        return Clips(np.stack([self.frames[where] for where in part]), actions, poses, age)

    def batches(
        self, batch_size: int, length: int, seed: int, start_step: int = 0
    ) -> Iterator[Clips]:
        """Batches `start_step`, `start_step` + 1, ... without end (see `batch`)."""
        positive_integer("batch_size", batch_size)
        positive_integer("length", length)
        positive_integer("seed", seed, minimum=0)
        step = positive_integer("start_step", start_step, minimum=0)
        while True:
            yield self.batch(step, batch_size, length, seed)
            step += 1

    def verify(self) -> None:
        """Compare every file with the manifest's SHA-256; raises `ParameterError` for the first
        that differs."""
        for name, entry in self.manifest["arrays"].items():
            digest = hashlib.sha256()
            with open(self.folder / f"{name}.npy", "rb") as file:
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
            if digest.hexdigest() != entry["sha256"]:
                raise ParameterError(
                    f"{self.folder / name}.npy",
                    f"the file with SHA-256 {entry['sha256']}",
                    "another",
                )


def dataset(world: World, count: int, length: int, seed: int, folder: str | Path) -> Dataset:
    """`world.clips(count, length, seed)`, rendered once into `folder` and reopened from then on.

    The folder holds `frames.npy`, `actions.npy`, `poses.npy`, `age.npy` and `manifest.json`. It
    appears under its name only when it is whole; a folder whose manifest asks for something else,
    or whose files are cut short, is rendered anew. Two processes that want the same folder render
    it once: the second waits for the lock file `.NAME.lock` beside it. Raises `ParameterError` if
    `folder` holds anything but a dataset, and `OSError` if the disk is too small.
    """
    positive_integer("count", count)
    positive_integer("length", length)
    positive_integer("seed", seed, minimum=0)
    folder = Path(folder).resolve()
    wanted = {
        "format": FORMAT,
        "world": world.to_json(),
        "key": world.key,
        "count": count,
        "length": length,
        "seed": seed,
    }
    found = _reopen(world, wanted, folder)
    if found is not None:
        return found
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        found = _reopen(world, wanted, folder)
        if found is not None:
            return found
        _refuse_foreign(folder)
        for stale in folder.parent.glob(f".{folder.name}.partial-*"):
            shutil.rmtree(stale)
        workshop = Path(tempfile.mkdtemp(prefix=f".{folder.name}.partial-", dir=folder.parent))
        try:
            _write(world, wanted, workshop / "new")
            if folder.exists():
                os.rename(folder, workshop / "old")
            os.rename(workshop / "new", folder)
        finally:
            shutil.rmtree(workshop, ignore_errors=True)
    found = _reopen(world, wanted, folder)
    assert found is not None
    return found


def _reopen(world: World, wanted: dict[str, Any], folder: Path) -> Dataset | None:
    """The dataset in `folder` if it is whole and the one wanted."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        if any(manifest.get(key) != value for key, value in _plain(wanted).items()):
            return None
        arrays = {}
        for name, entry in manifest["arrays"].items():
            arrays[name] = np.load(folder / f"{name}.npy", mmap_mode="r")
            if list(arrays[name].shape) != entry["shape"] or arrays[name].dtype != entry["dtype"]:
                return None
    except (OSError, ValueError, KeyError, AttributeError):
        return None
    return Dataset(world, manifest, folder, **arrays)


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _refuse_foreign(folder: Path) -> None:
    """Never delete what this module did not write."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ParameterError("folder", "a folder", f"the file {folder}")
    ours = {MANIFEST, "frames.npy", "actions.npy", "poses.npy", "age.npy"}
    foreign = sorted(entry.name for entry in folder.iterdir() if entry.name not in ours)
    if foreign:
        raise ParameterError("folder", "empty or a dataset", f"{folder} with {foreign[0]} in it")


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder`, so that one process at a time renders it."""
    try:
        import fcntl
    except ImportError:  # not a Unix: two processes may render twice, the result is the same
        yield
        return
    with open(folder.parent / f".{folder.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class _Writer:
    """One .npy file, appended block by block and hashed on the way.

    Not a writable memory map: on a full disk that kills the process, while this raises OSError.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.shape, self.dtype, self.left = shape, dtype, math.prod(shape) * dtype.itemsize
        self.file = open(path, "wb")
        self.hash = hashlib.sha256()
        header = {
            "descr": np.lib.format.dtype_to_descr(dtype),
            "fortran_order": False,
            "shape": shape,
        }
        np.lib.format.write_array_header_2_0(self.file, header)
        with open(path, "rb") as written:
            self.file.flush()
            self.hash.update(written.read())

    def append(self, block: NDArray[Any]) -> None:
        data = np.ascontiguousarray(block, dtype=self.dtype).tobytes()
        self.left -= len(data)
        self.hash.update(data)
        self.file.write(data)

    def close(self) -> dict[str, Any]:
        """What the manifest says of this file, once it is on the disk."""
        if self.left:
            raise RuntimeError(f"{self.file.name}: {self.left} bytes too few were rendered")
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        return {
            "shape": list(self.shape),
            "dtype": self.dtype.str,
            "sha256": self.hash.hexdigest(),
        }


def _write(world: World, wanted: dict[str, Any], folder: Path) -> None:
    """Render the clips of `wanted` into the new folder `folder`; the manifest comes last."""
    count, length = wanted["count"], wanted["length"]
    layout: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {
        "frames": ((*world.frame_shape,), np.dtype(world.frame_type)),
        "actions": ((world.action_dim,), np.dtype(np.float32)),
        "poses": ((world.pose_dim,), np.dtype(np.float32)),
        "age": ((), np.dtype(np.int32)),
    }
    folder.mkdir()
    needed = count * length * sum(math.prod(s) * d.itemsize for s, d in layout.values())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            errno.ENOSPC, f"the dataset needs {needed} bytes, the disk has {free}", str(folder)
        )
    writers = {}
    try:
        for name, (shape, dtype) in layout.items():
            writers[name] = _Writer(folder / f"{name}.npy", (count, length, *shape), dtype)
        for block in world.blocks(count, length, wanted["seed"]):
            for name, writer in writers.items():
                writer.append(getattr(block, name))
        arrays = {name: writer.close() for name, writer in writers.items()}
    finally:
        for writer in writers.values():
            with contextlib.suppress(OSError):
                writer.file.close()
    text = json.dumps({**wanted, "arrays": arrays}, indent=2) + "\n"
    (folder / MANIFEST).write_text(text)
