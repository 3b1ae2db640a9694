"""Scores that are sums over blocks, so that no process needs all labels."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np
from sklearn import metrics


def _accuracy(y_true: Any, y_pred: Any) -> list[float]:
    return [metrics.accuracy_score(y_true, y_pred, normalize=False)]


def _squared(y_true: Any, y_pred: Any) -> list[float]:
    return [len(y_true) * metrics.mean_squared_error(y_true, y_pred)]


def _absolute(y_true: Any, y_pred: Any) -> list[float]:
    return [len(y_true) * metrics.mean_absolute_error(y_true, y_pred)]


def _moments(y_true: Any, y_pred: Any) -> list[float]:
    values = np.asarray(y_true, dtype=float)
    mean = values.mean()
    return [*_squared(y_true, y_pred), mean, np.square(values - mean).sum()]


def _mean(counts: Any, sums: Any) -> float:
    return float(sums[:, 0].sum() / counts.sum())


def _r2(counts: Any, sums: Any) -> float:
    """R squared from each block's residuals, mean and spread; a block's spread is shifted to the mean of all."""
    n = counts.sum()
    if n < 2:
        return float("nan")
    residual, means, spreads = sums.T
    mean = (counts * means).sum() / n
    total = spreads.sum() + (counts * np.square(means - mean)).sum()
    if total == 0:
        return 1.0 if residual.sum() == 0 else 0.0
    return float(1 - residual.sum() / total)


BlockwiseScore = tuple[int, Callable[[Any, Any], list[float]], Callable[[Any, Any], float]]

SUMS: dict[str, BlockwiseScore] = {
    "accuracy": (1, _accuracy, _mean),
    "r2": (3, _moments, _r2),
    "neg_mean_squared_error": (1, _squared, lambda counts, sums: -_mean(counts, sums)),
    "neg_root_mean_squared_error": (1, _squared, lambda counts, sums: -float(np.sqrt(_mean(counts, sums)))),
    "neg_mean_absolute_error": (1, _absolute, lambda counts, sums: -_mean(counts, sums)),
}
"""By scikit-learn's name: how many sums, those of one block, and the score from the blocks' counts and sums."""


def blockwise_score(scoring: Any, y: Any, predicted: Any) -> Any:
    """A score of `SUMS` as a Dask array of no dimensions; None if it is none of these, or not of two arrays.

    Parameters
    ----------
    scoring : object
        What may be a name of `SUMS`.
    y : dask.array.Array or NumPy array, of shape (n,)
        The true values.
    predicted : dask.array.Array of shape (n,)
        The model's values.

    Returns
    -------
    dask.array.Array of shape () or None
        The score.
    """
    if not isinstance(scoring, str) or scoring not in SUMS or not isinstance(predicted, da.Array):
        return None
    y = _like(y, predicted)
    if y is None or y.ndim != 1 or predicted.ndim != 1:
        return None
    width, _, _ = SUMS[scoring]
    table = da.blockwise(
        *(_one_block, ("rows", "sums"), y, ("rows",), predicted, ("rows",), scoring, None),
        new_axes={"sums": width + 1},
        adjust_chunks={"rows": 1},
        align_arrays=False,
        dtype=float,
        meta=np.empty((0, 0)),
    )
    return table.rechunk(-1).map_blocks(_finished, scoring, drop_axis=(0, 1), dtype=float, meta=np.empty(()))


def _like(y: Any, predicted: Any) -> Any:
    """The truth as an array in blocks like the predictions, None if that cannot be had without computing."""
    if hasattr(y, "to_dask_array"):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Dask currently has limited support for converting pandas extension")
            y = y.to_dask_array()
    unknown = bool(np.isnan(predicted.size))
    if isinstance(y, np.ndarray) and y.ndim == 1 and not unknown and len(y) == len(predicted):
        return da.from_array(y, chunks=predicted.chunks)
    if not isinstance(y, da.Array) or bool(np.isnan(y.size)) != unknown:  # as many blocks may be of other sizes
        return None
    if not unknown:
        return y.rechunk(predicted.chunks) if y.shape == predicted.shape else None
    return y if y.numblocks == predicted.numblocks else None


def _one_block(y_true: Any, y_pred: Any, scoring: str) -> Any:
    width, sums_of, _ = SUMS[scoring]
    if len(y_true) == len(y_pred) == 0:
        return np.zeros((1, width + 1))
    return np.array([[len(y_true), *sums_of(y_true, y_pred)]], dtype=float)


def _finished(table: Any, scoring: str) -> Any:
    return np.float64(SUMS[scoring][2](table[:, 0], table[:, 1:]))
