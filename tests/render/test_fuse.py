"""Detections as networks give them, blunt and in dispute: who wins where two chips see the same ground."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.models.instances import Detections
from geoseg.render.blocks import BlockGrid
from geoseg.render.detections import PackedDetections
from geoseg.render.fuse import fuse
from geoseg.render.gather import Gathered
from geoseg.render.grid import ChipGrid
from geoseg.render.overlap import compare
from geoseg.render.paint import Numbering, Painter

BLOCKS = BlockGrid.of(
    ChipGrid.of((64, 96), size_px=64, overlap_px=32), scale=1, layers={"objects": 0, "valid": 1}
)
LEFT, RIGHT = (0, 0), (0, 1)
"""The two chips: columns 0 to 63 and 32 to 95 of the scene. Half of what both see is either's own."""


class Seen(NamedTuple):
    """A rectangle of the scene that a chip shows."""

    rows: tuple[int, int]
    columns: tuple[int, int]
    label: int = 1
    score: float = 0.9


def packed(chip: tuple[int, int], *seen: Seen) -> PackedDetections:
    left = BLOCKS.grid.columns.starts[chip[1]]
    found = Detections(
        boxes=torch.zeros(len(seen), 4),
        labels=torch.tensor([each.label for each in seen], dtype=torch.int64),
        scores=torch.tensor([each.score for each in seen]),
        masks=tuple(
            torch.ones(each.rows[1] - each.rows[0], each.columns[1] - each.columns[0], dtype=torch.bool)
            for each in seen
        ),
        offsets=torch.tensor([(each.rows[0], each.columns[0] - left) for each in seen]).reshape(-1, 2),
    )
    return PackedDetections.of_chip(chip, found.numpy(), np.ones((64, 64), np.bool_))


def objects(left: list[Seen], right: list[Seen]) -> tuple[NDArray[np.int32], list[tuple[int, float]]]:
    """Ids (64, 96), and class and score of each id."""
    data = PackedDetections.joined([packed(LEFT, *left), packed(RIGHT, *right)]).to_bytes()
    layers = {"objects": np.frombuffer(data, np.uint8), "valid": np.zeros((64, 96), np.uint8)}
    gathered = Gathered(BLOCKS, [0], lambda _: layers)
    fusion = fuse(*compare(gathered, lambda: None))
    painter = Painter(gathered=gathered, fusion=fusion, part=Window(0, 0, 96, 64))
    numbering = Numbering.of(painter.bands(lambda _: None))
    (ids,) = (numbering.regions.relabel(band) for band in painter.bands(lambda _: None))
    number = numbering.object_of
    return ids, list(zip(fusion.label[number].tolist(), fusion.score[number].tolist(), strict=True))


def boxes(ids: NDArray[np.int32]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Rows and columns of each id, which must be rectangles."""
    found = []
    for number in range(1, ids.max() + 1):
        rows, columns = np.nonzero(ids == number)
        found.append(((int(rows.min()), int(rows.max()) + 1), (int(columns.min()), int(columns.max()) + 1)))
        (top, bottom), (first, end) = found[-1]
        assert (ids[top:bottom, first:end] == number).all()
    return found


def test_the_deeper_of_two_whole_views_is_taken_as_it_is() -> None:
    ids, told = objects(
        [Seen((10, 30), (38, 55), score=0.99)], [Seen((11, 31), (39, 57), label=2, score=0.6)]
    )
    # 9 px from the border of the left chip; but 7 px from that of the right one.
    assert boxes(ids) == [((10, 30), (38, 55))]
    assert told == [(1, pytest.approx(0.99))]
    ids, told = objects(
        [Seen((10, 30), (44, 58), score=0.99)], [Seen((11, 31), (45, 59), label=2, score=0.6)]
    )
    assert boxes(ids) == [((11, 31), (45, 59))]
    assert told == [(2, pytest.approx(0.6))]


def test_a_cut_view_is_left_out_where_another_chip_shows_all() -> None:
    ids, told = objects([Seen((10, 30), (46, 64), score=0.99)], [Seen((10, 30), (48, 80), score=0.7)])
    assert boxes(ids) == [((10, 30), (48, 80))]
    assert told == [(1, pytest.approx(0.7))]


def test_one_blob_does_not_glue_two_neighbours() -> None:
    two = [Seen((10, 30), (36, 46)), Seen((10, 30), (46, 56))]
    ids, _ = objects(two, [Seen((10, 30), (32, 60))])
    assert boxes(ids) == [((10, 30), (36, 46)), ((10, 30), (46, 56))]


def test_what_only_the_border_of_a_chip_shows_is_not_believed() -> None:
    ids, _ = objects([Seen((10, 30), (54, 64))], [])
    assert ids.max() == 0


def test_parts_that_agree_are_one_object_and_share_its_score_by_pixels() -> None:
    ids, told = objects([Seen((10, 30), (8, 64), score=0.9)], [Seen((10, 30), (32, 88), label=2, score=0.5)])
    assert boxes(ids) == [((10, 30), (8, 88))]
    assert told == [(1, pytest.approx(0.7))]


def test_neighbours_that_overlap_a_little_stay_two() -> None:
    ids, told = objects([Seen((0, 33), (8, 64))], [Seen((31, 64), (32, 88), score=0.8)])
    assert len(told) == 2
    assert ids[10, 20] != ids[50, 70]


def test_small_things_of_another_class_stay_on_large_ones() -> None:
    garden, pool = Seen((5, 60), (5, 60), label=1, score=0.7), Seen((20, 30), (40, 50), label=2)
    ids, told = objects([garden, pool], [Seen((5, 60), (32, 60)), pool])
    assert [label for label, _ in told] == [1, 2]
    assert np.count_nonzero(ids == 1) == 55 * 55 - 100
    assert np.count_nonzero(ids == 2) == 100


def test_of_objects_that_overlap_the_surer_one_has_the_pixels() -> None:
    ids, _ = objects([Seen((10, 30), (5, 15), score=0.6), Seen((10, 30), (10, 25), score=0.8)], [])
    assert boxes(ids) == [((10, 30), (5, 10)), ((10, 30), (10, 25))]


def test_packed_detections_come_back_and_damage_is_told() -> None:
    found = packed(RIGHT, Seen((0, 64), (32, 96)), Seen((3, 4), (50, 59), label=2))
    data = found.to_bytes()
    back = PackedDetections.from_bytes(data, size_px=64)
    for field in dataclasses.fields(found):
        np.testing.assert_array_equal(getattr(back, field.name), getattr(found, field.name))
    assert len(PackedDetections.from_bytes(b"", size_px=64)) == 0
    beyond = dataclasses.replace(found, top=found.top + 1).to_bytes()
    huge = dataclasses.replace(found, height=np.array([2**31 - 1, 1], np.int32)).to_bytes()
    unsure = dataclasses.replace(found, score=np.array([np.nan, 0.5], np.float32)).to_bytes()
    for damaged in (data[:-1], data + b"\0", data[:5], b"\xff" * 8 + data[8:], beyond, huge, unsure):
        with pytest.raises(ValueError, match=r".+"):
            PackedDetections.from_bytes(damaged, size_px=64)
