"""The keys of a run and the secret of its link are in nothing that Dask, Python or daskhpc print or write."""

from __future__ import annotations

import pytest
from ranks import Ranks

pytestmark = pytest.mark.mpi

PROGRAM = """
    import gzip, subprocess, sys
    from pathlib import Path
    import dask, yaml
    from distributed import Security
    import daskhpc
    from daskhpc.cluster.session import session
    from daskhpc.compat.distributed_security import revealed

    def keys(role):
        return revealed(dask.config.get(f"distributed.comm.tls.{role}.key"))

    def shown():
        from daskhpc.cluster.session import session
        config = dask.config.config
        printed = [config, yaml.dump(config), dask.config.serialize(config), Security(), Security()._repr_html_()]
        files = [Path("/proc/self/environ").read_bytes(), Path("/proc/self/cmdline").read_bytes()]
        return " ".join(map(str, [session, *printed, *files]))

    client = daskhpc.start(protocol="tls", nthreads=1)
    secrets = [keys("client"), client.run_on_scheduler(keys, "scheduler"), *client.run(keys, "worker").values()]
    assert len(set(secrets)) == 3 and all("PRIVATE KEY" in secret for secret in secrets)
    secrets.append(client.dashboard_link.split("/")[3])
    secrets += [line for secret in secrets[:3] for line in secret.splitlines()[1:-1]]
    client.dump_cluster_state("dump")
    config = subprocess.run([sys.executable, "-m", "daskhpc", "config"], capture_output=True, text=True)
    written = {
        "dump": str(gzip.decompress(Path("dump.msgpack.gz").read_bytes())),
        "scheduler": client.run_on_scheduler(shown),
        "workers": str(client.run(shown)),
        "nannies": str(client.run(shown, nanny=True)),
        "versions": str(client.get_versions()),
        "identity": str(client.scheduler_info()),
        "logs": f"{client.get_scheduler_logs()} {client.get_worker_logs()}",
        "daskhpc config": config.stdout,
        "client": f"{dask.config.get('distributed.comm')} {Security()} {session} {client} {client.security}",
    }
    assert all(len(text) > 100 for text in written.values())
    print([name for name, text in written.items() if any(secret in text for secret in secrets)])
"""


def test_no_secret_is_in_what_is_printed_dumped_or_logged(ranks: Ranks) -> None:
    done = ranks.mpiexec(4, PROGRAM)
    assert (done.code, done.out) == (0, "[]\n"), done.err
