"""``tile --boundary``: a class between polygons, checked at the pixels of the chips."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from scenes import UTM, north_up, pixel_box, rotated, south_up, write_class_raster, write_labels, write_scene

from geoseg.chips.boundary import BoundaryLabels
from geoseg.chips.store import ChipStore
from geoseg.config import Config, TileConfig
from geoseg.errors import ConfigError
from geoseg.presets import load_config
from geoseg.raster.geobox import GeoBox
from geoseg.raster.labels import open_labels
from geoseg.raster.mask import open_mask
from geoseg.raster.scene import Scene
from geoseg.raster.vector_labels import VectorLabels
from geoseg.tile import tile
from geoseg.training.folder import check_chips
from geoseg_cli.main import main


def config(**values: Any) -> TileConfig:
    return TileConfig(**({"size_px": 64, "overlap_px": 24, "class_name": "field", "boundary_px": 3} | values))


def a_scene(folder: Path, height: int, width: int, transform: Affine | None = None) -> Path:
    pixels = np.random.default_rng(0).integers(1, 200, (1, height, width)).astype(np.uint8)
    return write_scene(folder / "scene.tif", pixels, transform=transform or north_up())


def whole(store: ChipStore, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Labels of all chips together; where chips overlap, they agree."""
    ids = np.full(shape, 254, np.uint8)
    for chip in store.chips():
        col, row, width, height = chip.window
        _, _, labels = store.read(chip)
        there = ids[row : row + height, col : col + width]
        labels = labels[: there.shape[0], : there.shape[1]]
        assert np.isin(there[there != labels], [254]).all(), chip.name
        there[:] = labels
    return ids


def cells(transform: Affine, size: int, count: int, seed: int = 0) -> list[shapely.Geometry]:
    """Voronoi cells over a scene and beyond its edges, every third one shrunk away from its neighbours."""
    points = shapely.multipoints(np.random.default_rng(seed).uniform(-0.2, 1.2, (count, 2)) * size)
    parts = shapely.get_parts(shapely.voronoi_polygons(points))
    parts[::3] = shapely.buffer(parts[::3], -1.3)
    to_map = np.array([[transform.a, transform.b], [transform.d, transform.e]])
    return list(shapely.transform(parts, lambda xy: xy @ to_map.T + (transform.c, transform.f)))


def test_two_fields_get_a_line_between_them(tmp_path: Path) -> None:
    transform = north_up()
    shapes = [pixel_box(transform, 10, 10, 40, 30), pixel_box(transform, 10, 40, 40, 50)]
    labels = write_labels(tmp_path / "l.gpkg", shapes)
    report = tile([a_scene(tmp_path, 64, 128)], [labels], tmp_path / "chips", config())
    store = ChipStore.open(tmp_path / "chips")
    assert store.classes.names == ("background", "field", "boundary")
    assert (store.classes.background, store.classes.boundary) == (0, 2)
    expected = np.zeros((64, 128), np.uint8)
    expected[10:50, 10:90] = 1
    expected[10:50, 39:42] = 2  # two pixels of the larger one, which lies to the right
    assert np.array_equal(whole(store, (64, 128)), expected)
    assert sum(counts["boundary"] for counts in report.class_pixels.values()) == 40 * 3


def test_the_class_is_in_every_file(tmp_path: Path) -> None:
    transform = north_up()
    labels = write_labels(tmp_path / "l.gpkg", cells(transform, 64, 9))
    tile([a_scene(tmp_path, 64, 64)], [labels], tmp_path / "chips", config(boundary_px=2.5))
    header = json.loads((tmp_path / "chips" / "chips.json").read_text())
    assert header["boundary_px"] == 2.5
    assert header["classes"]["boundary"] == 2
    assert len(header["chips"][0]["class_pixels"]) == 3
    (path,) = (tmp_path / "chips" / "labels").iterdir()
    with open_mask(path) as truth:
        assert truth.classes is not None
        assert truth.classes.boundary == 2
    with rasterio.open(path) as truth:
        assert truth.colormap(1)[2] == (0, 0, 0, 255)
        counts = np.bincount(truth.read(1).ravel(), minlength=3)[:3]
    assert counts.tolist() == header["chips"][0]["class_pixels"]
    assert counts[2] > 0


@pytest.mark.parametrize("transform", [north_up(), south_up(), rotated(), north_up(0.3, pixel_y=0.7)])
@pytest.mark.parametrize("boundary_px", [1, 3, 6])
def test_chips_agree_and_are_what_the_whole_scene_would_be(
    tmp_path: Path, transform: Affine, boundary_px: int
) -> None:
    labels = write_labels(tmp_path / "l.gpkg", cells(transform, 150, 60))
    scene = a_scene(tmp_path, 150, 130, transform)
    options = config(boundary_px=boundary_px, val_share=0, test_share=0)
    tile([scene], [labels], tmp_path / "chips", options)
    store = ChipStore.open(tmp_path / "chips")
    assert len(store.chips()) >= 9
    found = whole(store, (150, 130))
    with Scene.open(scene) as opened, open_labels(labels, classes=store.classes) as truth:
        assert isinstance(truth, VectorLabels)
        plain = truth.burn(opened.geobox)
        at_once = BoundaryLabels(truth, store.classes, boundary_px).burn(opened.geobox)
    assert np.array_equal(found, at_once)
    assert np.array_equal(found[found != 2], plain[found != 2])
    assert 0.01 < (found == 2).mean() < 0.6


def test_polygons_beyond_the_edge_of_a_scene_count(tmp_path: Path) -> None:
    transform = north_up()
    shapes = [pixel_box(transform, 0, 0, 64, 64), pixel_box(transform, 0, 65, 64, 200)]
    labels = write_labels(tmp_path / "l.gpkg", shapes)
    tile([a_scene(tmp_path, 64, 64)], [labels], tmp_path / "chips", config(boundary_px=4))
    ids = whole(ChipStore.open(tmp_path / "chips"), (64, 64))
    # Of a line of four pixels one lies in the gap and two in the larger field, both beyond the edge.
    assert (ids[:, :63] == 1).all()
    assert (ids[:, 63] == 2).all()


def test_unknown_polygons_stay_unknown_and_background_ones_are_no_parcels(tmp_path: Path) -> None:
    transform = north_up()
    boxes = [(0, 20), (20, 20), (40, 1), (41, 20), (61, 2), (63, 25), (88, 20), (108, 20)]
    kinds = ["a", "b", "background", "b", None, "a", None, "background"]
    shapes = [pixel_box(transform, -20, col, 104, width) for col, width in boxes]
    labels = write_labels(tmp_path / "l.gpkg", shapes, columns={"kind": kinds})
    options = config(class_column="kind", boundary_px=4)
    tile([a_scene(tmp_path, 64, 128)], [labels], tmp_path / "chips", options)
    ids = whole(ChipStore.open(tmp_path / "chips"), (64, 128))
    assert (ids == ids[0]).all()
    row = "".join({0: ".", 1: "a", 2: "b", 3: "#", 255: "?"}[value] for value in ids[0].tolist())
    line = "####"
    assert row == "a" * 18 + line + "b" * 17 + line + "b" * 18 + "??" + "a" * 25 + "?" * 20 + "." * 20


def test_unlabelled_land_can_be_unknown(tmp_path: Path) -> None:
    transform = north_up()
    shapes = [pixel_box(transform, 0, 0, 64, 30), pixel_box(transform, 0, 32, 40, 20)]
    labels = write_labels(tmp_path / "l.gpkg", shapes)
    tile([a_scene(tmp_path, 64, 64)], [labels], tmp_path / "chips", config(unlabelled="ignore"))
    store = ChipStore.open(tmp_path / "chips")
    assert store.classes.names == ("field", "boundary")
    ids = whole(store, (64, 64))
    assert (ids[:38, 30:32] == 1).all()
    assert (ids[45:, 30:] == 255).all()
    assert (ids[:, 52:] == 255).all()


def test_without_it_chips_are_as_they_were(tmp_path: Path) -> None:
    labels = write_labels(tmp_path / "l.gpkg", cells(north_up(), 64, 9))
    tile([a_scene(tmp_path, 64, 64)], [labels], tmp_path / "chips", config(boundary_px=None))
    store = ChipStore.open(tmp_path / "chips")
    assert store.classes.names == ("background", "field")
    assert store.classes.boundary is None


@pytest.mark.parametrize(("kinds", "said"), [(["field", "Boundary"], "called boundary already")])
def test_the_name_may_not_be_taken(tmp_path: Path, kinds: list[str], said: str) -> None:
    shapes = [pixel_box(north_up(), 0, 0, 9, 9), pixel_box(north_up(), 9, 9, 9, 9)]
    labels = write_labels(tmp_path / "l.gpkg", shapes, columns={"kind": kinds})
    with pytest.raises(ConfigError, match=said):
        tile([a_scene(tmp_path, 64, 64)], [labels], tmp_path / "chips", config(class_column="kind"))
    assert not (tmp_path / "chips").exists()


def test_labels_of_one_class_are_found_again_in_classes_with_a_boundary(tmp_path: Path) -> None:
    labels = write_labels(tmp_path / "l.gpkg", [pixel_box(north_up(), 0, 0, 9, 9)])
    with open_labels(labels, class_name="field") as truth:
        classes = truth.classes.with_boundary()
    geobox = GeoBox(crs=CRS.from_user_input(UTM), transform=north_up(), shape=(9, 9))
    with open_labels(labels, class_name=None, classes=classes) as truth:
        assert (truth.burn(geobox) == 1).all()


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scene = a_scene(tmp_path, 64, 64)
    labels = write_labels(tmp_path / "l.gpkg", cells(north_up(), 64, 9), crs=UTM)
    call = [
        "tile",
        str(scene),
        "--labels",
        str(labels),
        "--class-name",
        "field",
        "--size",
        "64",
        "--overlap",
        "0",
    ]
    assert main([*call, "-o", str(tmp_path / "a"), "--boundary", "3", "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert list(done["class_pixels"]["train"]) == ["background", "field", "boundary"]
    assert main([*call, "-o", str(tmp_path / "b"), "--boundary", "0"]) == 2
    assert "--boundary 0.0: " in capsys.readouterr().err
    call[call.index("field")] = "boundary"
    assert main([*call, "-o", str(tmp_path / "b"), "--boundary", "3"]) == 2
    assert "rename it, or leave out --boundary" in capsys.readouterr().err
    raster = write_class_raster(tmp_path / "t.tif", np.zeros((64, 64), np.uint8))
    assert main(["tile", str(scene), "-l", str(raster), "-o", str(tmp_path / "b"), "--boundary", "3"]) == 2
    assert (
        "t.tif is a raster, in which touching objects of a class are one; give polygons"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "b").exists()


def test_a_thin_class_counts_for_more_unless_told_otherwise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = a_scene(tmp_path, 96, 96)
    fields = [pixel_box(north_up(), 5, 5, 46, 90), pixel_box(north_up(), 46, 5, 90, 90)]
    labels = write_labels(tmp_path / "fields.gpkg", fields)
    tile([scene], [labels], tmp_path / "chips", config())
    tile([scene], [labels], tmp_path / "plain", config().model_copy(update={"boundary_px": None}))
    lined, plain = ChipStore.open(tmp_path / "chips"), ChipStore.open(tmp_path / "plain")
    weights = check_chips(lined, Config())
    assert weights is not None
    assert weights == check_chips(lined, load_config(None, ["loss.class_weights=inverse_sqrt"]))
    assert weights[2] > 2 * weights[1]
    assert check_chips(lined, load_config(None, ["loss.class_weights=none"])) is None
    assert check_chips(plain, Config()) is None
    short = ["--epochs", "1", "--set", "train.batch_size=2"]
    assert main(["train", "--tiles", str(tmp_path / "chips"), "--run", str(tmp_path / "run"), *short]) == 0
    assert main(["info", str(tmp_path / "run" / "model.safetensors")]) == 0
    assert "between polygons" in capsys.readouterr().out
