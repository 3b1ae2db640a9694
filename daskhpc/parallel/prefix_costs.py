"""Whether sharing a kind of fit pays."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass
class SharingCosts:
    """What sharing brought for one kind of transformer and size of input; seconds."""

    fits: int = 0
    kept: int = 0
    fitted: float = 0.0
    balance: float = 0.0
    fastest: float = math.inf
    price: float = math.inf

    def worthwhile(self) -> bool:
        """Whether to go on: from the second fit on only if a fit costs more than looking it up."""
        if (self.fits >= 2 and self.kept and self.fastest < self.price) or (self.fits >= 4 and not self.kept):
            return False
        return self.fits < 64 or self.balance > -self.fitted / 20


def kind_of(value: Any) -> Any:
    """An estimator's class and the magnitudes of its parameters: what its cost depends on."""
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, (int, float)):
        return math.frexp(value)[1]
    if isinstance(value, (list, tuple)) and len(value) <= 32:
        return tuple(map(kind_of, value))
    if hasattr(value, "get_params") and not isinstance(value, type):
        return (type(value), *map(kind_of, vars(value).values()))
    return getattr(value, "__qualname__", type(value))


def size_of(X: Any) -> tuple[Any, ...]:
    shape = (*getattr(X, "shape", (len(X) if isinstance(X, list) else 0,)), getattr(X, "nnz", 0))
    return (type(X), *(int(n).bit_length() for n in shape))
