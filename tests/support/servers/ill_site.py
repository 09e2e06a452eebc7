"""A site that is ill until somebody heals it."""

from collections import Counter

from capfilt.demo.world import jpeg, web_rows
from web_server import QuietHandler, QuietServer


class Site(QuietServer):
    """Pictures by number; `ill` maps numbers to the status they give until it is emptied."""

    def __init__(self) -> None:
        super().__init__(Handler)
        self.pictures = [(jpeg(scene, 64), row.text) for scene, row in web_rows(60, seed=5)]
        self.ill: dict[int, int] = {}
        self.asked: Counter[int] = Counter()


class Handler(QuietHandler):
    server: Site

    def do_GET(self) -> None:
        name = self.path.strip("/").removesuffix(".jpg")
        if not name.isdigit():
            self.reply(404)
            return
        self.server.asked[int(name)] += 1
        status = self.server.ill.get(int(name), 200)
        self.reply(status, self.server.pictures[int(name)][0] if status == 200 else b"")
