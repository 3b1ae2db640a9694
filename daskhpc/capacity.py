"""What there is to compute with: the current cluster, or this machine."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from .runtime import discover, spare_memory


@dataclass(frozen=True, slots=True)
class Capacity:
    """The worker processes of a cluster, and the memory of the process that asks.

    Parameters
    ----------
    workers : int
        Worker processes.
    threads : int
        Their threads together.
    memory : int
        Bytes of the smallest worker process's limit; where there is none, its part of the machine's memory.
    hosts : int
        Nodes that they are on.
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

    @property
    def total_memory(self) -> int:
        """Bytes of all worker processes."""
        return self.memory * self.workers


LEAST_BYTES = 2**20  # a task costs the scheduler about as long as NumPy takes for these
CHUNKS_PER_THREAD = 4
COPIES = 16  # chunks that a thread may hold at a time: inputs, temporaries, results that wait
MOST_CHUNKS = 100_000
COPIES_AT_MOST_CHUNKS = 4


def chunk_bytes(total: int, there: Capacity) -> int:
    """The bytes of a chunk, for an array of so many bytes on such a cluster.

    Notes
    -----
    At most a sixteenth of the memory of a thread and Dask's ``array.chunk-size``; less, down to 1 MiB, where that gives
    every thread four chunks. From about 100,000 chunks on they grow instead, up to a quarter of the memory of a thread.
    """
    import dask
    from dask.utils import parse_bytes

    most = min(int(parse_bytes(dask.config.get("array.chunk-size"))), there.memory_per_thread // COPIES)
    fair = -(-total // (there.threads * CHUNKS_PER_THREAD))
    few = min(-(-total // MOST_CHUNKS), there.memory_per_thread // COPIES_AT_MOST_CHUNKS)
    return max(1, min(most, max(LEAST_BYTES, fair)), few)


def capacity(client: Any = None) -> Capacity:
    """What the current cluster has to compute with; without one, this machine.

    Parameters
    ----------
    client : distributed.Client, optional
        By default the current one.
    """
    client = client or current_client()
    workers = list(client.scheduler_info(n_workers=-1)["workers"].values()) if client is not None else []
    here = spare_memory()
    if not workers:
        found = discover()
        return Capacity(1, found.cpus.value, found.memory.value or here, 1, here, cluster=client is not None)
    machine = here // len(workers)
    return Capacity(
        workers=len(workers),
        threads=sum(worker["nthreads"] for worker in workers),
        memory=min(worker["memory_limit"] or machine for worker in workers),
        hosts=len({worker["host"] for worker in workers}),
        client_memory=here,
        cluster=True,
    )


def current_client() -> Any:
    """The client that Dask would compute with, None where there is none; imports nothing for that."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        return distributed.client.default_client()
    except ValueError:
        return None
