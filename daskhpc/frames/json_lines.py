"""JSON lines as a Dask dataframe whose column types are settled over all files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dask
import dask.dataframe
import pandas
from dask.delayed import delayed

from .. import files
from ..errors import InputFileError, SettingsError
from ..files import Paths
from .csv_files import blocksize_for
from .parsing import TEXT, types_as_they_are
from .places import short
from .sources import Block, blocks, compression_of, packed

NUMBERS = {"whole numbers", "numbers"}
GAP = "missing"


@dataclass(frozen=True, slots=True)
class Found:
    """What a block holds: for each column and each kind of value in it, the first line and its value."""

    columns: Mapping[str, Mapping[str, tuple[int, str]]]
    rows: int


def read_json_lines(
    paths: Paths, *, blocksize: int | str | None = "auto", dtype: Mapping[str, Any] | None = None
) -> Any:
    """Read JSON lines, a record in each line, the column types settled over all files before anything else is done.

    Parameters
    ----------
    paths : str, path, or list of them
        Files or patterns; compressed ones by their names.
    blocksize : int, str or None
        As in `read_csv`.
    dtype : dict, optional
        ``"str"`` or ``"object"`` for columns whose values are of several kinds.

    Returns
    -------
    dask.dataframe.DataFrame
        The columns of all records, in the order in which they appear; a key that a record lacks is a missing value.
        Whole numbers with gaps are ``float64``, lists and mappings ``object``.

    Raises
    ------
    InputFileError
        Before anything is computed: where a line is no JSON mapping, or a column has values that no type holds. Names
        file, line and column.
    """
    dtype = dict(dtype or {})
    for column, wanted in dtype.items():
        if wanted not in (str, object, "str", "object"):
            raise SettingsError(
                "JSON says what its values are.", f"dtype={{{column!r}: {wanted!r}}}", "frame.astype(...) afterwards"
            )
    names = files.found(paths, "data/*.jsonl")
    size = blocksize_for(blocksize, names)
    cut: list[Block] = []
    for name in names:
        packing = compression_of(name, "infer")
        cut += blocks(name, size or (1 << 62), whole=bool(packing), compression=packing)
    packs = packed(cut, size or 0)
    found = [one for part in dask.compute(*(delayed(_found_in, pure=False)(pack) for pack in packs)) for one in part]
    for one in found:
        if isinstance(one, InputFileError):
            raise one
    meta = pandas.DataFrame({c: pandas.Series(dtype=d) for c, d in _dtypes(cut, found, dtype).items()})
    texts = [column for column, wanted in dtype.items() if wanted in (str, "str")]
    with types_as_they_are():
        return dask.dataframe.from_map(
            _partition, packs, dtypes=dict(meta.dtypes), texts=texts, meta=meta, label="read-json-lines"
        )


def _records(block: Block) -> list[tuple[int, dict[str, Any]]]:
    """The records of a block and their lines within it."""
    records = []
    for number, line in enumerate(block.content().split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            if not isinstance(record, dict):
                raise ValueError("no mapping of names to values")
        except ValueError as error:
            raise InputFileError(
                f"{block.path}:{block.first_line() - 1 + number} is no record: {error}.",
                short(line.decode(errors="replace")),
                "mend that line; bags.read_json_lines(..., errors='skip') leaves such lines out",
            ) from None
        records.append((number, record))
    return records


def _found_in(pack: Sequence[Block]) -> list[Found | InputFileError]:
    found: list[Found | InputFileError] = []
    for block in pack:
        try:
            found.append(_found(_records(block)))
        except InputFileError as error:
            found.append(error)
    return found


def _found(records: Sequence[tuple[int, dict[str, Any]]]) -> Found:
    columns: dict[str, dict[str, tuple[int, str]]] = {}
    present: dict[str, int] = {}
    for line, record in records:
        for name, value in record.items():
            kinds = columns.setdefault(name, {})
            kind = _kind(value)
            if kind not in kinds:
                kinds[kind] = line, repr(value)
            present[name] = present.get(name, 0) + 1
    for name, kinds in columns.items():
        if present[name] < len(records) and GAP not in kinds:
            kinds[GAP] = next(line for line, record in records if name not in record), ""
    return Found(columns, len(records))


def _kind(value: Any) -> str:
    if value is None:
        return GAP
    if isinstance(value, bool):
        return "true and false"
    if isinstance(value, int):
        return "whole numbers" if -(2**63) <= value < 2**63 else "whole numbers beyond 64 bits"
    if isinstance(value, float):
        return "numbers"
    return "text" if isinstance(value, str) else "lists and mappings"


def _dtypes(cut: Sequence[Block], found: Sequence[Found], given: Mapping[str, Any]) -> dict[str, Any]:
    """The dtype of each column over all blocks."""
    names = list(dict.fromkeys(name for one in found for name in one.columns))
    return {
        name: TEXT if given.get(name) in (str, "str") else given.get(name) or _dtype(name, cut, found) for name in names
    }


def _dtype(name: str, cut: Sequence[Block], found: Sequence[Found]) -> Any:
    kinds: dict[str, tuple[Block, int, str]] = {}
    gaps = False
    for block, one in zip(cut, found, strict=True):
        here = one.columns.get(name, {})
        gaps = gaps or GAP in here or (not here and one.rows > 0)
        for kind in here:
            if kind != GAP:
                kinds.setdefault(kind, (block, *here[kind]))
    held = set(kinds)
    if held == {"text"}:
        return TEXT
    if held == {"lists and mappings"}:
        return object
    if held == {"true and false"}:
        return "boolean" if gaps else "bool"
    if held <= NUMBERS:
        return "int64" if held == {"whole numbers"} and not gaps else "float64"
    if len(held) == 1:
        raise _irreconcilable(name, list(kinds.items()), "no dtype of 64 bits holds it")
    raise _irreconcilable(name, list(kinds.items()), "no dtype holds both")


def _irreconcilable(name: str, kinds: Sequence[tuple[str, tuple[Block, int, str]]], why: str) -> InputFileError:
    places = [f"{b.path}:{b.first_line() - 1 + line} has {short(value)} ({kind})" for kind, (b, line, value) in kinds]
    return InputFileError(
        f"Column {name!r} cannot be reconciled: {places[-1]}.",
        "; ".join([*places[:-1], why]),
        f"dtype={{{name!r}: 'str'}} for text, or dtype={{{name!r}: 'object'}} for the values as they are",
    )


def _partition(
    pack: Sequence[Block], dtypes: Mapping[str, Any], texts: Sequence[str], columns: Sequence[str] | None = None
) -> pandas.DataFrame:
    records = [record for block in pack for _, record in _records(block)]
    wanted = list(dtypes) if columns is None else list(columns)
    return pandas.DataFrame({name: _series(records, name, dtypes[name], name in texts) for name in wanted})


def _series(records: Sequence[Mapping[str, Any]], name: str, dtype: Any, text: bool) -> pandas.Series:
    values = [record.get(name) for record in records]
    if text:
        values = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
    return pandas.Series(values, dtype=object).astype(dtype)
