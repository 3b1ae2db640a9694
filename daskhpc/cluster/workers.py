"""The worker side of a rank: Nannies, several of them when asked, that never run the user's script again."""

from __future__ import annotations

import asyncio
import multiprocessing.spawn
import os
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from distributed import Nanny

CAP_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
_WORKER_PROCESS = "Dask Worker process"


def caps(threads: int) -> dict[str, str]:
    """The environment that caps BLAS and OpenMP libraries at `threads`."""
    return dict.fromkeys(CAP_VARIABLES, str(threads))


class CappedNanny(Nanny):  # type: ignore[misc]
    """A Nanny whose worker process has its BLAS caps before NumPy is imported, and leaves ``__main__`` alone.

    Parameters
    ----------
    blas_threads : int
        BLAS and OpenMP threads of the worker process.
    **options
        Those of ``distributed.Nanny``.
    """

    def __init__(self, *args: Any, blas_threads: int = 1, **options: Any) -> None:
        super().__init__(*args, **options)
        leave_main_alone()
        self.pre_spawn_env.update(_least(caps(blas_threads)))
        self.env.update(self.pre_spawn_env)

    async def instantiate(self) -> Any:
        """Start the worker process; the caps meant for it do not stay in this process."""
        before = {name: os.environ.get(name) for name in self.pre_spawn_env}
        try:
            return await super().instantiate()
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def _least(limits: Mapping[str, str]) -> dict[str, str]:
    """The caps, lowered where the user's own environment asks for fewer threads."""

    def least(name: str, limit: str) -> str:
        asked = os.environ.get(name, "")
        return asked if asked.isdigit() and 0 < int(asked) < int(limit) else limit

    return {name: least(name, limit) for name, limit in limits.items()}


class Nannies:
    """The worker processes of one rank, each kept by a Nanny: a ``worker_class`` for dask_mpi.initialize.

    Parameters
    ----------
    name : int or str
        Name of the rank; with several processes they are called ``name-0``, ``name-1`` and so on.
    processes : int
        How many worker processes.
    **options
        Those of `CappedNanny`, for each of them.
    """

    def __init__(self, *, name: int | str, processes: int = 1, **options: Any) -> None:
        names = [name] if processes == 1 else [f"{name}-{i}" for i in range(processes)]
        self.nannies = [CappedNanny(name=one, **options) for one in names]

    async def __aenter__(self) -> Nannies:
        await asyncio.gather(*self.nannies)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(nanny.close() for nanny in self.nannies))

    async def finished(self) -> None:
        """Wait until every Nanny has closed."""
        await asyncio.gather(*(nanny.finished() for nanny in self.nannies))


def leave_main_alone() -> None:
    """Keep Dask's worker processes from importing the user's script, which is why it needs no guard.

    ``multiprocessing`` tells a spawned process to import the parent's ``__main__``; that is right for the user's own
    processes and wrong for a worker, to which functions of ``__main__`` travel by value.
    """
    original = multiprocessing.spawn.get_preparation_data
    if getattr(original, "leaves_main_alone", False):
        return

    def get_preparation_data(name: str) -> dict[str, Any]:
        data = original(name)
        if name.startswith(_WORKER_PROCESS):
            data.pop("init_main_from_path", None)
            data.pop("init_main_from_name", None)
        return data

    get_preparation_data.leaves_main_alone = True  # type: ignore[attr-defined]
    multiprocessing.spawn.get_preparation_data = get_preparation_data
