"""Running the user's program as plain python would, in a process that already has a cluster."""

from __future__ import annotations

import importlib.util
import io
import os
import runpy
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn


def set_path(target: str, module: bool) -> None:
    """Set sys.path[0] to what ``python target`` or ``python -m target`` would set.

    Done on every rank before the cluster starts, since worker processes inherit the path: modules beside the script
    can be imported there.
    """
    first = os.getcwd() if module else str(Path(target).resolve().parent)
    sys.path[0] = first


def run_as_main(target: str, arguments: Sequence[str], module: bool) -> NoReturn:
    """Run a script or a module as ``__main__`` and end this process as python would.

    Parameters
    ----------
    target : str
        Path of the script, or name of the module.
    arguments : Sequence[str]
        Becomes ``sys.argv[1:]``.
    module : bool
        Whether `target` is a module's name.

    Raises
    ------
    SystemExit
        With the program's own exit code; 1 after an uncaught exception, whose traceback shows the program alone, and
        130 after an interrupt.
    """
    use_running_cluster()
    sys.argv[:] = [target, *arguments]
    try:
        if module:
            runpy.run_module(target, run_name="__main__", alter_sys=True)
        else:
            _execute(target)
    except SystemExit:
        raise
    except BaseException as error:
        own = _without_our_frames(error.__traceback__, target)
        sys.excepthook(type(error), error.with_traceback(own), own)
        raise SystemExit(130 if isinstance(error, KeyboardInterrupt) else 1) from None
    raise SystemExit(0)


def _execute(target: str) -> None:
    """Run a file in a fresh ``__main__``, which stays until the process ends."""
    path = os.path.abspath(target)
    with io.open_code(path) as file:
        source = file.read()
    main = types.ModuleType("__main__")
    main.__dict__.update(__file__=path, __cached__=None, __builtins__=__builtins__)
    sys.modules["__main__"] = main
    exec(compile(source, path, "exec"), main.__dict__)


def _without_our_frames(trace: types.TracebackType | None, target: str) -> types.TracebackType | None:
    """The traceback from the first frame that is neither this module's nor runpy's."""
    ours = {__file__, "<frozen runpy>", runpy.__file__}
    while trace is not None and trace.tb_frame.f_code.co_filename in ours:
        trace = trace.tb_next
    return trace


def use_running_cluster() -> None:
    """Let a program that starts its own cluster use the one that runs.

    ``dask_mpi.initialize`` in it returns at once, as it does on a client's rank, and says which of its arguments had
    no effect; ``dask_mpi.execute`` calls the function. ``Client()`` finds the address in Dask's configuration.
    """
    if importlib.util.find_spec("dask_mpi") is None:
        return
    import dask_mpi

    from .bootstrap import initialize, send_close_signal

    def run_here(client_function: Any = None, client_args: Any = (), client_kwargs: Any = None, **_: Any) -> None:
        if callable(client_function):
            client_function(*client_args, **(client_kwargs or {}))

    dask_mpi.initialize = initialize
    dask_mpi.execute = run_here
    dask_mpi.send_close_signal = send_close_signal
