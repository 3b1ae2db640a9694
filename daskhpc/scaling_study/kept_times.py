"""The times of a scaling study, kept in a journal if one was asked for."""

from __future__ import annotations

import contextlib
import math
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import xxhash

from ..errors import DaskhpcError
from ..journal.describe import describe
from ..journal.tokens import token
from ..parallel.checkpoints import SYNC_SECONDS, opened
from .laws import Timing
from .plan import PLAIN, Turn

_CALLS = "calls-per-time"


class KeptTimes:
    """What was measured, by turn.

    Attributes
    ----------
    times : dict[Turn, Timing]
    results : dict[Turn, object]
        What the function returned, or a digest of it; None if it has none.
    """

    def __init__(self, journal: Any = None, plain: str = "") -> None:
        self.times: dict[Turn, Timing] = {}
        self.results: dict[Turn, Any] = {}
        self._journal, self._plain = journal, plain
        for record in journal.records() if journal is not None else ():
            found = journal.get(record.key)
            if found is None or not found.ok:
                continue
            turn = Turn(**record.about["params"])
            if turn.workers == PLAIN and record.about.get("plain", "") != plain:
                continue  # the time of another function
            self.times[turn] = Timing(found.seconds, *(found.value[name] for name in Timing.__slots__[1:]))
            self.results[turn] = found.value["result"]

    @classmethod
    @contextlib.contextmanager
    def open(
        cls,
        folder: str | os.PathLike[str] | None,
        function: Callable[..., Any],
        weak: bool,
        placement: str,
        machine: Mapping[str, Any],
        plain: Callable[..., Any] | None = None,
    ) -> Iterator[KeptTimes]:
        """Those of a folder; without a folder none, and none are kept.

        Times of plain Python are those of `plain`, or of `function` itself without it.

        Raises
        ------
        JournalError
            If the folder cannot be used, or is of another function or another machine.
        """
        if folder is None:
            yield cls()
            return
        how = f"{'weak' if weak else 'strong'} scaling, {placement}"
        what = {"function": (token(function), describe(function)), "machine": (token(dict(machine)), _text(machine))}
        what["study"] = (token(how), how)
        parts = {name: {"token": key.hex(), "text": text} for name, (key, text) in what.items()}
        journal = opened(folder, "sweep", parts)
        yield cls(journal, token(plain).hex() if plain is not None else "")
        journal.sync(SYNC_SECONDS)

    def calls_per_time(self, workers: int, wanted: int) -> int:
        """How often the function is called for each time with so many workers: as often as before, if there are any."""
        if self._journal is None:
            return wanted
        name = f"{_CALLS}{self._of(workers)}"
        for note in self._journal.notes(name):
            if note.data[0] == workers:
                return int(note.data[1])
        self._journal.note(name, [workers, wanted])
        return wanted

    def add(self, turn: Turn, timing: Timing, result: Any) -> None:
        """Keep one time; it is on the disk when this returns, or within ten seconds."""
        self.times[turn] = timing
        self.results[turn] = result
        if self._journal is None:
            return
        value = {name: getattr(timing, name) for name in Timing.__slots__[1:]}
        about = {"params": turn._asdict(), "index": len(self.times) - 1}
        about |= {"plain": self._plain} if self._of(turn.workers) else {}
        key = xxhash.xxh3_128_hexdigest(f"{turn.workers} {turn.repeat}{self._of(turn.workers)}".encode())
        self._journal.append(key, True, {**value, "result": result}, timing.seconds, socket.gethostname(), about)
        self._journal.sync(SYNC_SECONDS)

    def _of(self, workers: int) -> str:
        """What a name has besides, so that times of plain Python are those of one function."""
        return f"-{self._plain}" if workers == PLAIN and self._plain else ""

    def equal_results(self) -> bool:
        """Whether all results that are known are the same, numbers up to rounding."""
        known = [result for result in self.results.values() if result is not None]
        return all(_same(known[0], other) for other in known[1:])


def digest(value: Any) -> Any:
    """A number or a short text as it is, anything else as a token; None if it has none."""
    if isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) < 100):
        return value
    try:
        return token(value).hex()
    except DaskhpcError:
        return None


def _same(first: Any, other: Any) -> bool:
    if isinstance(first, int | float) and isinstance(other, int | float):
        return math.isclose(first, other, rel_tol=1e-9) or first != first
    return bool(first == other)


def _text(machine: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in machine.items())
