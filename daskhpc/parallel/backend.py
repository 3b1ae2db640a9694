"""The joblib backend "daskhpc"."""

from __future__ import annotations

import contextlib
import functools
import itertools
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import joblib.parallel
from joblib.parallel import FallbackToBackend, LokyBackend, ParallelBackendBase, SequentialBackend

from ..clients import current_client, inside_task, is_open
from ..compat.joblib import (
    call_of,
    dispatch,
    dispatch_rest,
    has_ended,
    is_aborting,
    is_exhausted,
    keep_one_ahead,
    raise_early_error,
    threads_of_processes,
)
from ..compat.sklearn import is_wrapped
from ..errors import SettingsError
from . import checkpoints
from .call_queue import Call
from .checkpoints import Checkpoint, ParallelUse, SearchCheckpoint
from .local import GrantedThreads, LocalEngine, LocalThreads, threads_here
from .outcome import Batch
from .progress import progress_for
from .result_delivery import ResultDelivery
from .run import Run
from .task_builder import Options
from .worker_parcels import node_name
from .worker_set import WorkerSet, slots_of

_BATCH_SECONDS = 0.4
_MAKING_SECONDS = 0.01
_AHEAD = "2*n_jobs"  # joblib's own ``pre_dispatch``
_AHEAD_SECONDS = 0.4
_MORE_CALLS = 3
_MOST_CALLS = 1000
_OPTIONS = frozenset(
    ("client", "progress", "label", "first_n_jobs", "checkpoint", "retry_failed", "scatter", "inner_max_num_threads")
)


@dataclass(slots=True)
class _Use:
    """One Parallel that uses a backend: what it was configured with, and its engine and its part of the journal."""

    parallel: Any
    keeper: Checkpoint | None
    choices: dict[str, Any]
    call: Any = None
    number: int = 0
    whole: bool = False
    part: ParallelUse | None = None
    run: Run | LocalEngine | None = None

    def end_part(self, aborted: bool) -> None:
        part, self.part = self.part, None
        if part is not None and self.keeper is not None:
            if aborted and not self.parallel.return_generator:
                self.keeper.take_back(part)
            self.keeper.end(part, aborted)


class DaskhpcBackend(ParallelBackendBase):  # type: ignore[misc]
    """Runs the calls of joblib's Parallel on all workers of a Dask cluster.

    ``joblib.parallel_config(backend="daskhpc", ...)`` makes one.

    Parameters
    ----------
    client : distributed.Client, optional
        The current one by default. Without any, joblib's own processes on this machine do the work.
    progress : bool or str
        Whether and how progress is shown: False, True, "auto", "bar", "lines" or "html".
    label : str, optional
        What progress calls the work.
    first_n_jobs : int, optional
        ``n_jobs`` of the first Parallel here that names none; later ones are then serial. Without it, each Parallel
        that names none has -1, as with the backends of Dask, Ray and ipyparallel.
    scatter : optional
        Taken because programs for joblib's Dask backend give it: what calls share goes to each node once anyway.
    checkpoint : path or False, optional
        The folder in which results are kept: calls whose results are there are not made again. By default that of
        ``daskhpc run --checkpoint``, if there is one; False: none.
    retry_failed : bool
        Whether fits that failed are done again.
    nesting_level, inner_max_num_threads
        joblib's.

    Notes
    -----
    ``n_jobs`` counts the threads of all workers: -1 is all of them, and 1 runs in sequence in this process. A call runs
    in the main thread of a process that makes no other call at the same time.
    ``max_nbytes`` and ``mmap_mode`` mean what they mean for loky: from this size on, arrays are not copied but mapped,
    read-only by default, here by all processes of a node.

    Raises
    ------
    SettingsError
        When an option is none of these.
    JournalError
        When the checkpoint's folder cannot be used, or is of other work.

    Examples
    --------
    Without a client the calls run on this machine; after ``client = daskhpc.start()`` the same lines use the cluster,
    with ``n_jobs=-1`` all of it.

    >>> import daskhpc, joblib
    >>> with joblib.parallel_config(backend="daskhpc", n_jobs=1):
    ...     joblib.Parallel()(joblib.delayed(abs)(-i) for i in range(3))
    [0, 1, 2]
    """

    # Why it is so: joblib makes one backend for a ``parallel_config`` block, and every Parallel within uses it, one in
    # another if calls of the caller's thread, or a loop over results, make Parallel calls themselves. joblib tells the
    # backend neither which Parallel begins nor which ends. So each Parallel has all of its own here, found by the
    # Parallel's identity, and ``terminate`` and ``abort_everything`` end what each Parallel has that has ended.

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True
    default_n_jobs = -1

    def __init__(
        self,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        *,
        client: Any = None,
        progress: bool | str = False,
        label: str | None = None,
        first_n_jobs: int | None = None,
        checkpoint: Any = None,
        retry_failed: bool = False,
        scatter: Any = None,
        **options: Any,
    ) -> None:
        if options:
            raise SettingsError(
                "The joblib backend daskhpc does not have such an option.",
                ", ".join(sorted(options)),
                ", ".join(f"{name}=" for name in sorted(_OPTIONS)),
            )
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads)
        if scatter is not None:
            warnings.warn(
                "scatter= is not needed with the backend daskhpc: what calls share goes to each node once anyway.",
                stacklevel=2,
            )
        self.client = client
        self.progress = progress
        self.label = label
        self._later_n_jobs = self.default_n_jobs
        if first_n_jobs is not None:
            self.default_n_jobs, self._later_n_jobs = first_n_jobs, 1
        self._given_keeper, self._retry_failed = _keeper(checkpoint, retry_failed), retry_failed
        self._keeper: Checkpoint | None = None
        self.parallel: Any = None  # the last that began
        self._asked = self._making = 0.0
        self._uses: dict[int, _Use] = {}
        self._calls = itertools.count()

    def __reduce__(self) -> tuple[Any, ...]:
        return (SequentialBackend, (self.nesting_level,))

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """How many calls can run at once; at least 2 on a cluster, since joblib makes calls one by one here for 1."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        n_jobs = self.default_n_jobs if n_jobs is None else n_jobs
        client = None if n_jobs == 1 else self._client()
        if client is not None:
            return max(2, slots_of(n_jobs, WorkerSet.of(client).threads()))
        found = int(self._without_client().effective_n_jobs(n_jobs))
        return max(2, found) if isinstance(self._keeper, SearchCheckpoint) else found

    def configure(
        self,
        n_jobs: int = 1,
        parallel: Any = None,
        prefer: str | None = None,
        require: str | None = None,
        **options: Any,
    ) -> int:
        """Prepare for one Parallel."""
        if misplaced := _OPTIONS.intersection(options):
            raise SettingsError(
                "A Parallel does not take these options, which are those of the backend.",
                ", ".join(sorted(misplaced)),
                f'with joblib.parallel_config(backend="daskhpc", {min(misplaced)}=...): around it',
            )
        self.default_n_jobs = self._later_n_jobs
        self._keeper = self._keeper_of(prefer)
        if isinstance(self._keeper, SearchCheckpoint):
            prefer = None  # threads keep nothing
        slots = self.effective_n_jobs(n_jobs)
        if slots == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        if self._client() is None and self._keeper is None:
            raise FallbackToBackend(self._without_client())
        if prefer == "threads" and not self._elsewhere():
            raise FallbackToBackend(GrantedThreads(nesting_level=self.nesting_level))
        self.parallel = parallel
        self._uses[id(parallel)] = _Use(parallel, self._keeper, {"n_jobs": n_jobs, "prefer": prefer, **options})
        return slots

    def _keeper_of(self, prefer: str | None) -> Checkpoint | None:
        """What keeps the results of a Parallel: of a search only those of its fits, not of what its refit calls.

        Other calls that prefer threads may have effects in this process, which no journal has.
        """
        keeper = self._given_keeper
        if isinstance(keeper, SearchCheckpoint):
            self._given_keeper = None
            return keeper
        return None if prefer == "threads" or inside_task() else keeper

    def _without_client(self) -> Any:
        """joblib's own processes; in a task the threads that it may use."""
        if inside_task():
            active, _ = joblib.parallel.get_active_backend()
            own = isinstance(active, DaskhpcBackend)
            return SequentialBackend(nesting_level=self.nesting_level) if own else active
        return LokyBackend(nesting_level=self.nesting_level, inner_max_num_threads=self.inner_max_num_threads)

    def _client(self) -> Any:
        if self.client is not None:
            return self.client if is_open(self.client) else None
        return None if inside_task() else current_client()

    def _elsewhere(self) -> bool:
        """Whether any worker is on another node than this process."""
        client = self._client()
        members = WorkerSet.of(client)
        client.sync(members.refresh)
        here = node_name()
        return any(member.node != here for member in members.alive.values())

    def for_blocks_inside(self) -> dict[str, Any]:
        """Options of a block inside that of this backend, if it names no others."""
        return {
            "checkpoint": self._given_keeper or False,
            "retry_failed": self._retry_failed,
            "inner_max_num_threads": self.inner_max_num_threads,
        }

    def start_call(self) -> None:
        """One call of a Parallel begins."""
        uses = [*self._uses.values()]
        use = next((each for each in uses if each.call != call_of(each.parallel)), uses[-1])
        self.parallel, use.call, use.number = use.parallel, call_of(use.parallel), next(self._calls)
        if use.keeper is not None:
            # A halving search makes several calls of one Parallel, within one `with`: each ends before the next begins.
            use.end_part(aborted=False)
            use.part = use.keeper.begin(self.label or "Parallel", self._retry_failed)
        keep_one_ahead(use.parallel)

    def compute_batch_size(self) -> int:
        """Calls that joblib books together: as many as take a fraction of a second, one while that is not known."""
        run = self._run_of(self.parallel)
        seconds = run.seconds_per_call() if run is not None else None
        self._asked = time.perf_counter()
        # A result that is wanted as soon as it is there does not wait for those of its batch, nor a call for the making
        # of the next.
        if seconds is None or self.parallel.timeout is not None or self.parallel.return_generator:
            return 1
        most = min(_BATCH_SECONDS / max(seconds, 1e-6), _MAKING_SECONDS / max(self._making, 1e-6), _MOST_CALLS)
        return max(1, int(most))

    def submit(self, func: Any, callback: Any = None) -> Any:
        """Take a batch of calls from joblib."""
        use = self._uses[id(callback.parallel)]
        run = use.run  # which an abort, in another thread, takes away at any moment
        if run is None or run.closed:
            run = use.run = self._new_run(use)
        self._making = (time.perf_counter() - self._asked) / len(func.items)
        batch = Batch(len(func.items), functools.partial(self._deliver, callback))
        use.whole = is_wrapped(func.items[0][0])
        try:
            run.add([Call((batch, at), *item) for at, item in enumerate(func.items)], use.number, use.part)
        except Exception as error:
            run.delivery.refuse(batch, error)
        return batch

    apply_async = submit  # its name before joblib 1.5

    def _deliver(self, callback: Any, batch: Batch) -> None:
        """Tell joblib of a batch, for which it makes one call more; make others if slots would idle otherwise."""
        callback(batch)
        parallel = callback.parallel
        dispatch_rest(parallel)
        run = self._run_of(parallel)
        seconds = run.seconds_per_call() if run is not None else None
        if (
            run is None
            or seconds is None
            or not parallel.return_generator
            or str(parallel.pre_dispatch).replace(" ", "") != _AHEAD
        ):
            return
        most = run.slots * _AHEAD_SECONDS / max(seconds, 1e-4)
        if run.delivery.known - run.delivery.done < most:
            dispatch(parallel, _MORE_CALLS)

    def _run_of(self, parallel: Any) -> Run | LocalEngine | None:
        use = self._uses.get(id(parallel))
        return use.run if use is not None else None

    def _new_run(self, use: _Use) -> Run | LocalEngine:
        choices, client = use.choices, self._client()
        delivery = ResultDelivery(self._progress(), functools.partial(is_exhausted, use.parallel), use.keeper)
        serial = choices["n_jobs"] in (None, 1)
        initializer = (choices["initializer"], choices.get("initargs", ())) if choices.get("initializer") else ()
        if use.keeper is not None and (client is None or serial):
            here = 1 if serial else int(self._without_client().effective_n_jobs(choices["n_jobs"]))
            return LocalEngine(here, delivery, threads_of_processes(self, here), *initializer)
        options = Options(
            n_jobs=choices["n_jobs"],
            threshold=choices.get("max_nbytes"),
            mode=choices.get("mmap_mode"),
            inner_threads=self.inner_max_num_threads,
            initializer=initializer,
        )
        here = slots_of(choices["n_jobs"], threads_here())
        local = LocalThreads(here) if choices["prefer"] == "threads" else None
        return Run(client, options, delivery, local)

    def _progress(self) -> Any:
        if self.label is not None:
            return progress_for(self.progress, self.label)
        return progress_for(self.progress, "Parallel", unit="calls")

    def retrieve_result_callback(self, out: Any) -> Any:
        """The results of a batch, or its error."""
        return out.get()

    @contextlib.contextmanager
    def retrieval_context(self) -> Iterator[None]:
        """joblib has made the calls that it makes at once, and waits for results."""
        raise_early_error(self.parallel)
        if (last := self._uses.get(id(self.parallel))) is not None and last.whole:
            # scikit-learn's calls are few and known: all of them are needed to put the long ones first.
            dispatch(self.parallel)
        uses = list(self._uses.values())
        runs = [use.run for use in uses if use.run is not None]
        for run in runs:
            run.dispatched()
            run.delivery.begin()
        for use in uses:
            if use.keeper is not None and use.part is not None and is_exhausted(use.parallel):
                use.keeper.known(use.part)
        if self.parallel.timeout is None:
            for run in runs:
                run.delivery.wait_shortly()
        yield

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Stop at once."""
        for use in list(self._uses.values()):
            if is_aborting(use.parallel):
                run, use.run = use.run, None
                if run is not None:
                    run.close(aborted=True)
                use.end_part(aborted=True)

    def terminate(self) -> None:
        """A Parallel has ended: nothing of it stays on the workers."""
        for key, use in list(self._uses.items()):
            if has_ended(use.parallel):
                del self._uses[key]
                if use.run is not None:
                    use.run.close()
                use.end_part(aborted=False)

    def get_nested_backend(self) -> tuple[Any, int | None]:
        """What joblib writes into its batches; tasks set their own."""
        return SequentialBackend(nesting_level=(self.nesting_level or 0) + 1), None


def _keeper(checkpoint: Any, retry_failed: bool) -> Checkpoint | None:
    """The checkpoint of this backend: the one that was asked for, else that of the whole program."""
    if isinstance(checkpoint, Checkpoint):
        return checkpoint
    if checkpoint is None or checkpoint is True:
        return checkpoints.program
    return None if checkpoint is False else Checkpoint(checkpoints.opened(checkpoint, "calls"), retry_failed)
