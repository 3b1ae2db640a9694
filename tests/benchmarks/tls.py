"""What encryption costs: the same run with `protocol="tls"` and with `protocol="tcp"`, in turns.

Four ranks under mpiexec on this machine. Prints the table of docs/benchmarks.md, medians of the rounds and the median
of the ratios of neighbouring runs:

    python tests/benchmarks/tls.py [ROUNDS]
    python tests/benchmarks/tls.py [ROUNDS] strangers
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from typing import Any

FITS, CALLS, GIGABYTE = 3000, 50_000, 10**9
STRANGERS = 500
BOUNDS = {
    "start to the first result": "at most 0.3 s later",
    f"search of {FITS} fits of 1 ms": "at most 5 % slower",
    f"{2 * CALLS:,} small messages": "at most 10 % slower",
    "1 GB between two workers": "at least 70 % of tcp",
}
GARBAGE = (b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"\0" * 100)


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


def measure() -> dict[str, float]:
    """On the client: seconds of each workload."""
    import numpy as np
    from joblib import Parallel, delayed

    import daskhpc

    seconds = {}
    with daskhpc.start() as client:
        client.submit(busy, 1).result()
        seconds["start to the first result"] = time.time() - float(os.environ["BEGAN"])
        strangers = Strangers(client) if "strangers" in sys.argv else None
        for _ in range(2):  # the first warms up
            began = time.perf_counter()
            Parallel(backend="daskhpc")(delayed(busy)(1.0) for _ in range(FITS))
            seconds[f"search of {FITS} fits of 1 ms"] = time.perf_counter() - began
        if strangers is not None:
            strangers.end()
            return {f"search of {FITS} fits of 1 ms": seconds[f"search of {FITS} fits of 1 ms"]}
        first, second = client.run(answer)
        client.run(ask, second, 100, workers=[first])
        seconds[f"{2 * CALLS:,} small messages"] = client.run(ask, second, CALLS, workers=[first])[first]
        times = []
        for number in range(3):
            data = client.submit(np.full, GIGABYTE // 8, float(number), workers=[first], pure=False)
            client.submit(len, [data], workers=[first]).result()
            began = time.perf_counter()
            client.submit(np.shape, data, workers=[second], pure=False).result()
            times.append(time.perf_counter() - began)
            del data
        seconds["1 GB between two workers"] = min(times)
    return seconds


class Strangers:
    """So many connections to each port of the cluster, of which none can show a key, as long as the search runs."""

    def __init__(self, client: Any) -> None:
        workers = client.scheduler_info(n_workers=-1)["workers"]
        addresses = [client.scheduler.address, *workers, *(each["nanny"] for each in workers.values())]
        self.places = [(host.split("//")[1], int(port)) for host, port in (a.rsplit(":", 1) for a in addresses)]
        self.sockets: list[socket.socket] = []
        self.thread = threading.Thread(target=self._visit, daemon=True)
        self.thread.start()

    def _visit(self) -> None:
        for number in range(STRANGERS):
            for place in self.places:
                visitor = socket.create_connection(place)
                visitor.sendall(GARBAGE[number % len(GARBAGE)])
                self.sockets.append(visitor)

    def end(self) -> None:
        """Hang up."""
        self.thread.join()
        print(f"{len(self.sockets)} connections", file=sys.stderr)
        for visitor in self.sockets:
            visitor.close()


def run(protocol: str, *more: str) -> dict[str, float]:
    """One run."""
    env = {**os.environ, "DASK_DASKHPC__PROTOCOL": protocol, "BEGAN": str(time.time())}
    line = ["mpiexec", "-n", "4", sys.executable, __file__, "rank", *more]
    done = subprocess.run(line, env=env, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise SystemExit(done.stderr)
    if more:
        print(f"lines of log: {len(done.stderr.splitlines())}", file=sys.stderr)
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def main(rounds: int, strangers: bool) -> None:
    """Print the table."""
    ways = {"without": ("tls",), "with": ("tls", "strangers")} if strangers else {"tcp": ("tcp",), "tls": ("tls",)}
    seconds: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, arguments in ways.items():
            seconds[way].append(run(*arguments))
    first, second = seconds.values()
    print("| workload | " + " | ".join(f"{way}, s" for way in ways) + " | ratio | difference, s | bound |")
    print("|---|---|---|---|---|---|")
    for name in second[0]:
        one, other = ([each[name] for each in times] for times in (first, second))
        medians = [statistics.median(values) for values in (one, other)]
        ratio = statistics.median(b / a for a, b in zip(one, other, strict=True))
        difference = statistics.median(b - a for a, b in zip(one, other, strict=True))
        bound = "at most 10 % slower" if strangers else BOUNDS[name]
        print(f"| {name} | {medians[0]:.2f} | {medians[1]:.2f} | {ratio:.2f} | {difference:+.2f} | {bound} |")


if __name__ == "__main__":
    if "rank" in sys.argv:
        print(json.dumps(measure()))
    else:
        numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
        main(numbers[0] if numbers else 5, "strangers" in sys.argv)
