"""What belongs to a raster besides its pixels, in the file or beside it: sidecars, overviews, masks.

GDAL follows it without a word: it waits for ever on a pipe called ``scene.tif.ovr``, takes overviews from any
file that a sidecar names, decodes an overview of one block of gigabytes, and goes on without a mask that it
cannot read. Here each is looked at before, and refused by name.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

from geoseg.errors import InputError, LabelsError, SceneError
from geoseg.raster import formats, libgdal
from geoseg.raster.crs_text import names_a_file

_BESIDE = (".aux.xml", ".ovr", ".OVR", ".msk", ".MSK")
_INSTEAD = (
    *(".tfw", ".TFW", ".tifw", ".tiffw", ".wld", ".WLD", ".jgw", ".jpgw", ".jpegw", ".pgw", ".pngw", ".j2w"),
    *(".tab", ".TAB", ".aux", ".AUX", ".rrd", ".ige", ".prj", ".RPB", ".rpb", ".IMD", ".imd", ".PVL", ".pvl"),
    *("_rpc.txt", "_RPC.TXT", "_metadata.txt", "_meta.txt"),
)
"""What GDAL looks for in place of the suffix of a file."""

_MAX_PRJ_BYTES = 1_000_000
_MAX_XML_BYTES = 64 * 1024**2
_OVERVIEW_FILE = "OVERVIEW_FILE"
_AWAY = "mend it or take it away"


def check_sidecars(path: Path, what: str) -> None:
    """Look at the files beside a raster, before GDAL does.

    Raises:
        SceneError: one is a pipe or a device, a link to elsewhere, or cannot be read as what it must be.
    """
    names = [path.name + ending for ending in _BESIDE] + [path.stem + ending for ending in _INSTEAD]
    for beside in dict.fromkeys(path.with_name(name) for name in names):
        if not _check_kind(beside, path, f"{what} {path}", SceneError):
            continue
        if beside.name == f"{path.name}.aux.xml":
            _check_xml(beside, f"{what} {path}")
        if beside.name.lower() == f"{path.name.lower()}.msk":
            _check_mask(beside, f"{what} {path}")


_FURTHER = (".shx", ".dbf", ".prj", ".cpg", ".qix", ".sbn", ".sbx", ".idm", ".ind", ".qpj")
_OF_DATABASES = ("-wal", "-shm", "-journal")


def check_further_files(path: Path, where: str) -> None:
    """Look at the further files of a vector file, before GDAL does.

    Raises:
        LabelsError: one is a pipe or a device, or a link to elsewhere.
    """
    names = [path.stem + end for end in (*_FURTHER, *map(str.upper, _FURTHER))]
    names += [path.name + end for end in _OF_DATABASES]
    for beside in (path.with_name(name) for name in names if name != path.name):
        is_there = _check_kind(beside, path, where, LabelsError)
        if is_there and beside.suffix.lower() == ".prj":
            with beside.open("rb") as file:
                if names_a_file(file.read(_MAX_PRJ_BYTES)):
                    raise LabelsError(
                        f"{beside.name} beside {where} has a CRS that leads to another file; {_AWAY}"
                    )


def _check_kind(beside: Path, path: Path, where: str, error: type[InputError]) -> bool:
    """Whether there is such a file; refuses what is none, or lies elsewhere."""
    try:
        mode = beside.stat().st_mode
    except OSError:
        return False  # none, a link to nothing, or a name too long to be there
    if stat.S_ISDIR(mode):
        return False
    if not stat.S_ISREG(mode):
        raise error(f"{beside.name} beside {where} is not a regular file; take it away")
    if beside.is_symlink() and beside.resolve().parent not in {path.parent.resolve(), path.resolve().parent}:
        raise error(f"{beside.name} beside {where} is a link to another folder; take it away")
    return True


def _check_xml(sidecar: Path, where: str) -> None:
    """GDAL goes on without a sidecar that it cannot read, and so without the nodata or the CRS in it."""
    try:
        with sidecar.open("rb") as file:
            content = file.read(_MAX_XML_BYTES + 1)
    except OSError as reason:
        raise SceneError(
            f"{sidecar.name} beside {where} cannot be read: {reason.strerror}; {_AWAY}"
        ) from reason
    if len(content) > _MAX_XML_BYTES:
        raise SceneError(f"{sidecar.name} beside {where} is too large; {_AWAY}")
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise SceneError(
            f"{sidecar.name} beside {where} declares a document type, as GDAL never does; {_AWAY}"
        )
    if names_a_file(content):
        raise SceneError(f"{sidecar.name} beside {where} has a CRS that leads to another file; {_AWAY}")
    if not libgdal.is_xml(content):
        raise SceneError(f"{sidecar.name} beside {where} is damaged: it is no XML; {_AWAY}")


def _check_mask(mask: Path, where: str) -> None:
    head = formats.read_head(mask, what="mask", error=SceneError)
    if formats.raster_driver(head) != "GTiff":
        raise SceneError(f"the mask {mask.name} beside {where} is {formats.describe(head)}; {_AWAY}")


def check_parts(dataset: Any, path: Path, where: str, most_bytes: int) -> None:
    """Look at overviews and masks of a raster that GDAL has opened.

    Args:
        dataset: the raster.
        path: the file.
        where: how messages call it.
        most_bytes: of one block.

    Raises:
        SceneError: they are in a file of another name, are decoded in blocks of more than ``most_bytes``, or
            a mask has another size or cannot be opened; an Erdas image keeps its pixels in another folder.
    """
    crs = dataset.crs
    if crs is not None and names_a_file(crs.to_wkt()):
        raise SceneError(
            f"{where} has a CRS that leads to another file; give it another with gdal_translate -a_srs"
        )
    if dataset.driver == "HFA":
        _check_spill(dataset, path, where)
    told = dataset.tags(ns="OVERVIEWS").get(_OVERVIEW_FILE)
    if told is not None and not _is_own(told, path):
        raise SceneError(f"{where} takes its overviews from another file; rewrite it with gdal_translate")
    # No flag at all means a mask for each band.
    hidden = any({flag.name for flag in flags} <= {"per_dataset"} for flags in dataset.mask_flag_enums)
    if not hidden and path.with_name(f"{path.name}.msk").is_file():
        raise SceneError(f"the mask {path.name}.msk beside {where} cannot be read; {_AWAY}")
    if not hidden and not dataset.overviews(1):
        return
    for part in libgdal.parts(dataset.name, dataset.driver):
        if part.kind == "mask" and (part.width, part.height) != (dataset.width, dataset.height):
            raise SceneError(
                f"the mask of {where} has {part.width} x {part.height} pixels, not {dataset.width} x "
                f"{dataset.height}; {_AWAY}"
            )
        if part.block_bytes > most_bytes:
            raise SceneError(
                f"{part.kind} of {where} is stored in blocks of {part.block_width} x {part.block_height} "
                f"pixels, {part.block_bytes / 1e9:.1f} GB each; rewrite it with gdal_translate -co TILED=YES"
            )


def _check_spill(dataset: Any, path: Path, where: str) -> None:
    """An Erdas image says in which file its pixels are; GDAL opens that one at the first read."""
    for file in map(Path, dataset.files):
        if file.parent.resolve() not in {path.parent.resolve(), path.resolve().parent}:
            raise SceneError(f"{where} takes its pixels from another folder; rewrite it with gdal_translate")
        _check_kind(file, path, where, SceneError)


def _is_own(told: str, path: Path) -> bool:
    """Whether overviews are in a file beside the raster that is called like it."""
    name = told.removeprefix(":::BASE:::")
    return name != told and "/" not in name and "\\" not in name and name.startswith(path.stem)
