"""The maintenances that a site has planned, and the jobs that would run into them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from .job_state import moment

COMMAND = ("scontrol", "--oneliner", "show", "reservation")


@dataclass(frozen=True, slots=True)
class Maintenance:
    """A time in which nodes take no jobs.

    Attributes
    ----------
    name : str
    start, end : float
        Unix time.
    whole : bool
        Whether it is of all nodes.
    """

    name: str
    start: float
    end: float
    whole: bool


def parse_reservations(output: str) -> tuple[Maintenance, ...]:
    """The maintenances of what `COMMAND` printed; other reservations are not among them.

    Examples
    --------
    >>> line = "ReservationName=spring StartTime=2026-12-01T08:00:00 EndTime=2026-12-01T18:00:00 Flags=MAINT,ALL_NODES"
    >>> [(found.name, found.whole, found.end - found.start) for found in parse_reservations(line)]
    [('spring', True, 36000.0)]
    """
    found = []
    for line in output.splitlines():
        fields = dict(re.findall(r"(\w+)=(\S*)", line))
        flags = fields.get("Flags", "").split(",")
        start, end = moment(fields.get("StartTime", "")), moment(fields.get("EndTime", ""))
        if "MAINT" in flags and start is not None and end is not None:
            found.append(Maintenance(fields.get("ReservationName", ""), start, end, "ALL_NODES" in flags))
    return tuple(found)


def crossed(maintenances: Iterable[Maintenance], now: float, limit: float | None) -> Maintenance | None:
    """The first maintenance of all nodes that a job would run into if it started now; None if there is none.

    Parameters
    ----------
    maintenances : Iterable[Maintenance]
    now : float
    limit : float or None
        The job's time limit in seconds; None for no limit, which crosses any.

    Examples
    --------
    >>> planned = [Maintenance("spring", start=7200.0, end=9000.0, whole=True)]
    >>> crossed(planned, 0.0, 3600.0) is None, crossed(planned, 0.0, 10800.0).name, crossed(planned, 0.0, None).name
    (True, 'spring', 'spring')
    """
    ahead = sorted((m for m in maintenances if m.whole and m.end > now), key=lambda m: m.start)
    return next((m for m in ahead if limit is None or now + limit > m.start), None)
