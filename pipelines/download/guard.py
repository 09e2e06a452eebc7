"""What may be asked, and where: http(s) URLs without credentials, addresses that are public or allowed by name.

A URL list is written by strangers, and the machine that reads it stands inside somebody's network. So every address
is checked where the connection is made: after the lookup, for every redirect, for IP literals as well.
"""

import socket
from collections.abc import Collection, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, Final

from yarl import URL

from capfilt.core.schema import Reason
from capfilt.pipelines.download.failure import DownloadError
from capfilt.pipelines.download.wire_url import wire_url

GLOBAL_UNICAST: Final = ip_network("2000::/3")  # all that is handed out of IPv6 (RFC 4291 section 2.4)
NAT64: Final = ip_network("64:ff9b::/96")  # RFC 6052: the last 32 bits are the IPv4 address that is reached

SPECIAL: Final = tuple(
    map(ip_network, ("168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24", "2001::/23", "3fff::/20"))
)
"""Not public, although some versions of `ipaddress` say so: Azure's host, which answers every virtual machine with its
settings; protocol assignments (Oracle's metadata among them), 6to4 relays, and examples of documents."""

ISATAP: Final = 0x5EFE
"""In bits 32 to 47 of an interface's 64 bits: the last 32 are the IPv4 address that is reached (RFC 5214)."""

Address = IPv4Address | IPv6Address


class ForbiddenAddress(OSError):
    """An OSError, so that it passes through the connector like any other failed connection."""


class AddressGuard:
    """Decides which addresses may be connected to.

    Args:
        allow: networks that are admitted although they are not public, as in `fetch.allow_private`.
    """

    def __init__(self, allow: Sequence[str] = ()) -> None:
        self._allowed = tuple(ip_network(text) for text in allow)

    def admits(self, host: str) -> bool:
        """Whether the address `host` (a literal, never a name) is public or allowed."""
        address = _reached(ip_address(host))
        return _is_public(address) or any(address in network for network in self._allowed)

    def open_socket(self, info: tuple[Any, ...]) -> socket.socket:
        """The connector's socket factory: `info` is one entry of `getaddrinfo`.

        Raises:
            ForbiddenAddress: the address is neither public nor allowed.
        """
        family, kind, protocol, _, sockaddr = info
        if not self.admits(sockaddr[0]):
            raise ForbiddenAddress(f"the address {sockaddr[0]} is not public")
        return socket.socket(family, kind, protocol)


def _reached(address: Address) -> Address:
    """The IPv4 address behind an IPv6 one that only wraps it."""
    if isinstance(address, IPv4Address):
        return address
    is_isatap = address in GLOBAL_UNICAST and int(address) >> 32 & 0xFDFFFFFF == ISATAP
    if address in NAT64 or is_isatap:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _is_public(address: Address) -> bool:
    if any(address in network for network in SPECIAL):
        return False
    if isinstance(address, IPv6Address):
        return address in GLOBAL_UNICAST and address.is_global
    return address.is_global and not address.is_multicast and not address.is_reserved


def check_url(text: str, ports: Collection[int] = (), base: URL | None = None) -> URL:
    """The URL to ask for.

    Args:
        ports: those that may be asked, as in `fetch.ports`; empty for any.
        base: the address that redirected to it.

    Raises:
        DownloadError: `bad_url` for anything but an absolute http(s) URL with a host and without user info,
            `forbidden_address` for another port.
    """
    try:
        url = wire_url(text, base)
        (url.raw_host or "").encode("idna")  # empty and overlong labels would only fail inside the lookup
        _ = url.port  # raises beyond 65535
    except ValueError as error:  # yarl's messages repeat the URL, and with it any password
        raise DownloadError(Reason.BAD_URL, "not a valid URL") from error
    if url.scheme not in ("http", "https"):
        raise DownloadError(Reason.BAD_URL, "not an absolute http(s) URL" if base is None else "redirected off http(s)")
    if not url.raw_host:
        raise DownloadError(Reason.BAD_URL, "no host in the URL")
    if url.raw_user is not None or url.raw_password is not None:
        raise DownloadError(Reason.BAD_URL, "user name or password in the URL")
    if ports and url.port not in ports:
        raise DownloadError(Reason.FORBIDDEN_ADDRESS, f"port {url.port} is not in fetch.ports")
    return url
