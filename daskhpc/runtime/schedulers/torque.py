"""Torque, the other descendant of PBS."""

from __future__ import annotations

from ..model import Sourced
from ..node import NodeView
from .pbs import PBS, lines_of, node_file

# Torque's pbs_mom sets these (start_exec.c), PBS Pro's does not.
_OWN_VARIABLES = ("PBS_NUM_NODES", "PBS_NUM_PPN", "PBS_NP", "PBS_VNODENUM", "PBS_WALLTIME")


class Torque(PBS):
    """Torque is distinguished from PBS Pro by its version, or by a variable that only Torque sets."""

    name = "torque"

    def recognised_by(self, node: NodeView) -> str | None:
        if not node.variable(self.job_variable):
            return None
        if (node.variable("PBS_VERSION") or "").upper().startswith("TORQUE"):
            return "PBS_VERSION"
        return next((name for name in _OWN_VARIABLES if node.variable(name)), None)

    def cpus(self, node: NodeView, host: str, nodes: tuple[str, ...]) -> Sourced[int] | None:
        """This node's lines of the node file if all its lines are here, else ``PBS_NUM_PPN``.

        Notes
        -----
        Torque sets ``PBS_NUM_PPN`` to 1 for ``-l procs=N``, and to the first part's for ``-l nodes=1:ppn=8+2:ppn=4``.
        """
        per_node, lines = node.integer("PBS_NUM_PPN", least=1), node_file(node)
        counted = lines_of(host, lines)
        whole = len(lines) == node.integer("PBS_NP", least=1)
        if counted and counted != per_node and (whole or per_node is None):
            return Sourced(counted, "PBS_NODEFILE")
        return Sourced(per_node, "PBS_NUM_PPN") if per_node else None

    def end(self, node: NodeView) -> Sourced[float | None]:
        """The wall time after the node file was written, which Torque does as the job starts."""
        seconds = node.integer("PBS_WALLTIME", least=1)
        if seconds is None:
            return Sourced(None, "not known: no PBS_WALLTIME")
        try:
            start = node.path(node.variable("PBS_NODEFILE") or "/nonexistent").stat().st_mtime
        except (OSError, ValueError):
            return Sourced(None, "not known: PBS_WALLTIME without a PBS_NODEFILE here")
        return Sourced(start + seconds, "PBS_WALLTIME after PBS_NODEFILE was written")
