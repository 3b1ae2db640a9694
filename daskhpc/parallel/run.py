"""One use of joblib's Parallel on the cluster: takes its calls, sends them in tasks, and hands their results back."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import uuid
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from ..clients import ask_workers
from ..compat.sklearn import deliver_callback_messages
from .call_queue import Call, CallQueue, work_of
from .checkpoints import ParallelUse
from .local import LocalThreads
from .node_memory import NodeMemory
from .outcome import deserted, failed_alone, read, unpicklable
from .result_delivery import ResultDelivery
from .sent_task import SentTask, begins, expect_again, latest_begin, load, to_give_back
from .slots import drop, free, recall
from .task import Stream, TaskResult
from .task_builder import Options, TaskBuilder
from .transport import Transport
from .worker_set import FRESH_SECONDS, WorkerProcess, WorkerSet, slots_of, slots_per_worker

_CHECK_SECONDS = 1.0
_LEAVE_SECONDS = 5.0
_SAVE_SECONDS, _REPLY_SECONDS = 2.0, 0.005
_DISPATCH_SECONDS = 0.005


class Run:
    """The engine of one Parallel.

    Parameters
    ----------
    client : distributed.Client
    options : Options
    delivery : ResultDelivery
    local : LocalThreads, optional
        Threads of this process, which are tried first and left when the cluster is worth its way.

    Notes
    -----
    All state is changed on the client's event loop; the caller's thread only adds calls.
    """

    def __init__(
        self, client: Any, options: Options, delivery: ResultDelivery, local: LocalThreads | None = None
    ) -> None:
        self.client = client
        self.options = options
        self.delivery, self.local = delivery, local
        self.name = f"{client.id}-{uuid.uuid4().hex[:12]}"
        self.members = WorkerSet.of(client)
        self.node_memory = NodeMemory(self.members, self.name)
        self.builder, self.transport = TaskBuilder(self.name, options), Transport(client, self.members)
        self.queue = CallQueue()
        self._work: Hashable = None
        self.suspects: deque[Call] = deque()
        self.sent: dict[WorkerProcess, list[SentTask]] = {}
        self.used: set[str] = set()
        self.closed = self._waking = False
        self._dispatched, self._wake = asyncio.Event(), asyncio.Event()
        self._broken: Exception | None = None
        self._arrived: deque[Call] = deque()
        self._unwatch: Callable[[], None] = lambda: None
        self._tasks: set[asyncio.Task[Any]] = set()
        self.client.loop.add_callback(self._drive)

    @property
    def slots(self) -> int:
        """Calls that may run at once."""
        return slots_of(self.options.n_jobs, sum(member.threads for member in self.members.alive.values()))

    def seconds_per_call(self) -> float | None:
        """What a call takes on average; None if that is not known."""
        return self.queue.costs.of(None)

    def add(self, calls: list[Call], call_number: int, part: ParallelUse | None) -> None:
        """Take the calls of a batch, which gets their results as they end."""
        if calls and self._work is None:
            self._work = work_of(calls[0])
            self.queue.costs.expected = self.members.expected_cost(self._work)
        for call in calls if part is None else self.delivery.replay(calls, part):
            self.builder.make(call, call_number)
            self.delivery.expect(call)
            self._arrived.append(call)
        if self._broken is not None:
            self._fail_all(self._broken)
        elif not self._waking:
            self._waking = True
            self.client.loop.asyncio_loop.call_soon_threadsafe(self._wake.set)

    def dispatched(self) -> None:
        """joblib has made the calls that it makes at once, and waits for results."""
        self.client.loop.asyncio_loop.call_soon_threadsafe(self._dispatched.set)

    def close(self, aborted: bool = False) -> None:
        """End what still runs, and free what lies on the workers; the same whether joblib has `aborted` or is done."""
        if self.closed:
            return
        self.closed = True
        self.members.note_cost(self._work, self.seconds_per_call())
        self.delivery.close(len(self.members.alive))
        with contextlib.suppress(Exception):  # its client may be closed by now, and all is freed with it
            if self.node_memory.segments or any(self.sent.values()):
                self.client.sync(self._leave, keep=self.delivery.keeps, callback_timeout=_LEAVE_SECONDS)
            else:  # nothing large is left, and the rest needs no wait
                self.client.loop.add_callback(self._leave, later=True)

    async def _leave(self, later: bool = False, keep: bool = False) -> None:
        self._unwatch()
        self._wake.set()
        if keep:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._save_what_has_ended(), _SAVE_SECONDS)
        for task in list(self._tasks):
            task.cancel()
        self.node_memory.close()
        with contextlib.suppress(Exception):
            used = [*self.used & self.members.alive.keys()]
            if used and later:
                self.members.forget_later(self.name)
            elif used:
                await self.client.run(free, self.name, workers=used, on_error="ignore")

    async def _save_what_has_ended(self) -> None:
        """Fetch the results in tasks that go on, and wait for those that are on their way: they would be made again."""
        recalls = [self._recall(member, tasks) for member, tasks in self.sent.items()]
        for ended in await asyncio.gather(*recalls, return_exceptions=True):
            while isinstance(ended, list) and not all(task.over or task.gone.is_set() for task in ended):
                await asyncio.sleep(_REPLY_SECONDS)

    async def _drive(self) -> None:
        if self.closed:
            return
        self._unwatch = self.members.watch(self._lost, self._wake.set)
        try:
            await self.members.check(FRESH_SECONDS)
            with contextlib.suppress(TimeoutError):  # so that few calls are known as few
                await asyncio.wait_for(self._dispatched.wait(), _DISPATCH_SECONDS)
            while not self.closed:
                self._waking = False
                while self._arrived:
                    self.queue.add(self._arrived.popleft())
                self._share(idle=self._fill())
                self.delivery.show(len(self.members.alive))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), _CHECK_SECONDS)
                self._wake.clear()
                if any(self.sent.values()) or not self.members.alive:
                    await self.members.check()
                if self.delivery.known > self.delivery.done:
                    self.members.check_deserted()
        except Exception as error:
            self._fail_all(error)

    def _share(self, idle: bool) -> None:
        """Let no call wait in a worker behind a long one, or while a slot has nothing to do."""
        for member, tasks in to_give_back(self.sent, idle):
            for task in tasks:
                task.recall()
            self._start(self._recall(member, tasks))

    def _fill(self) -> bool:
        """Give every worker something to do; returns whether a slot is left without."""
        if self.local is not None and self.local.left_for(
            self.queue.remaining(), self.delivery, self.slots, self.builder.bytes_to_place
        ):
            self.local = None
        if self.local is not None:
            while self.local.free and self.queue.waiting:
                call = self.queue.one()
                if call is None:
                    break
                self.local.free -= 1
                self._start(self._locally(call, self.local))
            return False
        seats = self._seats()
        latest = latest_begin(self.sent, seats, self.queue.remaining() if self.delivery.exhausted else None)
        while (self.queue.waiting or self.suspects) and sum(self._give(*seat, latest) for seat in seats):
            pass  # each takes one more
        self._unblock_pinned_calls()
        return not self.queue.waiting and any(len(self.sent.get(member, ())) < slots for member, slots in seats)

    def _give(self, member: WorkerProcess, slots: int, latest: float) -> bool:
        """Give a member one task, if it has room for one; one that has to wait there is to begin until `latest`."""
        sent = self.sent.setdefault(member, [])
        if any(task.alone for task in sent):
            return False
        if self.suspects:
            if not sent:
                self._launch(member, [self.suspects.popleft()], 0.0, alone=True)
            return not sent
        slot = None
        if self.queue.grouped:
            # What a child has fitted serves the calls of its group, which all go to its slot.
            free = set(range(member.threads)).difference(task.slot for task in sent)
            if len(sent) >= slots or not free:
                return False
            slot = min(free)
        else:
            # What waits behind a call that takes long is recalled.
            ahead = slots == member.threads and self.queue.goes_ahead(self.slots, self.delivery.exhausted)
            if len(sent) >= slots + ahead or (len(sent) >= slots and begins(sent, slots) > latest):
                return False
        taker = member.address if slot is None else (member.address, slot)
        calls, seconds = self.queue.take(taker, self.slots, spare=len(sent) >= slots and not self.delivery.exhausted)
        if calls:
            self._launch(member, calls, seconds, slot=slot)
        return bool(calls)

    def _unblock_pinned_calls(self) -> None:
        """Where all are idle and calls wait for one of them in particular, that one is not coming."""
        idle = [member for member, _ in self._seats() if not self.sent.get(member)]
        if self.queue.waiting and idle and not any(self.sent.values()):
            call = self.queue.one()
            if call is not None:
                self._launch(idle[0], [call], 0.0)

    def _seats(self) -> list[tuple[WorkerProcess, int]]:
        """The members that take part, the one that is free first at the front, and how many of their threads."""
        members, coming = self.members.ready()
        if coming:
            asyncio.get_running_loop().call_later(0.1, self._wake.set)
        seats = slots_per_worker(members, self.slots)
        return sorted(seats.items(), key=lambda seat: load(self.sent.get(seat[0], ())))

    def _start(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _launch(
        self, member: WorkerProcess, calls: list[Call], seconds: float, alone: bool = False, slot: int | None = None
    ) -> None:
        task = SentTask(calls, alone, seconds, slot)
        task.expected_after(self.sent[member], member.threads)
        self.sent[member].append(task)
        self.used.add(member.address)
        self._start(self._fly(member, task))

    async def _locally(self, call: Call, local: LocalThreads) -> None:
        ok, value, seconds = await local.run(call)
        self.queue.learn(call, seconds)
        self._finish(call, ok, value, seconds)
        self._wake.set()

    async def _fly(self, member: WorkerProcess, task: SentTask) -> None:
        """See one task through."""
        try:
            reply = await self._reply(member, task)
        except asyncio.CancelledError:
            if self.closed:
                raise
            self._again(task)
            reply = None
        except Exception as error:
            for call in task.calls:
                self._finish(call, False, error)
            reply = None
        finally:
            task.over = True
            with contextlib.suppress(ValueError):
                self.sent.get(member, []).remove(task)
            self._wake.set()
        if reply is None:
            return
        try:
            self._take_in(member, task, reply)
        except Exception as error:
            for call in task.calls:
                self.delivery.ended(call, False, error)
            self._fail_all(error)
        expect_again(self.sent.get(member, ()), member.threads, self.queue.seconds_of)

    def _take_in(self, member: WorkerProcess, task: SentTask, reply: TaskResult) -> None:
        """What came back: results, costs, and calls that were not begun."""
        self.builder.acknowledged(member, reply)
        deliver_callback_messages(pickle.loads(reply.messages) if reply.messages else [])
        self._take_results(member, task, reply.records)
        if reply.died and task.calls:
            self._suspect(task, task.calls.pop(0), member, reply.died)
        self._give_back(task.take_unstarted())
        self.delivery.show(len(self.members.alive))

    def _take_results(self, member: WorkerProcess, task: SentTask, records: Sequence[Stream]) -> None:
        for call, stream in task.take_results(records):
            record = read(stream)
            if record.ok:
                self.queue.learn(call, record.seconds, record.saved)
            self._finish(call, record.ok, record.value, record.seconds + record.saved, member.host)

    def _suspect(self, task: SentTask, call: Call, member: WorkerProcess, cause: str) -> None:
        """A call ended its process: it is tried once more with nothing else in its worker, and then given up."""
        if not task.alone:
            self.suspects.append(call)
            return
        ok, value = failed_alone(call, member.host, cause)
        self._finish(call, ok, value, 0.0, member.host)

    def _give_back(self, calls: list[Call], anybody: bool = False) -> None:
        for call in reversed(calls):
            self.queue.add(call, front=True, anybody=anybody)

    async def _recall(self, member: WorkerProcess, tasks: list[SentTask]) -> list[SentTask]:
        """Fetch the results of tasks so far, give calls not begun to others; returns the tasks that are over there."""
        names = [task.name for task in tasks]
        told = await ask_workers(self.client, recall, self.name, names, workers=[member.address], on_error="ignore")
        begun = told.get(member.address, dict.fromkeys(names))
        for task in tasks:
            records = begun.get(task.name, [])
            if records is not None and not task.over and not task.gone.is_set():
                running = int(task.name in begun)
                if self.builder.callbacks:  # their messages come with the reply, which has to be waited for
                    running += len(records) - task.taken
                else:
                    self._take_results(member, task, records)
                self._give_back(task.take_unstarted(keep=running), anybody=True)
        self._wake.set()
        return [task for task in tasks if member.address in told and begun.get(task.name, []) is None]

    def _again(self, task: SentTask) -> None:
        """The cluster was restarted, or closed, under a task."""
        if self.client.status == "running":
            self._give_back(task.calls)
        else:
            for call in task.calls:
                self._finish(call, False, deserted("The client was closed.", self.client.status))

    async def _reply(self, member: WorkerProcess, task: SentTask) -> TaskResult | None:
        """Send a task and wait; None if the worker was lost, which `_lost` has dealt with."""
        with self.transport.prepare():
            await self._pack(task)
            order = task.calls and await self.builder.task(task, self._threads_for(member), member, self.node_memory)
            if not order or task.gone.is_set():
                return None
            answer = self.transport.send(member, task, order)
        reply = await answer
        if reply is not None:
            self.node_memory.opened(member, reply.opened, order.tickets)
        elif not task.gone.is_set():
            await self.members.refresh()
        return reply

    def _threads_for(self, member: WorkerProcess) -> int:
        """Threads that each call may use: more than one if there are fewer calls than slots."""
        if not self._dispatched.is_set():
            return 1
        calls = self.queue.waiting + sum(len(task.calls) for sent in self.sent.values() for task in sent)
        return max(1, min(member.threads, self.slots // max(1, calls)))

    async def _pack(self, task: SentTask) -> None:
        """Pickle what the calls need; a call whose arguments cannot be pickled fails."""
        for call, error in await self.builder.pack_all(task.calls):
            task.calls.remove(call)
            self._finish(call, False, unpicklable(call, error))

    def _lost(self, member: WorkerProcess) -> None:
        """A worker is gone: what it may have been running is retried alone, the rest as before."""
        self.node_memory.lost(member)
        for owner in (member.address, *((member.address, slot) for slot in range(member.threads))):
            self.queue.lost(owner)
        self.builder.lost(member)
        sent = self.sent.pop(member, [])
        for index, task in enumerate(sent):
            task.gone.set()
            for call in task.calls:
                if index >= member.threads:
                    self.queue.add(call, front=True)
                    continue
                self._start(self._give_up(task, call, member))
            task.calls = []
        self._wake.set()

    async def _give_up(self, task: SentTask, call: Call, member: WorkerProcess) -> None:
        self._suspect(task, call, member, await self.members.cause(member))

    def _finish(self, call: Call, ok: bool, value: Any, seconds: float = 0.0, host: str = "") -> None:
        """One call has ended."""
        gone = self.builder.finished(call)
        if gone:
            for number in gone:
                self.node_memory.forget(number)
            used = [*self.used & self.members.alive.keys()]
            self._start(ask_workers(self.client, drop, self.name, gone, workers=used, on_error="ignore"))
        self.delivery.ended(call, ok, value, seconds, host)

    def _fail_all(self, error: Exception) -> None:
        self._broken = error
        waiting = [*self.queue.drain(), *self.suspects]
        self.suspects.clear()
        while self._arrived:
            waiting.append(self._arrived.popleft())
        for call in waiting:
            self.delivery.ended(call, False, error)
