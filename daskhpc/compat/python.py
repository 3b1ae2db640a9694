"""What daskhpc needs of Python's standard library beyond its public names."""

from __future__ import annotations

import atexit
import contextlib
import dis
import faulthandler
import functools
import logging
import os
import pickle
import runpy
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from types import CodeType, FunctionType
from typing import Any, NoReturn

ABC_ATTRIBUTES = frozenset({"__abstractmethods__", "_abc_impl"})
"""What `abc` puts into each abstract class, which tells nothing of the class itself."""


def is_namedtuple_field(value: Any) -> bool:
    """Whether a class attribute is the descriptor of a field of a named tuple."""
    return type(value).__name__ == "_tuplegetter"


def library_name(library: Any) -> str:
    """The name or path with which `ctypes` loaded a shared library."""
    return str(getattr(library, "_name", ""))


def libraries_of(function: Any) -> list[Any]:
    """The library that a foreign function of `ctypes` is of; empty if it is of none."""
    return list((getattr(function, "_objects", None) or {}).values())


def exception_entries(code: CodeType) -> list[tuple[int, int, int, int, bool]] | None:
    """Where a code object catches exceptions: start, end and target as offsets, the stack's depth, `lasti`.

    Returns
    -------
    list of tuples or None
        None if this Python's `dis` does not tell; ``code.co_exceptiontable`` has the same in bytes.
    """
    entries = getattr(dis.Bytecode(code), "exception_entries", None)
    if entries is None:
        return None
    return [(entry.start, entry.end, entry.target, entry.depth, entry.lasti) for entry in entries]


@contextlib.contextmanager
def in_memory_file(text: str) -> Iterator[str]:
    """The path of a file with this text that is on no disk, for this process: `ssl` takes keys from files alone."""
    descriptor = os.memfd_create("daskhpc")
    try:
        with open(descriptor, "w", closefd=False) as file:
            file.write(text)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def warning_filters() -> list[Any]:
    """The filters of ``warnings``, the one that counts first; empty if this release keeps them elsewhere."""
    return list(getattr(warnings, "filters", ()))


def set_warning_filters(filters: Sequence[Any]) -> None:
    """Have these filters until the enclosing ``warnings.catch_warnings`` ends."""
    warnings.resetwarnings()  # what was already shown may be shown again
    vars(warnings)["filters"] = list(filters)


def spawn_apart(process_name: str, without_path: Callable[[], str] = str) -> None:
    """Keep spawned processes whose name begins with `process_name` apart from this program and from its Ctrl-C.

    Parameters
    ----------
    process_name : str
    without_path : callable
        Gives a folder that is not in their ``sys.path`` when they start; "" for none.

    Why it is so: ``multiprocessing`` tells each spawned process to import the parent's main script first. That is
    right for the user's own processes. For a Dask worker it is wrong: functions of ``__main__`` travel there by
    value, and the import would run the user's script once more in every worker unless it has a guard. The preparation
    data is the one place that decides it; if a release has no ``get_preparation_data``, scripts need the guard.

    Ctrl-C in a terminal goes to these processes, too. In its start each would print a traceback of its imports. So
    SIGINT is blocked in the thread that starts such a process, which Dask has for this alone. The process inherits
    that, until `take_interrupts`.
    """
    import multiprocessing.spawn as spawn

    original = getattr(spawn, "get_preparation_data", None)
    names = getattr(original, "apart", None)
    if names is not None:
        names[process_name] = without_path
    if original is None or names is not None:
        return
    apart = {process_name: without_path}

    def get_preparation_data(name: str) -> dict[str, Any]:
        data: dict[str, Any] = original(name)
        for left_out in [folder() for start, folder in apart.items() if name.startswith(start)]:
            if threading.current_thread() is not threading.main_thread():
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            data.pop("init_main_from_path", None)
            data.pop("init_main_from_name", None)
            data["sys_path"] = [folder for folder in data.get("sys_path", ()) if not left_out or folder != left_out]
        return data

    get_preparation_data.apart = apart  # type: ignore[attr-defined]
    spawn.get_preparation_data = get_preparation_data


def take_interrupts() -> None:
    """In a process of `spawn_apart` that has its handler of SIGINT: take it from now on."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


class _ExitInOrder:
    """``os._exit`` of one process that first calls a function; in any other process it is that process's own."""

    def __init__(self, end: Callable[[], None]) -> None:
        functools.update_wrapper(self, _os_exit)
        self._end, self._pid = end, os.getpid()

    def __call__(self, status: int) -> NoReturn:
        if os.getpid() == self._pid:
            with contextlib.suppress(Exception):
                self._end()
        _os_exit(status)

    def __reduce__(self) -> Any:
        # A task may be os._exit itself: in the process that gets it, it is that process's own.
        return _exit_of_this_process, ()


def _exit_of_this_process() -> Any:
    return os._exit


_os_exit = os._exit


def call_before_os_exit(end: Callable[[], None]) -> None:
    """Let ``os._exit`` of this process, not of those that it forks, call `end` first; the first such `end` counts.

    Why it is so: ``os._exit`` runs no exit handlers. Without this the job of a program that ends so is a job whose
    client died: it ends too, but with a message and a code other than the program's own.
    """
    if os._exit is _os_exit:
        os._exit = _ExitInOrder(end)


def register_below(number: int, descriptor: int) -> Callable[[], None]:
    """``faulthandler.register``, as if it were the signal's default: what the program registers later replaces it.

    Returns
    -------
    callable
        Undoes it, unless it was replaced.

    Why it is so: a second ``faulthandler.register`` of a signal changes the file alone. If the program had set a
    handler of Python in between, that one would go on to be called, and the file would stay empty.
    """
    below = {number}

    def undo() -> None:
        if below:
            below.clear()
            faulthandler.unregister(number)

    original = faulthandler.register
    original(number, descriptor)  # with all threads: of one alone it writes nothing if that has no Python

    @functools.wraps(original)
    def register(signum: int, *args: Any, **kwargs: Any) -> None:
        if signum in below:
            handler = signal.getsignal(signum)
            undo()
            if handler is not signal.SIG_DFL:
                signal.signal(signum, handler)
        original(signum, *args, **kwargs)

    faulthandler.register = register
    return undo


def copy_warnings(receiver: Callable[[str, int, str], None]) -> Callable[[], None]:
    """Give the file, line and text of Python's warnings to `receiver`, and show them as before.

    Returns
    -------
    callable
        Undoes it, unless ``warnings.showwarning`` was replaced again since. (``logging.captureWarnings`` replaces the
        same function, but no longer shows the warnings.)
    """
    before = warnings.showwarning

    def show(message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None) -> None:
        with contextlib.suppress(Exception):
            receiver(filename, lineno, f"{filename}:{lineno}: {category.__name__}: {message}")
        before(message, category, filename, lineno, file, line)

    def undo() -> None:
        if warnings.showwarning is show:
            warnings.showwarning = before

    warnings.showwarning = show
    return undo


def run_module_as_main(name: str) -> None:
    """Run a module as ``python -m`` does.

    Why it is so: ``runpy.run_module`` is public, but takes its module out of ``sys.modules["__main__"]`` when it
    returns; exit handlers and threads that outlive it would find an empty ``__main__``.
    """
    run = getattr(runpy, "_run_module_as_main", None)
    if run is None:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    else:
        run(name)


def waits_for_threads() -> bool:
    """Whether the main thread is over and waits for other threads to end; False if Python does not say."""
    return bool(getattr(threading, "_SHUTTING_DOWN", False))


def ignore_warnings_of_children(warning_filter: str) -> None:
    """Add a filter, as after ``python -W``, for processes that ``multiprocessing`` starts, not for this one."""
    if warning_filter not in sys.warnoptions:
        sys.warnoptions.append(warning_filter)


def loggers_of(families: Sequence[str]) -> list[logging.Logger]:
    """The loggers of these names, which are made if there are none yet, and those below them."""
    for name in families:
        logging.getLogger(name)
    known = dict(getattr(logging.root.manager, "loggerDict", {})) or {
        name: logging.getLogger(name) for name in families
    }
    return [e for name, e in known.items() if name.split(".")[0] in families and isinstance(e, logging.Logger)]


def at_exit(function: Callable[..., object], *args: Any) -> None:
    """``atexit.register`` of this process alone: those that it forks and that end by ``sys.exit`` do not call it."""
    pid = os.getpid()
    atexit.register(lambda: function(*args) if os.getpid() == pid else None)


def send_by_value_what_main_lacks(dumps: Callable[[Any], bytes]) -> None:
    """Let processes that this one spawns have functions and classes of a ``__main__`` that neither can import.

    Python 3.14 starts the processes of a DataLoader so, by a fork server.

    Parameters
    ----------
    dumps : callable
        Pickles a function or a class by value, as cloudpickle does.
    """
    from multiprocessing.reduction import ForkingPickler

    def reducer_override(self: Any, value: Any) -> Any:
        if not isinstance(value, type | FunctionType) or value.__module__ != "__main__":
            return NotImplemented
        found = getattr(sys.modules["__main__"], value.__qualname__, None)
        return NotImplemented if found is value else (pickle.loads, (dumps(value),))

    vars_of_pickler: Any = ForkingPickler
    vars_of_pickler.reducer_override = reducer_override


def forget_exit_handlers() -> None:
    """In a process that was forked: the functions of ``atexit`` are those of the other one, which runs them itself."""
    getattr(atexit, "_clear", lambda: None)()


def run_exit_handlers() -> None:
    """Do what Python does before a program ends, in a process that ends by ``os._exit``; what is raised is printed.

    It waits for threads, and for what executors have still to do. Then it runs the functions of ``atexit``.
    """
    getattr(threading, "_shutdown", lambda: None)()
    getattr(atexit, "_run_exitfuncs", lambda: None)()
