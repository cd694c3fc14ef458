"""First-person walks through DeepMind Lab's mazes, drawn by ViZDoom.

The layout comes from DeepMind Lab's own generator (the `labmaze` package), the wall, floor and sky
textures from its assets (Apache-2.0, in the `labmaze` wheel). Rooms differ in walls and floor.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from arvdm_theory.checks import positive_integer
from arvdm_theory.errors import ParameterError
from paper_repro.worlds.doom import HEADINGS, GridMap, Pose, quantise, require
from paper_repro.worlds.walk import Ground, WalkingWorld
from paper_repro.worlds.world import register

__all__ = ["MazeWorld"]

#: Map units; a texture covers one cell.
CELL, WALL_HEIGHT, STEP = 128, 112, 32
#: How near a wall one may come.
CLEARANCE = 24
#: Texels across a cell.
TEXELS = 64
#: Textures per region (a room, or all corridors), so that walls of one region differ.
WALLS_A_REGION = 2
#: Walls that look east or west are darker, so that corners show.
DARKER = 0.8
ROOMS = 4


@register
@dataclass(frozen=True, eq=False)
class MazeWorld(WalkingWorld):
    """Walks of quarter-cell steps and 11.25° turns through a maze; see `WalkingWorld`.

    Arguments: `size`, `motion`; `cells`, odd, cells across the maze with its outer walls.
    """

    name: ClassVar[str] = "maze"
    cells: int = 11

    def __post_init__(self) -> None:
        super().__post_init__()
        if positive_integer("maze.cells", self.cells, minimum=7) % 2 == 0:
            raise ParameterError("maze.cells", "odd", self.cells)

    def _land(self, generator: np.random.Generator) -> tuple[GridMap, Ground]:
        labmaze = require("labmaze", "maze")
        maze = labmaze.RandomMaze(
            height=self.cells,
            width=self.cells,
            max_rooms=ROOMS,
            room_min_size=3,
            room_max_size=3 if self.cells < 9 else 5,
            extra_connection_probability=0.1,
            max_variations=ROOMS,
            has_doors=False,
            spawns_per_room=0,
            objects_per_room=0,
            random_seed=int(generator.integers(2**31 - 1)),
        )
        solid = np.array(maze.entity_layer) == "*"
        letters = np.array(maze.variations_layer)
        names = sorted(set(letters[~solid].tolist()))
        region = np.searchsorted(names, letters)
        walls, floors = _assets("wall"), _assets("floor")
        skies = sorted({path.parent for path in _folder().glob("sky_*/up.png")})
        chosen_walls = generator.choice(
            len(walls), size=(len(names), WALLS_A_REGION), replace=False
        )
        chosen_floors = generator.choice(len(floors), size=len(names), replace=False)
        textures = {"SKY": _sky(skies[generator.integers(len(skies))])}
        properties = []
        for i in range(len(names)):
            textures[f"F{i}"] = _texture(floors[chosen_floors[i]], TEXELS, TEXELS, 6)
            for j in range(WALLS_A_REGION):
                height = TEXELS * WALL_HEIGHT // CELL
                wall = _texture(walls[chosen_walls[i, j]], height, TEXELS, 9)
                textures[f"W{i}{j}L"] = wall
                textures[f"W{i}{j}D"] = np.rint(DARKER * wall).astype(np.uint8)
            properties.append(
                {
                    "heightfloor": 0,
                    "heightceiling": WALL_HEIGHT,
                    "texturefloor": f"F{i}",
                    "textureceiling": "F_SKY1",
                    "lightlevel": 255,
                    "xscalefloor": TEXELS / CELL,
                    "yscalefloor": TEXELS / CELL,
                }
            )
        # walls of a region that lie on one line look alike
        kind = generator.integers(WALLS_A_REGION, size=(len(names), 4, self.cells))

        def edge(cell: tuple[int, int], other: tuple[int, int], facing: int) -> dict[str, Any]:
            if not solid[other]:
                return {}
            here = region[cell]
            line = cell[1] if facing in (0, 2) else cell[0]
            shade = "D" if facing in (0, 2) else "L"
            return {
                "texturemiddle": f"W{here}{kind[here, facing, line]}{shade}",
                "scalex_mid": TEXELS / CELL,
                "scaley_mid": TEXELS / CELL,
            }

        sectors = np.where(solid, -1, region)
        ground = MazeGround(solid)
        start = ground.start(generator)
        at = [CELL * i for i in range(self.cells + 1)]
        return GridMap(at, sectors, properties, edge, textures, "SKY", start), ground


class MazeGround(Ground):
    """The open cells, without a margin along the walls."""

    step = STEP

    def __init__(self, solid: NDArray[np.bool_]) -> None:
        self.solid = solid
        self.open = np.argwhere(~solid)

    def allows(self, x: int, y: int, to_x: int, to_y: int) -> bool:
        # a step is a quarter of a cell, so no wall fits between its ends
        return not any(
            self.solid[(to_y + dy) // CELL, (to_x + dx) // CELL]
            for dx in (-CLEARANCE, CLEARANCE)
            for dy in (-CLEARANCE, CLEARANCE)
        )

    def start(self, generator: np.random.Generator) -> Pose:
        row, column = self.open[generator.integers(len(self.open))]
        centre = CELL // 2
        return (
            int(column) * CELL + centre,
            int(row) * CELL + centre,
            int(generator.integers(HEADINGS)),
        )


def _folder() -> Path:
    return Path(require("labmaze", "maze").__file__).parent / "assets"


@functools.cache
def _assets(kind: str) -> list[Path]:
    """DeepMind Lab's opaque wall or floor textures."""
    return sorted(_folder().glob(f"style_*/{kind}_*_d.png"))


@functools.cache
def _texture(path: Path, height: int, width: int, colours: int) -> NDArray[np.uint8]:
    """A texture, box-averaged to `(height, width, 3)` and reduced to a few colours."""
    image = require("PIL.Image", "maze")
    with image.open(path) as picture:
        picture = picture.convert("RGBA").convert("RGB")
        small = np.asarray(picture.resize((width, height), image.Resampling.BOX))
    return quantise(small, colours)


@functools.cache
def _sky(folder: Path) -> NDArray[np.uint8]:
    """The upper halves of the sky box's four sides, side by side, `(128, 1024, 3)`."""
    image = require("PIL.Image", "maze")
    sides = []
    for name in ("ft", "rt", "bk", "lf"):
        with image.open(folder / f"{name}.png") as picture:
            small = picture.convert("RGB").resize((256, 256), image.Resampling.BOX)
            sides.append(np.asarray(small)[40:168])
    return quantise(np.concatenate(sides, axis=1), 40)
