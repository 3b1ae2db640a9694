"""The pure dispatcher alone, with a fake clock: a million calls for 40 and for 4,000 slots.

    python tests/benchmarks/dispatcher.py [calls]

`CallQueue` decides which calls go next, to whom and how many at once. Here it has nothing beside it: slots take tasks,
a heap says which slot is free next, and what a call costs is drawn beforehand.
"""

from __future__ import annotations

import heapq
import random
import sys
import time
import tracemalloc

from daskhpc.parallel.call_queue import Call, CallQueue

KINDS, SPLITS, PREFIXES = 2000, 5, 100


def calls(count: int, grouped: bool) -> list[Call]:
    """Calls of a search: `KINDS` candidates, or `PREFIXES` of a pipeline that the calls of a group share."""
    draw = random.Random(0)
    made = []
    for number in range(count):
        group = (f"prefix {draw.randrange(PREFIXES)}", number % SPLITS) if grouped else None
        made.append(Call(None, abs, (number,), {}, kind=draw.randrange(KINDS), group=group))
    return made


def dispatch(waiting: list[Call], slots: int) -> tuple[int, float]:
    """Dispatch all of them; returns the tasks, and the fake seconds that the slots took."""
    queue = CallQueue()
    for call in waiting:
        queue.add(call)
    now, tasks = 0.0, 0
    free = [(0.0, slot) for slot in range(slots)]
    running: dict[int, list[Call]] = {}
    idle: list[int] = []
    while queue.waiting or running:
        now, slot = heapq.heappop(free)
        for call in running.pop(slot, ()):
            queue.learn(call, 0.001 * (1 + hash(call.kind) % 10))
        taken, _ = queue.take(slot, slots)
        if not taken:
            idle.append(slot)
            continue
        tasks += 1
        running[slot] = taken
        heapq.heappush(free, (now + sum(0.001 * (1 + hash(call.kind) % 10) for call in taken), slot))
    return tasks, now


def main() -> None:
    """Print what the dispatcher took."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    tracemalloc.start()
    queue = CallQueue()
    for call in calls(100_000, False):
        queue.add(call)
    print(f"memory of a waiting call: {tracemalloc.get_traced_memory()[0] / 100_000:.0f} bytes")
    tracemalloc.stop()
    print("calls     slots  grouped  seconds  microseconds a call  tasks    fake seconds")
    for grouped in (False, True):
        for slots in (40, 4000):
            waiting = calls(count, grouped)
            began = time.perf_counter()
            tasks, end = dispatch(waiting, slots)
            took = time.perf_counter() - began
            each = took / count * 1e6
            print(f"{count:<9} {slots:<6} {grouped!s:<8} {took:<8.2f} {each:<20.2f} {tasks:<8} {end:.1f}")


if __name__ == "__main__":
    main()
