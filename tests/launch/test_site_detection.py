"""Profiles from what the commands of twelve differing sites print."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import recorded_sites as sites

from daskhpc.launch.config_files import read
from daskhpc.launch.pbs_detection import detect as detect_pbs
from daskhpc.launch.profile import choose
from daskhpc.launch.site_detection import DetectedSite, SiteAnswer, profile_yaml
from daskhpc.launch.slurm_detection import detect as detect_slurm

GRES = {"gpus": "gres"}


@pytest.mark.parametrize(
    ("answers", "name", "facts", "job"),
    [
        (sites.INFINIBAND, "hydra", {"memory": "per-node", "cpus_per_node": 40}, {}),
        (sites.PER_CPU, "delta", {"memory": "per-cpu", "cpus_per_node": 48, **GRES}, {}),
        (sites.GPUS, "anna", {"cpus_per_node": 128, **GRES}, {}),
        (sites.CLOUD, "cloud", {"memory": "none", "cpus_per_node": 36}, {}),
        (sites.IBRUN, "bison", {"memory": "none", "cpus_per_node": 96}, {"account": "A-sea"}),
        (sites.NARROW, "narrow", {"cpus_per_node": 40}, {"partition": "ProdQ", "account": "phy01"}),
        (sites.SILENT, "slurm", {}, {}),
        (sites.BANNER, "the-cluster-2", {"memory": "per-node", "cpus_per_node": 32, **GRES}, {}),
    ],
    ids=["infiniband", "per cpu", "gpus", "cloud", "ibrun", "narrow", "silent", "banner"],
)
def test_sites_with_slurm(
    answers: Mapping[str, SiteAnswer], name: str, facts: dict[str, object], job: dict[str, str]
) -> None:
    found = detect_slurm(answers)
    assert (found.name, found.facts, found.job) == (name, {"scheduler": "slurm", **facts}, job)
    assert set(found.reasons) == {*found.facts, *(f"job.{key}" for key in job)}


@pytest.mark.parametrize(
    ("answers", "name", "facts"),
    [
        (sites.PBS_PRO, "pbs01", {"scheduler": "pbspro", "cpus_per_node": 40}),
        (sites.OPENPBS_GPUS, "north-pbs-01", {"scheduler": "pbspro", "cpus_per_node": 64}),
        (sites.TORQUE, "hpc", {"scheduler": "torque", "cpus_per_node": 12}),
        (sites.PBS_SILENT, "pbs", {"scheduler": "torque"}),
    ],
    ids=["pbs pro", "openpbs with gpus", "torque", "torque, silent"],
)
def test_sites_with_pbs(answers: Mapping[str, SiteAnswer], name: str, facts: dict[str, object]) -> None:
    found = detect_pbs(answers)
    assert (found.name, found.facts, found.job) == (name, facts, {})


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (detect_slurm(sites.PER_CPU), "Your accounts: research-ae, education-ae; without --account research-ae pays."),
        (detect_slurm(sites.PER_CPU), "JobRequeue=0"),
        (detect_slurm(sites.PER_CPU), "Types of GPU: v100s"),
        (detect_slurm(sites.GPUS), "No partition is the default"),
        (detect_slurm(sites.GPUS), "Whether --mem is taken here was not to be found out"),
        (detect_slurm(sites.INFINIBAND), "Partitions and their time limits: compute (3-00:00:00), long (14-00:00:00)."),
        (detect_slurm(sites.INFINIBAND), "srun offers --mpi=none, pmi2, pmix"),
        (detect_pbs(sites.PBS_PRO), "Nodes differ in their CPUs: 4 of 40, 1 of 128"),
        (detect_pbs(sites.OPENPBS_GPUS), "Some nodes have GPUs"),
        (detect_pbs(sites.OPENPBS_GPUS), "No queue is the default"),
        (detect_pbs(sites.TORQUE), "Properties of nodes: vortex, c18c, x5672, bora"),
    ],
)
def test_what_a_person_should_know(found: DetectedSite, words: str) -> None:
    assert any(words in note for note in found.notes), found.notes


def test_a_launcher_and_modules_of_this_session() -> None:
    found = detect_slurm(sites.IBRUN, ["ibrun"], ["intel/24.0", "impi/21.11"])
    assert found.facts["launcher"] == "ibrun"
    assert found.facts["modules"] == ["intel/24.0", "impi/21.11"]
    torque = detect_pbs(sites.TORQUE, ["mvp2run"])
    assert torque.facts["launcher"] == "mvp2run -c {ranks} -m cyclic -a"


@pytest.mark.parametrize(
    "found",
    [
        *(detect_slurm(site) for site in (sites.INFINIBAND, sites.PER_CPU, sites.GPUS, sites.NARROW, sites.BANNER)),
        detect_slurm(sites.IBRUN, ["ibrun"], ["a b", "c#d: e"]),
        detect_pbs(sites.TORQUE, ["mvp2run"]),
    ],
    ids=lambda found: found.name,
)
def test_what_is_written_is_read_back(found: DetectedSite, tmp_path: Path) -> None:
    (tmp_path / "daskhpc-x.yaml").write_text(profile_yaml(found, "yes"))
    profile = choose(read({"DASK_CONFIG": str(tmp_path)}), "yes")
    assert profile.job == found.job
    facts = {key: tuple(value) if isinstance(value, list) else value for key, value in found.facts.items()}
    assert {key: getattr(profile.site, key) for key in facts} == facts
    assert set(profile.sources) == set(found.reasons)
