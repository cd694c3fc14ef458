"""Maps made of grid cells, drawn by ViZDoom: what the maze and the block world share.

A map is written as a UDMF archive on the fly. The engine draws 256 colours, so the palette of each
map is made of its own textures' colours, and distance does not dim them: what is seen is what was
painted. A picture is a function of the pose alone, so views return bit for bit.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["HEADINGS", "GridMap", "Painter", "Pose", "quantise", "require"]

#: Turns are multiples of 11.25 degrees, which the engine's 16-bit angles hold exactly.
HEADINGS = 32
#: The player cannot move before.
WARM_UP_TICS = 12
#: Field of view of the square picture, degrees.
FIELD_OF_VIEW = 90.0
#: ViZDoom's screen for each picture size; the centre square is three or six times as large.
SCREENS = {32: "RES_256X192", 64: "RES_256X192", 128: "RES_512X384"}
#: Red, green and blue into one number.
CODE = np.array([1 << 16, 1 << 8, 1])
#: Kind of 3-D floor through which one walks: a solid one would carry the player.
PASSABLE = 3

Pose = tuple[int, int, int]
"""x and y in map units, heading in 32nds of a turn, counter-clockwise from the x axis."""


def require(module: str, world: str) -> Any:
    """Import `module`, or raise ModuleNotFoundError that says what to install."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.split(".")[0]
        if error.name not in (package, module):
            raise
        package = {"PIL": "pillow"}.get(package, package)
        raise ModuleNotFoundError(
            f"the world {world} needs the package {package}, which is not installed: run  "
            "pip install 'arvdm-theory[worlds]'  (Python < 3.13); "
            "the worlds gaussian and panorama need neither",
            name=module,
        ) from error


def quantise(picture: NDArray[np.uint8], colours: int) -> NDArray[np.uint8]:
    """`picture` with at most `colours` colours, by k-means started along its main axis."""
    pixels = picture.reshape(-1, 3).astype(np.float64)
    if len(_colours(picture)) <= colours:
        return picture
    spread = pixels - pixels.mean(axis=0)
    axis = np.linalg.eigh(spread.T @ spread)[1][:, -1]
    order = np.argsort(spread @ axis, kind="stable")
    centres = np.stack([part.mean(axis=0) for part in np.array_split(pixels[order], colours)])
    for _ in range(8):
        nearest = _nearest(pixels, centres)
        for k in range(colours):
            if np.any(nearest == k):
                centres[k] = pixels[nearest == k].mean(axis=0)
    rounded = np.rint(centres).astype(np.uint8)
    return rounded[_nearest(pixels, centres)].reshape(picture.shape)


def _nearest(pixels: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.int64]:
    distance = (centres**2).sum(axis=1) - 2.0 * pixels @ centres.T
    return np.argmin(distance, axis=1)


@dataclass
class GridMap:
    """A map on a grid of square cells.

    Arguments
    ---------
    at: map units of the grid's lines, ascending; cell (r, c) spans x in at[c]..at[c + 1] and y in
        at[r]..at[r + 1].
    sectors: square, index into `properties` for each cell (row, column), -1 for solid rock.
    properties: what UDMF says of each sector, by key.
    edge: textures of the border between two cells as seen from the first: `edge(cell, other,
        facing)` with `facing` 0..3 the direction (east, north, west, south) in which the wall
        looks; returns UDMF keys of a side, for instance `{"texturemiddle": "W1"}`.
    textures: name (up to eight characters) → picture `(h, w, 3)`.
    sky: name of the sky's texture.
    """

    at: list[int]
    sectors: NDArray[np.int64]
    properties: list[dict[str, Any]]
    edge: Callable[[tuple[int, int], tuple[int, int], int], dict[str, Any]]
    textures: dict[str, NDArray[np.uint8]]
    sky: str
    start: Pose
    #: Sectors off the map that 3-D floors copy: (sector index, tag, UDMF keys of the side).
    controls: list[tuple[int, int, dict[str, Any]]] = field(default_factory=list)

    def archive(self) -> bytes:
        """The map as a PWAD."""
        text = self.text()  # first: it asks for the borders, which may add textures
        palette = self.palette()
        lumps: list[tuple[str, bytes]] = [
            ("PLAYPAL", palette.tobytes() * 14),
            ("COLORMAP", bytes(range(256)) * 34),
            ("MAPINFO", self._map_information().encode()),
            ("TX_START", b""),
        ]
        for name, picture in self.textures.items():
            lumps.append((name, _indexed_png(picture, palette)))
        lumps += [
            ("TX_END", b""),
            ("MAP01", b""),
            ("TEXTMAP", text.encode()),
            ("ENDMAP", b""),
        ]
        body, directory = b"", b""
        for name, data in lumps:
            directory += struct.pack("<II8s", 12 + len(body), len(data), name.encode())
            body += data
        return struct.pack("<4sII", b"PWAD", len(lumps), 12 + len(body)) + body + directory

    def palette(self) -> NDArray[np.uint8]:
        """The colours of all textures, `(256, 3)`; the engine keeps the first and last index."""
        colours = _colours(np.concatenate([_colours(item) for item in self.textures.values()]))
        if len(colours) > 254:
            raise ValueError(f"the textures have {len(colours)} colours, the palette holds 254")
        palette = np.zeros((256, 3), dtype=np.uint8)
        palette[1 : 1 + len(colours)] = colours
        return palette

    def _map_information(self) -> str:
        return f'map MAP01 "grid" {{ sky1 = "{self.sky}", 0.0\n evenlighting\n nointermission }}\n'

    def text(self) -> str:
        """The map in UDMF."""
        rows, columns = self.sectors.shape
        vertices: dict[tuple[int, int], int] = {}
        sides: list[str] = []
        lines: list[str] = []

        def vertex(x: int, y: int) -> int:
            return vertices.setdefault((x, y), len(vertices))

        def side(sector: int, keys: dict[str, Any]) -> int:
            sides.append(_block("sidedef", {"sector": sector, **keys}))
            return len(sides) - 1

        def line(
            start: tuple[int, int], end: tuple[int, int], right: _Face, left: _Face, **keys: Any
        ) -> None:
            """Front on the right of start → end; a solid side must be on the left."""
            if right is None:
                start, end, right, left = end, start, left, right
            assert right is not None
            keys |= {"v1": vertex(*start), "v2": vertex(*end), "sidefront": side(*right)}
            if left is None:
                keys["blocking"] = True
            else:
                keys |= {"sideback": side(*left), "twosided": True}
            lines.append(_block("linedef", keys))

        def face(cell: tuple[int, int], other: tuple[int, int], facing: int) -> _Face:
            sector = self._sector(cell)
            return None if sector < 0 else (sector, self.edge(cell, other, facing))

        for x in range(columns + 1):
            pairs = [
                (face((r, x), (r, x - 1), 0), face((r, x - 1), (r, x), 2))
                if self._sector((r, x)) != self._sector((r, x - 1))
                else (None, None)
                for r in range(rows)
            ]
            for first, last, (east, west) in _runs(pairs):
                line(
                    (self.at[x], self.at[first]),
                    (self.at[x], self.at[last]),
                    east,
                    west,
                )
        for y in range(rows + 1):
            pairs = [
                (face((y - 1, c), (y, c), 3), face((y, c), (y - 1, c), 1))
                if self._sector((y, c)) != self._sector((y - 1, c))
                else (None, None)
                for c in range(columns)
            ]
            for first, last, (south, north) in _runs(pairs):
                line(
                    (self.at[first], self.at[y]),
                    (self.at[last], self.at[y]),
                    south,
                    north,
                )
        for i, (sector, tag, looks) in enumerate(self.controls):
            # a triangle off the map; its first line hands its heights to the tagged sectors
            x, y = self.at[0] - 64 * (i + 1), self.at[0]
            corners = [(x, y), (x, y + 32), (x + 32, y)]
            for k in range(3):
                keys = (
                    {"special": 160, "arg0": tag, "arg1": PASSABLE, "arg3": 255} if k == 0 else {}
                )
                line(
                    corners[k],
                    corners[(k + 1) % 3],
                    (sector, looks),
                    None,
                    **keys,
                )
        x, y, heading = self.start
        thing = {"x": float(x), "y": float(y), "angle": heading * 360 // HEADINGS, "type": 1}
        thing |= dict.fromkeys(("skill1", "skill2", "skill3", "skill4", "skill5", "single"), True)
        blocks = [_block("thing", thing)]
        blocks += [_block("vertex", {"x": float(vx), "y": float(vy)}) for vx, vy in vertices]
        blocks += lines + sides
        blocks += [_block("sector", keys) for keys in self.properties]
        return 'namespace = "ZDoom";\n' + "".join(blocks)

    def _sector(self, cell: tuple[int, int]) -> int:
        r, c = cell
        inside = 0 <= r < self.sectors.shape[0] and 0 <= c < self.sectors.shape[1]
        return int(self.sectors[r, c]) if inside else -1


_Face = tuple[int, dict[str, Any]] | None


def _runs(
    pairs: list[tuple[_Face, _Face]],
) -> Iterator[tuple[int, int, tuple[_Face, _Face]]]:
    """Maximal runs of equal borders, as (first cell, one after the last, border)."""
    first = 0
    for i in range(1, len(pairs) + 1):
        if i == len(pairs) or pairs[i] != pairs[first]:
            if pairs[first] != (None, None):
                yield first, i, pairs[first]
            first = i


def _block(kind: str, keys: dict[str, Any]) -> str:
    def text(value: Any) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        return f'"{value}"' if isinstance(value, str) else str(value)

    return kind + " { " + " ".join(f"{key} = {text(v)};" for key, v in keys.items()) + " }\n"


def _indexed_png(picture: NDArray[np.uint8], palette: NDArray[np.uint8]) -> bytes:
    """A PNG that names the palette's colours, so that the engine has nothing to match."""
    code = palette @ CODE
    known = np.argsort(code[1:], kind="stable") + 1
    wanted = picture @ CODE
    index = known[np.searchsorted(code[known], wanted)]
    height, width = index.shape
    rows = np.zeros((height, width + 1), dtype=np.uint8)
    rows[:, 1:] = index
    out = b"\x89PNG\r\n\x1a\n"
    for kind, data in (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", palette.tobytes()),
        (b"IDAT", zlib.compress(rows.tobytes(), 6)),
        (b"IEND", b""),
    ):
        out += (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )
    return out


class Painter:
    """ViZDoom with one map loaded; `look` draws the view from any pose.

    Use as a context manager: one engine process lives from entry to exit.
    """

    def __init__(self, grid: GridMap, size: int, world: str) -> None:
        self.grid, self.size, self.world = grid, size, world

    def __enter__(self) -> Painter:
        vizdoom = require("vizdoom", self.world)
        self.folder = tempfile.TemporaryDirectory(prefix="arvdm-worlds-")
        try:
            self.game = self._start(vizdoom, Path(self.folder.name))
        except BaseException:
            self.folder.cleanup()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.game.close()
        self.folder.cleanup()

    def _start(self, vizdoom: Any, folder: Path) -> Any:
        archive = folder / "map.wad"
        archive.write_bytes(self.grid.archive())
        game = vizdoom.DoomGame()
        game.set_doom_game_path(str(Path(vizdoom.__file__).parent / "freedoom2.wad"))
        game.set_doom_scenario_path(str(archive))
        game.set_doom_map("MAP01")
        game.set_doom_config_path(str(folder / "engine.ini"))
        game.set_mode(vizdoom.Mode.PLAYER)
        game.set_seed(0)
        game.set_episode_timeout(0)
        game.set_window_visible(False)
        game.set_sound_enabled(False)
        game.set_screen_resolution(getattr(vizdoom.ScreenResolution, SCREENS[self.size]))
        game.set_screen_format(vizdoom.ScreenFormat.RGB24)
        for layer in (
            "hud",
            "minimal_hud",
            "weapon",
            "crosshair",
            "decals",
            "particles",
            "messages",
            "corpses",
            "screen_flashes",
            "effects_sprites",
        ):
            getattr(game, f"set_render_{layer}")(False)
        game.add_game_args("-nomonsters +sv_cheats 1 +movebob 0 +stillbob 0 +con_midtime 0")
        game.set_available_buttons([vizdoom.Button.TURN_LEFT_RIGHT_DELTA])
        variable = vizdoom.GameVariable
        game.set_available_game_variables(
            [variable.POSITION_X, variable.POSITION_Y, variable.ANGLE]
        )
        # the engine leaves a folder where it starts
        with contextlib.chdir(folder):
            game.init()
        game.make_action([0.0], WARM_UP_TICS)
        # the engine's field of view is the whole screen's, 4 : 3
        across = math.degrees(2 * math.atan(math.tan(math.radians(FIELD_OF_VIEW) / 2) * 4 / 3))
        game.send_game_command(f"fov {across:.3f}")
        game.make_action([0.0], 2)
        self.pose: Pose = self.grid.start
        return game

    def look(self, pose: Pose) -> NDArray[np.uint8]:
        """The view from `pose`, `(size, size, 3)` RGB, averaged from a finer screen."""
        x, y, heading = pose
        turn = (heading - self.pose[2] + HEADINGS // 2) % HEADINGS - HEADINGS // 2
        moved = (x, y) != self.pose[:2]
        if moved:
            self.game.send_game_command(f"warp {x} {y}")
        if turn:
            self.game.make_action([-turn * 360.0 / HEADINGS], 1)
        if moved:
            # the picture drawn right after a jump still shows some of the way there
            self.game.make_action([0.0], 1 if turn else 2)
        self.pose = pose
        state = self.game.get_state()
        at_x, at_y, angle = state.game_variables
        if (round(at_x), round(at_y), round(angle * HEADINGS / 360) % HEADINGS) != pose:
            raise RuntimeError(
                f"the engine stands at {(at_x, at_y, angle)}, not at the pose {pose}"
            )
        screen = state.screen_buffer
        height, width, _ = screen.shape
        left = (width - height) // 2
        square = screen[:, left : left + height]
        block = height // self.size
        rows = sum(square[i::block].astype(np.uint16) for i in range(block))
        sums = sum(rows[:, i::block] for i in range(block))
        return ((2 * sums + block**2) // (2 * block**2)).astype(np.uint8)


def _colours(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The distinct colours of a picture, `(n, 3)`, in order."""
    code = np.unique(picture.reshape(-1, 3) @ CODE)
    return np.stack([code >> 16, code >> 8 & 255, code & 255], axis=-1).astype(np.uint8)
