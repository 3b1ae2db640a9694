"""Five hundred strangers before each port of a run: a search ends as without them."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from crowd import crowd
from ranks import Ranks, without_progress
from waiting import until

pytestmark = pytest.mark.mpi

SEARCH = """
    import json, os
    import daskhpc
    from daskhpc.compat.distributed import worker_infos
    from sklearn.datasets import load_digits
    from sklearn.linear_model import RidgeClassifier
    from sklearn.model_selection import GridSearchCV

    client = daskhpc.start(protocol="tls", nthreads=1)
    X, y = load_digits(return_X_y=True)
    candidates = {"alpha": [0.1, 1.0, 10.0, 100.0]}
    expected = GridSearchCV(RidgeClassifier(), candidates).fit(X, y).cv_results_["mean_test_score"].tolist()
    workers = worker_infos(client)
    addresses = [client.scheduler.address, client.dashboard_link, *workers]
    for worker in workers.values():
        addresses += [worker["nanny"], f"http://{worker['host']}:{worker['services']['dashboard']}"]
    with open("draft", "w") as file:
        json.dump([address.split("/")[2] for address in addresses], file)
    before, searches = client.run(os.getpid), 0
    while searches < 2 or not os.path.exists("came"):  # while they come, and while they stay
        found = daskhpc.GridSearchCV(RidgeClassifier(), candidates).fit(X, y).cv_results_["mean_test_score"].tolist()
        assert found == expected
        searches += 1
        if searches == 1:
            os.rename("draft", "ready")
    client.submit(int, 1).result()
    print("the same", client.run(os.getpid) == before)
"""
EACH = 500


def test_a_search_ends_as_without_them(ranks: Ranks) -> None:
    script = ranks.script(SEARCH)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(ranks.mpiexec, 4, script, timeout=280)
        try:
            until(lambda: (ranks.folder / "ready").exists() or running.done(), 200)
            assert not running.done(), running.result().err
            places = json.loads((ranks.folder / "ready").read_text())
            assert len(places) == len(set(places)) == 8, "two of the scheduler, three of each worker with its Nanny"
            with crowd(EACH, places) as process:
                assert process.stdout is not None
                came = int(process.stdout.readline())
                (ranks.folder / "came").touch()
                done = running.result()
        finally:
            (ranks.folder / "came").touch()
    assert (done.code, done.out) == (0, "the same True\n"), done.err
    assert came == EACH * len(places), "nobody is kept waiting"
    told = [line for line in done.err.splitlines() if "could not show a key" in line or "TLS handshake failed" in line]
    assert len(told) <= 6 * len(places), done.err  # perhaps none: most of them are gone before their handshake fails
    assert len(without_progress(done.err)) - len(told) <= 10, done.err
