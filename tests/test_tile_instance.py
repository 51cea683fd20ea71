"""``geoseg tile --task instance``, as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scenes import north_up, pixel_box, write_labels, write_scene

from geoseg.chips.store import ChipStore
from geoseg.config import Config
from geoseg.training.folder import check_chips
from geoseg_cli.main import main

HERE = ["--size", "64", "--overlap", "0", "-o", "chips"]


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    boxes = [pixel_box(north_up(), 8, 8, 30, 30), pixel_box(north_up(), 8, 38, 30, 60)]
    write_labels(tmp_path / "l.gpkg", boxes)
    pixels = np.random.default_rng(0).integers(1, 200, (3, 128, 192)).astype(np.uint8)
    return write_scene(tmp_path / "scene.tif", pixels)


def test_objects_are_told_and_coco_goes_out_and_comes_back(
    scene: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = ["tile", str(scene), "-l", "l.gpkg", "--task", "instance", "--class-name", "hut", *HERE]
    assert main([*made, "--format", "coco", "--val-share", "0", "--test-share", "0"]) == 0
    told = capsys.readouterr().err
    rows = [line.split() for line in told.splitlines()]
    assert ["class", "train", "px", "train", "objects", "never", "whole"] in rows
    assert ["hut", "2,700", "2", "1"] in rows
    assert "wrote 3 COCO annotations to chips/annotations" in told
    folder = ["--images", "chips/images", "--json", "--size", "64", "--overlap", "0", "-o", "back"]
    assert main(["tile", "--from-coco", "chips/annotations/instances_train.json", *folder]) == 0
    report = json.loads(capsys.readouterr().out)
    assert sum(counts["hut"] for counts in report["objects"].values()) == 3
    one, two = ChipStore.open(Path("chips")), ChipStore.open(Path("back"))
    of = {chip.scene: chip for chip in two.chips()}
    for chip in one.chips():
        assert np.array_equal(one.read_objects(chip).numbers, two.read_objects(of[chip.name]).numbers)
    # Semantic training takes such chips as any others.
    assert check_chips(one, Config()) is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "missing SCENE; name scenes and their labels, or --from-coco and --images"),
        (["scene.tif"], "missing --labels; name scenes"),
        (["scene.tif", "-l", "l.gpkg", "--images", "."], "--images are those of --from-coco"),
        (["--from-coco", "a.json"], "--from-coco needs the folder of its images; name it with --images"),
        (["--from-coco", "a.json", "--images", "."], "a.json does not exist; "),
        (["--from-coco", "l.gpkg", "--images", "nowhere"], "folder of images nowhere does not exist; "),
        (["--from-coco", "l.gpkg", "--images", "scene.tif"], "folder of images scene.tif is a file"),
        (["--from-coco", "l.gpkg", "--images", "."], "annotations l.gpkg are no COCO instances: "),
        (["scene.tif", "--from-coco", "l.gpkg", "--images", "."], "leave out SCENE and --labels"),
        (["--from-coco", "l.gpkg", "--images", ".", "--task", "semantic"], "leave out --task"),
        (["--from-coco", "l.gpkg", "--images", ".", "--split-column", "a"], "by a split file"),
        (["--from-coco", "l.gpkg", "--images", ".", "--class-column", "a"], "have no columns; leave them"),
        (["scene.tif", "-l", "l.gpkg", "--format", "coco"], "choose the task instance for them"),
        (["scene.tif", "-l", "scene.tif", "--task", "instance"], "give polygons, such as geoseg vectorize"),
    ],
)
def test_wrong_use_is_one_line(
    scene: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["tile", *words, *HERE]) == 2
    told = capsys.readouterr().err
    assert said in told.splitlines()[-1]
    assert told.splitlines()[-1].startswith("geoseg: error: ")
    assert not Path("chips").exists()
