"""Scenes of any number of bands and any type, from tile to mask, with all that training can be told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from scenes import write_class_raster, write_scene

from geoseg.chips.dataset import ChipDataset, ChipItem
from geoseg.chips.store import ChipStore
from geoseg.config import PredictConfig, TileConfig
from geoseg.models.card import read_card
from geoseg.predict import predict
from geoseg.presets import load_config
from geoseg.progress import SilentProgress
from geoseg.tile import tile
from geoseg.train import train

SETTINGS = (
    "model.head_width=16", "train.batch_size=2", "train.epochs=2", "train.learning_rate=1e-3",
    "train.ema_decay=0.8", "train.precision=fp32", "loss.class_weights=effective",
)  # fmt: skip
EVERYTHING = (
    "train.rare_share=0.5", "train.ignore_rim_px=1", "augment.scale=0.3", "augment.band_dropout=0.2",
)  # fmt: skip


def bright_fields(bands: int, dtype: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A scene (B, 192, 192) of bright squares in noise, and their ids."""
    rng = np.random.default_rng(seed)
    ids = np.zeros((192, 192), np.uint8)
    for row in range(8, 160, 48):
        for col in range(8, 160, 48):
            ids[row + rng.integers(8) :, :][:28, col : col + 26] = 1
    shine = np.where(ids == 1, 160, 60) + rng.normal(0, 8, (bands, 192, 192))
    scale = np.linspace(5, 10, bands) if np.dtype(dtype).kind in "iu" else np.linspace(0.002, 0.004, bands)
    return (shine * scale[:, None, None]).astype(dtype), ids


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bands", "dtype", "fill", "options"),
    [
        (1, "uint16", 65535, ()),
        (4, "int16", -32768, EVERYTHING),
        (8, "float32", -3.4028234663852886e38, EVERYTHING),
    ],
)
def test_bands_of_any_number_and_type_go_the_whole_way(
    bands: int, dtype: str, fill: float, options: tuple[str, ...]
) -> None:
    pixels, ids = bright_fields(bands, dtype)
    # Fill that no tag declares, in one band more than in the others.
    pixels[:, 100:104, :60] = fill
    pixels[0, 30:40, 30:40] = fill
    scene, truth = write_scene(Path("s.tif"), pixels), write_class_raster(Path("t.tif"), ids)
    chosen = tuple(range(1, bands + 1))
    tile([scene], [truth], Path("c"), TileConfig(size_px=64, overlap_px=0, block_px=64, bands=chosen))
    store = ChipStore.open(Path("c"))
    assert (store.dtype, len(store.band_names)) == (dtype, bands)
    land = pixels[:, (pixels != np.array(fill, dtype)).all(axis=0)].astype(np.float64)
    assert store.stats.std == pytest.approx(land.std(axis=1), rel=0.05)
    report = train(Path("c"), run=Path("r"), config=load_config(None, [*SETTINGS, *options]))
    assert read_card(report.model).stats == store.stats
    losses = [json.loads(line)["loss"] for line in Path("r/metrics.jsonl").read_text().splitlines()]
    # Chance is 1.4: the coarse map and the points, each ln 2.
    assert max(losses) < 3.0, "no wild pixel drowns the rest"
    predict(scene, Path("mask.tif"), model=report.model, config=PredictConfig(bands=chosen))
    with rasterio.open("mask.tif") as mask:
        assert mask.shape == ids.shape
        assert set(np.unique(mask.read(1))) <= {0, 1}


class Stopping(SilentProgress):
    """Stops training after some steps, as Ctrl-C does."""

    def __init__(self, after: int) -> None:
        self.left = after

    def advance(self, count: int = 1) -> None:
        self.left -= count
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_with_everything_on_a_run_sees_rare_chips_more_and_goes_on_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels, ids = bright_fields(2, "uint16")
    ids[:] = 0
    ids[20:50, 80:110] = 1
    scene, truth = write_scene(tmp_path / "s.tif", pixels), write_class_raster(tmp_path / "t.tif", ids)
    tile([scene], [truth], tmp_path / "c", TileConfig(size_px=64, overlap_px=0, val_share=0, test_share=0))
    seen: list[tuple[int, int]] = []
    of_dataset = ChipDataset.item

    def watched(self: ChipDataset, index: int, *, epoch: int = 0) -> ChipItem:
        seen.append((epoch, index))
        return of_dataset(self, index, epoch=epoch)

    monkeypatch.setattr(ChipDataset, "item", watched)
    config = load_config(None, [*SETTINGS, *EVERYTHING, "train.rare_share=1.0", "train.batch_size=3"])
    whole = train(tmp_path / "c", run=tmp_path / "whole", config=config)
    # Nine chips an epoch as ever; one chip of nine holds the class, and has half of the places.
    assert sorted(epoch for epoch, _ in seen) == [1] * 9 + [2] * 9
    assert len(set(seen)) == 18
    assert 8 <= sum(index % 9 == 1 for _, index in seen) <= 11
    run = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "c", run=run, config=config, progress=Stopping(4))
    assert train(tmp_path / "c", run=run, resume=True).model.read_bytes() == whole.model.read_bytes()


def test_chips_made_before_there_was_a_limit_are_read_and_have_none(tmp_path: Path) -> None:
    pixels, ids = bright_fields(2, "int16")
    scene, truth = write_scene(tmp_path / "s.tif", pixels), write_class_raster(tmp_path / "t.tif", ids)
    tile([scene], [truth], tmp_path / "c", TileConfig(size_px=64, overlap_px=0))
    new = ChipStore.open(tmp_path / "c").stats
    file = tmp_path / "c" / "chips.json"
    content = json.loads(file.read_text())
    assert content["stats"].pop("limit_std") == new.limit_std == 8.0
    file.write_text(json.dumps(content))
    old = ChipStore.open(tmp_path / "c").stats
    assert (old.limit_std, old.mean, old.std) == (None, new.mean, new.std)
    wild = np.array([[[30000]], [[-30000]]], np.int16)
    valid = np.ones((1, 1), bool)
    assert np.abs(new.normalise(wild, valid)).max() <= 8.0 < np.abs(old.normalise(wild, valid)).min()
