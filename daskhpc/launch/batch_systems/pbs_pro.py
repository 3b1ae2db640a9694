"""PBS Professional and OpenPBS: ``select`` and ``place``."""

from __future__ import annotations

from ..job_spec import JobSpec
from ..site import Site
from .pbs import PBSBatch


class PBSProBatch(PBSBatch):
    """PBS Pro's qsub: each chunk is a node."""

    name = "pbspro"
    title = "PBS Pro"
    array_option = "-J"
    has_conf = True

    def resources(self, spec: JobSpec, site: Site, cpus: int) -> list[str]:
        chunk = [f"select={spec.nodes}", f"ncpus={cpus}", f"mpiprocs={spec.tasks_per_node}"]
        if spec.memory and site.memory != "none":
            chunk.append(f"mem={spec.memory}mb" if spec.memory % 1024 else f"mem={spec.memory // 1024}gb")
        if spec.gpus:
            chunk.append(f"ngpus={spec.gpus}")
        if spec.gpu_type:
            chunk.append(f"gpu_type={spec.gpu_type}")
        if spec.constraint:
            chunk.append(spec.constraint)
        place = "scatter:excl" if spec.whole_nodes else "scatter"
        return [f"-l {':'.join(chunk)}", f"-l place={place}"]
