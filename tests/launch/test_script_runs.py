"""A job's script, run by bash beside a Python that tells what it was given: no bed, no scheduler."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from daskhpc.launch.batch_systems import batch_system
from daskhpc.launch.find_jobs import log_file
from daskhpc.launch.job_draft import interpreter_needs
from daskhpc.launch.job_folder import SubmittedJob
from daskhpc.launch.job_script import Program, job_script
from daskhpc.launch.job_spec import JobSpec
from daskhpc.launch.site import Site

TELLS = """\
#!/bin/sh
echo "argv: $*"
echo "here: $PWD"
echo "first: ${PATH%%:*}"
echo "user site: ${PYTHONNOUSERSITE:-}"
echo "loaded: ${LOADED:-}"
"""
MODULES = (
    'module() { [ "$2" = gcc/13 ] || { echo "Lmod has detected: unknown module $2" >&2; return 1; }; LOADED=$2; }\n'
)


class Node:
    """A compute node with a folder for the job, and an interpreter in ``venv/bin``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "it's $(a) venv" / "bin" / "python"
        self.job = folder / "job; echo"
        self.python.parent.mkdir(parents=True)
        self.job.mkdir()
        self.python.write_text(TELLS)
        self.python.chmod(0o755)

    def run(self, system: str = "slurm", env: dict[str, str] | None = None, **options: Any) -> tuple[int, str]:
        """Run the script of a job; its exit code and what it wrote."""
        spec = JobSpec.make(name="a", cpus_per_task=1, **options)
        program = Program(
            str(self.folder / "search.py"), ("a b", ""), str(self.folder), str(self.python), (), interpreter_needs()
        )
        text = job_script(spec, Site(scheduler=system), batch_system(system), program, str(self.job), {})
        ids = {"SLURM_JOB_ID": "7"} if system == "slurm" else {"PBS_JOBID": "7.server"}
        done = subprocess.run(
            ["bash", "-s"],
            input=text,
            env={"PATH": "/usr/bin:/bin", **ids, **(env or {})},
            capture_output=True,
            text=True,
            check=False,
        )
        if system == "slurm":
            return done.returncode, done.stdout + done.stderr
        assert done.stdout + done.stderr == "", "PBS keeps what the shell prints until the job's end"
        return done.returncode, (self.job / "log-7.server.txt").read_text()

    def marks(self) -> list[list[str]]:
        """The events and values that the script wrote."""
        return [line.split()[2::2] for line in (self.job / "marks").read_text().splitlines()]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


@pytest.mark.parametrize("system", ["slurm", "torque"])
def test_the_interpreter_is_the_one_of_submission(node: Node, system: str) -> None:
    """By its absolute path, first on the path, without packages of ``~/.local``, in the folder of submission."""
    code, text = node.run(system)
    assert code == 0, text
    lines = text.splitlines()
    assert f"first: {node.python.parent}" in lines
    assert f"here: {node.folder}" in lines
    assert "user site: 1" in lines
    program = node.folder / "search.py"
    assert f"argv: -P -m daskhpc run --snapshot {node.job}/code -- {program} a b " in lines
    assert [event for event, _ in node.marks()] == ["began", "ended"]
    assert node.marks()[1] == ["ended", "0"]


@pytest.mark.parametrize(("variable", "below"), [("LMOD_PKG", "init/bash"), ("MODULESHOME", "init/bash")])
def test_the_module_command_is_found(node: Node, variable: str, below: str) -> None:
    """Where a batch shell has no function of that name; a module that is not there ends the job."""
    place = node.folder / "modules" / below
    place.parent.mkdir(parents=True)
    place.write_text(MODULES)
    env = {variable: str(node.folder / "modules")}
    code, text = node.run(env=env, modules=["gcc/13"], setup=["export LOADED"])
    assert (code, "loaded: gcc/13" in text.splitlines()) == (0, True), text
    code, text = node.run(env=env, modules=["gcc/99"])
    assert (code, "argv:" in text) == (70, False)
    assert "unknown module gcc/99" in text
    assert node.marks()[-1] == ["ended", "70"]


@pytest.mark.parametrize("job", ["7.server", "7[3].server", "7"])
def test_the_name_of_a_log_on_pbs_is_filled_in_as_on_slurm(node: Node, job: str) -> None:
    spec = JobSpec.make(name="a b", cpus_per_task=1, output=str(node.folder / "it's %x-%j.txt"))
    program = Program(str(node.folder / "search.py"), (), str(node.folder), str(node.python))
    text = job_script(spec, Site(scheduler="pbspro"), batch_system("pbspro"), program, str(node.job), {})
    env = {"PATH": "/usr/bin:/bin", "PBS_JOBID": job}
    subprocess.run(["bash", "-s"], input=text, env=env, text=True, check=True)
    submitted = SubmittedJob(job, "", "pbspro", program.script, spec.name, spec.output, 0.0, "t")
    assert "argv: " in log_file(node.job, submitted).read_text()


def test_foreign_lines_are_not_under_strict_rules(node: Node) -> None:
    """``conda activate`` and files of modules use variables that are not set, and commands that fail."""
    code, text = node.run(setup=['echo "prompt ${PS1}${NO_SUCH}x"', "false | cat", "(exit 3)"])
    assert (code, "prompt x" in text) == (0, True), text


def test_a_folder_that_the_node_does_not_see(node: Node) -> None:
    spec = JobSpec.make(name="a", cpus_per_task=1)
    program = Program("/p/search.py", (), str(node.folder / "gone"), str(node.python))
    text = job_script(spec, Site(), batch_system("slurm"), program, str(node.job), {})
    env = {"PATH": "/usr/bin:/bin", "SLURM_JOB_ID": "7"}
    done = subprocess.run(["bash", "-s"], input=text, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, "argv:" in done.stdout) == (70, False)
    assert node.marks()[-1] == ["ended", "70"]
