"""What the commands of differing sites print, in the forms that the manuals of Slurm, PBS Pro and Torque give."""

from __future__ import annotations

from daskhpc.launch.site_detection import SiteAnswer

STARTS = "sbatch: Job 4711 to start at 2026-11-26T10:00:00 using 48 processors on nodes n1 in partition compute"
NO_ACCOUNTING = SiteAnswer(1, "You are not running a supported accounting_storage plugin")


def ok(text: str) -> SiteAnswer:
    return SiteAnswer(0, text)


def refused(text: str) -> SiteAnswer:
    return SiteAnswer(1, f"sbatch: error: {text}\nallocation failure: {text}")


def config(cluster: str, **more: str) -> SiteAnswer:
    values = {"AccountingStorageType": "accounting_storage/slurmdbd", "ClusterName": cluster, "JobRequeue": "1", **more}
    lines = [f"{name:23} = {value}" for name, value in values.items()]
    return ok(
        "Configuration data as of 2026-11-26T09:00:00\n" + "\n".join(lines) + "\n\nSlurmctld(primary) at head is UP\n"
    )


MPI = ok("MPI plugin types are...\n\tnone\n\tpmi2\n\tpmix\nspecific pmix plugin versions available: pmix_v4\n")
TAKEN = {name: ok(STARTS) for name in ("plain job", "memory per node", "memory per cpu")}

# 40 cores and InfiniBand; everything as in the manual.
INFINIBAND = {
    "config": config("hydra"),
    "partitions": ok(
        "compute*|up|3-00:00:00|120|40|190000|(null)|skylake,ib\nlong|up|14-00:00:00|8|40|190000|(null)|ib\n"
    ),
    "accounts": ok("bio|normal\n"),
    "default account": ok("bio\n"),
    "mpi": MPI,
    **TAKEN,
}
# A filter that takes memory per CPU only, and asks for an account.
PER_CPU = {
    "config": config("delta", JobRequeue="0"),
    "partitions": ok(
        "compute*|up|1-00:00:00|218|48|184000|(null)|(null)\ngpu|up|1-00:00:00|10|48|184000|gpu:v100s:4(S:0-1)|(null)\n"
    ),
    "accounts": ok("research-ae|normal\neducation-ae|normal\n"),
    "default account": ok("research-ae\n"),
    "plain job": ok(STARTS),
    "memory per node": refused("Please use --mem-per-cpu, --mem is not supported"),
    "memory per cpu": ok(STARTS),
    "mpi": MPI,
}
# GPUs of two types, and no default partition.
GPUS = {
    "config": config("anna"),
    "partitions": ok(
        "a100|up|1-00:00:00|20|128|1000000|gpu:a100:8(S:0-7)|a100\na40|up|1-00:00:00|44|128|480000|gpu:a40:8(S:0-7)|a40\n"
    ),
    "accounts": ok("b10|normal\n"),
    "default account": ok("b10\n"),
    "mpi": MPI,
    "plain job": refused("No partition specified or system default partition"),
    "memory per node": refused("No partition specified or system default partition"),
    "memory per cpu": refused("No partition specified or system default partition"),
}
# A cloud whose nodes have no memory written down, and no accounting.
CLOUD = {
    "config": config("cloud", AccountingStorageType="accounting_storage/none"),
    "partitions": ok("queue1*|up|infinite|10|36|1|(null)|dynamic,c5n\n"),
    "accounts": NO_ACCOUNTING,
    "default account": NO_ACCOUNTING,
    "plain job": ok(STARTS),
    "memory per node": refused("Memory specification can not be satisfied"),
    "memory per cpu": refused("Memory specification can not be satisfied"),
    "mpi": ok("MPI plugin types are...\n\tnone\n\tpmi2\n"),
}
# ibrun instead of srun, whole nodes, and --mem refused altogether.
IBRUN = {
    "config": config("bison"),
    "partitions": ok("skx|up|2-00:00:00|560|96|192000|(null)|(null)\nskx-dev*|up|2:00:00|20|96|192000|(null)|(null)\n"),
    "accounts": ok("A-sea|normal\n"),
    "default account": SiteAnswer(0, ""),
    "plain job": ok(STARTS),
    "memory per node": refused("--mem option is not permitted on this system"),
    "memory per cpu": refused("--mem option is not permitted on this system"),
    "mpi": SiteAnswer(None, ""),
}
# One partition that is no default, one account that has to be named, and nodes that differ.
NARROW = {
    "config": config("narrow"),
    "partitions": ok(
        "ProdQ|up|3-00:00:00|100|40+|190000+|(null)|(null)\nProdQ|up|3-00:00:00|6|64|1500000|(null)|(null)\n"
    ),
    "accounts": ok("phy01|normal,long\nphy01|debug\n"),
    "default account": ok("phy01\n"),
    "plain job": refused("You must specify an account with -A"),
    "memory per node": refused("You must specify an account with -A"),
    "memory per cpu": refused("You must specify an account with -A"),
    "mpi": MPI,
}
# A controller that is too busy to answer anything.
SILENT = dict.fromkeys(INFINIBAND, SiteAnswer(None, ""))
# A banner on every answer, GPUs without a type, a name that no file should have.
BANNER = {
    "config": ok("*** Maintenance on Monday ***\n" + config("the cluster/2").text),
    "partitions": ok(
        "*** Maintenance on Monday ***\ngpu*|up|1-00:00:00|4|32|250000|gpu:4|(null)\n"
        "old|down|1-00:00:00|4|16|64000|(null)|(null)\n"
    ),
    "accounts": ok("physics|normal\n"),
    "default account": ok("physics\n"),
    "mpi": MPI,
    **TAKEN,
}

# PBS Pro and OpenPBS.


def vnode(name: str, **resources: object) -> str:
    lines = [f"     resources_available.{key} = {value}" for key, value in resources.items()]
    return "\n".join(
        [
            name,
            f"     Mom = {name}.site.org",
            "     state = free",
            "     pcpus = 80",
            *lines,
            "     sharing = default_shared",
            "",
        ]
    )


PBS_PRO = {
    "version": ok("pbs_version = 2022.1.1\n"),
    "server": ok(
        "Server: pbs01.site.org\n    server_state = Active\n    default_queue = workq\n    pbs_version = 2022.1.1\n"
    ),
    "nodes": ok(
        "\n".join(vnode(f"n{i}", ncpus=40, mem="196000000kb", ngpus=0) for i in range(4))
        + vnode("fat", ncpus=128, mem="2tb")
    ),
}
OPENPBS_GPUS = {
    "version": ok("pbs_version = 23.06.06\n"),
    "server": ok("Server: north-pbs-01\n    server_state = Active\n"),
    "nodes": ok("\n".join(vnode(f"x{i}", ncpus=64, ngpus=4, mem="527672492kb") for i in range(3))),
}
TORQUE = {
    "version": SiteAnswer(0, "Version: 6.1.2\nCommit: 661e092552de43a785c15d39a3634a541d86898e\n"),
    "server": ok("Server: hpc.site.org\n    server_state = Active\n    default_queue = batch\n"),
    "nodes": ok(
        "\n".join(
            f"vx{i:02}\n     state = free\n     power_state = Running\n     np = 12\n"
            f"     properties = vortex,c18c,x5672\n     ntype = cluster\n"
            f"     status = opsys=linux,ncpus=12,totmem=33000000kb\n"
            for i in range(3)
        )
        + "\nbo01\n     state = free\n     np = 20\n     properties = bora\n"
    ),
}
PBS_SILENT = {
    "version": ok("version: 4.2.10\n"),
    "server": SiteAnswer(None, ""),
    "nodes": SiteAnswer(1, "pbsnodes: cannot connect"),
}
