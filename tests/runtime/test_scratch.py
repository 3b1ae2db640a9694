"""Where Dask may spill."""

from __future__ import annotations

import pytest

from daskhpc.runtime import Sourced
from daskhpc.runtime.node import NodeView
from daskhpc.runtime.scratch import file_system

from .environments import slurm_batch

SET = "set local_directory (or DASK_DASKHPC__LOCAL_DIRECTORY) to a directory on a local disk"


def test_slurm_tmpdir_first(tree):
    tree.folder("/local/job").folder("/other")
    runtime = tree.discover(slurm_batch(SLURM_TMPDIR="/local/job", **{"TMPDIR": "/other"}))
    assert (runtime.scratch, runtime.warnings) == (Sourced("/local/job", "SLURM_TMPDIR"), ())


def test_tmpdir(tree):
    assert tree.folder("/other").discover({"TMPDIR": "/other"}).scratch == Sourced("/other", "TMPDIR")


def test_tmp(tree):
    assert tree.discover().scratch == Sourced("/tmp", "/tmp")


@pytest.mark.parametrize("value", ["/absent", "relative", "/etc/file", "/nul\0l"])
def test_no_directory(tree, value):
    runtime = tree.file("/etc/file", "").discover({"TMPDIR": value})
    assert runtime.scratch == Sourced("/tmp", "/tmp")
    assert runtime.warnings == (f"TMPDIR={value!r} ignored: not a writable directory",)


def test_nothing(tree):
    (tree.root / "tmp").rmdir()
    runtime = tree.discover()
    assert runtime.scratch == Sourced("/tmp", "nothing else")
    assert runtime.warnings == (f"no writable scratch directory, not even /tmp: {SET}",)


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "lustre", "gpfs", "beegfs", "fuse.beegfs", "ceph"])
def test_shared(tree, kind):
    runtime = tree.folder("/scratch/u").mount("/scratch", kind).discover({"TMPDIR": "/scratch/u"})
    assert runtime.scratch == Sourced("/scratch/u", "TMPDIR")
    assert runtime.warnings == (f"scratch /scratch/u (TMPDIR) is on {kind}, shared between nodes and slow: {SET}",)


@pytest.mark.parametrize("kind", ["tmpfs", "ramfs"])
def test_memory(tree, kind):
    assert tree.mount("/tmp", kind).discover().warnings == (
        f"scratch /tmp (/tmp) is {kind}, which is memory: data spilled there saves none; {SET}",
    )


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "overlay"])
def test_local(tree, kind):
    assert tree.mount("/tmp", kind).discover().warnings == ()


@pytest.mark.parametrize(
    ("directory", "kind"),
    [
        ("/", "ext4"),
        ("/tmp/x", "xfs"),
        ("/tmpfoo", "ext4"),
        ("/my disk/x", "lustre"),
        ("/auto/home", "nfs4"),
        ("/deep/er/est", "zfs"),
    ],
)
def test_file_system(tree, directory, kind):
    tree.mount("/tmp", "xfs").mount(r"/my\040disk", "lustre").mount("/auto", "autofs").mount("/auto", "nfs4")
    tree.mount("/deep/er", "zfs").mount("/deep", "tmpfs")
    assert file_system(NodeView({}, tree.root), directory) == kind


def test_symbolic_link(tree):
    tree.folder("/lustre/u").mount("/lustre", "lustre")
    (tree.root / "scratch").symlink_to("lustre/u")
    assert "lustre" in tree.discover({"TMPDIR": "/scratch"}).warnings[0]
