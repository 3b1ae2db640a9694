"""daskhpc beside loky, in turns in one run, in the shapes that users have.

    daskhpc run -n 1 --nthreads 2 tests/benchmarks/calls.py          one rank with two CPUs
    daskhpc run -n 2 tests/benchmarks/calls.py                       two ranks with one CPU each
    python tests/benchmarks/calls.py 1x2 | 2x1                       a LocalCluster that the program has made itself
    python tests/benchmarks/calls.py slots                           forty slots of one worker, on a few CPUs
    python tests/benchmarks/calls.py few                             few calls for fourteen slots, all of them asleep

A word more is a regular expression of the searches that are wanted. The environment variable ROUNDS says how often each
is measured (3).

The figures of searches are wall time over half of the serial time of the same run: 1.00 is ideal on two CPUs.
"""

from __future__ import annotations

import functools
import os
import re
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import joblib
import numpy as np
import psutil
from joblib import Parallel, delayed, parallel_config
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neural_network import MLPClassifier
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

import daskhpc  # registers the backend

ROUNDS = int(os.environ.get("ROUNDS", "3"))
BACKENDS = ("daskhpc", "loky")
DIGITS, CANCER, DIABETES = (load(return_X_y=True) for load in (load_digits, load_breast_cancer, load_diabetes))
SEARCHES: dict[str, tuple[Any, dict[str, list[Any]], Any]] = {
    "dummy fits of 1 ms": (DummyClassifier(strategy="uniform"), {"random_state": list(range(400))}, DIGITS),
    "LogisticRegression, digits": (LogisticRegression(max_iter=100), {"C": [0.01, 0.1, 1, 10]}, DIGITS),
    "MLPClassifier, digits": (MLPClassifier(max_iter=20, random_state=0), {"alpha": [1e-4, 1e-2, 1, 10]}, DIGITS),
    "RandomForest(50), cancer": (RandomForestClassifier(50, random_state=0), {"max_depth": [2, 4, 8, 16]}, CANCER),
    "GradientBoosting, cancer": (GradientBoostingClassifier(random_state=0), {"max_depth": [1, 2, 3]}, CANCER),
    "trees, digits": (DecisionTreeClassifier(random_state=0), {"max_depth": list(range(1, 41))}, DIGITS),
    "SVC, digits": (SVC(), {"C": [0.1, 1, 10], "gamma": [1e-4, 1e-3, 1e-2]}, DIGITS),
}


def seconds(function: Callable[[], object]) -> float:
    """What a call takes."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def search(name: str) -> None:
    """One search of the table."""
    model, grid, data = SEARCHES[name]
    GridSearchCV(model, grid, cv=5, refit=False).fit(*data)


def uses(count: int = 100) -> None:
    """Many uses of Parallel with next to nothing to do."""
    for _ in range(count):
        Parallel()(delayed(abs)(number) for number in range(4))


def scores(count: int = 20) -> None:
    """Many small cross-validations."""
    for _ in range(count):
        cross_val_score(Ridge(), *DIABETES)


def beside(function: Callable[[], object]) -> dict[str, float]:
    """The median seconds of each backend, in turns."""
    took: dict[str, list[float]] = {name: [] for name in BACKENDS}
    for _ in range(ROUNDS):
        for name in BACKENDS:
            with parallel_config(name, n_jobs=2):
                took[name].append(seconds(function))
    return {name: statistics.median(values) for name, values in took.items()}


def compare(wanted: str) -> None:
    """Print the table."""
    for name in BACKENDS:  # processes start, packages are imported
        with parallel_config(name, n_jobs=2):
            uses(3)
            scores(1)
    print("| workload | daskhpc | loky | daskhpc / loky |\n|---|---|---|---|", flush=True)
    for name in filter(re.compile(wanted).search, SEARCHES):
        with parallel_config("sequential"):
            serial = statistics.median(seconds(lambda name=name: search(name)) for _ in range(-(-ROUNDS // 2)))  # type: ignore[misc]
        found = beside(lambda name=name: search(name))  # type: ignore[misc]
        cells = " | ".join(f"{2 * found[backend] / serial:.2f}" for backend in BACKENDS)
        print(f"| {name} ({serial:.1f} s) | {cells} | {found['daskhpc'] / found['loky']:.2f} |", flush=True)
    for text, function, count in (("one use of Parallel, ms", uses, 100), ("cross_val_score(Ridge()), ms", scores, 20)):
        found = beside(function)
        cells = " | ".join(f"{1000 * found[backend] / count:.1f}" for backend in BACKENDS)
        print(f"| {text} | {cells} | {found['daskhpc'] / found['loky']:.2f} |", flush=True)


def nap(until: float, x: Any = None) -> tuple[int, float]:
    """Sleep until a time, after reading all of an array; returns the process and when it began."""
    import sklearn.ensemble  # noqa: F401

    began = time.time()
    if x is not None:
        float(np.asarray(x).sum())
    time.sleep(max(0.0, until - time.time()))
    return os.getpid(), began


def slots(count: int = 40) -> None:
    """Print how soon forty children run, what memory each has of its own, and what one array costs for all."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=1, threads_per_worker=count, dashboard_address=":0", memory_limit=0) as cluster,
        Client(cluster),
        parallel_config("daskhpc", n_jobs=count),
    ):
        first = time.time()
        found = Parallel(return_as="generator")(delayed(nap)(first + 8) for _ in range(count))
        time.sleep(7)
        children = [p for p in psutil.Process().children(recursive=True) if "child_server" in " ".join(p.cmdline())]
        memory = [p.memory_full_info() for p in children]
        began = dict(found)
        print(f"{len(began)} children, the last call began after {max(began.values()) - first:.1f} s")
        each = sorted(one.pss / 2**20 for one in memory)
        print(f"PSS of a child: median {statistics.median(each):.0f} MiB, most {each[-1]:.0f} MiB")
        x = np.random.default_rng(0).random(125_000_000)
        before, first = psutil.virtual_memory().available, time.time()
        found = Parallel(return_as="generator")(delayed(nap)(first + 25, x) for _ in range(count))
        time.sleep(22)
        grown = before - psutil.virtual_memory().available
        print(f"1 GB of X, read by {len(dict(found))} children: the node's memory grew by {grown / 1e9:.2f} GB")


def sleep(count: int, length: float) -> None:
    """Calls that sleep."""
    Parallel()(delayed(time.sleep)(length) for _ in range(count))


def few(slots: int = 14) -> None:
    """Print what few calls take that sleep, on more slots than the machine may have CPUs."""
    from distributed import Client, LocalCluster

    print("| calls | ideal, s | daskhpc, s | loky, s |\n|---|---|---|---|")
    with (
        LocalCluster(n_workers=1, threads_per_worker=slots, dashboard_address=":0", memory_limit=0) as cluster,
        Client(cluster),
    ):
        for count, length in ((2 * slots, 0.3), (15, 1.0), (15, 0.35), (20, 0.2), (60, 0.1)):
            took: dict[str, list[float]] = {name: [] for name in BACKENDS}
            for _ in range(ROUNDS):
                for name in BACKENDS:
                    with parallel_config(name, n_jobs=slots):
                        took[name].append(seconds(functools.partial(sleep, count, length)))
            cells = " | ".join(f"{statistics.median(values):.2f}" for values in took.values())
            print(f"| {count} of {length} s | {-(-count // slots) * length:.2f} | {cells} |", flush=True)


def main() -> None:
    """What the command line asks for."""
    warnings.simplefilter("ignore")
    shape, wanted = [*sys.argv[1:], "", ""][:2]
    if shape not in ("1x2", "2x1", "slots", "few"):
        shape, wanted = "", shape
    print(f"daskhpc {daskhpc.__version__}, joblib {joblib.__version__}, {os.cpu_count()} CPUs, {shape or 'ranks'}")
    if shape in ("slots", "few"):
        {"slots": slots, "few": few}[shape]()
    elif shape:
        from distributed import Client, LocalCluster

        workers, threads = map(int, shape.split("x"))
        cluster = LocalCluster(n_workers=workers, threads_per_worker=threads, dashboard_address=":0")
        with cluster, Client(cluster):
            compare(wanted)
    else:
        compare(wanted)


if __name__ == "__main__":
    main()
