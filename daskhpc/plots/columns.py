"""A parameter's values as numbers that can be drawn: its own, or places among its labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LONGEST_TEXT = 24
NOT_SET = "not set"


@dataclass(frozen=True, eq=False)
class Column:
    """One parameter over all candidates.

    Parameters
    ----------
    full : str
        Its name as scikit-learn or the sweep has it, ``svc__C``.
    name : str
        Its name in the picture, ``C``.
    numbers : numpy.ndarray of float
        The value of each candidate, NaN where it has none; for a categorical parameter its place in `labels`.
    labels : tuple of str
        The texts of a categorical parameter's values; empty for a numeric one.
    """

    full: str
    name: str
    numbers: Floats
    labels: tuple[str, ...] = ()

    @property
    def numeric(self) -> bool:
        """Whether its values are numbers."""
        return not self.labels

    @cached_property
    def distinct(self) -> Floats:
        """Its different values in order, without the missing ones."""
        return np.unique(self.numbers[~np.isnan(self.numbers)])

    @property
    def varies(self) -> bool:
        """Whether candidates differ in it; one that only some of them have counts."""
        return len(self.distinct) + bool(np.isnan(self.numbers).any()) > 1

    def text(self, number: float) -> str:
        """One of its values for people."""
        if math.isnan(number):
            return NOT_SET
        return short_text(self.labels[int(number)]) if self.labels else number_text(number)

    def take(self, rows: NDArray[np.intp]) -> Column:
        """The same parameter for some of the candidates."""
        return Column(self.full, self.name, self.numbers[rows], self.labels)


def columns_of(values: dict[str, Sequence[Any]]) -> tuple[Column, ...]:
    """Columns of parameters by full name; NaN is a value that is missing."""
    names = short_names(list(values))
    return tuple(_column(full, names[full], column) for full, column in values.items())


def _column(full: str, name: str, values: Sequence[Any]) -> Column:
    present = [value for value in values if not is_missing(value)]
    if present and all(isinstance(v, Real) and not isinstance(v, bool) and math.isfinite(v) for v in present):
        return Column(full, name, np.array([math.nan if is_missing(v) else float(v) for v in values]))
    texts = [NOT_SET if is_missing(value) else value_text(value) for value in values]
    numbers = {value_text(v): float(v) for v in present if isinstance(v, Real) and not isinstance(v, bool)}
    others = sorted(dict.fromkeys(texts), key=NOT_SET.__eq__)
    order = dict.fromkeys([*sorted(numbers, key=numbers.__getitem__), *others])
    place = {text: float(index) for index, text in enumerate(order)}
    return Column(full, name, np.array([place[text] for text in texts]), tuple(order))


def is_missing(value: Any) -> bool:
    """Whether a candidate has no value: scikit-learn masks it, pandas makes it NaN; None is a value."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isnan(value)


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Each name without the steps in front of it, ``svc__C`` as ``C``, as far as the rest is no other's too."""
    parts = {name: name.split("__") for name in names}

    def shortest(name: str) -> str:
        own = parts[name]
        for length in range(1, len(own)):
            tail = own[-length:]
            if tail[0] and sum(other[-length:] == tail for other in parts.values()) == 1:
                return "__".join(tail)
        return name

    return {name: shortest(name) for name in parts}


def value_text(value: Any) -> str:
    """A value of a categorical parameter in one line."""
    if callable(value) and hasattr(value, "__name__"):
        return str(value.__name__)
    return " ".join(str(value).split())


def short_text(text: str, longest: int = LONGEST_TEXT) -> str:
    """A text that is not too long to stand at an axis."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def number_text(number: float) -> str:
    """A number with three digits, or the whole part of a greater one."""
    if (float(number).is_integer() or abs(number) >= 1e3) and abs(number) < 1e5:
        return f"{number:.0f}"
    return f"{number:.3g}"


def even_texts(numbers: Floats) -> list[str]:
    """Ticks with as many decimals as the one that needs most."""
    for decimals in range(5):
        if np.allclose(numbers, np.round(numbers, decimals), rtol=0, atol=10.0 ** -(decimals + 4)):
            return [f"{number:.{decimals}f}" for number in numbers]
    return [number_text(number) for number in numbers]
