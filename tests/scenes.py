"""Tiny rasters and labels with a known answer, for the tests of every room."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning
from rasterio.rpc import RPC
from tiff_directories import tiff_header

import geoseg.raster.gdal  # noqa: F401  tames GDAL before any test opens a file

UTM = "EPSG:32633"
ORIGIN = (500_000.0, 5_000_000.0)


def north_up(
    pixel: float = 0.5, *, origin: tuple[float, float] = ORIGIN, pixel_y: float | None = None
) -> Affine:
    """Transform of a north-up grid; ``origin`` is its upper left corner."""
    return Affine(pixel, 0.0, origin[0], 0.0, -(pixel_y or pixel), origin[1])


def south_up(pixel: float = 0.5, *, origin: tuple[float, float] = ORIGIN) -> Affine:
    """Transform whose first row is the southernmost."""
    return Affine(pixel, 0.0, origin[0], 0.0, pixel, origin[1])


def rotated(degrees: float = 30.0, pixel: float = 0.5, *, origin: tuple[float, float] = ORIGIN) -> Affine:
    """Transform turned around the upper left corner."""
    return Affine.translation(*origin) @ Affine.rotation(degrees) @ Affine.scale(pixel, -pixel)


def some_gcps(height: int, width: int, pixel: float = 0.5) -> list[GroundControlPoint]:
    """Four ground control points at the corners of a scene."""
    x, y = ORIGIN
    return [
        GroundControlPoint(row, col, x + col * pixel, y - row * pixel, 0.0, id=str(i), info="")
        for i, (row, col) in enumerate([(0, 0), (0, width), (height, 0), (height, width)], 1)
    ]


def some_rpcs() -> RPC:
    """Rational polynomials of a camera that looks straight down on 40 x 56 pixels."""
    return RPC(
        height_off=100.0, height_scale=500.0, lat_off=45.0, lat_scale=0.1, line_off=20.0, line_scale=20.0,
        long_off=15.0, long_scale=0.1, samp_off=28.0, samp_scale=28.0,
        line_num_coeff=[0.0, 0.0, -1.0, *[0.0] * 17], line_den_coeff=[1.0, *[0.0] * 19],
        samp_num_coeff=[0.0, 1.0, *[0.0] * 18], samp_den_coeff=[1.0, *[0.0] * 19],
    )  # fmt: skip


@contextlib.contextmanager
def not_georeferenced_is_fine() -> Iterator[None]:
    """Silence rasterio's warning about rasters without a transform."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def write_scene(
    path: Path,
    bands: NDArray[Any],
    *,
    crs: str | None = UTM,
    transform: Affine | None = None,
    gcps: Sequence[GroundControlPoint] | None = None,
    nodata: float | None = None,
    mask: NDArray[Any] | None = None,
    alpha: NDArray[Any] | None = None,
    colormap: Mapping[int, tuple[int, int, int]] | None = None,
    descriptions: Sequence[str] | None = None,
    tags: Mapping[str, str] | None = None,
    **options: Any,
) -> Path:
    """Write a raster.

    Args:
        path: where to; the driver is GTiff unless ``options`` names another.
        bands: (B, H, W), or (H, W) for one band.
        crs: CRS of ``transform`` or of ``gcps``; ``None`` writes none.
        transform: defaults to :func:`north_up`, unless there are ``gcps`` or no ``crs``.
        gcps: ground control points in place of a transform.
        nodata: declared nodata value.
        mask: (H, W), internal mask, True where valid.
        alpha: (H, W), appended as an alpha band.
        colormap: palette of a single-band raster.
        descriptions: band names.
        tags: dataset tags.
        options: further GDAL creation options (``tiled=True``, ``nbits=1``, ...).
    """
    bands = bands[np.newaxis] if bands.ndim == 2 else bands
    if alpha is not None:
        bands = np.concatenate([bands, alpha[np.newaxis].astype(bands.dtype)])
    if transform is None and gcps is None and crs is not None:
        transform = north_up()
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "count": len(bands),
        "height": bands.shape[1],
        "width": bands.shape[2],
        "dtype": bands.dtype.name,
        "crs": crs,
        "transform": transform,
        "gcps": list(gcps) if gcps else None,
        "nodata": nodata,
    } | options
    if alpha is not None and len(bands) in {2, 4}:
        # What an extra band is must be said when the file is made.
        profile |= {"alpha": "yes"} if len(bands) == 2 else {"alpha": "yes", "photometric": "RGB"}
    profile = {key: value for key, value in profile.items() if value is not None}
    with (
        not_georeferenced_is_fine(),
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", **profile) as dataset,
    ):
        dataset.write(bands)
        if mask is not None:
            dataset.write_mask(np.asarray(mask, bool))
        if alpha is not None:
            dataset.colorinterp = [*dataset.colorinterp[:-1], ColorInterp.alpha]
        if colormap is not None:
            dataset.write_colormap(1, dict(colormap))
        for band, description in enumerate(descriptions or (), 1):
            dataset.set_band_description(band, description)
        if tags:
            dataset.update_tags(**tags)
    return path


def ramp(bands: int, height: int, width: int, dtype: str = "uint8") -> NDArray[Any]:
    """(B, H, W) of values that differ between neighbours and bands; never 0."""
    values = np.arange(bands * height * width).reshape(bands, height, width) % 250 + 1
    return values.astype(dtype)


def write_labels(
    path: Path,
    geometries: Sequence[Any],
    *,
    crs: str | None = UTM,
    columns: Mapping[str, Sequence[Any]] | None = None,
) -> Path:
    """Write vector labels in the format of the suffix (.gpkg .geojson .fgb .shp .parquet)."""
    frame = geopandas.GeoDataFrame(dict(columns or {}), geometry=list(geometries), crs=crs)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
        return path
    with warnings.catch_warnings():
        # pyogrio warns about layers without CRS, which some tests want.
        warnings.simplefilter("ignore", UserWarning)
        frame.to_file(path, engine="pyogrio")
    return path


def pixel_box(transform: Affine, row: int, col: int, height: int, width: int) -> shapely.Polygon:
    """Polygon of the outline of a block of pixels, in CRS coordinates; right for turned grids too."""
    corners = [(col, row), (col + width, row), (col + width, row + height), (col, row + height)]
    return shapely.Polygon([transform @ corner for corner in corners])


def write_class_raster(path: Path, ids: NDArray[Any], **keywords: Any) -> Path:
    """Write class ids (H, W) as raster labels or as a mask; keywords as for :func:`write_scene`."""
    return write_scene(path, ids, **keywords)


def huge_strip_tiff(path: Path, width: int = 2_147_483_647) -> Path:
    """Write a TIFF of some 160 bytes that declares one scanline of ``width`` pixels."""
    return tiff_header(path, width=width, height=1, rows=1, strip_bytes=min(width, 2**32 - 1))


def raw_vrt(source: str, *, size: int = 4) -> str:
    """XML of a VRT that reads the raw bytes of ``source`` as pixels."""
    return (
        f'<VRTDataset rasterXSize="{size}" rasterYSize="{size}">'
        '<VRTRasterBand dataType="Byte" band="1" subClass="VRTRawRasterBand">'
        f'<SourceFilename relativeToVRT="0">{source}</SourceFilename>'
        f"<ImageOffset>0</ImageOffset><PixelOffset>1</PixelOffset><LineOffset>{size}</LineOffset>"
        "</VRTRasterBand></VRTDataset>"
    )


def mrf_xml(data_file: str) -> str:
    """XML of an MRF whose data file GDAL would create."""
    return (
        '<MRF_META><Raster><Size x="4" y="4" c="1"/><PageSize x="4" y="4" c="1"/>'
        f"<Compression>NONE</Compression><DataFile>{data_file}</DataFile></Raster></MRF_META>"
    )


def geojson_with_crs(path: Path, crs: Mapping[str, Any] | None) -> Path:
    """Write a GeoJSON of one square whose ``crs`` member is ``crs``."""
    ring = [[15.0, 45.0], [15.1, 45.0], [15.1, 45.1], [15.0, 45.1], [15.0, 45.0]]
    feature = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    content: dict[str, Any] = {"type": "FeatureCollection", "features": [feature]}
    if crs is not None:
        content["crs"] = dict(crs)
    path.write_text(json.dumps(content))
    return path
