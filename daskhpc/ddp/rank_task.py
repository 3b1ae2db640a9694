"""On a Dask worker: the task that holds a thread for a rank, starts the rank's process, and passes on its messages.

A training reaches a worker by functions that the client runs on it (`reserve`, `poll`, `deliver`, `stack_of`, `end`),
and by the task `hold`, which is there so that Dask gives the thread to nothing else. All find the rank by the name of
its training.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import pickle
import queue
import re
import secrets
import select
import signal
import socket
import sys
import threading
import time
from itertools import takewhile
from pathlib import Path
from typing import Any

from ..cluster.children import Child, children_of
from ..compat.distributed import call_on_scheduler
from .death_watch import DeathWatch
from .places import WorkerPlace
from .rank_failures import RankFailure, RankStack, exit_failure
from .rank_process import STACK_SIGNAL

_POLL_SECONDS = 5.0
_SILENT_SECONDS = 10.0
_LOOK_SECONDS = 0.5
_STOPPED_SECONDS = 10.0  # this process did not look for so long: the job was suspended, and its rank with it
_STACK_LOOKS, _STACK_LOOK_SECONDS = 80, 0.05
_LAST_WORDS_SECONDS = 5.0  # by the clock, and this process may stand still meanwhile
_TAIL_LINES = 40
_TARGET = "daskhpc.ddp.rank_process:main"
_OUTERMOST = "/daskhpc/ddp/rank_process.py"  # in the stack of a rank, below the user's function
_PROCESS = secrets.randbits(63)  # not the process id, which another container of the node may have, too


class HeldRank:
    """One rank of a training on this worker process, from its reservation on.

    Attributes
    ----------
    training, client : str
        The names of the training and of the Dask client whose it is.
    heard : float
        When, on the monotonic clock, the client last asked.
    """

    def __init__(self, training: str, client: str, worker: Any) -> None:
        self.training, self.client, self.worker = training, client, worker
        self.heard = time.monotonic()
        self.inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.child: Child | None = None
        self.rank, self.host, self.step, self.ended = -1, socket.gethostname(), 0, False
        self.killed = False  # by `end`, and not ended before
        self.trace, self.trace_time = "", 0
        self.tail: list[str] = []
        self.timeout = math.inf
        self.progressed: float | None = None
        self.held: tuple[int, int] | None = None
        self._outbox: list[dict[str, Any]] = []
        self._dropped = 0  # messages that the client has, so that they are here no more
        self._said = asyncio.Event()
        self._forwarding, self._ready = threading.Lock(), False
        self._waiting: list[dict[str, Any]] = []

    def say(self, kind: str, **details: Any) -> None:
        """Put a message out for the client; from any thread."""
        self._outbox.append({"kind": kind, "rank": self.rank, **details})
        self.worker.loop.add_callback(self._said.set)

    async def messages(self, received: int, at_once: bool) -> list[dict[str, Any]]:
        """What there is to tell after as many messages as the client has received; waits some seconds for something.

        Why it is so: a message is kept until the client asks for later ones. An answer may be lost with a connection.
        """
        self.heard = time.monotonic()
        if received > self._dropped:
            del self._outbox[: received - self._dropped]
            self._dropped = received
        if not self._outbox:
            self._said.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._said.wait(), 0 if at_once else _POLL_SECONDS)
        self.heard = time.monotonic()
        return list(self._outbox)

    def forsaken(self) -> bool:
        """Whether the client has ended without a word; it is asked of the scheduler when the client is silent."""
        if time.monotonic() - self.heard < _SILENT_SECONDS:
            return False
        asked = asyncio.run_coroutine_threadsafe(
            _client_is_gone(self.worker, self.client), self.worker.loop.asyncio_loop
        )
        with contextlib.suppress(Exception):
            if not asked.result(_SILENT_SECONDS):
                self.heard = time.monotonic()
                return False
        return True

    def forward(self, message: dict[str, Any] | None = None) -> None:
        """Send a message to the rank's process; without one, its process is ready for earlier messages."""
        with self._forwarding:
            self._ready = self._ready or message is None
            self._waiting += [message] if message is not None else []
            if self._ready and self.child is not None:
                waiting, self._waiting = self._waiting, []
                with contextlib.suppress(OSError):
                    for each in waiting:
                        self.child.send(pickle.dumps(each))

    def end(self) -> None:
        """End the rank, in whatever state it is."""
        self.ended = True
        self.inbox.put(None)
        self.worker.loop.add_callback(self._said.set)
        if self.child is not None:
            self.killed = self.killed or not self.child.ended
            self.child.kill()


_held: dict[str, HeldRank] = {}
_waiting: set[str] = set()  # trainings that wait for their reservation
_reserved: list[HeldRank] = []  # the one training that may use this worker process now, at most


async def _client_is_gone(worker: Any, client: str) -> bool:
    return client not in await call_on_scheduler(worker, _clients)


def _clients(dask_scheduler: Any) -> list[str]:
    return list(dask_scheduler.clients)


async def describe(dask_worker: Any) -> WorkerPlace:
    """What a training has to know of this worker process."""
    from ..parallel.worker_parcels import node_name

    host = re.sub(r"^\w+://|:\d+$", "", dask_worker.address).strip("[]")
    if not dask_worker.address.startswith(("tcp", "tls", "ucx")):
        host = "127.0.0.1"  # a worker that is threads of the client's process
    return WorkerPlace(
        address=dask_worker.address,
        name=str(dask_worker.name),
        node=node_name(),
        host=host,
        interface=_interface(host),
        threads=dask_worker.state.nthreads,
        process=_PROCESS,
        gpus=_gpus(),
        busy=bool(dask_worker.state.executing_count) or bool(_reserved),
    )


def _interface(host: str) -> str:
    import psutil

    addresses = psutil.net_if_addrs()
    return next((name for name, found in addresses.items() if any(a.address == host for a in found)), "")


def _gpus() -> tuple[str, ...]:
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    if shown is not None:
        # CUDA stops at the first word that names no device: -1, or NoDevFiles, which Slurm writes for a job without.
        return tuple(takewhile(re.compile(r"\d+|(?:GPU|MIG)-.+").fullmatch, map(str.strip, shown.split(","))))
    numbers = [match[1] for path in Path("/dev").glob("nvidia*") if (match := re.fullmatch(r"nvidia(\d+)", path.name))]
    return tuple(sorted(numbers, key=int))


async def reserve(training: str, client: str, dask_worker: Any) -> str:
    """Reserve this worker process for a training.

    Returns
    -------
    str
        Empty if it is reserved now, else the name of the training that has it. That is waited for, some seconds.
        Empty, too, if the training was released meanwhile: nobody would release it again.
    """
    end = time.monotonic() + _POLL_SECONDS
    _waiting.add(training)
    while _reserved and training in _waiting and time.monotonic() < end:
        other = _reserved[0]
        if time.monotonic() - other.heard > _SILENT_SECONDS and await _client_is_gone(dask_worker, other.client):
            release(other.training)
        await asyncio.sleep(0.05)
    if training not in _waiting:
        return ""
    _waiting.discard(training)
    if _reserved:
        return _reserved[0].training
    _reserved.append(HeldRank(training, client, dask_worker))
    _held[training] = _reserved[0]
    return ""


def release(training: str) -> None:
    """Give this worker process back."""
    _waiting.discard(training)
    _reserved[:] = [held for held in _reserved if held.training != training]
    held = _held.pop(training, None)
    if held is not None:
        held.end()


async def poll(training: str, received: int, at_once: bool) -> list[dict[str, Any]] | None:
    """What the rank has to tell after its first messages; None if there is no such training here (any more).

    With `at_once` it does not wait for news: the last answer did not arrive, and the worker may be lost.
    """
    held = _held.get(training)
    return None if held is None else await held.messages(received, at_once)


def deliver(training: str, message: dict[str, Any]) -> None:
    """Pass a message on to the rank's process, or to the task that is to start it."""
    held = _held.get(training)
    if held is not None and message["do"] == "start":
        held.inbox.put(message)
    elif held is not None:
        held.forward(message)


def end(training: str) -> None:
    """End the rank's process."""
    held = _held.get(training)
    if held is not None:
        held.end()


async def stack_of(training: str) -> RankStack | None:
    """Where the rank stands; None if it has ended."""
    held = _held.get(training)
    if held is None or held.child is None or held.child.ended:
        return None
    before = len(held.trace)
    with contextlib.suppress(ProcessLookupError):
        os.kill(held.child.pid, STACK_SIGNAL)
    # The thread of the user's function comes last, and in it this line; a long pause may come before.
    for _ in range(_STACK_LOOKS):  # not by the clock: this process may stand still meanwhile
        if held.child.ended or _OUTERMOST in held.trace[before:]:
            break
        await asyncio.sleep(_STACK_LOOK_SECONDS)
    return None if held.child.ended else RankStack(held.rank, held.host, held.step, held.trace[before:])


def hold(training: str, rank: int, payload: bytes) -> bytes:
    """The task: hold a thread of this worker until the rank's process has ended.

    Returns
    -------
    bytes
        The pickled value of the user's function; empty if there is none.
    """
    held = _held.get(training)
    if held is None:
        return b""
    held.rank = rank
    held.say("here")
    order = None
    while order is None and not held.ended and not held.forsaken():
        with contextlib.suppress(queue.Empty):
            order = held.inbox.get(timeout=_LOOK_SECONDS)
    value = b""
    try:
        if order is not None and not held.ended:
            value = _run(held, order, payload)
    except Exception as error:
        text = f"an error of its worker: {error}"
        held.say("failed", failure=RankFailure(held.rank, held.host, "exception", time.time_ns(), text))
    held.say("ended")
    return value


def _run(held: HeldRank, order: dict[str, Any], payload: bytes) -> bytes:
    """Start the rank's process and relay its messages until it has ended."""
    held.timeout = order["timeout"]
    child = held.child = children_of(held.worker, (_TARGET.partition(":")[0], "numpy")).start(_TARGET)
    if held.ended:  # `end` came before there was a process
        held.killed = True
        child.kill()
    pipes = {name: os.pipe() for name in ("output", "errors", "trace", "over")}  # the last one wakes the reader
    life = DeathWatch()
    order["life"] = life.path
    # The rank opens these through /proc, since a process that is forked elsewhere inherits nothing of this one.
    order |= {name: f"/proc/{os.getpid()}/fd/{write}" for name, (_, write) in pipes.items()}
    over = threading.Event()
    reader = threading.Thread(
        target=_read_output, args=(held, {name: read for name, (read, _) in pipes.items()}, over), daemon=True
    )
    reader.start()
    value, said = b"", False
    try:
        child.send(pickle.dumps(order))
        child.send(payload)
        held.forward()
        while True:
            message = pickle.loads(child.receive())
            life.begin()  # with its first word the rank holds the lock
            said = said or message["kind"] in ("done", "failed", "stopped")
            value = message.pop("value", value)
            _note(held, message)
    except (EOFError, OSError):
        ended_ns = time.time_ns()
    status = child.status(_SILENT_SECONDS)
    ended_ns = life.end(_LOOK_SECONDS) or ended_ns
    child.close()
    over.set()
    for _, write in pipes.values():
        os.close(write)
    reader.join(_LAST_WORDS_SECONDS)
    killed = held.killed and status in (None, -signal.SIGKILL)  # or it had ended, which was not known here yet
    if not killed and not said:
        when = held.trace_time if "Fatal Python error" in held.trace else ended_ns
        failure = exit_failure(
            held.rank, held.host, when, 70 if status is None else status, held.trace, held.held, held.tail
        )
        held.say("failed", failure=failure)
    return value


def _note(held: HeldRank, message: dict[str, Any]) -> None:
    if message["kind"] == "progress":
        held.step, held.progressed = message["step"], time.monotonic()
    elif message["kind"] in ("done", "stopped", "failed"):
        held.progressed = None
    held.say(**message)


def _read_output(held: HeldRank, pipes: dict[str, int], over: threading.Event) -> None:
    """Read what the rank prints, and look after it: its memory, its progress, its client."""
    looked, open_pipes = time.monotonic(), {read: name for name, read in pipes.items()}
    rests = dict.fromkeys(pipes, b"")
    while open_pipes:
        readable, _, _ = select.select(list(open_pipes), [], [], 0 if over.is_set() else _LOOK_SECONDS)
        for descriptor in readable:
            data, name = os.read(descriptor, 1 << 16), open_pipes[descriptor]
            if not data:
                del open_pipes[descriptor]
            elif name == "trace":
                held.trace_time = held.trace_time if held.trace else time.time_ns()
                held.trace += data.decode(errors="replace")
            else:
                *lines, rests[name] = (rests[name] + data).split(b"\n")
                _pass_on(held, name, [line.decode(errors="replace") for line in lines])
        if over.is_set() and not readable:
            break
        if time.monotonic() - looked > _LOOK_SECONDS and not over.is_set():
            silent, looked = time.monotonic() - looked, time.monotonic()
            if silent > _STOPPED_SECONDS and held.progressed is not None:
                held.progressed += silent
            _look_after(held)
    for name, rest in rests.items():
        if rest:
            _pass_on(held, name, [rest.decode(errors="replace")])
    for read in pipes.values():
        os.close(read)


def _pass_on(held: HeldRank, name: str, lines: list[str]) -> None:
    """Rank 0's lines go to the client; those of others to this worker's own log."""
    held.tail = [*held.tail, *lines][-_TAIL_LINES:]
    if held.rank == 0:
        held.say(name, lines=lines)
        return
    host = held.host.split(".")[0]
    with contextlib.suppress(OSError, ValueError):
        for line in lines:
            print(f"[rank {held.rank} {host}] {line}", file=sys.stderr, flush=True)


def _look_after(held: HeldRank) -> None:
    child, limit = held.child, held.worker.memory_manager.memory_limit
    if child is None or held.ended:
        return
    with contextlib.suppress(OSError, ValueError):
        resident, shared = Path(f"/proc/{child.pid}/statm").read_text().split()[1:3]
        held_bytes = (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
        if limit and held_bytes > limit:
            held.held = held_bytes, limit
            os.kill(child.pid, signal.SIGKILL)
    if held.progressed is not None and time.monotonic() - held.progressed > held.timeout:
        held.progressed = None
        text = "no progress"
        held.say("failed", failure=RankFailure(held.rank, held.host, "hang", time.time_ns(), text, step=held.step))
    if held.forsaken():
        release(held.training)
