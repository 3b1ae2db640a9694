"""daskhpc's own job scripts and programs, on a real Slurm of three nodes."""

from __future__ import annotations

import functools
import platform
import re
import shlex
import shutil
import sys
import textwrap
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import flavors
import pandas as pd
import pytest
from bed import CRASH_IN_INIT, ENDED, TRIES_OF_INIT, SlurmBed
from flavors import Flavor
from pbs_site import PBSSite
from placed import placed
from ranks import messages, without_progress

import daskhpc

pytestmark = pytest.mark.slurm

REPOSITORY = Path(__file__).parents[2]
PYTHON = shlex.quote(sys.executable)
SRUN = "srun --overcommit --distribution=cyclic --cpus-per-task=4"
TWO = ("--nodes=2", "--nodelist=node1,node2")
OUTPUTS = ("--output=job.out", "--error=job.err", "--open-mode=truncate")  # apart
SECONDS = 15
CHECKPOINTS = shutil.ignore_patterns("checkpoint", "__pycache__")  # of runs in the repository


class Job(NamedTuple):
    """A job that has ended; `seconds` are those from the first that it wrote to its end."""

    state: str
    code: str
    out: str
    err: str
    seconds: float

    @property
    def messages(self) -> list[str]:
        """What daskhpc itself said."""
        return messages(self.err)

    @property
    def rows(self) -> dict[str, list[str]]:
        """The rows of the start table by role."""
        rows = [line.split() for line in self.err.splitlines() if re.match(r"  (scheduler|client|worker) ", line)]
        return {row[0]: row for row in rows}


class Submit:
    """Submits batch scripts into a folder with a hostile name."""

    def __init__(self, bed: SlurmBed, folder: Path) -> None:
        self.bed = bed
        self.folder = folder / "it's a $(folder); echo"
        self.folder.mkdir()

    def program(self, text: str) -> str:
        """Write a Python program; returns its name, quoted for a shell."""
        path = self.folder / "my program.py"
        path.write_text(textwrap.dedent(text))
        return shlex.quote(path.name)

    def batch(self, lines: str, *options: str, env: Mapping[str, str] | None = None, timeout: float = 150) -> Job:
        """Submit a script of these lines and wait until the job has ended and nothing of it is left."""
        script = self.folder / "job.sh"
        script.write_text("#!/bin/bash\n" + textwrap.dedent(lines))
        options = (*options, "--output=job.out", "--error=job.err", "--mem=2G", "--cpus-per-task=4")
        return self.file(script, *options, env=env, timeout=timeout)

    def file(
        self, script: Path | str, *options: str, env: Mapping[str, str] | None = None, timeout: float = 150
    ) -> Job:
        """The same for a script that is there."""
        for _ in range(TRIES_OF_INIT):
            job = self._once(script, *options, env=env, timeout=timeout)
            # What a job script of daskhpc prints itself apart, nothing has begun.
            begun = [line for line in job.out.splitlines() if not line.startswith("daskhpc: run ")]
            if begun or CRASH_IN_INIT not in job.err:
                break
        return job

    def pbs(self, script: str, *args: str, timeout: float = 150) -> Job:
        """The job of a script for PBS, by a qsub that stands in for it; its log has both outputs."""
        path = placed(self.folder / script, *args)
        began = time.monotonic()
        name = self.pbs_site.qsub(path)
        fields = self.bed.wait(int(name.partition(".")[0]), timeout)
        text = (path.parent / f"log-{name}.txt").read_text()
        return Job(fields["JobState"], fields["ExitCode"], text, text, time.monotonic() - began)

    @functools.cached_property
    def pbs_site(self) -> PBSSite:
        """A site with Torque, whose user has a home folder of his own."""
        home = self.folder / "home"
        home.mkdir()
        return PBSSite(self.bed, home, "torque")

    def of_folder(self, folder: str, system: str, *options: str, timeout: float = 150) -> Job:
        """The job of a folder of slurm/, for Slurm or for PBS, that has to complete on two nodes."""
        if system == "PBS":
            job = self.pbs(f"{folder}/job.pbs", timeout=timeout)
        else:
            placed(self.folder / f"{folder}/job.sbatch")
            job = self.file(f"{folder}/job.sbatch", *TWO, *OUTPUTS, *options, timeout=timeout)
        assert (job.state, job.code) == ("COMPLETED", "0:0"), job.err
        assert job.rows["worker"][1:3] == ["2-3", "node1,node2"]
        return job

    def _once(self, script: Path | str, *options: str, env: Mapping[str, str] | None, timeout: float) -> Job:
        for name in ("job.out", "job.err"):
            (self.folder / name).unlink(missing_ok=True)  # of the job before
        job = self.bed.sbatch(script, *options, cwd=self.folder, env=env)
        fields = self.bed.show(job)
        outputs = [Path(fields[name]) for name in ("StdOut", "StdErr")]
        spoke = time.monotonic()

        def ended() -> bool:
            nonlocal spoke
            if not any(path.exists() and path.stat().st_size for path in outputs):
                spoke = time.monotonic()  # a start takes as long as the machine is busy, and does not count
            return self.bed.show(job)["JobState"] in ENDED

        self.bed.until(ended, timeout, f"job {job} to end")
        seconds = time.monotonic() - spoke
        assert self.bed.left_of(job) == []
        fields = self.bed.show(job)
        out, err = (path.read_text() for path in outputs)
        return Job(fields["JobState"], fields["ExitCode"], out, err, seconds)


@pytest.fixture
def submit(slurm: SlurmBed, tmp_path: Path) -> Submit:
    return Submit(slurm, tmp_path)


def refused(job: Job, *words: str, seconds: float = SECONDS) -> None:
    """Ended in time, not as a success, with one message and no traceback."""
    assert job.state == "FAILED"
    assert job.seconds < seconds, job.err
    assert "not reached" not in job.out
    assert "Traceback" not in job.err
    (message,) = job.messages
    text = job.err[job.err.index(message) :]
    for word in words:
        assert word in text, job.err


def test_the_digits_search(submit: Submit, flavor: Flavor, tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "slurm", submit.folder / "slurm", ignore=CHECKPOINTS)
    script = placed(submit.folder / "slurm/digits_search/job.sbatch")
    job = submit.file(script, *TWO, *OUTPUTS, env=flavor.env, timeout=120)
    assert (job.state, job.code) == ("COMPLETED", "0:0"), job.err
    first, _, printed = job.out.partition("\n")
    assert first.startswith("daskhpc: run 1 of job ")
    line, *table = job.err.splitlines()
    assert line.startswith(
        f"daskhpc: {daskhpc.__version__}, Python {platform.python_version()}, {sys.executable}; {flavor.name} "
    )
    assert len(without_progress("\n".join(table))) <= 8, job.err
    scheduler, client, worker = (job.rows[role] for role in ("scheduler", "client", "worker"))
    assert [row[1:3] for row in (scheduler, client, worker)] == [
        ["0", "node1"],
        ["1", "node2"],
        ["2-3", "node1,node2"],
    ]
    assert worker[3:5] == ["1", "4"]
    serial = tmp_path / "serial"
    assert _without_time(printed) == _without_time(_serial_digits(serial))
    made = submit.folder / "slurm/digits_search/checkpoint"
    for score in ("precision_macro", "recall_macro"):
        table, alone = (pd.read_csv(folder / f"{score}.csv") for folder in (made, serial / "checkpoint"))
        same = [name for name in alone if "time" not in name]
        assert {"param_C", "param_gamma", "mean_test_score"} < set(same)
        pd.testing.assert_frame_equal(table[same], alone[same])
        assert (made / f"{score}.png").read_bytes().startswith(b"\x89PNG")


def _without_time(text: str) -> list[str]:
    return [line for line in text.splitlines() if "time" not in line]


def _serial_digits(folder: Path) -> str:
    """What the program prints when scikit-learn alone runs it, in this process; its files go to the folder."""
    import contextlib
    import io
    import types

    path = REPOSITORY / "slurm/digits_search/search.py"
    alone = path.read_text().replace("daskhpc.start()", "pass").replace("daskhpc.GridSearchCV", "GridSearchCV")
    alone = f"from sklearn.model_selection import GridSearchCV\n{alone.replace(', checkpoint=folder', '')}"
    main = types.ModuleType("__main__")
    main.__file__ = str(folder / path.name)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(alone, vars(main))
    return out.getvalue()


def test_data_goes_to_each_node_once(submit: Submit) -> None:
    """Three nodes with two worker processes each: the client's own node gets it from memory, the others once."""
    program = submit.program(
        """
        import os, pathlib, socket, time
        import joblib, numpy, daskhpc
        from daskhpc.parallel import worker_parcels

        client = daskhpc.start(processes=2)
        X = numpy.arange(6_000_000.0)

        def read(x, i):
            began = pathlib.Path(f"began-{socket.gethostname()}-{os.getpid()}")
            began.touch()
            deadline = time.monotonic() + 120
            while len(list(began.parent.glob("began-*"))) < 12 and time.monotonic() < deadline:
                time.sleep(0.1)  # until each process has a call
            return socket.gethostname(), os.getpid(), float(x[i::100].sum())

        def received():
            return socket.gethostname(), sum(kept.received for kept in worker_parcels._states.values())

        with joblib.Parallel(n_jobs=-1, backend="daskhpc") as parallel:
            results = parallel(joblib.delayed(read)(X, i % 100) for i in range(600))
            again = parallel(joblib.delayed(read)(X, i % 100) for i in range(100))
            counts = client.run(received).values()
        assert [s for _, _, s in results[:100]] == [float(X[i::100].sum()) for i in range(100)]
        assert [s for _, _, s in again] == [float(X[i::100].sum()) for i in range(100)]
        print("processes", len({(h, p) for h, p, _ in results}), "on", len({h for h, _, _ in results}))
        print("client", socket.gethostname())
        for host in sorted({h for h, _ in counts}):
            print("node", host, sum(n for h, n in counts if h == host) // X.nbytes)
        print("left", set(client.run(lambda: len(worker_parcels._states)).values()))
        """
    )
    three = ("--nodes=3", "--nodelist=node1,node2,node3")
    job = submit.batch(f"{SRUN} --ntasks=5 --mpi=pmi2 --kill-on-bad-exit=1 {PYTHON} {program}", *three)
    assert (job.state, job.code) == ("COMPLETED", "0:0"), job.err
    lines = job.out.splitlines()
    assert lines == ["processes 12 on 3", "client node2", "node node1 1", "node node2 0", "node node3 1", "left {0}"]
    assert len(without_progress(job.err)) <= 10, job.err


def test_the_digits_search_by_pbs(submit: Submit) -> None:
    shutil.copytree(REPOSITORY / "slurm/digits_search", submit.folder / "digits", ignore=CHECKPOINTS)
    job = submit.of_folder("digits", "PBS")
    assert job.out.count("Best parameters") == 2


def test_the_tutorial_form(submit: Submit, flavor: Flavor) -> None:
    program = submit.program(
        """
        from daskhpc import initialize
        from distributed import Client
        import socket

        initialize(interface="eth0", nthreads=2)
        client = Client()
        client.wait_for_workers(2, timeout=100)
        print(sorted(client.run(socket.gethostname).values()), sorted(client.nthreads().values()))
        """
    )
    job = submit.batch(f"{SRUN} --ntasks=4 --mpi={flavor.pmi} {PYTHON} {program}", *TWO, env=flavor.env)
    assert (job.code, job.out) == ("0:0", "['node1', 'node2'] [2, 2]\n"), job.err
    assert job.err == ""


LIMITS = """
    import daskhpc
    from daskhpc.compat.distributed import worker_infos
    client = daskhpc.start({arguments})
    workers = worker_infos(client).values()
    print(sorted(w["nthreads"] for w in workers), sum(w["memory_limit"] for w in workers) < 2 * 2 * 2**30)
    print(all(w["memory_limit"] < 2 * 2**30 for w in workers))
"""


@pytest.mark.parametrize(
    ("arguments", "threads"), [("", [4, 4]), ("processes=4", [1] * 8)], ids=["threads", "processes"]
)
def test_a_rank_has_what_it_was_granted(submit: Submit, arguments: str, threads: list[int]) -> None:
    program = submit.program(LIMITS.format(arguments=arguments))
    job = submit.batch(f"{SRUN} --ntasks=4 --mpi=pmi2 {PYTHON} {program}", *TWO)
    assert (job.code, job.out) == ("0:0", f"{threads} True\nTrue\n"), job.err
    assert "SLURM_CPUS_PER_TASK" in job.err
    assert "SLURM_MEM_PER_NODE" in job.err


WRONG_INTERFACE = "import daskhpc\ndaskhpc.start(interface='ib0')\nprint('not reached')\n"
START = "import daskhpc\ndaskhpc.start()\nprint('not reached')\n"


def test_a_wrong_interface(submit: Submit, flavor: Flavor) -> None:
    program = submit.program(WRONG_INTERFACE)
    job = submit.batch(f"{SRUN} --ntasks=4 --mpi={flavor.pmi} {PYTHON} {program}", *TWO, env=flavor.env)
    refused(job, "'ib0' does not exist", "eth0, lo")


def test_too_few_ranks(submit: Submit) -> None:
    job = submit.batch(f"{SRUN} --ntasks=2 --mpi=pmi2 {PYTHON} {submit.program(START)}", *TWO)
    refused(job, "at least 3 MPI ranks")


@pytest.mark.parametrize("kill", ["", "--kill-on-bad-exit=1"], ids=["bare", "kill"])
@pytest.mark.parametrize(("name", "pmi", "right"), [
    ("mpich", "none", "pmi2"), ("mpich", "pmix", "pmi2"), ("openmpi", "none", "pmix"), ("openmpi", "pmi2", "pmix"),
])  # fmt: skip
def test_the_wrong_mpi(submit: Submit, openmpi: Mapping[str, str], name: str, pmi: str, right: str, kill: str) -> None:
    env = {**(openmpi if name == "openmpi" else {}), "DASK_DASKHPC__BOOTSTRAP": "mpi"}
    job = submit.batch(f"{SRUN} --ntasks=4 --mpi={pmi} {kill} {PYTHON} {submit.program(START)}", *TWO, env=env)
    words = ({"mpich": "MPICH", "openmpi": "Open MPI"}[name], "srun --mpi=list offers", f"srun --mpi={right}")
    # Under a bare srun the ranks but the first let it speak before MPI_Init and again before they end.
    refused(job, *words, seconds=SECONDS if kill else 3 * SECONDS)


WITHOUT_MPI = """
    import os, sys
    import daskhpc

    client = daskhpc.start()
    print(sorted(set(client.run(lambda: os.uname().nodename).values())), os.uname().nodename)
    mpi = sys.modules.get("mpi4py.MPI")
    print(client.submit(sum, [1, 2, 3]).result(), mpi is not None and mpi.Is_initialized())
    print([name for name in os.listdir() if name.startswith(".daskhpc")])
    sys.exit(3)
"""


@pytest.mark.parametrize(
    ("name", "pmi", "bootstrap"),
    [("mpich", "none", "auto"), ("openmpi", "pmi2", "auto"), ("none", "pmi2", "auto"), ("mpich", "pmi2", "slurm")],
)
def test_ranks_meet_without_mpi(
    submit: Submit, openmpi: Mapping[str, str], name: str, pmi: str, bootstrap: str
) -> None:
    """Where MPI does not talk to srun, where there is none, and where it is not wanted; srun gets no flag of ours."""
    library = {"openmpi": openmpi, "none": {"MPI4PY_LIBMPI": "/nowhere/libmpi.so"}}.get(name, {})
    env = {**library, "DASK_DASKHPC__BOOTSTRAP": bootstrap}
    program = submit.program(WITHOUT_MPI)
    job = submit.batch(f"{SRUN} --ntasks=5 --mpi={pmi} {PYTHON} {program}", "--nodes=3", env=env)
    assert (job.state, job.code) == ("FAILED", "3:0"), job.err
    assert job.out.splitlines() == ["['node1', 'node2', 'node3'] node2", "6 False", "[]"]
    assert "connections encrypted (tls), for this run alone: 3 nodes" in job.err
    assert len(job.err.splitlines()) <= 10, job.err


@pytest.mark.parametrize("role", ["scheduler", "client", "worker"])
def test_the_death_of_a_rank_without_mpi(submit: Submit, role: str) -> None:
    """No launcher's help: a bare srun would wait for the others for ever."""
    program = submit.program(
        f"""
        import os, signal, time
        import daskhpc

        client = daskhpc.start()

        def die(parent=False):
            os.kill(os.getppid() if parent else os.getpid(), signal.SIGKILL)

        if {role!r} == "client":
            die()
        elif {role!r} == "scheduler":
            client.run_on_scheduler(die)
        else:
            client.submit(die, True)
        time.sleep(600)
        """
    )
    job = submit.batch(f"{SRUN} --ntasks=5 --mpi=none {PYTHON} {program}", "--nodes=3")
    assert job.state == "FAILED"
    assert job.seconds < SECONDS, job.err
    assert job.err.count("daskhpc: The ") == 1, job.err
    name = "worker's rank" if role == "worker" else role
    assert f"daskhpc: The {name} ended, so the job ends." in job.err


RAISES = """
    import os
    if os.environ["SLURM_PROCID"] == "2":
        raise RuntimeError("a bad node")
    import daskhpc
    daskhpc.start()
    print("not reached")
"""


@pytest.mark.parametrize("kill", ["", "--kill-on-bad-exit=1"], ids=["bare", "kill"])
def test_a_rank_that_raises_alone_on_its_node(submit: Submit, flavor: Flavor, kill: str) -> None:
    """Rank 2 of 4 on three nodes has no neighbour; under a bare srun the start deadline ends the others."""
    program = submit.program(RAISES)
    env = {**flavor.env, "DASK_DASKHPC__START_DEADLINE": "6"}
    job = submit.batch(f"{SRUN} --ntasks=4 --mpi={flavor.pmi} {kill} {PYTHON} {program}", "--nodes=3", env=env)
    assert job.state == "FAILED"
    # Under a bare srun the first words are those of rank 2, and the others may begin long after it.
    assert job.seconds < (SECONDS if kill else 3 * SECONDS), job.err
    assert job.out == ""
    assert job.err.count("Traceback") == 1
    assert bool(job.messages) == (not kill), job.err
    # A rank that begins two seconds after the next one may say it at the same time.
    assert {line.partition(",")[0] for line in job.messages} <= {"daskhpc: not all ranks arrived within 6 s"}, job.err


def test_a_killed_client_ends_a_bare_step(submit: Submit) -> None:
    program = submit.program("import os, daskhpc\ndaskhpc.start()\nos.kill(os.getpid(), 9)\n")
    job = submit.batch(f"{SRUN} --ntasks=4 --mpi=pmi2 {PYTHON} {program}", *TWO)
    assert job.state == "FAILED"
    assert job.seconds < SECONDS
    assert "rank 1 on node2" in job.err


ORDINARY = """
    import socket, sys
    from distributed import get_client
    print(sys.argv[1:], __name__, sorted(get_client().run(socket.gethostname).values()))
    sys.exit(3)
"""


def test_run_inside_an_allocation(submit: Submit, flavor: Flavor) -> None:
    """Submitted in a shell of another job, whose memory per CPU contradicts this job's memory per node."""
    program = submit.program(ORDINARY)
    outer = {"SLURM_MEM_PER_CPU": "300", **flavor.env}
    job = submit.batch(f"{PYTHON} -m daskhpc run {program} -n 'a b'", "--nodes=3", env=outer)
    assert job.code == "3:0", job.err
    assert job.out == "['-n', 'a b'] __main__ ['node1', 'node2', 'node3']\n"
    assert job.messages == []
    assert " 1.80 GiB " in " ".join(job.rows["worker"]), job.err


def test_run_prints_its_line(submit: Submit) -> None:
    job = submit.batch(f"{PYTHON} -m daskhpc run --dry-run {submit.program('')} x", *TWO)
    words = shlex.split(job.out)
    assert words[:4] == ["env", "-u", "SLURM_NTASKS_PER_NODE", "SRUN_CPUS_PER_TASK=4"]
    assert words[4] == "srun"
    assert {"--overcommit", "--distribution=cyclic", "--nodes=2", "--ntasks=4", "--cpus-per-task=4"} < set(words)
    assert {"--kill-on-bad-exit=1", "--mpi=pmi2"} < set(words)
    assert words[-2:] == ["my program.py", "x"]


def test_a_launch_inside_every_rank(submit: Submit) -> None:
    """With enough ranks and the right --mpi it is a rank of them; by plain srun it is refused."""
    program = submit.program(ORDINARY)
    job = submit.batch(f"{SRUN} --ntasks=4 --mpi=pmi2 {PYTHON} -m daskhpc run {program}", *TWO)
    assert (job.code, job.out) == ("3:0", "[] __main__ ['node1', 'node2']\n"), job.err
    refused(submit.batch(f"srun {PYTHON} -m daskhpc run {submit.program(START)}", *TWO), "at least 3 MPI ranks")


def test_run_inside_a_single_task_shell(submit: Submit) -> None:
    """As in ``srun --pty bash``: the step that runs the command holds CPUs that the new step must share."""
    inner = f"{PYTHON} -m daskhpc run {submit.program(ORDINARY)}"
    job = submit.batch(f"srun --nodes=1 --ntasks=1 bash -c {shlex.quote(inner)}", *TWO)
    assert (job.code, job.out) == ("3:0", "[] __main__ ['node1', 'node2']\n"), job.err


def test_plain_python_uses_one_node_and_says_so(submit: Submit) -> None:
    program = submit.program("import daskhpc\nprint(sum(daskhpc.start().nthreads().values()))\n")
    job = submit.batch(f"{PYTHON} {program}", *TWO)
    assert (job.code, job.out) == ("0:0", "4\n"), job.err
    assert "1 of 2 nodes used" in job.err
    assert "daskhpc run 'my program.py'" in job.err


def test_the_dask_ml_tutorial(submit: Submit) -> None:
    """Unmodified under ``daskhpc run``; under srun alone it is dask-mpi's own."""
    flavor = flavors.openmpi()
    shutil.copy(REPOSITORY / "tests/mpi/dask_ml_tutorial.py", submit.folder / "tutorial.py")
    lines = (f"{PYTHON} -m daskhpc run tutorial.py", f"{SRUN} --ntasks=4 --mpi={flavor.pmi} {PYTHON} tutorial.py")
    first, second = (submit.batch(line, *TWO, env=flavor.env) for line in lines)
    assert first.code == second.code == "0:0", first.err + second.err
    assert first.out == second.out
    assert first.out.startswith("{'C': ")
