"""SciPy has what daskhpc.compat.scipy relies on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import interpolate

from daskhpc.compat.scipy import SPLINES, what_a_spline_is
from daskhpc.journal.tokens import token

X = np.linspace(0, 1, 9)


@pytest.mark.parametrize("name", SPLINES)
def test_a_spline_counts_by_its_data_and_not_by_unfilled_memory(name: str) -> None:
    kind = getattr(interpolate, name.rpartition(".")[2])

    def make(y: Any = X**2, **options: Any) -> Any:
        knots = {"t": [0.5]} if kind is interpolate.LSQUnivariateSpline else {}
        return kind(X, y, **knots, **options)

    assert f"{kind.__module__}.{kind.__qualname__}" == name
    plain = make()
    assert token(make()) == token(plain)
    others = [make(X**3), make(k=2), make(ext=1), plain.derivative()]
    assert len({token(each) for each in (plain, *others)}) == 5
    assert len(what_a_spline_is(plain)["_data"]) == 10
    for at in (8, 9, 11, 12):  # knots and coefficients, which stand elsewhere too, and room to work in
        if at < 10 or kind is not interpolate.LSQUnivariateSpline:
            assert plain._data[at].shape == plain._data[8].shape
            plain._data[at][plain._data[7] :] += 1
    assert token(plain) == token(make())
