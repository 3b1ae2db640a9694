"""All that daskhpc knows of scikit-learn's ``_fit_and_score``, the call that its searches and cross-validations make.

Where a release of scikit-learn changes its signature, calls of it are treated as any other function's.
"""

from __future__ import annotations

import functools
import inspect
import numbers
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from .parcel import plain
from .prefixes import PrefixCache, shared

REQUIRED = frozenset(
    {
        "estimator",
        "X",
        "y",
        "scorer",
        "train",
        "test",
        "verbose",
        "parameters",
        "fit_params",
        "score_params",
        "return_train_score",
        "return_parameters",
        "return_n_test_samples",
        "return_times",
        "return_estimator",
        "split_progress",
        "candidate_progress",
        "error_score",
    }
)
OPTIONAL = frozenset({"caller", "callback_ctx"})
READ_ONLY = frozenset({"X", "y", "scorer", "train", "test", "fit_params", "score_params"})
"""What no fit changes, so that a process makes it once; the estimator and the parameters are made anew each time."""

NO_FIT, FIT, SHARING = 0, 1, 2
"""What a template's calls are: of another function, fits, and fits that may share pipeline prefixes."""

_VALIDATION = "sklearn.model_selection._validation"


def understood() -> bool:
    """Whether the installed scikit-learn's function has the parameters that are known here."""
    function = getattr(sys.modules.get(_VALIDATION), "_fit_and_score", None)
    return function is not None and _understood(function)


@functools.lru_cache(maxsize=4)
def _understood(function: Any) -> bool:
    names = set(inspect.signature(function).parameters)
    return names >= REQUIRED and names <= REQUIRED | OPTIONAL


def is_fit(function: Any) -> bool:
    """Whether a call's function is ``_fit_and_score``, wrapped by scikit-learn's ``delayed`` or not."""
    inner = getattr(function, "function", function)
    module = sys.modules.get(_VALIDATION)
    return module is not None and inner is getattr(module, "_fit_and_score", None) and understood()


def bind(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The call's arguments by name."""
    return {**dict(zip(("estimator", "X", "y"), args, strict=False)), **kwargs}


def simplify(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Leave out what only callbacks need where there are none: the whole search object and a tree of contexts."""
    context = kwargs.get("callback_ctx")
    if kwargs.get("caller") is None or getattr(context, "_callbacks", None):
        return kwargs
    return {**kwargs, "caller": None, "callback_ctx": None}


def callbacks(kwargs: Mapping[str, Any]) -> bool:
    """Whether callbacks watch this fit."""
    return bool(getattr(kwargs.get("callback_ctx"), "_callbacks", None))


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

    Type-aware: 1, 1.0 and True differ. It decides who goes together, never what is shared.
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


def candidate(arguments: Mapping[str, Any]) -> Any:
    """What tells candidates apart, None where the call is of no candidate; costs are learnt per candidate."""
    progress = arguments.get("candidate_progress")
    return None if progress is None else progress[0]


def best_of(result: Any) -> float | None:
    """The test score of a fit, None for several metrics or a failed fit."""
    score = result.get("test_scores") if isinstance(result, dict) else None
    if result is None or isinstance(score, dict) or not isinstance(score, numbers.Real):
        return None
    return None if result.get("fit_error") or score != score else float(score)


def told(arguments: Mapping[str, Any], result: Any) -> dict[str, Any]:
    """What tables of results show of a fit: its parameters, its split, its score."""
    split, splits = arguments.get("split_progress") or (None, None)
    about = {"params": arguments.get("parameters"), "split": split, "splits": splits, "score": best_of(result)}
    return {name: value for name, value in about.items() if value is not None}


def error_of(result: Any) -> str | None:
    """The last line of what a fit failed with, None where it did not."""
    text = result.get("fit_error") if isinstance(result, dict) else None
    return text.strip().splitlines()[-1] if text else None


def fit(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], cache: PrefixCache) -> tuple[Any, float]:
    """Call ``_fit_and_score`` with shared pipeline prefixes.

    Returns
    -------
    Any
        Its result; what sharing saved counts as time of the fit.
    float
        Seconds that sharing saved.
    """
    arguments = bind(args, kwargs)
    with shared(cache, arguments["estimator"], arguments.get("parameters")) as saved:
        result = function(*args, **kwargs)
    if saved.seconds and "fit_time" in result:
        result["fit_time"] += saved.seconds
    return result, saved.seconds


def failed(arguments: Mapping[str, Any], cause: str) -> dict[str, Any] | None:
    """What ``_fit_and_score`` returns for a fit that failed with `cause`; None where ``error_score`` is "raise".

    Parameters
    ----------
    arguments : Mapping[str, Any]
        Of the call, by name.
    cause : str
        Stands in the place of the fit's traceback.
    """
    error_score = arguments.get("error_score")
    if not isinstance(error_score, numbers.Number):
        return None
    from sklearn.base import clone
    from sklearn.metrics._scorer import _MultimetricScorer
    from sklearn.utils.validation import _num_samples

    scorer = arguments["scorer"]
    several = isinstance(scorer, _MultimetricScorer)

    def scores() -> Any:
        return dict.fromkeys(scorer._scorers, error_score) if several else error_score

    result: dict[str, Any] = {"fit_error": cause, "test_scores": scores()}
    if arguments.get("return_train_score"):
        result["train_scores"] = scores()
    if arguments.get("return_n_test_samples"):
        result["n_test_samples"] = len(np.arange(_num_samples(arguments["X"]))[np.asarray(arguments["test"])])
    if arguments.get("return_times"):
        result["fit_time"] = result["score_time"] = 0.0
    if arguments.get("return_parameters"):
        result["parameters"] = arguments["parameters"]
    if arguments.get("return_estimator"):
        parameters = clone(arguments.get("parameters") or {}, safe=False)
        result["estimator"] = clone(arguments["estimator"]).set_params(**parameters)
    return result
