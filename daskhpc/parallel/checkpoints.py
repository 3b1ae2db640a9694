"""Results of calls kept in a journal: which are there, and which are to be saved."""

from __future__ import annotations

import atexit
import itertools
import os
import socket
import sys
import threading
import time
import uuid
import weakref
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xxhash

from ..compat.sklearn import fit_arguments, fit_error, fit_summary, is_fit, round_number
from ..journal.calls import call_key
from ..journal.folder import same_work
from ..journal.journal import Journal
from ..journal.tokens import Tokens
from .call_queue import Call
from .measured import Measured, Outcome
from .search_settings import about_search, settings_digest, split_of

SYNC_SECONDS = 10.0
MOST_OPEN = 16
"""Journals that a process holds open, unless more are in use; each has two files."""

_VALIDATING = "wrapper"  # scikit-learn's, around every public function
_PROGRAM = uuid.uuid4().hex[:8]  # this process
_INNER = frozenset({"daskhpc", "joblib", "sklearn", "contextlib"})


@dataclass(slots=True, eq=False)
class ParallelUse:
    """One use of Parallel, as the journal's notes describe it.

    Attributes
    ----------
    id : str
    retry_failed : bool
        Whether fits that failed are done again.
    known, replayed : int
        Calls, and those of them whose results were there.
    told : bool
        Whether all of them are known, and noted.
    round : int or None
        The round's number, in a search by successive halving.
    settings : dict of int to str
        Of a search, by split: a digest of all that a fit depends on but the candidate.
    settings_told : bool
        Whether they are noted.
    search : dict of str to str
        What it is about.
    met : dict of str to int
        How often the content of each of its calls was met before it began.
    again : dict of str to int
        The same by the key of the call, if it is not 0.
    counted : Counter of str
        How often it has met the content of each of its calls.
    taken_back : bool
        Whether its calls count as not made.
    shared : list of str
        The keys of fits that were found, if this process had a search of these settings before: with another
        checkpoint, or with this one and ended before its time.
    """

    id: str
    retry_failed: bool = False
    known: int = 0
    replayed: int = 0
    told: bool = False
    round: int | None = None
    settings: dict[int, str] = field(default_factory=dict)
    settings_told: bool = False
    search: dict[str, str] = field(default_factory=dict)
    met: dict[str, int] = field(default_factory=dict)
    again: dict[str, int] = field(default_factory=dict)
    counted: Counter[str] = field(default_factory=Counter)
    taken_back: bool = False
    shared: list[str] = field(default_factory=list)


# Why it is so: the key of a call is made of the content of its function and arguments, not of the call's place in the
# program. So a program that is changed and started again finds what did not change, and makes the rest. A key is looked
# up before the engine sees the call, which so knows nothing of journals; a result goes to the journal before joblib.


class Checkpoint:
    """The results of one program, search or sweep.

    Parameters
    ----------
    journal : Journal
    retry_failed : bool
        Whether fits that failed are done again.

    Notes
    -----
    The same call made twice is two calls, the first and the second of its key: if a function draws at random, its
    results differ, and each call gets its own back.
    """

    def __init__(self, journal: Journal, retry_failed: bool = False) -> None:
        self.journal = journal
        self.retry_failed = retry_failed
        self.tokens = Tokens()
        self._met: Counter[str] = Counter()
        self._counting = threading.Lock()
        self._first: str | None = None
        self._id = uuid.uuid4().hex[:8]
        self._numbers = itertools.count()
        self._host = socket.gethostname()
        with _lock:  # a thread that opens a journal goes through them
            _keepers.add(self)

    def begin(self, label: str, retry_failed: bool = False) -> ParallelUse:
        """A Parallel call begins; what the program has changed since the last one is looked at anew."""
        self.tokens.forget()
        at, number = place()
        part = ParallelUse(f"{self._id}-{next(self._numbers)}", self.retry_failed or retry_failed, round=number)
        # The id of the first round marks all rounds of a search; each fit begins with a new first round.
        self._first = part.id if not number or self._first is None else self._first
        about = {"host": self._host, "pid": os.getpid(), "program": _PROGRAM, "first": self._first}
        self._note(part, place=at, label=label, began=time.time(), **about)
        return part

    def recall(self, call: Call, part: ParallelUse) -> tuple[Any] | None:
        """What a call returned, None if it has to be made.

        Raises
        ------
        JournalError
            If an argument has no key.
        """
        swept = type(call.function) is Measured
        content = (
            call_key(call.function.function, (), call.args[0], self.tokens)
            if swept
            else call_key(call.function, call.args, call.kwargs, self.tokens)
        )
        with self._counting:  # threads of the program may make the same call
            count = self._met[content]
            if not part.taken_back:
                self._met[content] = count + 1
                part.counted[content] += 1
        before = part.met.setdefault(content, count)
        call.key = content if not count else xxhash.xxh3_128_hexdigest(f"{content} {count}".encode())
        call.part = part
        part.known += 1
        if before:
            part.again[call.key] = before
        settings = self._settings(call, part)
        others = self._is_of_another(settings)
        found = self.journal.get(call.key)
        # A failure is the result of a call alone whose caller takes failures as results.
        takes_failures = not part.retry_failed and (call.function.record if swept else is_fit(call.function))
        if found is None or not (found.ok or takes_failures):
            return None
        part.replayed += 1
        if others or (settings is not None and str(found.about.get("call")).startswith(f"{self._id}-")):
            part.shared.append(call.key)
        return (Outcome(found.value, found.error, found.seconds, found.host) if swept else found.value,)

    def _settings(self, call: Call, part: ParallelUse) -> str | None:
        """Of the fits of a search, learn the settings from those of the first candidate, and note them."""
        split = split_of(call)
        if split is None:
            return None
        if split not in part.settings:
            part.settings[split] = settings_digest(call, self.tokens)
            part.search = part.search or about_search(call, self.tokens)
        else:
            self._tell_settings(part)
        return part.settings[split]

    def _is_of_another(self, settings: str | None) -> bool:
        """Whether another checkpoint of this process had a search of these settings; a folder of one search has one."""
        if settings is None or self.journal.manifest.kind != "calls":
            return False
        return _first_with.setdefault((self.journal.folder, settings), self._id) != self._id

    def _tell_settings(self, part: ParallelUse) -> None:
        if part.settings and not part.settings_told:
            part.settings_told = True
            self._note(part, settings=list(part.settings.values()), **part.search)

    def keep(self, call: Call, value: Any, seconds: float, host: str) -> None:
        """Save what a call returned; a failed fit as one."""
        about: dict[str, Any] = {"call": call.part.id}
        error = None
        if type(value) is Outcome:
            about.update(params=call.args[0], index=call.args[1])
            value, error, seconds, host = value.value, value.error, value.seconds, value.host
        elif is_fit(call.function):
            part = call.part
            about.update(fit_summary(fit_arguments(call.args, call.kwargs), value, part.round is not None))
            split = about.get("split")
            if split in part.settings:
                about["settings"] = part.settings[split]
            if call.key in part.again:
                about["again"] = part.again[call.key]
            error = fit_error(value)
            # scikit-learn puts other scores into the results of failed fits.
            value = dict(value) if type(value) is dict else value
        self.journal.append(call.key, error is None, value, seconds, host or self._host, about, error=error)

    def known(self, part: ParallelUse) -> None:
        """All calls of a Parallel are made."""
        if not part.told:
            part.told = True
            self._tell_settings(part)
            self._note_calls(part)

    def take_back(self, part: ParallelUse) -> None:
        """The calls of a Parallel count as not made: its caller has none of their results, and may make them again."""
        with self._counting:
            self._met.subtract(part.counted)
            part.taken_back = True  # joblib's thread may be about to make one more

    def end(self, part: ParallelUse, aborted: bool) -> None:
        """A Parallel call has ended: what it has found is saved."""
        self._tell_settings(part)
        self._note_calls(part, ended=time.time(), aborted=aborted)
        self.journal.sync(SYNC_SECONDS)

    def _note_calls(self, part: ParallelUse, **more: Any) -> None:
        """Note how many calls there are; the keys of shared ones once, because all are known when joblib has ended."""
        shared, part.shared = part.shared, []
        self._note(part, known=part.known, replayed=part.replayed, **({"shared": shared} if shared else {}), **more)

    def _note(self, part: ParallelUse, **data: Any) -> None:
        self.journal.note("call", {"id": part.id, **data})


class SearchCheckpoint(Checkpoint):
    """The results of one search or sweep, whose calls have no effects but their results."""


_journals: dict[str, Journal] = {}  # the last used last
_first_with: dict[tuple[Any, str], str] = {}  # the first checkpoint of this process with such settings, by folder
_keepers: weakref.WeakSet[Checkpoint] = weakref.WeakSet()
_lock = threading.Lock()


def opened(folder: str | os.PathLike[str], kind: str, parts: Mapping[str, Any] | None = None) -> Journal:
    """The journal of a folder; one per process.

    Raises
    ------
    JournalError
        If the folder cannot be used, or is of other work.
    """
    path = os.path.realpath(folder)
    with _lock:
        journal = _journals.pop(path, None)
        if journal is None or not Path(path).exists():
            if journal is not None:
                journal.close(0.0)
            if not _journals:
                atexit.register(close_all)
            journal = _journals[path] = Journal.open(folder, kind, parts, on_problem=_complain)
            _close_idle()
        else:
            _journals[path] = journal
            same_work(journal.folder, journal.manifest, kind, parts)
            journal.refresh()
        return journal


def _close_idle() -> None:
    used = {id(keeper.journal) for keeper in list(_keepers)}
    for path, journal in list(_journals.items())[:-1]:
        if len(_journals) > MOST_OPEN and id(journal) not in used:
            _close(_journals.pop(path))


def _close(journal: Journal) -> None:
    unsaved = journal.close()
    if unsaved:
        _complain(f"{unsaved} results could not be saved in {journal.folder}: {journal.problem}")


def close_all() -> None:
    """Save what is left, and print what could not be saved."""
    with _lock:
        for journal in _journals.values():
            _close(journal)
        _journals.clear()


def _complain(text: str) -> None:
    print(f"daskhpc: {text}", file=sys.stderr, flush=True)


def place() -> tuple[str, int | None]:
    """The caller's place in the program: file, line, and what was called there; its round."""
    frame = sys._getframe(1)
    called, number = "", None
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _INNER:
        code = frame.f_code
        top, _, rest = frame.f_globals["__name__"].partition(".")
        inside = top == "sklearn" or (top == __package__.partition(".")[0] and rest.startswith("search."))
        if inside and not code.co_name.startswith(("_", "<")) and code.co_name != _VALIDATING:
            owner = frame.f_locals.get("self")
            number = round_number(owner)
            called = f"{type(owner).__name__}.{code.co_name}" if owner is not None else code.co_name
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} {called or 'Parallel'}", number


program: Checkpoint | None = None
"""What every Parallel of this process keeps its results in, if it has no checkpoint of its own."""


def checkpoint_program(folder: str, retry_failed: bool) -> Checkpoint:
    """From now on, keep the results of all Parallel calls of this process in a folder.

    Raises
    ------
    JournalError
        If the folder cannot be used.
    """
    global program
    program = Checkpoint(opened(folder, "calls"), retry_failed)
    return program
