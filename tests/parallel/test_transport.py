"""Short tasks go to workers as requests, which Dask's scheduler does not see; results and errors are the same."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import distributed
import psutil
import pytest
from clusters import start_cluster
from distributed import Client
from joblib import Parallel, delayed, parallel_config
from waiting import until

from daskhpc.parallel import run as engine
from daskhpc.parallel import sent_task, transport
from daskhpc.parallel.call_queue import Call, work_of
from daskhpc.parallel.outcome import WorkerDiedError
from daskhpc.parallel.sent_task import SentTask
from daskhpc.parallel.worker_set import WorkerSet

SECONDS = 60


@pytest.fixture(autouse=True)
def tasks(client: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """Whether each task that was sent was a request."""
    sent: list[bool] = []
    way = transport.Transport.send

    def send(self: Any, member: Any, task: SentTask, order: Any) -> Any:
        sent.append(task.short)
        return way(self, member, task, order)

    monkeypatch.setattr(transport.Transport, "send", send)
    monkeypatch.setattr(WorkerSet.of(client), "_quick", {})
    # The calls of a use are sent when joblib has made all of them, however long that takes.
    monkeypatch.setattr(engine, "_DISPATCH_SECONDS", SECONDS)
    # No request is late and sent again, however long a process stands still.
    monkeypatch.setattr(sent_task, "_GRACE_SECONDS", SECONDS)
    with parallel_config(backend="daskhpc", n_jobs=-1):
        yield sent


def double(x: int, how: str = "") -> Any:
    """Quick, but for a word."""
    if how == "dies":
        os._exit(3)
    if how.startswith("/") and not os.path.exists(how):
        open(how, "w").close()
        psutil.Process(os.getppid()).parent().kill()  # the worker
        time.sleep(60)
    if how == "computes":
        return distributed.get_client().submit(lambda: 2 * x, pure=False).result()
    return 2 * x if x < 100 else 1 / 0


WORK = work_of(Call(None, double, (1,), {}))


def use(*numbers: int, how: str = "") -> list[Any]:
    found: list[Any] = Parallel()(delayed(double)(number, how=how) for number in numbers)
    return found


@pytest.fixture
def quick(client: Any, tasks: list[bool]) -> list[bool]:
    """From now on `double` is known as quick, and so many calls of it go in one request, whatever held up the first."""
    use(1, 2)
    use(1, 2)
    assert not any(tasks), "nothing is known of the first two uses"
    until(lambda: use(1, 2) == [2, 4] and tasks[-1], SECONDS)
    for _ in range(2):
        WorkerSet.of(client).note_cost(WORK, 1e-4)
    del tasks[:]
    return tasks


def test_quick_calls_make_no_dask_task(client: Any, quick: list[bool]) -> None:
    def transitions(dask_scheduler: Any) -> int:
        return int(dask_scheduler.transition_counter)

    def known(dask_scheduler: Any) -> set[Any]:
        return set(dask_scheduler.tasks)

    gc.collect()  # futures of tests before, which would be released in between
    until(lambda: client.run_on_scheduler(known) <= set(client.futures), what="the release of the tasks before")
    before = client.run_on_scheduler(transitions)
    assert use(1, 2, 3) == [2, 4, 6]
    assert quick == [True]
    assert client.run_on_scheduler(transitions) == before


def test_a_dask_task_that_is_alone_waits_for_no_other(tasks: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_CLIENT_SECONDS", 2 * SECONDS)
    began = time.monotonic()
    assert use(1) == [2]
    assert tasks == [False]
    assert time.monotonic() - began < SECONDS


def test_calls_that_turn_out_to_be_long_are_tasks_again(client: Any, tasks: list[bool]) -> None:
    members = WorkerSet.of(client)
    members.note_cost("work", 0.001)
    assert members.expected_cost("work") is None, "once may be chance"
    members.note_cost("work", 0.002)
    assert members.expected_cost("work") == 0.002
    members.note_cost("work", 0.1)
    assert members.expected_cost("work") is None
    members.note_cost("work", 0.001)
    assert members.expected_cost("work") is None
    members.note_cost(None, None)
    assert [SentTask([], alone, seconds).short for alone, seconds in ((False, 0.01), (True, 0.01), (False, 0.1))] == [
        True,
        False,
        False,
    ]
    assert not SentTask([], False, 0.0).short, "nothing is known"


def test_an_error_in_a_request(quick: list[bool]) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        use(1, 100)
    assert "in double" in str(caught.value.__cause__)
    assert quick[0]


def test_a_call_that_ends_its_process_in_a_request(quick: list[bool]) -> None:
    with pytest.raises(WorkerDiedError, match="exited with status 3"):
        use(1, how="dies")
    assert quick == [True, False], "it is tried once more, alone"
    assert use(1, 2) == [2, 4]


def test_a_worker_that_is_lost_with_a_request(tasks: list[bool], tmp_path: Path) -> None:
    with start_cluster(2, 1) as cluster, Client(cluster) as client:
        client.wait_for_workers(2, timeout=SECONDS)
        for _ in range(2):
            WorkerSet.of(client).note_cost(WORK, 1e-4)
        assert use(1, 2, 3, how=str(tmp_path / "was here")) == [2, 4, 6]
    assert tasks[0]


def test_a_call_in_a_request_waits_for_a_dask_task(quick: list[bool]) -> None:
    assert use(*range(8), how="computes") == [2 * number for number in range(8)]
    assert quick[0]


def test_after_a_broken_connection_the_task_is_one_of_dask(
    client: Any, quick: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, broken = transport.ask_workers, [OSError("reset by peer")]

    async def breaks(client: Any, function: Any, *args: Any, workers: Any, **options: Any) -> Any:
        if broken:
            raise broken.pop()
        return await ask(client, function, *args, workers=workers, **options)

    monkeypatch.setattr(transport, "ask_workers", breaks)
    assert use(1, 2) == [2, 4]
    assert quick[0]
    assert not broken


def test_an_error_of_the_worker_itself_is_raised(quick: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(client: Any, function: Any, *args: Any, workers: Any, **options: Any) -> Any:
        raise RuntimeError("no slots")

    monkeypatch.setattr(transport, "ask_workers", fails)
    with pytest.raises(RuntimeError, match="no slots"):
        use(1, 2)
