"""Signals that a launcher sends to every process of a job are the program's to answer."""

from __future__ import annotations

import re
import signal

import pytest
from ranks import Ranks

pytestmark = pytest.mark.mpi

PROGRAM = """
    import faulthandler, os, signal, subprocess, sys, time
    import daskhpc

    answered = []
    SIGNALS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)

    def answer(number, frame):
        answered.append(number)

    if sys.argv[1] == "before":
        for number in SIGNALS:
            signal.signal(number, answer)
        faulthandler.register(signal.SIGUSR1, open("stack", "w"), chain=True)
    client = daskhpc.start()
    if sys.argv[1] == "after":
        for number in SIGNALS:
            signal.signal(number, answer)
        faulthandler.register(signal.SIGUSR1, open("stack", "w"), chain=True)

    def interrupted():
        tool = subprocess.Popen(["sleep", "20"])
        tool.send_signal(signal.SIGINT)
        return tool.wait()

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
    deadline = time.monotonic() + 60
    while len(answered) < len(SIGNALS) and time.monotonic() < deadline:
        time.sleep(0.05)
    print(sorted(answered) == sorted(SIGNALS), len(everybody) >= 5, client.run(os.getpid) == before)
    print(client.submit(sum, [1, 2, 3]).result(), os.path.getsize("stack") > 0, client.submit(interrupted).result())
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_the_programs_handlers_answer_and_all_else_goes_on(ranks: Ranks, when: str) -> None:
    done = ranks.mpiexec(4, ranks.script(PROGRAM), when)
    assert (done.code, done.out) == (0, "True True True\n6 True -2\n"), done.err


UNANSWERED = """
    import ctypes, os, signal, subprocess, sys, threading, time
    import daskhpc

    number = getattr(signal, sys.argv[1])
    client = daskhpc.start()
    kill = f"import os; os.kill(os.getpid(), {int(number)}); print('goes on')"
    child = subprocess.run([sys.executable, "-c", kill], capture_output=True)
    forked = os.fork()
    if not forked:
        os.kill(os.getpid(), number)
        os._exit(0)
    _, status = os.waitpid(forked, 0)
    default = signal.getsignal(number) is signal.SIG_DFL
    found = client.submit(sum, [1, 2]).result()
    print(child.returncode == -number, os.WTERMSIG(status) == number, default, found, flush=True)
    main, sleep = threading.get_ident(), ctypes.CDLL(None).sleep

    def send():
        while (frame := sys._current_frames()[main]).f_code.co_name != "<module>" or frame.f_lineno != 28:
            time.sleep(0.01)
        if number == signal.SIGALRM:  # as the kernel may do with any: it gives the signal to this thread
            signal.pthread_kill(threading.get_ident(), number)
        else:
            subprocess.Popen(["kill", f"-{int(number)}", str(os.getpid())])

    threading.Thread(target=send, daemon=True).start()
    sleep(60)
    time.sleep(60)  # the first one was interrupted
    print("not reached")
"""


@pytest.mark.parametrize("name", ["SIGUSR1", "SIGALRM", "SIGXCPU"])
def test_a_signal_without_a_handler_ends_the_job_with_its_code_and_its_name(ranks: Ranks, name: str) -> None:
    """Also during C code; MPICH's mpiexec would say 11, 15 and 25. A child has the default."""
    number = int(signal.Signals[name])
    done = ranks.mpiexec(4, ranks.script(UNANSWERED), name)
    assert (done.code, done.out) == (128 + number, "True True True 3\n"), done.err
    (message,) = done.messages
    assert name in message
    assert f"exit code {128 + number}" in message
    assert re.search(r"  found: process \d+ on .*, at File .*program.py\", line 28 in <module>", done.err), done.err


def test_a_signal_at_the_very_end_of_the_program_counts(ranks: Ranks) -> None:
    program = "import daskhpc, os, signal; client = daskhpc.start(); os.kill(os.getpid(), signal.SIGUSR1)"
    done = ranks.mpiexec(4, ranks.script(program))
    assert done.code == 128 + signal.SIGUSR1, done.err
    assert "got SIGUSR1" in done.err


# Of what faulthandler writes, a part may come after the line that is looked for: here all does.
UNREAD = """
    import daskhpc, os, signal, time
    from daskhpc.cluster import unanswered_signals

    unanswered_signals._place = lambda *_: ""
    client = daskhpc.start()
    os.kill(os.getpid(), signal.SIGHUP)
    time.sleep(60)
"""


def test_what_is_not_read_about_a_signal_does_not_hold_up_the_end(ranks: Ranks) -> None:
    done = ranks.mpiexec(4, ranks.script(UNREAD), timeout=60)
    assert done.code == 128 + signal.SIGHUP, done.err
    assert done.err.count("got SIGHUP") == 1


# As `scontrol suspend` and `scontrol resume` do; this process alone goes on.
SUSPEND = """
    import os, signal, time

    run = "DASKHPC_TEST_RUN=" + os.environ["DASKHPC_TEST_RUN"]
    stopped = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if int(pid) != os.getpid() and run in open(f"/proc/{pid}/environ").read().split(chr(0)):
                os.kill(int(pid), signal.SIGSTOP)
                stopped.append(int(pid))
        except OSError:
            continue
    time.sleep(8)
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)
"""
SUSPENDED = """
    import os, subprocess, sys
    import daskhpc

    def work(milliseconds):
        import time
        end = time.process_time() + milliseconds / 1000
        while time.process_time() < end:
            pass
        with open("calls", "a") as calls:
            calls.write("x")
        return os.getpid()

    client = daskhpc.start(dashboard=False)
    before = client.run(os.getpid)
    held = client.scatter(list(range(4)))
    calls = [client.submit(work, 1500, pure=False) for _ in before]
    subprocess.run([sys.executable, "suspend.py"], check=True)
    client.submit(work, 9000, pure=False).result()  # until the scheduler has looked
    print(client.run(os.getpid) == before, client.gather(held), len(client.gather(calls)))
    print(os.path.getsize("calls") - len(calls))
"""


@pytest.mark.parametrize("mode", [{}, {"MPI4PY_LIBMPI": "/nowhere/libmpi.so"}], ids=["mpiexec", "local"])
def test_a_job_that_was_suspended_goes_on_where_it_was(ranks: Ranks, mode: dict[str, str]) -> None:
    """Here workers count as silent after 5 s, the least that Dask takes; it is 5 minutes otherwise."""
    ranks.script(SUSPEND, "suspend.py")
    silent = {"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "1s"}
    done = ranks.daskhpc("run", "-n", "2", str(ranks.script(SUSPENDED)), timeout=250, **mode, **silent)
    assert (done.code, done.out) == (0, "True [0, 1, 2, 3] 2\n1\n"), done.err
    assert "failed to heartbeat" not in done.err
