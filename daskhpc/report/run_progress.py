"""How far the work of a journal is: counted from its records and notes, without reading results."""

from __future__ import annotations

import functools
import json
import math
import operator
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ..journal.codec import to_text
from ..journal.reader import JournalReader, Note, Record
from .record_texts import cause, number, texts

State = Literal["empty", "running", "finished", "stopped"]

SILENT_SECONDS = 1200.0
"""A process of another machine that is silent for longer has ended: while it waits it shows itself every 600 s."""

_LAST_PART = 0.75
_FEW = 20


@dataclass(frozen=True, slots=True)
class Best:
    """The best candidate: its mean test score over `splits_done` of its splits, and its parameters as texts.

    The score is None if a function as ``refit`` chose it by several scores.
    """

    score: float | None
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
class PlaceProgress:
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
class RunProgress:
    """How far the work of a journal is.

    Attributes
    ----------
    kind : str
        "search", "sweep", "calls" or "training".
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
    places : tuple of PlaceProgress
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
    places: tuple[PlaceProgress, ...]
    failures: tuple[Failure, ...]


@dataclass(slots=True)
class _ParallelCall:
    """What the journal tells of one use of joblib's Parallel: its notes, when results came, and scores by candidate."""

    about: dict[str, Any] = field(default_factory=dict)
    times: array[float] = field(default_factory=lambda: array("d"))
    scores: dict[str, dict[int, float]] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    splits: int = 0
    candidates: int = 0

    @property
    def began(self) -> float:
        return float(self.about["began"])

    @property
    def place(self) -> str:
        return str(self.about.get("place", ""))

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


class _Records:
    """What a journal has, each result counted once for every Parallel call that computed it."""

    def __init__(self, reader: JournalReader) -> None:
        self.calls: dict[str, _ParallelCall] = {}
        self.failures: dict[str, tuple[str, Record]] = {}
        self.notes: dict[str, Note] = {}  # the last one of each name
        self.saved: float | None = None
        self._calls_of: dict[str, set[str]] = {}
        for note in reader.notes():
            if note.name == "call":
                self.call(note.data["id"]).about.update(note.data)
            elif note.name not in self.notes or note.time >= self.notes[note.name].time:
                self.notes[note.name] = note
        for record in reader.every_record():
            self._record(record)
        self.segments = reader.segments()

    def __len__(self) -> int:
        return len(self._calls_of)

    def call(self, name: str) -> _ParallelCall:
        return self.calls.get(name) or self.calls.setdefault(name, _ParallelCall())

    def _record(self, record: Record) -> None:
        about, key = record.about, record.key
        name = str(about.get("call", ""))
        calls = self._calls_of.setdefault(key, set())
        counts = not calls  # of the records of a key the one that counts comes first
        if counts and not record.ok:
            self.failures[key] = name, record
        if name in calls:
            return
        calls.add(name)
        call = self.call(name)
        time = float(record.fields["time"])
        self.saved = time if self.saved is None else max(time, self.saved)
        if about.get("within"):
            return  # a checkpoint in the middle of an epoch of a training
        call.times.append(time)
        score = number(about.get("score"))
        if counts and score is not None and not math.isnan(score) and "params" in about:
            params = to_text(about["params"])
            call.scores.setdefault(params, {})[about.get("split", 0)] = score
            call.numbers[params] = about.get("candidate", 0)
            call.splits = max(call.splits, about.get("splits", 1))
            call.candidates = about.get("candidates", 0)


def run_progress(reader: JournalReader, now: float) -> RunProgress:
    """How far the work of a journal is.

    Parameters
    ----------
    reader : JournalReader
    now : float
        Unix time, in seconds.
    """
    manifest, records = reader.manifest, _Records(reader)
    writing = [
        s for s in records.segments if s.ended is False or (s.ended is None and now - s.touched < SILENT_SECONDS)
    ]
    last = _last_process(records)
    state = _state(manifest.kind, records, last, bool(writing))
    return RunProgress(
        kind=manifest.kind,
        created=manifest.created,
        state=state,
        writers=tuple(dict.fromkeys(segment.host for segment in writing)),
        known_alive=any(segment.ended is False for segment in writing),
        records=len(records),
        saved=records.saved,
        damages=sum(segment.damages for segment in records.segments),
        places=tuple(_places(manifest.kind, records, last, now, state)),
        failures=tuple(_failure(records, name, record) for name, record in records.failures.values()),
    )


def _last_process(records: _Records) -> list[_ParallelCall]:
    """The Parallel calls of the process that began one last, in order."""
    begun = {name: call for name, call in records.calls.items() if "began" in call.about}
    if not begun:
        return []
    process = max(begun, key=lambda name: begun[name].began).rpartition("-")[0]
    calls = [call for name, call in begun.items() if name.rpartition("-")[0] == process]
    return sorted(calls, key=lambda call: call.began)


def _state(kind: str, records: _Records, last: Sequence[_ParallelCall], writing: bool) -> State:
    if last:
        complete = all(call.ended for call in last) and not last[-1].about.get("aborted")
        if kind == "search":
            complete = complete and "results" in records.notes and records.notes["results"].time >= last[0].began
        elif kind == "calls":  # the program goes on until its segment is closed
            complete = complete and not writing and records.segments[-1].closed
    else:
        complete = "plan" in records.notes and len(records) >= records.notes["plan"].data["total"]
    if complete:
        return "finished"
    return "running" if writing else "stopped" if last or len(records) else "empty"


def _places(
    kind: str, records: _Records, last: Sequence[_ParallelCall], now: float, state: State
) -> Iterable[PlaceProgress]:
    if not last and len(records):
        yield _without_calls(kind, records)
    for place, calls in _by_place(last).items():
        # a search or a sweep is one piece of work, wherever in the program it was before
        same = list(records.calls.values()) if kind != "calls" else _by_place(records.calls.values())[place]
        known = [call.about.get("known") for call in calls]
        total = None if None in known else sum(map(int, known))  # type: ignore[arg-type]
        done = sum(call.done for call in calls)
        unfinished = [call for call in calls if not call.ended]
        rate = _rate(unfinished[-1], now) if unfinished and state == "running" else None
        failed, causes = _failed(records, same)
        yield PlaceProgress(
            place=place,
            times=len(calls),
            open=len(unfinished),
            known=total,
            done=done,
            replayed=sum(call.about.get("replayed", 0) for call in calls),
            aborted=any(call.about.get("aborted") for call in calls),
            rate=rate,
            left=(total - done) / rate if rate and total is not None else None,
            best=(_chosen(records, same) if state == "finished" else None) or _best(same),
            failed=failed,
            causes=causes,
        )


def _without_calls(kind: str, records: _Records) -> PlaceProgress:
    """What there is if no Parallel call was noted."""
    calls = list(records.calls.values())
    failed, causes = _failed(records, calls)
    known = records.notes["plan"].data["total"] if "plan" in records.notes else None
    return PlaceProgress(kind, 0, 0, known, len(records), 0, False, None, None, _best(calls), failed, causes)


def _by_place(calls: Iterable[_ParallelCall]) -> dict[str, list[_ParallelCall]]:
    places: dict[str, list[_ParallelCall]] = {}
    for call in calls:
        places.setdefault(call.place, []).append(call)
    return places


def _rate(call: _ParallelCall, now: float) -> float | None:
    """Calls per second over the last quarter of a call's time, or over all of it if few finished in that."""
    start = call.began + _LAST_PART * (now - call.began)
    recent = sum(time >= start for time in call.times)
    if recent < _FEW:
        start, recent = call.began, len(call.times)
    return recent / (now - start) if recent and now > start else None


def _chosen(records: _Records, calls: Sequence[_ParallelCall]) -> Best | None:
    """The best candidate by the search's own word, which knows about ``refit``, several scores, and resources."""
    note = records.notes.get("best")
    if note is None or note.data.get("params") is None:
        return None
    splits = max((call.splits for call in calls), default=1)
    return Best(number(note.data.get("score")), texts(note.data["params"]), splits, splits)


def _best(calls: Sequence[_ParallelCall]) -> Best | None:
    """The candidate with the best mean among those with all splits; while there are none, among all.

    Of candidates with equal means it is the first in the order of the search, as in scikit-learn. Of a search by
    successive halving it is one of the last round in which a candidate has all splits: scores on little data are not
    compared with scores on more.
    """
    rounds: dict[int, list[_ParallelCall]] = {}
    for call in calls:
        rounds.setdefault(call.candidates, []).append(call)
    last_first = [*sorted(left for left in rounds if left), 0]
    found = [best for left in last_first if (best := _best_of_round(rounds.get(left, ()))) is not None]
    return next((best for best in found if best.splits_done >= best.splits), found[0] if found else None)


def _best_of_round(calls: Sequence[_ParallelCall]) -> Best | None:
    scores: dict[str, dict[int, float]] = {}
    numbers: dict[str, int] = {}
    for call in calls:
        numbers.update(call.numbers)
        for params, by_split in call.scores.items():
            scores.setdefault(params, {}).update(by_split)
    splits = max((call.splits for call in calls), default=0)
    whole = {params: by_split for params, by_split in scores.items() if len(by_split) >= splits} or scores
    if not whole:
        return None
    means = {params: mean([score for _, score in sorted(by_split.items())]) for params, by_split in whole.items()}
    means = {params: value for params, value in means.items() if not math.isnan(value)}
    if not means:
        return None
    best = min(means, key=lambda params: (-means[params], numbers[params]))
    return Best(means[best], texts(json.loads(best)), len(whole[best]), splits)


def mean(values: Sequence[float]) -> float:
    """The mean as NumPy computes it, to the last bit.

    Notes
    -----
    Why not ``sum(values) / len(values)``: candidates are of equal rank in scikit-learn if their means are equal, and
    which of two sums in another order is greater is decided by rounding. NumPy adds eight interleaved sums of at most
    128 values, and halves longer arrays. It is done here by hand because ``daskhpc status`` does not import NumPy,
    which takes longer than all else that the command does.
    """
    return _numpy_sum(values) / len(values)


def _numpy_sum(values: Sequence[float]) -> float:
    count = len(values)
    if count > 128:
        half = count // 2 - count // 2 % 8
        return _numpy_sum(values[:half]) + _numpy_sum(values[half:])
    total, rest = 0.0, 0
    if count >= 8:
        rest = count - count % 8
        a, b, c, d, e, f, g, h = (functools.reduce(operator.add, values[start:rest:8]) for start in range(8))
        total = ((a + b) + (c + d)) + ((e + f) + (g + h))
    return functools.reduce(operator.add, values[rest:], total)


def _failed(records: _Records, calls: Sequence[_ParallelCall]) -> tuple[int, tuple[tuple[str, int], ...]]:
    """How many calls of these failed, and the causes, the most frequent one first."""
    wanted = {id(call) for call in calls}
    causes = [cause(record) for name, record in records.failures.values() if id(records.calls[name]) in wanted]
    return len(causes), tuple(Counter(causes).most_common())


def _failure(records: _Records, name: str, record: Record) -> Failure:
    about = record.about
    params, host = texts(about.get("params")), str(record.fields["host"])
    return Failure(records.calls[name].place, params, about.get("split"), cause(record), host)
