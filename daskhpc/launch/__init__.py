"""The submitting side: what to type, as pure functions, and one place that does it. Imports neither Dask nor MPI."""

from .lines import Allocation, Command, mpiexec_line, srun_line
from .replace import STDIN, replace_process

__all__ = ["STDIN", "Allocation", "Command", "mpiexec_line", "replace_process", "srun_line"]
