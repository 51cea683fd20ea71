"""What the ids of a mask are called and how they are drawn."""

from __future__ import annotations

from dataclasses import dataclass

from geoseg.classes import IGNORE, ClassMap, default_color, hex_digits_to_rgb
from geoseg.page.picture import Rgb
from geoseg.raster.categories import read_categories
from geoseg.raster.mask import Mask

PATTERNS = 7
"""Patterns by which classes are told apart without colour: see ``hatch`` in ``map.js``."""


@dataclass(frozen=True, kw_only=True)
class Legend:
    """Names and colours of all ids a mask of bytes can hold.

    Attributes:
        names: (255,) one an id.
        colors: (255,) ``#RRGGBB``, one an id.
        told: ids the mask says something about; others are called ``class 7``.
        background: id of unlabelled land, or ``None``.
    """

    names: tuple[str, ...]
    colors: tuple[str, ...]
    told: frozenset[int]
    background: int | None

    @classmethod
    def of(cls, mask: Mask) -> Legend:
        """From the mask's own tag, else from its palette and the category names beside it.

        Raises:
            SceneError: the file is damaged.
        """
        classes = mask.classes
        if classes is not None:
            names, colors = dict(enumerate(classes.names)), dict(enumerate(classes.colors))
        else:
            names = {at: name for at, name in enumerate(read_categories(mask.path)[:IGNORE]) if name}
            colors = {
                at: "#{:02X}{:02X}{:02X}".format(*rgb) for at, rgb in mask.palette().items() if at < IGNORE
            }
        return cls.named(names, colors, background=None if classes is None else classes.background)

    @classmethod
    def of_classes(cls, classes: ClassMap) -> Legend:
        """From classes that are known, such as a model's."""
        return cls.named(
            dict(enumerate(classes.names)), dict(enumerate(classes.colors)), background=classes.background
        )

    @classmethod
    def named(cls, names: dict[int, str], colors: dict[int, str], *, background: int | None = None) -> Legend:
        """With what is known of ids; the rest gets names and colours of its own."""
        return cls(
            names=tuple(names.get(at, f"class {at}") for at in range(IGNORE)),
            colors=tuple(colors.get(at) or default_color(at) for at in range(IGNORE)),
            told=frozenset(names),
            background=background,
        )

    def rgb(self, class_id: int) -> Rgb:
        """Colour of an id."""
        return hex_digits_to_rgb(self.colors[class_id])

    def id_of(self, name: str) -> int | None:
        """The id called so, if there is one."""
        return self.names.index(name) if name in self.names else None
