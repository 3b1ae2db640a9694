"""How many clusters are there? K-means for many k, all at the same time on the workers of the cluster.

On a laptop:

    daskhpc run kmeans.py

on a cluster: ``sbatch job.sbatch`` or ``qsub job.pbs``. What each k gave is kept in the folder ``checkpoint`` beside
this file: run again, it computes only what is not there. Remove the folder to begin anew. In the same folder are then
``scores.csv`` (inertia and silhouette for each k), ``scores.png`` (the elbow curve) and ``clusters.png`` (the points in
the clusters of the best k and of its neighbours).
"""

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.metrics import silhouette_score

import daskhpc

KS = range(2, 13)
POINTS, SPREAD = 3000, 1.1
CENTRES = [(-6, -3), (-3, 4), (0, -4), (3, 2), (7, -3), (9, 4)]
FOLDER = Path(__file__).parent / "checkpoint"


def points() -> np.ndarray:
    return make_blobs(POINTS, centers=CENTRES, cluster_std=SPREAD, random_state=0)[0]


def model(k: int) -> KMeans:
    return KMeans(k, n_init=10, random_state=0)


def main() -> None:
    daskhpc.start()
    X = points()

    def scores(k: int) -> dict[str, float]:
        """How tight the clusters are (inertia), and how well they are apart (silhouette, at most 1)."""
        fitted = model(k).fit(X)
        return {"inertia": fitted.inertia_, "silhouette": silhouette_score(X, fitted.labels_)}

    table = daskhpc.sweep(scores, {"k": list(KS)}, errors="raise", checkpoint=FOLDER / "sweep")
    for row in table.itertuples():
        print(f"k = {row.k:2}   inertia {row.inertia:10.1f}   silhouette {row.silhouette:.4f}")
    best = int(table.k[table.silhouette.idxmax()])
    print(f"\nBest number of clusters: {best}")

    table[["k", "inertia", "silhouette"]].to_csv(FOLDER / "scores.csv", index=False)
    try:
        draw_scores(table, best, FOLDER / "scores.png")
        draw_clusters(X, best, FOLDER / "clusters.png")
        print("Files: checkpoint/scores.csv, scores.png and clusters.png")
    except ModuleNotFoundError as missing:
        print(f"File: checkpoint/scores.csv\nNo pictures: {missing}; pip install 'daskhpc[plots]'")


def draw_scores(table: pd.DataFrame, best: int, path: Path) -> None:
    """The elbow curve, and the silhouette beside it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(table.k, table.inertia, "o-")
    left.set(xlabel="number of clusters k", ylabel="inertia", title="Elbow curve")
    right.plot(table.k, table.silhouette, "o-", color="C1")
    right.set(xlabel="number of clusters k", ylabel="silhouette", title="The higher the better")
    for axes in (left, right):
        axes.axvline(best, color="0.6", linestyle="--")
        axes.set_xticks(table.k)
    figure.savefig(path, dpi=120)


def draw_clusters(X: np.ndarray, best: int, path: Path) -> None:
    """The points in the clusters of the best k, of one fewer and of one more."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    for axes, k in zip(figure.subplots(1, 3), (best - 1, best, best + 1), strict=True):
        fitted = model(k).fit(X)
        axes.scatter(*X.T, c=fitted.labels_, cmap="tab20", s=2)
        axes.plot(*fitted.cluster_centers_.T, "k+", markersize=10)
        axes.set(title=f"k = {k}", xticks=[], yticks=[])
    figure.savefig(path, dpi=120)


main()
