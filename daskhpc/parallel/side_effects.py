"""What a fit does besides: the warnings that it shows, the random numbers that it draws."""

from __future__ import annotations

import pickle
import random
import sys
import warnings
from typing import Any

import numpy as np


class SideEffects:
    """Within: notes the warnings that are shown, and whether a global generator of random numbers is drawn from.

    Attributes
    ----------
    warned : list[warnings.WarningMessage]
        The warnings, which are shown at the end.
    reproducible : bool
        Whether no random number was drawn.
    """

    def __init__(self) -> None:
        self.warned: list[warnings.WarningMessage] = []
        self.reproducible = True

    def __enter__(self) -> SideEffects:
        self._state = _generators()
        self._catch = warnings.catch_warnings(record=True)
        warned = self._catch.__enter__()
        assert warned is not None
        self.warned = warned
        return self

    def __exit__(self, *_: object) -> None:
        self._catch.__exit__(None, None, None)
        self.reproducible = self._state == _generators()
        for warning in self.warned:
            show(warning)


def show(warning: warnings.WarningMessage) -> None:
    """Show a warning that has passed the filters, as it was shown before."""
    warnings.showwarning(warning.message, warning.category, warning.filename, warning.lineno)


def _generators() -> tuple[Any, ...]:
    torch: Any = sys.modules.get("torch")
    drawn = torch.get_rng_state().numpy().tobytes() if hasattr(torch, "get_rng_state") else b""
    return random.getstate(), pickle.dumps(np.random.get_state(legacy=False)), drawn
