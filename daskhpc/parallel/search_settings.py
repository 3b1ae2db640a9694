"""What a fit of a search depends on beside its candidate, as digests for a journal: whose scores can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..compat.sklearn import fit_arguments, is_fit
from ..journal.calls import call_key
from ..journal.describe import describe
from ..journal.tokens import Tokens
from .call_queue import Call


def split_of(call: Call) -> int | None:
    """The number of the split of a search that a call fits on; None if it is no fit of a search."""
    if not is_fit(call.function):
        return None
    arguments = fit_arguments(call.args, call.kwargs)
    if arguments.get("candidate_progress") is None or arguments.get("split_progress") is None:
        return None
    return int(arguments["split_progress"][0])


def settings_digest(call: Call, tokens: Tokens) -> str:
    """A digest of all that a fit depends on but the candidate: estimator, data, split, scorer, ``error_score``."""
    rest = {name: value for name, value in call.kwargs.items() if name != "parameters"}
    return call_key(call.function, call.args, rest, tokens)


def about_search(call: Call, tokens: Tokens) -> dict[str, str]:
    """What a search is about, and what it is called.

    Returns
    -------
    dict
        ``work``: a digest of its data and of the kinds of estimators in it, which a run with other settings has too;
        ``estimator`` and ``data`` as short texts.
    """
    arguments = fit_arguments(call.args, call.kwargs)
    estimator, X = arguments["estimator"], arguments["X"]
    work = tokens.token((X, arguments["y"], _kinds(estimator))).hex()
    return {"work": work, "estimator": describe(estimator), "data": describe(X)}


def _kinds(estimator: Any) -> tuple[tuple[str, str], ...]:
    """The classes of an estimator and of those in it, by the name of the parameter."""
    parameters: Mapping[str, Any] = estimator.get_params(deep=True) if hasattr(estimator, "get_params") else {}
    inside = {name: value for name, value in parameters.items() if hasattr(value, "get_params")}
    return tuple(
        sorted((name, f"{type(v).__module__}.{type(v).__qualname__}") for name, v in {"": estimator, **inside}.items())
    )
