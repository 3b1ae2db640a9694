"""1,000 random values of C for an elastic-net logistic regression: one table, by all workers.

On a laptop:

    daskhpc run search.py

on a cluster:

    daskhpc submit --nodes 2 --cpus-per-task 4 --time 10m search.py

Each result is kept in the folder ``checkpoint`` beside this file: run again, it computes only the rest. In the same
folder are then ``results.csv`` and ``results.png``.
"""

import argparse
from pathlib import Path

import students
from scipy.stats import loguniform

import daskhpc

HERE = Path(__file__).parent


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--draws", type=int, default=1000)
    given = options.parse_args()
    daskhpc.start()
    X, y = students.read(HERE / "students.csv")

    def accuracy(C: float) -> dict[str, float]:
        return {"accuracy": students.accuracy(C, X, y)}

    folder = HERE / "checkpoint"
    space = {"C": loguniform(1e-4, 1e4)}
    table = daskhpc.sweep(accuracy, space, n=given.draws, seed=0, errors="raise", checkpoint=folder / "sweep")
    table = table[["C", "accuracy", "seconds"]].sort_values("accuracy", ascending=False, kind="stable")
    print(table.head().to_string(index=False))
    print(f"\n{len(table)} values of C, {table.C.nunique()} different, {table.seconds.sum():.0f} s of work")

    table.to_csv(folder / "results.csv", index=False)
    try:
        figure = daskhpc.plots.sweep(table[["C", "accuracy"]])
        daskhpc.plots.save(figure, folder / "results.png")
        print("Files: checkpoint/results.csv and results.png")
    except ModuleNotFoundError as missing:
        print(f"File: checkpoint/results.csv\nNo picture: {missing}; pip install 'daskhpc[plots]'")


main()
