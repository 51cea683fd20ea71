"""Facts of rasters: scenes, masks, probabilities and uncertainty."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from geoseg.classes import ClassMap
from geoseg.errors import GeosegError, InputError, SceneError
from geoseg.facts.common import Facts, class_rows, crs_facts, file_mb
from geoseg.facts.counts import counted
from geoseg.models.card import DEFAULT_MODEL, fingerprint, read_card
from geoseg.progress import SILENT, Progress, SilentProgress
from geoseg.raster.categories import read_categories
from geoseg.raster.cog import MODEL_TAG, VERSION_TAG
from geoseg.raster.gdal import gdal_errors, open_raster
from geoseg.raster.geobox import GeoBox
from geoseg.raster.mask import classes_of_tags, open_mask
from geoseg.raster.mosaic import Mosaic
from geoseg.raster.qml import style_of
from geoseg.raster.scene import Scene
from geoseg.render.fit import check_fit

_UNCERTAINTY = "uncertainty"
_MAX_TAG = 200


def raster_facts(path: Path, *, counts: bool = False, progress: Progress = SILENT) -> Facts:
    """What a raster is; its pixels are looked at only for ``counts``.

    Args:
        path: a file here.
        counts: of a mask, count the pixels of every class too.
        progress: told about the counting.

    Raises:
        SceneError: no readable raster, or a damaged tag.
        InputError: ``counts`` of what is no mask.
        ReadError: the file is damaged.
    """
    with open_raster(path, what="file") as dataset, gdal_errors("opening file", path, error=SceneError):
        tags: dict[str, str] = dataset.tags()
        classes = classes_of_tags(tags, f"file {path}")
        kind = _kind(dataset, tags, classes, path)
        form = dataset.driver
        if isinstance(dataset, Mosaic):
            form = f"VRT mosaic of {len(dataset.sources):,} files"
        facts: Facts = {"kind": kind, "path": str(path), "format": form, "file_mb": file_mb(path)}
        facts |= _grid_facts(dataset) | _storage_facts(dataset) | {"bands": _band_rows(dataset)}
        facts["tags"] = {
            key: value[:_MAX_TAG] for key, value in tags.items() if key in {VERSION_TAG, MODEL_TAG}
        }
        facts |= {"made_by_default_model": _by_default(tags)} if MODEL_TAG in tags else {}
        if counts and kind == "scene":
            # Other programs write masks that tell nothing of it; whoever counts knows better.
            facts["kind"] = kind = "mask"
        if counts and kind != "mask":
            raise InputError(f"{path} holds {kind}, no classes to count; leave --counts out")
        colors = _palette(dataset) if kind == "mask" else {}
    if kind in {"mask", _UNCERTAINTY}:
        facts["style"] = style_of(path).name if style_of(path).is_file() else None
    if kind == "mask":
        facts["classes"] = _named(path, colors) if classes is None else class_rows(classes)
        if counts:
            with open_mask(path, what="file") as mask:
                facts |= counted(mask, facts["classes"], colors, progress)
    elif kind == "scene":
        facts["default_model"] = _fit(path)
    elif classes is not None:
        facts["classes"] = class_rows(classes)
    return facts


def _kind(dataset: Any, tags: dict[str, str], classes: ClassMap | None, path: Path) -> str:
    """What the raster is, by what geoseg or another program wrote into it."""
    shares = dataset.scales[0] != 1.0
    if classes is not None and shares:
        return "probabilities"
    if VERSION_TAG in tags and shares and dataset.count == 1 and dataset.descriptions[0] == _UNCERTAINTY:
        return _UNCERTAINTY
    whole = dataset.count == 1 and dataset.dtypes[0].startswith(("int", "uint")) and not shares
    return "mask" if whole and (classes or _palette(dataset) or read_categories(path)) else "scene"


def _grid_facts(dataset: Any) -> Facts:
    """Where it lies and how fine it is."""
    box = GeoBox.of(dataset)
    turn = box.transform
    facts = {"size_px": [box.width, box.height], "gsd_m": box.gsd_m}
    facts |= crs_facts(box.crs or box.gcps_crs)
    lonlat = box.bounds_lonlat()
    return facts | {
        "placed_by": _placed_by(box),
        "pixel_size": [math.hypot(turn.a, turn.d), math.hypot(turn.b, turn.e)] if box.georeferenced else None,
        "rotation_deg": round(math.degrees(math.atan2(turn.d, turn.a)), 9) if box.georeferenced else None,
        "gcps": len(box.gcps),
        "bounds": list(box.bounds) if box.georeferenced else None,
        "bounds_lonlat": None if lonlat is None else [round(value, 7) for value in lonlat],
        "transform": list(turn)[:6] if box.georeferenced else None,
    }


def _placed_by(box: GeoBox) -> str:
    if not box.georeferenced:
        alone = "nothing" if box.rpcs is None else "rational polynomials (RPC)"
        return "ground control points" if box.gcps else alone
    if box.transform.b or box.transform.d:
        return "transform, turned"
    return "transform, south up" if box.transform.e > 0 else "transform"


def _storage_facts(dataset: Any) -> Facts:
    """How it is stored."""
    structure: dict[str, str] = dataset.tags(ns="IMAGE_STRUCTURE")
    height, width = dataset.block_shapes[0]
    return {
        "cog": structure.get("LAYOUT") == "COG",
        "block_px": [int(width), int(height)],
        "tiled": width < dataset.width,
        "overviews": [int(factor) for factor in dataset.overviews(1)],
        "compression": (structure.get("COMPRESSION") or "none").lower(),
        "interleave": (structure.get("INTERLEAVE") or "band").lower(),
    }


def _band_rows(dataset: Any) -> list[Facts]:
    columns = zip(
        dataset.indexes,
        dataset.descriptions,
        dataset.dtypes,
        dataset.nodatavals,
        dataset.scales,
        dataset.offsets,
        dataset.colorinterp,
        dataset.mask_flag_enums,
        strict=True,
    )
    return [
        {
            "band": band,
            "name": " ".join(name.split())[:_MAX_TAG] if name else None,
            "dtype": dtype,
            "nodata": "nan" if nodata is not None and math.isnan(nodata) else nodata,
            "scale": scale,
            "offset": offset,
            "color": color.name,
            "mask": [flag.name for flag in flags],
        }
        for band, name, dtype, nodata, scale, offset, color, flags in columns
    ]


def _palette(dataset: Any) -> dict[int, str]:
    """Colours of ids, ``#RRGGBB``; none when there is no palette."""
    try:
        colors = dataset.colormap(1)
    except ValueError:
        return {}
    return {int(value): "#{:02X}{:02X}{:02X}".format(*color[:3]) for value, color in colors.items()}


def _named(path: Path, colors: dict[int, str]) -> list[Facts]:
    """Classes of a mask of another program, as far as a sidecar names them."""
    return [
        {"id": class_id, "class": name, "color": colors.get(class_id), "role": None}
        for class_id, name in enumerate(read_categories(path))
        if name
    ]


def _by_default(tags: dict[str, str]) -> bool:
    return DEFAULT_MODEL.is_file() and tags[MODEL_TAG] == fingerprint(DEFAULT_MODEL)


class _Warnings(SilentProgress):
    """Keeps what it is warned of."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def warn(self, text: str) -> None:
        """Keep it."""
        self.told.append(text)


def _fit(path: Path) -> Facts | None:
    """Whether the model that comes with geoseg can look at a scene, and how well."""
    if not DEFAULT_MODEL.is_file():
        return None
    heard = _Warnings()
    try:
        with Scene.open(path) as scene:
            check_fit(scene, read_card(DEFAULT_MODEL), Path(DEFAULT_MODEL.name), heard)
    except GeosegError as error:
        return {"fits": False, "why": _plain(str(error), path)}
    return {"fits": True, "warning": _plain(heard.told[0], path) if heard.told else None}


def _plain(text: str, path: Path) -> str:
    return text.removeprefix("scene ").removeprefix(f"{path} ")
