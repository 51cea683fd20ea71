"""COCO annotations of instance chips, for the tools that read them.

::

    chips/annotations/instances_train.json     images, categories and annotations; _val and _test likewise
    chips/images/NAME.tif                      the images: ``file_name`` is ``NAME.tif``

They stand beside the chips, whose images serve both, so that nothing is there twice.

An object without holes is polygons along the edges of its pixels, which decode to its pixels exactly. One
with holes, which polygons of COCO cannot have, is run lengths. Land that nobody knows (255 in the labels:
crowds, and what is unlabelled with ``--unlabelled ignore``) is a crowd of every category: whatever a model
finds there is neither right nor wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg import __version__
from geoseg.chips import rle
from geoseg.chips.objects import ChipObjects
from geoseg.chips.outline import polygons
from geoseg.chips.store import SPLITS, Chip, ChipStore
from geoseg.classes import IGNORE, ClassMap
from geoseg.errors import WriteError
from geoseg.progress import Progress

ANNOTATIONS_FOLDER = "annotations"


def write_annotations(store: ChipStore, progress: Progress) -> int:
    """Write the annotations of all splits that have chips into the chips folder.

    Returns:
        How many there are.

    Raises:
        ChipsError: a chip is not what it should be.
        ReadError: a chip is damaged.
        WriteError: the disk is full or not writable.
    """
    folder = store.folder / ANNOTATIONS_FOLDER
    folder.mkdir()
    progress.begin("annotations", len(store.chips()), "chips")
    first_image = first_annotation = 1
    for split in SPLITS:
        chips = store.chips(split)
        if chips:
            path = folder / f"instances_{split}.json"
            first_annotation += _write(path, store, chips, first_image, first_annotation, progress)
            first_image += len(chips)
    progress.end()
    return first_annotation - 1


def _write(
    path: Path, store: ChipStore, chips: Sequence[Chip], image: int, annotation: int, progress: Progress
) -> int:
    """Write one file, and return how many annotations it has; numbers begin where they are told to."""
    written = 0
    try:
        with path.open("w", encoding="utf-8") as file:
            head = {
                "info": {"description": f"instance chips of geoseg {__version__}", "version": __version__},
                "licenses": [],
                "categories": categories(store.classes),
                "images": [
                    {
                        "id": image + at,
                        "file_name": f"{chip.name}.tif",
                        "width": store.size_px,
                        "height": store.size_px,
                    }
                    for at, chip in enumerate(chips)
                ],
            }
            file.write(json.dumps(head, ensure_ascii=False)[:-1] + ', "annotations": [')
            for at, chip in enumerate(chips):
                for entry in annotations_of(store, chip):
                    numbered = {"id": annotation + written, "image_id": image + at} | entry
                    file.write(("," if written else "") + "\n" + json.dumps(numbered, separators=(",", ":")))
                    written += 1
                progress.advance()
            file.write("\n]}\n")
    except OSError as reason:
        raise WriteError(f"writing {path} failed: {reason.strerror}; is the disk full?") from reason
    return written


def categories(classes: ClassMap) -> list[dict[str, Any]]:
    """The things among the classes; their ids are the class ids."""
    return [
        {"id": class_id, "name": name, "supercategory": "thing"}
        for class_id, name in enumerate(classes.names)
        if class_id != classes.background
    ]


def annotations_of(store: ChipStore, chip: Chip) -> Iterator[dict[str, Any]]:
    """Annotations of a chip, without numbers: its objects in their order, then what is unknown.

    Raises:
        ChipsError: the chip is not what it should be.
        ReadError: it is damaged.
    """
    _, valid, labels = store.read(chip)
    objects = store.read_objects(chip)
    outlines, areas = polygons(objects.numbers), np.bincount(objects.numbers.ravel())
    for number, (fact, box) in enumerate(zip(objects.facts, _boxes(objects), strict=False), 1):
        outline: Any = outlines.get(number) or _runs(objects.numbers == number)
        yield _annotation(fact.class_id, outline, int(areas[number]), box, crowd=False) | (
            # Of no meaning to other tools; by it, clipped objects stay known when chips are read back.
            {"inside_share": fact.inside_share} if fact.clipped else {}
        )
    unknown = valid & (labels == IGNORE)
    if unknown.any():
        runs, (rows, cols) = _runs(unknown), np.nonzero(unknown)
        box = _box(int(rows.min()), int(rows.max()), int(cols.min()), int(cols.max()))
        for category in categories(store.classes):
            yield _annotation(category["id"], runs, int(unknown.sum()), box, crowd=True)


def _annotation(
    class_id: int, segmentation: Any, area: int, box: list[int], *, crowd: bool
) -> dict[str, Any]:
    return {
        "category_id": class_id,
        "segmentation": segmentation,
        "area": area,
        "bbox": box,
        "iscrowd": int(crowd),
    }


def _runs(mask: NDArray[np.bool_]) -> dict[str, Any]:
    return {"size": list(mask.shape), "counts": rle.compress(rle.encode(mask))}


def _boxes(objects: ChipObjects) -> list[list[int]]:
    """Box (x, y, width, height) of each object 1..n."""
    rows, cols = np.nonzero(objects.numbers)
    number = objects.numbers[rows, cols].astype(np.intp) - 1
    low = np.full((2, objects.count), np.iinfo(np.int64).max)
    high = np.full((2, objects.count), -1, np.int64)
    for axis, places in enumerate((rows, cols)):
        np.minimum.at(low[axis], number, places)
        np.maximum.at(high[axis], number, places)
    ends = zip(low[0].tolist(), high[0].tolist(), low[1].tolist(), high[1].tolist(), strict=True)
    return [_box(*end) for end in ends]


def _box(top: int, bottom: int, left: int, right: int) -> list[int]:
    return [left, top, right - left + 1, bottom - top + 1]
