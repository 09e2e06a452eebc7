"""A web that misbehaves, on loopback: one HTTP server and one that speaks raw bytes, in a thread of their own."""

import asyncio
import gzip
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pyarrow as pa
import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from capfilt.core import schema
from capfilt.core.config import FetchSettings
from capfilt.pipelines.download.optout.optout import SITE_CACHE
from capfilt.pipelines.stages.fetch import fetch

HITS: Counter[str] = Counter()  # requests by path and query
BUSY: Counter[str] = Counter()  # requests in work, now and at most
MEGABYTE = 1_000_000

routes = web.RouteTableDef()


@web.middleware
async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
    HITS[request.path_qs] += 1
    response: web.StreamResponse = await handler(request)
    return response


@routes.get("/body/{text}")
async def body(request: web.Request) -> web.Response:
    return web.Response(body=request.match_info["text"].encode())


@routes.get("/empty")
async def empty(request: web.Request) -> web.Response:
    return web.Response(body=b"")


@routes.get("/status/{code}")
async def status(request: web.Request) -> web.Response:
    return web.Response(status=int(request.match_info["code"]))


@routes.get("/robots/{code}")
async def robots(request: web.Request) -> web.Response:
    response = web.Response(status=int(request.match_info["code"]), body=b"picture")
    for value in request.query.getall("tag"):
        response.headers.add("X-Robots-Tag", value)
    if "to" in request.query:
        response.headers["Location"] = request.query["to"]
    return response


@routes.get("/heals/{code}")
async def heals(request: web.Request) -> web.Response:
    """Fails the first `times` requests, each test under a `name` of its own."""
    if HITS[request.path_qs] > int(request.query["times"]):
        return web.Response(body=b"healed")
    headers = {"Retry-After": request.query["after"]} if "after" in request.query else {}
    return web.Response(status=int(request.match_info["code"]), headers=headers)


@routes.get("/slow")
async def slow(request: web.Request) -> web.Response:
    await asyncio.sleep(60)
    return web.Response(body=b"too late")


@routes.get("/drip")
async def drip(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(600):
        await response.write(b".")
        await asyncio.sleep(0.1)
    return response


@routes.get("/big")
async def big(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    if "declared" in request.query:
        response.content_length = 5 * MEGABYTE
    await response.prepare(request)
    for _ in range(50):
        await response.write(bytes(MEGABYTE // 10))
    return response


@routes.get("/gzip/{size}")
async def gzipped(request: web.Request) -> web.Response:
    zeros = gzip.compress(bytes(int(request.match_info["size"])))
    return web.Response(body=zeros, headers={"Content-Encoding": "gzip"})


@routes.get("/redirect")
async def redirect(request: web.Request) -> web.Response:
    return web.Response(status=int(request.query.get("status", 302)), headers={"Location": request.query["to"]})


@routes.get("/steps/{left}")
async def steps(request: web.Request) -> web.Response:
    left = int(request.match_info["left"])
    if left == 0:
        return web.Response(body=b"arrived")
    return web.Response(status=301, headers={"Location": f"{left - 1}"})


@routes.get("/loop")
async def loop(request: web.Request) -> web.Response:
    return web.Response(status=302, headers={"Location": "/loop"})


@routes.get("/cookie")
async def cookie(request: web.Request) -> web.Response:
    return web.Response(status=302, headers={"Location": "/echo", "Set-Cookie": "who=you; Path=/"})


@routes.get("/echo")
async def echo(request: web.Request) -> web.Response:
    return web.json_response(dict(request.headers))


@routes.get("/busy/{n}")
async def busy(request: web.Request) -> web.Response:
    BUSY["now"] += 1
    BUSY["most"] = max(BUSY["most"], BUSY["now"])
    await asyncio.sleep(0.03)
    BUSY["now"] -= 1
    return web.Response(body=b"picture")


@routes.get("/waits/{n}")
async def waits(request: web.Request) -> web.Response:
    """Answers once the path `for` has been asked for."""
    while not HITS[request.query["for"]]:
        await asyncio.sleep(0.01)
    return web.Response(body=b"waited")


RAW: dict[str, bytes] = {
    "garbage": b"\x00\xff\x16\x03 this is no HTTP at all\r\n\r\n",
    "half-header": b"HTTP/1.1 200 OK\r\nContent-Le",
    "bad-length": b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nabc",
    "cut": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 40,
    "cut-chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nabc",
    "bad-gzip": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\n\x1f\x8b gzip!!",
    "odd-status": b"HTTP/1.1 999 Denied\r\nContent-Length: 0\r\n\r\n",
    "no-location": b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",
    "wild-location": b"HTTP/1.1 302 Found\r\nLocation: http://\xff\xfe[\r\nContent-Length: 0\r\n\r\n",
    "wild-robots": b"HTTP/1.1 403 No\r\nX-Robots-Tag: noai, \xff\x1b[31m "
    + b"y" * 500
    + b"\r\nContent-Length: 0\r\n\r\n",
    "huge-header": b"HTTP/1.1 200 OK\r\nX-Long: " + b"z" * 100_000 + b"\r\nContent-Length: 0\r\n\r\n",
    "endless-header": b"HTTP/1.1 200 OK\r\n" + b"X-Another: one\r\n" * 20_000 + b"\r\n",
    "no-length": b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
    "boast": b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n",
    "silent": b"",
    "not-found": b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
}


async def speak_raw(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    path = (await reader.readline()).split(b" ")[1].decode()
    HITS[path] += 1
    name = path.strip("/").split("?")[0]
    if name in ("robots.txt", ".well-known/tdmrep.json"):
        name = "not-found"
    if name == "hang":
        await asyncio.sleep(60)
    if name == "reset":  # SO_LINGER of zero seconds: close() sends RST
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    else:
        while (await reader.readline()).strip():  # unread request bytes would turn the close into a reset
            pass
        writer.write(RAW[name])
    writer.close()


class Servers(threading.Thread):
    """Both servers in one loop, from `start` to `stop`."""

    def __init__(self) -> None:
        super().__init__(name="misbehaving web", daemon=True)
        self.web = self.raw = ""
        self._ready = threading.Event()

    def run(self) -> None:
        asyncio.run(self._serve())

    def start(self) -> None:
        super().start()
        assert self._ready.wait(10), "the test servers did not start"

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self.join(10)

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(middlewares=[count])
        app.add_routes(routes)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        raw = await asyncio.start_server(speak_raw, "127.0.0.1", 0)
        self.web = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self.raw = f"http://127.0.0.1:{raw.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._end.wait()
        raw.close()
        await runner.cleanup()


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    servers = Servers()
    servers.start()
    yield servers
    servers.stop()


@pytest.fixture
def site(servers: Servers) -> str:
    """Where the HTTP server is, without a slash at the end."""
    return servers.web


@pytest.fixture
def raw(servers: Servers) -> str:
    """Where the server is that sends the bytes of `RAW` as they are."""
    return servers.raw


@pytest.fixture
def hits() -> Counter[str]:
    """Requests so far, by path and query."""
    return HITS


@pytest.fixture
def most_busy() -> Callable[[], int]:
    """Requests to /busy that were in work at the same time, at most, since the test began."""
    BUSY.clear()
    return lambda: BUSY["most"]


Rows = list[dict[str, Any]]


def table(urls: list[str | None]) -> pa.Table:
    rows: Rows = [{"uid": f"{i:032x}", "source": f"list#{i}", "url": url, "texts": []} for i, url in enumerate(urls)]
    return pa.Table.from_pylist(rows, schema=schema.ROWS)


@pytest.fixture
def table_of() -> Callable[[list[str | None]], pa.Table]:
    """A chunk of living rows, one a URL."""
    return table


@pytest.fixture
def get() -> Callable[..., Rows]:
    """`get(url, ..., setting=value)`: the rows after fetch, loopback allowed and in a hurry unless told otherwise."""

    def get(*urls: str, **settings: Any) -> Rows:
        hurried = {
            "allow_private": ("127.0.0.1/32",),
            "ports": (),
            "timeout": 30.0,
            "backoff": 0.01,
            "per_host_rate": 0.0,
        }
        rows: Rows = fetch(table(list(urls)), FetchSettings(**hurried | settings)).to_pylist()
        return rows

    return get


Answer = tuple[int, dict[str, str], bytes] | Callable[[BaseHTTPRequestHandler], None]


class SmallSite(ThreadingHTTPServer):
    """A server of its own port, so that nobody has asked it before: answers by path, and what was asked, in order."""

    def __init__(self, answers: dict[str, Answer]) -> None:
        super().__init__(("127.0.0.1", 0), SmallHandler)
        self.answers = answers
        self.asked: list[str] = []
        self.agents: set[str] = set()
        self.times: list[float] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: object) -> None:
        """Nothing: clients that hang up are what these tests are about."""


class SmallHandler(BaseHTTPRequestHandler):
    server: SmallSite
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.server.times.append(time.monotonic())
        self.server.agents.add(self.headers["User-Agent"])
        answer = self.server.answers.get(self.path, self.server.answers.get("*", (404, {}, b"")))
        if callable(answer):
            answer(self)
            return
        status, headers, body = answer
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def small_site() -> Iterator[Callable[..., SmallSite]]:
    """`small_site({path: answer})`: a fresh site; `*` answers for every other path, else they are 404."""
    running: list[SmallSite] = []
    SITE_CACHE.clear()  # ports come again

    def start(answers: dict[str, Answer]) -> SmallSite:
        site = SmallSite(answers)
        threading.Thread(target=site.serve_forever, args=(0.01,), daemon=True).start()
        running.append(site)
        return site

    yield start
    for site in running:
        site.shutdown()
        site.server_close()
