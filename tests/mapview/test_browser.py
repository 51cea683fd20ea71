"""The map in a real browser, where one is installed: layers, clicks, keys, and nothing asked of anybody."""

from __future__ import annotations

import io
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyogrio
import pytest
import rasterio
from chromium import PATH, Page
from maps_of_tests import HOSTILE, NOTE, write_map
from scenes import not_georeferenced_is_fine, ramp, write_scene

from geoseg.mapview.atlas import Sources, open_atlas
from geoseg.mapview.document import document
from geoseg.mapview.server import MapServer, Tiles
from geoseg.mapview.tally import count_some
from geoseg.page.markup import visible
from geoseg.report import report

pytestmark = pytest.mark.skipif(PATH is None, reason="no Chromium is installed")


@pytest.fixture
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("browser")
    with Page(folder) as opened:
        # Nothing fades in then, so that colours are what they are to be at once.
        calm = [{"name": "prefers-reduced-motion", "value": "reduce"}]
        opened.call("Emulation.setEmulatedMedia", features=calm)
        yield opened
    shutil.rmtree(folder, ignore_errors=True)


def sources(folder: Path) -> Sources:
    scene, mask, parcels = write_map(folder)
    shares = np.tile(np.linspace(0, 254, 900).astype(np.uint8), (600, 1))
    return Sources(
        scene=scene, mask=mask, parcels=parcels, uncertainty=write_scene(folder / "u.tif", shares, nodata=255)
    )


def tiles_of(page: Page, pane: str) -> int:
    found: int = page.run(f"document.querySelectorAll('.leaflet-{pane}-pane .leaflet-tile-loaded').length")
    return found


def spot(page: Page, column: float, row: float) -> tuple[float, float]:
    """Where a pixel of the scene is in the window."""
    x, y = page.run(
        "(() => { const edge = map.getContainer(), box = edge.getBoundingClientRect();"
        f" const at = map.latLngToContainerPoint([{row}, {column}]);"
        " return [box.left + edge.clientLeft + at.x, box.top + edge.clientTop + at.y]; })()"
    )
    return x, y


def colors(page: Page, *pixels: tuple[float, float]) -> list[tuple[int, ...]]:
    """Colours (r, g, b) of the window at pixels of the scene."""
    with (
        not_georeferenced_is_fine(),
        rasterio.MemoryFile(io.BytesIO(page.picture())) as file,
        file.open() as seen,
    ):
        picture = seen.read()
    spots = [spot(page, *pixel) for pixel in pixels]
    return [tuple(int(value) for value in picture[:3, round(y), round(x)]) for x, y in spots]


def use(page: Page) -> None:
    """What a user does, wherever the map comes from."""
    page.wait("document.querySelectorAll('.leaflet-v0-pane .leaflet-tile-loaded').length > 0")
    # The mask is off where there are polygons; the layers go on and off.
    assert tiles_of(page, "r1") == 0
    page.run("document.getElementById('show-v0').click()")
    assert tiles_of(page, "v0") == 0
    for box in ("show-r1", "map-patterns"):
        page.run(f"document.getElementById('{box}').click()")
    page.run(
        "(() => { const slider = document.querySelector('[data-opacity=r1]'); slider.value = 100;"
        " slider.dispatchEvent(new Event('input')); })()"
    )
    page.wait(
        "document.querySelectorAll('.leaflet-r1-pane canvas').length > 0 && !layers[1].layer.isLoading()"
    )
    land, field, strip = colors(page, (60, 50), (300, 250), (400, 425))
    assert (land, field, strip) == ((0x8C,) * 3, (0xE6, 0x9F, 0x00), (0x56, 0xB4, 0xE9))
    # A class that is taken off shows the scene below it.
    page.run("document.querySelector('[data-class-shown=\"1\"]').click()")
    assert colors(page, (300, 250))[0] != field
    page.run("document.querySelector('[data-class-shown=\"1\"]').click()")
    # On the right of the swipe line there is the mask, on the left there is not.
    page.run("document.getElementById('map-swipe').click()")
    left, right = colors(page, (160, 250), (600, 550))
    assert left != field
    assert right == land
    page.run("document.getElementById('map-swipe').click()")
    # What lies under the pointer is told, with its place on Earth.
    page.run("map.setView([250.5, 300.5], 3, {animate: false}) && null")
    page.wait("!layers[1].layer.isLoading()")
    x, y = spot(page, 300.5, 250.5)
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    page.wait("document.getElementById('map-place').textContent.includes('mask: field')")
    assert "column 300, row 250" in page.run("document.getElementById('map-place').textContent")
    assert "x 500150" in page.run("document.getElementById('map-place').textContent")
    page.run("map.fitBounds(whole, {animate: false}) && null")
    page.wait("!layers[1].layer.isLoading()")


def click_polygons(page: Page) -> None:
    page.run("document.getElementById('show-v0').click()")
    page.wait("document.querySelectorAll('.leaflet-v0-pane .leaflet-tile-loaded').length > 0")
    page.click(*spot(page, 300, 250))
    page.wait("document.querySelector('.leaflet-popup-content') !== null")
    told = page.run("document.querySelector('.leaflet-popup-content').innerText")
    words = f"field class name field area 14,600 m² (1.46 ha) note {visible(NOTE)} score 0.415"
    assert told.split() == words.split()
    assert "area 14,600 m²" in page.run("document.getElementById('map-told').textContent")
    page.press("Escape")
    # In the hole there is no polygon, only the place.
    page.click(*spot(page, 220, 170))
    page.wait("(document.querySelector('.leaflet-popup-content')?.innerText ?? '').includes('column 2')")
    # By the keyboard: the second largest.
    page.run("map.closePopup(); document.getElementById('map').focus()")
    for _ in range(2):
        page.press("n")
    page.wait("(document.querySelector('.leaflet-popup-content')?.innerText ?? '').includes('7,500 m²')")
    assert visible(HOSTILE) in page.run("document.querySelector('.leaflet-popup-content h3').textContent")
    leave_unsure(page)


def leave_unsure(page: Page) -> None:
    """Below the least score polygons are neither drawn nor found."""
    count = "document.getElementById('map-count').textContent"
    page.wait(f"{count} === '2 of 2 polygons'")
    for order, first in (("sure", 0.9), ("unsure", 0.415)):
        page.run(
            "(() => { map.closePopup(); const order = document.getElementById('map-order');"
            f" order.value = '{order}'; order.dispatchEvent(new Event('change')); "
            " document.getElementById('map').focus(); })()"
        )
        page.press("n")
        page.wait(f"(document.querySelector('.leaflet-popup-content')?.innerText ?? '').includes('{first}')")
    page.run("map.closePopup(); map.fitBounds(whole, {animate: false}); null")
    set_least = (
        "(() => { const slider = document.getElementById('map-least'); slider.value = VALUE;"
        " slider.dispatchEvent(new Event('input')); })()"
    )
    page.run(set_least.replace("VALUE", "42"))
    page.wait(f"{count} === '1 of 2 polygons'")
    assert page.run("document.getElementById('map-least-told').textContent") == "0.42"
    page.run("document.getElementById('map').focus()")
    for _ in range(2):
        page.press("n")
        page.wait("(document.querySelector('.leaflet-popup-content')?.innerText ?? '').includes('7,500 m²')")
    page.run("map.closePopup(); map.fitBounds(whole, {animate: false}); null")
    page.wait("document.querySelectorAll('.leaflet-v0-pane .leaflet-tile-loaded').length > 0")
    page.click(*spot(page, 350, 250))
    page.wait("(document.querySelector('.leaflet-popup-content')?.innerText ?? '').includes('column 3')")
    page.run(set_least.replace("VALUE", "0"))
    page.wait(f"{count} === '2 of 2 polygons'")
    page.press("Escape")


def test_one_file(tmp_path: Path, page: Page) -> None:
    target = tmp_path / "r.html"
    report(sources(tmp_path), target)
    page.open(target.as_uri())
    use(page)
    click_polygons(page)
    # Uncertainty grows to the right.
    for box in ("show-v0", "show-r1", "show-r2"):
        page.run(f"document.getElementById('{box}').click()")
    page.wait("document.querySelectorAll('.leaflet-r2-pane canvas').length > 0")
    sure, unsure = page.run("[layers[2].layer.tell(20.5, 300.5), layers[2].layer.tell(880.5, 300.5)]")
    assert (sure, unsure) == ("0.00 to 0.08", "0.92 to 1.00")
    assert page.requests == [target.as_uri()]
    assert page.complaints == []
    assert page.run("document.title") == "scene.tif"


def test_errors_over_two_masks(tmp_path: Path, page: Page) -> None:
    _, mask, parcels = write_map(tmp_path)
    other = tmp_path / f"{'a_long_name_' * 5}.tif"
    shutil.copy(mask, other)
    field, strip = geopandas.read_file(parcels).geometry
    target = tmp_path / "errors.gpkg"
    for kind, shape in (("false_negative", field), ("split", strip), ("false_positive", None)):
        shapes = [] if shape is None else [shape]
        columns = {"class_id": [1] * len(shapes), "class_name": ["field"] * len(shapes)}
        layer = geopandas.GeoDataFrame(columns, geometry=shapes, crs=geopandas.read_file(parcels).crs)
        pyogrio.write_dataframe(layer, target, layer=kind, driver="GPKG", append=target.exists())
    files = Sources(mask=mask, more_masks=(other,), errors=target)
    report(files, tmp_path / "r.html", title="errors")
    page.open((tmp_path / "r.html").as_uri())
    page.wait("document.querySelectorAll('.leaflet-v0-pane .leaflet-tile-loaded').length > 0")
    # The mask lies below all; what is split is drawn when asked for.
    assert [tiles_of(page, pane) > 0 for pane in ("r0", "r1")] == [True, False]
    told = "document.querySelector('.leaflet-popup-content')?.innerText ?? ''"
    page.click(*spot(page, 400, 425))
    page.wait(f"({told}).includes('mask.tif: ')")
    page.press("Escape")
    page.run("document.querySelector('.map-kinds li:last-child input').click()")
    page.click(*spot(page, 400, 425))
    page.wait(f"({told}).startsWith('split')")
    page.press("Escape")
    # Classes that are taken off leave the errors alone.
    page.run("document.getElementById('map-none').click()")
    page.click(*spot(page, 300, 250))
    page.wait(f"({told}).startsWith('missed')")
    assert "error\tmissed" in page.run(told)
    assert page.run("document.querySelector('.map-kinds').innerText").split() == ["missed", "1", "split", "1"]
    page.call("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=1, mobile=True)
    page.wait("document.documentElement.scrollWidth === 390")
    assert page.requests == [(tmp_path / "r.html").as_uri()]
    assert page.complaints == []
    assert page.run("document.title") == "errors"


def test_from_the_server(tmp_path: Path, page: Page) -> None:
    with open_atlas(sources(tmp_path)) as atlas:
        assert atlas.mask is not None
        failed: list[str] = []
        tiles = Tiles(atlas, document(atlas, tally=count_some(atlas.mask)))
        with MapServer(tiles, fail=failed.append) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            try:
                page.open(server.url)
                use(page)
                click_polygons(page)
                assert page.requests
                assert all(address.startswith(server.url) for address in page.requests)
            finally:
                server.shutdown()
                thread.join()
    assert failed == []
    assert page.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone(tmp_path: Path, scheme: str) -> None:
    scene = write_scene(tmp_path / "s.tif", ramp(3, 300, 400))
    report(Sources(scene=scene), tmp_path / "r.html")
    features: list[dict[str, Any]] = [{"name": "prefers-color-scheme", "value": scheme}]
    with Page(tmp_path / "browser", width=390, height=844, touch=True) as page:
        page.call("Emulation.setEmulatedMedia", features=features)
        page.open((tmp_path / "r.html").as_uri())
        # Nothing sticks out to the side, and the map leaves room to scroll past it.
        assert page.run("document.documentElement.scrollWidth") == 390
        assert page.run("document.getElementById('map').clientHeight") < 0.75 * 844
        ground = page.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
        assert (sum(ground) < 150) == (scheme == "dark")
        assert page.complaints == []
