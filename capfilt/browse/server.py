"""The socket on the loopback address, and the server behind it."""

import secrets
import socket
from collections.abc import Callable
from typing import Final

import uvicorn

from capfilt.browse.app import app
from capfilt.browse.session import BrowseSession
from capfilt.core.errors import ConfigError
from capfilt.ledger.ledger import Ledger

HOST: Final = "127.0.0.1"


def serve(ledger: Ledger, port: int, announce: Callable[[str], None]) -> None:
    """Show a run to this machine's browser until the process is interrupted.

    Args:
        port: 0 for any free one.
        announce: gets the address, key and all, once it can be opened.

    Raises:
        InputError: there is no run at `ledger`.
        ConfigError: the port is taken.
    """
    with _listen(port) as listener:
        session, key = BrowseSession(ledger), secrets.token_urlsafe(24)
        config = uvicorn.Config(
            app(session, key), lifespan="off", ws="none", log_level="warning", access_log=False, server_header=False
        )
        announce(f"http://{HOST}:{listener.getsockname()[1]}/{key}/")
        uvicorn.Server(config).run(sockets=[listener])


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen()  # from here on a browser that comes before the server is up waits
    except OSError as error:
        listener.close()
        raise ConfigError(f"--port {port}: {error.strerror}") from error
    return listener
