"""Keys of calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..compat.sklearn import what_decides
from .key_parts import Attributes, Node
from .tokens import Tokens


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
    function, settings, args, kwargs = what_decides(function, args, kwargs)
    parts = [function, settings, tuple(args), Attributes(kwargs, "")]
    return tokens.token(Node("call", parts, ("function", "settings", "args", ""))).hex()
