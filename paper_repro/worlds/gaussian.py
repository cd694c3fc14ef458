"""The world where the truth is known exactly: a `GaussianVideo`, its frames laid out as pictures.

The optimal denoiser, every mmse and every term of Theorems A to C are known for it, so a network
trained here can be checked number by number. A `Panorama` video has views that return (its
positions are the poses); every other family returns to none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from arvdm_theory.checks import positive_integer
from arvdm_theory.errors import ParameterError, RefusedError
from arvdm_theory.video import GaussianVideo, Panorama
from paper_repro.worlds.world import Clips, Journey, World, ages, register

__all__ = ["GaussianWorld"]

#: Drawn together, because a draw of fewer videos is not the beginning of a draw of more.
CLIPS_A_BLOCK = 64


@register
@dataclass(frozen=True, eq=False)
class GaussianWorld(World):
    """Clean frames $X_1, X_2, \\dots \\in R^d$ of a video as pictures, in the video's own units.

    Arguments
    ---------
    video: a `GaussianVideo` or its specification.
    size: H = W. The d numbers of a frame fill `(H, W, C)` in row-major order, C = d / size².
        The default 1 keeps the frame a vector: one pixel of d channels.

    >>> world = GaussianWorld({"family": "autoregressive", "coefficients": [0.9],
    ...                        "noise_variance": 0.19, "dim": 4}, size=2)
    >>> world.clips(3, 5, seed=0).frames.shape
    (3, 5, 2, 2, 1)
    """

    name: ClassVar[str] = "gaussian"
    frame_type: ClassVar[type[np.generic]] = np.float32
    video: Any
    size: int = 1

    def __post_init__(self) -> None:
        video = self.video
        if isinstance(video, Mapping):
            video = GaussianVideo.from_json(video)
        if not isinstance(video, GaussianVideo):
            raise ParameterError("gaussian.video", "a GaussianVideo or its specification", video)
        size = positive_integer("gaussian.size", self.size)
        if video.dim % size**2:
            raise ParameterError(
                "gaussian.size", f"one whose square divides the video's dim ({video.dim})", size
            )
        object.__setattr__(self, "video", video)
        object.__setattr__(self, "size", size)

    @property
    def channels(self) -> int:
        return int(self.video.dim) // self.size**2

    @property
    def returns(self) -> bool:
        """Whether views return."""
        return isinstance(self.video, Panorama)

    @property
    def action_dim(self) -> int:
        return int(self.returns)

    @property
    def pose_dim(self) -> int:
        return int(self.returns)

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "video": self.video.to_json(), "size": self.size}

    def return_clips(self, count: int, context: int, generated: int, seed: int) -> Clips:
        """`clips` of `context` + `generated` frames: a panorama's own positions are the path.

        Raises `RefusedError` for a video whose views do not return.
        """
        if not self.returns:
            raise RefusedError(
                f"no view of a {self.video.family} video ever returns: it has no camera; "
                "ask for clips(), or for a panorama"
            )
        return super().return_clips(count, context, generated, seed)

    def _blocks(self, count: int, journey: Journey, seed: int) -> Iterator[Clips]:
        length = self.video.check_frames(journey.length)
        actions, poses, age = self._path(length)
        for block, first in enumerate(range(0, count, CLIPS_A_BLOCK)):
            size = min(CLIPS_A_BLOCK, count - first)
            draw = int(journey.generator(seed, block).integers(2**53))
            values = self.video.sample(CLIPS_A_BLOCK, frames=length, seed=draw)[:size]
            frames = values.astype(np.float32).reshape(size, length, *self.frame_shape)
            yield Clips(frames, _repeat(actions, size), _repeat(poses, size), _repeat(age, size))

    def _path(
        self, length: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]:
        """Actions (pixels moved), poses (pixels from the start) and ages along the known path."""
        if not self.returns:
            nothing = np.zeros((length, 0), dtype=np.float32)
            return nothing, nothing, np.full(length, -1, dtype=np.int32)
        positions = np.asarray(self.video.positions[:length], dtype=np.float64)[:, None]
        actions = np.diff(positions, axis=0, prepend=positions[:1])
        circle = self.video.landscape_length
        places = positions if circle is None else positions % circle
        return actions.astype(np.float32), self.relative(positions), ages(places)


def _repeat(item: NDArray[Any], count: int) -> NDArray[Any]:
    return np.repeat(item[None], count, axis=0)
