"""The page of a running service, its metrics, and the few things that may be asked of it.

Everybody who reaches the port may look; who changes anything has to send the token, which is in a
file that only this user can read.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from hmac import compare_digest
from importlib.resources import files
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from madem.beam import needed
from madem.errors import InputError
from madem.experiments.running.files import write_atomically
from madem.serve.config import ServiceConfig
from madem.serve.status import TOLD, Control, read_all
from madem.serve.store import Store

LARGEST = 10_000
"""Bytes of the largest request."""
SAID = {"why": str, "at": int | float, "missed": int | float, "labels": int}
"""What is told of a manifest, where it is of that type."""
MOST = 50
"""Connections at once; more are told to come again."""
LONGEST = 20.0
"""Seconds of the longest connection: who says nothing, or reads nothing, makes room for others."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
                               "connect-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}  # fmt: skip
SERVED = {"/": ("page.html", "text/html"), "/page.js": ("page.js", "text/javascript"),
          "/page.css": ("page.css", "text/css")}  # fmt: skip


def token_of(folder: Path) -> str:
    """Return the token of the service in ``folder``, made where there is none; of mode 0600.

    Raises ``InputError`` where others can read it.
    """
    path = folder / "token"
    with suppress(FileExistsError):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(opened, "w") as file:
            file.write(secrets.token_urlsafe(32))
    if path.stat().st_mode & 0o077:
        raise InputError("token: others can read the file: remove it, another is made")
    return path.read_text().strip()


class Samples:
    """What Prometheus asks for: the counts of every process, and a few numbers beside them."""

    def __init__(self, folder: Path) -> None:
        """Look into ``folder`` when asked."""
        self.folder = folder

    def collect(self) -> Iterator[Any]:
        """Yield the metrics."""
        core = needed("prometheus_client.core", "serve")
        held = read_all(self.folder / "status")
        events = core.CounterMetricFamily(
            "madem_events", "What was counted, by process and reason", labels=["process", "why"]
        )
        age = core.GaugeMetricFamily(
            "madem_status_age_seconds", "Since a process last told of itself", labels=["process"]
        )
        waits = core.GaugeMetricFamily(
            "madem_verdict_seconds", "From a frame's arrival to its verdict", labels=["quantile"]
        )
        joules = core.CounterMetricFamily(
            "madem_joules", "What the chip has used, all-in", labels=["process", "doing"]
        )
        for name, each in held.items():
            for why, count in each["counts"].items():
                events.add_metric([name, why], count)
            age.add_metric([name], max(0.0, time.time() - each["at"]))
            for doing, spent in each.get("joules", {}).items():
                joules.add_metric([name, doing], spent)
            for q, seconds in each["waits"].items():
                waits.add_metric([f"0.{q[1:]}"], seconds)
        yield from (events, age, waits, joules)
        free = shutil.disk_usage(self.folder).free
        yield core.GaugeMetricFamily("madem_free_bytes", "Of the service's disk", value=free)
        for name, key, process in (("model", "model", "worker"), ("ring", "waiting", "receiver")):
            value = held.get(process, {}).get(key)
            if value is not None:
                yield core.GaugeMetricFamily(f"madem_{name}", f"{process}: {key}", value=value)


def generations(store: Store) -> list[dict[str, Any]]:
    """Return what the manifests of all generations say, the newest first."""
    found, pointed = list[dict[str, Any]](), store.pointed()
    for number in store.numbers()[::-1]:
        with suppress(OSError, ValueError, RecursionError):
            said = json.loads((store.home / f"{number:06d}" / "manifest.json").read_bytes())
            told: dict[str, Any] = {
                "number": number,
                "pinned": store.pinned(number),
                "current": number == pointed,
            }
            for key, kind in SAID.items():
                value = said.get(key) if isinstance(said, dict) else None
                told[key] = value if isinstance(value, kind) and _shown(value) else None
            found.append(told)
    return found


def _shown(value: Any) -> bool:
    """Return whether a number is one that dates and counts can be."""
    return isinstance(value, str) or bool(abs(value) < 1e11)


def asked(store: Store, held: Any) -> dict[str, Any]:
    """Do what a person asks of a running service, and return all that is asked of it.

    ``shadow`` and ``learning``: true or false; ``generation``: which one judges from now on;
    ``pin``: which one is kept. Raises ``InputError`` for anything else.
    """
    allowed = {"shadow": bool, "learning": bool, "generation": int, "pin": int}
    if not isinstance(held, dict) or not held:
        raise InputError(f"control: keys and values are needed (allowed: {', '.join(allowed)})")
    for key, value in held.items():
        if key not in allowed or type(value) is not allowed[key]:
            raise InputError(f"control: {str(key)[:40]!r}: (allowed: {', '.join(allowed)})")
    if "pin" in held:
        store.pin(held["pin"])
    if "generation" in held:
        store.point(held["generation"])
    path = store.path / "control.json"
    wanted = {**Control(path)(), **{k: v for k, v in held.items() if k in ("shadow", "learning")}}
    write_atomically(path, json.dumps(wanted).encode())
    return wanted


def of_address(host: str) -> bool:
    """Return whether a request names its host by an address, or as localhost.

    Any other name may be one that somebody else has bent to this address, to read the page from a
    page of theirs (DNS rebinding).

    >>> [of_address(each) for each in ("127.0.0.1:31080", "[::1]:31080", "localhost", "evil.net")]
    [True, True, True, False]
    """
    with suppress(ValueError):
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or bool(ip_address(name))
    return False


class Addressed:
    """An ASGI application that answers only requests which name their host by its address."""

    def __init__(self, inner: Any) -> None:
        """Pass them on to ``inner``."""
        self.inner = inner

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one."""
        answer = self.inner
        if scope["type"] == "http" and not of_address(
            dict(scope["headers"]).get(b"host", b"").decode("latin-1")
        ):
            responses = needed("starlette.responses", "serve")
            answer = responses.PlainTextResponse("ask by address, or localhost", 400, HEADERS)
        await answer(scope, receive, send)


def application(config: ServiceConfig, folder: Path) -> Any:
    """Return the page as an ASGI application."""
    needed("starlette", "serve")
    responses = needed("starlette.responses", "serve")
    route = needed("starlette.routing", "serve").Route
    prometheus = needed("prometheus_client", "serve")
    token, store = token_of(folder), Store(folder, config.generations)
    control_file = Control(folder / "control.json")
    registry = prometheus.CollectorRegistry()
    registry.register(Samples(folder))

    async def page(request: Any) -> Any:
        name, kind = SERVED[request.url.path]
        text = (files("madem.serve") / name).read_text()
        return responses.Response(text, media_type=kind, headers=HEADERS)

    def status(_: Any) -> Any:
        held = {"processes": read_all(folder / "status"), "told": TOLD,
                "generations": generations(store), "at": time.time(),
                "asked": {"shadow": config.shadow, "learning": True, **control_file()},
                "rejected": config.rejected}  # fmt: skip
        return responses.JSONResponse(held, headers=HEADERS)

    def metrics(_: Any) -> Any:
        return responses.Response(prometheus.generate_latest(registry), headers=HEADERS,
                                  media_type="text/plain; version=0.0.4")  # fmt: skip

    async def control(request: Any) -> Any:
        given = request.headers.get("authorization", "").encode()
        if not compare_digest(given, f"Bearer {token}".encode()):
            return responses.JSONResponse({"error": "the token is wrong"}, 401, HEADERS)
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > LARGEST:
                return responses.JSONResponse({"error": "too large"}, 413, HEADERS)
        try:
            return responses.JSONResponse(asked(store, json.loads(body)), headers=HEADERS)
        except (InputError, ValueError, RecursionError) as error:
            return responses.JSONResponse({"error": str(error)[:300]}, 400, HEADERS)
        except OSError as error:
            return responses.JSONResponse({"error": f"not kept: {error.strerror}"}, 507, HEADERS)

    routes = [*(route(path, page) for path in SERVED), route("/status.json", status),
              route("/metrics", metrics), route("/control", control, methods=["POST"])]  # fmt: skip
    return Addressed(needed("starlette.applications", "serve").Starlette(routes=routes))


def show(config: ServiceConfig, folder: Path, sockets: Path, alive: Callable[[], bool]) -> None:
    """Serve the page as long as the service is ``alive``."""
    del sockets

    async def watch() -> None:
        while alive():
            await asyncio.sleep(0.5)
        os._exit(0)

    async def both() -> None:
        watching = asyncio.create_task(watch())
        await needed("uvicorn", "serve").Server(serving(config, folder)).serve()
        watching.cancel()

    asyncio.run(both())


def serving(config: ServiceConfig, folder: Path) -> Any:
    """Return how the page is served: to so many at once, and to none of them for long."""
    usual = needed("uvicorn.protocols.http.h11_impl", "serve").H11Protocol

    def connection_made(own: Any, transport: Any) -> None:
        usual.connection_made(own, transport)
        own.loop.call_later(LONGEST, transport.abort)

    return needed("uvicorn", "serve").Config(
        application(config, folder), host=config.host, port=config.page,
        http=type("Hurried", (usual,), {"connection_made": connection_made}),
        log_level="warning", access_log=False, limit_concurrency=MOST, timeout_keep_alive=5,
    )  # fmt: skip
