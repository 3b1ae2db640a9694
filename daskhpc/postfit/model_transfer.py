"""How a fitted model gets to the tasks that use it: once to every worker process, however many tasks there are."""

from __future__ import annotations

import functools
import pickle
import threading
from dataclasses import dataclass, field
from typing import Any

import cloudpickle
import xxhash
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph

from ..compat.dask import task
from ..compat.distributed import keep_replicas

IN_GRAPH_BYTES = 4 << 20
"""A model of up to so many bytes, pickled, is in the graph; a larger one is sent ahead to the workers."""

CARRIED_BYTES = 256 << 20
"""A model is carried by the tasks if those of a graph carry no more than this; one second or less of the
scheduler's time."""

MODELS_IN_A_PROCESS = 4
"""Carried models that a process keeps."""


@dataclass(frozen=True, slots=True)
class PickledModel:
    """A pickled model, named by its content, as an argument of tasks."""

    key: str
    payload: bytes = field(compare=False, repr=False)

    def __dask_tokenize__(self) -> str:
        return self.key

    def model(self) -> Any:
        """The model, unpickled once in each process."""
        with _unpickling:  # by one thread: the others would do it at the same time
            return _unpickled(self)


_unpickling = threading.Lock()


@functools.lru_cache(maxsize=MODELS_IN_A_PROCESS)
def _unpickled(pickled: PickledModel) -> Any:
    return pickle.loads(pickled.payload)


def model_for_tasks(model: Any, blocks: int, client: Any, before: Any = None) -> PickledModel | Delayed:
    """A model as so many tasks take it: pickled in each of them, or lazy.

    Parameters
    ----------
    model : object
        A fitted model. It is copied as it is now: what changes it later does not change what is given back.
    blocks : int
        The number of tasks.
    client : distributed.Client or None
        The current client.
    before : object, optional
        What this function returned before; given back if it is lazy, of the same content and still there.

    Notes
    -----
    Dask fuses a task that has one input with what makes that input, so that a block is made and predicted in one go. A
    lazy model is a second input.
    """
    pickled = _pickled(model)
    if len(pickled.payload) <= min(IN_GRAPH_BYTES, CARRIED_BYTES // max(1, blocks)):
        return pickled
    return _lazy_or_sent(model, pickled, client, before)


def lazy_model(model: Any, client: Any) -> Delayed:
    """A model, copied as it is now, as one lazy value.

    Returns
    -------
    Delayed
        With a client and a model larger than `IN_GRAPH_BYTES`, it refers to a Future that every worker process has.
        A smaller one is a task that unpickles it: one worker runs that, the others copy the result, and after the loss
        of a worker it is run again.
    """
    return _lazy_or_sent(model, _pickled(model), client, None)


def _pickled(model: Any) -> PickledModel:
    payload = cloudpickle.dumps(model, protocol=5)
    return PickledModel(f"model-{xxhash.xxh3_128_hexdigest(payload)}", payload)


def _lazy_or_sent(model: Any, pickled: PickledModel, client: Any, before: Any) -> Delayed:
    key = pickled.key
    if client is None or client.asynchronous or len(pickled.payload) <= IN_GRAPH_BYTES:
        return _lazy(key, {key: task(key, pickle.loads, pickled.payload)})
    if isinstance(before, Delayed) and before.key == key and _on_workers(client, key):
        return before
    client.run_on_scheduler(keep_replicas, key)
    return _lazy(key, client.scatter({key: model}, broadcast=True))


def _lazy(key: str, layer: dict[str, Any]) -> Delayed:
    return Delayed(key, HighLevelGraph.from_collections(key, layer, dependencies=[]))


def _on_workers(client: Any, key: str) -> bool:
    state = client.futures.get(key)
    return state is not None and state.status == "finished"
