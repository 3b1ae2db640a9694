"""Control groups: both versions, nested, task level, hybrid and inside containers."""

from __future__ import annotations

import pytest

from daskhpc.runtime import Sourced
from daskhpc.runtime.cgroups import cpu_quota, cpuset, memory_limit
from daskhpc.runtime.node import NodeView

from .tree import GIB

NONE1 = "9223372036854771712"
V1_TASK = "/slurm/uid_1000/job_12/step_0/task_0"
V2_TASK = "/system.slice/slurmstepd.scope/job_12/step_0/user/task_0"
V1 = "cgroup memory.limit_in_bytes"


def reader(tree):
    return NodeView({}, tree.root)


def v1_limits(job, step, task):
    base = "slurm/uid_1000/job_12"
    return {
        "memory.limit_in_bytes": NONE1,
        "slurm/memory.limit_in_bytes": NONE1,
        f"{base}/memory.limit_in_bytes": job,
        f"{base}/step_0/memory.limit_in_bytes": step,
        f"{base}/step_0/task_0/memory.limit_in_bytes": task,
    }


@pytest.mark.parametrize("mountinfo", [True, False])
@pytest.mark.parametrize(
    ("job", "step", "task", "limit"),
    [
        (str(8 * GIB), NONE1, NONE1, 8 * GIB),
        (str(8 * GIB), str(4 * GIB), NONE1, 4 * GIB),
        (str(8 * GIB), str(8 * GIB), str(2 * GIB), 2 * GIB),
        ("", "x", "-1", None),
        (NONE1, NONE1, NONE1, None),
    ],
)
def test_memory_of_version_1(tree, mountinfo, job, step, task, limit):
    tree.group("memory", V1_TASK, v1_limits(job, step, task), mountinfo=mountinfo)
    assert memory_limit(reader(tree)) == (Sourced(limit, V1) if limit else None)


@pytest.mark.parametrize("mountinfo", [True, False])
@pytest.mark.parametrize(
    ("job", "step", "task", "expected"),
    [
        (str(8 * GIB), "max", "max", Sourced(8 * GIB, "cgroup memory.max")),
        (str(8 * GIB), str(4 * GIB), "max", Sourced(4 * GIB, "cgroup memory.max")),
        ("max", "max", str(GIB), Sourced(GIB, "cgroup memory.max")),
        ("max", "max", "max", None),
    ],
)
def test_memory_of_version_2(tree, mountinfo, job, step, task, expected):
    base = "system.slice/slurmstepd.scope/job_12"
    limits = {
        "system.slice/memory.max": "max",
        f"{base}/memory.max": job,
        f"{base}/step_0/memory.max": step,
        f"{base}/step_0/user/task_0/memory.max": task,
    }
    assert memory_limit(reader(tree.group("", V2_TASK, limits, mountinfo=mountinfo))) == expected


def test_memory_high(tree):
    tree.group("", "/a", {"a/memory.max": str(4 * GIB), "a/memory.high": str(3 * GIB)})
    assert memory_limit(reader(tree)) == Sourced(3 * GIB, "cgroup memory.high")


@pytest.mark.parametrize("mountinfo", [True, False])
def test_hybrid(tree, mountinfo):
    tree.group("name=systemd", "/user.slice", {}, at="/sys/fs/cgroup/systemd", mountinfo=mountinfo)
    tree.group("memory", "/job", {"job/memory.limit_in_bytes": str(GIB)}, mountinfo=mountinfo)
    tree.group("cpu,cpuacct", "/job", {"job/cpu.cfs_quota_us": "250000", "job/cpu.cfs_period_us": "100000"},
               mountinfo=mountinfo)  # fmt: skip
    tree.group("", "/user.slice", {"user.slice/cgroup.procs": "1"}, at="/sys/fs/cgroup/unified", mountinfo=mountinfo)
    assert memory_limit(reader(tree)) == Sourced(GIB, V1)
    assert cpu_quota(reader(tree)) == Sourced(2, "cgroup cpu.cfs_quota_us")


def test_private_namespace(tree):
    tree.group("", "/", {"memory.max": str(2 * GIB), "cpu.max": "150000 100000", "cpuset.cpus.effective": "2-3"})
    assert memory_limit(reader(tree)) == Sourced(2 * GIB, "cgroup memory.max")
    assert cpu_quota(reader(tree)) == Sourced(1, "cgroup cpu.max")
    assert cpuset(reader(tree)) == {2, 3}


def test_container_that_sees_its_own_group_as_the_mount_point(tree):
    tree.group("memory", "/docker/abc", {"memory.limit_in_bytes": str(GIB)}, top="/docker/abc")
    assert memory_limit(reader(tree)) == Sourced(GIB, V1)


@pytest.mark.parametrize(("own", "top"), [("/docker/abc", "/other"), ("/../../x", "/"), ("/gone/away", "/")])
def test_group_that_is_not_visible(tree, own, top):
    tree.group("memory", own, {"memory.limit_in_bytes": str(GIB)}, top=top)
    assert memory_limit(reader(tree)) == Sourced(GIB, V1)


def test_mount_point_with_a_space(tree):
    tree.group("", "/a", {"a/memory.max": str(GIB)}, at="/cg/x y")
    text = (tree.root / "proc/self/mountinfo").read_text().replace("x y", r"x\040y")
    assert memory_limit(reader(tree.file("/proc/self/mountinfo", text))) == Sourced(GIB, "cgroup memory.max")


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("400000 100000", 4), ("390000 100000", 3), ("50000 100000", 1), ("max 100000", None), ("", None), ("x", None)],
)
def test_quota_of_version_2(tree, text, cpus):
    tree.group("", "/a/b", {"a/cpu.max": text, "a/b/cpu.max": "max 100000"})
    assert cpu_quota(reader(tree)) == (Sourced(cpus, "cgroup cpu.max") if cpus else None)


@pytest.mark.parametrize(
    ("quota", "period", "cpus"), [("200000", "100000", 2), ("-1", "100000", None), ("9", "0", None)]
)
def test_quota_of_version_1(tree, quota, period, cpus):
    tree.group("cpu,cpuacct", "/a", {"a/cpu.cfs_quota_us": quota, "a/cpu.cfs_period_us": period})
    assert cpu_quota(reader(tree)) == (Sourced(cpus, "cgroup cpu.cfs_quota_us") if cpus else None)


def test_cpuset_of_version_1(tree):
    tree.group("cpuset", "/a/b", {"cpuset.cpus": "0-7", "a/cpuset.cpus": "0-3", "a/b/cpuset.cpus": ""})
    assert cpuset(reader(tree)) == {0, 1, 2, 3}


def test_no_groups(tree):
    assert (memory_limit(reader(tree)), cpu_quota(reader(tree)), cpuset(reader(tree))) == (None, None, None)
