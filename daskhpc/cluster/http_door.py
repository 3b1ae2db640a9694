"""The door of the HTTP servers of scheduler and workers: it opens to requests that have the secret of this run.

The secret of a run is the first part of every address: ``http://node:8787/SECRET/status``. The door takes it off and
passes the request on, so that Dask's pages, their data and their websockets are what they always were, with links that
are relative. A request without it gets one sentence, whatever it asks for.

Why not a cookie: a browser sends the cookies of ``127.0.0.1`` to every port of that address, and so the one of a
tunnel's end to the server behind another tunnel. A page of another site can make a browser send a cookie, but
cannot know a path.
"""

from __future__ import annotations

import asyncio
import hmac
import importlib
import secrets
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


def new_secret() -> str:
    """192 random bits, as they can stand in an address."""
    return secrets.token_urlsafe(24)


def scheduler_configuration(secret: str, dashboard: bool) -> dict[str, Any]:
    """The configuration under which a scheduler has to be made that loads `PRELOAD`.

    Its server listens before any preload is called. So it begins without routes, and gets them together with the door.
    ``distributed.http.proxy`` is not among them: with jupyter-server-proxy installed it passes every request on
    to any port of any host.

    Parameters
    ----------
    secret : str
    dashboard : bool
        Whether it serves Dask's dashboard.
    """
    routes = [route for route in dask.config.get(_ROUTES) if route != _PROXY]
    return {_ROUTES: [], DOOR: {"secret": HiddenText(secret), "routes": routes, "dashboard": dashboard}}


def worker_configuration(secret: str) -> dict[str, Any]:
    """The configuration of a worker that loads `PRELOAD`; a Nanny sends it to its process over a pipe."""
    return {DOOR: {"secret": HiddenText(secret)}}


def other_preloads(setting: str) -> list[str]:
    """The modules that a setting of Dask names, which may be a text or a list, but for those of daskhpc."""
    named = dask.config.get(setting)
    return [name for name in ([named] if isinstance(named, str) else named) if not name.startswith("daskhpc.")]


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
        if door["dashboard"]:
            application.add_application(_DashboardToCome(server))


class _DashboardToCome(Application):
    """Stands for Dask's dashboard until the first request for a page of it.

    Why it is so: its code takes longer to load than all else of a scheduler, which answers nothing meanwhile, and most
    programs end without such a request.

    Parameters
    ----------
    scheduler : distributed.Scheduler
    """

    def __init__(self, scheduler: Any) -> None:
        super().__init__([(r".*", _FirstPage)])
        self._scheduler = scheduler
        self._one_loads = asyncio.Lock()

    async def load(self) -> None:
        """Load the dashboard's code in a thread, and let it take the place of this.

        Raises
        ------
        ImportError
            If bokeh is missing or too old; Dask's warning is in the scheduler's log.
        """
        others = self._scheduler.http_application.applications
        async with self._one_loads:
            if self in others:
                dashboard = await asyncio.to_thread(importlib.import_module, "distributed.dashboard.scheduler")
                dashboard.connect(self._scheduler.http_application, self._scheduler.http_server, self._scheduler)
                others.remove(self)


class _FirstPage(RequestHandler):
    """The requests for a page of the dashboard that come before its code is loaded."""

    application: _DashboardToCome

    async def get(self) -> None:
        try:
            await self.application.load()
        except ImportError as error:
            self.set_status(404)
            self.finish(f"Dask's dashboard could not be loaded: {error}\nTry: pip install 'bokeh>=3.8.2'\n")
            return
        # Relative, as the secret before it is not part of this request any more.
        query = f"?{self.request.query}" if self.request.query else ""
        self.redirect(f"./{self.request.path.rpartition('/')[2]}{query}")


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
