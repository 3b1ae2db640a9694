"""What is known of Python's standard library beyond its public names is still so."""

from __future__ import annotations

import abc
import ctypes
import logging
import multiprocessing.spawn
import os
import pickle
import signal
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import NamedTuple

import cloudpickle
import pytest

from daskhpc.compat import python as compat


def test_where_code_catches_exceptions_is_known() -> None:
    def catching() -> None:
        try:
            print()
        except ValueError:
            print("caught")

    assert compat.exception_entries(catching.__code__)
    assert compat.exception_entries((lambda: 1).__code__) == []


def test_filters_of_warnings_are_taken_over_in_order() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="quiet")
        filters = compat.warning_filters()
    with warnings.catch_warnings():
        compat.set_warning_filters(filters)
        assert compat.warning_filters() == filters
        warnings.warn("quiet", stacklevel=1)
        with pytest.raises(UserWarning, match="loud"):
            warnings.warn("loud", stacklevel=1)


def test_spawned_processes_of_a_name_do_not_import_main(monkeypatch: pytest.MonkeyPatch) -> None:
    """``spawn_apart``, with a main script as ``python script.py`` has it."""
    monkeypatch.setattr(multiprocessing.spawn, "get_preparation_data", multiprocessing.spawn.get_preparation_data)
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "/somewhere/script.py", raising=False)
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    for name in ("Dask Worker", "Dask Worker", "another"):
        compat.spawn_apart(name, lambda: "/beside")
    monkeypatch.setattr(sys, "path", ["/beside", "/lib"])
    paths = [multiprocessing.spawn.get_preparation_data(name)["sys_path"] for name in ("Dask Worker-1", "Process-1")]
    assert paths == [["/lib"], ["/beside", "/lib"]]

    def imported(process: str) -> bool:
        return "init_main_from_path" in multiprocessing.spawn.get_preparation_data(process)

    assert [imported(name) for name in ("Dask Worker process-1", "another", "Process-1")] == [False, False, True]


def test_a_process_that_is_spawned_apart_takes_no_interrupt_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """It inherits what the thread that starts it blocks, which is none of this program's others."""
    monkeypatch.setattr(multiprocessing.spawn, "get_preparation_data", multiprocessing.spawn.get_preparation_data)
    compat.spawn_apart("Dask Worker")

    def blocked_in_child(name: str) -> list[bool]:
        queue: multiprocessing.Queue[bool] = context.Queue()
        process = context.Process(target=tell_blocked, args=(queue,), name=name)
        process.start()
        found = [queue.get(timeout=100) for _ in range(2)]
        process.join(100)
        return found

    context = multiprocessing.get_context("spawn")
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(blocked_in_child, "Dask Worker process-1").result() == [True, False]
    assert blocked_in_child("Process-1") == [False, False]


def tell_blocked(queue: multiprocessing.Queue[bool]) -> None:
    for _ in range(2):
        queue.put(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        compat.take_interrupts()


EXIT = """
import os, pickle, sys
from daskhpc.compat.python import call_before_os_exit

call_before_os_exit(lambda: print("in order", flush=True))
if os.fork() == 0:
    os._exit(0)
os.wait()
os._exit(3)
"""


def test_a_function_runs_before_os_exit_of_its_own_process() -> None:
    """``call_before_os_exit``; a forked child leaves at once, and the function that is pickled is the receiver's."""
    done = subprocess.run([sys.executable, "-c", EXIT], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout, done.stderr) == (3, "in order\n", "")
    wrapped = compat._ExitInOrder(print)
    assert pickle.loads(pickle.dumps(wrapped)) is os._exit


BELOW = """
import faulthandler, os, select, signal, tempfile
from daskhpc.compat.python import register_below

reading, writing = os.pipe()

def written():
    return bool(select.select([reading], [], [], 0)[0]) and b"File" in os.read(reading, 4096)

undo = register_below(signal.SIGUSR1, writing)
signal.raise_signal(signal.SIGUSR1)
print(written(), signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL)
stack = tempfile.TemporaryFile()
signal.signal(signal.SIGUSR1, lambda *_: print("handler"))
faulthandler.register(signal.SIGUSR1, stack, chain=True)
signal.raise_signal(signal.SIGUSR1)
undo()
signal.raise_signal(signal.SIGUSR1)
print(written(), stack.tell())
register_below(signal.SIGUSR2, writing)()
signal.raise_signal(signal.SIGUSR2)
"""


def test_a_signal_is_registered_below_what_the_program_registers() -> None:
    """``register_below``; the program's handlers of Python and of C come in its place."""
    done = subprocess.run([sys.executable, "-c", BELOW], capture_output=True, text=True, timeout=100)
    found = done.stdout.split("\n")
    assert found[:3] == ["True True", "handler", "handler"], done.stderr
    assert found[3].split()[0] == "False"
    assert int(found[3].split()[1]) > 0
    assert done.returncode == -signal.SIGUSR2


def test_warnings_are_copied_and_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """``copy_warnings``."""
    shown: list[str] = []
    copied: list[str] = []
    monkeypatch.setattr(warnings, "showwarning", lambda message, *_: shown.append(str(message)))
    before = warnings.showwarning
    undo = compat.copy_warnings(lambda file, line, text: copied.append(text))
    warnings.warn("look here", RuntimeWarning, stacklevel=1)
    undo()
    warnings.warn("and here", RuntimeWarning, stacklevel=1)
    assert shown == ["look here", "and here"]
    assert [text.partition(": ")[2] for text in copied] == ["RuntimeWarning: look here"]
    assert warnings.showwarning is before


MODULE = """
import atexit, sys
print(__name__, sys.argv[1:])
atexit.register(lambda: print(sys.modules["__main__"].__dict__["value"]))
value = 7
"""


def test_a_module_stays_main_until_the_end(tmp_path: Path) -> None:
    """``run_module_as_main``."""
    (tmp_path / "program.py").write_text(MODULE)
    code = "from daskhpc.compat.python import run_module_as_main; run_module_as_main('program')"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout) == (0, "__main__ []\n7\n"), done.stderr


WAITS = """
import threading
from daskhpc.compat.python import waits_for_threads

assert not waits_for_threads()
def wait():
    threading.main_thread().join()
    print(waits_for_threads())
threading.Thread(target=wait).start()
"""


def test_python_says_that_it_waits_for_threads() -> None:
    """``waits_for_threads``."""
    done = subprocess.run([sys.executable, "-c", WAITS], capture_output=True, text=True, timeout=100)
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_child_interpreters_get_a_filter_of_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    """``ignore_warnings_of_children``, by what ``multiprocessing`` starts its processes with."""
    monkeypatch.setattr(sys, "warnoptions", list(sys.warnoptions))
    compat.ignore_warnings_of_children("ignore::UserWarning:somewhere")
    compat.ignore_warnings_of_children("ignore::UserWarning:somewhere")
    assert subprocess._args_from_interpreter_flags().count("-Wignore::UserWarning:somewhere") == 1  # type: ignore[attr-defined]


def test_the_loggers_below_a_name_are_known() -> None:
    """``loggers_of``."""
    child = logging.getLogger("daskhpc-test.inner.child")
    assert set(compat.loggers_of(["daskhpc-test"])) == {logging.getLogger("daskhpc-test"), child}


def test_what_abc_puts_into_a_class() -> None:
    class Plain:
        pass

    class Abstract(abc.ABC):  # noqa: B024
        pass

    assert vars(Abstract).keys() - vars(Plain).keys() == compat.ABC_ATTRIBUTES


def test_fields_of_named_tuples() -> None:
    class Point(NamedTuple):
        x: int

    assert compat.is_namedtuple_field(vars(Point)["x"])
    assert not compat.is_namedtuple_field(Point._fields)
    assert not compat.is_namedtuple_field(property())


def test_an_exit_handler_of_one_process_is_not_called_in_a_forked_one() -> None:
    code = (
        "import atexit, os, sys; from daskhpc.compat import python as compat;"
        r"compat.at_exit(os.write, 1, b'of one\n'); atexit.register(os.write, 1, b'of both\n');"
        "child = os.fork(); child and os.waitpid(child, 0); sys.exit()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == ["of both", "of both", "of one"]


def test_exit_handlers_are_forgotten_and_run_without_an_end_of_the_process() -> None:
    program = (
        "import atexit, os; from daskhpc.compat import python as compat; atexit.register(print, 'forgotten');"
        "compat.forget_exit_handlers(); atexit.register(print, 'run', flush=True);"
        "compat.run_exit_handlers(); os._exit(0)"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert shown.stdout == "run\n"


def test_what_main_lacks_is_sent_by_value() -> None:
    """A process that is spawned imports the ``__main__`` of its parent again, if that has a file."""

    class Data:
        def item(self) -> int:
            return 7

    Data.__module__, Data.__qualname__ = "__main__", "Data"
    with pytest.raises(pickle.PicklingError):
        ForkingPickler.dumps(Data())
    compat.send_by_value_what_main_lacks(cloudpickle.dumps)
    try:
        assert pickle.loads(ForkingPickler.dumps([Data(), Data]))[0].item() == 7
        assert pickle.loads(ForkingPickler.dumps(test_the_library_of_a_foreign_function)).__module__ == __name__
    finally:
        del ForkingPickler.reducer_override


def test_threads_and_executors_are_waited_for_before_exit_handlers_run() -> None:
    program = (
        "import atexit, os, threading, time\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from daskhpc.compat import python as compat\n"
        "def print_late(text):\n"
        "    while not compat.waits_for_threads():\n"
        "        time.sleep(0.01)\n"
        "    print(text, flush=True)\n"
        "may_end, pool = threading.Event(), ThreadPoolExecutor(1)\n"
        "pool.submit(print_late, 'executor').add_done_callback(lambda done: may_end.set())\n"
        "threading.Thread(target=lambda: (may_end.wait(60), print_late('thread'))).start()\n"
        "atexit.register(print, 'exit', flush=True)\n"
        "compat.run_exit_handlers(); os._exit(0)"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert shown.stdout == "executor\nthread\nexit\n"


def test_the_library_of_a_foreign_function() -> None:
    library = ctypes.CDLL(None)
    assert compat.library_name(library) == "None"
    assert compat.libraries_of(library.abs) == [library]
    assert compat.libraries_of(ctypes.CFUNCTYPE(ctypes.c_int)()) == []
