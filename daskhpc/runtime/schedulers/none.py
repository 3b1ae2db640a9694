"""No batch system: a laptop, a workstation, or a node that a user logged in to."""

from __future__ import annotations

from ..model import Sourced
from ..node import NodeView
from .base import Scheduler


class NoScheduler(Scheduler):
    """The absence of a scheduler; every value comes from the kernel."""

    name = "none"
    job_variable = ""

    def recognised_by(self, node: NodeView) -> str | None:
        return None

    def job(self, node: NodeView) -> Sourced[str | None]:
        return Sourced(None, "no scheduler")

    def submit_host(self, node: NodeView) -> Sourced[str | None]:
        return Sourced(None, "no scheduler")

    def nodes(self, node: NodeView, host: str) -> Sourced[tuple[str, ...]]:
        return Sourced((host,), "this node")

    def end(self, node: NodeView) -> Sourced[float | None]:
        return Sourced(None, "no scheduler")
