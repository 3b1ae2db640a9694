"""Files of JSON lines: their records, and a Dask dataframe whose column types are settled over all files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dask.dataframe
import pandas

from .. import files
from ..errors import InputFileError
from ..files import Paths
from ..text import shortened
from .column_types import types_as_they_are
from .partitions import text_block_bytes
from .record_types import RecordTypes, checked_demands, empty_table, settled_types, table, types_of
from .text_blocks import TextBlock, blocks_of_lines, packed


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
        Whole numbers with gaps are ``float64``, or ``Int64`` if that would change one of them; lists and mappings
        ``object``.

    Raises
    ------
    InputFileError
        Before anything is computed: if a line is no JSON mapping, or a column has values that no type holds. Names
        file, line and column.
    SettingsError
        For another dtype.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("a.jsonl").write_text('{"n": 1, "name": "Ada"}\\n')
    >>> _ = Path("b.jsonl").write_text('{"n": 2.5}\\n')
    >>> read_json_lines("*.jsonl").compute().reset_index(drop=True)
         n  name
    0  1.0   Ada
    1  2.5  <NA>
    """
    demands = checked_demands(dtype)
    names = files.matching(paths, "data/*.jsonl")
    size = text_block_bytes(blocksize, names)
    blocks = blocks_of_lines(names, size)
    packs = packed(blocks, size)
    found = files.examined(_block_types, packs)
    dtypes = settled_types(found, demands, lambda part, line: f"{blocks[part].path}:{line_number(blocks[part], line)}")
    with types_as_they_are():
        return dask.dataframe.from_map(
            _partition, packs, dtypes=dtypes, meta=empty_table(dtypes), label="read-json-lines"
        )


def line_number(block: TextBlock, line: int) -> int:
    """The number in its file of a line of a block; both count from 1."""
    return block.first_line() - 1 + line


def lines_of(block: TextBlock) -> Iterator[tuple[int, bytes]]:
    """The lines of a block without their ends, with their numbers in it."""
    lines = block.content().split(b"\n")
    if not lines[-1]:  # after the last end of line there is no line
        lines.pop()
    for number, line in enumerate(lines, 1):
        yield number, line.removesuffix(b"\r")


def values_of(block: TextBlock) -> Iterator[tuple[int, bytes, Any, str]]:
    """The number, text and JSON value of each line that is not blank, and why it is no JSON, if so."""
    for number, line in lines_of(block):
        if line.strip():
            try:
                yield number, line, json.loads(line), ""
            except ValueError as error:
                yield number, line, None, str(error)


def _records(block: TextBlock) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line, value, error in values_of(block):
        if error or not isinstance(value, dict):
            raise InputFileError(
                f"{block.path}:{line_number(block, number)} is no record: {error or 'no mapping of names to values'}.",
                shortened(line.decode(errors="replace"), 60),
                "mend that line; bags.read_json_lines(..., errors='skip') leaves such lines out",
            )
        yield number, value


def _block_types(block: TextBlock) -> RecordTypes:
    return types_of(_records(block))


def _partition(
    pack: Sequence[TextBlock], dtypes: Mapping[str, Any], columns: Sequence[str] | None = None
) -> pandas.DataFrame:
    records = [record for block in pack for _, record in _records(block)]
    return table(records, dtypes if columns is None else {name: dtypes[name] for name in columns})
