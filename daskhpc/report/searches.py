"""Which search a record of a journal belongs to, and which records still count.

A fit is kept with a digest of all that it depends on but the candidate: the estimator, the data, the split, the scorer,
``error_score``. Each use of Parallel notes the digests of its splits. So the last run of a search shows which records
are its own, whichever process computed them, and scores that cannot be compared are never ranked together. If a process
fits a search with the settings of an earlier one in another ``parallel_config`` block (a coarse grid, then a finer
one), it notes the keys of the fits that it finds: these belong to both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..journal.reader import Note


@dataclass(slots=True, eq=False)
class _SearchRun:
    """One fit of a search: its uses of Parallel, more than one if it has rounds, and what their notes say."""

    uses: list[str]
    note: Mapping[str, Any]
    settings: set[str] = field(default_factory=set)
    shared: set[str] = field(default_factory=set)
    known: int = 0
    title: str = ""

    @property
    def began(self) -> float:
        return float(self.note.get("began", 0.0))

    @property
    def program(self) -> str:
        """The process that made it, not only that Parallel."""
        return str(self.note.get("program", self.checkpoint))

    @property
    def checkpoint(self) -> str:
        """The checkpoint of that process, which counts the calls that are made again."""
        return str(self.note["id"]).rpartition("-")[0]

    def repeats(self, other: _SearchRun) -> bool:
        """Whether it is the same search once more, such as a cell of a notebook that was run again."""
        if self.checkpoint == other.checkpoint or self.settings != other.settings:
            return False
        return self.note.get("place") == other.note.get("place") and 0 < self.known == other.known == len(self.shared)


class Searches:
    """The searches of a journal.

    Parameters
    ----------
    kind : str
        Of the journal.
    notes : iterable of Note
        Those called "call", in any order with others.

    Notes
    -----
    A folder of one search has the search that was fitted last. In a folder of calls, searches of the same data and
    kinds of estimators are one piece of work: those of the last process that had any of them count. If a process has
    several of them, each is a search of its own.
    """

    def __init__(self, kind: str, notes: Iterable[Note]) -> None:
        self.kind = kind
        self.notes: dict[str, dict[str, Any]] = {}
        for note in notes:
            if note.name == "call":
                self.notes.setdefault(note.data["id"], {}).update(note.data)
        runs = _runs(self.notes)
        self._last: dict[str, tuple[str, float]] = {}
        for run in runs:
            self._last[self._work(run)] = run.program, run.began
        counting = [run for run in runs if run.program == self._last[self._work(run)][0]]
        if kind == "search":
            counting = counting[-1:]
        self._by_use: dict[str, _SearchRun] = {}
        self._by_settings: dict[str, list[_SearchRun]] = {}
        self._by_key: dict[str, list[_SearchRun]] = {}
        different: list[_SearchRun] = []
        for run in counting:
            before = next((earlier for earlier in different if run.repeats(earlier)), None)
            self._by_use.update(dict.fromkeys(run.uses, before or run))
            if before is not None:
                continue
            different.append(run)
            for key in run.shared:
                self._by_key.setdefault(key, []).append(run)
            for settings in run.settings:
                runs = self._by_settings.setdefault(settings, [])
                if not runs or runs[0].checkpoint == run.checkpoint:
                    runs.append(run)
        _give_titles(different)
        self._order = [run.title for run in different]

    @property
    def began(self) -> float:
        """When the last fit of a search began, in Unix time; 0 if no note has it."""
        return max((began for _, began in self._last.values()), default=0.0)

    def title(self, use: str) -> str:
        """What the search of a use of Parallel is called: its place in the program, with more if there are several."""
        run = self._by_use.get(use)
        return run.title if run is not None else str(self.notes.get(use, {}).get("place", ""))

    def rank(self, title: str) -> int:
        """The place of a search in the order of the program; what has none comes first."""
        return self._order.index(title) if title in self._order else -1

    def of(self, key: str, about: Mapping[str, Any]) -> tuple[str, ...]:
        """The titles of the searches that a record belongs to; none if it was made with settings that count no more.

        Parameters
        ----------
        key : str
            Of the record.
        about : mapping
            What was noted about the record.

        Returns
        -------
        tuple of str
            Of a call that is no fit of a search the place in the program.
        """
        first = self._first(about)
        also = (run.title for run in self._by_key.get(key, ()))
        return tuple(dict.fromkeys(title for title in (first, *also) if title is not None))

    def _first(self, about: Mapping[str, Any]) -> str | None:
        use, settings = str(about.get("call", "")), str(about.get("settings", ""))
        unknown = not settings or not self.notes.get(use, {}).get("settings")
        if unknown or use in self._by_use:
            return self.title(use)
        runs = self._by_settings.get(settings, ())
        again = int(about.get("again", 0))
        return runs[again].title if again < len(runs) else None

    def _work(self, run: _SearchRun) -> str:
        return str(run.note.get("work")) if self.kind == "calls" else ""


def _runs(notes: Mapping[str, Mapping[str, Any]]) -> list[_SearchRun]:
    """The fits of searches, in the order in which they began."""
    runs: dict[str, _SearchRun] = {}
    for use, note in sorted(notes.items(), key=lambda item: item[1].get("began", 0.0)):
        if note.get("settings"):
            run = runs.setdefault(note.get("first", use), _SearchRun([], note))
            run.uses.append(use)
            run.settings.update(note["settings"])
            run.shared.update(note.get("shared", ()))
            run.known += int(note.get("known", 0))
    return list(runs.values())


def _give_titles(runs: Iterable[_SearchRun]) -> None:
    """The place alone if there is one search; otherwise a number, and the estimator or the data."""
    places: dict[str, list[_SearchRun]] = {}
    for run in runs:
        places.setdefault(str(run.note.get("place", "")), []).append(run)
    for place, some in places.items():
        names = ("estimator", "data")
        differing = next((name for name in names if len({run.note.get(name) for run in some}) > 1), names[0])
        for number, run in enumerate(some, 1):
            run.title = place if len(some) == 1 else f"{place} [{number}] {run.note.get(differing, '')}".rstrip()
