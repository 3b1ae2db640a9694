"""The cluster that this process belongs to, at most one; a second call of `start` or `initialize` finds it here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..runtime import Runtime
from ..settings import Settings
from .control_channel import ControlConnection, ControlServer
from .encryption import OPEN, Encryption
from .plan import RankPlan
from .world import World


@dataclass(slots=True)
class ClusterMember:
    """This process's place in a cluster.

    Attributes
    ----------
    runtime : Runtime
    settings : Settings
    plans : tuple[RankPlan, ...]
        Of every rank; of this machine's workers if there is no MPI.
    world : World or None
        None for a LocalCluster.
    server : ControlServer or None
        The control channel on rank 0.
    connection : ControlConnection or None
        The control channel on every other rank.
    encryption : Encryption
        How the processes of the cluster talk to each other.
    own_workers : bool
        Whether the workers are daskhpc's Nannies, which close themselves when the cluster does.
    secret : str
        That opens the HTTP servers of the cluster (`http_door`).
    exit : bool
        Whether the processes of the scheduler and the workers end with the cluster.
    """

    runtime: Runtime
    settings: Settings
    plans: tuple[RankPlan, ...]
    world: World | None = None
    server: ControlServer | None = None
    connection: ControlConnection | None = None
    encryption: Encryption = OPEN
    own_workers: bool = False
    secret: str = field(default="", repr=False)
    exit: bool = True

    @property
    def plan(self) -> RankPlan:
        """The plan of this rank."""
        return self.plans[self.world.rank if self.world else 0]


@dataclass(slots=True)
class _Session:
    member: ClusterMember | None = None
    client: Any = None
    scheduler: Any = None
    workers: Any = None
    local: Any = None
    program_folder: str = ""


session = _Session()
"""The cluster of this process; `scheduler` is set on rank 0, `workers` on workers' ranks, `client` by `start`,
`local` is the LocalCluster if there is no MPI, `program_folder` that of a program under ``daskhpc run``."""
