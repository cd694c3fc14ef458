"""What the models watch: seeded worlds, and clips that look away and return.

    world = make_world("maze", size=32)
    clips = world.return_clips(count=8, context=12, generated=4, seed=0)
    train = dataset(world, count=4096, length=32, seed=1, folder="out/worlds/maze")

| world | stands for | truth known |
|---|---|---|
| gaussian | the toy chains of the theory | every number |
| panorama | a needle in a haystack | memory bottleneck of the discrete palette |
| maze | DeepMind Lab | returning views, bit for bit |
| blocks | Minecraft | returning views, bit for bit |
"""

from paper_repro.worlds.blocks import BlocksWorld
from paper_repro.worlds.dataset import Dataset, dataset
from paper_repro.worlds.gaussian import GaussianWorld
from paper_repro.worlds.maze import MazeWorld
from paper_repro.worlds.panorama import PanoramaWorld
from paper_repro.worlds.world import WORLDS, Clips, World, make_world, world_from_json

__all__ = [
    "WORLDS",
    "World",
    "Clips",
    "make_world",
    "world_from_json",
    "Dataset",
    "dataset",
    "GaussianWorld",
    "PanoramaWorld",
    "MazeWorld",
    "BlocksWorld",
]
