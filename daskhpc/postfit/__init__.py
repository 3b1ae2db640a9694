"""Models fitted on what fits a node, applied block by block to Dask collections of any size."""

from .incremental import Incremental
from .parallel_post_fit import ParallelPostFit

__all__ = ["Incremental", "ParallelPostFit"]
