"""Which interface Dask should use."""

from __future__ import annotations

import pytest

from daskhpc.runtime import Sourced

from .environments import hydra, pbspro, slurm_step
from .tree import Tree

IB = 32
NAMES = {"n1": "10.9.0.1", "n2": "10.9.0.2", "n3": "10.9.0.3"}


@pytest.mark.parametrize(
    ("add", "interface"),
    [
        pytest.param([("ib0", "10.1.0.0/16", IB)], Sourced("ib0", "InfiniBand"), id="InfiniBand"),
        pytest.param([("ibp65s0", "10.1.0.0/16", IB)], Sourced("ibp65s0", "InfiniBand"), id="a predictable name"),
        pytest.param([("fast", "10.1.0.0/16", IB)], Sourced("fast", "InfiniBand"), id="any name, by its hardware type"),
        pytest.param([("ib1", "10.1.0.0/16", IB), ("ib0", "10.2.0.0/16", IB)], Sourced("ib0", "InfiniBand"), id="two"),
        pytest.param(
            [("hsn10", "10.1.0.0/16", 1), ("hsn2", "10.2.0.0/16", 1)], Sourced("hsn2", "Slingshot"), id="Slingshot"
        ),
        pytest.param([("ib0", "10.1.0.0/16", IB, "up", "hfi1")], Sourced("ib0", "Omni-Path"), id="Omni-Path by driver"),
        pytest.param([("opa0", "10.1.0.0/16", IB)], Sourced("opa0", "Omni-Path"), id="Omni-Path by name"),
        pytest.param(
            [("ib0", "10.1.0.0/16", IB, "up", "hfi1"), ("hsn0", "10.2.0.0/16", 1)],
            Sourced("hsn0", "Slingshot"),
            id="Slingshot before Omni-Path",
        ),
        pytest.param(
            [("ib0", "10.1.0.0/16", IB, "up", "mlx5_core"), ("hsn0", "10.2.0.0/16", 1)],
            Sourced("ib0", "InfiniBand"),
            id="InfiniBand before Slingshot",
        ),
        pytest.param(
            [("ib0", "10.1.0.0/16", IB, "down"), ("ib1", "10.2.0.0/16", IB)], Sourced("ib1", "InfiniBand"), id="down"
        ),
        pytest.param([("ib0", "", IB)], Sourced("eth1", "route to the nodes"), id="without IPv4"),
        pytest.param([("ib0", "10.1.0.0/16", IB, "dormant")], Sourced("eth1", "route to the nodes"), id="dormant"),
        pytest.param([("ib0", "10.1.0.0/16", IB, "unknown")], Sourced("ib0", "InfiniBand"), id="unknown but up"),
        pytest.param(
            [("ibmgmt", "10.1.0.0/16", 1)], Sourced("eth1", "route to the nodes"), id="only the name begins so"
        ),
        pytest.param([], Sourced("eth1", "route to the nodes"), id="the route to another node"),
    ],
)
def test_several_nodes(tree, add, interface):
    tree.interface("eth1", "10.9.0.0/24")
    for each in add:
        tree.interface(*each)
    runtime = tree.discover(slurm_step(node=1), NAMES)
    assert runtime.interface == interface
    assert runtime.interfaces[0] == interface.value
    assert runtime.interfaces[-1] == "lo"


def test_longest_prefix(tree):
    tree.interface("eth1", "10.0.0.0/8").interface("eth2", "10.9.0.0/24").interface("eth3", "10.9.0.0/16")
    runtime = tree.discover(slurm_step(node=1), NAMES)
    assert runtime.interface == Sourced("eth2", "route to the nodes")
    assert runtime.interfaces == ("eth2", "eth0", "eth1", "eth3", "lo")


def test_lower_metric(tree):
    tree.interface("eth1", "10.9.0.0/24", metric=200).interface("eth2", "10.9.0.0/24", metric=100)
    assert tree.discover(slurm_step(node=1), NAMES).interface.value == "eth2"


def test_rejected_route(tree):
    tree.interface("eth1", "10.9.0.0/16").interface("eth2", "10.8.0.0/24").route("eth2", "10.9.0.0/24", flags="0201")
    assert tree.discover(slurm_step(node=1), NAMES).interface.value == "eth1"


def test_the_default_route_reaches_the_others(tree):
    assert tree.discover(slurm_step(node=1), NAMES).interface == Sourced("eth0", "route to the nodes")


@pytest.mark.parametrize("names", [{}, {"n2": "127.0.1.1"}, {"n2": "not an address"}, {"n2": "0.0.0.0"}])
def test_names_that_do_not_resolve(tree, names):
    assert tree.discover(slurm_step(node=1), names).interface == Sourced("eth0", "default route")


def test_the_third_node_resolves(tree):
    tree.interface("eth1", "10.9.0.0/24")
    assert tree.discover(slurm_step(node=1), {"n3": "10.9.0.3"}).interface == Sourced("eth1", "route to the nodes")


def test_bridges_of_this_node_are_left_out(tree):
    tree.interface("docker0", "172.17.0.0/16").interface("virbr0", "192.168.122.0/24").interface("veth1", "10.5.0.0/24")
    assert tree.discover(slurm_step(node=1), NAMES).interfaces == ("eth0", "lo")


def test_a_bridge_that_reaches_the_others(tree):
    tree.interface("veth1", "10.9.0.0/24")
    runtime = tree.discover(slurm_step(node=1), NAMES)
    assert (runtime.interface, runtime.interfaces) == (Sourced("veth1", "route to the nodes"), ("veth1", "eth0", "lo"))


def test_laptop(tree):
    runtime = tree.discover()
    assert (runtime.interface, runtime.interfaces) == (Sourced("lo", "a single machine"), ("lo", "eth0"))


def test_mpiexec_on_one_machine(tree):
    assert tree.discover(hydra(2, 4, 2, 4)).interface == Sourced("lo", "a single machine")


def test_mpiexec_on_several_machines(tree):
    assert tree.discover(hydra(2, 4, 0, 2)).interface == Sourced("eth0", "default route")


@pytest.mark.parametrize(
    "env",
    [slurm_step(gtids="0-4", SLURM_JOB_NODELIST="n1"), pbspro()],
)
def test_job_on_one_node(tree, env):
    assert tree.discover(env).interface == Sourced("eth0", "default route")


def bare(tree: Tree) -> Tree:
    """A tree without any route."""
    return tree.file("/proc/net/route", "Iface Destination")


def test_job_on_one_node_without_network(tree):
    runtime = bare(tree).discover(slurm_step(gtids="0-4", SLURM_JOB_NODELIST="n1"))
    assert (runtime.interface, runtime.interfaces) == (Sourced("lo", "no other network"), ("lo",))


def test_several_nodes_without_network(tree):
    runtime = bare(tree).discover(slurm_step(node=1), NAMES)
    assert (runtime.interface, runtime.interfaces) == (Sourced(None, "no route to the nodes"), ("lo",))


def test_several_nodes_with_one_network_that_does_not_say(tree):
    bare(tree).file("/proc/net/route", "Iface\neth0 0001A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0\nbad line\nx y z")
    assert tree.discover(slurm_step(node=1)).interface == Sourced("eth0", "the only network")


def test_no_sys(tmp_path):
    from daskhpc.runtime import discover

    runtime = discover({}, tmp_path, lambda name: None)
    assert (runtime.interface, runtime.interfaces) == (Sourced(None, "no other network"), ())


def test_only_a_few_names_are_asked_for(tree):
    asked = []
    from daskhpc.runtime import discover

    discover(slurm_step(node=1, SLURM_JOB_NODELIST="n[1-500]"), tree.root, lambda name: asked.append(name))
    assert asked == ["n2", "n3", "n4"]
