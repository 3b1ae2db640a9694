"""What a Parallel inside a call uses: threads of its process, as many as no other call uses."""

from __future__ import annotations

from typing import Any

from joblib.parallel import FallbackToBackend, SequentialBackend, ThreadingBackend


class NestedBackend(ThreadingBackend):  # type: ignore[misc]
    """Runs a Parallel inside a call in threads, in sequence if the call has one only.

    Parameters
    ----------
    threads : int
        Threads that the call may use.
    **options
        joblib's.
    """

    def __init__(self, threads: int, **options: Any) -> None:
        super().__init__(**options)
        self.threads = threads

    def configure(self, n_jobs: int = 1, parallel: Any = None, **options: Any) -> int:
        """Prepare for one Parallel."""
        if self.effective_n_jobs(n_jobs) == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        return int(super().configure(self.effective_n_jobs(n_jobs), parallel, **options))

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """At most the call's threads."""
        if n_jobs is None:
            return 1
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        return max(1, min(n_jobs, self.threads) if n_jobs > 0 else self.threads + 1 + n_jobs)

    def get_nested_backend(self) -> tuple[Any, int | None]:
        """Deeper ones run in sequence."""
        return SequentialBackend(nesting_level=(self.nesting_level or 0) + 1), None
