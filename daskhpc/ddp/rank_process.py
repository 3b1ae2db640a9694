"""The process of one rank: it becomes what torchrun starts, joins the process group, runs the user's function."""

from __future__ import annotations

import contextlib
import copyreg
import ctypes
import faulthandler
import gc
import io
import os
import pickle
import runpy
import signal
import socket
import sys
import time
from datetime import timedelta
from multiprocessing.connection import Connection
from operator import itemgetter
from typing import Any

from ..compat.cloudpickle import dumps
from ..compat.python import forget_exit_handlers, run_exit_handlers, send_by_value_what_main_lacks
from ..errors import DaskhpcError, SettingsError, one_line
from ..journal.describe import describe
from ..parallel import program_world
from ..text import shortened
from . import death_watch, rendezvous
from .places import environment
from .raised_errors import RaisedError
from .rank_failures import RankFailure, line_of_error
from .worker_link import StopTraining, WorkerLink

STACK_SIGNAL = int(signal.SIGRTMAX) - 3
"""The signal by which a worker asks for a rank's stack; faulthandler answers, also if the rank is inside C."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt
_KEPT_FREE_BYTES = 64 << 20  # what glibc comes to keep by itself, at most
_SAID = 300  # characters of an exception's text in one line; the exception itself has all


def main(connection: Connection[Any, Any]) -> None:
    """Be a rank: called in a new child process of a worker, which ends here."""
    order = pickle.loads(connection.recv_bytes())
    payload = connection.recv_bytes()
    death_watch.hold(order["life"])
    send_by_value_what_main_lacks(dumps)
    forget_exit_handlers()  # those of the process that this one was forked from
    _keep_freed_memory()
    _set_up(order)
    link = WorkerLink(connection, order)
    link.say("begun")
    link.listen()
    try:
        value = _run(link, order, payload)
        run_exit_handlers()
        _write_open_files()
        link.report()
        _flush()
        link.say("done", value=value)
        # The store is rank 0's, and other ranks may still need it: all leave together.
        link.bye.wait()
    except StopTraining:
        link.report()
        _flush()
        link.say("stopped")
        link.bye.wait()
    except BaseException as error:
        failure = _failure(order, error, time.time_ns())
        link.report()
        _flush()
        link.say("failed", failure=failure)
    # Not by returning: torch's own end can wait for a peer that is gone.
    os._exit(0)


def _write_open_files() -> None:
    """What Python does with open files at a program's end; a collection of garbage may close them unwritten."""
    for found in gc.get_objects():
        if type(found) in (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom):
            with contextlib.suppress(Exception):
                found.flush()


def _keep_freed_memory() -> None:
    """Let glibc keep freed memory, as it comes to do by itself in a process of torchrun's.

    Dask's setting for its workers, which a rank inherits, gives each tensor above 128 kB back at once: every step then
    faults its pages in anew.
    """
    with contextlib.suppress(AttributeError):  # another C library
        c = ctypes.CDLL(None)
        c.mallopt(_TRIM_THRESHOLD, _KEPT_FREE_BYTES)
        c.mallopt(_MMAP_THRESHOLD, _KEPT_FREE_BYTES // 2)


def _set_up(order: dict[str, Any]) -> None:
    """Program's world, torchrun's environment, output, stack traces, before anything is imported that reads them."""
    note = program_world.enter(order["world"])
    variables = environment(order["place"], os.environ, order["training"], order["threads"], *order["restarts"])
    for name, value in {**variables, **order["env"]}.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    sys.argv = list(order["argv"])
    opened = [os.open(order[name], os.O_WRONLY | os.O_CLOEXEC) for name in ("output", "errors", "trace")]
    trace = opened.pop()
    for descriptor, pipe in enumerate(opened, start=1):
        os.dup2(pipe, descriptor)
        os.close(pipe)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False, errors="backslashreplace")
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False, errors="backslashreplace")
    faulthandler.enable(file=trace, all_threads=False)
    faulthandler.register(STACK_SIGNAL, file=trace, all_threads=True)
    # torch's @record writes a rank's error to this file, which is nowhere on a disk.
    os.environ["TORCHELASTIC_ERROR_FILE"] = f"/proc/self/fd/{os.memfd_create('error')}"
    if note:
        print(note, file=sys.stderr)


def _run(link: WorkerLink, order: dict[str, Any], payload: bytes) -> bytes:
    listening = None
    if order["rank"] == 0:
        listening = rendezvous.listen(order["host"])
        link.say("port", host=order["host"], port=listening.getsockname()[1])
    torch = _import_torch()
    torch.set_num_threads(order["threads"])
    call = pickle.loads(payload)
    host, port = link.wait_for_store()
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = host, str(port)
    if listening is not None:
        rendezvous.serve(listening)
    if isinstance(call, list):  # a script and its arguments
        sys.argv = call
        sys.path.insert(0, os.path.dirname(os.path.abspath(call[0])))
        # Its own GPU, but nothing here uses it: the script has not begun, and may fork processes.
        device = torch.device("cuda", order["place"].local_rank) if "nccl" in order["backend"] else torch.device("cpu")
        _context_of(link, order, device)
        try:
            runpy.run_path(call[0], run_name="__main__")
        except SystemExit as end:
            if end.code not in (None, 0):
                raise
        return pickle.dumps(None)
    function, args, kwargs = call
    import torch.distributed as dist

    device = _device(order)
    dist.init_process_group(order["backend"], timeout=timedelta(seconds=order["timeout"]))
    _context_of(link, order, device)
    link.say("joined")
    with program_world.filters_of_warnings():
        result = function(*args, **kwargs)
    return _value(result)


def _value(result: Any) -> bytes:
    """What the function returned, for the program; of a model the one within DistributedDataParallel.

    That one itself can be read in a process group alone.
    """
    import cloudpickle
    from torch.nn.parallel import DistributedDataParallel

    copyreg.pickle(DistributedDataParallel, lambda model: (itemgetter(0), ((model.module,),)))
    try:
        return bytes(cloudpickle.dumps(result))
    except Exception as error:
        raise SettingsError(
            "The training function returned something that cannot be sent to the program.",
            f"{describe(result)}: {one_line(error)}",
            "return numbers, arrays or the path of a file",
        ) from None


def _import_torch() -> Any:
    try:
        import torch
        import torch.distributed
    except ModuleNotFoundError as error:
        raise SettingsError(
            "PyTorch is not installed in the environment of the workers.",
            str(error),
            "pip install torch --index-url https://download.pytorch.org/whl/cpu (CPU, 0.2 GB), "
            "or pip install torch (NVIDIA GPU, 3 to 4 GB)",
        ) from None
    return torch


def _device(order: dict[str, Any]) -> Any:
    import torch

    if "nccl" in order["backend"]:
        if not torch.cuda.is_available():
            made_for = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPUs"
            raise SettingsError(
                f"PyTorch cannot use the GPU of this node ({socket.gethostname()}).",
                f"torch {torch.__version__}, made for {made_for}; "
                f"CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES', '')}",
                "install a torch that is made for the CUDA of the node's driver (nvidia-smi shows it); "
                "or train on CPUs: backend='gloo'",
            )
        torch.cuda.set_device(order["place"].local_rank)
        return torch.device("cuda", order["place"].local_rank)
    return torch.device("cpu")


def _context_of(link: WorkerLink, order: dict[str, Any], device: Any) -> None:
    from .rank_context import RankContext, install

    install(RankContext(order["place"], device, link, order["settings"]))


def _failure(order: dict[str, Any], error: BaseException, time_ns: int) -> RankFailure:
    """An exception as a failure of this rank."""
    rank, host = order["place"].rank, socket.gethostname()
    raised = RaisedError.of(error)
    line = line_of_error(raised)
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        said = f" ({shortened(str(error.code), _SAID)})" if error.code not in (None, code) else ""
        return RankFailure(rank, host, "exit", time_ns, f"exit code {code}{said}", line)
    said = one_line(error) if not isinstance(error, DaskhpcError) else f"{type(error).__name__}: {error.happened}"
    said = shortened(said, _SAID).removesuffix(".")
    return RankFailure(rank, host, "exception", time_ns, said, line, _of_communication(error), raised=raised)


def _of_communication(error: BaseException | None) -> bool:
    """Whether an exception, or its cause, means that another rank could not be reached."""
    import re

    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        kinds = {kind.__name__ for kind in type(error).__mro__}
        if kinds & {"DistError", "DistBackendError", "DistNetworkError", "DistStoreError"}:
            return True
        if isinstance(error, RuntimeError) and re.search(r"gloo|NCCL|ncclInternal|TCPStore|c10d", str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
