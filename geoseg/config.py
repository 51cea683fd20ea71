"""Every option and its default, once; :mod:`geoseg.presets` reads files that change them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from geoseg.errors import ConfigError

WIDTH_FORM = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(px|m|%)?\s*")
"""A width with its unit: pixels, metres, or percent of the diagonal."""

Architecture = Literal[
    "deeplabv3_mobilenet_v3_large",
    "deeplabv3_resnet50",
    "deeplabv3_resnet101",
    "maskrcnn_resnet50_fpn_pointrend",
    "maskrcnn_resnet50_fpn_v2_pointrend",
    "maskrcnn_mobilenet_v3_large_fpn_pointrend",
]
Task = Literal["semantic", "instance"]
"""A class of every pixel, or objects one by one."""

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
SectionT = TypeVar("SectionT", bound=BaseModel)


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _changed(section: BaseModel, names: Iterable[str]) -> Iterator[str]:
    """Those of ``names`` that have another value than their default."""
    fields = type(section).model_fields
    return (name for name in names if getattr(section, name) != fields[name].default)


class TileConfig(_Section):
    """How scenes and labels become chips."""

    task: Literal["semantic", "instance"] = "semantic"
    """``instance`` keeps every labelled object apart, besides the class of every pixel."""
    size_px: int = Field(512, ge=64, le=4096, multiple_of=32)
    overlap_px: int = Field(64, ge=0)
    bands: tuple[Annotated[int, Field(ge=1)], ...] | None = None
    """1-based bands to keep, in this order; all but alpha when not given."""
    class_column: str | None = None
    """Column of the labels that tells the class; without it every polygon is a ``class_name``."""
    class_name: str = "object"
    unlabelled: Literal["background", "ignore"] = "background"
    boundary_px: float | None = Field(None, ge=1.0, le=32.0)
    """Width of the class ``boundary`` that is drawn between polygons which touch or lie closer than this,
    half of it on either side; none is drawn when not given."""
    split: Literal["blocks", "scene"] = "blocks"
    split_column: str | None = None
    """Column of the labels (vector) that tells the split of the scene or area a polygon lies in."""
    split_file: Path | None = None
    """CSV of two columns, ``scene,split``, that tells the split of each scene."""
    val_share: Share = 0.15
    test_share: Share = 0.15
    block_px: int | None = Field(None, ge=64)
    """Side of the spatial blocks of the split; chosen from the scenes when not given."""
    seed: int = 0
    nodata: float | None = None
    """Overrides the nodata value of the scenes."""
    format: Literal["chips", "coco"] = "chips"
    """``coco`` writes COCO annotations of the objects into the chips folder, beside the chips."""

    @model_validator(mode="after")
    def _overlap_below_size(self) -> TileConfig:
        if self.overlap_px >= self.size_px:
            raise ValueError(f"overlap_px {self.overlap_px} must be below size_px {self.size_px}")
        if self.val_share + self.test_share >= 1.0:
            raise ValueError("val_share + test_share must leave something to train on")
        if self.block_px is not None and self.block_px < self.size_px:
            raise ValueError(f"block_px {self.block_px} must not be below size_px {self.size_px}")
        if self.split_column is not None and self.split_file is not None:
            raise ValueError("split_column and split_file both tell the split; give one of them")
        if self.task == "instance" and self.boundary_px is not None:
            raise ValueError("instance chips tell touching objects apart without a boundary; leave it out")
        if self.task == "semantic" and self.format == "coco":
            raise ValueError("COCO annotations are of objects; choose the task instance for them")
        return self


class ModelConfig(_Section):
    """The network: DeepLabV3 for a class of every pixel or Mask R-CNN for objects, with PointRend's head."""

    architecture: Architecture = "deeplabv3_mobilenet_v3_large"
    output_stride: Literal[8, 16] = 16
    fine_stages: tuple[Literal["stride2", "stride4", "stride8"], ...] = ("stride4",)
    """Backbone stages the head samples; stride 4 is the paper's res2 (ResNet ``layer1``)."""
    head_width: int = Field(256, ge=8, le=2048)
    head_depth: int = Field(3, ge=0, le=8)
    """Hidden layers of the point head; with 0 it is linear."""
    auxiliary: bool = False
    norm: Literal["auto", "batch", "group"] = "auto"
    """``group`` norms each chip by itself: for batches of one or two chips, and scenes unlike each other.

    ``auto`` is ``group`` for Mask R-CNN, whose batches are small, and ``batch`` for others.
    """
    dropout: float = Field(0.5, ge=0.0, lt=1.0)
    """Share of the coarse network's last features that are left out at random in training."""
    mask_head: Literal["pointrend", "conv"] = "pointrend"
    """What draws the masks of objects; ``conv`` is Mask R-CNN's own map of 28 x 28 cells, to compare with."""
    pyramid_width: int = Field(256, ge=8, le=1024)
    """Channels of Mask R-CNN's maps; the hidden layers of its heads of boxes and coarse maps are 4 times as
    wide. Half of it is a fourth of the work of all but the backbone."""
    anchor_px: tuple[Positive, Positive, Positive, Positive, Positive] = (10.0, 24.0, 56.0, 128.0, 300.0)
    """Sides of the boxes from which Mask R-CNN looks for objects, on maps of stride 4 to 64.

    A factor of 2.3 between them: any square of 8 to 400 px overlaps one of them by an IoU of 0.4 or more.
    """
    backbone_weights: str | None = None
    """``imagenet`` (downloads) or a file of torchvision backbone weights; nothing is fetched otherwise."""

    @property
    def task(self) -> Task:
        """What the network of this architecture tells."""
        return "instance" if self.architecture.startswith("maskrcnn") else "semantic"

    @model_validator(mode="after")
    def _options_apply(self) -> ModelConfig:
        if self.task == "semantic":
            idle = ["mask_head", "pyramid_width", "anchor_px"]
        else:
            idle = ["output_stride", "fine_stages", "auxiliary", "dropout"]
            idle += ["head_width", "head_depth"] if self.mask_head == "conv" else []
        if name := next(_changed(self, idle), None):
            conv = ", mask_head conv" if self.mask_head == "conv" else ""
            raise ValueError(f"{name} does not apply to {self.architecture}{conv}; leave it out")
        return self


class PointConfig(_Section):
    """Training points (PointRend, section 3.1)."""

    per_pixel: Positive = 1 / 256
    """Points a chip, as a share of its pixels: 1/256 is the stride-16 map, 1024 at 512 px."""
    per_object: int = Field(196, ge=1, le=65536)
    """Points an object of an instance model, 14 x 14 in the paper."""
    over_generation: int = Field(3, ge=1, le=32)
    importance: Share = 0.75


class DetectionConfig(_Section):
    """How an instance model learns by boxes and chooses among them."""

    min_score: Share = 0.05
    """Least score of an object that is reported."""
    nms_iou: Share = 0.5
    """Of two boxes of a class that overlap by more than this IoU, the one with the lower score goes."""
    max_objects: int = Field(500, ge=1, le=10_000)
    """Most objects reported of a chip; aerial chips hold hundreds."""
    proposals: int = Field(1000, ge=1, le=100_000)
    """Boxes of a chip that are looked at closely."""
    train_boxes: int = Field(256, ge=4)
    """Boxes of a chip that are learned by: at most a quarter of them objects, the others background."""


class LossConfig(_Section):
    """Cross-entropy of the upsampled coarse map + of the points (+ of the auxiliary head).

    In an instance model the coarse map is that of each object.
    """

    coarse_weight: float = Field(1.0, ge=0.0)
    coarse_per_pixel: Share = 0.0
    """The coarse map is compared at this many points for a pixel, chosen like those of the head; 0 compares
    it everywhere, which is 1.5 % of a step."""
    point_weight: float = Field(1.0, ge=0.0)
    auxiliary_weight: float = Field(0.4, ge=0.0)
    dice_weight: float = Field(0.0, ge=0.0)
    """Weight of the soft Dice loss of the coarse map."""
    border_weight: float = Field(1.0, ge=1.0)
    """How much more the coarse map's pixels near a border of the labels count."""
    border_px: int = Field(2, ge=1, le=64)
    """How near that is."""
    class_weights: (
        Literal["auto", "none", "inverse_sqrt", "effective", "median_frequency", "inverse"]
        | tuple[Positive, ...]
    ) = "auto"
    """How much each class counts, by a law of its pixels (from gentle to strong) or one number a class.

    ``auto`` is ``inverse_sqrt`` for chips with a boundary class, which is thin and else hardly predicted, and
    ``none`` for others.
    """


class AugmentConfig(_Section):
    """Random changes of training chips."""

    flips: bool = True
    """The eight flips and quarter turns of the square (D4)."""
    gain: float = Field(0.1, ge=0.0, lt=1.0)
    """Half width of the band-wise random gain around 1."""
    offset: float = Field(0.1, ge=0.0)
    """Half width of the band-wise random offset, in band standard deviations."""
    noise: float = Field(0.02, ge=0.0)
    """Standard deviation of white noise, in band standard deviations."""
    scale: float = Field(0.0, ge=0.0, le=2.0)
    """Half width of the random scale, in octaves: 1 shows things at half to twice their size."""
    band_dropout: Share = 0.0
    """Chance of each band to be shown as nothing but its mean; one band always stays."""


class TrainConfig(_Section):
    """The training loop."""

    epochs: int = Field(40, ge=1)
    batch_size: int = Field(4, ge=1)
    """Chips in one step, of each process."""
    accumulate: int = Field(1, ge=1)
    """Parts a batch is worked on in, one after the other, to fit into memory."""
    crop_px: int | None = Field(None, ge=64, multiple_of=32)
    """Side of the random crop taken of each chip; the whole chip when not given."""
    rare_share: Share = 0.0
    """Share of an epoch's chips, and of the crops, that are chosen by class, each class equally often."""
    ignore_rim_px: int = Field(0, ge=0, le=64)
    """Pixels on either side of a border between classes that are not learned by, but for boundary lines."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: Positive = 1e-3
    weight_decay: float = Field(1e-4, ge=0.0)
    schedule: Literal["one_cycle", "poly", "constant"] = "one_cycle"
    clip_norm: Positive = 1.0
    ema_decay: float = Field(0.99, ge=0.0, lt=1.0)
    """Decay of the averaged weights that are validated and saved; 0 switches averaging off."""
    patience: int = Field(0, ge=0)
    """Epochs without a better validation mIoU before training stops; 0 never stops early."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    workers: int = Field(0, ge=0)
    """Threads that prepare chips while the network trains; 0 is one."""
    checkpoint_minutes: float = Field(10.0, ge=0.0)
    """The state is saved this often within long epochs, besides after each; 0 saves after each only."""
    deterministic: bool = False
    """Use algorithms only that give the same bits each time, on a GPU too, which is slower there."""
    compile: bool = False
    """Compile the backbone (``torch.compile``), which takes minutes once and needs a C++ compiler.

    On a CPU it gained nothing that was not there without it.
    """
    seed: int = Field(0, ge=0)


class PredictConfig(_Section):
    """How a scene becomes a mask."""

    size_px: int | None = Field(None, ge=64, le=4096, multiple_of=32)
    """Side of the chips the scene is predicted in; the model's own chip size when not given."""
    overlap_px: int | None = Field(None, ge=0, multiple_of=32)
    """Overlap of neighbouring chips; a quarter of the chip when not given."""
    batch_size: int | None = Field(None, ge=1)
    """Chips at once on a GPU; 8 when not given. A CPU works on one a thread."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    refine: bool = True
    """Point refinement; without it the coarse map is upsampled bilinearly."""
    margin: Share = 0.99
    """Pixels whose two best class probabilities lie further apart are sure and not refined; less and less
    is enough the finer the pixels."""
    points_per_pixel: Annotated[float, Field(gt=0.0, le=1.0)] = 1 / 4
    """Most pixels refined in one step, as a share of those in each 32 x 32 px of ground."""
    scale: Literal[1, 2, 4] = 1
    """Pixels of the mask for one of the scene, along an axis."""
    tta: bool = False
    """Average the coarse map over the eight flips and quarter turns of a chip."""
    bands: tuple[Annotated[int, Field(ge=1)], ...] | None = None
    nodata: float | None = None
    on_error: Literal["stop", "nodata"] = "stop"
    """What happens at blocks of the scene that cannot be read; ``nodata`` takes their pixels for nodata."""
    min_score: Share = 0.5
    """Least score of an object, of a model that detects objects."""
    min_visible: Share = 0.5
    """Least share of its pixels that an object keeps beside surer ones that claim them; with less it is left
    out, as most such are one thing found twice. On made-up villages a half takes away nearly half of what is
    too much and no true object; more costs houses that touch."""
    simplify_px: float = Field(1.0, ge=0.0)
    """How far in pixels a line of an object may move when vertices are taken out of it; 0 keeps the pixel
    edges. See :attr:`VectorizeConfig.simplify_px`."""


class VectorizeConfig(_Section):
    """How a mask becomes polygons."""

    simplify_px: float = Field(1.0, ge=0.0)
    """How far in pixels a line may move when vertices are taken out of it; 0 keeps the pixel edges.

    Lines of any slope lose their stairs at 1, and few true corners: measured on fields, houses and made-up
    parcels, polygons are nearer to the true ones than with the stairs, with a fourth to a twentieth of their
    vertices. 2 halves the vertices of rugged borders once more, and costs small objects their shape.
    """
    smooth: int = Field(0, ge=0, le=3)
    """Rounds of corner cutting after simplifying, which rounds the lines; each doubles the vertices."""
    min_area: str | None = None
    """Smallest polygon kept: ``250m2``, ``0.5ha``, ``20px``; a bare number is square metres."""
    drop_small: bool = False
    """Leave polygons below ``min_area`` out, instead of giving them to a neighbour."""
    fill_holes: str | None = None
    """Holes below this area go to the region around them: an area like ``min_area``."""
    classes: tuple[str, ...] | None = None
    """Names or ids of the classes that become polygons; all but background when not given."""
    connectivity: Literal[4, 8] = 4
    """8: regions of one class that touch at a corner are one feature, a multipolygon."""
    dissolve: bool = False
    """One multipolygon a class, which takes the memory of all polygons."""
    instances: bool = False
    """One polygon a parcel: regions grow over the boundary class around them until they meet."""
    boundary_class: str | None = None
    """Name or id of the boundary class; the one the mask marks when not given."""
    boundary_share: float = Field(0.2, gt=0.0, le=1.0)
    """``instances`` with probabilities: land where the boundary is at least this likely parts parcels too.
    Where it is the likeliest class alone, lines are dashed, and parcels leak through."""
    dst_crs: str | None = None
    """CRS of the polygons, such as ``EPSG:25833``; the mask's own when not given."""
    style: bool = True
    """Colour the classes in QGIS, by a ``layer_styles`` table in the GeoPackage."""


class EvaluateConfig(_Section):
    """How a prediction is compared with the truth."""

    boundary: str = "2px"
    """Width of the band of Boundary IoU: in pixels, metres (``3m``) or percent of the diagonal (``2%``).
    ``boundary_px=2`` is taken for ``2px``."""
    class_column: str | None = None
    class_name: str | None = None
    unlabelled: Literal["background", "ignore"] = "background"
    objects: bool = False
    """Also compare objects: regions of the mask, traced exactly."""
    blocks_px: int | None = Field(None, ge=8)
    """Side of the blocks that are drawn for intervals; such that there are about 64 when not given."""
    min_score: float = Field(0.5, ge=0.0)
    """Polygons with a score below it count for average precision only."""

    @field_validator("boundary")
    @classmethod
    def _is_width(cls, text: str) -> str:
        if WIDTH_FORM.fullmatch(text) is None:
            raise ValueError("write a width such as 2px, 3m or 2% (of the diagonal)")
        return text

    @model_validator(mode="before")
    @classmethod
    def _width_in_pixels(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and "boundary_px" in values and "boundary" not in values:
            return {
                **{k: v for k, v in values.items() if k != "boundary_px"},
                "boundary": f"{values['boundary_px']}px",
            }
        return values


class Config(_Section):
    """All that a run is made of; saved resolved as ``config.yaml`` in the run folder."""

    model: ModelConfig = ModelConfig()
    points: PointConfig = PointConfig()
    loss: LossConfig = LossConfig()
    detection: DetectionConfig = DetectionConfig()
    augment: AugmentConfig = AugmentConfig()
    train: TrainConfig = TrainConfig()

    @field_validator("*", mode="before")
    @classmethod
    def _empty_section(cls, value: Any) -> Any:
        # A section header with nothing under it is None in YAML.
        return {} if value is None else value

    @model_validator(mode="after")
    def _options_apply(self) -> Config:
        if self.model.task == "semantic":
            idle = {"points": ["per_object"], "detection": list(DetectionConfig.model_fields)}
        else:
            conv = self.model.mask_head == "conv"
            losses = _MASK_LOSSES - ({"point_weight"} if conv else set())
            idle = {
                "points": list(PointConfig.model_fields) if conv else ["per_pixel"],
                "loss": [name for name in LossConfig.model_fields if name not in losses],
            }
        for section, names in idle.items():
            if name := next(_changed(getattr(self, section), names), None):
                raise ValueError(
                    f"{section}.{name} does not apply to {self.model.architecture}; leave it out"
                )
        return self


_MASK_LOSSES = {"coarse_weight", "point_weight"}


def validate(kind: type[SectionT], values: Mapping[str, Any], *, where: str) -> SectionT:
    """Validate ``values`` as ``kind``, turning pydantic's report into one line.

    Raises:
        ConfigError: the first thing wrong.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "options"
        raise ConfigError(f"{where}: {key}: {_describe(first['type'], first['msg'], key, kind)}") from error


def _describe(error_type: str, message: str, key: str, kind: type[BaseModel]) -> str:
    if error_type == "extra_forbidden":
        import difflib

        known = _known_keys(kind)
        close = difflib.get_close_matches(key, known, n=1) or difflib.get_close_matches(
            key.rpartition(".")[2], [name.rpartition(".")[2] for name in known], n=1
        )
        return f"unknown key{f'; did you mean {close[0]}?' if close else '; remove it'}"
    return message.removeprefix("Value error, ")


def _known_keys(kind: type[BaseModel], prefix: str = "") -> list[str]:
    keys: list[str] = []
    for name, field in kind.model_fields.items():
        keys.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys += _known_keys(field.annotation, f"{prefix}{name}.")
    return keys
