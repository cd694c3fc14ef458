"""Rows at the paper's lengths: their names, what they need, and that they can be trained at all."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import nn

import paper_repro.__main__ as command
from arvdm_theory.errors import ParameterError
from paper_repro import full_scale
from paper_repro.arvdm.network import build
from paper_repro.arvdm.training import train
from paper_repro.experiments import EXPERIMENTS, ROWS, Experiment, experiment
from paper_repro.full_scale import Cost, Gpu, at_scale, cost, full_rows, structures

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "full_scale.md"
ONE = {"batch_size": 1, "steps": 1, "warm_up": 0}


def one_step(name: str, **shape: Any) -> Experiment:
    """The row with one training step of one clip, its network changed by `shape`."""
    chosen = experiment(name)
    return dataclasses.replace(
        chosen,
        network=dataclasses.replace(chosen.network, **shape),
        training=dataclasses.replace(chosen.training, **ONE),
    )


class Still:
    """Clips of one colour that nobody renders."""

    def __init__(self, chosen: Experiment) -> None:
        self.network = chosen.network

    def batches(self, batch_size: int, length: int, seed: int, start_step: int = 0) -> Any:
        size, channels = self.network.size, self.network.channels
        while True:
            frames = np.full((batch_size, length, size, size, channels), 90, np.uint8)
            actions = np.zeros((batch_size, length, self.network.action_dim), np.float32)
            yield type("Clips", (), {"frames": frames, "actions": actions})()


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("world", ["maze", "blocks"])
def test_every_row_has_one_name_at_each_scale(world: str) -> None:
    small = [f"{world}-{row.name(4)}" for row in ROWS]
    large = [at_scale(name, "full") for name in small]
    assert len(set(large)) == len(ROWS) and set(large) <= set(EXPERIMENTS)
    assert large == full_rows(f"{world}-full")
    assert [at_scale(name, "cpu") for name in large] == small
    for name in large:  # by the paper's own lengths, too
        assert at_scale(name.replace("-full", ""), "full") == name


def test_lengths_are_the_papers() -> None:
    for name in full_rows():
        small = experiment(at_scale(name, "cpu")).network
        large = experiment(name).network
        assert (large.window, large.memory, large.budget) == (
            16,
            4 * small.memory,
            4 * small.budget,
        )
        assert (large.structure, large.compressor) == (small.structure, small.compressor)
        assert experiment(name).data.length >= large.clip
        assert large.size == {"maze": 64, "blocks": 128}[name.split("-")[0]]
    with pytest.raises(ParameterError, match="NAME"):
        at_scale("panorama-prepend-12", "full")
    with pytest.raises(ParameterError, match="--scale"):
        at_scale("maze-none", "huge")


def test_train_takes_the_scale(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[tuple[Experiment, Path]] = []
    monkeypatch.setitem(
        command.COMMANDS, "train", lambda chosen, folder, given: seen.append((chosen, folder))
    )
    arguments = ["train", "maze-prepend-12", "--scale", "full", "--out", str(tmp_path)]
    assert command.main([*arguments, "--set", "training.steps=3"]) == 0
    ((chosen, folder),) = seen
    assert chosen.name == "maze-full-prepend-48" and chosen.training.steps == 3
    assert folder == tmp_path / "train" / chosen.name
    assert command.main(["train", "panorama-none", "--scale", "full"]) == 2


# --- counting -------------------------------------------------------------------------------------


def multiplied_by_layers(chosen: Experiment) -> float:
    """Operations of the linear layers and convolutions alone, forward, by the layers' sizes."""
    network = build(chosen.network)
    total = 0

    def count(layer: Any, given: Any, made: torch.Tensor) -> None:
        nonlocal total
        each = layer.weight.numel() if isinstance(layer, nn.Linear) else layer.weight[0].numel()
        numbers = made.numel() // made.shape[-1] if isinstance(layer, nn.Linear) else made.numel()
        total += 2 * each * numbers

    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            layer.register_forward_hook(count)
    example = full_scale._example(chosen.network, 1)
    with torch.no_grad():
        network(example.x, example.gamma, memory=example.memory, action=example.action)
    return float(total)


@pytest.mark.parametrize("name", ["panorama-none", "panorama-prepend-12-joint-4"])
def test_operations_are_those_of_the_layers_and_of_attention(name: str) -> None:
    """Backward takes twice what forward does; attention, small here, comes on top."""
    chosen = experiment(name)
    linear = multiplied_by_layers(chosen)
    counted = cost(chosen).flops
    assert 2.6 * linear < counted < 3.6 * linear


def test_costs_are_by_clip() -> None:
    chosen = experiment("panorama-prepend-4")
    one, three = cost(chosen), cost(chosen, batch=3)
    assert three.flops == pytest.approx(one.flops, rel=0.02)
    assert three.saved == pytest.approx(one.saved, rel=0.1)
    assert one.parameters == sum(p.numel() for p in build(chosen.network).parameters())


def test_more_gpus_hold_more_and_hours_follow_from_the_assumption() -> None:
    made = Cost("row", 10**8, 10**12, 4 * 2**30, 128, 32, 1000)
    assert made.memory(1) == 20e8 + 32 * 4 * 2**30
    assert made.memory(8) == 24e8 + 4 * 4 * 2**30
    assert made.processes(Gpu(memory=80.0)) == 2 and made.processes(Gpu(memory=24.0)) == 8
    assert made.processes(Gpu(memory=4.0)) is None
    assert made.gpu_hours(Gpu(tflops=100.0)) == pytest.approx(1000 * 32 * 1e12 / 1e14 / 3600)
    with pytest.raises(ParameterError, match="tflops"):
        Gpu(tflops=0.0)


PEAK = """
import sys
sys.path.insert(0, {root!r})
import torch
from tests.test_full_scale import one_training_step, small
torch.set_num_threads(1)
def peak():
    with open("/proc/self/status") as file:
        (line,) = (line for line in file if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
one_training_step(small(1))  # what the first step of a process takes once
before = peak()
one_training_step(small({batch}))
print(peak() - before)
"""


def small(batch: int) -> Experiment:
    chosen = one_step("maze-full-prepend-16", width=128, layers=4, heads=4)
    training = dataclasses.replace(chosen.training, batch_size=batch)
    return dataclasses.replace(chosen, training=training)


def one_training_step(chosen: Experiment) -> None:
    network = build(chosen.network)
    example = full_scale._example(chosen.network, chosen.training.batch_size)
    estimate = network(example.x, example.gamma, memory=example.memory, action=example.action)
    (estimate - example.target).square().mean().backward()


@pytest.mark.heavy
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of Linux")
def test_estimated_memory_is_the_peak_of_a_small_training() -> None:
    batch = 6
    program = PEAK.format(root=str(ROOT), batch=batch)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    measured = int(done.stdout)
    # the smaller step before has touched as much as one clip takes
    expected = (batch - 1) * cost(small(1)).saved
    assert expected > 100e6
    assert 0.8 * expected < measured < 1.5 * expected


# --- at full size ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["maze-full-none", "blocks-full-channel_concat-16"])
def test_shapes_fit_together(name: str) -> None:
    counted = cost(experiment(name))
    assert counted.frames == experiment(name).network.clip and counted.flops > 1e11


@pytest.mark.heavy
@pytest.mark.parametrize("name", structures("maze") + structures("blocks"))
def test_one_step_of_every_structure_is_trained(name: str, tmp_path: Path) -> None:
    chosen = one_step(name)
    result = train(
        chosen.network,
        chosen.diffusion,
        chosen.training,
        Still(chosen),
        tmp_path,
        accelerator="cpu",
        progress=False,
    )
    assert result.step == 1 and np.isfinite(result.loss)


def test_structures_are_all_there_are() -> None:
    kinds = {(row.structure, row.compressor) for row in ROWS}
    chosen = [experiment(name).network for name in structures("maze")]
    assert {(one.structure, one.compressor) for one in chosen} == kinds
    assert len(chosen) == len(kinds)


# --- the page -------------------------------------------------------------------------------------


def test_the_page_lists_every_row(capsys: pytest.CaptureFixture[str]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    inside = text.partition(full_scale.BEGIN)[2].partition(full_scale.END)[0]
    for name in full_rows():
        assert f"| `{name}` |" in inside
    assert command.main(["full", "maze-full-none"]) == 0
    said = capsys.readouterr().out
    (row,) = (line for line in said.splitlines() if line.startswith("| `maze-full-none`"))
    assert row in inside
    assert command.main(["full", "nothing of the kind"]) == 2


def test_a_page_gets_its_table(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"above\n{full_scale.BEGIN}\nold\n{full_scale.END}\nbelow\n")
    full_scale.write_table(page, "new")
    text = page.read_text()
    assert "new" in text and "old" not in text and "above" in text and "below" in text
    page.write_text("no marks")
    with pytest.raises(ParameterError, match="marks"):
        full_scale.write_table(page, "new")


@pytest.mark.heavy
def test_the_page_holds_what_the_command_writes(tmp_path: Path) -> None:
    copy = tmp_path / PAGE.name
    copy.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    assert command.main(["full", "--write", str(copy)]) == 0
    assert copy.read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8")
