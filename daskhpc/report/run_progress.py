"""How far the work of a journal is: counted from its records and notes, without reading results."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ..journal.reader import JournalReader, Note, Record
from .best import Best, SearchScores
from .record_texts import cause, number, texts
from .searches import Searches

State = Literal["empty", "running", "finished", "stopped"]

SILENT_SECONDS = 1200.0
"""A process of another machine that is silent for longer has ended: while it waits it shows itself every 600 s."""

_LAST_PART = 0.75
_FEW = 20


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed call: its place in the program, its parameters as texts, its split, and why it failed."""

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
    """What the journal tells of one use of joblib's Parallel: its notes, its search or place, when results came."""

    about: dict[str, Any] = field(default_factory=dict)
    title: str = ""
    times: array[float] = field(default_factory=lambda: array("d"))

    @property
    def began(self) -> float:
        return float(self.about["began"])

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
    """What a journal has, each result counted once for every Parallel call that computed it.

    Scores and failures go by the title of their search or place. A folder of one search or sweep has one piece of work,
    wherever in the program that was before; its title here is empty.
    """

    def __init__(self, reader: JournalReader) -> None:
        notes, self.kind = reader.notes(), reader.manifest.kind
        self.searches = Searches(self.kind, notes)
        self.calls = {
            name: _ParallelCall(about, self.searches.title(name)) for name, about in self.searches.notes.items()
        }
        self.scores: dict[str, SearchScores] = {}
        self.failures: list[tuple[str, Record]] = []
        self.notes: dict[str, Note] = {}  # the last one of each name
        self.saved: float | None = None
        self._calls_of: dict[str, set[str]] = {}
        for note in notes:
            if note.name not in self.notes or note.time >= self.notes[note.name].time:
                self.notes[note.name] = note
        for record in reader.every_record():
            self._record(record)
        self.segments = reader.segments()

    def __len__(self) -> int:
        return len(self._calls_of)

    def _record(self, record: Record) -> None:
        about, key = record.about, record.key
        name = str(about.get("call", ""))
        calls = self._calls_of.setdefault(key, set())
        # Of the records of a key the one that counts comes first.
        titles = self.searches.of(key, about) if not calls else ()
        if not record.ok:
            self.failures += [(self.work(title), record) for title in titles]
        if name in calls:
            return
        calls.add(name)
        time = float(record.fields["time"])
        self.saved = time if self.saved is None else max(time, self.saved)
        if about.get("within"):
            return  # a checkpoint in the middle of an epoch of a training
        self.calls.setdefault(name, _ParallelCall()).times.append(time)
        for title in titles:
            self.scores.setdefault(self.work(title), SearchScores()).add(about)

    def work(self, title: str) -> str:
        """The name under which scores and failures are kept."""
        return title if self.kind == "calls" else ""

    def best(self, work: str) -> Best | None:
        return self.scores[work].best() if work in self.scores else None


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
    last = _last_process(manifest.kind, records)
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
        failures=tuple(_failure(records, record) for _, record in records.failures),
    )


def _last_process(kind: str, records: _Records) -> list[_ParallelCall]:
    """The Parallel calls of the process that began one last, in order; of a search those of its last fit."""
    begun = [call for call in records.calls.values() if "began" in call.about]
    if not begun:
        return []
    last = _process(kind, max(begun, key=lambda call: call.began))
    return sorted((call for call in begun if _process(kind, call) == last), key=lambda call: call.began)


def _process(kind: str, call: _ParallelCall) -> str:
    one = str(call.about["id"]).rpartition("-")[0]
    return str(call.about.get("program", one)) if kind == "calls" else one


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
    for title, calls in _by_title(last).items():
        work = records.work(title)
        known = [call.about.get("known") for call in calls]
        total = None if None in known else sum(map(int, known))  # type: ignore[arg-type]
        done = sum(call.done for call in calls)
        unfinished = [call for call in calls if not call.ended]
        rate = _rate(unfinished[-1], now) if unfinished and state == "running" else None
        failed, causes = _failed(records, work)
        yield PlaceProgress(
            place=title,
            times=len(calls),
            open=len(unfinished),
            known=total,
            done=done,
            replayed=sum(call.about.get("replayed", 0) for call in calls),
            aborted=any(call.about.get("aborted") for call in calls),
            rate=rate,
            left=(total - done) / rate if rate and total is not None else None,
            best=(_chosen(records) if state == "finished" else None) or records.best(work),
            failed=failed,
            causes=causes,
        )


def _without_calls(kind: str, records: _Records) -> PlaceProgress:
    """What there is if no Parallel call was noted."""
    failed, causes = _failed(records, "")
    known = records.notes["plan"].data["total"] if "plan" in records.notes else None
    return PlaceProgress(kind, 0, 0, known, len(records), 0, False, None, None, records.best(""), failed, causes)


def _by_title(calls: Iterable[_ParallelCall]) -> dict[str, list[_ParallelCall]]:
    titles: dict[str, list[_ParallelCall]] = {}
    for call in calls:
        titles.setdefault(call.title, []).append(call)
    return titles


def _rate(call: _ParallelCall, now: float) -> float | None:
    """Calls per second over the last quarter of a call's time, or over all of it if few finished in that."""
    start = call.began + _LAST_PART * (now - call.began)
    recent = sum(time >= start for time in call.times)
    if recent < _FEW:
        start, recent = call.began, len(call.times)
    return recent / (now - start) if recent and now > start else None


def _chosen(records: _Records) -> Best | None:
    """The best candidate by the search's own word, which knows about ``refit``, several scores, and resources."""
    note = records.notes.get("best")
    if note is None or note.data.get("params") is None:
        return None
    splits = records.scores[""].splits if "" in records.scores else 1
    return Best(number(note.data.get("score")), texts(note.data["params"]), splits, splits)


def _failed(records: _Records, work: str) -> tuple[int, tuple[tuple[str, int], ...]]:
    """How many calls of a piece of work failed, and the causes, the most frequent one first."""
    causes = [cause(record) for of, record in records.failures if of == work]
    return len(causes), tuple(Counter(causes).most_common())


def _failure(records: _Records, record: Record) -> Failure:
    about = record.about
    params, host = texts(about.get("params")), str(record.fields["host"])
    place = records.searches.title(str(about.get("call", "")))
    return Failure(place, params, about.get("split"), cause(record), host)
