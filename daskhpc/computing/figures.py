"""The figures of a run: values, and how they read as text, HTML and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from ..text import bytes_text, counted, duration

_ROWS = 12
_HEAD = ("tasks", "count", "seconds", "transfer", "disk")


@dataclass(frozen=True, slots=True)
class Tasks:
    """The tasks of one kind that a run made.

    Parameters
    ----------
    name : str
        The part of their keys that Dask names a kind by, such as ``sum-partial``.
    count : int
        How many were computed; one that had to be computed again counts twice.
    compute : float
        Seconds that threads were in them.
    transfer : float
        Seconds in which their inputs came from other workers.
    disk : float
        Seconds in which their inputs came out of the worker's store, from disk if they had been spilled.
    """

    name: str
    count: int
    compute: float
    transfer: float
    disk: float


@dataclass(frozen=True, slots=True, repr=False)
class Figures:
    """What one run of `compute` or `persist` took.

    Parameters
    ----------
    name : str
        ``compute`` or ``persist``.
    seconds : float
        From the call to the result.
    tasks : tuple[Tasks, ...]
        By kind, those that took most time first.
    transferred : int
        Bytes that workers fetched from each other meanwhile.
    spilled : int
        Bytes that workers wrote to disk for want of memory meanwhile.
    peak_memory : mapping of str to int
        For each worker process, by its address, the most bytes that it held at any moment of the run, with what it
        held before; ``"here"`` is this process, if there is no cluster.
    result : int
        Bytes of the results.
    workers, threads, hosts : int
        What there was to compute with.
    """

    name: str
    seconds: float
    tasks: tuple[Tasks, ...]
    transferred: int
    spilled: int
    peak_memory: Mapping[str, int]
    result: int
    workers: int
    threads: int
    hosts: int

    @property
    def count(self) -> int:
        """All tasks that were computed."""
        return sum(kind.count for kind in self.tasks)

    @property
    def utilisation(self) -> float:
        """The part of all threads' time that was spent in tasks, from 0 to 1."""
        available = self.threads * self.seconds
        return min(1.0, sum(kind.compute for kind in self.tasks) / available) if available else 0.0

    def as_dict(self) -> dict[str, Any]:
        """All figures as what JSON can hold."""
        return {
            "name": self.name,
            "seconds": self.seconds,
            "workers": self.workers,
            "threads": self.threads,
            "hosts": self.hosts,
            "utilisation": self.utilisation,
            "transferred_bytes": self.transferred,
            "spilled_bytes": self.spilled,
            "result_bytes": self.result,
            "peak_memory_bytes": dict(self.peak_memory),
            "tasks": [
                {
                    "name": kind.name,
                    "count": kind.count,
                    "compute_seconds": kind.compute,
                    "transfer_seconds": kind.transfer,
                    "disk_seconds": kind.disk,
                }
                for kind in self.tasks
            ],
        }

    def __repr__(self) -> str:
        rows = [_HEAD, *_cells(self.tasks)]
        widths = [max(len(row[n]) for row in rows) for n in range(len(_HEAD))]
        first, *others = zip(*rows, strict=True)
        columns = [[cell.ljust(widths[0]) for cell in first]]
        columns += [[cell.rjust(width) for cell in column] for column, width in zip(others, widths[1:], strict=True)]
        table = ["  " + "  ".join(row) for row in zip(*columns, strict=True)] if self.tasks else []
        return "\n".join([_first_line(self), *table, *(f"  {line}" for line in _last_lines(self))])

    def _repr_html_(self) -> str:
        rows = "".join(_row(row, "td") for row in _cells(self.tasks))
        table = f"<table><thead>{_row(_HEAD, 'th')}</thead><tbody>{rows}</tbody></table>" if self.tasks else ""
        lines = "".join(f"<div>{escape(line)}</div>" for line in _last_lines(self))
        return f"<div><b>{escape(_first_line(self))}</b></div>{table}{lines}"


def _row(cells: tuple[str, ...], tag: str) -> str:
    """A name on the left, and numbers on the right."""
    sides = ("left", *["right"] * (len(cells) - 1))
    parts = [
        f'<{tag} style="text-align: {side}">{escape(cell)}</{tag}>' for side, cell in zip(sides, cells, strict=True)
    ]
    return f"<tr>{''.join(parts)}</tr>"


def _first_line(figures: Figures) -> str:
    place = ", ".join(
        counted(number, thing)
        for number, thing in ((figures.workers, "worker"), (figures.threads, "thread"), (figures.hosts, "host"))
    )
    tasks = counted(figures.count, "task")
    return f"{figures.name}: {tasks} in {duration(figures.seconds)}; {place}, busy {figures.utilisation:.0%}"


def _cells(tasks: tuple[Tasks, ...]) -> list[tuple[str, ...]]:
    """A row of texts for each kind of tasks; those that took least are one row together."""
    shown, rest = tasks[:_ROWS], tasks[_ROWS:]
    if rest:
        shown += (
            Tasks(
                f"{len(rest)} others",
                sum(kind.count for kind in rest),
                sum(kind.compute for kind in rest),
                sum(kind.transfer for kind in rest),
                sum(kind.disk for kind in rest),
            ),
        )
    return [
        (kind.name, f"{kind.count:,}", *(f"{seconds:,.2f}" for seconds in (kind.compute, kind.transfer, kind.disk)))
        for kind in shown
    ]


def _last_lines(figures: Figures) -> list[str]:
    moved = f"{bytes_text(figures.transferred)} between workers, {bytes_text(figures.spilled)} to disk"
    lines = [f"{moved}; result {bytes_text(figures.result)}"]
    if figures.peak_memory:
        most = max(figures.peak_memory, key=lambda worker: figures.peak_memory[worker])
        lines.append(f"most memory of a worker process: {bytes_text(figures.peak_memory[most])} ({most})")
    return lines
