"""Several processes train as one does with all their chips at once, and hand over to one another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scenes import north_up, pixel_box, write_labels, write_scene

from geoseg.config import TileConfig
from geoseg.models.norms import ProcessBatchNorm, batch_norms_over_processes
from geoseg.models.world import World
from geoseg.tile import tile

BASE = {
    "model.head_width": 16,
    "model.norm": "group",
    "train.epochs": 2,
    "train.precision": "fp32",
    "train.optimizer": "sgd",
    "train.learning_rate": 0.002,
    "train.schedule": "poly",
    "train.ema_decay": 0.5,
}


@pytest.fixture(scope="module")
def chips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven chips to train on (so the last batch of four is short), three to validate on."""
    folder = tmp_path_factory.mktemp("together")
    rng = np.random.default_rng(0)
    bands = rng.integers(60, 90, (3, 128, 320)).astype(np.uint8)
    places = []
    for chip in range(10):
        row, col = 64 * (chip // 5) + int(rng.integers(2, 20)), 64 * (chip % 5) + int(rng.integers(2, 20))
        places.append(pixel_box(north_up(), row, col, 40, 36))
        bands[:, row : row + 40, col : col + 36] += np.uint8(100)
    scene = write_scene(folder / "scene.tif", bands)
    labels = write_labels(folder / "labels.gpkg", places)
    tile([scene], [labels], folder / "chips", TileConfig(size_px=64, overlap_px=0, block_px=64))
    file = folder / "chips/chips.json"
    values = json.loads(file.read_text())
    for number, chip in enumerate(values["chips"]):
        chip["split"] = "train" if number < 7 else "val"
    file.write_text(json.dumps(values))
    return folder / "chips"


def train(chips: Path, processes: int, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """``geoseg train`` in one process, or started by torchrun in several."""
    sets = [part for name, value in (BASE | options).items() for part in ("--set", f"{name}={value}")]
    together = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    launch = together if processes > 1 else []
    command = [sys.executable, *launch, "-m", "geoseg_cli", "train", "--tiles", str(chips), "--json"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, *arguments, *(sets if "--resume" not in arguments else [])],
        capture_output=True,
        text=True,
        env=environment,
        timeout=240,
    )


def losses(run: str) -> list[float]:
    rows = [json.loads(line) for line in (Path(run) / "metrics.jsonl").read_text().splitlines()]
    return [
        row[part]
        for row in rows
        for part in ("loss", "coarse", "point", "val_miou", "val_boundary_iou", "lr")
    ]


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["group", "batch"])
def test_two_processes_are_one_with_twice_the_batch(chips: Path, norm: str) -> None:
    options = {"model.norm": norm}
    alone = train(chips, 1, "-o", "alone", **options, **{"train.batch_size": 4})
    both = train(chips, 2, "-o", "both", **options, **{"train.batch_size": 2})
    assert alone.returncode == both.returncode == 0, alone.stderr + both.stderr
    assert losses("both") == pytest.approx(losses("alone"), abs=1e-4)
    first, second = (load_file(f"{run}/model.safetensors") for run in ("alone", "both"))
    for name, values in first.items():
        assert torch.allclose(values.double(), second[name].double(), rtol=1e-3, atol=1e-4), name
    # One of them talks: stdout is a single object.
    report = json.loads(both.stdout)
    assert report["processes"] == 2
    assert json.loads(alone.stdout)["processes"] == 1


KILLED = """
import os, signal, sys
from pathlib import Path
from geoseg.presets import load_config
from geoseg.progress import SilentProgress
from geoseg.train import train

class Killing(SilentProgress):
    steps = 0
    def advance(self, count=1):
        self.steps += count
        if self.steps == 6:
            os.kill(os.getpid(), signal.SIGKILL)

train(Path(sys.argv[1]), run=Path("run"), config=load_config(None, sys.argv[2:]), progress=Killing())
"""


@pytest.mark.slow
def test_one_process_goes_on_where_two_were_killed(chips: Path) -> None:
    """Two of one chip each do four steps an epoch; killed at the sixth, five chips are left for one."""
    Path("killed.py").write_text(KILLED)
    options = BASE | {"train.batch_size": 1, "train.checkpoint_minutes": 1e-9}
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "killed.py"]
    killed = subprocess.run(
        [sys.executable, *launch, str(chips), *(f"{name}={value}" for name, value in options.items())],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=240,
    )
    assert killed.returncode != 0
    assert torch.load("run/last.pt", weights_only=True)["seen"] == 2, killed.stderr
    done = train(chips, 1, "--resume", "run")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [4, 5 + 5]
    # The rate of the last of fourteen steps, had there been one process from the beginning.
    assert rows[-1]["lr"] == pytest.approx(0.002 * (1 / 14) ** 0.9, rel=1e-6)
    assert json.loads(done.stdout)["epochs"] == 2


NORMED = """
import torch, torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from geoseg.models.norms import batch_norms_over_processes

def network():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1)
    return nn.Sequential(*layers).double().train()

dist.init_process_group("gloo")
images = torch.randn(5, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) + 100
whole = network()
(whole(images).square().sum() / 5).backward()
mine = images[:3] if dist.get_rank() == 0 else images[3:]
parts = batch_norms_over_processes(network(), torch.device("cpu"))
parts = DistributedDataParallel(parts, broadcast_buffers=False)
(parts(mine).square().sum() / 5 * 2).backward()
for (name, one), other in zip(whole.named_parameters(), parts.parameters()):
    assert torch.allclose(one.grad, other.grad, rtol=1e-10, atol=1e-10), name
for (name, one), other in zip(whole.named_buffers(), parts.buffers()):
    assert torch.allclose(one, other, rtol=1e-10), name
# A process that ends with threads of gloo still running is aborted, now and then.
del parts
dist.barrier()
dist.destroy_process_group()
print("equal")
"""


@pytest.mark.slow
def test_norms_over_processes_are_those_of_one() -> None:
    """Gradients and running statistics, in float64, of parts of unequal size."""
    Path("normed.py").write_text(NORMED)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "normed.py"]
    done = subprocess.run([sys.executable, *launch], capture_output=True, text=True, timeout=240)
    # Both write to one pipe, perhaps at once.
    assert (done.returncode, done.stdout.count("equal")) == (0, 2), done.stderr


def test_shares_are_even_in_order_and_complete() -> None:
    for size in range(1, 6):
        for count in range(12):
            parts = [World(rank=rank, size=size).share(range(count)) for rank in range(size)]
            assert [item for part in parts for item in part] == list(range(count))
            assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_alone_a_process_tells_itself_everything() -> None:
    world = World()
    assert world.is_first
    assert world.mean(torch.tensor(3.0)).item() == 3.0
    assert world.total(np.array([1, 2]), torch.device("cpu")).tolist() == [1, 2]
    world.wait()


def test_norms_over_processes_keep_weights_and_are_plain_alone() -> None:
    torch.manual_seed(0)
    plain = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
    images = torch.randn(2, 3, 8, 8)
    expected, before = plain.train()(images), plain.state_dict()
    changed = batch_norms_over_processes(plain, torch.device("cpu"))
    assert type(plain[1]) is ProcessBatchNorm
    assert torch.equal(changed(images), expected)
    assert changed.state_dict().keys() == before.keys()


def test_half_a_launch_is_one_clear_line(chips: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "geoseg_cli", "train", "--tiles", str(chips), "-o", "run"],
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "RANK"} | {"WORLD_SIZE": "2"},
        timeout=120,
    )
    assert done.returncode == 2
    assert "WORLD_SIZE is set, but not RANK; start many processes with torchrun" in done.stderr
