"""Widths of the band of Boundary IoU."""

from __future__ import annotations

import pytest

from geoseg.errors import ConfigError
from geoseg.progress import SILENT, SilentProgress
from geoseg.scoring.widths import width_px


@pytest.mark.parametrize(
    ("text", "gsd_m", "wanted"),
    [
        ("2px", None, 2),
        ("7", 0.3, 7),
        ("3m", 0.5, 6),
        ("3 m", 2.5, 1),
        ("0.4m", 2.5, 1),  # never less than a pixel
        ("2%", None, 10),  # of 500, the diagonal of 300 x 400
        ("0.02%", None, 1),
    ],
)
def test_pixels_metres_and_percent(text: str, gsd_m: float | None, wanted: int) -> None:
    assert width_px(text, (300, 400), gsd_m, SILENT) == wanted


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("2.5px", "whole pixels"),
        ("0", "write a width"),
        ("257px", "1 to 256"),
        ("wide", "write a width"),
        ("-2px", "write a width"),
        ("2km", "write a width"),
        ("3m", "size of a pixel is not known"),
    ],
)
def test_refused(text: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        width_px(text, (300, 400), None, SILENT)


def test_percent_of_a_large_scene_are_silly() -> None:
    class Listener(SilentProgress):
        heard = ""

        def warn(self, text: str) -> None:
            self.heard += text

    listener = Listener()
    assert width_px("2%", (3000, 4000), None, listener) == 100
    assert "meant for chips and small scenes" in listener.heard
    with pytest.raises(ConfigError, match="is 566 px here, and 256 are the most"):
        width_px("2%", (20_000, 20_000), 0.5, SILENT)
