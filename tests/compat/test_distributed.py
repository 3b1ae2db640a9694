"""What daskhpc needs of distributed beyond its public names is still there."""

from __future__ import annotations

import os
from typing import Any

from daskhpc.compat import distributed as compat


def test_a_forked_process_does_not_have_the_clients_thread(client: Any) -> None:
    assert compat.runs_in_this_process(client)
    child = os.fork()
    if child == 0:
        os._exit(int(compat.runs_in_this_process(client)))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
