"""The door of the HTTP servers of scheduler and workers: it opens to those who have the link of this run.

The secret of a run is the first part of every address: ``http://node:8787/SECRET/status``. The door takes it off and
passes the request on, so that Dask's pages, their data and their websockets are what they always were, with links that
are relative. Whoever lacks it gets one sentence, whatever they ask for.

Why not a cookie: a browser sends the cookies of ``127.0.0.1`` to every port of that address, and so the one of a
tunnel's end to whoever else is behind another tunnel. A page of another site can make a browser send a cookie, but
cannot know a path.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import importlib
import secrets
import sys
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import dask
from tornado.httputil import HTTPServerRequest
from tornado.web import Application, RedirectHandler, RequestHandler, stream_request_body

from ..compat.distributed_security import HiddenText, revealed

DOOR = "daskhpc-http-door"
"""What a scheduler or a worker that starts finds in dask.config: the secret, and what the scheduler serves."""
PRELOAD = "daskhpc.cluster.http_door"
_ROUTES, _PROXY = "distributed.scheduler.http.routes", "distributed.http.proxy"
_DASHBOARD = "distributed.dashboard.scheduler"
_OF_DASHBOARD = ("distributed", "bokeh")
_WORKERS_FIRST_SECONDS = 1.0


def new_secret() -> str:
    """192 random bits, as they can stand in an address."""
    return secrets.token_urlsafe(24)


def scheduler_configuration(secret: str, dashboard: bool, workers_first: bool) -> dict[str, Any]:
    """The configuration under which a scheduler has to be made that loads `PRELOAD`.

    Its server listens before any preload is called. So it begins without routes, and gets them together with the door.
    ``distributed.http.proxy`` is not among them: with jupyter-server-proxy installed it connects whoever reaches it
    to any port of any host.

    Parameters
    ----------
    secret : str
    dashboard : bool
        Whether it serves Dask's dashboard.
    workers_first : bool
        Whether the dashboard's code is loaded a second later.
    """
    routes = [route for route in dask.config.get(_ROUTES) if route != _PROXY]
    serves = {"routes": routes, "dashboard": dashboard, "workers_first": workers_first}
    return {_ROUTES: [], DOOR: {"secret": HiddenText(secret), **serves}}


def worker_configuration(secret: str) -> dict[str, Any]:
    """The configuration of a worker that loads `PRELOAD`; a Nanny sends it to its process over a pipe."""
    return {DOOR: {"secret": HiddenText(secret)}}


def other_preloads(setting: str) -> list[str]:
    """The modules that a setting of Dask names, which may be a text or a list."""
    named = dask.config.get(setting)
    return [named] if isinstance(named, str) else list(named)


def with_secret(link: str, secret: str) -> str:
    """A link to the dashboard, or Dask's template of it, with the secret; one to another page stays as it is.

    Examples
    --------
    >>> with_secret("http://10.0.0.1:8787/status", "k")
    'http://10.0.0.1:8787/k/status'
    """
    return f"{link.removesuffix('status')}{secret}/status" if link.endswith("/status") else link


def guarded(cluster_class: Any, secret: str) -> Any:
    """A class of clusters whose link to the dashboard has the secret; those of other clusters stay what they are."""

    class GuardedCluster(cluster_class):  # type: ignore[misc]
        @property
        def dashboard_link(self) -> str:
            return with_secret(super().dashboard_link, secret)

    return GuardedCluster


def dask_setup(server: Any) -> None:
    """Dask calls this when a scheduler or a worker starts, before it answers anything over HTTP."""
    door = dask.config.get(DOOR, default=None)
    if not door:
        return
    application = server.http_application
    # Public: `find_handler` is what tornado asks for every request, websockets included.
    application.find_handler = HTTPDoor(application, revealed(door["secret"]))
    if "routes" in door:
        from distributed.http import get_handlers

        application.add_handlers(r".*", get_handlers(server=server, modules=door["routes"], prefix="/"))
        if door["dashboard"] and door["workers_first"]:
            server.loop.add_callback(_add_dashboard_later, server)
        elif door["dashboard"]:
            _add_dashboard(server)


async def _add_dashboard_later(scheduler: Any) -> None:
    """Load the dashboard's code, which takes longer than all else in a scheduler's start, after the workers came."""
    await asyncio.sleep(_WORKERS_FIRST_SECONDS)
    await asyncio.to_thread(_load_dashboard, scheduler)
    if scheduler.status.name == "running":
        _add_dashboard(scheduler)


def _load_dashboard(scheduler: Any) -> None:
    """Load its code, in a thread, unless the scheduler closes meanwhile.

    Python waits for such a thread at its end. On a busy node the code takes longer to load than a cluster may take to
    close, so a short program would end with the exit code of a rank that hangs.
    """
    finder = _WhileItRuns(scheduler)
    sys.meta_path.insert(0, finder)
    try:
        with contextlib.suppress(ImportError):
            importlib.import_module(_DASHBOARD)
    finally:
        sys.meta_path.remove(finder)


class _WhileItRuns:
    """Finds no module, and lets the dashboard's imports in this thread fail once a scheduler closes.

    Other packages are loaded to their end: some take a module that fails for one that is not installed.
    """

    def __init__(self, scheduler: Any) -> None:
        self._scheduler, self._thread = scheduler, threading.get_ident()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        ours = threading.get_ident() == self._thread and name.partition(".")[0] in _OF_DASHBOARD
        if ours and self._scheduler.status.name != "running":
            raise ImportError(f"{name} is not needed any more: the scheduler has closed")


def _add_dashboard(scheduler: Any) -> None:
    with contextlib.suppress(ImportError):  # Dask does without it, too
        dashboard = importlib.import_module(_DASHBOARD)
        dashboard.connect(scheduler.http_application, scheduler.http_server, scheduler, prefix="")


class HTTPDoor:
    """What an application asks for the handler of a request, in place of its own method.

    Parameters
    ----------
    application : tornado.web.Application
    secret : str
    """

    def __init__(self, application: Application, secret: str) -> None:
        self._application = application
        self._find_handler = application.find_handler
        self._secret = secret

    def __call__(self, request: HTTPServerRequest, **options: Any) -> Any:
        """The application's own handler if the request may pass, else one that refuses."""
        inside = path_inside(request.uri or "", request.headers, self._secret)
        if inside is None:
            return self._application.get_handler_delegate(request, _Refusal)
        if inside in ("", "/"):
            to_dashboard = {"url": "status" if inside else f"{self._secret}/status"}
            return self._application.get_handler_delegate(request, RedirectHandler, to_dashboard)
        request.uri = inside
        request.path = inside.partition("?")[0]
        return self._find_handler(request, **options)


def path_inside(uri: str, headers: Mapping[str, str], secret: str) -> str | None:
    """The path and the query behind the secret; None if the request may not pass.

    A browser names the page that a request comes from (``Origin``); one of another site may not pass.

    Examples
    --------
    >>> path_inside("/k/info?x=1", {"Host": "n1:8787"}, "k")
    '/info?x=1'
    >>> path_inside("/k/status/ws", {"Host": "n1:8787", "Origin": "http://elsewhere"}, "k") is None
    True
    """
    empty, slash, rest = uri.partition("/")
    given, path = rest[: len(secret)], rest[len(secret) :]
    if empty or not slash or not hmac.compare_digest(given.encode(errors="replace"), secret.encode()):
        return None
    if path and path[0] not in "/?":
        return None
    origin = headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != headers.get("Host"):
        return None
    return "" if path.startswith("?") else path


@stream_request_body
class _Refusal(RequestHandler):
    """One sentence, before anything of a body is read, for whatever method."""

    def prepare(self) -> None:
        self.set_status(403)
        self.set_header("Connection", "close")
        self.finish("This is a Dask cluster of daskhpc. It opens with the link that its owner has.\n")

    def data_received(self, chunk: bytes) -> None:
        """What still comes is dropped."""
