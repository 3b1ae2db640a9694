"""Bytes of every task's result, of what it holds while it runs, and of what it reads."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .graph import Graph, collection_name
from .guess import NOTHING, SMALL, UNKNOWN, Guess, array, joined, made

_WITHIN = re.compile(r"_\.(\d+)(?=_\.|$)")


@dataclass(frozen=True, slots=True)
class Blocks:
    """The chunks of a Dask array.

    Parameters
    ----------
    chunks : tuple of tuples of int
        Dask's own; NaN where a length is not known.
    itemsize : int
    exact : bool
        False for Python objects.
    """

    chunks: tuple[tuple[float, ...], ...]
    itemsize: int
    exact: bool

    @property
    def nbytes(self) -> float:
        """Of all chunks; 0 where that is not known."""
        whole = math.prod(sum(sizes) for sizes in self.chunks) * self.itemsize
        return 0.0 if math.isnan(whole) else whole

    def at(self, index: tuple[Any, ...]) -> Guess | None:
        """The chunk of an index; None where its shape is not known."""
        if len(index) != len(self.chunks):
            return None
        lengths = [
            sizes[i] if isinstance(i, int) and i < len(sizes) else math.nan
            for sizes, i in zip(self.chunks, index, strict=True)
        ]
        if any(math.isnan(length) for length in lengths):
            return None
        return array([int(length) for length in lengths], self.itemsize, self.exact)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a task costs.

    Parameters
    ----------
    value : Guess
        What it gives.
    working : float
        Bytes that it holds while it runs, its result among them, without what it takes.
    piece : Guess
        The largest thing that it makes: its result, or one of those within a task made of several.
    kept : float
        Bytes that data within the task takes beside its result, as long as that stays: as it came, and unpacked.
    """

    value: Guess
    working: float
    piece: Guess
    kept: float = 0.0


@dataclass(slots=True)
class Sizer:
    """Goes through a graph once.

    Parameters
    ----------
    blocks : mapping of str to Blocks
        By the names of arrays.
    partitions : mapping of str to float
        Bytes of a partition by the names of dataframes.
    values : dict of key to Guess
        What the tasks give that were looked at.
    embedded : set of int
        The data within the graph that was counted, by its id.
    carried : float
        Bytes of that.
    constants : mapping of key to object
        What the parts of the fused task that is looked at are given.
    """

    blocks: Mapping[str, Blocks]
    partitions: Mapping[str, float]
    values: dict[Any, Guess] = field(default_factory=dict)
    embedded: set[int] = field(default_factory=set)
    carried: float = 0.0
    constants: Mapping[Any, Any] = field(default_factory=dict)

    def costs(self, graph: Graph) -> dict[Any, Cost]:
        """The cost of every task."""
        from dask._task_spec import DataNode

        for key, nbytes in graph.held.items():
            self.values[key] = self.settled(key, Guess(float(nbytes), exact=True), ())
        found = {}
        for key, node in graph.tasks.items():
            before = self.carried
            cost = self.cost(key, node)
            kept = self.carried - before if isinstance(node, DataNode) else 2 * (self.carried - before)
            found[key] = replace(cost, kept=kept)
            self.values[key] = replace(found[key].value, reads=0.0, spare=0.0)
        return found

    def cost(self, key: Any, node: Any) -> Cost:
        """The cost of one task whose inputs are known."""
        from dask._task_spec import Alias, _execute_subgraph

        if isinstance(node, Alias):
            return Cost(self.values.get(node.target, UNKNOWN), 0.0, NOTHING)
        if getattr(node, "func", None) is _execute_subgraph:
            return self.fused(key, node, self.values)
        value = self.settled(key, self.argument(node, self.values), ())
        return Cost(value, (value.nbytes or 0.0) + value.spare, value)

    def settled(self, key: Any, guess: Guess, outer: tuple[Any, ...]) -> Guess:
        """What is known of a key, or else the guess."""
        name, index = block_of(key, outer)
        known = self.blocks[name].at(index) if name in self.blocks else None
        if known is None and name in self.partitions and not guess.exact:
            known = Guess(self.partitions[name])
        if known is None or guess.reduced:
            return guess
        return replace(known, reads=guess.reads, spare=guess.spare)

    def fused(self, key: Any, node: Any, given: Mapping[Any, Guess]) -> Cost:
        """The cost of a task made of several, which run one after the other and drop what is not needed any more."""
        from dask._task_spec import DataNode

        inner, last, names, *references = node.args
        values = {name: self.argument(each, given) for name, each in zip(names, references, strict=True)}
        before, self.constants = self.constants, dict(zip(names, references, strict=True))
        outside = set(values)
        uses: dict[Any, int] = {}
        for each in inner.values():
            for name in each.dependencies:
                uses[name] = uses.get(name, 0) + 1
        held = most = reads = 0.0
        piece = NOTHING
        outer = key[1:] if isinstance(key, tuple) else ()
        for name in _in_order(inner, last):
            value = self.settled(name, self.argument(inner[name], values), outer)
            values[name] = replace(value, reads=0.0, spare=0.0)
            reads += value.reads
            piece = max(piece, value, key=lambda each: each.nbytes or 0.0)
            held += 0.0 if isinstance(inner[name], DataNode) else value.nbytes or 0.0
            most = max(most, held + value.spare)
            for needed in inner[name].dependencies:
                uses[needed] -= 1
                if not uses[needed] and needed not in outside and not isinstance(inner[needed], DataNode):
                    held -= values[needed].nbytes or 0.0
        self.constants = before
        result = values[last]
        found = self.settled(key, result, ())
        return Cost(replace(found, reads=reads, spare=max(0.0, most - (found.nbytes or 0.0))), most, piece)

    def argument(self, value: Any, values: Mapping[Any, Guess]) -> Guess:
        """What is known of a task's argument; of a task, of what it gives."""
        from dask._task_spec import Alias, DataNode, NestedContainer, Task, TaskRef, _execute_subgraph

        if isinstance(value, TaskRef):
            return values.get(value.key, UNKNOWN)
        if isinstance(value, Alias):
            return values.get(value.target, UNKNOWN)
        if isinstance(value, DataNode):
            return self.literal(value.value)
        if isinstance(value, NestedContainer):
            return self.several(value.args, values)
        if isinstance(value, Task) and value.func is _execute_subgraph:
            return self.fused(value.key, value, values).value
        if isinstance(value, Task):
            literals = [*value.args, *value.kwargs.values()]
            meant = [self.constants.get(each.key, each) if isinstance(each, TaskRef) else each for each in literals]
            return made(value, [self.argument(each, values) for each in literals], meant)
        if isinstance(value, list | tuple):
            return self.several(value, values) if len(value) < 100 else self.literal(value)
        if isinstance(value, dict):
            return self.several(tuple(value.values()), values) if len(value) < 100 else self.literal(value)
        return self.literal(value)

    def several(self, items: Any, values: Mapping[Any, Guess]) -> Guess:
        """A list or tuple of arguments."""
        found = tuple(each for each in (self.argument(item, values) for item in items) if each is not NOTHING)
        reads, spare = sum(each.reads for each in found), max((each.spare for each in found), default=0.0)
        return replace(joined(found), items=found, reads=reads, spare=spare) if found else NOTHING

    def literal(self, value: Any) -> Guess:
        """Data that is in the graph itself; `NOTHING` for a number, a text or a function."""
        if isinstance(value, str | int | float | bool | type | slice) or value is None or callable(value):
            return NOTHING
        if type(value).__name__ == "OpenFile":
            return Guess(file_size(value), lazy=True)
        if hasattr(value, "shape") and hasattr(value, "dtype") and not _is_pandas(value):
            return self.array(value)
        from dask.sizeof import sizeof

        nbytes = float(sizeof(value))
        if nbytes < 1000:
            return NOTHING
        self.carry(value, nbytes)
        return Guess(nbytes, exact=True)

    def carry(self, value: Any, nbytes: float) -> None:
        """Count data within the graph, once."""
        if id(value) not in self.embedded:
            self.embedded.add(id(value))
            self.carried += nbytes

    def array(self, value: Any) -> Guess:
        """An array in the graph: its data, or a handle of it in a file."""
        shape = tuple(int(length) for length in value.shape)
        itemsize = int(getattr(value.dtype, "itemsize", 8))
        if not in_memory(value):
            return Guess(SMALL, False, shape, itemsize, lazy=getattr(value, "from_files", True))
        if len(shape) == 0:
            return NOTHING
        self.carry(value, float(math.prod(shape) * itemsize))
        return array(shape, itemsize)


def block_of(key: Any, outer: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    """The collection and the block of a key; within a fused task, whose block is `outer`, keys end in ``_.0_.1``."""
    if isinstance(key, tuple):
        return collection_name(key), key[1:]
    axes = [int(axis) for axis in _WITHIN.findall(str(key))]
    name = _WITHIN.sub("", str(key))
    if not axes:
        return name, outer
    return name, tuple(outer[axis] if axis < len(outer) else None for axis in axes)


def in_memory(value: Any) -> bool:
    """Whether an array-like holds its data; xarray's wrappers are looked into."""
    for _ in range(10):
        if type(value).__module__.partition(".")[0] in ("numpy", "pandas", "scipy", "cupy"):
            return True
        inner = getattr(value, "array", None)
        if inner is None:
            return False
        value = inner
    return False


def file_size(file: Any) -> float | None:
    """Bytes of an fsspec file, None where its file system does not say."""
    try:
        size = file.fs.info(file.path).get("size")
    except (OSError, NotImplementedError):
        return None
    return None if size is None else float(size)


def blocks_of(collections: Any) -> dict[str, Blocks]:
    """The chunks of every array that the collections are made of, by its name."""
    found = {}
    for collection in collections:
        graph = None if "dask.dataframe" in sys.modules and _is_frame(collection) else collection.__dask_graph__()
        for name, layer in getattr(graph, "layers", {}).items():
            said = layer.collection_annotations or {}
            if "chunks" in said and getattr(said.get("dtype"), "itemsize", None):
                found[name] = Blocks(said["chunks"], said["dtype"].itemsize, said["dtype"].kind != "O")
    return found


def _is_frame(collection: Any) -> bool:
    from dask._expr import Expr
    from dask.delayed import Delayed

    return not isinstance(collection, Delayed) and isinstance(getattr(collection, "expr", None), Expr)


def _in_order(inner: Mapping[Any, Any], last: Any) -> Iterator[Any]:
    """The keys of a small graph, each after those it needs."""
    seen: set[Any] = set()
    stack = [(last, False)]
    while stack:
        key, done = stack.pop()
        if done:
            yield key
        elif key not in seen and key in inner:
            seen.add(key)
            stack.append((key, True))
            stack += [(needs, False) for needs in inner[key].dependencies]


def _is_pandas(value: Any) -> bool:
    return type(value).__module__.startswith("pandas")
