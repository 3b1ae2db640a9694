"""The HTTP servers of scheduler and workers: each route answers to those alone that have the secret of the run."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dask
import pytest
from bokeh.client import pull_session
from dask.distributed import Client
from distributed.http import get_handlers
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect
from waiting import until

from daskhpc.cluster.http_door import path_inside, with_secret
from daskhpc.cluster.local_cluster import plan_local, start_local
from daskhpc.compat.distributed import worker_infos
from daskhpc.runtime import discover
from daskhpc.settings import Settings

SECRET = "kkk"


@pytest.mark.parametrize(
    ("uri", "inside"),
    [
        ("/kkk/status", "/status"),
        ("/kkk/info/a?b=/c", "/info/a?b=/c"),
        ("/kkk//status", "//status"),
        ("/kkk", ""),
        ("/kkk?x", ""),
        ("/kkk/", "/"),
        ("/kkkk/status", None),
        ("/kk/status", None),
        ("/status?kkk", None),
        ("/status/kkk", None),
        ("//kkk/status", None),
        ("kkk/status", None),
        ("http://n1/kkk/status", None),
        ("/\udcffkk/status", None),
        ("/", None),
        ("*", None),
        ("", None),
    ],
)
def test_what_passes(uri: str, inside: str | None) -> None:
    assert path_inside(uri, {"Host": "n1:8787"}, SECRET) == inside


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({"Host": "n1:8787", "Origin": "http://n1:8787"}, True),
        ({"Host": "hub.site.org", "Origin": "https://hub.site.org"}, True),
        ({"Host": "n1:8787", "Origin": "http://n1:8888"}, False),
        ({"Host": "n1:8787", "Origin": "http://elsewhere"}, False),
        ({"Host": "n1:8787", "Origin": "null"}, False),
        ({"Origin": "http://n1:8787"}, False),
    ],
)
def test_a_page_of_another_site_does_not_pass(headers: dict[str, str], passes: bool) -> None:
    assert (path_inside("/kkk/status/ws", headers, SECRET) is not None) is passes


@pytest.mark.parametrize("link", ["/user/ada/proxy/8787/status", "http://n1:8787/status"])
def test_every_template_of_a_link_gets_the_secret(link: str) -> None:
    assert with_secret(link, SECRET) == link.replace("status", "kkk/status")
    assert with_secret("http://n1/elsewhere", SECRET) == "http://n1/elsewhere"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster of this machine with one worker, and the secret."""
    settings = Settings.resolve({"workers": 1, "nthreads": 1, "dashboard_address": ":0", "memory_limit": "1GB"})
    with start_local(plan_local(discover(), settings), settings, SECRET) as started:
        yield started


def ask(url: str, method: str = "GET") -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=100) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")


def every_route(cluster: Any) -> Sequence[str]:
    """Of Dask's scheduler as it comes, the dashboard's pages included."""
    from distributed.dashboard.scheduler import applications

    with dask.config.set(
        {"distributed.scheduler.http.routes": [*dask.config.get("distributed.scheduler.http.routes")]}
    ):
        routes = get_handlers(cluster.scheduler, dask.config.get("distributed.scheduler.http.routes"))
    return [url.replace("(.*)", "x").replace("(.*?)", "x").replace(r"(\d+)", "1") for url, *_ in routes] + [
        *applications,
        *(f"{page}/ws" for page in ("/status", "/workers")),
        "/",
        "/sitemap.json",
        "/static/js/bokeh.min.js",
    ]


def test_no_route_answers_without_the_secret(cluster: Any) -> None:
    here = f"http://127.0.0.1:{urlsplit(cluster.dashboard_link).port}"
    assert ask(cluster.dashboard_link)[0] == 200
    refused = {(ask(f"{here}/{route.lstrip('/')}")) for route in every_route(cluster)}
    assert refused == {(403, "This is a Dask cluster of daskhpc. It opens with the link that its owner has.\n")}
    assert {ask(f"{here}/status", method)[0] for method in ("POST", "PUT", "DELETE", "OPTIONS")} == {403}


def test_with_the_secret_everything_but_the_proxy_answers(cluster: Any) -> None:
    inside = cluster.dashboard_link.removesuffix("status")
    answers = {
        page: ask(inside + page)[0]
        for page in ("", "status", "info/main/workers.html", "json/identity.json", "metrics")
    }
    assert set(answers.values()) == {200}
    assert ask(inside.rstrip("/"))[0] == 200
    assert ask(f"{inside}proxy/{cluster.scheduler.port}/127.0.0.1/x")[0] == 404


def test_a_worker_has_the_same_door(cluster: Any) -> None:
    with Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(1, timeout=60)
        (worker,) = worker_infos(client).values()
    here = f"http://127.0.0.1:{worker['services']['dashboard']}"
    assert [ask(f"{here}/{page}")[0] for page in ("", "metrics", "health", "sitemap.json", "info")] == [403] * 5
    assert ask(f"{here}/{SECRET}/health") == (200, "ok")


def test_websockets(cluster: Any) -> None:
    """Dask's own page of events speaks over one; a page of another site cannot open it, nor who lacks the secret."""
    here = f"127.0.0.1:{urlsplit(cluster.dashboard_link).port}"

    async def opened(path: str, **headers: str) -> int:
        request = HTTPRequest(f"ws://{here}{path}", headers=headers, request_timeout=100)
        try:
            (await websocket_connect(request)).close()
        except HTTPClientError as error:
            return error.code
        return 101

    async def all_ways() -> list[int]:
        return [
            await opened("/kkk/eventstream"),
            await opened("/kkk/eventstream", Origin=f"http://{here}"),
            await opened("/kkk/eventstream", Origin="http://elsewhere"),
            await opened("/eventstream"),
            await opened("/status/ws"),
        ]

    assert asyncio.run(all_ways()) == [101, 101, 403, 403, 403]
    until(lambda: not any("websocket" in name.lower() for name in cluster.scheduler.plugins))


def test_the_page_lives(cluster: Any) -> None:
    """Bokeh's own client fills it over a websocket, as a browser does."""
    page = pull_session(url=cluster.dashboard_link)
    try:
        assert len(page.document.roots) > 3
    finally:
        page.close()


def test_other_clusters_of_the_program_keep_dasks_own(cluster: Any) -> None:
    assert "distributed.http.proxy" in dask.config.get("distributed.scheduler.http.routes")
    assert "kkk" not in dask.config.get("distributed.dashboard.link")
    assert "kkk" in cluster.dashboard_link


FIRST_PAGE = """
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import daskhpc

if __name__ == "__main__":
    client = daskhpc.start(workers=1, nthreads=1, dashboard_address=":0", memory_limit="1GB")
    client.submit(sum, [1, 2]).result()
    before = "bokeh" in sys.modules
    inside = client.cluster.dashboard_link.removesuffix("status")

    def ask(page):
        with urllib.request.urlopen(inside + page, timeout=200) as answer:
            return answer.status, answer.url.removeprefix(inside), b"<html" in answer.read()

    print(before, *ThreadPoolExecutor(4).map(ask, ["", "status?theme=a/b", "tasks", "workers"]))
"""


def test_the_dashboard_is_loaded_when_somebody_opens_it(tmp_path: Path) -> None:
    """And whoever asks meanwhile gets their page, too."""
    (tmp_path / "first_page.py").write_text(FIRST_PAGE)
    command = [sys.executable, "first_page.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=True)
    pages = ["status", "status?theme=a/b", "tasks", "workers"]
    assert done.stdout.split("\n")[0] == f"False {' '.join(str((200, page, True)) for page in pages)}", done.stderr
