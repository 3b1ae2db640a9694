"""Models fitted on what fits a node, applied block by block to Dask collections of any size."""

from .incremental import Incremental
from .wrappers import ParallelPostFit

__all__ = ["Incremental", "ParallelPostFit"]
