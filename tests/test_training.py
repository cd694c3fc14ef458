"""Training: levels, clips, checkpoints, resuming, processes, experiments and commands."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from arvdm_theory import noise
from arvdm_theory.errors import ParameterError
from arvdm_theory.schedule import Schedule
from paper_repro.__main__ import main
from paper_repro.arvdm import checkpoint as checkpoints
from paper_repro.arvdm.checkpoint import CheckpointError, load_checkpoint, newest, saved_steps
from paper_repro.arvdm.diffusion import (
    LEVELS,
    DiffusionConfig,
    pixels,
    sample_levels,
    training_clip,
)
from paper_repro.arvdm.network import NetworkConfig
from paper_repro.arvdm.rollout import Generated
from paper_repro.arvdm.training import (
    TrainingConfig,
    TrainingResult,
    bf16_is_native,
    load_network,
    save_weights,
    train,
)
from paper_repro.evaluate import (
    EvaluationConfig,
    SpanScore,
    revealed,
    score,
)
from paper_repro.experiments import EXPERIMENTS, LONGER, ROWS, experiment, override
from paper_repro.worlds import make_world

torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Clips:
    frames: np.ndarray
    actions: np.ndarray


class Stripes:
    """A tiny world: a stripe that the actions move up and down, on a colour of its own."""

    def batches(
        self, batch_size: int, length: int, seed: int, start_step: int = 0
    ) -> Iterator[Clips]:
        step = start_step
        while True:
            generator = np.random.default_rng([seed, step])
            actions = generator.integers(-1, 2, (batch_size, length, 1)).astype(np.float32)
            actions[:, 0] = 0.0
            row = (2 + actions[..., 0].cumsum(1)).astype(int) % 4
            colour = generator.integers(0, 256, (batch_size, 1, 1, 1, 3))
            frames = np.broadcast_to(colour, (batch_size, length, 4, 4, 3)).astype(np.uint8).copy()
            frames[np.arange(batch_size)[:, None], np.arange(length), row] = 255
            yield Clips(frames, actions)
            step += 1


NETWORK = NetworkConfig(
    size=4, patch=2, width=16, heads=2, layers=1, window=2, structure="prepend", memory=2
)
DIFFUSION = DiffusionConfig()
TRAINING = TrainingConfig(
    steps=12, batch_size=4, warm_up=2, checkpoint_every=4, log_every=1, keep=2, seed=3
)


def trained(folder: Path, **changes: Any) -> TrainingResult:
    return train(
        changes.pop("network", NETWORK),
        changes.pop("diffusion", DIFFUSION),
        dataclasses.replace(TRAINING, **changes),
        Stripes(),
        folder,
        world={"name": "stripes"},
        accelerator="cpu",
        progress=False,
    )


def log_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def final(folder: Path, step: int = TRAINING.steps) -> dict[str, torch.Tensor]:
    return load_checkpoint(checkpoints.path_of_step(folder / "checkpoints", step)).tensors


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys() and any(name.startswith("optimizer/") for name in one)
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


# --- levels and clips -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LEVELS)
def test_levels_stay_in_range_and_depend_on_the_generator_alone(kind: str) -> None:
    config = DiffusionConfig(levels=kind)
    draws = [sample_levels(config, 500, 4, torch.Generator().manual_seed(2)) for _ in range(2)]
    assert torch.equal(draws[0], draws[1]) and draws[0].shape == (500, 4)
    low, high = noise.gamma(config.t_max), noise.gamma(config.t_min)
    # float32 numbers of float64 levels
    assert draws[0].min() >= low * (1 - 1e-6) and draws[0].max() <= high * (1 + 1e-6)
    falls = (draws[0].diff(dim=1) <= 0.0).all(1)
    same = (draws[0].diff(dim=1) == 0.0).all(1)
    if kind in ("monotone", "ladder"):
        assert falls.all()
    if kind == "shared":
        assert same.all()
    if kind == "iid":
        # 4 independent levels are in order with probability 1/24; five standard errors of that
        assert abs(falls.float().mean() - 1 / 24) < 5.0 * (1 / 24 / 500) ** 0.5
    if kind == "mixture":
        # a quarter each; of the ladder's draws the chunk's, one in 6 schedules, is shared too
        rate = 0.25 + 0.25 / 6
        assert abs(same.float().mean() - rate) < 5.0 * (rate * (1 - rate) / 500) ** 0.5


def test_high_noise_moves_the_mean_level() -> None:
    for bias in (1.0, 3.0):
        config = DiffusionConfig(levels="iid", high_noise=bias)
        drawn = torch.log(sample_levels(config, 4000, 2, torch.Generator().manual_seed(0))).double()
        top, bottom = noise.log_snr(config.t_min), noise.log_snr(config.t_max)
        fraction = (top - drawn) / (top - bottom)
        # E U^(1/b) = b / (b + 1); its standard deviation is below 0.3
        assert abs(fraction.mean() - bias / (bias + 1.0)) < 5.0 * 0.3 / 8000**0.5


def clip(config: DiffusionConfig, count: int = 2000, seed: int = 0) -> Any:
    frames = torch.zeros(count, 7, 1, 2, 2)
    action = torch.arange(7.0).expand(count, -1)[..., None]
    generator = torch.Generator().manual_seed(seed)
    return training_clip(frames, action, memory=3, reference=2, config=config, generator=generator)


def test_finished_frames_are_at_the_level_of_finished_frames() -> None:
    made = clip(DiffusionConfig(t_min=0.01, levels="shared"))
    assert made.reference_gamma is None
    deviation = float(noise.sigma(0.01))
    for part in (made.memory, made.reference):
        assert abs(part.std() / deviation - 1.0) < 5.0 / (2 * part.numel()) ** 0.5
    # the window at its own levels: x / sigma is N(0, 1) for black frames
    scaled = made.x * (1.0 + made.gamma).sqrt()[..., None, None, None]
    assert abs(scaled.std() - 1.0) < 5.0 / (2 * scaled.numel()) ** 0.5
    assert made.x.shape[1] == 2 and made.action.shape[1] == 7


def test_memory_is_dropped_from_its_old_end() -> None:
    config = DiffusionConfig(memory_dropout=1.0)
    lengths = set()
    for seed in range(20):
        made = clip(config, count=1, seed=seed)
        visible = 0 if made.memory is None else made.memory.shape[1]
        lengths.add(visible)
        assert made.action.shape[1] == visible + 4 and made.action[0, -1, 0] == 6.0
    assert lengths == {0, 1, 2}


def test_references_are_re_noised_as_said() -> None:
    made = clip(DiffusionConfig(reference_noise=0.5))
    noisy = made.reference_gamma[:, 0] < 0.99 * made.reference_gamma.max()
    assert abs(noisy.float().mean() - 0.5) < 5.0 * 0.5 / 2000**0.5
    scaled = made.reference * (1.0 + made.reference_gamma).sqrt()[..., None, None, None]
    assert abs(scaled.std() - 1.0) < 5.0 / (2 * scaled.numel()) ** 0.5


# --- runs -----------------------------------------------------------------------------------------


def test_a_run_learns_logs_draws_and_keeps(tmp_path: Path) -> None:
    result = trained(
        tmp_path,
        steps=150,
        batch_size=16,
        learning_rate=5e-3,
        checkpoint_every=60,
        log_every=10,
        strips_every=75,
    )
    log = log_of(tmp_path)
    assert [entry["step"] for entry in log] == list(range(10, 151, 10))
    first, last = (np.mean([entry["loss"] for entry in part]) for part in (log[:3], log[-3:]))
    assert last < 0.6 * first
    assert all(entry["samples_per_second"] > 0.0 for entry in log)
    assert saved_steps(tmp_path / "checkpoints") == [120, 150]
    pictures = sorted(path.name for path in (tmp_path / "strips").iterdir())
    assert pictures == ["step-00000075.png", "step-00000150.png"]
    image = pytest.importorskip("matplotlib.image").imread(tmp_path / "strips" / pictures[0])
    assert image.shape[:2] == (4 * (2 * 6 + 2), 4 * 6)
    network, metadata = load_network(newest(tmp_path / "checkpoints") or "")
    assert metadata["world"] == {"name": "stripes"} and metadata["step"] == 150
    x, gamma = torch.randn(1, 2, 3, 4, 4), torch.ones(1, 2)
    with torch.no_grad():
        assert torch.equal(network(x, gamma), result.network(x, gamma))
    save_weights(tmp_path / "weights.safetensors", newest(tmp_path / "checkpoints") or "")
    small, _ = load_network(tmp_path / "weights.safetensors")
    with torch.no_grad():
        torch.testing.assert_close(small(x, gamma), network(x, gamma), rtol=0.01, atol=0.01)


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    trained(tmp_path)
    before = final(tmp_path)
    again = trained(tmp_path)
    assert again.resumed_from == again.step == 12
    assert_same(before, final(tmp_path))
    longer = tmp_path / "constant"
    trained(longer, decay="constant", steps=8)
    assert trained(longer, decay="constant").resumed_from == 8
    trained(tmp_path / "at_once", decay="constant")
    assert_same(final(longer), final(tmp_path / "at_once"))


def test_the_average_lags_behind(tmp_path: Path) -> None:
    trained(tmp_path, ema=0.0, steps=4)
    tensors = final(tmp_path, 4)
    for name in tensors:
        if name.startswith("ema/"):
            assert torch.equal(tensors[name], tensors["model/" + name[4:]])
    average = trained(tmp_path / "lag", ema=0.99, steps=4).network
    # it holds no graph of the steps that made it
    assert not any(parameter.requires_grad for parameter in average.parameters())
    tensors = final(tmp_path / "lag", 4)
    assert not torch.equal(tensors["ema/head.weight"], tensors["model/head.weight"])


def test_rate_warms_up_and_decays() -> None:
    config = TrainingConfig(steps=100, warm_up=9, learning_rate=1.0)
    rates = [config.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == pytest.approx(rates[9], rel=0.02)
    assert np.all(np.diff(rates[10:]) < 0.0) and rates[-1] < 1e-3
    constant = dataclasses.replace(config, decay="constant")
    assert {constant.rate(step) for step in range(9, 100)} == {1.0}


KILLED = """
import os, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, {root!r})
import lightning_fabric  # once, before the forks
from paper_repro.arvdm import checkpoint
from tests.test_training import log_of, trained

def run(folder, step=0, how=None):
    child = os.fork()
    if child == 0:
        def doomed(path):
            name = Path(path).name
            return name.endswith(".safetensors") and name >= f"step-{{step:08d}}"
        if how == "half":
            def half(path, content):
                if doomed(path):
                    with open(f"{{path}}.0.part", "wb") as file:
                        file.write(content[: len(content) // 2])
                        file.flush()
                    os.kill(os.getpid(), signal.SIGKILL)
                write(path, content)
            write, checkpoint.write_atomically = checkpoint.write_atomically, half
        if how == "whole":  # all is written, but not yet in its place
            def whole(source, target):
                if doomed(target):
                    os.kill(os.getpid(), signal.SIGKILL)
                replace(source, target)
            replace, os.replace = os.replace, whole
        trained(folder, **{changes})
        os._exit(0)
    while how == "any":
        try:
            if log_of(folder)[-1]["step"] >= step:
                os.kill(child, signal.SIGKILL)
                break
        except (OSError, ValueError, IndexError):
            pass
        time.sleep(0.0005)
    return os.waitpid(child, 0)[1]

folder = Path(sys.argv[1])
for step, how in {deaths}:
    status = run(folder / "killed", step, how)
    saved = checkpoint.saved_steps(folder / "killed" / "checkpoints")
    print(step, how, os.WTERMSIG(status) if os.WIFSIGNALED(status) else "survived", saved)
assert run(folder / "killed") == 0
assert run(folder / "whole") == 0
"""


def killed_and_whole(folder: Path, deaths: list[tuple[int, str]], **changes: Any) -> list[str]:
    """A run that dies at these steps, and one that does not, must end alike; what was told."""
    script = KILLED.format(root=str(ROOT), deaths=deaths, changes=changes)
    run = subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
    )
    assert run.returncode == 0, run.stderr
    steps = changes.get("steps", TRAINING.steps)
    assert_same(final(folder / "killed", steps), final(folder / "whole", steps))
    logs = [log_of(folder / name) for name in ("killed", "whole")]
    for log in logs:
        assert [entry["step"] for entry in log] == list(range(1, steps + 1))
    assert [entry["loss"] for entry in logs[0]] == [entry["loss"] for entry in logs[1]]
    assert not list(folder.rglob("*.part"))
    return run.stdout.splitlines()


def test_killed_three_times_a_run_ends_with_the_same_weights(tmp_path: Path) -> None:
    deaths = [(10, "any"), (24, "half"), (40, "whole")]
    told = killed_and_whole(tmp_path, deaths, steps=40)
    assert [line.split()[2] for line in told] == ["9", "9", "9"]  # SIGKILL
    # what was being written was not there yet
    assert told[2].endswith("[32, 36]")


@pytest.mark.heavy
def test_killed_twenty_times_a_run_ends_with_the_same_weights(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    steps = np.sort(generator.choice(np.arange(1, 190), 20, replace=False))
    hows = generator.permutation(["any"] * 10 + ["half"] * 5 + ["whole"] * 5)
    # within a write: of the first checkpoint from that step on
    deaths = [(int(step), str(how)) for step, how in zip(steps, hows, strict=True)]
    told = killed_and_whole(tmp_path, deaths, steps=200, checkpoint_every=2)
    assert sum(line.split()[2] == "9" for line in told) == 20


# some batches have no memory: then some parameters get no gradient
DROPPED = DiffusionConfig(memory_dropout=0.7)

PROCESSES = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, {root!r})
from tests.test_training import DROPPED, trained
trained(Path(sys.argv[1]), diffusion=DROPPED)
"""


@pytest.mark.heavy
def test_two_processes_give_the_loss_curve_of_one(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(PROCESSES.format(root=str(ROOT)))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    run = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"),
            *("--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"),
            *("--local-addr", "127.0.0.1", str(script), str(tmp_path / "two")),
        ],
        capture_output=True,
        text=True,
        timeout=180,
        cwd=ROOT,
        env=environment,
    )
    assert run.returncode == 0, run.stderr
    trained(tmp_path / "one", diffusion=DROPPED)
    losses = [[entry["loss"] for entry in log_of(tmp_path / name)] for name in ("one", "two")]
    # the gradient is summed in another order: float32 rounding, amplified over 12 Adam steps
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    assert len(losses[1]) == 12


# --- what goes wrong ------------------------------------------------------------------------------


def test_damaged_checkpoints_are_named(tmp_path: Path) -> None:
    trained(tmp_path)
    last = newest(tmp_path / "checkpoints")
    assert last is not None
    whole = last.read_bytes()
    flipped = bytearray(whole)
    flipped[-100] ^= 1
    for content, message in (
        (whole[: len(whole) // 2], "is truncated or damaged"),
        (b"", "is truncated or damaged"),
        (b"not a checkpoint at all", "is truncated or damaged, or not a safetensors file"),
        (bytes(flipped), "its tensors do not match its digest"),
    ):
        last.write_bytes(content)
        with pytest.raises(CheckpointError, match=message) as caught:
            trained(tmp_path)
        assert str(last) in str(caught.value)
        assert "remove it to resume from" in str(caught.value)
        assert "step-00000008" in str(caught.value)
    from safetensors.torch import save

    last.write_bytes(save({"weight": torch.ones(2)}, {"format": "pt"}))
    with pytest.raises(CheckpointError, match="was not written by this program"):
        trained(tmp_path)
    # the advice works, and what was lost is computed again
    last.unlink()
    assert trained(tmp_path).resumed_from == 8
    assert last.read_bytes() == whole
    with pytest.raises(CheckpointError, match="does not exist"):
        load_network(tmp_path / "nothing.safetensors")


def test_a_checkpoint_of_another_run_is_not_resumed(tmp_path: Path) -> None:
    trained(tmp_path)
    with pytest.raises(CheckpointError, match=r"another diffusion.levels, training.seed; choose"):
        trained(tmp_path, seed=4, diffusion=DiffusionConfig(levels="iid"))
    assert trained(tmp_path, log_every=5, keep=1).resumed_from == 12


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    trained(tmp_path / "whole")
    real = getattr(os, call)
    calls = []

    def full(*arguments: Any) -> Any:
        calls.append(arguments)
        # the second checkpoint; before it come the configuration and the first
        if len(saved_steps(tmp_path / "run" / "checkpoints")) == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.os, call, full)
        with pytest.raises(CheckpointError, match="No space left on device; earlier checkpoints"):
            trained(tmp_path / "run")
    assert calls and saved_steps(tmp_path / "run" / "checkpoints") == [4]
    assert not list((tmp_path / "run").rglob("*.part"))
    assert trained(tmp_path / "run").resumed_from == 4
    assert_same(final(tmp_path / "run"), final(tmp_path / "whole"))


def test_warm_start_copies_what_fits(tmp_path: Path) -> None:
    none = dataclasses.replace(NETWORK, structure="none", memory=0)
    trained(tmp_path / "none", network=none)
    path = str(newest(tmp_path / "none" / "checkpoints"))
    longer = dataclasses.replace(NETWORK, memory=3, compressor="joint", budget=1)
    warm = trained(
        tmp_path / "warm", network=longer, warm_start=path, steps=1, learning_rate=1e-9, ema=0.0
    )
    copied = load_checkpoint(path).part("ema")
    own = dict(warm.network.state_dict())
    torch.testing.assert_close(own["embed.weight"], copied["embed.weight"], rtol=0, atol=1e-6)
    assert any(name.startswith("read.") for name in own.keys() - copied.keys())
    wider = dataclasses.replace(NETWORK, width=20, patch=4)
    foreign = tmp_path / "foreign.safetensors"
    checkpoints.save_checkpoint(foreign, {"ema/other": torch.ones(2)}, {})
    with pytest.raises(CheckpointError, match="shares no tensor with this network"):
        trained(tmp_path / "wide", network=wider, warm_start=str(foreign))


def test_a_loss_that_is_not_a_number_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match="the last checkpoint is intact"):
        trained(tmp_path, learning_rate=1e30, weight_decay=1e30, clip_norm=1e30)


def test_bf16_needs_a_gpu(tmp_path: Path) -> None:
    if bf16_is_native():
        pytest.skip("there is one")
    with pytest.raises(ParameterError, match="precision must be float32 without a GPU"):
        trained(tmp_path, precision="bf16")


# --- experiments and commands ---------------------------------------------------------------------


def test_every_row_has_its_configuration() -> None:
    many_schedules, gaussian, longer = 3, 3, 2 * len(LONGER)
    assert len(EXPERIMENTS) == 5 * len(ROWS) + many_schedules + gaussian + longer
    for name in EXPERIMENTS:
        if name.startswith("panorama"):
            chosen = experiment(name)
            assert chosen.name == name
            assert chosen.network.clip <= chosen.data.length
    row = experiment("panorama-prepend-12-joint-4").network
    assert (row.memory, row.compressor, row.budget, row.window) == (12, "joint", 4, 4)


def test_overrides_and_their_refusals() -> None:
    base = experiment("panorama-prepend-4")
    changed = override(
        base, ["network.width=32", "world.palette=discrete", "training.decay=cosine"]
    )
    assert changed.network.width == 32 and base.network.width == 96
    assert changed.world == {"name": "panorama", "size": 16, "palette": "discrete"}
    with pytest.raises(ParameterError, match=r"--set must be a key out of steps, batch_size"):
        override(base, ["training.stps=5"])
    with pytest.raises(ParameterError, match=r"--set must be key=value, got network\.width"):
        override(base, ["network.width"])
    with pytest.raises(ParameterError, match=r"NAME must be a named experiment .*prepend-4"):
        experiment("panorama-prepent-4")


def test_train_sample_evaluate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = [
        *("--set", "training.steps=3", "--set", "training.batch_size=2"),
        *("--set", "data.count=8", "--set", "network.width=16", "--set", "network.heads=2"),
        *("--set", "evaluation.clips=3", "--out", str(tmp_path), "--accelerator", "cpu"),
    ]
    name = "panorama-prepend-4"
    assert main(["evaluate", name, *settings]) == 2
    assert "holds no checkpoint" in capsys.readouterr().err
    assert main(["train", name, "--quiet", *settings]) == 0
    assert main(["sample", name, "--count", "2", *settings]) == 0
    told = capsys.readouterr().out
    assert "2 videos of 16 frames in 4 steps, 32 network calls" in told
    folder = tmp_path / "train" / name
    assert np.load(folder / "sample.npy").shape == (2, 16, 16, 16, 3)
    fifo = '{"method": "fifo", "window": 3}'
    for more in ([], [f"evaluation.schedule={fifo}", "evaluation.initialisation=truth"]):
        extra = [part for setting in more for part in ("--set", setting)]
        assert main(["evaluate", name, *settings, *extra]) == 0
        rows = (folder / "evaluation.csv").read_text().splitlines()
        # ages 2, 4 / 6, 8, 10, 12 / 14 .. 28 of three clips
        assert [int(row.split(",")[2]) for row in rows[1:]] == [6, 12, 24]
    assert main(["train", name, *settings, "--set", "training.seed=1"]) == 2
    assert "another training.seed" in capsys.readouterr().err
    assert main(["list"]) == 0 and "maze-full-prepend-112" in capsys.readouterr().out


def test_the_panorama_s_rule_looks_at_what_is_revealed() -> None:
    world = make_world("panorama", size=16)
    clips = world.return_clips(count=6, context=5, generated=4, seed=0)
    truth = pixels(clips.frames)[:, 5:]
    columns = revealed(world, clips)[:, 5:]
    assert (columns.sum(2) == 4).all() and columns[..., [0, -1]].sum() == 6 * 4
    # the newly seen columns were last seen exactly when the view was
    for i in range(6):
        for t in range(4):
            away = clips.frames[i, 3 - t : 5][..., columns[i, t], :]
            assert np.array_equal(away[0], clips.frames[i, 5 + t][:, columns[i, t]])
    evaluation = EvaluationConfig(clips=6, context=5, generated=4, spans=((0, 8),))
    plan = Schedule.chunk(4, t_max=4.0, t_min=0.1, substeps=1).roll_out(frames=4)

    def scored(video: torch.Tensor) -> SpanScore:
        made = Generated(video, video, plan, invented_actions=0, calls=1)
        (row,) = score(world, clips, made, evaluation)
        return row

    perfect = scored(truth)
    assert perfect.rate == 1.0 and perfect.frames == 24 and perfect.psnr == pytest.approx(100.0)
    assert perfect.chance is not None and perfect.chance < 0.2
    mask = torch.from_numpy(columns)[:, :, None, None]
    outside = scored(torch.where(mask, truth, -truth))
    assert outside.rate == 1.0 and outside.psnr < 20.0
    assert scored(torch.where(mask, -truth, truth)).rate == pytest.approx(0.0, abs=0.1)
    # halfway to black, half of every value v in [0, 1] is missing
    missing = (((truth + 1.0) / 4.0) ** 2).mean((2, 3, 4))
    dark = scored((truth - 1.0) / 2.0)
    assert dark.psnr == pytest.approx(float((-10.0 * missing.log10()).mean()), abs=1e-3)
