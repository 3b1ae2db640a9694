"""The start table: which ranks run on which nodes, with what they were granted, each value with its source."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..runtime import Runtime, Sourced
from ..text import bytes_text, counted, duration_left
from .dashboard_link import DashboardLink
from .plan import CLIENT, SCHEDULER, RankPlan
from .world import say

COLUMNS = ("role", "ranks", "hosts", "processes", "threads", "BLAS", "memory", "interface", "scratch")


@dataclass(frozen=True, slots=True, repr=False)
class StartTable:
    """What `start` prints; text in a terminal and a log, HTML in a notebook.

    Attributes
    ----------
    plans : Sequence[RankPlan]
    runtime : Runtime
        Of the process that prints.
    dashboard : DashboardLink or None
        The link to Dask's dashboard.
    remark : str or None
        One more line, such as nodes that are not used.
    protocol : Sourced[str] or None
        How the processes talk to each other, and why.
    """

    plans: Sequence[RankPlan]
    runtime: Runtime
    dashboard: DashboardLink | None = None
    remark: str | None = None
    protocol: Sourced[str] | None = None

    def rows(self) -> list[tuple[str, ...]]:
        """One row per kind of rank; ranks that differ in rank and host alone share one."""
        groups: dict[tuple[str, ...], list[RankPlan]] = {}
        for plan in self.plans:
            groups.setdefault(_cells(plan), []).append(plan)
        return [
            (cells[0], spans([p.rank for p in plans]), hosts(p.host for p in plans), *cells[1:])
            for cells, plans in groups.items()
        ]

    def sources(self) -> tuple[str, ...]:
        """The last row: where the values of each column came from."""
        workers = [p for p in self.plans if p.processes.value] or self.plans

        def of(name: str, plans: Sequence[RankPlan] = workers) -> str:
            return " or ".join(dict.fromkeys(getattr(p, name).source for p in plans))

        return (
            "from",
            self.runtime.world_size.source,
            self.runtime.nodes.source,
            of("processes"),
            of("nthreads"),
            of("blas_threads"),
            of("memory_limit"),
            of("interface", self.plans),
            of("local_directory"),
        )

    def title(self) -> str:
        """The first line."""
        # Outside a job the scheduler and the client are on the login node.
        nodes = len({plan.host for plan in self.plans if plan.processes.value or self.runtime.job.value})
        workers = sum(p.processes.value for p in self.plans)
        threads = sum(p.processes.value * p.nthreads.value for p in self.plans)
        parts = [", ".join((counted(workers, "worker"), counted(threads, "thread"), counted(nodes, "node")))]
        if self.runtime.job.value:
            step = f".{self.runtime.step.value}" if self.runtime.step.value else ""
            parts.append(f"job {self.runtime.job.value}{step}")
        end = self.runtime.end_time.value
        if end:
            clock = time.strftime("%Y-%m-%d %H:%M", time.localtime(end))
            left = end - time.time()
            parts.append(f"ends {clock}" + (f", in {duration_left(left)}" if left > 0 else ""))
        return "daskhpc: " + "; ".join(parts)

    def notes(self) -> list[str]:
        """The lines below the table."""
        lines = [self.remark] if self.remark else []
        if self.protocol is not None:
            lines.append(_connections(self.protocol))
        if self.dashboard:
            lines.append(self.dashboard.note())
        return lines

    def __str__(self) -> str:
        table = [COLUMNS, *self.rows()]
        widths = [max(len(row[i]) for row in table) for i in range(len(COLUMNS))]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in table]
        sources = "; ".join(f"{name}: {s}" for name, s in zip(COLUMNS[1:], self.sources()[1:], strict=True) if s)
        return "\n".join([self.title(), *("  " + line for line in [*lines, f"from {sources}", *self.notes()])])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        def row(cells: Sequence[str], tag: str = "td") -> str:
            return "<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in cells) + "</tr>"

        body = "".join(row(r) for r in self.rows())
        notes = "".join(f"<div>{html.escape(n)}</div>" for n in self.notes())
        return (
            f"<div><b>{html.escape(self.title())}</b><table><thead>{row(COLUMNS, 'th')}</thead>"
            f"<tbody>{body}</tbody><tfoot><tr>"
            + "".join(f"<td><i>{html.escape(s)}</i></td>" for s in self.sources())
            + f"</tr></tfoot></table>{notes}</div>"
        )


def _connections(protocol: Sourced[str]) -> str:
    """What protects the traffic of the run."""
    if protocol.value == "tls":
        return f"connections encrypted (tls), for this run alone: {protocol.source}"
    return f"connections not encrypted ({protocol.value}): {protocol.source}"


def _cells(plan: RankPlan) -> tuple[str, ...]:
    interface = plan.interface.value or "default"
    if plan.role == SCHEDULER:
        return (plan.role, "-", "-", "-", "-", interface, "-")
    if plan.role == CLIENT:
        return (plan.role, "-", str(plan.nthreads.value), str(plan.blas_threads.value), "-", interface, "-")
    memory = bytes_text(plan.memory_limit.value) if plan.memory_limit.value else "no limit"
    numbers = (plan.processes.value, plan.nthreads.value, plan.blas_threads.value)
    return (plan.role, *map(str, numbers), memory, interface, plan.local_directory.value)


def spans(ranks: Sequence[int]) -> str:
    """Ranks as spans.

    Examples
    --------
    >>> spans([2, 3, 4, 7])
    '2-4,7'
    """
    runs: list[list[int]] = []
    for rank in sorted(ranks):
        if runs and rank == runs[-1][1] + 1:
            runs[-1][1] = rank
        else:
            runs.append([rank, rank])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def hosts(names: Iterable[str]) -> str:
    """The host names once each, the first three of many.

    Examples
    --------
    >>> hosts(["n1", "n1", "n2"])
    'n1,n2'
    """
    unique = list(dict.fromkeys(names))
    return ",".join(unique) if len(unique) <= 4 else f"{','.join(unique[:3])} and {len(unique) - 3} more"


def show_warnings(plans: Sequence[RankPlan]) -> None:
    """Print each warning once, with the hosts that it is about."""
    where: dict[str, list[str]] = {}
    for plan in plans:
        for warning in plan.warnings:
            where.setdefault(warning, []).append(plan.host)
    for warning, there in where.items():
        say(f"warning on {hosts(there)}: {warning}")


def show(table: StartTable) -> None:
    """Print the table on standard error, which leaves standard output to the program; display it in a notebook."""
    if "ipykernel" in sys.modules:
        from IPython.display import display

        display(table)
    else:
        print(table, file=sys.stderr, flush=True)
