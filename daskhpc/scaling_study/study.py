"""daskhpc.scaling: how much faster a function becomes with more workers."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

from ..clients import current_client, is_open
from ..errors import SettingsError
from ..settings import SCALING_REPEATS
from ..text import counted
from .kept_times import KeptTimes, digest
from .laws import Timing
from .machine import describe_machine
from .measuring import Bench
from .plan import PLAIN, calls_per_time, counts, left, turns
from .result import ScalingStudy

if TYPE_CHECKING:
    from distributed import Client

PLACEMENTS = ("compact", "spread")


def scaling(
    function: Callable[..., Any],
    workers: Sequence[int] | None = None,
    *,
    weak: bool = False,
    repeats: int = SCALING_REPEATS,
    plain: Callable[..., Any] | bool = True,
    placement: str = "compact",
    checkpoint: str | os.PathLike[str] | None = None,
    scheduler: Client | None = None,
    on_time: Callable[[str], None] | None = None,
) -> ScalingStudy:
    """Time a function with more and more workers of this cluster.

    The function uses the cluster as it always does: with joblib's Parallel, a search, a sweep, a Dask collection or a
    Dask client. For each time, some worker processes take part and all others rest. The first call for each number of
    workers is a warm-up and does not count. Then the numbers take turns, in another order in each repeat.

    Parameters
    ----------
    function : callable
        Called without arguments; with ``weak=True`` with the number of workers. What it returns should be the same each
        time.
    workers : sequence of int, optional
        The numbers of worker processes; by default the powers of two, and all of them. To scale over cores, start a
        worker process for each core: ``daskhpc run --processes 8 --nthreads 1``.
    weak : bool
        Whether the function makes its work as many times as large as there are workers.
    repeats : int
        Times for each number of workers.
    plain : callable or bool
        The second base: what the work takes in one thread without a cluster. True calls `function` so, in the client's
        process, and leaves the base out if the function uses a Dask client itself. A callable is called instead: the
        same work, in plain Python. False leaves the base out.
    placement : {"compact", "spread"}
        Compact fills a node before the next one is used; spread takes one worker of each node in turn.
    checkpoint : path, optional
        A folder in which each time is kept: none is measured twice, and a study that was killed goes on.
    scheduler : distributed.Client, optional
        The cluster; the current client by default.
    on_time : callable, optional
        Called with one line of text after each time.

    Returns
    -------
    ScalingStudy
        Its text has the table and an advice; ``table`` is a DataFrame, ``plot()`` two pictures, ``save(folder)`` files.

    Raises
    ------
    SettingsError
        If there is no cluster, or an argument cannot be used.
    JournalError
        If the checkpoint cannot be used, or is of another function or another machine.
    Exception
        What the function raises.

    Notes
    -----
    If a call takes less than half a second, each time is that of several calls, divided by their number.

    Turbo clocks make one worker faster than each of many; memory bandwidth and shared caches make many slower. Chunk
    sizes that daskhpc chooses are those of the whole cluster, so that the work is the same for all numbers of workers.
    A checkpoint of the function's own would make its second call take no time.

    Examples
    --------
    ::

        import daskhpc, joblib

        def estimate():
            return sum(joblib.Parallel(n_jobs=-1)(joblib.delayed(inside)(seed) for seed in range(64)))

        daskhpc.start(nthreads=1)
        study = daskhpc.scaling(estimate, workers=[1, 2, 4])
        print(study)
        study.save("scaling")
    """
    _check(function, repeats, placement)
    bench = Bench(_client(scheduler), placement)
    there = bench.workers()
    numbers = counts(workers, len(there))
    machine = describe_machine(there)
    apart = plain if callable(plain) else None
    with KeptTimes.open(checkpoint, function, weak, placement, machine, apart) as kept, bench.open():
        work = _TimedCalls(function, apart or function, weak)
        asked = [*([PLAIN] if plain else []), *numbers]
        _measure(bench, work, asked, repeats, kept, on_time)
        return ScalingStudy.of(kept, asked, repeats, weak, there, machine)


@dataclass(frozen=True, slots=True)
class _TimedCalls:
    """What is timed."""

    function: Callable[..., Any]
    plain: Callable[..., Any]
    weak: bool

    def call(self, count: int, times: int = 1) -> Callable[[], Any]:
        """The calls of one time on so many workers."""
        function = self.plain if count == PLAIN else self.function
        arguments = (max(count, 1),) if self.weak else ()

        def calls() -> Any:
            value = None
            for _ in range(times):
                value = function(*arguments)
            return value

        return calls


def _measure(
    bench: Bench,
    work: _TimedCalls,
    numbers: Sequence[int],
    repeats: int,
    kept: KeptTimes,
    on_time: Callable[[str], None] | None,
) -> None:
    """Warm up, then measure what is not kept yet."""
    wanted = left(turns(numbers, repeats), kept.times)
    warm = {n: bench.time(n, work.call(n))[0] for n in sorted({turn.workers for turn in wanted})}
    apart = {n for n, timing in warm.items() if timing is None}  # plain Python that used the cluster all the same
    calls = {n: kept.calls_per_time(n, calls_per_time(timing.seconds)) for n, timing in warm.items() if timing}
    for done, turn in enumerate(turn for turn in wanted if turn.workers not in apart):
        timing, value = bench.time(turn.workers, work.call(turn.workers, calls[turn.workers]))
        if timing is None:
            continue
        each = Timing(*(spent / calls[turn.workers] for spent in astuple(timing)))
        kept.add(turn, each, digest(value))
        if on_time is not None:
            whom = "plain Python" if turn.workers == PLAIN else counted(turn.workers, "worker")
            on_time(f"{done + 1} of {len(wanted)}: {whom}, {each.seconds:.3f} s")


def _client(scheduler: Any) -> Any:
    client = scheduler if scheduler is not None else current_client()
    if client is None or not is_open(client) or client.asynchronous:
        raise SettingsError(
            "A scaling study needs the workers of a cluster.",
            "no open client" if client is None else repr(client),
            "client = daskhpc.start(), or on the command line daskhpc scaling program.py:function",
        )
    return client


def _check(function: Any, repeats: Any, placement: str) -> None:
    if not callable(function):
        raise SettingsError("A scaling study takes a function.", repr(function), "the function without parentheses")
    if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 1:
        raise SettingsError(
            "repeats= of a scaling study is how often each time is measured.",
            repr(repeats),
            f"repeats={SCALING_REPEATS}",
        )
    if placement not in PLACEMENTS:
        raise SettingsError(
            "placement= of a scaling study is compact or spread.", repr(placement), "placement='spread'"
        )
