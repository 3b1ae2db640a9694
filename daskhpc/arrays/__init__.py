"""Dask arrays: chunks that suit this cluster, random numbers, Zarr, HDF5 and npy stacks.

Zarr and HDF5 come with ``pip install 'daskhpc[files]'``.
"""

from __future__ import annotations

from .chunks import auto_chunks
from .files import open_array, save_array
from .random_numbers import random

__all__ = ["auto_chunks", "open_array", "random", "save_array"]
