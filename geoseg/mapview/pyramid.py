"""How a scene is cut for the screen: levels, each half as large as the one below, in square tiles.

All of it is in the scene's own pixels. Pixels of level k are ``2**k`` pixels of the scene wide; level 0 is
the scene itself. What the browser calls zoom is ``-k``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rasterio.windows import Window

TILE_PX = 512


@dataclass(frozen=True, kw_only=True)
class Pyramid:
    """Levels over a scene.

    Attributes:
        shape: (height, width) of the scene in pixels.
    """

    shape: tuple[int, int]

    @property
    def coarsest(self) -> int:
        """The finest level that fits into one tile."""
        level = 0
        while max(self.shape) > TILE_PX << level:
            level += 1
        return level

    def tiles(self, level: int) -> tuple[int, int]:
        """(rows, columns) of tiles of a level."""
        rows, columns = (-(-side // (TILE_PX << level)) for side in self.shape)
        return rows, columns

    def addresses(self, level: int) -> Iterator[tuple[int, int]]:
        """(column, row) of the tiles of a level, row after row."""
        rows, columns = self.tiles(level)
        for row in range(rows):
            for column in range(columns):
                yield column, row

    def has(self, level: int, column: int, row: int) -> bool:
        """Whether there is such a tile."""
        if not 0 <= level <= self.coarsest:
            return False
        rows, columns = self.tiles(level)
        return 0 <= column < columns and 0 <= row < rows

    def window(self, level: int, column: int, row: int) -> Window:
        """Pixels of the scene that a tile shows."""
        side, (height, width) = TILE_PX << level, self.shape
        top, left = row * side, column * side
        return Window(left, top, min(side, width - left), min(side, height - top))

    def size(self, level: int, column: int, row: int) -> tuple[int, int]:
        """(height, width) of a tile in its own pixels; the last ones may stick out of the scene in part."""
        window = self.window(level, column, row)
        return -(-int(window.height) // (1 << level)), -(-int(window.width) // (1 << level))
