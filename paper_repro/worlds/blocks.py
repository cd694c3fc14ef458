"""First-person walks over islands of cubes, drawn by ViZDoom: hills, biomes, water and trees.

Every island, and every texture, is made here from random numbers; nothing is taken from a game.
Trees stand on trunks and carry canopies (3-D floors) that one walks under.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from arvdm_theory.checks import positive_integer
from paper_repro.worlds.doom import HEADINGS, GridMap, Pose
from paper_repro.worlds.walk import Ground, WalkingWorld
from paper_repro.worlds.world import register

__all__ = ["BlocksWorld"]

#: Map units: a cube (the eye is 41 units, 1.7 cubes, above the ground), and a step.
CUBE, STEP = 24, 24
#: Texels across a cube.
TEXELS = 16
#: The engine puts the player on the highest ground less than 16 units away in x and y, and the walk
#: keeps a unit more from what it must not touch.
RADIUS, CLEARANCE = 16, 17
#: Room that the player needs under a canopy, in cubes.
HEADROOM = 3
#: The island lies in a sea as wide as the horizon: one huge cell, and beyond it a rim of sky.
SEA, RIM = 6000, 64
#: Cells on each side of the island.
MARGIN = 2
#: Height of the sea in cubes.
WATER_LEVEL = 2
#: The sea lies a little below the top of its cube.
WATER_DROP = 4
CEILING = 40 * CUBE

#: Surface: (texture of the top, textures of the side from the top cube down).
SURFACES = {
    "grass": ("GRASS", ("GRASSY", "DIRT", "DIRT", "STONE")),
    "forest": ("MOSS", ("MOSSY", "DIRT", "DIRT", "STONE")),
    "sand": ("SAND", ("SAND", "SAND", "CLAY", "STONE")),
    "snow": ("SNOW", ("SNOWY", "DIRT", "STONE", "STONE")),
    "stone": ("STONE", ("STONE", "STONE", "STONE", "STONE")),
    "clay": ("CLAY", ("CLAY", "RUST", "CLAY", "RUST")),
    "water": ("WATER", ("WATER", "WATER", "WATER", "WATER")),
    "log": ("RINGS", ("LOG", "LOG", "LOG", "LOG")),
    "birch": ("RINGS", ("BIRCH", "BIRCH", "BIRCH", "BIRCH")),
    "cactus": ("CACTUS", ("CACTUS", "CACTUS", "CACTUS", "CACTUS")),
    "pumpkin": ("PUMPKIN", ("PUMPKIN", "DIRT", "DIRT", "STONE")),
}
BIOMES = ("grass", "forest", "sand", "snow", "clay")
#: Biome: (share of cells with a tree, its trunk, leaves; share with a lone cube, its surface).
GROWTH = {
    "grass": (0.008, "birch", "LEAF", 0.004, "pumpkin"),
    "forest": (0.045, "log", "LEAFDK", 0.002, "stone"),
    "sand": (0.0, "log", "LEAF", 0.014, "cactus"),
    "snow": (0.014, "log", "LEAFSN", 0.003, "stone"),
    "clay": (0.008, "birch", "LEAFRD", 0.006, "stone"),
}
#: How bright sides are that look north or south, and east or west; tops are 1.
NORTH, EAST = 0.86, 0.7


@dataclass
class Island:
    """What stands where: heights in cubes, surfaces, and canopies as (bottom, top, leaves)."""

    height: NDArray[np.int64]
    surface: NDArray[np.object_]
    solid: NDArray[np.bool_]
    canopy: dict[tuple[int, int], tuple[int, int, str]] = field(default_factory=dict)


@register
@dataclass(frozen=True, eq=False)
class BlocksWorld(WalkingWorld):
    """Walks of one-cube steps and 11.25° turns over an island of cubes; see `WalkingWorld`.

    Arguments: `size`, `motion`; `cells`, cubes across the island.
    """

    name: ClassVar[str] = "blocks"
    cells: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        positive_integer("blocks.cells", self.cells, minimum=24)

    def _land(self, generator: np.random.Generator) -> tuple[GridMap, Ground]:
        island = raise_island(self.cells, generator)
        ground = BlocksGround(island)
        sky = ("day", "evening", "overcast")[generator.choice(3, p=[0.6, 0.2, 0.2])]
        return _grid_map(island, sky, ground.start(generator)), ground


class BlocksGround(Ground):
    """Dry ground without steps of more than a cube, and with room under the trees."""

    step = STEP

    def __init__(self, island: Island) -> None:
        self.height, self.canopy = island.height, island.canopy
        self.blocked = island.solid | (island.surface == "water")
        for cell, (bottom, _, _) in island.canopy.items():
            self.blocked[cell] |= bottom - island.height[cell] < HEADROOM
        # the open sea looks the same from everywhere, so walks begin away from the coast
        coast = len(self.height) // 5
        middle = range(coast, len(self.height) - coast)
        self.inland = [(r, c) for r in middle for c in middle if self.stands(*_centre(r, c))]

    def stands(self, x: int, y: int) -> bool:
        """Whether the player fits at (x, y)."""
        here = self._around(x, y, CLEARANCE)
        heights = [self.height[cell] for cell in here]
        low = min(heights)
        return not any(self.blocked[cell] for cell in here) and max(heights) - low <= 1

    def level(self, x: int, y: int) -> int:
        """Height of the ground that carries the player at (x, y)."""
        return max(int(self.height[cell]) for cell in self._around(x, y, RADIUS))

    def allows(self, x: int, y: int, to_x: int, to_y: int) -> bool:
        return self.stands(to_x, to_y) and abs(self.level(to_x, to_y) - self.level(x, y)) <= 1

    def start(self, generator: np.random.Generator) -> Pose:
        x, y = _centre(*self.inland[generator.integers(len(self.inland))])
        return x, y, int(generator.integers(HEADINGS))

    def _around(self, x: int, y: int, reach: int) -> list[tuple[int, int]]:
        """The cells less than `reach` away in x and y."""
        columns = range(_cell(x - reach), _cell(x + reach - 1) + 1)
        rows = range(_cell(y - reach), _cell(y + reach - 1) + 1)
        return [(r, c) for r in rows for c in columns]


def _centre(row: int, column: int) -> tuple[int, int]:
    return (column - MARGIN) * CUBE + CUBE // 2, (row - MARGIN) * CUBE + CUBE // 2


def _cell(x: int) -> int:
    """The row or column at coordinate `x`."""
    return x // CUBE + MARGIN


def smooth_noise(generator: np.random.Generator, size: int, scale: int) -> NDArray[np.float64]:
    """Noise in 0..1 that varies over about `scale` cells, `(size, size)`."""
    knots = generator.random((size // scale + 2, size // scale + 2))
    at = np.arange(size) / scale
    low = at.astype(np.int64)
    share = at - low
    share = share * share * (3.0 - 2.0 * share)
    rows = knots[low] * (1.0 - share)[:, None] + knots[low + 1] * share[:, None]
    return rows[:, low] * (1.0 - share) + rows[:, low + 1] * share


def raise_island(cells: int, generator: np.random.Generator) -> Island:
    """A random island of `cells` cubes across, in the middle of the sea."""
    size = cells + 2 * MARGIN
    relief = 0.7 * smooth_noise(generator, cells, 11) + 0.3 * smooth_noise(generator, cells, 5)
    across = np.abs(np.linspace(-1.0, 1.0, cells))
    distance = np.maximum(across[:, None], across[None, :])
    shore = np.clip((1.0 - distance) * 5.0, 0.0, 1.0)
    land = np.rint((0.5 + 11.0 * relief**1.3) * shore).astype(np.int64)
    zone = smooth_noise(generator, cells, 13) + 0.15 * generator.random((cells, cells))
    kinds = generator.permutation(np.array(BIOMES, dtype=object))
    ranks = np.searchsorted(np.quantile(zone, [0.25, 0.5, 0.75]), zone)
    surface_land = kinds[ranks]
    surface_land[land >= 9] = "stone"
    surface_land[land <= WATER_LEVEL] = "sand"
    surface_land[land < WATER_LEVEL] = "water"
    height = np.full((size, size), WATER_LEVEL, dtype=np.int64)
    surface = np.full((size, size), "water", dtype=object)
    inner = slice(MARGIN, MARGIN + cells)
    height[inner, inner] = np.maximum(land, WATER_LEVEL)
    surface[inner, inner] = surface_land
    island = Island(height, surface, np.zeros((size, size), dtype=bool))
    _plant(island, generator)
    return island


def _plant(island: Island, generator: np.random.Generator) -> None:
    """Trees and lone cubes, each at a distance from all others."""
    taken = np.zeros_like(island.solid)
    for r, c in np.argwhere(island.surface != "water"):
        tree, cube = generator.random(2)
        tall = int(generator.integers(3, 5))
        kind = island.surface[r, c]
        if kind not in GROWTH or taken[r - 2 : r + 3, c - 2 : c + 3].any():
            continue
        trees, trunk, leaves, cubes, lone = GROWTH[kind]
        ground = int(island.height[r, c])
        if tree < trees:
            taken[r, c] = island.solid[r, c] = True
            bottom = ground + tall
            for dr in range(-2, 3):
                for dc in range(-2, 3):
                    cell = (int(r) + dr, int(c) + dc)
                    corner = abs(dr) == abs(dc) == 2
                    if not corner and island.height[cell] < bottom and cell not in island.canopy:
                        high = 3 if max(abs(dr), abs(dc)) < 2 else 2
                        island.canopy[cell] = (bottom, bottom + high, leaves)
            island.canopy[int(r), int(c)] = (bottom, bottom + 3, leaves)
            island.height[r, c], island.surface[r, c] = bottom, trunk
        elif cube < cubes:
            taken[r, c] = island.solid[r, c] = True
            island.height[r, c] = ground + (
                int(generator.integers(2, 4)) if lone == "cactus" else 1
            )
            island.surface[r, c] = lone


def _grid_map(island: Island, sky: str, start: Pose) -> GridMap:
    """The island as sectors: one for every (height, surface, canopy)."""
    textures: dict[str, NDArray[np.uint8]] = {"SKY": _sky(sky)}
    scale = TEXELS / CUBE
    flat = {f"{axis}scale{part}": scale for axis in "xy" for part in ("floor", "ceiling")}
    flat |= {"lightlevel": 255}
    properties: list[dict[str, Any]] = []
    index: dict[Any, int] = {}
    tags: dict[tuple[int, int, str], int] = {}
    rows, columns = island.height.shape
    sectors = np.empty((rows, columns), dtype=np.int64)

    def sector(key: Any, keys: dict[str, Any]) -> int:
        if key not in index:
            index[key] = len(properties)
            properties.append({**keys, **flat})
        return index[key]

    for r in range(rows):
        for c in range(columns):
            kind, height = island.surface[r, c], int(island.height[r, c])
            canopy = island.canopy.get((r, c))
            top = SURFACES[kind][0]
            textures[top] = _texture(top)
            keys: dict[str, Any] = {
                "heightfloor": height * CUBE - (WATER_DROP if kind == "water" else 0),
                "heightceiling": CEILING,
                "texturefloor": top,
                "textureceiling": "F_SKY1",
            }
            if canopy is not None:
                keys["id"] = tags.setdefault(canopy, len(tags) + 1)
            sectors[r, c] = sector((height, kind, canopy), keys)
    # beyond the last row of the sea there is only sky
    beyond = sector(
        "beyond",
        {"heightfloor": 0, "heightceiling": 0, "texturefloor": "WATER", "textureceiling": "F_SKY1"},
    )
    sectors[[0, -1], :] = sectors[:, [0, -1]] = beyond
    controls = []
    for (bottom, high, leaves), tag in tags.items():
        textures[leaves] = _texture(leaves)
        control = sector(
            (bottom, high, leaves),
            {
                "heightfloor": bottom * CUBE,
                "heightceiling": high * CUBE,
                "texturefloor": leaves,
                "textureceiling": leaves,
            },
        )
        side = f"{leaves}1"
        textures[side] = _shaded(_texture(leaves), NORTH)
        controls.append((control, tag, {"texturemiddle": side, **_scaled("mid")}))

    def edge(cell: tuple[int, int], other: tuple[int, int], facing: int) -> dict[str, Any]:
        if sectors[cell] == beyond:
            return {}
        if not (0 <= other[0] < rows and 0 <= other[1] < columns) or sectors[other] == beyond:
            return {}
        drop = properties[sectors[other]]["heightfloor"] - properties[sectors[cell]]["heightfloor"]
        if drop <= 0:
            return {}
        kind = island.surface[other]
        name = f"{kind.upper()[:6]}{'EN'[facing % 2]}1"
        if name not in textures:
            shade = NORTH if facing % 2 else EAST
            column = [_texture(part) for part in SURFACES[kind][1]]
            column += [column[-1]] * 4
            textures[name] = _shaded(np.concatenate(column), shade)
        return {"texturebottom": name, **_scaled("bottom")}

    island_at = [CUBE * i for i in range(rows - 2 * MARGIN + 1)]
    far = island_at[-1] + SEA
    at = [-SEA - RIM, -SEA, *island_at, far, far + RIM]
    return GridMap(at, sectors, properties, edge, textures, "SKY", start, controls)


def _shaded(picture: NDArray[np.uint8], brightness: float) -> NDArray[np.uint8]:
    return np.rint(brightness * picture).astype(np.uint8)


def _scaled(part: str) -> dict[str, float]:
    return {f"scalex_{part}": TEXELS / CUBE, f"scaley_{part}": TEXELS / CUBE}


# --- textures -------------------------------------------------------------------------------------

#: Texture: (colour, how far its darkest and lightest texels are from it).
EARTHS = {
    "GRASS": ((112, 172, 66), 16),
    "MOSS": ((66, 124, 56), 14),
    "DIRT": ((134, 96, 67), 18),
    "SAND": ((222, 208, 156), 10),
    "CLAY": ((186, 108, 62), 10),
    "RUST": ((150, 72, 48), 10),
    "STONE": ((128, 128, 130), 16),
    "SNOW": ((240, 246, 250), 6),
    "WATER": ((52, 102, 204), 10),
    "LEAF": ((82, 158, 48), 34),
    "LEAFDK": ((40, 96, 38), 24),
    "LEAFSN": ((170, 196, 190), 36),
    "LEAFRD": ((206, 84, 52), 36),
    "CACTUS": ((42, 128, 62), 10),
    "PUMPKIN": ((226, 132, 30), 14),
    "LOG": ((104, 80, 48), 16),
    "BIRCH": ((222, 220, 208), 10),
    "RINGS": ((176, 142, 86), 12),
}
#: A band of the first along the top of the second.
CAPPED = {"GRASSY": ("GRASS", "DIRT"), "MOSSY": ("MOSS", "DIRT"), "SNOWY": ("SNOW", "DIRT")}
SHADES = 5


@functools.cache
def _texture(name: str) -> NDArray[np.uint8]:
    """A texture of `TEXELS` texels square, always the same for a name."""
    generator = np.random.default_rng(list(name.encode()))
    if name in CAPPED:
        cap, below = (_texture(part) for part in CAPPED[name])
        depth = generator.integers(3, 6, size=TEXELS)
        return np.where((np.arange(TEXELS)[:, None] < depth)[..., None], cap, below)
    colour, spread = EARTHS[name]
    grain = generator.integers(SHADES, size=(TEXELS, TEXELS))
    column, row = np.meshgrid(np.arange(TEXELS), np.arange(TEXELS))
    if name == "WATER":
        grain = (row + generator.integers(2, size=grain.shape)) // 2 % SHADES
    elif name == "LOG":
        grain = np.broadcast_to(generator.integers(SHADES, size=TEXELS), grain.shape)
    elif name in ("CACTUS", "PUMPKIN"):
        grain = np.where(column % 4 == 0, 0, 2 + grain % 3)
    elif name in ("CLAY", "RUST"):
        grain = np.where(row % 5 == 0, 0, 1 + grain % 4)
    elif name == "RINGS":
        grain = np.maximum(np.abs(column - 7.5), np.abs(row - 7.5)).astype(np.int64) % SHADES
    elif name == "STONE":
        grain = (grain + np.roll(grain, 1, axis=1) + np.roll(grain, 2, axis=1)) // 3
    offset = np.linspace(-spread, spread, SHADES)[grain]
    out = np.clip(np.array(colour) + offset[..., None], 0, 255)
    if name == "BIRCH":
        marks = generator.random((TEXELS, TEXELS // 4)) < 0.16
        out[np.repeat(marks, 4, axis=1)] = (60, 56, 52)
    return np.rint(out).astype(np.uint8)


SKIES = {
    "day": ((92, 148, 236), (196, 224, 252), (255, 255, 255)),
    "evening": ((72, 76, 148), (250, 176, 116), (236, 150, 142)),
    "overcast": ((126, 138, 152), (198, 206, 212), (170, 178, 188)),
}
SKY_SHADES = 32


@functools.cache
def _sky(name: str) -> NDArray[np.uint8]:
    """Sky once around, `(128, 1024, 3)`: a gradient, square clouds and a square sun."""
    zenith, horizon, cloud = (np.array(colour, dtype=np.float64) for colour in SKIES[name])
    generator = np.random.default_rng(list(name.encode()))
    share = np.floor(np.linspace(0.0, 1.0, 128) ** 1.5 * (SKY_SHADES - 1)) / (SKY_SHADES - 1)
    out = zenith + share[:, None, None] * (horizon - zenith)
    out = np.broadcast_to(out, (128, 1024, 3)).copy()
    for _ in range(14):
        x, y = generator.integers(128) * 8, generator.integers(4, 13) * 8
        for row in range(2):
            wide = int(generator.integers(4, 12)) * 8
            columns = (x + generator.integers(-2, 3) * 8 + np.arange(wide)) % 1024
            out[y + 8 * row : y + 8 * row + 8, columns] = cloud
    if name != "overcast":
        out[40:64, 200:224] = (255, 244, 190)
    return np.rint(out).astype(np.uint8)
