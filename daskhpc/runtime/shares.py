"""Shares what a node grants among its worker ranks."""

from __future__ import annotations

from .model import Grant, Sourced


def shared_cpus(grant: Grant, worker_ranks: int) -> Sourced[int]:
    """CPUs of one worker rank.

    Parameters
    ----------
    grant : Grant
        What the node gives.
    worker_ranks : int
        Worker ranks on the node; fewer than 1 count as 1.

    Returns
    -------
    Sourced[int]
        What the launcher grants each rank, else the node's CPUs divided and rounded down, at least 1; never more
        than the CPUs that this rank is bound to.
    """
    share = granted_cpus(grant, worker_ranks)
    if grant.bound_cpus.value is not None and grant.bound_cpus.value < share.value:
        return Sourced(grant.bound_cpus.value, grant.bound_cpus.source)
    return share


def granted_cpus(grant: Grant, worker_ranks: int) -> Sourced[int]:
    """CPUs of one worker rank if nothing bound it; see `shared_cpus`."""
    if grant.cpus_per_rank.value is not None:
        return Sourced(grant.cpus_per_rank.value, grant.cpus_per_rank.source)
    ranks = max(1, worker_ranks)
    return Sourced(max(1, grant.node_cpus.value // ranks), grant.node_cpus.source + _among(ranks))


def shared_memory(grant: Grant, worker_ranks: int, headroom: float) -> Sourced[int]:
    """Bytes of one worker rank.

    Parameters
    ----------
    grant : Grant
        What the node gives.
    worker_ranks : int
        Worker ranks on the node; fewer than 1 count as 1.
    headroom : float
        Part of the node's memory, from 0 up to but not including 1, that no worker gets: the scheduler, the
        client and the system live there.

    Returns
    -------
    Sourced[int]
        0 where nobody says how much memory there is.
    """
    ranks = max(1, worker_ranks)
    left = int(grant.node_memory.value * (1 - headroom)) // ranks
    return Sourced(left, f"{grant.node_memory.source}{_among(ranks)}, {headroom:.0%} headroom")


def _among(ranks: int) -> str:
    return f" / {ranks} worker ranks" if ranks > 1 else ""
