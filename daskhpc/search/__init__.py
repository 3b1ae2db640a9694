"""scikit-learn's own search classes, and sweeps of any function, run on a Dask cluster."""

from .classes import GridSearchCV, HalvingGridSearchCV, HalvingRandomSearchCV, RandomizedSearchCV
from .sweeps import sweep

__all__ = ["GridSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV", "RandomizedSearchCV", "sweep"]
