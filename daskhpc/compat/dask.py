"""What daskhpc needs of Dask's collections beyond their public names."""

from __future__ import annotations

import contextlib
import importlib
import random
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ..errors import DaskhpcError

LONGEST_LIST = 100
"""Items of a list within a task up to which each item is looked at; a longer one is taken for data."""

_DRAWING = ("dask.sizeof", "distributed.comm.core", "distributed.utils_comm")


def isolate_dask_rng() -> None:
    """Let Dask's own threads draw from a generator other than Python's global one.

    Dask draws from ``random`` at any moment: to sample a container's size, to wait between tries of a connection. A fit
    beside it that is watched for draws would seem to draw itself. With a release that draws elsewhere, fits seem to
    draw now and then, and are made again rather than shared.
    """
    for name in _DRAWING:
        module = importlib.import_module(name)
        if vars(module).get("random") is random:
            vars(module)["random"] = random.Random()


def compute_in_order(call: Callable[..., Any], collections: Sequence[Any], **options: Any) -> list[Any]:
    """What ``dask.compute`` or ``dask.persist`` gives for collections of any kinds, in the order of the collections.

    Dask (seen in 2026.8) optimizes collections of a kind together, and gives the results in that order:
    ``dask.compute(array, frame, array)`` gives those of the first, the third and the second. So the collections are
    handed over sorted by kind, and the results are sorted back. A release without the functions that tell the kind
    keeps the order by itself.

    Parameters
    ----------
    call : callable
        ``dask.compute``, ``dask.persist``, or what calls one of them.
    collections : sequence of Dask collections
    **options
        Of `call`.

    Returns
    -------
    list
        A result for each collection.
    """
    from dask.base import collections_to_expr

    kinds: dict[Any, list[int]] = {}
    for position, collection in enumerate(collections):
        (expression,) = collections_to_expr([collection]).operands
        kinds.setdefault(getattr(expression, "low_level_optimizer", None), []).append(position)
    order = [position for positions in kinds.values() for position in positions]
    results = call(*(collections[position] for position in order), **options)
    return [result for _, result in sorted(zip(order, results, strict=True), key=lambda pair: pair[0])]


def expression_of(collections: Sequence[Any]) -> Any:
    """The expression that ``dask.compute(*collections)`` would compute, not yet optimized."""
    from dask.base import collections_to_expr

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Computing mixed collections", category=UserWarning)
        return collections_to_expr(list(collections))


def task(key: Any, function: Callable[..., Any], *args: Any) -> Any:
    """A task of a graph: `key` is ``function(*args)``, with arguments that are taken as they are."""
    with known_release():
        from dask._task_spec import Task

    return Task(key, function, *args)


def alias(key: Any, target: Any) -> Any:
    """An entry of a graph that gives the result of `target` the name `key`; Dask drops it when it optimizes."""
    with known_release():
        from dask._task_spec import Alias

    return Alias(key, target)


def is_reference(value: Any) -> bool:
    """Whether a value in a graph stands for the result of another task, or for a Future."""
    with known_release():
        from dask._task_spec import TaskRef

    return isinstance(value, TaskRef)


class OptimizedGraph(NamedTuple):
    """The optimized expression, its tasks by key, and the keys that the client asks for."""

    expression: Any
    tasks: Mapping[Any, Any]
    outputs: frozenset[Any]


@contextlib.contextmanager
def known_release() -> Iterator[None]:
    """Turn a private name that Dask has no longer into an error that names it: a guessed graph would be a wrong one."""
    try:
        yield
    except ImportError as error:
        raise DaskhpcError(
            "This release of Dask makes its graphs in another way than daskhpc knows.",
            f"dask {importlib.import_module('dask').__version__}: {error}",
            "pip install --upgrade daskhpc, or an older release of Dask",
        ) from error


def optimized_graph(expression: Any) -> OptimizedGraph:
    """The tasks that the scheduler would get for an expression.

    The steps are those of ``dask.compute``, and those of the scheduler when it gets the expression: wrap in
    FinalizeCompute, optimize, materialize.
    """
    with known_release():
        from dask._expr import FinalizeCompute
        from dask._task_spec import convert_legacy_graph
    from dask.core import flatten

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Computing mixed collections", category=UserWarning)
        optimized = FinalizeCompute(expression).optimize()
        tasks = convert_legacy_graph(optimized.__dask_graph__())
        return OptimizedGraph(optimized, tasks, frozenset(flatten(optimized.__dask_keys__())))


class FileBlock(NamedTuple):
    """A block of an fsspec file, and its bytes; None for the rest of the file."""

    file: Any
    nbytes: int | None


class TaskStep(NamedTuple):
    """A task, or one of those that a task was fused from.

    Attributes
    ----------
    key : Any
    needs : tuple of keys
        The tasks or steps whose results it takes.
    data : tuple
        The objects that stand in it, its numbers and texts among them.
    reduced : tuple of int
        The axes that it reduces to length 1, if it is the first step of a reduction of an array.
    kind : str
        ``"task"``, ``"data"`` that stands in the graph, or an ``"alias"`` of another key.
    """

    key: Any
    needs: tuple[Any, ...]
    data: tuple[Any, ...]
    reduced: tuple[int, ...] = ()
    kind: str = "task"


def task_steps(key: Any, node: Any) -> list[TaskStep]:
    """What a task does, step by step: each step comes after those that it needs.

    Parameters
    ----------
    key : Any
    node : dask._task_spec.GraphNode

    Notes
    -----
    Dask fuses chains of tasks into one. The keys of the steps tell which collection each belongs to, the last step
    gives the result of the task.
    """
    with known_release():
        from dask._task_spec import TaskRef, _execute_subgraph

    if getattr(node, "func", None) is not _execute_subgraph:
        return [_step(key, node, {})]
    inner, last, names, *references = node.args
    given = dict(zip(names, references, strict=True))
    renamed = {name: each.key for name, each in given.items() if isinstance(each, TaskRef)}
    literals = {name: each for name, each in given.items() if name not in renamed}
    steps = [_step(name, inner[name], literals) for name in in_dependency_order(inner, [last])]
    return [step._replace(needs=tuple(renamed.get(each, each) for each in step.needs)) for step in steps]


def in_dependency_order(tasks: Mapping[Any, Any], outputs: Collection[Any], there: Collection[Any] = ()) -> list[Any]:
    """The keys that the outputs need, each after those it needs; what is `there` already is left out."""
    order: list[Any] = []
    seen: set[Any] = set()
    stack = [(key, False) for key in outputs]
    while stack:
        key, ready = stack.pop()
        if ready:
            order.append(key)
        elif key not in seen and key in tasks and key not in there:
            seen.add(key)
            stack.append((key, True))
            stack += [(needed, False) for needed in tasks[key].dependencies if needed not in seen]
    return order


def _step(key: Any, node: Any, literals: Mapping[Any, Any]) -> TaskStep:
    from dask._task_spec import Alias, DataNode

    options = getattr(node, "kwargs", {})
    axes = options.get("axis") if options.get("keepdims") is True else None
    return TaskStep(
        key=key,
        needs=tuple(each for each in node.dependencies if each not in literals),
        data=tuple(_data_of(node, literals)),
        reduced=axes if isinstance(axes, tuple) else () if axes is None else (axes,),
        kind="alias" if isinstance(node, Alias) else "data" if isinstance(node, DataNode) else "task",
    )


def _data_of(value: Any, literals: Mapping[Any, Any]) -> Iterator[Any]:
    """The objects in a task, out of its arguments, their lists and the tasks within them."""
    from dask._task_spec import Alias, DataNode, Task, TaskRef

    if isinstance(value, TaskRef | Alias):
        reference = value.key if isinstance(value, TaskRef) else value.target
        if reference in literals:
            yield from _data_of(literals[reference], {})
    elif isinstance(value, DataNode):
        yield value.value
    elif isinstance(value, Task):
        data = [each for item in (*value.args, *value.kwargs.values()) for each in _data_of(item, literals)]
        if getattr(value.func, "__name__", "") == "read_block_from_file" and len(data) > 2:
            file, _, length, *data = data
            yield FileBlock(file, length if isinstance(length, int) else None)
        yield from data
    elif isinstance(value, list | tuple | dict) and len(value) < LONGEST_LIST:
        for each in value.values() if isinstance(value, dict) else value:
            yield from _data_of(each, literals)
    else:
        yield value
