"""xarray over many files: opened in parallel, chunked for this cluster, and reduced to climatologies.

NetCDF, HDF5 and Zarr come with ``pip install 'daskhpc[files]'``.
"""

from __future__ import annotations

from .climate import anomalies, climatology
from .example_files import make_air_temperature
from .opening import open_dataset

__all__ = ["anomalies", "climatology", "make_air_temperature", "open_dataset"]
