"""GPUs of this process."""

from __future__ import annotations

from .model import Sourced
from .reading import Reader

_SLURM = ("SLURM_STEP_GPUS", "SLURM_JOB_GPUS")
_VISIBLE = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")
_NONE = {"-1", "NoDevFiles", "void", "none"}


def read_gpus(reader: Reader, scheduler: str) -> Sourced[tuple[str, ...]]:
    """The GPUs granted to this process, named as what says so names them.

    Parameters
    ----------
    reader : Reader
        The node.
    scheduler : str
        ``"slurm"``, ``"pbspro"``, ``"torque"`` or ``"none"``.

    Returns
    -------
    Sourced[tuple[str, ...]]
        Slurm's list, or the visible devices where those are fewer (a task's part of it). In a Slurm job that was
        granted none, none, whatever the node holds.
    """
    granted = next((_listed(reader, name) for name in _SLURM if reader.variable(name)), None)
    visible = next((_listed(reader, name) for name in _VISIBLE if name in reader.env), None)
    if granted is not None and visible is not None and len(visible.value) < len(granted.value):
        return visible
    if granted is not None or visible is not None:
        return granted or visible or Sourced((), "")
    if scheduler == "slurm":
        return Sourced((), "none granted")
    found = reader.names("/proc/driver/nvidia/gpus")
    return Sourced(found, "/proc/driver/nvidia/gpus") if found else Sourced((), "none found")


def _listed(reader: Reader, name: str) -> Sourced[tuple[str, ...]]:
    items = (item.strip() for item in reader.env[name].split(","))
    return Sourced(tuple(item for item in items if item and item not in _NONE), name)
