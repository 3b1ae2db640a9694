"""MPI libraries by their own words, and process managers."""

from __future__ import annotations

import pytest

from daskhpc.runtime import MPILibrary, parse_library_version, process_manager
from daskhpc.runtime.mpi import parse_mpi_list, srun_mpi

from .environments import hydra, openmpi, slurm_batch, slurm_step


@pytest.mark.parametrize(
    ("text", "name", "version"),
    [
        ("MPICH Version:      5.0.2\nMPICH Release date: Fri Sep 25 20:45:26 UTC 2026\n", "MPICH", "5.0.2"),
        ("MPICH Version:\t4.2.0rc1\nMPICH Device: ch4:ofi", "MPICH", "4.2.0rc1"),
        ("Open MPI v5.0.11, package: Open MPI conda@f Distribution, ident: 5.0.11", "Open MPI", "5.0.11"),
        ("Open MPI v4.1.4, package: Debian OpenMPI, ident: 4.1.4, repo rev: v4.1.4", "Open MPI", "4.1.4"),
        ("Intel(R) MPI Library 2021.14 for Linux* OS\n", "Intel MPI", "2021.14"),
        ("MVAPICH Version      :\t4.0\nMVAPICH Release date : x\nMPICH Version: 4.1", "MVAPICH", "4.0"),
        ("MVAPICH2 Version      :\t2.3.7\n", "MVAPICH", "2.3.7"),
        ("MPI VERSION    : CRAY MPICH version 8.1.28.15 (ANL base 3.4a2)", "Cray MPICH", "8.1.28.15"),
        ("Some other MPI 1.0", "unknown", ""),
        ("", "unknown", ""),
    ],
)
def test_library(text, name, version):
    assert parse_library_version(text) == MPILibrary(name, version)


@pytest.mark.parametrize(
    ("env", "manager"),
    [
        ({}, None),
        (slurm_batch(), None),
        (slurm_step(), None),
        (slurm_step(PMI_FD="9", PMI_RANK="2", PMI_SIZE="5"), "pmi2"),
        (slurm_step(PMIX_RANK="2", PMIX_NAMESPACE="slurm.pmix.12.0"), "pmix"),
        ({"PMIX_SERVER_URI41": "x"}, "pmix"),
        (openmpi(0, 2, 0, 2), "pmix"),
        (hydra(0, 2, 0, 2), "pmi1"),
        ({**slurm_step(), **hydra(0, 2, 0, 2)}, "pmi1"),
        ({"PMI_PORT": "n1:3000"}, "pmi1"),
        ({"PMI2_RANK": "0"}, "pmi2"),
    ],
)
def test_process_manager(env, manager):
    assert process_manager(env) == manager


SLURM_22 = (
    "MPI plugin types are...\n\tnone\n\tpmi2\n\tpmix\n\tcray_shasta\nspecific pmix plugin versions available: pmix_v4\n"
)
SLURM_23 = (
    "MPI plugin types are...\n\tcray_shasta\n\tnone\n\tpmi2\n\tpmix\nspecific pmix plugin versions available: pmix_v4\n"
)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        pytest.param("", (), id="nothing"),
        pytest.param(
            "srun: MPI types are...\nsrun: cray_shasta\nsrun: none\nsrun: pmi2\nsrun: pmix_v3\nsrun: pmix\n",
            ("cray_shasta", "none", "pmi2", "pmix_v3", "pmix"),
            id="20.11",
        ),
        pytest.param(
            "MPI plugin types are...\n\tnone\n\tpmi2\n\tcray_shasta\n", ("none", "pmi2", "cray_shasta"), id="22.05"
        ),
        pytest.param(SLURM_22, ("none", "pmi2", "pmix", "cray_shasta", "pmix_v4"), id="22.05-with-pmix"),
        pytest.param(SLURM_23, ("cray_shasta", "none", "pmi2", "pmix", "pmix_v4"), id="23.11"),
        pytest.param(
            "MPI plugin types are...\n\tnone\n\tpmix\nspecific pmix plugin versions available: pmix_v5,pmix_v4\n",
            ("none", "pmix", "pmix_v5", "pmix_v4"),
            id="several-versions",
        ),
        pytest.param("MPI plugin types are...\r\n\tpmi2\r\n", ("pmi2",), id="returns"),
    ],
)
def test_what_srun_offers(text, names):
    assert parse_mpi_list(text) == names


ALL = ("cray_shasta", "none", "pmi2", "pmix", "pmix_v4")


@pytest.mark.parametrize(
    ("library", "offered", "kind"),
    [
        ("Open MPI", ALL, "pmix"),
        ("Open MPI", ("none", "pmi2", "pmix_v3", "pmix_v4"), "pmix_v4"),
        ("Open MPI", ("none", "pmi2"), None),
        ("Open MPI", (), None),
        ("MPICH", ALL, "pmi2"),
        ("MPICH", ("none", "pmix"), None),
        ("MPICH", ("none", "cray_shasta"), "cray_shasta"),
        ("MVAPICH", ALL, "pmi2"),
        ("Intel MPI", ALL, "pmi2"),
        ("Intel MPI", ("none",), None),
        ("Cray MPICH", ALL, "cray_shasta"),
        ("Cray MPICH", ("none", "pmi2"), "pmi2"),
        ("unknown", ALL, "pmi2"),
    ],
)
def test_the_type_that_fits_a_library(library, offered, kind):
    assert srun_mpi(MPILibrary(library, "1"), offered) == kind
