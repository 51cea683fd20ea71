"""Streams of columns, read by pyarrow, which knows the rules of the interface best."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow
import pyogrio
import pyogrio.raw
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from geoseg.vector import arrow_abi
from geoseg.vector.arrow import (
    BINARY,
    STRING,
    Batch,
    Field,
    Stream,
    binary,
    exported,
    format_of,
    numbers,
    strings,
)
from geoseg.vector.wkb import PackedWkb

FIELDS = (
    Field(name="id", format="i"),
    Field(name="größe", format="g"),
    Field(name="yes", format="b"),
    Field(name="name", format=STRING),
    Field(name="shape", format=BINARY, extension="ogc.wkb"),
)


def batch(count: int, first: int = 0) -> Batch:
    corner = first + np.arange(count, dtype=np.float64)
    return Batch(
        length=count,
        columns=(
            numbers(np.arange(first, first + count, dtype=np.int32)),
            numbers(np.where(corner % 3 == 1, np.nan, corner)),
            numbers(corner % 2 == 0),
            strings([f"näme {i} \U0001f600" for i in range(first, first + count)]),
            binary(*PackedWkb.of(shapely.to_wkb(shapely.box(corner, 0, corner + 1, 1)))),
        ),
    )


def read(stream: Stream) -> pyarrow.Table:
    return pyarrow.RecordBatchReader.from_stream(stream).read_all()


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Whatever was handed over was released."""
    gc.collect()
    before = len(arrow_abi._kept)
    yield
    gc.collect()
    assert len(arrow_abi._kept) == before


def test_batches_arrive_as_they_are() -> None:
    table = read(Stream(FIELDS, iter([batch(3), batch(0), batch(5, 3)])))
    assert table.column_names == ["id", "größe", "yes", "name", "shape"]
    assert [str(kind) for kind in table.schema.types] == [
        "int32",
        "double",
        "bool",
        "large_string",
        "large_binary",
    ]
    assert table["id"].to_pylist() == list(range(8))
    assert table["größe"].to_pylist() == [0.0, None, 2.0, 3.0, None, 5.0, 6.0, None]
    assert table["yes"].to_pylist() == [True, False] * 4
    assert table["name"].to_pylist() == [f"näme {i} \U0001f600" for i in range(8)]
    assert shapely.from_wkb(table["shape"].to_pylist()[7]).bounds == (7, 0, 8, 1)
    assert table.schema.field("shape").metadata[b"ARROW:extension:name"] == b"ogc.wkb"
    table.validate(full=True)


def test_a_stream_without_batches() -> None:
    assert read(Stream(FIELDS, iter([]))).num_rows == 0


@given(
    integers=arrays(np.int64, st.integers(0, 30)),
    kind=st.sampled_from([np.bool_, np.uint8, np.int16, np.int32, np.int64, np.float32, np.float64]),
    step=st.sampled_from([1, 2, -1]),
)
@settings(max_examples=200, deadline=None)
def test_numbers_of_every_kind(integers: np.ndarray, kind: type, step: int) -> None:
    values = integers.astype(kind)[::step]
    field = Field(name="a", format=format_of(values.dtype))
    table = read(Stream([field], iter([Batch(length=len(values), columns=(numbers(values),))])))
    assert table["a"].to_pylist() == values.tolist()


@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=20))
@settings(max_examples=100, deadline=None)
def test_texts(texts: list[str]) -> None:
    field = Field(name="a", format=STRING)
    table = read(Stream([field], iter([Batch(length=len(texts), columns=(strings(texts),))])))
    assert table["a"].to_pylist() == texts


def test_kinds_that_there_are_not() -> None:
    with pytest.raises(ValueError, match="no column can be of type complex128"):
        format_of(np.dtype(complex))


def test_a_consumer_may_stop_early() -> None:
    reader = pyarrow.RecordBatchReader.from_stream(Stream(FIELDS, iter([batch(2), batch(2)])))
    first = reader.read_next_batch()
    del reader
    gc.collect()
    # What it took is its own.
    assert first["id"].to_pylist() == [0, 1]


def test_one_column_outlives_its_batch() -> None:
    reader = pyarrow.RecordBatchReader.from_stream(Stream(FIELDS, (batch(1000, i) for i in (0, 1000))))
    column = reader.read_next_batch().column(3)
    reader.read_next_batch()
    del reader
    gc.collect()
    assert column[999].as_py() == "näme 999 \U0001f600"


def test_exported_structs_are_released() -> None:
    with exported(FIELDS, batch(3)) as (schema, array):
        assert schema._obj.n_children == array._obj.n_children == 5
        assert array._obj.length == 3
    assert not schema._obj.release
    assert not array._obj.release


def write(path: Path, stream: Stream) -> None:
    pyogrio.raw.write_arrow(stream, path, driver="GPKG", geometry_type="Polygon", crs="EPSG:32633")


def test_gdal_reads_them(tmp_path: Path) -> None:
    write(tmp_path / "a.gpkg", Stream(FIELDS, iter([batch(3), batch(500, 3)])))
    frame = pyogrio.read_dataframe(tmp_path / "a.gpkg")
    assert frame["id"].tolist() == list(range(503))
    assert frame["name"].tolist() == [f"näme {i} \U0001f600" for i in range(503)]
    assert frame["größe"].isna().tolist() == [i % 3 == 1 for i in range(503)]


@pytest.mark.parametrize("count", [0, 1, 5])
def test_an_error_of_the_producer_is_kept_and_told(tmp_path: Path, count: int) -> None:
    def batches() -> Iterator[Batch]:
        for _ in range(count):
            yield batch(10)
        raise ZeroDivisionError("mine")

    stream = Stream(FIELDS, batches())
    with pytest.raises(RuntimeError, match="accessing batch"):
        write(tmp_path / "a.gpkg", stream)
    assert isinstance(stream.error, ZeroDivisionError)
