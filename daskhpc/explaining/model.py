"""What is known of a lazy object and of the work behind it, as frozen values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..text import bytes_text


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes, and how well they are known.

    Parameters
    ----------
    value : int or None
        None if only computing can tell.
    exact : bool
        False for an estimate.
    """

    value: int | None = None
    exact: bool = False

    def __str__(self) -> str:
        if self.value is None:
            return "unknown until computed"
        text = bytes_text(self.value)
        return text if self.exact else f"about {text} (estimated)"


UNKNOWN = Size()


def total(sizes: Sequence[Size]) -> Size:
    """The sum: unknown if one is unknown, exact if all are."""
    values = [size.value for size in sizes]
    if any(value is None for value in values):
        return UNKNOWN
    return Size(sum(value or 0 for value in values), all(size.exact for size in sizes))


@dataclass(frozen=True, slots=True)
class Collection:
    """One lazy object.

    Parameters
    ----------
    kind : str
        ``"Dask array"``, ``"Dask dataframe"``, ``"xarray variable"`` and so on.
    name : str
        Of an xarray variable; empty otherwise.
    shape : tuple of (int or None)
        None for a length that only computing can tell.
    dtype : str
        Of an array or series; the columns' types of a dataframe.
    pieces : int
        Chunks or partitions.
    piece_shape : tuple of int
        Of the largest chunk of an array; empty if that is not known.
    nbytes, piece : Size
        Of all of it, and of its largest chunk or typical partition.
    objects : tuple of str
        Columns that hold Python objects.
    expression : Any
        The Dask object.
    """

    kind: str
    name: str
    shape: tuple[int | None, ...]
    dtype: str
    pieces: int
    piece_shape: tuple[int, ...]
    nbytes: Size
    piece: Size
    objects: tuple[str, ...]
    expression: Any


@dataclass(frozen=True, slots=True)
class Layer:
    """Tasks of one name.

    Parameters
    ----------
    name : str
        As on Dask's dashboard.
    tasks : int
    largest : Size
        Of what one of its tasks gives.
    """

    name: str
    tasks: int
    largest: Size


@dataclass(frozen=True, slots=True)
class Work:
    """What computing takes.

    Parameters
    ----------
    tasks : int
        That the scheduler will run.
    exact : bool
        False if Dask has to compute something before it knows the tasks.
    before : int
        Tasks that Dask runs first, to learn divisions; 0 for most work.
    in_memory : int
        Results on the workers that this work starts from.
    layers : tuple of Layer
        Most tasks first.
    largest : Layer or None
        The one with the largest piece.
    sources : Layer
        The tasks that need no others: how many, and the largest that they make.
    growth : int
        Tasks of rechunking for each chunk; 0 without one.
    shuffles : tuple of str
        What moves rows between partitions.
    reads : Size
        Bytes from files.
    embedded : int
        Bytes of data within the tasks themselves.
    work_memory : Size
        The memory that one worker process needs above what it takes when idle: a bound, estimated.
    result : Size
        Bytes that come to this process.
    """

    tasks: int
    exact: bool
    before: int
    in_memory: int
    layers: tuple[Layer, ...]
    largest: Layer | None
    sources: Layer
    growth: int
    shuffles: tuple[str, ...]
    reads: Size
    embedded: int
    work_memory: Size
    result: Size

    @property
    def peak_memory(self) -> Size:
        """The memory that one worker process needs, with the process itself."""
        value = self.work_memory.value
        return UNKNOWN if value is None else Size(value + IDLE_MEMORY, False)


IDLE_MEMORY = 200 * 2**20
"""Bytes of a worker process that has imported NumPy and pandas and holds nothing."""


@dataclass(frozen=True, slots=True)
class Advice:
    """Something unwise.

    Parameters
    ----------
    code : str
        Its short name, such as ``"small-chunks"``.
    says : str
        What is unwise, and why.
    todo : str
        The line to type instead.
    """

    code: str
    says: str
    todo: str


def known(length: float) -> int | None:
    """A length of a Dask array, None for its NaN."""
    return None if math.isnan(length) else int(length)
