"""The client of a cluster whose workers are jobs: from the first wait in the queue to the end of the program."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import dask

from ..cluster.client import dashboard_of
from ..cluster.encryption import use_in_dask
from ..cluster.ending import close_local, close_with_program
from ..cluster.environment import (
    interactive,
    limit_worker_deaths_per_task,
    reduce_dask_polling,
    set_dask_log_level,
    suit_chunks,
)
from ..cluster.http_door import new_secret
from ..cluster.job_worker import FIRST_RANK, plan_here
from ..cluster.logs import run_name, start_log
from ..cluster.plan import CLIENT, RankPlan, plan_rank
from ..cluster.quiet_end import drop_records_of_the_end
from ..cluster.session import ClusterMember, session
from ..cluster.start_table import StartTable, show, show_warnings
from ..cluster.timelimit import watch_time_limit
from ..cluster.world import say
from ..compat.distributed import hear_workers_before_counting_them_silent
from ..errors import EXIT_FAILED, DaskhpcError, StartError
from ..launch.job_query import ListedJob
from ..launch.jobs_text import job_lines, near, state_words
from ..launch.log_text import first_traceback
from ..runtime import Runtime, Sourced, discover
from ..settings import Settings
from ..text import counted, one_line
from .job_cluster import SubmittedWorkers, given_settings, start_jobs, workers_per_job

_POLL_SECONDS, _LOOK_SECONDS, _QUEUE_SECONDS = 0.05, 2.0, 5.0
_LOOKS = 3


def client_of_jobs(arguments: dict[str, object], job: dict[str, Any], profile: str | None) -> Any:
    """The client of a cluster whose workers are jobs, once all of them are there."""
    from distributed import Client

    if session.member is not None and session.member.world is not None:
        options = ", ".join(f"{name}={value!r}" for name, value in job.items())
        say(
            StartError(
                "start() was asked to submit jobs, and this program runs on the ranks of a cluster.",
                f"{len(session.member.plans)} ranks, and start({options})",
                "daskhpc.start() without these, or python script.py on a login node",
            )
        )
        raise SystemExit(EXIT_FAILED)
    settings = Settings.resolve(arguments)
    set_dask_log_level(settings.log_level)
    reduce_dask_polling()
    limit_worker_deaths_per_task()
    drop_records_of_the_end()
    runtime = discover(headroom=settings.headroom)
    problem = start_log(settings.logs, run_name(runtime), CLIENT)
    if problem is not None:
        raise problem
    secret = new_secret()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Port .* is already in use")
        cluster, sent, encryption = start_jobs(runtime, settings, job, profile, secret)
    end_on_signals()
    session.local = cluster
    close_with_program()
    hear_workers_before_counting_them_silent(cluster.scheduler)
    try:
        client = Client(cluster)
        dask.config.set(scheduler_address=cluster.scheduler_address)
        use_in_dask(encryption.identity, CLIENT)  # for clients that the program, or a library, makes
        wait_for_jobs(client, sent, settings)
    except BaseException:
        close_local()
        raise
    table = table_of_jobs(client, sent, runtime, settings)
    session.member = ClusterMember(table.runtime, settings, tuple(table.plans), secret=secret, encryption=encryption)
    suit_chunks(table.plans)
    show_warnings(table.plans)
    show(replace(table, dashboard=dashboard_of(client, session.member), protocol=encryption.protocol))
    watch_time_limit(table.runtime.end_time, settings.time_margin)
    end_with_jobs(cluster, sent, _end_program)
    return client


def _end_program(error: DaskhpcError) -> None:
    """From a thread: end the program with a message; a person who types at it gets the message alone."""
    say(error)
    if not interactive():
        os._exit(EXIT_FAILED)


def wait_for_jobs(client: Any, sent: SubmittedWorkers, settings: Settings) -> None:
    """Wait until all workers of all jobs are there; a job may wait in the queue for as long as it has to.

    Raises
    ------
    StartError
        If a job ended before its workers came, or if they did not come in time after it began.
    LaunchError
        If a job was refused.
    """
    wanted = sent.jobs.count * workers_per_job(sent.jobs, settings)
    asked, looked, said, running = time.monotonic(), 0.0, "", dict[str, float]()
    while len(client.ncores()) < wanted:
        time.sleep(_POLL_SECONDS)
        if sent.problem is not None:
            raise sent.problem
        if time.monotonic() - looked < _LOOK_SECONDS:
            continue
        looked = time.monotonic()
        states, complete = sent.states(), _complete_jobs(client.cluster, workers_per_job(sent.jobs, settings))
        for job in states:
            if job.report.state.ended:
                raise _ended_early(job)
            # Without an answer of the scheduler it may still be waiting.
            if job.report.state.waiting or job.silence or job.submitted.id in complete:
                running.pop(job.submitted.id, None)
            elif looked - running.setdefault(job.submitted.id, looked) > settings.worker_deadline:
                raise _late(job, settings.worker_deadline)
        waiting = [job for job in states if job.report.state.waiting]
        words = ", ".join(f"{job.submitted.id} {job.report.reason}".strip() for job in waiting)
        if waiting and words != said and looked - asked > _QUEUE_SECONDS:
            said = words
            lines = job_lines(waiting[0], time.time(), 0)
            say("waiting for jobs:\n" + "\n".join(f"  {line}" for line in lines))


def _complete_jobs(cluster: Any, processes: int) -> set[str]:
    """The ids of the jobs whose worker processes, so many of each, are all there."""
    names = [str(worker.name) for worker in list(cluster.scheduler.workers.values())]
    return {
        job.job_id
        for own, job in list(cluster.workers.items())
        if sum(name == str(own) or name.startswith(f"{own}-") for name in names) >= processes
    }


def _ended_early(job: ListedJob) -> StartError:
    return StartError(
        "A job ended before its workers came.",
        f"job {job.submitted.id}: {state_words(job.report)}; {_last_words(job)}",
        f"daskhpc logs {job.submitted.id}",
    )


def _late(job: ListedJob, deadline: float) -> StartError:
    return StartError(
        f"The workers of a job did not come within {deadline:g} s after it began.",
        f"job {job.submitted.id}: {_last_words(job)}",
        f"daskhpc logs {job.submitted.id}; worker_deadline=300 to wait longer",
    )


def _last_words(job: ListedJob) -> str:
    """The last line of a job's first traceback, or of its log."""
    path = job.folder / job.submitted.log.replace("%j", job.submitted.id)
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return f"no log {near(path)}"
    lines = (first_traceback(text) or text).strip().splitlines()
    return one_line(lines[-1])[:200] if lines else f"an empty log {near(path)}"


def table_of_jobs(client: Any, sent: SubmittedWorkers, runtime: Runtime, settings: Settings) -> StartTable:
    """The start table: the scheduler and the program here, and of each job what its node granted."""
    seen: dict[str, tuple[RankPlan, Runtime]] = {}
    given = given_settings(sent.jobs, settings)
    for plan, there in client.run(plan_here, given).values():
        seen[there.job.value or plan.host] = plan, there
    address = urlsplit(client.scheduler.address)
    own = Sourced(address.hostname, "reaches the batch system")
    plans = [replace(plan_rank(runtime, settings, rank, (0, 1)), interface=own, warnings=()) for rank in (0, 1)]
    ordered = sorted(seen.items())
    plans += [replace(plan, rank=FIRST_RANK + number) for number, (_, (plan, _)) in enumerate(ordered)]
    runtimes = [there for _, (_, there) in ordered]
    ends = [there.end_time for there in runtimes if there.end_time.value is not None]
    whole = replace(
        runtime,
        world_size=Sourced(len(plans), counted(sent.jobs.count, "job")),
        nodes=Sourced(tuple(plan.host for plan in plans[FIRST_RANK:]), "the jobs"),
        end_time=min(ends, key=lambda end: end.value or 0.0) if ends else runtime.end_time,
    )
    remark = f"jobs {sent.ids}; daskhpc jobs lists them, daskhpc logs JOB shows what they print"
    return StartTable(tuple(plans), whole, None, remark)


def end_with_jobs(cluster: Any, sent: SubmittedWorkers, end: Callable[[DaskhpcError], None]) -> None:
    """From now on: when every job has ended, the program ends, since it would wait for workers for ever.

    Parameters
    ----------
    cluster : dask_jobqueue.JobQueueCluster
    sent : SubmittedWorkers
    end : Callable[[DaskhpcError], None]
        Ends the program, or tells the person who types at it.
    """

    def watch() -> None:
        looks = 0  # in a row without a job: `adapt` may be about to submit one
        while cluster.status.name == "running":
            time.sleep(_LOOK_SECONDS)
            idle = not cluster.scheduler.workers and cluster.worker_spec and not sent.under_way
            states = sent.states() if idle and cluster.status.name == "running" else []
            looks = looks + 1 if states and all(job.over for job in states) else 0
            if looks == _LOOKS:
                words = "; ".join(f"job {job.submitted.id}: {state_words(job.report)}" for job in states)
                happened = "Every job of the cluster has ended, so the program ends."
                return end(StartError(happened, words, "a longer time=...; a checkpoint keeps what was computed"))

    threading.Thread(target=watch, name="daskhpc-jobs", daemon=True).start()


def end_on_signals() -> None:
    """Let the end of a session, and a plain ``kill``, end the program in order, so that no job stays behind."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, lambda number, _: sys.exit(128 + number))
