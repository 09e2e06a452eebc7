"""A site of many hosts, some of which send as much as they may."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from misbehaving_web import Answer, SmallHandler, SmallSite

LARGE = 5_000_000
"""Bytes that /large sends."""


class Flood(SmallSite):
    """Everybody on this machine may ask it by a host of his own: 127.0.0.1, 127.0.0.2, ..."""

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self.answers = {"/large": large, **answers}
        self.asked, self.times, self.agents = [], [], set()
        ThreadingHTTPServer.__init__(self, ("0.0.0.0", 0), SmallHandler)


def large(handler: BaseHTTPRequestHandler) -> None:
    """`LARGE` bytes, without saying how many will come."""
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    piece = bytes(LARGE // 50)
    for _ in range(50):
        handler.wfile.write(piece)


@contextmanager
def flooding(answers: Mapping[str, Answer]) -> Iterator[int]:
    """The port of a `Flood` that gives these answers, too."""
    site = Flood(answers)
    Thread(target=site.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield site.server_address[1]
    finally:
        site.shutdown()
        site.server_close()
