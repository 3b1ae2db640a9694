"""How far the work of a journal is, from its records alone."""

from __future__ import annotations

import json
import math
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ..journal.codec import to_text
from ..journal.folder import Manifest
from .records import Entry, Note, Record, Segment, cause, distinct, number, texts

State = Literal["empty", "running", "finished", "stopped"]

SILENT_SECONDS = 1200.0
"""A process of another machine that is silent for longer has ended: while it waits it shows itself every 600 s."""

_LAST_PART = 0.75
_FEW = 20


@dataclass(frozen=True, slots=True)
class Best:
    """The best candidate so far: its mean test score over `splits_done` of its splits, and its parameters as texts."""

    score: float
    params: dict[str, str]
    splits_done: int
    splits: int


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed call: where in the program, its parameters as texts, its split, and why it failed."""

    place: str
    params: dict[str, str]
    split: int | None
    cause: str
    host: str


@dataclass(frozen=True, slots=True)
class Place:
    """How far the Parallel calls of one place in the program are.

    Attributes
    ----------
    place : str
        ``search.py:31 GridSearchCV.fit``.
    times : int
        How many Parallel calls the last process has begun there.
    open : int
        How many of them have not ended.
    known : int or None
        Their calls; None while they are still counted.
    done, replayed : int
        Finished calls, and how many of these came from the journal.
    aborted : bool
        Whether the program ended one of them before its time.
    rate : float or None
        Calls per second, lately.
    left : float or None
        The seconds until all is done at this rate.
    best : Best or None
    failed : int
    causes : tuple of (str, int)
        Of the failures, the most frequent one first.
    """

    place: str
    times: int
    open: int
    known: int | None
    done: int
    replayed: int
    aborted: bool
    rate: float | None
    left: float | None
    best: Best | None
    failed: int
    causes: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """How far the work of a journal is.

    Attributes
    ----------
    kind : str
        "search", "sweep" or "calls".
    created : str
        ISO time.
    state : {"empty", "running", "finished", "stopped"}
    writers : tuple of str
        The machines whose processes seem to write to it now.
    known_alive : bool
        Whether one of them is certain to be alive.
    records : int
    saved : float or None
        When the last result was saved, in Unix time.
    damages : int
        Unreadable lines.
    places : tuple of Place
        Of the last process, in the order of the program.
    failures : tuple of Failure
    """

    kind: str
    created: str
    state: State
    writers: tuple[str, ...]
    known_alive: bool
    records: int
    saved: float | None
    damages: int
    places: tuple[Place, ...]
    failures: tuple[Failure, ...]


@dataclass(slots=True)
class _Call:
    """What is known of one Parallel call."""

    about: dict[str, Any] = field(default_factory=dict)
    times: array[float] = field(default_factory=lambda: array("d"))
    scores: dict[str, dict[int, float]] = field(default_factory=dict)
    splits: int = 0

    @property
    def ended(self) -> bool:
        return "ended" in self.about

    @property
    def done(self) -> int:
        """All of a call that came to its end; of another what is in the journal, by its own count."""
        counted = int(self.about.get("replayed", 0)) + len(self.times)
        if "known" not in self.about:
            return counted
        known = int(self.about["known"])
        return known if self.ended and not self.about.get("aborted") else min(known, counted)


class _Tally:
    """Counts entries, once each."""

    def __init__(self) -> None:
        self.calls: dict[str, _Call] = {}
        self.failures: dict[bytes, tuple[str, Record]] = {}
        self.segments: list[Segment] = []
        self.plan: dict[str, Any] = {}
        self.results = 0.0
        self.saved: float | None = None
        self._first: dict[bytes, str] = {}
        self._more: set[tuple[bytes, str]] = set()

    @property
    def records(self) -> int:
        return len(self._first)

    def take(self, entry: Entry) -> None:
        if isinstance(entry, Record):
            self._record(entry)
        elif isinstance(entry, Segment):
            self.segments.append(entry)
        else:
            self._note(entry)

    def _record(self, record: Record) -> None:
        about, key = record.about, record.key
        name = str(about.get("call", ""))
        known = key in self._first
        if record.ok:
            self.failures.pop(key, None)
        elif not known:
            self.failures[key] = name, record
        if known:
            if self._first[key] == name or (key, name) in self._more:
                return
            self._more.add((key, name))
        self._first.setdefault(key, name)
        call = self.calls.get(name) or self.calls.setdefault(name, _Call())
        time = float(record.fields["time"])
        call.times.append(time)
        self.saved = time if self.saved is None else max(time, self.saved)
        score = number(about.get("score"))
        if score is not None and math.isfinite(score) and "params" in about:
            call.scores.setdefault(to_text(about["params"]), {})[about.get("split", 0)] = score
            call.splits = max(call.splits, about.get("splits", 1))

    def _note(self, note: Note) -> None:
        if note.name == "call":
            self.calls.setdefault(note.data["id"], _Call()).about.update(note.data)
        elif note.name == "plan":
            self.plan = note.data
        elif note.name == "results":
            self.results = max(note.time, self.results)


def standing(manifest: Manifest, found: Iterable[Entry], now: float) -> Standing:
    """How far the work of a journal is.

    Parameters
    ----------
    manifest : Manifest
    found : iterable of Record, Note and Segment
        All that is in its folder.
    now : float
        Unix time.
    """
    tally = _Tally()
    for entry in distinct(found):
        tally.take(entry)
    writing = [s for s in tally.segments if s.ended is False or (s.ended is None and now - s.touched < SILENT_SECONDS)]
    last = _last_process(tally)
    state = _state(manifest.kind, tally, last, bool(writing))
    return Standing(
        kind=manifest.kind,
        created=manifest.created,
        state=state,
        writers=tuple(dict.fromkeys(segment.host for segment in writing)),
        known_alive=any(segment.ended is False for segment in writing),
        records=tally.records,
        saved=tally.saved,
        damages=sum(segment.damages for segment in tally.segments),
        places=tuple(_places(manifest.kind, tally, last, now if state == "running" else None)),
        failures=tuple(_failure(tally, name, record) for name, record in tally.failures.values()),
    )


def _last_process(tally: _Tally) -> list[_Call]:
    """The Parallel calls of the process that began one last, in order."""
    begun = {name: call for name, call in tally.calls.items() if "began" in call.about}
    if not begun:
        return []
    process = max(begun, key=lambda name: begun[name].about["began"]).rpartition("-")[0]
    own = [call for name, call in begun.items() if name.rpartition("-")[0] == process]
    return sorted(own, key=lambda call: float(call.about["began"]))


def _state(kind: str, tally: _Tally, last: Sequence[_Call], writing: bool) -> State:
    if last:
        complete = all(call.ended for call in last) and not last[-1].about.get("aborted")
        if kind == "search":
            complete = complete and tally.results >= last[0].about["began"]
        elif kind == "calls":  # the program goes on until its segment is closed
            complete = complete and not writing and tally.segments[-1].closed
    else:
        complete = bool(tally.plan) and tally.records >= tally.plan["total"]
    if complete:
        return "finished"
    return "running" if writing else "stopped" if last or tally.records else "empty"


def _places(kind: str, tally: _Tally, last: Sequence[_Call], now: float | None) -> Iterable[Place]:
    if not last and tally.records:
        yield _unplaced(kind, tally)
    for place, calls in _by_place(last).items():
        # a search or a sweep is one piece of work, wherever in the program it was before
        same = list(tally.calls.values()) if kind != "calls" else _by_place(tally.calls.values())[place]
        known = [call.about.get("known") for call in calls]
        total = None if None in known else sum(map(int, known))  # type: ignore[arg-type]
        done = sum(call.done for call in calls)
        unfinished = [call for call in calls if not call.ended]
        rate = _rate(unfinished[-1], now) if unfinished and now is not None else None
        names = {id(call) for call in same}
        failed = [r for name, r in tally.failures.values() if id(tally.calls[name]) in names]
        yield Place(
            place=place,
            times=len(calls),
            open=len(unfinished),
            known=total,
            done=done,
            replayed=sum(call.about.get("replayed", 0) for call in calls),
            aborted=any(call.about.get("aborted") for call in calls),
            rate=rate,
            left=(total - done) / rate if rate and total is not None else None,
            best=_best(same),
            failed=len(failed),
            causes=tuple(Counter(map(cause, failed)).most_common()),
        )


def _unplaced(kind: str, tally: _Tally) -> Place:
    """What there is where no Parallel call was noted."""
    failed = [record for _, record in tally.failures.values()]
    causes = tuple(Counter(map(cause, failed)).most_common())
    known, best = tally.plan.get("total"), _best(list(tally.calls.values()))
    return Place(kind, 0, 0, known, tally.records, 0, False, None, None, best, len(failed), causes)


def _by_place(calls: Iterable[_Call]) -> dict[str, list[_Call]]:
    places: dict[str, list[_Call]] = {}
    for call in calls:
        places.setdefault(str(call.about.get("place", "")), []).append(call)
    return places


def _rate(call: _Call, now: float) -> float | None:
    """Calls per second over the last quarter of a call's time, or over all of it where few finished in that."""
    began = float(call.about["began"])
    start = began + _LAST_PART * (now - began)
    recent = sum(time >= start for time in call.times)
    if recent < _FEW:
        start, recent = began, len(call.times)
    return recent / (now - start) if recent and now > start else None


def _best(calls: Sequence[_Call]) -> Best | None:
    """The candidate with the best mean among those with all splits; while there are none, among all."""
    scores: dict[str, dict[int, float]] = {}
    for call in calls:
        for params, own in call.scores.items():
            scores.setdefault(params, {}).update(own)
    splits = max((call.splits for call in calls), default=0)
    whole = {params: own for params, own in scores.items() if len(own) >= splits} or scores
    if not whole:
        return None
    means = {params: sum(own.values()) / len(own) for params, own in whole.items()}
    first = max(means, key=means.__getitem__)
    return Best(means[first], texts(json.loads(first)), len(whole[first]), splits)


def _failure(tally: _Tally, name: str, record: Record) -> Failure:
    about, place = record.about, str(tally.calls[name].about.get("place", ""))
    return Failure(place, texts(about.get("params")), about.get("split"), cause(record), str(record.fields["host"]))
