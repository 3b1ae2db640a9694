"""Fits that take a moment and write down that they were made."""

from __future__ import annotations

import json
import os
import pickle
import time
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
from sklearn.naive_bayes import GaussianNB

import daskhpc

SECONDS = 0.01


def log(fit: str, score: float | None = None) -> None:
    """Write a line to the file that ``KILLS_LOG`` names: which fit, by which process, when; its score once it has one.

    One write to a file that is open to append: no other process's line gets into it, and no signal cuts it.
    """
    told = {"fit": fit, "score": None if score is None else score.hex(), "pid": os.getpid(), "time": time.time()}
    descriptor = os.open(os.environ["KILLS_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, json.dumps(told).encode() + b"\n")
    finally:
        os.close(descriptor)


def work(number: float) -> float:
    """A call that is no fit."""
    time.sleep(SECONDS)
    value = float(np.sin(number))
    log(f"call {number}", value)
    return value


class Slow(GaussianNB):  # type: ignore[misc]
    """A classifier whose score tells of which fit it is: by its parameter and the rows that it was fitted on."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Slow:
        super().fit(X, y, sample_weight)
        time.sleep(SECONDS)
        rows = blake2b(np.ascontiguousarray(X).tobytes(), digest_size=8).hexdigest()
        self.name_ = f"{float(self.var_smoothing).hex()} {rows}"
        log(self.name_)
        return self

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The mean log-likelihood of the classes: other than an accuracy, hardly ever the same of two fits."""
        right = self.predict_log_proba(X)[np.arange(len(y)), np.searchsorted(self.classes_, y)]
        score = float(right.mean())
        log(self.name_, score)
        return score


def on_ranks() -> None:
    """Start the cluster where this process is one of several ranks."""
    if daskhpc.discover().world_size.value > 1:
        daskhpc.start()


def write(results: Mapping[str, Any]) -> None:
    """Write what a program found to the file that ``KILLS_RESULTS`` names, whole or not at all; times are left out."""
    path = os.environ["KILLS_RESULTS"]
    with open(f"{path}.new", "wb") as file:
        pickle.dump({name: value for name, value in results.items() if not name.endswith("_time")}, file)
    os.replace(f"{path}.new", path)
