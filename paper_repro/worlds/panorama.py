r"""A camera pans over an endless strip of coloured, textured panels: a needle in a haystack.

What has not been seen cannot be predicted, what comes back is determined exactly. With the discrete
palette every panel carries `bands` attributes, each uniform on K values, independent of all
others; then the memory bottleneck is a count:
$\mathrm{MB}_k = \log K \times$ (attributes revealed again that left the memory).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from arvdm_theory.checks import positive_integer
from arvdm_theory.errors import ParameterError, RefusedError
from paper_repro.worlds.world import Clips, Journey, World, ages, choice, look_away, register

__all__ = ["COLOURS", "PanoramaWorld"]

#: Colours of the discrete palette, any two at least 25 CIELAB units apart.
COLOURS = np.array(
    [
        (204, 51, 63),
        (52, 101, 196),
        (245, 196, 66),
        (58, 156, 82),
        (148, 82, 178),
        (240, 236, 220),
        (38, 36, 46),
        (236, 124, 48),
        (88, 196, 214),
        (240, 138, 178),
        (122, 78, 48),
        (168, 214, 78),
        (128, 132, 138),
        (24, 92, 88),
        (120, 22, 74),
        (226, 176, 132),
    ],
    dtype=np.int64,
)
#: How much lighter (1) or darker (-1) each texel is, by texture: `(textures, 4, 4)`.
TEXTURES = np.array(
    [
        [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [-1, -1, -1, -1]],
        [[1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1]],
        [[1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]],
        [[1, 0, 0, -1], [0, 0, -1, 1], [0, -1, 1, 0], [-1, 1, 0, 0]],
        [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]],
        [[-1, 0, 1, 0], [-1, 0, 1, 0], [-1, 0, 1, 0], [-1, 0, 1, 0]],
    ],
    dtype=np.int64,
)
CLIPS_A_BLOCK = 32


@register
@dataclass(frozen=True, eq=False)
class PanoramaWorld(World):
    """A strip of panels `panel` pixels wide under a camera that pans `pan` pixels per action ±1.

    Poses are counted in pans. Frame 0 starts at the left edge of a panel.

    Arguments
    ---------
    size: 16 or 32. palette: "continuous" (any colour and texture) or "discrete".
    attributes: K, how many values each attribute of the discrete palette has, 2..16.
    bands: attributes per panel, one above the other. pan: pixels per action.
    panel: width in pixels, a multiple of `pan`; `None` means size / 4.

    >>> PanoramaWorld(palette="discrete").clips(2, 5, seed=0).frames.shape
    (2, 5, 16, 16, 3)
    """

    name: ClassVar[str] = "panorama"
    size: int = 16
    palette: str = "continuous"
    attributes: int = 8
    bands: int = 2
    pan: int = 4
    panel: int | None = None

    def __post_init__(self) -> None:
        choice("panorama.size", self.size, (16, 32))
        choice("panorama.palette", self.palette, ("continuous", "discrete"))
        positive_integer("panorama.attributes", self.attributes, minimum=2)
        if self.attributes > len(COLOURS):
            raise ParameterError("panorama.attributes", f"in 2..{len(COLOURS)}", self.attributes)
        choice("panorama.bands", self.bands, (1, 2, 4))
        positive_integer("panorama.pan", self.pan)
        if self.panel is None:
            object.__setattr__(self, "panel", self.size // 4)
        if positive_integer("panorama.panel", self.panel) % self.pan:
            raise ParameterError("panorama.panel", f"a multiple of pan ({self.pan})", self.panel)

    @property
    def channels(self) -> int:
        return 3

    @property
    def action_dim(self) -> int:
        return 1

    @property
    def pose_dim(self) -> int:
        return 1

    def visible(self, position: int) -> frozenset[int]:
        """The panels of which a column shows at `position` (in pans)."""
        assert self.panel is not None
        left = position * self.pan
        return frozenset(range(left // self.panel, (left + self.size - 1) // self.panel + 1))

    def exact_memory_bottleneck(
        self, path: Sequence[int] | NDArray[Any], memory: int, window: int
    ) -> NDArray[np.float64]:
        r"""Exact $\mathrm{MB}_k = I(\text{block } k; \text{past} \mid \text{memory})$ in nats.

        Frames are generated in blocks of `window` (window = stride; the last block may be short),
        each from the true `memory` frames before it, with the path known; frames are clean (level
        0). A panel counts if the block shows it, an earlier frame showed it, and none of the
        `memory` frames does: its `bands` attributes are uniform without the past and determined
        with it, so each adds log K.

        Arguments
        ---------
        path: position of each frame in pans (for instance `clips.poses[i, :, 0]`), `(T,)`.
        memory: frames remembered. window: frames generated at once.

        Returns one number per block, `(ceil(T / window),)`. Raises `RefusedError` for the
        continuous palette, where a forgotten panel costs infinitely many nats.

        >>> world = PanoramaWorld(palette="discrete", attributes=4, bands=1)
        >>> (world.exact_memory_bottleneck([0, 1, 2, 1, 0], 2, 1) / np.log(4)).tolist()
        [0.0, 0.0, 0.0, 0.0, 1.0]
        """
        if self.palette != "discrete":
            raise RefusedError(
                "the memory bottleneck of the continuous palette is infinite as soon as a "
                "forgotten panel returns: its colours have a density and are determined exactly"
            )
        memory = positive_integer("memory", memory, minimum=0)
        window = positive_integer("window", window)
        positions = np.asarray(path)
        whole = np.rint(positions).astype(np.int64)
        if positions.ndim != 1 or not np.array_equal(whole, positions):
            raise ParameterError("path", "a list of whole numbers of pans", path)
        shown = [self.visible(int(position)) for position in whole]
        nats_per_panel = self.bands * np.log(self.attributes)
        out = []
        for start in range(0, len(shown), window):
            block = frozenset().union(*shown[start : start + window])
            past = frozenset().union(*shown[:start])
            remembered = frozenset().union(*shown[max(0, start - memory) : start])
            out.append(nats_per_panel * len((block & past) - remembered))
        return np.array(out)

    def picture(
        self, values: NDArray[np.int64], textures: NDArray[np.int64], first: int, position: int
    ) -> NDArray[np.uint8]:
        """The view at `position`, `(size, size, 3)`.

        Arguments
        ---------
        values: `(panels, bands, 3)` colours; textures: `(panels, bands)`; both from panel `first`.
        """
        assert self.panel is not None
        column = position * self.pan + np.arange(self.size)
        row = np.arange(self.size)
        band = row * self.bands // self.size
        # a texel is as large as fits four times into a panel
        texel = max(1, self.panel // 4)
        panel = column // self.panel - first
        across = (column % self.panel) // texel % 4
        down = row // texel % 4
        shade = TEXTURES[textures[panel[None, :], band[:, None]], down[:, None], across[None, :]]
        colour = values[panel[None, :], band[:, None]]
        return np.clip(colour + SHADE * shade[..., None], 0, 255).astype(np.uint8)

    def _blocks(self, count: int, journey: Journey, seed: int) -> Iterator[Clips]:
        for first in range(0, count, CLIPS_A_BLOCK):
            members = range(first, min(first + CLIPS_A_BLOCK, count))
            yield Clips.join([self._clip(journey, journey.generator(seed, i)) for i in members])

    def _clip(self, journey: Journey, generator: np.random.Generator) -> Clips:
        assert self.panel is not None
        path = _path(journey, generator)
        reach = journey.length * self.pan // self.panel + 1
        panels = 2 * reach + self.size // self.panel + 2
        if self.palette == "discrete":
            attribute = generator.integers(self.attributes, size=(panels, self.bands))
            values, textures = COLOURS[attribute], attribute % len(TEXTURES)
        else:
            values = generator.integers(32, 224, size=(panels, self.bands, 3))
            textures = generator.integers(len(TEXTURES), size=(panels, self.bands))
        views: dict[int, NDArray[np.uint8]] = {}
        for position in path.tolist():
            if position not in views:
                views[position] = self.picture(values, textures, -reach, position)
        poses = path[:, None].astype(np.float32)
        return Clips(
            np.stack([views[position] for position in path.tolist()])[None],
            np.diff(poses, axis=0, prepend=poses[:1])[None],
            poses[None],
            ages(poses)[None],
        )


#: Levels by which a texture lightens or darkens its colour.
SHADE = 26


def _path(journey: Journey, generator: np.random.Generator) -> NDArray[np.int64]:
    """Positions in pans from 0 on: there and back, or runs of every length with turns between."""
    side = int(generator.choice([-1, 1]))
    if journey.context is not None:
        return side * look_away(journey.context, journey.length)
    steps = np.empty(journey.length, dtype=np.int64)
    steps[0], filled = 0, 1
    while filled < journey.length:
        # log-uniform run lengths, so that views return after short and long absences alike
        run = int(np.exp(generator.uniform(0.0, np.log(max(2, journey.length)))))
        steps[filled : filled + run] = side
        filled, side = filled + run, -side
    return np.cumsum(steps)
