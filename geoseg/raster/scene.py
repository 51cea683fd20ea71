"""A raster to look at: bands in their own dtype, and which of the pixels are real."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, Resampling
from rasterio.windows import Window

from geoseg.errors import ReadError, SceneError
from geoseg.progress import SILENT, Progress
from geoseg.raster import server, windows
from geoseg.raster.band_choice import as_dtype, band_name, choose_bands, common_dtype, mask_sources
from geoseg.raster.blockwise import Block, OnError, blocks_of
from geoseg.raster.gdal import HINT, gdal_errors, open_raster, reading
from geoseg.raster.geobox import GeoBox
from geoseg.raster.mosaic import Mosaic
from geoseg.raster.remote import is_remote, shown
from geoseg.raster.server import RemoteFile
from geoseg.raster.stamps import Stamp, changed, stamp


@dataclass(frozen=True, kw_only=True)
class Scene:
    """An open scene; a context manager. Never writes anything beside the file.

    Attributes:
        path: the file.
        geobox: its grid.
        bands: 1-based bands that :meth:`read` returns, in this order.
        band_names: one a band: its description, else ``band N``.
        dtype: numpy name of the bands' dtype.
        nodata: the chosen or declared nodata value of the first band, if any.
        is_tiled: whether blocks are narrower than the scene, so that reading a window reads little else.
        block_rows: height of the blocks in pixels.
        remote: what was found on a server; ``None`` for a file here.
        on_error: what :meth:`read` does about blocks that cannot be read.
    """

    path: Path
    geobox: GeoBox
    bands: tuple[int, ...]
    band_names: tuple[str, ...]
    dtype: str
    nodata: float | None
    is_tiled: bool
    block_rows: int
    remote: RemoteFile | None
    on_error: OnError
    _dataset: Any = field(repr=False)
    _nodatas: tuple[float | None, ...] = field(repr=False)
    _alpha: int | None = field(repr=False)
    _alpha_joins: bool = field(repr=False)
    _masked: tuple[int, ...] = field(repr=False)
    _what: str = field(repr=False)
    _hint: str = field(repr=False)
    _lost: set[Block] = field(repr=False, compare=False, default_factory=set)
    _stamps: dict[Path, Stamp] = field(repr=False, compare=False, default_factory=dict)

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        bands: Sequence[int] | None = None,
        nodata: float | None = None,
        what: str = "scene",
        remote: bool = False,
        on_error: OnError = "stop",
        hint: str = HINT,
    ) -> Scene:
        """Open a scene.

        Args:
            path: a raster.
            bands: 1-based bands to read; all but alpha when not given.
            nodata: overrides the nodata value the file declares.
            what: how messages call the file.
            remote: ``path`` is what the user himself named, and may be the address of a GeoTIFF on a server.
            on_error: with ``nodata``, pixels of blocks that cannot be read are not valid.
            hint: what messages say may be done about such a block.

        Raises:
            SceneError: no readable raster, complex numbers, a band it does not have, too many bands, or
                blocks of a file on a server to be taken for nodata.
        """
        path = Path(path)
        if on_error == "nodata" and is_remote(path):
            raise SceneError(
                f"{what} {shown(path)} is on a server: what it fails to give it may give later, so that is "
                "not taken for nodata; leave --on-error out or download it first"
            )
        found = server.look(path, what=what) if remote and is_remote(path) else None
        stamps = {} if found else {path: stamp(path)}
        dataset = open_raster(found or path, what=what)
        try:
            # Some of what is asked here stands at the end of the file.
            allowed = contextlib.nullcontext() if found is None else found.allowed()
            with gdal_errors(f"opening {what}", path, error=SceneError), allowed:
                scene = cls._of(dataset, path, found, bands, nodata, what)
            stamps = {file: stamps.get(file) or stamp(file) for file in scene.files} if stamps else {}
            return replace(scene, on_error=on_error, _hint=hint, _stamps=stamps)
        except BaseException:
            dataset.close()
            raise

    @classmethod
    def _of(
        cls,
        dataset: Any,
        path: Path,
        remote: RemoteFile | None,
        bands: Sequence[int] | None,
        nodata: float | None,
        what: str,
    ) -> Scene:
        alpha = next(
            (i for i, color in enumerate(dataset.colorinterp, 1) if color is ColorInterp.alpha), None
        )
        where = f"{what} {shown(path)}"
        chosen = choose_bands(dataset.count, alpha, bands, where)
        nodatas = tuple(dataset.nodatavals[band - 1] if nodata is None else nodata for band in chosen)
        return cls(
            path=path,
            geobox=GeoBox.of(dataset),
            bands=chosen,
            band_names=tuple(band_name(dataset.descriptions[band - 1], band) for band in chosen),
            dtype=common_dtype([dataset.dtypes[band - 1] for band in chosen], where),
            nodata=nodatas[0],
            is_tiled=dataset.block_shapes[0][1] < dataset.width,
            block_rows=dataset.block_shapes[0][0],
            remote=remote,
            on_error="stop",
            _dataset=dataset,
            _nodatas=nodatas,
            _alpha=None if alpha in chosen else alpha,
            _alpha_joins=len({dataset.dtypes[band - 1] for band in (*chosen, alpha or chosen[0])}) == 1,
            _masked=mask_sources(dataset, chosen),
            _what=what,
            _hint=HINT,
        )

    def __enter__(self) -> Scene:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._dataset.close()

    @property
    def shown(self) -> str:
        """The path for messages and reports."""
        return shown(self.path)

    def tags(self) -> dict[str, str]:
        """The file's own tags.

        Raises:
            SceneError: they are damaged.
        """
        with gdal_errors(f"opening {self._what}", self.path, error=SceneError):
            return dict(self._dataset.tags())

    def check_unchanged(self) -> None:
        """Make sure that all that was read is of one file, which may have been replaced meanwhile.

        Raises:
            ReadError: it is another file by now, or the server it is on does not answer.
        """
        if self.remote is not None:
            self.remote.check_unchanged(self._what)
        self.check_not_written()

    def check_not_written(self) -> None:
        """What :meth:`check_unchanged` does, of a file here only: it costs next to nothing.

        Raises:
            ReadError: somebody wrote to the file, or put another one in its place.
        """
        for path in changed(self._stamps):
            what = f"{self._what} {self.shown}"
            what = what if path == self.path else f"{path.name} of {what}"
            raise ReadError(f"{what} changed while it was read; run it again when nobody writes to it")

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Read a window, which may reach beyond the scene.

        A pixel is valid when any chosen band has a finite value other than its nodata there, and neither the
        file's mask nor its alpha band hides it.

        Returns:
            ``bands`` (B, h, w) in the scene's dtype, 0 beyond the scene, and ``valid`` (h, w). Of valid
            pixels, floating-point bands are not a number where they alone are nodata.

        Raises:
            ReadError: a block of the file is damaged, which is named, or the server no longer gives it.
        """
        shape = (int(window.height), int(window.width))
        bands = np.zeros((len(self.bands), *shape), self.dtype)
        valid = np.zeros(shape, np.bool_)
        inside = windows.clip(window, self.geobox.shape)
        if inside is None:
            return bands, valid
        rows, cols = windows.slices_within(inside, window)
        bands[:, rows, cols], valid[rows, cols] = self._read_pixels(inside)
        valid[rows, cols] &= self._any_value(bands[:, rows, cols])
        if np.issubdtype(bands.dtype, np.floating) and len(bands) > 1:
            for band, nodata in zip(bands, self._nodatas, strict=True):
                value = as_dtype(nodata, band.dtype)
                if value is not None:
                    band[valid & (band == value)] = np.nan
        return bands, valid

    def read_shrunk(
        self, window: Window, shape: tuple[int, int], *, smooth: bool
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """A look at a window within the scene in fewer pixels; from the file's overviews where it has some.

        Args:
            window: part of the scene; its edges may lie within pixels.
            shape: (h, w) to return.
            smooth: means of the pixels, for what is measured; else single ones, for ids.

        Returns:
            As :meth:`read`.

        Raises:
            ReadError: the file is damaged there, or the server no longer gives it.
        """
        resampling = Resampling.average if smooth else Resampling.nearest
        values, visible = np.zeros((len(self.bands), *shape), self.dtype), np.ones(shape, np.bool_)
        for rows, part in windows.strips(window, shape, self.block_rows):
            size = (rows.stop - rows.start, shape[1])
            with reading(f"reading {self._what}", self.remote or self.path):
                values[:, rows] = self._dataset.read(
                    list(self.bands), window=part, out_shape=(len(self.bands), *size), resampling=resampling
                )
                if self._alpha is not None:
                    visible[rows] &= self._dataset.read(self._alpha, window=part, out_shape=size) > 0
                if self._masked:
                    masks = self._dataset.read_masks(
                        list(self._masked), window=part, out_shape=(len(self._masked), *size)
                    )
                    visible[rows] &= (masks > 0).any(axis=0)
        return values, visible & self._any_value(values)

    @property
    def files(self) -> tuple[Path, ...]:
        """The file, and of a mosaic all files that its pixels are in."""
        return (self.path, *self._dataset.sources) if isinstance(self._dataset, Mosaic) else (self.path,)

    @property
    def overviews(self) -> tuple[int, ...]:
        """By how much the file's own smaller copies are smaller; none when it has none."""
        return tuple(int(factor) for factor in self._dataset.overviews(self.bands[0]))

    def palette(self) -> dict[int, tuple[int, int, int]]:
        """Colours of the values of the first band; none when the file has no palette."""
        try:
            colors = self._dataset.colormap(self.bands[0])
        except ValueError:
            return {}
        return {int(value): (color[0], color[1], color[2]) for value, color in colors.items()}

    def has_value(self, bands: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Where what :meth:`read` returned has a value in each band, (B, h, w), or (h, w) for all alike.

        Where one band alone is nodata, its pixel has no value, but for bands of 8 bits: there 0 and 255 are
        everyday values of dark and of bright land, and mean nodata only where all bands have them.
        """
        told = [as_dtype(nodata, bands.dtype) for nodata in self._nodatas]
        if len(bands) == 1 or bands.dtype.itemsize == 1 or all(value is None for value in told):
            return valid
        pairs = zip(bands, told, strict=True)
        return np.stack([valid if value is None else valid & (band != value) for band, value in pairs])

    def invalid_is(self, value: int) -> bool:
        """Whether pixels are invalid only where all bands have this value; they are whole numbers then."""
        told = {as_dtype(nodata, np.dtype(self.dtype)) for nodata in self._nodatas}
        whole = np.issubdtype(np.dtype(self.dtype), np.integer)
        return whole and self._alpha is None and not self._masked and told <= {None, value}

    def read_values(self, window: Window) -> NDArray[Any]:
        """Bands (B, h, w) of a window within the scene, valid or not.

        Raises:
            ReadError: as :meth:`read`.
        """
        return self._read_pixels(window)[0]

    def unreadable(self, part: Window, progress: Progress = SILENT) -> list[Window]:
        """Pixels of a part of a scene that are in blocks that cannot be read: a window for each block.

        All blocks are read for it. None of a file on a server, where what fails may go well later.
        """
        found: list[Window] = []
        if self.remote is not None:
            return found
        # Counted first, not listed: there may be millions.
        progress.begin("check", sum(1 for _ in self._blocks(part)), "blocks")
        for block in self._blocks(part):
            try:
                self._read_at_once(block.window, str(block))
            except ReadError:
                inside = windows.overlap(block.window, part)
                found += [] if inside is None else [inside]
            progress.advance()
        progress.end()
        return found

    @property
    def lost_any(self) -> bool:
        """Whether :meth:`read` took any block for nodata because it cannot be read."""
        return bool(self._lost)

    def _blocks(self, part: Window) -> Iterator[Block]:
        return blocks_of(part, self.geobox.shape, self._dataset.block_shapes[self.bands[0] - 1])

    def _read_at_once(self, window: Window, name: str) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Chosen bands (B, h, w) of a window within the scene, and what no mask and no alpha hides (h, w)."""
        what = f"reading {name} of {self._what}"
        with reading(what, self.remote or self.path, hint=self._hint):
            values, alpha = self._read_values(window)
            return values, self._shown_pixels(window, alpha)

    def _read_pixels(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """As :meth:`_read_at_once`, and where that fails block by block."""
        try:
            return self._read_at_once(window, windows.show(window))
        except ReadError:
            if self.remote is not None:
                raise
        values = np.zeros((len(self.bands), window.height, window.width), self.dtype)
        shown_pixels = np.zeros(values.shape[1:], np.bool_)
        for block in self._blocks(window):
            try:
                found, seen = self._read_at_once(block.window, str(block))
            except ReadError:
                if self.on_error == "stop":
                    raise
                self._lost.add(block)
                continue
            part = windows.overlap(block.window, window)
            if part is not None:
                here, there = windows.slices_within(part, window), windows.slices_within(part, block.window)
                values[:, *here], shown_pixels[here] = found[:, *there], seen[there]
        return values, shown_pixels

    def _any_value(self, bands: NDArray[Any]) -> NDArray[np.bool_]:
        any_valid = np.zeros(bands.shape[1:], np.bool_)
        for band, nodata in zip(bands, self._nodatas, strict=True):
            valid = np.isfinite(band) if np.issubdtype(band.dtype, np.floating) else np.True_
            value = as_dtype(nodata, band.dtype)
            any_valid |= valid if value is None else valid & (band != value)
            if any_valid.all():
                break
        return any_valid

    def _read_values(self, window: Window) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """Chosen bands (B, h, w) and alpha (h, w), in one go: blocks of all bands are then read once."""
        if self._alpha is None:
            return self._dataset.read(list(self.bands), window=window), None
        if not self._alpha_joins:
            bands = self._dataset.read(list(self.bands), window=window)
            return bands, self._dataset.read(self._alpha, window=window)
        values = self._dataset.read([*self.bands, self._alpha], window=window)
        return values[:-1], values[-1]

    def _shown_pixels(self, window: Window, alpha: NDArray[Any] | None) -> NDArray[np.bool_]:
        visible = np.ones((window.height, window.width), np.bool_)
        if alpha is not None:
            visible &= alpha > 0
        if self._masked:
            visible &= (self._dataset.read_masks(list(self._masked), window=window) > 0).any(axis=0)
        return visible
