"""Hostile rasters, as scenes, masks, labels, and beside good ones."""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from hostile_files import Lures
from rasterio.windows import Window
from scenes import (
    UTM,
    huge_strip_tiff,
    mrf_xml,
    north_up,
    not_georeferenced_is_fine,
    raw_vrt,
    write_scene,
)

from geoseg.raster.mask import CLASSES_TAG

Maker = Callable[[Path, Path, Lures], Path]
RASTERS: dict[str, Maker] = {}
"""Makers of a raster that may stand for a scene or a mask, of one band unless it must be otherwise."""


def raster(make: Maker) -> Maker:
    """Register a maker."""
    RASTERS[make.__name__] = make
    return make


def _good(path: Path, bands: int = 1, **options: Any) -> Path:
    rng = np.random.default_rng(0)
    values = np.kron(rng.integers(0, 3, (bands, 16, 16)), np.ones((1, 8, 8))).astype(np.uint8) + 1
    return write_scene(path, values, **options)


def tiff(path: Path, *folders: Sequence[tuple[int, int, Any]]) -> Path:
    """Write a TIFF of these directories: tag, kind (3 short, 4 long, 2 text, 16 long8), value or values."""
    out = bytearray(b"II*\x00" + struct.pack("<I", 8))
    sizes = {1: "B", 2: "s", 3: "H", 4: "I", 7: "B", 12: "d"}
    for at, entries in enumerate(folders):
        start = len(out)
        begin_values = start + 2 + 12 * len(entries) + 4
        table, values = struct.pack("<H", len(entries)), bytearray()
        for tag, kind, value in sorted(entries, key=lambda entry: entry[0]):
            if kind == 2:
                data, count = value, len(value)
            else:
                numbers = value if isinstance(value, list | tuple | bytes) else [value]
                data, count = struct.pack(f"<{len(numbers)}{sizes[kind]}", *numbers), len(numbers)
            if len(data) > 4:
                table += struct.pack("<HHII", tag, kind, count, begin_values + len(values))
                values += data + b"\0" * (len(data) % 2)
            else:
                table += struct.pack("<HHI", tag, kind, count) + data.ljust(4, b"\0")
        last = at == len(folders) - 1
        out += table + struct.pack("<I", 0 if last else begin_values + len(values)) + values
    path.write_bytes(out)
    return path


def _directory(width: int, height: int, *, rows: int | None = None, extra: Sequence[Any] = ()) -> list[Any]:
    """Uncompressed bytes in strips, all of them missing (sparse)."""
    rows = rows or height
    strips = -(-height // rows)
    return [
        (256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, [0] * strips),
        (277, 3, 1), (278, 4, rows), (279, 4, [0] * strips), *extra,
    ]  # fmt: skip


def _packed(width: int, height: int) -> list[Any]:
    """In one deflated tile of a gigabyte; of other strips GDAL reads single lines."""
    return [
        (256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 8), (262, 3, 1), (277, 3, 1),
        (322, 4, 32_768), (323, 4, 32_768), (324, 4, 0), (325, 4, 0),
    ]  # fmt: skip


_PLACE = [(33550, 12, [0.5, 0.5, 0.0]), (33922, 12, [0.0, 0.0, 0.0, 500_000.0, 5_000_000.0, 0.0])]
_MASK = [(254, 4, 4), (262, 3, 4), (258, 3, 1)]


@raster
def vrt_raw(folder: Path, kit: Path, lures: Lures) -> Path:
    path = folder / "a.tif"
    path.write_text(raw_vrt(lures.text))
    return path


@raster
def vrt_simple(folder: Path, kit: Path, lures: Lures) -> Path:
    path = folder / "a.vrt"
    path.write_text(
        '<VRTDataset rasterXSize="128" rasterYSize="128"><VRTRasterBand dataType="Byte" band="1">'
        "<SimpleSource>"
        f"<SourceFilename>{lures.raster}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
        "</VRTDataset>"
    )
    return path


@raster
def vrt_url(folder: Path, kit: Path, lures: Lures) -> Path:
    path = folder / "a.jp2"
    path.write_text(raw_vrt(f"/vsicurl/{lures.url}/a.tif"))
    return path


@raster
def vrt_python(folder: Path, kit: Path, lures: Lures) -> Path:
    path = folder / "a.img"
    path.write_text(
        '<VRTDataset rasterXSize="4" rasterYSize="4"><VRTRasterBand dataType="Byte" band="1" '
        'subClass="VRTDerivedRasterBand"><PixelFunctionLanguage>Python</PixelFunctionLanguage>'
        f"<PixelFunctionType>f</PixelFunctionType><PixelFunctionCode>open('{lures.new}','w')"
        "</PixelFunctionCode></VRTRasterBand></VRTDataset>"
    )
    return path


@raster
def mrf(folder: Path, kit: Path, lures: Lures) -> Path:
    path = folder / "a.tif"
    path.write_text(mrf_xml(lures.new))
    return path


@raster
def wms(folder: Path, kit: Path, lures: Lures) -> Path:
    path = folder / "a.png"
    path.write_text(
        f'<GDAL_WMS><Service name="TMS"><ServerUrl>{lures.url}/${{z}}</ServerUrl></Service><DataWindow>'
        "<SizeX>128</SizeX><SizeY>128</SizeY></DataWindow><BandsCount>1</BandsCount></GDAL_WMS>"
    )
    return path


@raster
def xml_bomb_named_tif(folder: Path, kit: Path, lures: Lures) -> Path:
    path = folder / "a.tif"
    path.write_text(laughs("VRTDataset"))
    return path


def laughs(root: str) -> str:
    """XML that unfolds to 10^9 words."""
    lines = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
    return f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a0 "lol">{lines}]><{root}>&a9;</{root}>'


@raster
def strip_of_gigabytes(folder: Path, kit: Path, lures: Lures) -> Path:
    return huge_strip_tiff(folder / "a.tif")


@raster
def side_of_a_billion(folder: Path, kit: Path, lures: Lures) -> Path:
    return tiff(folder / "a.tif", _directory(10**9, 10**9, rows=10**9))


@raster
def many_bands(folder: Path, kit: Path, lures: Lures) -> Path:
    path = folder / "a.tif"
    tiff(
        path,
        [entry for entry in _directory(4, 4) if entry[0] not in {258, 277}]
        + [(277, 3, 65535), (258, 3, [8] * 4)],
    )
    return path


@raster
def overview_of_gigabytes(folder: Path, kit: Path, lures: Lures) -> Path:
    """Its overview is one tile of 1 GB."""
    return tiff(
        folder / "a.tif",
        [*_directory(512, 512), *_PLACE],
        [(254, 4, 1), *_packed(256, 256)],
    )


@raster
def mask_of_gigabytes(folder: Path, kit: Path, lures: Lures) -> Path:
    """Its internal mask is one tile of 1 GB."""
    main = [*_directory(512, 512), *_PLACE]
    hidden = [entry for entry in _packed(512, 512) if entry[0] not in {258, 262}] + _MASK
    return tiff(folder / "a.tif", main, hidden)


@raster
def ovr_of_gigabytes(folder: Path, kit: Path, lures: Lures) -> Path:
    path = tiff(folder / "a.tif", [*_directory(512, 512), *_PLACE])
    tiff(folder / "a.tif.ovr", [(254, 4, 1), *_packed(256, 256)])
    return path


@raster
def msk_of_gigabytes(folder: Path, kit: Path, lures: Lures) -> Path:
    path = tiff(folder / "a.tif", [*_directory(512, 512), *_PLACE])
    tiff(folder / "a.tif.msk", _packed(512, 512))
    return path


@raster
def loop_of_directories(folder: Path, kit: Path, lures: Lures) -> Path:
    path = tiff(folder / "a.tif", [*_directory(128, 128), *_PLACE])
    content = bytearray(path.read_bytes())
    entries = struct.unpack("<H", content[8:10])[0]
    content[10 + 12 * entries : 14 + 12 * entries] = struct.pack("<I", 8)
    path.write_bytes(content)
    return path


@raster
def ten_thousand_directories(folder: Path, kit: Path, lures: Lures) -> Path:
    return tiff(
        folder / "a.tif", [*_directory(128, 128), *_PLACE], *[[(254, 4, 1), *_directory(64, 64)]] * 10_000
    )


@raster
def bomb_deflate(folder: Path, kit: Path, lures: Lures) -> Path:
    return _bomb(folder / "a.tif", compress="deflate")


@raster
def bomb_zstd(folder: Path, kit: Path, lures: Lures) -> Path:
    return _bomb(folder / "a.tif", compress="zstd")


@raster
def bomb_lzw(folder: Path, kit: Path, lures: Lures) -> Path:
    return _bomb(folder / "a.tif", compress="lzw")


@raster
def bomb_lerc(folder: Path, kit: Path, lures: Lures) -> Path:
    return _bomb(folder / "a.tif", compress="lerc_zstd")


@raster
def bomb_webp(folder: Path, kit: Path, lures: Lures) -> Path:
    return _bomb(folder / "a.tif", compress="webp", bands=3, interleave="pixel")


@raster
def bomb_jpeg(folder: Path, kit: Path, lures: Lures) -> Path:
    return _bomb(folder / "a.tif", compress="jpeg")


def _bomb(path: Path, bands: int = 1, **options: Any) -> Path:
    """6144 x 6144 px in blocks of 2048, of which one is there and all others are the same bytes."""
    side = 2048
    with rasterio.open(
        path, "w", driver="GTiff", width=6144, height=6144, count=bands, dtype="uint8", tiled=True,
        blockxsize=side, blockysize=side, sparse_ok=True, crs=UTM, transform=north_up(), **options,
    ) as dataset:  # fmt: skip
        dataset.write(np.ones((bands, side, side), np.uint8), window=Window(0, 0, side, side))
    return path


@raster
def more_in_the_block_than_declared(folder: Path, kit: Path, lures: Lures) -> Path:
    """A strip of 16 kB whose deflate stream unfolds to a gigabyte."""
    packer = zlib.compressobj(9)
    packed = b"".join([*(packer.compress(bytes(10**6)) for _ in range(1000)), packer.flush()])
    return _replace_block(folder / "a.tif", packed, 8)


@raster
def webp_larger_than_its_block(folder: Path, kit: Path, lures: Lures) -> Path:
    large = folder / "large.tif"
    _good_rgb(large, 16_000, compress="webp", webp_lossless=True)
    data = _first_block(large)
    large.unlink()
    return _replace_block(folder / "a.tif", data, 50001, bands=3)


@raster
def jpeg_larger_than_its_block(folder: Path, kit: Path, lures: Lures) -> Path:
    large = folder / "large.jpg"
    shape = {"width": 16_000, "height": 16_000, "count": 3, "dtype": "uint8"}
    with not_georeferenced_is_fine(), rasterio.open(large, "w", driver="JPEG", **shape) as file:
        file.write(np.zeros((3, 16_000, 16_000), np.uint8))
    data = large.read_bytes()
    large.unlink()
    return _replace_block(folder / "a.tif", data, 7, bands=3)


def _good_rgb(path: Path, side: int, **options: Any) -> None:
    write_scene(path, np.zeros((3, side, side), np.uint8), tiled=True, blockxsize=side, blockysize=side,
                interleave="pixel", **options)  # fmt: skip


def _first_block(path: Path) -> bytes:
    with rasterio.open(path) as dataset:
        offset = int(dataset.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1))
        size = int(dataset.get_tag_item("BLOCK_SIZE_0_0", "TIFF", bidx=1))
    return path.read_bytes()[offset : offset + size]


def _replace_block(path: Path, data: bytes, compression: int, bands: int = 1) -> Path:
    """A TIFF of 128 x 128 px whose only strip is ``data``."""
    extra = [] if bands == 1 else [(284, 3, 1)]
    entries = [
        (256, 4, 128), (257, 4, 128), (258, 3, [8] * bands), (259, 3, compression),
        (262, 3, 1 if bands == 1 else 6 if compression == 7 else 2), (273, 4, 2**24), (277, 3, bands),
        (278, 4, 128),
        (279, 4, len(data)), *extra, *_PLACE,
    ]  # fmt: skip
    tiff(path, entries)
    at = path.stat().st_size
    tiff(path, [(273, 4, at) if entry[0] == 273 else entry for entry in entries])
    with path.open("ab") as file:
        file.write(data)
    return path


@raster
def png_of_a_billion(folder: Path, kit: Path, lures: Lures) -> Path:
    return _png(folder / "a.png", 2**31 - 1, 2**31 - 1)


@raster
def png_of_gigabytes(folder: Path, kit: Path, lures: Lures) -> Path:
    return _png(folder / "a.png", 30_000, 30_000, interlaced=True)


def _png(path: Path, width: int, height: int, *, interlaced: bool = False) -> Path:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, int(interlaced))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(10**7)))
        + chunk(b"IEND", b"")
    )
    return path


@raster
def png_text_bomb(folder: Path, kit: Path, lures: Lures) -> Path:
    """A packed comment and a packed colour profile that unfold to a gigabyte each."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    packed = b"".join([*(packer.compress(bytes(10**6)) for _ in range(1000)), packer.flush()])
    path = folder / "a.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 128, 128, 8, 0, 0, 0, 0))
        + chunk(b"iCCP", b"x\0\0" + packed)
        + chunk(b"zTXt", b"Comment\0\0" + packed)
        + chunk(b"IDAT", zlib.compress(bytes(129 * 128)))
        + chunk(b"IEND", b"")
    )
    return path


@raster
def jpeg_of_gigabytes(folder: Path, kit: Path, lures: Lures) -> Path:
    """A progressive JPEG that declares 65,500 x 65,500 px: libjpeg keeps all of them."""
    small = folder / "small.jpg"
    with rasterio.open(
        small, "w", driver="JPEG", width=64, height=64, count=3, dtype="uint8", progressive=True
    ) as file:
        file.write(np.zeros((3, 64, 64), np.uint8))
    content = bytearray(small.read_bytes())
    small.unlink()
    at = content.index(b"\xff\xc2") + 5
    content[at : at + 4] = struct.pack(">HH", 65_500, 65_500)
    path = folder / "a.jpg"
    path.write_bytes(content)
    return path


@raster
def jp2_of_gigabytes(folder: Path, kit: Path, lures: Lures) -> Path:
    """A JPEG 2000 of 64 px that declares one tile of 20,000 x 20,000."""
    return _jp2(folder / "a.jp2", 20_000)


@raster
def jp2_of_a_billion(folder: Path, kit: Path, lures: Lures) -> Path:
    return _jp2(folder / "a.jp2", 2**31 - 1)


def _jp2(path: Path, side: int) -> Path:
    size = struct.pack(">HIIIIIIIIHBBB", 0, side, side, 0, 0, side, side, 0, 0, 1, 7, 1, 1)
    siz = b"\xff\x51" + struct.pack(">H", len(size) + 2) + size
    cod = b"\xff\x52" + struct.pack(">HBBHBBBBBB", 12, 0, 0, 1, 0, 5, 4, 4, 0, 1)
    qcd = b"\xff\x5c" + struct.pack(">HB", 19, 0x40) + bytes([0x40] * 16)
    sot = b"\xff\x90" + struct.pack(">HHIBB", 10, 0, 0, 0, 1)
    path.write_bytes(b"\xff\x4f" + siz + cod + qcd + sot + b"\xff\x93" + bytes(64) + b"\xff\xd9")
    return path


@raster
def hfa_spills_elsewhere(folder: Path, kit: Path, lures: Lures) -> Path:
    """An Erdas image that keeps its pixels in a file of another folder."""
    os.environ["USE_SPILL"] = "YES"
    path = folder / "a.img"
    with (
        rasterio.Env(USE_SPILL=True),
        rasterio.open(
            path, "w", driver="HFA", width=128, height=128, count=1, dtype="uint8", use_spill=True
        ) as file,
    ):
        file.write(np.full((1, 128, 128), 77, np.uint8))
    spill = folder / "a.ige"
    target = Path(lures.folder) / "s.ige"
    if spill.exists():
        spill.rename(target)
    relative = os.path.relpath(target, folder).encode()
    content = path.read_bytes()
    # Only a name that fits can be put in.
    link = folder / "l"
    if b"a.ige" in content and len(relative) > 5:
        link.mkdir()
        path.write_bytes(content.replace(b"a.ige", b"/" + b"s.ig"))
    return path


# Beside a good raster.


def _sidecar(name: str) -> Callable[[Callable[[Path, Path, Lures], str | bytes | None]], Any]:
    def register(make: Callable[[Path, Path, Lures], str | bytes | None]) -> Any:
        def whole(folder: Path, kit: Path, lures: Lures) -> Path:
            path = _good(folder / "a.tif")
            content = make(folder, kit, lures)
            if content is not None:
                (folder / f"a{name}").write_bytes(content.encode() if isinstance(content, str) else content)
            return path

        RASTERS[make.__name__] = whole
        return make

    return register


def _pam(inside: str) -> str:
    return f"<PAMDataset>{inside}</PAMDataset>"


def _overviews(target: str) -> str:
    return _pam(f'<Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">{target}</MDI></Metadata>')


@_sidecar(".tif.ovr")
def ovr_vrt_of_a_url(folder: Path, kit: Path, lures: Lures) -> str:
    return raw_vrt(f"/vsicurl/{lures.url}/x.tif", size=64)


@_sidecar(".tif.ovr")
def ovr_vrt_of_a_file(folder: Path, kit: Path, lures: Lures) -> str:
    return raw_vrt(lures.text, size=64)


@_sidecar(".tif.ovr")
def ovr_damaged(folder: Path, kit: Path, lures: Lures) -> bytes:
    return b"II*\0" + bytes(4)


@_sidecar(".tif.aux.xml")
def aux_overview_at_a_url(folder: Path, kit: Path, lures: Lures) -> str:
    return _overviews(f"/vsicurl/{lures.url}/x.tif")


@_sidecar(".tif.aux.xml")
def aux_overview_elsewhere(folder: Path, kit: Path, lures: Lures) -> str:
    return _overviews(lures.raster)


@_sidecar(".tif.aux.xml")
def aux_overview_is_text(folder: Path, kit: Path, lures: Lures) -> str:
    return _overviews(lures.text)


@_sidecar(".tif.aux.xml")
def aux_overview_relative(folder: Path, kit: Path, lures: Lures) -> str:
    return _overviews(":::BASE:::" + os.path.relpath(lures.raster, folder))


@_sidecar(".tif.aux.xml")
def aux_laughs(folder: Path, kit: Path, lures: Lures) -> str:
    return laughs("PAMDataset")


@_sidecar(".tif.aux.xml")
def aux_external_entity(folder: Path, kit: Path, lures: Lures) -> str:
    names = "<PAMRasterBand band='1'><CategoryNames><Category>&x;</Category></CategoryNames></PAMRasterBand>"
    return f'<!DOCTYPE x [<!ENTITY x SYSTEM "file://{lures.text}">]>' + _pam(names)


@_sidecar(".tif.aux.xml")
def aux_external_dtd(folder: Path, kit: Path, lures: Lures) -> str:
    return f'<!DOCTYPE x SYSTEM "{lures.url}/x.dtd">' + _pam("")


@_sidecar(".tif.aux.xml")
def aux_deep(folder: Path, kit: Path, lures: Lures) -> str:
    return "<PAMDataset>" + "<a>" * 100_000 + "</a>" * 100_000 + "</PAMDataset>"


@_sidecar(".tif.aux.xml")
def aux_cut_short(folder: Path, kit: Path, lures: Lures) -> str:
    return _pam("<PAMRasterBand band='1'><NoDataValue>2</NoDataValue></PAMRasterBand>")[:40]


@_sidecar(".tif.aux.xml")
def aux_is_a_pipe(folder: Path, kit: Path, lures: Lures) -> None:
    os.mkfifo(folder / "a.tif.aux.xml")


@_sidecar(".tif.ovr")
def ovr_is_a_pipe(folder: Path, kit: Path, lures: Lures) -> None:
    os.mkfifo(folder / "a.tif.ovr")


@_sidecar(".tif.msk")
def msk_is_a_pipe(folder: Path, kit: Path, lures: Lures) -> None:
    os.mkfifo(folder / "a.tif.msk")


@_sidecar(".tfw")
def tfw_is_a_pipe(folder: Path, kit: Path, lures: Lures) -> None:
    os.mkfifo(folder / "a.tfw")


@_sidecar(".tif.aux.xml")
def aux_links_elsewhere(folder: Path, kit: Path, lures: Lures) -> None:
    (folder / "a.tif.aux.xml").symlink_to(lures.text)


@_sidecar(".tif.ovr")
def ovr_links_elsewhere(folder: Path, kit: Path, lures: Lures) -> None:
    (folder / "a.tif.ovr").symlink_to(lures.raster)


@_sidecar(".tif.msk")
def msk_links_elsewhere(folder: Path, kit: Path, lures: Lures) -> None:
    (folder / "a.tif.msk").symlink_to(lures.raster)


@_sidecar(".tif.aux.xml")
def aux_links_to_itself(folder: Path, kit: Path, lures: Lures) -> None:
    (folder / "a.tif.aux.xml").symlink_to("a.tif.aux.xml")


@_sidecar(".tif.msk")
def msk_damaged(folder: Path, kit: Path, lures: Lures) -> bytes:
    return b"II*\0" + bytes(40)


@_sidecar(".tif.msk")
def msk_is_a_vrt(folder: Path, kit: Path, lures: Lures) -> str:
    return raw_vrt(lures.text, size=128)


@_sidecar(".tif.msk")
def msk_of_another_size(folder: Path, kit: Path, lures: Lures) -> None:
    path = write_scene(folder / "m.tif", np.zeros((1, 32, 32), np.uint8), crs=None)
    path.rename(folder / "a.tif.msk")


@_sidecar(".tif.aux.xml")
def aux_crs_with_grids(folder: Path, kit: Path, lures: Lures) -> str:
    wkt = (
        'GEOGCS["x",DATUM["x",SPHEROID["x",6378137,298.25],EXTENSION["PROJ4_GRIDS","'
        f'{lures.text}"]],PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433]]'
    )
    return _pam(f"<SRS>{_escaped(wkt)}</SRS><GeoTransform>15,0.001,0,45,0,-0.001</GeoTransform>")


@_sidecar(".tif.aux.xml")
def aux_crs_by_proj(folder: Path, kit: Path, lures: Lures) -> str:
    wkt = (
        'PROJCS["x",GEOGCS["x",DATUM["x",SPHEROID["x",6378137,298.25]],PRIMEM["Greenwich",0],'
        'UNIT["degree",0.0174532925199433]],PROJECTION["custom_proj4"],UNIT["m",1],'
        f'EXTENSION["PROJ4","+proj=utm +zone=33 +ellps=GRS80 +nadgrids={lures.text} +wktext"]]'
    )
    return _pam(f"<SRS>{_escaped(wkt)}</SRS><GeoTransform>500000,0.5,0,5000000,0,-0.5</GeoTransform>")


@_sidecar(".tif.aux.xml")
def aux_crs_is_a_path(folder: Path, kit: Path, lures: Lures) -> str:
    return _pam(f"<SRS>{lures.text}</SRS>")


@_sidecar(".tif.aux.xml")
def aux_crs_is_a_url(folder: Path, kit: Path, lures: Lures) -> str:
    return _pam(f"<SRS>{lures.url}/x.prj</SRS>")


@_sidecar(".tif.aux.xml")
def aux_crs_is_a_pipeline(folder: Path, kit: Path, lures: Lures) -> str:
    return _pam(f"<SRS>+init={lures.text}:1 +type=crs</SRS>")


@_sidecar(".tif.aux.xml")
def aux_table_bomb(folder: Path, kit: Path, lures: Lures) -> str:
    field = "<FieldDefn index='0'><Name>v</Name><Type>0</Type><Usage>0</Usage></FieldDefn>"
    rows = "<Row index='2147483647'><F>1</F></Row>"
    return _pam(
        f"<PAMRasterBand band='1'><GDALRasterAttributeTable>{field}{rows}</GDALRasterAttributeTable>"
        "<Histograms><HistItem><HistMin>0</HistMin><HistMax>1</HistMax><BucketCount>2147483647</BucketCount>"
        "<HistCounts>0|1</HistCounts></HistItem></Histograms></PAMRasterBand>"
    )


@_sidecar(".tif.aux.xml")
def aux_a_million_names(folder: Path, kit: Path, lures: Lures) -> str:
    return _pam(
        "<PAMRasterBand band='1'><CategoryNames>"
        + "<Category>a</Category>" * 100_000
        + "</CategoryNames></PAMRasterBand>"
    )


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")


@raster
def overview_elsewhere_by_its_own_tag(folder: Path, kit: Path, lures: Lures) -> Path:
    """The TIFF itself says where its overviews are."""
    path = _good(folder / "a.tif")
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=lures.raster)
    return path


@raster
def tag_classes_deep(folder: Path, kit: Path, lures: Lures) -> Path:
    return _tagged(folder, '{"names":' + "[" * 5000 + "]" * 5000 + "}")


@raster
def tag_classes_nested(folder: Path, kit: Path, lures: Lures) -> Path:
    return _tagged(folder, '{"names":["a"],"colors":["#000000"],"background":' + "[" * 900 + "]" * 900 + "}")


@raster
def tag_classes_huge_number(folder: Path, kit: Path, lures: Lures) -> Path:
    return _tagged(folder, '{"names":["a"],"colors":["#000000"],"background":' + "9" * 4000 + "}")


@raster
def tag_classes_longer_number(folder: Path, kit: Path, lures: Lures) -> Path:
    return _tagged(folder, '{"names":["a"],"colors":["#000000"],"background":' + "9" * 9000 + "}")


@raster
def tag_classes_twice(folder: Path, kit: Path, lures: Lures) -> Path:
    return _tagged(folder, '{"names":["a"],"names":[1],"colors":["#000000"]}')


@raster
def tag_classes_surrogate(folder: Path, kit: Path, lures: Lures) -> Path:
    return _tagged(
        folder, '{"names":["a","\\ud800","c","d"],"colors":["#000000","#000000","#000000","#000000"]}'
    )


@raster
def tag_classes_million(folder: Path, kit: Path, lures: Lures) -> Path:
    return _tagged(folder, json.dumps({"names": ["a"] * 100_000, "colors": ["#000000"] * 100_000}))


@raster
def tag_classes_long_name(folder: Path, kit: Path, lures: Lures) -> Path:
    names = ["a" * 500_000, "b", "c", "d"]
    return _tagged(folder, json.dumps({"names": names, "colors": ["#000000"] * 4}))


def _tagged(folder: Path, text: str) -> Path:
    return _good(folder / "a.tif", nodata=255, tags={CLASSES_TAG: text})


@raster
def transform_not_finite(folder: Path, kit: Path, lures: Lures) -> Path:
    entries = [*_directory(128, 128), (33550, 12, [float("inf"), float("nan"), 0.0]),
               (33922, 12, [0.0, 0.0, 0.0, float("nan"), 1e308, 0.0])]  # fmt: skip
    return tiff(folder / "a.tif", entries)
