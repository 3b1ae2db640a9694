"""The link that opens the dashboard: on what it is printed, in which file it is kept, how a laptop gets it.

What a job prints goes to a log that others may be able to read, and a rank's output to a pipe of its launcher. So the
link itself is printed on a terminal and shown in a notebook alone; elsewhere the place of a file is printed that only
its owner can read.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from ..compat.python import at_exit
from ..own_files import make_own_folder, open_own, state_folder

_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class DashboardLink:
    """The link to a dashboard.

    Attributes
    ----------
    link : str
        As it works on the nodes of the cluster.
    host : str
        The node that it is on, if its address is that of the node's own loopback.
    submit_host : str or None
        The login node through which the user's own machine reaches the node.
    shown : bool
        Whether what is printed is seen by the user alone.
    file : Path or None
        Where the link is kept; None if it is not.
    """

    link: str
    host: str
    submit_host: str | None = None
    shown: bool = True
    file: Path | None = None

    def note(self) -> str:
        """The line of the start table."""
        if self.shown:
            said = f"dashboard {self.link}"
        elif self.file is not None:
            said = f"dashboard: cat {shlex.quote(str(self.file))} has its link, which is for you alone"
        else:
            said = "dashboard: print(client.dashboard_link) has its link, which is for you alone"
        way = tunnel(self)
        return f"{said}  (from your machine: {way})" if way else said

    def lines(self) -> str:
        """The text of the file: the link through the tunnel, and inside the cluster."""
        url = urlsplit(self.link)
        through = urlunsplit(url._replace(netloc=f"{_LOOPBACK}:{url.port}"))
        return f"{through}  through ssh -L\n{self.link}  inside the cluster\n"


def tunnel(dashboard: DashboardLink) -> str:
    """The ssh line that brings a dashboard to the user's own machine; empty on that machine.

    It ends before it shows the link if another process has the port at its near end: a browser would send the secret to
    that one. The near end is named by its address, since ``localhost`` has two, and ssh is content with one.
    """
    url = urlsplit(dashboard.link)
    if dashboard.submit_host is None or url.port is None:
        return ""
    there = dashboard.host if url.hostname in (_LOOPBACK, "localhost") else url.hostname
    end = f"-o ExitOnForwardFailure=yes -L {_LOOPBACK}:{url.port}:{there}:{url.port}"
    shows = f" tail -f {shlex.quote(str(dashboard.file))}" if dashboard.file else ""
    login = dashboard.submit_host if "@" in dashboard.submit_host else f"{_user()}@{dashboard.submit_host}"
    return f"ssh {end} {shlex.quote(login)}{shows}"


def keep_link(link: str, host: str, submit_host: str | None, run: str) -> DashboardLink:
    """Keep the link of a run in a file of mode 0600, until this process ends, if it is not seen otherwise.

    Parameters
    ----------
    link, host, submit_host
        As `DashboardLink` has them.
    run : str
        The name of the file.
    """
    shown = "ipykernel" in sys.modules or sys.stderr.isatty()
    kept = DashboardLink(link, host, submit_host, shown)
    if shown and submit_host is None:
        return kept
    file = state_folder() / "dashboards" / run
    try:
        make_own_folder(file.parent)
        with open(open_own(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "w") as text:
            text.write(kept.lines())
    except OSError:  # a home that cannot be written to is no reason to end
        return kept
    at_exit(_remove, file)
    return DashboardLink(link, host, submit_host, shown, file)


def _remove(file: Path) -> None:
    with contextlib.suppress(OSError):
        file.unlink()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
