"""Bytes of what every task gives, of the largest piece that it makes meanwhile, and of what it reads."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..compat.dask import FileBlock, TaskStep, task_steps
from ..compat.dask_expr import is_dataframe
from .graph import Graph, collection_name, key_name

LEAST_DATA = 1000
"""Bytes of an object within a task below which it counts as a number or a name, not as data."""

PARTS_OF_FILES = ("TextBlock", "ParquetPart")
"""What daskhpc's own readers give to their tasks; these know their bytes."""

MERSENNE_STATE = (624,)
"""The shape of the state of NumPy's older generator, which Dask gives to each chunk."""

_FUSED_INDEX = re.compile(r"_\.(\d+)(?=_\.|$)")


@dataclass(frozen=True, slots=True)
class ArrayChunks:
    """The chunks of a Dask array.

    Parameters
    ----------
    chunks : tuple of tuples of int
        Dask's own; NaN for a length that is not known.
    itemsize : int
    exact : bool
        False for Python objects.
    """

    chunks: tuple[tuple[float, ...], ...]
    itemsize: int
    exact: bool

    @property
    def nbytes(self) -> float:
        """Of all chunks; 0 if that is not known."""
        whole = math.prod(sum(sizes) for sizes in self.chunks) * self.itemsize
        return 0.0 if math.isnan(whole) else whole

    @property
    def largest(self) -> tuple[float, ...]:
        """The shape of the largest chunk."""
        return tuple(max(sizes, default=0) for sizes in self.chunks)

    def bytes_at(self, index: tuple[Any, ...], reduced: tuple[int, ...]) -> float | None:
        """Bytes of one chunk, whose `reduced` axes have length 1; None if its shape is not known."""
        if len(index) != len(self.chunks):
            return None
        axes = {axis % len(index) for axis in reduced}
        lengths = [
            1 if axis in axes else sizes[i] if isinstance(i, int) and i < len(sizes) else math.nan
            for axis, (sizes, i) in enumerate(zip(self.chunks, index, strict=True))
        ]
        whole = math.prod(lengths) * self.itemsize
        return None if math.isnan(whole) else float(whole)


@dataclass(frozen=True, slots=True)
class TaskSize:
    """Bytes of a task.

    Parameters
    ----------
    nbytes : float or None
        Of what it gives; None if nothing is known.
    exact : bool
        Whether that is counted, not estimated.
    piece : float or None
        Of the largest piece that it makes: what it gives, or gives on to a later step of the same task.
    piece_exact : bool
    reads : float
        Of the parts of files that it reads.
    in_file : bool
        Whether it gives a file, or an array in one, of which nothing is read yet.
    """

    nbytes: float | None
    exact: bool = False
    piece: float | None = None
    piece_exact: bool = False
    reads: float = 0.0
    in_file: bool = False


UNKNOWN_SIZE = TaskSize(None)


class TaskSizes:
    """The sizes of all tasks of a graph.

    Parameters
    ----------
    graph : Graph
    arrays : mapping of str to ArrayChunks
        By the names of arrays.
    partitions : mapping of str to float
        Bytes of a partition by the names of dataframes.

    Attributes
    ----------
    tasks : dict of key to TaskSize
    embedded : float
        Bytes of data within the tasks; each object counts once.

    Notes
    -----
    The key of a task, and of each step that Dask fused into it, names a collection: a chunk has the bytes that Dask
    records of the array, a partition those of the dataframe. The result is as large as all that it is put together
    from. Anything else is taken to be as large as the largest of what it takes, and is unknown if that is.
    """

    def __init__(self, graph: Graph, arrays: Mapping[str, ArrayChunks], partitions: Mapping[str, float]) -> None:
        self.embedded = 0.0
        self._arrays, self._partitions = arrays, partitions
        self._counted: set[int] = set()
        self._files: dict[str, float | None] = {}
        self.tasks = {key: TaskSize(float(n), True, float(n), True) for key, n in graph.held.items()}
        for key, node in graph.tasks.items():
            self.tasks[key] = self._task(key, task_steps(key, node))

    def _task(self, key: Any, steps: Iterable[TaskStep]) -> TaskSize:
        made: dict[Any, TaskSize] = {}
        size = UNKNOWN_SIZE
        for step in steps:
            inputs = [made.get(needed) or self.tasks.get(needed, UNKNOWN_SIZE) for needed in step.needs]
            size = made[step.key] = self._step(step, inputs, key[1:] if isinstance(key, tuple) else ())
        pieces = [each for each in made.values() if each.nbytes is not None and not each.in_file]
        piece = max(pieces, key=lambda each: each.nbytes or 0.0, default=UNKNOWN_SIZE)
        reads = sum(each.reads for each in made.values())
        return replace(size, piece=piece.nbytes, piece_exact=piece.exact, reads=reads)

    def _step(self, step: TaskStep, inputs: list[TaskSize], outer: tuple[Any, ...]) -> TaskSize:
        from dask.sizeof import sizeof

        if step.kind == "alias":
            return replace(inputs[0], reads=0.0) if inputs else UNKNOWN_SIZE
        if is_store(step.key):
            return TaskSize(0.0, True)
        data = [size for value in step.data if (size := self._data(value)) is not None]
        if step.kind == "data":
            return data[0] if data else TaskSize(float(sum(map(sizeof, step.data))), True)
        nbytes, exact = self._recorded(step, outer)
        in_memory = [size.nbytes for size in (*inputs, *data) if not size.in_file]
        files = [size.nbytes for size in (*inputs, *data) if size.in_file]
        if nbytes is None and None not in in_memory and (in_memory or any(files)):
            together = sum if key_name(step.key).startswith("finalize") else max
            nbytes = together(float(size or 0) for size in in_memory or files)
        return TaskSize(nbytes, exact, reads=sum(size or nbytes or 0.0 for size in files))

    def _recorded(self, step: TaskStep, outer: tuple[Any, ...]) -> tuple[float | None, bool]:
        """The bytes of a chunk or partition, and whether they are exact; None for what is neither."""
        name, index = block_of(step.key, outer)
        if any(isinstance(each, float) for each in index):
            return 0.0, False  # Dask's index of a chunk's edge, which its neighbour takes: thin beside the chunk
        array = self._arrays.get(name)
        if array is not None and (nbytes := array.bytes_at(index, step.reduced)) is not None:
            return nbytes, array.exact and not step.reduced
        return self._partitions.get(name), False

    def _data(self, value: Any) -> TaskSize | None:
        """The size of an object that stands in a task; None for a number, a text or a function."""
        if isinstance(value, str | int | float | bool | type | slice) or value is None or callable(value):
            return None
        blocks = value if isinstance(value, list | tuple) else [value]
        if blocks and all(type(block).__name__ in PARTS_OF_FILES for block in blocks):
            return TaskSize(float(sum(block.nbytes for block in blocks)), in_file=True)
        if _is_seed(value):
            return None
        block = None
        if isinstance(value, FileBlock):
            value, block = value
        if type(value).__name__ == "OpenFile":
            if block is not None:
                return TaskSize(float(block), in_file=True)
            if value.path not in self._files:
                self._files[value.path] = file_size(value)
            return TaskSize(self._files[value.path], in_file=True)
        if is_array_in_file(value):
            return TaskSize(0.0, in_file=True) if getattr(value, "from_files", True) else None
        if getattr(value, "shape", None) == ():
            return None
        from dask.sizeof import sizeof

        is_array = hasattr(value, "dtype") and hasattr(value, "shape") and hasattr(value, "nbytes")
        nbytes = float(value.nbytes if is_array and isinstance(value.nbytes, int) else sizeof(value))
        if nbytes < LEAST_DATA and not is_array:
            return None
        if id(value) not in self._counted:
            self._counted.add(id(value))
            self.embedded += nbytes
        return TaskSize(nbytes, True)


def is_store(key: Any) -> bool:
    """Whether a task writes a chunk of an array, as in ``x.to_zarr(path, compute=False)``, and gives nothing back."""
    return isinstance(key, str | tuple) and key_name(key) == "store-map"


def _is_seed(value: Any) -> bool:
    """Whether an object is what a chunk of random numbers starts from; no user would read that from a file instead."""
    if type(value).__module__.startswith("numpy.random"):
        return True
    return getattr(value, "shape", None) == MERSENNE_STATE and str(value.dtype) == "uint32"


def block_of(key: Any, outer: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    """The collection and the block of a key; within a fused task, whose block is `outer`, keys end in ``_.0_.1``."""
    if isinstance(key, tuple):
        return collection_name(key), key[1:]
    axes = [int(axis) for axis in _FUSED_INDEX.findall(str(key))]
    name = _FUSED_INDEX.sub("", str(key))
    if not axes:
        return name, outer
    return name, tuple(outer[axis] if axis < len(outer) else None for axis in axes)


def is_array_in_file(value: Any) -> bool:
    """Whether an array-like has its data elsewhere than in memory; xarray's wrappers are looked into."""
    if not (hasattr(value, "shape") and hasattr(value, "dtype")):
        return False
    for _ in range(10):
        if type(value).__module__.partition(".")[0] in ("numpy", "pandas", "scipy", "cupy"):
            return False
        inner = getattr(value, "array", None)
        if inner is None:
            return True
        value = inner
    return True


def file_size(file: Any) -> float | None:
    """Bytes of an fsspec file; None if its file system does not say."""
    try:
        size = file.fs.info(file.path).get("size")
    except (OSError, NotImplementedError):
        return None
    return None if size is None else float(size)


def chunks_of(collections: Iterable[Any]) -> dict[str, ArrayChunks]:
    """The chunks of every array that the collections are made of, by its name."""
    found = {}
    for collection in collections:
        graph = None if is_dataframe(collection) else collection.__dask_graph__()
        for name, layer in getattr(graph, "layers", {}).items():
            recorded = layer.collection_annotations or {}
            dtype = recorded.get("dtype")
            if "chunks" in recorded and dtype is not None and dtype.itemsize:
                found[name] = ArrayChunks(recorded["chunks"], dtype.itemsize, dtype.kind != "O")
    return found
