"""Hostile files beside a good raster, and hostile tags in one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from hostile_files import Lures, Maker, written
from scenes import raw_vrt, write_scene

from geoseg.raster.mask import CLASSES_TAG


def good(path: Path, **options: Any) -> Path:
    """A raster of ids 1 to 3."""
    ids = np.random.default_rng(0).integers(1, 4, (1, 16, 16))
    return write_scene(path, np.kron(ids, np.ones((1, 8, 8))).astype(np.uint8), **options)


def beside(name: str, content: Callable[[Lures], str | bytes] | str | bytes) -> Maker:
    """A good raster with a file of this content beside it."""

    def make(folder: Path, kit: Path, lures: Lures) -> Path:
        path = good(folder / "a.tif")
        written(f"a{name}", content)(folder, kit, lures)
        return path

    return make


def pipe(name: str) -> Maker:
    """A good raster with a pipe beside it."""

    def make(folder: Path, kit: Path, lures: Lures) -> Path:
        path = good(folder / "a.tif")
        os.mkfifo(folder / f"a{name}")
        return path

    return make


def link(name: str, target: Callable[[Lures], str]) -> Maker:
    """A good raster with a link beside it."""

    def make(folder: Path, kit: Path, lures: Lures) -> Path:
        path = good(folder / "a.tif")
        (folder / f"a{name}").symlink_to(target(lures))
        return path

    return make


AUX, OVR, MSK = ".tif.aux.xml", ".tif.ovr", ".tif.msk"


def pam(inside: str) -> str:
    """XML as GDAL keeps it beside a raster."""
    return f"<PAMDataset>{inside}</PAMDataset>"


def _overviews(target: str) -> str:
    return pam(f'<Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">{target}</MDI></Metadata>')


def laughs(root: str) -> str:
    """XML that unfolds to 10^9 words."""
    lines = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
    return f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a0 "lol">{lines}]><{root}>&a9;</{root}>'


def _external_entity(lures: Lures) -> str:
    names = "<PAMRasterBand band='1'><CategoryNames><Category>&x;</Category></CategoryNames></PAMRasterBand>"
    return f'<!DOCTYPE x [<!ENTITY x SYSTEM "file://{lures.text}">]>' + pam(names)


def _srs(wkt: str, place: str = "") -> str:
    escaped = wkt.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return pam(f"<SRS>{escaped}</SRS>{place}")


def _crs_with_grids(lures: Lures) -> str:
    return _srs(
        'GEOGCS["x",DATUM["x",SPHEROID["x",6378137,298.25],EXTENSION["PROJ4_GRIDS","'
        f'{lures.text}"]],PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433]]',
        "<GeoTransform>15,0.001,0,45,0,-0.001</GeoTransform>",
    )


def _crs_by_proj(lures: Lures) -> str:
    return _srs(
        'PROJCS["x",GEOGCS["x",DATUM["x",SPHEROID["x",6378137,298.25]],PRIMEM["Greenwich",0],'
        'UNIT["degree",0.0174532925199433]],PROJECTION["custom_proj4"],UNIT["m",1],'
        f'EXTENSION["PROJ4","+proj=utm +zone=33 +ellps=GRS80 +nadgrids={lures.text} +wktext"]]',
        "<GeoTransform>500000,0.5,0,5000000,0,-0.5</GeoTransform>",
    )


def _table_bomb() -> str:
    field = "<FieldDefn index='0'><Name>v</Name><Type>0</Type><Usage>0</Usage></FieldDefn>"
    rows = "<Row index='2147483647'><F>1</F></Row>"
    return pam(
        f"<PAMRasterBand band='1'><GDALRasterAttributeTable>{field}{rows}</GDALRasterAttributeTable>"
        "<Histograms><HistItem><HistMin>0</HistMin><HistMax>1</HistMax><BucketCount>2147483647</BucketCount>"
        "<HistCounts>0|1</HistCounts></HistItem></Histograms></PAMRasterBand>"
    )


def _many_names() -> str:
    names = "<Category>a</Category>" * 100_000
    return pam(f"<PAMRasterBand band='1'><CategoryNames>{names}</CategoryNames></PAMRasterBand>")


def msk_of_another_size(folder: Path, kit: Path, lures: Lures) -> Path:
    """A mask of a quarter of its width."""
    path = good(folder / "a.tif")
    write_scene(folder / "m.tif", np.zeros((1, 32, 32), np.uint8), crs=None).rename(folder / f"a{MSK}")
    return path


def overview_elsewhere_by_its_own_tag(folder: Path, kit: Path, lures: Lures) -> Path:
    """The TIFF itself says where its overviews are."""
    path = good(folder / "a.tif")
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=lures.raster)
    return path


SIDECARS: dict[str, Maker] = {
    "ovr_vrt_of_a_url": beside(OVR, lambda lures: raw_vrt(f"/vsicurl/{lures.url}/x.tif", size=64)),
    "ovr_vrt_of_a_file": beside(OVR, lambda lures: raw_vrt(lures.text, size=64)),
    "ovr_damaged": beside(OVR, b"II*\0" + bytes(4)),
    "aux_overview_at_a_url": beside(AUX, lambda lures: _overviews(f"/vsicurl/{lures.url}/x.tif")),
    "aux_overview_elsewhere": beside(AUX, lambda lures: _overviews(lures.raster)),
    "aux_overview_is_text": beside(AUX, lambda lures: _overviews(lures.text)),
    "aux_overview_relative": lambda folder, kit, lures: beside(
        AUX, _overviews(":::BASE:::" + os.path.relpath(lures.raster, folder))
    )(folder, kit, lures),
    "aux_laughs": beside(AUX, laughs("PAMDataset")),
    "aux_external_entity": beside(AUX, _external_entity),
    "aux_external_dtd": beside(AUX, lambda lures: f'<!DOCTYPE x SYSTEM "{lures.url}/x.dtd">' + pam("")),
    "aux_deep": beside(AUX, pam("<a>" * 100_000 + "</a>" * 100_000)),
    "aux_cut_short": beside(
        AUX, pam("<PAMRasterBand band='1'><NoDataValue>2</NoDataValue></PAMRasterBand>")[:40]
    ),
    "aux_is_a_pipe": pipe(AUX),
    "ovr_is_a_pipe": pipe(OVR),
    "msk_is_a_pipe": pipe(MSK),
    "tfw_is_a_pipe": pipe(".tfw"),
    "aux_links_elsewhere": link(AUX, lambda lures: lures.text),
    "ovr_links_elsewhere": link(OVR, lambda lures: lures.raster),
    "msk_links_elsewhere": link(MSK, lambda lures: lures.raster),
    "aux_links_to_itself": link(AUX, lambda _: f"a{AUX}"),
    "msk_damaged": beside(MSK, b"II*\0" + bytes(40)),
    "msk_is_a_vrt": beside(MSK, lambda lures: raw_vrt(lures.text, size=128)),
    msk_of_another_size.__name__: msk_of_another_size,
    "aux_crs_with_grids": beside(AUX, _crs_with_grids),
    "aux_crs_by_proj": beside(AUX, _crs_by_proj),
    "aux_crs_is_a_path": beside(AUX, lambda lures: _srs(lures.text)),
    "aux_crs_is_a_url": beside(AUX, lambda lures: _srs(f"{lures.url}/x.prj")),
    "aux_crs_is_a_pipeline": beside(AUX, lambda lures: _srs(f"+init={lures.text}:1 +type=crs")),
    "aux_table_bomb": beside(AUX, _table_bomb()),
    "aux_a_million_names": beside(AUX, _many_names()),
    overview_elsewhere_by_its_own_tag.__name__: overview_elsewhere_by_its_own_tag,
}


def tagged(text: str) -> Maker:
    """A good raster whose tag says this of its classes."""
    return lambda folder, _kit, _lures: good(folder / "a.tif", nodata=255, tags={CLASSES_TAG: text})


def _classes(**changes: Any) -> str:
    return json.dumps({"names": ["a"], "colors": ["#000000"]} | changes)


def _background(text: str) -> str:
    return _classes(background="X").replace('"X"', text)


BLACK = "#000000"
TAGS: dict[str, Maker] = {
    "tag_classes_deep": tagged('{"names":' + "[" * 5000 + "]" * 5000 + "}"),
    "tag_classes_nested": tagged(_background("[" * 900 + "]" * 900)),
    "tag_classes_huge_number": tagged(_background("9" * 4000)),
    "tag_classes_longer_number": tagged(_background("9" * 9000)),
    "tag_classes_twice": tagged('{"names":["a"],"names":[1],"colors":["#000000"]}'),
    "tag_classes_surrogate": tagged(_classes(names=["a", "\ud800", "c", "d"], colors=[BLACK] * 4)),
    "tag_classes_million": tagged(_classes(names=["a"] * 100_000, colors=[BLACK] * 100_000)),
    "tag_classes_long_name": tagged(_classes(names=["a" * 500_000, "b", "c", "d"], colors=[BLACK] * 4)),
}
