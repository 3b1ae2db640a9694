"""What encryption costs: `protocol="tls"` beside `protocol="tcp"`, and strangers who knock during a search.

Two clusters of two workers stand side by side and do the same in turns, a little at a time, so that what else the
machine does disturbs both alike. Prints the table of docs/benchmarks.md: medians, and the median of the ratios of
neighbours.

    python tests/benchmarks/tls.py [start] [fits] [messages] [gigabyte] [strangers]
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1])]

from clusters import start_cluster  # noqa: E402
from crowd import crowd  # noqa: E402

from daskhpc.compat.distributed import worker_infos  # noqa: E402

FITS, CALLS, GIGABYTE, STRANGERS = 600, 100, 10**9, 500
SIEGE = (1000, 12.0)
"""Fits, and milliseconds of each, of the search during which strangers come."""
START = """
import os, time, daskhpc
daskhpc.start().submit(int, 1).result()
print(time.time() - float(os.environ["BEGAN"]))
"""


def busy(milliseconds: float) -> int:
    """A fit: so much time of a processor."""
    count, end = 0, time.thread_time() + milliseconds / 1000
    while time.thread_time() < end:
        count += 1
    return count


async def answer(dask_worker: Any) -> str:
    """Let a worker answer `ping`."""
    dask_worker.handlers["ping"] = lambda: None
    return str(dask_worker.address)


async def ask(other: str, times: int, dask_worker: Any) -> float:
    """Seconds that so many questions with their answers take, one after the other."""
    began = time.perf_counter()
    for _ in range(times):
        await dask_worker.rpc(other).ping()
    return time.perf_counter() - began


def search(client: Any, fits: int = FITS, milliseconds: float = 1.0) -> float:
    """Seconds of fits of so long."""
    from joblib import Parallel, delayed

    with client.as_current():
        began = time.perf_counter()
        Parallel(backend="daskhpc")(delayed(busy)(milliseconds) for _ in range(fits))
        return time.perf_counter() - began


def messages(client: Any) -> float:
    """Seconds of questions and answers between two workers."""
    first, second = client.run(answer)
    return float(client.run(ask, second, CALLS, workers=[first])[first])


def gigabyte(client: Any) -> float:
    """Seconds until a worker has 1 GB of another."""
    import numpy as np

    first, second = client.run(answer)
    data = client.submit(np.full, GIGABYTE // 8, 1.0, workers=[first], pure=False)
    client.submit(len, [data], workers=[first]).result()
    began = time.perf_counter()
    client.submit(np.shape, data, workers=[second], pure=False).result()
    return time.perf_counter() - began


def start(protocol: str) -> float:
    """Seconds from mpiexec to the first result."""
    env = {**os.environ, "DASK_DASKHPC__PROTOCOL": protocol, "BEGAN": str(time.time())}
    line = ["mpiexec", "-n", "4", sys.executable, "-c", START]
    return float(subprocess.run(line, env=env, capture_output=True, text=True, timeout=300, check=True).stdout)


@contextlib.contextmanager
def clients(*protocols: str) -> Iterator[list[Any]]:
    """A client of a cluster for each protocol."""
    from distributed import Client

    from daskhpc.cluster.encryption import local_security, new_identities
    from daskhpc.cluster.environment import allow_open_files
    from daskhpc.cluster.refused_connections import log_few_refusals

    log_few_refusals()
    allow_open_files(2)
    with contextlib.ExitStack() as stack:
        made = []
        for protocol in protocols:
            security = local_security(new_identities("tls", None)) if protocol == "tls" else None
            options = {"protocol": protocol, "security": security, "memory_limit": "5GB"}
            made.append(stack.enter_context(Client(stack.enter_context(start_cluster(2, **options)))))
        yield made


def places(client: Any) -> list[str]:
    """Where the scheduler, the workers and the Nannies listen."""
    workers = worker_infos(client)
    addresses = [client.scheduler.address, *workers, *(each["nanny"] for each in workers.values())]
    return [str(address).split("://")[1] for address in addresses]


def besieged(client: Any) -> float:
    """Seconds of a longer search while strangers come to each port, and stay."""
    with crowd(STRANGERS, places(client)):
        return search(client, *SIEGE)


def processor_seconds(client: Any) -> float:
    """Of all processes of the cluster so far: the scheduler and the Nannies are in this one."""
    return time.process_time() + sum(client.run(time.process_time).values())


def print_cost_of_a_stranger(client: Any) -> None:
    """What the cluster's processes compute for each, which other load of the machine does not change."""
    used = []
    for count in (0, STRANGERS):
        before = processor_seconds(client)
        with crowd(count, places(client)) as strangers:
            assert strangers.stdout is not None
            came = int(strangers.stdout.readline())
            time.sleep(3)
            used.append(processor_seconds(client) - before)
    print(f"\nA stranger costs the processes of the cluster {(used[1] - used[0]) / came * 1e3:.2f} ms; {came} came.")


def compare(name: str, bound: str, rounds: int, one: Callable[[], float], other: Callable[[], float]) -> None:
    """Print a line of the table."""
    pairs = [(one(), other()) for _ in range(rounds)]
    seconds = [statistics.median(values) for values in zip(*pairs, strict=True)]
    ratio = statistics.median(b / a for a, b in pairs)
    difference = statistics.median(b - a for a, b in pairs)
    print(f"| {name} | {seconds[0]:.3f} | {seconds[1]:.3f} | {ratio:.2f} | {difference:+.2f} | {bound} |", flush=True)


def main(wanted: set[str]) -> None:
    """Print the table."""
    print("| workload | tcp, s | tls, s | ratio | difference, s | bound |\n|---|---|---|---|---|---|")
    if "start" in wanted:
        compare("start to the first result", "0.3 s", 7, lambda: start("tcp"), lambda: start("tls"))
    with clients("tcp", "tls") as (tcp, tls):
        for word, name, bound, rounds, work in (
            ("fits", f"{FITS} fits of 1 ms", "1.05", 20, search),
            ("messages", f"{2 * CALLS:,} small messages", "1.10", 100, messages),
            ("gigabyte", "1 GB between two workers", "1.43", 7, gigabyte),
        ):
            if word in wanted:
                work(tcp), work(tls)
                compare(name, bound, rounds, lambda: work(tcp), lambda: work(tls))  # noqa: B023
        if "strangers" in wanted:
            name = f"{SIEGE[0]:,} fits of {SIEGE[1]:g} ms in tls, without and with {STRANGERS} strangers at each port"
            compare(name, "1.10", 5, lambda: search(tls, *SIEGE), lambda: besieged(tls))
            print_cost_of_a_stranger(tls)


if __name__ == "__main__":
    main(set(sys.argv[1:]) or {"start", "fits", "messages", "gigabyte", "strangers"})
