"""The child process that makes calls: in its main thread, one after the other, with the program's world around them."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import functools
import pickle
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import joblib
import threadpoolctl

from ..clients import enter_call_process
from ..compat.cloudpickle import dumps
from ..compat.distributed import let_calls_find
from ..compat.sklearn import POSITIONAL, READ_ONLY, CallbackMessages, has_callbacks
from . import fitting, program_world
from .memory_segment import MemorySegment
from .nested import NestedBackend
from .parcel import FUNCTION, Anew, Position, Ref, plain
from .prefix_cache import PrefixCache
from .record_file import RecordFile
from .register import after_import
from .task import SECEDE, CallBatch, CallRecord, ChildOrder

_C_LIBRARY = ctypes.CDLL(None)


@dataclass(slots=True)
class ChildRun:
    """What this process keeps for one run (one use of Parallel)."""

    prefixes: PrefixCache
    blobs: dict[int, bytes] = field(default_factory=dict)
    frames: dict[int, Any] = field(default_factory=dict)
    segments: dict[int, MemorySegment] = field(default_factory=dict)
    objects: dict[int, Any] = field(default_factory=dict)

    def take(self, order: ChildOrder) -> None:
        """Keep the parcels that came with an order."""
        self.blobs.update(order.blobs)
        for number, (pid, descriptor, layout) in order.places.items():
            segment = MemorySegment.attach(pid, descriptor, layout)
            if segment is None:
                raise RuntimeError(f"process {pid} on this node does not let this one open its data")
            self.segments[number] = segment

    def load(self, number: int, mode: str | None) -> Any:
        """A parcel's object, made anew; arrays in it lie in the node's memory."""
        if number in self.blobs:
            return pickle.loads(self.blobs[number])
        frames = self.frames.get(number)
        if frames is None:
            frames = self.segments[number].frames(mode)
            if mode in ("r", "r+", "w+"):
                self.frames[number] = frames
        return pickle.loads(frames[0], buffers=frames[1:])

    def drop(self, numbers: list[int]) -> None:
        """Forget some parcels."""
        for number in numbers:
            for kept in (self.blobs, self.frames, self.objects):
                kept.pop(number, None)
            segment = self.segments.pop(number, None)
            if segment is not None:
                segment.close()


def main(connection: Connection[Any, Any]) -> None:
    """Make calls until the worker ends, or wants this process to."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    faulthandler.enable()
    enter_call_process()
    records = RecordFile.create()
    connection.send_bytes(pickle.dumps(records.descriptor))
    runs: dict[str, ChildRun] = {}
    found_cluster = ""
    while True:
        try:
            order = pickle.loads(connection.recv_bytes())
        except (EOFError, OSError):
            return
        if not isinstance(order, ChildOrder):
            run, numbers = order
            if numbers is not None and run in runs:
                runs[run].drop(numbers)
            elif numbers is None and (over := runs.pop(run, None)) is not None:
                over.drop([*over.segments])
            continue
        if order.scheduler != found_cluster:
            found_cluster = order.scheduler
            secede = functools.partial(connection.send_bytes, SECEDE)
            after_import("distributed", functools.partial(let_calls_find, address=found_cluster, before=secede))
        if order.run not in runs:
            runs[order.run] = ChildRun(PrefixCache(order.prefix_bytes))
        try:
            messages = _make_calls(runs[order.run], order, records)
            # By value: they may hold the user's own objects, and are unpickled by the client alone.
            reply = pickle.dumps(("messages", dumps(messages) if messages else b""))
        except BaseException as error:
            reply = pickle.dumps(("error", error_record(error)))
        _flush()
        connection.send_bytes(reply)


def _flush() -> None:
    """Write what calls have printed, C code too: this process is killed in the end, and would take it along."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    _C_LIBRARY.fflush(None)


def _make_calls(run: ChildRun, order: ChildOrder, records: RecordFile) -> list[Any]:
    """Make the calls of an order, a record for each; returns the messages of scikit-learn's callbacks."""
    run.take(order)
    batch: CallBatch = pickle.loads(order.batch)
    records.restart()
    note = program_world.enter(run.blobs[batch.world])
    loader = _Loader(run, batch)
    end = time.perf_counter() + batch.seconds
    with contextlib.ExitStack() as around:
        around.enter_context(program_world.filters_of_warnings())
        if batch.inner_threads is not None:
            around.enter_context(threadpoolctl.threadpool_limits(batch.inner_threads))
        around.enter_context(joblib.parallel_config(backend=NestedBackend(batch.threads, nesting_level=1)))
        messages = around.enter_context(CallbackMessages(batch.callbacks))
        for count, (number, differences) in enumerate(batch.calls):
            if records.stop or (count and time.perf_counter() > end):
                break
            ok, record = _call(loader, batch.templates[number], differences, note)
            records.append(record)
            if not ok:
                break  # the caller is to know at once
        return messages.messages


class _Loader:
    """The objects of a batch's calls: shared by the calls of the batch, as in any batch of joblib's.

    What scikit-learn's fits never change is shared by all batches of the process; a fit's estimator by none.
    """

    def __init__(self, run: ChildRun, batch: CallBatch) -> None:
        self.run, self.mode, self.once = run, batch.mode, batch.once
        self.objects: dict[int, Any] = {}

    def shared(self, number: int) -> Any:
        if number not in self.objects:
            self.objects[number] = self.fresh(number)
        return self.objects[number]

    def read_only(self, number: int) -> Any:
        if number in self.once:
            return self.fresh(number)
        if number not in self.run.objects:
            self.run.objects[number] = self.fresh(number)
        return self.run.objects[number]

    def fresh(self, number: int) -> Any:
        if number in self.once:
            return pickle.loads(self.once[number])
        return self.run.load(number, self.mode)


def _arguments(
    loader: _Loader, template: tuple[Any, ...], differences: Mapping[Position, Any]
) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Put one call together again."""
    plain_values, parcels, order, count, is_fit = template
    values: dict[Position, Any] = {}
    for at in order:
        value = differences.get(at, Ref(parcels[at]) if at in parcels else plain_values.get(at))
        if type(value) is Anew:
            value = loader.fresh(parcels[at])
        elif type(value) is Ref:
            name = POSITIONAL[at] if is_fit and isinstance(at, int) and at < len(POSITIONAL) else at
            if not is_fit or at == FUNCTION:
                value = loader.shared(value.number)
            elif name in READ_ONLY:
                value = loader.read_only(value.number)
            else:
                value = loader.fresh(value.number)
        values[at] = value
    args = tuple(values[i] for i in range(count))
    return values[FUNCTION], args, {k: v for k, v in values.items() if isinstance(k, str)}


def _call(
    loader: _Loader, template: tuple[Any, ...], differences: Mapping[Position, Any], note: str
) -> tuple[bool, bytes]:
    """Make one call; whether it went well, and its pickled record."""
    began, saved = time.perf_counter(), 0.0
    try:
        function, args, kwargs = _arguments(loader, template, differences)
        if template[4] == fitting.SHARING and not has_callbacks(kwargs):
            value, saved = fitting.fit(function, args, kwargs, loader.run.prefixes)
        else:
            value = function(*args, **kwargs)
        record = CallRecord(True, value, "", time.perf_counter() - began, saved)
        # By value if the client may not be able to import it, as joblib's own processes send everything.
        return True, pickle.dumps(record, protocol=5) if plain(value) else dumps(record)
    except BaseException as error:
        if note:
            error.add_note(note)
        return False, error_record(error)


def error_record(error: BaseException) -> bytes:
    """The record of a call that raised; if it does not survive pickling, another error stands for it."""
    try:
        text = "".join(traceback.format_exception(error))
    except Exception:
        text = type(error).__name__
    error.__traceback__ = None
    for plainly in (False, True):
        with contextlib.suppress(Exception):
            given = RuntimeError(f"{type(error).__name__}: {error}") if plainly else error
            stream = dumps(CallRecord(False, given, text))
            if isinstance(pickle.loads(stream).value, BaseException):
                return stream
    return pickle.dumps(CallRecord(False, RuntimeError(type(error).__name__), text))
