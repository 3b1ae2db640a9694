"""What daskhpc needs of SciPy beyond its public names. Importing this imports no SciPy."""

from __future__ import annotations

from typing import Any

SPLINES = tuple(
    f"scipy.interpolate._fitpack2.{name}"
    for name in ("UnivariateSpline", "InterpolatedUnivariateSpline", "LSQUnivariateSpline")
)
"""The classes of splines of one variable. One of the first becomes one of the others by its fit."""

_FITTED = (0, 1, 2, 3, 4, 5, 6, 7, 10, 13)  # x, y, w, xb, xe, k, s, n, fp and ier of what a fit leaves


def what_a_spline_is(spline: Any) -> dict[str, Any]:
    """What was fitted, the knots and the coefficients of a spline of one variable, and other attributes.

    Why not its pickle: that has arrays that are longer than what the fit puts into them. The rest is as the memory was.
    """
    state = dict(vars(spline))
    knots, coefficients, degree = state["_eval_args"]
    state["_eval_args"] = [knots, coefficients[: len(knots) - degree - 1], degree]
    state["_data"] = [spline._data[at] for at in _FITTED]
    return state
