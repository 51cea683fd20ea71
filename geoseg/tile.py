"""Scenes and labels to chips: cut, burn, split, count.

Every scene is divided into blocks, and each block into overlapping chips that cover all of it and never
leave it. Whole blocks go to train, val or test, so no pixel is in two splits; blocks of different scenes that
show the same ground stay together. The report proves it from the chips that were written.

Pixels are read once, a row of chips at a time, so memory does not grow with the scenes. The folder appears at
its place when all is done.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from geoseg import __version__
from geoseg.chips.coco import CocoFile
from geoseg.chips.coco_images import open_images
from geoseg.chips.coco_write import write_annotations
from geoseg.chips.cut import Cut, Cutter, count_objects
from geoseg.chips.decide import decide, warn_of_missing
from geoseg.chips.ground import Ground, all_outlines
from geoseg.chips.sources import Source, open_sources, survey
from geoseg.chips.split import Proof, group_by_ground, prove
from geoseg.chips.store import CHIPS_FILE, SCHEMA_VERSION, SPLITS, Chip, ChipStore
from geoseg.chips.tally import Tally, doubts
from geoseg.chips.truth import Truths, label_truths
from geoseg.chips.write import write_chips_file, write_index
from geoseg.classes import BandStats, ClassMap
from geoseg.config import TileConfig
from geoseg.errors import ConfigError, OutputError, SceneError
from geoseg.json_report import JsonReport
from geoseg.outputs import check_output_folder, staged_folder
from geoseg.progress import SILENT, Progress
from geoseg.raster.remote import file_name, local

_TOLD_SHARE = 0.0005
"""Share of a band's values from which leaving them out is told."""


@dataclass(frozen=True, kw_only=True)
class TileReport(JsonReport):
    """What :func:`tile` did.

    Attributes:
        output: the chips folder.
        scenes: scenes cut.
        chips: chips written, by split.
        dropped: windows left out because no pixel is valid, and because no valid pixel is labelled.
        blocks: blocks with labelled pixels, by split; a block is the unit of the split.
        class_pixels: labelled pixels by split and class name, each pixel counted once.
        objects: objects by split and class name, each counted once, however many chips show parts of it;
            ``None`` unless chips are of instances.
        clipped_objects: those of them that no chip of the split shows whole.
        annotations: COCO annotations written; ``None`` unless they were asked for.
        band_names: one a band.
        mean: mean of each band over the valid pixels of the training blocks, without values far off.
        std: standard deviation of each band over the same pixels.
        block_px: wanted side of the blocks; ``None`` when whole scenes are split.
        shared_pixels: pixels that two splits have in common, measured on the chips.
        least_distance_px: smallest gap between train and val or test chips in pixels, 0 when they touch;
            ``None`` without such chips.
        seconds: wall time.
    """

    output: Path
    scenes: int
    chips: dict[str, int]
    dropped: dict[str, int]
    blocks: dict[str, int]
    class_pixels: dict[str, dict[str, int]]
    objects: dict[str, dict[str, int]] | None
    clipped_objects: dict[str, dict[str, int]] | None
    annotations: int | None
    band_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    block_px: int | None
    shared_pixels: int
    least_distance_px: float | None
    seconds: float


def tile(
    scenes: Sequence[Path],
    labels: Sequence[Path],
    output: Path,
    config: TileConfig | None = None,
    *,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> TileReport:
    """Cut scenes and labels into the chips folder ``output``.

    Args:
        scenes: rasters of one dtype and number of bands; any CRS each. Here, or GeoTIFFs on a server where
            the user himself named them.
        labels: one file for all scenes, as many as scenes in the same order, or a folder of files named like
            the scenes.
        output: the folder to make.
        config: how to cut; the defaults when not given.
        overwrite: replace an existing chips folder.
        progress: told about every window.

    Raises:
        SceneError: a scene cannot be used, or does not go with the others.
        LabelsError: labels cannot be used, or lie elsewhere on Earth.
        ConfigError: the split file or column does not say what it should, or no boundary can be drawn.
        OutputError: the output exists or holds an input.
        ReadError: a scene is damaged.
        WriteError: the disk is full.
    """
    started = time.monotonic()
    config = config or TileConfig()
    check_output_folder(output, overwrite=overwrite, marker=CHIPS_FILE)
    _check_inputs_outside(output, local([*scenes, *labels]))
    sources = open_sources(scenes, labels, config, progress)
    classes = survey(sources, config, progress)
    return _make(output, sources, label_truths(config, classes), classes, config, progress, started)


def tile_coco(
    annotations: Path,
    images: Path,
    output: Path,
    config: TileConfig | None = None,
    *,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> TileReport:
    """Cut the images of a COCO data set of instances into instance chips.

    Args:
        annotations: the JSON file, as of a stranger.
        images: folder of the images it names: PNG, JPEG or TIFF of one dtype and number of bands.
        output: the folder to make.
        config: how to cut, of the task ``instance``; the defaults when not given.
        overwrite: replace an existing chips folder.
        progress: told about every window.

    Raises:
        LabelsError: the annotations are damaged, or do not go with the images.
        SceneError: an image is missing or cannot be used.
        ConfigError: columns are named, which COCO does not have, or another task.
        OutputError: the output exists or holds an input.
        ReadError: an image is damaged.
        WriteError: the disk is full.
    """
    started = time.monotonic()
    config = config or TileConfig(task="instance")
    if config.task != "instance":
        raise ConfigError("COCO annotations make chips of the task instance; choose it")
    if config.split_column is not None or config.class_column is not None:
        raise ConfigError("COCO annotations have no columns; leave them out, and split by a split file")
    check_output_folder(output, overwrite=overwrite, marker=CHIPS_FILE)
    _check_inputs_outside(output, [annotations, images])
    coco = CocoFile.read(annotations)
    sources, truths = open_images(coco, images, config, progress)
    return _make(output, sources, truths, coco.classes, config, progress, started)


def _make(
    output: Path,
    sources: Sequence[Source],
    truths: Truths,
    classes: ClassMap,
    config: TileConfig,
    progress: Progress,
    started: float,
) -> TileReport:
    with staged_folder(output) as folder:
        cut = Cutter(sources, truths, classes, config, progress).cut(folder)
        ground = Ground([source.geobox for source in sources])
        chips = _split(cut, sources, ground, config, progress)
        scene_numbers, windows = cut.windows(sources)
        proof = prove(ground, scene_numbers, windows, [chip.split for chip in chips])
        _tell(chips, proof, progress)
        outlines = all_outlines(ground, scene_numbers, windows)
        write_index(folder, chips, outlines, ground.crs, classes.names)
        stats = _statistics(cut, sources, progress)
        header = _header(cut, sources, classes, stats, proof, ground, config)
        write_chips_file(folder, header, chips)
        coco = write_annotations(ChipStore.open(folder), progress) if config.format == "coco" else None
    report = _report(output, cut, chips, sources, header)
    return replace(report, annotations=coco, seconds=time.monotonic() - started)


def _check_inputs_outside(output: Path, inputs: Sequence[Path]) -> None:
    """Replacing the output must not delete an input."""
    inside = output.resolve()
    for path in inputs:
        if inside in path.resolve().parents or path.resolve() == inside:
            raise OutputError(f"input {path} lies inside output {output}; choose another output")
    if any(sign in str(output.absolute()) for sign in ";?!"):
        # pyogrio reads them as parts of a URL and would write chips.gpkg elsewhere.
        raise OutputError(f"output {output} has one of ; ? ! in its path; choose another")


def _split(
    cut: Cut, sources: Sequence[Source], ground: Ground, config: TileConfig, progress: Progress
) -> list[Chip]:
    """Give every block to a split, and with it its chips."""
    blocks = cut.labelled()
    scenes = np.array([block.scene for block in blocks], np.intp)
    windows = np.array([block.window for block in blocks], np.int64)
    groups = group_by_ground(ground, scenes, windows)
    for block, split in zip(blocks, decide(blocks, groups, sources, config), strict=True):
        block.split = split
    warn_of_missing(blocks, int(groups.max()) + 1, config, progress)
    return [
        Chip(
            name=draft.name,
            scene=sources[draft.scene].name,
            window=draft.window,
            own=draft.own,
            split=cut.counted[draft.block].split,
            valid_share=draft.valid_share,
            class_pixels=draft.class_pixels,
        )
        for draft in cut.drafts
    ]


def _tell(chips: Sequence[Chip], proof: Proof, progress: Progress) -> None:
    counts = ", ".join(f"{split} {sum(chip.split == split for chip in chips)}" for split in SPLITS)
    distance = "none" if proof.least_distance_px is None else f"{proof.least_distance_px:g} px"
    progress.note(
        f"chips: {counts}; pixels shared between splits: {proof.shared_pixels}; "
        f"least distance of train to the others: {distance}"
    )


def _statistics(cut: Cut, sources: Sequence[Source], progress: Progress) -> BandStats:
    """Band statistics of the training blocks, or of all blocks should a band be empty in training."""
    names, dtype = sources[0].band_names, sources[0].dtype
    training = everywhere = Tally.empty(len(names), dtype)
    for block in cut.counted.values():
        everywhere = everywhere.merge(block.tally)
        if block.split == "train" and block.class_pixels.any():
            training = training.merge(block.tally)
    empty = [name for name, n in zip(names, everywhere.counts, strict=True) if n == 0]
    if empty:
        raise SceneError(f"{empty[0]} has no valid value in any scene; leave it out with --bands")
    for doubt in doubts(everywhere, names, dtype, cut.nodata):
        progress.warn(doubt)
    used = training if min(training.counts) > 0 else everywhere
    shares = zip(names, used.left_out(), strict=True)
    far_off = [f"{name} {share:.2%}" for name, share in shares if share >= _TOLD_SHARE]
    if far_off:
        progress.note(f"values far off the others, left out of the band statistics: {', '.join(far_off)}")
    return used.stats()


def _header(
    cut: Cut,
    sources: Sequence[Source],
    classes: ClassMap,
    stats: BandStats,
    proof: Proof,
    ground: Ground,
    config: TileConfig,
) -> dict[str, Any]:
    """All of ``chips.json`` but the chips. Nothing in it depends on when or where it was made."""
    sizes = sorted(source.geobox.gsd_m for source in sources if source.geobox.gsd_m is not None)
    rule: str = config.split
    if config.split_file is not None or config.split_column is not None:
        rule = "file" if config.split_file is not None else "column"
    return {
        "version": SCHEMA_VERSION,
        "geoseg_version": __version__,
        # Semantic chips are as they were before there was a choice.
        **({} if config.task == "semantic" else {"task": config.task}),
        "classes": classes.to_json(),
        "bands": list(sources[0].band_names),
        "dtype": sources[0].dtype,
        "stats": stats.to_json(),
        "size_px": config.size_px,
        "overlap_px": config.overlap_px,
        "boundary_px": config.boundary_px,
        "gsd_m": sizes[len(sizes) // 2] if sizes else None,
        "crs": None if ground.mixed or ground.crs is None else ground.crs.to_wkt(),
        "split": {
            "rule": rule,
            "seed": config.seed,
            "val_share": config.val_share,
            "test_share": config.test_share,
            "block_px": cut.block_px,
            "shared_pixels": proof.shared_pixels,
            "least_distance_px": proof.least_distance_px,
        },
        "scenes": [_scene_entry(source) for source in sources],
    }


def _scene_entry(source: Source) -> dict[str, Any]:
    box = source.geobox
    return {
        "name": source.name,
        "file": file_name(source.path),
        "labels": source.labels.name,
        "width": box.width,
        "height": box.height,
        "crs": None if box.crs is None else box.crs.to_string(),
        "transform": list(box.transform)[:6],
        "gsd_m": box.gsd_m,
    }


def _report(
    output: Path,
    cut: Cut,
    chips: Sequence[Chip],
    sources: Sequence[Source],
    header: dict[str, Any],
) -> TileReport:
    blocks, names = cut.labelled(), header["classes"]["names"]
    class_pixels: dict[str, dict[str, int]] = {}
    for split in SPLITS:
        total = np.zeros(len(names), np.int64)
        for block in blocks:
            if block.split == split:
                total += block.class_pixels
        class_pixels[split] = dict(zip(names, total.tolist(), strict=True))
    objects, clipped = (None, None) if "task" not in header else count_objects(blocks, sources, names)
    return TileReport(
        output=output,
        scenes=len(header["scenes"]),
        chips={split: sum(chip.split == split for chip in chips) for split in SPLITS},
        dropped={"without_valid": cut.without_valid, "without_labels": cut.without_labels},
        blocks={split: sum(block.split == split for block in blocks) for split in SPLITS},
        class_pixels=class_pixels,
        objects=objects,
        clipped_objects=clipped,
        band_names=tuple(header["bands"]),
        mean=tuple(header["stats"]["mean"]),
        std=tuple(header["stats"]["std"]),
        block_px=header["split"]["block_px"],
        shared_pixels=header["split"]["shared_pixels"],
        least_distance_px=header["split"]["least_distance_px"],
        annotations=None,
        seconds=0.0,
    )
