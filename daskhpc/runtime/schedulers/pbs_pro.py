"""PBS Professional and OpenPBS."""

from __future__ import annotations

from ..cgroups import cpuset
from ..cpus import online_cpus
from ..model import Sourced
from ..node import NodeView
from .pbs import PBS, lines_of, node_file


class PBSPro(PBS):
    """PBS Pro sets few variables: the CPUs come from ``NCPUS``, the node file or a cpuset, and the end is not given."""

    name = "pbspro"

    def cpus(self, node: NodeView, host: str, nodes: tuple[str, ...]) -> Sourced[int] | None:
        """The job's cpuset if there is one, else the larger of ``NCPUS`` and this node's lines of the node file.

        Notes
        -----
        PBS Pro sets ``NCPUS`` to ompthreads if these are asked for, so it may be a part of what the job was given.
        A line of the node file is an MPI process, which has a CPU at least.
        """
        confined, online = cpuset(node), online_cpus(node)
        if confined and online and len(confined & online) < len(online):
            return Sourced(max(1, len(confined & online)), "cgroup cpuset")
        threads = node.integer("NCPUS", least=1)
        counted = lines_of(host, node_file(node))
        if counted > (threads or 0):
            return Sourced(counted, "PBS_NODEFILE")
        return Sourced(threads, "NCPUS") if threads else None

    def end(self, node: NodeView) -> Sourced[float | None]:
        return Sourced(None, "not known: PBS Pro sets no end")
