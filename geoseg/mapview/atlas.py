"""What is looked at together: a scene and what was made of it, open and laid over each other."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from geoseg.classes import ClassMap
from geoseg.errors import InputError, LabelsError, SceneError
from geoseg.mapview.layers import ClassLayer, ImageLayer, RampLayer
from geoseg.mapview.legend import Legend
from geoseg.mapview.mistakes import read_mistakes
from geoseg.mapview.parcels import Parcels
from geoseg.mapview.pixels import Ground
from geoseg.mapview.pyramid import Pyramid
from geoseg.page.markup import names_of
from geoseg.raster import formats
from geoseg.raster.geobox import GeoBox
from geoseg.raster.mask import open_mask
from geoseg.raster.remote import shown

POLYGONS, ERRORS = "polygons", "errors"

MAX_MASKS = 4
"""Most masks on one map."""


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Files that are looked at together; all but a scene or a mask, which the others lie on, may be missing.

    Attributes:
        scene: a raster.
        mask: class ids on its grid; without a scene the map is of this.
        more_masks: others of the same classes, to compare it with.
        parcels: polygons.
        uncertainty: numbers from 0 to 1 on its grid.
        labels: the truth; polygons are drawn, a raster is not.
        errors: what ``evaluate --errors`` wrote.
        bands: 1-based bands of the scene that are drawn as red, green and blue, or one.
        min_score: polygons with lower scores are hidden at the beginning.
    """

    scene: Path | None = None
    mask: Path | None = None
    more_masks: tuple[Path, ...] = ()
    parcels: Path | None = None
    uncertainty: Path | None = None
    labels: Path | None = None
    errors: Path | None = None
    bands: tuple[int, ...] | None = None
    min_score: float = 0.0

    @property
    def base(self) -> Path | None:
        """What the others lie on; ``None`` when there is nothing to draw a map of."""
        return self.scene or self.mask

    def files(self) -> list[Path]:
        """All of them."""
        named = (
            self.scene,
            self.mask,
            *self.more_masks,
            self.parcels,
            self.uncertainty,
            self.labels,
            self.errors,
        )
        return [path for path in named if path is not None]


@dataclass(frozen=True, kw_only=True)
class RasterView:
    """A raster of the map.

    Attributes:
        title: what it is called there.
        kind: how its tiles are drawn: as they are, by class, or by a ramp of colours.
        layer: makes them.
        opacity: at the beginning, 0 to 1.
        shown: at the beginning.
        left: whether it is on the left of the swipe line at the beginning; what lies below all is on both.
    """

    title: str
    kind: Literal["image", "classes", "ramp"]
    layer: ImageLayer | ClassLayer | RampLayer
    opacity: float = 1.0
    shown: bool = True
    left: bool = False


@dataclass(frozen=True, kw_only=True)
class VectorView:
    """Polygons of the map.

    Attributes:
        title: what they are called there.
        parcels: the polygons.
        dashed: whether their lines are.
        shown: at the beginning.
    """

    title: str
    parcels: Parcels
    dashed: bool = False
    shown: bool = True


@dataclass(frozen=True, kw_only=True)
class Atlas:
    """Open files over one scene.

    Attributes:
        sources: the files.
        base: what the others lie on.
        geobox: its grid.
        ground: where it lies.
        image: the scene, if given.
        mask: the mask, if given.
        parcels: the polygons, if given.
        mistakes: the errors, if given and there are any.
        rasters: in the order they lie over each other, the base first.
        vectors: over them.
        legend: what class ids mean; ``None`` when nothing has classes.
        notes: what of the files cannot be shown, each a sentence.
    """

    sources: Sources
    base: Path
    geobox: GeoBox
    ground: Ground
    image: ImageLayer | None
    mask: ClassLayer | None
    parcels: Parcels | None
    mistakes: Parcels | None
    rasters: tuple[RasterView, ...]
    vectors: tuple[VectorView, ...]
    legend: Legend | None
    notes: tuple[str, ...]

    def check_unchanged(self) -> None:
        """Make sure that what was drawn is of one state of every raster.

        Raises:
            ReadError: one was written to or replaced meanwhile.
        """
        for view in self.rasters:
            layer = view.layer
            (layer.mask if isinstance(layer, ClassLayer) else layer.scene).check_unchanged()

    @property
    def pyramid(self) -> Pyramid:
        """Levels of the map."""
        return Pyramid(shape=self.geobox.shape)


@contextlib.contextmanager
def open_atlas(sources: Sources, classes: ClassMap | None = None) -> Iterator[Atlas]:
    """Open all files; they are closed when the block ends.

    Args:
        sources: the files.
        classes: names and colours of polygons, if known; a mask tells its own.

    Raises:
        InputError: there is neither scene nor mask.
        SceneError: a raster cannot be used, or not over this scene.
        LabelsError: polygons cannot be used, or lie elsewhere.
        ReadError: a file is damaged.
    """
    base = sources.base
    if base is None:
        raise InputError("a map needs something to lie on; give a scene or a mask")
    with contextlib.ExitStack() as stack:
        image = None
        rasters: list[RasterView] = []
        if sources.scene is None:
            box = _grid_of(base)
        else:
            image = stack.enter_context(ImageLayer.open(sources.scene, bands=sources.bands))
            box = image.scene.geobox
            rasters.append(RasterView(title="scene", kind="image", layer=image))
        masks, notes = _masks(sources, box, stack)
        rasters += masks
        if sources.uncertainty is not None:
            ramp = stack.enter_context(RampLayer.open(sources.uncertainty, box))
            rasters.append(RasterView(title="uncertainty", kind="ramp", layer=ramp, opacity=0.8, shown=False))
        mask = next((view.layer for view in masks if isinstance(view.layer, ClassLayer)), None)
        ground = Ground(box, base)
        known = None if classes is None or mask is not None else Legend.of_classes(classes)
        vectors, legend = _vectors(sources, ground, known if mask is None else mask.legend)
        yield Atlas(
            sources=sources,
            base=base,
            geobox=box,
            ground=ground,
            image=image,
            mask=mask,
            parcels=next((view.parcels for view in vectors if view.title == POLYGONS), None),
            mistakes=next((view.parcels for view in vectors if view.title == ERRORS), None),
            rasters=tuple(rasters),
            vectors=tuple(vectors),
            legend=legend,
            notes=tuple(notes),
        )


def _grid_of(mask: Path) -> GeoBox:
    with open_mask(mask) as opened:
        return opened.geobox


def _masks(sources: Sources, box: GeoBox, stack: contextlib.ExitStack) -> tuple[list[RasterView], list[str]]:
    """The masks, and what is to be said of those that are left out."""
    if sources.mask is None:
        return [], []
    first = stack.enter_context(ClassLayer.open(sources.mask, box))
    alone = sources.parcels is None and sources.errors is None
    over, notes = sources.scene is not None, []
    names = names_of([sources.mask, *sources.more_masks]) if sources.more_masks else ["mask"]
    views = [
        RasterView(
            title=names[0],
            kind="classes",
            layer=first,
            opacity=0.6 if over else 1.0,
            shown=alone or not over,
            left=over and bool(sources.more_masks),
        )
    ]
    for title, path in zip(names[1:], sources.more_masks, strict=True):
        try:
            layer = stack.enter_context(ClassLayer.open(path, box))
        except SceneError as error:
            notes.append(f"{error}; it is not drawn.")
            continue
        if len(views) == MAX_MASKS or layer.legend.names != first.legend.names:
            why = "has other classes than the first mask" if len(views) < MAX_MASKS else "is one too many"
            notes.append(f"{shown(path)} {why} and is not drawn.")
            continue
        views.append(RasterView(title=title, kind="classes", layer=layer, opacity=0.6, shown=False))
    return views, notes


def _vectors(
    sources: Sources, ground: Ground, legend: Legend | None
) -> tuple[list[VectorView], Legend | None]:
    """Polygons in the order they lie over each other, and the classes with theirs added."""
    parcels = truth = mistakes = None
    if sources.parcels is not None:
        parcels = Parcels.read(sources.parcels, ground, legend)
        legend = parcels.legend
    if sources.labels is not None and _is_vector(sources.labels):
        truth = Parcels.read(sources.labels, ground, legend, what="labels")
        legend = truth.legend
    if sources.errors is not None:
        # Last, as their kinds are no classes that polygons are matched with.
        mistakes = read_mistakes(sources.errors, ground, legend)
        legend = legend if mistakes is None else mistakes.legend
    views = []
    if parcels is not None:
        views.append(VectorView(title=POLYGONS, parcels=parcels, shown=mistakes is None))
    if mistakes is not None:
        views.append(VectorView(title=ERRORS, parcels=mistakes))
    if truth is not None:
        views.append(VectorView(title="labels", parcels=truth, dashed=True, shown=not views))
    return views, legend


def _is_vector(labels: Path) -> bool:
    head = formats.read_head(labels, what="labels", error=LabelsError)
    return not formats.is_raster(head, labels)
