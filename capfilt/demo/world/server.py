"""The demo's web site on 127.0.0.1: it serves the world's images, and misbehaves like the web.

It runs as a process of its own, `python -m capfilt.demo.world.server --images 600 --seed 0`, prints its port once it
listens, and ends when its standard input ends: so it never outlives who started it, however that one dies.
"""

import argparse
import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from aiohttp import web

from capfilt.core.errors import InputError
from capfilt.demo.world.pairs import jpeg
from capfilt.demo.world.site import Page, Trouble, pages

HOST: Final = "127.0.0.1"
SILENCE: Final = 600.0
"""Seconds a silent page takes: longer than anybody waits."""
CUT_AT: Final = 0.6
"""The share of its bytes that a cut JPEG has."""

_HTML: Final = "<!doctype html><title>Sign in</title><p>Please sign in to see this picture.</p>"


class DemoSite:
    """Answers requests for pages.

    Args:
        found: the pages by name.
        delay: scales the seconds that a slow page takes.
    """

    def __init__(self, found: Mapping[str, Page], delay: float = 1.0) -> None:
        self._pages = found
        self._delay = delay
        self._asked: Counter[str] = Counter()

    def app(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application()
        app.router.add_get("/{name}", self.answer)
        return app

    async def answer(self, request: web.Request) -> web.Response:
        """What the web would say."""
        page = self._pages.get(request.match_info["name"])
        if page is None:
            return web.Response(status=404)
        self._asked[page.name] += 1
        match page.trouble:
            case Trouble.GONE:
                return web.Response(status=404)
            case Trouble.REFUSED:
                return web.Response(status=403, headers={"X-Robots-Tag": "noai"})
            case Trouble.HTML:
                return web.Response(text=_HTML, content_type="text/html")
            case Trouble.FLAKY if self._asked[page.name] == 1:
                return web.Response(status=500)
            case Trouble.SILENT:
                await asyncio.sleep(SILENCE)
            case Trouble.SLOW:
                await asyncio.sleep(self._delay * (1 + page.scene.seed % 1000 / 1000))
        picture = jpeg(page.scene, page.side)
        if page.trouble is Trouble.CUT:
            picture = picture[: round(len(picture) * CUT_AT)]
        return web.Response(body=picture, content_type="image/jpeg")


@contextmanager
def serving(images: int, seed: int, ports: range) -> Iterator[int]:
    """The site in a process of its own while the context lasts; gives its port, the first free one of `ports`.

    Raises:
        InputError: none of them is free.
    """
    # -P: a file in the working directory that is called like a module must not be taken for it.
    command = [sys.executable, "-P", "-m", "capfilt.demo.world.server"]
    command += [f"--images={images}", f"--seed={seed}", f"--port={ports.start}", f"--tries={len(ports)}"]
    # A session of its own: Ctrl-C is for the run, and the site goes when the run has ended.
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=True)
    try:
        yield _port(process, ports)
    finally:
        _stop(process)


async def serve(site: DemoSite, ports: Sequence[int]) -> None:
    """Serve on the first free port, print it, and stay until standard input ends."""
    # A short shutdown: answers to SILENT pages would hold it up for SILENCE seconds.
    runner = web.AppRunner(site.app(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        print(await _listen(runner, ports), flush=True)
        await asyncio.to_thread(sys.stdin.read)
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, ports: Sequence[int]) -> int:
    """The first of `ports` that is free, now listened on; 0 when none is."""
    for port in ports:
        try:
            await web.TCPSite(runner, HOST, port).start()
        except OSError:
            continue
        return port
    return 0


def _port(process: "subprocess.Popen[str]", ports: range) -> int:
    line = process.stdout.readline() if process.stdout else ""
    if not line:
        raise InputError(f"the demo's web site did not start: see above (exit code {process.wait()})")
    if line.strip() == "0":
        raise InputError(f"the demo's web site needs a port of {HOST}, but {_span(ports)} in use")
    return int(line)


def _span(ports: range) -> str:
    return f"{ports[0]} is" if len(ports) == 1 else f"{ports[0]} to {ports[-1]} are all"


def _stop(process: "subprocess.Popen[str]") -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe:
            pipe.close()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main() -> None:
    """What `python -m capfilt.demo.world.server` does."""
    parser = argparse.ArgumentParser(description="Serve the demo's pictures on 127.0.0.1 until standard input ends.")
    parser.add_argument("--images", type=int, default=600, help="pages of the site (default 600)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the pictures and troubles (default 0)")
    parser.add_argument("--port", type=int, default=8417, help="port to listen on (default 8417)")
    parser.add_argument("--tries", type=int, default=1, help="ports to try, from that one upwards (default 1)")
    args = parser.parse_args()
    site = DemoSite({page.name: page for page in pages(args.images, args.seed)})
    asyncio.run(serve(site, range(args.port, args.port + args.tries)))


if __name__ == "__main__":
    main()
