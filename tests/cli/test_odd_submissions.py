"""``daskhpc submit`` of odd programs, with odd options and on a full disk, beside an sbatch of sh."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

import pytest
from place import Place

from daskhpc.errors import EXIT_FAILED, EXIT_USAGE
from daskhpc.launch.job_folder import JobFolder


class LoginNode(Place):
    """A login node whose sbatch says yes, and keeps a line for each job that it took."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.env["XDG_STATE_HOME"] = str(folder / "state")
        self.taken = folder / "taken"
        self.sbatch("")

    def sbatch(self, before: str) -> None:
        taken = shlex.quote(str(self.taken))
        self.fake("sbatch", f'case "$1" in --test-only) exit 0;; esac\n{before}\necho "$*" >>{taken}; echo 41')

    @property
    def copies(self) -> list[Path]:
        """The folders of the code of the jobs."""
        return sorted(self.work.glob("daskhpc-jobs/*/code"))


@pytest.fixture
def login(tmp_path: Path) -> LoginNode:
    return LoginNode(tmp_path)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("progam.py", "try:   daskhpc submit 'a program.py'"),
        ("folder", "try:   daskhpc submit [OPTIONS] script.py [ARGS]"),
        ("gone.py", "no such file in "),
        ("json.tool", "try:   daskhpc submit [OPTIONS] script.py [ARGS]"),
        ("book.ipynb", "&& daskhpc submit book.py"),
        ("-", "standard input, a pipe or a device"),
    ],
)
def test_what_is_no_program_is_told_for_submit(login: LoginNode, name: str, line: str) -> None:
    """Not ``daskhpc run``, which would run on the login node."""
    login.script()
    login.script("book.ipynb", '{"cells": []}')
    (login.work / "folder").mkdir()
    (login.work / "gone.py").symlink_to("nowhere.py")
    done = login.daskhpc("submit", "--", name)
    assert done.code == EXIT_USAGE
    assert line in done.err
    assert "daskhpc run" not in done.err
    assert not login.taken.exists()
    assert not (login.work / "daskhpc-jobs").exists()


ODD = {
    "empty.py": b"",
    "dos.py": b"print(1)\r\nprint(2)\r\n",
    "marked.py": b"\xef\xbb\xbfprint(1)\n",
    "other interpreter.py": b"#!/usr/bin/python2.7\nprint(1)\n",
    "\u00fcn\u00efcode \u540d.py": "print('\u00fc')".encode(),
    f"{'x' * 240}.py": b"print(1)",
}


def test_odd_programs_are_copied_byte_by_byte(login: LoginNode) -> None:
    for name, content in ODD.items():
        (login.work / name).write_bytes(content)
        done = login.daskhpc("submit", "--name", "n" * 300, name)
        assert (done.code, done.out) == (0, "41\n"), done.err
    assert {path.name: path.read_bytes() for home in login.copies for path in home.iterdir()} == ODD
    latin = os.fsdecode(b"\xfc.py")
    (login.work / latin).write_bytes(b"print(1)")
    done = login.daskhpc("submit", "--", latin, latin)
    assert (done.code, done.out) == (0, "41\n"), done.err
    (copy,) = login.work.glob(f"daskhpc-jobs/*/code/{latin}")
    folder = JobFolder(copy.parents[1])
    assert folder.request["program"]["args"] == [latin]
    assert folder.submitted()[0].script == str(login.work / latin)
    (login.work / "link.py").symlink_to("dos.py")
    assert login.daskhpc("submit", "link.py").code == 0
    assert [path.read_bytes() for home in login.copies for path in home.glob("link.py")] == [ODD["dos.py"]]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--nodes", "0"), "--nodes: a whole number, 1 or more"),
        (("--nodes", "2-4"), "--nodes: a whole number, 1 or more"),
        (("--time", "0"), "'0m' for minutes"),
        (("--time", "0:00"), "a time of one second or more"),
        (("--mem", "0G"), "--mem: 1M or more"),
        (("--array", "5-"), "indices such as 0-9"),
        (("--array", ","), "indices such as 0-9"),
        (("--output", "."), "--output "),
        (("--memory-limit", "4XB"), "a text such as '4GB'"),
        (("--processes", "0"), "a whole number, 1 or more"),
        (("--folder", "there"), "--folder with a name that is not taken"),
        (("--folder", "/proc/x/y"), "--folder in a folder that you can write to"),
    ],
)
def test_what_an_option_does_not_take(login: LoginNode, words: tuple[str, str], said: str) -> None:
    (login.work / "there").mkdir()
    (login.work / "there" / "mine").touch()
    done = login.daskhpc("submit", *words, login.script())
    assert (done.code, done.out) == (EXIT_FAILED, "")
    happened, found, todo = done.err.splitlines()
    assert happened.startswith("daskhpc: ")
    assert found.startswith("  found: ")
    assert todo.startswith("  try:   ")
    assert said in todo
    assert not login.taken.exists()
    assert (login.work / "there" / "mine").exists()


def test_a_module_that_cannot_be_copied_leaves_nothing(login: LoginNode) -> None:
    program = login.script("search.py", "import beside\n")
    login.script("beside.py", "print 'of Python 2'\n")
    done = login.daskhpc("submit", program)
    assert done.code == EXIT_FAILED
    assert "beside.py is not valid Python" in done.err
    assert list((login.work / "daskhpc-jobs").iterdir()) == []


def test_a_full_disk(login: LoginNode) -> None:
    """Before the job is submitted nothing stays; after it the user learns of the job that no folder knows."""
    small = login.folder / "small"
    small.mkdir()
    python = shlex.quote(str(login.python))
    fill = "/bin/cp /dev/zero fill 2>/dev/null"
    disk = f"/bin/mount -t tmpfs -o size=64k none {small} && cd {small} && : >a.py"
    submit = f"{python} -m daskhpc submit a.py; code=$?; /usr/bin/find . -name spec.json; exit $code"
    on_a_small_disk = ["/usr/bin/unshare", "--map-root-user", "--mount", "/bin/sh", "-c"]
    done = login.run(*on_a_small_disk, f"{disk}; {fill}; {submit}")
    assert (done.code, done.out) == (EXIT_FAILED, ""), done.err
    assert done.err.startswith(
        "daskhpc: The job was not submitted: its folder could not be written.\n  found: [Errno 28]"
    )
    assert not login.taken.exists()
    login.sbatch(fill)
    done = login.run(*on_a_small_disk, f"{disk} && {submit}")
    assert done.code == EXIT_FAILED
    assert done.out.endswith("/spec.json\n")
    assert done.err.startswith(
        "daskhpc: Job 41 was submitted, and its folder could not keep that.\n  found: [Errno 28]"
    )
    assert "  try:   scancel 41; then the same command again" in done.err


def test_a_home_that_cannot_be_written(login: LoginNode) -> None:
    """Its quota is used up, say: a submission is refused, and all that only looks still works."""
    home = {"HOME": "/proc/x", "XDG_STATE_HOME": "/proc/x/state"}
    login.fake("squeue", "exit 0")
    login.fake("scontrol", "exit 1")
    submitted = login.daskhpc("submit", login.script(), **home)
    assert submitted.err.startswith(
        "daskhpc: Nothing was submitted: the list of your jobs could not be written.\n  found: [Errno 2]"
    )
    assert list((login.work / "daskhpc-jobs").iterdir()) == []
    detected = login.daskhpc("profile", "--detect", **home)
    assert detected.err.startswith("daskhpc: The profile could not be written.\n  found: [Errno 2]")
    assert login.daskhpc("submit", "a program.py").code == 0
    (folder,) = (login.work / "daskhpc-jobs").iterdir()
    state = login.folder / "state" / "daskhpc"
    shutil.copytree(state, login.folder / "read-only" / "daskhpc", symlinks=True)
    line = f'mount --bind -o ro {login.folder}/read-only {login.folder}/read-only && exec "$@"'
    python = str(login.python)
    look = ["/usr/bin/unshare", "--map-root-user", "--mount", "/bin/sh", "-c", f"PATH=/usr/bin:/bin; {line}", "sh"]
    env = {"XDG_STATE_HOME": str(login.folder / "read-only")}
    done = login.run(*look, "/usr/bin/env", f"PATH={login.bin}", python, "-m", "daskhpc", "jobs", "41", env=env)
    assert (done.code, done.out.split()[0]) == (0, "41"), done.err
    assert folder.name in done.out
