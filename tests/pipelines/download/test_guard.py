"""Addresses: only public ones and those allowed by name, whatever they are dressed as."""

from collections.abc import Callable
from typing import Any

import pytest

from capfilt.pipelines.download.guard import AddressGuard

PRIVATE = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",  # carrier NAT
    "169.254.169.254",  # cloud metadata
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:10.0.0.1",
    "::ffff:7f00:1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::a9fe:a9fe",  # cloud metadata through NAT64
    "64:ff9b:1::7f00:1",  # a NAT64 of one's own (RFC 8215)
    "::ffff:0:10.0.0.1",  # SIIT
    "2002:a9fe:a9fe::1",  # cloud metadata through 6to4
    "2002:7f00:1::",
    "2001:db8::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",  # Teredo
    "fc00::1",
    "fd12::1",
    "fe80::1",
    "fe80::1%1",
    "fec0::1",
    "ff02::1",
    "168.63.129.16",  # Azure's metadata
    "192.0.0.192",  # Oracle's
    "192.88.99.1",
    "3fff::1",
    "2a00::5efe:10.0.0.1",  # ISATAP
    "2a00::200:5efe:a9fe:a9fe",
    "fe80::5efe:1.1.1.1",
]
PUBLIC = ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1", "2002:101:101::"]
PUBLIC += ["2a00::5efe:1.1.1.1", "168.63.129.17", "2001:200::1"]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_refused(address: str) -> None:
    assert not AddressGuard().admits(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_admitted(address: str) -> None:
    assert AddressGuard().admits(address)


def test_allowed_networks_are_admitted_and_only_they() -> None:
    guard = AddressGuard(("10.1.0.0/16", "::1/128"))
    assert all(map(guard.admits, ("10.1.2.3", "::ffff:10.1.2.3", "::1", "1.1.1.1")))
    assert not any(map(guard.admits, ("10.2.0.1", "::ffff:10.2.0.1", "127.0.0.1")))


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::1]", "0.0.0.0", "[::]"]
)
def test_loopback_in_any_dress_is_refused(site: str, get: Callable[..., list[dict[str, Any]]], host: str) -> None:
    [row] = get(site.replace("127.0.0.1", host) + "/body/inside", allow_private=())
    assert (row["reason"], row["image"]) == ("forbidden_address", None)


def test_a_mapped_address_counts_as_the_one_it_wraps(site: str, get: Callable[..., list[dict[str, Any]]]) -> None:
    [row] = get(site.replace("127.0.0.1", "[::ffff:127.0.0.1]") + "/body/inside")
    assert row["reason"] in (None, "connect")  # refused by no rule; a system may lack mapped addresses
