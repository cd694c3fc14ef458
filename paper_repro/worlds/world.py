"""What every world is: a seeded generator of clips of (frames, actions, poses, ages).

A `World` is a frozen description. It draws two kinds of clips: `clips`, in which the camera wanders
and comes back to places at all time scales, and `return_clips`, in which it looks away for the
context frames and then retraces its path, so that every generated frame shows a view of known age.
The same seed gives the same bytes, and the first clips of a larger draw are the smaller draw.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from arvdm_theory.checks import positive_integer
from arvdm_theory.errors import ParameterError

__all__ = [
    "WORLDS",
    "Clips",
    "Journey",
    "World",
    "ages",
    "look_away",
    "make_world",
    "register",
    "world_from_json",
]

WORLDS: dict[str, type[World]] = {}
"""World name → class."""

_World = TypeVar("_World", bound="World")


def register(cls: type[_World]) -> type[_World]:
    """Class decorator: make the world known to `make_world` under its `name`."""
    WORLDS[cls.name] = cls
    return cls


@dataclass(frozen=True, eq=False)
class Clips:
    """n clips of T frames.

    Arguments
    ---------
    frames: `(n, T, H, W, C)`, uint8 RGB (float32 in the Gaussian world, in the video's own units).
    actions: `(n, T, A)` float32; `actions[:, t]` leads from frame t-1 to frame t, the first is 0.
    poses: `(n, T, P)` float32, relative to frame 0 of each clip.
    age: `(n, T)` int32, frames since exactly this pose was last seen, -1 if never in the clip.
    """

    frames: NDArray[Any]
    actions: NDArray[np.float32]
    poses: NDArray[np.float32]
    age: NDArray[np.int32]

    def __post_init__(self) -> None:
        for item in fields(self):
            array = getattr(self, item.name)
            if array.shape[:2] != self.frames.shape[:2]:
                raise ParameterError(
                    item.name, f"of leading shape {self.frames.shape[:2]}", array.shape
                )

    def __len__(self) -> int:
        return int(self.frames.shape[0])

    @property
    def length(self) -> int:
        """Frames in a clip, T."""
        return int(self.frames.shape[1])

    def __getitem__(self, index: slice | NDArray[Any]) -> Clips:
        """Some of the clips."""
        return Clips(self.frames[index], self.actions[index], self.poses[index], self.age[index])

    def __repr__(self) -> str:
        return f"Clips({len(self)} clips of {self.length} frames {self.frames.shape[2:]})"

    @staticmethod
    def join(parts: list[Clips]) -> Clips:
        """The clips of all `parts`, in order."""
        return Clips(
            np.concatenate([part.frames for part in parts]),
            np.concatenate([part.actions for part in parts]),
            np.concatenate([part.poses for part in parts]),
            np.concatenate([part.age for part in parts]),
        )


@dataclass(frozen=True)
class Journey:
    """What the camera is asked to do: wander, or look away for `context` frames and return."""

    length: int
    context: int | None = None

    def generator(self, seed: int, *index: int) -> np.random.Generator:
        """Random numbers for one part of this journey; wandering and returning never share any."""
        return np.random.default_rng([seed, int(self.context is not None), *index])


class World(ABC):
    """A seeded generator of clips; subclasses are frozen dataclasses whose fields are its options.

    To add a world: subclass, set `name` and `revision`, define the four sizes and `_blocks`, and
    decorate with `@register`.
    """

    name: ClassVar[str]
    #: Raised whenever the same description and seed give other bytes than before.
    revision: ClassVar[int] = 1
    frame_type: ClassVar[type[np.generic]] = np.uint8
    size: int

    @property
    @abstractmethod
    def channels(self) -> int:
        """Numbers per pixel."""

    @property
    @abstractmethod
    def action_dim(self) -> int:
        """A, numbers per action."""

    @property
    @abstractmethod
    def pose_dim(self) -> int:
        """P, numbers per pose."""

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of one frame."""
        return self.size, self.size, self.channels

    @abstractmethod
    def _blocks(self, count: int, journey: Journey, seed: int) -> Iterator[Clips]:
        """`count` clips in blocks; clip i depends only on (self, journey, seed, i)."""

    def relative(self, poses: NDArray[Any], frame: int = 0) -> NDArray[np.float32]:
        """`poses` `(..., T, P)` as seen from frame `frame` of the same clip."""
        return np.asarray(poses - poses[..., frame : frame + 1, :], dtype=np.float32)

    def blocks(self, count: int, length: int, seed: int) -> Iterator[Clips]:
        """The clips of `clips`, a few at a time, for draws that do not fit in memory."""
        return self._blocks(
            positive_integer("count", count),
            Journey(positive_integer("length", length)),
            positive_integer("seed", seed, minimum=0),
        )

    def clips(self, count: int, length: int, seed: int) -> Clips:
        """`count` clips of `length` frames in which the camera wanders and often comes back."""
        return Clips.join(list(self.blocks(count, length, seed)))

    def return_clips(self, count: int, context: int, generated: int, seed: int) -> Clips:
        """Look away and return: `context` frames away, then the way back.

        Frame `context - 1 + j` (from 0) shows the pose of frame `context - 1 - j`; after the start
        the camera turns round again, so that any number of frames may be `generated`. The `age` of
        a view counts from the *last* time it was seen.
        """
        context = positive_integer("context", context)
        journey = Journey(context + positive_integer("generated", generated), context)
        seed = positive_integer("seed", seed, minimum=0)
        return Clips.join(list(self._blocks(positive_integer("count", count), journey, seed)))

    def to_json(self) -> dict[str, Any]:
        """Name and options; `world_from_json` is the inverse."""
        options = {item.name: getattr(self, item.name) for item in fields(self)}  # type: ignore[arg-type]
        return {"name": self.name, **options}

    @property
    def key(self) -> str:
        """Content key: equal for worlds that draw equal clips, across processes."""
        text = json.dumps([self.to_json(), self.revision], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def make_world(name: str, **options: Any) -> World:
    """The world `name` (gaussian, panorama, maze, blocks) with `options`.

    >>> make_world("panorama", size=16, palette="discrete", attributes=4).action_dim
    1
    """
    if name not in WORLDS:
        raise ParameterError("world", f"one of {', '.join(WORLDS)}", name)
    cls = WORLDS[name]
    known = [item.name for item in fields(cls)]  # type: ignore[arg-type]
    for option in options:
        if option not in known:
            raise ParameterError(
                f"{name}.{option}", f"one of the options {', '.join(known)}", option
            )
    return cls(**options)


def world_from_json(specification: Mapping[str, Any]) -> World:
    """The world of a specification `{"name": ..., options}`, the inverse of `World.to_json`."""
    options = dict(specification)
    if "name" not in options:
        raise ParameterError("world.name", f"given: one of {', '.join(WORLDS)}", specification)
    return make_world(options.pop("name"), **options)


def ages(poses: NDArray[Any]) -> NDArray[np.int32]:
    """Frames since each pose of one clip was last seen, -1 if never: `(T, P)` → `(T,)`.

    >>> ages(np.array([[0], [1], [0], [0]])).tolist()
    [-1, -1, 2, 1]
    """
    last_seen: dict[bytes, int] = {}
    out = np.full(len(poses), -1, dtype=np.int32)
    # adding zero makes -0.0 and 0.0 one pose
    for frame, pose in enumerate(np.ascontiguousarray(poses + poses.dtype.type(0))):
        key = pose.tobytes()
        if key in last_seen:
            out[frame] = frame - last_seen[key]
        last_seen[key] = frame
    return out


def look_away(context: int, length: int) -> NDArray[np.int64]:
    """Which frame of the way out each frame of a return clip shows again: `(length,)`.

    The triangle wave 0, 1, ..., context-1, context-2, ..., 0, 1, ...

    >>> look_away(3, 8).tolist()
    [0, 1, 2, 1, 0, 1, 2, 1]
    """
    if context == 1:
        return np.zeros(length, dtype=np.int64)
    turn = context - 1
    return turn - np.abs(np.arange(length) % (2 * turn) - turn)


def choice(parameter: str, value: Any, options: tuple[Any, ...]) -> Any:
    """`value` if it is one of `options`, else `ParameterError`."""
    if value not in options:
        raise ParameterError(parameter, f"one of {', '.join(map(str, options))}", value)
    return value
