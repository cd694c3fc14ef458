"""Record `freedoom_walk.mp4`: a first-person walk in Freedoom that looks away and returns.

The player tours the garden of MAP06 of Freedoom: Phase 2 (the game data inside the `vizdoom`
wheel) and stops at way-points, where the seed picks a look-away: turn by a multiple of 11.25
degrees, or step aside, and undo it, so that earlier views come back. One video frame is four game
tics (35/4 frames a second). The game advances in lockstep and draws in software, so the same seed
gives the same frames.

    python -m paper_repro.clips.record_freedoom --seed 0 --frames 1200
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAP = "MAP06"
SIZE = 64
#: Freedoom is drawn for bright screens, but the engine's own gamma skips captures.
DISPLAY_GAMMA = 1.4
TICS_PER_FRAME = 4
FRAME_RATE = Fraction(35, TICS_PER_FRAME)
#: 256/65536 of a circle: eight tics (two frames) make 11.25 degrees with no rounding.
TURN_PER_TIC = 360 * 256 / 65536
TURN_PER_FRAME = TICS_PER_FRAME * TURN_PER_TIC
#: Turns on the spot are pairs of frames, so they are multiples of 11.25 degrees.
FRAMES_PER_STEP = 2
WALK = 25.0
FULL_THRUST = 50.0
#: Speed (map units a tic) that one unit of thrust adds in a tic.
ACCELERATION = 1 / 32
REST_SPEED = 0.05
STOPPING_DISTANCE = 25.0
WARM_UP_TICS = 12

#: Way-points in map units. The hill is left by a drop too high to climb, so it comes once, first.
START = (1335, 1650)
HILL = [(1310, 1780), (1130, 1860), (1000, 1760), (1035, 1640), (1075, 1500), (1190, 1468)]
#: Where a step aside would fall off the bank.
NARROW = frozenset(HILL)
DESCENT = [(1075, 1500), (985, 1530), (880, 1530), (866, 1330)]
GATE = (866, 1110)
HALL = [(864, 960), (864, 720)]
NORTH = [(866, 1330), (872, 1480), (868, 1640), (790, 1830), (800, 1985), (1040, 1985)]
#: Share of the way-points where the player looks away.
LOOK_AWAYS = 0.75


def tour() -> Iterator[tuple[int, int]]:
    """Way-points: around the pond, down to the gate, then hall and north lawn, there and back."""
    yield from (*HILL, *DESCENT)
    while True:
        for branch in (HALL, NORTH):
            yield from (GATE, *branch, *reversed(branch[:-1]))


def require(module: str, requirement: str) -> Any:
    """Import `module`, or raise ModuleNotFoundError that names what to install."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise ModuleNotFoundError(
            f"recording needs the package {module}, which is not installed: "
            f'run  pip install "{requirement}"',
            name=module,
        ) from error


def shrink(screen: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Centre square of a (height, width, 3) screen, brightened, box-averaged to (64, 64, 3)."""
    height, width, _ = screen.shape
    left = (width - height) // 2
    square = 255 * (screen[:, left : left + height] / 255) ** (1 / DISPLAY_GAMMA)
    edges = np.linspace(0, height, SIZE + 1)
    pixels = np.arange(height)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    box = np.clip(overlap, 0, None) * (SIZE / height)
    rows = np.tensordot(box, square, axes=(1, 0))
    small = np.tensordot(rows, box, axes=(1, 1)).transpose(0, 2, 1)
    return np.rint(small).astype(np.uint8)


@contextlib.contextmanager
def private_directory() -> Iterator[Path]:
    """Work in a temporary directory: the engine drops a folder where it starts."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="freedoom-") as folder:
        os.chdir(folder)
        try:
            yield Path(folder)
        finally:
            os.chdir(before)


def start_game(vizdoom: Any, folder: Path, seed: int) -> Any:
    """Start MAP06 without monsters, hud, weapon or crosshair, the player standing by the pond."""
    game = vizdoom.DoomGame()
    game.set_doom_game_path(str(Path(vizdoom.__file__).parent / "freedoom2.wad"))
    game.set_doom_map(MAP)
    game.set_doom_config_path(str(folder / "engine.ini"))
    game.set_mode(vizdoom.Mode.PLAYER)
    game.set_seed(seed)
    game.set_episode_timeout(0)
    game.set_window_visible(False)
    game.set_sound_enabled(False)
    game.set_screen_resolution(vizdoom.ScreenResolution.RES_160X120)
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
    ):
        getattr(game, f"set_render_{layer}")(False)
    game.add_game_args("-nomonsters +sv_cheats 1 +movebob 0 +stillbob 0 +con_midtime 0")
    button = vizdoom.Button
    game.set_available_buttons(
        [
            button.MOVE_FORWARD_BACKWARD_DELTA,
            button.MOVE_LEFT_RIGHT_DELTA,
            button.TURN_LEFT_RIGHT_DELTA,
        ]
    )
    variable = vizdoom.GameVariable
    game.set_available_game_variables(
        [
            variable.POSITION_X,
            variable.POSITION_Y,
            variable.ANGLE,
            variable.VELOCITY_X,
            variable.VELOCITY_Y,
        ]
    )
    game.init()
    game.make_action([0, 0, 0], WARM_UP_TICS)
    game.send_game_command("warp {} {}".format(*START))
    game.make_action([0, 0, 0], TICS_PER_FRAME)
    return game


class Enough(Exception):
    """The clip has as many frames as asked for."""


class Walker:
    """The player and the frames seen so far; every method advances whole frames."""

    def __init__(self, game: Any, frames: int) -> None:
        self.game = game
        self.wanted = frames
        self.frames: list[NDArray[np.uint8]] = []

    def look(self) -> tuple[float, float, float, float, float]:
        """Position x, y (map units), heading (degrees, counter-clockwise), velocity x, y."""
        x, y, heading, v_x, v_y = self.game.get_state().game_variables
        return float(x), float(y), float(heading), float(v_x), float(v_y)

    def tic(self, forward: float = 0.0, right: float = 0.0, turn: float = 0.0) -> None:
        """One game tic: thrusts forward and right, and degrees of right turn."""
        self.game.make_action([forward, right, turn], 1)

    def shoot(self) -> None:
        """Keep the present view as the next frame."""
        self.frames.append(shrink(self.game.get_state().screen_buffer))
        if len(self.frames) == self.wanted:
            raise Enough

    def step(self, forward: float = 0.0, right: float = 0.0, turn: float = 0.0) -> None:
        """One frame of constant control."""
        for _ in range(TICS_PER_FRAME):
            self.tic(forward, right, turn)
        self.shoot()

    def turn(self, steps: int) -> None:
        """Turn right on the spot by `steps` times 11.25 degrees (left when negative)."""
        for _ in range(FRAMES_PER_STEP * abs(steps)):
            self.step(turn=math.copysign(TURN_PER_TIC, steps))

    def brake(self) -> None:
        """Come to rest, so that a turn and its undoing share one place."""
        while self.speed() > REST_SPEED:
            for _ in range(TICS_PER_FRAME):
                _, _, heading, v_x, v_y = self.look()
                ahead = math.radians(heading)
                forward = v_x * math.cos(ahead) + v_y * math.sin(ahead)
                right = v_x * math.sin(ahead) - v_y * math.cos(ahead)
                self.tic(forward=thrust_against(forward), right=thrust_against(right))
            self.shoot()

    def speed(self) -> float:
        """Map units a tic."""
        *_, v_x, v_y = self.look()
        return math.hypot(v_x, v_y)

    def bearing_error(self, target: tuple[int, int]) -> float:
        """Degrees of right turn, in -180..180, after which the player faces `target`."""
        x, y, heading, _, _ = self.look()
        bearing = math.degrees(math.atan2(target[1] - y, target[0] - x))
        return (heading - bearing + 180) % 360 - 180

    def walk_to(self, target: tuple[int, int]) -> None:
        """Face `target`, walk there while keeping it ahead, and stop."""
        degrees = FRAMES_PER_STEP * TURN_PER_FRAME
        self.turn(round(self.bearing_error(target) / degrees))
        while True:
            x, y, *_ = self.look()
            if math.hypot(target[0] - x, target[1] - y) <= STOPPING_DISTANCE:
                break
            error = self.bearing_error(target)
            turn = math.copysign(TURN_PER_TIC, error) if abs(error) > TURN_PER_FRAME / 2 else 0.0
            self.step(forward=WALK, turn=turn)
            x_now, y_now, *_ = self.look()
            if math.hypot(x_now - x, y_now - y) < 1:
                raise RuntimeError(
                    f"the player is stuck at ({x_now:.0f}, {y_now:.0f}) on the way to {target}"
                )
        self.brake()

    def look_away(self, generator: np.random.Generator, room_aside: bool) -> None:
        """Leave the present view and come back to it, in a way that `generator` picks."""
        kinds = ["glance", "both sides", "behind", "around", "aside"]
        kind = generator.choice(kinds if room_aside else kinds[:-1])
        side = int(generator.choice([-1, 1]))
        steps = side * int(generator.integers(4, 9))
        if kind == "glance":
            self.turn(steps)
            self.turn(-steps)
        elif kind == "both sides":
            self.turn(steps)
            self.turn(-2 * steps)
            self.turn(steps)
        elif kind == "behind":
            self.turn(side * 16)
            self.turn(-side * 16)
        elif kind == "around":
            self.turn(side * 32)
        else:
            for direction in (side, -side):
                for _ in range(3):
                    self.step(right=direction * WALK)
                self.brake()


def thrust_against(speed: float) -> float:
    """Thrust that cancels `speed` (map units a tic), as far as the engine allows."""
    return max(-FULL_THRUST, min(FULL_THRUST, -speed / ACCELERATION))


def record_frames(seed: int, frames: int) -> NDArray[np.uint8]:
    """The walk, shape (frames, 64, 64, 3), uint8 RGB; the same for the same seed."""
    if frames < 1:
        raise ValueError(f"frames must be at least 1, got {frames}")
    if seed < 0:
        raise ValueError(f"seed must be at least 0, got {seed}")
    vizdoom = require("vizdoom", "vizdoom==1.3.2")
    generator = np.random.default_rng(seed)
    with private_directory() as folder:
        game = start_game(vizdoom, folder, seed)
        walker = Walker(game, frames)
        try:
            walker.shoot()
            for stop in tour():
                walker.walk_to(stop)
                if generator.random() < LOOK_AWAYS:
                    walker.look_away(generator, room_aside=stop not in NARROW)
        except Enough:
            pass
        finally:
            game.close()
    return np.stack(walker.frames)


def write_clip(path: Path, frames: NDArray[np.uint8], quality: int = 20) -> None:
    """Encode as H.264 (yuv420p, constant rate factor `quality`).

    The file appears under its name only when it is whole.
    """
    av = require("av", "av")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with av.open(str(partial), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
            stream = container.add_stream("libx264", rate=FRAME_RATE)
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "yuv420p"
            # x264's vector code varies the bytes of such small pictures from run to run.
            stream.options = {
                "crf": str(quality),
                "preset": "slow",
                "threads": "1",
                "x264-params": "asm=0",
            }
            for image in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode(None))
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: record, encode, and print what was written."""
    parser = argparse.ArgumentParser(description="Record a walk through Freedoom's MAP06.")
    default = Path(__file__).with_name("freedoom_walk.mp4")
    parser.add_argument("--out", type=Path, default=default, help="MP4 file to write")
    parser.add_argument("--seed", type=int, default=0, help="picks the look-aways (default 0)")
    parser.add_argument("--frames", type=int, default=1200, help="clip length (default 1200)")
    chosen = parser.parse_args(arguments)
    out = chosen.out.resolve()
    try:
        require("av", "av")
        frames = record_frames(chosen.seed, chosen.frames)
        write_clip(out, frames)
    except (ModuleNotFoundError, RuntimeError, ValueError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    print(f"{out.name}: {len(frames)} frames, {out.stat().st_size} bytes")
    print(f"SHA-256 of the file        {hashlib.sha256(out.read_bytes()).hexdigest()}")
    print(f"SHA-256 of the RGB frames  {hashlib.sha256(frames.tobytes()).hexdigest()}")


if __name__ == "__main__":
    main()
