"""The most memory that one worker process will take, by acting the work out."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping
from typing import Any

from .graph import Graph, key_name
from .sizes import Cost

MOST_TASKS = 50_000
"""Tasks of a graph that are acted out; of a larger one, the first so many."""

SATURATION = 1.1
"""Tasks without inputs that the scheduler gives to a worker, for each thread; Dask's own default."""

P2P_BUFFERS = 200 * 2**20
"""Bytes of rows or cells on their way through a worker: those to be sent, and those to be written (100 MiB each)."""

ARROW_POOL = 64 * 2**20
"""Bytes that pyarrow keeps after it has read Parquet; measured."""

_MANY_USES = 50
_TASK_SECONDS = 0.002
_TRIP_SECONDS = 0.01
_NETWORK_BYTES_PER_SECOND = 2e8
_BYTES_PER_SECOND = 1e9


def peak_memory(graph: Graph, costs: Mapping[Any, Cost], workers: int, threads: int) -> float:
    """Bytes of the worker process that takes most, above what it takes before.

    Parameters
    ----------
    graph : Graph
    costs : mapping of key to Cost
    workers : int
        Worker processes.
    threads : int
        Of each one.

    Notes
    -----
    The work is acted out, task by task, much as Dask's scheduler would: in the order of ``dask.order``, tasks without
    inputs to whichever thread is free, the others to a worker that holds inputs of theirs; what is missing there is
    copied to it as soon as that is decided. A task takes as long as its bytes are many, and holds its working memory
    while it runs. A result is dropped everywhere when its last user is done, unless the client asked for it.

    Added to that: the buffers of a shuffle or rechunk by p2p, and what pyarrow keeps of what it has read.

    Of a graph above `MOST_TASKS` tasks the first that many are acted out, and results that are never dropped are
    counted as if they were spread evenly.
    """
    from dask.order import order

    ranks = order(graph.tasks)
    keys = sorted(graph.tasks, key=ranks.__getitem__)
    acted = keys[:MOST_TASKS]
    most = _Stage(graph, costs, ranks, workers, threads).act(acted) + _buffers(graph, costs, workers)
    if len(acted) == len(keys):
        return most
    kept = sum(costs[key].value.nbytes or 0.0 for key in graph.outputs if key in costs)
    return max(most, kept / workers + threads * max(cost.working for cost in costs.values()))


def _buffers(graph: Graph, costs: Mapping[Any, Cost], workers: int) -> float:
    """Bytes that a worker holds which belong to no task."""
    moved = 0.0
    pool = 0.0
    for key, node in graph.tasks.items():
        name = key_name(key)
        if name.endswith("-transfer") or "-transfer-" in name:
            moved += sum(costs[each].value.nbytes or 0.0 for each in node.dependencies if each in costs)
        if "parquet" in name:
            pool = ARROW_POOL
    return min(2 * moved / workers, P2P_BUFFERS) + pool


class _Stage:
    """Worker processes that act out a graph."""

    def __init__(
        self, graph: Graph, costs: Mapping[Any, Cost], ranks: Mapping[Any, int], workers: int, threads: int
    ) -> None:
        self.graph, self.costs, self.ranks = graph, costs, ranks
        self.sizes = {key: cost.value.nbytes or 0.0 for key, cost in costs.items()}
        self.sizes.update({key: float(nbytes) for key, nbytes in graph.held.items()})
        self.where = {key: {place % workers} for place, key in enumerate(graph.held)}
        self.home: dict[Any, int] = {}
        self.uses: dict[Any, int] = {}
        for node in graph.tasks.values():
            for needed in node.dependencies:
                self.uses[needed] = self.uses.get(needed, 0) + 1
        self.everywhere = {key for key, uses in self.uses.items() if uses > max(_MANY_USES, 2 * workers * threads)}
        self.most_given = math.ceil(SATURATION * threads)
        self.free = [threads] * workers
        self.given = [0] * workers
        self.memory = [0.0] * workers
        self.waiting: list[list[tuple[int, Any]]] = [[] for _ in range(workers)]
        self.roots: list[tuple[int, Any]] = []
        self.events: list[tuple[float, int, bool, Any, int]] = []
        self.now = self.most = 0.0

    def act(self, keys: list[Any]) -> float:
        """The most bytes that one worker held."""
        wanted = set(keys)
        users: dict[Any, list[Any]] = {}
        left: dict[Any, int] = {}
        for key in keys:
            missing = [needed for needed in self.graph.tasks[key].dependencies if needed in wanted]
            left[key] = len(missing)
            for needed in missing:
                users.setdefault(needed, []).append(key)
        touched: set[int] = set(range(len(self.free)))
        for key in keys:
            if not left[key]:
                touched |= self._ready(key)
        while True:
            for worker in touched:
                while (key := self._next(worker)) is not None:
                    self._start(key, worker)
            if not self.events:
                return self.most
            self.now, rank, ends, key, worker = heapq.heappop(self.events)
            touched = {worker}
            if not ends:
                heapq.heappush(self.waiting[worker], (rank, key))
                continue
            self._end(key, worker)
            for user in users.get(key, ()):
                left[user] -= 1
                if not left[user]:
                    touched |= self._ready(user)

    def _ready(self, key: Any) -> set[int]:
        """Give a task to a worker, or to whichever is free first; the workers that may have something to do now."""
        needs = [each for each in self.graph.tasks[key].dependencies if each not in self.everywhere]
        if not needs:
            heapq.heappush(self.roots, (self.ranks[key], key))
            return {worker for worker, free in enumerate(self.free) if free}
        worker = self._best(needs, self.costs[key].working)
        brought = self._bring(needs, worker)
        self.given[worker] += 1
        if not brought:
            heapq.heappush(self.waiting[worker], (self.ranks[key], key))
        else:
            arrives = self.now + _TRIP_SECONDS + brought / _NETWORK_BYTES_PER_SECOND
            heapq.heappush(self.events, (arrives, self.ranks[key], False, key, worker))
        return {worker}

    def _next(self, worker: int) -> Any:
        """What a worker does next, None where it has no thread or nothing to do."""
        if not self.free[worker]:
            return None
        if self.waiting[worker]:
            return heapq.heappop(self.waiting[worker])[1]
        if self.roots and self.given[worker] < self.most_given:
            self.given[worker] += 1
            return heapq.heappop(self.roots)[1]
        return None

    def _best(self, needs: list[Any], working: float) -> int:
        """The worker that could have a task done first: few bytes to bring, little to do before."""
        places = {place for needed in needs for place in self.where.get(needed, ())} or set(range(len(self.free)))
        size = working + sum(self.sizes.get(needed, 0.0) for needed in needs)

        def delay(worker: int) -> tuple[float, float]:
            bring = sum(self.sizes.get(needed, 0.0) for needed in needs if worker not in self.where.get(needed, ()))
            return bring + size * max(0, self.given[worker] + 1 - self.free[worker]), self.memory[worker]

        return min(sorted(places), key=delay)

    def _bring(self, needs: Iterable[Any], worker: int) -> float:
        """Copy to a worker what it has not; the bytes of that."""
        before = self.memory[worker]
        for needed in needs:
            if worker not in self.where.setdefault(needed, set()):
                self.where[needed].add(worker)
                self.memory[worker] += self.sizes.get(needed, 0.0)
        self.most = max(self.most, self.memory[worker])
        return self.memory[worker] - before

    def _start(self, key: Any, worker: int) -> None:
        needs = self.graph.tasks[key].dependencies
        self._bring(needs, worker)
        inputs = sum(self.sizes.get(needed, 0.0) for needed in needs)
        working = self.costs[key].working
        self.free[worker] -= 1
        self.memory[worker] += working + self.costs[key].kept
        self.most = max(self.most, self.memory[worker])
        seconds = _TASK_SECONDS + (inputs + working) / _BYTES_PER_SECOND
        heapq.heappush(self.events, (self.now + seconds, self.ranks[key], True, key, worker))

    def _end(self, key: Any, worker: int) -> None:
        self.free[worker] += 1
        self.given[worker] -= 1
        self.memory[worker] += self.sizes[key] - self.costs[key].working
        self.where[key] = {worker}
        self.home[key] = worker
        for needed in self.graph.tasks[key].dependencies:
            self.uses[needed] -= 1
            if not self.uses[needed] and needed not in self.graph.outputs and needed not in self.graph.held:
                for holder in self.where.pop(needed, ()):
                    self.memory[holder] -= self.sizes[needed]
                self.memory[self.home.get(needed, worker)] -= self.costs[needed].kept if needed in self.costs else 0.0
