"""Programs that are killed and run again, and what has to hold then: nothing saved is made again, nothing differs."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ranks import MARK, Ranks

from daskhpc.errors import JournalError
from daskhpc.journal.journal import Journal
from daskhpc.journal.reader import JournalReader

FOLDER = Path(__file__).parent / "programs"
RUN_SECONDS = 240.0
"""The deadline of a run that nothing ends."""
END_SECONDS = 30.0
"""The deadline from a kill to the end of all processes."""
START_SECONDS = 6.0
POLL_SECONDS = 0.02
SURVIVED = "worker process"
ROLES = ("client", "scheduler", "worker rank", SURVIVED, "all")


class Program(NamedTuple):
    """A program of the folder.

    Attributes
    ----------
    file : str
    calls : int
        That it makes.
    workers : int
        Each process more costs a run a second of imports on two cores, so most have one.
    drawn : bool
        Whether candidates, splits or data come from the journal's seed.
    unmodified : bool
        Whether ``daskhpc run`` runs it.
    """

    file: str
    calls: int
    workers: int = 1
    drawn: bool = True
    unmodified: bool = False

    def alone(self, journal: Path) -> list[str]:
        """The command that runs it undisturbed: of a program that can, in one process, without a cluster."""
        return self.command("", journal) if self.unmodified else [sys.executable, str(FOLDER / self.file)]

    def command(self, mpiexec: str, journal: Path) -> list[str]:
        """The command that runs it on ranks."""
        run = [sys.executable, "-m", "daskhpc", "run", "-n", str(self.workers), "--checkpoint", str(journal)]
        ranks = [mpiexec, "-n", str(self.workers + 2), sys.executable]
        return [*(run if self.unmodified else ranks), str(FOLDER / self.file)]


PROGRAMS = {
    "grid": Program("grid.py", 400, workers=2, drawn=False),
    "randomized": Program("randomized.py", 200),
    "halving": Program("halving.py", 195),
    "sweep": Program("sweep.py", 100),
    "script": Program("script.py", 200, unmodified=True),
}


class Story:
    """A journal from its first record to its last, over as many runs as that takes.

    Parameters
    ----------
    folder : Path
        Made anew; in it the journal, the fits that were made, line by line, and in the end the results.
    seed_of : Story, optional
        Another one, whose journal's manifest this one begins with. What is random in a program comes from its
        journal's seed, which is drawn when a journal is made: with a seed of its own, this one would have other
        candidates and splits, and no results to compare.
    """

    def __init__(self, folder: Path, seed_of: Story | None = None) -> None:
        self.journal, self.log, self.results = folder / "journal", folder / "log", folder / "results"
        self.saved: frozenset[str] = frozenset()
        self._read = 0
        self._fit_of: dict[str, str] = {}
        self._open: Journal | None = None
        self.journal.mkdir(0o700, parents=True)
        if seed_of is not None:
            shutil.copy(seed_of.journal / "journal.json", self.journal)

    @property
    def env(self) -> dict[str, str]:
        """Where a program of this story writes to."""
        return {"KILLS_JOURNAL": str(self.journal), "KILLS_LOG": str(self.log), "KILLS_RESULTS": str(self.results)}

    def records(self) -> int:
        """How many results the journal has now."""
        try:
            if self._open is None:
                self._open = JournalReader(self.journal)
            self._open.refresh()
        except JournalError:
            return 0
        return len(self._open)

    def settle(self) -> None:
        """See that nothing that was saved when this was last called has been made again since, or is gone.

        The journal is read before the log: what it has was logged before, also where the program still runs.
        """
        scores = list(self._scores())
        lines = self.log.read_bytes()[self._read :] if self.log.exists() else b""
        lines = lines[: lines.rfind(b"\n") + 1]  # the program may be writing the next one
        self._read += len(lines)
        made = [json.loads(line) for line in lines.splitlines()]
        again = sorted({line["fit"] for line in made} & self.saved)
        assert not again, f"{len(again)} of {len(self.saved)} that were saved were made again, such as {again[0]}"
        for line in made:
            if line["score"] is not None:
                assert self._fit_of.setdefault(line["score"], line["fit"]) == line["fit"], "two fits with one score"
        saved = frozenset(self._fit_of[score] for score in scores)
        assert self.saved <= saved, f"{len(self.saved - saved)} that were saved are gone"
        self.saved = saved

    def _scores(self) -> Iterator[str]:
        """The scores of the fits whose results the journal has."""
        try:
            journal = JournalReader(self.journal)
        except JournalError:  # killed before there was one
            return
        for record in journal.records():
            result = journal.get(record.key)
            assert result is not None, f"{record.key} cannot be read: {journal.damages}"
            yield _score(result.value).hex()

    @property
    def lost(self) -> int:
        """Fits that had ended, by the last run's end, and were not saved by then."""
        return len(set(self._fit_of.values()) - self.saved)

    def outcome(self) -> dict[str, Any]:
        """What the program found, in a form that is equal only where every bit is."""
        return {name: exactly(value) for name, value in pickle.loads(self.results.read_bytes()).items()}


def _score(value: Any) -> float:
    """What a call returned: a number, or scikit-learn's results of a fit, with one metric or with names for several."""
    found = value.get("test_scores", value) if isinstance(value, Mapping) else value
    return float(found["score"] if isinstance(found, Mapping) else found)


def exactly(value: Any) -> Any:
    """A value as bits and types."""
    if isinstance(value, np.ma.MaskedArray):
        return "masked", exactly(value.data), exactly(value.mask)
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.dtype.str, value.shape, value.tobytes()
    return type(value).__name__, repr(value.tolist() if isinstance(value, np.ndarray) else value)


class Job:
    """A program that runs, as ranks on this machine; on leaving, none of its processes lives.

    Parameters
    ----------
    ranks : Ranks
    argv : sequence of str
    story : Story
    """

    def __init__(self, ranks: Ranks, argv: Sequence[str], story: Story) -> None:
        self.ranks = ranks
        self.output = story.log.with_name("output")
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                argv,
                cwd=self.output.parent,
                env={**os.environ, **ranks.flavor.env, MARK: ranks.mark, "PYTHONFAULTHANDLER": "1", **story.env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def __enter__(self) -> Job:
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill(self.ranks.processes())
        self.process.wait(END_SECONDS)

    def end(self, timeout: float) -> int:
        """Wait until all of its processes are gone; the exit code.

        Raises
        ------
        AssertionError
            When that takes longer than `timeout` seconds, with what it wrote.
        """
        deadline = time.monotonic() + timeout
        while self.process.poll() is None or self.ranks.processes():
            if time.monotonic() > deadline:
                left = [(pid, _command(pid)) for pid in self.ranks.processes()]
                self._dump(left)
                raise AssertionError(f"not ended {timeout:g} s later: {left}\n{self.output.read_text()}")
            time.sleep(POLL_SECONDS)
        return self.process.returncode

    def _dump(self, left: list[tuple[int, str]]) -> None:
        """Let what hangs write where its threads are: the workers' processes, then the ranks."""
        for kind in ("spawn_main", ".py"):
            for pid, command in left:
                if kind in command and "mpiexec" not in command and "hydra" not in command:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGABRT)
            time.sleep(1)  # for the dumps to be written; nothing depends on it

    def until(self, reached: Callable[[], bool]) -> bool:
        """Wait; False when the program ended before."""
        deadline = time.monotonic() + RUN_SECONDS
        while self.process.poll() is None:
            if reached():
                return True
            assert time.monotonic() < deadline, f"nothing more is saved\n{self.output.read_text()}"
            time.sleep(POLL_SECONDS)
        return False

    def strike(self, role: str) -> str:
        """Kill the processes of a role, all where it has none yet; what was killed."""
        every = self.ranks.processes()
        chosen = every if role == "all" else _with_role(every, role)
        self.kill(chosen or every)
        return role if chosen else "all"

    @staticmethod
    def kill(pids: Sequence[int]) -> None:
        """End processes at once."""
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def _with_role(pids: Sequence[int], role: str) -> list[int]:
    """The processes of a role: rank 0 is the scheduler, 1 the client; rank 2 keeps a worker process."""
    number = {"scheduler": "0", "client": "1"}.get(role, "2")
    ranks = {pid: _rank(pid) for pid in pids}
    first = [pid for pid in pids if ranks[pid] == number and ranks.get(_parent(pid)) != number]
    if role != SURVIVED:
        return first
    return [pid for pid in pids if _parent(pid) in first and "spawn_main" in _command(pid)]


def _proc(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:  # it has ended
        return b""


def _command(pid: int) -> str:
    return _proc(pid, "cmdline").replace(b"\0", b" ").decode(errors="replace")


def _rank(pid: int) -> str:
    """The rank that a process was started as, or whose child it is."""
    values = [entry for entry in _proc(pid, "environ").split(b"\0") if entry.startswith(b"PMI_RANK=")]
    return values[0].partition(b"=")[2].decode() if values else ""


def _parent(pid: int) -> int:
    stat = _proc(pid, "stat").rpartition(b")")[2].split()
    return int(stat[1]) if stat else 0


class Kills:
    """Kills a program at random moments, and runs it again.

    Parameters
    ----------
    ranks : Ranks
    program : Program
    folder : Path
    seed : int
        Of the moments and roles.
    """

    def __init__(self, ranks: Ranks, program: Program, folder: Path, seed: int) -> None:
        self.ranks, self.program, self.folder = ranks, program, folder
        self.random = random.Random(seed)
        self.stories = 0
        self.reference = Story(folder / "reference")
        print(f"{program.file}: seed {seed}")
        began = time.monotonic()
        self._to_the_end(self.reference, program.alone(self.reference.journal))
        print(f"undisturbed: {time.monotonic() - began:.1f} s, {len(self.reference.saved)} results")

    def rounds(self, count: int, roles: Sequence[str] = (), starts: bool = False) -> None:
        """Kill so many times, then let it end.

        Parameters
        ----------
        count : int
        roles : sequence of str
            Who is killed, in turn; drawn at random where there are none.
        starts : bool
            Whether one in five kills comes while the program starts.
        """
        story, killed = self._begin(), 0
        while killed < count:
            if story.results.exists():
                story = self._begin()
            role = roles[killed % len(roles)] if roles else self.random.choice(ROLES)
            killed += self._round(story, role, starts and self.random.random() < 0.2)
        if not story.results.exists():
            self._to_the_end(story, self._command(story))
        self._compare(story)

    def _begin(self) -> Story:
        self.stories += 1
        return Story(self.folder / f"story {self.stories}", self.reference if self.program.drawn else None)

    def _command(self, story: Story) -> list[str]:
        return self.program.command(self.ranks.flavor.mpiexec, story.journal)

    def _round(self, story: Story, role: str, starting: bool) -> bool:
        """Run the program and kill a role of it; False where it had ended before that."""
        began, before = time.monotonic(), story.records()
        growth = self.random.randint(1, self.program.calls // 4)
        seconds = self.random.uniform(0, START_SECONDS)
        with Job(self.ranks, self._command(story), story) as job:
            if starting:
                there = job.until(lambda: time.monotonic() - began > seconds)
            else:
                there = job.until(lambda: story.records() >= before + growth)
            story.settle()
            struck, killed = job.strike(role) if there else "nobody", time.monotonic()
            code = job.end(RUN_SECONDS if struck in (SURVIVED, "nobody") else END_SECONDS)
        story.settle()
        moment = f"{seconds:.1f} s" if starting else f"{growth} more results"
        took = f"{killed - began:.1f} s + {time.monotonic() - killed:.1f} s to the end"
        saved = f"{len(story.saved)} saved, {story.lost} made but not saved"
        print(f"story {self.stories}: {struck} killed after {moment}; {saved}, {code=}, {took}")
        assert code == 0 or struck not in (SURVIVED, "nobody"), job.output.read_text()
        if code == 0 or story.results.exists():
            self._compare(story)
        return there

    def _to_the_end(self, story: Story, argv: Sequence[str]) -> None:
        with Job(self.ranks, argv, story) as job:
            assert job.end(RUN_SECONDS) == 0, job.output.read_text()
        story.settle()

    def _compare(self, story: Story) -> None:
        """See that every call's result is there, and that the program found what it finds undisturbed."""
        assert len(self.reference.saved) == self.program.calls
        assert len(story.saved) == self.program.calls
        assert story.outcome() == self.reference.outcome()
