"""Bad weather between us and a bucket: an HTTP server in front of the S3 server that counts, fails and forgets."""

import http.client
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

SLOW_DOWN = (
    b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)
HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}
CONDITIONS = {"if-match", "if-none-match"}


@dataclass
class Weather:
    """What happens to requests: every `every`th one meets the next of `faults`, in turn."""

    endpoint: str
    faults: tuple[str, ...] = ()  # 503, reset, truncate
    every: int = 5
    away: bool = False  # every request is answered by 503
    ignores_conditions: bool = False  # as stores that do not know If-Match and If-None-Match
    refused: Counter[str] = field(default_factory=Counter)  # PUTs whose condition did not hold, by path
    held_back: threading.Event | None = None  # PUTs of `slow` keys wait for it
    slow: str = ""
    waiting: int = 0
    hidden: str = ""  # keys that match are left out of listings, as if they were written too lately
    bytes_out: int = 0  # of bodies that were sent to us
    met: Counter[str] = field(default_factory=Counter)
    asked: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next_fault(self) -> str:
        with self.lock:
            self.asked += 1
            if not self.faults or self.asked % self.every:
                return ""
            fault = self.faults[self.met.total() % len(self.faults)]
            self.met[fault] += 1
            return fault


@contextmanager
def weather(upstream: str) -> Iterator[Weather]:
    """A server in front of the S3 server at `upstream`."""
    target = urlsplit(upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def pass_on(self) -> None:
            body = self.body()
            if self.command == "PUT" and now.held_back and now.slow and now.slow in self.path:
                now.waiting += 1
                now.held_back.wait(60)
            fault = "503" if now.away else now.next_fault()
            if fault == "503":
                self.answer(503, [("Content-Type", "application/xml")], SLOW_DOWN)
                return
            if fault == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True
                return
            connection = http.client.HTTPConnection(target.hostname or "", target.port)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
            if now.ignores_conditions:
                headers = {name: value for name, value in headers.items() if name.lower() not in CONDITIONS}
            connection.request(self.command, self.path, body, headers)
            reply = connection.getresponse()
            data = reply.read()
            if reply.status == 412:
                now.refused[self.path] += 1
            if now.hidden and "list-type=2" in self.path:
                data = re.sub(rb"<Contents>(?:(?!</Contents>).)*</Contents>", hide, data, flags=re.DOTALL)
            kept = [(name, value) for name, value in reply.getheaders() if name.lower() not in HOP]
            size = len(data) if data else int(reply.getheader("Content-Length") or 0)
            self.answer(reply.status, kept, data, size, cut=fault == "truncate" and len(data) > 100)
            connection.close()

        def body(self) -> bytes:
            if "chunked" not in (self.headers.get("Transfer-Encoding") or ""):
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def answer(
            self, status: int, headers: list[tuple[str, str]], data: bytes, size: int | None = None, cut: bool = False
        ) -> None:
            self.send_response_only(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data) if size is None else size))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data[: len(data) // 2] if cut else data)
                now.bytes_out += len(data)
            if cut:
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = pass_on

    def hide(found: re.Match[bytes]) -> bytes:
        return b"" if re.search(now.hidden.encode(), found[0]) else found[0]

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    now = Weather(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield now
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
