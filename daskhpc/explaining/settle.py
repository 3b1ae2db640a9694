"""Stand-ins for what Dask would have to compute before it knows a dataframe's tasks."""

from __future__ import annotations

import functools
import sys
from typing import Any


def settled(expression: Any) -> tuple[Any, list[list[Any]]]:
    """An expression that can be optimized without computing anything, and what Dask would compute first.

    Parameters
    ----------
    expression : dask._expr.Expr

    Returns
    -------
    expression : dask._expr.Expr
        The same where nothing had to be replaced.
    first : list of lists of collections
        What Dask computes while it optimizes; one list for each time.

    Notes
    -----
    ``set_index`` and ``sort_values`` look at the quantiles of their column to choose the divisions; the stand-ins
    take as many partitions as were asked for. They are wrong where the column turns out to be sorted already, or
    to have fewer values than partitions. ``repartition(partition_size=)`` measures every partition; its stand-in
    leaves the partitions as they are.
    """
    first: list[list[Any]] = []
    if "dask.dataframe" not in sys.modules:
        return expression, first
    measured = False
    while (node := _next_to_settle(expression)) is not None:
        replacement, asks = _stand_in(node)
        measured = measured or _by_size(node)
        first.append(asks)
        expression = expression.substitute(node, replacement)
    return expression, first if first and (measured or _still_there(expression)) else []


def _next_to_settle(expression: Any) -> Any:
    """A node that would compute, with none below it; None where there is none."""
    kinds = _kinds()
    for node in expression.find_operations(kinds):
        below = [other for other in node.find_operations(kinds) if other._name != node._name]
        if not any(_computes(other) for other in below) and _computes(node):
            return node
    return None


def _kinds() -> tuple[Any, ...]:
    from dask.dataframe.dask_expr._repartition import Repartition
    from dask.dataframe.dask_expr._shuffle import SetIndex, SortValues

    return SetIndex, SortValues, Repartition


def _by_size(node: Any) -> bool:
    return "partition_size" in node._parameters and "new_partitions" in node._parameters and bool(node.partition_size)


def _computes(node: Any) -> bool:
    _, _, repartition = _kinds()
    if isinstance(node, repartition):
        return _by_size(node)
    if _is_stand_in(node) or node.frame.npartitions == 1:
        return False
    return "user_divisions" not in node._parameters or node.operand("user_divisions") is None


def _column(node: Any) -> Any:
    return node.frame[node.by[0]] if hasattr(node, "by") else node.other


def _stand_in(node: Any) -> tuple[Any, list[Any]]:
    """What takes the place of a node, and the collections that Dask would compute for it."""
    from dask.dataframe.dask_expr import new_collection
    from dask.dataframe.dask_expr._quantiles import RepartitionQuantiles
    from dask.dataframe.dask_expr._repartition import TotalMemoryUsageFrame
    from dask.dataframe.dask_expr._shuffle import SetIndex
    from dask.utils import M

    if _by_size(node):
        return node.frame, [new_collection(TotalMemoryUsageFrame(node.frame, deep=True))]
    column, pieces = new_collection(_column(node)), node._npartitions_input
    asks = [
        new_collection(RepartitionQuantiles(column.expr, pieces, upsample=node.upsample)),
        column.map_partitions(M.min),
        column.map_partitions(M.max),
    ]
    if isinstance(node, SetIndex):
        return node.substitute_parameters({"user_divisions": _Divisions(pieces), "npartitions": None}), asks
    return _sorted_class()(*node.operands), asks


class _Divisions(list[int]):
    """Divisions that nobody has computed."""

    def __init__(self, pieces: int) -> None:
        super().__init__(range(pieces + 1))

    def __dask_tokenize__(self) -> tuple[str, int]:
        return "stand-in", len(self)


@functools.cache
def _sorted_class() -> Any:
    """``sort_values`` with unknown divisions and as many partitions as were asked for."""
    from dask.dataframe.dask_expr import _shuffle

    class Sorted(_shuffle.SortValues):  # type: ignore[misc]
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

    return Sorted


def _is_stand_in(node: Any) -> bool:
    return hasattr(type(node), "stand_in") or (
        "user_divisions" in node._parameters and isinstance(node.operand("user_divisions"), _Divisions)
    )


def _still_there(expression: Any) -> bool:
    """Whether the optimizer leaves a stand-in, which it does not for ``sort_values(...).head()``."""
    from dask._expr import FinalizeCompute
    from dask.dataframe.dask_expr._shuffle import SetIndex, SortValues

    simple = FinalizeCompute(expression).simplify()
    return any(_is_stand_in(node) for node in simple.find_operations((SetIndex, SortValues)))
