"""Faults planted into a chips folder are found, and a sound folder is left alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from chip_folders import make_chips
from patchwork import edit_chips, ids_of, patchwork, write_chips, write_patchwork
from scenes import north_up, write_class_raster, write_scene

from geoseg.chips.store import ChipStore
from geoseg.doctor import DoctorReport, doctor
from geoseg.health.finding import MAX_NAMED, Finding
from geoseg.progress import SilentProgress
from geoseg_cli.main import main


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound chips folder, made once."""
    return write_chips(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def chips(sound: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    return shutil.copytree(sound, tmp_path / "chips")


class Steps(SilentProgress):
    """Counts steps."""

    total = done = 0

    def begin(self, name: str, total: int, unit: str) -> None:  # noqa: ARG002
        self.total += total

    def advance(self, count: int = 1) -> None:
        self.done += count


def of(done: DoctorReport, check: str, severity: str | None = None) -> list[Finding]:
    """Findings of a kind."""
    return [f for f in done.findings if f.check == check and severity in {None, f.severity}]


def only(done: DoctorReport, check: str) -> Finding:
    """The one finding of a kind, which is the only one worse than a note."""
    (found,) = [finding for finding in done.findings if finding.severity != "note"]
    assert found.check == check
    return found


def rewrite(path: Path, change: Any) -> None:
    """Change the pixels of a raster in place."""
    with rasterio.open(path, "r+") as dataset:
        dataset.write(change(dataset.read()))


def test_sound_chips_give_nothing_worse_than_notes(chips: Path) -> None:
    store, steps = ChipStore.open(chips), Steps()
    done = doctor([chips], progress=steps)
    assert [found for found in done.findings if found.severity != "note"] == []
    assert done.chips == {split: len(store.chips(split)) for split in ("train", "val", "test")}
    assert steps.done == steps.total == len(store.chips())
    shift = done.shifts["scene"]
    assert shift is not None
    assert shift.sure
    assert shift.length_px < 0.3


def test_chips_of_shifted_labels(tmp_path: Path) -> None:
    scene, labels = write_patchwork(tmp_path, right=-6)
    assert (
        main(["tile", str(scene), "-l", str(labels), "-o", "chips", "--size", "96", "--overlap", "16", "-q"])
        == 0
    )
    (found,) = of(doctor([Path("chips")]), "shift", "error")
    assert found.where[0].startswith("scene: 6.0 px right")


def test_a_leak_within_a_scene(chips: Path) -> None:
    leaking = next(chip for chip in ChipStore.open(chips).chips("train"))
    edit_chips(chips, lambda content: give(content, leaking.name, split="val"))
    (found,) = of(doctor([chips]), "leak", "error")
    assert found.count >= 1
    assert any(
        f"{leaking.name} (val) and " in pair or f"and {leaking.name} (val)" in pair for pair in found.where
    )


def give(content: dict[str, Any], name: str, **values: Any) -> None:
    """Change the entry of a chip in ``chips.json``."""
    next(chip for chip in content["chips"] if chip["name"] == name).update(values)


def test_a_leak_between_scenes_of_different_names(tmp_path: Path) -> None:
    # The same land twice, the second time from an image of half a pixel size and another date.
    scene, labels = write_patchwork(tmp_path)
    bands, _ = patchwork(seed=5)
    other = write_scene(tmp_path / "later.tif", bands, transform=north_up(0.25))
    (tmp_path / "split.csv").write_text("scene,split\nscene,train\nlater,val\n")
    for image, name in ((scene, "chips"), (other, "more")):
        args = [
            "tile",
            str(image),
            "-l",
            str(labels),
            "-o",
            name,
            "--size",
            "96",
            "--overlap",
            "16",
            "--val-share",
            "0",
        ]
        assert main([*args, "--test-share", "0", "-q"]) == 0
    merge_folders(Path("chips"), Path("more"), split="val")
    (found,) = of(doctor([Path("chips")]), "leak", "error")
    assert "(train and val)" in found.what
    assert all("scene_r" in pair and "later_r" in pair for pair in found.where)
    assert len(found.where) == MAX_NAMED < found.count


def merge_folders(into: Path, other: Path, *, split: str) -> None:
    """Put the chips of another folder into a folder, as people do by hand."""
    content = json.loads((other / "chips.json").read_text())
    for kind in ("images", "labels"):
        shutil.copytree(other / kind, into / kind, dirs_exist_ok=True)
    more = [chip | {"split": split} for chip in content["chips"]]
    edit_chips(into, lambda mine: mine["chips"].extend(more) or mine["scenes"].extend(content["scenes"]))


def test_scenes_without_a_place_do_not_leak_into_each_other(tmp_path: Path) -> None:
    args = [
        "--size",
        "96",
        "--overlap",
        "16",
        "--split",
        "scene",
        "--val-share",
        "0.4",
        "--test-share",
        "0",
        "-q",
    ]
    inputs = []
    (tmp_path / "truth").mkdir()
    for number in range(3):
        bands, boxes = patchwork(240, seed=number)
        inputs.append(str(write_scene(tmp_path / f"s{number}.tif", bands, crs=None)))
        write_class_raster(tmp_path / "truth" / f"s{number}.tif", ids_of(boxes, 240), crs=None)
    assert main(["tile", *inputs, "-l", "truth", "-o", "chips", *args]) == 0
    assert of(doctor([Path("chips")]), "leak") == []
    one = ChipStore.open(Path("chips")).chips("train")[0]
    edit_chips(Path("chips"), lambda content: give(content, one.name, split="val"))
    assert of(doctor([Path("chips")]), "leak", "error")[0].count >= 1


def copy_pixels(folder: Path, source: str, target: str, change: Any = lambda bands: bands) -> None:
    """Give a chip the image of another one."""
    with rasterio.open(folder / "images" / f"{source}.tif") as dataset:
        bands = dataset.read()
    rewrite(folder / "images" / f"{target}.tif", lambda _: change(bands))


def test_duplicates_across_splits(chips: Path) -> None:
    store = ChipStore.open(chips)
    one, other = store.chips("train")[3].name, store.chips("val")[0].name
    copy_pixels(chips, one, other)
    (found,) = of(doctor([chips]), "duplicate", "error")
    assert "of different splits with the same pixels" in found.what
    assert set(found.where[0].split(" = ")) == {f"{one} (train)", f"{other} (val)"}


def test_duplicates_within_a_split(chips: Path) -> None:
    one, other = (chip.name for chip in ChipStore.open(chips).chips("train")[2:4])
    copy_pixels(chips, one, other)
    (found,) = of(doctor([chips]), "duplicate")
    assert (found.severity, "but different labels" in found.what) == ("error", True)
    with rasterio.open(chips / "labels" / f"{one}.tif") as dataset:
        labels = dataset.read()
    rewrite(chips / "labels" / f"{other}.tif", lambda _: labels)
    (found,) = of(doctor([chips]), "duplicate")
    assert found.severity == "warning"
    assert set(found.where[0].split(" = ")) == {one, other}


def test_near_duplicates(chips: Path) -> None:
    store, rng = ChipStore.open(chips), np.random.default_rng(0)
    one, other = store.chips("train")[0].name, store.chips("test")[0].name

    def brighter(bands: Any) -> Any:
        noisy = bands * 1.1 + rng.normal(0.0, 1.0, bands.shape)
        return noisy.clip(1, 255).astype(np.uint8)

    copy_pixels(chips, one, other, brighter)
    (found,) = of(doctor([chips]), "duplicate", "error")
    assert "of different splits with nearly the same pixels" in found.what
    assert set(found.where[0].split(" = ")) == {f"{one} (train)", f"{other} (test)"}


def test_blank_chips_are_no_duplicates(chips: Path) -> None:
    names = [chip.name for chip in ChipStore.open(chips).chips()[:3]]
    for name in names:
        rewrite(chips / "images" / f"{name}.tif", lambda bands: np.full_like(bands, 9))
    done = doctor([chips])
    assert of(done, "duplicate") == []
    assert of(done, "blank", "warning")[0].where == tuple(names)


def test_empty_labels_of_chips(chips: Path) -> None:
    names = [chip.name for chip in ChipStore.open(chips).chips("train")[:6]]
    for name in names:
        rewrite(chips / "labels" / f"{name}.tif", lambda ids: np.full_like(ids, 255))
    found = only(doctor([chips]), "empty")
    assert found.severity == "error"
    assert found.where == tuple(names[:MAX_NAMED])
    assert found.count == 6


def test_chips_without_any_object(chips: Path) -> None:
    for path in (chips / "labels").iterdir():
        rewrite(path, np.zeros_like)
    found = of(doctor([chips]), "empty", "error")
    assert [f.what.partition(" in ")[0] for f in found] == ["not one object"]


def test_labels_changed_after_tiling(chips: Path) -> None:
    name = ChipStore.open(chips).chips()[0].name
    rewrite(chips / "labels" / f"{name}.tif", lambda ids: np.where(ids == 0, 1, ids).astype(np.uint8))
    assert only(doctor([chips]), "changed").where == (name,)


def test_labels_on_another_grid(chips: Path) -> None:
    name = ChipStore.open(chips).chips()[0].name
    with rasterio.open(chips / "labels" / f"{name}.tif", "r+") as dataset:
        dataset.transform = dataset.transform @ dataset.transform.translation(1, 0)
    found = only(doctor([chips]), "grid")
    assert (found.severity, found.where) == ("error", (name,))


def test_a_class_that_a_split_lacks(tmp_path: Path) -> None:
    chips = make_chips(tmp_path)
    store = ChipStore.open(chips)
    for chip in store.chips("train"):
        rewrite(
            chips / "labels" / f"{chip.name}.tif", lambda ids: np.where(ids == 2, 1, ids).astype(np.uint8)
        )
    found = of(doctor([chips]), "class")
    assert [(f.severity, f.what) for f in found] == [
        ("error", "class class 2 does not occur in train, but in val and test")
    ]


def test_missing_splits_and_damaged_chips(chips: Path) -> None:
    store = ChipStore.open(chips)
    name = store.chips()[0].name
    (chips / "images" / f"{name}.tif").write_bytes(b"II*\0")

    def no_val(content: dict[str, Any]) -> None:
        for chip in content["chips"]:
            chip["split"] = "train" if chip["split"] == "val" else chip["split"]

    edit_chips(chips, no_val)
    done = doctor([chips])
    assert of(done, "unreadable", "error")[0].where[0].startswith(f"{name}: ")
    assert of(done, "split", "warning")[0].what.startswith("no chips for validation")
