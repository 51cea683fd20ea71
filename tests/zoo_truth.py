"""What GDAL itself makes of a raster of the zoo, and whether a verb's output agrees with it bit for bit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import rasterio
import scenes
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.features import rasterize
from rasterio.rpc import RPC
from rasterio.transform import from_gcps
from zoo_makers import MOSAIC_OF

Gcps = tuple[list[tuple[float, ...]], CRS | None]


@dataclass(frozen=True, kw_only=True)
class Truth:
    """A raster as rasterio reads it.

    Attributes:
        bands: (B, H, W) without alpha.
        known: (B, H, W), where each band has a value.
        transform: as rasterio gives it.
        crs: of the transform.
        gcps: (row, col, x, y, z) and their CRS.
        nodata: of the first band.
        rpcs: rational polynomials, if any.
    """

    bands: NDArray[Any]
    known: NDArray[np.bool_]
    transform: Affine
    crs: CRS | None
    gcps: Gcps
    nodata: float | None
    rpcs: RPC | None

    @property
    def valid(self) -> NDArray[np.bool_]:
        """(H, W), where any band has a value."""
        return self.known.any(axis=0)

    @property
    def affine(self) -> Affine:
        """The transform, or what the control points say."""
        if not self.gcps[0]:
            return self.transform
        points = [rasterio.control.GroundControlPoint(*point[:4]) for point in self.gcps[0]]
        return from_gcps(points)


def opened(path: Path) -> Any:
    """A raster by rasterio; of a mosaic, which GDAL may not open here, what it was cut from."""
    return rasterio.open(path.with_name(MOSAIC_OF) if path.suffix == ".vrt" else path)


def look(path: Path) -> Truth:
    """What rasterio says of a readable raster."""
    with scenes.not_georeferenced_is_fine(), opened(path) as dataset:
        alpha = [band for band, kind in enumerate(dataset.colorinterp, 1) if kind is ColorInterp.alpha]
        wanted = [band for band in dataset.indexes if band not in alpha]
        bands = dataset.read(wanted)
        known = dataset.read_masks(wanted) > 0
        if np.issubdtype(bands.dtype, np.floating):
            known &= np.isfinite(bands)
        return Truth(
            bands=bands,
            known=known,
            transform=dataset.transform,
            crs=dataset.crs,
            gcps=_gcps(dataset),
            nodata=dataset.nodatavals[wanted[0] - 1],
            rpcs=dataset.rpcs,
        )


def _gcps(dataset: Any) -> Gcps:
    points, crs = dataset.gcps
    return [(point.row, point.col, point.x, point.y, point.z) for point in points], crs if points else None


def check_info(path: Path, facts: Mapping[str, Any]) -> None:
    """What ``info --json`` printed."""
    with scenes.not_georeferenced_is_fine(), opened(path) as dataset:
        assert facts["size_px"] == [dataset.width, dataset.height]
        assert [band["dtype"] for band in facts["bands"]] == list(dataset.dtypes)
        for band, nodata in zip(facts["bands"], dataset.nodatavals, strict=True):
            assert band["nodata"] == nodata or (band["nodata"] == "nan" and np.isnan(nodata))
        points, crs = _gcps(dataset)
        assert facts["gcps"] == len(points)
        crs = dataset.crs or crs
        assert facts["crs"] is None or CRS.from_string(facts["crs"]) == crs
        assert (facts["crs_name"] is None) == (crs is None)
        placed = dataset.transform != Affine.identity()
        assert facts["transform"] == (list(dataset.transform)[:6] if placed else None)
        xs, ys = zip(*[dataset.transform @ corner for corner in corners_of(dataset)], strict=True)
        assert facts["bounds"] == ([min(xs), min(ys), max(xs), max(ys)] if placed else None)


def corners_of(dataset: Any) -> list[tuple[int, int]]:
    """Pixel coordinates of the corners."""
    return [(0, 0), (dataset.width, 0), (0, dataset.height), (dataset.width, dataset.height)]


def check_mask(truth: Truth, path: Path, classes: int) -> None:
    """What ``predict`` wrote: the scene's place bit for bit, 255 exactly where the scene has no pixel."""
    with scenes.not_georeferenced_is_fine(), rasterio.open(path) as mask:
        assert (mask.dtypes, mask.nodata) == (("uint8",), 255.0)
        ids = mask.read(1)
        assert mask.transform == truth.transform
        assert mask.crs == truth.crs
        assert _gcps(mask) == truth.gcps
        assert mask.rpcs == truth.rpcs
    np.testing.assert_array_equal(ids == 255, ~truth.valid)
    assert not truth.valid.any() or ids[truth.valid].max() < classes


def check_chips(truth: Truth, folder: Path, ids: NDArray[np.uint8], size_px: int) -> None:
    """What ``tile`` cut: the scene's pixels, 0 and masked where there are none, each chip at its place."""
    expected = np.where(truth.valid, truth.bands, truth.bands.dtype.type(0))
    if np.issubdtype(expected.dtype, np.floating):
        expected[~truth.known & truth.valid & np.isfinite(expected)] = np.nan
    seen = np.zeros_like(truth.valid)
    for chip in json.loads((folder / "chips.json").read_text())["chips"]:
        col, row, width, height = chip["window"]
        rows, cols = slice(row, row + height), slice(col, col + width)
        inside = (slice(0, truth.valid.shape[0] - row), slice(0, truth.valid.shape[1] - col))
        with (
            scenes.not_georeferenced_is_fine(),
            rasterio.open(folder / f"images/{chip['name']}.tif") as image,
        ):
            assert (image.height, image.width) == (size_px, size_px)
            np.testing.assert_array_equal(image.read()[:, *inside], expected[:, rows, cols])
            np.testing.assert_array_equal(image.dataset_mask()[inside] > 0, truth.valid[rows, cols])
            assert image.dataset_mask().astype(bool).sum() == truth.valid[rows, cols].sum()
            shifted = truth.transform @ Affine.translation(col, row)
            assert image.transform == (truth.transform if truth.gcps[0] else shifted)
            assert image.crs == truth.crs
            if truth.rpcs is not None:
                assert (image.rpcs.samp_off, image.rpcs.line_off) == (
                    truth.rpcs.samp_off - col,
                    truth.rpcs.line_off - row,
                )
                assert image.rpcs.line_num_coeff == truth.rpcs.line_num_coeff
            points, crs = _gcps(image)
            assert crs == truth.gcps[1]
            assert points == [(p[0] - row, p[1] - col, *p[2:]) for p in truth.gcps[0]]
        with (
            scenes.not_georeferenced_is_fine(),
            rasterio.open(folder / f"labels/{chip['name']}.tif") as labels,
        ):
            np.testing.assert_array_equal(labels.read(1)[inside], np.where(truth.valid, ids, 255)[rows, cols])
        seen[rows, cols] = True
    assert (seen | ~truth.valid).all()


def check_polygons(truth: Truth, path: Path) -> None:
    """What ``vectorize --simplify 0`` drew: burned again by GDAL, it is the mask."""
    polygons = geopandas.read_file(path, layer="parcels")
    crs = truth.gcps[1] if truth.gcps[0] else truth.crs
    placed = truth.gcps[0] or truth.transform != Affine.identity()
    assert polygons.crs == (crs if placed else None)
    burned = rasterize(
        zip(polygons.geometry, polygons["class_id"], strict=True),
        out_shape=truth.valid.shape,
        transform=truth.affine,
        fill=255,
        dtype="uint8",
    )
    np.testing.assert_array_equal(burned, np.where(truth.valid, truth.bands[0], 255))


def check_scores(truth: Truth, scores: Mapping[str, Any]) -> None:
    """What ``evaluate --json`` says of ids against themselves."""
    assert scores["miou"] == 1.0
    assert scores["pixels"] == truth.valid.sum()
