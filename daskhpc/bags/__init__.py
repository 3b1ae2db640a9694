"""Records in Dask bags: from JSON lines and text, to JSON lines and dataframes; and people who do not exist."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dask
import dask.bag
import pandas
from dask.delayed import delayed

from .. import files
from ..atomic import replacing
from ..chunk_size import resources
from ..errors import InputFileError, SettingsError
from ..files import Paths
from ..frames.column_types import types_as_they_are
from ..frames.json_lines import line_number, lines_of, values_of
from ..frames.partitions import text_block_bytes
from ..frames.record_types import RecordTypes, checked_demands, empty_table, settled_types, table, types_of
from ..frames.text_blocks import TextBlock, blocks_of_lines
from ..text import shortened
from .people import person

__all__ = ["bad_lines", "people", "read_json_lines", "read_text", "to_frame", "write_json_lines"]


def read_json_lines(paths: Paths, errors: str = "raise") -> Any:
    """Read records from files with JSON in each line.

    Parameters
    ----------
    paths : str, path, or list of them
        Files or patterns such as ``data/*.jsonl``; compressed ones by their names.
    errors : str
        ``"raise"``: a line that is no JSON ends the computation, with the file and the line named. ``"skip"``: such
        lines are left out; `bad_lines` has them.

    Returns
    -------
    dask.bag.Bag
        Of the lines' values, in the order of the files. Empty lines are left out.

    Raises
    ------
    InputFileError
        If there is no file; when computed, for a line that is no JSON.
    SettingsError
        For another value of `errors`.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("a.jsonl").write_text('{"n": 1}\\n{"n": 2}\\nn=3\\n')
    >>> read_json_lines("a.jsonl", errors="skip").pluck("n").sum().compute(scheduler="synchronous")
    3
    """
    if errors not in ("raise", "skip"):
        raise SettingsError("errors says what becomes of a bad line.", repr(errors), "errors='raise' or 'skip'")
    return _blocks(paths).map_partitions(_values, errors)


def bad_lines(paths: Paths) -> Any:
    """The lines of files that are no JSON.

    Parameters
    ----------
    paths : str, path, or list of them
        As in `read_json_lines`.

    Returns
    -------
    dask.bag.Bag
        Of mappings with ``path``, ``line``, ``error`` and ``text``; ``bad_lines(paths).count().compute()`` counts them.

    Raises
    ------
    InputFileError
        If there is no file.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("a.jsonl").write_text('{"n": 1}\\nn=3\\n')
    >>> [(bad["line"], bad["text"]) for bad in bad_lines("a.jsonl").compute(scheduler="synchronous")]
    [(2, 'n=3')]
    """
    return _blocks(paths).map_partitions(_bad_lines)


def read_text(paths: Paths) -> Any:
    """Read the lines of text files, each with its file and number.

    Parameters
    ----------
    paths : str, path, or list of them
        As in `read_json_lines`.

    Returns
    -------
    dask.bag.Bag
        Of mappings with ``path``, ``line`` (its number, from 1) and ``text`` (without the end of the line).

    Raises
    ------
    InputFileError
        If there is no file; when computed, for a line that is not UTF-8.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("run.log").write_text("started\\nERROR: disk full\\n")
    >>> lines = read_text("run.log").filter(lambda line: "ERROR" in line["text"])
    >>> lines.pluck("line").compute(scheduler="synchronous")
    [2]
    """
    return _blocks(paths).map_partitions(_text_lines)


def write_json_lines(bag: Any, folder: str | os.PathLike[str]) -> list[str]:
    """Write each partition of a bag to a file of JSON lines; this computes it.

    Parameters
    ----------
    bag : dask.bag.Bag
        Of values that JSON has.
    folder : path
        It is made if it is not there; files ``0000.jsonl`` and so on in it are replaced.

    Returns
    -------
    list of str
        The files. They get their names when all of them are complete: after an error the folder is as it was, and the
        files that a bag reads can be replaced by what is made of it.

    Raises
    ------
    SettingsError
        If the folder has other files of JSON lines.

    Examples
    --------
    >>> [os.path.basename(path) for path in write_json_lines(people(4, partitions=2), "out")]
    ['0000.jsonl', '0001.jsonl']
    """
    target = Path(folder).expanduser().absolute()
    target.mkdir(parents=True, exist_ok=True)
    digits = max(4, len(str(bag.npartitions - 1)))
    paths = [str(target / f"{number:0{digits}}.jsonl") for number in range(bag.npartitions)]
    others = {str(path) for path in target.glob("*.jsonl")} - set(paths)
    if others:
        raise SettingsError(
            f"{target} has other JSON lines, which would be read together with these.",
            ", ".join(sorted(os.path.basename(path) for path in others)[:3]),
            f"an empty folder, or rm {target}/*.jsonl",
        )
    save = delayed(_write, pure=False)
    with TemporaryDirectory(dir=target, prefix=".", suffix=".tmp", ignore_cleanup_errors=True) as drafts:
        written = [os.path.join(drafts, os.path.basename(path)) for path in paths]
        dask.compute(*(save(part, path) for part, path in zip(bag.to_delayed(), written, strict=True)))
        for draft, path in zip(written, paths, strict=True):
            os.replace(draft, path)
    return paths


def to_frame(bag: Any, columns: Iterable[str] | None = None, dtype: Mapping[str, Any] | None = None) -> Any:
    """A bag of mappings as a dataframe, its types settled over all records by the rule of `frames.read_json_lines`.

    Parameters
    ----------
    bag : dask.bag.Bag
        Of mappings. It is computed once for the types, and once more with the frame; persist it if that takes long.
    columns : list of str, optional
        The columns; by default all keys, in the order in which they appear.
    dtype : dict, optional
        ``"str"`` or ``"object"`` for columns whose values are of several kinds.

    Returns
    -------
    dask.dataframe.DataFrame
        A key that a record lacks is a missing value, as NaN is. Whole numbers with gaps are ``float64``, or ``Int64``
        if that would change one of them; true, false and gaps ``boolean``; lists, mappings and others ``object``.

    Raises
    ------
    InputFileError
        If a record is no mapping, or a column has values of several kinds that no type holds. Names partition, record
        and column.
    SettingsError
        For another dtype, or columns that are no list.

    Examples
    --------
    >>> import dask.bag
    >>> bag = dask.bag.from_sequence([{"n": 1, "name": "Ada"}, {"n": 2.5}], npartitions=2)
    >>> to_frame(bag).compute().reset_index(drop=True)
         n  name
    0  1.0   Ada
    1  2.5  <NA>
    """
    import dask.dataframe

    if isinstance(columns, str):
        raise SettingsError("columns= of a frame is a list.", repr(columns), f"columns=[{columns!r}]")
    demands = checked_demands(dtype)
    wanted = None if columns is None else list(columns)
    found = dask.compute(*(delayed(_partition_types, pure=False)(part, wanted) for part in bag.to_delayed()))
    dtypes = settled_types(found, demands, lambda part, record: f"record {record} of partition {part}")
    if wanted is not None:
        dtypes = {name: dtypes.get(name, "float64") for name in wanted}
    parts = [delayed(_table, pure=True)(part, dtypes) for part in bag.to_delayed()]
    with types_as_they_are():
        return dask.dataframe.from_delayed(parts, meta=empty_table(dtypes), verify_meta=False)


def people(n: int, partitions: int | None = None, seed: int = 0) -> Any:
    """Records of people who do not exist, to try things with; nothing is downloaded.

    Parameters
    ----------
    n : int
        How many.
    partitions : int, optional
        By default one per thread of the cluster.
    seed : int
        The same people for the same seed, however many partitions there are.

    Returns
    -------
    dask.bag.Bag
        Of mappings with ``name`` (first and last), ``age``, ``occupation``, ``telephone``, ``address`` (``address`` and
        ``city``) and ``credit-card`` (``number`` and ``expiration-date``). The cards are of no bank, the telephones of
        no one.

    Examples
    --------
    >>> people(1000, partitions=4).pluck("age").max().compute(scheduler="synchronous")
    90
    """
    count = max(1, min(n, partitions or resources().threads))
    numbers = [range(n * i // count, n * (i + 1) // count) for i in range(count)]
    return dask.bag.from_sequence(numbers, partition_size=1).map_partitions(_people, seed)


def _people(ranges: Iterable[range], seed: int) -> list[dict[str, Any]]:
    return [person(number, seed) for numbers in ranges for number in numbers]


def _blocks(paths: Paths) -> Any:
    """A bag with a partition for each block of the files."""
    names = files.matching(paths, "data/*.jsonl")
    return dask.bag.from_sequence(blocks_of_lines(names, text_block_bytes("auto", names)), partition_size=1)


def _values(blocks: Iterable[TextBlock], errors: str) -> list[Any]:
    values = []
    for block in blocks:
        for number, line, value, error in values_of(block):
            if not error:
                values.append(value)
            elif errors == "raise":
                raise InputFileError(
                    f"{block.path}:{line_number(block, number)} is no JSON: {error}.",
                    repr(shortened(line.decode(errors="replace"), 60)),
                    "mend that line, or errors='skip'",
                )
    return values


def _bad_lines(blocks: Iterable[TextBlock]) -> list[dict[str, Any]]:
    return [
        {
            "path": block.path,
            "line": line_number(block, number),
            "error": error,
            "text": line.decode(errors="replace"),
        }
        for block in blocks
        for number, line, _, error in values_of(block)
        if error
    ]


def _text_lines(blocks: Iterable[TextBlock]) -> list[dict[str, Any]]:
    lines = []
    for block in blocks:
        first = block.first_line()
        for number, line in lines_of(block):
            try:
                text = line.decode()
            except UnicodeDecodeError as error:
                place, todo = f"{block.path}:{first - 1 + number}", "iconv -f latin1 -t utf-8 FILE"
                raise InputFileError(f"{place} is not UTF-8.", str(error), todo) from None
            lines.append({"path": block.path, "line": first - 1 + number, "text": text})
    return lines


def _write(records: Iterable[Any], path: str) -> None:
    # Half of a pair of surrogates, as texts that were cut off have it, becomes the escape that JSON has for it.
    with replacing(path) as draft, open(draft, "w", encoding="utf-8", errors="backslashreplace") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _partition_types(records: Iterable[Any], columns: Sequence[str] | None) -> RecordTypes:
    return types_of(_mappings(records), columns)


def _mappings(records: Iterable[Any]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, record in enumerate(records, 1):
        if not isinstance(record, Mapping):
            raise InputFileError(
                "Only mappings can be rows of a dataframe.", repr(record)[:60], "bag.map(lambda x: {'value': x})"
            )
        yield number, record


def _table(records: Iterable[Mapping[str, Any]], dtypes: Mapping[str, Any]) -> pandas.DataFrame:
    return table(list(records), dtypes)
