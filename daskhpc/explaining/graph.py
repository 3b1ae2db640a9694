"""The tasks that Dask would submit, without running any."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .settle import settled


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
        False where Dask has to compute something before it knows the tasks.
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
    """The graph of ``dask.compute(*collections)``.

    Parameters
    ----------
    collections : sequence of Dask collections
    held : mapping of key to int
        Results that are on the workers, with their bytes.

    Notes
    -----
    The steps are those of ``dask.compute``, and those of the scheduler when it gets the expression: wrap in
    FinalizeCompute, optimize, materialize, and keep what the outputs need and nobody has. Where Dask would compute
    while it optimizes (the divisions of ``set_index`` and ``sort_values``), a stand-in with as many partitions is
    put in place first.
    """
    from dask._expr import FinalizeCompute
    from dask._task_spec import convert_legacy_graph
    from dask.base import collections_to_expr
    from dask.core import flatten

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Computing mixed collections", category=UserWarning)
        expression, first = settled(collections_to_expr(list(collections)))
        optimized = FinalizeCompute(expression).optimize()
        tasks = convert_legacy_graph(optimized.__dask_graph__())
        outputs = frozenset(flatten(optimized.__dask_keys__()))
    before = sum(len(graph_of(each, held).tasks) for each in first)
    needed, found = reachable(tasks, outputs, held)
    return Graph(needed, outputs, found, frames_in(optimized), not first, before)


def reachable(
    tasks: Mapping[Any, Any], outputs: frozenset[Any], held: Mapping[Any, int]
) -> tuple[dict[Any, Any], dict[Any, int]]:
    """What has to run for the outputs, ordered so that each task comes after those it needs, and what is there."""
    found: dict[Any, int] = {}
    needed: dict[Any, Any] = {}
    seen: set[Any] = set()
    stack: list[tuple[Any, bool]] = [(key, False) for key in outputs]
    while stack:
        key, done = stack.pop()
        if done:
            needed[key] = tasks[key]
        elif key not in seen:
            seen.add(key)
            if key in held or key not in tasks:
                found[key] = held.get(key, 0)
                continue
            stack.append((key, True))
            stack += [(needs, False) for needs in tasks[key].dependencies if needs not in seen]
    return needed, found


def frames_in(expression: Any) -> tuple[Any, ...]:
    """The dataframe expressions of an optimized expression."""
    import sys

    if "dask.dataframe" not in sys.modules:
        return ()
    from dask.dataframe.dask_expr._expr import Expr

    return tuple(node for node in expression.walk() if isinstance(node, Expr))


def key_name(key: Any) -> str:
    """``sum-aggregate`` of ``("sum-aggregate-1f3c...", 0, 1)``, as on Dask's dashboard."""
    from dask.utils import key_split

    return str(key_split(key))


def collection_name(key: Any) -> str:
    """The name of the collection that a key belongs to: ``sum-aggregate-1f3c...``."""
    return str(key[0] if isinstance(key, tuple) else key)


def shuffles_of(collections: Sequence[Any], graph: Graph) -> list[str]:
    """What moves rows between partitions: ``"set_index"``, ``"sort_values"``, ``"merge"``, ``"groupby.apply"`` ..."""
    kinds = {type(node).__name__ for node in graph.expressions}
    # Of a bag, through files or from task to task; those of dataframes have other names.
    bags = ("groupby-collect", "shuffle-join")
    found = ["bag.groupby"] if any(key_name(key).startswith(bags) for key in graph.tasks) else []
    if not any("Shuffle" in kind or kind == "HashJoinP2P" for kind in kinds):
        return found
    asked = set()
    for collection in collections:
        expression = getattr(collection, "expr", None)
        if expression is not None and hasattr(expression, "walk"):
            asked |= {type(node).__name__ for node in expression.walk()}
    names = {"SetIndex": "set_index", "SortValues": "sort_values", "Merge": "merge"}
    found += [name for kind, name in names.items() if kind in asked]
    if any(kind.startswith(("GroupByApply", "GroupByTransform", "GroupByShift")) or kind == "Median" for kind in asked):
        found.append("groupby.apply")
    return found
