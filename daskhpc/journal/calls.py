"""Keys of calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .node import Attributes, Node
from .tokens import Tokens

_FIT = ("sklearn.model_selection._validation", "_fit_and_score")
_OF_FIT = ("estimator", "X", "y")
_NOT_OF_FIT = frozenset(
    {
        "verbose",
        "split_progress",
        "candidate_progress",
        "caller",
        "callback_ctx",
    }
)
_NOT_OF_SETTINGS = frozenset({"display", "print_changed_only"})


def call_key(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any], tokens: Tokens) -> str:
    """What a call computes, as 32 hexadecimal digits.

    Parameters
    ----------
    function : callable
        Also as scikit-learn's `delayed` wraps it: then its settings count, other than those of display.
    args, kwargs
        Of the call.
    tokens : Tokens
        What is already known.

    Raises
    ------
    JournalError
        When an argument has no key, such as a lock or an open file.

    Notes
    -----
    All arguments count. For scikit-learn's ``_fit_and_score`` (searches, cross-validation, learning curves), what it
    prints does not: verbosity, progress, callbacks.
    """
    settings = None
    if type(function).__name__ == "_FuncWrapper" and type(function).__module__ == "sklearn.utils.parallel":
        settings = {k: v for k, v in getattr(function, "config", {}).items() if k not in _NOT_OF_SETTINGS}
        function = function.function
    if (getattr(function, "__module__", ""), getattr(function, "__qualname__", "")) == _FIT:
        named = {**dict(zip(_OF_FIT, args, strict=False)), **kwargs}
        args, kwargs = args[len(_OF_FIT) :], {k: v for k, v in named.items() if k not in _NOT_OF_FIT}
    parts = [function, settings, tuple(args), Attributes(kwargs, "")]
    return tokens.token(Node("call", parts, ("function", "settings", "args", ""))).hex()
