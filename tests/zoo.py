"""A zoo of odd rasters, each small and made here: what people have, and what happens to it on the way.

:data:`ZOO` is the table. Every animal takes pixels (B, H, W), which are made for its dtype, writes them its
own way, and says which verbs must refuse it and how; all others must give exact results.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import scenes
import zoo_makers as made
from affine import Affine
from models_of_tests import noise
from tiff_directories import tiff_header
from zoo_makers import Make, Pixels


@dataclass(frozen=True, kw_only=True)
class Animal:
    """An odd raster.

    Attributes:
        make: writes pixels (B, H, W) into a folder and returns the file.
        bands: how many bands of pixels it wants.
        dtype: their dtype.
        shape: their height and width.
        refused: exit code and a piece of the error line by verb; ``*`` stands for all verbs.
        holds_ids: whether class ids can be kept in such a file.
    """

    make: Make
    bands: int = 3
    dtype: str = "uint8"
    shape: tuple[int, int] = (40, 56)
    refused: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    holds_ids: bool = False

    def pixels(self, seed: int = 0) -> Pixels:
        """Noise that fits the dtype."""
        values = noise(self.bands, *self.shape, seed=seed)
        return (values // 2 if self.dtype == "int8" else values).astype(self.dtype)

    def refusal(self, verb: str) -> tuple[int, str] | None:
        """Exit code and a piece of the error line of a verb that must refuse; ``None`` when it must not."""
        return self.refused.get(verb, self.refused.get("*"))


def everywhere(code: int, text: str) -> dict[str, tuple[int, str]]:
    """Refused by all verbs."""
    return {"*": (code, text)}


def by_work(text: str) -> dict[str, tuple[int, str]]:
    """Can never be worked with, though ``info`` tells what it is."""
    return {"predict": (2, text), "tile": (2, text)}


def while_reading(text: str) -> dict[str, tuple[int, str]]:
    """What only reading the pixels shows; raster labels are read before any work."""
    return {"predict": (1, text), "tile": (1, text), "vectorize": (1, text), "evaluate": (1, text)}


UNKNOWN = "of an unknown format; give a "
DAMAGED = "is the file damaged?"
NO_PIXEL = "has no valid pixel; check its nodata value or --nodata"

_NUMBERS: dict[str, Animal] = {
    **{
        dtype: Animal(make=made.with_holes(*values, nodata=values[0]), dtype=dtype, bands=1, holds_ids=ids)
        for dtype, values, ids in [
            ("int8", (-7,), False),
            ("int16", (-32768,), True),
            ("uint16", (65535,), True),
            ("int32", (-(2**31),), True),
            ("uint32", (2**32 - 1,), True),
            ("int64", (-9999,), True),
            ("uint64", (0,), True),
            ("float32", (-9999.0,), False),
            ("float64", (-1e300,), False),
        ]
    },
    "1 bit": Animal(make=lambda f, p: made.written(nbits=1)(f, p % 2), bands=1),
    "4 bits": Animal(make=lambda f, p: made.written(nbits=4)(f, p % 16), bands=1),
    "12 bits": Animal(make=made.written(nbits=12), bands=1, dtype="uint16", holds_ids=True),
    "float16": Animal(make=made.with_holes(np.nan, np.inf, nbits=16), bands=1, dtype="float32"),
    "float24": Animal(make=made.written(nbits=24), bands=1, dtype="float32"),
    "complex": Animal(make=made.complex_numbers("complex64"), refused=by_work("holds complex numbers; give")),
    "complex whole numbers": Animal(
        make=made.complex_numbers("complex_int16"), refused=by_work("holds complex numbers; give")
    ),
    "nan": Animal(make=made.with_holes(np.nan), dtype="float32"),
    "nan as nodata": Animal(make=made.with_holes(np.nan, nodata=np.nan), dtype="float64"),
    "inf": Animal(make=made.with_holes(np.inf, -np.inf), dtype="float32"),
    "nodata and nan": Animal(make=made.with_holes(-9999.0, np.nan, nodata=-9999.0), dtype="float32"),
    "nodata a little off": Animal(
        make=made.with_holes(np.finfo(np.float32).min, nodata=-3.4028234663852886e38),
        bands=1,
        dtype="float32",
    ),
    "nodata 0": Animal(make=made.with_holes(0, nodata=0), holds_ids=True),
    "nodata -99 of bytes": Animal(make=made.nodata_beyond(b"-99")),
    "nodata 300 of bytes": Animal(make=made.nodata_beyond(b"300")),
    "nodata 2.5 of bytes": Animal(make=made.nodata_beyond(b"2.5")),
    "nodata nan of bytes": Animal(make=made.nodata_beyond(b"nan")),
    "nodata is no number": Animal(make=made.nodata_beyond(b"n/a")),
    "scale and offset": Animal(make=made.scaled, dtype="int16"),
    "all nodata": Animal(
        make=lambda f, p: made.written(nodata=9)(f, np.full_like(p, 9)), refused={"tile": (2, NO_PIXEL)}
    ),
}
_MASKS: dict[str, Animal] = {
    "palette": Animal(make=made.written(colormap={1: (255, 0, 0), 2: (0, 255, 0)}), bands=1, holds_ids=True),
    "rgba": Animal(make=made.alpha(255)),
    "rgba of 16 bits": Animal(make=made.alpha(65535), dtype="uint16"),
    "grey and alpha": Animal(make=made.alpha(255), bands=1),
    "internal mask": Animal(make=made.internal_mask, holds_ids=True),
    "mask beside": Animal(make=made.mask_beside, holds_ids=True),
    "mask of each band": Animal(make=made.mask_of_each_band),
}
_LIKE_UTM = scenes.north_up()
_PLACES: dict[str, Animal] = {
    "rotated": Animal(make=made.placed(scenes.rotated(30.0)), holds_ids=True),
    "sheared": Animal(make=made.placed(Affine(0.5, 0.2, 500_000.0, 0.1, -0.7, 5_000_000.0)), holds_ids=True),
    "south up": Animal(make=made.placed(scenes.south_up()), holds_ids=True),
    "mirrored": Animal(make=made.placed(Affine(-0.5, 0, 500_000.0, 0, -0.5, 5_000_000.0)), holds_ids=True),
    "turned by 90": Animal(make=made.placed(Affine(0, 0.5, 500_000.0, 0.5, 0, 5_000_000.0)), holds_ids=True),
    "non-square": Animal(make=made.placed(scenes.north_up(0.5, pixel_y=0.8)), holds_ids=True),
    "degrees": Animal(make=made.placed(Affine(1e-5, 0, 15.0, 0, -1e-5, 45.0), "EPSG:4326"), holds_ids=True),
    "beyond 180 degrees": Animal(
        make=made.placed(Affine(0.001, 0, 179.98, 0, -0.001, -17.0), "EPSG:4326"), holds_ids=True
    ),
    "0 to 360 degrees": Animal(make=made.placed(Affine(0.25, 0, 200.0, 0, -0.25, 10.0), "EPSG:4326")),
    "UTM across 180 degrees": Animal(
        make=made.placed(scenes.north_up(1000.0, origin=(810_000.0, 8_100_000.0)), "EPSG:32760"),
        holds_ids=True,
    ),
    "on the pole": Animal(
        make=made.placed(scenes.north_up(100.0, origin=(-2800.0, 2000.0)), "EPSG:3031"), holds_ids=True
    ),
    "degrees to the pole": Animal(
        make=made.placed(Affine(0.5, 0, -14.0, 0, -0.5, 90.0), "EPSG:4326"), holds_ids=True
    ),
    "mercator": Animal(make=made.placed(_LIKE_UTM, "EPSG:3857"), holds_ids=True),
    "feet": Animal(make=made.placed(_LIKE_UTM, "EPSG:2263"), holds_ids=True),
    "own crs": Animal(make=made.placed(_LIKE_UTM, "+proj=laea +lat_0=12 +lon_0=7 +ellps=bessel +units=km")),
    "heights too": Animal(make=made.placed(_LIKE_UTM, "EPSG:32633+5773"), holds_ids=True),
    "crs in three dimensions": Animal(make=made.placed(Affine(1e-5, 0, 15.0, 0, -1e-5, 45.0), "EPSG:4979")),
    "crs beyond geotiff": Animal(make=made.placed(_LIKE_UTM, "ESRI:54049")),
    "local crs": Animal(make=made.placed(_LIKE_UTM, made.LOCAL), holds_ids=True),
    "no crs": Animal(make=made.placed(_LIKE_UTM, None), holds_ids=True),
    "no place": Animal(make=made.written(crs=None), holds_ids=True),
    "crs but no place": Animal(make=made.placed(Affine.identity())),
    "flat": Animal(
        make=made.placed(Affine(0.0, 0.0, 500_000.0, 0.0, 0.0, 5_000_000.0)),
        holds_ids=True,
        refused=dict.fromkeys(
            ("tile", "vectorize", "evaluate"),
            (2, "has a transform that puts all pixels on a line or nowhere; "),
        ),
    ),
    "far away": Animal(make=made.placed(scenes.north_up(0.5, origin=(1e12, -1e12)))),
    "pixel is point": Animal(make=made.written(tags={"AREA_OR_POINT": "Point"}), holds_ids=True),
    "control points": Animal(make=made.ground_points, holds_ids=True),
    "rpc": Animal(make=made.rational_polynomials, holds_ids=True),
    "world file": Animal(make=made.world_file("scene.tif", ".tfw", "GTiff"), holds_ids=True),
    "png and world file": Animal(make=made.world_file("scene.png", ".pgw", "PNG"), holds_ids=True),
    "jpeg and world file": Animal(make=made.world_file("scene.jpg", ".jgw", "JPEG")),
    "place in the sidecar": Animal(make=made.place_in_sidecar, holds_ids=True),
}
_TILED = {"tiled": True, "blockxsize": 16, "blockysize": 16}
STORAGE: dict[str, Animal] = {
    "1 x 1": Animal(make=made.written(), shape=(1, 1), holds_ids=True),
    "a row": Animal(make=made.written(), shape=(1, 131), holds_ids=True),
    "a column": Animal(make=made.written(), shape=(131, 1), holds_ids=True),
    "prime sides": Animal(make=made.written(**_TILED), shape=(67, 89), holds_ids=True),
    "one strip": Animal(make=made.written(blockysize=300), shape=(300, 40)),
    "rows as blocks": Animal(make=made.written(blockysize=1), holds_ids=True),
    "a block larger than all": Animal(make=made.written(tiled=True, blockxsize=512, blockysize=512)),
    "blocks of 16 x 512": Animal(make=made.written(tiled=True, blockxsize=16, blockysize=512)),
    "a mosaic of four files": Animal(make=made.mosaic, holds_ids=True),
    "bands apart": Animal(make=made.written(interleave="band", compress="lzw", **_TILED)),
    "many bands": Animal(make=made.written(interleave="band"), bands=5, dtype="uint16"),
    "too many bands": Animal(
        make=lambda f, p: made.written()(f, np.repeat(p, 70, axis=0)),
        bands=1,
        shape=(8, 8),
        refused=by_work("has 70 bands; choose some of them with --bands"),
    ),
    "jpeg": Animal(make=made.written(compress="jpeg", photometric="YCBCR", **_TILED)),
    "grey jpeg": Animal(make=made.written(compress="jpeg"), bands=1),
    "webp": Animal(make=made.written(compress="webp", WEBP_LOSSLESS="YES", **_TILED)),
    "webp with losses": Animal(make=made.written(compress="webp")),
    "packbits": Animal(make=made.written(compress="packbits"), holds_ids=True),
    "lzw": Animal(make=made.written(compress="lzw", predictor=2), dtype="int16", holds_ids=True),
    "zstd": Animal(make=made.written(compress="zstd", predictor=3), dtype="float32"),
    "deflate": Animal(make=made.written(compress="deflate", predictor=3, **_TILED), dtype="float64"),
    "lzma": Animal(make=made.written(compress="lzma"), holds_ids=True),
    "lerc": Animal(make=made.written(compress="lerc", MAX_Z_ERROR=0.5), dtype="float32"),
    "lerc with nan": Animal(make=made.with_holes(np.nan, compress="lerc"), dtype="float32", bands=1),
    "lerc and zstd": Animal(make=made.written(compress="lerc_zstd", **_TILED), holds_ids=True),
    "fax": Animal(make=lambda f, p: made.written(nbits=1, compress="ccittfax4")(f, p % 2), bands=1),
    "bigtiff": Animal(make=made.written(bigtiff="YES"), holds_ids=True),
    "big endian": Animal(make=made.written(endianness="BIG"), dtype="uint16", holds_ids=True),
    "cog": Animal(make=made.copied("scene.tif", "COG", blocksize=128), shape=(300, 200), holds_ids=True),
    "sparse": Animal(make=made.sparse, holds_ids=True),
    "overviews": Animal(make=made.overviews(internal=True), holds_ids=True),
    "overviews beside": Animal(make=made.overviews(internal=False), holds_ids=True),
    "overviews that are none": Animal(
        make=made.with_sidecar(".ovr", b"II*\x00\x08\x00\x00\x00garbage"),
        refused=by_work("scene.tif.ovr"),
    ),
    "sidecar that is none": Animal(
        make=made.with_sidecar(".aux.xml", b"<PAMDataset><"), refused=everywhere(2, "scene.tif.aux.xml")
    ),
    "mask that is none": Animal(
        make=made.with_sidecar(".msk", b"II*\x00\x08\x00\x00\x00garbage"),
        refused=everywhere(2, "scene.tif.msk"),
    ),
    "two pages": Animal(make=made.two_pages, holds_ids=True),
    "jpeg 2000": Animal(
        make=made.copied("scene.jp2", "JP2OpenJPEG", QUALITY=100, REVERSIBLE="YES"), holds_ids=True
    ),
    "jpeg 2000 of 16 bits": Animal(
        make=made.copied("scene.jp2", "JP2OpenJPEG", QUALITY=100, REVERSIBLE="YES"), bands=1, dtype="uint16"
    ),
    "jpeg 2000 in tiles": Animal(
        make=made.copied("scene.jp2", "JP2OpenJPEG", BLOCKXSIZE=64, BLOCKYSIZE=64), shape=(100, 130)
    ),
    "imagine": Animal(make=made.copied("scene.img", "HFA"), holds_ids=True),
    "compressed imagine": Animal(
        make=made.copied("scene.img", "HFA", COMPRESSED="YES"), bands=1, dtype="int16"
    ),
    "png of 16 bits": Animal(make=made.copied("scene.png", "PNG"), bands=1, dtype="uint16"),
}


def _hopeless(make: Make, text: str, info: str | None = None) -> Animal:
    """No verb can do anything with it; ``info`` may have words of its own."""
    own = {} if info is None else {"info": (2, info)}
    return Animal(make=make, refused=everywhere(2, text) | own, holds_ids=True)


def _damaged(make: Make, text: str, *, bands: int = 3, holds_ids: bool = False) -> Animal:
    return Animal(make=make, refused=while_reading(text), bands=bands, holds_ids=holds_ids)


_STRIPS = {"tiled": False, "blockxsize": None, "blockysize": 4}
_BLOCK_11 = "reading block 1, 1 (columns 16..31, rows 16..31) of "
_BROKEN: dict[str, Animal] = {
    "cut short": _damaged(made.cut_short(0.5), _BLOCK_11, holds_ids=True),
    "cut short, deflate": _damaged(made.cut_short(0.6, compress="deflate"), _BLOCK_11),
    "cut short, strips": _damaged(
        made.cut_short(0.5, **_STRIPS), "reading block 0, 4 (columns 0..55, rows 16..19) of scene "
    ),
    "cut in the header": _hopeless(made.cut_short(0.001), "; "),
    "broken block": _damaged(made.broken_block(1, 1), _BLOCK_11, holds_ids=True),
    "broken block of jpeg": _damaged(made.broken_block(1, 1, compress="jpeg"), _BLOCK_11),
    "broken block of lzw": _damaged(made.broken_block(1, 1, compress="lzw"), _BLOCK_11),
    "broken block of webp": _damaged(made.broken_block(1, 1, compress="webp"), _BLOCK_11),
    "broken block of zstd": _damaged(made.broken_block(1, 1, compress="zstd"), _BLOCK_11),
    "broken block of lerc": _damaged(made.broken_block(1, 1, compress="lerc"), _BLOCK_11),
    "broken block of a band": _damaged(
        made.broken_block(3, 0, band=3, interleave="band"),
        "block 3, 0 (columns 48..55, rows 0..15) of scene ",
    ),
    "broken strip": _damaged(made.broken_block(0, 3, **_STRIPS), "block 0, 3 (columns 0..55, rows 12..15) "),
    "broken block of the mask": _damaged(
        made.broken_mask, "block 0, 0 (columns 0..55, rows 0..39) of scene "
    ),
    "lying header": _hopeless(made.lying_header, "claims 1000000000 x 1000000000 pixels; cut it"),
    "a gigantic strip": _hopeless(
        lambda f, _: scenes.huge_strip_tiff(f / "scene.tif"), "GB each; rewrite it with gdal_translate"
    ),
    "no pixels": _hopeless(lambda f, _: tiff_header(f / "scene.tif", width=0, height=5, rows=1), DAMAGED),
    "blocks beyond the file": _damaged(
        lambda f, _: tiff_header(f / "scene.tif", width=50, height=40, rows=40),
        "reading block 0, 0 (",
        bands=1,
    ),
    "unknown codec": _hopeless(
        made.unknown_codec, "missing codec JXL; rewrite it elsewhere with gdal_translate"
    ),
    "empty": _hopeless(made.bytes_named("scene.tif", b""), "is an empty file; give a "),
    "text": _hopeless(made.bytes_named("scene.tif", b"hello"), UNKNOWN),
    "web page": _hopeless(made.bytes_named("scene.tif", b"<!DOCTYPE html><html>"), "is a web page; "),
    "gif": _hopeless(made.bytes_named("scene.gif", b"GIF89a" + bytes(64)), UNKNOWN),
    "netcdf": _hopeless(
        made.bytes_named("scene.nc", b"\x89HDF\r\n\x1a\n" + bytes(64)), "an HDF or NetCDF file; "
    ),
    "mosaic of anything": _hopeless(
        made.open_mosaic, "has a VRTRawRasterBand, which is more than a mosaic; gdal_translate makes one"
    ),
    "zip": _hopeless(made.zipped, "is a ZIP archive; unpack it first", info="no shard"),
    "zip member": _hopeless(made.zip_member, "is inside of an archive; "),
}

ZOO: dict[str, Animal] = {**_NUMBERS, **_MASKS, **_PLACES, **STORAGE, **_BROKEN}
