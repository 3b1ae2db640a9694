"""A block of a CSV file, parsed by pandas; and the column names of a file."""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas
from pandas.api.types import is_integer_dtype, pandas_dtype

from ..errors import InputFileError
from .column_types import TEXT, ColumnContent, Kind, content_of, kind_of_value
from .csv_options import CsvOptions
from .text_blocks import TextBlock

_LINE_END = re.compile(rb"\r\n|\r|\n")


class LongRowsError(ValueError):
    """Rows have more values than there are columns."""


@dataclass(frozen=True, slots=True)
class CsvBlock:
    """A block of a CSV file with all that it takes to parse it.

    Parameters
    ----------
    block : TextBlock
        Its place in the file.
    data : bytes
        Its text.
    names : tuple
        All column names of its file, in their order.
    options : CsvOptions
        How the text is read.
    """

    block: TextBlock
    data: bytes
    names: tuple[Any, ...]
    options: CsvOptions

    def parsed(self, **more: Any) -> pandas.DataFrame:
        """What pandas.read_csv makes of it.

        Parameters
        ----------
        **more
            Further options of pandas.read_csv, such as ``dtype`` and ``usecols``.

        Raises
        ------
        LongRowsError
            If pandas would take the first column for an index.
        ValueError
            As pandas.read_csv.
        """
        begin = {"header": self.options.header, "skiprows": self.options.skiprows} if self.block.first else {}
        engine = {} if self.options.options.get("engine") == "python" else {"low_memory": False}
        options = {"header": None, **begin, "names": list(self.names), **engine, **self.options.options, **more}
        narrow = _narrow_integers(options.get("dtype"))
        if narrow:
            wide = {c: "int64" if isinstance(t, np.dtype) else "Int64" for c, t in narrow.items()}
            options["dtype"] = {**options["dtype"], **wide}
        try:
            frame = pandas.read_csv(io.BytesIO(self.data), **options)
        except pandas.errors.EmptyDataError:
            wanted = options.get("usecols") or list(self.names)
            frame = pandas.DataFrame({name: pandas.Series(dtype=object) for name in wanted})
        except pandas.errors.ParserError as error:
            if "usecols" not in more or not str(error).startswith("Too many columns specified"):
                raise
            # pandas fills up short rows, but not if all rows of the block are short and columns are chosen
            frame = self.parsed(**{name: more[name] for name in more if name != "usecols"})
            return frame[[name for name in self.names if name in more["usecols"]]]
        if not _has_plain_rows(frame) or self._has_index(frame, options):
            raise LongRowsError(f"{frame.index.nlevels + len(frame.columns)} values, {len(self.names)} columns")
        for column, dtype in narrow.items():
            if column in frame:
                frame[column] = _narrowed(frame[column], dtype)
        return frame

    def _has_index(self, frame: pandas.DataFrame, options: dict[str, Any]) -> bool:
        """Whether the row numbers of a frame are the file's first column, which happens to count 0, 1, 2, ...

        pandas 3 makes a RangeIndex of such a column. A name less makes one more column of the index.
        """
        if not len(frame) or len(self.names) < 2 or options.get("usecols") is not None:
            return False
        kept = {name: value for name, value in options.items() if name not in ("dtype", "na_values")}
        probe = pandas.read_csv(io.BytesIO(self.data), **{**kept, "names": list(self.names[:-1]), "nrows": 1})
        return bool(probe.index.nlevels > 1)

    def parsed_with_texts(self, texts: Collection[Any], **more: Any) -> pandas.DataFrame:
        """The same as `parsed`, with some columns as the texts that they are in the file.

        A column that pandas finds to be text by itself is parsed several times faster than one with ``dtype=str``. So
        only columns that pandas may have changed are parsed a second time.
        """
        frame = self.parsed(**more)
        for name in texts:
            if not _is_unchanged_text(frame[name]):
                frame[name] = self.parsed(dtype=str, usecols=[name])[name]
        return frame

    def column(self, name: Any, rows: int | None = None) -> ColumnContent:
        """What the first rows hold in a column, or all."""
        return self.content(self.parsed(usecols=[name], nrows=rows)[name], rows)

    def content(self, column: pandas.Series, rows: int | None = None) -> ColumnContent:
        """What a column of it holds, from what pandas.read_csv makes of its first rows, or of all."""
        thousands = self.options.options.get("thousands")

        def texts() -> pandas.Series:
            values = self.parsed(usecols=[column.name], nrows=rows, dtype=str)[column.name]
            return values if thousands is None else values.str.replace(thousands, "", regex=False)

        return content_of(column, texts)

    def integers(self, texts: pandas.Series, dtype: Any) -> pandas.Series:
        """The texts of a column as whole numbers with gaps, to the last digit.

        pandas.read_csv goes by way of float64 if one of the texts is as "1.0" is.

        Raises
        ------
        ValueError, TypeError, OverflowError
            If a text is no whole number, or the dtype does not hold it.
        """
        options = self.options.options
        if options.get("thousands"):
            texts = texts.str.replace(options["thousands"], "", regex=False)
        if options.get("decimal", ".") != ".":
            texts = texts.str.replace(options["decimal"], ".", regex=False)
        numbers = pandas.to_numeric(texts.astype(TEXT), dtype_backend="numpy_nullable")
        if numbers.dtype.kind not in "iu":
            exact = [pandas.NA if pandas.isna(text) else _exact(text) for text in texts]
            numbers = pandas.Series(exact, index=texts.index, dtype="UInt64" if dtype == "UInt64" else "Int64")
        return _narrowed(numbers, dtype)


def _exact(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        number = float(text)
        if not number.is_integer():
            raise
        return int(number)


def _has_plain_rows(frame: pandas.DataFrame) -> bool:
    index = frame.index
    return isinstance(index, pandas.RangeIndex) and (len(index) == 0 or (index.start, index.step) == (0, 1))


def _narrow_integers(dtypes: Any) -> dict[Any, Any]:
    """The columns of integers below 64 bits: pandas 2 cuts off too large numbers, without an error."""
    if not isinstance(dtypes, Mapping):
        return {}
    return {c: t for c, t in dtypes.items() if is_integer_dtype(t) and pandas_dtype(t).itemsize < 8}


def _narrowed(values: pandas.Series, dtype: Any) -> pandas.Series:
    limits = np.iinfo(getattr(dtype, "numpy_dtype", dtype))
    if values.notna().any() and not limits.min <= values.min() <= values.max() <= limits.max:
        raise OverflowError(f"{values.name!r} does not fit {dtype}")
    return values.astype(dtype)


def _is_unchanged_text(column: pandas.Series) -> bool:
    present = column.dropna()
    texts = isinstance(column.dtype, pandas.StringDtype) or pandas.api.types.infer_dtype(present) == "string"
    return texts and len(present) > 0 and kind_of_value(str(present.iloc[0])) is Kind.TEXT


def column_names(path: str, data: bytes, options: CsvOptions) -> tuple[Any, ...]:
    """The names of all columns of a file, as pandas.read_csv gives them.

    Raises
    ------
    InputFileError
        If there is no line of names.
    """
    if options.names is not None and options.names_of_chosen is None:
        return options.names
    rows = 0 if options.header is not None else 1
    try:
        frame = pandas.read_csv(
            io.BytesIO(data), header=options.header, skiprows=options.skiprows, nrows=rows, **options.options
        )
    except pandas.errors.EmptyDataError:
        raise InputFileError(
            f"{path} is empty: it has not even column names.",
            f"{len(data)} bytes",
            "remove the file if nothing should be in it; write it again if something should",
        ) from None
    if options.names_of_chosen is None:
        return tuple(frame.columns)
    return tuple(options.names_of_chosen.get(i, f"Unnamed: {i}") for i in range(len(frame.columns)))


def header_bytes(begin: bytes, options: CsvOptions) -> int:
    """The bytes of the lines up to that of the column names."""
    to_skip = options.lines_to_skip
    headers = 0 if options.header is None else options.header + 1
    end = 0
    while (to_skip or headers) and end < len(begin):
        match = _LINE_END.search(begin, end)
        start, end = end, len(begin) if match is None else match.end()
        if to_skip:
            to_skip -= 1
        elif begin[start:end].strip():
            headers -= 1
    return end
