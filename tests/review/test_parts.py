"""The parts a page is made of: markup, figures, log, curves, matrix, pictures, colours."""

from __future__ import annotations

import json
import math
import re
from importlib.resources import files
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from scenes import not_georeferenced_is_fine

from geoseg.classes import IGNORE
from geoseg.page import numbers
from geoseg.page.markup import Html, el, escaped, join, visible
from geoseg.page.matrix import MAX_CLASSES, confusions, gathered, matrix
from geoseg.page.picture import jpeg, palette_png, ramp, shown_bands, shrunk_ids, shrunk_image, stretched
from geoseg.review.curve import Line, chart, nice_ticks
from geoseg.review.gallery import hex_of
from geoseg.review.log import PART, Log, thinned
from geoseg.review.worst_instances import FALSE, FOUND, MISSED


class TestMarkup:
    def test_text_is_escaped_and_markup_is_not(self) -> None:
        made = el(
            "p", 'a < b & "c"', el("b", "d"), Html("<i>e</i>"), None, class_="x", data_y="'<>'", hidden=True
        )
        start = '<p class="x" data-y="&#x27;&lt;&gt;&#x27;" hidden>'
        assert made == f"{start}a &lt; b &amp; &quot;c&quot;<b>d</b><i>e</i></p>"
        assert join("a", None, "<") == "a&lt;"
        assert el("img", alt="", width=3, lazy=None) == '<img alt="" width="3">'

    def test_what_turns_text_around_is_shown(self) -> None:
        assert visible("a\u202eb\u2066\x00\x1b\u200f\ud800\n") == (
            "a\\u202eb\\u2066\\u0000\\u001b\\u200f\\ud800\n"
        )
        assert visible("Äcker 農地 शेत 👩\u200d🌾") == "Äcker 農地 शेत 👩\u200d🌾"

    @given(st.text())
    def test_any_text_survives_utf8_and_opens_no_tag(self, text: str) -> None:
        assert not re.search("[<>\"']", escaped(text))
        escaped(text).encode()


def test_figures() -> None:
    nan = math.nan
    assert [numbers.score(v) for v in (0.84099, 1.0, None, nan)] == ["0.841", "1.000", "–", "–"]
    shares = [numbers.percent(v).replace("\xa0", " ") for v in (0, 1e-5, 0.0449, 0.99999, 1, nan)]
    assert shares == ["0 %", "< 0.1 %", "4.5 %", "> 99.9 %", "100 %", "–"]
    assert numbers.count(1234567) == "1\u202f234\u202f567"
    assert [numbers.short_count(v) for v in (0, 999, 1234, 1_200_000)] == [
        "0",
        "999",
        "1.23\u202fk",
        "1.2\u202fM",
    ]
    assert [numbers.change(v) for v in (0.02, -0.0301, None)] == ["+0.020", "−0.030", "–"]
    times = [numbers.duration(v).replace("\xa0", " ") for v in (5.25, 59.99, 200, 7300, None)]
    assert times == ["5.2 s", "60.0 s", "3 min 20 s", "2 h 01 min", "–"]
    assert [numbers.size(v) for v in (12, 44_794_556, 3 * 10**12)] == [
        "12\xa0B",
        "44.8\xa0MB",
        "3000.0\xa0GB",
    ]


class TestLog:
    def test_lines_may_be_torn_strange_or_poor(self, tmp_path: Path) -> None:
        lines = [
            json.dumps({"epoch": 1, "loss": 2.0, "val_miou": None, "val_iou": {"a": 0.5, "b": None}}),
            "",
            '{"epoch": 2, "loss": NaN, "val_miou": 0.25, "note": "text", "flag": true, "list": [1]}',
            "[1, 2]",
            '{"loss": 1}',
            '{"epoch": 3, "val_miou": 0.25, "dice": 1e400, "huge": 1' + "0" * 400 + "}",
            '{"epoch": 4, "lo',
        ]
        (tmp_path / "log").write_text("\n".join(lines))
        log = Log.read(tmp_path / "log")
        assert log.epochs == (1, 2, 3)
        assert log.unreadable == 3
        assert log.curve("loss") == (2.0, None, None)
        assert log.curve(f"val_iou{PART}a") == (0.5, None, None)
        assert log.curve(f"val_iou{PART}b") is None
        assert {"note", "flag", "list"}.isdisjoint(log.curves)
        # Of equal epochs the first is the best, as in training.
        assert log.best() == 1
        assert log.total("loss") == log.mean("loss") == 2.0
        assert log.mean("nothing") is None

    def test_no_file_and_a_line_again(self, tmp_path: Path) -> None:
        assert len(Log.read(tmp_path / "none")) == 0
        (tmp_path / "log").write_text(
            '{"epoch": 2, "loss": 1}\n{"epoch": 1, "loss": 3}\n{"epoch": 2, "loss": 2}\n'
        )
        assert Log.read(tmp_path / "log").curve("loss") == (3.0, 2.0)

    def test_thinned(self) -> None:
        assert thinned(0, 5) == []
        assert thinned(4, 5) == [0, 1, 2, 3]
        kept = thinned(1000, 11, keep=[7, None])
        assert kept[0] == 0
        assert kept[-1] == 999
        assert 7 in kept
        assert len(kept) == 12


class TestChart:
    @given(st.floats(-1e6, 1e6), st.floats(0, 1e6) | st.floats(0, 1e299))
    def test_ticks_hold_the_values(self, low: float, span: float) -> None:
        ticks = nice_ticks(low, low + span)
        slack = 1e-6 * max(abs(low), abs(low + span)) + 1e-289
        assert ticks[0] <= low + slack
        assert ticks[-1] >= low + span - slack
        assert 2 <= len(ticks) <= 8

    def test_ticks_are_round(self) -> None:
        assert nice_ticks(0.0, 1.0) == [0.0, 0.25, 0.5, 0.75, 1.0]
        assert nice_ticks(0.61, 2.05) == [0.5, 1.0, 1.5, 2.0, 2.5]

    def test_points_lie_where_the_values_are(self) -> None:
        html = chart("t", (1, 2, 3, 4), [Line(name="n", values=(0.0, 1.0, None, 0.5))], low=0.0)
        path, _in_the_key = re.findall(r'd="([^"]*)" class="line"', html)
        # The plot is 46..388 wide and 14..190 high; the gap lifts the pen.
        assert path == "M46.0 190.0L160.0 14.0M388.0 102.0"

    def test_one_epoch_and_one_value(self) -> None:
        html = chart("t", (7,), [Line(name="n", values=(3.0,))])
        assert html.count('class="mark"') == 2  # the point, and the one in the key
        assert "nan" not in html

    def test_lines_differ_without_colour(self) -> None:
        lines = [Line(name=str(at), values=(0.0, float(at))) for at in range(5)]
        html = chart("t", (1, 2), lines)
        assert len(set(re.findall(r'class="line" stroke-dasharray="([^"]*)"', html))) == 5
        assert len(set(re.findall(r'<path d="([^"]*)" transform', html))) == 5

    def test_long_runs_stay_small(self) -> None:
        values = tuple(float(at % 97) for at in range(100_000))
        html = chart("t", range(100_000), [Line(name="n", values=values)])
        assert len(html) < 60_000


class TestMatrix:
    def test_many_classes_share_a_row(self) -> None:
        rng = np.random.default_rng(1)
        counts = rng.integers(0, 50, (40, 40))
        counts[7] += 1000
        smaller, names = gathered(counts, [f"c{at}" for at in range(40)])
        assert smaller.shape == (MAX_CLASSES, MAX_CLASSES)
        assert smaller.sum() == counts.sum()
        assert "c7" in names
        assert names[-1] == "21 others"
        at, kept = names.index("c7"), [int(name[1:]) for name in names[:-1]]
        assert smaller[at, :-1].tolist() == counts[7, kept].tolist()
        assert matrix(counts, [f"c{at}" for at in range(40)]).count("<tr>") == MAX_CLASSES + 1

    def test_mistakes_in_order(self) -> None:
        counts = np.array([[9, 2, 0], [5, 1, 0], [0, 3, 0]])
        assert confusions(counts) == [(1, 0, 5), (2, 1, 3), (0, 1, 2)]
        assert confusions(counts, most=1) == [(1, 0, 5)]

    def test_a_row_without_pixels_has_no_shares(self) -> None:
        html = matrix(np.array([[3, 1], [0, 0]]), ["a", "b"])
        assert re.findall(r"<b>([^<]*)</b>", html) == ["75.0\xa0%", "25.0\xa0%", "–", "–"]


class TestPicture:
    @pytest.mark.parametrize("classes", [1, 2, 3, 9, 16, 254])
    def test_a_palette_png_is_what_went_in(self, classes: int) -> None:
        rng = np.random.default_rng(classes)
        ids = rng.integers(0, classes, (13, 21)).astype(np.uint8)
        ids[2:5, 3:] = IGNORE
        colors = [tuple(int(part) for part in rng.integers(0, 256, 3)) for _ in range(classes)]
        made = palette_png(ids, colors)
        with not_georeferenced_is_fine(), rasterio.MemoryFile(made) as memory, memory.open() as file:
            assert file.driver == "PNG"
            read, table = file.read(1), file.colormap(1)
        shown = np.array([[table[int(value)] for value in row] for row in read])
        assert (shown[ids == IGNORE, 3] == 0).all()
        assert (shown[ids != IGNORE, 3] == 255).all()
        assert (shown[ids != IGNORE, :3] == np.array(colors)[ids[ids != IGNORE]]).all()

    def test_a_jpeg_looks_like_what_went_in(self) -> None:
        rows, columns = np.indices((40, 60))
        image = np.stack([rows * 6, columns * 4, np.full_like(rows, 90)], axis=2).astype(np.uint8)
        made = jpeg(image)
        with not_georeferenced_is_fine(), rasterio.MemoryFile(made) as memory, memory.open() as file:
            assert file.driver == "JPEG"
            back = np.moveaxis(file.read(), 0, -1).astype(int)
        assert np.abs(back - image).mean() < 4

    @pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "uint64", "float32", "float64"])
    def test_stretched_by_percentiles_of_valid_pixels(self, dtype: str) -> None:
        band = np.arange(10_000).reshape(100, 100) % 251
        bands = np.stack([band, band, band]).astype(dtype)
        valid = np.ones((100, 100), bool)
        valid[:10] = False
        bands[:, :10] = np.iinfo(dtype).max if np.issubdtype(np.dtype(dtype), np.integer) else np.nan
        image = stretched(bands, valid)
        assert image.shape == (100, 100, 3)
        low, high = np.percentile(band[10:], (2, 98))
        expected = np.clip((band[10:] - low) / (high - low), 0, 1) * 255
        assert np.abs(image[10:, :, 0] - expected).max() <= 0.51
        # A hatch of two greys where nothing is known.
        assert len(np.unique(image[:10])) == 2

    def test_flat_and_empty_bands(self) -> None:
        flat = np.full((1, 8, 8), 7, np.uint16)
        assert (stretched(flat, np.ones((8, 8), bool)) == 128).all()
        assert stretched(flat, np.zeros((8, 8), bool)).shape == (8, 8, 3)
        nan = np.full((1, 8, 8), np.nan, np.float32)
        assert stretched(nan, np.ones((8, 8), bool)).shape == (8, 8, 3)

    def test_bands_by_name_else_in_order(self) -> None:
        assert shown_bands(["nir", "Blue", "green ", "red"]) == (3, 2, 1)
        assert shown_bands(["1", "2", "3", "4"]) == (0, 1, 2)
        assert shown_bands(["1", "2"]) == (0,)

    def test_shrunk(self) -> None:
        image = np.arange(5 * 4 * 3).reshape(5, 4, 3).astype(np.uint8)
        small = shrunk_image(image, 2)
        assert small.shape == (2, 2, 3)
        assert small[0, 0, 0] == round(float(image[:2, :2, 0].mean()))
        ids = np.arange(20).reshape(5, 4).astype(np.uint8)
        assert shrunk_ids(ids, 2).tolist() == [[5, 7], [13, 15]]
        assert shrunk_ids(ids, 1).tolist() == ids.tolist()

    def test_ramp(self) -> None:
        assert ramp([(0, 0, 0), (100, 200, 50)], 3) == [(0, 0, 0), (50, 100, 25), (100, 200, 50)]


# Machado, Oliveira, Fernandes (2009), severity 1, on linear RGB.
_VISION = {
    "full": np.eye(3),
    "protan": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deutan": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}


def linear(color: str) -> np.ndarray:
    part = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """WCAG 2 contrast ratio."""
    light = sorted(float(linear(color) @ [0.2126, 0.7152, 0.0722]) + 0.05 for color in (one, other))
    return light[1] / light[0]


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (D65) of linear RGB."""
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]],
    )
    xyz = to_xyz @ np.clip(rgb, 0, 1) / [0.9505, 1.0, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def schemes() -> dict[str, dict[str, str]]:
    """The colours of the style sheet, in light and in dark."""
    style = files("geoseg.page").joinpath("page.css").read_text(encoding="utf-8")
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})", block))
        for block in re.findall(r":root \{(.*?)\}", style, re.DOTALL)[:2]
    )
    return {"light": light, "dark": light | dark}


@pytest.mark.parametrize("scheme", ["light", "dark"])
class TestColours:
    def test_text_and_lines_stand_out(self, scheme: str) -> None:
        colors = schemes()[scheme]
        for name in ("ink-text", "soft", "accent"):
            for ground in ("paper", "panel"):
                assert contrast(colors[name], colors[ground]) >= 4.5, name
        for at in range(6):
            assert contrast(colors[f"s{at}"], colors["paper"]) >= 3, at

    @pytest.mark.parametrize("vision", list(_VISION))
    def test_first_lines_are_told_apart(self, scheme: str, vision: str) -> None:
        # The first four, which is what a chart of losses has; further ones differ in dashes and marks.
        colors = schemes()[scheme]
        seen = [lab(_VISION[vision] @ linear(colors[f"s{at}"])) for at in range(4)]
        for one, other in combinations(range(4), 2):
            assert float(np.linalg.norm(seen[one] - seen[other])) > 12, (one, other)

    def test_figures_are_read_on_any_heat(self, scheme: str) -> None:
        style = files("geoseg.page").joinpath("page.css").read_text(encoding="utf-8")
        found = re.findall(r"\.(h\d+) \{ background: (#\w{6}); color: (#\w{6});", style)
        heats = found[:11] if scheme == "light" else found[11:]
        assert [name for name, _, _ in heats] == [f"h{at}" for at in range(11)]
        for name, ground, ink in heats:
            assert contrast(ground, ink) >= 4.5, name


@pytest.mark.parametrize("vision", list(_VISION))
def test_outlines_are_told_apart(vision: str) -> None:
    strokes = (FOUND, MISSED, FALSE)
    seen = [lab(_VISION[vision] @ linear(hex_of(stroke.color))) for stroke in strokes]
    for one, other in combinations(seen, 2):
        assert float(np.linalg.norm(one - other)) > 25
    # Each lies on a black line, whatever the image is; and without any colour, dashes tell.
    assert min(contrast(hex_of(stroke.color), "#000000") for stroke in strokes) >= 4.5
    assert len({stroke.dashes for stroke in strokes}) == len(strokes)
