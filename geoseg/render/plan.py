"""The plan of a prediction: everything that the values of its pixels depend on, and nothing else.

Two runs with equal plans give equal bytes; a journal or a shard of another plan is refused. What only changes
the time or the memory (workers, memory limit, the way blocks are dealt out) is not in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from rasterio.windows import Window

from geoseg.render.blocks import BlockGrid
from geoseg.render.grid import ChipGrid

Precision = Literal["fp32", "bf16", "fp16"]
LayerName = Literal["mask", "probabilities", "uncertainty"]
LAYERS: tuple[LayerName, ...] = get_args(LayerName)

Content = LayerName | Literal["objects", "valid"]
OBJECT_LAYERS: tuple[Content, ...] = ("objects", "valid")
"""What blocks hold of a prediction of objects: detections, and which pixels can belong to any."""

POLYGON_SUFFIXES = (".gpkg", ".fgb", ".geojson", ".shp", ".parquet")
"""Suffixes of outputs that are polygons, not masks; :data:`geoseg.vector.write.DRIVERS` is slow to import."""

MAX_SIDE = 2**31 - 1
MAX_CLASSES = 255


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is rendered, and how.

    Attributes:
        geoseg: version of geoseg.
        torch: version of torch.
        scene: SHA-256 of the scene's file; of one on a server, of what the server tells of it.
        shape: height and width of the scene in pixels.
        bands: 1-based bands read, in the model's order.
        nodata: nodata value given for the scene.
        model: SHA-256 of the model's file.
        classes: number of classes.
        size_px: side of a chip.
        overlap_px: overlap of neighbouring chips.
        shift_px: how far the grid is moved up and left.
        refine: whether unsure pixels are decided point by point.
        margin: pixels whose two best probabilities lie further apart are sure.
        points_per_pixel: most pixels decided in one step, as a share of each area.
        scale: pixels of the mask for one of the scene, along an axis.
        min_score: least score of an object; 0 of a plan that is not of objects.
        tta: whether the coarse map is the mean over the eight turned and flipped views.
        precision: what is computed in.
        device: ``cpu`` or ``cuda``: they round differently.
        batch_size: chips computed at once; always 1 on a CPU, where it has no influence.
        window: (row_off, col_off, height, width) of the part rendered; the whole scene when not given.
        aoi: SHA-256 of the file with the area of interest.
        layers: what is kept of each pixel.
    """

    geoseg: str
    torch: str
    scene: str
    shape: tuple[int, int]
    bands: tuple[int, ...]
    nodata: float | None
    model: str
    classes: int
    size_px: int
    overlap_px: int
    shift_px: int
    refine: bool
    margin: float
    points_per_pixel: float
    scale: int
    min_score: float
    tta: bool
    precision: Precision
    device: Literal["cpu", "cuda"]
    batch_size: int
    window: tuple[int, int, int, int] | None
    aoi: str | None
    layers: tuple[Content, ...]

    def grid(self) -> ChipGrid:
        """The chips of the scene."""
        return ChipGrid.of(
            self.shape, size_px=self.size_px, overlap_px=self.overlap_px, shift_px=self.shift_px
        )

    def blocks(self) -> BlockGrid:
        """The blocks of the scene."""
        counts = {"mask": 1, "probabilities": self.classes, "uncertainty": 1, "objects": 0, "valid": 1}
        return BlockGrid.of(
            self.grid(), scale=self.scale, layers={name: counts[name] for name in self.layers}
        )

    @property
    def is_objects(self) -> bool:
        """Whether objects are detected, instead of a class told for every pixel."""
        return self.layers == OBJECT_LAYERS

    @property
    def part(self) -> Window:
        """Pixels of the scene that are rendered."""
        row, col, height, width = self.window or (0, 0, *self.shape)
        return Window(col, row, width, height)

    def differences(self, other: Plan) -> list[str]:
        """How ``other`` differs, in words: ``another scene``, ``margin 0.9 instead of 0.95``."""
        found = []
        for field in fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            if mine != theirs:
                plain = field.name in {"scene", "model", "aoi"}
                name = field.name.removesuffix("_px")
                found.append(
                    f"another {field.name}"
                    if plain
                    else f"{name.replace('_', ' ')} {_show(theirs)} instead of {_show(mine)}"
                )
        return found

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Plan:
        """Read what :meth:`to_json` made.

        Raises:
            ValueError: a key is missing, unknown, of another type, or out of range.
        """
        if not isinstance(values, Mapping) or values.keys() != {field.name for field in fields(cls)}:
            raise ValueError("not the keys of a plan")
        plain: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        plan = cls(**plain)
        plan._check()
        return plan

    def _check(self) -> None:
        whole = {
            "shape": (self.shape, 1, MAX_SIDE),
            "bands": (self.bands, 1, MAX_SIDE),
            "classes": ((self.classes,), 1, MAX_CLASSES),
            "size_px": ((self.size_px,), 32, 4096),
            "overlap_px": ((self.overlap_px,), 0, 4096),
            "shift_px": ((self.shift_px,), 0, 4096),
            "scale": ((self.scale,), 1, 4),
            "batch_size": ((self.batch_size,), 1, 1_000_000),
            "window": (self.window or (0, 0, 0, 0), 0, MAX_SIDE),
        }
        for name, (numbers, low, high) in whole.items():
            if not isinstance(numbers, tuple) or not all(
                type(value) is int and low <= value <= high for value in numbers
            ):
                raise ValueError(f"{name} {_show(numbers)}")
        for name in ("geoseg", "torch", "scene", "model"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(name)
        for name in ("refine", "tta"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(name)
        choices = (self.precision in get_args(Precision), self.device in {"cpu", "cuda"})
        lengths = (len(self.shape) == 2, self.window is None or len(self.window) == 4, bool(self.layers))
        known = self.is_objects or set(self.layers) <= set(LAYERS)
        if not all(choices) or not all(lengths) or not known:
            raise ValueError("a value that geoseg does not write")
        for name in ("margin", "points_per_pixel", "min_score"):
            if not isinstance(getattr(self, name), float | int) or not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} {_show(getattr(self, name))}")


def _show(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(_show(item) for item in value)
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
