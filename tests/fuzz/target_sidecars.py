"""What lies beside and inside of masks: categories, styles, GDAL's sidecar, world files, tags of classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random
from xml.etree import ElementTree

import numpy as np
import scenes
from rasterio.windows import Window

from fuzz.core import Files, Target
from fuzz.mutate import ODD, TEXTS, chance, damaged, damaged_json, damaged_text, json_bytes, number
from fuzz.shared import show_info
from geoseg.classes import ClassMap
from geoseg.config import VectorizeConfig
from geoseg.raster.categories import read_categories, write_categories
from geoseg.raster.labels import open_labels
from geoseg.raster.mask import open_mask
from geoseg.vector.style import qml as layer_qml
from geoseg.vectorize import vectorize

_SIDECAR = """<PAMDataset>
  <SRS dataAxisToSRSAxisMapping="1,2">EPSG:32633</SRS>
  <GeoTransform>500000.0, 0.5, 0.0, 5000000.0, 0.0, -0.5</GeoTransform>
  <GCPList Projection="EPSG:32633"><GCP Id="1" Pixel="0" Line="0" X="1" Y="2" Z="0"/></GCPList>
  <Metadata><MDI key="A">b</MDI><MDI key="GEOSEG_CLASSES">{}</MDI></Metadata>
  <Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">x.ovr</MDI></Metadata>
  <PAMRasterBand band="1"><Description>class</Description><NoDataValue>255</NoDataValue>
    <Scale>1</Scale><Offset>0</Offset><UnitType>m</UnitType><ColorInterp>Palette</ColorInterp>
    <CategoryNames><Category>water</Category><Category>field</Category><Category/></CategoryNames>
    <ColorTable><Entry c1="0" c2="0" c3="0" c4="255"/><Entry c1="255" c2="1" c3="2" c4="255"/></ColorTable>
    <Histograms><HistItem><HistMin>0</HistMin><HistMax>2</HistMax><BucketCount>2</BucketCount><HistCounts>1|2</HistCounts></HistItem></Histograms>
  </PAMRasterBand>
</PAMDataset>
"""
_WORLD = b"0.5\n0.0\n0.0\n-0.5\n500000.25\n4999999.75\n"


def seeds(folder: Path) -> list[Files]:
    """A mask with a sidecar, one with a world file, and classes for a tag."""
    ids = (np.arange(20 * 22) % 3).astype(np.uint8).reshape(20, 22)
    plain = scenes.write_class_raster(folder / "a.tif", ids, crs=None).read_bytes()
    placed = scenes.write_class_raster(folder / "b.tif", ids, nodata=255).read_bytes()
    classes = ClassMap.from_names(["water", "field", "house"], background=0)
    return [
        {"mask.tif": plain, "mask.tif.aux.xml": _SIDECAR.encode(), "classes.json": b""},
        {"mask.tif": plain, "mask.tfw": _WORLD, "classes.json": b""},
        {"mask.tif": placed, "classes.json": json_bytes(Random(1), classes.to_json())},
    ]


def _damaged_xml(rng: Random, data: bytes) -> bytes:
    root = ElementTree.fromstring(data)
    for _ in range(rng.randint(1, 3)):
        parents = [element for element in root.iter() if len(element)]
        parent = rng.choice(parents)
        child = rng.choice(list(parent))
        kind = rng.randrange(7)
        if kind == 0:
            parent.remove(child)
        elif kind == 1:
            parent.insert(rng.randrange(len(parent) + 1), child)
        elif kind == 2:
            child.tag = rng.choice([element.tag for element in root.iter()])
        elif kind == 3 and child.attrib:
            child.set(rng.choice(list(child.attrib)), _text(rng))
        elif kind == 4:
            parent.extend([child] * rng.choice((2, 300)))
        else:
            child.text = _text(rng) if chance(rng, 0.6) else damaged_text(rng, child.text or "")
    try:
        made = ElementTree.tostring(root)
    except (ValueError, TypeError):
        made = data
    return damaged(rng, made, most=2) if chance(rng, 0.15) else made


def _text(rng: Random) -> str:
    crs = (
        "LOCAL_CS[]",
        "EPSG:999",
        "GEOGCS[",
        "http://127.0.0.1:9/x",
        "+proj=x",
        "EPSG:4326+5773",
        "PROJCS[1]",
    )
    rows = (
        "nan, 1, 0, 0, 0, 1",
        "0,0,0,0,0,0",
        "1,2",
        "1e308,1e308,1e308,1e308,1e308,1e308",
        "inf,0,0,0,0,0",
    )
    return rng.choice((rng.choice(TEXTS), str(number(rng)), rng.choice(crs), rng.choice(rows)))


def damage(rng: Random, seeds: Sequence[Files]) -> Files:
    """Other XML, numbers or classes."""
    seed = dict(rng.choice(seeds))
    if "mask.tif.aux.xml" in seed:
        seed["mask.tif.aux.xml"] = _damaged_xml(rng, seed["mask.tif.aux.xml"])
    elif "mask.tfw" in seed:
        lines = seed["mask.tfw"].split(b"\n")
        lines[rng.randrange(len(lines))] = _text(rng).encode("utf-8", "surrogatepass")
        seed["mask.tfw"] = damaged(rng, b"\n".join(lines)) if chance(rng, 0.3) else b"\n".join(lines)
    else:
        told = {
            "names": [
                rng.choice(TEXTS) if chance(rng, 0.3) else name for name in ("water", "field", "house")
            ],
            "colors": [
                "#00ff00",
                "#112233",
                rng.choice(("#ABCDEF", "", "#12345", "red", "#12345G", "#٣٣٣٣٣٣")),
            ],
            "background": rng.choice((0, None, 2, rng.choice(ODD))),
            "boundary": rng.choice((None, None, 1, rng.choice(ODD))),
        }
        seed["classes.json"] = json_bytes(rng, damaged_json(rng, told) if chance(rng, 0.4) else told)
    return seed


def _tagged(folder: Path, text: str) -> Path:
    """The mask with a tag of classes, as GDAL writes it."""
    ids = (np.arange(20 * 22) % 3).astype(np.uint8).reshape(20, 22)
    return scenes.write_class_raster(
        folder / "out" / "mask.tif", ids, nodata=255, tags={"GEOSEG_CLASSES": text, "GEOSEG_VERSION": "0"}
    )


def run(folder: Path, rng: Random) -> None:
    """Look at the mask, label with it, make polygons and styles of it."""
    path = folder / "mask.tif"
    text = (folder / "classes.json").read_bytes()
    if text:
        tag = text.decode("utf-8", "replace").replace("\0", "").strip()
        path = _tagged(folder, tag or "{}")
    kind = rng.randrange(6)
    if kind == 0:
        show_info(path, counts=chance(rng, 0.5))
    elif kind == 1:
        with open_labels(path) as labels:
            labels.burn(labels.geobox)  # type: ignore[union-attr]
            labels.bounds_lonlat()
    elif kind == 2:
        vectorize(path, folder / "out" / "x.gpkg", VectorizeConfig(simplify_px=0.0), qml=True)
    else:
        read_categories(path)
        with open_mask(path) as mask:
            mask.read(Window(0, 0, 20, 22))
            mask.palette()
            if mask.classes is not None:
                names = dict(enumerate(zip(mask.classes.names, mask.classes.colors, strict=True)))
                style = layer_qml(names, mask=names)
                ElementTree.fromstring(style.partition("\n")[2])
                copy = folder / "out" / "copy.tif"
                write_categories(copy, mask.classes)
                assert len(read_categories(copy)) == len(mask.classes)


TARGET = Target(name="sidecars", seeds=seeds, damage=damage, run=run)
