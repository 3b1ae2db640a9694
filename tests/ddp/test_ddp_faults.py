"""A rank fails: the training ends soon, and names who was first. FAULTS=all: every cell; DDP_ROUNDS: more of all."""

from __future__ import annotations

import itertools
import os
import random
import time
from typing import Any

import programs
import psutil
import pytest
from waiting import until

from daskhpc.ddp import train
from daskhpc.errors import TrainingError

KINDS = {
    "raise": ("exception", "raised ValueError: no such tile"),
    "SIGKILL": ("signal", "was ended by SIGKILL"),
    "SIGSEGV": ("signal", "was ended by SIGSEGV"),
    "exit": ("exit", "ended with exit code 3"),
    "sleep": ("hang", "stands"),
    "worker": ("worker", "was lost with its Dask worker"),
}
PHASES = ("start", "step", "save", "end")
TIMEOUT = 4
ROUNDS = 2 * int(os.environ.get("DDP_ROUNDS", "1"))

CELLS = [(kind, phase, rank) for kind, phase, rank in itertools.product(KINDS, PHASES, (0, 1))]
SPREAD = [
    ("raise", "save", 0),
    ("SIGKILL", "start", 1),
    ("SIGSEGV", "step", 0),
    ("exit", "end", 1),
    ("sleep", "step", 1),
    ("worker", "step", 0),
]


@pytest.mark.parametrize(("kind", "phase", "rank"), CELLS if os.environ.get("FAULTS") == "all" else SPREAD)
def test_a_rank_fails(client: Any, kind: str, phase: str, rank: int, tmp_path: Any) -> None:
    failed_at = tmp_path / "failed-at"
    with pytest.raises(TrainingError) as caught:
        train(
            programs.faulty,
            kind,
            phase,
            rank,
            client=client,
            checkpoint=tmp_path / "kept",
            env={"FAILED_AT": str(failed_at)},
            timeout=TIMEOUT if kind == "sleep" else 120,
            progress=False,
            start_timeout=30,
        )
    seconds = time.time() - float(failed_at.read_text())
    error = caught.value
    assert (error.rank, error.kind) == (rank, KINDS[kind][0]), error
    assert KINDS[kind][1] in error.happened
    assert f"Rank {rank} of 2 on {os.uname().nodename}" in error.happened
    if kind in ("raise", "SIGSEGV", "sleep"):
        assert "programs.py:" in error.line
        assert error.line.endswith("in fail")
    print(f"{kind} {phase} {rank}: {seconds:.1f} s")
    assert seconds < 15 + (TIMEOUT if kind == "sleep" else 0)
    until(lambda: not ranks_of(client), 10, "the end of all ranks")


def ranks_of(client: Any) -> list[int]:
    """The processes of ranks that live below this program."""
    found = psutil.Process().children(recursive=True)
    names = {"daskhpc-rank"}
    return [process.pid for process in found if names & _threads(process.pid)]


def _threads(pid: int) -> set[str]:
    try:
        return {open(f"/proc/{pid}/task/{task}/comm").read().strip() for task in os.listdir(f"/proc/{pid}/task")}
    except OSError:
        return set()


@pytest.mark.parametrize("number", range(ROUNDS))
def test_the_first_of_two_that_fail_ten_milliseconds_apart(client: Any, number: int) -> None:
    draw = random.Random(number)
    kinds = (draw.choice(["raise", "SIGKILL", "exit"]), draw.choice(["raise", "SIGKILL", "exit"]))
    first = number % 2
    with pytest.raises(TrainingError) as caught:
        train(programs.both, kinds, first, client=client, progress=False)
    assert (caught.value.rank, caught.value.kind) == (first, KINDS[kinds[first]][0]), (kinds, str(caught.value))


def test_the_cause_is_the_exception_itself(client: Any) -> None:
    def fit() -> None:
        raise KeyError("tile 7")

    with pytest.raises(
        TrainingError, match=r"raised KeyError: 'tile 7', at .*test_ddp_faults.py:\d+, in fit"
    ) as caught:
        train(fit, client=client)
    assert isinstance(caught.value.__cause__, KeyError)
    assert "try:   mend it" in str(caught.value)


def test_without_torch_both_ways_to_install_it_are_told(
    client: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(TrainingError) as caught:
        train(programs.place, client=client)
    assert "whl/cpu" in caught.value.happened
    assert "pip install torch " in caught.value.happened


def test_a_torch_that_cannot_use_the_gpu_is_told(client: Any) -> None:
    def show_gpus(numbers: str | None) -> None:
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        os.environ.update({"CUDA_VISIBLE_DEVICES": numbers} if numbers else {})

    client.run(show_gpus, "7777")  # no node has so many
    try:
        with pytest.raises(TrainingError) as caught:
            train(programs.place, client=client)
    finally:
        client.run(show_gpus, None)
    assert "PyTorch cannot use the GPU of this node" in str(caught.value)
    assert "backend='gloo'" in str(caught.value)
