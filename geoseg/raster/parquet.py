"""How much a GeoParquet file unfolds to: a few kilobytes may say a value of megabytes a million times."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

from geoseg.errors import LabelsError

MAX_ROWS = 10_000_000
MAX_BYTES = 2 * 1024**3

_BATCH_ROWS = 65_536


def check_size(file: IO[bytes], path: Path, what: str) -> None:
    """Refuse a file that unfolds to more than memory should be taken for.

    Args:
        file: the open file; read from its beginning.
        path: for messages.
        what: how messages call the file.

    Raises:
        LabelsError: it has too many rows or bytes.
        pyarrow.ArrowException, OSError: it is damaged.
    """
    from pyarrow import parquet

    plain = parquet.ParquetFile(file)
    rows, groups = plain.metadata.num_rows, plain.metadata.num_row_groups
    if rows > MAX_ROWS:
        raise LabelsError(f"{what} {path} has {rows:,} rows, and {MAX_ROWS:,} are read; cut it")
    columns = plain.metadata.num_columns
    packed = sum(
        max(0, plain.metadata.row_group(group).column(column).total_uncompressed_size)
        for group in range(groups)
        for column in range(columns)
    )
    if packed > MAX_BYTES:
        raise _too_large(path, what)
    texts = [field.name for field in plain.schema_arrow if _is_text(field.type)]
    file.seek(0)
    # As a dictionary, equal values are held once.
    folded = parquet.ParquetFile(file, read_dictionary=texts)
    unfolded = 0
    for batch in folded.iter_batches(_BATCH_ROWS):
        unfolded += sum(_unfolded_bytes(column) for column in batch.columns)
        if unfolded > MAX_BYTES:
            raise _too_large(path, what)
    file.seek(0)


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    checks = (types.is_binary, types.is_string, types.is_large_binary, types.is_large_string)
    return any(check(kind) for check in checks)


def _unfolded_bytes(column: Any) -> int:
    import pyarrow
    from pyarrow import compute

    if not pyarrow.types.is_dictionary(column.type) or not _is_text(column.type.value_type):
        return int(column.nbytes)
    lengths = compute.binary_length(column.dictionary)
    return int(compute.sum(compute.take(lengths, column.indices).cast("int64")).as_py() or 0)


def _too_large(path: Path, what: str) -> LabelsError:
    return LabelsError(f"{what} {path} unfolds to more than {MAX_BYTES // 1024**3} GiB; cut it")
