"""Worlds: same seed same bytes, ages against poses, exact bottlenecks, datasets that survive."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arvdm_theory.errors import ParameterError, RefusedError
from arvdm_theory.video import Autoregressive, Panorama
from paper_repro.worlds import (
    Clips,
    Dataset,
    World,
    dataset,
    make_world,
    world_from_json,
)
from paper_repro.worlds.__main__ import main
from paper_repro.worlds.panorama import COLOURS, PanoramaWorld
from paper_repro.worlds.world import Journey

ROOT = Path(__file__).parents[1]
CHAIN = Autoregressive([0.9], 0.19, dim=12)
LANDSCAPE = Panorama([0, 1, 2, 1, 0, 0, 5], dim=4, landscape_length=9, noise_variance=0.1)

LIGHT: dict[str, Callable[[], World]] = {
    "gaussian chain": lambda: make_world("gaussian", video=CHAIN, size=2),
    "gaussian panorama": lambda: make_world("gaussian", video=LANDSCAPE, size=2),
    "panorama 16": lambda: make_world("panorama"),
    "panorama 32 discrete": lambda: make_world("panorama", size=32, palette="discrete"),
}
light = pytest.mark.parametrize("world", [pytest.param(make(), id=n) for n, make in LIGHT.items()])


def digest(clips: Clips | Dataset) -> str:
    """One hash of everything in the clips."""
    parts = (clips.frames, clips.actions, clips.poses, clips.age)
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in parts)).hexdigest()


def check_clips(world: World, clips: Clips, count: int, length: int) -> None:
    """Shapes, types, first actions and poses, ages by brute force, equal views at equal poses."""
    assert clips.frames.shape == (count, length, *world.frame_shape)
    assert clips.frames.dtype == world.frame_type
    assert clips.actions.shape == (count, length, world.action_dim)
    assert clips.poses.shape == (count, length, world.pose_dim)
    assert clips.actions.dtype == clips.poses.dtype == np.float32
    assert clips.age.shape == (count, length) and clips.age.dtype == np.int32
    assert np.all(clips.actions[:, 0] == 0)
    assert np.array_equal(clips.poses, world.relative(clips.poses))
    for i, t in itertools.product(range(count), range(length)):
        same = [
            s
            for s in range(t)
            if world.pose_dim and np.array_equal(clips.poses[i, s], clips.poses[i, t])
        ]
        assert clips.age[i, t] == (t - same[-1] if same else -1)


def check_views_return(clips: Clips) -> None:
    """Equal poses show equal pictures, bit for bit; new poses show new ones."""
    for i, t in itertools.product(range(len(clips)), range(clips.length)):
        if (age := clips.age[i, t]) >= 0:
            assert np.array_equal(clips.frames[i, t], clips.frames[i, t - age])


def check_seeds(world: World) -> None:
    """Equal seeds give equal bytes, others do not, and smaller draws begin larger ones."""
    clips = world.clips(3, 6, seed=5)
    assert digest(world.clips(3, 6, seed=5)) == digest(clips)
    assert digest(world.clips(3, 6, seed=6)) != digest(clips)
    assert digest(world.clips(5, 6, seed=5)[:3]) == digest(clips)


# --- every world without a game engine ------------------------------------------------------------


@light
def test_clips(world: World) -> None:
    check_clips(world, world.clips(4, 7, seed=1), 4, 7)
    check_seeds(world)


@light
def test_json_and_key(world: World) -> None:
    again = world_from_json(json.loads(json.dumps(world.to_json())))
    assert again.key == world.key and digest(again.clips(2, 5, 0)) == digest(world.clips(2, 5, 0))
    assert len({make().key for make in LIGHT.values()}) == len(LIGHT)


def test_panorama_returns() -> None:
    """The triangle path, its ages, and equal pictures; also past the start and back out."""
    world = make_world("panorama")
    clips = world.return_clips(3, context=5, generated=11, seed=2)
    check_clips(world, clips, 3, 16)
    check_views_return(clips)
    path = np.array([0, 1, 2, 3, 4, 3, 2, 1, 0, 1, 2, 3, 4, 3, 2, 1])
    for i in range(3):
        assert np.array_equal(np.abs(clips.poses[i, :, 0]), path)
        assert clips.age[i, 5:9].tolist() == [2, 4, 6, 8]
        assert clips.age[i, 9:13].tolist() == [2, 4, 6, 8]
    wandering = world.clips(16, 64, seed=0)
    check_views_return(wandering)
    assert set(np.diff(wandering.poses[..., 0]).ravel().tolist()) == {-1.0, 1.0}
    assert np.array_equal(np.cumsum(wandering.actions, axis=1), wandering.poses)
    assert (wandering.age > 24).mean() > 0.02 and (wandering.age < 0).mean() > 0.1


def test_panorama_pans_by_four_pixels() -> None:
    """One action moves the picture, and reveals, exactly `pan` columns."""
    for size in (16, 32):
        clips = make_world("panorama", size=size).clips(4, 24, seed=3)
        for i, t in itertools.product(range(4), range(1, 24)):
            now, before = clips.frames[i, t], clips.frames[i, t - 1]
            if clips.actions[i, t, 0] > 0:
                assert np.array_equal(now[:, :-4], before[:, 4:])
            else:
                assert np.array_equal(now[:, 4:], before[:, :-4])


def test_discrete_palette_is_uniform_and_legible() -> None:
    """Attributes are uniform on K values, and every column of a panel tells its value."""
    for size in (16, 32):
        world = PanoramaWorld(size=size, palette="discrete", attributes=16, bands=2)
        assert world.panel == size // 4
        values = np.arange(16)
        for column in range(world.panel):
            views = set()
            for value in values:
                panels = np.full((8, 2), value)
                picture = world.picture(COLOURS[panels], panels % 6, -2, 0)
                views.add(picture[: size // 2, column].tobytes())
            assert len(views) == 16
    frames = PanoramaWorld(palette="discrete", attributes=4).clips(400, 1, seed=0).frames
    corners = Counter(frame[0, 0, 0].tobytes() + frame[0, 0, 4].tobytes() for frame in frames)
    # 16 equiprobable pairs, 400 draws: chi-square of 15 degrees of freedom, 10^-4 quantile 44.3
    assert len(corners) == 16 and sum((n - 25) ** 2 / 25 for n in corners.values()) < 44.3


def entropy(counts: Counter[Any]) -> float:
    p = np.array(list(counts.values())) / sum(counts.values())
    return float(-(p * np.log(p)).sum())


@pytest.mark.parametrize(
    ("size", "bands", "path", "memory", "window"),
    [
        (16, 1, [0, 1, 2, 1, 0, 1], 1, 1),
        (16, 1, [0, 1, 2, 3, 2, 1, 0], 2, 2),
        (16, 2, [0, 1, 0, -1, 0], 1, 1),
        (16, 1, [0, 1, 2, 1, 0], 0, 2),
        (16, 1, [0, -1, -2, -1, 0, 1, 0], 1, 3),
        (32, 1, [0, 1, 2, 3, 2, 1, 0], 1, 1),
    ],
)
def test_exact_memory_bottleneck_by_enumeration(
    size: int, bands: int, path: list[int], memory: int, window: int
) -> None:
    """I(block; past | remembered) = H(B, R) + H(A, R) - H(R) - H(A, B, R) over all landscapes."""
    world = PanoramaWorld(size=size, palette="discrete", attributes=2, bands=bands)
    exact = world.exact_memory_bottleneck(path, memory, window)
    shown = [world.visible(position) for position in path]
    first, last = min(map(min, shown)), max(map(max, shown))
    videos = []
    for values in itertools.product(range(2), repeat=(last - first + 1) * bands):
        attributes = np.array(values).reshape(-1, bands)
        pictures = (
            world.picture(COLOURS[attributes], attributes % 6, first, position) for position in path
        )
        videos.append([picture.tobytes() for picture in pictures])
    for block, start in enumerate(range(0, len(path), window)):

        def law(*spans: slice) -> float:
            return entropy(Counter(tuple(tuple(v[span]) for span in spans) for v in videos))

        now, past = slice(start, start + window), slice(0, start)
        kept = slice(max(0, start - memory), start)
        information = law(now, kept) + law(past, kept) - law(kept) - law(past, now, kept)
        assert exact[block] == pytest.approx(information, abs=1e-9)
    assert exact.max() > 0


def test_bottleneck_refusals() -> None:
    with pytest.raises(RefusedError, match="continuous palette is infinite"):
        make_world("panorama").exact_memory_bottleneck([0, 1], 1, 1)  # type: ignore[attr-defined]
    world = PanoramaWorld(palette="discrete")
    with pytest.raises(ParameterError, match="path must be a list of whole numbers"):
        world.exact_memory_bottleneck(np.array([0, 0.5]), 1, 1)
    with pytest.raises(ParameterError, match="memory must be an integer of at least 0, got -1"):
        world.exact_memory_bottleneck([0, 1], -1, 1)
    path = world.return_clips(1, 6, 5, seed=0).poses[0, :, 0]
    assert world.exact_memory_bottleneck(path, 10, 1).max() == 0


def test_gaussian_frames_have_the_video_law() -> None:
    """Sample covariance of the pictures, in units of its own standard error."""
    world = make_world("gaussian", video=CHAIN, size=2)
    assert world.channels == 3
    flat = world.clips(2000, 3, seed=0).frames.reshape(2000, 36).astype(float)
    exact = CHAIN.covariance(3)
    sample = flat.T @ flat / 2000
    error = np.sqrt((exact**2 + np.outer(np.diag(exact), np.diag(exact))) / 2000)
    # 666 distinct entries; 5 standard errors are passed by chance less than once in 2000 runs
    assert np.abs((sample - exact) / error).max() < 5
    first = CHAIN.sample(
        64, frames=3, seed=int(np.random.default_rng([0, 0, 0]).integers(2**53))
    ).astype(np.float32)
    assert np.array_equal(flat[:64].astype(np.float32), first.reshape(64, 36))


def test_gaussian_panorama_path() -> None:
    """Positions are poses, their steps are actions; views return around the circle too."""
    world = make_world("gaussian", video=LANDSCAPE)
    clips = world.return_clips(1, 3, 4, seed=0)
    assert clips.poses[0, :, 0].tolist() == [0, 1, 2, 1, 0, 0, 5]
    assert clips.actions[0, :, 0].tolist() == [0, 1, 1, -1, -1, 0, 5]
    assert clips.age[0].tolist() == [-1, -1, -1, 2, 4, 1, -1]
    circle = Panorama([0, 9, 18], dim=2, landscape_length=9)
    assert make_world("gaussian", video=circle).clips(1, 3, 0).age[0].tolist() == [-1, 1, 1]
    with pytest.raises(RefusedError, match="no view of a autoregressive video ever returns"):
        make_world("gaussian", video=CHAIN).return_clips(1, 3, 4, seed=0)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("luna", {}, "world must be one of .*gaussian"),
        ("panorama", {"colour": 1}, "panorama.colour must be one of the options size, palette"),
        ("panorama", {"size": 20}, "panorama.size must be one of 16, 32, got 20"),
        ("panorama", {"palette": "x"}, "panorama.palette must be one of continuous, discrete"),
        ("panorama", {"attributes": 1}, "panorama.attributes must be an integer of at least 2"),
        ("panorama", {"attributes": 17}, "panorama.attributes must be in 2..16, got 17"),
        ("panorama", {"panel": 6}, "panorama.panel must be a multiple of pan .4., got 6"),
        ("gaussian", {"video": CHAIN, "size": 5}, "gaussian.size must be one whose square divides"),
        ("gaussian", {"video": 3}, "gaussian.video must be a GaussianVideo"),
    ],
)
def test_option_errors(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        make_world(name, **options)


def test_draw_errors() -> None:
    world = make_world("panorama")
    for arguments, message in [
        ((0, 4, 0), "count must be an integer of at least 1, got 0"),
        ((1, 0, 0), "length must be an integer of at least 1, got 0"),
        ((1, 4, -1), "seed must be an integer of at least 0, got -1"),
    ]:
        with pytest.raises(ParameterError, match=message):
            world.clips(*arguments)
    with pytest.raises(ParameterError, match="generated must be an integer of at least 1, got 0"):
        world.return_clips(1, 4, 0, seed=0)


# --- datasets -------------------------------------------------------------------------------------


def test_dataset_is_the_clips_and_read_only(tmp_path: Path) -> None:
    world = make_world("panorama")
    data = dataset(world, 40, 9, seed=3, folder=tmp_path / "data")
    assert digest(data) == digest(world.clips(40, 9, seed=3))
    assert len(data) == 40 and data.length == 9
    with pytest.raises(ValueError, match="read-only"):
        data.frames[0, 0] = 0
    data.verify()
    manifest = json.loads((tmp_path / "data" / "manifest.json").read_text())
    assert manifest["arrays"]["frames"]["shape"] == [40, 9, 16, 16, 3]
    for name, entry in manifest["arrays"].items():
        content = (tmp_path / "data" / f"{name}.npy").read_bytes()
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()
    assert {path.name for path in tmp_path.iterdir()} <= {"data", ".data.lock"}


class Rendered(Exception):
    """Raised instead of rendering."""


def test_dataset_reopens_or_renders_anew(tmp_path: Path) -> None:
    """The same request reopens; another world, count, length, seed or a cut file renders anew."""
    folder = tmp_path / "data"
    world = make_world("panorama")
    dataset(world, 6, 5, seed=0, folder=folder)
    other = make_world("panorama", palette="discrete")
    before = sorted((path.name, path.stat().st_mtime_ns) for path in folder.iterdir())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(World, "blocks", lambda *_: (_ for _ in ()).throw(Rendered))
        dataset(world, 6, 5, seed=0, folder=folder)
        for request in [(other, 6, 5, 0), (world, 7, 5, 0), (world, 6, 4, 0), (world, 6, 5, 1)]:
            with pytest.raises(Rendered):
                dataset(*request, folder)
        patch.setattr(PanoramaWorld, "revision", PanoramaWorld.revision + 1)
        with pytest.raises(Rendered):
            dataset(world, 6, 5, seed=0, folder=folder)
    # every failure left the old dataset as it was
    assert before == sorted((path.name, path.stat().st_mtime_ns) for path in folder.iterdir())
    assert digest(dataset(other, 6, 5, 0, folder)) == digest(other.clips(6, 5, 0))
    for name, size in [("frames.npy", -1), ("poses.npy", 10), ("manifest.json", 20)]:
        path = folder / name
        path.write_bytes(path.read_bytes()[:size])
        assert digest(dataset(other, 6, 5, 0, folder)) == digest(other.clips(6, 5, 0))
    path = folder / "frames.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ParameterError, match=r"frames.npy must be the file with SHA-256"):
        dataset(other, 6, 5, 0, folder).verify()


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_interrupted_render_leaves_nothing(tmp_path: Path, error: Any) -> None:
    world = make_world("panorama")

    def stops(self: World, count: int, length: int, seed: int) -> Iterator[Clips]:
        yield from world._blocks(3, Journey(length), seed)
        raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PanoramaWorld, "blocks", stops)
        with pytest.raises(type(error) if isinstance(error, OSError) else error):
            dataset(world, 6, 5, seed=0, folder=tmp_path / "data")
    assert [path.name for path in tmp_path.iterdir()] == [".data.lock"]


def test_killed_render_is_cleared_away(tmp_path: Path) -> None:
    """After SIGKILL in mid-render there is no dataset, and the next call makes a whole one."""
    script = (
        "import os, sys; from paper_repro.worlds import *\n"
        "from paper_repro.worlds.world import Journey\n"
        "w = make_world('panorama')\n"
        "def stops(self, count, length, seed):\n"
        "    yield from w._blocks(3, Journey(length), seed)\n"
        "    os.kill(os.getpid(), 9)\n"
        "PanoramaWorld.blocks = stops\n"
        "dataset(w, 6, 5, 0, sys.argv[1])\n"
    )
    folder = tmp_path / "data"
    done = subprocess.run([sys.executable, "-c", script, str(folder)], cwd=ROOT)
    assert done.returncode == -9 and not folder.exists()
    world = make_world("panorama")
    assert digest(dataset(world, 6, 5, 0, folder)) == digest(world.clips(6, 5, 0))
    assert {path.name for path in tmp_path.iterdir()} == {"data", ".data.lock"}


def test_dataset_refusals(tmp_path: Path) -> None:
    """Foreign files are never deleted; a small disk is refused before rendering."""
    world = make_world("panorama")
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ParameterError, match=r"folder must be empty or a dataset, got .*mine.txt"):
        dataset(world, 2, 3, 0, tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"
    with pytest.raises(ParameterError, match=r"folder must be a folder, got the file"):
        dataset(world, 2, 3, 0, tmp_path / "mine.txt")
    with pytest.raises(OSError, match=r"the dataset needs \d+ bytes, the disk has \d+"):
        dataset(world, 10**12, 10**4, 0, tmp_path / "huge")
    assert not (tmp_path / "huge").exists()


def test_batches_are_resumable_sub_clips(tmp_path: Path) -> None:
    world = make_world("panorama", palette="discrete")
    data = dataset(world, 20, 12, seed=0, folder=tmp_path / "data")
    stream = data.batches(8, 6, seed=4)
    first = [next(stream) for _ in range(5)]
    resumed = data.batches(8, 6, seed=4, start_step=3)
    assert [digest(next(resumed)) for _ in range(2)] == [digest(batch) for batch in first[3:]]
    assert digest(next(data.batches(8, 6, seed=5))) != digest(first[0])
    for batch in first:
        check_clips(world, batch, 8, 6)
        check_views_return(batch)
    whole = data.batch(0, 64, 12, seed=1)
    assert all(any(np.array_equal(f, g) for g in data.frames) for f in whole.frames)
    with pytest.raises(ParameterError, match=r"length must be at most the clips' .12., got 13"):
        next(data.batches(8, 13, seed=0))


# --- across processes, and the command line -------------------------------------------------------

SCRIPT = """
import hashlib, json, sys
import numpy as np
from paper_repro.worlds import world_from_json
w = world_from_json(json.loads(sys.argv[1]))
c = w.clips(3, 6, seed=5)
parts = (c.frames, c.actions, c.poses, c.age)
print(hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in parts)).hexdigest())
"""


def digest_elsewhere(world: World) -> str:
    """Digest of `world.clips(3, 6, seed=5)` drawn by another process."""
    command = [sys.executable, "-c", SCRIPT, json.dumps(world.to_json())]
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize("name", ["gaussian chain", "panorama 16"])
def test_same_bytes_in_another_process(name: str) -> None:
    world = LIGHT[name]()
    assert digest_elsewhere(world) == digest(world.clips(3, 6, seed=5))


def read_png_size(path: Path) -> tuple[int, int]:
    header = path.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(header[16:20], "big"), int.from_bytes(header[20:24], "big")


@pytest.mark.parametrize("name", ["gaussian", "panorama"])
def test_contact_sheet(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sheet = tmp_path / "sheet.png"
    main([name, "--sheet", str(sheet), "--rows", "2", "--columns", "6", "--tile", "32"])
    assert read_png_size(sheet) == (6 * 36 + 16, 4 * 40 + 8 + 16)
    assert name in capsys.readouterr().out


def test_contact_sheet_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["panorama", "--sheet", str(tmp_path / "s.png"), "--set", "size=20"])
    assert "panorama.size must be one of 16, 32, got 20" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["panorama", "--sheet", str(tmp_path / "missing" / "s.png")])
    assert "No such file or directory" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


# --- worlds drawn by a game engine ----------------------------------------------------------------


def needs_engine() -> None:
    reason = "maze and blocks are drawn by ViZDoom: pip install 'arvdm-theory[worlds]'"
    for package in ("vizdoom", "labmaze", "PIL"):
        pytest.importorskip(package, reason=reason)


WALKING = ["maze", "blocks"]


@pytest.mark.parametrize("name", WALKING)
def test_walking_clips(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same bytes per seed, here and elsewhere; ages, returns and poses right; nothing left over."""
    needs_engine()
    world = make_world(name, size=32)
    elsewhere = digest_elsewhere(world)
    monkeypatch.chdir(tmp_path)
    clips = world.clips(18, 24, seed=5)
    assert list(tmp_path.iterdir()) == []
    check_clips(world, clips, 18, 24)
    check_views_return(clips)
    assert digest(world.clips(3, 24, seed=5)) == digest(clips[:3])
    assert digest(world.clips(3, 24, seed=6)) != digest(clips[:3])
    assert elsewhere == digest(world.clips(3, 6, seed=5))
    # new poses show new pictures, and clips of another map look different
    new = [clips.frames[i, t].tobytes() for i, t in np.argwhere(clips.age < 0)]
    assert len(set(new)) > 0.95 * len(new)
    check_kinematics(clips)
    assert 0.2 < (clips.actions[:, 1:, 0] != 0).mean() < 0.8
    assert (clips.age > 6).mean() > 0.05


def check_kinematics(clips: Clips) -> None:
    """Actions lead from pose to pose: a turn is 11.25°, a step is one along the line of sight."""
    angle = np.arctan2(clips.poses[..., 3], clips.poses[..., 2]).astype(float)
    turn = np.round(np.diff(angle, axis=1) / (2 * np.pi / 32), 3)
    assert np.array_equal((turn - clips.actions[:, 1:, 1]) % 32, np.zeros_like(turn))
    move = np.diff(clips.poses[..., :2].astype(float), axis=1)
    sight = np.stack([np.cos(angle), np.sin(angle)], axis=-1)[:, 1:]
    # steps end on whole map units: off by at most half of one in x and y, and a step is 24 or 32
    error = np.linalg.norm(move - clips.actions[:, 1:, :1] * sight, axis=-1)
    assert error.max() < np.sqrt(0.5) / 24 + 1e-4
    assert np.all(np.abs(clips.actions).sum(axis=-1)[:, 1:] == 1)


@pytest.mark.parametrize("name", WALKING)
def test_walking_returns(name: str) -> None:
    """The way back shows the way out in reverse, bit for bit, at ages 2, 4, 6, ..."""
    needs_engine()
    clips = make_world(name, size=32).return_clips(16, context=12, generated=11, seed=3)
    check_views_return(clips)
    check_kinematics(clips)
    for t in range(11):
        assert np.array_equal(clips.frames[:, 12 + t], clips.frames[:, 10 - t])
    fresh = (clips.age[:, :12] < 0).all(axis=1)
    assert fresh.mean() > 0.9
    assert np.array_equal(clips.age[fresh, 12:], np.tile(np.arange(2, 23, 2), (fresh.sum(), 1)))
    turning = (clips.actions[:, 1:12, 1] == clips.actions[:, 1:2, 1]).all(axis=1)
    assert 2 <= turning.sum() <= 14


@pytest.mark.parametrize("name", WALKING)
@pytest.mark.parametrize("size", [64, 128])
def test_engine_draws_a_function_of_the_pose(name: str, size: int) -> None:
    """Poses drawn in another order, and by an engine started anew, give the same bits."""
    needs_engine()
    from paper_repro.worlds.doom import Painter

    world: Any = make_world(name, size=size)
    journey = Journey(16)
    grid, ground = world._land(journey.generator(1, 0, 0))
    paths = [world._path(journey, ground, journey.generator(1, 1, i)) for i in range(4)]
    poses = list(dict.fromkeys(pose for path in paths for pose in path))
    with Painter(grid, size, name) as painter:
        first = {pose: painter.look(pose) for pose in poses}
        for i in np.random.default_rng(0).permutation(len(poses)):
            assert np.array_equal(painter.look(poses[i]), first[poses[i]])
    with Painter(grid, size, name) as painter:
        assert all(np.array_equal(painter.look(pose), first[pose]) for pose in reversed(poses))
        # an engine that is not where it should be is noticed
        x, y, heading = painter.pose
        painter.pose = (x, y, heading + 1)
        with pytest.raises(RuntimeError, match=r"the engine stands at .* not at the pose"):
            painter.look((x, y, heading + 2))


def test_maze_keeps_clear_of_walls() -> None:
    """Every point less than 24 units away in x and y is open floor."""
    needs_engine()
    world: Any = make_world("maze")
    journey = Journey(200)
    _, ground = world._land(journey.generator(4, 0, 0))
    path = world._path(journey, ground, journey.generator(4, 1, 0))
    assert len(set(path)) > 50
    near = np.arange(-24, 25, 4)
    for x, y, _ in path:
        assert not ground.solid[np.ix_((y + near) // 128, (x + near) // 128)].any()


def test_colours_are_the_textures() -> None:
    """A room of four plain colours shows exactly them: the palette is the map's own."""
    needs_engine()
    from paper_repro.worlds.doom import GridMap, Painter

    colours = [(201, 40, 43), (40, 200, 44), (41, 62, 220), (207, 211, 40), (120, 101, 90)]
    textures = {
        f"C{i}": np.full((8, 8, 3), colour, dtype=np.uint8) for i, colour in enumerate(colours)
    }
    textures["SKY"] = np.full((128, 1024, 3), (10, 20, 30), dtype=np.uint8)
    room = np.full((3, 3), -1)
    room[1, 1] = 0
    heights = {"heightfloor": 0, "heightceiling": 256, "lightlevel": 255}
    sector = {**heights, "texturefloor": "C4", "textureceiling": "F_SKY1"}
    grid = GridMap(
        [0, 256, 512, 768],
        room,
        [sector],
        lambda cell, other, facing: {"texturemiddle": f"C{facing}"},
        textures,
        "SKY",
        (384, 384, 0),
    )
    with Painter(grid, 64, "maze") as painter:
        for quarter, facing in enumerate([2, 3, 0, 1]):
            view = painter.look((384, 384, 8 * quarter))
            # straight ahead the wall, which looks back; the floor below
            assert tuple(view[30, 32]) == colours[facing]
            assert tuple(view[63, 32]) == colours[4]


def test_blocks_stand_where_the_island_says() -> None:
    """The engine's ground is the island's, also at the edges of cubes and under canopies."""
    needs_engine()
    import vizdoom

    from paper_repro.worlds.blocks import CUBE, BlocksWorld
    from paper_repro.worlds.doom import Painter

    world = BlocksWorld(size=32)
    journey = Journey(24)
    grid, ground = world._land(journey.generator(2, 0, 0))
    assert isinstance(grid.controls, list) and grid.controls
    under = 0
    with Painter(grid, 32, "blocks") as painter:
        for i in range(12):
            for x, y, heading in world._path(journey, ground, journey.generator(2, 1, i)):
                painter.look((x, y, heading))
                z = painter.game.get_game_variable(vizdoom.GameVariable.POSITION_Z)
                assert z == CUBE * ground.level(x, y)  # type: ignore[attr-defined]
                under += (y // CUBE + 2, x // CUBE + 2) in ground.canopy  # type: ignore[attr-defined]
    assert under > 0


@pytest.mark.parametrize("name", WALKING)
def test_turning_only(name: str) -> None:
    needs_engine()
    clips = make_world(name, size=32, motion="turn").clips(4, 12, seed=0)
    assert not clips.actions[..., 0].any() and not clips.poses[..., :2].any()


def test_walking_dataset(tmp_path: Path) -> None:
    """Sub-clips have poses relative to their own first frame."""
    needs_engine()
    world = make_world("maze", size=32)
    data = dataset(world, 6, 16, seed=1, folder=tmp_path / "maze")
    batch = data.batch(0, 16, 7, seed=0)
    check_clips(world, batch, 16, 7)
    check_kinematics(batch)
    check_views_return(batch)


@pytest.mark.parametrize(("name", "package"), [("maze", "labmaze"), ("blocks", "vizdoom")])
def test_without_the_extra(
    name: str,
    package: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The error says what to install, nothing is half written, and the other worlds work."""
    monkeypatch.setitem(sys.modules, package, None)
    world = make_world(name)
    message = f"the world {name} needs the package {package}.*pip install 'arvdm-theory.worlds.'"
    with pytest.raises(ModuleNotFoundError, match=message):
        world.clips(1, 4, seed=0)
    with pytest.raises(ModuleNotFoundError, match=message):
        dataset(world, 2, 4, 0, tmp_path / "data")
    assert {path.name for path in tmp_path.iterdir()} == {".data.lock"}
    with pytest.raises(SystemExit, match="2"):
        main([name, "--sheet", str(tmp_path / "s.png")])
    assert "pip install 'arvdm-theory[worlds]'" in capsys.readouterr().err
    make_world("panorama").clips(1, 4, seed=0)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("maze", {"size": 48}, "maze.size must be one of 32, 64, 128, got 48"),
        ("blocks", {"motion": "fly"}, "blocks.motion must be one of walk, turn, got fly"),
        ("maze", {"cells": 10}, "maze.cells must be odd, got 10"),
        ("blocks", {"cells": 3}, "blocks.cells must be an integer of at least 24, got 3"),
    ],
)
def test_walking_option_errors(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        make_world(name, **options)


def test_sub_poses_are_relative_poses() -> None:
    """`relative` composes: as seen from frame 2, whatever frame the poses were relative to."""
    world = make_world("maze")
    angle = np.arange(6) * 3 * (2 * np.pi / 32)
    poses = np.stack([angle**2, -angle, np.cos(angle), np.sin(angle)], axis=-1)
    there = world.relative(poses, 2)
    assert np.allclose(world.relative(world.relative(poses, 4), 2), there, atol=5e-5)
    assert np.array_equal(there[2], [0, 0, 1, 0])
    # one step ahead of frame 2 is one step along its heading
    ahead = poses[2].copy()
    ahead[:2] += (np.cos(angle[2]), np.sin(angle[2]))
    assert np.allclose(world.relative(np.stack([poses[2], ahead]))[1], [1, 0, 1, 0], atol=1e-5)
