"""What daskhpc needs of distributed beyond its public names."""

from __future__ import annotations

import threading
from typing import Any


def runs_in_this_process(client: Any) -> bool:
    """Whether the thread of a client's event loop runs in this process.

    It does not in a process that was forked from the client's process: the client object is there, its thread is not,
    and every call would wait for ever. ``asyncio`` keeps the thread's identity under a private name; if a release has
    none, the client is taken for one of this process.
    """
    loop = getattr(client.loop, "asyncio_loop", None)
    thread = getattr(loop, "_thread_id", None)
    return thread is None or thread in {t.ident for t in threading.enumerate()}
