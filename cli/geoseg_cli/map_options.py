"""What ``report`` and ``view`` have in common: the files that are looked at together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geoseg.errors import InputError
from geoseg_cli import options
from geoseg_cli.options import INPUT

if TYPE_CHECKING:
    from geoseg.mapview.atlas import Sources

Over = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="MASK PARCELS",
        help="What was made of it: a mask as predict makes, polygons as vectorize makes, or both.",
    ),
]
Uncertainty = Annotated[
    Path | None,
    typer.Option(
        "--uncertainty",
        "-u",
        help="A raster from 0 to 1, such as predict --uncertainty writes.",
        rich_help_panel=INPUT,
    ),
]
Bands = Annotated[
    str | None,
    typer.Option(
        "--bands",
        help="Bands of the scene to draw as red, green and blue, such as 4,1,2, or one; those called so, or "
        "the first three, when not given.",
        rich_help_panel=INPUT,
    ),
]
LABELS = "The truth; polygons are drawn."


def sources_of(
    scene: Path, over: list[Path] | None, uncertainty: Path | None, labels: Path | None, bands: str | None
) -> Sources:
    """The files, each as what its content says it is.

    Raises:
        InputError: a file is missing, or there are two of a kind.
    """
    from geoseg.raster import formats

    options.check_scene(scene)
    if uncertainty is not None:
        options.check_scene(uncertainty, what="uncertainty")
    if labels is not None:
        options.check_labels(labels)
    chosen = options.numbers(bands)
    if chosen is not None and len(chosen) not in {1, 3}:
        raise InputError(f"--bands {bands}: give three bands, for red, green and blue, or one")
    mask = parcels = None
    for path in over or ():
        head = options.read_head(path, what="file", error=InputError)
        if formats.is_raster(head, path):
            if mask is not None:
                raise InputError(f"{mask} and {path} are both rasters; give one mask")
            mask = path
        elif formats.vector_driver(head, path.suffix) is not None:
            if parcels is not None:
                raise InputError(f"{parcels} and {path} are both polygons; give one file of them")
            parcels = path
        else:
            raise InputError(f"{path} is {formats.describe(head)}; give a mask or polygons")
    from geoseg.mapview.atlas import Sources

    return Sources(
        scene=scene, mask=mask, parcels=parcels, uncertainty=uncertainty, labels=labels, bands=chosen
    )
