"""dask-jobqueue: imported without what its import does beside, and its Job with another way to submit and to cancel."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import dask


def jobqueue_class(name: str) -> Any:
    """One of dask-jobqueue's classes, such as ``SLURMCluster``.

    Raises
    ------
    ImportError
        If dask-jobqueue is not installed.
    """
    with _without_effects():
        import dask_jobqueue
        import dask_jobqueue.pbs
        import dask_jobqueue.slurm
    if name.endswith("Job"):
        return getattr(dask_jobqueue.slurm if name.startswith("SLURM") else dask_jobqueue.pbs, name)
    return getattr(dask_jobqueue, name)


@contextlib.contextmanager
def _without_effects() -> Iterator[None]:
    """Keep this process's answer to Ctrl-C, and the user's folder of Dask's configuration, as they are.

    The import sets a handler of SIGINT that ends the process (of its runners, which are not used here), and writes a
    file with comments alone, ``jobqueue.yaml``.
    """
    before = signal.getsignal(signal.SIGINT)
    ensure_file = dask.config.ensure_file
    dask.config.ensure_file = lambda *args, **options: None
    try:
        yield
    finally:
        dask.config.ensure_file = ensure_file
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)


def worker_job_class(base: Any, submit: Callable[[str], str], cancel: Callable[[str], None], options: Any) -> Any:
    """A Job of dask-jobqueue that is submitted and ended by other functions.

    Parameters
    ----------
    base : type
        ``SLURMJob`` or ``PBSJob``.
    submit : Callable[[str], str]
        Submits the text of a script and returns the job's id, which may be empty; it runs in a thread, and must not
        raise.
    cancel : Callable[[str], None]
        Ends a job.
    options : tuple[str, str]
        What the command of the workers gets as ``--nthreads`` and ``--memory-limit``.

    Notes
    -----
    Why it is so: dask-jobqueue's own takes the first digits of what sbatch prints for the id, runs it with all
    variables of the outer job, and its errors go to the log of the event loop, not to the user.
    """
    from distributed.deploy.spec import ProcessInterface

    class WorkerJob(base):  # type: ignore[misc]
        worker_process_threads, worker_process_memory = options

        async def start(self) -> None:
            """Submit the job; it may begin later."""
            self.job_id = await asyncio.to_thread(submit, self.job_script())
            await ProcessInterface.start(self)

        async def close(self) -> None:
            """End the job; without a thread, since none can be started when the program is at its end."""
            if self.job_id:
                cancel(self.job_id)
            await ProcessInterface.close(self)

    return WorkerJob
