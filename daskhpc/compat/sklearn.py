"""All that daskhpc knows of scikit-learn beyond its public names: the file to open at a new release of scikit-learn.

In order: the call that fits and scores one candidate on one split; the wrapper that ``sklearn.utils.parallel.delayed``
puts around calls; what an estimator's attributes are; the call that fits one step of a Pipeline; scorers; callbacks.
Importing this imports nothing of scikit-learn.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import numbers
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType, TracebackType
from typing import Any

# The call of one fit. All searches, cross-validations and learning curves of scikit-learn make it, and only from its
# arguments can one see which candidate and split a call is, what it may share with others, and what stands for a fit
# whose worker died. If a release changes its parameters, its calls are treated as any other function's: nothing is
# shared, and a fit that kills its worker ends the search.

_VALIDATION = "sklearn.model_selection._validation"
_FIT = "_fit_and_score"
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
POSITIONAL = ("estimator", "X", "y")
READ_ONLY = frozenset({"X", "y", "scorer", "train", "test", "fit_params", "score_params"})
"""What no fit changes, so that a process makes it once; the estimator and the parameters are made anew each time."""

_SHOWN_ONLY = frozenset({"verbose", "split_progress", "candidate_progress", "caller", "callback_ctx"})


def fit_is_known() -> bool:
    """Whether the installed scikit-learn's function has the parameters that are known here."""
    function = getattr(sys.modules.get(_VALIDATION), _FIT, None)
    return function is not None and _is_known(function)


@functools.lru_cache(maxsize=4)
def _is_known(function: Any) -> bool:
    names = set(inspect.signature(function).parameters)
    return names >= REQUIRED and names <= REQUIRED | OPTIONAL


def is_fit(function: Any) -> bool:
    """Whether a call's function is ``_fit_and_score``, wrapped by scikit-learn's ``delayed`` or not."""
    inner = getattr(function, "function", function)
    module = sys.modules.get(_VALIDATION)
    return module is not None and inner is getattr(module, _FIT, None) and fit_is_known()


def fit_arguments(args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a fit by name."""
    return {**dict(zip(POSITIONAL, args, strict=False)), **kwargs}


def without_callbacks(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Leave out what only callbacks need if there are none: the whole search object and a tree of contexts."""
    if kwargs.get("caller") is None or has_callbacks(kwargs):
        return kwargs
    return {**kwargs, "caller": None, "callback_ctx": None}


def has_callbacks(kwargs: Mapping[str, Any]) -> bool:
    """Whether callbacks watch the fit, or the fit of a step, that has these arguments."""
    return bool(getattr(kwargs.get("callback_ctx"), "_callbacks", None))


def candidate_number(arguments: Mapping[str, Any]) -> Any:
    """What tells candidates apart, None if the fit is of no candidate."""
    progress = arguments.get("candidate_progress")
    return None if progress is None else progress[0]


def fit_score(result: Any) -> float | None:
    """The test score of a fit, None for several metrics or a failed fit."""
    score = result.get("test_scores") if isinstance(result, dict) else None
    if result is None or isinstance(score, dict) or not isinstance(score, numbers.Real):
        return None
    return None if result.get("fit_error") or score != score else float(score)


def fit_error(result: Any) -> str | None:
    """The last line of what a fit failed with, None if it did not."""
    text = result.get("fit_error") if isinstance(result, dict) else None
    return text.strip().splitlines()[-1] if text else None


def fit_summary(arguments: Mapping[str, Any], result: Any, in_rounds: bool = False) -> dict[str, Any]:
    """What tables of results show of a fit: its parameters, the candidate's place among all, its split, its score.

    Of a search in rounds, each with fewer candidates on more data, also how many candidates there are.
    """
    split, splits = arguments.get("split_progress") or (None, None)
    number, candidates = arguments.get("candidate_progress") or (None, None)
    # A failed fit has a score too: the number that ``error_score`` is, by which scikit-learn ranks it.
    score = fit_score({**result, "fit_error": None}) if isinstance(result, dict) else None
    about = {"params": arguments.get("parameters"), "split": split, "splits": splits, "score": score}
    about |= {"candidate": number, "candidates": candidates if in_rounds else None}
    return {name: value for name, value in about.items() if value is not None}


def round_number(search: Any) -> int | None:
    """Which round of a search by successive halving runs, from 0; None of anything else."""
    if "aggressive_elimination" not in getattr(search, "__dict__", ()):
        return None
    return max(0, len(getattr(search, "n_candidates_", ())) - 1)


def failed_fit(arguments: Mapping[str, Any], cause: str) -> dict[str, Any] | None:
    """What ``_fit_and_score`` returns for a fit that failed with `cause`; None if ``error_score`` is "raise".

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
    import numpy as np
    from sklearn.base import clone
    from sklearn.utils.validation import _num_samples

    names = scorer_names(arguments["scorer"])

    def scores() -> Any:
        return error_score if names is None else dict.fromkeys(names, error_score)

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


def what_decides(
    function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Any, dict[str, Any] | None, Sequence[Any], Mapping[str, Any]]:
    """A call without what no result depends on: verbosity, progress, callbacks, how estimators are displayed.

    Returns
    -------
    function, settings, args, kwargs
        The settings are those of scikit-learn that hold in the call, None if the function is not wrapped.

    Notes
    -----
    Keys of journals are made of this. The names are compared rather than the objects, and whatever the parameters are,
    so that a journal has the same keys whether scikit-learn is imported or not, and with any release.
    """
    settings = None
    if is_wrapped(function):
        config = getattr(function, "config", {})
        settings = {k: v for k, v in config.items() if k not in ("display", "print_changed_only")}
        function = function.function
    if (getattr(function, "__module__", ""), getattr(function, "__qualname__", "")) == (_VALIDATION, _FIT):
        kwargs = {k: v for k, v in fit_arguments(args, kwargs).items() if k not in _SHOWN_ONLY}
        args = args[len(POSITIONAL) :]
    return function, settings, args, kwargs


# The wrapper of scikit-learn's ``delayed``: a new one for each call, which carries scikit-learn's settings and the
# filters of warnings to the worker.

_WRAPPER = "_FuncWrapper"
_WRAPPED = ("function", "config", "warning_filters")


def is_wrapped(function: Any) -> bool:
    """Whether scikit-learn's ``delayed`` wraps a function."""
    return is_wrapper(type(function))


def is_wrapper(kind: type) -> bool:
    """Whether a class is that of scikit-learn's wrappers."""
    return kind.__name__ == _WRAPPER and kind.__module__ == "sklearn.utils.parallel"


def same_wrapped(a: Any, b: Any) -> bool | None:
    """Whether two wrappers are of the same function, settings and filters; None if they are no wrappers."""
    if type(a) is not type(b) or type(a).__name__ != _WRAPPER:
        return None
    return all(getattr(a, name, None) is getattr(b, name, None) for name in _WRAPPED)


# Attributes of estimators.

CALLBACKS = "_skl_callbacks"
"""The attribute in which an estimator holds its callbacks."""

_OF_CALLBACKS = frozenset({CALLBACKS, "_skl_callbacks_to_teardown", "_callback_fit_ctx", "_parent_callback_ctx"})
NOT_OF_RESULTS = frozenset({"n_jobs", "pre_dispatch", "verbose", "_sklearn_version", "_stop_words_id"}) | _OF_CALLBACKS
"""Attributes of estimators that no result depends on; the last one, of vectorizers, is a place in memory."""


# The call that fits one step of a Pipeline, which a Pipeline's ``memory`` sees.

_STEP_FITS = frozenset({"_fit_transform_one", "_fit_transform_one_with_callbacks"})
STEP_MESSAGES = frozenset({"message", "message_clsname"})
"""Its arguments that are only printed."""


def is_step_fit(function: Any) -> bool:
    """Whether a function fits one step of a Pipeline and transforms with it."""
    return getattr(function, "__name__", "") in _STEP_FITS


# Scorers.


def is_scorer(kind: type) -> bool:
    """Whether a class is that of scikit-learn's own scorers, which nothing changes once they are made."""
    return kind.__module__ == "sklearn.metrics._scorer"


def scorer_names(scorer: Any) -> list[str] | None:
    """The names of the metrics in a scorer of several, None for a scorer of one."""
    parts = several_scorers(scorer)
    return None if parts is None else list(parts)


def several_scorers(scorer: Any) -> dict[str, Any] | None:
    """The scorers by name in a scorer of several metrics, None for a scorer of one."""
    parts = getattr(scorer, "_scorers", None)
    return parts if isinstance(parts, dict) else None


def asked_methods(scorer: Any) -> list[str]:
    """The methods of a model of which a scorer asks the first that the model has; empty if that cannot be known."""
    asked = getattr(scorer, "_response_method", None)
    return [asked] if isinstance(asked, str) else list(asked or ())


# Callbacks, such as ProgressBar, send messages to the process that listens over a local socket, which other nodes do
# not reach. In a task the messages are collected instead, and go back with its results.

_TRANSPORT = "sklearn.callback._transport"
_CONSUMERS = "_message_consumers"
_collecting = threading.local()
_lock = threading.Lock()


def callback_transport() -> ModuleType | None:
    """scikit-learn's module that carries the messages of callbacks, None if the installed release has none."""
    try:
        module = importlib.import_module(_TRANSPORT)
    except ImportError:
        return None
    return module if hasattr(module, _CONSUMERS) and hasattr(module, "send") else None


class _Consumers(dict[Any, Any]):
    """In a worker process every address has a consumer: the messages of the task that runs in this thread."""

    def get(self, address: Any, default: Any = None) -> Any:
        own = super().get(address, default)
        messages = getattr(_collecting, "messages", None)
        if own is not None or messages is None:
            return own
        return lambda message: messages.append((address, message))


class CallbackMessages:
    """Within: messages of callbacks in this thread are collected.

    Parameters
    ----------
    needed : bool
        Whether callbacks watch; otherwise nothing is done.
    """

    def __init__(self, needed: bool) -> None:
        self.needed = needed
        self.messages: list[tuple[Any, Any]] = []

    def __enter__(self) -> CallbackMessages:
        module = callback_transport() if self.needed else None
        if module is not None:
            with _lock:
                if not isinstance(getattr(module, _CONSUMERS), _Consumers):
                    setattr(module, _CONSUMERS, _Consumers(getattr(module, _CONSUMERS)))
            _collecting.messages = self.messages
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _collecting.messages = None


def deliver_callback_messages(messages: Iterable[tuple[Any, Any]]) -> None:
    """On the client: hand messages to the callbacks that wait for them."""
    module = callback_transport() if messages else None
    for address, message in messages if module is not None else ():
        consumer = getattr(module, _CONSUMERS).get(address)
        if consumer is not None:
            consumer(message)
