"""Dataframes from files whose column types are settled before anything is computed; partitions and time series."""

from __future__ import annotations

from .csv_reader import column_types, read_csv
from .json_lines import read_json_lines
from .parquet_reader import read_parquet
from .partitions import fit_partitions
from .plotting import plot_time
from .resampling import resample

__all__ = ["column_types", "fit_partitions", "plot_time", "read_csv", "read_json_lines", "read_parquet", "resample"]
