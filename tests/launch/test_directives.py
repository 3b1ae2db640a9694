"""The directives of job scripts, read back by ports of each scheduler's rules."""

from __future__ import annotations

from typing import Any

import pytest
from grammars import qsub_options, sbatch_options
from hypothesis import given, settings
from hypothesis import strategies as st

from daskhpc.errors import LaunchError
from daskhpc.launch.batch_systems import batch_system
from daskhpc.launch.batch_systems.slurm import word
from daskhpc.launch.job_spec import JobSpec
from daskhpc.launch.site import Site

SLURM, PRO, TORQUE = (batch_system(name) for name in ("slurm", "pbspro", "torque"))
PRINTABLE = st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda t: t.isprintable() and t == t.strip())
NASTY = st.lists(
    st.sampled_from(["'", '"', "\\", "#", " ", "packjob", "HetJob", "%", "$X", ";", "é", "a", "=", ":", "-"]),
    min_size=1,
).map(lambda parts: "".join(parts).strip() or "a")


def script(lines: list[str]) -> str:
    return "\n".join(["#!/bin/bash", "# a comment", *lines, "", "echo done", "#SBATCH --nodes=9", ""])


@given(st.lists(PRINTABLE | NASTY, min_size=1))
@settings(deadline=None)
def test_slurm_reads_any_printable_words_as_they_are(values: list[str]) -> None:
    words = [f"--comment={value}" for value in values] + [f"--{value}" for value in values]
    assert sbatch_options(script([f"#SBATCH {word(text)}" for text in words])) == words
    assert sbatch_options(script([f"#SBATCH {' '.join(map(word, words))}"])) == words


@pytest.mark.parametrize("value", ["two\nlines", "a\rb", "a\0b", "\x1b[31m", "a\u2028b", "\udc80"])
def test_what_a_line_cannot_carry_is_refused(value: str) -> None:
    with pytest.raises(LaunchError, match="control characters"):
        word(f"--comment={value}")
    with pytest.raises(LaunchError, match="does not take"):
        JobSpec.make(comment=value)


@pytest.mark.parametrize("option", [n for n, o in JobSpec.declared().items() if o.parse.__name__ == "_line"])
@given(value=NASTY)
@settings(max_examples=30, deadline=None)
def test_each_text_of_a_spec_arrives_or_is_refused(option: str, value: str) -> None:
    spec = JobSpec.make(**{"name": "job", option: value})
    plain = JobSpec.make(name="job")
    words = sbatch_options(script(SLURM.directive_lines(spec, Site())))
    assert len(words) - len(sbatch_options(script(SLURM.directive_lines(plain, Site())))) in (0, 1)
    assert [text for text in words if text.endswith(f"={value}")]
    for system in (PRO, TORQUE):
        try:
            lines = system.directive_lines(spec, Site(cpus_per_node=4))
        except LaunchError:
            continue
        # Any of these is written as it was given, so that a site's own resource has any form: not held to the manuals'.
        if option in ("constraint", "dependency", "begin", "partition"):
            assert any(value in line.split(maxsplit=2)[2] for line in lines)
            assert not set(value) & set("'\"\\ ;$#")
        else:
            read = qsub_options(script(lines))
            assert option in ("name", "output") or value in read


def test_the_lines_of_slurm() -> None:
    spec = JobSpec.make(
        name="digits", account="ab-1", nodes=2, cpus_per_task=8, memory="180G", gpus=2, gpu_type="a100", time="1-12:00",
        constraint="(haswell|broadwell)&ib", array="0-9%4", hold=True, no_requeue=True, slurm=["--x11 --bb 'a b'"],
    )  # fmt: skip
    assert SLURM.directive_lines(spec, Site()) == [
        "#SBATCH --job-name=digits",
        "#SBATCH --account=ab-1",
        "#SBATCH --nodes=2",
        "#SBATCH --ntasks-per-node=1",
        "#SBATCH --cpus-per-task=8",
        '#SBATCH --constraint="(haswell|broadwell)&ib"',
        "#SBATCH --mem=180G",
        "#SBATCH --gres=gpu:a100:2",
        "#SBATCH --time=36:00:00",
        "#SBATCH --hold",
        "#SBATCH --array=0-9%4",
        "#SBATCH --no-requeue",
        "#SBATCH --output=log-%A_%a.txt",
        "#SBATCH --open-mode=append",
        '#SBATCH --x11 --bb "a b"',
    ]


@pytest.mark.parametrize(
    ("site", "options", "line"),
    [
        (Site(), {"memory": "10G"}, "--mem=10G"),
        (Site(), {"memory": "1500M"}, "--mem=1500M"),
        (Site(), {"memory": "all"}, "--mem=0"),
        (Site(), {}, "--mem=0"),
        (Site(memory="per-cpu"), {"memory": "10G", "cpus_per_task": 3, "tasks_per_node": 2}, "--mem-per-cpu=1706M"),
        (Site(memory="per-cpu", cpus_per_node=40), {"memory": "160G"}, "--mem-per-cpu=4G"),
        (Site(memory="per-cpu"), {"cpus_per_task": 4}, None),
        (Site(memory="per-cpu"), {}, None),
        (Site(memory="none"), {"memory": "10G"}, None),
        (Site(), {"cpus_per_task": 4}, None),
    ],
)
def test_memory_by_the_rule_of_the_site(site: Site, options: dict[str, Any], line: str | None) -> None:
    words = sbatch_options(script(SLURM.directive_lines(JobSpec.make(name="a", **options), site)))
    assert [text for text in words if text.startswith("--mem")] == ([line] if line else [])


@pytest.mark.parametrize("site", [Site(memory="per-cpu"), Site(scheduler="pbspro"), Site(scheduler="torque")])
def test_all_memory_of_nodes_that_are_shared(site: Site) -> None:
    """It is no directive there, and would be ignored."""
    system = batch_system(site.scheduler)
    with pytest.raises(LaunchError, match="all memory of a node comes with whole nodes"):
        system.directive_lines(JobSpec.make(name="a", memory="all", cpus_per_task=4), site)
    assert system.directive_lines(JobSpec.make(name="a", memory="all", cpus_per_task=4, exclusive=True), site)


def test_memory_per_cpu_of_an_unknown_number_of_cpus() -> None:
    with pytest.raises(LaunchError, match="the number of CPUs is not known"):
        SLURM.directive_lines(JobSpec.make(name="a", memory="10G"), Site(memory="per-cpu"))


@pytest.mark.parametrize(
    ("option", "instead"),
    [
        ("--ntasks=4", "--ntasks-per-node"),
        ("--ntas 4", "--ntasks-per-node"),
        ("-n4", "--ntasks-per-node"),
        ("--overcommit", "overcommits the step"),
        ("--distribution=block", "spreads the ranks"),
        ("--parsable", "prints the id"),
        ("--x11 --wrap=ls", "the program"),
        ("--mem-per-cpu=4G", "--mem, per node"),
        ("--time=5", "--time"),
        ("-t 5", "--time"),
        ("--gpus-per-task=1", "two of the ranks have no GPU"),
    ],
)
def test_what_daskhpc_manages_is_refused_by_name(option: str, instead: str) -> None:
    with pytest.raises(LaunchError, match="daskhpc writes --") as caught:
        SLURM.directive_lines(JobSpec.make(name="a", slurm=[option]), Site())
    assert instead in caught.value.todo


@pytest.mark.parametrize("option", ["--gres=tmpspace:10G", "--x11", "--export=NONE", "--time-min=5", "--no-kill"])
def test_all_else_passes_through(option: str) -> None:
    lines = SLURM.directive_lines(JobSpec.make(name="a", slurm=[option]), Site())
    assert lines[-1] == f"#SBATCH {option}"


@pytest.mark.parametrize("option", ["rm -rf /", "'--x11", ""])
def test_what_is_no_option_of_sbatch(option: str) -> None:
    with pytest.raises(LaunchError, match="does not take"):
        SLURM.directive_lines(JobSpec.make(name="a", slurm=[option]), Site())


def test_the_lines_of_pbs_pro() -> None:
    spec = JobSpec.make(
        name="2nd run", account="ab-1", partition="normal", nodes=2, tasks_per_node=2, cpus_per_task=20, memory="180G",
        gpus=2, constraint="model=bro", time="90m", dependency="afterok:12.server", array="0-9", mail_type="END,FAIL",
        pbs=["-l software=x", "-W group_list=ab"],
    )  # fmt: skip
    assert PRO.directive_lines(spec, Site(scheduler="pbspro", pbs_account="-P")) == [
        "#PBS -S /bin/bash",
        "#PBS -N job_2nd_run",
        "#PBS -P ab-1",
        "#PBS -q normal",
        "#PBS -l select=2:ncpus=40:mpiprocs=2:mem=180gb:ngpus=2:model=bro",
        "#PBS -l place=scatter",
        "#PBS -l walltime=1:30:00",
        "#PBS -W depend=afterok:12.server",
        "#PBS -J 0-9",
        "#PBS -r y",
        "#PBS -m ae",
        "#PBS -j oe",
        "#PBS -l software=x",
        "#PBS -W group_list=ab",
    ]


def test_the_lines_of_torque() -> None:
    spec = JobSpec.make(name="search", nodes=2, constraint="vortex", memory="4G", time="90m")
    assert TORQUE.directive_lines(spec, Site(scheduler="torque", cpus_per_node=12)) == [
        "#PBS -S /bin/bash",
        "#PBS -N search",
        "#PBS -l nodes=2:ppn=12:vortex",
        "#PBS -l mem=8192mb",
        "#PBS -l naccesspolicy=singlejob",
        "#PBS -l walltime=1:30:00",
        "#PBS -r y",
        "#PBS -j oe",
    ]


@pytest.mark.parametrize("system", [PRO, TORQUE])
def test_pbs_has_to_be_told_the_cpus(system: Any) -> None:
    with pytest.raises(LaunchError, match="how many CPUs a node has"):
        system.directive_lines(JobSpec.make(name="a", nodes=2), Site())


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"qos": "high"}, "PBS Pro has no --qos"),
        ({"switches": "1"}, "PBS Pro has no --switches"),
        ({"slurm": ["--x11"]}, "PBS Pro has no --slurm"),
        ({"pbs": ["-l select=2"]}, "daskhpc writes -l select itself"),
        ({"pbs": ["-l software=x,walltime=5"]}, "daskhpc writes -l walltime itself"),
        ({"pbs": ["-V"]}, "daskhpc writes -V itself"),
        ({"partition": "a b"}, "cannot carry"),
        ({"constraint": "x'y"}, "cannot carry"),
        ({"mail_type": "SOMETIMES"}, "sends no mail"),
    ],
)
def test_what_pbs_does_not_have_is_refused(option: dict[str, Any], message: str) -> None:
    with pytest.raises(LaunchError, match=message):
        PRO.directive_lines(JobSpec.make(name="a", cpus_per_task=4, **option), Site())
