"""One file of an export, in one of three formats. It has its name once all of it is on disk.

In: pages of rows as Python values, JSON as text. Out: Parquet with times as times, lines of JSON in
the shape of GET /v1/events, or CSV with times as ISO 8601. JSON stays the text that was sent.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from saytics_server.query.periods import utc_text

Kind = Literal["text", "time", "json", "texts"]
# Columns by name, in order.
Columns = dict[str, Kind]

_TYPES: dict[Kind, pa.DataType] = {
    "text": pa.string(),
    "time": pa.timestamp("ms", "UTC"),
    "json": pa.string(),
    "texts": pa.list_(pa.string()),
}


def write(
    path: Path, format_: str, columns: Columns, pages: Iterable[Sequence[Sequence[Any]]]
) -> int:
    """Write pages of rows to a file, durably; return how many rows there were."""
    partial = path.with_name(path.name + ".partial")
    writer = {"parquet": _write_parquet, "jsonl": _write_lines, "csv": _write_csv}[format_]
    rows = writer(partial, columns, pages)
    descriptor = os.open(partial, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    partial.rename(path)
    return rows


def _write_parquet(path: Path, columns: Columns, pages: Iterable[Sequence[Sequence[Any]]]) -> int:
    schema = pa.schema([(name, _TYPES[kind]) for name, kind in columns.items()])
    count = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for rows in pages:
            values = zip(*rows, strict=True)
            arrays = [
                pa.array(column, field.type) for column, field in zip(values, schema, strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            count += len(rows)
    return count


def _write_lines(path: Path, columns: Columns, pages: Iterable[Sequence[Sequence[Any]]]) -> int:
    encode = msgspec.json.Encoder().encode
    count = 0
    with path.open("wb") as file:
        for rows in pages:
            for row in rows:
                shown = {
                    name: _in_json(value, kind)
                    for (name, kind), value in zip(columns.items(), row, strict=True)
                }
                file.write(encode(shown) + b"\n")
            count += len(rows)
    return count


def _write_csv(path: Path, columns: Columns, pages: Iterable[Sequence[Sequence[Any]]]) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for rows in pages:
            writer.writerows(
                [_in_csv(value, kind) for kind, value in zip(columns.values(), row, strict=True)]
                for row in rows
            )
            count += len(rows)
    return count


def _in_json(value: Any, kind: Kind) -> Any:
    if kind == "time":
        return utc_text(value)
    return msgspec.Raw(value.encode()) if kind == "json" else value


def _in_csv(value: Any, kind: Kind) -> Any:
    if kind == "time":
        return utc_text(value)
    return msgspec.json.encode(value).decode() if kind == "texts" else value
