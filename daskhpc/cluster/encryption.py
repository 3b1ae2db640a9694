"""Whether the connections of a run are encrypted, with what keys, and Dask's configuration for that.

The keys go to Dask by its configuration, which lives in the memory of each process and reaches a rank's worker
processes through a pipe: never by the environment, a command line or a file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dask

from ..compat.distributed_security import HiddenText, harden_connections
from ..errors import StartError
from ..runtime import Runtime, Sourced
from ..settings import Settings
from ..text import counted
from .certificates import Authority, Identity
from .plan import CLIENT, SCHEDULER, WORKER, role_of
from .refused_connections import log_few_refusals
from .world import World

TLS = "tls"
_CONFIG = "distributed.comm.tls"
_SCHEME = "distributed.comm.default-scheme"
_ROLES = {SCHEDULER: (SCHEDULER, CLIENT), WORKER: (WORKER, CLIENT, SCHEDULER), CLIENT: (CLIENT,)}
"""The roles of Dask in which a process shows its one key: a task of a worker may make a client, or a cluster."""
_own_authorities: set[str] = set()
"""The authorities that `use_in_dask` has put into Dask's configuration in this process."""


@dataclass(frozen=True, slots=True)
class Encryption:
    """How the processes of a run talk to each other.

    Attributes
    ----------
    protocol : Sourced[str]
        Dask's name of it, with why.
    identity : Identity or None
        Of this process; None if nothing is encrypted, or if the user's configuration of Dask has certificates.
    """

    protocol: Sourced[str]
    identity: Identity | None = None


OPEN = Encryption(Sourced("tcp", "default"))
"""Nothing is encrypted."""


def choose_protocol(settings: Settings, runtime: Runtime, hosts: Sequence[str] = ()) -> Sourced[str]:
    """The protocol of a run: encrypted wherever other users may reach its processes.

    Loopback is no protection: every user of a node reaches it.

    Parameters
    ----------
    settings : Settings
        Its `protocol` is taken as it is.
    runtime : Runtime
    hosts : Sequence[str]
        The nodes of the ranks, as far as they are known.

    Examples
    --------
    >>> import daskhpc
    >>> choose_protocol(daskhpc.Settings.resolve({"protocol": "tcp"}, config={}), daskhpc.discover()).value
    'tcp'
    >>> choose_protocol(daskhpc.Settings.resolve(config={}), daskhpc.discover(), ["n1", "n2"])
    Sourced(value='tls', source='2 nodes')
    """
    if settings.protocol is not None:
        return Sourced(settings.protocol.partition("://")[0], settings.sources["protocol"])
    scheme = dask.config.get(_SCHEME, "tcp")
    if scheme != "tcp":
        return Sourced(str(scheme), f"dask.config, {_SCHEME}")
    nodes = len(set(hosts or runtime.nodes.value))
    if nodes > 1:
        return Sourced(TLS, counted(nodes, "node"))
    if runtime.job.value is not None:
        return Sourced(TLS, "other users may have jobs on this node")
    return Sourced("tcp", "this machine alone")


def share_keys(world: World, protocol: Sourced[str], end: float | None) -> tuple[Encryption, StartError | None]:
    """On every rank: what rank 0 has decided, and this rank's own key.

    Parameters
    ----------
    world : World
    protocol, end
        The protocol, and when the job ends; rank 0's count.

    Returns
    -------
    Encryption, StartError or None
        The error is that rank 0 can make no certificates.
    """
    shares: list[Encryption] | None = None
    problem = None
    if world.rank == 0:
        identities: dict[str, Identity] = {}
        try:
            identities = new_identities(protocol.value, end)
        except StartError as error:
            problem = error
        shares = [Encryption(protocol, identities.get(role_of(rank))) for rank in range(world.size)]
    return world.comm.scatter(shares, root=0), problem


def new_identities(protocol: str, end: float | None) -> dict[str, Identity]:
    """A key for each role, signed by an authority whose own key is not kept.

    There are none if the protocol needs none, or if the user's configuration of Dask has certificates.

    Raises
    ------
    StartError
        If the package that makes certificates is not installed.
    """
    if protocol != TLS or _configured():
        return {}
    authority = Authority(end)
    return {
        SCHEDULER: authority.identity(SCHEDULER),
        WORKER: authority.identity(WORKER),
        CLIENT: authority.identity(CLIENT, listens=False),
    }


def local_security(identities: Mapping[str, Identity]) -> Any:
    """The Security of a LocalCluster, whose scheduler and Nannies share this process."""
    from distributed import Security

    harden_connections()
    config = {name: text for role, identity in identities.items() for name, text in _config(identity, role).items()}
    with dask.config.set(config):
        return Security(require_encryption=True)


def _config(identity: Identity, *roles: str) -> dict[str, Any]:
    """Dask's configuration with which a process shows an identity in some roles."""
    config = {f"{_CONFIG}.ca-file": identity.authority}
    for role in roles:
        config |= {f"{_CONFIG}.{role}.cert": identity.certificate, f"{_CONFIG}.{role}.key": identity.key}
    return config


def _configured() -> bool:
    """Whether the user has given Dask certificates."""
    return dask.config.get(f"{_CONFIG}.ca-file", None) not in (None, *_own_authorities)


def use_in_dask(identity: Identity | None, role: str) -> None:
    """Tell Dask in this process which certificates it is to show and to demand.

    The scheduler and the workers refuse whatever is not encrypted. The client's process does not: a program may have a
    cluster of its own besides, and the address of this one is Dask's to be reached by TLS alone.
    """
    if identity is None:
        return
    harden_connections()
    log_few_refusals()
    _own_authorities.add(identity.authority)
    config = _config(replace(identity, key=HiddenText(identity.key)), *_ROLES[role])
    if role != CLIENT:
        config["distributed.comm.require-encryption"] = True
    dask.config.set(config)
