"""Hostile rasters, as scenes, masks, labels: of one band unless they must be otherwise."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from hostile_bombs import BOMBS
from hostile_files import Lures, Maker, written
from hostile_sidecars import SIDECARS, TAGS, laughs
from scenes import huge_strip_tiff, mrf_xml, raw_vrt, write_scene
from tiff_directories import Told, write_tiff


def _vrt_simple(lures: Lures) -> str:
    return (
        '<VRTDataset rasterXSize="128" rasterYSize="128"><VRTRasterBand dataType="Byte" band="1">'
        f"<SimpleSource><SourceFilename>{lures.raster}</SourceFilename><SourceBand>1</SourceBand>"
        '<SrcRect xOff="0" yOff="0" xSize="128" ySize="128"/>'
        '<DstRect xOff="0" yOff="0" xSize="128" ySize="128"/></SimpleSource>'
        "</VRTRasterBand></VRTDataset>"
    )


def _vrt_python(lures: Lures) -> str:
    return (
        '<VRTDataset rasterXSize="4" rasterYSize="4"><VRTRasterBand dataType="Byte" band="1" '
        'subClass="VRTDerivedRasterBand"><PixelFunctionLanguage>Python</PixelFunctionLanguage>'
        f"<PixelFunctionType>f</PixelFunctionType><PixelFunctionCode>open('{lures.new}','w')"
        "</PixelFunctionCode></VRTRasterBand></VRTDataset>"
    )


def _wms(lures: Lures) -> str:
    return (
        f'<GDAL_WMS><Service name="TMS"><ServerUrl>{lures.url}/${{z}}</ServerUrl></Service><DataWindow>'
        "<SizeX>128</SizeX><SizeY>128</SizeY></DataWindow><BandsCount>1</BandsCount></GDAL_WMS>"
    )


DRIVERS: dict[str, Maker] = {
    "vrt_raw": written("a.tif", lambda lures: raw_vrt(lures.text)),
    "vrt_simple": written("a.vrt", _vrt_simple),
    "vrt_url": written("a.jp2", lambda lures: raw_vrt(f"/vsicurl/{lures.url}/a.tif")),
    "vrt_python": written("a.img", _vrt_python),
    "mrf": written("a.tif", lambda lures: mrf_xml(lures.new)),
    "wms": written("a.png", _wms),
    "xml_bomb_named_tif": written("a.tif", laughs("VRTDataset")),
}
"""Other formats of GDAL under names of good ones."""


def sparse(width: int, height: int, *, rows: int | None = None) -> list[Told]:
    """A directory of uncompressed bytes in strips, all of them missing."""
    rows = rows or height
    strips = -(-height // rows)
    return [
        (256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, [0] * strips),
        (277, 3, 1), (278, 4, rows), (279, 4, [0] * strips),
    ]  # fmt: skip


def _packed(width: int, height: int) -> list[Told]:
    """In one deflated tile of a gigabyte; of other strips GDAL reads single lines."""
    return [
        (256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 8), (262, 3, 1), (277, 3, 1),
        (322, 4, 32_768), (323, 4, 32_768), (324, 4, 0), (325, 4, 0),
    ]  # fmt: skip


PLACE: list[Told] = [
    (33550, 12, [0.5, 0.5, 0.0]),
    (33922, 12, [0.0, 0.0, 0.0, 500_000.0, 5_000_000.0, 0.0]),
]
_OVERVIEW: Told = (254, 4, 1)
_MASK: list[Told] = [(254, 4, 4), (262, 3, 4), (258, 3, 1)]
_MIDDLE = [*sparse(512, 512), *PLACE]
_SMALL = [*sparse(128, 128), *PLACE]


def directories(*folders: Sequence[Told], beside: str = "", loop: bool = False) -> Maker:
    """A TIFF of directories; with ``beside`` the last of them is a file of its own, of this suffix."""

    def make(folder: Path, kit: Path, lures: Lures) -> Path:
        if beside:
            write_tiff(folder / f"a.tif{beside}", folders[-1])
        return write_tiff(folder / "a.tif", *(folders[:-1] if beside else folders), loop=loop)

    return make


def _without(entries: Sequence[Told], *tags: int) -> list[Told]:
    return [entry for entry in entries if entry[0] not in tags]


DIRECTORIES: dict[str, Maker] = {
    "strip_of_gigabytes": lambda folder, _kit, _lures: huge_strip_tiff(folder / "a.tif"),
    "side_of_a_billion": directories(sparse(10**9, 10**9, rows=10**9)),
    "many_bands": directories([*_without(sparse(4, 4), 258, 277), (277, 3, 65535), (258, 3, [8] * 4)]),
    "overview_of_gigabytes": directories(_MIDDLE, [_OVERVIEW, *_packed(256, 256)]),
    "mask_of_gigabytes": directories(_MIDDLE, [*_without(_packed(512, 512), 258, 262), *_MASK]),
    "ovr_of_gigabytes": directories(_MIDDLE, [_OVERVIEW, *_packed(256, 256)], beside=".ovr"),
    "msk_of_gigabytes": directories(_MIDDLE, _packed(512, 512), beside=".msk"),
    "loop_of_directories": directories(_SMALL, loop=True),
    "ten_thousand_directories": directories(_SMALL, *[[_OVERVIEW, *sparse(64, 64)]] * 10_000),
    "transform_not_finite": directories(
        [
            *sparse(128, 128),
            (33550, 12, [float("inf"), float("nan"), 0.0]),
            (33922, 12, [0.0, 0.0, 0.0, float("nan"), 1e308, 0.0]),
        ]
    ),
}
"""TIFFs that say what is not so; no pixel is in them."""


def hfa_spills_elsewhere(folder: Path, kit: Path, lures: Lures) -> Path:
    """An Erdas image that keeps its pixels in a file of another folder."""
    target = lures.folder / "s.ige"
    return _spilled(folder, target, os.path.relpath(target, folder))


def hfa_spills_into_a_pipe(folder: Path, kit: Path, lures: Lures) -> Path:
    """The file with the pixels of an Erdas image is a pipe."""
    path = _spilled(folder, folder / "b.ige", "b.ige")
    (folder / "b.ige").unlink()
    os.mkfifo(folder / "b.ige")
    return path


def _spilled(folder: Path, target: Path, name: str) -> Path:
    """An Erdas image with its pixels in ``target``, which it calls ``name``: as long as the name it had."""
    path = folder / ("a" * (len(name) - len(".ige")) + ".img")
    write_scene(path, np.full((1, 128, 128), 77, np.uint8), driver="HFA", use_spill="YES")
    spill = path.with_suffix(".ige")
    spill.rename(target)
    content = path.read_bytes()
    assert content.count(spill.name.encode()) == 1
    path.write_bytes(content.replace(spill.name.encode(), name.encode()))
    return path


RASTERS: dict[str, Maker] = {
    **DRIVERS,
    **DIRECTORIES,
    **BOMBS,
    **{make.__name__: make for make in (hfa_spills_elsewhere, hfa_spills_into_a_pipe)},
    **SIDECARS,
    **TAGS,
}
"""All that may stand for a scene or a mask."""
