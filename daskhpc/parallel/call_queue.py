"""Which calls go next, to whom and how many at once: decided from what is waiting and from the costs learnt so far."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

LONGEST_TASK = 0.4
_MOST_TASKS_A_SECOND = 1000  # what Dask's scheduler takes beside everything else, whatever the number of slots
SHORTEST_TASK = 0.1
SHORT_TASK = 0.02  # and less is sent as a request, which costs about 0.003 s
_SHORTEST_REQUEST = 0.005
_FIRST_TASK = 0.1
_WORTH_A_TASK = 0.02  # a task costs about 0.01 s of processor time, in all processes together
_FIRST_CALLS = 3
_QUICK_CALL = 0.25
_MOST_CALLS = 5000
_MOST_BYTES = 4 << 20


@dataclass(slots=True, eq=False)
class Call:
    """One call of the caller's.

    Attributes
    ----------
    place : Any
        Where its result goes.
    function, args, kwargs
        The call itself.
    kind : Hashable
        Calls of one kind cost about the same: a candidate of a search.
    group : Hashable or None
        Calls of one group share what they fit and go to one worker: a prefix and a split.
    nbytes : int
        Bytes that it alone holds.
    key, part
        Its key in the journal, and the Parallel call that it is of there.
    moved : bool
        Whether a worker was asked to give it back, for others.
    """

    place: Any
    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    template: Any = None
    differences: dict[Any, Any] = field(default_factory=dict)
    parcels: list[Any] = field(default_factory=list)
    kind: Hashable = None
    group: Hashable = None
    nbytes: int = 0
    key: str = ""
    part: Any = None
    moved: bool = False


def work_of(call: Call) -> Hashable:
    """What a call does, as far as names tell: two uses of Parallel with the same are likely to cost the same."""
    function = getattr(call.function, "function", call.function)  # scikit-learn wraps it
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return getattr(function, "__module__", None), name, *(type(value).__qualname__ for value in call.args)


class Costs:
    """Seconds per call, learnt as results come: of each kind, and over all.

    Attributes
    ----------
    expected : float or None
        What holds before any call has ended.
    """

    def __init__(self) -> None:
        self.expected: float | None = None
        self._kinds: dict[Hashable, tuple[float, int]] = {}
        self._all = (0.0, 0)

    def learn(self, kind: Hashable, seconds: float) -> None:
        """Note what one call took."""
        total, count = self._kinds.get(kind, (0.0, 0))
        self._kinds[kind] = (total + seconds, count + 1)
        self._all = (self._all[0] + seconds, self._all[1] + 1)

    def of(self, kind: Hashable) -> float | None:
        """Expected seconds of a call; None if nothing is known."""
        total, count = self._kinds.get(kind) or self._all
        return total / count if count else self.expected

    @property
    def learnt(self) -> bool:
        """Whether any call has ended."""
        return self._all[1] > 0

    def known(self, kind: Hashable) -> bool:
        """Whether a call of the kind has ended."""
        return kind in self._kinds


class _Line(deque[Call]):
    """Waiting calls of one kind, or of one group, in the order in which they came."""

    def __init__(self, key: Hashable) -> None:
        super().__init__()
        self.key = key
        self.owner: Hashable = None
        self.tick = -1  # of its entry in the heap that counts; earlier ones are stale


class CallQueue:
    """The calls that wait.

    Calls without a group: each kind is tried once as early as can be, then the kinds go by cost, the longest first.
    One worker takes the calls of a group until it is done. A worker without a group takes the one nearest to its last.
    If none is free, it helps with the largest, if that is worth fitting the shared part once more.
    """

    def __init__(self) -> None:
        self.costs = Costs()
        self.waiting = self._first = self._tasks = 0
        self._slow = False  # calls came back before any had ended
        self._kinds: dict[Hashable, _Line] = {}
        self._groups: dict[Hashable, _Line] = {}
        self._untried: deque[_Line] = deque()
        self._heap: list[tuple[float, int, _Line]] = []
        self._ticks = itertools.count()
        self._free: dict[Hashable, dict[Hashable, _Line]] = {}
        self._owners: dict[Hashable, Hashable] = {}
        self._last: dict[Hashable, Hashable] = {}
        self._returned: dict[Hashable, deque[_Line]] = {}
        self._shared: deque[float] = deque(maxlen=20)
        self._sharing: deque[float] = deque(maxlen=20)

    def add(self, call: Call, front: bool = False, anybody: bool = False) -> None:
        """Let a call wait; with `front`, before the others, because it was sent before.

        If a worker gives it back and still has what its group shares, it waits for that worker, unless it is for
        `anybody`.
        """
        self.waiting += 1
        self._slow = self._slow or front
        lines = self._kinds if call.group is None else self._groups
        key = call.kind if call.group is None else call.group
        line = lines.get(key)
        if line is None:
            line = lines[key] = _Line(key)
            if call.group is None:
                self._untried.append(line)
            elif front and not anybody and key in self._owners:
                # Given back by a worker, which still has what the group shares.
                line.owner = self._owners[key]
                self._returned.setdefault(line.owner, deque()).append(line)
            else:
                self._release(line)
        elif anybody and line.owner is not None:
            self._release(line)
        elif call.group is None and not line:
            self._push(line)
        if front:
            line.appendleft(call)
        else:
            line.append(call)

    def learn(self, call: Call, seconds: float, saved: float = 0.0) -> None:
        """Note what a call took, and what it would have taken more without what its group had fitted before."""
        if saved:
            self._shared.append(saved)
            self._sharing.append(seconds)
        first = not self.costs.known(call.kind)
        self.costs.learn(call.kind, seconds)
        line = self._kinds.get(call.kind)
        if first and line:
            self._push(line)

    @property
    def grouped(self) -> bool:
        """Whether calls wait that share what they fit."""
        return bool(self._groups)

    def remaining(self) -> float | None:
        """Expected seconds of all that waits; None before anything is known."""
        mean = self.costs.of(object())
        return None if mean is None else mean * self.waiting

    def seconds_of(self, calls: Iterable[Call]) -> float:
        """Expected seconds of calls, 0.0 for those of which nothing is known."""
        return sum(self.costs.of(call.kind) or 0.0 for call in calls)

    def goes_ahead(self, slots: int, exhausted: bool) -> bool:
        """Whether a worker gets its next task before one ends, so that no slot idles while results are on their way.

        The last calls wait for a free slot, unless they are quick: then a wrong place costs less than the way there.

        Parameters
        ----------
        slots : int
            Calls that can run at once in the whole cluster.
        exhausted : bool
            Whether no more calls come.
        """
        seconds = self.costs.of(None)
        return seconds is None or seconds < _QUICK_CALL or self.waiting > 2 * slots or not exhausted

    def take(self, worker: Hashable, slots: int, spare: bool = False) -> tuple[list[Call], float]:
        """The calls of a worker's next task, and the seconds that it is expected to take.

        Parameters
        ----------
        worker : Hashable
        slots : int
            Calls that can run at once in the whole cluster.
        spare : bool
            Whether the worker has enough to do until others come: what waits is then not dealt out over all slots.
        """
        remaining = self.remaining()
        if remaining is None or (remaining > SHORT_TASK * slots and not self.costs.learnt):
            # What is only expected is relied on for as long as a mistake costs little.
            return self._some(worker, self._first_calls(slots), None)[0], _FIRST_TASK
        longest = max(LONGEST_TASK, slots / _MOST_TASKS_A_SECOND)
        if spare:
            return self._some(worker, _MOST_CALLS, longest)
        share = remaining / slots
        seconds = min(longest, max(SHORTEST_TASK if share > SHORT_TASK else _SHORTEST_REQUEST, share))
        alone = self.waiting <= slots and remaining > _WORTH_A_TASK * self.waiting
        return self._some(worker, 1 if alone else _MOST_CALLS, seconds)

    def _first_calls(self, slots: int) -> int:
        """How many calls a task has while no cost is known: few calls are dealt out evenly, so that no slot idles."""
        self._first = max(self._first, self.waiting)
        each, more = divmod(self._first, slots)
        self._tasks += 1
        return 1 if self._slow else max(1, min(_FIRST_CALLS, each + (self._tasks <= more)))

    def _some(self, worker: Hashable, most: int, seconds: float | None) -> tuple[list[Call], float]:
        calls: list[Call] = []
        total = nbytes = 0.0
        for call in self._next(worker):
            calls.append(call)
            total += self.costs.of(call.kind) or 0.0
            nbytes += call.nbytes
            if len(calls) >= most or nbytes > _MOST_BYTES or (seconds is not None and total >= seconds):
                break
        return calls, total

    def one(self) -> Call | None:
        """The next call, for any worker."""
        for worker in (None, *{line.owner for line in self._groups.values()}):
            for call in self._next(worker):
                return call
        return None

    def drain(self) -> list[Call]:
        """All that waits."""
        lines = [*self._kinds.values(), *self._groups.values()]
        calls = [call for line in lines for call in line]
        for line in lines:
            line.clear()
        self._groups.clear()
        self._free.clear()
        self.waiting = 0
        return calls

    def lost(self, worker: Hashable) -> None:
        """A worker is lost: its groups are free for the others."""
        self._last.pop(worker, None)
        self._returned.pop(worker, None)
        self._owners = {key: owner for key, owner in self._owners.items() if owner != worker}
        for line in self._groups.values():
            if line.owner == worker:
                self._release(line)

    def _next(self, worker: Hashable) -> Iterator[Call]:
        while self.waiting:
            line = self._group_for(worker) or self._kind()
            if line is None:
                return
            self.waiting -= 1
            call = line.popleft()
            if call.group is not None and not line:
                del self._groups[line.key]
                self._claim(line, None)
            yield call

    def _worth(self, calls: int) -> bool:
        """Whether so many calls of a group cost more than fitting once more what they share."""
        return not self._shared or calls * sum(self._sharing) > sum(self._shared)

    def _push(self, line: _Line) -> None:
        line.tick = next(self._ticks)
        heapq.heappush(self._heap, (-(self.costs.of(line.key) or 0.0), line.tick, line))

    def _kind(self) -> _Line | None:
        while self._untried:
            line = self._untried.popleft()
            if line:
                if len(line) > 1:
                    self._push(line)
                return line
        while self._heap:
            _, tick, line = self._heap[0]
            if tick == line.tick and line:
                return line
            heapq.heappop(self._heap)
        return None

    def _group_for(self, worker: Hashable) -> _Line | None:
        if not self._groups:
            return None
        last = self._last.get(worker)
        line = self._groups.get(last)
        if line and line.owner == worker:
            return line
        line = self._returned_to(worker) or self._nearest(last)
        if line is None:
            line = max(self._groups.values(), key=len, default=None)
            if line is None or not self._worth(len(line)):
                return None
        self._claim(line, worker)
        self._last[worker] = line.key
        return line

    def _returned_to(self, worker: Hashable) -> _Line | None:
        """A group of which the worker has given back calls, and that no other worker has taken since."""
        lines = self._returned.get(worker, ())
        while lines:
            line = lines[0]
            if line and line.owner == worker and self._groups.get(line.key) is line:
                return line
            lines.popleft()
        return None

    def _nearest(self, last: Hashable) -> _Line | None:
        """The free group that shares most leading entries with the last one."""
        for start in reversed(_starts(last)):
            if start in self._free:
                return next(iter(self._free[start].values()))
        return None

    def _release(self, line: _Line) -> None:
        line.owner = None
        for start in _starts(line.key):
            self._free.setdefault(start, {})[line.key] = line

    def _claim(self, line: _Line, worker: Hashable) -> None:
        line.owner = worker
        if worker is not None:
            self._owners[line.key] = worker
        for start in _starts(line.key):
            lines = self._free.get(start, {})
            if lines.pop(line.key, None) is not None and not lines:
                del self._free[start]


def _starts(group: Any) -> list[Any]:
    """The leading entries of a group, from none to all."""
    return [group[:n] for n in range(len(group) + 1)] if isinstance(group, tuple) else [()]
