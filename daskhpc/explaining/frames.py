"""Rows and bytes of dataframes that nobody has computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .readers import source
from .tables import GROUPS, MOST_GROUPS, Table, row_bytes


class Tables:
    """The tables of expressions; each is looked at once.

    Parameters
    ----------
    held : mapping of key to int
        Bytes of results that are on the workers.
    """

    def __init__(self, held: Mapping[Any, int]) -> None:
        self._held = held
        self._found: dict[str, Table | None] = {}

    def of(self, expression: Any) -> Table | None:
        """The table of an expression; None where nothing is known of what it comes from."""
        name = expression._name
        if name not in self._found:
            self._found[name] = None
            self._found[name] = self._new(expression)
        return self._found[name]

    def _new(self, node: Any) -> Table | None:

        below = [(each, self.of(each)) for each in node.dependencies() if _is_frame(each)]
        if type(node).__name__ == "Fused":
            return self.of(node.exprs[0])
        if type(node).__name__ in ("FusedIO", "FusedParquetIO"):
            return self.of(node.operand("_expr"))
        if not below:
            return source(node, self._held)
        known = [table for _, table in below if table is not None]
        if len(known) < len(below):
            return None
        largest = max(known, key=lambda table: table.rows)
        texts = {column: size for table in known for column, size in table.texts.items()}
        rows = _rows(node, [(each, table) for each, table in below if table is not None])
        exact = all(table.exact for table in known) and _keeps_rows(node)
        result = replace(largest, rows=rows, texts=texts, exact=exact, reads=0.0)
        size = row_bytes(_meta(node), texts)
        return replace(result, row_bytes=largest.row_bytes if size is None else size)


def _rows(node: Any, below: list[tuple[Any, Table]]) -> float:
    """Rows of what an expression gives."""
    from dask.dataframe.dask_expr import _concat, _expr, _reductions

    most = max(table.rows for _, table in below)
    if isinstance(node, _expr.Head | _expr.Tail):
        return min(most, float(abs(node.operand("n"))))
    if isinstance(node, _reductions.TreeReduce | _reductions.ShuffleReduce):
        chunk = below[0][0]
        if _one_row(node):
            return 1.0
        return most if isinstance(node, _reductions.ShuffleReduce) else most / max(1, chunk.npartitions)
    if isinstance(node, _reductions.Chunk) and not isinstance(node, _reductions.Aggregate):
        pieces = float(below[0][0].npartitions)
        return pieces if _one_row(node) else max(pieces, min(most * GROUPS, pieces * MOST_GROUPS))
    if isinstance(node, _reductions.ApplyConcatApply):
        return 1.0 if issubclass(type(node), _reductions.Reduction) and node.ndim < 2 else max(1.0, most * GROUPS)
    if isinstance(node, _concat.Concat | _concat.StackPartition) and getattr(node, "axis", 0) == 0:
        return sum(table.rows for _, table in below)
    return most


def _one_row(node: Any) -> bool:
    from dask.dataframe.dask_expr import _groupby, _reductions

    kind = node.operand("kind")
    grouped = issubclass(kind, _groupby.GroupByBase)
    return issubclass(kind, _reductions.Reduction) and not grouped


def _keeps_rows(node: Any) -> bool:
    from dask.dataframe.dask_expr import _expr, _repartition

    return isinstance(node, _expr.Elemwise | _repartition.Repartition)


def partitions_of(expressions: Any, tables: Tables) -> dict[str, float]:
    """Bytes of a partition of every expression, by its name."""
    found: dict[str, float] = {}
    for top in expressions:
        for node in (top, *_within(top)):
            table = tables.of(node)
            pieces = _pieces(node)
            if table is not None and pieces:
                found[node._name] = table.nbytes / pieces
    return found


def _within(node: Any) -> tuple[Any, ...]:
    return tuple(node.exprs) if type(node).__name__ == "Fused" else ()


def _pieces(node: Any) -> int:
    try:
        return int(node.npartitions)
    except (AttributeError, AssertionError, NotImplementedError, TypeError, ValueError):
        return 0


def _meta(node: Any) -> Any:
    try:
        return node._meta
    except Exception:  # user functions make metas, and may raise anything
        return None


def _is_frame(node: Any) -> bool:
    from dask.dataframe.dask_expr._expr import Expr

    return isinstance(node, Expr)
