"""Which failure came first."""

from __future__ import annotations

import signal
from pathlib import Path

from daskhpc.ddp.raised_errors import Frame, RaisedError
from daskhpc.ddp.rank_failures import (
    RankFailure,
    RankStack,
    error_of,
    exit_failure,
    first_cause,
    line_of_error,
    may_restart,
    next_step,
    user_line,
)

REDUCE = 'File "/x/site-packages/torch/distributed/distributed_c10d.py", line 3148 in all_reduce\n'
BACKWARD = 'File "/x/site-packages/torch/autograd/graph.py", line 869 in _engine_run_backward\n'
OWN = 'File "/home/me/train.py", line 41 in fit\n'
ENTRY = 'File "/x/daskhpc/ddp/rank_process.py", line 130 in main\n'


def raised(rank: int, time: int, **about: object) -> RankFailure:
    return RankFailure(rank, f"node{rank}", "exception", time, "ValueError: x", **about)  # type: ignore[arg-type]


def test_the_earliest_that_is_no_consequence() -> None:
    lost = raised(0, 1, consequence=True)
    assert first_cause([lost, raised(1, 5), raised(2, 4)]).rank == 2
    assert first_cause([raised(1, 5), lost]).rank == 1
    assert first_cause([lost, raised(3, 9, consequence=True)]).rank == 0


def test_a_rank_that_stands_is_one_with_the_fewest_batches_that_does_not_wait() -> None:
    hang = RankFailure(0, "node0", "hang", 5, "no progress", step=7)
    stacks = [
        RankStack(0, "node0", 7, BACKWARD + OWN + ENTRY),
        RankStack(1, "node1", 6, OWN + ENTRY),
        RankStack(2, "node2", 7, REDUCE + OWN + ENTRY),
    ]
    cause = first_cause([hang], stacks)
    assert (cause.rank, cause.kind, cause.line, cause.step) == (1, "hang", "/home/me/train.py:41, in fit", 6)
    same = [RankStack(0, "node0", 6, REDUCE + OWN), RankStack(1, "node1", 6, OWN)]
    assert first_cause([raised(0, 1, consequence=True)], same).rank == 1
    after = [RankStack(0, "node0", 8, OWN), RankStack(1, "node1", 7, REDUCE + OWN)]
    assert first_cause([hang], after).rank == 0
    failing = [RankStack(0, "node0", 6, ENTRY), RankStack(1, "node1", 6, OWN)]
    assert first_cause([hang], failing).rank == 1


def test_the_users_line_is_in_the_thread_that_runs_the_function() -> None:
    reporter = 'Thread 0x1 (most recent call first):\n  File "/home/me/other.py", line 2 in wait\n'
    main = f"Thread 0x2 (most recent call first):\n  {REDUCE}  {OWN}  {ENTRY}"
    assert user_line(f"{reporter}\n{main}") == "/home/me/train.py:41, in fit"
    assert user_line("") == ""


def test_how_a_process_ended() -> None:
    assert exit_failure(1, "n", 0, -9, "").text.startswith("SIGKILL")
    assert exit_failure(1, "n", 0, 3, "").text == "exit code 3"
    assert "7.63 MiB of 7.45 GiB" in exit_failure(1, "n", 0, -9, "", (8_000_000, 8_000_000_000)).text
    aborted = exit_failure(1, "n", 0, -signal.SIGABRT, "", None, ["terminate called: [gloo/transport/tcp/pair.cc]"])
    assert aborted.consequence
    assert not exit_failure(1, "n", 0, -signal.SIGABRT, "", None, ["assertion failed"]).consequence


def test_an_exception_before_the_first_save_is_not_tried_again() -> None:
    killed = exit_failure(1, "n", 0, -9, "")
    assert not may_restart(raised(0, 1), saved=False, restarts=0, max_restarts=3)
    assert may_restart(raised(0, 1), saved=True, restarts=0, max_restarts=1)
    assert may_restart(killed, saved=False, restarts=0, max_restarts=1)
    assert not may_restart(killed, saved=True, restarts=1, max_restarts=1)


def test_the_error_names_rank_host_kind_and_line() -> None:
    error = error_of(raised(1, 5, line="train.py:41, in fit"), {0: "it lost the connection"}, 2, "again", 600)
    assert str(error).splitlines()[:2] == [
        "Rank 1 of 2 on node1 raised ValueError: x, at train.py:41, in fit.",
        "  found: rank 0: it lost the connection",
    ]
    assert (error.rank, error.host, error.kind, error.line) == (1, "node1", "exception", "train.py:41, in fit")


def test_the_line_of_an_error_is_the_innermost_of_the_users() -> None:
    frames = (Frame("/home/me/train.py", "fit", (9, 9)), Frame("/x/site-packages/y.py", "f"))
    assert line_of_error(RaisedError(b"", "KeyError", "1", frames)) == "/home/me/train.py:9, in fit"
    assert line_of_error(RaisedError(b"", "KeyError", "1", frames[1:])) == ""


def test_a_stack_is_told_without_the_lines_of_this_package() -> None:
    crashed = exit_failure(1, "n", 0, -11, f"Stack (most recent call first):\n  {OWN}  {ENTRY}  {ENTRY}")
    assert error_of(crashed, {}, 2, "again", 600).found == f"Stack (most recent call first):\n  {OWN}".rstrip()


def test_ranks_that_ended_as_the_first_one_are_told_together() -> None:
    others = dict.fromkeys((0, 2, 3, 7), "ValueError: x") | {4: "KeyError: 7"}
    found = error_of(raised(1, 5), others, 8, "again", 600).found
    assert found == "ranks 0,2-3,7: the same; rank 4: KeyError: 7"


def test_the_next_step_is_the_one_of_the_cause() -> None:
    assert next_step(raised(1, 5), None) == "mend it and run it again"
    told = RaisedError(b"", "SettingsError", "...", (), todo="backend='gloo'")
    last = Path("runs/epoch-0003.pt")
    assert next_step(raised(1, 5, raised=told), last) == "backend='gloo'; then run it again: it goes on from " + str(
        last
    )
    assert "--mem of the job" in next_step(exit_failure(1, "n", 0, -9, "", (2, 1)), None)
