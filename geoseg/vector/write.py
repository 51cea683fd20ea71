"""Writes polygon layers, in the format of the suffix, whole or not at all."""

from __future__ import annotations

import contextlib
import importlib.util
import sqlite3
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS

from geoseg.errors import OutputError, WriteError
from geoseg.outputs import check_output, staged_file
from geoseg.raster.gdal import gdal_errors
from geoseg.raster.qml import style_of
from geoseg.vector.arrow import Batch
from geoseg.vector.handoff import Handoff
from geoseg.vector.ogr import LAYER, SHAPEFILE, storable, write_ogr
from geoseg.vector.style import add_style
from geoseg.vector.table import Columns, GeometryType, Table
from geoseg.vector.wkb import PackedWkb

PARQUET = "Parquet"
DRIVERS = {
    ".gpkg": "GPKG",
    ".fgb": "FlatGeobuf",
    ".geojson": "GeoJSON",
    ".shp": SHAPEFILE,
    ".parquet": PARQUET,
}
"""Driver by suffix of the output."""

SHAPEFILE_PARTS = (".shx", ".dbf", ".prj", ".cpg", ".qix", ".sbn", ".sbx", ".shp.xml")


def check_layer_output(output: Path, *, overwrite: bool, inputs: Iterable[Path]) -> None:
    """Refuse an output that cannot or must not be written, before any work is done.

    Raises:
        OutputError: unknown suffix, pyarrow missing for ``.parquet``, a name that GDAL does not take, or as
            :func:`geoseg.outputs.check_output`.
    """
    driver = DRIVERS.get(output.suffix.lower())
    if driver is None:
        ending = f"ends in {output.suffix}" if output.suffix else "has no suffix"
        raise OutputError(f"output {output} {ending}; write to one of {', '.join(DRIVERS)}")
    if driver == PARQUET and importlib.util.find_spec("pyarrow") is None:
        raise OutputError(
            f"output {output} needs pyarrow; pip install 'geoseg[parquet]' or write to {output.stem}.gpkg"
        )
    if driver != PARQUET and any(sign in str(output.absolute()) for sign in ";?!"):
        # pyogrio reads them as parts of a URL and would write another file.
        raise OutputError(f"output {output} has one of ; ? ! in its path; choose another")
    if driver == SHAPEFILE and output.suffix != ".shp":
        # GDAL makes that of other spellings.
        raise OutputError(f"output {output} would become {output.with_suffix('.shp')}; write to that")
    check_output(output, overwrite=overwrite, inputs=inputs)
    if driver == SHAPEFILE and not overwrite:
        for part in _shapefile_parts(output):
            if part.exists():
                raise OutputError(f"{part} exists; use --overwrite to replace it")


class LayerWriter:
    """Writes polygons batch by batch; the layer appears, whole, when the ``with`` block ends well.

    GeoPackage 1.2 with a table of styles, FlatGeobuf, GeoJSON of RFC 7946 (WGS 84), Shapefile (all parts;
    column names within ten letters), or GeoParquet 1.1, by the suffix. Features come in the order written;
    FlatGeobuf sorts them by place. Memory does not grow with the number of batches, but for a spatial index
    (:func:`geoseg.vector.ogr.write_ogr`). Writing goes on in a thread while the next batch is made; some ten
    thousand polygons at a time are fine. Not for use by several threads at once.

    Attributes:
        output: path of the layer.
        styles: name and ``#RRGGBB`` of every value of ``class_id``; heeded if set before the block ends.
        qml: text of a style file to write beside the layer; likewise.
    """

    def __init__(
        self,
        output: Path,
        columns: Columns,
        crs: CRS | None,
        *,
        styles: Mapping[int, tuple[str, str]] | None = None,
        gsd_m: float | None = None,
        geometry_type: GeometryType = "Polygon",
    ) -> None:
        """Prepare; nothing is written before the ``with`` block is entered.

        Args:
            output: path of the layer; :func:`check_layer_output` was asked.
            columns: types of the attributes by name: numpy dtypes, or ``"string"``.
            crs: of the coordinates; ``None`` when unknown.
            styles: name and ``#RRGGBB`` of every value of ``class_id``; none for a layer without style.
            gsd_m: side of the pixels it comes from, which tells how many digits GeoJSON needs.
            geometry_type: of every feature.

        Raises:
            OutputError: a name is too long for a Shapefile.
        """
        self.output = output
        self._driver = DRIVERS[output.suffix.lower()]
        table = Table(columns=columns, crs=crs, geometry_type=geometry_type, gsd_m=gsd_m)
        self._table = storable(table, output, self._driver)
        self.styles: Mapping[int, tuple[str, str]] = styles or {}
        self.qml: str | None = None
        self._open = contextlib.ExitStack()
        self._handoff: Handoff[Batch]
        self._parts: set[str] = set()

    def __enter__(self) -> Self:
        with self._write_errors(), contextlib.ExitStack() as stack:
            staged = stack.enter_context(staged_file(self.output))
            stack.enter_context(_pyogrio_quiet())
            self._handoff = Handoff(lambda batches: self._consume(staged, batches), name="geoseg-write")
            # Runs before staged_file hears of the end, which then moves or removes what is there.
            stack.push(lambda kind, *_: self._close(staged, failed=kind is not None))
            self._open = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._write_errors():
            self._open.__exit__(kind, error, trace)
            if kind is None:
                self._remove_stale_parts()

    def write(
        self,
        polygons: PackedWkb | NDArray[np.object_] | Sequence[bytes],
        columns: Mapping[str, NDArray[Any]],
    ) -> None:
        """Write more features. The arrays must not be changed afterwards: they are read later, in place.

        Args:
            polygons: N features, packed (:func:`geoseg.vector.wkb.pack_wkb`) or (N,) single WKBs.
            columns: name to (N,) values; not-a-number is written as null.

        Raises:
            WriteError: the disk is full or not writable, or a Shapefile is.
            ValueError: the columns do not fit.
        """
        batch = self._table.rows(polygons, columns)
        with self._write_errors():
            self._handoff.put(batch)

    def _consume(self, staged: Path, batches: Iterator[Batch]) -> None:
        if self._driver == PARQUET:
            from geoseg.vector.geoparquet import write_geoparquet

            write_geoparquet(staged, self._table, batches)
        else:
            write_ogr(staged, self._driver, self._table, batches)

    def _close(self, staged: Path, *, failed: bool) -> None:
        if failed:
            self._handoff.cancel()
            return
        try:
            self._handoff.finish()
        except BaseException:
            self._handoff.cancel()
            raise
        if self._driver == "GPKG" and self.styles:
            try:
                add_style(staged, LAYER, self.styles)
            except sqlite3.Error as reason:
                raise WriteError(
                    f"writing polygons {self.output} failed: {reason}; is the disk full?"
                ) from reason
        if self.qml is not None:
            style_of(staged).write_text(self.qml, encoding="utf-8", newline="\n")
        self._parts = {part.name for part in staged.parent.iterdir()}

    def _remove_stale_parts(self) -> None:
        """An index or .prj of the Shapefile that was here before would lie about this one."""
        if self._driver == SHAPEFILE:
            for part in _shapefile_parts(self.output):
                if part.name not in self._parts:
                    part.unlink(missing_ok=True)

    def _write_errors(self) -> contextlib.AbstractContextManager[None]:
        return gdal_errors("writing polygons", self.output, error=WriteError, hint="is the disk full?")


def _shapefile_parts(output: Path) -> list[Path]:
    return [output.with_suffix(suffix) for suffix in SHAPEFILE_PARTS]


@contextlib.contextmanager
def _pyogrio_quiet() -> Iterator[None]:
    """Keep what GDAL warns of, as pyogrio tells in the thread that writes, from the terminal."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"pyogrio\.")
        yield
