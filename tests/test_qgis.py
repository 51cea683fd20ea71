"""What QGIS makes of the files, as geoseg wrote them: legends with an entry a class, and the right colours.

QGIS brings its own Python, /usr/bin/python3; without one that can import qgis there is nothing to ask.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scenes
from rasterio.crs import CRS
from rasterio.windows import Window

from geoseg.classes import ClassMap
from geoseg.raster.cog import RasterWriter
from geoseg.raster.geobox import GeoBox
from geoseg.raster.layers import mask_layer, uncertainty_layer
from geoseg.vectorize import vectorize

PYTHON = "/usr/bin/python3"
CLASSES = ClassMap.from_names(["background", 'field <&> "a"', "house"], background=0)
SIDE = 60

LOOK = """
import json, sys
from qgis.core import (QgsApplication, QgsMapRendererSequentialJob, QgsMapSettings, QgsRasterLayer,
                       QgsVectorLayer)
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor

app = QgsApplication([], False)
app.initQgis()
found = {}
for path in sys.argv[1:]:
    raster = path.endswith(".tif")
    layer = QgsRasterLayer(path, "layer") if raster else QgsVectorLayer(path, "layer", "ogr")
    renderer, told = layer.renderer(), {"valid": layer.isValid()}
    told["type"] = renderer.type()
    if renderer.type() == "paletted":
        told["legend"] = [[c.value, c.label, c.color.name(), c.color.alpha()] for c in renderer.classes()]
    elif renderer.type() == "singlebandpseudocolor":
        items = renderer.shader().rasterShaderFunction().colorRampItemList()
        told["legend"] = [[i.value, i.color.name()] for i in items]
    elif renderer.type() == "categorizedSymbol":
        told["legend"] = [[c.value(), c.label(), c.symbol().color().name()] for c in renderer.categories()]
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setDestinationCrs(layer.crs())
    settings.setExtent(layer.extent())
    settings.setOutputSize(QSize(60, 20))
    settings.setBackgroundColor(QColor(255, 255, 255))
    job = QgsMapRendererSequentialJob(settings)
    job.start()
    job.waitForFinished()
    image = job.renderedImage()
    told["pixels"] = [QColor(image.pixel(x, y)).name() for x, y in ((1, 1), (10, 12), (30, 12), (50, 12))]
    found[path] = told
print("found " + json.dumps(found))
app.exitQgis()
"""


@functools.cache
def qgis_is_there() -> bool:
    try:
        done = subprocess.run(
            [PYTHON, "-c", "import qgis.core"], capture_output=True, timeout=60, check=False
        )
    except OSError:
        return False
    return done.returncode == 0


def seen_by_qgis(folder: Path, *paths: Path) -> dict[str, dict[str, Any]]:
    """What QGIS shows of each file, by its name."""
    own = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "GDAL", "PROJ"))}
    done = subprocess.run(
        [PYTHON, "-c", LOOK, *map(str, paths)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=own | {"QT_QPA_PLATFORM": "offscreen", "XDG_RUNTIME_DIR": str(folder), "HOME": str(folder)},
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("found ")]
    assert lines, done.stderr
    return {Path(path).name: told for path, told in json.loads(lines[0].removeprefix("found ")).items()}


def test_legends_have_an_entry_a_class(tmp_path: Path) -> None:
    if not qgis_is_there():
        pytest.skip(f"{PYTHON} cannot import qgis: install python3-qgis to see what QGIS shows")
    ids = np.repeat(np.arange(3, dtype=np.uint8), SIDE // 3)[np.newaxis].repeat(20, axis=0)
    ids[:3, :3] = 255
    box = GeoBox(crs=CRS.from_string(scenes.UTM), transform=scenes.north_up(), shape=ids.shape)
    whole = Window(0, 0, SIDE, 20)
    for name, qml in (("plain.tif", False), ("mask.tif", True)):
        with RasterWriter(tmp_path / name, box, mask_layer(CLASSES), qml=qml) as writer:
            writer.write(whole, ids)
    shares = np.repeat(np.array([0, 127, 254], np.uint8), SIDE // 3)[np.newaxis].repeat(20, axis=0)
    with RasterWriter(tmp_path / "uncertainty.tif", box, uncertainty_layer(), qml=True) as writer:
        writer.write(whole, shares)
    vectorize(tmp_path / "plain.tif", tmp_path / "table.gpkg")
    vectorize(tmp_path / "plain.tif", tmp_path / "beside.fgb", qml=True)
    vectorize(tmp_path / "plain.tif", tmp_path / "nothing.fgb")
    vectorize(tmp_path / "mask.tif", tmp_path / "mask.fgb", qml=True, overwrite=True)
    names = (
        "plain.tif",
        "mask.tif",
        "uncertainty.tif",
        "table.gpkg",
        "beside.fgb",
        "nothing.fgb",
        "mask.fgb",
    )
    seen = seen_by_qgis(tmp_path, *(tmp_path / name for name in names))
    assert all(told["valid"] for told in seen.values())
    colors = [color.lower() for color in CLASSES.colors]
    # What the style is for: by the palette alone there are 256 entries.
    assert len(seen["plain.tif"]["legend"]) == 256
    expected = [[i, name, colors[i], 255] for i, name in enumerate(CLASSES.names)]
    assert seen["mask.tif"]["legend"] == expected
    assert seen["mask.tif"]["pixels"] == ["#ffffff", *colors]  # nodata is transparent
    of_polygons = [[str(i), CLASSES.names[i], colors[i]] for i in (1, 2)]
    for name in ("table.gpkg", "beside.fgb", "mask.fgb"):
        assert seen[name]["legend"] == of_polygons, name
    assert seen["nothing.fgb"]["type"] == "singleSymbol"
    assert seen["uncertainty.tif"]["legend"][0][0] == 0.0
    assert seen["uncertainty.tif"]["legend"][-1][0] == 1.0
    # Shares, not bytes: 127 of 254 is the middle of the ramp, whose ends are dark violet and yellow.
    assert seen["uncertainty.tif"]["pixels"][1:] == ["#440154", "#21918c", "#fde725"]
