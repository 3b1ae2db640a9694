"""A fitted model where the tasks are: once on every worker process, however many tasks use it."""

from __future__ import annotations

import pickle
from typing import Any

import cloudpickle
import xxhash
from dask._task_spec import Task
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph

IN_GRAPH_BYTES = 4 << 20
"""A model of up to so many bytes, pickled, is one task of the graph; a larger one is sent ahead to the workers."""


def placed(model: Any, client: Any, before: Delayed | None = None) -> Delayed:
    """A model as one lazy value, named by its content, that any number of tasks can take.

    Parameters
    ----------
    model : object
        A fitted model. It is copied as it is now: what changes it later does not change the lazy value.
    client : distributed.Client or None
        The current client.
    before : Delayed, optional
        What this function returned before; given back where it is of the same content and still there.

    Returns
    -------
    Delayed
        With a client and a model larger than `IN_GRAPH_BYTES`, it refers to a Future that every worker process has.

    Notes
    -----
    A small model is one task that unpickles it: one worker runs that, the others copy the result, and after the loss of
    a worker it is run again.
    """
    payload = cloudpickle.dumps(model, protocol=5)
    key = f"model-{xxhash.xxh3_128_hexdigest(payload)}"
    if client is None or client.asynchronous or len(payload) <= IN_GRAPH_BYTES:
        return _lazy(key, {key: Task(key, pickle.loads, payload)})
    if before is not None and before.key == key and _there(client, key):
        return before
    return _lazy(key, client.scatter({key: model}, broadcast=True))


def _lazy(key: str, layer: dict[str, Any]) -> Delayed:
    return Delayed(key, HighLevelGraph.from_collections(key, layer, dependencies=[]))


def _there(client: Any, key: str) -> bool:
    state = client.futures.get(key)
    return state is not None and state.status == "finished"
