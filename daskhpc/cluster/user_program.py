"""Runs the user's program as plain python would, in a process that already has a cluster."""

from __future__ import annotations

import builtins
import io
import linecache
import os
import runpy
import sys
import tokenize
import types
from collections.abc import Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any, NoReturn

from ..compat import python as compat_python
from ..compat.dask_mpi import replace_functions
from ..errors import DaskhpcError
from .session import session
from .world import say

# Python itself imports these before any program: under plain python no file beside it stands in for them either.
_IMPORTED_BY_PYTHON = frozenset(
    (
        "__main__",
        "abc",
        "codecs",
        "encodings",
        "genericpath",
        "io",
        "os",
        "posixpath",
        "site",
        "stat",
        "sys",
        "zipimport",
    )
)


def share_folder(target: str, module: bool, snapshot: str | None = None) -> None:
    """On every rank, before the cluster starts: let worker processes find the modules beside the program.

    Why it is so: were the folder the first of all while Dask is imported, a ``glob.py`` or ``queue.py`` of the user in
    it would stand in for Python's own in the middle of Dask, in every process. So it is the last on the ranks; a worker
    process puts it first when it has started (`worker_preload`), and the client when the program begins.

    Parameters
    ----------
    target : str
        Path of the program, or name of the module.
    module : bool
        Whether `target` is a module's name.
    snapshot : str, optional
        Folder with copies of the program and of its modules, which stand in for the originals.
    """
    session.program_folder = snapshot or _folder(target, module)
    sys.path.append(session.program_folder)


def put_first(target: str, module: bool, snapshot: str | None = None) -> None:
    """Set sys.path[0] to what ``python target`` or ``python -m target`` would set, and name what is hidden there.

    A snapshot comes before it. What is not in the snapshot, as modules of computed names, is then still found.
    """
    first = _folder(target, module)
    if sys.flags.safe_path:
        sys.path.insert(0, first)
    else:
        sys.path[0] = first
    if snapshot is not None:
        sys.path.insert(0, snapshot)
    hidden = hidden_modules(Path(first), None if module else Path(target).resolve())
    if hidden:
        files = ", ".join(hidden)
        say(
            DaskhpcError(
                f"Modules beside the program have names that Python or Dask uses: {files}.",
                "Python's or Dask's own were imported before the program began, so the program gets those",
                f"other names for {files} if the program imports them",
            )
        )


def hidden_modules(folder: Path, program: Path | None) -> list[str]:
    """The modules of a folder that an import would not find any more, since another of that name was imported.

    Parameters
    ----------
    folder : Path
    program : Path or None
        The program itself, which is not imported.
    """
    hidden = []
    for path in sorted(folder.glob("*")):
        is_package = (path / "__init__.py").is_file()
        name = path.name if is_package else path.stem
        known = name in sys.modules and name not in _IMPORTED_BY_PYTHON
        if not known or not (is_package or path.suffix == ".py") or path.resolve() == program:
            continue
        origin = getattr(sys.modules[name], "__file__", None)
        own = path / "__init__.py" if is_package else path
        if origin is None or Path(origin).resolve() != own.resolve():
            hidden.append(path.name)
    return hidden


def _folder(target: str, module: bool) -> str:
    return os.getcwd() if module else str(Path(target).resolve().parent)


def run_as_main(target: str, arguments: Sequence[str], module: bool, snapshot: str | None = None) -> NoReturn:
    """Run a script or a module as ``__main__`` and end this process as python would.

    Parameters
    ----------
    target : str
        Path of the script, or name of the module.
    arguments : Sequence[str]
        Becomes ``sys.argv[1:]``.
    module : bool
        Whether `target` is a module's name.
    snapshot : str, optional
        Folder with a copy of the script, which is run in its place, under its name: what lies beside the script is
        found, and a function has the same token in each job.

    Raises
    ------
    SystemExit
        With the program's own exit code; 1 after an uncaught exception, whose traceback shows the program alone, and
        130 after an interrupt.
    """
    use_running_cluster()
    sys.argv[:] = [target, *arguments]
    error = _uncaught(target, module, snapshot)
    if error is None:
        raise SystemExit(0)
    _report(error, _without_our_frames(error.__traceback__))
    raise SystemExit(130 if isinstance(error, KeyboardInterrupt) else 1)


def _uncaught(target: str, module: bool, snapshot: str | None) -> BaseException | None:
    """Run the program; the exception that it did not catch, SystemExit apart."""
    main = _fresh_main()
    try:
        if module:
            compat_python.run_module_as_main(target)
        else:
            path = os.path.join(os.getcwd(), target)
            _execute(path, main, path if snapshot is None else os.path.join(snapshot, os.path.basename(target)))
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


def _execute(path: str, main: types.ModuleType, copy: str) -> None:
    with io.open_code(copy) as file:
        source = file.read()
    main.__dict__.update(__file__=path, __loader__=SourceFileLoader("__main__", path))
    code = compile(source, path, "exec", dont_inherit=True)
    if copy != path:
        # Tracebacks show the lines that run, and not those that the file may have by now. No time of change: it stays.
        with open(copy, encoding=tokenize.detect_encoding(io.BytesIO(source).readline)[0]) as text:
            linecache.cache[path] = (len(source), None, text.readlines(), path)
    exec(code, main.__dict__)


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

    ``dask_mpi.initialize`` in it returns at once, as it does on a client's rank, and prints which of its arguments had
    no effect; ``dask_mpi.execute`` calls the function. ``Client()`` finds the address in Dask's configuration.
    """
    from .bootstrap import initialize, send_close_signal

    def run_here(client_function: Any = None, client_args: Any = (), client_kwargs: Any = None, **_: Any) -> None:
        if callable(client_function):
            client_function(*client_args, **(client_kwargs or {}))

    replace_functions(initialize=initialize, execute=run_here, send_close_signal=send_close_signal)
