"""Opening the control channel: rank 0 listens and sends the others its address and a key, and they connect."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ..errors import StartError
from . import ending
from .control_channel import ControlConnection, ControlServer
from .control_socket import check_reachable
from .network import LOOPBACK, address_of, check_loopback
from .world import World


def open_channel(
    world: World, hosts: Sequence[str], interface: str | None, encrypted: bool
) -> tuple[ControlServer | ControlConnection | None, StartError | None]:
    """Open the control channel if MPI has brought the ranks together, and watch every rank from now on.

    Parameters
    ----------
    world : World
    hosts : Sequence[str]
        Of every rank.
    interface : str or None
        That Dask is to use.
    encrypted : bool
        Whether the channel is; rank 0's value counts.

    Returns
    -------
    ControlServer or ControlConnection or None, StartError or None
        The former on rank 0. The error is why this rank has no channel.
    """
    channel, address = world.channel, None
    problem: StartError | None = None
    if world.rank == 0:
        host = ""
        try:
            host = address_of(interface)
            channel = server = channel if isinstance(channel, ControlServer) else ControlServer(host, encrypted)
            address = server.address(host)
        except OSError as error:
            found = f"{error} ({interface})"
            own = check_loopback() if host == LOOPBACK else None
            problem = own or StartError("Rank 0 cannot listen on the network.", found, "another interface")
        except StartError as error:
            problem = error
    address = world.comm.bcast(address, root=0)
    if world.rank > 0 and address is not None:
        try:
            # Ranks that met without MPI have a channel, perhaps through another interface than Dask is to use.
            channel = channel or ControlConnection(address, world.rank)
            check_reachable(address)
        except OSError as error:
            own = check_loopback() if address.hosts[0] == LOOPBACK else None
            problem = own or StartError(
                "A rank cannot reach rank 0 over the network.",
                f"{error} ({address.hosts[0]}:{address.port} through {interface or 'the default interface'})",
                "another interface: DASK_DASKHPC__INTERFACE=..., or initialize(interface=...)",
            )
    if isinstance(channel, ControlServer):
        channel.watch(
            ending.close_scheduler, partial(ending.lost, world, hosts), partial(ending.survives, world, hosts)
        )
    elif channel is not None:
        channel.watch(ending.close_workers, partial(ending.on_scheduler_lost, world, hosts[0]))
    return channel, problem
