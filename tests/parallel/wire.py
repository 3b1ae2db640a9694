"""Calls through the client's tasks, a worker's slots and what its children do, without a cluster."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import pickle
import uuid
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from daskhpc.cluster.children import close_children_of
from daskhpc.parallel import program_world as world
from daskhpc.parallel import worker_parcels
from daskhpc.parallel.call_process import ChildRun, _make_calls
from daskhpc.parallel.call_queue import Call
from daskhpc.parallel.node_memory import NodeMemory
from daskhpc.parallel.outcome import read
from daskhpc.parallel.prefix_cache import PrefixCache
from daskhpc.parallel.record_file import RecordFile
from daskhpc.parallel.sent_task import SentTask
from daskhpc.parallel.slots import Slots
from daskhpc.parallel.task import ChildOrder, TaskResult, TaskSpec
from daskhpc.parallel.task_builder import Options, TaskBuilder
from daskhpc.parallel.worker_set import WorkerProcess


class Worker:
    """As much of a Dask worker as its slots look at; its event loop runs nothing."""

    def __init__(self, threads: int = 1, limit: int | None = None) -> None:
        self.state = SimpleNamespace(nthreads=threads)
        self.scheduler = SimpleNamespace(address="tcp://nowhere")
        self.memory_manager = SimpleNamespace(memory_limit=limit)
        self.loop = SimpleNamespace(add_callback=lambda function: None)


class ThisProcess:
    """Stands for a child process: makes the calls when it is told to."""

    pid, ended = os.getpid(), False

    def __init__(self) -> None:
        self.run = ChildRun(PrefixCache(0))
        self.records = RecordFile.create()

    def send(self, message: bytes) -> None:
        order = pickle.loads(message)
        if isinstance(order, ChildOrder):
            with patch.object(world, "enter", return_value=""):  # this process's world is that of the test
                self.reply = pickle.dumps(("messages", pickle.dumps(_make_calls(self.run, order, self.records))))

    def receive(self) -> bytes:
        return self.reply

    def close(self) -> None:
        self.run.drop([*self.run.segments])


class Wire:
    """Sends calls as the client sends them to a worker of its own node.

    Parameters
    ----------
    threshold, mode
        joblib's ``max_nbytes`` and ``mmap_mode``.
    worker : Worker, optional
        Whose children make the calls; by default this very process does.
    """

    def __init__(self, threshold: int | None = 1 << 20, mode: str | None = "r", worker: Worker | None = None) -> None:
        self.builder = TaskBuilder(f"Client-{uuid.uuid4().hex}", Options(-1, threshold, mode))
        self.run = self.builder.run
        self.node_memory = NodeMemory(None, self.run)  # type: ignore[arg-type]
        self.worker = Worker() if worker is None else worker
        self.member = WorkerProcess("tcp://here", worker_parcels.node_name(), os.getpid(), self.worker.state.nthreads)
        self.slots = Slots(self.worker)
        if worker is None:
            child: Any = ThisProcess()
            self.slots._slots[0].child, self.slots._slots[0].records = child, child.records

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        worker_parcels.forget(self.run)
        self.node_memory.close()
        for slot in self.slots._slots:
            slot.end()
        close_children_of(self.worker)

    def make(self, *calls: tuple[Any, ...], number: int = 0) -> list[Call]:
        """The calls, each a function, its arguments, and its keyword arguments last if it has any."""
        return [self.builder.make(Call(None, c[0], c[1], c[2] if c[2:] else {}), number) for c in calls]

    def task(self, made: list[Call], **changes: Any) -> TaskSpec:
        """One task that makes them all."""

        async def task() -> TaskSpec:
            assert await self.builder.pack_all(made) == []
            sent = SentTask(made, False, 60.0, **changes)
            return await self.builder.task(sent, 1, self.member, self.node_memory)

        return dataclasses.replace(asyncio.run(task()), modules=())  # a test's children need few

    def result(self, task: TaskSpec) -> TaskResult:
        """What became of a task."""
        result = self.slots.run(task)
        assert not result.absent
        self.builder.acknowledged(self.member, result)
        return result

    def send(self, made: list[Call]) -> list[Any]:
        """Their values from one task."""
        values = values_of(self.result(self.task(made)))
        assert len(values) == len(made)
        return values

    def __call__(self, *calls: tuple[Any, ...], number: int = 0) -> list[Any]:
        return self.send(self.make(*calls, number=number))


def values_of(result: TaskResult) -> list[Any]:
    """What calls returned; what one of them raised is raised."""
    values = []
    for record in map(read, result.records):
        if not record.ok:
            raise record.value
        values.append(record.value)
    return values
