"""Styles for QGIS, as XML; tests/test_qgis.py shows them to QGIS itself."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import scenes
from models_of_tests import noise, write_model
from rasterio.crs import CRS

from geoseg.classes import ClassMap
from geoseg.config import PredictConfig, VectorizeConfig
from geoseg.errors import OutputError
from geoseg.merge import merge
from geoseg.predict import predict
from geoseg.raster.cog import MaskWriter, RasterWriter
from geoseg.raster.geobox import GeoBox
from geoseg.raster.layers import mask_layer, probability_layer, uncertainty_layer
from geoseg.raster.qml import layer_style
from geoseg.render.shards import ShardId
from geoseg.shard import predict_shard
from geoseg.vectorize import vectorize
from geoseg_cli.main import main

NASTY = ClassMap.from_names(["background", "field <&> \"quoted\" 'too'", "Straße\u00a0"], background=0)
SHOWN = ["background", "field <&> \"quoted\" 'too'", "Straße"]


def write_mask(path: Path, classes: ClassMap = NASTY) -> Path:
    """Three squares of ids 0, 1, 2 beside each other, and a nodata corner."""
    ids = np.repeat(np.arange(3, dtype=np.uint8), 20)[np.newaxis].repeat(20, axis=0)
    ids[:3, :3] = 255
    box = GeoBox(crs=CRS.from_string(scenes.UTM), transform=scenes.north_up(), shape=ids.shape)
    with MaskWriter(path, box, classes) as writer:
        writer.write_rows(0, ids)
    return path


def palette(path: Path) -> list[tuple[str, str, str, str]]:
    """Entries of a mask's style."""
    renderer = ElementTree.parse(path).find("pipe/rasterrenderer[@type='paletted']")
    assert renderer is not None
    assert renderer.get("nodataColor") == ""  # transparent
    entries = renderer.findall("colorPalette/paletteEntry")
    return [tuple(e.attrib[key] for key in ("value", "label", "color", "alpha")) for e in entries]


def categories(path: Path) -> list[tuple[str, str]]:
    """Entries of the polygons' style."""
    renderer = ElementTree.parse(path).find("renderer-v2[@type='categorizedSymbol'][@attr='class_id']")
    assert renderer is not None
    assert len(renderer.findall("symbols/symbol")) == len(renderer.findall("categories/category"))
    return [(c.attrib["value"], c.attrib["label"]) for c in renderer.findall("categories/category")]


def test_a_mask_has_one_entry_a_class(tmp_path: Path) -> None:
    text = layer_style(mask_layer(NASTY))
    assert text is not None
    (tmp_path / "mask.qml").write_text(text, encoding="utf-8")
    assert palette(tmp_path / "mask.qml") == [
        (str(class_id), name, NASTY.colors[class_id].lower(), "255") for class_id, name in enumerate(SHOWN)
    ]


def test_uncertainty_is_a_ramp_of_shares_and_probabilities_have_no_style() -> None:
    text = layer_style(uncertainty_layer())
    assert text is not None
    values = [float(item.attrib["value"]) for item in ElementTree.fromstring(text).iter("item")]
    assert (values[0], values[-1]) == (0.0, 1.0)
    assert values == sorted(values)
    assert layer_style(probability_layer(NASTY)) is None
    # One class makes one band, which is no uncertainty either.
    assert layer_style(probability_layer(ClassMap.from_names(["field"]))) is None


def test_style_and_raster_appear_together_or_not_at_all(tmp_path: Path) -> None:
    box = GeoBox(crs=CRS.from_string(scenes.UTM), transform=scenes.north_up(), shape=(8, 8))
    with (
        pytest.raises(RuntimeError, match="stop"),
        RasterWriter(tmp_path / "mask.tif", box, mask_layer(NASTY), qml=True),
    ):
        raise RuntimeError("stop")
    assert list(tmp_path.iterdir()) == []
    with RasterWriter(tmp_path / "mask.tif", box, mask_layer(NASTY), qml=True):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"mask.tif", "mask.tif.aux.xml", "mask.qml"}


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb", ".geojson", ".shp", ".parquet"])
def test_vectorize_writes_a_style_beside_every_format(tmp_path: Path, suffix: str) -> None:
    mask = write_mask(tmp_path / "mask.tif")
    output = tmp_path / f"parcels{suffix}"
    assert vectorize(mask, output).style is None
    assert not (tmp_path / "parcels.qml").exists()
    # --no-style is about the table inside of a GeoPackage.
    report = vectorize(mask, output, VectorizeConfig(style=False), qml=True, overwrite=True)
    assert report.style == tmp_path / "parcels.qml"
    assert categories(tmp_path / "parcels.qml") == [("1", SHOWN[1]), ("2", SHOWN[2])]


def test_a_mask_and_its_polygons_of_one_name_share_a_style(tmp_path: Path) -> None:
    mask = write_mask(tmp_path / "land.tif")
    (tmp_path / "land.qml").write_text("the mask's own")
    with pytest.raises(OutputError, match=r"land\.qml exists; use --overwrite"):
        vectorize(mask, tmp_path / "land.fgb", qml=True)
    assert not (tmp_path / "land.fgb").exists()
    vectorize(mask, tmp_path / "land.fgb", qml=True, overwrite=True)
    assert [label for _, label, *_ in palette(tmp_path / "land.qml")] == SHOWN
    assert categories(tmp_path / "land.qml") == [("1", SHOWN[1]), ("2", SHOWN[2])]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("run") / "model.safetensors")


def test_predict_and_merge_write_the_same_styles(tmp_path: Path, model: Path) -> None:
    scene = scenes.write_scene(tmp_path / "scene.tif", noise(3, 64, 64))
    options = {"model": model, "config": PredictConfig(precision="fp32"), "device": "cpu"}
    report = predict(scene, tmp_path / "m.tif", uncertainty=tmp_path / "u.tif", qml=True, **options)
    assert report.style == tmp_path / "m.qml"
    assert report.to_json()["style"] == str(tmp_path / "m.qml")
    assert [label for _, label, *_ in palette(tmp_path / "m.qml")] == ["background", "field", "house"]
    assert ElementTree.parse(tmp_path / "u.qml").find("pipe/rasterrenderer") is not None
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    (tmp_path / "m.tif").unlink()
    (tmp_path / "u.tif").unlink()
    with pytest.raises(OutputError, match=r"m\.qml exists"):
        predict(scene, tmp_path / "m.tif", qml=True, **options)
    with pytest.raises(OutputError, match="two outputs have the same path"):
        predict(scene, tmp_path / "a.tif", uncertainty=tmp_path / "a.tiff", qml=True, **options)
    made = predict_shard(
        scene, tmp_path / "m.tif", ShardId(index=1, count=1), uncertainty=tmp_path / "u.tif", **options
    )
    merge([made.output], tmp_path / "m.tif", uncertainty=tmp_path / "u.tif", qml=True, overwrite=True)
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path != made.output}
    assert after == before


def test_a_shard_has_no_style(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenes.write_scene(tmp_path / "scene.tif", noise(3, 64, 64))
    words = ["predict", "scene.tif", "-o", "m.tif", "--model", str(model), "--shard", "1/2", "--qml"]
    assert main(words) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "geoseg: error: a shard has no style; give --qml to geoseg merge"
    )
