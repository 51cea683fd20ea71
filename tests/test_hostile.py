"""Hostile files, counted: nothing runs, nothing else is read, written or asked, and a line is said.

What is made is in the other ``hostile_*.py``.
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
from hostile_files import BOX, lay_out
from hostile_models import MODELS
from hostile_rasters import RASTERS
from hostile_refusals import REFUSED_LABELS, REFUSED_RASTERS
from hostile_states import CONFIGS
from hostile_vectors import LABELS
from rasterio.windows import Window

from geoseg import strict_json
from geoseg.doctor import doctor
from geoseg.errors import GeosegError, LabelsError, SceneError
from geoseg.mapview.atlas import Sources
from geoseg.presets import load_config
from geoseg.raster.crs_text import names_a_file
from geoseg.raster.gdal import open_raster
from geoseg.raster.mask import open_mask
from geoseg.raster.scene import Scene
from geoseg.raster.vectors import read_vector
from geoseg.report import report
from geoseg.vector import legend

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's inotify watches the canaries")


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


def test_a_scene_that_lies_nowhere_is_refused(tmp_path: Path, canaries: Canaries) -> None:
    path = RASTERS["transform_not_finite"](tmp_path, tmp_path, lay_out(canaries.folder, canaries.url))
    labels = scenes.write_labels(tmp_path / "labels.gpkg", [BOX])
    errors = [one for one in doctor([path], [labels]).findings if one.severity == "error"]
    assert "puts all pixels on a line or nowhere" in str(errors)
    with pytest.raises(SceneError, match="puts all pixels on a line or nowhere; give it another"):
        report(Sources(scene=path), tmp_path / "page.html")


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


def test_a_name_beside_a_mask_is_compared_with_few_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sidecar of 64 MB has room for millions of names."""
    compared = []

    class Name(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            compared.append(self)
            return str.__eq__(self, other)

    mask = scenes.write_class_raster(tmp_path / "mask.tif", np.zeros((8, 8), np.uint8))
    names = tuple(Name(f"name {at // 2}" if at < 20 else f"name {at}") for at in range(2000))
    monkeypatch.setattr(legend, "read_categories", lambda _: names)
    with open_mask(mask) as opened:
        known = legend.Legend(opened)
    assert [known.name(at) for at in (3, 19, 20, 1999)] == ["class 3", "class 19", "name 20", "name 1999"]
    assert len(compared) < 10 * len(names)


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
