"""MPI libraries by their own words, and process managers."""

from __future__ import annotations

import pytest

from daskhpc.runtime import MPILibrary, parse_library_version, process_manager

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
