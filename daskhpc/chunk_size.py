"""What there is to compute with, and how large a chunk, partition or block suits it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .clients import current_client
from .compat.distributed import worker_infos
from .runtime import discover, spare_memory

SMALLEST = 2**20
"""Bytes of a piece for which NumPy takes about as long as the scheduler takes for a task (a millisecond)."""

LARGEST = 128 * 2**20
"""Bytes of a piece if memory sets no limit; Dask's own default of ``array.chunk-size``."""

PIECES_PER_THREAD = 4
"""With so many pieces for each thread, no thread waits long for the last one to finish."""

PIECES_IN_A_TASK = 4
"""Pieces that a running task holds at once: two inputs, a temporary and the result."""

SHARE_OF_TASKS = 4
"""Running tasks may fill this part (a quarter) of a worker's memory. Results that wait for other tasks need about as
much again, and a worker spills to disk when 60 % of its memory is in use."""

MOST_PIECES = 100_000
"""Tasks of one operation for which a scheduler needs minutes."""

_NAME = "array.chunk-size"


@dataclass(frozen=True, slots=True)
class Resources:
    """The worker processes of a cluster, and the memory of the process that asks.

    Parameters
    ----------
    workers : int
        Worker processes.
    threads : int
        Threads of all worker processes together.
    memory : int
        Bytes of the smallest worker process's limit; without a limit, its part of the machine's memory.
    hosts : int
        Nodes of the worker processes.
    client_memory : int
        Bytes that this process may still take.
    cluster : bool
        Whether there is a client; without one Dask computes in this process.
    """

    workers: int
    threads: int
    memory: int
    hosts: int
    client_memory: int
    cluster: bool

    @property
    def threads_per_worker(self) -> int:
        """Threads of a worker process, rounded up."""
        return -(-self.threads // self.workers)

    @property
    def memory_per_thread(self) -> int:
        """Bytes of a worker process for each of its threads."""
        return self.memory // self.threads_per_worker


def resources(client: Any = None) -> Resources:
    """What the current cluster has to compute with; without a cluster, what this machine has.

    Parameters
    ----------
    client : distributed.Client, optional
        The current client by default.

    Returns
    -------
    Resources
    """
    client = client or current_client()
    workers = list(worker_infos(client).values()) if client is not None else []
    spare = spare_memory()
    if not workers:
        runtime = discover()
        return Resources(1, runtime.cpus.value, runtime.memory.value or spare, 1, spare, cluster=client is not None)
    share = spare // len(workers)
    return Resources(
        workers=len(workers),
        threads=sum(worker["nthreads"] for worker in workers),
        memory=min(worker["memory_limit"] or share for worker in workers),
        hosts=len({worker["host"] for worker in workers}),
        client_memory=spare,
        cluster=True,
    )


def largest_piece(memory_per_thread: int) -> int:
    """The most bytes that a piece should have: a sixteenth of a thread's memory, and 128 MiB.

    Parameters
    ----------
    memory_per_thread : int
        Bytes of a worker process for each of its threads.

    Returns
    -------
    int
        Bytes.

    Examples
    --------
    >>> largest_piece(2**30) // 2**20
    64
    """
    return max(1, min(LARGEST, memory_per_thread // (SHARE_OF_TASKS * PIECES_IN_A_TASK)))


def piece_size(total: int, available: Resources, limit: int | None = None) -> int:
    """The bytes of a piece (a chunk of an array, a partition of a frame, a block of a file).

    Parameters
    ----------
    total : int
        Bytes of all pieces together, in memory.
    available : Resources
        What there is to compute with.
    limit : int, optional
        The most bytes, if the user chose it; `largest_piece` by default.

    Returns
    -------
    int
        Bytes, at least 1.

    Notes
    -----
    Four pieces for each thread, of 1 MiB or more, up to `limit`. An array so large that this made more than 100,000
    pieces gets larger ones, up to a quarter of a thread's memory: tasks may then fill a worker.

    Examples
    --------
    Four threads with 1 GiB each:

    >>> workers = Resources(4, 4, 2**30, hosts=1, client_memory=2**30, cluster=True)
    >>> [piece_size(total, workers) // 2**20 for total in (100, 160 * 2**20, 100 * 2**30)]
    [1, 10, 64]
    """
    limit = limit or largest_piece(available.memory_per_thread)
    even = -(-total // (available.threads * PIECES_PER_THREAD))
    few = min(-(-total // MOST_PIECES), available.memory_per_thread // PIECES_IN_A_TASK)
    return max(1, min(limit, max(SMALLEST, even)), few)


def even_chunks(n: int, unit: int, most: int) -> tuple[int, ...]:
    """Cut `n` into the fewest chunks of at most `most` (or one unit), all about equal multiples of `unit`.

    Examples
    --------
    >>> even_chunks(11, 1, 5), even_chunks(11, 2, 5), even_chunks(11, 4, 1)
    ((4, 4, 3), (4, 4, 3), (4, 4, 3))
    """
    units = -(-n // unit)
    chunks = max(1, -(-units // max(1, most // unit)))
    size = max(1, -(-units // chunks)) * unit
    return tuple(min(size, n - start) for start in range(0, n, size)) or (0,)


class _Setting:
    """Dask's ``array.chunk-size`` in this process, by which Dask makes the chunks of every ``chunks="auto"``."""

    def __init__(self) -> None:
        self._before: Any = None
        self._suited: int | None = None

    def chosen(self) -> int | None:
        """The bytes that the user chose; None if the setting is Dask's default, or comes from `suit`."""
        import dask
        from dask.utils import parse_bytes

        value = dask.config.get(_NAME, LARGEST)
        if value == self._suited:
            return None
        # A user may have written down just what is Dask's default: in a file, or in the environment.
        written = dask.config.get(_NAME, None, config=dask.config.collect())
        return None if parse_bytes(value) == LARGEST and written is None else int(parse_bytes(value))

    def suit(self, memory_per_thread: int) -> None:
        """Set it to `largest_piece`, unless the user chose it."""
        import dask

        self.restore()
        if self.chosen() is None:
            self._before, self._suited = dask.config.get(_NAME, LARGEST), largest_piece(memory_per_thread)
            dask.config.set({_NAME: self._suited})

    def restore(self) -> None:
        """Set it to what it was before `suit`, unless the user has changed it since."""
        import dask

        if self._suited is not None and dask.config.get(_NAME, None) == self._suited:
            dask.config.set({_NAME: self._before})
        self._suited = None


array_chunk_size = _Setting()
