"""Draw the pictures of the documentation: made-up farmland, seen by the model that comes along.

    python docs/make_pictures.py

What they show is recorded from the very functions that predict and vectorize, not made anew.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import torch
from affine import Affine
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from rasterio.windows import Window
from torch import Tensor

from geoseg.classes import ClassMap
from geoseg.config import PointConfig, VectorizeConfig
from geoseg.models import pointrend
from geoseg.models.card import DEFAULT_MODEL
from geoseg.models.checkpoint import load_model
from geoseg.models.deeplab import CoarseOutput, PointRendDeepLab
from geoseg.models.inference import DEFAULT_MARGIN, DEFAULT_POINTS_PER_PIXEL
from geoseg.predict import predict
from geoseg.raster.vectors import read_vector
from geoseg.render.grid import ChipGrid, taper
from geoseg.sample.farmland import Farmland, write_farmland
from geoseg.sample.overlay import draw_overlay
from geoseg.vectorize import vectorize

Pixels = NDArray[np.float32]
"""(H, W, 3), 0..255."""

OUTPUT = Path(__file__).parent / "images"
SEED, SIDE_PX, GSD_M = 4, 768, 2.0
CHIP = Window(128, 128, 512, 512)
"""The chip that is looked at."""
DETAIL = (288, 48, 96)
"""First row, first column and side in pixels of the part of it that is drawn."""
WIDE = (240, 0, 192)
PAPER, INK = (255, 255, 255), (30, 30, 30)
UNSURE, EVEN = (214, 39, 40), (31, 119, 180)
INKS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (204, 121, 167))
GAP_PX, TITLE_PX, FONT_PX = 8, 22, 14


@dataclass(frozen=True, kw_only=True)
class Step:
    """What happened in one doubling: logits (K, h, w) before, flat indices decided, logits after."""

    before: Tensor
    chosen: Tensor
    after: Tensor


@dataclass(frozen=True, kw_only=True)
class Look:
    """A chip and what the network makes of it; ``image`` is (H, W, 3)."""

    image: Pixels
    classes: ClassMap
    coarse: Tensor
    steps: list[Step]


def look(land: Farmland) -> Look:
    """Predict the chip and keep every step."""
    model, card = load_model(DEFAULT_MODEL)
    rows, columns = CHIP.toslices()
    bands, valid = land.bands[:, rows, columns], land.valid[rows, columns]
    images = torch.from_numpy(card.stats.normalise(bands, valid))[None]
    with torch.inference_mode():
        output = model(images)
        steps = record(model, output)
    image = np.moveaxis(bands, 0, -1).astype(np.float32)
    return Look(image=image, classes=card.classes, coarse=output.logits[0].float(), steps=steps)


def record(model: PointRendDeepLab, output: CoarseOutput) -> list[Step]:
    """Refine the chip as prediction does, listening in on what is chosen and what is decided."""
    seen: list[tuple[Tensor, Tensor]] = []
    decided: list[Tensor] = []
    choose = pointrend.most_uncertain

    def listening(logits: Tensor, *args: Any, **more: Any) -> Tensor:
        chosen = choose(logits, *args, **more)
        seen.append((logits.clone(), chosen))
        return chosen

    def head(fine: Tensor, coarse: Tensor) -> Tensor:
        decided.append(model.point_head(fine, coarse))
        return decided[-1]

    pointrend.most_uncertain = listening
    try:
        pointrend.subdivide(
            output.logits[0],
            [pointrend.FineRows.of(maps[0]) for maps in output.features],
            head,
            steps=model.steps,
            cap=pointrend.area_cap(DEFAULT_POINTS_PER_PIXEL),
            margin=DEFAULT_MARGIN,
        )
    finally:
        pointrend.most_uncertain = choose
    steps = []
    for (before, chosen), logits in zip(seen, decided, strict=True):
        after = before.clone()
        after.flatten(1)[:, chosen] = logits.float().T
        steps.append(Step(before=before, chosen=chosen, after=after))
    return steps


def draw_steps(seen: Look) -> Image.Image:
    """Columns: the coarse map and each doubling. Rows: classes, uncertainty, what was decided."""
    side = 2.5
    picture = grey(cut(seen.image, DETAIL, 1), side)
    coarse = seen.coarse
    columns = [
        [
            titled(
                tint(cut(seen.image, DETAIL, 1), ids_of(coarse, DETAIL, 16), seen.classes, side),
                "coarse map: 16 px",
            ),
            titled(heat(coarse, DETAIL, 16, side), "unsure = bright"),
            titled(shown(cut(seen.image, DETAIL, 1), side), "the scene"),
        ]
    ]
    for number, step in enumerate(seen.steps, 1):
        scale = 512 // step.after.shape[1]
        marks = np.zeros(step.before.shape[1:], np.bool_)
        marks.flat[step.chosen.numpy()] = True
        dots = enlarged(cut(marks, DETAIL, scale), scale, side)
        spots = np.where(dots[..., None], np.float32(UNSURE), picture)
        columns.append(
            [
                titled(
                    tint(cut(seen.image, DETAIL, 1), ids_of(step.after, DETAIL, scale), seen.classes, side),
                    f"after step {number}: {scale} px",
                ),
                titled(heat(step.before, DETAIL, scale, side), "before it"),
                titled(spots, f"decided: {cut(marks, DETAIL, scale).mean():.0%}"),
            ]
        )
    return beside([below(column) for column in columns])


def draw_refined(seen: Look) -> Image.Image:
    """A wider part: the scene, the coarse map upsampled, and refined."""
    image = cut(seen.image, WIDE, 1)
    upsampled = pointrend.upsample(seen.coarse[None], (512, 512))[0]
    zoom = 2.25
    return beside(
        [
            titled(shown(image, zoom), "scene"),
            titled(tint(image, ids_of(upsampled, WIDE, 1), seen.classes, zoom), "coarse map, upsampled"),
            titled(tint(image, ids_of(seen.steps[-1].after, WIDE, 1), seen.classes, zoom), "refined"),
        ]
    )


def draw_training(seen: Look) -> Image.Image:
    """Where training looks: three quarters at uncertain places, the rest anywhere."""
    count = pointrend.training_count((512, 512), PointConfig().per_pixel)
    draws = pointrend.draw_points(
        count, [torch.Generator().manual_seed(0)], over_generation=3, importance=0.75
    )
    points = pointrend.training_points(seen.coarse[None], *draws, count)[0]
    upsampled = pointrend.upsample(seen.coarse[None], (512, 512))[0]
    zoom, image = 2.25, cut(seen.image, WIDE, 1)
    panels = [
        titled(shown(image, zoom), "scene"),
        titled(heat(upsampled, WIDE, 1, zoom), "uncertainty of the coarse map"),
    ]
    picture = Image.fromarray(np.uint8(grey(image, zoom)))
    pen = ImageDraw.Draw(picture)
    for number, (x, y) in enumerate((points * 512).tolist()):
        column, row = (x - WIDE[1]) * zoom, (y - WIDE[0]) * zoom
        ink = UNSURE if number < int(0.75 * count) else EVEN
        pen.ellipse((column - 2, row - 2, column + 2, row + 2), fill=ink)
    panels.append(titled(np.asarray(picture, np.float32), "points: uncertain (red), anywhere (blue)"))
    return beside(panels)


def draw_chips(land: Farmland) -> Image.Image:
    """Chips over a scene: what two of them see, what each decides, and how much it counts."""
    height, width = land.geobox.shape
    image = np.moveaxis(land.bands, 0, -1).astype(np.float32)
    grid = ChipGrid.of((height, width), size_px=256, overlap_px=64)
    picture = Image.fromarray(np.uint8(grey(image, 1)))
    rows, columns = grid.rows, grid.columns
    for column, ink in ((1, UNSURE), (2, EVEN)):
        left, top = columns.starts[column], rows.starts[1]
        veil = Image.new("RGBA", picture.size)
        box = (left + 1, top + 1, left + 254, top + 254)
        ImageDraw.Draw(veil).rectangle(box, fill=(*ink, 70), outline=(*ink, 255), width=3)
        picture.paste(veil, mask=veil)
    pen = ImageDraw.Draw(picture)
    for bound in columns.bounds[1:-1]:
        pen.line((bound, 0, bound, height), fill=INK, width=2)
    for bound in rows.bounds[1:-1]:
        pen.line((0, bound, width, bound), fill=INK, width=2)
    picture = picture.crop((128, 128, 640, 576))
    ramp = np.kron(taper(16, 4), np.ones(28, np.float32))
    weight = np.outer(ramp, ramp)
    shade = np.float32(PAPER) + weight[..., None] * (np.float32(EVEN) - np.float32(PAPER))
    return beside(
        [
            titled(np.asarray(picture, np.float32), "chips overlap; black lines part what each decides"),
            titled(shade, "how much a chip's coarse logits count"),
        ]
    )


def draw_lines(land: Farmland, mask: Path, probabilities: Path) -> Image.Image:
    """Parcels by their pixel edges, as a coverage, and what simplifying each polygon alone would do."""
    zoom, side = 8, 48
    outlines = {}
    for tolerance in (0.0, 1.0):
        path = mask.with_name(f"{tolerance:g}.gpkg")
        config = VectorizeConfig(simplify_px=tolerance, classes=("field",), instances=True, min_area="100px")
        vectorize(mask, path, config, probabilities=probabilities)
        outlines[tolerance] = _in_pixels(read_vector(path).geometry, land.geobox.transform)
    middle = _meeting(outlines[0.0], np.array([SIDE_PX / 2, SIDE_PX / 2]))
    left, top = (int(value) for value in middle - side / 2)
    image = np.moveaxis(land.bands[:, top : top + side, left : left + side], 0, -1).astype(np.float32)
    panels = []
    for title, shapes in (
        ("--simplify 0: the pixel edges", outlines[0.0]),
        ("--simplify 1: neighbours share their edges", outlines[1.0]),
        ("not geoseg: each polygon simplified alone", shapely.simplify(outlines[0.0], 1.0)),
    ):
        placed = shapely.transform(shapes, lambda points: (points - (left, top)) * zoom)
        panels.append(titled(polygons_on(grey(image, zoom), placed), title))
    return beside(panels)


def draw_parcels(scene: Path, mask: Path, classes: ClassMap) -> Image.Image:
    """The scene and the parcels that :func:`draw_lines` made, as the demo draws them."""
    drawn = mask.with_name("overlay.png")
    draw_overlay(drawn, scene=scene, polygons=read_vector(mask.with_name("1.gpkg")), classes=classes)
    picture = Image.open(drawn)
    return picture.resize((1240, round(1240 * picture.height / picture.width)), Image.Resampling.LANCZOS)


def _in_pixels(shapes: Any, transform: Affine) -> NDArray[np.object_]:
    def moved(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack(~transform @ (points[:, 0], points[:, 1]))

    return np.asarray(shapely.transform(np.asarray(shapes), moved), object)


def _meeting(shapes: NDArray[np.object_], near: NDArray[np.float64]) -> NDArray[np.float64]:
    """The place nearest to ``near`` where three polygons meet."""
    corners = np.concatenate([np.unique(shapely.get_coordinates(s).round(3), axis=0) for s in shapes])
    places, polygons = np.unique(corners, axis=0, return_counts=True)
    places = places[polygons >= 3]
    nearest: NDArray[np.float64] = places[np.argmin(np.hypot(*(places - near).T))]
    return nearest


def polygons_on(pale: Pixels, shapes: NDArray[np.object_]) -> Pixels:
    """Polygons in colours of their own, with their vertices; what two of them cover in red."""
    height, width = pale.shape[:2]
    frame = shapely.box(-50, -50, width + 50, height + 50)
    near = [shape for shape in shapes if shape.intersects(frame)]
    picture = Image.fromarray(np.uint8(pale))
    veil = Image.new("RGBA", picture.size)
    pen = ImageDraw.Draw(veil)

    def fill(shape: Any, ink: tuple[int, ...]) -> None:
        for part in shapely.get_parts(shape):
            if part.geom_type == "Polygon":
                pen.polygon(list(part.exterior.coords), fill=ink)

    for number, shape in enumerate(near):
        fill(shape.intersection(frame), (*INKS[number % len(INKS)], 90))
    for number, shape in enumerate(near):
        for other in near[:number]:
            fill(shape.intersection(other), (*UNSURE, 255))
    for shape in near:
        for line in shapely.get_parts(shapely.boundary(shape)):
            pen.line(list(line.coords), fill=(*INK, 255), width=2)
            for x, y in line.coords:
                pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill=(255, 255, 255, 255), outline=(*INK, 255))
    picture.paste(veil, mask=veil)
    return np.asarray(picture, np.float32)


def cut(values: NDArray[Any], part: tuple[int, int, int], scale: int) -> NDArray[Any]:
    """The part, given in pixels of the chip, of a map of ``scale`` pixels a cell."""
    row, column, side = (number // scale for number in part)
    return values[row : row + side, column : column + side]


def ids_of(logits: Tensor, part: tuple[int, int, int], scale: int) -> NDArray[np.uint8]:
    """Classes of the part, every pixel of the chip one."""
    ids = cut(logits.argmax(dim=0).numpy().astype(np.uint8), part, scale)
    return ids.repeat(scale, axis=0).repeat(scale, axis=1)


def enlarged(values: NDArray[Any], scale: int, zoom: float) -> NDArray[Any]:
    """A map of ``scale`` pixels a cell, drawn ``zoom`` times as large as the chip."""
    side = round(values.shape[0] * scale * zoom)
    at = (np.arange(side) / (scale * zoom)).astype(np.intp)
    return values[at][:, at]


def shown(image: Pixels, zoom: float) -> Pixels:
    """The image, enlarged."""
    return enlarged(image, 1, zoom)


def grey(image: Pixels, zoom: float) -> Pixels:
    """The image, enlarged and pale."""
    return 140 + 0.45 * enlarged(image, 1, zoom).mean(axis=2, keepdims=True).repeat(3, axis=2)


def tint(image: Pixels, ids: NDArray[np.uint8], classes: ClassMap, zoom: float) -> Pixels:
    """The image under its classes; the background stays as it is."""
    picture, large = grey(image, zoom), enlarged(ids, 1, zoom)
    for class_id in range(len(classes)):
        if class_id != classes.background:
            inside = large == class_id
            picture[inside] += (np.float32(classes.rgb(class_id)) - picture[inside]) * np.float32(0.65)
    return picture


def heat(logits: Tensor, part: tuple[int, int, int], scale: int, zoom: float) -> Pixels:
    """One minus the margin between the two best classes: black where sure, bright where not."""
    unsure = 1.0 - pointrend.probability_margin(logits[None])[0].numpy()
    large = enlarged(cut(unsure, part, scale), scale, zoom)[..., None]
    return (large**0.7 * np.float32((255, 214, 90))).astype(np.float32)


def titled(pixels: Pixels, title: str) -> Image.Image:
    """A panel with a line of text above it."""
    height, width = pixels.shape[:2]
    panel = Image.new("RGB", (width, height + TITLE_PX), PAPER)
    ImageDraw.Draw(panel).text((1, 2), title, fill=INK, font=ImageFont.load_default(FONT_PX))
    panel.paste(Image.fromarray(np.uint8(np.clip(pixels, 0, 255))), (0, TITLE_PX))
    return panel


def beside(panels: list[Image.Image]) -> Image.Image:
    """Panels in a row."""
    width = sum(panel.width + GAP_PX for panel in panels) - GAP_PX
    row = Image.new("RGB", (width, max(panel.height for panel in panels)), PAPER)
    left = 0
    for panel in panels:
        row.paste(panel, (left, 0))
        left += panel.width + GAP_PX
    return row


def below(panels: list[Image.Image]) -> Image.Image:
    """Panels in a column."""
    turned = beside([panel.transpose(Image.Transpose.TRANSPOSE) for panel in panels])
    return turned.transpose(Image.Transpose.TRANSPOSE)


def main() -> None:
    """Draw all pictures."""
    with tempfile.TemporaryDirectory() as aside:
        scene, mask, shares = (Path(aside) / name for name in ("scene.tif", "mask.tif", "shares.tif"))
        land = write_farmland(scene, Path(aside) / "labels.gpkg", seed=SEED, size_px=SIDE_PX, gsd_m=GSD_M)
        predict(scene, mask, model=DEFAULT_MODEL, probabilities=shares, device="cpu")
        seen = look(land)
        pictures = {
            "refined": draw_refined(seen),
            "steps": draw_steps(seen),
            "training_points": draw_training(seen),
            "chips": draw_chips(land),
            "lines": draw_lines(land, mask, shares),
            "parcels": draw_parcels(scene, mask, seen.classes),
        }
    OUTPUT.mkdir(exist_ok=True)
    for name, picture in pictures.items():
        picture.save(OUTPUT / f"{name}.webp", quality=80, method=6)


if __name__ == "__main__":
    main()
