"""The truth of a prediction on a grid: labels with its classes, or why they do not fit."""

from __future__ import annotations

from pathlib import Path

from rasterio.coords import BoundingBox

from geoseg.classes import IGNORE, ClassMap
from geoseg.config import EvaluateConfig
from geoseg.errors import LabelsError, SceneError
from geoseg.progress import Progress
from geoseg.raster import formats
from geoseg.raster.labels import Labels, open_labels
from geoseg.raster.remote import file_name, is_remote, shown
from geoseg.raster.windows import block_windows
from geoseg.scoring.prediction import Prediction

_WINDOW_PX = 2048


def labels_for(mask: Prediction, labels: Path, config: EvaluateConfig) -> Labels:
    """Labels with the mask's ids; a raster of class ids has neither column nor class name.

    Raises:
        LabelsError: the labels cannot be used, or have classes the mask has not.
    """
    class_name = config.class_name
    if mask.classes is not None and config.class_column is None and is_vector(labels):
        class_name = _polygon_class(mask.classes, class_name, labels)
    return open_labels(
        labels,
        class_column=config.class_column,
        class_name=class_name,
        unlabelled=config.unlabelled,
        classes=mask.classes,
    )


def is_vector(path: Path, *, what: str = "labels") -> bool:
    """Whether a file is no raster, by its content.

    Raises:
        LabelsError: there is no such file.
    """
    if is_remote(path):
        return False
    head = formats.read_head(path, what=what, error=LabelsError)
    return not formats.is_raster(head, path)


def _polygon_class(classes: ClassMap, class_name: str | None, labels: Path) -> str:
    """The one class that all polygons are, when no column tells."""
    apart = (classes.background, classes.boundary)
    foreground = [name for i, name in enumerate(classes.names) if i not in apart]
    if class_name is not None and class_name not in classes.names:
        raise LabelsError(
            f"class {class_name} for labels {labels} is none of the mask's {', '.join(classes.names)}; "
            "name one of these"
        )
    if class_name is None and len(foreground) != 1:
        raise LabelsError(
            f"labels {labels}: the mask has the classes {', '.join(foreground)}; "
            "say which column tells the class, or which one all polygons are"
        )
    return class_name or foreground[0]


def elsewhere(labels: Labels, mask: Prediction) -> LabelsError:
    """The error that labels lie elsewhere on Earth."""
    return LabelsError(
        f"labels {labels.path} lie elsewhere on Earth than mask {shown(mask.path)}: labels at "
        f"{_place(labels.bounds_lonlat())}, mask at {_place(mask.geobox.bounds_lonlat())}; "
        "give labels of the same place, or correct their CRS"
    )


def _place(bounds: BoundingBox | None) -> str:
    if bounds is None:
        return "an unknown place"
    if not (max(map(abs, bounds[::2])) <= 720.0 and max(map(abs, bounds[1::2])) <= 90.0):
        return f"x {bounds.left:.7g}..{bounds.right:.7g} y {bounds.bottom:.7g}..{bounds.top:.7g}, no degrees"
    return f"{bounds.left:.4f}..{bounds.right:.4f} E {bounds.bottom:.4f}..{bounds.top:.4f} N"


def unnamed(mask: Prediction, truth: Labels, progress: Progress) -> ClassMap:
    """Classes of a mask that names none: those of the labels, id by id, and more where its ids go on.

    Raises:
        SceneError: the mask holds too many.
    """
    progress.warn(f"{file_name(mask.path)} names no classes: ids are compared as they are")
    highest = len(truth.classes) - 1
    for window in block_windows(mask.geobox.shape, _WINDOW_PX):
        ids = mask.read(window)
        highest = max(highest, int(ids.max(initial=0, where=ids != IGNORE)))
    names = [*truth.classes.names, *(f"class {i}" for i in range(len(truth.classes), highest + 1))]
    try:
        return ClassMap.from_names(names, background=truth.classes.background)
    except ValueError as error:
        raise SceneError(f"mask {shown(mask.path)}: {error}; give a mask of class ids") from error
