"""Objects of instance chips: which pixel is of which object, and what is known of each.

::

    chips/objects/NAME.tif     uint16, the grid of labels/NAME.tif: 0 = no object, 1..n = objects of this chip

Facts of the objects are JSON in a tag of that very file, one list for each fact: a chip that is moved, copied
or deleted takes them along, and no second file can get out of step with the pixels.

Neither torch nor rasterio is needed here.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from geoseg.classes import IGNORE, ClassMap

OBJECTS_TAG = "GEOSEG_OBJECTS"
"""TIFF tag with the facts of a chip's objects as JSON."""

MAX_OBJECTS = 65_534
"""Objects that one chip can have."""

MAX_TAG_BYTES = 16 * 1024**2
"""Longest tag read; 65,534 objects take 2 MB."""

MAX_CROWDS = MAX_OBJECTS
"""Crowd areas that one chip can have, besides its objects."""

_INSIDE_DIGITS = 6


@dataclass(frozen=True, kw_only=True)
class ObjectFacts:
    """What is known of one object of a chip.

    Attributes:
        class_id: its class, 1..K-1.
        scene_object: its number among all objects of the scene's labels, from 1.
        inside_share: share of its area that is inside the chip, 0 to 1; below 1 it is clipped.
        crowd: an area of things that nobody told apart. It has no pixels among the objects, and 255 in the
            labels.
    """

    class_id: int
    scene_object: int
    inside_share: float = 1.0
    crowd: bool = False

    @property
    def clipped(self) -> bool:
        """Whether a part of it is not shown."""
        return self.inside_share < 1.0


@dataclass(frozen=True, kw_only=True)
class ChipObjects:
    """Objects of one chip.

    Attributes:
        numbers: (S, S) uint16, 0 where no object is.
        facts: those of object 1, 2, ..., n, in the order of their numbers in the scene; then those of the
            crowd areas, which have no pixels here.
    """

    numbers: NDArray[np.uint16]
    facts: tuple[ObjectFacts, ...]

    @property
    def count(self) -> int:
        """How many objects have pixels."""
        return sum(not fact.crowd for fact in self.facts)


def number_objects(
    owner: NDArray[np.int32],
    class_ids: NDArray[np.uint8],
    crowd: NDArray[np.bool_],
    inside_shares: Callable[[NDArray[np.intp]], NDArray[np.float64]],
) -> ChipObjects:
    """Give the objects of a chip their numbers, and look their facts up.

    Args:
        owner: (S, S) number in the scene of the object that each pixel belongs to, 0 where none or not valid.
        class_ids: (N + 1,) class of each number; 0 and 255 are no objects.
        crowd: (N + 1,) whether each is a crowd area.
        inside_shares: tells which share of each of these numbers (n,) is inside the chip.

    Raises:
        ValueError: there are more than a chip can hold.
    """
    things = (class_ids != 0) & (class_ids != IGNORE)
    present = np.unique(owner)
    present = present[things[present] & (present > 0)]
    single, many = present[~crowd[present]], present[crowd[present]]
    if len(single) > MAX_OBJECTS or len(many) > MAX_CROWDS:
        raise ValueError(f"{max(len(single), len(many)):,} objects, and {MAX_OBJECTS:,} are possible")
    numbers = np.zeros(owner.shape, np.uint16)
    if len(single):
        places = np.searchsorted(single, owner).clip(max=len(single) - 1)
        numbers = np.where(single[places] == owner, places + 1, 0).astype(np.uint16)
    ordered = np.concatenate([single, many]).astype(np.intp)
    rows = zip(ordered.tolist(), class_ids[ordered].tolist(), inside_shares(ordered).tolist(), strict=True)
    facts = tuple(
        ObjectFacts(
            class_id=class_id, scene_object=number, inside_share=_rounded(share), crowd=at >= len(single)
        )
        for at, (number, class_id, share) in enumerate(rows)
    )
    return ChipObjects(numbers=numbers, facts=facts)


def _rounded(share: float) -> float:
    """A share with few digits; what is not whole stays so."""
    rounded = round(min(share, 1.0), _INSIDE_DIGITS)
    return rounded if share >= 1.0 else min(rounded, 1.0 - 10.0**-_INSIDE_DIGITS)


def shown_facts(
    facts: Sequence[ObjectFacts], numbers: NDArray[np.uint16], rows: slice, cols: slice
) -> tuple[ObjectFacts, ...]:
    """Facts when only a part of a chip is shown.

    Args:
        facts: of the chip's objects and crowd areas.
        numbers: (S, S) of the whole chip.
        rows: rows that are shown.
        cols: columns that are shown.

    Returns:
        The facts, with shares as they are in the part, by pixels: 0 for an object that is not in it. What is
        known of crowd areas, which have no pixels, stays.
    """
    before = np.bincount(numbers.ravel(), minlength=len(facts) + 1)
    now = np.bincount(numbers[rows, cols].ravel(), minlength=len(facts) + 1)
    return tuple(
        fact
        if fact.crowd or now[number] == before[number]
        else replace(fact, inside_share=fact.inside_share * float(now[number] / before[number]))
        for number, fact in enumerate(facts, 1)
    )


class _Facts(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False, extra="forbid")

    class_id: list[Annotated[int, Field(ge=1, lt=IGNORE)]] = Field(max_length=MAX_OBJECTS + MAX_CROWDS)
    scene_object: list[Annotated[int, Field(ge=1, le=2**31)]]
    inside_share: list[Annotated[float, Field(ge=0.0, le=1.0)]]
    crowd: list[bool]


def facts_to_json(facts: Sequence[ObjectFacts]) -> str:
    """The text of the tag; :func:`facts_from_json` reads it back."""
    columns: dict[str, list[Any]] = {
        name: [getattr(fact, name) for fact in facts] for name in _Facts.model_fields
    }
    return json.dumps(columns, separators=(",", ":"))


def facts_from_json(text: str, classes: ClassMap) -> tuple[ObjectFacts, ...]:
    """Read the text of the tag.

    Raises:
        ValueError: it is too long, damaged, or names a class that ``classes`` does not have.
    """
    if len(text) > MAX_TAG_BYTES:
        raise ValueError(f"facts of more than {MAX_TAG_BYTES} bytes")
    try:
        columns = _Facts.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    rows = zip(columns.class_id, columns.scene_object, columns.inside_share, columns.crowd, strict=True)
    facts = tuple(
        ObjectFacts(class_id=class_id, scene_object=number, inside_share=share, crowd=crowd)
        for class_id, number, share, crowd in rows
    )
    if any(fact.class_id >= len(classes) for fact in facts):
        raise ValueError(f"an object of a class above {len(classes) - 1}")
    if any(one.crowd and not other.crowd for one, other in itertools.pairwise(facts)):
        raise ValueError("crowd areas before objects")
    return facts
