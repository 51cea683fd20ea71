"""Puts finished blocks together into Cloud-Optimised GeoTIFFs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.classes import ClassMap
from geoseg.errors import InputError, OutputError, ReadError
from geoseg.outputs import check_output
from geoseg.progress import Progress
from geoseg.raster.cog import RasterWriter
from geoseg.raster.geobox import GeoBox
from geoseg.raster.layers import mask_layer, probability_layer, uncertainty_layer
from geoseg.raster.qml import style_of
from geoseg.raster.windows import clip
from geoseg.render.blocks import BlockGrid, Layers
from geoseg.render.plan import LAYERS, OBJECT_LAYERS, POLYGON_SUFFIXES, Content, LayerName

ReadBlock = Callable[[int], Layers]

STYLED: tuple[LayerName, ...] = ("mask", "uncertainty")
"""Layers that have a style for QGIS."""


def named_outputs(mask: Path, probabilities: Path | None, uncertainty: Path | None) -> dict[LayerName, Path]:
    """The outputs by the layer they hold, in the order of :data:`geoseg.render.plan.LAYERS`."""
    paths = {"mask": mask, "probabilities": probabilities, "uncertainty": uncertainty}
    return {name: path for name in LAYERS if (path := paths[name]) is not None}


def contents_of(output: Path, outputs: Mapping[LayerName, Path]) -> tuple[Content, ...]:
    """What blocks hold for an output: objects for a layer of polygons, else the layers of ``outputs``.

    Raises:
        InputError: there are others for a layer of polygons.
    """
    if output.suffix.lower() not in POLYGON_SUFFIXES:
        return tuple(outputs)
    others = [name for name in outputs if name != "mask"]
    if others:
        raise InputError(f"--{others[0]} does not go with {output.name}, a layer of objects; leave it out")
    return OBJECT_LAYERS


def check_outputs(
    outputs: Mapping[LayerName, Path], *, overwrite: bool, inputs: Sequence[Path], qml: bool = False
) -> None:
    """Refuse outputs that cannot or must not be written, before any work is done; with ``qml`` styles too.

    Raises:
        OutputError: see :func:`geoseg.outputs.check_output`; or two outputs are the same file.
    """
    styles = [style_of(outputs[name]) for name in STYLED if qml and name in outputs]
    for path in (*outputs.values(), *styles):
        check_output(path, overwrite=overwrite, inputs=inputs)
    places = [path.absolute() for path in (*outputs.values(), *styles)]
    if len(set(places)) < len(places):
        raise OutputError("two outputs have the same path; give each its own")


def assemble(
    blocks: BlockGrid,
    wanted: list[int],
    read: ReadBlock,
    outputs: Mapping[LayerName, Path],
    *,
    part: Window,
    geobox: GeoBox,
    classes: ClassMap,
    tags: Mapping[str, str],
    qml: bool = False,
    progress: Progress,
) -> NDArray[np.int64]:
    """Write the outputs; the mask appears last, so that it is there only when all is.

    Args:
        blocks: the blocks of the scene.
        wanted: numbers of the blocks that hold anything.
        read: gives the layers of a block; raises ValueError when it is damaged.
        outputs: where each layer goes.
        part: pixels of the scene that the outputs cover.
        geobox: their grid.
        classes: names and colours of the ids.
        tags: TIFF tags.
        qml: with a style for QGIS beside each that has one.
        progress: told about every block.

    Returns:
        Pixels of each id in the mask (256,).

    Raises:
        ReadError: a block is damaged.
        WriteError: the disk is full or not writable.
    """
    kinds = {
        "mask": mask_layer(classes),
        "probabilities": probability_layer(classes),
        "uncertainty": uncertainty_layer(),
    }
    counts = np.zeros(256, np.int64)
    progress.begin("write", len(wanted), "blocks")
    with contextlib.ExitStack() as stack:
        writers = {
            name: stack.enter_context(RasterWriter(outputs[name], geobox, kinds[name], tags, qml=qml))
            for name in LAYERS
            if name in outputs
        }
        for block in wanted:
            try:
                layers = read(block)
            except (ValueError, OSError) as error:
                raise ReadError(
                    f"block {block} of the journal is damaged; run it again with --resume"
                ) from error
            to, rows, columns = _place(blocks, block, part)
            for name, writer in writers.items():
                writer.write(to, layers[name][..., rows, columns])
            if "mask" in layers:
                counts += np.bincount(layers["mask"][rows, columns].ravel(), minlength=256)
            progress.advance()
    progress.end()
    counts[255] += geobox.height * geobox.width - counts.sum()
    return counts


def _place(blocks: BlockGrid, block: int, part: Window) -> tuple[Window, slice, slice]:
    """Where a block goes in the output, and which of its pixels do."""
    whole, scale = blocks.window(block), blocks.scale
    shifted = Window(whole.col_off - part.col_off, whole.row_off - part.row_off, whole.width, whole.height)
    inside = clip(shifted, (part.height, part.width))
    if inside is None:
        raise ValueError(f"block {block} lies outside of {part}")
    top, left = inside.row_off - shifted.row_off, inside.col_off - shifted.col_off
    return (
        Window(inside.col_off * scale, inside.row_off * scale, inside.width * scale, inside.height * scale),
        slice(top * scale, (top + inside.height) * scale),
        slice(left * scale, (left + inside.width) * scale),
    )
