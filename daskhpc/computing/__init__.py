"""dask.compute and dask.persist with progress, and with the figures of the run kept."""

from .figures import Figures, Tasks
from .running import compute, last, persist

__all__ = ["Figures", "Tasks", "compute", "last", "persist"]
