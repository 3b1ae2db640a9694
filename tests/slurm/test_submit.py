"""``daskhpc submit`` on a real Slurm of three nodes: from an empty folder to a result."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest
from bed import SlurmBed

from daskhpc.launch.job_folder import JobFolder

pytestmark = pytest.mark.slurm

SEARCH = """
    import os, sys
    from sklearn.datasets import load_digits
    from sklearn.model_selection import GridSearchCV
    from sklearn.svm import SVC

    X, y = load_digits(return_X_y=True)
    search = GridSearchCV(SVC(), {"C": [1, 10]}, n_jobs=-1, cv=3).fit(X[:300], y[:300])
    print(search.best_params_, sys.argv, os.getcwd())
"""


class LoginNode:
    """A user's folder on the login side of a bed."""

    def __init__(self, bed: SlurmBed, folder: Path) -> None:
        self.bed = bed
        self.folder = folder / "work"
        self.folder.mkdir()
        self.env = {"XDG_STATE_HOME": str(folder / "state")}

    def program(self, text: str, name: str = "search.py") -> str:
        (self.folder / name).write_text(textwrap.dedent(text))
        return name

    def run(self, *words: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-P", "-m", "daskhpc", *words]
        return self.bed.run(line, 120, self.folder, {**self.env, **(env or {})})

    def submit(self, *words: str, env: Mapping[str, str] | None = None) -> tuple[int, JobFolder]:
        """Submit; the job's id and its folder."""
        done = self.run("submit", *words, env=env)
        assert done.returncode == 0, done.stderr
        (folder,) = (self.folder / "daskhpc-jobs").iterdir()
        return int(done.stdout), JobFolder(folder)

    def finished(self, *words: str, env: Mapping[str, str] | None = None) -> tuple[dict[str, str], str, JobFolder]:
        """Submit and wait for the job's end; its fields, its log and its folder."""
        job, folder = self.submit(*words, env=env)
        fields = self.bed.wait(job, 150)
        (submitted,) = folder.submitted()
        return fields, (folder.path / submitted.log).read_text(), folder


@pytest.fixture
def login(slurm: SlurmBed, tmp_path: Path) -> LoginNode:
    return LoginNode(slurm, tmp_path)


def test_from_an_empty_folder_to_a_result(login: LoginNode) -> None:
    program = login.program(SEARCH)
    fields, log, folder = login.finished("--nodes", "2", "--time", "5:00", program, "a b", "-n")
    assert (fields["JobState"], fields["ExitCode"]) == ("COMPLETED", "0:0"), log
    assert (fields["TimeLimit"], fields["NumNodes"], fields["NumCPUs"]) == ("00:05:00", "2", "8")
    script = str(login.folder / program)
    assert f"{{'C': 1}} {[script, 'a b', '-n']} {login.folder}" in log
    assert [mark.event for mark in folder.marks()] == ["began", "ended"]
    assert folder.marks()[1].value == "0"
    assert folder.path.stat().st_mode & 0o777 == 0o700


HOSTILE = (
    "a b",
    "",
    "it's",
    '"q"',
    "; touch pwned",
    "$(touch pwned) `touch pwned`",
    "two\nlines",
    "-n",
    "--",
    "é",
    "\\",
)
SHOWS = """
    import json, os, sys
    import beside
    print("SEEN " + json.dumps([sys.argv, os.environ["X"], os.getcwd(), beside.TEXT, os.path.dirname(__file__)]))
"""


def test_hostile_values_arrive_unchanged_and_never_run(login: LoginNode) -> None:
    """And what was submitted is what runs: program and module are changed while the job waits."""
    name = "-it's; touch pwned $(touch pwned) é.py"
    login.folder = login.folder / "a 'b' $(touch pwned); é"
    login.folder.mkdir()
    login.program(SHOWS, name)
    login.program("TEXT = 'as submitted'", "beside.py")
    title = "; touch pwned #3 'packjob' \\ \"é\""
    hostile = ["--name", title, "--env", f"X={HOSTILE[6]}; touch pwned", "--hold", "--mem=1G", "-c1"]
    job, folder = login.submit(*hostile, "--", name, *HOSTILE)
    login.program("TEXT = 'changed'", "beside.py")
    login.program("print('changed')", name)
    assert login.bed.run(["scontrol", "release", str(job)], 30).returncode == 0
    fields = login.bed.wait(job, 150)
    log = (folder.path / folder.submitted()[0].log).read_text()
    assert fields["ExitCode"] == "0:0", log
    (line,) = [text for text in log.splitlines() if text.startswith("SEEN ")]
    here = str(login.folder)
    program = [f"{here}/{name}", *HOSTILE]
    assert json.loads(line[5:]) == [program, "two\nlines; touch pwned", here, "as submitted", here]
    assert fields["JobName"] == title
    assert [path for path in login.folder.rglob("*") if path.name == "pwned"] == []


def test_from_inside_another_job(login: LoginNode) -> None:
    """The inner job has its own memory, time and CPUs, and not what the outer job's variables say."""
    login.program("import os\nprint('INNER', os.environ.get('SLURM_MEM_PER_CPU'), os.environ['SLURM_CPUS_PER_TASK'])")
    line = [sys.executable, "-P", "-m", "daskhpc", "submit", "-c2", "--mem=1G", "--time=5m", "search.py"]
    script = login.folder / "outer.sh"
    script.write_text(f"#!/bin/bash\nexport SBATCH_TIMELIMIT=1\nsrun {shlex.join(line)}\n")
    outer = login.bed.sbatch(
        script, "--mem-per-cpu=300", "--ntasks-per-node=1", "--nodes=1", "--output=outer.out", cwd=login.folder,
        env=login.env,
    )  # fmt: skip
    login.bed.wait(outer, 120)
    text = (login.folder / "outer.out").read_text()
    assert (login.folder / "daskhpc-jobs").is_dir(), text
    (path,) = (login.folder / "daskhpc-jobs").iterdir()
    (submitted,) = JobFolder(path).submitted()
    fields = login.bed.wait(int(submitted.id), 150)
    log = (path / submitted.log).read_text()
    assert (fields["ExitCode"], fields["TimeLimit"], fields["MinMemoryNode"]) == ("0:0", "00:05:00", "1G"), log
    assert "INNER None 2" in log
    assert text.splitlines()[0] == submitted.id


NOISE = "echo NOISE; cd /; export PATH=/nowhere; exit 3\n"
SEES = """
    import json, os, sys
    seen = [os.environ.get(name) for name in ("LEFT", "TMPDIR", "SLURM_MEM_PER_CPU", "SHELL")]
    print("SEEN " + json.dumps([sys.executable, os.getcwd(), os.environ["PATH"].split(":")[0], *seen]))
"""
# What JupyterLab does in a job: a kernel that is a child of a step, and submits.
NOTEBOOK = """
    import nbclient, nbformat
    line = "import daskhpc; print(daskhpc.submit('search.py', cpus_per_task=1, memory='1G', time='5m').folder)"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(line)])
    print(nbclient.NotebookClient(notebook).execute().cells[0].outputs[0]["text"])
"""


def test_no_login_shell_and_no_luck_are_needed(login: LoginNode) -> None:
    """From salloc with memory per CPU, by a user of tcsh whose files of bash are a trap, with ``--export=NONE``.

    And from a notebook within that job.
    """
    login.program(SEES)
    login.program(NOTEBOOK, "notebook.py")
    home = login.folder / "home"
    home.mkdir()
    for name in (".bashrc", ".bash_profile", ".profile", ".tcshrc", ".login"):
        (home / name).write_text(NOISE)
    bed_variables = [f"--env={name}" for name in login.bed.env if not name.startswith("SLURM_")]
    words = ["submit", "-c1", "--mem=1G", "--time=5m", "--slurm=--export=NONE", *bed_variables, "search.py"]
    python = shlex.join([sys.executable, "-P"])
    line = f"{python} -m daskhpc {shlex.join(words)} && srun --overlap {python} notebook.py"
    env = {"HOME": str(home), "SHELL": "/bin/tcsh", "LEFT": "of the session", "TMPDIR": str(home / "gone"), **login.env}
    salloc = ["salloc", "--quiet", "--nodes=1", "--ntasks=1", "--mem-per-cpu=300", "sh", "-c", line]
    (home / "gone").mkdir()
    done = login.bed.run(salloc, 150, login.folder, env)
    assert done.returncode == 0, done.stderr
    (home / "gone").rmdir()
    folders = sorted((login.folder / "daskhpc-jobs").iterdir())
    assert len(folders) == 2, done.stdout
    for folder in map(JobFolder, folders):
        (submitted,) = folder.submitted()
        fields = login.bed.wait(int(submitted.id), 90)
        log = (folder.path / submitted.log).read_text()
        assert (fields["ExitCode"], fields["MinMemoryNode"], fields["TimeLimit"]) == ("0:0", "1G", "00:05:00"), log
        assert "NOISE" not in log
        (seen,) = [json.loads(text[5:]) for text in log.splitlines() if text.startswith("SEEN ")]
        alone = submitted.id == done.stdout.split()[0]
        place = str(Path(sys.executable).parent)
        assert seen[:3] == [sys.executable, str(login.folder), place]
        assert seen[3] == (None if alone else "of the session")
        assert seen[4] != env["TMPDIR"]
        assert seen[5] is None


ELEMENTS = """
    import os, time
    element = os.environ["SLURM_ARRAY_TASK_ID"]
    print("this is element", element, flush=True)
    if element == "1":
        raise ValueError("of element 1")
    while element == "2":
        time.sleep(1)
"""


def test_an_array(login: LoginNode) -> None:
    """Each element has a log and a state of its own, and can be cancelled alone."""
    job, folder = login.submit("--array=0-2", "-c1", "--mem=1G", "--time=5m", login.program(ELEMENTS))

    def ended() -> dict[str, str]:
        return {mark.job: mark.value for mark in folder.marks() if mark.event == "ended"}

    last = folder.path / f"log-{job}_2.txt"
    login.bed.until(lambda: len(ended()) == 2 and last.exists() and "element 2" in last.read_text(), 150, "elements")
    assert ended() == {f"{job}_0": "0", f"{job}_1": "1"}
    assert "this is element 0\n" in login.run("logs", f"{job}_0").stdout
    whole = login.run("logs", str(job))
    assert whole.stdout.startswith("Traceback (most recent call last):"), whole.stdout
    assert "ValueError: of element 1" in whole.stdout
    assert f"{job} search, element 1, " in whole.stderr
    assert "    elements: 1 running, 1 failed (1), 1 completed\n" in login.run("jobs", str(job)).stdout
    assert login.run("jobs", f"{job}_0").stdout.split()[:3] == [f"{job}_0", "search", "completed,"]
    cancelled = login.run("cancel", f"{job}_2")
    assert cancelled.stdout == f"{job}_2 search: cancelled\n", cancelled.stderr
    login.bed.until(lambda: len(ended()) == 3, 60, "the last element")
    login.bed.wait(job, 60)
    (listed,) = json.loads(login.run("jobs", "--json", f"{job}_1").stdout)
    assert listed["state"] == "FAILED"
    assert "this is element 2\n" in login.run("logs", f"{job}_2").stdout


GOES_ON = """
    import os, sys, time
    from pathlib import Path
    import daskhpc
    from daskhpc.runtime.commands import with_end_time
    print("end from", with_end_time(daskhpc.discover()).end_time.source, flush=True)
    if os.environ["SLURM_JOB_ID"] != os.environ["SLURM_ARRAY_JOB_ID"]:
        sys.exit(0)
    until = time.monotonic() + 60
    (marks,) = Path("daskhpc-jobs").glob("*/marks")
    while " ended " not in marks.read_text() and time.monotonic() < until:
        time.sleep(0.2)
    sys.exit(75)
"""


def test_an_element_that_goes_on_leaves_the_others_alone(login: LoginNode) -> None:
    """One of the elements has the id of the whole array; the other one has ended when it is to be run again."""
    job, folder = login.submit("--array=0-1", "-c1", "--mem=1G", "--time=5m", login.program(GOES_ON))
    line = ["squeue", "--noheader", "--array", "--states=all", f"--jobs={job}", "--format=%T"]
    login.bed.until(lambda: any(mark.value == "75" for mark in folder.marks()), 120, "the end of both")
    states = ["COMPLETED", "PENDING"]
    login.bed.until(lambda: sorted(login.bed.run(line, 30).stdout.split()) == states, 60, "the requeue")
    login.bed.cancel(job)
    logs = [(folder.path / f"log-{job}_{element}.txt").read_text() for element in (0, 1)]
    assert ["end from squeue\n" in log for log in logs] == [True, True], logs


def test_a_refusal_leaves_nothing(login: LoginNode) -> None:
    program = login.program("print(1)")
    done = login.run("submit", "--partition", "nowhere", program)
    assert done.returncode == 70
    assert done.stderr.splitlines()[0].startswith("daskhpc: sbatch: error: invalid partition specified: nowhere")
    assert list((login.folder / "daskhpc-jobs").iterdir()) == []
    dry = login.run("submit", "--dry-run", program)
    assert dry.returncode == 0
    assert dry.stdout.startswith("#!/bin/bash\n# search.py: 1 whole node")
    assert list((login.folder / "daskhpc-jobs").iterdir()) == []


FROM_PYTHON = """
    import daskhpc
    job = daskhpc.submit("search.py", ["x"], run={"checkpoint": "kept"}, time="5m", cpus_per_task=2, memory="2G")
    print(job.wait(150).name, job.state.name, job.folder.name.startswith("search-"))
    print("search.py', 'x']" in job.tail(), sorted(job.results()["param_C"]))
    held = daskhpc.submit("search.py", hold=True, time="5m")
    print(held.state.name)
    held.cancel()
    print(held.wait(100).name, repr(held.tail()), held)
"""


def test_from_python(login: LoginNode) -> None:
    login.program(SEARCH)
    script = login.program(FROM_PYTHON, "submits.py")
    done = login.bed.run([sys.executable, script], 280, login.folder, login.env)
    assert done.returncode == 0, done.stderr
    first, second, third, last = done.stdout.splitlines()
    assert (first, second, third) == ("COMPLETED COMPLETED True", "True [1, 10]", "PENDING")
    assert last.startswith("CANCELLED '' <Job ")


SHARED = """
    import os, time
    from pathlib import Path
    from joblib import Parallel, delayed
    from sklearn.datasets import load_digits
    from sklearn.svm import SVC
    import daskhpc

    X, y = load_digits(return_X_y=True)


    def number(i):
        own = int(os.environ["SLURM_ARRAY_TASK_ID"])  # a variable of the module would make other calls of these
        Path(f"began-{own}").touch()
        deadline = time.monotonic() + 100
        while not Path(f"began-{1 - own}").exists():  # both elements are at work now
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return i


    first = 100 * (1 + int(os.environ["SLURM_ARRAY_TASK_ID"]))
    print("SUM", sum(Parallel(n_jobs=2)(delayed(number)(i) for i in [*range(20), *range(first, first + 10)])))
    search = daskhpc.GridSearchCV(SVC(), {"C": [1, 10]}, cv=3, checkpoint="search")
    print("BEST", search.fit(X[:300], y[:300]).best_params_)
"""


def test_elements_of_an_array_share_a_checkpoint(login: LoginNode) -> None:
    """Both at once, of the whole program and of a search: each has its results, and the folders those of both."""
    words = ["--array=0-1", "-c2", "--mem=2G", "--time=5m", "--checkpoint=kept"]
    job, folder = login.submit(*words, login.program(SHARED))
    login.bed.until(lambda: sum(mark.event == "ended" for mark in folder.marks()) == 2, 200, "the elements")
    logs = [(folder.path / f"log-{job}_{element}.txt").read_text() for element in (0, 1)]
    for log, own in zip(logs, (range(100, 110), range(200, 210)), strict=True):
        assert f"SUM {sum(range(20)) + sum(own)}\n" in log, log
        assert "BEST {'C': 1}\n" in log, log
    assert {mark.value for mark in folder.marks() if mark.event == "ended"} == {"0"}
    for name in ("kept", "search"):
        checked = login.run("journal", "check", name)
        assert checked.returncode == 0, checked.stdout
        assert checked.stdout.endswith("no damage\n")
    again = login.run("results", "kept", "--csv", "all.csv")
    assert again.returncode == 0, again.stderr
    values = [int(line.split(",")[1]) for line in (login.folder / "all.csv").read_text().splitlines()[1:]]
    assert sorted(values) == [*range(20), *range(100, 110), *range(200, 210)], "a call that both made counts once"
