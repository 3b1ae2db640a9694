"""``daskhpc.ddp.evaluate``: a model's predictions for a whole dataset, each sample once, in order, on all workers."""

from __future__ import annotations

import contextlib
import itertools
import pickle
import uuid
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from ..clients import current_client, current_worker, inside_task
from ..cluster.children import Child, children_of
from ..compat.cloudpickle import dumps
from ..errors import SettingsError
from ..journal.describe import describe
from ..parallel import program_world
from .raised_errors import RaisedError

if TYPE_CHECKING:
    import numpy as np
    from distributed import Client

_TASKS_PER_WORKER = 4
_TARGET = "daskhpc.ddp.evaluation:serve"


def evaluate(
    model: Any, dataset: Any, batch_size: int = 256, method: str | None = None, client: Client | None = None
) -> np.ndarray[Any, Any]:
    """Predict every sample of a dataset once, in its order, on all workers.

    No process group is needed, and no sample is repeated to fill a batch, as a distributed sampler would. A worker that
    is lost costs nothing but its unfinished share.

    Parameters
    ----------
    model : torch.nn.Module
        It is copied to the workers in evaluation mode.
    dataset : torch.utils.data.Dataset
        One with a length and an index; of an item that is a tuple or a list the first part goes to the model.
    batch_size : int
    method : str, optional
        What is called in place of the model itself, such as "predict".
    client : distributed.Client, optional
        The current one by default; without any, and in a rank of one, this process computes. In a training of several
        ranks all ranks call it, share the work, and get all predictions.

    Returns
    -------
    numpy.ndarray, shape (n, ...)
        Of shape (0,) for an empty dataset.

    Raises
    ------
    SettingsError
        If the dataset has no length, or the model gives several arrays for a batch.
    Exception
        What the model or the dataset raises.

    Notes
    -----
    Every batch is the one that a single process would make, so that the results are equal to the last bit if the number
    of threads is.

    Examples
    --------
    >>> import torch, daskhpc
    >>> data = torch.utils.data.TensorDataset(torch.arange(6.0).reshape(3, 2), torch.zeros(3))
    >>> daskhpc.ddp.evaluate(torch.nn.Identity(), data, batch_size=2).tolist()
    [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]
    """
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise SettingsError("evaluate() needs a dataset with a length and an index.", describe(dataset), "a Dataset")
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise SettingsError("batch_size= is how many samples a batch has.", repr(batch_size), "batch_size=256")
    used = client if client is not None else (None if inside_task() else current_client())
    starts = list(range(0, len(dataset), batch_size))
    if used is None:
        parts = _in_ranks(model, dataset, batch_size, method, starts)
    else:
        parts = _on_workers(used, (model, dataset, batch_size, method), starts)
    return _joined(parts)


def _joined(parts: list[Any]) -> np.ndarray[Any, Any]:
    import numpy as np

    return np.concatenate(parts) if parts else np.empty(0)


def _in_ranks(model: Any, dataset: Any, batch_size: int, method: str | None, starts: list[int]) -> list[Any]:
    """In this process; in a training each rank takes whole batches, and all get all."""
    from .rank_context import context
    from .saving import plain

    run = context()
    # Without DDP: its forward pass is a collective call if there are buffers, and the ranks' batches may be uneven.
    model = plain(model)
    own = shares(len(starts), run.world_size)[run.rank]
    chosen = [starts[index] for index in own]
    if run.world_size == 1:
        return predictions(model, dataset, batch_size, method, chosen)
    import torch.distributed as dist

    # Those of rank 0 count, as in a checkpoint: means that BatchNorm keeps are each rank's own until the next batch.
    for buffer in model.buffers():
        dist.broadcast(buffer, 0)
    parts = predictions(model, dataset, batch_size, method, chosen)
    every: list[Any] = [None] * run.world_size
    dist.all_gather_object(every, parts)
    return list(itertools.chain.from_iterable(every))


def shares(batches: int, count: int) -> list[range]:
    """Successive ranges of batches, as equal as can be; some are empty if there are more ranges than batches.

    Examples
    --------
    >>> shares(5, 2), shares(1, 2)
    ([range(0, 2), range(2, 5)], [range(0, 0), range(0, 1)])
    """
    return [range(index * batches // count, (index + 1) * batches // count) for index in range(count)]


def predictions(model: Any, dataset: Any, batch_size: int, method: str | None, starts: list[int]) -> list[Any]:
    """Predictions of the batches that begin at these samples, as arrays."""
    import torch
    from torch.utils.data import default_collate

    first = next(model.parameters(), None)
    device = first.device if first is not None else torch.device("cpu")
    predict = model if method is None else getattr(model, method)
    modes = [(module, module.training) for module in model.modules()]  # a program may have frozen some of them
    model.eval()
    found = []
    try:
        with torch.inference_mode():
            for start in starts:
                items = [dataset[index] for index in range(start, min(start + batch_size, len(dataset)))]
                inputs = default_collate([item[0] if isinstance(item, tuple | list) else item for item in items])
                output = predict(inputs.to(device) if hasattr(inputs, "to") else inputs)
                if isinstance(output, tuple | dict):
                    raise SettingsError(
                        "evaluate() needs one array of predictions for a batch.",
                        f"the model gives a {type(output).__name__}",
                        "method= with the name of a method of the model that gives one of them",
                    )
                found.append(output.cpu().numpy() if hasattr(output, "cpu") else output)
    finally:
        model.train(modes[0][1])
        for module, training in modes:
            module.training = training
    return found


def _on_workers(client: Any, work: tuple[Any, Any, int, str | None], starts: list[int]) -> list[Any]:
    workers = len(client.ncores())
    if not workers or not starts:
        return predictions(*work, starts) if starts else []
    payload = dumps((_plain_on_cpu(work[0]), *work[1:]))
    name, world = uuid.uuid4().hex[:12], program_world.capture()
    # On all workers, because data that only a lost worker had could not be made anew.
    (held,) = client.scatter([payload], broadcast=True, hash=False)
    ranges = [own for own in shares(len(starts), _TASKS_PER_WORKER * workers) if len(own)]
    futures = [
        client.submit(
            _predict, name, world, held, [starts[i] for i in own], key=f"ddp-evaluate-{name}-{number}", pure=False
        )
        for number, own in enumerate(ranges)
    ]
    try:
        found = client.gather(futures)
        failed = next((own for own in found if isinstance(own, RaisedError)), None)
        if failed is not None:
            raise failed.error()
        return [pickle.loads(part) for own in found for part in own]
    finally:
        with contextlib.suppress(Exception):
            client.cancel(futures)
            client.run(_end, name, on_error="ignore")


def _plain_on_cpu(model: Any) -> Any:
    import copy

    from .saving import plain

    own = plain(model)
    parameter = next(own.parameters(), None)
    return own if parameter is None or parameter.device.type == "cpu" else copy.deepcopy(own).cpu()


_children: dict[str, list[Child]] = {}


@contextlib.contextmanager
def _child(name: str, world: bytes, payload: bytes, worker: Any) -> Iterator[Child]:
    """A child process of this worker that has the model, from before or new; no other task uses it within."""
    idle = _children.setdefault(name, [])
    try:
        child = idle.pop()
    except IndexError:
        child = children_of(worker, (_TARGET.partition(":")[0], "numpy")).start(_TARGET)
        child.send(pickle.dumps((worker.state.nthreads, world)))
        child.send(payload)
    try:
        yield child
    except BaseException:
        child.close()
        raise
    if name in _children:
        _children[name].append(child)
    else:
        child.close()


def _predict(name: str, world: bytes, payload: bytes, starts: list[int]) -> Any:
    """The task: predictions of some batches, or an exception, by a child process: no worker imports torch."""
    with _child(name, world, payload, current_worker()) as child:
        child.send(pickle.dumps(starts))
        try:
            answer = pickle.loads(child.receive())
        except EOFError:
            raise RuntimeError(f"the process that predicts ended with status {child.status(5)}") from None
    return answer


def _end(name: str) -> None:
    for child in _children.pop(name, []):
        child.close()


def serve(connection: Connection[Any, Any]) -> None:
    """Predict batches until the worker is done: called in a new child process of a worker."""
    threads, world = pickle.loads(connection.recv_bytes())
    program_world.enter(world)
    payload = connection.recv_bytes()
    try:
        import torch

        torch.set_num_threads(threads)
        work = pickle.loads(payload)
        failed = None
    except Exception as error:
        work, failed = None, error
    while True:
        try:
            starts = pickle.loads(connection.recv_bytes())
        except (EOFError, OSError):
            return
        try:
            if failed is not None:
                raise failed
            model, dataset, batch_size, method = work
            parts = predictions(model, dataset, batch_size, method, starts)
            answer: Any = [pickle.dumps(part) for part in parts]
        except Exception as error:
            answer = RaisedError.of(error)
        connection.send_bytes(pickle.dumps(answer))
