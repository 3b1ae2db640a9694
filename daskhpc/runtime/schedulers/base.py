"""What every batch system has to tell about a job: the contract of the classes in this folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from ..model import Sourced
from ..node import NodeView
from ..ranks import LaunchedRank

LOGIN = "DASKHPC_LOGIN"
"""The variable in which `daskhpc submit` and `daskhpc run` give the ``login:`` of a profile to their processes."""


class Scheduler(ABC):
    """One batch system: how its jobs are recognised, and from what its grant is read.

    To add a scheduler, write one subclass in a file of its own and put an object of it into `SCHEDULERS` of this
    folder's ``__init__.py``. The methods of this class give the default if the system does not give a value.

    Attributes
    ----------
    name : str
        The name that `Runtime.scheduler` has.
    job_variable : str
        The variable that holds the id of the job.
    submit_variable : str
        The variable that names the login node from which the job was submitted.
    launcher : str
        The command with which the scheduler itself starts ranks (``"srun"``); empty if only ``mpiexec`` does.
    scratch_variables : tuple[str, ...]
        Variables that name a directory of the job on a local disk, the best first.
    binding_advice : str
        What to type so that the scheduler's launcher does not bind a rank to some of its CPUs.
    outside_advice : str
        What to type if a shell has the variables of a job and is on none of its nodes; empty if the scheduler does not
        name the nodes reliably.

    Notes
    -----
    Rules for every method:

    - It has no state, starts no program and opens no connection. It reads one node, which a test may construct.
    - All but `recognised_by` are called only inside a job of this scheduler.
    - A value names its source in the system's own words: a variable, a file, or a short rule.
    - It does not raise. Text that is malformed is reported with `NodeView.ignored` and counts as not given.
    """

    name: ClassVar[str]
    job_variable: ClassVar[str]
    submit_variable: ClassVar[str] = ""
    launcher: ClassVar[str] = ""
    scratch_variables: ClassVar[tuple[str, ...]] = ()
    binding_advice: ClassVar[str] = "start it without taskset, numactl or another binding"
    outside_advice: ClassVar[str] = ""

    def recognised_by(self, node: NodeView) -> str | None:
        """The variable that shows that this process is in a job of this scheduler; None if it is not."""
        return self.job_variable if node.variable(self.job_variable) else None

    def job(self, node: NodeView) -> Sourced[str | None]:
        """The id of the job."""
        return Sourced(node.variable(self.job_variable), self.job_variable)

    def submit_host(self, node: NodeView) -> Sourced[str | None]:
        """The login node through which the user's own machine reaches a node; None if that is not known.

        A scheduler knows it by a name that may hold within the cluster alone, so the name in a profile comes first.
        """
        if name := node.variable(LOGIN):
            return Sourced(name, LOGIN)
        if not self.submit_variable:
            return Sourced(None, "not known")
        return Sourced(node.variable(self.submit_variable), self.submit_variable)

    def step(self, node: NodeView) -> Sourced[str | None]:
        """The step that this process is a task of; None in the batch shell, and if there are no steps."""
        return Sourced(None, "no Slurm step")

    def tasks(self, node: NodeView) -> Sourced[int | None]:
        """The tasks that the job asked for, each of which becomes a worker; None if that is not known."""
        return Sourced(None, "not known")

    def ranks(self, node: NodeView) -> LaunchedRank | None:
        """This process as a rank that the scheduler's own launcher started; None if it did not."""
        return None

    def host(self, node: NodeView, by_mpiexec: bool) -> Sourced[str] | None:
        """The short name of this node as the scheduler has it; None to take the kernel's.

        Parameters
        ----------
        node : NodeView
        by_mpiexec : bool
            Whether an MPI launcher started this process. It passes on the variables of the first node.
        """
        return None

    @abstractmethod
    def nodes(self, node: NodeView, host: str) -> Sourced[tuple[str, ...]]:
        """The nodes of the job in the scheduler's order; at least `host`, which is this one."""

    def cpus(self, node: NodeView, host: str, nodes: tuple[str, ...]) -> Sourced[int] | None:
        """The CPUs of the job on this node; None if only the kernel knows."""
        return None

    def cpus_per_rank(self, node: NodeView, rank: LaunchedRank, node_cpus: Sourced[int]) -> Sourced[int | None]:
        """The CPUs that the launcher grants each rank by itself; None if a node's ranks share its CPUs."""
        return Sourced(None, "shared")

    def memory(self, node: NodeView, node_cpus: Sourced[int], ram: Sourced[int] | None) -> tuple[Sourced[int], ...]:
        """The limits of the job's memory on this node, in bytes; the least counts, beside control groups and RAM.

        Parameters
        ----------
        node : NodeView
        node_cpus : Sourced[int]
            The CPUs of the job on this node, for limits per CPU.
        ram : Sourced[int] or None
            The memory of the node, for jobs that are granted all of it.
        """
        return ()

    def memory_command(self, job: str) -> tuple[str, ...]:
        """The command that prints by which rule a job was granted its memory; empty if there is none."""
        return ()

    def parse_memory(self, output: str) -> tuple[str, str] | None:
        """The variable in which the scheduler's launcher takes the memory of a job, and its value.

        Parameters
        ----------
        output : str
            What `memory_command` printed.

        Returns
        -------
        tuple[str, str] or None
            None if the output does not have it.
        """
        return None

    def end(self, node: NodeView) -> Sourced[float | None]:
        """When the job ends, in seconds since the epoch; None if there is no limit or it is not known."""
        return Sourced(None, "not known")

    def end_command(self, job: str) -> tuple[str, ...]:
        """The command that prints when a job ends if `end` does not know it; empty if there is none."""
        return ()

    def parse_end(self, output: str, now: float, job: str) -> Sourced[float | None] | None:
        """The end of the job from what `end_command` printed; None if that is no time.

        Parameters
        ----------
        output : str
        now : float
            The present time in seconds since the epoch.
        job : str
            Its id; the output may have other jobs too.
        """
        return None
