"""What PBS Pro and Torque share: both descend from one PBS."""

from __future__ import annotations

from ..model import Sourced
from ..node import NodeView, short
from .base import Scheduler


class PBS(Scheduler):
    """The common part of PBS Pro and Torque.

    Notes
    -----
    Neither puts the memory of a job into its environment. If they enforce it, they do so by control groups.
    """

    job_variable = "PBS_JOBID"
    submit_variable = "PBS_O_HOST"

    def nodes(self, node: NodeView, host: str) -> Sourced[tuple[str, ...]]:
        lines = node_file(node)
        if lines:
            return Sourced(tuple(dict.fromkeys(lines)), "PBS_NODEFILE")
        return Sourced((host,), "this node: no PBS_NODEFILE here")


def node_file(node: NodeView) -> tuple[str, ...]:
    """The lines of ``PBS_NODEFILE``, one for each place of a process; none if this node does not have it.

    Notes
    -----
    PBS writes the file on the first node of the job only.
    """
    path = node.variable("PBS_NODEFILE")
    return tuple(line.strip() for line in node.lines(path) if line.strip()) if path else ()


def lines_of(host: str, lines: tuple[str, ...]) -> int:
    """How many lines of the node file name a host."""
    return sum(short(line) == host for line in lines)
