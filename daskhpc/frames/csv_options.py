"""The options of pandas.read_csv that a set of files can be read with."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import pandas

from ..errors import SettingsError

INSTEAD = {
    "index_col": "read_csv(...).set_index(column)",
    "nrows": "read_csv(...).head(n), or sample=N to look at N rows of each file for the types",
    "chunksize": "read_csv(...).partitions[i]",
    "iterator": "read_csv(...).partitions[i]",
    "skipfooter": "read_csv(...) and then a selection of rows",
    "converters": "dtype={column: 'str'}, then frame[column].map(...)",
    "dialect": "sep=, quotechar=, escapechar=, doublequote=",
    "dtype_backend": "dtype={column: 'Int64'} for each column that wants another type",
    "storage_options": "dask.dataframe.read_csv for files that are not on a file system of the cluster",
}
"""Options that make no sense for files in blocks, and what to type instead."""

# fmt: off
CUT_AT_NEWLINES = frozenset({
    "cache_dates", "date_format", "dayfirst", "decimal", "delimiter", "doublequote", "encoding", "encoding_errors",
    "engine", "false_values", "float_precision", "keep_default_na", "na_filter", "na_values", "quotechar", "quoting",
    "sep", "skip_blank_lines", "skipinitialspace", "thousands", "true_values",
})
# fmt: on
"""Options under which a record ends with a line, unless the end of the line is quoted."""

ASCII_LIKE = ("utf-8", "utf8", "utf-8-sig", "ascii", "latin-1", "latin1", "iso-8859-1", "iso-8859-15", "cp1252")


@dataclass(frozen=True, slots=True)
class CsvOptions:
    """How the text of the files is read.

    Parameters
    ----------
    header : int or None
        The line of the column names after `skiprows`; None: there is none.
    names : tuple of str or None
        Column names that the user gives.
    skiprows : int, list or callable
        As in pandas.
    usecols : list or callable or None
        As in pandas.
    compression : str or None
        ``infer``, or one of gzip, bz2, xz.
    options : dict
        All other options, as pandas takes them.
    """

    header: int | None
    names: tuple[Any, ...] | None
    skiprows: int | Sequence[int] | Callable[[int], bool]
    usecols: Any
    compression: str | None
    options: Mapping[str, Any]

    @property
    def separator(self) -> str | None:
        """The character between values; None: pandas finds it out, or it is a regular expression."""
        sep = self.options.get("sep", self.options.get("delimiter", ","))
        return sep if isinstance(sep, str) and len(sep) == 1 else None

    @property
    def quote(self) -> str | None:
        """The quote character, if there is one."""
        return None if self.options.get("quoting", 0) == 3 else self.options.get("quotechar", '"')

    @property
    def names_of_chosen(self) -> dict[int, Any] | None:
        """The given names by the number of their column, if there are as many as chosen columns: as in pandas."""
        if self.names is None or self.usecols is None or callable(self.usecols):
            return None
        chosen = list(self.usecols)
        if len(chosen) != len(self.names):
            return None
        numbers = all(isinstance(name, Integral) for name in chosen)
        return dict(zip(sorted(chosen) if numbers else range(len(chosen)), self.names, strict=True))

    @property
    def can_cut(self) -> bool:
        """Whether a file can be read in blocks."""
        return (
            isinstance(self.skiprows, int)
            and self.separator is not None
            and set(self.options) <= CUT_AT_NEWLINES
            and self.encoding.lower().replace("_", "-") in ASCII_LIKE
        )

    @property
    def encoding(self) -> str:
        """The encoding of the text."""
        return str(self.options.get("encoding") or "utf-8")

    @property
    def lines_to_skip(self) -> int:
        """Lines before the header; 0 if they are not the first ones."""
        return self.skiprows if isinstance(self.skiprows, int) else 0


def checked_options(options: Mapping[str, Any]) -> CsvOptions:
    """The options of a call, checked.

    Raises
    ------
    SettingsError
        For one that pandas does not have, or that makes no sense for a set of files.
    """
    known = set(inspect.signature(pandas.read_csv).parameters)
    for name, value in options.items():
        if name not in known:
            raise SettingsError(f"read_csv has no option {name!r}.", f"{name}={value!r}", "help(pandas.read_csv)")
        if name in INSTEAD and value is not _default(name):
            raise SettingsError(f"read_csv of a set of files has no {name}=.", f"{name}={value!r}", INSTEAD[name])
    if options.get("engine") not in (None, "c", "python", "python-fwf"):
        raise SettingsError("read_csv reads with pandas' own engines.", f"engine={options['engine']!r}", "engine='c'")
    names = options.get("names")
    header = options.get("header", "infer")
    if header == "infer":
        header = 0 if names is None else None
    if header is not None and (isinstance(header, bool) or not isinstance(header, int)):
        raise SettingsError("A set of files has one line of column names, or none.", f"header={header!r}", "header=0")
    compression = options.get("compression", "infer")
    rest = {n: v for n, v in options.items() if n not in INSTEAD and n not in _APART and v is not _default(n)}
    return CsvOptions(
        header=header,
        names=None if names is None else tuple(names),
        skiprows=0 if options.get("skiprows") is None else options["skiprows"],
        usecols=options.get("usecols"),
        compression=compression.get("method") if isinstance(compression, Mapping) else compression,
        options=rest,
    )


_APART = ("header", "names", "skiprows", "usecols", "compression", "low_memory", "memory_map")


def _default(name: str) -> Any:
    return inspect.signature(pandas.read_csv).parameters[name].default
