"""Makes journals of the format of the day, once: ``python make.py FOLDER``; tests read them for ever."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn.datasets import make_classification
from sklearn.svm import SVC

import daskhpc
from daskhpc.journal import segment
from daskhpc.journal.journal import Journal


class Fails(SVC):
    """Fails for one value of its parameter."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Fails:
        if self.C == 3.0:
            raise ValueError("C must not be 3")
        return super().fit(X, y, sample_weight)  # type: ignore[return-value]


def area(width: float, height: int) -> dict[str, Any]:
    """A call of a sweep that fails once."""
    if height == 3:
        raise ArithmeticError("too high")
    return {"area": width * height, "shape": (width, height)}


def square(x: int) -> int:
    return x * x


def search(folder: Path) -> None:
    """Of library code alone, and one whose estimator is our own, with failed fits."""
    X, y = make_classification(60, random_state=0)
    daskhpc.GridSearchCV(SVC(), {"C": [1.0, 2.0]}, cv=3, checkpoint=folder / "search").fit(X, y)
    grid = {"C": [1.0, 3.0]}
    daskhpc.GridSearchCV(Fails(), grid, cv=2, error_score=np.nan, checkpoint=folder / "failed").fit(X, y)


def calls(folder: Path) -> None:
    """Plain calls, of a function of a library and of one of our own."""
    with joblib.parallel_config(backend="daskhpc", checkpoint=folder / "calls", n_jobs=2):
        joblib.Parallel()(joblib.delayed(np.hypot)(x, 1.0) for x in (1.0, 2.0, 3.0))
        joblib.Parallel()(joblib.delayed(square)(x) for x in (1, 2, 2))


def values(folder: Path) -> None:
    """Values of all forms, by keys that are numbers."""
    everything: list[Any] = [
        None,
        {"nan": float("nan"), "zero": -0.0, "deep": [1, (2, True)], "large": 1 << 100, 3: b"bytes"},
        np.arange(6, dtype=">i2").reshape(2, 3, order="F"),
        np.float32(0.1),
        "\ud800 surrogate",
        np.arange(3000.0),
        SVC(C=2.0),
        ValueError("a failed call"),
    ]
    with Journal.open(folder / "values", "calls") as journal:
        for number, value in enumerate(everything):
            ok = not isinstance(value, Exception)
            journal.append(f"{number:032x}", ok, value, 0.5, "node1", {"number": number})
        journal.note("call", {"id": "note"})


def main(folder: Path) -> None:
    # run on a host called node1: unshare --uts sh -c "hostname node1; python make.py FOLDER"
    segment.process = lambda pid: {"system": "another", "born": "1"}
    search(folder)
    daskhpc.sweep(area, {"width": [0.5, 1.5], "height": [1, 3]}, checkpoint=folder / "sweep")
    calls(folder)
    values(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
