"""Which tasks give their calls back, and how tasks leave together."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from daskhpc.parallel import sent_task, transport
from daskhpc.parallel.call_queue import Call, CallQueue
from daskhpc.parallel.run import Run
from daskhpc.parallel.sent_task import SentTask, begins, expect_again, latest_begin, load, to_give_back
from daskhpc.parallel.task import CallRecord
from daskhpc.parallel.transport import Departure
from daskhpc.parallel.worker_set import WorkerProcess

NOW = 1000.0


@pytest.fixture(autouse=True)
def _no_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sent_task, "time", SimpleNamespace(monotonic=lambda: NOW))


def sent(
    *seconds: float, calls: int = 4, threads: int = 1, alone: bool = False, slot: int | None = None
) -> list[SentTask]:
    """The tasks of one worker, sent just now."""
    tasks: list[SentTask] = []
    for each in seconds:
        task = SentTask([Call(number, abs, (), {}) for number in range(calls)], alone, each, slot)
        task.expected_after(tasks, threads)
        tasks.append(task)
    return tasks


def test_a_task_begins_when_a_thread_of_its_worker_is_free() -> None:
    ends = [task.ends - NOW for task in sent(1.0, 3.0, 2.0, 5.0, threads=2)]
    assert ends == [1.0, 3.0, 3.0, 8.0]


def test_the_last_calls_go_to_workers_that_are_free_early() -> None:
    tasks = {"a": sent(0.3), "b": sent(0.1, 0.1), "c": sent(0.9)}
    seats = [(worker, 1) for worker in tasks]

    def takers(waiting: float | None) -> list[str]:
        latest = latest_begin(tasks, seats, waiting)
        return [worker for worker, threads in seats if begins(tasks[worker], threads) <= latest]

    assert takers(0.0) == ["b"]
    assert takers(0.6) == ["a", "b"]
    assert takers(2.4) == ["a", "b", "c"]
    assert takers(None) == ["a", "b", "c"], "more may come"
    assert latest_begin({}, seats, 0.3) == NOW + 0.1, "all are idle"


def test_what_has_not_begun_is_expected_anew_when_a_task_has_ended() -> None:
    """The first tasks are sent with a guess; the one that begins when the first has ended is not late by that."""
    tasks = sent(0.1, 0.1, 0.1, 0.1, threads=2)
    del tasks[0]
    expect_again(tasks, 2, lambda calls: 0.5 * len(calls))
    assert [task.ends - NOW for task in tasks] == pytest.approx([0.1, 2.0, 2.1])


def test_of_two_workers_the_one_that_is_free_first_gets_the_next_task() -> None:
    tasks = [sent(0.1, 0.1), sent(0.4), sent(0.3), sent()]
    assert sorted(tasks, key=load) == [tasks[3], tasks[2], tasks[1], tasks[0]]


def test_an_idle_slot_gets_what_the_busiest_worker_has_not_begun() -> None:
    tasks = {"a": sent(0.4), "b": sent(0.3, 0.4), "c": sent(0.5)}
    assert to_give_back(tasks, idle=True) == [("b", tasks["b"])]
    assert to_give_back(tasks, idle=False) == []


def test_what_was_asked_for_is_not_asked_for_again() -> None:
    tasks = {"a": sent(0.4), "b": sent(0.5)}
    for task in tasks["b"]:
        task.recall()
    assert [worker for worker, _ in to_give_back(tasks, idle=True)] == ["a"]


def test_a_call_moves_once() -> None:
    """While tasks are slow to begin, calls would go round between idle slots, and none would begin."""
    (first,) = sent(0.5)
    first.recall()
    again = SentTask(first.calls[2:], False, 0.5)
    again.expected_after([], 1)
    assert to_give_back({"a": [again]}, idle=True) == []


@pytest.mark.parametrize(
    ("seconds", "options"),
    [
        pytest.param(0.15, {}, id="another would get all"),
        pytest.param(9.0, {"calls": 1}, id="its one call has begun"),
        pytest.param(9.0, {"alone": True}, id="a call that ended its process is tried alone"),
        pytest.param(9.0, {"slot": 0}, id="its calls share what they fit"),
    ],
)
def test_what_an_idle_slot_does_not_get(seconds: float, options: dict[str, Any]) -> None:
    assert to_give_back({"a": sent(seconds, **options)}, idle=True) == []


def test_what_waits_behind_a_long_call_goes_to_others_in_any_case() -> None:
    (task,) = sent(0.1)
    task.due = NOW - 0.001
    assert to_give_back({"a": [task]}, idle=False) == [("a", [task])]


def departures(steps: Iterable[int], fails: int | None = None, cancelled: int | None = None) -> list[list[int]]:
    """Which tasks left in one step of the event loop, if each needs so many steps to be made ready."""
    left: list[list[int]] = []

    async def main() -> None:
        departure, step = Departure(), [0]
        leaves: dict[int, list[int]] = {}

        async def count() -> None:
            while True:
                step[0] += 1
                await asyncio.sleep(0)

        async def task(number: int, needs: int) -> None:
            with departure.prepare():
                for _ in range(needs):
                    await asyncio.sleep(0)
                if number == fails:
                    raise ValueError
                if number == cancelled:
                    asyncio.get_running_loop().call_soon(tasks[number].cancel)
                sent = departure.submit(lambda: leaves.setdefault(step[0], []).append(number))
            await sent

        counting = asyncio.ensure_future(count())
        tasks = [asyncio.ensure_future(task(*each)) for each in enumerate(steps)]
        await asyncio.gather(*tasks, return_exceptions=True)
        counting.cancel()
        left.extend(leaves.values())

    asyncio.run(asyncio.wait_for(main(), 200))
    return left


@pytest.fixture
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task waits for the others that are made ready, however slowly."""
    monkeypatch.setattr(transport, "_CLIENT_SECONDS", 100.0)


@pytest.mark.usefixtures("_patient")
def test_tasks_that_are_made_ready_at_the_same_time_leave_together() -> None:
    assert departures([0, 3, 9]) == [[0, 1, 2]]


@pytest.mark.usefixtures("_patient")
def test_a_task_that_is_alone_leaves_at_once() -> None:
    assert departures([5]) == [[0]]


@pytest.mark.usefixtures("_patient")
def test_a_task_that_cannot_be_made_keeps_no_other() -> None:
    assert departures([0, 3, 9], fails=2) == [[0, 1]]


@pytest.mark.usefixtures("_patient")
def test_a_task_that_is_cancelled_is_not_sent() -> None:
    assert departures([0, 3, 9], cancelled=0) == [[1, 2]]


def test_a_task_that_is_long_in_the_making_keeps_the_others_no_longer_than_dask_would() -> None:
    first, second = departures([0, 200_000])
    assert (first, second) == ([0], [1])


@pytest.mark.parametrize(("callbacks", "taken"), [(False, [0, 1]), (True, [])])
def test_results_with_messages_of_callbacks_are_taken_with_the_reply(
    callbacks: bool, taken: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Parallel that has all results ends, and nobody would wait for the messages."""
    (task,) = sent(9.0, calls=5)
    member = WorkerProcess("tcp://here", "node", 1, 1)
    ended: list[Any] = []

    async def answer(*asked: Any, **options: Any) -> Any:
        record = pickle.dumps(CallRecord(True, None, "", 0.1, 0.0))
        return {member.address: {task.name: [record, record]}}

    monkeypatch.setattr("daskhpc.parallel.run.ask_workers", answer)
    run = Run.__new__(Run)
    run.client, run.name, run.queue, run._wake = None, "run", CallQueue(), asyncio.Event()
    monkeypatch.setattr(run, "builder", SimpleNamespace(callbacks=callbacks), raising=False)
    monkeypatch.setattr(run, "_finish", lambda call, *result: ended.append(call.place))
    asyncio.run(run._recall(member, [task]))
    assert ended == taken
    assert [call.place for call in task.calls] == [number for number in range(3) if number not in taken]
    assert sorted(call.place for call in run.queue.drain()) == [3, 4]
