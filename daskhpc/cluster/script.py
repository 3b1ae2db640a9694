"""Runs the user's program as plain python would, in a process that already has a cluster."""

from __future__ import annotations

import builtins
import io
import os
import runpy
import sys
import types
from collections.abc import Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any, NoReturn

from ..compat import python as compat_python
from ..compat.dask_mpi import replace_functions


def set_path(target: str, module: bool) -> None:
    """Set sys.path[0] to what ``python target`` or ``python -m target`` would set.

    Done on every rank before the cluster starts, since worker processes inherit the path: modules beside the script
    can be imported there.
    """
    first = os.getcwd() if module else str(Path(target).resolve().parent)
    if sys.flags.safe_path:
        sys.path.insert(0, first)
    else:
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
    error = _uncaught(target, module)
    if error is None:
        raise SystemExit(0)
    _report(error, _without_our_frames(error.__traceback__))
    raise SystemExit(130 if isinstance(error, KeyboardInterrupt) else 1)


def _uncaught(target: str, module: bool) -> BaseException | None:
    """Run the program; the exception that it did not catch, SystemExit apart."""
    main = _fresh_main()
    try:
        if module:
            compat_python.run_module_as_main(target)
        else:
            _execute(os.path.join(os.getcwd(), target), main)
    except SystemExit:
        raise
    except BaseException as error:
        return error
    return None


def _fresh_main() -> types.ModuleType:
    """An empty ``__main__`` with the names that python gives one, in place of the command's own."""
    names: dict[str, Any] = {"__builtins__": builtins}
    if sys.version_info < (3, 14):
        names["__annotations__"] = {}
    if sys.version_info < (3, 15):
        names["__cached__"] = None
    main = types.ModuleType("__main__")
    vars(main).update(names)
    sys.modules["__main__"] = main
    return main


def _execute(path: str, main: types.ModuleType) -> None:
    with io.open_code(path) as file:
        source = file.read()
    main.__dict__.update(__file__=path, __loader__=SourceFileLoader("__main__", path))
    exec(compile(source, path, "exec", dont_inherit=True), main.__dict__)


def _report(error: BaseException, trace: types.TracebackType | None) -> None:
    """Hand an uncaught exception to the program's own hook, as the interpreter does."""
    error = error.with_traceback(trace)
    try:
        sys.excepthook(type(error), error, trace)
    except BaseException as failed:
        inner = failed.__traceback__
        print("Error in sys.excepthook:", file=sys.stderr)
        own = inner.tb_next if inner else None
        sys.__excepthook__(type(failed), failed.with_traceback(own), own)
        print("\nOriginal exception was:", file=sys.stderr)
        sys.__excepthook__(type(error), error, trace)


def _without_our_frames(trace: types.TracebackType | None) -> types.TracebackType | None:
    """The traceback from the first frame of the program: after those of this module, of compat and of runpy."""
    ours = {__file__, compat_python.__file__, "<frozen runpy>", runpy.__file__}
    while trace is not None and trace.tb_frame.f_code.co_filename in ours:
        trace = trace.tb_next
    return trace


def use_running_cluster() -> None:
    """Let a program that starts its own cluster use the one that runs.

    ``dask_mpi.initialize`` in it returns at once, as it does on a client's rank, and says which of its arguments had
    no effect; ``dask_mpi.execute`` calls the function. ``Client()`` finds the address in Dask's configuration.
    """
    from .bootstrap import initialize, send_close_signal

    def run_here(client_function: Any = None, client_args: Any = (), client_kwargs: Any = None, **_: Any) -> None:
        if callable(client_function):
            client_function(*client_args, **(client_kwargs or {}))

    replace_functions(initialize=initialize, execute=run_here, send_close_signal=send_close_signal)
