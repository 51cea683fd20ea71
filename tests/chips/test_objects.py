"""Instance chips: objects, what is known of them, and how training sees them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from chip_folders import make_chips
from numpy.typing import NDArray
from pydantic import ValidationError
from scenes import north_up, pixel_box, rotated, south_up, write_class_raster, write_labels, write_scene

from geoseg.chips import objects as objects_module
from geoseg.chips.batches import ChipBatch
from geoseg.chips.dataset import ChipDataset
from geoseg.chips.objects import (
    MAX_OBJECTS,
    OBJECTS_TAG,
    ObjectFacts,
    facts_from_json,
    facts_to_json,
    number_objects,
)
from geoseg.chips.store import Chip, ChipStore
from geoseg.classes import ClassMap
from geoseg.config import AugmentConfig, TileConfig
from geoseg.errors import ChipsError, LabelsError
from geoseg.tile import TileReport, tile

KINDS = ("hut", "tower", "shed")


def config(**values: Any) -> TileConfig:
    return TileConfig(**({"task": "instance", "size_px": 64, "overlap_px": 16} | values))


def polygons_of_pixels(shape: tuple[int, int], count: int, seed: int) -> list[shapely.Geometry]:
    """Turned boxes and rings in pixel coordinates, over each other and over the edges of the scene."""
    rng = np.random.default_rng(seed)
    made: list[shapely.Geometry] = []
    for at in range(count):
        x, y = rng.uniform(-10, shape[1] + 10), rng.uniform(-10, shape[0] + 10)
        width, height = rng.uniform(2, 50, 2)
        box = shapely.affinity.rotate(shapely.box(x, y, x + width, y + height), rng.uniform(0, 90))
        made.append(box.difference(box.buffer(-0.2 * min(width, height))) if at % 7 == 6 else box)
    # One object of two parts.
    made.append(shapely.MultiPolygon([shapely.box(3.2, 3.2, 9.4, 9.4), shapely.box(40.1, 3.2, 49.7, 8.6)]))
    return made


def on_map(geometry: shapely.Geometry, transform: Affine) -> shapely.Geometry:
    t = transform
    return shapely.affinity.affine_transform(geometry, [t.a, t.b, t.d, t.e, t.c, t.f])


def brute_force(shape: tuple[int, int], polygons: list[shapely.Geometry]) -> NDArray[np.int64]:
    """(H, W) index + 1 of the polygon on top at each pixel centre, found without any rasteriser."""
    cols, rows = np.meshgrid(np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5)
    top = np.zeros(shape, int)
    for index in sorted(range(len(polygons)), key=lambda i: -polygons[i].area):
        top[shapely.contains_xy(polygons[index], cols, rows)] = index + 1
    return top


def made(
    folder: Path, transform: Affine, **values: Any
) -> tuple[ChipStore, TileReport, list[shapely.Geometry], list[str | None], list[int]]:
    """Chips of a scene of 150 x 130 px with 30 polygons; some are crowds, some of unknown class."""
    shape = (130, 150)
    polygons = polygons_of_pixels(shape, 30, seed=5)
    kinds: list[str | None] = [KINDS[i % 3] if i % 9 else None for i in range(len(polygons))]
    crowd = [int(i % 8 == 3) for i in range(len(polygons))]
    mask = np.ones(shape, bool)
    mask[100:120, 20:90] = False
    pixels = np.random.default_rng(0).integers(1, 200, (3, *shape)).astype(np.uint8)
    scene = write_scene(folder / "scene.tif", pixels, transform=transform, mask=mask)
    labels = write_labels(
        folder / "labels.gpkg",
        [on_map(polygon, transform) for polygon in polygons],
        columns={"kind": kinds, "iscrowd": crowd},
    )
    report = tile([scene], [labels], folder / "chips", config(class_column="kind", **values))
    return ChipStore.open(folder / "chips"), report, polygons, kinds, crowd


def in_chip(chip: Chip, shape: tuple[int, int]) -> tuple[int, int, int, int]:
    col, row, width, height = chip.window
    return col, row, min(width, shape[1] - col), min(height, shape[0] - row)


@pytest.mark.parametrize(
    ("transform", "unlabelled"),
    [(north_up(), "background"), (south_up(0.25), "ignore"), (rotated(25.0), "background")],
)
def test_objects_are_those_of_each_polygon_burned_by_itself(
    tmp_path: Path, transform: Affine, unlabelled: str
) -> None:
    store, report, polygons, kinds, crowd = made(tmp_path, transform, unlabelled=unlabelled)
    assert (store.task, store.classes.names) == ("instance", ("background", "hut", "shed", "tower"))
    assert store.classes.background == 0
    shape, top = (130, 150), brute_force((130, 150), polygons)
    top[100:120, 20:90] = 0
    single = np.array([False, *(kind is not None and not c for kind, c in zip(kinds, crowd, strict=True))])
    class_of = [0, *(store.classes.names.index(kind) if kind else 0 for kind in kinds)]
    index_of: dict[int, int] = {}
    whole_scene = np.zeros(shape, int)
    seen: dict[str, dict[int, bool]] = {split: {} for split in ("train", "val", "test")}
    for chip in store.chips():
        _, valid, labels = store.read(chip)
        objects = store.read_objects(chip)
        numbers = objects.numbers.astype(int)
        # Every object has pixels, in the order of the scene's numbers; labels and objects agree.
        assert sorted(set(numbers.ravel().tolist()) - {0}) == list(range(1, objects.count + 1))
        assert [fact.scene_object for fact in objects.facts[: objects.count]] == sorted(
            fact.scene_object for fact in objects.facts[: objects.count]
        )
        class_ids = np.array([0, *(fact.class_id for fact in objects.facts)])
        assert np.array_equal(labels[numbers > 0], class_ids[numbers][numbers > 0])
        assert not (numbers > 0)[~valid].any()
        rest = labels[(numbers == 0) & valid]
        assert np.isin(rest, [0, 255] if unlabelled == "background" else [255]).all()
        col, row, width, height = in_chip(chip, shape)
        truth = np.where(single[top], top, 0)[row : row + height, col : col + width]
        unknown = (top > 0)[row : row + height, col : col + width] & (truth == 0)
        assert (labels[:height, :width][unknown] == 255).all()
        for number, fact in enumerate(objects.facts[: objects.count], 1):
            mine = numbers[:height, :width] == number
            (index,) = set(truth[mine].tolist())
            assert np.array_equal(mine, truth == index)
            assert index_of.setdefault(fact.scene_object, index) == index
            assert fact.class_id == class_of[index]
            area = polygons[index - 1].area
            inside = polygons[index - 1].intersection(shapely.box(col, row, col + width, row + height)).area
            assert abs(fact.inside_share * area - inside) < 1.0
            assert fact.clipped == (inside < area - 1e-3)
            seen[chip.split][fact.scene_object] = seen[chip.split].get(fact.scene_object, False) or (
                not fact.clipped
            )
        own_col, own_row, own_width, own_height = chip.own
        part = numbers[own_row - row :, own_col - col :][:own_height, :own_width]
        scene_numbers = np.array([0, *(fact.scene_object for fact in objects.facts)])
        whole_scene[own_row : own_row + own_height, own_col : own_col + own_width] = scene_numbers[part]
    # The own parts of all chips together.
    indices = np.array([index_of.get(number, 0) for number in range(max(index_of) + 1)])
    assert np.array_equal(indices[whole_scene], np.where(single[top], top, 0))
    assert report.objects is not None
    assert report.clipped_objects is not None
    for split, objects_of in seen.items():
        assert sum(report.objects[split].values()) == len(objects_of)
        assert sum(report.clipped_objects[split].values()) == sum(not whole for whole in objects_of.values())


def test_an_object_along_the_edge_of_a_chip_is_whole(tmp_path: Path) -> None:
    transform = north_up(0.3, origin=(512_345.7, 5_123_456.1))
    scene = write_scene(tmp_path / "s.tif", np.ones((1, 64, 128), np.uint8), transform=transform)
    boxes = [pixel_box(transform, 0, 0, 64, 20), pixel_box(transform, 10, 60, 20, 8)]
    labels = write_labels(tmp_path / "l.gpkg", boxes)
    tile([scene], [labels], tmp_path / "c", config(overlap_px=0, val_share=0, test_share=0))
    store = ChipStore.open(tmp_path / "c")
    left, right = (store.read_objects(chip).facts for chip in store.chips())
    assert [fact.inside_share for fact in left] == [1.0, 0.5]
    assert [fact.inside_share for fact in right] == [0.5]
    with rasterio.open(store.objects_path(store.chips()[0])) as dataset:
        assert (dataset.dtypes, dataset.transform) == (("uint16",), transform)
        assert dataset.compression.value == "DEFLATE"


def test_chips_of_classes_say_nothing_of_objects(tmp_path: Path) -> None:
    store = ChipStore.open(make_chips(tmp_path))
    assert store.task == "semantic"
    assert "task" not in json.loads((store.folder / "chips.json").read_text())
    assert not (store.folder / "objects").exists()
    item = ChipDataset(store, "train").item(0)
    assert (item.objects, item.facts) == (None, ())
    assert ChipBatch.of([item]).objects is None
    with pytest.raises(ChipsError, match="holds no objects; make the chips with --task instance"):
        store.read_objects(store.chips()[0])


def test_training_sees_objects_moved_as_labels_are(tmp_path: Path) -> None:
    """Every object has a class of its own, so that labels tell which object a pixel must be of."""
    cells = [shapely.box(x, y, x + 17, y + 17) for x in range(0, 95, 19) for y in range(0, 95, 19)]
    scene = write_scene(tmp_path / "s.tif", np.random.default_rng(0).integers(1, 99, (1, 96, 96)), crs=None)
    names = [f"c{at:02}" for at in range(len(cells))]
    labels = write_labels(tmp_path / "l.gpkg", cells, crs=None, columns={"kind": names})
    options = config(class_column="kind", size_px=96, val_share=0, test_share=0)
    tile([scene], [labels], tmp_path / "c", options)
    store = ChipStore.open(tmp_path / "c")
    whole = store.read_objects(store.chips()[0])
    counts = np.bincount(whole.numbers.ravel())
    plain = AugmentConfig(flips=False, gain=0, offset=0, noise=0)
    for augment, crop_px in ((plain, None), (AugmentConfig(), 32), (AugmentConfig(scale=1.0), 64)):
        shares = set()
        for epoch in range(8):
            dataset = ChipDataset(store, "train", augment=augment, crop_px=crop_px, seed=3)
            item = dataset.item(0, epoch=epoch)
            assert item.objects is not None
            assert item.objects.dtype == np.int32
            assert len(item.facts) == len(cells)
            class_ids = np.array([0, *(fact.class_id for fact in item.facts)])
            known = item.labels != 255
            assert np.array_equal(class_ids[item.objects][known], item.labels[known])
            assert not item.objects[~known].any()
            for number, fact in enumerate(item.facts, 1):
                pixels = int((item.objects == number).sum())
                if not augment.scale:
                    assert fact.inside_share == pytest.approx(pixels / counts[number])
                # At another scale by the pixels of the chip, of which a view that shrinks them skips some.
                assert fact.inside_share > 0 or pixels == 0
                assert 0 <= fact.inside_share <= 1
                shares.add(fact.inside_share)
        assert (len(shares) == 1) == (crop_px is None)
        batch = ChipBatch.of([item, item])
        assert batch.objects is not None
        assert batch.objects.numpy().tolist() == [item.objects.tolist()] * 2
        assert batch.facts == (item.facts, item.facts)


def test_facts_survive_and_strange_ones_do_not() -> None:
    classes = ClassMap.from_names(["background", "a", "b"], background=0)
    facts = tuple(
        ObjectFacts(class_id=1 + at % 2, scene_object=at + 1, inside_share=1.0 - at / 1e5, crowd=at > 4_000)
        for at in range(5_000)
    )
    text = facts_to_json(facts)
    assert facts_from_json(text, classes) == facts
    good = {"class_id": [1], "scene_object": [1], "inside_share": [1.0], "crowd": [False]}
    for change in (
        {"class_id": [3]}, {"class_id": [0]}, {"class_id": ["1"]}, {"class_id": [1, 1]}, {"crowd": [0]},
        {"scene_object": [2**40]}, {"inside_share": [1.5]}, {"inside_share": []}, {"more": [1]},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"\w"):
            facts_from_json(json.dumps(good | change), classes)
    for broken in ("", "[]", "{", '{"inside_share": NaN}', " " * (objects_module.MAX_TAG_BYTES + 1)):
        with pytest.raises(ValueError, match=r"\w"):
            facts_from_json(broken, classes)


def test_a_chip_has_room_for_65534_objects() -> None:
    owner = np.arange(1, 65_537, dtype=np.int32).reshape(256, 256)
    class_ids, crowd = np.ones(65_537, np.uint8), np.zeros(65_537, bool)
    fits = np.where(owner > MAX_OBJECTS, 0, owner)
    made = number_objects(fits, class_ids, crowd, lambda numbers: np.ones(len(numbers)))
    assert (made.count, made.numbers.max()) == (MAX_OBJECTS, MAX_OBJECTS)
    assert np.array_equal(made.numbers, fits)
    with pytest.raises(ValueError, match="65,536 objects, and 65,534 are possible"):
        number_objects(owner, class_ids, crowd, lambda numbers: np.ones(len(numbers)))


def test_too_many_objects_and_labels_that_have_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = write_scene(tmp_path / "s.tif", np.ones((1, 64, 64), np.uint8))
    boxes = [pixel_box(north_up(), 5 * at, 5, 3, 3) for at in range(4)]
    labels = write_labels(tmp_path / "l.gpkg", boxes, columns={"kind": ["Background"] * 4})
    with pytest.raises(LabelsError, match="polygons of the background only; choose a column"):
        tile([scene], [labels], tmp_path / "c", config(class_column="kind"))
    raster = write_class_raster(tmp_path / "l.tif", np.ones((64, 64), np.uint8))
    with pytest.raises(LabelsError, match="is a raster, in which touching objects of a class are one; give"):
        tile([scene], [raster], tmp_path / "c", config())
    monkeypatch.setattr(objects_module, "MAX_OBJECTS", 3)
    with pytest.raises(LabelsError, match=r"64 x 64 px of .* hold 4 objects, and 3 .* smaller with --size"):
        tile([scene], [labels], tmp_path / "c", config())
    assert not (tmp_path / "c").exists()
    for wrong in ({"boundary_px": 3}, {"task": "semantic", "format": "coco"}):
        with pytest.raises(ValidationError, match=r"leave it out|choose the task instance"):
            config(**wrong)


def test_damaged_objects_are_one_line(tmp_path: Path) -> None:
    store, *_ = made(tmp_path, north_up())
    one, two, three, four = store.chips()[:4]
    store.objects_path(one).unlink()
    with pytest.raises(ChipsError, match="does not exist"):
        store.read_objects(one)
    write_class_raster(store.objects_path(two), np.zeros((64, 64), np.uint16))
    with pytest.raises(ChipsError, match=r"objects .* are damaged: .*; make the chips again"):
        store.read_objects(two)
    count = store.read_objects(three).count
    facts = facts_to_json(store.read_objects(three).facts)
    numbers = np.full((64, 64), count + 1, np.uint16)
    write_class_raster(store.objects_path(three), numbers, tags={OBJECTS_TAG: facts})
    with pytest.raises(ChipsError, match=f"it holds number {count + 1} of {count} objects"):
        store.read_objects(three)
    write_class_raster(store.objects_path(four), np.zeros((64, 64), np.int32), tags={OBJECTS_TAG: facts})
    with pytest.raises(ChipsError, match="is 64 x 64 int32, not 64 x 64 uint16"):
        store.read_objects(four)
    path = store.folder / "chips.json"
    content = json.loads(path.read_text())
    content["classes"]["background"] = None
    path.write_text(json.dumps(content))
    with pytest.raises(ChipsError, match="the classes of instance chips are background and things"):
        ChipStore.open(store.folder)


def test_what_counts_as_a_crowd(tmp_path: Path) -> None:
    said = {"1": 1, "yes": 1, "True": 1, " 0 ": 0, "no": 0, "false": 0, "": 0}
    scene = write_scene(tmp_path / "s.tif", np.ones((1, 64, 64), np.uint8))
    boxes = [pixel_box(north_up(), 8 * at, 5, 6, 6) for at in range(len(said) + 1)]
    for suffix, values, expected in (
        (".gpkg", [*said, None], [*said.values(), 0]),
        (".geojson", [True, False, None, True, False, False, False, True], [1, 0, 0, 1, 0, 0, 0, 1]),
        (".fgb", [1.0, 0.0, np.nan, 2.0, 0.0, 0.0, 0.0, 0.0], [1, 0, 0, 1, 0, 0, 0, 0]),
    ):
        frame = geopandas.GeoDataFrame({"iscrowd": values}, geometry=boxes, crs="EPSG:32633")
        path = tmp_path / f"l{suffix}"
        (frame if suffix != ".geojson" else frame.to_crs(4326)).to_file(path, engine="pyogrio")
        folder = tmp_path / f"c{suffix[1:]}"
        tile([scene], [path], folder, config(val_share=0, test_share=0))
        store = ChipStore.open(folder)
        (chip,) = store.chips()
        labels, objects = store.read(chip)[2], store.read_objects(chip)
        found = [int(labels[8 * at + 3, 8] == 255) for at in range(len(boxes))]
        assert found == expected, suffix
        assert objects.count == expected.count(0)
        assert [fact.crowd for fact in objects.facts] == sorted(map(bool, expected))
