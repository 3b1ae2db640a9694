"""``daskhpc.ddp.train``: run a function once in each of several ranks that are joined in a torch process group."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import pickle
import re
import threading
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..clients import current_client, is_open
from ..compat.cloudpickle import dumps
from ..errors import DaskhpcError, SettingsError, one_line
from ..journal.describe import describe
from .attempt import TrainingOptions
from .restarts import TrainingWithRestarts

if TYPE_CHECKING:
    import pandas as pd
    from distributed import Client

_CLEANUP_SECONDS = 15.0
_STOPPED_SECONDS = 120.0


class TrainingResult(list[Any]):
    """What the function returned in each rank, in the order of the ranks.

    Attributes
    ----------
    log : pandas.DataFrame
        A row for each call of ``log``, in the order of time: ``rank``, ``epoch``, ``step``, ``time`` (Unix), numbers.
    checkpoint : pathlib.Path or None
        The last one.
    restarts : int
        How often the training was begun again after a failure.
    world_size : int
    """

    log: pd.DataFrame
    checkpoint: Path | None
    restarts: int

    @property
    def world_size(self) -> int:
        """How many ranks there were."""
        return len(self)


def train(
    function: Callable[..., Any] | str | os.PathLike[str],
    /,
    *args: Any,
    world_size: int | None = None,
    backend: str = "auto",
    threads: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    keep: int = 2,
    max_restarts: int = 0,
    timeout: float | str = "10 min",
    start_timeout: float | str = "60 s",
    env: Mapping[str, str | None] | None = None,
    progress: bool | str = "auto",
    client: Client | None = None,
    **kwargs: Any,
) -> TrainingResult:
    """Run ``function(*args, **kwargs)`` once in each of `world_size` processes joined in a torch process group.

    Each rank is a process of its own on another Dask worker. It has torchrun's environment, and the function has
    `daskhpc.ddp.context()` for what it needs to know and do.

    Parameters
    ----------
    function : callable or path
        Called as it stands; or the path of a script that was written for torchrun: `args` are its arguments.
    *args, **kwargs
        Of the function. Large arrays are better loaded within it, by ``context().shared``.
    world_size : int, optional
        How many ranks. By default one on every worker process; if the workers have GPUs, at most one for each GPU.
    backend : str
        "auto" is nccl if every rank has a GPU of its own, else gloo; or any name that torch knows.
    threads : int, optional
        Of each rank; the worker's by default.
    checkpoint : path, optional
        A folder that all nodes see. A training found there goes on where it stopped.
    keep : int
        So many of the last checkpoints are kept, besides the best one.
    max_restarts : int
        How often a training that failed is begun again from its last checkpoint, on another worker if one is lost.
        An exception before the first save is not tried again.
    timeout : float or str
        A rank without a batch or a ``log`` for so long ends the training; torch's collective calls have as long.
    start_timeout : float or str
        Within this all ranks have to begin.
    env : mapping, optional
        Further environment variables of the ranks; None removes one.
    progress : bool or "auto"
        Whether it shows how far it is.
    client : distributed.Client, optional
        The current one by default.

    Returns
    -------
    TrainingResult
        A list of what each rank returned, with ``.log``, ``.checkpoint`` and ``.restarts``.

    Raises
    ------
    SettingsError
        If an argument cannot be used, or there are fewer worker processes than ranks.
    TrainingError
        If the training failed: it names the rank that was first, its host and the line, and its cause is the exception
        that was raised there. No process of the training is left then.

    Examples
    --------
    >>> import daskhpc
    >>> def fit(scale):
    ...     run = daskhpc.ddp.context()
    ...     return run.mean(scale * run.rank)
    >>> from distributed import Client, LocalCluster
    >>> with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster):
    ...     list(daskhpc.ddp.train(fit, 10, progress=False))
    [5.0, 5.0]
    """
    options = _checked(
        world_size, backend, threads, checkpoint, keep, max_restarts, _seconds(timeout), _seconds(start_timeout), env
    )
    used = _client(client)
    payload = _payload(function, args, kwargs)
    training = TrainingWithRestarts(used, f"{uuid.uuid4().hex[:12]}", options, payload, _shown(progress))
    with training.kept():
        try:
            values = _run(used, training)
        except DaskhpcError as failed:
            failed.__traceback__ = None  # these lines are of this package; the user's are in the cause
            raise failed from failed.__cause__
        if values is None:
            # All ranks have saved and stopped, because the time limit is near: the program is about to be ended.
            threading.Event().wait(_STOPPED_SECONDS)
            raise SystemExit(75)
        result = TrainingResult(pickle.loads(value) for value in values)
        result.log, result.checkpoint = training.log(), training.last_checkpoint()
        result.restarts = training.restarts
    return result


def _run(client: Any, training: TrainingWithRestarts) -> list[bytes] | None:
    """Run the training on the client's loop; what interrupts this thread ends the training first."""
    over = threading.Event()

    async def run() -> list[bytes] | None:
        try:
            return await training.run()
        finally:
            over.set()

    future = asyncio.run_coroutine_threadsafe(run(), client.loop.asyncio_loop)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        with contextlib.suppress(KeyboardInterrupt):
            over.wait(_CLEANUP_SECONDS)
        raise


def _checked(
    world_size: int | None,
    backend: str,
    threads: int | None,
    checkpoint: str | os.PathLike[str] | None,
    keep: int,
    max_restarts: int,
    timeout: float,
    start_timeout: float,
    env: Mapping[str, str | None] | None,
) -> TrainingOptions:
    for name, value, least in (
        ("world_size", world_size, 1),
        ("threads", threads, 1),
        ("keep", keep, 1),
        ("max_restarts", max_restarts, 0),
    ):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise SettingsError(
                f"{name}= of a training is a whole number, {least} or more.", repr(value), f"{name}={least}"
            )
    if not isinstance(backend, str):
        raise SettingsError("backend= of a training is a name.", repr(backend), "backend='gloo'")
    for variable, text in (env or {}).items():
        if not isinstance(text, str | None):
            raise SettingsError(
                "env= of a training has texts, or None.", f"{variable!r}: {text!r}", f'env={{"{variable}": "{text}"}}'
            )
    folder = Path(checkpoint).absolute() if checkpoint is not None else None
    return TrainingOptions(
        world_size, backend, threads, folder, keep, max_restarts, timeout, start_timeout, dict(env or {})
    )


def _seconds(value: float | str) -> float:
    from dask.utils import parse_timedelta

    try:
        # Dask knows "10 minutes" and "10m", not "10 min".
        text = re.sub(r"\bmins?\b|(?<=\d)mins?\b", "minutes", value) if isinstance(value, str) else value
        seconds = float(parse_timedelta(text))
    except (ValueError, KeyError, TypeError):
        raise SettingsError("A timeout is a number of seconds, or a text.", repr(value), "timeout='10 min'") from None
    if not seconds > 0:
        raise SettingsError("A timeout is more than 0 seconds.", repr(value), "timeout='10 min'")
    return seconds


def _client(client: Any) -> Any:
    used = current_client() if client is None else client
    if used is None or not is_open(used) or used.asynchronous:
        found = "no current client" if client is None else describe(client)
        raise SettingsError(
            "A training needs the workers of a Dask client.",
            found,
            "daskhpc.start() before it; or call the function itself, which then is rank 0 of 1",
        )
    return used


def _payload(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    if isinstance(function, str | os.PathLike):
        if kwargs:
            raise SettingsError(
                "A script takes arguments as texts.", f"{', '.join(kwargs)}=", "train('script.py', '--lr', '0.1')"
            )
        path = os.path.abspath(function)
        if not os.path.isfile(path):
            raise SettingsError("There is no such script.", path, "the path of a script, or a function")
        return pickle.dumps([path, *map(str, args)])
    if not callable(function):
        raise SettingsError("train() is given a function or a script.", describe(function), "train(fit, 0.1)")
    _fits(function, args, kwargs)
    try:
        return dumps((function, args, kwargs))
    except Exception as error:
        raise SettingsError(
            "The training function and its arguments cannot be sent to the ranks.",
            f"{_culprit(function, args, kwargs)}{one_line(error)}",
            "make such an object within the function: a lock, a connection, an open file",
        ) from None


def _fits(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """See that the function takes its arguments, before any rank begins."""
    if not inspect.isfunction(function) or hasattr(function, "__signature__"):
        return
    signature = inspect.signature(function, follow_wrapped=False)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        name = function.__name__
        raise SettingsError(
            "The training function does not take these arguments.",
            f"{name}{signature}: {error}",
            f"train({name}, ...) with the arguments of {name} after it",
        ) from None


def _culprit(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """The first thing that cannot be sent: an argument, or what the function uses."""
    values = [(f"argument {number}", value) for number, value in enumerate(args, 1)]
    values += [(f"{name}=", value) for name, value in kwargs.items()]
    with contextlib.suppress(TypeError, ValueError):
        used = inspect.getclosurevars(function)
        values += [(f"the function uses {name}", value) for name, value in {**used.globals, **used.nonlocals}.items()]
    for name, value in values:
        try:
            dumps(value)
        except Exception:
            return f"{name} ({describe(value)}): "
    return ""


def _shown(progress: bool | str) -> bool:
    if progress not in (True, False, "auto"):
        raise SettingsError("progress= of a training is True, False or 'auto'.", repr(progress), "progress=False")
    return progress is not False
