"""One request at six kinds of site: the job scripts are kept in ``golden/`` and were read by a person."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from grammars import Dialect, QsubJob, qsub_job, qsub_options, sbatch_options

from daskhpc.errors import LaunchError
from daskhpc.launch.batch_systems import batch_system
from daskhpc.launch.job_script import Program, job_script
from daskhpc.launch.job_spec import JobSpec
from daskhpc.launch.site import Site

GOLDEN = Path(__file__).parent / "golden"
COMMON = {"name": "search", "nodes": 2, "time": "2h30m", "account": "physics"}
PROGRAM = Program(
    script="/home/ada/project/search.py",
    args=("--alpha", "0.1", "a b"),
    working_directory="/home/ada/project",
    python="/home/ada/venv/bin/python",
    run_options=("--checkpoint=results",),
    environment={"PYTHONNOUSERSITE": "1", "VIRTUAL_ENV": "/home/ada/venv"},
)
FOLDER = "/home/ada/project/daskhpc-jobs/search-20261126-094500-1f0c9a"

SITES: dict[str, tuple[Site, dict[str, Any]]] = {
    "infiniband_slurm": (
        Site(cpus_per_node=40),
        {"partition": "standard", "constraint": "ib", "cpus_per_task": 40, "memory": "180G", "exclusive": True},
    ),
    "memory_per_cpu": (Site(memory="per-cpu", modules=("2024r1", "openmpi")), {"cpus_per_task": 8, "memory": "32G"}),
    "typed_gres": (Site(gpus="gres"), {"cpus_per_task": 16, "gpus": 2, "gpu_type": "a100", "memory": "64G"}),
    "pbs_pro_select": (
        Site(scheduler="pbspro", pbs_account="-P", cpus_per_node=128),
        {"partition": "normal", "memory": "480G", "constraint": "model=mil_ait", "modules": ["gcc"]},
    ),
    "torque_mvp2run": (
        Site(scheduler="torque", cpus_per_node=12, launcher="mvp2run -c {ranks} -m cyclic -a"),
        {"constraint": "vortex"},
    ),
    "tacc_ibrun": (Site(memory="none", launcher="ibrun"), {"partition": "normal", "mail_type": "END"}),
}


def rendered(name: str) -> tuple[str, str]:
    """The name of a site's script, and its text."""
    site, options = SITES[name]
    system = batch_system(site.scheduler)
    text = job_script(JobSpec.make(**COMMON, **options), site, system, PROGRAM, FOLDER, {})
    return f"{name}.{system.script_name.partition('.')[2]}", text


@pytest.mark.parametrize("name", SITES)
def test_the_script_is_the_one_that_was_read(name: str) -> None:
    file, text = rendered(name)
    assert text == (GOLDEN / file).read_text()


@pytest.mark.parametrize("name", SITES)
def test_the_script_is_one_of_bash_and_of_its_scheduler(name: str) -> None:
    file, text = rendered(name)
    done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    options = sbatch_options(text) if file.endswith(".sbatch") else qsub_options(text)
    assert not {"--nodes=9"} & set(options)
    assert any("physics" in option for option in options)


def test_the_scripts_of_pbs_by_the_manual_of_each() -> None:
    pro, torque = (rendered(name)[1] for name in ("pbs_pro_select", "torque_mvp2run"))
    assert qsub_job(pro, Dialect.PRO) == QsubJob("search", "/bin/bash", 2, 128, 1, 9000)
    assert qsub_job(torque, Dialect.TORQUE) == QsubJob("search", "/bin/bash", 2, 12, 1, 9000)
    with pytest.raises(ValueError, match="Unknown resource: naccesspolicy, nodes"):
        qsub_job(torque, Dialect.PRO)
    with pytest.raises(ValueError, match="invalid option -- '-P'"):
        qsub_job(pro, Dialect.TORQUE)
    for line in ("-N a b", "-l walltime=90", "-Z x", "-l nodes=2,nodes=3", "-j", "-N 2nd", "-l 'select=2'"):
        with pytest.raises(ValueError, match=r"\S"):
            qsub_job(torque.replace("#PBS -N search", f"#PBS {line}"), Dialect.TORQUE)


def test_two_ranks_more_than_workers_never_ask_for_more(tmp_path: Path) -> None:
    """Memory and GPUs are asked for per node, so that the scheduler's and the client's rank add none."""
    for name in ("infiniband_slurm", "memory_per_cpu", "typed_gres"):
        text = rendered(name)[1]
        assert "--ntasks-per-node=1\n" in text
        assert "per-task=" not in text.replace("--cpus-per-task", "")
    assert "--mem-per-cpu=4G\n" in rendered("memory_per_cpu")[1]


def test_a_site_may_replace_the_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "job.sbatch.j2").write_text(  # with line ends of DOS, which sbatch refuses
        "#!/bin/bash\r\n{% for line in directives %}\n{{ line }}\n{% endfor %}\nown\n",
        newline="",
    )
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    site = Site(templates=f"~/{tmp_path.name}")
    text = job_script(JobSpec.make(**COMMON), site, batch_system("slurm"), PROGRAM, FOLDER, {})
    assert text.endswith("--open-mode=append\nown\n")
    assert "\r" not in text
    (tmp_path / "job.sbatch.j2").write_text("{{ nothing_of_this_name }}")
    with pytest.raises(LaunchError, match=r"template job\.sbatch\.j2 of the job script is wrong"):
        job_script(JobSpec.make(**COMMON), site, batch_system("slurm"), PROGRAM, FOLDER, {})
    with pytest.raises(LaunchError, match=r"templates is not there\.\n.*no folder\n"):
        job_script(JobSpec.make(**COMMON), Site(templates="gone"), batch_system("slurm"), PROGRAM, FOLDER, {})


def test_variables_of_the_program(tmp_path: Path) -> None:
    spec = JobSpec.make(**COMMON, env=["GIVEN=it's $HOME\nand more", "TAKEN"])
    text = job_script(spec, Site(), batch_system("slurm"), PROGRAM, FOLDER, {"TAKEN": "x y"})
    exports = text[text.index("export PYTHONNOUSERSITE") : text.index("\ncd ")]
    done = subprocess.run(
        ["bash", "-c", f'{exports}\nprintf "%s|%s" "$GIVEN" "$TAKEN"'], capture_output=True, text=True, check=True
    )
    assert done.stdout == "it's $HOME\nand more|x y"
    with pytest.raises(LaunchError, match="no environment variable TAKEN"):
        job_script(spec, Site(), batch_system("slurm"), PROGRAM, FOLDER, {})


@pytest.mark.parametrize(
    ("site", "run_options", "workers"),
    [
        (Site(scheduler="pbspro"), (), "--workers=6"),
        (Site(scheduler="torque"), ("--nthreads=2",), "--workers=6"),
        (Site(scheduler="torque"), ("--workers=2",), "--workers=2"),
        (Site(scheduler="torque", launcher="mvp2run -c {ranks}"), (), ""),
        (Site(), (), ""),
    ],
    ids=["PBS Pro", "Torque", "as many as the user wants", "a launcher that has the number", "Slurm"],
)
def test_several_workers_on_each_node(site: Site, run_options: tuple[str, ...], workers: str) -> None:
    """A job of PBS does not know how many there are to be: its node file has the nodes."""
    spec = JobSpec.make(name="a", nodes=2, tasks_per_node=3, cpus_per_task=4)
    program = Program("/a.py", (), "/", "/python", run_options)
    text = job_script(spec, site, batch_system(site.scheduler), program, FOLDER, {})
    assert [word for word in text.split() if word.startswith("--workers")] == ([workers] if workers else [])
