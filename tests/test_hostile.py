"""Hostile files, counted: nothing runs, nothing else is read, written or asked, and a line is said.

What is made is in ``hostile_rasters.py``, ``hostile_vectors.py`` and ``hostile_states.py``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import scenes
from hostile import Canaries
from hostile_files import lay_out
from hostile_rasters import RASTERS
from hostile_states import CONFIGS, MODELS
from hostile_vectors import LABELS
from rasterio.windows import Window

from geoseg import strict_json
from geoseg.errors import GeosegError, LabelsError, SceneError
from geoseg.presets import load_config
from geoseg.raster.crs_text import names_a_file
from geoseg.raster.gdal import open_raster, read_vector
from geoseg.raster.scene import Scene

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's inotify watches the canaries")

REFUSED_RASTERS = {
    "vrt_raw": "is a VRT",
    "vrt_simple": "is a VRT",
    "vrt_url": "is a VRT",
    "vrt_python": "is a VRT",
    "mrf": "is an XML file",
    "wms": "is an XML file",
    "overview_of_gigabytes": r"overview of .* 32768 x 32768 pixels, 1\.1 GB each; rewrite",
    "mask_of_gigabytes": r"mask of .* 32768 x 32768 pixels, 1\.1 GB each; rewrite",
    "ovr_of_gigabytes": r"overview of .* 32768 x 32768 pixels, 1\.1 GB each; rewrite",
    "aux_overview_at_a_url": "takes its overviews from another file; rewrite",
    "aux_overview_elsewhere": "takes its overviews from another file; rewrite",
    "aux_overview_is_text": "takes its overviews from another file; rewrite",
    "aux_overview_relative": "takes its overviews from another file; rewrite",
    "overview_elsewhere_by_its_own_tag": "takes its overviews from another file; rewrite",
    "aux_laughs": "declares a document type",
    "aux_external_entity": "declares a document type",
    "aux_external_dtd": "declares a document type",
    "aux_deep": "is damaged: it is no XML",
    "aux_cut_short": "is damaged: it is no XML",
    "aux_is_a_pipe": "is not a regular file; take it away",
    "ovr_is_a_pipe": "is not a regular file; take it away",
    "msk_is_a_pipe": "is not a regular file; take it away",
    "tfw_is_a_pipe": "is not a regular file; take it away",
    "aux_links_elsewhere": "is a link to another folder; take it away",
    "ovr_links_elsewhere": "is a link to another folder; take it away",
    "msk_links_elsewhere": "is a link to another folder; take it away",
    "msk_damaged": "cannot be read; mend it or take it away",
    "msk_is_a_vrt": "is a VRT",
    "msk_of_another_size": "cannot be read; mend it or take it away",
    "aux_crs_with_grids": "has a CRS that leads to another file",
    "aux_crs_by_proj": "has a CRS that leads to another file",
    "aux_crs_is_a_pipeline": "has a CRS that leads to another file",
}
REFUSED_LABELS = {
    "ogr_vrt_of_text": "is a VRT",
    "geojson_crs_init_file": "has a CRS that leads to another file",
    "geojson_crs_with_grids": "has a CRS that leads to another file",
    "geojson_deep_attribute": "nested",
    "gpkg_view": "has the view 'parcels', whose rows are made by SQL",
    "gpkg_view_without_end": "has the view",
    "gpkg_view_of_a_raster": "has the view",
    "gpkg_view_of_gigabytes": "has the view",
    "gpkg_generated_column": "has computed columns in 'parcels'",
    "gpkg_generated_pixel": "has computed columns in 'parcels'",
    "gpkg_crs_with_grids": "has a CRS that leads to another file",
    "shapefile_prj_with_grids": "has a CRS that leads to another file",
    "shapefile_dbf_is_a_pipe": "is not a regular file; take it away",
    "shapefile_cpg_is_a_pipe": "is not a regular file; take it away",
    "shapefile_dbf_links_elsewhere": "is a link to another folder; take it away",
    "parquet_rows_without_end": "has 11,000,000 rows",
    "parquet_of_one_huge_value": "unfolds to more than 2 GiB; cut it",
}


@pytest.fixture
def canaries(tmp_path: Path) -> Iterator[Canaries]:
    with Canaries(tmp_path / "canaries") as found:
        yield found


def meet(
    makers: dict[str, Any],
    refused: dict[str, str],
    canaries: Canaries,
    folder: Path,
    use: Callable[[Path], Any],
) -> None:
    """Each is refused with its line, and nothing else happens."""
    lures = lay_out(canaries.folder, canaries.url)
    wrong = []
    for name, line in refused.items():
        own = folder / name
        own.mkdir()
        path = makers[name](own, folder, lures)
        before = {entry.name for entry in own.iterdir()}
        canaries.touched()
        with pytest.raises(GeosegError, match=line) as caught:
            use(path)
        assert ";" in str(caught.value)
        if canaries.touched() or canaries.calls() or {entry.name for entry in own.iterdir()} != before:
            wrong.append(name)
    assert wrong == []


def test_rasters_are_refused_and_reach_nothing(tmp_path: Path, canaries: Canaries) -> None:
    def use(path: Path) -> None:
        with open_raster(path) as dataset:
            dataset.overviews(1)
            dataset.read(1, out_shape=(16, 16))
            dataset.read_masks(1, window=Window(0, 0, 16, 16))

    meet(RASTERS, REFUSED_RASTERS, canaries, tmp_path, use)


def test_labels_are_refused_and_reach_nothing(tmp_path: Path, canaries: Canaries) -> None:
    meet(LABELS, REFUSED_LABELS, canaries, tmp_path, read_vector)


@pytest.mark.parametrize("name", ["gpkg_trigger", "gpkg_extension", "gpkg_column_called_sql", "gpkg_wal"])
def test_sql_that_nobody_runs_is_no_reason_to_refuse(tmp_path: Path, canaries: Canaries, name: str) -> None:
    path = LABELS[name](tmp_path, tmp_path, lay_out(canaries.folder, canaries.url))
    canaries.touched()
    content = path.read_bytes()
    assert len(read_vector(path)) == 1
    assert (path.read_bytes(), canaries.touched()) == (content, set())


@pytest.mark.parametrize("per_band", [False, True])
def test_a_sound_mask_beside_a_scene_is_heeded(tmp_path: Path, per_band: bool) -> None:
    path = scenes.write_scene(tmp_path / "a.tif", scenes.ramp(1, 32, 32))
    mask = np.full((32, 32), 255, np.uint8)
    mask[:8] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(mask)
    assert (tmp_path / "a.tif.msk").exists()
    if per_band:
        with scenes.not_georeferenced_is_fine(), rasterio.open(tmp_path / "a.tif.msk", "r+") as dataset:
            dataset.update_tags(INTERNAL_MASK_FLAGS_1="0")
    with Scene.open(path) as scene:
        _, valid = scene.read(Window(0, 0, 32, 32))
    np.testing.assert_array_equal(valid, mask > 0)


def test_links_to_a_scene_and_its_sidecars_are_fine(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    path = scenes.write_scene(tmp_path / "data" / "a.tif", scenes.ramp(1, 32, 32))
    aux = tmp_path / "data" / "a.tif.aux.xml"
    aux.write_text(
        "<PAMDataset><PAMRasterBand band='1'><NoDataValue>7</NoDataValue></PAMRasterBand></PAMDataset>"
    )
    for file in (path, aux):
        (tmp_path / file.name).symlink_to(file)
    with open_raster(tmp_path / "a.tif") as dataset:
        assert dataset.nodata == 7


@pytest.mark.parametrize("name", MODELS)
def test_models_are_refused_or_harmless(tmp_path: Path, canaries: Canaries, name: str, kit: Path) -> None:
    from geoseg.facts.model import model_facts
    from geoseg_cli import facts_text, terminal

    path = MODELS[name](tmp_path, kit, lay_out(canaries.folder, canaries.url))
    canaries.touched()
    harmless = {
        "card_weights_elsewhere",
        "card_wide",
        "card_bands_nasty",
        "card_version_nasty",
        "card_classes_markup",
    }
    harmless |= {"card_many_keys"}
    if name in harmless:
        facts = model_facts(path)
        terminal._plain(facts)
        assert all(terminal.one_line(line).isprintable() for line in facts_text.lines(facts))
    else:
        with pytest.raises(GeosegError, match=r"^[^\n]+;[^\n]+$"):
            model_facts(path)
    assert canaries.touched() == set()


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As much of a kit as a model needs."""
    from models_of_tests import write_model

    return write_model(tmp_path_factory.mktemp("kit") / "model.safetensors").parent


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "yaml_weights_at_an_address"])
def test_configurations_are_refused(tmp_path: Path, canaries: Canaries, name: str) -> None:
    path = CONFIGS[name](tmp_path, tmp_path, lay_out(canaries.folder, canaries.url))
    canaries.touched()
    with pytest.raises(GeosegError):
        load_config(str(path))
    assert canaries.touched() == set()


@pytest.mark.parametrize(
    "text", ['{"a":1,"a":2}', "NaN", "[Infinity]", "[" * 41 + "]" * 41, "[" * 10**6, "9" * 9000, "", b"\xff"]
)
def test_json_that_readers_disagree_about_is_refused(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        strict_json.loads(text)


def test_other_json_is_as_ever() -> None:
    deep = "[" * 40 + "]" * 40
    assert strict_json.loads('{"a": [1, 2.5, null, {"b": "c"}]}') == {"a": [1, 2.5, None, {"b": "c"}]}
    assert str(strict_json.loads(deep)) == deep


def test_grids_of_proj_itself_are_no_files_of_strangers() -> None:
    assert not names_a_file('EXTENSION["PROJ4","+proj=merc +nadgrids=@null +wktext"]')
    assert not names_a_file("+proj=longlat +ellps=bessel +nadgrids=BETA2007.gsb +type=crs")
    assert not names_a_file('UNIT["m/s",1],AUTHORITY["EPSG","25833"]')
    assert names_a_file("+proj=longlat +nadgrids=@../x")
    assert names_a_file('PARAMETERFILE["Latitude and longitude difference file","/etc/passwd"]')


def test_headings_of_tables_are_escaped(capfd: pytest.CaptureFixture[str]) -> None:
    from geoseg_cli.report import print_table

    print_table({"\x1b[31m[red]": {"\u202e": "\x07"}}, first="\x1b]0;x\x07")
    err = capfd.readouterr().err
    assert "\\x1b[31m[red]" in err
    assert not set("\x1b\x07\u202e") & set(err)


def test_an_output_that_is_a_link_stays_in_its_folder(tmp_path: Path) -> None:
    """The link is replaced; what it leads to is not written to."""
    from geoseg.outputs import staged_file

    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "precious").write_text("old")
    for target in ("else/precious", "else/not-there"):
        link = tmp_path / "out"
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        with staged_file(link) as staged:
            staged.write_text("new")
        assert not link.is_symlink()
        assert link.read_text() == "new"
    assert [entry.name for entry in (tmp_path / "else").iterdir()] == ["precious"]
    assert (tmp_path / "else" / "precious").read_text() == "old"


@pytest.mark.parametrize("kind", ["pipe", "link to a pipe"])
def test_an_output_that_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    from geoseg.errors import OutputError
    from geoseg.outputs import check_output

    out = tmp_path / "out"
    os.mkfifo(tmp_path / "pipe" if "link" in kind else out)
    if "link" in kind:
        out.symlink_to("pipe")
    with pytest.raises(OutputError, match="is not a regular file; name a file"):
        check_output(out, overwrite=True)


def test_a_swap_between_the_look_and_the_open_gains_nothing(
    tmp_path: Path, canaries: Canaries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What looked like a TIFF is a VRT when GDAL opens it: the one driver named does not take it."""
    from geoseg.raster import formats

    lures = lay_out(canaries.folder, canaries.url)
    monkeypatch.setattr(formats, "read_head", lambda *_, **__: b"II*\0")
    for name in ("vrt_raw", "mrf", "wms"):
        path = RASTERS[name](tmp_path, tmp_path, lures)
        canaries.touched()
        with pytest.raises(SceneError):
            open_raster(path)
        monkeypatch.setattr(formats, "read_head", lambda *_, **__: b"SQLite format 3\0")
        with pytest.raises(LabelsError):
            read_vector(path)
        monkeypatch.setattr(formats, "read_head", lambda *_, **__: b"II*\0")
    assert (canaries.touched(), canaries.calls()) == (set(), 0)
