"""What the ids of a mask mean: names, colours, and which of them become polygons unasked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.classes import default_color
from geoseg.errors import InputError
from geoseg.raster.categories import read_categories
from geoseg.raster.mask import Mask
from geoseg.raster.remote import shown

_TABLE = 256
_MOST_STYLES = 1000


class Legend:
    """Names and colours of class ids; learns of ids that nothing tells about as they are met.

    Attributes:
        background: id of unlabelled land, or ``None``.
        boundary: id of the class drawn between polygons, or ``None``.
    """

    def __init__(self, mask: Mask) -> None:
        """From the mask's own tag, else from the categories beside it; the rest is called ``class 7``."""
        self.background: int | None = None
        self.boundary: int | None = None
        self._colors: dict[int, str] = {}
        if mask.classes is not None:
            names = dict(enumerate(mask.classes.names))
            self._colors = dict(enumerate(mask.classes.colors))
            self.background, self.boundary = mask.classes.background, mask.classes.boundary
            self._met = set(names)
        else:
            names = dict(enumerate(read_categories(mask.path)))
            self._met = set()
        # Empty names say nothing, and equal ones would hide which class is which.
        told = Counter(names.values())
        self._names = {i: name for i, name in names.items() if name and told[name] == 1}

    def meet(self, ids: Iterable[int]) -> None:
        """Take note of ids that occur."""
        self._met.update(ids)

    @property
    def ids(self) -> list[int]:
        """Ids that are told of or were met, ascending."""
        return sorted(self._met)

    def name(self, class_id: int) -> str:
        """Name of a class."""
        return self._names.get(class_id, f"class {class_id}")

    def names(self, class_id: NDArray[np.integer[Any]]) -> NDArray[np.object_]:
        """Names (R,) of classes."""
        if not len(class_id):
            return np.empty(0, np.object_)
        if class_id.max() < _TABLE:
            found, at = np.arange(class_id.max() + 1), class_id
        else:
            found, at = np.unique(class_id, return_inverse=True)
        names: NDArray[np.object_] = np.array([self.name(int(i)) for i in found], np.object_)[at]
        return names

    def choose(self, wanted: Sequence[str], mask: Mask) -> list[int]:
        """Ids of the wanted names or ids, ascending; call when all ids were met.

        Raises:
            InputError: there is no such class.
        """
        by_name = {self.name(class_id): class_id for class_id in self.ids}
        by_id = {str(class_id): class_id for class_id in self.ids}
        chosen = set()
        for text in wanted:
            class_id = by_name.get(text, by_id.get(text.strip()))
            if class_id is None:
                known = ", ".join(f"{self.name(i)} ({i})" for i in self.ids[:20])
                raise InputError(
                    f"mask {shown(mask.path)} has no class {text!r}; choose from {known or 'none'}"
                )
            chosen.add(class_id)
        return sorted(chosen)

    def unasked(self) -> list[int]:
        """Ids that do not become polygons unless named."""
        return [class_id for class_id in (self.background, self.boundary) if class_id is not None]

    def styles(self, chosen: Sequence[int]) -> dict[int, tuple[str, str]]:
        """Name and colour of chosen ids; none when they are too many to tell apart."""
        if len(chosen) > _MOST_STYLES:
            return {}
        rank = {class_id: i for i, class_id in enumerate(self.ids)}
        return {
            class_id: (self.name(class_id), self._colors.get(class_id) or default_color(rank[class_id]))
            for class_id in chosen
        }
