"""How many clusters are there? K-means for k = 2 to 19, all at the same time on the workers of the cluster.

On a laptop:

    daskhpc run kmeans.py

on a cluster:

    daskhpc submit --nodes 2 --cpus-per-task 4 --time 10m kmeans.py

The files go to the folder ``results`` beside this file: for each k a log and a picture of the clusters, then
``inertia.csv`` and the elbow curve, ``elbow.png``.
"""

import argparse
import logging
import time
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from matplotlib.figure import Figure
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.metrics import silhouette_score

POINTS, SPREAD = 3000, 1.1
CENTRES = [(-6, -3), (-3, 4), (0, -4), (3, 2), (7, -3), (9, 4)]
FOLDER = Path(__file__).parent / "results"


def clusters(X: np.ndarray, k: int, folder: Path) -> dict[str, float]:
    """Find k clusters, write a log and a picture of them, and say how tight they are and how well apart."""
    log = logging.getLogger(f"kmeans.{k}")
    log.setLevel(logging.INFO)
    handler = logging.FileHandler(folder / f"kmeans-{k:02}.log", mode="w")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.addHandler(handler)
    try:
        began = time.perf_counter()
        model = KMeans(k, n_init=10, random_state=0).fit(X)
        log.info(
            "k = %d: %d steps, inertia %.1f, %.2f s", k, model.n_iter_, model.inertia_, time.perf_counter() - began
        )
        draw(X, model, folder / f"kmeans-{k:02}.png")
        silhouette = float(silhouette_score(X, model.labels_))
        log.info("silhouette %.4f", silhouette)
    finally:
        log.removeHandler(handler)
        handler.close()
    return {"k": k, "inertia": float(model.inertia_), "silhouette": silhouette}


def draw(X: np.ndarray, model: KMeans, path: Path) -> None:
    """The points in the colours of their clusters; each centre is the row of it that K-means found."""
    figure = Figure(figsize=(4.5, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.scatter(*X.T, c=model.labels_, cmap="tab20", s=3)
    axes.plot(*model.cluster_centers_.T, "k+", markersize=10, markeredgewidth=2)
    axes.set(title=f"k = {model.n_clusters}, inertia {model.inertia_:,.0f}", xticks=[], yticks=[])
    figure.savefig(path, dpi=100)


def draw_elbow(table: pd.DataFrame, best: int, path: Path) -> None:
    """Inertia over k, and the silhouette beside it."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(table.k, table.inertia, "o-")
    left.set(xlabel="number of clusters k", ylabel="inertia", title="Elbow curve")
    right.plot(table.k, table.silhouette, "o-", color="C1")
    right.set(xlabel="number of clusters k", ylabel="silhouette", title="The higher the better")
    for axes in (left, right):
        axes.axvline(best, color="0.6", linestyle="--")
        axes.set_xticks(table.k)
    figure.savefig(path, dpi=100)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--most", type=int, default=19, help="the largest k")
    given = options.parse_args()
    FOLDER.mkdir(exist_ok=True)
    X = make_blobs(POINTS, centers=CENTRES, cluster_std=SPREAD, random_state=0)[0]

    rows = Parallel(n_jobs=-1)(delayed(clusters)(X, k, FOLDER) for k in range(2, given.most + 1))
    table = pd.DataFrame(rows)
    for row in table.itertuples():
        print(f"k = {row.k:2}   inertia {row.inertia:10.1f}   silhouette {row.silhouette:.4f}")
    best = int(table.k[table.silhouette.idxmax()])
    print(f"\nBest number of clusters: {best}")

    table.to_csv(FOLDER / "inertia.csv", index=False)
    draw_elbow(table, best, FOLDER / "elbow.png")
    print(f"Files in results: inertia.csv, elbow.png, and a log and a picture for each of {len(table)} k")


if __name__ == "__main__":
    main()
