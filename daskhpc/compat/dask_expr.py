"""What daskhpc needs of Dask's dataframe expressions beyond their public names.

The classes and attributes of these expressions are private to Dask. If a release has them no longer, the functions here
give None or nothing, which `explain` shows as unknown.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, TypeVar

from .dask import known_release

P = ParamSpec("P")
T = TypeVar("T")


def _none_if_gone(function: Callable[P, T]) -> Callable[P, T | None]:
    """The same function, which gives None if a private name that it needs is not there."""

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T | None:
        try:
            return function(*args, **kwargs)
        except (ImportError, AttributeError, NotImplementedError):
            return None

    return guarded


def frames_in(expression: Any) -> tuple[Any, ...]:
    """The dataframe expressions of an optimized expression, those that Dask fused into one among them."""
    if "dask.dataframe" not in sys.modules:
        return ()
    nodes = [node for node in expression.walk() if is_frame(node)]
    return tuple(each for node in nodes for each in (node, *fused_from(node)))


def is_dataframe(collection: Any) -> bool:
    """Whether a Dask collection is a dataframe, a series, an index or a scalar of dataframes."""
    return "dask.dataframe" in sys.modules and hasattr(collection, "expr") and hasattr(collection, "_meta")


def name_of(expression: Any) -> str:
    """The name of an expression, with which the keys of its tasks begin."""
    return str(expression._name)


def is_frame(node: Any) -> bool:
    """Whether an expression is one of dataframes."""
    if "dask.dataframe" not in sys.modules:
        return False
    try:
        from dask.dataframe.dask_expr._expr import Expr
    except ImportError:
        return False
    return isinstance(node, Expr)


def fused_from(node: Any) -> tuple[Any, ...]:
    """The expressions that one was fused from, the one that gives its result first."""
    kind = type(node).__name__
    if kind == "Fused":
        return tuple(node.exprs)
    return (node.operand("_expr"),) if kind in ("FusedIO", "FusedParquetIO") else ()


def partitions(node: Any) -> int:
    """Partitions of an expression; 0 if it has none or that is not known without computing."""
    try:
        return int(node.npartitions)
    except (AttributeError, AssertionError, NotImplementedError, TypeError, ValueError):
        return 0


def empty_frame(node: Any) -> Any:
    """The frame without rows that tells the columns of an expression or collection; None if it cannot be made."""
    try:
        return node._meta
    except Exception:  # functions of the user make it, and may raise anything
        return None


@_none_if_gone
def rows_rule(node: Any) -> tuple[str, float]:
    """How the rows of an expression follow from those of what it takes.

    Returns
    -------
    rule : str
        ``"same"`` as the input with most; ``"at most"`` so many; ``"sum"`` of all inputs; ``"groups"``, a row for each
        group, of one partition or of each; ``"one partition"`` of the input.
    number : float
        Of ``"at most"`` the rows, of ``"groups"`` the partitions.
    """
    from dask.dataframe.dask_expr import _concat, _expr, _groupby, _reductions

    if isinstance(node, _expr.Head | _expr.Tail):
        return "at most", float(abs(node.operand("n")))
    if isinstance(node, _concat.Concat | _concat.StackPartition) and getattr(node, "axis", 0) == 0:
        return "sum", 0.0
    pieces = float(max(1, partitions(node.dependencies()[0]))) if node.dependencies() else 1.0
    if isinstance(node, _reductions.TreeReduce | _reductions.ShuffleReduce | _reductions.Chunk):
        # These three carry what they are a part of under "kind".
        kind = node.operand("kind")
        one_row = issubclass(kind, _reductions.Reduction) and not issubclass(kind, _groupby.GroupByBase)
        if isinstance(node, _reductions.TreeReduce | _reductions.ShuffleReduce):
            several = isinstance(node, _reductions.ShuffleReduce)
            return ("at most", 1.0) if one_row else ("same", 0.0) if several else ("one partition", pieces)
        if not isinstance(node, _reductions.Aggregate):
            return ("at most", pieces) if one_row else ("groups", pieces)
    elif isinstance(node, _reductions.ApplyConcatApply):
        return ("at most", 1.0) if isinstance(node, _reductions.Reduction) and node.ndim < 2 else ("groups", 1.0)
    return "same", 0.0


@_none_if_gone
def keeps_all_rows(node: Any) -> bool:
    """Whether an expression gives exactly the rows that it takes."""
    from dask.dataframe.dask_expr import _expr, _repartition

    return isinstance(node, _expr.Elemwise | _repartition.Repartition)


class PandasSource(NamedTuple):
    """A pandas object that partitions are cut from, its rows, and whether its texts become Arrow's."""

    frame: Any
    rows: float
    arrow_texts: bool


@_none_if_gone
def pandas_source(node: Any) -> PandasSource | None:
    """What ``from_pandas`` cuts, with the columns that are asked for; None of another expression."""
    if type(node).__name__ not in ("FromPandas", "FromPandasDivisions"):
        return None
    frame = node.frame._data
    if node.operand("columns") is not None:
        frame = frame[node.columns[0]] if node._series else frame[node.columns]
    return PandasSource(frame, float(sum(node._get_lengths() or ())), bool(node.pyarrow_strings_enabled))


def pandas_below(frame: Any) -> Any:
    """The pandas frame that a Dask frame is cut from, if nothing but columns and rows was chosen since; else None."""
    node = frame.expr
    while type(node).__name__ in ("Projection", "Filter"):
        node = node.frame
    source = pandas_source(node)
    return None if source is None else source.frame


def with_arrow_texts(frame: Any) -> Any:
    """A pandas object whose texts are Arrow's, as Dask makes them; as it is, if Dask does not tell how."""
    try:
        from dask.dataframe._pyarrow import to_pyarrow_string
    except ImportError:
        return frame
    return to_pyarrow_string(frame)


class ParquetSource(NamedTuple):
    """The footers of some of the Parquet files that are read, the part of all files that they are, and the columns."""

    footers: list[Any]
    files_per_footer: float
    columns: list[Any]


@_none_if_gone
def parquet_source(node: Any, most: int) -> ParquetSource | None:
    """The footers of at most `most` files of ``read_parquet``; None of another expression."""
    if type(node).__name__ not in ("ReadParquetPyarrowFS", "ReadParquetFSSpec"):
        return None
    if hasattr(node, "fragments_unsorted"):
        files = list(node.fragments_unsorted)
    else:
        files = list(node._dataset_info["ds"].get_fragments())
    some = files[:: max(1, len(files) // (most - 1))][:most]
    chosen = len(node._partitions) / max(1, len(node._divisions()) - 1)
    columns = [*node.columns, *([node._meta.index.name] if node._meta.index.name is not None else [])]
    return ParquetSource([file.metadata for file in some], len(files) / max(1, len(some)) * chosen, columns)


def persisted_keys(node: Any) -> list[Any]:
    """The keys of the partitions of a persisted dataframe; empty of another expression."""
    return list(node.operand("keys")) if type(node).__name__ == "FromGraph" else []


@_none_if_gone
def timeseries_rows(node: Any) -> float | None:
    """The rows of ``dask.datasets.timeseries``; None of another expression."""
    if type(node).__name__ != "Timeseries":
        return None
    import pandas as pd

    return float(pd.Timedelta(node.partition_freq) / pd.Timedelta(node.freq) * node.npartitions)


def mapped_values(node: Any) -> list[Any]:
    """Everything within the arguments that an expression maps a reading function over."""
    # Dask's expressions of delayed values say NotImplementedError to a name that they do not have.
    return _leaves(_none_if_gone(lambda: node.iterables)() or ())


def open_files(node: Any) -> list[Any]:
    """The fsspec files among the arguments that an expression maps a reading function over."""
    return [each for each in mapped_values(node) if type(each).__name__ == "OpenFile"]


def _leaves(value: Any, depth: int = 6) -> list[Any]:
    """Everything within nested lists, delayed objects, tasks and their arguments."""
    if depth == 0:
        return []
    if isinstance(value, list | tuple):
        return [leaf for each in value for leaf in _leaves(each, depth - 1)]
    if hasattr(value, "dask") and hasattr(value, "key"):
        return [leaf for task in dict(value.dask).values() for leaf in _leaves(task, depth - 1)]
    if hasattr(value, "args") and hasattr(value, "func"):
        return _leaves(list(value.args), depth - 1)
    return [value]


def kinds_of(expressions: Any) -> set[str]:
    """The names of the classes of expressions, such as ``"SetIndex"``, ``"Merge"`` and ``"P2PShuffle"``."""
    return {type(node).__name__ for node in expressions}


def without_eager_steps(expression: Any) -> tuple[Any, list[list[Any]]]:
    """An expression that can be optimized without computing anything, and what Dask would compute first.

    Parameters
    ----------
    expression : dask._expr.Expr

    Returns
    -------
    expression : dask._expr.Expr
        The same if nothing had to be replaced.
    first : list of lists of collections
        What Dask computes while it optimizes; one list for each time.

    Notes
    -----
    ``set_index`` and ``sort_values`` look at the quantiles of their column to choose the divisions, as soon as Dask
    optimizes them. The stand-ins take as many partitions as were asked for. They are wrong if the column turns out to
    be sorted already, or to have fewer values than partitions. ``repartition(partition_size=)`` measures every
    partition; its stand-in leaves the partitions as they are.

    Dask keeps one object for equal expressions, and divisions within it. So a stand-in must have another token than the
    expression of the user, whose next computation would use made-up divisions otherwise.
    """
    first: list[list[Any]] = []
    if "dask.dataframe" not in sys.modules:
        return expression, first
    measured = False
    while (node := _next_eager_step(expression)) is not None:
        replacement, asks = _stand_in(node)
        measured = measured or _by_size(node)
        first.append(asks)
        expression = expression.substitute(node, replacement)
    return expression, first if first and (measured or _needs_stand_in(expression)) else []


def _next_eager_step(expression: Any) -> Any:
    """A node that would compute, with none below it; None if there is none."""
    kinds = _eager_kinds()
    for node in expression.find_operations(kinds):
        below = [other for other in node.find_operations(kinds) if other._name != node._name]
        if not any(_computes(other) for other in below) and _computes(node):
            return node
    return None


def _eager_kinds() -> tuple[Any, ...]:
    with known_release():  # without them Dask would compute while it optimizes
        from dask.dataframe.dask_expr._repartition import Repartition
        from dask.dataframe.dask_expr._shuffle import SetIndex, SortValues

    return SetIndex, SortValues, Repartition


def _by_size(node: Any) -> bool:
    return "partition_size" in node._parameters and "new_partitions" in node._parameters and bool(node.partition_size)


def _computes(node: Any) -> bool:
    _, _, repartition = _eager_kinds()
    if isinstance(node, repartition):
        return _by_size(node)
    if _is_stand_in(node) or node.frame.npartitions == 1:
        return False
    return "user_divisions" not in node._parameters or node.operand("user_divisions") is None


def _stand_in(node: Any) -> tuple[Any, list[Any]]:
    """What takes the place of a node, and the collections that Dask would compute for it."""
    from dask.dataframe.dask_expr import new_collection
    from dask.dataframe.dask_expr._quantiles import RepartitionQuantiles
    from dask.dataframe.dask_expr._repartition import TotalMemoryUsageFrame
    from dask.dataframe.dask_expr._shuffle import SetIndex
    from dask.utils import M

    if _by_size(node):
        return node.frame, [new_collection(TotalMemoryUsageFrame(node.frame, deep=True))]
    column = new_collection(node.frame[node.by[0]] if hasattr(node, "by") else node.other)
    pieces = node._npartitions_input
    asks = [
        new_collection(RepartitionQuantiles(column.expr, pieces, upsample=node.upsample)),
        column.map_partitions(M.min),
        column.map_partitions(M.max),
    ]
    if isinstance(node, SetIndex):
        divisions = _StandInDivisions(pieces, column.dtype)
        return node.substitute_parameters({"user_divisions": divisions, "npartitions": None}), asks
    return _sorted_class()(*node.operands), asks


class _StandInDivisions(list[Any]):
    """Divisions that are not computed, of the column's type: ``resample`` and ``loc`` reckon with them."""

    def __init__(self, pieces: int, dtype: Any) -> None:
        import pandas

        numbers = range(pieces + 1)
        kind = getattr(dtype, "kind", "")
        if kind == "M":
            values: Any = pandas.date_range("2000", periods=len(numbers), tz=getattr(dtype, "tz", None))
        elif kind == "m":
            values = pandas.to_timedelta(list(numbers), unit="D")
        else:
            values = (f"{number:09}" for number in numbers) if kind == "O" else numbers
        super().__init__(values)
        self.dtype = str(dtype)

    def __dask_tokenize__(self) -> tuple[str, int, str]:
        return "stand-in", len(self), self.dtype


@functools.cache
def _sorted_class() -> Any:
    """``sort_values`` with unknown divisions and as many partitions as were asked for."""
    from dask.dataframe.dask_expr import _shuffle

    class StandInSortValues(_shuffle.SortValues):  # type: ignore[misc]
        stand_in = True

        def _divisions(self) -> Any:
            return (None,) * (self._npartitions_input + 1)

        def _lower(self) -> Any:
            shuffled = _shuffle.RearrangeByColumn(
                self.frame,
                [self.by[0]],
                npartitions_out=self._npartitions_input,
                ignore_index=self.ignore_index,
                method=self.shuffle_method,
                options=self.options,
            )
            return _shuffle.SortValuesBlockwise(shuffled, self.sort_function, self.sort_function_kwargs)

    return StandInSortValues


def _is_stand_in(node: Any) -> bool:
    return hasattr(type(node), "stand_in") or (
        "user_divisions" in node._parameters and isinstance(node.operand("user_divisions"), _StandInDivisions)
    )


def _needs_stand_in(expression: Any) -> bool:
    """Whether the optimizer leaves a stand-in, which it does not for ``sort_values(...).head()``."""
    from dask._expr import FinalizeCompute
    from dask.dataframe.dask_expr._shuffle import SetIndex, SortValues

    simple = FinalizeCompute(expression).simplify()
    return any(_is_stand_in(node) for node in simple.find_operations((SetIndex, SortValues)))
