"""A process or a message that is late for a moment changes nothing of what is known of a training, nor of its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import programs
import pytest
from waiting import gone, until

from daskhpc.cluster import timelimit
from daskhpc.ddp import context, rank_task, train, training
from daskhpc.ddp.attempt import Attempt
from daskhpc.ddp.checkpoints import files
from daskhpc.errors import TrainingError


@contextlib.contextmanager
def changed(client: Any, change: Callable[[Any], None]) -> Iterator[None]:
    """Within: on all workers `rank_task` is what a function makes of it."""

    def enter() -> None:
        from daskhpc.ddp import rank_task

        rank_task.before = dict(vars(rank_task))  # type: ignore[attr-defined]
        change(rank_task)

    def leave() -> None:
        from daskhpc.ddp import rank_task

        vars(rank_task).update(vars(rank_task).pop("before"))

    client.run(enter)
    try:
        yield
    finally:
        client.run(leave)


def is_stopped(pid: str) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def stand_still(pid: str, mark: Path) -> None:
    """Stop a process until a second after a file is there."""
    goes_on = f"kill -STOP {pid}; while ! test -e {mark}; do sleep 0.01; done; sleep 1; kill -CONT {pid}"
    subprocess.Popen(["sh", "-c", goes_on], start_new_session=True)
    until(lambda: is_stopped(pid))


def saves_and_fails(folder: str) -> int:
    """Rank 0's worker stands still from before a save, of which it is told, until a second after rank 1 has failed."""
    import torch

    run = context()
    mark, worker, saved = (Path(folder, name) for name in ("failed", "worker", "saved"))
    if run.rank == 0:
        worker.write_text(str(programs.own_worker()))
    run.mean(0)
    for epoch in run.epochs(2, model=torch.nn.Linear(1, 1)):
        run.log(number=epoch)
        if run.restarts == 0 and run.rank == 1:
            if epoch == 0:
                stand_still(worker.read_text(), mark)
            else:
                until(saved.exists)
                mark.touch()
                raise ValueError("no such tile")
        elif epoch:
            saved.touch()
        run.mean(0)
    return run.restarts


def test_what_a_rank_told_before_another_one_failed_is_known(client: Any, tmp_path: Path) -> None:
    """That it saved, so that the training is begun again; and what it logged."""
    result = train(saves_and_fails, str(tmp_path), checkpoint=tmp_path / "kept", max_restarts=1, progress=False)
    assert list(result) == [1, 1]
    rows = result.log.sort_values(["rank", "epoch"])
    assert rows[["rank", "number"]].to_numpy().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


def fails_first(folder: str) -> None:
    """Rank 0, whose worker stands still until a second after rank 1 has failed."""
    run = context()
    pids, stopped, second = (Path(folder, name) for name in ("pids", "stopped", "second"))
    if run.rank == 0:
        pids.write_text(f"{programs.own_worker()} {os.getpid()}")
    run.mean(0)
    worker, rank_0 = pids.read_text().split()
    if run.rank == 0:
        until(stopped.exists)
        raise ValueError("the first")
    stand_still(worker, second)
    stopped.touch()
    until(lambda: gone(int(rank_0)))
    second.touch()
    raise ValueError("the second")


def test_the_first_failure_is_told_late(client: Any, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"Rank 0 of 2 .* raised ValueError: the first"):
        train(fails_first, str(tmp_path), progress=False)


def test_a_worker_whose_loss_is_known_late_is_the_cause(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rank's connections to others end at once, and they say so."""
    told = Attempt._end_of_worker

    async def late(attempt: Attempt, address: str) -> str:
        await asyncio.sleep(2.5)
        return await told(attempt, address)

    monkeypatch.setattr(Attempt, "_end_of_worker", late)
    monkeypatch.setattr("daskhpc.ddp.attempt._GIVE_BACK_SECONDS", 60.0)  # for which a doubted worker is waited for
    with pytest.raises(TrainingError) as caught:
        train(programs.faulty, "worker", "step", 0, env={"FAILED_AT": str(tmp_path / "failed-at")}, progress=False)
    assert (caught.value.rank, caught.value.kind) == (0, "worker")
    client.wait_for_workers(2, timeout=120)


def test_a_rank_whose_end_is_known_when_all_are_ended_is_the_cause(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other rank has said long before that it lost the connection."""

    def know_late(module: Any) -> None:
        class Late(module.DeathWatch):  # type: ignore[misc]
            def end(self, seconds: float) -> int:
                until(lambda: module._reserved[0].ended)
                return int(super().end(seconds))

        module.DeathWatch = Late

    monkeypatch.setattr("daskhpc.ddp.attempt._LAST_WORDS_SECONDS", 60.0)
    with changed(client, know_late), pytest.raises(TrainingError) as caught:
        train(programs.faulty, "SIGKILL", "step", 1, env={"FAILED_AT": str(tmp_path / "failed-at")}, progress=False)
    assert (caught.value.rank, caught.value.kind) == (1, "signal")
    assert caught.value.found == "rank 0: it lost the connection"


def test_the_line_of_a_crash_is_read_late(client: Any, tmp_path: Path) -> None:
    def read_late(module: Any) -> None:
        real = module.select.select

        def late(*args: Any) -> Any:
            time.sleep(0.5)
            return real(*args)

        module.select = SimpleNamespace(select=late)

    with changed(client, read_late), pytest.raises(TrainingError) as caught:
        train(programs.faulty, "SIGSEGV", "step", 0, env={"FAILED_AT": str(tmp_path / "failed-at")}, progress=False)
    assert caught.value.kind == "signal"
    assert caught.value.line.endswith("in fail")


def test_what_is_printed_last_is_read_late(client: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """When the rank has ended, and the client asks for it later still."""

    def read_late(module: Any) -> None:
        pass_on, poll = module._pass_on, module.poll

        def late(held: Any, name: str, lines: list[str]) -> None:
            held.child.status(60)
            time.sleep(0.2)
            pass_on(held, name, lines)

        async def asked_late(*args: Any) -> Any:
            await asyncio.sleep(1)
            return await poll(*args)

        module._pass_on, module.poll = late, asked_late

    with changed(client, read_late):
        train(lambda: print(f"the last of {context().rank}"), world_size=1, progress=False)
    assert capfd.readouterr().out == "the last of 0\n"


def test_what_is_lost_with_a_connection_is_told_again(client: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """Each second answer of a worker does not arrive; its messages do, once, in their order."""

    def lose_answers(module: Any) -> None:
        poll, answers = module.poll, [0]

        async def lost(*args: Any) -> Any:
            told = await poll(*args)
            answers[0] += 1
            if answers[0] % 2:
                raise OSError("the connection is lost")
            return told

        module.poll = lost

    def fit() -> int:
        for number in range(20):
            print(number, flush=True)
            time.sleep(0.02)
        return context().rank

    with changed(client, lose_answers):
        assert train(fit, world_size=2, timeout=60, progress=False) == [0, 1]
    assert [int(line) for line in capfd.readouterr().out.split()] == list(range(20))


def test_an_answer_without_news_may_be_lost(client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one comes at once, also if the rank has nothing to tell for longer than a worker is doubted."""
    quiet, lost, answered = (tmp_path / name for name in ("quiet", "lost", "answered"))

    def lose_one(module: Any) -> None:
        poll, module._POLL_SECONDS = module.poll, 0.1

        async def losing(*args: Any) -> Any:
            told = await poll(*args)
            if lost.exists():
                answered.touch()
            elif not told and quiet.exists():
                lost.touch()
                module._POLL_SECONDS = 1000.0
                raise OSError("the connection is lost")
            return told

        module.poll = losing

    def fit() -> None:
        quiet.touch()
        until(answered.exists)

    monkeypatch.setattr("daskhpc.ddp.attempt._LOST_SECONDS", 30.0)
    with changed(client, lose_one):
        assert train(fit, world_size=1, progress=False) == [None]


def working(dask_worker: Any) -> int:
    """How many tasks it runs and children it has."""
    return dask_worker.state.executing_count + programs.children(dask_worker)


def test_a_rank_whose_process_starts_late_ends_with_the_others(client: Any) -> None:
    def start_late(module: Any) -> None:
        children_of = module.children_of

        def late(*args: Any) -> Any:
            if module._reserved[0].rank == 1:
                raise OSError("no more processes")
            time.sleep(2)
            return children_of(*args)

        module.children_of = late

    before = sum(client.run(working).values())
    with changed(client, start_late), pytest.raises(TrainingError, match="no more processes"):
        train(programs.place, progress=False)
    until(lambda: sum(client.run(working).values()) <= before)


REPORTER = 'Thread 0x1 (most recent call first):\n  File "/x/daskhpc/ddp/worker_link.py", line 68 in _report\n\n'
MAIN = 'Thread 0x2 (most recent call first):\n  File "/home/me/train.py", line 41 in fit\n'
BELOW = '  File "/x/daskhpc/ddp/rank_process.py", line 130 in main\n'


def test_a_stack_that_comes_in_parts_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    held = SimpleNamespace(child=SimpleNamespace(ended=False, pid=0), trace="", rank=1, host="n1", step=3)
    monkeypatch.setitem(rank_task._held, "a training", held)  # type: ignore[arg-type]
    monkeypatch.setattr(rank_task.os, "kill", lambda *_: None)

    async def come() -> Any:
        asked = asyncio.ensure_future(rank_task.stack_of("a training"))
        for part in (REPORTER, MAIN, BELOW):
            time.sleep(1.1)  # so long the worker process stands still
            await asyncio.sleep(0.01)
            held.trace += part
        return await asked

    found = asyncio.run(come())
    assert (found.stack, found.stands) == (REPORTER + MAIN + BELOW, True)


def short_steps(begun: str) -> None:
    """Some half a minute of steps of a millisecond."""
    run = context()
    batches = run.loader(programs.Points(60_000), 1)
    model = programs.network()
    for _ in run.epochs(1, model=model):
        for _batch in batches:
            time.sleep(0.001)
            if run.steps == 200:
                Path(begun).touch()


def test_ranks_stop_together_though_their_steps_are_shorter_than_the_way_of_a_message(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "_STOPPED_SECONDS", 0.0)
    begun = tmp_path / "begun"

    def stop() -> None:
        until(begun.exists, 200)
        timelimit._stoppers[-1](20.0)

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(SystemExit, match="75"):
        train(short_steps, str(begun), checkpoint=tmp_path / "kept", progress=False)
    thread.join(60)
    (kept,) = files(tmp_path / "kept")
    assert kept.name.startswith("epoch-0000-step-")
