"""Records in Dask bags: from JSON lines and text, to JSON lines and dataframes; and people who do not exist."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import dask
import dask.bag
import pandas
from dask.base import tokenize
from dask.delayed import delayed

from ..chunk_size import resources
from ..errors import SettingsError
from ..files import Paths
from . import persons
from .lines import bad, numbered, pieces, records, write
from .tables import dtype, kinds, table

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
        Of what the lines say, in the order of the files. Empty lines are left out.

    Raises
    ------
    InputFileError
        Where there is no file; when computed, for a line that is no JSON.
    """
    if errors not in ("raise", "skip"):
        raise SettingsError("errors says what becomes of a bad line.", repr(errors), "errors='raise' or 'skip'")
    return _bag(records, pieces(paths), "read-json-lines", errors)


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
    """
    return _bag(bad, pieces(paths), "bad-json-lines")


def read_text(paths: Paths) -> Any:
    """Read records that say where they are from files of text.

    Parameters
    ----------
    paths : str, path, or list of them
        As in `read_json_lines`.

    Returns
    -------
    dask.bag.Bag
        Of mappings with ``path``, ``line`` (its number, from 1) and ``text`` (without the end of the line).
    """
    return _bag(numbered, pieces(paths), "read-text")


def write_json_lines(bag: Any, folder: str | os.PathLike[str]) -> list[str]:
    """Write each partition of a bag to a file of JSON lines; this computes it.

    Parameters
    ----------
    bag : dask.bag.Bag
        Of what JSON can say.
    folder : path
        It is made if it is not there; files ``0000.jsonl`` and so on in it are replaced.

    Returns
    -------
    list of str
        The files. Each is written under another name and then renamed: no half a file is ever there.
    """
    where = Path(folder).expanduser().absolute()
    where.mkdir(parents=True, exist_ok=True)
    digits = max(4, len(str(bag.npartitions - 1)))
    targets = [str(where / f"{number:0{digits}}.jsonl") for number in range(bag.npartitions)]
    others = {str(path) for path in where.glob("*.jsonl")} - set(targets)
    if others:
        raise SettingsError(
            f"{where} has other JSON lines, which would be read together with these.",
            ", ".join(sorted(os.path.basename(path) for path in others)[:3]),
            f"an empty folder, or rm {where}/*.jsonl",
        )
    save = delayed(write, pure=False)
    return list(dask.compute(*(save(part, path) for part, path in zip(bag.to_delayed(), targets, strict=True))))


def to_frame(bag: Any, columns: Iterable[str] | None = None) -> Any:
    """A bag of mappings as a dataframe, its types settled over all records.

    Parameters
    ----------
    bag : dask.bag.Bag
        Of mappings. It is computed once for the types, and once more with the frame; persist it if that takes long.
    columns : list of str, optional
        The columns; by default all keys, in the order in which they appear.

    Returns
    -------
    dask.dataframe.DataFrame
        A key that a record lacks is a missing value. Whole numbers with gaps are ``float64``; true, false and gaps
        ``boolean``; lists, mappings, and values of several kinds ``object``.
    """
    import dask.dataframe

    wanted = None if columns is None else list(columns)
    found = dask.compute(*(delayed(kinds, pure=False)(part, wanted) for part in bag.to_delayed()))
    names = wanted or list(dict.fromkeys(name for one in found for name in one))
    dtypes = {name: dtype([one.get(name, {"missing"}) for one in found if one]) for name in names}
    meta = pandas.DataFrame({name: pandas.Series(dtype=dtype) for name, dtype in dtypes.items()})
    parts = [delayed(table, pure=True)(part, dtypes) for part in bag.to_delayed()]
    with dask.config.set({"dataframe.convert-string": False}):
        return dask.dataframe.from_delayed(parts, meta=meta, verify_meta=False)


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
    """
    count = max(1, min(n, partitions or resources().threads))
    edges = [n * i // count for i in range(count + 1)]
    return _bag(persons.people, [(edges[i], edges[i + 1]) for i in range(count)], "people", seed)


def _bag(function: Any, pieces: Iterable[Any], label: str, *rest: Any) -> Any:
    """A bag with a partition for each piece."""
    given = list(pieces)
    name = f"{label}-{tokenize(given, *rest)}"
    return dask.bag.Bag({(name, i): (function, piece, *rest) for i, piece in enumerate(given)}, name, len(given))
