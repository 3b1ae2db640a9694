"""Starts programs as ranks: command lines as pure functions, and one module that becomes the launcher."""

from .command_lines import Allocation, Command, mpiexec_line, srun_line
from .exec_launcher import STDIN, replace_process

__all__ = ["STDIN", "Allocation", "Command", "mpiexec_line", "replace_process", "srun_line"]
