"""Torque: ``nodes`` and ``ppn``."""

from __future__ import annotations

from ..job_spec import JobSpec
from ..site import Site
from .pbs import PBSBatch


class TorqueBatch(PBSBatch):
    """Torque's qsub: nodes with their processors and properties."""

    name = "torque"
    title = "Torque"
    array_option = "-t"
    has_conf = False

    def resources(self, spec: JobSpec, site: Site, cpus: int) -> list[str]:
        node = [f"nodes={spec.nodes}", f"ppn={cpus}"]
        if spec.gpus:
            node.append(f"gpus={spec.gpus}")
        node += [text for text in (spec.gpu_type, spec.constraint) if text]
        lines = [f"-l {':'.join(node)}"]
        if spec.memory and site.memory != "none":
            # Torque's mem is the whole job's.
            lines.append(f"-l mem={spec.memory * spec.nodes}mb")
        if spec.whole_nodes:
            lines.append("-l naccesspolicy=singlejob")
        return lines
