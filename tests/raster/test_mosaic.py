"""VRT mosaics: the pixels that GDAL would show, from nothing but the files in their folder."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from mosaics import Source, write_mosaic
from numpy.typing import NDArray
from rasterio.windows import Window
from scenes import UTM, north_up, not_georeferenced_is_fine, ramp, raw_vrt, write_scene

from geoseg.config import VectorizeConfig
from geoseg.errors import ReadError, SceneError
from geoseg.raster import mosaic
from geoseg.raster.scene import Scene
from geoseg.render.session import _scene_fingerprint
from geoseg.vectorize import vectorize
from geoseg_cli.main import main


def whole(scene: Scene) -> Window:
    return Window(0, 0, scene.geobox.width, scene.geobox.height)


def write_tiles(
    folder: Path, bands: NDArray[Any], size: int, **options: Any
) -> tuple[list[Source], tuple[int, int]]:
    """Files of ``size`` pixels square that make up ``bands``, in a folder of their own."""
    height, width = bands.shape[1:]
    (folder / "tiles").mkdir(exist_ok=True)
    sources = []
    for row in range(0, height, size):
        for col in range(0, width, size):
            part = bands[:, row : row + size, col : col + size]
            name = f"tiles/{row}_{col}.tif"
            write_scene(folder / name, part, transform=north_up() @ Affine.translation(col, row), **options)
            sources.append(Source(name=name, row=row, col=col, height=part.shape[1], width=part.shape[2]))
    return sources, (height, width)


@pytest.fixture
def tiled(tmp_path: Path) -> tuple[Path, NDArray[Any]]:
    """A mosaic of twelve files, and its pixels."""
    bands = np.random.default_rng(0).integers(1, 255, (3, 70, 90), np.uint8)
    sources, shape = write_tiles(tmp_path, bands, 25)
    path = write_mosaic(tmp_path / "all.vrt", sources, shape, bands=3, crs=UTM, transform=north_up())
    return path, bands


_BANDS = 2


@st.composite
def layouts(draw: st.DrawFn) -> tuple[tuple[int, int], list[Source], float | None]:
    shape = draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    sources = []
    for _ in range(draw(st.integers(1, 6))):
        number = draw(st.integers(0, 2))
        top, left = draw(st.integers(0, 19)), draw(st.integers(0, 29))
        height, width = draw(st.integers(1, 20 - top)), draw(st.integers(1, 30 - left))
        sources.append(
            Source(
                name=f"{number}.tif",
                row=draw(st.integers(-5, shape[0] - 1)),
                col=draw(st.integers(-5, shape[1] - 1)),
                height=height,
                width=width,
                top=top,
                left=left,
                nodata=draw(st.sampled_from([None, 3.0])),
                masked=draw(st.booleans()),
            )
        )
    return shape, sources, draw(st.sampled_from([None, 3.0, 9.0]))


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[NDArray[Any]], NDArray[np.bool_]]:
    """Three files of 20 x 30 px with values 1 to 5, the first with a mask."""
    folder, rng = tmp_path_factory.mktemp("parts"), np.random.default_rng(1)
    hidden = rng.random((20, 30)) < 0.3
    files = [rng.integers(1, 6, (_BANDS, 20, 30), np.uint8) for _ in range(3)]
    for number, values in enumerate(files):
        mask = np.where(hidden, np.uint8(0), np.uint8(255)) if number == 0 else None
        with not_georeferenced_is_fine():
            write_scene(folder / f"{number}.tif", values, mask=mask)
    return folder, files, hidden


@settings(max_examples=60)
@given(layout=layouts(), data=st.data())
def test_pieces_lie_over_each_other_in_their_order(
    parts: tuple[Path, list[NDArray[Any]], NDArray[np.bool_]],
    layout: tuple[tuple[int, int], list[Source], float | None],
    data: st.DataObject,
) -> None:
    (folder, files, hidden), (shape, sources, nodata) = parts, layout
    values = np.full((_BANDS, *shape), nodata or 0, np.uint8)
    painted = np.zeros((_BANDS, *shape), np.bool_)
    for source in sources:
        number = int(source.name[0])
        for band in range(_BANDS):
            for i in range(source.height):
                for j in range(source.width):
                    row, col, y, x = source.row + i, source.col + j, source.top + i, source.left + j
                    value = files[number][band, y, x]
                    kept = (source.nodata != value) and not (source.masked and number == 0 and hidden[y, x])
                    if 0 <= row < shape[0] and 0 <= col < shape[1] and kept:
                        values[band, row, col], painted[band, row, col] = value, True
    expected = (values != nodata).any(axis=0) if nodata is not None else painted.any(axis=0)
    path = write_mosaic(folder / "any.vrt", sources, shape, bands=_BANDS, nodata=nodata)
    with Scene.open(path) as scene:
        pixels, valid = scene.read(whole(scene))
        np.testing.assert_array_equal(pixels, values)
        np.testing.assert_array_equal(valid, expected)
        row, col = data.draw(st.integers(-3, shape[0])), data.draw(st.integers(-3, shape[1]))
        height, width = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
        part, seen = scene.read(Window(col, row, width, height))
        padded = np.pad(values, ((0, 0), (3, 15), (3, 15)))[:, row + 3 :, col + 3 :][:, :height, :width]
        np.testing.assert_array_equal(part, padded)
        around = np.pad(expected, ((3, 15), (3, 15)))[row + 3 :, col + 3 :][:height, :width]
        np.testing.assert_array_equal(seen, around)


@pytest.mark.skipif(shutil.which("gdalbuildvrt") is None, reason="GDAL's own tools are not here")
@pytest.mark.parametrize(
    "options",
    [
        [],
        ["-srcnodata", "7", "-vrtnodata", "7"],
        ["-addalpha"],
        ["-te", "500005", "4999970", "500040", "4999990"],
    ],
    ids=["plain", "nodata", "alpha", "part"],
)
def test_pixels_are_those_of_gdal(tmp_path: Path, options: list[str]) -> None:
    sources, _ = write_tiles(tmp_path, np.random.default_rng(2).integers(0, 9, (3, 70, 90), np.uint8), 25)
    names = [source.name for source in sources if source.name != "tiles/25_25.tif"]
    subprocess.run(["gdalbuildvrt", "-q", *options, "all.vrt", *names], cwd=tmp_path, check=True)
    subprocess.run(["gdal_translate", "-q", "all.vrt", "all.tif"], cwd=tmp_path, check=True)
    with Scene.open(tmp_path / "all.vrt") as scene, Scene.open(tmp_path / "all.tif") as same:
        assert scene.geobox == same.geobox
        pixels, valid = scene.read(whole(scene))
        np.testing.assert_array_equal(pixels, same.read(whole(scene))[0])
        if "-te" in options or not options:
            # To GDAL what no file covers is 0, as dark land may be.
            filled = np.pad(np.zeros((25, 25), np.bool_), ((25, 20), (25, 40)), constant_values=True)
            col, row = (round(value) for value in ~north_up() @ scene.geobox.transform @ (0, 0))
            np.testing.assert_array_equal(valid, filled[row:, col:][: valid.shape[0], : valid.shape[1]])
        else:
            np.testing.assert_array_equal(valid, same.read(whole(scene))[1])


def test_the_mask_of_a_mosaic_hides(tmp_path: Path) -> None:
    shown = np.random.default_rng(3).random((20, 20)) < 0.5
    write_scene(tmp_path / "a.tif", ramp(1, 20, 20), mask=np.where(shown, np.uint8(255), np.uint8(0)))
    source = Source(name="a.tif", row=0, col=5, height=20, width=20)
    write_mosaic(tmp_path / "a.vrt", [source], (20, 30), mask=[source])
    with not_georeferenced_is_fine(), Scene.open(tmp_path / "a.vrt") as scene:
        _, valid = scene.read(whole(scene))
    np.testing.assert_array_equal(valid, np.pad(shown, ((0, 0), (5, 5))))


@pytest.mark.parametrize("smooth", [False, True])
def test_a_look_from_afar_is_near_the_pixels(tmp_path: Path, smooth: bool) -> None:
    rows, cols = np.mgrid[:600, :800]
    bands = ((rows // 4 + cols // 8) % 250 + 1).astype(np.uint8)[None]
    sources, shape = write_tiles(tmp_path, bands, 130)
    write_scene(tmp_path / "one.tif", bands)
    write_mosaic(tmp_path / "all.vrt", sources, shape, crs=UTM, transform=north_up())
    with Scene.open(tmp_path / "all.vrt") as scene, Scene.open(tmp_path / "one.tif") as same:
        for window, to in ((whole(scene), (75, 100)), (Window(33.5, 71.25, 400.5, 301.75), (50, 61))):
            pixels, valid = scene.read_shrunk(window, to, smooth=smooth)
            expected, _ = same.read_shrunk(window, to, smooth=smooth)
            assert valid.all()
            off = np.abs(pixels.astype(int) - expected) % 248
            assert (np.minimum(off, 248 - off) <= 4).mean() > 0.98


def test_many_files_are_not_all_open(
    tiled: tuple[Path, NDArray[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mosaic, "MAX_OPEN", 2)
    path, bands = tiled
    with Scene.open(path) as scene:
        np.testing.assert_array_equal(scene.read(whole(scene))[0], bands)
        assert len(scene._dataset._open) == 2
        assert len(scene.files) == 13


def test_verbs_take_a_mosaic_for_a_raster(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ids = np.random.default_rng(4).integers(0, 3, (1, 9, 12), np.uint8).repeat(6, 1).repeat(6, 2)
    sources, shape = write_tiles(tmp_path, ids, 20, nodata=255)
    write_scene(tmp_path / "one.tif", ids, nodata=255)
    wkt = rasterio.crs.CRS.from_string(UTM).to_wkt()  # as gdalbuildvrt writes it
    write_mosaic(tmp_path / "all.vrt", sources, shape, nodata=255, crs=wkt, transform=north_up())
    config = VectorizeConfig()
    vectorize(tmp_path / "one.tif", tmp_path / "one.fgb", config)
    vectorize(tmp_path / "all.vrt", tmp_path / "all.fgb", config)
    assert (tmp_path / "one.fgb").read_bytes() == (tmp_path / "all.fgb").read_bytes()
    assert main(["evaluate", "all.vrt", "one.tif", "--min-miou", "1"]) == 0
    assert main(["evaluate", "one.tif", "all.vrt", "--min-miou", "1"]) == 0
    assert main(["report", "all.vrt", "-o", "all.html"]) == 0
    capsys.readouterr()
    assert main(["info", "all.vrt"]) == 0
    assert "VRT mosaic of 12 files" in capsys.readouterr().out


def test_its_files_belong_to_it(tiled: tuple[Path, NDArray[Any]]) -> None:
    path, bands = tiled
    with Scene.open(path) as scene:
        before = _scene_fingerprint(scene)
        write_scene(path.parent / "tiles/50_75.tif", bands[:, 50:, 75:] + 1)
        with pytest.raises(ReadError, match=r"50_75\.tif of scene .*all\.vrt changed while it was read"):
            scene.check_unchanged()
    with Scene.open(path) as scene:
        assert _scene_fingerprint(scene) != before


def test_a_damaged_file_is_named(tiled: tuple[Path, NDArray[Any]]) -> None:
    path, _ = tiled
    (path.parent / "tiles/25_25.tif").write_bytes(b"II*\0 no more")
    with Scene.open(path) as scene, pytest.raises(ReadError, match=r"reading block 0, 0 .*25_25\.tif"):
        scene.read(whole(scene))
    with Scene.open(path, on_error="nodata") as scene:
        _, valid = scene.read(Window(0, 0, 90, 20))
        assert valid.all()


def xml(inside: str, *, root: str = "", band: str = 'dataType="Byte" band="1"') -> str:
    return (
        f'<VRTDataset rasterXSize="20" rasterYSize="20" {root}><VRTRasterBand {band}>{inside}'
        "</VRTRasterBand></VRTDataset>"
    )


def source(
    name: str = "a.tif", *, relative: int = 1, kind: str = "SimpleSource", more: str = "", size: float = 20
) -> str:
    return (
        f'<{kind}><SourceFilename relativeToVRT="{relative}">{name}</SourceFilename>'
        "<SourceBand>1</SourceBand>"
        f'<SrcRect xOff="0" yOff="0" xSize="20" ySize="20"/><DstRect xOff="0" yOff="0" xSize="{size}" '
        f'ySize="{size}"/>{more}</{kind}>'
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (raw_vrt("/etc/hosts"), "has a VRTRawRasterBand, which is more than a mosaic; gdal_translate makes"),
        (xml(source("/etc/hosts", relative=0)), r"takes pixels from /etc/hosts, which is not in its folder"),
        (xml(source("../b.tif")), r"takes pixels from \.\./b\.tif, which is not in its folder"),
        (xml(source("out.tif")), r"takes pixels from out\.tif, which is not in its folder"),
        (xml(source("b.tif", relative=0)), "takes pixels from b.tif, which is not in its folder"),
        (xml(source("c.tif")), r"is a mosaic of files, of which c\.tif is missing; copy it too"),
        (xml(source("/vsicurl/http://127.0.0.1:9/a.tif", relative=0)), "takes pixels from a server"),
        (xml(source("http://127.0.0.1:9/a.tif")), "takes pixels from a server"),
        (xml(source("inner.vrt")), r"file inner\.vrt is a VRT|file .*inner\.vrt is a VRT"),
        (xml(source(size=40)), r"shows a\.tif at another pixel size"),
        (xml(source(size=20.4)), r"shows a\.tif between the pixels of its own grid"),
        (xml(source(kind="KernelFilteredSource")), "has a KernelFilteredSource, which is more than a copy"),
        (xml(source(more="<LUT>0:1</LUT>")), r"changes what it copies of a\.tif \(LUT\)"),
        (xml(source(more="<OpenOptions/>")), r"changes what it copies of a\.tif \(OpenOptions\)"),
        (xml(source(more="<ScaleRatio>2</ScaleRatio>")), r"scales the values of a\.tif"),
        (xml(source(), root='subClass="VRTWarpedDataset"'), "is a VRTWarpedDataset, which is more than"),
        (xml(source(), band='dataType="CFloat32"'), "holds numbers of the kind CFloat32"),
        (xml("<PixelFunctionType>min</PixelFunctionType>" + source()), "has a PixelFunctionType"),
        (
            xml(source()).replace('band="1">', 'band="1">', 1).replace("<SrcRect", "<NoRect"),
            "does not say|NoRect",
        ),
        (xml(""), "is a mosaic of nothing"),
        (xml(source("small.tif")), r"small\.tif has 5 x 5 pixels, too few"),
        (xml(source().replace("<SourceBand>1<", "<SourceBand>4<")), r"a\.tif has no band 4"),
        (xml(source()).replace('"20"', '"x"'), "is damaged: invalid literal"),
        (xml(source()).replace('xSize="20"', 'xSize="1e999"'), "is damaged: "),
        (xml(source()).replace("</VRTDataset>", ""), "is no XML: "),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]>" + xml(source()), "it declares a document type"),
        ("<VRTDataset>" + "<a>" * 40, "more than 16 levels deep"),
        (
            xml(source()).replace("<VRTRasterBand", "<SRS>+init=/etc/hosts:1</SRS><VRTRasterBand"),
            "another file",
        ),
        (xml(source()).replace("<VRTRasterBand", "<SRS>nonsense</SRS><VRTRasterBand"), "CRS cannot be read"),
        (xml(source()).replace("<VRTRasterBand", "<GCPList/><VRTRasterBand"), "has ground control points"),
        (xml(source()).replace('rasterXSize="20"', 'rasterXSize="99999999999"'), "cut it"),
        (
            xml(source()).replace('rasterXSize="20"', f'rasterXSize="{10**400}"'),
            "more than [0-9]+ pixels in a",
        ),
        (
            xml(source()).replace('xOff="0"', 'xOff="1e308"'),
            "SrcRect is more than [0-9]+ pixels away or long",
        ),
        (
            xml(
                source(
                    kind="ComplexSource", more="<ScaleOffset>1e999</ScaleOffset><ScaleRatio>0</ScaleRatio>"
                )
            ),
            "ScaleOffset is no number",
        ),
    ],
)
def test_more_than_a_mosaic_is_refused(tmp_path: Path, text: str, why: str) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    write_scene(folder / "a.tif", ramp(1, 20, 20))
    write_scene(folder / "small.tif", ramp(1, 5, 5))
    write_scene(tmp_path / "b.tif", ramp(1, 20, 20))
    (folder / "out.tif").symlink_to(tmp_path / "b.tif")
    (folder / "inner.vrt").write_text(xml(source()))
    (folder / "scene.vrt").write_text(text)
    with not_georeferenced_is_fine(), pytest.raises(SceneError, match=why) as caught:
        Scene.open(folder / "scene.vrt").close()
    assert str(caught.value).count("\n") == 0
    assert len(str(caught.value)) < 500


def test_as_many_elements_as_no_mosaic_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geoseg.raster.vrt.MAX_ELEMENTS", 100)
    (tmp_path / "scene.vrt").write_text("<VRTDataset>" + "<a/>" * 101 + "</VRTDataset>")
    with pytest.raises(SceneError, match="more than 100 elements"):
        Scene.open(tmp_path / "scene.vrt").close()
    monkeypatch.setattr("geoseg.raster.vrt.MAX_BYTES", 100)
    with pytest.raises(SceneError, match="is larger than 100 bytes; make several mosaics of it"):
        Scene.open(tmp_path / "scene.vrt").close()


def test_gdal_itself_still_opens_no_vrt(tiled: tuple[Path, NDArray[Any]]) -> None:
    with pytest.raises(rasterio.errors.RasterioIOError):
        rasterio.open(tiled[0])
