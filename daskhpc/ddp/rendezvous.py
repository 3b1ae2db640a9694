"""Where the ranks of a training meet: torch's store, on a port of rank 0."""

from __future__ import annotations

import socket
from typing import Any

_BACKLOG = 2048

_serving: list[Any] = []  # a store serves for as long as its object lives


def listen(host: str) -> socket.socket:
    """Take a port of the kernel's choice on the address that Dask uses; no other process can take it until the end."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, 0), family=family, backlog=_BACKLOG)


def serve(listening: socket.socket) -> None:
    """Start torch's store on a port that `listen` took; it serves until this process ends, as others may need it."""
    import torch.distributed as dist

    host, port = listening.getsockname()[:2]
    # Of the world's size it need not know: each rank is a client of its own.
    _serving.append(dist.TCPStore(host, port, None, True, wait_for_workers=False, master_listen_fd=listening.detach()))
