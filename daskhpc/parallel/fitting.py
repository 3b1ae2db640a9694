"""Fits of scikit-learn's searches that share fitted pipeline prefixes: which they are, and how they are made."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from ..compat.sklearn import fit_arguments
from .parcel import plain
from .prefix_cache import PrefixCache, shared

NO_FIT, FIT, SHARING = 0, 1, 2
"""What a template's calls are: of another function, fits, and fits that may share pipeline prefixes."""


def shares(arguments: Mapping[str, Any]) -> bool:
    """Whether there is, or by a candidate's parameters can be, a Pipeline in what is fitted."""
    pipeline = sys.modules.get("sklearn.pipeline")
    if pipeline is None:
        return False
    estimator = arguments["estimator"]
    inside = estimator.get_params(deep=True).values() if hasattr(estimator, "get_params") else ()
    own = isinstance(estimator, pipeline.Pipeline) or any(isinstance(value, pipeline.Pipeline) for value in inside)
    return own or not plain(arguments.get("parameters"))


def prefix_names(estimator: Any) -> tuple[str, ...] | None:
    """The steps of a Pipeline before its last, None for anything else or a Pipeline with its own memory."""
    pipeline = sys.modules.get("sklearn.pipeline")
    if pipeline is None or type(estimator) is not pipeline.Pipeline or estimator.memory is not None:
        return None
    return tuple(name for name, _ in estimator.steps[:-1]) or None


def group(names: tuple[str, ...], parameters: Mapping[str, Any] | None) -> tuple[tuple[str, ...], ...]:
    """A candidate's parameters of the fitted prefix, one entry per step in order: equal ones share what they fit.

    Type-aware: 1, 1.0 and True differ. It decides which calls go together, never what is shared.
    """
    steps = []
    for step in names:
        own = {k: v for k, v in (parameters or {}).items() if k == step or k.startswith(f"{step}__")}
        steps.append(tuple(f"{k}={type(v).__name__}:{_text(v)}" for k, v in sorted(own.items())))
    return tuple(steps)


def _text(value: Any) -> str:
    try:
        return repr(value)[:200]
    except Exception:
        return str(id(value))


def fit(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], cache: PrefixCache) -> tuple[Any, float]:
    """Call ``_fit_and_score`` with shared pipeline prefixes.

    Returns
    -------
    Any
        Its result; what sharing saved counts as time of the fit.
    float
        Seconds that sharing saved.
    """
    arguments = fit_arguments(args, kwargs)
    with shared(cache, arguments["estimator"], arguments.get("parameters")) as saved:
        result = function(*args, **kwargs)
    if saved.seconds and "fit_time" in result:
        result["fit_time"] += saved.seconds
    return result, saved.seconds
