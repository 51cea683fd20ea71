from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio
import scenes
from affine import Affine
from rasterio.crs import CRS
from rasterio.windows import Window
from rio_cogeo import cog_validate

from geoseg import __version__
from geoseg.classes import ClassMap
from geoseg.errors import WriteError
from geoseg.raster.categories import read_categories, write_categories
from geoseg.raster.cog import MODEL_TAG, VERSION_TAG, MaskWriter
from geoseg.raster.geobox import GeoBox
from geoseg.raster.mask import open_mask

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


def some_ids(shape: tuple[int, int]) -> np.ndarray:
    ids = np.random.default_rng(0).integers(0, 3, shape).astype(np.uint8)
    ids.flat[0] = 255
    return ids


def write(path: Path, geobox: GeoBox, ids: np.ndarray, rows: int = 37, **tags: str) -> Path:
    with MaskWriter(path, geobox, CLASSES, tags) as writer:
        for row in range(0, len(ids), rows):
            writer.write_rows(row, ids[row : row + rows])
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


def test_control_characters_in_names_make_no_broken_sidecar(tmp_path: Path) -> None:
    write_categories(tmp_path / "a.tif", ClassMap.from_names(["a\x00\x08b", "c"]))
    assert read_categories(tmp_path / "a.tif") == ("ab", "c")
