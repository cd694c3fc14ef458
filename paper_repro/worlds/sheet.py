"""Contact sheets: clips of a world as rows of frames, with the age of every view."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arvdm_theory.errors import RefusedError
from paper_repro.worlds.world import Clips, World

__all__ = ["contact_sheet", "write_png"]

#: Colours of the bar under a frame: never seen before in the clip, and seen before.
NEW, RETURNED = (224, 108, 60), (52, 101, 196)
BACKGROUND = 250


def write_png(path: str | Path, picture: NDArray[np.uint8]) -> None:
    """Write an RGB picture `(height, width, 3)`; the file appears only when it is whole."""
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(png_bytes(picture))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def png_bytes(picture: NDArray[np.uint8]) -> bytes:
    """An 8-bit RGB picture `(height, width, 3)` as a PNG file."""
    height, width, _ = picture.shape
    rows = np.zeros((height, 1 + 3 * width), dtype=np.uint8)
    rows[:, 1:] = picture.reshape(height, -1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows.tobytes(), 6))
        + chunk(b"IEND", b"")
    )


def contact_sheet(
    world: World, *, rows: int = 4, columns: int = 16, seed: int = 0, tile: int = 96
) -> NDArray[np.uint8]:
    """`rows` wandering clips above `rows` clips that look away and return, `(h, w, 3)` RGB.

    The bar under each frame is orange for a view never seen before in the clip and blue for one
    that returned, the wider the older.
    """
    wander = world.clips(rows, columns, seed)
    parts = [_rows(wander, tile)]
    try:
        there_and_back = world.return_clips(
            rows, columns // 2 + 1, columns - columns // 2 - 1, seed
        )
    except RefusedError:
        pass
    else:
        gap = np.full((tile // 4, parts[0].shape[1], 3), BACKGROUND, dtype=np.uint8)
        parts += [gap, _rows(there_and_back, tile)]
    sheet = np.concatenate(parts)
    return np.pad(sheet, ((8, 8), (8, 8), (0, 0)), constant_values=BACKGROUND)


def _rows(clips: Clips, tile: int) -> NDArray[np.uint8]:
    rows = []
    for i in range(len(clips)):
        cells = []
        for t in range(clips.length):
            picture = _enlarge(_rgb(clips.frames[i, t]), tile)
            cell = np.full((tile + 8, tile + 4, 3), BACKGROUND, dtype=np.uint8)
            cell[:tile, :tile] = picture
            age = int(clips.age[i, t])
            share = 1.0 if age < 0 else min(1.0, age / clips.length)
            colour = NEW if age < 0 else RETURNED
            cell[tile + 1 : tile + 4, : max(4, round(share * tile))] = colour
            cells.append(cell)
        rows.append(np.concatenate(cells, axis=1))
    return np.concatenate(rows)


def _rgb(frame: NDArray[Any]) -> NDArray[np.uint8]:
    """A frame as RGB; a Gaussian frame is grey, three standard units from black to white."""
    if frame.dtype == np.uint8:
        return frame
    if frame.shape[0] == 1 and frame.shape[-1] != 3:
        frame = np.repeat(frame.reshape(-1, 1, 1), frame.size, axis=1)
    if frame.shape[-1] != 3:
        frame = np.repeat(frame.mean(axis=-1, keepdims=True), 3, axis=-1)
    return np.clip(127.5 + frame * (127.5 / 3.0), 0, 255).astype(np.uint8)


def _enlarge(picture: NDArray[np.uint8], tile: int) -> NDArray[np.uint8]:
    index = np.arange(tile) * picture.shape[0] // tile
    return picture[index][:, index]
