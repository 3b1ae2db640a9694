"""scikit-learn's own search classes, run on a Dask cluster."""

from .classes import GridSearchCV, HalvingGridSearchCV, HalvingRandomSearchCV, RandomizedSearchCV
from .data import DataTooLargeError

__all__ = ["DataTooLargeError", "GridSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV", "RandomizedSearchCV"]
