"""Reads the machine and changes nothing: scheduler, ranks, CPUs, memory, network, scratch."""

from .discover import discover
from .memory import spare_memory
from .model import Grant, Runtime, Sourced, shared_cpus, shared_memory
from .mpi import MPILibrary, parse_library_version, process_manager

__all__ = [
    "Grant",
    "MPILibrary",
    "Runtime",
    "Sourced",
    "discover",
    "parse_library_version",
    "process_manager",
    "shared_cpus",
    "shared_memory",
    "spare_memory",
]
