from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio
import rasterio.shutil
import scenes
from affine import Affine
from rasterio.crs import CRS
from rasterio.windows import Window
from rio_cogeo import cog_validate

from geoseg import __version__
from geoseg.classes import ClassMap
from geoseg.errors import WriteError
from geoseg.raster.categories import read_categories, write_categories
from geoseg.raster.cog import MODEL_TAG, VERSION_TAG, MaskWriter, RasterWriter
from geoseg.raster.geobox import GeoBox
from geoseg.raster.layers import STEPS, Layer, mask_layer, probability_layer, uncertainty_layer
from geoseg.raster.mask import CLASSES_TAG, open_mask, read_classes_tag
from geoseg.raster.scene import Scene

needs_gdalinfo = pytest.mark.skipif(shutil.which("gdalinfo") is None, reason="GDAL's own tools are not here")
UTM = CRS.from_string(scenes.UTM)
CLASSES = ClassMap.from_names(["background", 'house <old> & "new"', "Straße"], background=0)
GCPS = {"crs": None, "transform": Affine.identity(), "gcps": tuple(scenes.some_gcps(70, 90))}
BOXES: dict[str, dict[str, Any]] = {
    "north-up": {"crs": UTM, "transform": scenes.north_up(1 / 3)},
    "south-up": {"crs": UTM, "transform": scenes.south_up()},
    "rotated": {"crs": UTM, "transform": scenes.rotated()},
    "degrees": {"crs": CRS.from_epsg(4326), "transform": Affine(1e-5, 0, 15, 0, -2e-5, 45)},
    "no place": {"crs": None, "transform": Affine.identity()},
    "transform only": {"crs": None, "transform": scenes.north_up()},
    "gcps": GCPS | {"gcps_crs": UTM},
    # GeoTIFF keys hold neither: these go through the sidecar.
    "perspective": {"crs": CRS.from_user_input("ESRI:54049"), "transform": scenes.north_up()},
    "3D": {"crs": CRS.from_wkt(pyproj.CRS(scenes.UTM).to_3d().to_wkt()), "transform": scenes.north_up()},
}


LAYERS = {
    "mask": mask_layer(CLASSES),
    "probabilities": probability_layer(CLASSES),
    "uncertainty": uncertainty_layer(),
}


def some_ids(shape: tuple[int, int]) -> np.ndarray:
    ids = np.random.default_rng(0).integers(0, 3, shape).astype(np.uint8)
    ids.flat[0] = 255
    return ids


def write(path: Path, geobox: GeoBox, ids: np.ndarray, rows: int = 37, **tags: str) -> Path:
    with MaskWriter(path, geobox, CLASSES, tags) as writer:
        for row in range(0, len(ids), rows):
            writer.write_rows(row, ids[row : row + rows])
    return path


def some_values(layer: Layer, shape: tuple[int, int]) -> np.ndarray:
    """Values (count, H, W) with nodata at the upper left."""
    top = 3 if layer.scale is None else STEPS + 1
    values = np.random.default_rng(0).integers(0, top, (layer.count, *shape)).astype(np.uint8)
    values[:, :5, :7] = 255
    return values


def box_of(height: int, width: int) -> GeoBox:
    return GeoBox(crs=UTM, transform=scenes.north_up(), shape=(height, width))


def cut(shape: tuple[int, int], rows: int, cols: int) -> list[Window]:
    height, width = shape
    return [
        Window(col, row, min(cols, width - col), min(rows, height - row))
        for row in range(0, height, rows)
        for col in range(0, width, cols)
    ]


def write_windows(
    path: Path,
    geobox: GeoBox,
    layer: Layer,
    values: np.ndarray,
    windows: Iterable[Window] | None = None,
    tags: dict[str, str] | None = None,
) -> Path:
    with RasterWriter(path, geobox, layer, tags) as writer:
        for window in cut(geobox.shape, 512, 1024) if windows is None else windows:
            rows, cols = window.toslices()
            writer.write(window, values[:, rows, cols])
    return path


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("name", BOXES)
def test_mask_is_a_valid_cog_on_exactly_the_same_grid(tmp_path: Path, name: str) -> None:
    geobox = GeoBox(shape=(70, 90), **BOXES[name])
    ids = some_ids(geobox.shape)
    path = write(tmp_path / "mask.tif", geobox, ids)

    with open_mask(path) as mask:
        assert tuple(mask.geobox.transform) == tuple(geobox.transform)
        assert mask.geobox.same_grid(geobox)
        assert mask.classes == CLASSES
        np.testing.assert_array_equal(mask.read(Window(0, 0, 90, 70)), ids)
    valid, errors, warnings = cog_validate(path, strict=True)
    assert (valid, errors, warnings) == (True, [], [])
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["mask.tif", "mask.tif.aux.xml"]


def test_large_mask_has_blocks_overviews_palette_and_tags(tmp_path: Path) -> None:
    geobox = GeoBox(crs=UTM, transform=scenes.north_up(), shape=(1100, 1300))
    ids = np.zeros(geobox.shape, np.uint8)
    ids[:, 1::2] = 1  # by mode, never by mean: no third class may appear
    ids[0, 0] = 255
    path = write(tmp_path / "mask.tif", geobox, ids, rows=384, **{MODEL_TAG: "abc"})
    assert cog_validate(path, strict=True) == (True, [], [])
    with rasterio.open(path) as dataset:
        assert dataset.block_shapes == [(512, 512)]
        assert dataset.overviews(1) == [2, 4]
        assert dataset.nodata == 255
        assert dataset.compression.value.upper() == "DEFLATE"
        assert dataset.colorinterp[0] is rasterio.enums.ColorInterp.palette
        palette = dataset.colormap(1)
        assert [palette[i][:3] for i in range(3)] == [CLASSES.rgb(i) for i in range(3)]
        assert palette[255][3] == 0
        assert dataset.tags()[VERSION_TAG] == __version__
        assert dataset.tags()[MODEL_TAG] == "abc"
        assert "DateTime" not in str(dataset.tags())
        small = dataset.read(1, out_shape=(275, 325))
    assert set(np.unique(small)) <= {0, 1, 255}


@needs_gdalinfo
@pytest.mark.parametrize("name", ["north-up", "perspective"])
def test_gdalinfo_shows_categories_and_crs(tmp_path: Path, name: str) -> None:
    geobox = GeoBox(shape=(70, 90), **BOXES[name])
    path = write(tmp_path / "mask.tif", geobox, some_ids(geobox.shape))
    shown = subprocess.run(["gdalinfo", path], capture_output=True, text=True, check=True).stdout
    for class_id, class_name in enumerate(CLASSES.names):
        assert f"{class_id}: {class_name}" in shown
    assert {"north-up": "UTM zone 33N", "perspective": "World_Vertical_Perspective"}[name] in shown


def test_two_runs_give_the_same_bytes(tmp_path: Path) -> None:
    geobox = GeoBox(crs=UTM, transform=scenes.rotated(), shape=(600, 700))
    ids = some_ids(geobox.shape)
    digests = set()
    for rows in (37, 512, 600):
        path = write(tmp_path / "mask.tif", geobox, ids, rows)
        sidecar = (tmp_path / "mask.tif.aux.xml").read_bytes()
        digests.add(hashlib.sha256(path.read_bytes() + sidecar).hexdigest())
    assert len(digests) == 1


def test_stale_sidecar_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "mask.tif"
    stale = GeoBox(shape=(70, 90), **BOXES["perspective"])
    write(path, stale, some_ids(stale.shape))
    (tmp_path / "mask.tif.ovr").write_bytes(b"old")
    geobox = GeoBox(shape=(70, 90), **BOXES["north-up"])
    write(path, geobox, some_ids(geobox.shape))
    with open_mask(path) as mask:
        assert mask.geobox == geobox
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["mask.tif", "mask.tif.aux.xml"]


def write_some_rows_and_raise(path: Path, geobox: GeoBox, failure: type[BaseException]) -> None:
    with MaskWriter(path, geobox, CLASSES) as writer:
        writer.write_rows(0, some_ids((10, 90)))
        raise failure


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_nothing_and_keeps_the_old_mask(tmp_path: Path, failure: type[BaseException]) -> None:
    geobox = GeoBox(crs=UTM, transform=scenes.north_up(), shape=(70, 90))
    path = tmp_path / "mask.tif"
    path.write_text("old")
    with pytest.raises(failure):
        write_some_rows_and_raise(path, geobox, failure)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["mask.tif"]


def test_missing_rows_are_refused(tmp_path: Path) -> None:
    geobox = GeoBox(crs=UTM, transform=scenes.north_up(), shape=(70, 90))
    with (
        pytest.raises(ValueError, match="10 of 70 rows"),
        MaskWriter(tmp_path / "m.tif", geobox, CLASSES) as writer,
    ):
        writer.write_rows(0, some_ids((10, 90)))
    assert list(tmp_path.iterdir()) == []


def test_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import resource, signal, sys; sys.path.insert(0, sys.argv[2])\n"
        "import numpy as np, scenes\n"
        "from pathlib import Path\n"
        "from geoseg.errors import WriteError\n"
        "from geoseg.classes import ClassMap\n"
        "from geoseg.raster.cog import MaskWriter\n"
        "from geoseg.raster.geobox import GeoBox\n"
        "box = GeoBox(crs=None, transform=scenes.north_up(), shape=(2000, 2000))\n"
        "ids = np.random.default_rng(0).integers(0, 200, box.shape).astype(np.uint8)\n"
        "classes = ClassMap.from_names([str(i) for i in range(200)])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))\n"
        "try:\n"
        "    with MaskWriter(Path(sys.argv[1]), box, classes) as writer: writer.write_rows(0, ids)\n"
        "except WriteError as error: print(error)\n"
    )
    tests = str(Path(scenes.__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "mask.tif"), tests],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    assert "mask.tif failed" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_vanished_is_a_write_error(tmp_path: Path) -> None:
    geobox = GeoBox(crs=UTM, transform=scenes.north_up(), shape=(70, 90))
    with pytest.raises((WriteError, FileNotFoundError)):
        write(tmp_path / "nowhere" / "mask.tif", geobox, some_ids(geobox.shape))


def test_longest_possible_name(tmp_path: Path) -> None:
    geobox = GeoBox(crs=UTM, transform=scenes.north_up(), shape=(70, 90))
    path = write(tmp_path / ("m" * 243 + ".tif"), geobox, some_ids(geobox.shape))
    assert cog_validate(path, strict=True)[0]


# Rasters of every kind, window by window


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("name", BOXES)
@pytest.mark.parametrize("kind", ["probabilities", "uncertainty"])
def test_every_layer_is_a_valid_cog_on_every_grid(tmp_path: Path, kind: str, name: str) -> None:
    geobox = GeoBox(shape=(70, 90), **BOXES[name])
    layer = LAYERS[kind]
    values = some_values(layer, geobox.shape)
    path = write_windows(tmp_path / "a.tif", geobox, layer, values)
    assert cog_validate(path, strict=True) == (True, [], [])
    with Scene.open(path) as scene:
        assert tuple(scene.geobox.transform) == tuple(geobox.transform)
        assert scene.geobox.same_grid(geobox)
        bands, valid = scene.read(Window(0, 0, 90, 70))
    np.testing.assert_array_equal(bands, values)
    np.testing.assert_array_equal(valid, (values != 255).all(0))
    sidecar = {"a.tif.aux.xml"} if name in {"perspective", "3D"} else set()
    assert {entry.name for entry in tmp_path.iterdir()} == {"a.tif"} | sidecar


@pytest.mark.parametrize("shape", [(1, 1), (511, 300), (512, 512), (513, 1025)])
@pytest.mark.parametrize("kind", LAYERS)
def test_every_size_is_a_valid_cog(tmp_path: Path, kind: str, shape: tuple[int, int]) -> None:
    layer = LAYERS[kind]
    values = some_values(layer, shape)
    path = write_windows(tmp_path / "a.tif", box_of(*shape), layer, values)
    assert cog_validate(path, strict=True) == (True, [], [])
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(dataset.read(), values)
        assert set(dataset.block_shapes) == {(512, 512)}
        assert dataset.overviews(1) == ([2] if shape == (513, 1025) else [])


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6])
def test_probabilities_tell_their_classes_and_scale(tmp_path: Path, count: int) -> None:
    names = ["background", 'house <old> & "new"', "Straße", "no\u00a0break", "x" * 200, "f"][:count]
    classes = ClassMap.from_names(names)
    layer = probability_layer(classes)
    path = write_windows(tmp_path / "p.tif", box_of(90, 80), layer, some_values(layer, (90, 80)))
    with rasterio.open(path) as dataset:
        assert dataset.descriptions == tuple(name.replace("\u00a0", "") for name in names)
        assert dataset.scales == (1 / 254,) * count
        assert dataset.offsets == (0.0,) * count
        assert dataset.nodatavals == (255.0,) * count
        assert dataset.dtypes == ("uint8",) * count
        # Neither red, green and blue, nor alpha.
        assert {color.name for color in dataset.colorinterp} <= {"gray", "undefined"}
        assert dataset.tags()[VERSION_TAG] == __version__
        if count > 1:
            assert dataset.interleaving is rasterio.enums.Interleaving.pixel
    assert read_classes_tag(path) == classes


def test_uncertainty_tells_what_it_is(tmp_path: Path) -> None:
    layer = uncertainty_layer()
    values = some_values(layer, (90, 80))
    path = write_windows(tmp_path / "u.tif", box_of(90, 80), layer, values, tags={MODEL_TAG: "abc"})
    with rasterio.open(path) as dataset:
        assert (dataset.descriptions, dataset.scales, dataset.offsets) == (("uncertainty",), (1 / 254,), (0,))
        assert dataset.nodata == 255
        assert dataset.tags()[MODEL_TAG] == "abc"
        assert CLASSES_TAG not in dataset.tags()


@needs_gdalinfo
def test_gdalinfo_shows_shares(tmp_path: Path) -> None:
    layer = LAYERS["probabilities"]
    path = write_windows(tmp_path / "p.tif", box_of(90, 80), layer, some_values(layer, (90, 80)))
    shown = subprocess.run(["gdalinfo", path], capture_output=True, text=True, check=True).stdout
    for name in CLASSES.names:
        assert f"Description = {name}" in shown
    assert shown.count("Scale:0.0039370") == 3
    assert shown.count("NoData Value=255") == 3


@pytest.mark.parametrize("kind", ["probabilities", "uncertainty"])
def test_nodata_never_counts_in_averages(tmp_path: Path, kind: str) -> None:
    layer = LAYERS[kind]
    values = np.full((layer.count, 1024, 1024), 100, np.uint8)
    values[:, ::2, ::2] = 255
    values[:, 512:] = 255
    values[:, 0, 1], values[:, 1, :2] = 0, 254
    path = write_windows(tmp_path / "a.tif", box_of(1024, 1024), layer, values)
    with rasterio.open(path, overview_level=0) as overview:
        half = overview.read()
    assert half.shape == (layer.count, 512, 512)
    assert set(half[:, 0, 0].tolist()) == {169}  # the mean of 0, 254 and 254
    half[:, 0, 0] = 100
    assert (half[:, :256] == 100).all()
    assert (half[:, 256:] == 255).all()


@pytest.mark.parametrize("kind", LAYERS)
def test_bytes_do_not_depend_on_the_windows(tmp_path: Path, kind: str) -> None:
    geobox = GeoBox(crs=UTM, transform=scenes.rotated(), shape=(1100, 1300))
    layer = LAYERS[kind]
    values = some_values(layer, geobox.shape)
    values[:, 512:1024, :512] = 255
    blocks = cut(geobox.shape, 512, 512)
    shuffled = [blocks[index] for index in np.random.default_rng(1).permutation(len(blocks))]
    ways = [
        cut(geobox.shape, 1100, 1300),
        cut(geobox.shape, 300, 1300),
        cut(geobox.shape, 400, 333)[::-1],
        shuffled,
        [block for block in blocks if (block.row_off, block.col_off) != (512, 0)],
    ]
    digests = set()
    for index, windows in enumerate(ways):
        tags = {"B": "1", "A": "2"} if index % 2 else {"A": "2", "B": "1"}
        path = write_windows(tmp_path / "a.tif", geobox, layer, values, windows, tags)
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(digests) == 1
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(dataset.read(), values)


def test_mask_writer_and_raster_writer_agree(tmp_path: Path) -> None:
    geobox = box_of(600, 700)
    ids = some_ids(geobox.shape)
    by_rows = write(tmp_path / "rows.tif", geobox, ids)
    by_windows = write_windows(tmp_path / "windows.tif", geobox, mask_layer(CLASSES), ids[np.newaxis])
    assert by_rows.read_bytes() == by_windows.read_bytes()
    sidecars = [tmp_path / "rows.tif.aux.xml", tmp_path / "windows.tif.aux.xml"]
    assert sidecars[0].read_bytes() == sidecars[1].read_bytes()


@pytest.mark.parametrize("kind", LAYERS)
def test_pixels_never_written_are_nodata_and_take_no_room(tmp_path: Path, kind: str) -> None:
    layer = LAYERS[kind]
    geobox = box_of(4000, 4000)
    with RasterWriter(tmp_path / "a.tif", geobox, layer) as writer:
        writer.write(Window(3000, 2000, 3, 2), np.full((layer.count, 2, 3), 1, np.uint8))
        writer.write(Window(3001, 2000, 2, 1), np.full((layer.count, 1, 2), 2, np.uint8))
        writer.write(Window(7, 9, 0, 5), np.zeros((layer.count, 5, 0), np.uint8))
        draft = next(tmp_path.rglob("draft.tif"))
        assert draft.stat().st_size < 600_000
    with rasterio.open(tmp_path / "a.tif") as dataset:
        values = dataset.read()
    assert (values[:, 2000:2002, 3000:3003] == [[1, 2, 2], [1, 1, 1]]).all()
    assert (values != 255).sum() == layer.count * 6


@pytest.mark.parametrize("kind", LAYERS)
def test_a_raster_without_any_pixel_is_all_nodata(tmp_path: Path, kind: str) -> None:
    with RasterWriter(tmp_path / "a.tif", box_of(600, 600), LAYERS[kind]):
        pass
    assert cog_validate(tmp_path / "a.tif", strict=True) == (True, [], [])
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert (dataset.read() == 255).all()


@pytest.mark.parametrize(
    ("window", "values", "reason"),
    [
        (Window(-1, 0, 2, 2), np.zeros((3, 2, 2), np.uint8), "beyond"),
        (Window(0, 69, 2, 2), np.zeros((3, 2, 2), np.uint8), "beyond"),
        (Window(89, 0, 2, 2), np.zeros((3, 2, 2), np.uint8), "beyond"),
        (Window(0.5, 0, 2, 2), np.zeros((3, 2, 2), np.uint8), "whole pixels"),
        (Window(0, 0, 2, 2), np.zeros((2, 2), np.uint8), "wanted"),
        (Window(0, 0, 2, 2), np.zeros((3, 2, 3), np.uint8), "wanted"),
        (Window(0, 0, 2, 2), np.zeros((3, 2, 2), np.float32), "wanted"),
    ],
)
def test_windows_that_do_not_fit_are_refused(
    tmp_path: Path, window: Window, values: np.ndarray, reason: str
) -> None:
    with (
        pytest.raises(ValueError, match=reason),
        RasterWriter(tmp_path / "p.tif", box_of(70, 90), LAYERS["probabilities"]) as writer,
    ):
        writer.write(window, values)
    assert list(tmp_path.iterdir()) == []


def test_impossible_layers_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one band"):
        Layer(what="nothing", descriptions=(), overviews="MODE", storage={})
    with pytest.raises(ValueError, match="show them"):
        Layer(what="ids", descriptions=("a",), overviews="MODE", storage={}, shows_classes=True)


@pytest.mark.parametrize("kind", ["probabilities", "uncertainty"])
def test_an_error_leaves_no_raster_of_any_kind(tmp_path: Path, kind: str) -> None:
    def write_and_raise() -> None:
        with RasterWriter(tmp_path / "a.tif", box_of(70, 90), LAYERS[kind]) as writer:
            writer.write(Window(0, 0, 90, 70), some_values(LAYERS[kind], (70, 90)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_and_raise()
    assert list(tmp_path.iterdir()) == []


# A disk that fails. rasterio does not tell when it does so while a file is closed, or in GDAL's cache.


def test_whatever_fits_no_more_is_one_line_or_all_there(tmp_path: Path) -> None:
    code = (
        "import resource, sys; sys.path.insert(0, sys.argv[2])\n"
        "import numpy as np, scenes\n"
        "from pathlib import Path\n"
        "from rasterio.windows import Window\n"
        "from geoseg.errors import WriteError\n"
        "from geoseg.classes import ClassMap\n"
        "from geoseg.raster.cog import RasterWriter\n"
        "from geoseg.raster.layers import probability_layer\n"
        "from geoseg.raster.geobox import GeoBox\n"
        "box = GeoBox(crs=None, transform=scenes.north_up(), shape=(700, 700))\n"
        "layer = probability_layer(ClassMap.from_names(['a', 'b']))\n"
        "values = np.random.default_rng(0).integers(0, 30, (2, 700, 700)).astype(np.uint8)\n"
        "def write():\n"
        "    with RasterWriter(Path(sys.argv[1]), box, layer) as writer:\n"
        "        for row in range(0, 700, 300):\n"
        "            part = values[:, row:row + 300]\n"
        "            writer.write(Window(0, row, 700, part.shape[1]), part)\n"
        "    made = Path(sys.argv[1]).read_bytes()\n"
        "    Path(sys.argv[1]).unlink()\n"
        "    return made\n"
        "whole = write()\n"
        "for limit in np.linspace(1000, 2 * len(whole), 40).astype(int).tolist():\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))\n"
        "    try:\n"
        "        made = write()\n"
        "    except WriteError as error: result = str(error)\n"
        "    else: result = 'whole' if made == whole else 'wrong'\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "    print(result)\n"
    )
    tests = str(Path(scenes.__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "p.tif"), tests],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    results = done.stdout.splitlines()
    assert len(results) == 40
    assert "wrong" not in results
    assert results[-1] == "whole"
    failed = [result for result in results if result != "whole"]
    assert len(failed) >= 10
    assert all(line.startswith(f"writing probabilities {tmp_path / 'p.tif'} failed: ") for line in failed)
    assert all(line.endswith("is the disk full?") for line in failed)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("loss", ["end", "overview", "block", "draft"])
def test_what_gets_lost_silently_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, loss: str
) -> None:
    copy = rasterio.shutil.copy

    def careless_copy(source: Path, target: Path, **options: Any) -> None:
        if loss in {"block", "draft"}:
            with rasterio.open(source, "r+") as draft:
                lost = Window(512, 512, 188, 88) if loss == "block" else Window(0, 0, 700, 600)
                draft.write(np.full((draft.count, lost.height, lost.width), 255, np.uint8), window=lost)
        copy(source, target, **options)
        content = bytearray(target.read_bytes())
        if loss == "end":
            target.write_bytes(content[:-100])
        if loss == "overview":
            # The overview's blocks come first in a COG, right after its directories.
            with rasterio.open(target, overview_level=0) as overview:
                offset = int(overview.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1))
            content[offset : offset + 1000] = bytes(1000)
            target.write_bytes(content)

    monkeypatch.setattr(rasterio.shutil, "copy", careless_copy)
    layer = LAYERS[kind]
    with pytest.raises(WriteError, match=f"writing {layer.what} .*a.tif failed: .*; is the disk full"):
        write_windows(tmp_path / "a.tif", box_of(600, 700), layer, some_values(layer, (600, 700)))
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_cannot_be_moved_into_place_is_a_write_error(tmp_path: Path) -> None:
    def write_onto_a_folder() -> None:
        with RasterWriter(tmp_path / "a.tif", box_of(70, 90), LAYERS["uncertainty"]):
            (tmp_path / "a.tif").mkdir()

    with pytest.raises(WriteError, match=r"writing uncertainty .*a.tif failed"):
        write_onto_a_folder()


def test_memory_does_not_grow_with_the_raster(tmp_path: Path) -> None:
    code = (
        "import resource, sys; sys.path.insert(0, sys.argv[2])\n"
        "import numpy as np, rasterio._env, scenes\n"
        "from pathlib import Path\n"
        "from rasterio.windows import Window\n"
        "from geoseg.classes import ClassMap\n"
        "from geoseg.raster.cog import RasterWriter\n"
        "from geoseg.raster.layers import mask_layer\n"
        "from geoseg.raster.geobox import GeoBox\n"
        "rasterio._env.set_gdal_config('GDAL_CACHEMAX', 16 * 1024**2)\n"
        "layer = mask_layer(ClassMap.from_names(['a', 'b']))\n"
        "tile = np.zeros((1024, 2048), np.uint8); tile[::3] = 1\n"
        "for height in (8192, 65536):\n"
        "    box = GeoBox(crs=None, transform=scenes.north_up(), shape=(height, 2048))\n"
        "    with RasterWriter(Path(sys.argv[1]), box, layer) as writer:\n"
        "        for row in range(0, height, 1024): writer.write(Window(0, row, 2048, 1024), tile)\n"
        "    unit = 1 if sys.platform == 'darwin' else 1024\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit // 2**20)\n"
    )
    tests = str(Path(scenes.__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "m.tif"), tests],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    small_mb, large_mb = map(int, done.stdout.split())
    assert large_mb - small_mb < 60  # of 112 MiB more pixels


# Category names in the sidecar


def test_categories_keep_what_the_sidecar_held(tmp_path: Path) -> None:
    raster = tmp_path / "a.tif"
    sidecar = tmp_path / "a.tif.aux.xml"
    sidecar.write_text(
        "<PAMDataset><SRS>x</SRS><PAMRasterBand band='1'><Description>d</Description></PAMRasterBand>"
        "</PAMDataset>"
    )
    write_categories(raster, CLASSES)
    write_categories(raster, ClassMap.from_names(["a", "b"]))
    assert "<SRS>x</SRS>" in sidecar.read_text()
    assert "<Description>d</Description>" in sidecar.read_text()
    assert read_categories(raster) == ("a", "b")


@pytest.mark.parametrize(
    "content",
    [
        "not xml",
        "<PAMDataset/>",
        '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><PAMDataset>'
        '<PAMRasterBand band="1"><CategoryNames><Category>&b;</Category></CategoryNames></PAMRasterBand>'
        "</PAMDataset>",
    ],
)
def test_strange_sidecars_have_no_categories(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.tif.aux.xml").write_text(content)
    assert read_categories(tmp_path / "a.tif") == ()


def test_what_cannot_be_printed_is_not_in_sidecars(tmp_path: Path) -> None:
    write_categories(tmp_path / "a.tif", ClassMap.from_names(["a\u00a0b", "c"]))
    assert read_categories(tmp_path / "a.tif") == ("ab", "c")
