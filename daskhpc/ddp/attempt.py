"""One attempt of a training, on the client's loop: reserve workers, go, listen to all ranks, know how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..clients import ask_workers
from ..errors import WORKER_EXIT_TOPIC, TrainingError
from ..parallel import program_world
from ..runtime.blas_threads import omp_threads
from ..text import counted, duration
from . import rank_task
from .places import RankPlace, WorkerPlace, choose, chosen_variables, torch_backend, unused_gpus
from .rank_failures import RankFailure, RankStack, first_cause, primary

_CAUSE_SECONDS = 2.0
_EARLIER_SECONDS = 0.25
_END_SECONDS = 10.0
_CHECK_SECONDS = 3.0
_GIVE_BACK_SECONDS = 5.0
_LOST_SECONDS = 2.0
_LAST_WORDS_SECONDS = 3.0
_PRIORITY = 1000


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """What `train` was asked for, checked; times in seconds."""

    world_size: int | None
    backend: str
    threads: int | None
    checkpoint: Path | None
    keep: int
    max_restarts: int
    timeout: float
    start_timeout: float
    env: dict[str, str | None]


@dataclass(slots=True)
class Attempt:
    """One attempt of a training.

    Attributes
    ----------
    told : callable
        Gets every message of a rank.
    failures : list of RankFailure
    failure : RankFailure or None
        The first cause, once the attempt has failed.
    """

    client: Any
    training: str
    options: TrainingOptions
    payload: bytes
    told: Callable[[dict[str, Any]], None]
    restarts: int = 0
    resume: Path | None = None
    ranks: list[RankPlace] = field(default_factory=list)
    failures: list[RankFailure] = field(default_factory=list)
    failure: RankFailure | None = None
    stacks: list[RankStack] = field(default_factory=list)
    saved: bool = False
    steps: int = 0
    _said: dict[str, set[int]] = field(default_factory=dict)
    _votes: dict[int, dict[int, dict[str, Any]]] = field(default_factory=dict)
    _doubted: set[int] = field(default_factory=set)  # ranks whose worker does not answer now
    _over: bool = False
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _futures: list[Any] = field(default_factory=list)
    _listening: list[asyncio.Task[None]] = field(default_factory=list)
    _reserved: list[str] = field(default_factory=list)

    async def run(self) -> list[bytes] | None:
        """Run it to its end.

        Returns
        -------
        list of bytes or None
            The pickled values of all ranks; None if they stopped at the same step, or if `failure` has the cause.

        Raises
        ------
        SettingsError, TrainingError
            If the ranks could not begin.
        """
        workers = await self._workers()
        self.ranks = choose(workers, self.options.world_size, self.options.backend)
        unused = unused_gpus(workers, self.ranks) if self.options.world_size is None else ""
        if unused:
            self.told({"kind": "note", "text": unused})
        try:
            await self._reserve()
            await self._gang()
            await self._go()
            return await self._watch()
        finally:
            await self._give_back()

    async def _workers(self) -> list[WorkerPlace]:
        """All workers, that of a lost one's replacement included, as far as one is awaited."""
        deadline = time.monotonic() + (self.options.start_timeout if self.restarts else 0)
        while True:
            asked = self.client.run(rank_task.describe, on_error="ignore")
            try:
                answers = (await asyncio.wait_for(asked, self.options.start_timeout)).values()
            except TimeoutError:
                raise TrainingError(
                    "The workers do not answer.",
                    f"no answer within {duration(self.options.start_timeout)}",
                    "look at the workers' logs",
                ) from None
            found = list({place.process: place for place in answers}.values())  # several may be in one process
            if len(found) >= (self.options.world_size or 1) or time.monotonic() > deadline:
                return found
            await asyncio.sleep(0.2)

    async def _reserve(self) -> None:
        """Reserve the workers one by one, in the order that all trainings keep, so that none waits in a ring."""
        for address in sorted(rank.worker.address for rank in self.ranks):
            self._reserved.append(address)  # at once: the answer may not come
            while await self._on(address, rank_task.reserve, self.training, self.client.id):
                pass

    async def _gang(self) -> None:
        """Begin a task on each worker, and wait until all hold a thread."""
        addresses = [rank.worker.address for rank in self.ranks]
        (payload,) = await self.client.scatter([self.payload], workers=addresses[:1], hash=False)
        for rank in self.ranks:
            self._futures.append(
                self.client.submit(
                    rank_task.hold,
                    self.training,
                    rank.rank,
                    payload,
                    key=f"ddp-rank-{self.training}-{rank.rank}",
                    workers=[rank.worker.address],
                    allow_other_workers=False,
                    pure=False,
                    retries=0,
                    priority=_PRIORITY,
                )
            )
        self._listening = [asyncio.create_task(self._listen(rank)) for rank in self.ranks]
        deadline = time.monotonic() + self.options.start_timeout  # another training may have had the workers until now
        while len(self._of("here")) < len(self.ranks):
            left = deadline - time.monotonic()
            if left <= 0 or self.failures:
                raise await self._not_all_here()
            await self._wait(left)

    async def _not_all_here(self) -> TrainingError:
        missing = [rank for rank in self.ranks if rank.rank not in self._of("here")]
        lost = {failure.rank: failure.text for failure in self.failures}
        processing = await self.client.scheduler.processing(workers=[rank.worker.address for rank in missing])
        texts = []
        for rank in missing[:4]:
            name = f"worker {rank.worker.name} on {rank.worker.hostname} ({rank.worker.address})"
            keys = [str(key) for key in processing.get(rank.worker.address, ()) if not str(key).startswith("ddp-rank-")]
            doing = f"is busy with {', '.join(keys[:3])}" if keys else "does not begin the task"
            texts.append(f"{name} {lost.get(rank.rank) or doing}")
        return TrainingError(
            f"Only {len(self._of('here'))} of {counted(len(self.ranks), 'rank')} could begin within "
            f"{duration(self.options.start_timeout)}.",
            "; ".join(texts),
            "wait for these tasks or cancel them, a smaller world_size, or a longer start_timeout",
        )

    async def _go(self) -> None:
        options = self.options
        backend = torch_backend(options.backend, self.ranks)
        settings = {
            "checkpoint": str(options.checkpoint) if options.checkpoint else None,
            "resume": str(self.resume) if self.resume else None,
            "keep": options.keep,
            "restarts": self.restarts,
            "timeout": options.timeout,
        }
        world = program_world.capture()
        env = chosen_variables(program_world.variables(), options.threads, options.env)
        orders = [
            {
                "do": "start",
                "rank": rank.rank,
                "host": rank.worker.host,
                "place": rank,
                "training": self.training,
                "threads": options.threads or omp_threads(env).value or rank.worker.threads,
                "timeout": options.timeout,
                "backend": backend,
                "env": env,
                "restarts": (self.restarts, options.max_restarts),
                "world": world,
                "argv": sys.argv[:1] or [""],
                "settings": settings,
            }
            for rank in self.ranks
        ]
        await asyncio.gather(*(self._tell(rank, order) for rank, order in zip(self.ranks, orders, strict=True)))

    async def _watch(self) -> list[bytes] | None:
        while True:
            for task in filter(asyncio.Task.done, self._listening):
                task.result()  # or why what a rank printed cannot be written, or that the scheduler is gone
            if self.failures:
                await self._settle()
                return None
            if len(self._of("stopped")) == len(self.ranks):
                await self._tell_all({"do": "bye"})
                await self._until_ended(_END_SECONDS)
                return None
            if len(self._of("done")) == len(self.ranks):
                await self._tell_all({"do": "bye"})
                try:
                    return list(await asyncio.wait_for(self.client.gather(self._futures), self.options.timeout))
                except Exception as error:
                    lost = RankFailure(0, "", "worker", time.time_ns(), f"its value could not be fetched: {error}")
                    self.failures.append(lost)
                    continue
            await self._wait(_CHECK_SECONDS)

    async def _settle(self) -> None:
        """Know the first cause, now that something has failed."""
        began = time.monotonic()
        while primary(self.failures) is None:
            # That a worker is lost is known seconds after its rank's connections to others were lost.
            if time.monotonic() - began > (_GIVE_BACK_SECONDS if self._doubted else _CAUSE_SECONDS):
                break
            await self._wait(0.1)
        if primary(self.failures) is not None:
            await asyncio.sleep(_EARLIER_SECONDS)  # a failure that came before it may still be on its way
        else:
            failed = {failure.rank for failure in self.failures if failure.kind != "hang"} | self._of("done")
            living = [rank for rank in self.ranks if rank.rank not in failed]
            asked = (self._on(rank.worker.address, rank_task.stack_of, self.training) for rank in living)
            # Not for the 30 s that Dask tries to reach a worker whose loss is not known yet.
            limited = (asyncio.wait_for(each, _END_SECONDS) for each in asked)
            stacks = await asyncio.gather(*limited, return_exceptions=True)
            self.stacks = [stack for stack in stacks if isinstance(stack, RankStack)]
        self.failure = first_cause(self.failures, self.stacks)

    async def stop(self, seconds: float) -> bool:
        """Have all ranks stop before the same batch and save; whether they did within some seconds."""
        end = time.monotonic() + seconds
        step, ahead = self.steps + 1, 1
        while time.monotonic() < end and self.ranks and not self.failures:
            self._votes[step] = {}
            await self._tell_all({"do": "propose", "step": step})
            while len(votes := self._votes[step]) < len(self.ranks) and time.monotonic() < end and not self.failures:
                await self._wait(end - time.monotonic())
            if len(votes) == len(self.ranks) and all(vote["free"] for vote in votes.values()):
                await self._tell_all({"do": "agree", "step": step})
                while len(self._of("stopped")) < len(self.ranks) and time.monotonic() < end and not self.failures:
                    await self._wait(end - time.monotonic())
                return len(self._of("stopped")) == len(self.ranks)
            await self._tell_all({"do": "withdraw"})
            ahead *= 2  # until the ranks take longer to get there than the message does
            step = max([step, *(vote["at"] for vote in votes.values())]) + ahead
        return False

    async def _listen(self, rank: RankPlace) -> None:
        """Take what a rank's worker tells, until it is lost; an error here ends the attempt."""
        address, lost_at, heard = rank.worker.address, 0, 0
        while not self._over:
            asked = asyncio.ensure_future(self._on(address, rank_task.poll, self.training, heard, lost_at > 0))
            try:
                while not (await asyncio.wait([asked], timeout=_LOST_SECONDS if lost_at else _CHECK_SECONDS))[0]:
                    # A silent node never answers; the scheduler is the first to notice.
                    if lost_at or address not in await self.client.scheduler.ncores():
                        raise OSError("it does not answer, or the scheduler has given it up")
                told = asked.result()
                if told is None:
                    raise OSError("the worker process was started again")
            except Exception:
                asked.cancel()
                if self._over:
                    return
                lost_at = lost_at or time.time_ns()
                self._doubted.add(rank.rank)
                if address in await self.client.scheduler.ncores() and time.time_ns() - lost_at < 1e9 * _LOST_SECONDS:
                    await asyncio.sleep(0.1)
                    continue
                text = await self._end_of_worker(address)
                self._fail(RankFailure(rank.rank, rank.worker.hostname, "worker", lost_at, text))
                return
            lost_at, heard = 0, heard + len(told)
            self._doubted.discard(rank.rank)
            for message in told:
                self._take(message)
                if message["kind"] == "ended":
                    return

    async def _end_of_worker(self, address: str) -> str:
        """How a worker process ended, as far as its Nanny reports it."""
        for _ in range(15):
            for _, event in await self.client.get_events(WORKER_EXIT_TOPIC):
                if isinstance(event, dict) and event.get("worker") == address:
                    return str(event["cause"])
            await asyncio.sleep(0.1)
        return "the worker process is gone"

    def _take(self, message: dict[str, Any]) -> None:
        kind, rank = message["kind"], message["rank"]
        self._of(kind).add(rank)
        if kind == "failed":
            self._fail(message["failure"])
        elif kind == "vote":
            self._votes.setdefault(message["step"], {})[rank] = message
        elif kind == "progress":
            self.steps = max(self.steps, message["step"])
        elif kind == "saved":
            self.saved = True
        elif kind == "port":
            join = {"do": "join", "host": message["host"], "port": message["port"]}
            self._listening.append(asyncio.create_task(self._tell_all(join)))
        self.told(message)
        self._changed.set()

    def _fail(self, failure: RankFailure) -> None:
        self.failures.append(failure)
        self._changed.set()

    def _of(self, kind: str) -> set[int]:
        return self._said.setdefault(kind, set())

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._changed.wait(), max(seconds, 0.01))
        self._changed.clear()

    async def _on(self, address: str, function: Any, *args: Any) -> Any:
        return (await ask_workers(self.client, function, *args, workers=[address]))[address]

    async def _tell(self, rank: RankPlace, message: dict[str, Any]) -> None:
        with contextlib.suppress(Exception):  # a worker that is lost is seen by `_listen`
            told = self._on(rank.worker.address, rank_task.deliver, self.training, message)
            await asyncio.wait_for(told, _GIVE_BACK_SECONDS)  # Dask tries for 30 s to reach one

    async def _tell_all(self, message: dict[str, Any]) -> None:
        await asyncio.gather(*(self._tell(rank, message) for rank in self.ranks))

    async def _until_ended(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._heard_out() and (left := end - time.monotonic()) > 0:
            await self._wait(left)

    def _heard_out(self) -> bool:
        """Whether each rank that has begun has said its last, or is lost with its worker."""
        return self._of("here") <= self._of("ended") | self._lost()

    def _lost(self) -> set[int]:
        return {failure.rank for failure in self.failures if failure.kind == "worker"}

    async def _ask_reserved(self, function: Any, seconds: float) -> None:
        """Have the workers that are left call a function of `rank_task`."""
        gone = {self.ranks[rank].worker.address for rank in self._lost()}
        reserved = [address for address in self._reserved if address not in gone]
        with contextlib.suppress(Exception):
            if reserved:
                asked = ask_workers(self.client, function, self.training, workers=reserved, on_error="ignore")
                await asyncio.wait_for(asked, seconds)

    async def _give_back(self) -> None:
        """End what runs, hear what it has told until then, and leave nothing queued or reserved."""
        if not self._heard_out():
            await self._ask_reserved(rank_task.end, _LAST_WORDS_SECONDS)
            await self._until_ended(_LAST_WORDS_SECONDS)
        if self.failure is not None:
            self.failure = first_cause(self.failures, self.stacks)  # an earlier one may have come later
        self._over = True
        await self._ask_reserved(rank_task.release, _GIVE_BACK_SECONDS)
        # What runs ends with its rank's process, and what is asked of workers is answered; what is queued is cancelled.
        here = self._of("here") - self._lost()
        running = [future for rank, future in enumerate(self._futures) if rank in here and not future.done()]
        queued = [future for future in self._futures if future not in running and not future.done()]
        if queued:
            with contextlib.suppress(Exception):
                await self.client.cancel(queued, force=True)
        ending: list[asyncio.Task[Any]] = [*self._listening, *(asyncio.create_task(_end_of(f)) for f in running)]
        if ending:
            await asyncio.wait(ending, timeout=_GIVE_BACK_SECONDS)
        for task in ending:
            task.cancel()
        for future in self._futures:
            future.release()


async def _end_of(future: Any) -> None:
    with contextlib.suppress(Exception):
        await future
