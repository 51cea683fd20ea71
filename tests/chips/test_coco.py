"""COCO in and out, with pycocotools as the oracle."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from pycocotools import mask as oracle
from pycocotools.coco import COCO
from scenes import write_scene

from geoseg.chips import coco as coco_module
from geoseg.chips import rle
from geoseg.chips.outline import polygons
from geoseg.chips.store import ChipStore
from geoseg.config import TileConfig
from geoseg.errors import GeosegError, LabelsError, SceneError
from geoseg.progress import SilentProgress
from geoseg.tile import tile_coco

# What pycocotools does to its own objects.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")

CATEGORIES = [{"id": 7, "name": "tree"}, {"id": 3, "name": "hut"}]


class Heard(SilentProgress):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def config(**values: Any) -> TileConfig:
    return TileConfig(
        **({"task": "instance", "size_px": 64, "overlap_px": 0, "val_share": 0, "test_share": 0} | values)
    )


def write_image(path: Path, height: int, width: int, *, bands: int = 3) -> Path:
    pixels = np.random.default_rng(0).integers(1, 200, (bands, height, width)).astype(np.uint8)
    driver = {".png": "PNG", ".jpg": "JPEG", ".tif": "GTiff"}[path.suffix]
    return write_scene(path, pixels, crs=None, driver=driver)


def write_coco(
    folder: Path, images: Mapping[str, tuple[int, int]], annotations: Sequence[Mapping[str, Any]]
) -> Path:
    """A COCO file of ``images`` (height, width), numbered from 1; annotations are of image 1 if not said."""
    content = {
        "images": [
            {"id": number, "file_name": name, "width": shape[1], "height": shape[0]}
            for number, (name, shape) in enumerate(images.items(), 1)
        ],
        "categories": CATEGORIES,
        "annotations": [{"id": i, "image_id": 1, "iscrowd": 0} | dict(a) for i, a in enumerate(annotations)],
    }
    path = folder / "annotations.json"
    path.write_text(json.dumps(content))
    return path


def loaded(path: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def compressed(mask: NDArray[np.bool_]) -> dict[str, Any]:
    runs = oracle.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": runs["size"], "counts": runs["counts"].decode()}


numbers_of = arrays.arrays(
    np.uint16,
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
    elements=st.integers(0, 4),
    fill=st.integers(0, 2),
)


@settings(deadline=None, max_examples=100)
@given(numbers_of)
def test_outlines_and_runs_are_those_of_pycocotools(numbers: NDArray[np.uint16]) -> None:
    outlines = polygons(numbers)
    height, width = numbers.shape
    for number in set(numbers.ravel().tolist()) - {0}:
        mask = numbers == number
        if number in outlines:
            parts = oracle.frPyObjects(outlines[number], height, width)
            assert np.array_equal(oracle.decode(oracle.merge(parts)), mask)
        else:
            # Only what has a hole has no polygons: some land that is none of it cannot be left.
            grown = np.pad(~mask, 1, constant_values=True)
            outside = np.zeros_like(grown)
            outside[0, 0] = True
            for _ in range(grown.size):
                spread = outside.copy()
                for axis in (0, 1):
                    for step in (1, -1):
                        spread |= np.roll(outside, step, axis)
                for step in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
                    spread |= np.roll(outside, step, (0, 1))
                spread &= grown
                if np.array_equal(spread, outside):
                    break
                outside = spread
            assert (grown & ~outside).any()
        runs = rle.encode(mask)
        assert rle.compress(runs) == compressed(mask)["counts"]
        assert rle.decompress(rle.compress(runs)) == runs
        assert np.array_equal(rle.decode(runs, mask.shape), mask)
        assert np.array_equal(oracle.decode(oracle.frPyObjects(
            {"size": [height, width], "counts": runs}, height, width)), mask)  # fmt: skip


@settings(deadline=None, max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_chips_to_coco_to_chips_is_the_identity(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("round")
    names, annotations = [], []
    for image in range(1, data.draw(st.integers(1, 3)) + 1):
        numbers = np.kron(data.draw(numbers_of), np.ones((3, 3), np.uint16))
        names.append((f"i{image}.png", numbers.shape))
        write_image(folder / names[-1][0], *numbers.shape)
        for number in sorted(set(numbers.ravel().tolist()) - {0}):
            mark = {"image_id": image, "category_id": data.draw(st.sampled_from([3, 7]))}
            mark["iscrowd"] = int(number == 3)
            annotations.append(mark | {"segmentation": compressed(numbers == number)})
    path = write_coco(folder, dict(names), annotations)
    options = config(format="coco", val_share=0.3, split="scene")
    first = tile_coco(path, folder, folder / "first", options)
    one = ChipStore.open(folder / "first")
    there: dict[str, tuple[NDArray[np.uint8], NDArray[np.uint16]]] = {}
    for split in ("train", "val"):
        if not one.chips(split):
            continue
        written = folder / "first" / "annotations" / f"instances_{split}.json"
        content = loaded(written)
        assert [entry["name"] for entry in content.dataset["categories"]] == ["hut", "tree"]
        back = folder / f"back_{split}"
        tile_coco(written, folder / "first" / "images", back, config())
        two = ChipStore.open(back)
        id_of = {entry["file_name"]: entry["id"] for entry in content.dataset["images"]}
        for chip, again in zip(one.chips(split), two.chips(), strict=True):
            (_, valid, labels), objects = one.read(chip), one.read_objects(chip)
            there[chip.name] = labels, objects.numbers
            found = content.loadAnns(content.getAnnIds(id_of[f"{chip.name}.tif"]))
            single = [entry for entry in found if not entry["iscrowd"]]
            assert len(single) == objects.count
            for number, (entry, fact) in enumerate(zip(single, objects.facts, strict=False), 1):
                mask = content.annToMask(entry).astype(bool)
                assert np.array_equal(mask, objects.numbers == number)
                assert entry["category_id"] == fact.class_id
                assert entry["area"] == mask.sum()
                rows, cols = np.nonzero(mask)
                assert entry["bbox"] == [cols.min(), rows.min(), np.ptp(cols) + 1, np.ptp(rows) + 1]
            for entry in found[len(single) :]:
                assert np.array_equal(content.annToMask(entry).astype(bool), valid & (labels == 255))
            assert np.array_equal(two.read(again)[2], labels)
            assert np.array_equal(two.read_objects(again).numbers, objects.numbers)
            assert [(f.class_id, f.inside_share) for f in two.read_objects(again).facts if not f.crowd] == [
                (f.class_id, f.inside_share) for f in objects.facts if not f.crowd
            ]
    # And the chips hold what the file said.
    for image, (name, shape) in enumerate(names, 1):
        labels, found_numbers = there[f"{Path(name).stem}_r00000_c00000"]
        mine = [entry for entry in annotations if entry["image_id"] == image]
        single = [entry for entry in mine if not entry["iscrowd"]]
        inside = (slice(0, shape[0]), slice(0, shape[1]))
        expected, kinds = np.zeros(shape, int), np.zeros(shape, int)
        for entry in mine:
            mask = oracle.decode(entry["segmentation"]).astype(bool)
            kinds[mask] = 255 if entry["iscrowd"] else {3: 1, 7: 2}[entry["category_id"]]
            if not entry["iscrowd"]:
                expected[mask] = single.index(entry) + 1
        assert np.array_equal(found_numbers[inside], expected)
        assert np.array_equal(labels[inside], kinds)
        assert (labels == 255).sum() == 64 * 64 - kinds.size + (kinds == 255).sum()
    assert first.annotations == sum(
        len(json.loads(made.read_text())["annotations"])
        for made in (folder / "first" / "annotations").iterdir()
    )


def test_a_foreign_data_set_with_all_that_comes_with_it(tmp_path: Path) -> None:
    (tmp_path / "images" / "sub").mkdir(parents=True)
    write_image(tmp_path / "images" / "sub" / "big.png", 100, 150)
    write_image(tmp_path / "images" / "small.jpg", 40, 50)
    write_image(tmp_path / "images" / "grey.jpg", 40, 50, bands=1)
    crowd = np.zeros((100, 150), bool)
    crowd[60:90, 100:140] = True
    flat = {"size": [100, 150], "counts": rle.encode(crowd)}
    path = write_coco(
        tmp_path,
        {"sub/big.png": (100, 150), "small.jpg": (40, 50), "grey.jpg": (40, 50)},
        [
            {"category_id": 3, "segmentation": [[20.0, 20, 30, 20, 30, 30, 20, 30]]},  # on top of the next
            {"category_id": 7, "segmentation": [[10, 10, 90, 10, 90, 50, 10, 50], [80, 40, 99, 40, 99, 60]]},
            {"category_id": 3, "segmentation": flat, "iscrowd": 1},
            {"category_id": 3, "segmentation": []},
            {"category_id": 3, "segmentation": [[1, 1, 5, 5]], "bbox": [1, 1, 4, 4]},
            {"category_id": 3, "segmentation": [[-20, -20, 5, -20, 5, 5, -20, 5]], "image_id": 2},
        ],
    )
    heard = Heard()
    report = tile_coco(path, tmp_path / "images", tmp_path / "chips", config(), progress=heard)
    assert any("without an outline, left out: 2" in text for text in heard.warnings)
    assert any("3 bands of uint8, left out: 1, such as grey.jpg" in text for text in heard.warnings)
    assert report.objects is not None
    assert report.objects["train"] == {"hut": 2, "tree": 1}
    assert report.clipped_objects == {
        "train": {"hut": 0, "tree": 1}, "val": {"hut": 0, "tree": 0}, "test": {"hut": 0, "tree": 0}
    }  # fmt: skip
    store = ChipStore.open(tmp_path / "chips")
    assert store.scenes == ("sub_big", "small")
    labels, numbers = np.zeros((100, 150), int), np.zeros((100, 150), int)
    for chip in store.chips():
        objects, (_, _, ids) = store.read_objects(chip), store.read(chip)
        if chip.scene == "small":
            assert np.array_equal(np.argwhere(objects.numbers), np.argwhere(np.ones((5, 5))))
            assert (ids[40:] == 255).all()
            assert (ids[:, 50:] == 255).all()
            continue
        col, row, *_ = chip.window
        scene_numbers = np.array([0, *(fact.scene_object for fact in objects.facts)])
        part = (slice(row, row + 64), slice(col, col + 64))
        labels[part] = ids[: 100 - row, : 150 - col]
        numbers[part] = scene_numbers[objects.numbers][: 100 - row, : 150 - col]
        pixels = np.bincount(objects.numbers.ravel(), minlength=4)
        for number, fact in enumerate(objects.facts[: objects.count], 1):
            total = {1: 100, 2: int((np.isin(numbers, 2)).sum())}[fact.scene_object]
            if fact.scene_object == 1:
                assert fact.inside_share == pixels[number] / total
    assert (numbers[20:30, 20:30] == 1).all()
    expected = np.zeros((100, 150), bool)
    expected[10:50, 10:90] = True
    # The second part is a triangle; a pixel belongs to it by its centre.
    rows, cols = np.meshgrid(np.arange(100) + 0.5, np.arange(150) + 0.5, indexing="ij")
    expected |= (cols < 99) & (rows > 40) & ((rows - 40) / 20 <= (cols - 80) / 19)
    expected[20:30, 20:30] = False
    assert np.array_equal(numbers == 2, expected)
    assert np.array_equal(labels == 255, crowd & ~expected)
    assert np.array_equal(labels == 1, numbers == 1)


def change(*keys: str | int, to: object) -> Callable[[dict[str, Any]], object]:
    def edit(content: dict[str, Any]) -> None:
        inner: Any = content
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = to

    return edit


SEGMENT = ("annotations", 0, "segmentation")


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (change("images", 0, "file_name", to="../a.png"), r"'\.\./a\.png', which is not in images"),
        (change("images", 0, "file_name", to="/etc/hosts"), "which is not in images"),
        (change("images", 0, "file_name", to="link/a.png"), "which is not in images"),
        (change("images", 0, "file_name", to="sub\\a.png"), "which is not in images"),
        (change("images", 0, "file_name", to="a\0.png"), "annotations.json name the image"),
        (change("images", 0, "file_name", to="."), "which is not in images"),
        (
            lambda content: content["images"].append(content["images"][0] | {"id": 2}),
            "2 images have the file",
        ),
        (
            lambda content: content["images"].append(
                content["images"][0] | {"id": 2, "file_name": "./sub/../a.png"}
            ),
            "name the image a.png 2 times; name it once",
        ),
        (change("images", 0, "file_name", to="b.png"), "b.png does not exist"),
        (change("images", 0, "file_name", to="https://e.org/a.png"), "does not exist"),
        (change("images", 0, "width", to=41), r"that a\.png is 41 x 30 px, but it is 40 x 30; give"),
        (change("images", 0, "width", to=10**7), r"10000000 x 30 pixels, and 100,000,000 are possible"),
        (change("images", 0, "width", to=2**70), r"images\.0\.width"),
        (change("images", 0, "height", to=-1), r"images\.0\.height"),
        (change("images", to=[]), "images: List should have at least 1"),
        (change("images", 0, to=[]), r"images\.0"),
        (change("categories", to=[]), "categories"),
        (change("categories", 0, "id", to=3), "two categories have the same id"),
        (change("categories", 0, "name", to="hut"), "class names are not unique"),
        (change("categories", to=[{"id": i, "name": f"c{i}"} for i in range(300)]), "1 to 253 are possible"),
        (change("annotations", to=None), "annotations"),
        (change("annotations", 0, "image_id", to=9), r"annotations\.0: there is no image of its image_id"),
        (change("annotations", 0, "category_id", to=9), "there is no category of its category_id"),
        (change("annotations", 0, "iscrowd", to=7), r"annotations\.0\.iscrowd"),
        (change(*SEGMENT, to="abc"), r"annotations\.0\.segmentation"),
        (change(*SEGMENT, to=[[1, 2, 3, 4, 5]]), "odd number of coordinates"),
        (change(*SEGMENT, to=[[1e300, 0, 1, 1, 2, 2]]), r"annotations\.0\.segmentation"),
        (change(*SEGMENT, to=[[float("nan"), 0, 1, 1, 2, 2]]), r"annotations\.0\.segmentation"),
        (change(*SEGMENT, to={"size": [30, 41], "counts": [1]}), "run lengths of"),
        (change(*SEGMENT, to={"size": [30, 40], "counts": [1]}), "runs of 1 pixels in all, not 40 x 30"),
        (change(*SEGMENT, to={"size": [30, 40], "counts": [2**31]}), "segmentation"),
        (change(*SEGMENT, to={"size": [30, 40], "counts": [1201, -1]}), "segmentation"),
        (change(*SEGMENT, to={"size": [30, 40], "counts": "~" * 99}), "no compressed text"),
        (change(*SEGMENT, to={"size": [30, 40], "counts": "oooooooooooooooo"}), "no compressed text"),
        (change(*SEGMENT, to={"size": [30, 40], "counts": "o"}), "ends within a run"),
        (change(*SEGMENT, to={"size": [30, 40], "counts": "O"}), "no compressed text"),
    ],
)
def test_hostile_files_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edit: Callable[[dict[str, Any]], object], said: str
) -> None:
    monkeypatch.setattr(rle, "decode", None)  # nothing is made of what was not checked
    Path("images").mkdir()
    write_image(Path("images", "a.png"), 30, 40)
    Path("elsewhere").mkdir()
    write_image(Path("elsewhere", "a.png"), 30, 40)
    write_image(Path("a.png"), 30, 40)
    Path("images", "link").symlink_to(tmp_path / "elsewhere")
    box = {"category_id": 3, "segmentation": [[1, 1, 9, 1, 9, 9]]}
    path = write_coco(Path(), {"a.png": (30, 40)}, [box])
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
    with pytest.raises(GeosegError, match=said) as caught:
        tile_coco(path, Path("images"), Path("chips"), config())
    assert isinstance(caught.value, LabelsError | SceneError)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    assert not Path("chips").exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"images": NaN}'])
def test_what_is_no_coco(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(LabelsError, match=r"a\.json are no COCO instances: .*; give a COCO file"):
        tile_coco(tmp_path / "a.json", tmp_path, tmp_path / "c", config())
    monkeypatch.setattr(coco_module, "MAX_BYTES", 2**20)
    (tmp_path / "a.json").write_bytes(b" " * (2**20 + 1))
    with pytest.raises(LabelsError, match="is larger than 1 MiB; split the data set"):
        tile_coco(tmp_path / "a.json", tmp_path, tmp_path / "c", config())
