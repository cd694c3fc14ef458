"""Worlds that are walked through: paths of turns and steps over a map that ViZDoom draws."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paper_repro.worlds.doom import HEADINGS, SCREENS, GridMap, Painter, Pose
from paper_repro.worlds.world import Clips, Journey, World, ages, choice, look_away

__all__ = ["Ground", "WalkingWorld", "away", "stepped", "wander"]

#: Clips that share a map (starting the engine costs as much as 300 frames).
CLIPS_A_MAP = 16
#: Turning away stops short of a full circle, so that no view returns before the way back.
LONGEST_TURN = 24
#: Share of the legs of a wandering path that are walked rather than turned.
WALKED = 0.75


class Ground:
    """Where one may stand and which steps one may take; `step` is their length in map units."""

    step: int

    def allows(self, x: int, y: int, to_x: int, to_y: int) -> bool:
        """Whether the straight step from (x, y) to (to_x, to_y) is free."""
        raise NotImplementedError

    def start(self, generator: np.random.Generator) -> Pose:
        """A place to begin, and where to look."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class WalkingWorld(World):
    """A world of first-person views; an action is (steps forward, eighths of a right angle left).

    Actions are (±1, 0): one step along or against the line of sight, or (0, ±1): a turn of 11.25°,
    left positive. A pose is (steps ahead, steps to the left, cosine, sine), position and heading
    relative to frame 0. Steps end on whole map units, so the length of one varies by up to 0.7
    units; poses are exact.

    Arguments
    ---------
    size: 32, 64 or 128. motion: "walk" (turns and steps) or "turn" (on the spot only).
    """

    size: int = 64
    motion: str = "walk"

    def __post_init__(self) -> None:
        choice(f"{self.name}.size", self.size, tuple(SCREENS))
        choice(f"{self.name}.motion", self.motion, ("walk", "turn"))

    @property
    def channels(self) -> int:
        return 3

    @property
    def action_dim(self) -> int:
        return 2

    @property
    def pose_dim(self) -> int:
        return 4

    @abstractmethod
    def _land(self, generator: np.random.Generator) -> tuple[GridMap, Ground]:
        """A random map and its ground."""

    def relative(self, poses: NDArray[Any], frame: int = 0) -> NDArray[np.float32]:
        """`poses` `(..., T, 4)` as seen from frame `frame`: moved to its place, turned to its
        heading."""
        values = np.asarray(poses, dtype=np.float64)
        origin = values[..., frame : frame + 1, :]
        heading, origin_heading = _heading(values), _heading(origin)
        ahead, left = np.moveaxis(values[..., :2] - origin[..., :2], -1, 0)
        cosine, sine = _direction(origin_heading)
        out = np.stack(
            [
                cosine * ahead + sine * left,
                cosine * left - sine * ahead,
                *_direction((heading - origin_heading) % HEADINGS),
            ],
            axis=-1,
        )
        # so that one place has one pose, however it was reached
        return np.round(out, 5).astype(np.float32)

    def _blocks(self, count: int, journey: Journey, seed: int) -> Iterator[Clips]:
        for block, first in enumerate(range(0, count, CLIPS_A_MAP)):
            grid, ground = self._land(journey.generator(seed, 0, block))
            paths = []
            for clip in range(first, min(first + CLIPS_A_MAP, count)):
                paths.append(self._path(journey, ground, journey.generator(seed, 1, clip)))
            grid.start = paths[0][0]
            with Painter(grid, self.size, self.name) as painter:
                yield Clips.join([self._clip(path, ground, painter) for path in paths])

    def _path(self, journey: Journey, ground: Ground, generator: np.random.Generator) -> list[Pose]:
        start = ground.start(generator)
        walks = self.motion == "walk"
        if journey.context is None:
            return wander(start, journey.length, ground, walks, generator)
        out = away(start, journey.context, ground, walks, generator)
        return [out[i] for i in look_away(journey.context, journey.length)]

    def _clip(self, path: list[Pose], ground: Ground, painter: Painter) -> Clips:
        views = {pose: painter.look(pose) for pose in dict.fromkeys(path)}
        where = np.array(path, dtype=np.int64)
        steps = where[:, :2] / ground.step
        absolute = np.stack([steps[:, 0], steps[:, 1], *_direction(where[:, 2])], axis=-1)
        return Clips(
            np.stack([views[pose] for pose in path])[None],
            _actions(where)[None],
            self.relative(absolute)[None],
            ages(where)[None],
        )


def _heading(poses: NDArray[np.float64]) -> NDArray[np.int64]:
    """Headings in 32nds of a turn of poses `(..., 4)`."""
    turns = np.arctan2(poses[..., 3], poses[..., 2]) / (2.0 * math.pi)
    return np.rint(turns * HEADINGS).astype(np.int64)


def _direction(heading: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cosine and sine of headings in 32nds of a turn."""
    angle = 2.0 * math.pi / HEADINGS * heading
    return np.cos(angle), np.sin(angle)


def stepped(pose: Pose, steps: int, length: int) -> Pose:
    """`pose` after `steps` (±1) steps of `length` map units along its heading.

    Rounded offsets, so that a step back undoes a step.
    """
    x, y, heading = pose
    angle = 2.0 * math.pi * heading / HEADINGS
    return (
        x + steps * round(length * math.cos(angle)),
        y + steps * round(length * math.sin(angle)),
        heading,
    )


def _turned(pose: Pose, turns: int) -> Pose:
    return pose[0], pose[1], (pose[2] + turns) % HEADINGS


def _leg(generator: np.random.Generator, longest: int) -> int:
    """Log-uniform length of a leg, 1..`longest`: short and long absences alike."""
    return int(np.exp(generator.uniform(0.0, math.log(max(longest, 1) + 1))))


def wander(
    start: Pose, length: int, ground: Ground, walks: bool, generator: np.random.Generator
) -> list[Pose]:
    """A path that explores by legs of turns and steps, and half of the time retraces some of it."""
    path, trail = [start], [start]
    while len(path) < length:
        if len(trail) > 1 and generator.random() < 0.5:
            for _ in range(_leg(generator, len(trail) - 1)):
                trail.pop()
                path.append(trail[-1])
        else:
            leg = _explore(trail[-1], _leg(generator, 16), ground, walks, generator)
            trail += leg
            path += leg
    return path[:length]


def away(
    start: Pose, length: int, ground: Ground, walks: bool, generator: np.random.Generator
) -> list[Pose]:
    """A way out: half of the time a turn at a constant rate, else a walk over new ground.

    No more than the last `LONGEST_TURN` frames are a turn, so that nothing is shown twice; a walk
    comes first. Where there is no walking (`walks` false) all frames are the turn, and those of
    more than a full circle show views again. A walk that is boxed in may too.
    """
    side = int(generator.choice([-1, 1]))
    path = [start]
    turns = length - 1
    if walks:
        turns = 0 if generator.random() < 0.5 else min(turns, LONGEST_TURN)
        seen = {start}
        while len(path) < length - turns:
            leg = _explore(path[-1], _leg(generator, 16), ground, True, generator)
            known = [pose in seen for pose in leg]
            if known[0]:
                # one of the two turns leads on, unless the whole circle is known
                turns_on = [_turned(path[-1], side), _turned(path[-1], -side)]
                leg = [pose for pose in turns_on if pose not in seen][:1] or turns_on[:1]
            elif any(known):
                del leg[known.index(True) :]
            seen.update(leg)
            path += leg
        del path[length - turns :]
        if len(path) > 1 and path[-1][:2] == path[-2][:2]:
            # the walk ends in a turn: go on that way, the other was just seen
            side = 1 if _turned(path[-2], 1) == path[-1] else -1
    while len(path) < length:
        path.append(_turned(path[-1], side))
    return path


def _explore(
    pose: Pose, length: int, ground: Ground, walks: bool, generator: np.random.Generator
) -> list[Pose]:
    """One leg: steps ahead until blocked, or turns on the spot."""
    leg: list[Pose] = []
    if walks and generator.random() < WALKED:
        for _ in range(length):
            there = stepped(pose, 1, ground.step)
            if not ground.allows(*pose[:2], *there[:2]):
                break
            pose = there
            leg.append(pose)
    if not leg:
        side = int(generator.choice([-1, 1]))
        for _ in range(length):
            pose = _turned(pose, side)
            leg.append(pose)
    return leg


def _actions(path: NDArray[np.int64]) -> NDArray[np.float32]:
    """The actions that lead along `path` `(T, 3)`: `(T, 2)`, the first 0."""
    out = np.zeros((len(path), 2), dtype=np.float32)
    move = np.diff(path[:, :2], axis=0)
    cosine, sine = _direction(path[1:, 2])
    ahead = move[:, 0] * cosine + move[:, 1] * sine
    out[1:, 0] = np.where(np.any(move != 0, axis=1), np.sign(ahead), 0.0)
    half = HEADINGS // 2
    out[1:, 1] = (np.diff(path[:, 2]) + half) % HEADINGS - half
    return out
