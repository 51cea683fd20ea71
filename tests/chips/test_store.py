from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chip_folders import make_chips
from scenes import write_class_raster, write_scene

from geoseg.chips import store as store_module
from geoseg.chips.store import ChipStore
from geoseg.errors import ChipsError, ReadError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_chips(tmp_path)


def change(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "chips.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def test_what_tile_wrote_is_read_back(folder: Path) -> None:
    store = ChipStore.open(folder)
    assert store.classes.names == ("class 0", "class 1", "class 2")
    assert (store.size_px, store.overlap_px, store.dtype) == (64, 0, "uint8")
    assert store.band_names == ("band 1", "band 2", "band 3")
    assert store.gsd_m == pytest.approx(0.5)
    assert store.gsd_range_m == pytest.approx((0.5, 0.5))
    assert store.crs_wkt is not None
    assert store.scenes == ("scene",)
    assert len(store.chips()) == 16 == sum(len(store.chips(split)) for split in ("train", "val", "test"))
    assert store.fingerprint() == hashlib.sha256((folder / "chips.json").read_bytes()).hexdigest()


def test_pixels(folder: Path) -> None:
    store = ChipStore.open(folder)
    bands, valid, labels = store.read(store.chips()[0])
    assert bands.shape == (3, 64, 64)
    assert bands.dtype == np.uint8
    assert not valid[:20, :30].any()
    assert valid.sum() == 64 * 64 - 600
    assert (labels[~valid] == 255).all()
    assert (labels[valid] < 3).all()
    assert np.bincount(labels[valid], minlength=3).tolist() == list(store.chips()[0].class_pixels)


def test_no_folder_and_no_chips_file(tmp_path: Path) -> None:
    with pytest.raises(ChipsError, match=r"x does not exist; make chips with geoseg tile"):
        ChipStore.open(tmp_path / "x")
    with pytest.raises(ChipsError, match=r"has no chips\.json; make chips with geoseg tile"):
        ChipStore.open(tmp_path)


def set_chip(key: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda content: content["chips"][0].update({key: value})


@pytest.mark.parametrize(
    "edit",
    [
        set_chip("name", "../../etc/passwd"),
        set_chip("name", "/etc/passwd"),
        set_chip("name", ".."),
        set_chip("name", "a\\b"),
        set_chip("name", "a\nb"),
        set_chip("name", "ab\n"),
        set_chip("name", "a" * 500),
        set_chip("name", 7),
        set_chip("scene", "elsewhere"),
        set_chip("split", "holdout"),
        set_chip("window", [0, 0, 64]),
        set_chip("window", [0, 0, 63, 64]),
        set_chip("window", [0, 0, 64, 1e9]),
        set_chip("window", [10**30, 0, 64, 64]),
        set_chip("own", [0, 0, 65, 64]),
        set_chip("own", [5, 5, -5, 5]),
        set_chip("valid_share", 1.5),
        set_chip("valid_share", None),
        set_chip("class_pixels", [1, 2]),
        set_chip("class_pixels", [64 * 64, 1, 0]),
        set_chip("class_pixels", [-1, 1, 0]),
        lambda content: content["chips"][1].update(name=content["chips"][0]["name"].upper()),
        lambda content: content.update(version=2),
        lambda content: content.update(size_px=10**9),
        lambda content: content.update(size_px=True),
        lambda content: content.update(overlap_px=64),
        lambda content: content.update(dtype="object"),
        lambda content: content.update(bands=[]),
        lambda content: content.update(bands=["band 1"]),
        lambda content: content.update(classes={"names": "ab", "colors": []}),
        lambda content: content.update(classes=[]),
        lambda content: content.update(gsd_m=-1.0),
        lambda content: content.update(chips=[]),
        lambda content: content.update(scenes=[]),
        lambda content: content["stats"].update(m2=[-1.0, 0.0, 0.0]),
        lambda content: content["stats"].update(count=[0, 0, 0]),
        lambda content: content["stats"].update(count=[1e400, 1, 1]),
        lambda content: content["stats"].pop("mean"),
        lambda content: content.pop("chips"),
    ],
)
def test_hostile_chips_files_are_one_line(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    change(folder, edit)
    with pytest.raises(ChipsError, match=r"chips\.json is damaged: ") as caught:
        ChipStore.open(folder)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"version": NaN}'])
def test_what_is_no_json(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "chips.json").write_bytes(content)
    with pytest.raises(ChipsError, match="is damaged"):
        ChipStore.open(tmp_path)


def test_a_huge_chips_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "MAX_BYTES", 1000)
    (tmp_path / "chips.json").write_bytes(b" " * 1001)
    with pytest.raises(ChipsError, match="is larger than 1000 bytes"):
        ChipStore.open(tmp_path)


def test_missing_and_damaged_chips(folder: Path) -> None:
    store = ChipStore.open(folder)
    one, two, three, four, five = store.chips()[:5]
    store.image_path(one).unlink()
    with pytest.raises(ChipsError, match="does not exist"):
        store.read(one)
    content = store.image_path(two).read_bytes()
    store.image_path(two).write_bytes(content[: len(content) // 2])
    with pytest.raises((ChipsError, ReadError), match="failed"):
        store.read(two)
    write_scene(store.image_path(three), np.ones((3, 32, 32), np.uint8))
    with pytest.raises(ChipsError, match=r"is 32 x 32 uint8, not 64 x 64 uint8 as chips\.json says"):
        store.read(three)
    write_class_raster(store.label_path(four), np.full((64, 64), 7, np.uint8))
    with pytest.raises(ChipsError, match="holds the id 7 of 3 classes"):
        store.read(four)
    write_scene(store.image_path(five), np.ones((1, 64, 64), np.uint8))
    with pytest.raises(ChipsError, match="has no band 2"):
        store.read(five)


def test_opening_needs_neither_rasterio_nor_torch(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from geoseg.chips.store import ChipStore;"
        f"ChipStore.open(Path({str(folder)!r}));"
        "print([m for m in ('torch', 'rasterio', 'geopandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
