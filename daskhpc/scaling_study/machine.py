"""On what machine a scaling study was made."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path

from .measuring import StudyWorker

_CPUS = Path("/proc/cpuinfo")
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def describe_machine(workers: Sequence[StudyWorker]) -> dict[str, str]:
    """What times can be compared by: the processor, the clock's policy, releases, and threads of a worker.

    Parameters
    ----------
    workers : sequence of StudyWorker

    Returns
    -------
    dict of str to str
        Not the number of workers or of nodes: a study may go on with more of them.
    """
    import dask
    import numpy as np

    threads = sorted({worker.threads for worker in workers})
    return {
        "cpu": cpu_model(_read(_CPUS)) or platform.processor() or platform.machine(),
        "governor": _read(_GOVERNOR).strip() or "unknown",
        "threads per worker": " or ".join(map(str, threads)),
        "python": platform.python_version(),
        "dask": dask.__version__,
        "numpy": np.__version__,
    }


def cpu_model(cpuinfo: str) -> str:
    """The processor's name from the text of ``/proc/cpuinfo``; empty if it has none.

    Examples
    --------
    >>> cpu_model("processor : 0\\nmodel name : A processor @ 2.50GHz\\n")
    'A processor @ 2.50GHz'
    """
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return ""


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
