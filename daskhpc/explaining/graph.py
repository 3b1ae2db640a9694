"""The tasks that Dask would submit, without running any."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..compat.dask import expression_of, in_dependency_order, optimized_graph
from ..compat.dask_expr import frames_in, kinds_of, without_eager_steps


@dataclass(frozen=True, slots=True)
class Graph:
    """An optimized graph.

    Parameters
    ----------
    tasks : mapping of key to GraphNode
        What would run, each after those it needs.
    outputs : frozenset of keys
        What the client asks for.
    held : mapping of key to int
        Results that are on the workers already, with their bytes.
    expressions : tuple of Expr
        The optimized dataframe expressions.
    exact : bool
        False if Dask has to compute something before it knows the tasks.
    before : int
        The tasks of that.
    """

    tasks: Mapping[Any, Any]
    outputs: frozenset[Any]
    held: Mapping[Any, int]
    expressions: tuple[Any, ...]
    exact: bool
    before: int


def graph_of(collections: Sequence[Any], held: Mapping[Any, int]) -> Graph:
    """The graph of ``dask.compute(*collections)``, without what is on the workers already.

    Parameters
    ----------
    collections : sequence of Dask collections
    held : mapping of key to int
        Results that are on the workers, with their bytes.

    Notes
    -----
    If Dask would compute while it optimizes (the divisions of ``set_index`` and ``sort_values``), a stand-in with as
    many partitions is put in place first.
    """
    expression, first = without_eager_steps(expression_of(collections))
    optimized = optimized_graph(expression)
    order = in_dependency_order(optimized.tasks, optimized.outputs, held)
    tasks = {key: optimized.tasks[key] for key in order}
    needed = optimized.outputs.union(*(node.dependencies for node in tasks.values())) - tasks.keys()
    return Graph(
        tasks=tasks,
        outputs=optimized.outputs,
        held={key: held.get(key, 0) for key in needed},
        expressions=frames_in(optimized.expression),
        exact=not first,
        before=sum(len(graph_of(each, held).tasks) for each in first),
    )


def key_name(key: Any) -> str:
    """``sum-aggregate`` of ``("sum-aggregate-1f3c...", 0, 1)``, as on Dask's dashboard."""
    from dask.utils import key_split

    return str(key_split(key))


def collection_name(key: Any) -> str:
    """The name of the collection that a key belongs to: ``sum-aggregate-1f3c...``."""
    return str(key[0] if isinstance(key, tuple) else key)


def shuffles_of(collections: Iterable[Any], graph: Graph) -> list[str]:
    """What moves rows between partitions: ``"set_index"``, ``"sort_values"``, ``"merge"``, ``"groupby.apply"`` ..."""
    # Of a bag, through files or from task to task; those of dataframes have other names.
    bags = ("groupby-collect", "shuffle-join")
    shuffles = ["bag.groupby"] if any(key_name(key).startswith(bags) for key in graph.tasks) else []
    if not any("Shuffle" in kind or kind == "HashJoinP2P" for kind in kinds_of(graph.expressions)):
        return shuffles
    # The optimizer puts other expressions in the place of those that the user wrote.
    written = kinds_of(
        node
        for each in collections
        if hasattr(each, "expr") and hasattr(each.expr, "walk")
        for node in each.expr.walk()
    )
    names = {"SetIndex": "set_index", "SortValues": "sort_values", "Merge": "merge"}
    shuffles += [name for kind, name in names.items() if kind in written]
    groups = ("GroupByApply", "GroupByTransform", "GroupByShift", "Median")
    return [*shuffles, "groupby.apply"] if any(kind.startswith(groups) for kind in written) else shuffles
