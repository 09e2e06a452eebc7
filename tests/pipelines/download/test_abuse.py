"""Servers and names that lie: rebinding, slow drips, wrong lengths, abused connections, certificates of nobody."""

import datetime
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Get = Callable[..., list[dict[str, Any]]]
SmallSite = Callable[..., Any]
Talk = Callable[[socket.socket, int], None]
"""What a server does on a connection, given its number."""


@pytest.fixture
def talking() -> Iterator[Callable[[Talk], str]]:
    """`talking(talk)`: a server that runs `talk` on every connection, in a thread each; gives its URL."""
    listening: list[socket.socket] = []

    def start(talk: Talk) -> str:
        server = socket.create_server(("127.0.0.1", 0))
        listening.append(server)
        threading.Thread(target=accept, args=(server, talk), daemon=True).start()
        return f"http://127.0.0.1:{server.getsockname()[1]}"

    yield start
    for server in listening:
        server.close()


def accept(server: socket.socket, talk: Talk) -> None:
    number = 0
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=converse, args=(connection, talk, number), daemon=True).start()
        number += 1


def converse(connection: socket.socket, talk: Talk, number: int) -> None:
    with connection:
        connection.settimeout(20)
        try:
            talk(connection, number)
        except OSError:
            return


def request(connection: socket.socket) -> bytes:
    """The path of the next request; nothing when the client hangs up."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return b""
        data += piece
    return data.split(b" ")[1]


def answer(body: bytes, length: int | None = None) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(body) if length is None else length) + body


class Rebinding:
    """A name server that gives each address once, in turn, and then the last one for ever."""

    def __init__(self, *addresses: str) -> None:
        self.left = list(addresses)
        self.asked = 0

    def __call__(self, host: str, *_: object, **__: object) -> list[Any]:
        self.asked += 1
        address = self.left.pop(0) if len(self.left) > 1 else self.left[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0))]


def test_a_name_is_looked_up_once_and_connected_to_as_checked(
    get: Get, small_site: SmallSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = small_site({"/go": (302, {"Location": "/there", "Connection": "close"}, b""), "*": (200, {}, b"picture")})
    names = Rebinding("127.0.0.1", "127.0.0.2")
    monkeypatch.setattr(socket, "getaddrinfo", names)
    urls = [site.url.replace("127.0.0.1", "rebinding.example") + path for path in ("/go", "/a", "/b")]
    assert [row["image"] for row in get(*urls)] == [b"picture"] * 3
    assert names.asked == 1


def test_a_name_that_has_turned_inside_since_is_refused(
    get: Get, small_site: SmallSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = small_site({"*": (200, {}, b"secret")})
    monkeypatch.setattr(socket, "getaddrinfo", Rebinding("93.184.216.34", "127.0.0.1"))
    url = site.url.replace("127.0.0.1", "rebinding.example") + "/a"
    first = get(url, allow_private=(), timeout=0.5)[0]  # a public address, and nobody there
    assert first["reason"] != "forbidden_address"
    second = get(url, allow_private=(), timeout=0.5)[0]
    assert (second["reason"], second["detail"]) == ("forbidden_address", "the address 127.0.0.1 is not public")
    assert site.asked == []


@pytest.mark.parametrize("port", [22, 6379, 65535])
def test_other_ports_are_refused_before_anything_is_asked(get: Get, port: int) -> None:
    [row] = get(f"http://127.0.0.1:{port}/a", ports=(80, 443))
    assert (row["reason"], row["detail"]) == ("forbidden_address", f"port {port} is not in fetch.ports")


def test_a_redirect_to_another_port_is_refused(get: Get, small_site: SmallSite) -> None:
    inside = small_site({"*": (200, {}, b"secret")})
    site = small_site({"/a": (302, {"Location": f"{inside.url}/x"}, b""), "*": (404, {}, b"")})
    [row] = get(f"{site.url}/a", ports=(site.server_address[1],))
    assert row["reason"] == "forbidden_address"
    assert inside.asked == []


def test_a_slow_drip_ends_long_before_the_deadline(get: Get, talking: Callable[[Talk], str]) -> None:
    def drip(connection: socket.socket, _: int) -> None:
        request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        for _ in range(200):
            connection.sendall(b"x" * 50)
            time.sleep(0.1)

    began = time.monotonic()
    [row] = get(talking(drip) + "/a", timeout=170.0, min_rate=1000, retries=0, opt_out=())
    waited = time.monotonic() - began
    assert row["reason"] == "timeout"
    assert row["detail"].startswith("slower than 1000 bytes/s, ")  # where the drip ends it would be "protocol"
    assert waited > 4.5  # no shorter than `client.SLOW`


def test_a_steady_server_is_not_taken_for_a_drip(
    get: Get, talking: Callable[[Talk], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("capfilt.pipelines.download.client.SLOW", 0.5)

    def steady(connection: socket.socket, _: int) -> None:
        request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n")
        for _ in range(20):
            connection.sendall(b"x" * 1000)
            time.sleep(0.1)

    assert len(get(talking(steady) + "/a", timeout=60.0, min_rate=1000, opt_out=())[0]["image"]) == 20_000


def test_more_bytes_than_declared_are_not_the_picture_s(get: Get, talking: Callable[[Talk], str]) -> None:
    def boast(connection: socket.socket, _: int) -> None:
        request(connection)
        connection.sendall(answer(b"picture and something else", length=7))

    [row] = get(talking(boast) + "/a", opt_out=())
    assert (row["reason"], row["image"]) in (("protocol", None), (None, b"picture"))  # as the pieces arrive


def test_an_answer_sent_ahead_never_becomes_the_next_url_s(get: Get, talking: Callable[[Talk], str]) -> None:
    """Keep-alive abused: every answer is followed by a second one that nobody has asked for."""

    def poison(connection: socket.socket, _: int) -> None:
        while path := request(connection):
            connection.sendall(answer(path) + answer(b"poison"))
            time.sleep(0.02)

    url = talking(poison)
    rows = get(*(f"{url}/{n}" for n in range(12)), per_host=1, opt_out=())
    assert b"poison" not in {row["image"] for row in rows}
    assert [row["image"] for row in rows] == [f"/{n}".encode() for n in range(12)]


def test_connections_closed_behind_an_answer_cost_no_row(get: Get, talking: Callable[[Talk], str]) -> None:
    def close(connection: socket.socket, _: int) -> None:
        connection.sendall(answer(request(connection)))  # says keep-alive, and hangs up

    url = talking(close)
    rows = get(*(f"{url}/{n}" for n in range(12)), per_host=2, opt_out=())
    assert [row["image"] for row in rows] == [f"/{n}".encode() for n in range(12)]


def test_provisional_answers_without_end_end_with_the_deadline(get: Get, talking: Callable[[Talk], str]) -> None:
    def dither(connection: socket.socket, _: int) -> None:
        request(connection)
        while True:
            connection.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            time.sleep(0.01)

    [row] = get(talking(dither) + "/a", timeout=1.0, opt_out=())
    assert row["reason"] in ("timeout", "protocol")


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that nobody but itself has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "server.pem"
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, *plain) + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


def test_a_certificate_that_nobody_vouches_for_is_refused(
    get: Get, talking: Callable[[Talk], str], certificate: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    heard: list[bytes] = []

    def serve(connection: socket.socket, _: int) -> None:
        with context.wrap_socket(connection, server_side=True) as safe:
            heard.append(request(safe))

    [row] = get(talking(serve).replace("http:", "https:") + "/a", opt_out=())
    assert (row["reason"], row["image"]) == ("tls", None)
    assert row["detail"].startswith("certificate refused: self")
    assert heard == []
