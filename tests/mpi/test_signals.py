"""Signals that a launcher sends to every process of a job are the program's to answer."""

from __future__ import annotations

import pytest
from ranks import Ranks

pytestmark = pytest.mark.mpi

PROGRAM = """
    import os, signal, sys, time
    import daskhpc

    answered = []
    SIGNALS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)

    def answer(number, frame):
        answered.append(number)

    if sys.argv[1] == "before":
        for number in SIGNALS:
            signal.signal(number, answer)
    client = daskhpc.start()
    if sys.argv[1] == "after":
        for number in SIGNALS:
            signal.signal(number, answer)

    def ranks_and_workers():
        mine = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                words = open(f"/proc/{pid}/cmdline").read().split(chr(0))
                variables = open(f"/proc/{pid}/environ").read().split(chr(0))
            except OSError:
                continue
            marked = "DASKHPC_TEST_RUN=" + os.environ["DASKHPC_TEST_RUN"] in variables
            if marked and ("program.py" in " ".join(words) or "spawn_main" in " ".join(words)) and "-n" not in words:
                mine.append(int(pid))
        return mine

    everybody = ranks_and_workers()
    before = client.run(os.getpid)
    for number in SIGNALS:
        for pid in everybody:
            os.kill(pid, number)
    deadline = time.monotonic() + 20
    while len(answered) < len(SIGNALS) and time.monotonic() < deadline:
        time.sleep(0.05)
    print(sorted(answered) == sorted(SIGNALS), len(everybody) >= 5, client.run(os.getpid) == before)
    print(client.submit(sum, [1, 2, 3]).result())
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_the_programs_handlers_answer_and_all_else_goes_on(ranks: Ranks, when: str) -> None:
    done = ranks.mpiexec(4, ranks.script(PROGRAM), when)
    assert (done.code, done.out) == (0, "True True True\n6\n"), done.err
