"""The workers of one job of `daskhpc.start(nodes=...)`: ``python -m daskhpc.cluster.job_worker`` in the job's script.

dask-jobqueue writes the command. What a node grants is known on the node alone, so "auto" is decided here.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask

from ..errors import EXIT_FAILED, DaskhpcError
from ..runtime import Runtime, Sourced, discover
from ..runtime.commands import with_end_time
from ..settings import Settings
from . import http_door
from .certificates import Identity
from .encryption import use_in_dask
from .environment import allow_open_files, check_directory, reduce_dask_polling, set_dask_log_level
from .logs import run_name, start_log
from .network import check_interface
from .plan import WORKER, RankPlan, plan_rank
from .quiet_end import drop_records_of_the_end
from .session import session
from .start_table import show_warnings
from .world import say

FIRST_RANK = 2
SETTINGS = (
    "nthreads",
    "processes",
    "memory_limit",
    "interface",
    "local_directory",
    "blas_threads",
    "headroom",
    "log_level",
    "logs",
)
"""The settings that the command carries if they were given: nothing depends on the environment of the login node."""


def plan_job(runtime: Runtime, settings: Settings, rank: int = FIRST_RANK) -> RankPlan:
    """Plan the workers of a job as one rank that has all of its node that was granted."""
    plan = plan_rank(runtime, settings, rank, (rank,))
    reaches = Sourced(settings.interface, settings.sources["interface"] if settings.interface else "reaches the login")
    return replace(plan, interface=reaches)


def plan_here(given: dict[str, Any]) -> tuple[RankPlan, Runtime]:
    """In a worker process: the plan of its job, and where it runs."""
    settings = Settings.resolve(given)
    runtime = with_end_time(discover(headroom=settings.headroom))
    return plan_job(runtime, settings), runtime


def main(argv: Sequence[str] | None = None) -> int:
    """Start the workers of this job, and wait until the cluster ends."""
    options = _parser().parse_args(argv)
    given = {name: value for name in SETTINGS if (value := getattr(options, name)) not in (None, "auto")}
    try:
        settings = Settings.resolve(given)
        problem = check_interface(settings.interface) or check_directory(settings.local_directory)
        runtime = discover(headroom=settings.headroom)
        problem = problem or start_log(settings.logs, run_name(runtime), WORKER)
        if problem is not None:
            raise problem
        plan = plan_job(runtime, settings)
        set_dask_log_level(settings.log_level)
        reduce_dask_polling()
        allow_open_files(plan.processes.value)
        drop_records_of_the_end()
        show_warnings((plan,))
        session.program_folder = options.program_folder
        # Nobody has to open the pages of these workers; the dashboard is the scheduler's.
        dask.config.set(http_door.worker_configuration(http_door.new_secret()))
        asyncio.run(_work(plan, options))
    except DaskhpcError as error:
        say(error)
        return EXIT_FAILED
    return 0


async def _work(plan: RankPlan, options: argparse.Namespace) -> None:
    from .workers import Nannies

    if options.tls_key:
        use_in_dask(_identity(options), WORKER)
    network = {"interface": plan.interface.value} if plan.interface.value else {}
    workers = Nannies(
        name=options.name,
        processes=plan.processes.value,
        blas_threads=plan.blas_threads.value,
        scheduler_ip=options.scheduler,
        nthreads=plan.nthreads.value,
        memory_limit=plan.memory_limit.value,
        local_directory=plan.local_directory.value,
        protocol=options.protocol,
        death_timeout=options.death_timeout,
        **network,
    )
    async with workers:
        await workers.finished()


def _identity(options: argparse.Namespace) -> Identity:
    """The key of the workers, which the login node has written into a folder of this user alone."""
    texts = [Path(path).read_text() for path in (options.tls_ca_file, options.tls_cert, options.tls_key)]
    return Identity(*texts)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("daskhpc.cluster.job_worker")
    parser.add_argument("scheduler")
    parser.add_argument("--name", required=True)
    parser.add_argument("--protocol")
    parser.add_argument("--death-timeout", type=float)
    parser.add_argument("--program-folder", default="")
    parser.add_argument("--tls-ca-file", default="")
    parser.add_argument("--tls-cert", default="")
    parser.add_argument("--tls-key", default="")
    for name in SETTINGS:
        parser.add_argument(f"--{name.replace('_', '-')}", dest=name)
    return parser


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # threads of Dask may still wait for a scheduler that is gone
