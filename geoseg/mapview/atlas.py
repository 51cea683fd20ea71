"""What is looked at together: a scene and what was made of it, open and laid over each other."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from geoseg.errors import LabelsError
from geoseg.mapview.layers import ClassLayer, ImageLayer, RampLayer
from geoseg.mapview.legend import Legend
from geoseg.mapview.parcels import Parcels
from geoseg.mapview.pixels import Ground
from geoseg.mapview.pyramid import Pyramid
from geoseg.raster import formats


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Files that are looked at together; all but the scene may be missing.

    Attributes:
        scene: a raster.
        mask: class ids on its grid.
        parcels: polygons.
        uncertainty: numbers from 0 to 1 on its grid.
        labels: the truth; polygons are drawn, a raster is not.
        bands: 1-based bands of the scene that are drawn as red, green and blue, or one.
    """

    scene: Path
    mask: Path | None = None
    parcels: Path | None = None
    uncertainty: Path | None = None
    labels: Path | None = None
    bands: tuple[int, ...] | None = None

    def files(self) -> list[Path]:
        """All of them."""
        named = (self.scene, self.mask, self.parcels, self.uncertainty, self.labels)
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
    """

    title: str
    kind: Literal["image", "classes", "ramp"]
    layer: ImageLayer | ClassLayer | RampLayer
    opacity: float = 1.0
    shown: bool = True


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
        ground: where the scene lies.
        image: the scene.
        mask: the mask, if given.
        rasters: in the order they lie over each other, the scene first.
        vectors: over them.
        legend: what class ids mean; ``None`` when nothing has classes.
    """

    sources: Sources
    ground: Ground
    image: ImageLayer
    mask: ClassLayer | None
    rasters: tuple[RasterView, ...]
    vectors: tuple[VectorView, ...]
    legend: Legend | None

    @property
    def pyramid(self) -> Pyramid:
        """Levels of the map."""
        return self.image.pyramid


@contextlib.contextmanager
def open_atlas(sources: Sources) -> Iterator[Atlas]:
    """Open all files; they are closed when the block ends.

    Raises:
        SceneError: a raster cannot be used, or not over this scene.
        LabelsError: polygons cannot be used, or lie elsewhere.
        ReadError: a file is damaged.
    """
    with contextlib.ExitStack() as stack:
        image = stack.enter_context(ImageLayer.open(sources.scene, bands=sources.bands))
        box = image.scene.geobox
        ground = Ground(box, sources.scene)
        rasters, vectors = [RasterView(title="scene", kind="image", layer=image)], []
        mask = None
        if sources.mask is not None:
            mask = stack.enter_context(ClassLayer.open(sources.mask, box))
            rasters.append(
                RasterView(
                    title="mask", kind="classes", layer=mask, opacity=0.6, shown=sources.parcels is None
                )
            )
        if sources.uncertainty is not None:
            ramp = stack.enter_context(RampLayer.open(sources.uncertainty, box))
            rasters.append(RasterView(title="uncertainty", kind="ramp", layer=ramp, opacity=0.8, shown=False))
        legend = None if mask is None else mask.legend
        if sources.parcels is not None:
            parcels = Parcels.read(sources.parcels, ground, legend)
            vectors.append(VectorView(title="polygons", parcels=parcels))
            legend = parcels.legend
        if sources.labels is not None and _is_vector(sources.labels):
            truth = Parcels.read(sources.labels, ground, legend, what="labels")
            vectors.append(VectorView(title="labels", parcels=truth, dashed=True, shown=False))
            legend = truth.legend
        yield Atlas(
            sources=sources,
            ground=ground,
            image=image,
            mask=mask,
            rasters=tuple(rasters),
            vectors=tuple(vectors),
            legend=legend,
        )


def _is_vector(labels: Path) -> bool:
    head = formats.read_head(labels, what="labels", error=LabelsError)
    return formats.raster_driver(head) is None
